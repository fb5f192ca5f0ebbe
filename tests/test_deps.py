"""A stage's deps in dvc.yaml are the code that it imports: with one missing, `dvc repro` would call a stale result fresh."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "repose"
PIPELINES = [ROOT, ROOT / "table1", ROOT / "ablations", ROOT / "figure"]
# What decides no byte of a result: what people read at the terminal, and the version of the package.
FOR_PEOPLE = {PACKAGE / "terminal.py", PACKAGE / "errors.py", PACKAGE / "__init__.py"}
SYSTEMS = PACKAGE / "systems"
ON_TOP = PACKAGE / "settings.py"  # the command line builds every stage's settings with it


@cache
def imports(file: Path) -> frozenset[Path]:
    """The files of our package that a file imports, also inside functions; the package of systems finds its modules itself."""
    if file == SYSTEMS / "__init__.py":
        return frozenset(SYSTEMS.glob("*.py")) | _imports(file)
    return _imports(file)


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def _imports(file: Path) -> frozenset[Path]:
    return frozenset(path for name in names(file) if (path := file_of(name)) is not None)


def names(file: Path) -> Iterator[str]:
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def file_of(name: str) -> Path | None:
    path = PACKAGE.parent.joinpath(*name.split("."))
    if name.split(".")[0] != "repose":
        return None
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.exists()), None)


def module(command: str) -> Path:
    """The file that a command of a stage runs: `repose train ...`, or `repose figure train ...`."""
    _, first, second, *_ = command.split()
    return PACKAGE / "figure_training" / f"{second}.py" if first == "figure" else PACKAGE / "stages" / f"{first}.py"


def needed(*modules: Path) -> set[Path]:
    """All that the modules of stages import, directly or not."""
    found, waiting = set[Path](), [*modules, ON_TOP]
    while waiting:
        file = waiting.pop()
        if file not in found | FOR_PEOPLE:
            found.add(file)
            waiting += imports(file)
    return {file for file in found if len(tree(file).body) > 1 or file.stem != "__init__"}


class Stage(NamedTuple):
    """A stage of one of the pipelines."""

    name: str
    modules: list[Path]  # that its commands run
    code: list[Path]  # its deps under src/


def stages() -> Iterator[Stage]:
    for folder in PIPELINES:
        for name, stage in yaml.safe_load((folder / "dvc.yaml").read_text())["stages"].items():
            done = stage.get("do", stage)  # of a foreach: what is done for each item
            commands = [done["cmd"]] if isinstance(done["cmd"], str) else done["cmd"]
            deps = [(folder / dep).resolve() for dep in done["deps"]]
            code = [dep for dep in deps if ROOT / "src" in dep.parents]
            yield Stage(name, [module(command) for command in commands], code)


STAGES = list(stages())
IDS = [f"{number} {stage.name}" for number, stage in enumerate(STAGES)]
TEMPLATES = PACKAGE / "data" / "templates"  # read by report.py


@pytest.mark.parametrize("stage", STAGES, ids=IDS)
def test_every_import_is_covered(stage: Stage) -> None:
    missing = [file for file in needed(*stage.modules) if not {file, *file.parents} & set(stage.code)]
    assert not missing


@pytest.mark.parametrize("stage", STAGES, ids=IDS)
def test_every_dep_is_imported(stage: Stage) -> None:
    files = needed(*stage.modules)
    for dep in stage.code:
        if dep == TEMPLATES:
            assert PACKAGE / "data" / "report.py" in files
        else:
            assert any(dep == file or dep in file.parents for file in files), f"{stage.name} does not import {dep}"


def test_templates_are_a_dep_of_every_stage_that_makes_pages() -> None:
    with_pages = [stage for stage in STAGES if PACKAGE / "data" / "report.py" in needed(*stage.modules)]
    assert [stage.name for stage in with_pages] == ["validate", "keypoints", "split", "report", "street"]
    assert all(TEMPLATES in stage.code for stage in with_pages)


FIGURE = PACKAGE / "figure"  # network.py reads the weights beside it


def test_the_figure_networks_weights_are_a_dep_of_every_stage_that_reads_them_and_of_none_that_makes_them() -> None:
    readers = [stage for stage in STAGES if FIGURE / "network.py" in needed(*stage.modules)]
    assert {stage.name for stage in readers} >= {"keypoints", "street", "train", "score"}
    for stage in readers:
        makes = any("figure_training" in module.parts for module in stage.modules)
        assert (FIGURE in stage.code) != makes, stage.name


def test_neither_dvc_nor_kfp_is_imported_by_what_trains_and_evaluates() -> None:
    for stage in ("train", "evaluate"):
        for file in needed(PACKAGE / "stages" / f"{stage}.py") - {
            PACKAGE / "history.py"
        }:  # which takes dvclive where it is installed
            assert not {name.split(".")[0] for name in names(file)} & {"dvc", "dvclive", "kfp", "great_expectations"}
