"""What has to hold for steps over any S3 server: the normal tests run these cases against moto, tests/s3 against radosgw."""

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import foreign
import pytest
import steps
import yaml

from faulty_proxy import Fault
from repose.errors import ReposeError
from repose.kubeflow import fetch, record, workspace
from repose.storage import remote
from s3_cases import Storage

PETALS = b"1\n2\n3\n"
OUTPUTS = {"count": ["made"], "judge": ["report_html", "score_json"]}
NOWHERE = "http://127.0.0.1:1"  # where nobody listens
Pointers = Mapping[str, bytes]  # of each output


@dataclass
class Flowers:
    """The foreign project `flowers` with a remote in S3 that holds what its .dvc file names."""

    image: Path
    storage: Storage
    capfd: pytest.CaptureFixture[str]
    pointers: Pointers  # as an undisturbed run leaves them
    runs: int = 0

    @property
    def remote(self) -> str:
        return f"s3://{self.storage.bucket}/steps"

    def run(self, stage: str) -> dict[str, Any]:
        """Do the task of a stage; its pointers are the undisturbed ones; return what it left for the run's record."""
        self._do(stage)
        return self.left(stage)

    def _do(self, stage: str, endpoint: str = "") -> None:
        self.runs += 1
        inputs = [self.place("count") / "made"] if stage == "judge" else []
        left = steps.run(
            stage, self.image, self.remote, OUTPUTS[stage], inputs=inputs, run=f"run-{self.runs}",
            endpoint=endpoint or self.storage.proxy.address,
        )  # fmt: skip
        assert {name: file.read_bytes() for name, file in left.files.items()} == {
            name: self.pointers[name] for name in OUTPUTS[stage]
        }
        self.place(stage).mkdir(parents=True, exist_ok=True)
        for name, file in left.files.items():
            shutil.copy(file, self.place(stage) / name)

    def place(self, stage: str) -> Path:
        return self.image.parent / "pointers" / stage

    def left(self, stage: str) -> dict[str, Any]:
        left = yaml.safe_load(self.storage.bodies("steps/")[f"steps/kubeflow/runs/run-{self.runs}/stages/{stage}.json"])
        return dict(left)

    def fails(self, stage: str, message: str, *, endpoint: str = "") -> None:
        """It ends with this message, shows no secret, leaves nothing half."""
        self.capfd.readouterr()
        with pytest.raises(ReposeError, match=message) as caught:
            self._do(stage, endpoint)
        self.check_secrets(str(caught.value))
        self.check_whole()

    def check_secrets(self, message: str) -> None:
        shown = message + "".join(self.capfd.readouterr())
        for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            assert os.environ.get(name, "-\n-") not in shown
        assert re.search("Signature=|X-Amz-Sec", shown) is None

    def check_whole(self) -> None:
        """Every object has the bytes that its name says, and what the run-cache names is there."""
        bodies = self.storage.bodies("steps/")
        objects = {"".join(key.split("/")[-2:]): body for key, body in bodies.items() if "/files/md5/" in key}
        for oid, body in objects.items():
            assert hashlib.md5(body, usedforsecurity=False).hexdigest() == oid.removesuffix(".dir")
        for key, body in bodies.items():
            if key.startswith("steps/runs/"):
                assert {out["md5"] for out in yaml.safe_load(body)["outs"]} <= objects.keys()
        for oid, body in objects.items():
            if oid.endswith(".dir"):
                assert {part["md5"] for part in yaml.safe_load(body)} <= objects.keys()

    def key(self, content: bytes) -> str:
        """Where the object with this content is."""
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        return f"steps/files/md5/{md5[:2]}/{md5[2:]}"

    def keys(self, folder: str) -> set[str]:
        return set(self.storage.bodies(f"steps/{folder}"))


MADE = b'{"petals": 12}'  # what the first stage makes


