"""`dvc push` and `dvc pull` with a remote in S3, through a proxy that fails; against moto."""

from dvc_remote_cases import RemoteCases, shared

__all__ = ["TestRemote", "shared"]


class TestRemote(RemoteCases):
    pass
