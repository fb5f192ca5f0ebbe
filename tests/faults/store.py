"""Rounds against a real S3 server behind a proxy that cuts, slows, refuses and falsifies."""

import dataclasses
import hashlib
import json
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import NamedTuple

import foreign
import yaml

import tiny
from faults.cases import Case, Snapshot, below, differences, lasting, make_image, on_kubeflow, photos, snapshot, zip_of
from faults.rounds import Round
from faulty_proxy import Fault
from s3_storage import Storage

LIMIT = 120  # seconds in which every command ends or says why not
_OBJECT = re.compile(r"steps/files/md5/(..)/(.{30})(\.dir)?")
_WRONG_CODES = ("ExpiredToken", "RequestExpired", "AccessDenied", "InvalidAccessKeyId")


Stock = dict[str, bytes]  # the objects of a bucket by their keys


class Prepared(NamedTuple):
    """A case with what is in its bucket before, and after an undisturbed run."""

    case: Case
    stock: Stock
    stored: Snapshot
    requests: int


class Bucket(NamedTuple):
    """A bucket of one round's own, and the round's folder."""

    storage: Storage
    place: Path

    def case(self, case: Case) -> Case:
        """The case with this bucket's addresses in its words and in the params that it reads."""
        names = {"BUCKET": self.storage.bucket, "ENDPOINT": self.storage.proxy.address}
        names["LINK"] = self.storage.link("all.zip") if "LINK" in case.name else ""
        params = self.place / case.folder / "fetch.yaml"
        texts = [*case.words, params.read_text() if params.exists() else ""]
        for name, value in names.items():
            texts = [text.replace(name, value) for text in texts]
        if params.exists():
            params.write_text(texts[-1])
        return dataclasses.replace(case, words=tuple(texts[:-1]))

    def objects(self) -> Snapshot:
        found = self.storage.bodies()
        return {key: hashlib.sha256(lasting(key, self.shown(body))).hexdigest() for key, body in found.items()}

    def folder(self) -> Snapshot:
        return snapshot(self.place, self.shown)

    def shown(self, content: bytes) -> bytes:
        """The content without the names of this round."""
        content = re.sub(rb"test-[0-9a-f]{32}", b"BUCKET", content)
        content = re.sub(rb"http://127\.0\.0\.1:\d+", b"ENDPOINT", content)
        return re.sub(rb"\?(X-Amz|AWSAccessKeyId)[^\"'\s]*", b"?SIGNED", content)


@contextmanager
def bucket(server: str, place: Path, case: Case, stock: Stock) -> Iterator[Bucket]:
    """A bucket with its stock behind a proxy, and the folder in which the case starts."""
    with Storage.behind_proxy(server) as storage:
        for key, body in stock.items():
            storage.put(key, body)
        case.lay(place)
        yield Bucket(storage, place)


def prepare(folder: Path, server: str) -> Iterator[Prepared]:
    """Run every case once, undisturbed: downloads, then Kubeflow's steps, each on what the one before left in the bucket."""
    before = folder / "store"
    (before / "project").mkdir(parents=True)
    make_image(foreign.flowers(before / "flowers"))
    few, packed = photos(3), zip_of(photos(30))
    for name, stock, origin in (
        ("download (S3 prefix)", {f"in/{name}": body for name, body in few.items()}, "s3://BUCKET/in/"),
        ("download (zip in S3)", {"all.zip": packed}, "s3://BUCKET/all.zip"),
        ("download (signed LINK)", {"all.zip": packed}, "LINK"),
    ):
        own = Path(shutil.copytree(before, folder / f"store-{uuid.uuid4().hex}", symlinks=True))
        params = tiny.params()
        params["download"] |= {"source": "deepfashion", "origins": [{"address": origin}], "endpoint": "ENDPOINT"}
        (own / "project" / "fetch.yaml").write_text(yaml.safe_dump(params))
        words = ("download", "--raw", "fetched", "--transfers", ".repose/transfers", "--params", "fetch.yaml")
        case = Case(name, "repose.cli", words, ("project/fetched",), before=own)
        yield _undisturbed(case, stock, server, folder)[0]
    petals = b"1\n2\n3\n"
    stock = {_key(hashlib.md5(petals, usedforsecurity=False).hexdigest()): petals}

    def entry() -> str:
        return next(Path(key).stem for key in stock if key.startswith("steps/kubeflow/entries/"))

    for case in on_kubeflow("s3://BUCKET/steps", entry, "ENDPOINT"):
        case.before = before
        done, stock = _undisturbed(case, stock, server, folder)
        yield done