@pytest.fixture(scope="session")
def flowers_made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Pointers]:
    """The project, and the pointers of a run with a folder as remote."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        own_environment(monkeypatch)
        image = foreign.flowers(tmp_path_factory.mktemp("flowers") / "image")
        (image / "petals.csv").unlink()
        store = image.parent / "store"
        shutil.copytree(image / ".dvc" / "cache", store)
        counted = steps.run("count", image, store, OUTPUTS["count"])
        judged = steps.run("judge", image, store, OUTPUTS["judge"], inputs=[counted.files["made"]])
        shutil.rmtree(image / ".dvc" / "cache")
    files = counted.files | judged.files
    return image, {name: file.read_bytes() for name, file in files.items()}


def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step sets variables of its process, which is this one."""
    for name in ("DVC_NO_ANALYTICS", "DVC_SITE_CACHE_DIR"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def over_s3(
    flowers_made: tuple[Path, Pointers], storage: Storage, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> Flowers:  # fmt: skip
    own_environment(monkeypatch)
    monkeypatch.setattr(remote, "_WAIT", 0.01)
    monkeypatch.setattr(workspace, "_WAITS", {"connect_timeout": 2, "read_timeout": 1})
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.delenv("AWS_MAX_ATTEMPTS", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    made, pointers = flowers_made
    image = Path(shutil.copytree(made, tmp_path / "image", symlinks=True))
    flowers = Flowers(image, storage, capfd, pointers)
    storage.put(flowers.key(PETALS), PETALS)
    return flowers


# name of the fault: what goes wrong, what the message says
REFUSED = {
    "wrong secret": (Fault(status=403, code="SignatureDoesNotMatch"), r"refuses to list .*\(SignatureDoesNotMatch\)"),
    "unknown key": (Fault(status=403, code="InvalidAccessKeyId"), r"refuses to list .*\(InvalidAccessKeyId\)"),
    "expired token": (Fault(status=400, code="ExpiredToken"), r"refuses to list .*\(ExpiredToken\).*when they expire"),
    "clock": (Fault(status=403, code="RequestTimeTooSkewed"), "correct this machine's clock"),
    "no reading": (Fault(status=403, code="AccessDenied", paths="files/md5"), r"refuses to read .*\(AccessDenied\)"),
    "expired meanwhile": (
        Fault(status=400, code="ExpiredToken", methods="HEAD PUT"), r"refuses to list .*\(400\).*when they expire"
    ),
}  # fmt: skip
LOST = {
    "503": (Fault(status=503), "does not answer .*run the step again"),
    "500": (Fault(status=500, code="InternalError"), "does not answer .*run the step again"),
    "list cut": (Fault(drop_response=20, paths="list-type"), "does not answer .*run the step again"),
    "object cut": (Fault(drop_response=0, methods="GET", paths="files/md5"), "does not answer .*run the step again"),
}
UPLOADS = {
    "connection cut": (Fault(drop_request=3, methods="PUT", paths="files/md5"), r"does not answer \(to write files/md5"),
    "503": (Fault(status=503, methods="PUT", paths="files/md5"), r"does not answer \(to write files/md5"),
    "no writing": (Fault(status=403, code="AccessDenied", methods="PUT", paths="md5"), r"refuses to write .*\(AccessDenied"),
    "run-cache": (Fault(status=503, methods="PUT", paths="/runs/[0-9a-f]{2}/"), r"does not answer \(to write runs/"),
}  # fmt: skip


class StepCases:
    """The two stages of `flowers` with DVC's remote in S3."""

    def test_two_steps_their_record_and_the_same_work_found(self, over_s3: Flowers, tmp_path: Path) -> None:
        assert over_s3.run("count")["how"] == "run"
        assert over_s3.run("judge")["how"] == "run"
        over_s3.check_whole()
        over_s3.storage.proxy.fail()
        assert over_s3.run("count")["how"] == "found in the run-cache"
        assert over_s3.storage.proxy.count("PUT", "files/md5") == 0
        found = over_s3.run("judge")
        assert found["how"] == "found in the run-cache"
        assert found["moved"]["fetched"] <= 4
        endpoint = over_s3.storage.proxy.address
        how: dict[str, Any] = {"remote": over_s3.remote, "endpoint": endpoint}
        written = record.leave_record(run="run-4", pipeline="flowers", params=[], image=over_s3.image, **how)
        assert [stage["state"] for stage in written["stages"]] == ["finished", "finished"]
        here = Path(shutil.copytree(over_s3.image, tmp_path / "laptop"))
        assert fetch.fetch_run(here, "run-4", force=False, **how) == written
        assert set(yaml.safe_load((here / "dvc.lock").read_text())["stages"]) == {"count", "judge"}
        assert yaml.safe_load((here / "score.json").read_text())["score"]["petals"] == 12
        fault, _ = REFUSED["wrong secret"]
        over_s3.storage.proxy.fail(fault)
        with pytest.raises(ReposeError, match=r"refuses to read kubeflow/runs/run-4/record.json") as caught:
            fetch.fetch_run(here, "run-4", force=True, **how)
        over_s3.check_secrets(str(caught.value))
        with pytest.raises(ReposeError, match=r"refuses to list kubeflow/runs/run-4/stages \(SignatureDoesNotMatch\)"):
            record.leave_record(run="run-4", pipeline="flowers", params=[], image=over_s3.image, **how)

    def test_a_remote_that_refuses_is_told_at_once_and_the_next_try_goes_on(self, over_s3: Flowers) -> None:
        for fault, message in REFUSED.values():
            over_s3.storage.proxy.fail(fault)
            over_s3.fails("count", message)
            assert over_s3.keys("runs") == over_s3.keys("kubeflow/unfinished") == set()
        over_s3.storage.proxy.fail()
        over_s3.run("count")

    def test_no_credentials(self, over_s3: Flowers, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as without:
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                without.delenv(name)
            over_s3.fails("count", "There are no credentials for the remote .*: Unable to locate credentials")
            without.setenv("AWS_PROFILE", "nobody")
            over_s3.fails("count", "There are no credentials for the remote .*nobody.* could not be found")
        assert over_s3.storage.proxy.count() == 0
        over_s3.run("count")

    def test_a_remote_that_is_lost_is_told_and_the_next_try_goes_on(
        self, over_s3: Flowers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("REPOSE_DVC_CACHE", str(tmp_path / "shared"))
        for fault, message in LOST.values():
            over_s3.storage.proxy.fail(fault)
            over_s3.fails("count", message)
        over_s3.fails("count", "does not answer .*Connect call failed", endpoint=NOWHERE)
        assert not [path for path in (tmp_path / "shared" / "files").rglob("*") if path.is_file()]
        over_s3.storage.proxy.fail()
        over_s3.run("count")

    def test_outputs_that_cannot_be_pushed_leave_nothing_half_and_the_next_try_goes_on(self, over_s3: Flowers) -> None:
        for fault, message in UPLOADS.values():
            over_s3.storage.proxy.fail(fault)
            over_s3.fails("count", message)
            assert over_s3.keys("runs") == set()
        over_s3.storage.proxy.fail()
        over_s3.run("count")
        over_s3.check_whole()

    def test_an_object_that_is_missing_or_has_changed_is_told_and_made_again(self, over_s3: Flowers) -> None:
        over_s3.run("count")
        key = over_s3.key(MADE)
        oid = "".join(key.split("/")[-2:])
        over_s3.storage.client.delete_object(Bucket=over_s3.storage.bucket, Key=key)
        with pytest.raises(ReposeError, match=f"The object {oid} is not in the remote {over_s3.remote}"):
            over_s3.run("judge")
        over_s3.storage.put(key, MADE.replace(b"12", b"99"))
        with pytest.raises(ReposeError, match=f"The object {oid} in the remote {over_s3.remote} has changed.*Delete"):
            over_s3.run("judge")
        assert over_s3.left("judge")["state"] == "failed"
        over_s3.storage.client.delete_object(Bucket=over_s3.storage.bucket, Key=key)
        (entry,) = over_s3.keys("runs")
        over_s3.storage.put(f"{entry[:-1]}_", b"outs: [")  # and an entry that is damaged
        assert over_s3.run("count")["how"] == "run"
        assert "is not an entry of a run-cache" in over_s3.capfd.readouterr().err
        over_s3.storage.client.delete_object(Bucket=over_s3.storage.bucket, Key=f"{entry[:-1]}_")
        over_s3.run("judge")
        over_s3.check_whole()

    def test_unfinished_work_is_kept_until_the_outputs_are_safe(self, over_s3: Flowers) -> None:
        text = (over_s3.image / "dvc.yaml").read_text()
        (over_s3.image / "dvc.yaml").write_text(text.replace('cpu: "1"', "unfinished: .work"))
        code = (over_s3.image / "count.py").read_text()
        (over_s3.image / "count.py").write_text(RESUMING + code)
        with pytest.raises(ReposeError, match="Stage count failed"):
            over_s3.run("count")
        (kept,) = over_s3.keys("kubeflow/unfinished")
        fault, message = UPLOADS["503"]
        over_s3.storage.proxy.fail(fault, Fault(drop_response=1000, methods="GET", paths="unfinished", times=2))
        with pytest.raises(ReposeError, match=message):
            over_s3.run("count")
        assert "starting at 2" in over_s3.capfd.readouterr().out
        assert over_s3.keys("kubeflow/unfinished") == {kept}
        over_s3.storage.proxy.fail(Fault(status=503, methods="DELETE"))
        steps.run("count", over_s3.image, over_s3.remote, ["made"], endpoint=over_s3.storage.proxy.address, run="last")
        shown = over_s3.capfd.readouterr()
        assert "starting at 2" in shown.out
        assert "is no longer needed, but could not be deleted from the remote" in shown.err


RESUMING = """
import pathlib, sys
work = pathlib.Path(".work"); work.mkdir(exist_ok=True)
done = len(list(work.iterdir()))
print("starting at", done, flush=True)
for number in range(done, 4):
    (work / str(number)).write_text("x" * 5000)
    if number == 1:
        sys.exit(1)
"""
