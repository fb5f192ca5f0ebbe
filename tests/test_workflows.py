"""The workflows: they call make and nothing else, may only read, and show the one secret to the one step that needs it."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.repo import Repo

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([\w./-]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
MAKE = re.compile(r'make(?: -s)?((?: [\w./-]+)+)(?: >> "\$GITHUB_STEP_SUMMARY")?')


def read(path: Path) -> dict[str, Any]:
    """A workflow; YAML 1.1 reads the key `on` as true."""
    content = yaml.safe_load(path.read_text())
    return {"on" if key is True else key: value for key, value in content.items()}


def workflow(name: str) -> dict[str, Any]:
    return read(ROOT / ".github" / "workflows" / f"{name}.yml")


def steps(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in content["jobs"].values() for step in job["steps"]]


def places(value: Any, at: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], str]]:
    """Every text in a workflow, with the keys that lead to it."""
    if isinstance(value, dict):
        return [found for key, child in value.items() for found in places(child, (*at, str(key)))]
    if isinstance(value, list):
        return [found for number, child in enumerate(value) for found in places(child, (*at, str(number)))]
    return [(at, str(value))]


def test_there_are_two() -> None:
    assert [path.stem for path in WORKFLOWS] == ["checks", "release"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_command_is_make_of_a_target_that_there_is(path: Path) -> None:
    runs = [step["run"] for step in steps(read(path)) if "run" in step]
    assert runs
    for run in runs:
        called = MAKE.fullmatch(run)
        assert called, run
        assert set(called[1].split()) <= TARGETS, run


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_it_may_read_and_no_more(path: Path) -> None:
    content = read(path)
    assert content["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in content["jobs"].values())
    checkouts = [step for step in steps(content) if step.get("uses", "").startswith("actions/checkout@")]
    assert len(checkouts) == len(content["jobs"])
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_one_of_github_by_its_major_version(path: Path) -> None:
    used = [step["uses"] for step in steps(read(path)) if "uses" in step]
    assert used
    assert all(
        re.fullmatch(r"actions/(checkout|setup-python|cache|upload-artifact)@v\d+", action) for action in used
    ), used


def test_when_they_run() -> None:
    assert workflow("checks")["on"] == "pull_request"
    assert workflow("release")["on"] == {"push": {"tags": ["v*"]}}


def test_a_pull_request_sees_no_secret_and_compares_with_its_target() -> None:
    assert "secrets" not in (ROOT / ".github" / "workflows" / "checks.yml").read_text()
    called = [step for step in steps(workflow("checks")) if "run" in step]
    compared = [step for step in called if "env" in step]
    assert [step["run"] for step in compared] == [
        f'make -s {target} >> "$GITHUB_STEP_SUMMARY"' for target in ("metrics-diff", "compare", "pictures")
    ]
    assert all(step["env"] == {"BASE": "origin/${{ github.base_ref }}"} for step in compared)
    checkout = steps(workflow("checks"))[0]
    assert checkout["with"]["fetch-depth"] == 0  # all branches: the target's metrics.json is there
    assert {"check", "compile-check", "test"} <= set(" ".join(step["run"] for step in called).split())
    assert called[-1]["if"] == "${{ !cancelled() }}"  # also where a score got worse


def test_the_one_secret_goes_to_the_step_that_submits() -> None:
    found = [(at, text) for at, text in places(workflow("release")) if "secrets." in text]
    (decides, of_job), (goes, of_step) = found
    assert decides == ("jobs", "submit", "env", "SUBMIT")
    assert re.fullmatch(r"\$\{\{ secrets\.KFP_TOKEN != ''( && vars\.\w+ != '')+ \}\}", of_job)  # true or false
    (number,) = [n for n, step in enumerate(steps(workflow("release"))) if step.get("run") == "make submit"]
    assert (goes, of_step) == (("jobs", "submit", "steps", str(number), "env", "KFP_TOKEN"), "${{ secrets.KFP_TOKEN }}")
    submit = steps(workflow("release"))[number]
    assert submit["if"] == "env.SUBMIT == 'true'"
    assert set(submit["env"]) == {"KFP_ENDPOINT", "KFP_NAMESPACE", "KFP_TOKEN", "IMAGE"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_no_expression_is_part_of_a_command(path: Path) -> None:
    """A branch's name or a secret in a command's text would be read by the shell, or stand in the log."""
    assert not [text for at, text in places(read(path)) if at[-1] == "run" and "${{" in text]


def test_make_compares_with_the_branch_of_the_environment() -> None:
    (recipe,) = re.findall(r"^compare:.*\n\t(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe == 'repose compare "$${BASE:-main}"'  # the table alone goes to the summary


def test_pictures_before_and_after_as_far_as_dvc_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", *arguments], cwd=tmp_path, check=True
        )

    git("init", "--quiet", "--initial-branch=main")
    Repo.init(str(tmp_path)).close()
    monkeypatch.chdir(tmp_path)
    Path("results").mkdir()
    for content in ("before", "after"):
        Path("results/picture.png").write_text(content)
        with Repo() as repo:
            (added,) = repo.add("results/picture.png")
        git("add", "-A")
        git("commit", "--quiet", "--message", content)
    md5 = added.outs[0].hash_info.value
    (tmp_path / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).unlink()
    Path("results/picture.png").unlink()
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "BASE": "HEAD~1",
    }
    done = subprocess.run(
        ["make", "-s", "-o", ".venv/ready", "-f", str(ROOT / "Makefile"), "pictures"],
        env=environment, check=True, text=True, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert done.stdout == (
        "## Pictures\n\n- before (HEAD~1): pictures/before.png, in this run's artifact `pictures`\n"
        "- after (HEAD): not to be had, neither from DVC's cache here nor from a remote; the log says why\n"
    )
    assert {path.name: path.read_text() for path in Path("pictures").iterdir()} == {"before.png": "before"}


def test_make_submits_by_the_environment_alone() -> None:
    (recipe,) = re.findall(r"^submit:.*\n\t(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe == 'repose kfp submit -e production --image "$$IMAGE"'  # make shows the line: no value is in it
