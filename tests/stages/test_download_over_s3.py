"""The stage download with origins in S3, through a proxy that fails; `make test-s3` runs them against SeaweedFS, not moto."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from test_download import run as download

from faulty_proxy import Fault
from repose.errors import ReposeError
from repose.stages.download import Origin
from repose.storage.transfer import partial, s3
from repose.storage.transfer.partial import CHUNK
from s3_storage import BIG, FILES, OTHER, Storage
from tiny import files_in


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
        download(self.folder, *origins, endpoint=self.endpoint)
        assert not (self.folder / "transfers").exists()  # nothing is left behind once all is there
        return self.files()

    def files(self) -> dict[str, bytes]:
        return files_in(self.folder / "raw")

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


@pytest.mark.parametrize("name", LASTING)
def test_a_lasting_fault_changes_nothing_and_the_next_run_resumes(storage, stage, monkeypatch, name):
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
def test_passing_faults_are_retried_in_the_same_run(storage, stage, kind):
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
def test_other_bytes_than_those_of_the_etag_are_never_taken(storage, stage, kind):
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
def test_a_cut_transfer_resumes_in_the_next_run_unless_the_object_changed(storage, stage, kind, change):
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


# --- what moto does not refuse


@pytest.mark.usefixtures("seaweedfs")
@pytest.mark.parametrize("kind", ["prefix", "zip"])
@pytest.mark.parametrize(("variable", "value", "message"), [
    ("AWS_SECRET_ACCESS_KEY", "wrong-s3cret", r"with these credentials \(SignatureDoesNotMatch\)"),
    ("AWS_ACCESS_KEY_ID", "NOBODY", r"with these credentials \(InvalidAccessKeyId\)"),
])  # fmt: skip
def test_wrong_credentials_are_an_error_at_once(storage, stage, monkeypatch, kind, variable, value, message):
    origin = storage.put_all() if kind == "prefix" else storage.put_zip()
    with monkeypatch.context() as wrong:
        wrong.setenv(variable, value)
        stage.fails(origin, message=message)
    assert storage.proxy.count() == 1
    assert stage.waits == []
    assert stage.run(origin) == undisturbed(storage, stage, origin)


@pytest.mark.usefixtures("seaweedfs")
@pytest.mark.parametrize("version", ["s3v4", "s3"])
def test_an_expired_link_is_an_error_and_a_new_one_works(storage, stage, version):
    storage.put("list.csv", BIG)
    expired = storage.link("list.csv", 1, version)
    time.sleep(2.1)
    stage.fails(expired, message=r"list.csv may not be read \(HTTP 403\): a signed link has expired.*Get a new link")
    assert storage.proxy.count() == 1
    fresh = storage.link("list.csv")
    assert stage.run(fresh) == undisturbed(storage, stage, fresh)


@pytest.mark.usefixtures("seaweedfs")
def test_a_link_that_expires_between_two_parts_resumes_with_a_new_one(storage, stage):
    storage.put("list.csv", BIG)
    link = storage.link("list.csv", seconds=1)
    storage.proxy.fail(Fault(drop_response=CHUNK, times=1))
    stage.waits.meanwhile = lambda: time.sleep(2.1)
    stage.fails(link, message="a signed link has expired")
    assert [request.range for request in storage.proxy.requests] == [None, f"bytes={CHUNK}-"]
    storage.proxy.fail()
    stage.waits.meanwhile = lambda: None
    fresh = storage.link("list.csv")
    written = stage.run(fresh)
    assert [request.range for request in storage.proxy.requests] == [f"bytes={CHUNK}-"]
    assert written == undisturbed(storage, stage, fresh)


@pytest.mark.usefixtures("seaweedfs")
@pytest.mark.parametrize(("version", "part"), [("s3v4", "X-Amz-Signature="), ("s3", "Expires=")])
def test_a_tampered_link_is_an_error(storage, stage, version, part):
    storage.put("list.csv", BIG)
    before, _, after = storage.link("list.csv", version=version).rpartition(part)
    link = before + part + ("1" if after[0] != "1" else "2") + after[1:]
    stage.fails(link, message=r"may not be read \(HTTP 403\)")
    assert storage.proxy.count() == 1
