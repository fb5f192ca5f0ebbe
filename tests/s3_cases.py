"""Cases for any S3 server: the normal tests run them against moto, tests/s3 against SeaweedFS."""

import hashlib
import io
import os
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest
from botocore.config import Config

from faulty_proxy import Fault, FaultyProxy
from mannequins.renderer import MannequinSettings
from repose.data.archives import Limits
from repose.errors import ReposeError
from repose.stages import download
from repose.stages.download import DownloadSettings, Origin
from repose.storage.transfer import partial, s3
from repose.storage.transfer.partial import CHUNK

SMALL = {f"img/WOMEN/Tees/id_{n:08d}/02_1_front.jpg": bytes([n]) * 3000 for n in range(1, 6)}
BIG = hashlib.shake_256(b"big").digest(5 * CHUNK + 17)
OTHER = hashlib.shake_256(b"other").digest(len(BIG))  # the same size, so that only the ETag tells
FILES = {**SMALL, "img/WOMEN/Tees/id_00000009/02_1_front.jpg": BIG}


class Storage(NamedTuple):
    """A bucket of one test's own; `proxy` stands between it and what is tested, `client` goes past the proxy."""

    client: Any
    bucket: str
    proxy: FaultyProxy

    @classmethod
    @contextmanager
    def behind_proxy(cls, server: str) -> Iterator["Storage"]:
        client, bucket = s3.client(server), f"test-{uuid.uuid4().hex}"
        client.create_bucket(Bucket=bucket)
        with FaultyProxy(server).listening() as proxy:
            yield cls(client, bucket, proxy)

    def put(self, key: str, body: bytes) -> str:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body)
        return f"s3://{self.bucket}/{key}"

    def put_all(self, files: Mapping[str, bytes] = FILES) -> str:
        for name, body in files.items():
            self.put(f"in/{name}", body)
        return f"s3://{self.bucket}/in/"

    def put_zip(self) -> str:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name, body in FILES.items():
                archive.writestr(zipfile.ZipInfo(name), body)
        return self.put("all.zip", packed.getvalue())

    def link(self, key: str, seconds: int = 600, version: str = "s3v4") -> str:
        """A signed http:// link through the proxy."""
        client = boto3.client("s3", endpoint_url=self.proxy.address, config=Config(signature_version=version))
        asked = {"Bucket": self.bucket, "Key": key}
        signed: str = client.generate_presigned_url("get_object", Params=asked, ExpiresIn=seconds)
        return signed

    def bodies(self, prefix: str = "") -> dict[str, bytes]:
        listed = self.client.list_objects_v2(Bucket=self.bucket, Prefix=prefix).get("Contents", [])
        keys = [entry["Key"] for entry in listed]
        return {key: self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in keys}


