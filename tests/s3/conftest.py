"""The fixtures of S3 with SeaweedFS, which checks secrets, signatures and dates."""

import sys
from collections.abc import Iterator
from pathlib import Path

import dvc.logger  # noqa: F401 (it keeps the streams that it finds, and a test's own are closed with it)
import pytest

import seaweedfs

sys.path.append(str(Path(__file__).parents[1] / "kubeflow"))  # the cases of the steps, and what they need


@pytest.fixture(scope="session")
def seaweed() -> Iterator[seaweedfs.Server]:
    with seaweedfs.running() as server:
        yield server


@pytest.fixture(scope="session")
def s3_server(seaweed: seaweedfs.Server) -> str:
    return seaweed.address


@pytest.fixture
def s3_credentials(seaweed: seaweedfs.Server, s3_credentials: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweed.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweed.secret_key)


@pytest.fixture
def endpoint(s3_server: str, s3_credentials: None) -> str:
    return s3_server
