"""What DVC has to do with a remote in S3, over any server: the normal tests use moto, tests/s3 uses radosgw."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

import warm
from faulty_proxy import Fault
from repose.storage.transfer.remote import CHUNK
from s3_cases import BIG, FILES, OTHER, Storage


@dataclass(frozen=True)
class Shared:
    """A project of somebody's with two things under DVC and a remote in S3, on one machine of theirs."""

    folder: Path

    @classmethod
    def made(cls, folder: Path, storage: Storage) -> "Shared":
        shared = cls(folder)
        (folder / ".dvc").mkdir(parents=True)
        shared.configure(storage)
        for name, body in FILES.items():
            (folder / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "photos" / name).write_bytes(body)
        (folder / "weights").write_bytes(OTHER)
        shared.dvc("add", "photos", "weights")
        return shared

    def elsewhere(self, folder: Path) -> "Shared":
        """The same on another machine, where none of its data is."""
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns("photos", "weights", "cache", "site", "tmp"))
        return Shared(folder)

    def configure(self, storage: Storage, bucket: str = "", **more: str) -> None:
        options = {"url": f"s3://{bucket or storage.bucket}/store", "endpointurl": storage.proxy.address, **more}
        lines = ["[core]", "no_scm = true", "remote = s3", "site_cache_dir = ../site", "['remote \"s3\"']"]
        lines += [f"{name} = {value}" for name, value in options.items()]
        (self.folder / ".dvc" / "config").write_text("\n".join(lines))

    def dvc(self, *arguments: str, fails: bool = False) -> str:
        """What it printed; it must succeed, or fail."""
        program = Path(sys.executable).parent / "dvc"
        environment = warm.environment() | {"DVC_NO_ANALYTICS": "1", "AWS_EC2_METADATA_DISABLED": "true"}
        done = subprocess.run(
            [program, *arguments], cwd=self.folder, env=environment, check=False, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert (done.returncode != 0) is fails, done.stdout
        assert os.environ["AWS_SECRET_ACCESS_KEY"] not in done.stdout
        return done.stdout

    def data(self) -> dict[str, bytes]:
        photos = self.folder / "photos"
        found = {str(path.relative_to(photos)): path.read_bytes() for path in photos.rglob("*") if path.is_file()}
        weights = self.folder / "weights"
        return found | ({"weights": weights.read_bytes()} if weights.exists() else {})


ALL = {**FILES, "weights": OTHER}
OBJECTS = len(ALL) + 1  # and the list of the folder


def check_hashes(bodies: Mapping[str, bytes]) -> None:
    """Every object is whole: its bytes have the MD5 that it is named after."""
    for path, body in bodies.items():
        named = "".join(path.split("/")[-2:]).removesuffix(".dir")
        assert hashlib.md5(body, usedforsecurity=False).hexdigest() == named


def cached(shared: Shared) -> dict[str, bytes]:
    cache = shared.folder / ".dvc" / "cache" / "files" / "md5"
    return {str(path): path.read_bytes() for path in cache.glob("??/*")}


@pytest.fixture
def shared(storage: Storage, tmp_path: Path) -> Shared:
    return Shared.made(tmp_path / "mine", storage)


class RemoteCases:
    """`dvc push` and `dvc pull` with a remote in S3."""

    @pytest.mark.slow
    def test_a_lasting_fault_of_a_push_leaves_no_half_object_and_the_next_push_goes_on(
        self, storage: Storage, shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        storage.proxy.fail(Fault(drop_request=1000, methods="PUT"))
        assert "failed to push" in shared.dvc("push", fails=True)
        assert storage.bodies("store/") == {}
        storage.proxy.fail(Fault(status=503, methods="PUT"))
        assert "failed to push" in shared.dvc("push", fails=True)
        assert storage.bodies("store/") == {}
        storage.proxy.fail()
        shared.dvc("push")
        stored = storage.bodies("store/")
        assert len(stored) == OBJECTS
        check_hashes(stored)
        other = shared.elsewhere(tmp_path / "other")
        other.dvc("pull")
        assert other.data() == ALL

    @pytest.mark.slow
    def test_faults_that_pass_are_taken_up_in_the_same_push_and_pull(
        self, storage: Storage, shared: Shared, tmp_path: Path
    ) -> None:
        storage.proxy.fail(
            Fault(status=503, methods="PUT", times=3), Fault(drop_request=100, methods="PUT", times=2),
            Fault(status=503, times=1),
        )  # fmt: skip
        shared.dvc("push")
        assert storage.proxy.count("PUT") == OBJECTS + 5
        check_hashes(storage.bodies("store/"))
        storage.proxy.fail(
            Fault(status=503, methods="GET", times=3), Fault(drop_response=100, methods="GET", paths="md5/", times=2),
            Fault(rate=2_000_000, methods="GET", paths="md5/", times=1),
        )  # fmt: skip
        other = shared.elsewhere(tmp_path / "other")
        other.dvc("pull")
        assert other.data() == ALL

    def test_a_lasting_fault_of_a_pull_leaves_nothing_half_and_the_next_pull_goes_on(
        self, storage: Storage, shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        shared.dvc("push")
        other = shared.elsewhere(tmp_path / "other")
        big = hashlib.md5(BIG, usedforsecurity=False).hexdigest()[2:]
        storage.proxy.fail(Fault(drop_response=CHUNK, methods="GET", paths=big))
        other.dvc("pull", fails=True)
        check_hashes(cached(other))
        assert len(cached(other)) < OBJECTS
        assert all(ALL[name] == body for name, body in other.data().items())
        storage.proxy.fail()
        other.dvc("pull")
        assert other.data() == ALL

    def test_a_missing_object_fails_the_pull_and_is_named(
        self, storage: Storage, shared: Shared, tmp_path: Path
    ) -> None:
        shared.dvc("push")
        big = hashlib.md5(BIG, usedforsecurity=False).hexdigest()
        storage.client.delete_object(Bucket=storage.bucket, Key=f"store/files/md5/{big[:2]}/{big[2:]}")
        assert big in shared.elsewhere(tmp_path / "other").dvc("pull", fails=True)

    def test_an_object_with_other_bytes_fails_the_pull_of_a_remote_that_verifies(
        self, storage: Storage, shared: Shared, tmp_path: Path
    ) -> None:
        shared.dvc("push")
        big = hashlib.md5(BIG, usedforsecurity=False).hexdigest()
        storage.put(f"store/files/md5/{big[:2]}/{big[2:]}", OTHER[: len(BIG)])
        other = shared.elsewhere(tmp_path / "other")
        other.configure(storage, verify="true")  # without it, DVC takes what comes
        other.dvc("pull", fails=True)
        check_hashes(cached(other))
        assert OTHER not in [body for name, body in other.data().items() if name != "weights"]

    def test_a_bucket_that_is_not_there_fails_the_push(self, storage: Storage, shared: Shared) -> None:
        shared.configure(storage, bucket=f"{storage.bucket}-nowhere")
        assert "NoSuchBucket" in shared.dvc("push", fails=True)
