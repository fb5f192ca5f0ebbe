"""Fixtures of the tests of transfers."""

from collections.abc import Iterator
from functools import cache
from unittest import mock

import botocore.session
import pytest

from file_server import Server
from repose.storage.transfer import partial
from serving import serving


@pytest.fixture(scope="session", autouse=True)
def _s3_described_once() -> Iterator[None]:
    """A client is made for each attempt, and would read the description of S3 anew: a quarter of a second."""
    with mock.patch("botocore.session.create_loader", cache(botocore.session.create_loader)):
        yield


@pytest.fixture
def server(s3_credentials: None) -> Iterator[Server]:
    with serving(server := Server()):
        yield server


other = server  # a second server, at another port


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds between the attempts of a transfer, which are not waited for."""
    waits: list[float] = []
    monkeypatch.setattr(partial, "sleep", waits.append)
    return waits
