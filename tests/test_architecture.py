"""The rooms of src: which may import which. The stages: one name in every place; each depends on all that its commands use."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from repose.cli import STAGES as PANEL
from repose.cli import app

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"
REPOSE = SRC / "repose"
FOLDERS = [ROOT, ROOT / "table1", ROOT / "ablations", ROOT / "figure", ROOT / "surface"]
NAMES = ["download", "validate", "keypoints", "posemaps", "split", "train", "evaluate", "report", "gates", "card"]
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


def stages_of(folder: Path) -> dict[str, Any]:
    """The stages in a folder's dvc.yaml; of a foreach, what is done for each item."""
    stages = yaml.safe_load((folder / "dvc.yaml").read_text())["stages"]
    return {name: stage.get("do", stage) for name, stage in stages.items()}


def commands(stage: dict[str, Any]) -> list[str]:
    return [stage["cmd"]] if isinstance(stage["cmd"], str) else stage["cmd"]


def outs(stage: dict[str, Any]) -> list[str]:
    entries = [*stage.get("outs", []), *stage.get("metrics", [])]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


STAGES = stages_of(ROOT)
EVERY = {f"{folder.name} {name}": (folder, stage) for folder in FOLDERS for name, stage in stages_of(folder).items()}


def test_a_stage_has_one_name_everywhere():
    assert list(STAGES) == NAMES
    assert set(yaml.safe_load((ROOT / "params.yaml").read_text())) - {"systems"} == set(NAMES)
    assert {path.stem for path in (REPOSE / "stages").glob("[a-z]*.py")} - {"table"} == set(NAMES)
    panels = {name: getattr(of, "rich_help_panel", "") for name, of in get_command(app).commands.items()}
    assert {name for name, panel in panels.items() if panel == PANEL} == set(NAMES)


@pytest.mark.parametrize("name", EVERY)
def test_every_path_of_a_command_is_a_dep_or_an_out(name):
    folder, stage = EVERY[name]
    known = {*stage.get("deps", []), *outs(stage)}
    above = set()
    if folder != ROOT:  # also a folder of several sets or systems; baselines have no runs
        above = {str(Path(one).parent) for one in known}
        known.add("runs")
    options = [option for command in commands(stage) for option in re.findall(r"--([\w-]+) (\S+)", command)]
    used = {path for option, path in options if option not in ("system", "set", "params") and ".repose/" not in path}
    assert used
    assert not [path for path in used - above if not any(f"{path}/".startswith(f"{one}/") for one in known)]


def test_what_runs_for_each_part_reads_and_writes_that_part_alone():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    in_parts = {name: stage for name, stage in stages.items() if stage.get("foreach") == "${validate.parts}"}
    assert list(in_parts) == ["keypoints", "posemaps"]
    for name, stage in in_parts.items():
        paths = [path for path in [*stage["do"]["deps"], *stage["do"]["outs"]] if not path.startswith("src/")]
        assert [path for path in paths if not path.endswith("/${item}")] == ["data/raw/lists"] * (name == "keypoints")


def test_each_stage_runs_its_own_command_and_validate_alone_reads_the_sources_photos():
    for name, stage in STAGES.items():
        assert stage["cmd"].startswith(f"repose {name} ")
        assert stage["params"][0] == name
        assert stage["desc"]
        assert bool({"data/raw", "data/raw/photos"} & set(stage["deps"])) == (name == "validate")
        assert all(isinstance(entry, str) for entry in stage["outs"])  # `persist: true` would switch the run-cache off
    assert STAGES["evaluate"]["metrics"] == [{"metrics.json": {"cache": False}}]


# ---- the code that a stage runs ----


@cache
def imports(file: Path) -> set[Path]:
    """The files of this project that a file imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    paths = [SRC.joinpath(*name.split(".")) for name in names if name.split(".")[0] in ("repose", "mannequins")]
    found = {file for path in paths for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists()}
    if file == REPOSE / "systems" / "__init__.py":  # it finds its modules itself
        found |= set(file.parent.rglob("*.py"))
    return found


def modules(stage: dict[str, Any]) -> list[Path]:
    """The files that the commands run: of `repose train ...`, or of `repose figure train ...`, or of surface."""
    found = []
    for command in commands(stage):
        _, first, second, *_ = command.split()
        own = SRC / "mannequins" / f"{first}_training" / f"{second}.py"
        found.append(own if first in ("figure", "surface") else REPOSE / "stages" / f"{first}.py")
    return found


def needed(stage: dict[str, Any]) -> set[Path]:
    """All that is imported, directly or not; the command line reads every stage's settings with config."""
    found, waiting = set[Path](), [*modules(stage), REPOSE / "config.py"]
    while waiting:
        file = waiting.pop()
        if file not in found | FOR_PEOPLE:
            found.add(file)
            waiting += imports(file)
    return {file for file in found if file.stem != "__init__" or len(ast.parse(file.read_text()).body) > 1}


def code(folder: Path, stage: dict[str, Any]) -> set[Path]:
    """Its deps under src/."""
    deps = [(folder / dep).resolve() for dep in stage["deps"]]
    return {dep for dep in deps if SRC in dep.parents}


def room(file: Path) -> str:
    return "/".join(file.relative_to(SRC).parts[:2])


def test_a_room_imports_only_rooms_below_it():
    for file in set(SRC.rglob("*.py")) - FOR_PEOPLE:
        allowed = ROOMS[: ROOMS.index(room(file)) + 1]
        assert {room(other) for other in imports(file) - FOR_PEOPLE} <= set(allowed), file


@pytest.mark.parametrize("name", EVERY)
def test_a_stage_depends_on_all_code_that_it_imports_and_on_no_other(name):
    folder, stage = EVERY[name]
    files, deps = needed(stage), code(folder, stage)
    assert not [file for file in files if not {file, *file.parents} & deps]
    assert not [dep for dep in deps if not any(dep in {file, *file.parents} for file in files)]


@pytest.mark.parametrize(("network", "module"), [("figure", "network.py"), ("surface", "__init__.py")])
def test_what_makes_the_weights_of_a_network_does_not_depend_on_them(network, module):
    weights = SRC / "mannequins" / network
    for name, (folder, stage) in EVERY.items():
        makes = any(f"{network}_training" in file.parts for file in modules(stage))
        reads = weights / module in needed(stage)
        assert bool({weights, *weights.parents} & code(folder, stage)) == (reads and not makes), name
