from collections.abc import Iterator
from pathlib import Path

import pytest
from evaluating import evaluated
from made_results import write_results

from fakes import load_means
from repose.metrics import catalogue
from tiny import SYSTEMS, Data, train_tiny

ONE_SOURCE = {"steps": 1, "generator": {"width": 4, "blocks": 1}, "discriminators": {"width": 4, "layers": 1}}


@pytest.fixture(scope="module")
def outside_git(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests run in a folder without git: DVCLive would read the project's own history and leave its files open."""
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(tmp_path_factory.mktemp("outside-git"))
        yield


@pytest.fixture(scope="session")
def runs(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of each system, never interrupted, and of paper-s, which takes one source; tests only read it."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(tmp_path_factory.mktemp("outside-git"))
        for system in SYSTEMS:
            train_tiny(data, folder / system, system)
        train_tiny(data, folder / "paper-s", "paper-s", row_changes=ONE_SOURCE)
    return folder


@pytest.fixture(scope="session")
def done(data: Data, runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with results and metrics.json of both systems; tests only read it."""
    return evaluated(data, runs, tmp_path_factory.mktemp("done"))


@pytest.fixture
def means(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network without weights, which metrics know as `means`."""
    monkeypatch.setitem(catalogue.FEATURES, "means", load_means)
    monkeypatch.setattr(catalogue, "CLASSIFIER", load_means)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Made-up results of two data sets, for the table."""
    return write_results(tmp_path / "results")
