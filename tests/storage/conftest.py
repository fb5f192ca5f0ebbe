"""Fixtures of the tests of transfers."""

from collections.abc import Iterator

import pytest

from file_server import Server
from repose.storage.transfer import partial
from serving import serving


@pytest.fixture
def server(s3_credentials: None) -> Iterator[Server]:
    server = Server()
    with serving(server):
        yield server


other = server  # a second server, at another port


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds between the attempts of a transfer, which are not waited for."""
    waits: list[float] = []
    monkeypatch.setattr(partial, "sleep", waits.append)
    return waits
