"""The command line: its commands and options, what reaches the stages, and its messages."""

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
import typer
import yaml
from PIL import Image

from mannequins.renderer import MannequinSettings, render_item
from repose import __version__, cli
from tiny_system import save_system

ROOT = Path(__file__).parents[1]
STAGES: dict[str, dict[str, Any]] = {
    name: stage.get("do", stage)  # of a foreach: what is done for each item
    for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items()
}
COMMANDS: dict[str, Any] = typer.main.get_command(cli.app).commands
GROUPS = ("kfp", "weights", "figure", "surface")
LEAVES = {name: command for name, command in COMMANDS.items() if name not in GROUPS} | {
    f"{group} {name}": command for group in GROUPS for name, command in COMMANDS[group].commands.items()
}
LIBRARIES = {  # slow to import, or not installed everywhere
    "torch", "torch._dynamo", "torchvision", "pandas", "scipy", "skimage", "PIL", "pydantic", "safetensors", "jinja2",
    "great_expectations", "kfp", "dvc", "boto3",
}  # fmt: skip
Said = Callable[..., tuple[str, str]]  # conftest's
WORDS = {  # repose, the stage, its options
    name: shlex.split(stage["cmd"].replace("${item.system}", "paper-s").replace("${item}", "0"))
    for name, stage in STAGES.items()
}
FOLDERS = {name: words[4 if name == "train" else 2 :] for name, words in WORDS.items()}  # without --system of train


