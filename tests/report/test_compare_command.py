"""`repose compare` as a person or a workflow calls it: git revisions, files, reports and exit codes; and its page."""

import json
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from repose import cli
from repose.errors import ReposeError
from repose.report.scores_file import read_side

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "compare.md").read_text("utf-8")
PROTOCOL = {"split": "pg2-like", "pairs": 3, "size": "128x88", "crop": None}
GATES = """
gates:
  systems: [attend]
  metrics: {ssim/pg2: {better: higher, tolerance: 0.01}}
  limits: {attend: {ssim/pg2: {min: 0.6}}}
  resamples: 200
  confidence: 0.95
  seed: 0
"""


def git(*arguments: str) -> str:
    command = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", *arguments]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout.strip()


def write(path: str, score: Any, **protocol: Any) -> str:
    record = {"schema": 2, "protocol": PROTOCOL | protocol, "metrics": {}, "scores": {"attend": {"ssim/pg2": score}}}
    Path(path).write_text(json.dumps(record))
    return path


def commit(score: float) -> None:
    write("metrics.json", score)
    git("add", ".")
    git("commit", "--quiet", "--message", str(score))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a git repository with the pipeline and gates, its first scores tagged `old`; no remote, no cache."""
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


@pytest.mark.parametrize(("now", "code", "said"), [
    (0.7, 0, "No regression in 1 gated score; 1 better."), (0.65, 1, "Regression: 1 of 1 gated score."),
    (None, 2, "Not comparable: 1 of 1 gated score."),
])  # fmt: skip
def test_the_scores_in_this_folder_beside_those_of_a_revision(project, compare, now, code, said):
    write("metrics.json", now)
    out, err = compare("old", code=code)
    old = git("rev-parse", "old")[:10]
    assert out.startswith(f"## Scores\n\n**{said}** HEAD is metrics.json, BASE is old ({old}).\n")
    assert err.startswith(f"repose: {said}\n")
    assert (err.count("\n") > 1) == (code > 0)  # what fails is said in the log as well


def test_two_revisions_whatever_is_in_the_folder(project, compare):
    commit(0.64)
    Path("metrics.json").write_text("damaged")
    out, err = compare("old", "main", code=1)
    assert "| attend | ssim/pg2 | higher | 0.67 | 0.64 | -0.03 | 0.01 | at least 0.6 | **worse** |" in out
    assert "repose: ssim/pg2 of attend: worse by 0.03, but at most 0.01 is allowed.\n" in err
    write("old", 0.62)
    compare("old", "main", code=0)  # a file goes before a revision of its name
    compare("refs/tags/old", "main", code=1)


def test_a_pipeline_below_the_top_of_the_repository(project, compare, monkeypatch):
    below = project / "below"
    below.mkdir()
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(name, below)
    monkeypatch.chdir(below)
    commit(0.5)
    assert "| 0.5 | 0.5 |" in compare("HEAD", code=1)[0]  # below its limit on both sides
    assert "Git cannot read metrics.json of the revision old " in compare("old", code=2)[1]


def test_reports_are_written_and_one_that_cannot_be_written_is_no_regression(project, compare):
    write("metrics.json", 0.64)
    out, _ = compare("old", "--markdown", "out/a.md", "--json", "out/a.json", code=1)
    assert Path("out/a.md").read_text() == out
    assert json.loads(Path("out/a.json").read_text())["outcome"] == "regression"
    Path("taken").write_text("")
    _, err = compare("old", "--json", "taken/a.json", code=2)
    assert "repose: Cannot write taken/a.json" in err
    assert "Give two different files" in compare("old", "--json", "a", "--markdown", "./a", code=2)[1]


@pytest.mark.parametrize(("arguments", "said"), [
    (("nowhere",), "There is no file and no git revision 'nowhere' here. Fetch it (`git fetch origin`), or give another one"),
    (("--", "--all"), "There is no file and no git revision '--all' here."),
    (("old", "none.json"), "none.json cannot be read: No such file or directory. Run `dvc repro`, or give another file"),
    (("old", "other.json"), 'have different protocols: size is "128x88" in BASE and "256x176" in HEAD'),
    (("old", "--base-pairs", "a.csv"), "Give both of --base-pairs and --head-pairs, or neither."),
    (("old", "--base-pairs", "a.csv", "--head-pairs", "a.csv"), "There is no a.csv. Run the stage that writes it"),
    (("old", "--params", "dvc.yaml"), "dvc.yaml has no block 'gates'"),
])  # fmt: skip
def test_what_cannot_be_compared_ends_with_2_and_a_message_and_leaves_reports(project, compare, arguments, said):
    write("other.json", 0.67, size="256x176")
    out, err = compare("--json", "a.json", *arguments, code=2)
    assert said in err
    assert err.startswith("repose: Not comparable. ")
    assert out.startswith("## Scores\n\n**Not comparable. ")
    assert said in json.loads(Path("a.json").read_text())["refusal"]


def test_a_folder_that_is_no_repository_and_a_machine_without_git_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(ReposeError, match="no file main, and git cannot look for a revision: fatal: not a git"):
        read_side("main")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ReposeError, match="Git is not installed, so revisions cannot be read"):
        read_side("main")
    with pytest.raises(ReposeError, match=r"This folder has no dvc\.yaml that names a file of scores"):
        read_side(None)


def test_scores_by_pair_tell_a_change_from_noise(project, compare):
    old, new = [0.6, 0.7, 0.71], [0.3, 0.9, 0.66]
    for name, values in (("old.csv", old), ("new.csv", new)):
        rows = [f"attend,a{n},b{n},{value!r}\n" for n, value in enumerate(values)]
        Path(name).write_text(f"system,from,to,ssim/pg2\n{''.join(rows)}")
    files = write("old.json", sum(old) / 3), write("new.json", sum(new) / 3)
    assert "| 3 | noise |" in compare(*files, "--base-pairs", "old.csv", "--head-pairs", "new.csv", code=0)[0]
    compare(*files, code=1)  # without pairs the tolerance alone decides


# ---- docs/compare.md ----


def fenced(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_prints_what_its_own_example_gives_without_git_and_pipeline(tmp_path, monkeypatch, compare):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    (gates,) = fenced("yaml")
    Path("gates.yaml").write_text(gates)
    for name, content in zip(("old.json", "new.json"), fenced("json"), strict=True):
        Path(name).write_text(content)
    out, _ = compare("old.json", "new.json", "--params", "gates.yaml", code=1)
    assert fenced("markdown") == [out]


def test_the_page_names_every_option_and_every_exit_code():
    command = get_command(cli.app).commands["compare"]
    options = {name for parameter in command.params for name in parameter.opts if name.startswith("--")} - {"--help"}
    named = set(re.findall(r"(?<![\w-])--[a-z-]+", " ".join(re.findall(r"```sh.*?```|`[^`\n]+`", PAGE, re.DOTALL))))
    assert options <= named
    assert re.findall(r"^\| (\d) \|", PAGE, re.MULTILINE) == ["0", "1", "2"]
