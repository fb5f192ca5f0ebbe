"""One word per stage, in every place; one place for data paths; a comment for every key."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from repose.cli import STAGES as PANEL
from repose.cli import app

ROOT = Path(__file__).parents[1]
FOLDERS = [ROOT, ROOT / "table1", ROOT / "ablations", ROOT / "figure", ROOT / "surface"]


def stages_of(folder: Path) -> dict[str, Any]:
    """The stages in a folder's dvc.yaml; of a foreach, what is done for each item."""
    stages = yaml.safe_load((folder / "dvc.yaml").read_text())["stages"]
    return {name: stage.get("do", stage) for name, stage in stages.items()}


STAGES = stages_of(ROOT)
PARAMS_TEXT = (ROOT / "params.yaml").read_text()
PARAMS = yaml.safe_load(PARAMS_TEXT)
TABLE1 = {"table"}  # a stage of table1/ alone
NAMES = ["download", "validate", "keypoints", "posemaps", "split", "train", "evaluate", "report", "gates", "card"]


@pytest.mark.parametrize(
    "names",
    [
        {path.stem for path in (ROOT / "src/repose/stages").glob("[a-z]*.py")} - TABLE1,
        set(PARAMS) - {"systems"},
        {name for name, of in get_command(app).commands.items() if getattr(of, "rich_help_panel", "") == PANEL},
        {path.stem[5:].split("_")[0] for path in (ROOT / "tests/stages").glob("test_*.py")} - TABLE1,
    ],
    ids=["modules", "params.yaml", "repose --help", "tests"],
)
def test_a_stage_has_one_name_everywhere(names):
    assert list(STAGES) == NAMES
    assert names == set(NAMES)


def outs(definition: dict[str, Any]) -> list[str]:
    entries = [*definition.get("outs", []), *definition.get("metrics", [])]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_path_of_a_command_is_a_dep_or_an_out(folder):
    for name, definition in stages_of(folder).items():
        known = {*definition.get("deps", []), *outs(definition)}
        commands = [definition["cmd"]] if isinstance(definition["cmd"], str) else definition["cmd"]
        options = [option for command in commands for option in re.findall(r"--([\w-]+) (\S+)", command)]
        used = {path for option, path in options if option not in ("system", "set", "params")}
        used = {path for path in used if ".repose/" not in path}
        assert used
        if folder == ROOT:
            assert used <= known, f"{name} uses {used - known}"
        else:  # also a folder of several sets or systems, and what lies in an output; baselines have no runs
            near = known | {str(Path(one).parent) for one in known} | {"runs"}
            lost = [path for path in used if not any(f"{path}/".startswith(f"{one}/") for one in near - {"."})]
            assert not lost, f"{name} uses {lost}"


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


def literals(path: Path) -> list[str]:
    """The strings of a module that are no docstrings."""
    tree = ast.parse(path.read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    ]


def test_no_data_path_stands_outside_dvc_yaml():
    paths = {re.sub(r"/\$\{item[^}]*\}", "", path) for stage in STAGES.values() for path in outs(stage)}
    assert "data/raw" in paths
    assert "runs" in paths
    pattern = re.compile("|".join(rf"(^|[^\w/.-]){re.escape(p)}(/|$)" for p in [*paths, "data", "reports"]))
    for file in sorted((ROOT / "src").rglob("*.py")):
        ours = literals(file)
        if file.parent.name == "kubeflow":  # DVC's run-cache in a remote is called runs, a filter of tarfile data
            ours = [text for text in ours if text.rstrip("/") not in ("runs", "data")]
        if file.name == "cli.py":  # options have these names
            ours = [text for text in ours if text not in ("runs", "results")]
        found = [text for text in ours if pattern.search(text) and " " not in text]
        assert not found, f"{file.name} names {found}"


def leaves(node: yaml.Node, above: str) -> dict[str, int]:
    """The line of each key of a block; keys in braces share the line of their mapping."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style:
        found: dict[str, int] = {}
        for key, value in node.value:
            nested = isinstance(value, yaml.MappingNode) and not value.flow_style
            found |= leaves(value, f"{above}.{key.value}") if nested else {f"{above}.{key.value}": key.start_mark.line}
        return found
    return {}


def test_every_key_of_a_stage_has_its_comment():
    blocks = {key.value: value for key, value in yaml.compose(PARAMS_TEXT).value}
    lines = PARAMS_TEXT.splitlines()
    keys = {key: line for name in NAMES for key, line in leaves(blocks[name], name).items()}
    assert len(keys) > 60
    assert not [key for key, line in keys.items() if " #" not in lines[line]]