class Waits(list[float]):
    """A time.sleep that only notes the seconds, and does `meanwhile`."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], Any] = lambda: None

    def __call__(self, seconds: float) -> None:
        self.append(seconds)
        self.meanwhile()


@dataclass(frozen=True)
class Stage:
    """The stage download in a folder of its own."""

    folder: Path
    endpoint: str
    waits: Waits

    def run(self, *origins: str | Origin) -> dict[str, bytes]:
        """What it wrote: bytes by path."""
        settings = DownloadSettings(
            source="deepfashion", mannequin=MannequinSettings(flavour="fashion", items=2, seed=0, quality=90),
            origins=tuple(Origin(origin) if isinstance(origin, str) else origin for origin in origins),
            endpoint=self.endpoint, limits=Limits(files=1000, total_gigabytes=0.1, file_megabytes=10, ratio=100),
            shard_megabytes=1, workers=1, version=None,
        )  # fmt: skip
        download.run(raw=self.folder / "raw", transfers=self.folder / "transfers", settings=settings)
        assert not (self.folder / "transfers").exists()  # nothing is left behind once all is there
        return self.files()

    def files(self) -> dict[str, bytes]:
        raw = self.folder / "raw"
        return {str(path.relative_to(raw)): path.read_bytes() for path in sorted(raw.rglob("*")) if path.is_file()}

    def fails(self, *origins: str | Origin, message: str) -> str:
        """It ends with this message, shows no secret, and leaves raw as it was; returns the message."""
        before, secrets = self.files(), _secrets(*origins)
        with pytest.raises(ReposeError, match=message) as caught:
            self.run(*origins)
        assert self.files() == before
        assert not list(self.folder.glob(".*raw*"))
        assert not any(secret in str(caught.value) for secret in secrets)
        return str(caught.value)


def _secrets(*origins: str | Origin) -> list[str]:
    queries = [str(origin.address if isinstance(origin, Origin) else origin).partition("?")[2] for origin in origins]
    values = [part.partition("=")[2] for query in queries for part in query.split("&")]
    return [value for value in (*values, os.environ["AWS_SECRET_ACCESS_KEY"]) if len(value) > 5]


@pytest.fixture
def stage(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    waits = Waits()
    monkeypatch.setattr(partial, "sleep", waits)
    return Stage(tmp_path, storage.proxy.address, waits)


def undisturbed(storage: Storage, stage: Stage, *origins: str | Origin) -> dict[str, bytes]:
    """What the stage writes when nothing goes wrong."""
    storage.proxy.fail()
    return Stage(stage.folder / "undisturbed", stage.endpoint, Waits()).run(*origins)


LASTING = {
    "503 at the list": (Fault(status=503, paths="list-type"), r"answers 503 SlowDown; gave up after 5 attempts"),
    "500 at an object": (
        Fault(status=500, code="InternalError", paths="id_00000009"),
        "answers 500 InternalError; gave up",
    ),
    "list cut": (Fault(drop_response=150, paths="list-type"), "gave up after 5 attempts"),
    "object never begins": (Fault(drop_response=0, paths="id_00000009"), "gave up after 5 attempts"),
    "silence": (Fault(hang=True, paths="id_00000009"), "gave up after 5 attempts"),
}


class DownloadCases:
    """The stage download with origins in S3."""

    @pytest.mark.parametrize("name", LASTING)
    def test_a_lasting_fault_changes_nothing_and_the_next_run_resumes(self, storage, stage, monkeypatch, name):
        monkeypatch.setattr(s3, "TIMEOUT", (0.4, 0.4))
        fault, message = LASTING[name]
        origin = storage.put_all()
        if name == "list cut":  # a later run that fails leaves the output of the one before
            stage.run(origin)
        storage.proxy.fail(fault)
        said = stage.fails(origin, message=message)
        assert f"s3://{storage.bucket}/in/" in said
        assert "run the same command again" in said
        expected = undisturbed(storage, stage, origin)
        storage.proxy.fail()
        assert stage.run(origin) == expected
        if fault.paths == "id_00000009":  # the objects that had come are not fetched again
            assert storage.proxy.count("GET", "/in/") < len(FILES)

    @pytest.mark.parametrize("kind", ["prefix", "zip", "link"])
    def test_passing_faults_are_retried_in_the_same_run(self, storage, stage, kind):
        origins = {"prefix": storage.put_all(), "zip": storage.put_zip(), "link": storage.link("all.zip")}
        paths = "id_00000009" if kind == "prefix" else "all.zip"
        expected = undisturbed(storage, stage, origins[kind])
        storage.proxy.fail(
            Fault(status=503, times=2, paths=paths), Fault(drop_response=2 * CHUNK, times=1, paths=paths),
            Fault(status=500, code="InternalError", times=1, paths=paths),
            Fault(drop_response=CHUNK, times=1, paths=paths),
        )  # fmt: skip
        assert stage.run(origins[kind]) == expected
        ranges = [request.range for request in storage.proxy.requests if paths in request.path]
        assert ranges == [None, None, None, f"bytes={2 * CHUNK}-", f"bytes={2 * CHUNK}-", f"bytes={3 * CHUNK}-"]
        assert stage.waits == [1, 2, 1, 2, 1]

    @pytest.mark.parametrize("kind", ["prefix", "zip"])
    def test_other_bytes_than_those_of_the_etag_are_never_taken(self, storage, stage, kind):
        origin = storage.put_all() if kind == "prefix" else storage.put_zip()
        paths = "id_00000009" if kind == "prefix" else "all.zip"
        expected = undisturbed(storage, stage, origin)
        wrong = Fault(wrong=20, paths=paths)
        storage.proxy.fail(wrong)
        stage.fails(origin, message="other bytes came than those of the ETag; gave up after 5 attempts")
        storage.proxy.fail(replace(wrong, times=1))
        assert stage.run(origin) == expected

    @pytest.mark.parametrize("kind", ["object", "link"])
    @pytest.mark.parametrize("change", [False, True], ids=["same", "changed"])
    def test_a_cut_transfer_resumes_in_the_next_run_unless_the_object_changed(self, storage, stage, kind, change):
        address = storage.put("list.csv", BIG)
        origin = address if kind == "object" else storage.link("list.csv")
        storage.proxy.fail(Fault(drop_response=CHUNK, times=1), Fault(status=503))
        stage.fails(origin, message="answers 503.* gave up after 5 attempts.*the transfer will resume")
        if change:
            storage.put("list.csv", OTHER)
        expected = undisturbed(storage, stage, origin)
        storage.proxy.fail()
        assert stage.run(origin) == expected
        assert storage.proxy.requests[0].range == f"bytes={CHUNK}-"
        assert sum(request.range is None for request in storage.proxy.requests) == change
