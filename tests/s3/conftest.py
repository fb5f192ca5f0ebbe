"""The fixtures of S3 with Ceph's radosgw, which checks secrets, signatures and dates."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import radosgw
from radosgw import Radosgw

sys.path.append(str(Path(__file__).parents[1] / "kubeflow"))  # the cases of the steps, and what they need


@pytest.fixture(scope="session")
def ceph() -> Iterator[Radosgw]:
    if missing := radosgw.missing():
        pytest.fail(f"{', '.join(missing)}: no such program. `make test-s3` installs them.")
    with radosgw.running() as server:
        yield server


@pytest.fixture(scope="session")
def s3_server(ceph: Radosgw) -> str:
    return ceph.address


@pytest.fixture
def s3_credentials(ceph: Radosgw, s3_credentials: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ceph.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", ceph.secret_key)


@pytest.fixture
def endpoint(s3_server: str, s3_credentials: None) -> str:
    return s3_server
