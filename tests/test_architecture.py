"""The rooms of src: which may import which, and that a stage in dvc.yaml depends on every room that it runs."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"
REPOSE = SRC / "repose"
PIPELINES = [ROOT, ROOT / "table1", ROOT / "ablations", ROOT / "figure", ROOT / "surface"]

# From the bottom to the top: a room imports itself and rooms below it.
ROOMS = (
    "repose/errors.py", "repose/terminal.py", "repose/devices.py", "repose/config.py", "repose/cli_options.py",
    "repose/storage", "repose/data", "mannequins/figure", "mannequins/surface", "mannequins/renderer", "repose/pose",
    "repose/models", "repose/systems", "repose/generate.py", "repose/checkpoint.py", "repose/training",
    "repose/metrics", "repose/validation", "repose/evaluation", "repose/inference", "repose/report", "repose/stages",
    "mannequins/figure_training", "mannequins/surface_training", "repose/kubeflow", "repose/pipeline_paths.py",
    "repose/weights_cli.py", "repose/compare_cli.py", "repose/cli.py",
)  # fmt: skip
# These change no byte of a result: what people read at the terminal, and the packages' own names.
FOR_PEOPLE = {REPOSE / "terminal.py", REPOSE / "errors.py", REPOSE / "__init__.py", SRC / "mannequins" / "__init__.py"}


def room(file: Path) -> str:
    return "/".join(file.relative_to(SRC).parts[:2])


@cache
def names(file: Path) -> frozenset[str]:
    """The dotted names that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


def imports(file: Path) -> set[Path]:
    """The files of this project that a file imports."""
    paths = [SRC.joinpath(*name.split(".")) for name in names(file) if name.split(".")[0] in ("repose", "mannequins")]
    found = {file for path in paths for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists()}
    if file == REPOSE / "systems" / "__init__.py":  # it finds its modules itself
        found |= set(file.parent.rglob("*.py"))
    return found


FILES = [file for file in sorted(SRC.rglob("*.py")) if file not in FOR_PEOPLE]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SRC)))
def test_a_room_imports_only_rooms_below_it(file):
    allowed = ROOMS[: ROOMS.index(room(file)) + 1]
    assert {room(other) for other in imports(file) - FOR_PEOPLE} <= set(allowed)


class Stage(NamedTuple):
    """A stage of one of the pipelines."""

    name: str
    modules: list[Path]  # that its commands run
    code: list[Path]  # its deps under src/


def module(command: str) -> Path:
    """The file that a command of a stage runs: `repose train ...`, or `repose figure train ...`, or of surface."""
    _, first, second, *_ = command.split()
    if first in ("figure", "surface"):
        return SRC / "mannequins" / f"{first}_training" / f"{second}.py"
    return REPOSE / "stages" / f"{first}.py"


def stages() -> Iterator[Stage]:
    for folder in PIPELINES:
        for name, stage in yaml.safe_load((folder / "dvc.yaml").read_text())["stages"].items():
            done = stage.get("do", stage)  # of a foreach: what is done for each item
            commands = [done["cmd"]] if isinstance(done["cmd"], str) else done["cmd"]
            deps = [(folder / dep).resolve() for dep in done["deps"]]
            code = [dep for dep in deps if SRC in dep.parents]
            yield Stage(f"{folder.name} {name}", [module(command) for command in commands], code)


def needed(*modules: Path) -> set[Path]:
    """All that the modules of stages import, directly or not; the command line reads every stage's settings with config."""
    found, waiting = set[Path](), [*modules, REPOSE / "config.py"]
    while waiting:
        file = waiting.pop()
        if file not in found | FOR_PEOPLE:
            found.add(file)
            waiting += imports(file)
    return {file for file in found if file.stem != "__init__" or len(ast.parse(file.read_text()).body) > 1}


STAGES = list(stages())


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_stage_depends_on_every_room_that_it_imports_and_on_no_other(stage):
    files = needed(*stage.modules)
    assert not [file for file in files if not {file, *file.parents} & set(stage.code)]
    assert not [dep for dep in stage.code if not any(dep in {file, *file.parents} for file in files)]


@pytest.mark.parametrize(("network", "module"), [("figure", "network.py"), ("surface", "__init__.py")])
def test_what_makes_the_weights_of_a_network_does_not_depend_on_them(network, module):
    folder = SRC / "mannequins" / network
    for stage in STAGES:
        makes = any(f"{network}_training" in file.parts for file in stage.modules)
        reads = folder / module in needed(*stage.modules)
        assert bool({folder, *folder.parents} & set(stage.code)) == (reads and not makes), stage.name


def test_training_and_evaluation_run_without_dvc_and_kfp():
    for stage in ("train", "evaluate"):
        for file in needed(REPOSE / "stages" / f"{stage}.py") - {REPOSE / "training" / "history.py"}:
            assert not {name.split(".")[0] for name in names(file)} & {"dvc", "dvclive", "kfp", "great_expectations"}
