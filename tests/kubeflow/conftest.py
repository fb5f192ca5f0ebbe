"""Foreign DVC projects and a run of each, made once."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import foreign
import pytest

pytest.importorskip("kfp")
import dvc.logger  # noqa: F401 (it keeps the streams that it finds, and a test's own are closed with it)
import steps
from compiled import text_for
from tampered import Run

from repose.kubeflow.project import read_project


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch)


def set_environment(patch: pytest.MonkeyPatch) -> None:
    """A step sets variables of its process, which is this one, and finds the stages' commands on the path."""
    for name in ("DVC_NO_ANALYTICS", "DVC_SITE_CACHE_DIR", "AWS_MAX_ATTEMPTS"):
        patch.setenv(name, "set")  # so that it is put back as it was
        patch.delenv(name)
    patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture(scope="session")
def _made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {
        name: make(tmp_path_factory.mktemp("made") / name)
        for name, make in (("flowers", foreign.flowers), ("garden", foreign.garden), ("fair", foreign.fair))
    }


@pytest.fixture
def project(_made: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a foreign project by its name."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(_made[name], tmp_path / name, symlinks=True))

    return copy


@pytest.fixture
def flowers(project: Callable[[str], Path]) -> Path:
    """A chain of two stages."""
    return project("flowers")


@pytest.fixture
def garden(project: Callable[[str], Path]) -> Path:
    """vars, foreach, matrix, wdir, a nested dvc.yaml."""
    return project("garden")


@pytest.fixture
def fair(project: Callable[[str], Path]) -> Path:
    """Two pipelines, of which one needs stages of the other."""
    return project("fair")


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A compiled pipeline of three tasks, of which one is an item of a foreach and one the exit task."""
    train, evaluate = "{foreach: [big], do: {cmd: x, outs: [out]}}", "{cmd: x, deps: [out], outs: [scores]}"
    files = {"dvc.yaml": f"stages: {{train: {train}, evaluate: {evaluate}}}\n"}
    return text_for(read_project(foreign.write(tmp_path_factory.mktemp("text") / "tiny", files)))


@pytest.fixture(scope="session")
def _pushed(_made: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `flowers` and the folder that is its default remote, by a relative path; its data are pushed."""
    place = tmp_path_factory.mktemp("pushed")
    flowers = shutil.copytree(_made["flowers"], place / "flowers", symlinks=True)
    foreign.dvc(flowers, "remote", "add", "--default", "store", "../remote")
    foreign.dvc(flowers, "push", "--quiet")
    return place


@pytest.fixture
def remote(flowers: Path, _pushed: Path) -> Path:
    """The default remote of `flowers`, a folder beside it that holds the data of the .dvc file."""
    shutil.copy(_pushed / "flowers" / ".dvc" / "config", flowers / ".dvc" / "config")
    return Path(shutil.copytree(_pushed / "remote", flowers.parent / "remote"))


@pytest.fixture
def image(flowers: Path, remote: Path) -> Path:
    """What a pod of `flowers` starts from: the project without data, which are in the remote."""
    return foreign.without_data(shutil.copytree(flowers, flowers.parent / "image" / "flowers"))


@pytest.fixture(scope="session")
def _ran(_pushed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a laptop's project, the image and the remote of a run."""
    place = Path(shutil.copytree(_pushed, tmp_path_factory.mktemp("ran") / "place", symlinks=True))
    image = foreign.without_data(shutil.copytree(place / "flowers", place / "image"))
    with pytest.MonkeyPatch.context() as environment:
        set_environment(environment)
        counted = steps.run("count", image, place / "remote", ["made"])
        steps.run("judge", image, place / "remote", ["report_html", "score_json"], inputs=[counted.entry])
        steps.write_record(image, place / "remote")
    return place


@pytest.fixture
def ran(_ran: Path, tmp_path: Path) -> Run:
    """A finished run of `flowers`."""
    place = Path(shutil.copytree(_ran, tmp_path / "place", symlinks=True))
    return Run(place / "flowers", place / "image", place / "remote")
