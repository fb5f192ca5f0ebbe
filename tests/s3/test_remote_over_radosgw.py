"""`dvc push` and `dvc pull` with a remote in S3, through a proxy that fails; against Ceph's radosgw."""

from pathlib import Path

import pytest

from dvc_remote_cases import ALL, RemoteCases, Shared, shared
from s3_cases import Storage

__all__ = ["TestRemote", "shared"]


class TestRemote(RemoteCases):
    def test_a_wrong_secret_is_refused_and_nothing_is_lost(
        self, storage: Storage, shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as wrong:
            wrong.setenv("AWS_SECRET_ACCESS_KEY", "wrong-s3cret")
            assert "Forbidden" in shared.dvc("push", fails=True)
        assert storage.bodies() == {}
        shared.dvc("push")
        other = shared.elsewhere(tmp_path / "other")
        with monkeypatch.context() as wrong:
            wrong.setenv("AWS_SECRET_ACCESS_KEY", "wrong-s3cret")
            assert "Forbidden" in other.dvc("pull", fails=True)
        assert other.data() == {}
        other.dvc("pull")
        assert other.data() == ALL
