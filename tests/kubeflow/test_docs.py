"""What pipelines/README.md says is so: its keys and their defaults, its commands, targets, names and links, its example."""

import re
import shutil
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import compiled
import yaml
from foreign import dvc
from typer.main import get_command

from repose.cli import app
from repose.kubeflow import compiler, needs
from repose.kubeflow.project import read_project

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "pipelines" / "README.md").read_text()
NESTED = {  # how the page writes a key whose value has keys of its own
    "limits": ("limits.", needs.Amounts),
    "accelerator": ("accelerator.", needs.Accelerator),
    "scratch": ("scratch.", needs.Scratch),
    "tolerations": ("tolerations[].", needs.Toleration),
    "retries": ("retries.", needs.Retries),
    "volumes": ("volumes[].", needs.Volume),
    "cache": ("cache.", needs.Volume),
    "security": ("security.", needs.Security),
}


def table(head: str) -> dict[str, Any]:
    """Key and default of each row of a table."""
    rows = PAGE.split(f"| {head} | default | what |\n|---|---|---|\n")[1].split("\n\n")[0]
    cells = re.findall(r"^\| `([^`]+)` \| (?:`([^`]+)` )?\| \S", rows, re.MULTILINE)
    assert len(cells) == len(rows.splitlines())
    return {key: yaml.safe_load(default) if default else None for key, default in cells}


def default(field: Field[Any]) -> Any:
    """What a key is where it is not given; none of them is empty on purpose."""
    return None if field.default in (MISSING, None, ()) else field.default


def keys(kind: Any, prefix: str = "") -> dict[str, Any]:
    """Key and default of each field."""
    found: dict[str, Any] = {}
    for field in fields(kind):
        if field.name in NESTED:
            found |= keys(NESTED[field.name][1], NESTED[field.name][0])
        elif kind is needs.StageMeta and field.name == "outs":
            found |= {"outs.PATH": None} | keys(needs.OutMeta, "outs.PATH.")
        else:
            found[f"{prefix}{field.name}"] = default(field)
    return found


def commands() -> list[str]:
    """The commands in blocks and in the text."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL))
    return [*"\n".join(blocks).splitlines(), *inline]


def test_its_keys_and_their_defaults():
    assert list(table("key").items()) == list(keys(needs.StageMeta).items())
    assert list(table("key of an environment").items()) == list(keys(needs.Environment).items())
    assert keys(needs.StageMeta)["retries.backoff"] == "30s"


def test_its_commands_and_their_options():
    kfp = get_command(app).commands["kfp"]
    named = {}
    for line in commands():
        for name, rest in re.findall(r"repose kfp ([a-z-]+)([^&;)]*)", line):
            options = set(re.findall(r"(?<!\S)--?[a-zA-Z][\w-]*", rest.split("#")[0]))
            named[name] = named.get(name, set()) | options
    assert set(named) == set(kfp.commands)
    for name, options in named.items():
        assert options <= {option for parameter in kfp.commands[name].params for option in parameter.opts}, name


def test_its_targets_of_make():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    called = [call for line in commands() for call in re.findall(r"(?<!\S)make((?: [a-z0-9-]+)+)", line)]
    named = {target for call in called for target in call.split()}
    assert {"image", "compile-check", "metrics-diff", "compare", "submit"} <= named <= targets


def test_its_files():
    for name in set(re.findall(r"`((?:tests|src|environments)/[\w./-]+)`", PAGE)):
        assert (ROOT / name).exists() or (ROOT / "pipelines" / name).exists(), name


def test_what_the_environments_ask_the_cluster_for_is_named():
    texts = [(ROOT / compiler.ENVIRONMENTS / f"{name}.yaml").read_text() for name in ("staging", "production")]
    for name in ("repose-s3", "registry", "repose-runner", "repose-dvc-cache"):
        assert f"`{name}`" in PAGE
        assert any(name in text for text in texts), name
    staging = yaml.safe_load(texts[0])
    assert f"dvc remote add -d store {staging['remote']} " in PAGE
    assert set(staging["defaults"]["secrets"]["repose-s3"]) == set(re.findall(r"(?:'|\\n)(\w+)=%s", PAGE))


def test_the_stage_that_it_adds_is_compiled(tmp_path):
    (stage,) = re.findall(r"```yaml\n(  scores:\n.*?)```", PAGE, re.DOTALL)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text().replace("\nplots:", f"\n{stage}\nplots:", 1))
    dvc(tmp_path, "init", "--no-scm", "--quiet")
    plan = compiler.plan_for(read_project(tmp_path), None)
    assert [(out.name, out.type) for out in compiled.task_of(plan, "scores").outputs] == [
        ("reports_scores", "Markdown")
    ]
    assert ("scores", "evaluate") in compiled.read(compiled.text_for(plan.project)).edges
