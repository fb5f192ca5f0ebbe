"""The workflows: they only call make, may only read, and give the one secret to the one step that needs it."""

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([\w./-]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
MAKE = re.compile(r'make(?: -s)?((?: [\w./-]+)+)(?: >> "\$GITHUB_STEP_SUMMARY")?')


def read(path: Path) -> dict[str, Any]:
    """A workflow; YAML 1.1 reads the key `on` as true."""
    content = yaml.safe_load(path.read_text())
    return {"on" if key is True else key: value for key, value in content.items()}


CHECKS, RELEASE = (read(path) for path in WORKFLOWS)


def steps(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in content["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("content", [CHECKS, RELEASE], ids=["checks", "release"])
def test_it_only_reads_and_only_calls_make_and_actions_of_github(content):
    assert content["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in content["jobs"].values())
    for step in steps(content):
        if "run" in step:
            called = MAKE.fullmatch(step["run"])  # so no expression is part of a command, which the shell would read
            assert called, step["run"]
            assert set(called[1].split()) <= TARGETS, step["run"]
        else:
            # by commit: a tag can be moved to other code
            assert re.fullmatch(r"actions/(checkout|setup-python|cache|upload-artifact)@[0-9a-f]{40}", step["uses"])
            if "/checkout@" in step["uses"]:
                assert step["with"]["persist-credentials"] is False


def test_a_pull_request_sees_no_secret_and_compares_with_its_target():
    assert "secrets" not in (ROOT / ".github" / "workflows" / "checks.yml").read_text()
    called = [step for step in steps(CHECKS) if "run" in step]
    compared = [step for step in called if "env" in step]
    assert [step["run"] for step in compared] == [
        f'make -s {target} >> "$GITHUB_STEP_SUMMARY"' for target in ("metrics-diff", "compare", "pictures")
    ]
    assert all(step["env"] == {"BASE": "origin/${{ github.base_ref }}"} for step in compared)
    checkout = steps(CHECKS)[0]
    assert checkout["with"]["fetch-depth"] == 0  # all branches: the target's metrics.json is there
    assert {"check", "compile-check", "test"} <= set(" ".join(step["run"] for step in called).split())
    assert [step["run"] for step in called[-2:]] == ["make check compile-check test", "make audit"]
    assert all(step["if"] == "${{ !cancelled() }}" for step in called[-2:])  # also where a score got worse


def test_the_one_secret_goes_to_the_step_that_submits():
    decides = RELEASE["jobs"]["submit"]["env"]["SUBMIT"]
    assert re.fullmatch(r"\$\{\{ secrets\.KFP_TOKEN != ''( && vars\.\w+ != '')+ \}\}", decides)  # true or false
    (submit,) = [step for step in steps(RELEASE) if step.get("run") == "make submit"]
    assert submit["if"] == "env.SUBMIT == 'true'"
    assert set(submit["env"]) == {"KFP_ENDPOINT", "KFP_NAMESPACE", "KFP_TOKEN", "IMAGE"}
    assert submit["env"]["KFP_TOKEN"] == "${{ secrets.KFP_TOKEN }}"
    assert WORKFLOWS[1].read_text().count("secrets.") == 2


def test_a_tag_of_a_model_releases_nothing():
    (pattern,) = RELEASE["on"]["push"]["tags"]
    assert [fnmatchcase(tag, pattern) for tag in ("v0.2.0", "vunet@v1.0.0", "attend@v1.0.0")] == [True, False, False]
