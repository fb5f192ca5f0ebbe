"""What tests of more than one folder share."""

import os
import signal
import sys
import urllib.request
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING
from unittest import mock

import pytest

# Two pytest workers on two cores: threads that wait by spinning would take the other worker's time (see repose.cli.main).
# OpenMP reads this when torch is imported, in the programs that tests start as well.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest.register_assert_rewrite("s3_cases", "dvc_remote_cases", "step_cases")
import warm  # noqa: E402

if TYPE_CHECKING:  # xdist's controller imports this file and runs no test
    from s3_cases import Storage

# A shell starts what goes on in its background with Ctrl-C ignored; tests of Ctrl-C mean Python's own way.
signal.signal(signal.SIGINT, signal.default_int_handler)


# The files that take minutes, the longest first: a worker that got one of them last would leave the others idle.
LONGEST = (
    "test_proof.py", "test_train_in_processes.py", "test_table1.py", "test_every_system.py", "test_train.py",
    "test_local.py", "test_real_photos.py", "test_benchmarks.py", "test_renderer.py", "test_evaluate.py",
    "test_dvc_remote.py", "test_expectations.py",
)  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """The workers of xdist share the programs that start warm."""
    if config.getoption("numprocesses", None):
        warm.share()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`make test` hands out files in the order in which their tests stand here."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONGEST)))


@pytest.fixture(scope="session", autouse=True)
def _messages() -> None:
    """Messages are shown, as by the command line, also where a test calls a stage itself."""
    from repose.terminal import show_messages

    show_messages()


@pytest.fixture
def said_by(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[str, str]]:
    """What `repose ...` prints to standard output and to standard error; it must end with the exit code."""

    from repose import cli

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
    """Torch's threads wait for each other where other tests keep the cores busy."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server in this process (moto: it takes any credentials)."""
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
    """Made-up ones, and nothing of the user's own."""
    for name in ("AWS_PROFILE", "AWS_CA_BUNDLE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "s3cret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def endpoint(s3_server: str, s3_credentials: None) -> str:
    """The address of an S3 server that is empty, with credentials for it."""
    urllib.request.urlopen(urllib.request.Request(f"{s3_server}/moto-api/reset", method="POST")).close()  # noqa: S310
    return s3_server


@pytest.fixture
def storage(endpoint: str) -> "Iterator[Storage]":
    """A bucket of this test's own behind a proxy that can fail."""
    from s3_cases import Storage

    with Storage.behind_proxy(endpoint) as storage:
        yield storage