def _key(md5: str) -> str:
    return f"steps/files/md5/{md5[:2]}/{md5[2:]}"


def _undisturbed(case: Case, stock: Stock, server: str, folder: Path) -> tuple[Prepared, Stock]:
    """Run a case; return what it leaves, and the bucket for the next."""
    place = folder / f"undisturbed-{uuid.uuid4().hex}"
    with bucket(server, place, case, stock) as own:
        ended = own.case(case).run(place, folder / "undisturbed.log")
        if ended.code != 0:
            raise RuntimeError(f"{case.name} does not even run undisturbed: {ended.words}")
        case.after = own.folder()
        return Prepared(case, stock, own.objects(), own.storage.proxy.count()), own.storage.bodies()


def fail(known: Sequence[Prepared], random: Random, number: int, place: Path, server: str, secret: str) -> Round:
    """Run a command while the store fails, then the same one while it works."""
    case, stock, stored, requests = known[number % len(known)]
    log, (how, faults) = place.with_suffix(".log"), _faults(random, requests)
    with bucket(server, place, case, stock) as own:
        here, start, proxy = own.case(case), own.folder(), own.storage.proxy
        proxy.fail(*faults)
        began = time.monotonic()
        ended = here.run(place, log)
        seconds, met = time.monotonic() - began, proxy.count()
        problems = [f"took {seconds:.0f} s"] * (seconds > LIMIT)
        if ended.code not in (0, 1) or "Traceback" in ended.output:
            problems.append(ended.words)
        if secret in ended.output:
            problems.append("its output has the secret key")
        if ended.code == 0:
            problems += [f"after exit 0, {text}" for text in _differ(own, case, stored)]
        files = own.folder()
        problems += [
            f"{out} is neither absent, old nor whole" for out in case.outs
            if below(files, out) not in ({}, below(start, out), below(case.after, out))
        ]  # fmt: skip
        problems += _broken(own.storage.bodies(), stock)
        proxy.fail()
        again = here.run(place, log)
        if again.code != 0:
            problems.append(f"the same command again {again.words}")
        problems += [f"after the same command again, {text}" for text in _differ(own, case, stored)]
    return Round(case.name, f"{how}: {met} requests, ended with {ended.code} after {seconds:.0f} s", problems)


def _differ(own: Bucket, case: Case, stored: Snapshot) -> list[str]:
    return differences(own.folder(), case.after) + [
        f"in the bucket, {text}" for text in differences(own.objects(), stored)
    ]


def _broken(objects: Stock, stock: Stock) -> list[str]:
    """Objects that are lost, half-written, or name objects that are not there."""
    problems = [f"{key} is lost" for key in stock if key not in objects]
    for key, body in objects.items():
        if match := _OBJECT.fullmatch(key):
            if hashlib.md5(body, usedforsecurity=False).hexdigest() != match[1] + match[2]:
                problems.append(f"{key} is half-written")
            elif match[3]:
                listed = [_key(part["md5"]) for part in json.loads(body)]
                problems += [f"{key} names {name}, which is not there" for name in listed if name not in objects]
    return problems


def _faults(random: Random, requests: int) -> tuple[str, list[Fault]]:
    """What goes wrong, in words, after how many requests, and for how many."""
    times = random.choice((1, 2, 3, None))
    kind = random.choice(("cut", "cut upload", "slow", "503", "500", "wrong bytes", "silence", "credentials"))
    code = random.choice(_WRONG_CODES)
    fault = {
        "cut": Fault(drop_response=int(2 ** random.uniform(0, 20)), times=times),
        "cut upload": Fault(drop_request=random.randrange(200), methods="PUT POST", times=times),
        "slow": Fault(pace=int(2 ** random.uniform(8, 18)), times=times),
        "503": Fault(status=503, times=times),
        "500": Fault(status=500, code="InternalError", times=times),
        "wrong bytes": Fault(wrong=int(2 ** random.uniform(0, 14)), methods="GET", times=times),
        "silence": Fault(hang=True, times=times),
        "credentials": Fault(status=400 if code == "ExpiredToken" else 403, code=code),
    }[kind]
    right = random.choice((0, random.randrange(requests)))
    words = f"{kind}{f' ({code})' * (kind == 'credentials')} after {right} requests, {fault.times or 'all'} times"
    return words, [Fault(times=right), fault] if right else [fault]
