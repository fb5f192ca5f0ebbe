"""`repose compare` as a person or a workflow calls it: git revisions, files, reports and exit codes; and its page."""

import json
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from typer.main import get_command

from repose import cli
from repose.config import block
from repose.errors import ReposeError
from repose.report.gates import GatesSettings
from repose.report.scores_file import read_side

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "compare.md").read_text("utf-8")
PROTOCOL = {"split": "pg2-like", "pairs": 3, "size": "128x88", "crop": None}
GATES = """
gates:
  systems: [attend]
  metrics: {ssim/pg2: {better: higher, tolerance: 0.01}}
  limits: {attend: {ssim/pg2: {least: 0.6}}}
  resamples: 200
  confidence: 0.95
  seed: 0
"""


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], check=True, text=True, stdout=subprocess.PIPE)
    return done.stdout.strip()


def write(path: str, score: Any, **protocol: Any) -> str:
    record = {"schema": 2, "protocol": PROTOCOL | protocol, "metrics": {}, "scores": {"attend": {"ssim/pg2": score}}}
    Path(path).write_text(json.dumps(record))
    return path


def commit(score: Any, **protocol: Any) -> str:
    """The name of a commit with this score."""
    write("metrics.json", score, **protocol)
    git("add", ".")
    git("commit", "--quiet", "--allow-empty", "--message", str(score))
    return git("rev-parse", "HEAD")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a git repository with the pipeline and gates, its first scores tagged `old`; no remote, no cache."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "Ada")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "ada@example.org")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.delenv("GIT_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet", "--initial-branch=main")
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    (tmp_path / "params.yaml").write_text(GATES)
    commit(0.67)
    git("tag", "old")
    return tmp_path


@pytest.fixture
def compare(said_by: Any) -> Any:
    return partial(said_by, "compare")


def test_it_has_a_panel_of_its_own() -> None:
    commands = get_command(cli.app).commands
    assert [n for n, command in commands.items() if getattr(command, "rich_help_panel", None) == cli.SCORES] == [
        "compare"
    ]


@pytest.mark.parametrize(("now", "code", "said"), [
    (0.67, 0, "No regression in 1 gated score; 0 better."),
    (0.7, 0, "No regression in 1 gated score; 1 better."),
    (0.665, 0, "No regression in 1 gated score; 0 better."),
    (0.65, 1, "Regression: 1 of 1 gated score."),
    (0.59, 1, "Regression: 1 of 1 gated score."),
    (None, 2, "Not comparable: 1 of 1 gated score."),
    (float("nan"), 2, "Not comparable: 1 of 1 gated score."),
])  # fmt: skip
def test_the_scores_in_this_folder_beside_those_of_a_revision(
    project: Path, compare: Any, now: float | None, code: int, said: str
) -> None:
    write("metrics.json", now)
    out, err = compare("old", code=code)
    assert out.startswith(
        f"## Scores\n\n**{said}** HEAD is metrics.json, BASE is old ({git('rev-parse', 'old')[:10]}).\n"
    )
    assert err.startswith(f"repose: {said}\n")
    assert (err.count("\n") > 1) == (code > 0)  # what fails is said in the log as well


def test_two_revisions_whatever_is_in_the_folder(project: Path, compare: Any) -> None:
    worse = commit(0.64)
    Path("metrics.json").write_text("damaged")
    out, err = compare("old", "main", code=1)
    assert "| attend | ssim/pg2 | higher | 0.67 | 0.64 | -0.03 | 0.01 | at least 0.6 | **worse** |" in out
    assert "repose: ssim/pg2 of attend: worse by 0.03, and 0.01 is allowed.\n" in err
    compare(worse, "old", code=0)
    compare("main~1", "HEAD", code=1)


