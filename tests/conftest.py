"""Fixtures of tests in several folders."""

import os
import signal
import sys
import urllib.request
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING
from unittest import mock

import pytest

# OpenMP's threads spin while they wait, which slows down the other pytest worker (see repose.cli.main).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import seaweedfs as seaweed
import warm

if TYPE_CHECKING:  # xdist's controller imports this file and runs no test
    from s3_storage import Storage
    from tiny import Data

# A shell's background jobs ignore Ctrl-C; tests of Ctrl-C need Python's own handler.
signal.signal(signal.SIGINT, signal.default_int_handler)


# The slowest files, the longest first, so that no worker gets one of them last.
LONGEST = (
    "test_proof.py", "test_train_in_processes.py", "test_table1.py", "test_every_system.py", "test_faults.py", "test_train.py",
    "test_local.py", "test_real_photos.py", "test_benchmarks.py", "test_renderer.py", "test_evaluate.py",
    "test_expectations.py",
)  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--seaweedfs", action="store_true", help="tests of S3 use SeaweedFS, which checks signatures, not moto"
    )


def pytest_configure() -> None:
    """Lets this process, or all workers of xdist, use the servers of `warm`."""
    warm.share()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the slowest files first."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONGEST)))


@pytest.fixture(scope="session", autouse=True)
def _messages() -> None:
    """Shows messages, as the command line does, also for tests that call a stage."""
    from repose.terminal import show_messages

    show_messages()


@pytest.fixture
def said_by(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[str, str]]:
    """Standard output and standard error of `repose ...`, which must end with the exit code."""

    from repose import cli

    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str, code: int = 0) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["repose", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capfd.readouterr()
        assert (ended.value.code or 0) == code, said
        assert "Traceback" not in said.err
        return said.out, said.err

    return run


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch uses one thread: several would wait for each other while other tests run."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> "Data":
    """A tiny data set up to split; tests only read it."""
    from tiny import make

    return make(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def s3_server(pytestconfig: pytest.Config) -> Iterator[str]:
    """The address of an S3 server: SeaweedFS if asked for, else one in this process (moto: it takes any credentials)."""
    if pytestconfig.getoption("seaweedfs"):
        with seaweed.running() as address:
            yield address
        return
    import botocore.session
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    # a client is made in each test, and would read the description of S3 anew: a quarter of a second
    with mock.patch("botocore.session.create_loader", cache(botocore.session.create_loader)):
        yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def s3_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials of the server instead of the user's."""
    for name in ("AWS_PROFILE", "AWS_CA_BUNDLE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweed.ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweed.SECRET_KEY)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def endpoint(s3_server: str, s3_credentials: None, pytestconfig: pytest.Config) -> str:
    """The address of an S3 server, empty if it is moto, with credentials for it."""
    if not pytestconfig.getoption("seaweedfs"):
        urllib.request.urlopen(urllib.request.Request(f"{s3_server}/moto-api/reset", method="POST")).close()  # noqa: S310
    return s3_server


@pytest.fixture
def storage(endpoint: str) -> "Iterator[Storage]":
    """A bucket of this test's own behind a proxy that can fail."""
    from s3_storage import Storage

    with Storage.behind_proxy(endpoint) as storage:
        yield storage


@pytest.fixture
def seaweedfs(pytestconfig: pytest.Config) -> None:
    """Skip a test that needs a server which refuses wrong credentials."""
    if not pytestconfig.getoption("seaweedfs"):
        pytest.skip("moto takes any credentials: run `make test-s3`")
