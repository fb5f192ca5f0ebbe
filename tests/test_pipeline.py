"""One word per stage, in every place; one place for data paths; a comment for every key."""

import ast
import re
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from repose.cli import STAGES as PANEL
from repose.cli import app

ROOT = Path(__file__).parents[1]
STAGES = {
    name: stage.get("do", stage)  # of a foreach: what is done for each item
    for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items()
}
PARAMS_TEXT = (ROOT / "params.yaml").read_text()
PARAMS = yaml.safe_load(PARAMS_TEXT)
TABLE1 = {"table"}  # a stage of table1/ alone
NAMES = ["download", "validate", "keypoints", "posemaps", "split", "train", "evaluate", "report", "gates", "card"]


def test_the_stages_are_these_in_order() -> None:
    assert list(STAGES) == NAMES


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(
            {path.stem for path in (ROOT / "src/repose/stages").glob("[a-z]*.py")} - TABLE1, id="src/repose/stages"
        ),
        pytest.param(set(PARAMS) - {"systems"}, id="params.yaml"),
        pytest.param(
            {
                name
                for name, command in get_command(app).commands.items()
                if getattr(command, "rich_help_panel", None) == PANEL
            },
            id="repose --help",
        ),
        pytest.param(
            {
                re.sub(r"_(stage|over_s3|in_processes)$", "", path.stem[5:])
                for path in (ROOT / "tests/stages").glob("test_*.py")
            }
            - TABLE1,
            id="tests/stages",
        ),
    ],
)
def test_a_stage_has_one_name_everywhere(names: set[str]) -> None:
    assert names == set(NAMES)


@pytest.mark.parametrize("stage", NAMES)
def test_a_stage_runs_its_own_command_with_its_own_block(stage: str) -> None:
    definition = STAGES[stage]
    assert definition["cmd"].startswith(f"repose {stage} ")
    assert definition["params"][0] == stage
    assert definition["desc"]


def outputs() -> list[str]:
    found = []
    for definition in STAGES.values():
        for entry in [*definition["outs"], *definition.get("metrics", [])]:
            path = entry if isinstance(entry, str) else next(iter(entry))
            found.append(re.sub(r"/\$\{item[^}]*\}", "", path))
    return found


def test_every_path_of_a_command_is_a_dep_or_an_out() -> None:
    # what is not finished; no stage reads another's
    scratch = {".repose/transfers", ".repose/keypoints/${item}", ".repose/runs"}
    for name, definition in STAGES.items():
        known = {str(dep) for dep in definition["deps"]} | scratch
        for entry in [*definition["outs"], *definition.get("metrics", [])]:
            known.add(entry if isinstance(entry, str) else next(iter(entry)))
        used = {word for word in definition["cmd"].split() if "/" in word or "." in word.removeprefix("${item.system}")}
        assert used <= known, f"{name} uses {used - known}"


def test_what_runs_for_each_part_reads_and_writes_that_part_alone() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    in_parts = {name: stage for name, stage in stages.items() if stage.get("foreach") == "${validate.parts}"}
    assert list(in_parts) == ["keypoints", "posemaps"]
    for name, stage in in_parts.items():
        paths = [path for path in [*stage["do"]["deps"], *stage["do"]["outs"]] if not path.startswith("src/")]
        assert [path for path in paths if not path.endswith("/${item}")] == ["data/raw/lists"] * (name == "keypoints")


def test_the_photos_of_the_source_are_read_by_validate_alone() -> None:
    readers = {name for name, stage in STAGES.items() if {"data/raw", "data/raw/photos"} & set(stage["deps"])}
    assert readers == {"validate"}


def test_no_output_switches_dvcs_run_cache_off() -> None:
    """`persist: true` would: a stage of a cluster could not take its result from the cache."""
    for definition in STAGES.values():
        assert all(isinstance(entry, str) for entry in definition["outs"])
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


def test_no_data_path_stands_outside_dvc_yaml() -> None:
    paths = [path.rstrip("/") for path in outputs()]
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


def commented_keys(text: str) -> dict[str, bool]:
    """Of each key that has a value: whether its line ends in a comment."""
    found, above = {}, []
    for line in text.splitlines():
        match = re.match(r"( *)([\w/ -]+):(?: +([^#\s][^#]*?))? *(#.*)?$", line)
        if match:
            depth = len(match[1]) // 2
            above = [*above[:depth], match[2]]
            if match[3]:
                found[".".join(above)] = match[4] is not None
    return found


def test_every_key_of_a_stage_has_its_comment() -> None:
    keys = commented_keys(PARAMS_TEXT.split("\nsystems:")[0])
    assert len(keys) > 60
    assert not [key for key, commented in keys.items() if not commented]


def leaves(node: yaml.Node, above: str) -> list[str]:
    """The keys that have a line of their own; what stands in braces shares its line's comment."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style:
        return [leaf for key, value in node.value for leaf in leaves(value, f"{above}.{key.value}")]
    return [above]


def test_the_comments_were_looked_for_on_every_key() -> None:
    keys = commented_keys(PARAMS_TEXT.split("\nsystems:")[0])
    blocks = {key.value: value for key, value in yaml.compose(PARAMS_TEXT).value}
    assert set(keys) == {leaf for name in NAMES for leaf in leaves(blocks[name], name)}