def test_a_pipeline_below_the_top_of_the_repository(
    project: Path, compare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = project / "below"
    below.mkdir()
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(name, below)
    monkeypatch.chdir(below)
    commit(0.5)
    assert "| 0.5 | 0.5 |" in compare("HEAD", code=1)[0]  # below its limit on both sides
    assert "The revision old " in compare("old", code=2)[1]


def test_two_files_need_no_git_and_no_pipeline(tmp_path: Path, compare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    Path("gates.yaml").write_text(GATES)
    files = write("old.json", 0.67), write("new", 0.66)
    assert "HEAD is new, BASE is old.json." in compare(*files, "--params", "gates.yaml", code=0)[0]


def test_a_file_goes_before_a_revision_of_its_name(project: Path, compare: Any) -> None:
    write("old", 0.62)
    write("metrics.json", 0.62)
    compare("old", code=0)
    compare("refs/tags/old", code=1)


def test_the_reports_are_written_and_what_a_run_says_is_the_same_each_time(project: Path, compare: Any) -> None:
    write("metrics.json", 0.64)
    options = ("--markdown", "out/a.md", "--json", "out/a.json", "--junit", "out/a.xml")
    out, _ = compare("old", *options, code=1)
    first = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    assert first["a.md"].decode() == out
    assert json.loads(first["a.json"])["outcome"] == "regression"
    assert ET.fromstring(first["a.xml"]).get("failures") == "1"  # noqa: S314 (ours)
    assert compare("old", *options, code=1)[0] == out
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == first


def test_a_report_that_cannot_be_written_is_no_regression(project: Path, compare: Any) -> None:
    Path("taken").write_text("")
    _, err = compare("old", "--json", "taken/a.json", code=2)
    assert "repose: Cannot write taken/a.json" in err


@pytest.mark.parametrize(("arguments", "said"), [
    (("nowhere",), "There is no file and no git revision 'nowhere' here. Fetch it (`git fetch origin`), or name another one"),
    (("--", "--all"), "There is no file and no git revision '--all' here."),
    (("",), "There is no file and no git revision '' here."),
    (("old", "nowhere"), "There is no file and no git revision 'nowhere' here."),
    (("old.json",), "There is no old.json. Run `dvc repro`, or name another file or a git revision."),
    (("old", "folder.json"), "folder.json cannot be read: Is a directory. Name another file or a git revision."),
    (("params.yaml",), "The scores of params.yaml are not JSON: Expecting value"),
    (("old", "older.json"), "The scores of older.json have no block 'protocol': another version of repose wrote them"),
    (("old", "other.json"), 'are of different protocol: size is "128x88" in BASE and "256x176" in HEAD'),
    (("old", "--base-pairs", "a.csv"), "Give both of --base-pairs and --head-pairs, or neither."),
    (("old", "--head-pairs", "a.csv"), "Give both of --base-pairs and --head-pairs, or neither."),
    (("old", "--base-pairs", "a.csv", "--head-pairs", "a.csv"), "There is no a.csv. Run the stage that writes it"),
    (("old", "--params", "none.yaml"), "none.yaml. Run repose in the project's folder, or give a file with --params."),
    (("old", "--params", "dvc.yaml"), "dvc.yaml has no block 'gates'"),
    (("old", "--params", "typo.yaml"), "typo.yaml: gates: unknown key 'system'. Did you mean 'systems'?"),
])  # fmt: skip
def test_what_cannot_be_compared_ends_with_2_and_a_message_and_leaves_reports(
    project: Path, compare: Any, arguments: tuple[str, ...], said: str
) -> None:
    Path("folder.json").mkdir()
    Path("older.json").write_text('{"attend": {"ssim": 0.67}}')
    Path("typo.yaml").write_text(GATES.replace("systems", "system"))
    write("other.json", 0.67, size="256x176")
    out, err = compare("--junit", "a.xml", "--json", "a.json", *arguments, code=2)
    assert said in err
    assert err.startswith("repose: Not comparable. ")
    assert out.startswith("## Scores\n\n**Not comparable. ")
    assert said in json.loads(Path("a.json").read_text())["refusal"]
    (message,) = [error.get("message", "") for error in ET.parse("a.xml").iter("error")]  # noqa: S314 (ours)
    assert said in message


def test_a_revision_without_scores_is_told(project: Path, compare: Any) -> None:
    git("rm", "--quiet", "metrics.json")
    git("commit", "--quiet", "--message", "none")
    _, err = compare("main", "old", code=2)
    assert f"The revision main ({git('rev-parse', 'main')[:10]}) has no metrics.json, so it has no scores." in err
    assert "There is no metrics.json. Run `dvc repro`" in compare("old", code=2)[1]


def test_a_folder_that_is_no_repository_and_a_machine_without_git_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(
        ReposeError, match=r"There is no file main, and git cannot look for a revision: fatal: not a git rep"
    ):
        read_side("main")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ReposeError, match=r"Git is not installed, so no revision can be read\. Name two files instead\."
    ):
        read_side("main")


@pytest.mark.parametrize("pipeline", [
    None, "a: b: c", "[]", "stages: {}", "stages: {evaluate: {cmd: x}}", "stages: {evaluate: {metrics: []}}",
    "stages: {evaluate: {metrics: [{}]}}", "stages: {evaluate: {metrics: 3}}", "stages: {evaluate: {metrics: [3]}}",
])  # fmt: skip
def test_a_folder_whose_pipeline_has_no_scores_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipeline: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    if pipeline is not None:
        Path("dvc.yaml").write_text(pipeline)
    with pytest.raises(ReposeError, match=r"The dvc\.yaml of this folder, if there is one, names no file of scores"):
        read_side(None)


def test_the_file_of_scores_is_the_one_that_the_pipeline_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text("stages: {evaluate: {metrics: [sums.json]}}")
    write("sums.json", 0.5)
    assert read_side(None).where == "sums.json"


@pytest.mark.parametrize(("changes", "code", "verdict"), [
    ((-0.05, -0.06, -0.04), 1, "**worse**"), ((-0.3, 0.2, -0.05), 0, "noise"), ((0.05, 0.06, 0.04), 0, "better"),
])  # fmt: skip
def test_scores_by_pair_tell_a_change_from_noise(
    project: Path, compare: Any, changes: tuple[float, ...], code: int, verdict: str
) -> None:
    old, new = [0.6, 0.7, 0.71], [0.6 + changes[0], 0.7 + changes[1], 0.71 + changes[2]]
    for name, values in (("old.csv", old), ("new.csv", new)):
        rows = [f"attend,a{n},b{n},{value!r}\n" for n, value in enumerate(values)]
        Path(name).write_text(f"system,from,to,ssim/pg2\n{''.join(rows)}")
    files = write("old.json", sum(old) / 3), write("new.json", sum(new) / 3)
    out, _ = compare(*files, "--base-pairs", "old.csv", "--head-pairs", "new.csv", code=code)
    assert f"| 3 | {verdict} |" in out
    compare(*files, code=1 if sum(changes) < 0 else 0)  # without pairs the tolerance alone decides
    Path("new.csv").write_text(Path("new.csv").read_text().replace("a1,b1", "a1,b9"))
    _, err = compare(*files, "--base-pairs", "old.csv", "--head-pairs", "new.csv", code=2)
    assert "pair 2 of attend is a1 to b1 in old.csv and a1 to b9 in new.csv." in err


# ---- docs/compare.md ----


def fenced(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_prints_what_its_own_example_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compare: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (gates,) = fenced("yaml")
    Path("params.yaml").write_text(gates)
    assert block(yaml.safe_load(gates), "gates", GatesSettings, "the page").systems
    for name, content in zip(("old.json", "new.json"), fenced("json"), strict=True):
        Path(name).write_text(content)
    out, _ = compare("old.json", "new.json", code=1)
    assert fenced("markdown") == [out]


def test_the_page_names_every_option_and_every_exit_code() -> None:
    command = get_command(cli.app).commands["compare"]
    options = {name for parameter in command.params for name in parameter.opts if name.startswith("--")} - {"--help"}
    named = set(re.findall(r"(?<![\w-])--[a-z-]+", " ".join(re.findall(r"```sh.*?```|`[^`\n]+`", PAGE, re.DOTALL))))
    assert options <= named
    assert re.findall(r"^\| (\d) \|", PAGE, re.MULTILINE) == ["0", "1", "2"]
