"""Rounds against a real S3 server behind a proxy that cuts, slows, refuses and falsifies."""

import hashlib
import json
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import foreign
import yaml

import tiny
from faults import cases
from faults.cases import Case, Snapshot, differences, digest, half, photos, snapshot
from faults.rounds import Round
from faulty_proxy import Fault
from s3_storage import Storage

LIMIT = 120  # seconds in which every command ends or says why not
_OBJECT = re.compile(r"steps/files/md5/(..)/(.{30})(\.dir)?")
_WRONG_CODES = ("ExpiredToken", "RequestExpired", "AccessDenied", "InvalidAccessKeyId")
Stock = dict[str, bytes]  # the objects of a bucket by their keys


@dataclass
class Stored:
    """A case with what is in its bucket before, and after an undisturbed run."""

    case: Case
    stock: Stock
    objects: Snapshot = field(default_factory=dict)
    requests: int = 0


@contextmanager
def bucket(server: str, place: Path, stored: Stored) -> Iterator[tuple[Storage, Case]]:
    """A bucket with its stock behind a proxy, and the case with its addresses, in the folder in which it starts."""
    with Storage.behind_proxy(server) as storage:
        for key, body in stored.stock.items():
            storage.put(key, body)
        stored.case.lay(place)
        names = {"BUCKET": storage.bucket, "ENDPOINT": storage.proxy.address, "LINK": storage.link("all.zip")}

        def named(text: str) -> str:
            return re.sub("|".join(names), lambda name: names[name[0]], text)

        for params in place.glob("project/fetch.yaml"):
            params.write_text(named(params.read_text()))
        yield storage, replace(stored.case, words=tuple(map(named, stored.case.words)))


def objects(storage: Storage) -> Snapshot:
    return {key: digest(key, body) for key, body in storage.bodies().items()}


def prepare(folder: Path, server: str) -> Iterator[Stored]:
    """Run every case once, undisturbed: downloads, then Kubeflow's steps, each on what the one before left in the bucket."""
    packed = cases.zip_of(photos(30))
    for name, stock, origin in (
        ("download (S3 prefix)", {f"in/{name}": body for name, body in photos(3).items()}, "s3://BUCKET/in/"),
        ("download (zip in S3)", {"all.zip": packed}, "s3://BUCKET/all.zip"),
        ("download (signed LINK)", {"all.zip": packed}, "LINK"),
    ):
        params = tiny.params(download__source="deepfashion", download__origins=[{"address": origin}])
        params["download"]["endpoint"] = "ENDPOINT"
        before = folder / f"before-{uuid.uuid4().hex}"
        (before / "project").mkdir(parents=True)
        (before / "project" / "fetch.yaml").write_text(yaml.safe_dump(params))
        yield _tried(Stored(replace(cases.download(name), before=before), stock), server, folder)[0]
    before = folder / "before"
    cases.make_image(foreign.flowers(before / "flowers"))
    petals = b"1\n2\n3\n"
    stock = {_key(hashlib.md5(petals, usedforsecurity=False).hexdigest()): petals}

    def entry() -> str:
        return next(Path(key).stem for key in stock if key.startswith("steps/kubeflow/entries/"))

    for case in cases.on_kubeflow("s3://BUCKET/steps", entry, "ENDPOINT"):
        done, stock = _tried(Stored(replace(case, before=before), stock), server, folder)
        yield done


def _key(md5: str) -> str:
    return f"steps/files/md5/{md5[:2]}/{md5[2:]}"


def _tried(stored: Stored, server: str, folder: Path) -> tuple[Stored, Stock]:
    """A case with what it leaves, and the bucket for the next."""
    place = folder / "undisturbed"
    with bucket(server, place, stored) as (storage, case):
        cases.undisturbed(case, place)
        stored.case.after, stored.objects, stored.requests = snapshot(place), objects(storage), storage.proxy.count()
        shutil.rmtree(place)
        return stored, storage.bodies()


def fail(known: Sequence[Stored], random: Random, number: int, place: Path, server: str, secret: str) -> Round:
    """Run a command while the store fails, then the same one while it works."""
    stored = known[number % len(known)]
    log, (how, faults) = place.with_suffix(".log"), _faults(random, stored.requests)
    with bucket(server, place, stored) as (storage, case):

        def differ() -> list[str]:
            in_bucket = differences(objects(storage), stored.objects)
            return differences(snapshot(place), case.after) + [f"in the bucket, {text}" for text in in_bucket]

        start = snapshot(place)
        storage.proxy.fail(*faults)
        began = time.monotonic()
        ended = case.run(place, log)
        seconds, met = time.monotonic() - began, storage.proxy.count()
        problems = [f"took {seconds:.0f} s"] * (seconds > LIMIT)
        if ended.code not in (0, 1) or "Traceback" in ended.output:
            problems.append(ended.words)
        if secret in ended.output:
            problems.append("its output has the secret key")
        if ended.code == 0:
            problems += [f"after exit 0, {text}" for text in differ()]
        problems += half(case, start, snapshot(place)) + _broken(storage.bodies(), stored.stock)
        storage.proxy.fail()
        again = case.run(place, log)
        if again.code != 0:
            problems.append(f"the same command again {again.words}")
        problems += [f"after the same command again, {text}" for text in differ()]
    return Round(case.name, f"{how}: {met} requests, ended with {ended.code} after {seconds:.0f} s", problems)


def _broken(found: Stock, stock: Stock) -> list[str]:
    """Objects that are lost, half-written, or name objects that are not there."""
    problems = [f"{key} is lost" for key in stock if key not in found]
    for key, body in found.items():
        if match := _OBJECT.fullmatch(key):
            if hashlib.md5(body, usedforsecurity=False).hexdigest() != match[1] + match[2]:
                problems.append(f"{key} is half-written")
            elif match[3]:
                listed = [_key(part["md5"]) for part in json.loads(body)]
                problems += [f"{key} names {name}, which is not there" for name in listed if name not in found]
    return problems


def _faults(random: Random, requests: int) -> tuple[str, list[Fault]]:
    """What goes wrong, in words, after how many requests, and for how many."""
    times = random.choice((1, 2, 3, None))
    code = random.choice(_WRONG_CODES)
    kinds = {
        "cut": Fault(drop_response=int(2 ** random.uniform(0, 20)), times=times),
        "cut upload": Fault(drop_request=random.randrange(200), methods="PUT POST", times=times),
        "slow": Fault(pace=int(2 ** random.uniform(8, 18)), times=times),
        "503": Fault(status=503, times=times),
        "500": Fault(status=500, code="InternalError", times=times),
        "wrong bytes": Fault(wrong=int(2 ** random.uniform(0, 14)), methods="GET", times=times),
        "silence": Fault(hang=True, times=times),
        code: Fault(status=400 if code == "ExpiredToken" else 403, code=code),
    }
    kind, right = random.choice([*kinds]), random.choice((0, random.randrange(requests)))
    return f"{kind} after {right} requests, {kinds[kind].times or 'all'} times", [Fault(times=right), kinds[kind]]