@pytest.fixture
def message(said_by: Said) -> Callable[..., str]:
    """The message of a command that ends with exit code 1."""

    def of(*arguments: str) -> str:
        out, told = said_by(*arguments, code=1)
        assert out == ""
        assert told.startswith("repose: ")
        return told.removeprefix("repose: ")

    return of


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of params.yaml in a folder of its own, which is the working folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text("utf-8"), "utf-8")
    return path


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the stages are called with."""
    arguments: dict[str, Any] = {}
    for name in [*STAGES, "table"]:
        monkeypatch.setattr(f"repose.stages.{name}.run", lambda **given: arguments.update(given))
    return arguments


def test_the_commands_are_the_stages_and_what_uses_their_results():
    assert set(COMMANDS) == {*STAGES, "table", "generate", "compare", *GROUPS}


def test_every_command_and_option_has_help(said_by):
    for command, of in LEAVES.items():
        assert of.help, command
        assert all(parameter.help for parameter in of.params), command
    assert said_by("-h") == said_by("--help")
    assert all(f" {command} " in said_by("-h")[0] for command in COMMANDS)
    assert said_by("--version")[0] == f"repose {__version__}\n"


@pytest.mark.parametrize(("words", "allowed"), [
    ("--help", ""),
    ("kfp status a", "pydantic"),
    ("gates", "pydantic jinja2 pandas"),
    ("keypoints", "pydantic pandas PIL jinja2"),
    ("train attend", "pydantic pandas PIL torch safetensors"),
    ("generate front.jpg -p target.jpg --find-poses figure -c model.safetensors -o new.png", "pydantic PIL torch safetensors"),
])  # fmt: skip
def test_a_command_imports_only_what_it_uses(tmp_path, words, allowed):
    """Stages are run without their params, so that they end when they are imported; generate does its work."""
    command, *rest = shlex.split(words)
    if command in STAGES:
        rest += WORDS[command][2:] if command != "train" else []
        rest += ["--params", "gone.yaml"]
    if command == "generate":
        save_system(tmp_path / "model.safetensors")
        for number, photo in enumerate(render_item(MannequinSettings("fashion", items=2, seed=7, quality=90), 0)[:2]):
            Image.fromarray(photo.pixels).save(tmp_path / ("front.jpg", "target.jpg")[number], quality=95)
    program = "import sys\nfrom repose import cli\ntry: cli.main()\nexcept SystemExit: print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", program, command, *rest], cwd=tmp_path, check=True, text=True, capture_output=True
    )
    imported = ran.stdout.splitlines()[-1].split()
    assert LIBRARIES & set(imported) <= set(allowed.split())
    assert ("gone.yaml" in ran.stderr) == (command in STAGES)
    assert (tmp_path / "new.png").exists() == (command == "generate")


@pytest.mark.parametrize(("arguments", "named"), [
    (["trian"], "trian"), (["train", "--sistem", "attend"], "--sistem"), (["train", *FOLDERS["train"]], "--system"),
])  # fmt: skip
def test_a_wrong_or_missing_word_is_named_and_ends_with_2(said_by, arguments, named):
    assert named in said_by(*arguments, code=2)[1]


def test_a_word_with_control_characters_is_refused_before_typer_repeats_it(message):
    refused = "The argument --no\\x1b]0;title\\x07 has control characters. Rename the file.\n"
    assert message("generate", "--no\x1b]0;title\x07") == refused


def test_a_gpu_without_enough_memory_is_a_message(monkeypatch, message):
    full = "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 139.80 GiB."
    monkeypatch.setattr(cli, "app", MagicMock(side_effect=torch.OutOfMemoryError(full)))
    short = "The GPU is out of memory (CUDA out of memory. Tried to allocate 20.00 GiB). Stop other programs"
    assert message("train", "attend").startswith(short)


def test_an_unknown_system_names_the_known_ones(params, message):
    expected = "params.yaml has no row 'atend' under systems. Did you mean 'attend'?\n"
    assert message("train", "--system", "atend", *FOLDERS["train"]) == expected
    text = params.read_text("utf-8")
    params.write_text(text[: text.index("systems:\n")], "utf-8")
    assert "has no row 'attend' under systems; known: none." in message(
        "train", "--system", "attend", *FOLDERS["train"]
    )


@pytest.mark.parametrize(("command", "old", "new", "expected"), [
    ("posemaps", "  line_width:", "  line_widht:", "posemaps: unknown key 'line_widht'. Did you mean 'line_width'?"),
    ("train", "synthesized: 0.5", "synthesised: 0.5", "systems.attend.losses: unknown key 'synthesised'. Did you mean "),
])  # fmt: skip
def test_a_typo_in_the_params_names_file_and_nearest_key(params, message, command, old, new, expected):
    text = params.read_text("utf-8")
    assert old in text
    params.write_text(text.replace(old, new, 1), "utf-8")
    system = ["--system", "attend"] if command == "train" else []
    printed = message(command, *system, *FOLDERS[command])
    assert printed.startswith("params.yaml")
    assert expected in printed


def test_params_are_those_of_the_option_or_of_the_folder(params, message):
    other = params.rename("other.yaml")
    command = ("posemaps", *FOLDERS["posemaps"])
    assert f"There is no {params}. Run repose in the project's folder" in message(*command)
    advice = "Run the stage that writes it (`dvc repro`), or `dvc pull`."
    assert message(*command, "--params", str(other)) == f"There is no data/images/0/images.csv. {advice}\n"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_run_with_its_folders_and_settings(params, seen, said_by, stage):
    program, name, *words = WORDS[stage]
    assert (program, name) == ("repose", stage)
    said_by(stage, *words)
    if stage == "train":
        assert (seen["row"].kind, seen["row"].max_sources) == ("paper", 1)
    folders = seen.pop("folders", None)
    for name in {word.removeprefix("--") for word in words[::2]}:
        values = [value for word, value in zip(words[::2], words[1::2], strict=True) if word == f"--{name}"]
        field = name.replace("-", "_")
        arrived = seen.get(field, getattr(folders, field, None))
        assert [str(path) for path in (arrived if isinstance(arrived, tuple) else [arrived])] == values, name
    shared = {
        "gates": "repose.report.gates", "evaluate": "repose.evaluation.settings", "train": "repose.training.settings",
        "split": "repose.data.splits",
    }  # fmt: skip
    assert type(seen["settings"]).__module__ == shared.get(stage, f"repose.stages.{stage}")


@pytest.fixture
def pipeline(params: Path, seen: dict[str, Any]) -> dict[str, Any]:
    """What the stages are called with, in a folder with dvc.yaml, params.yaml and what train and evaluate read."""
    (params.parent / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text("utf-8"), "utf-8")
    for name in ("data/images", "data/keypoints", "data/posemaps", "data/split", "runs"):
        (params.parent / name).mkdir(parents=True)
    return seen


def test_the_paths_of_train_and_evaluate_default_to_those_of_the_pipeline(pipeline, said_by):
    said_by("train", "paper-s", "--split", "other")
    assert [str(pipeline[name]) for name in ("system", "run", "work")] == ["paper-s", "runs/paper-s", ".repose/runs"]
    assert {name: str(path) for name, path in vars(pipeline["folders"]).items()} == {
        "images": "data/images", "keypoints": "data/keypoints", "posemaps": "data/posemaps", "split": "other",
    }  # fmt: skip
    said_by("evaluate")
    assert [str(pipeline[name]) for name in ("results", "metrics")] == ["results", "metrics.json"]
    assert str(pipeline["folders"].runs) == "runs"
    said_by("evaluate", "--results", "r", "--system", "baselines")
    assert (pipeline["system"], pipeline["metrics"]) == ("baselines", None)


def test_a_path_that_the_pipeline_lacks_is_named_with_what_makes_it(pipeline, message):
    Path("data/keypoints").rmdir()
    printed = message("train", "attend")
    assert printed.startswith("There is no data/keypoints. Make it with `dvc repro keypoints`, ")
    assert printed.endswith("or give another with --keypoints.\n")
    assert "With --system, give --results" in message("evaluate", "--system", "attend")
    without_two = ["train", "attend", *FOLDERS["train"][:-4]]
    for stages in ("{}", "{train: {cmd: python train.py --run runs}}"):
        Path("dvc.yaml").write_text(f"stages: {stages}")
        assert message(*without_two) == "Give --run, --work: the dvc.yaml of this folder is not a pipeline of repose.\n"
    Path("dvc.yaml").unlink()
    assert "Give --run, --work: this folder has no pipeline" in message(*without_two)
    assert not pipeline
