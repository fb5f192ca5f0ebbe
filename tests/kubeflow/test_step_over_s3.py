"""Steps with a remote in S3, through a proxy that fails; `make test-s3` runs them against SeaweedFS, not moto."""

import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import steps
from foreign import without_data

from faulty_proxy import Fault
from repose.config import parse_yaml
from repose.errors import ReposeError
from repose.kubeflow import fetch
from s3_storage import Storage

PETALS, MADE = b"1\n2\n3\n", b'{"petals": 12}'  # what the .dvc file names, and what the first stage makes
OUTPUTS = {"count": ["made"], "judge": ["report_html", "score_json"]}


@dataclass
class Flowers:
    """The foreign project `flowers` with a remote in S3 that holds what its .dvc file names."""

    image: Path
    storage: Storage
    capfd: pytest.CaptureFixture[str]
    entry: str = ""  # the ID of the first stage's
    runs: int = 0

    @property
    def remote(self) -> str:
        return f"s3://{self.storage.bucket}/steps"

    def run(self, stage: str) -> dict[str, Any]:
        """Do the task of a stage; return what it left for the run's record."""
        self.runs += 1
        left = steps.run(
            stage, self.image, self.remote, OUTPUTS[stage], inputs=[self.entry] if stage == "judge" else [],
            run=f"run-{self.runs}", endpoint=self.storage.proxy.address,
        )  # fmt: skip
        self.entry = left.entry if stage == "count" else self.entry
        found: dict[str, Any] = json.loads(self.bodies("kubeflow/runs")[f"run-{self.runs}/stages/{stage}.json"])
        return found

    def fails(self, stage: str, message: str) -> None:
        """It ends with this message, shows no secret, leaves nothing half."""
        self.capfd.readouterr()
        with pytest.raises(ReposeError, match=message) as caught:
            self.run(stage)
        shown = str(caught.value) + "".join(self.capfd.readouterr())
        for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            assert os.environ.get(name, "-\n-") not in shown
        assert re.search("Signature=|X-Amz-Sec", shown) is None
        self.check_whole()

    def check_whole(self) -> None:
        """Every object has the bytes that its name says, and what lists and the run-cache name is there."""
        objects = {name.replace("/", ""): body for name, body in self.bodies("files/md5").items()}
        for oid, body in objects.items():
            assert hashlib.md5(body, usedforsecurity=False).hexdigest() == oid.removesuffix(".dir")
            if oid.endswith(".dir"):
                assert {part["md5"] for part in json.loads(body)} <= objects.keys()
        for body in self.bodies("runs").values():
            assert {out["md5"] for out in parse_yaml(body.decode())["outs"]} <= objects.keys()

    def bodies(self, folder: str) -> dict[str, bytes]:
        place = f"steps/{folder}/"
        return {key.removeprefix(place): body for key, body in self.storage.bodies(place).items()}

    def key(self, content: bytes) -> str:
        """Where the object with this content is."""
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        return f"steps/files/md5/{md5[:2]}/{md5[2:]}"


@pytest.fixture
def over_s3(
    flowers: Path, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Flowers:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    found = Flowers(without_data(flowers), storage, capfd)
    storage.put(found.key(PETALS), PETALS)
    return found


# what goes wrong, and what the message says
FAULTS = {
    "wrong secret": (Fault(status=403, code="SignatureDoesNotMatch"), r"refuses to .*\(SignatureDoesNotMatch\)"),
    "expired token": (Fault(status=400, code="ExpiredToken"), r"refuses to .*\(ExpiredToken\).*when they expire"),
    "connection cut": (Fault(drop_request=3, methods="PUT", paths="files/md5"), "cannot write objects: 1 failed"),
    "run-cache": (Fault(status=503, methods="PUT", paths="/runs/[0-9a-f]{2}/"), r"does not answer \(to write runs/"),
}  # fmt: skip


def test_two_steps_their_record_and_the_same_work_found(over_s3, tmp_path):
    assert over_s3.run("count")["how"] == "run"
    assert over_s3.run("judge")["how"] == "run"
    over_s3.check_whole()
    over_s3.storage.proxy.fail()
    assert over_s3.run("count")["how"] == "found in the run-cache"
    assert over_s3.storage.proxy.count("PUT", "files/md5") == 0
    endpoint = over_s3.storage.proxy.address
    record = steps.write_record(over_s3.image, over_s3.remote, run="run-2", endpoint=endpoint)
    assert [stage["state"] for stage in record["stages"]] == ["finished", "finished"]
    here = Path(shutil.copytree(over_s3.image, tmp_path / "laptop"))
    how: dict[str, Any] = {"remote": over_s3.remote, "endpoint": endpoint}
    assert fetch.fetch_run(here, "run-2", force=False, **how) == record
    assert set(parse_yaml((here / "dvc.lock").read_text())["stages"]) == {"count", "judge"}
    assert json.loads((here / "score.json").read_text())["score"]["petals"] == 12
    over_s3.storage.proxy.fail(FAULTS["wrong secret"][0])
    with pytest.raises(ReposeError, match=r"refuses to read kubeflow/runs/run-2/record.json"):
        fetch.fetch_run(here, "run-2", force=True, **how)


def test_a_remote_that_refuses_or_fails_has_nothing_half_and_the_next_try_goes_on(over_s3, monkeypatch):
    for fault, message in FAULTS.values():
        over_s3.storage.proxy.fail(fault)
        over_s3.fails("count", message)
        assert over_s3.bodies("runs") == {}
    over_s3.storage.proxy.fail()
    with monkeypatch.context() as without:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            without.delenv(name)
        over_s3.fails("count", "There are no credentials for the remote .*: Unable to locate credentials")
    over_s3.run("count")
    over_s3.check_whole()


def test_a_call_is_tried_again_after_an_error_of_the_server(over_s3):
    paths = ("files/md5", "/runs/[0-9a-f]{2}/", "entries", "list-type=2", "count.json")
    over_s3.storage.proxy.fail(*(Fault(status=500, code="InternalError", paths=path, times=1) for path in paths))
    over_s3.run("count")
    over_s3.check_whole()


def test_an_object_that_is_missing_or_has_changed_is_told_and_made_again(over_s3):
    over_s3.run("count")
    key = over_s3.key(MADE)
    for body in (None, MADE.replace(b"12", b"99")):
        over_s3.storage.client.delete_object(Bucket=over_s3.storage.bucket, Key=key)
        if body:
            over_s3.storage.put(key, body)
        with pytest.raises(ReposeError, match=r"made/petals.json cannot be fetched from the remote .*run its stage"):
            over_s3.run("judge")
    over_s3.storage.client.delete_object(Bucket=over_s3.storage.bucket, Key=key)
    assert over_s3.run("count")["how"] == "run"
    over_s3.run("judge")
    over_s3.check_whole()


@pytest.mark.usefixtures("seaweedfs")
@pytest.mark.parametrize("variable", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"])
def test_wrong_credentials_are_an_error_at_once_and_right_ones_work(over_s3, monkeypatch, variable):
    over_s3.run("count")
    with monkeypatch.context() as wrong:
        wrong.setenv(variable, "wrong-s3cret")
        over_s3.storage.proxy.fail()
        over_s3.fails("judge", r"refuses to read .*\(403\)\. Check the credentials")
        assert over_s3.storage.proxy.count(paths="entries") == 1
    over_s3.run("judge")
