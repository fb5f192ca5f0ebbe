"""The command line: what it offers, what it refuses, and that a mistake is a message."""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from repose import __version__, cli

ROOT = Path(__file__).parents[1]
STAGES: dict[str, dict[str, Any]] = {
    name: stage.get("do", stage)  # of a foreach: what is done for each item
    for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items()
}
COMMANDS: dict[str, Any] = typer.main.get_command(cli.app).commands
GROUPS = ("kfp", "weights", "figure")
LEAVES = {name: command for name, command in COMMANDS.items() if name not in GROUPS} | {
    f"{group} {name}": command for group in GROUPS for name, command in COMMANDS[group].commands.items()
}
OF_FEW_OPTIONS = ("kfp status", "weights list", "weights fetch", "weights verify")
FOLDERS = {
    "train": ["--images", "i", "--keypoints", "k", "--posemaps", "m", "--split", "s", "--run", "r", "--work", "w"],
    "evaluate": [
        "--images", "i", "--keypoints", "k", "--posemaps", "m", "--split", "s", "--runs", "r", "--results", "t",
        "--metrics", "metrics.json",
    ],
    "posemaps": ["--images", "i", "--keypoints", "k", "--posemaps", "m"],
}  # fmt: skip


def repose(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """What `repose ...` ends with; what it prints goes where the test listens."""
    monkeypatch.setattr(sys, "argv", ["repose", *arguments])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        cli.main()
    code = ended.value.code
    return code if isinstance(code, int) else 0


def refused(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The message of a command that ends with exit code 1."""
    assert repose(monkeypatch, *arguments) == 1
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith("repose: ")
    assert "Traceback" not in said.err
    return said.err


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of params.yaml in a folder of its own, which is the working folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text("utf-8"), "utf-8")
    return path


def replaced(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


def test_the_commands_are_the_stages_and_what_uses_their_results() -> None:
    assert set(COMMANDS) == {*STAGES, "table", "generate", "compare", *GROUPS}


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_gives_each_stage_the_options_it_needs_and_no_other(stage: str) -> None:
    program, command, *rest = shlex.split(STAGES[stage]["cmd"])
    assert (program, command) == ("repose", stage)
    given = {word for word in rest if word.startswith("-")}
    known = {parameter.opts[0]: parameter.required for parameter in COMMANDS[stage].params}
    assert given <= set(known)
    assert {option for option, required in known.items() if required} <= given


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_names_every_command(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], option: str
) -> None:
    assert repose(monkeypatch, option) == 0
    said = capfd.readouterr().out
    assert all(f" {command} " in said for command in COMMANDS)


@pytest.mark.parametrize("command", LEAVES)
def test_help_of_a_command_names_every_option_and_says_what_it_is(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], command: str
) -> None:
    assert repose(monkeypatch, *command.split(), "--help") == 0
    said = capfd.readouterr().out
    options = [parameter for parameter in LEAVES[command].params if parameter.opts[0].startswith("--")]
    assert len(options) >= (0 if command in OF_FEW_OPTIONS else 3)
    for option in options:
        assert option.opts[0] in said
        assert option.help or option.opts[0] == "--help", f"{command} {option.opts[0]} has no help"
    assert LEAVES[command].help.split("\n")[0][:40] in said


def test_version(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert repose(monkeypatch, "--version") == 0
    assert capfd.readouterr().out == f"repose {__version__}\n"


def test_help_opens_no_library_that_only_stages_need() -> None:
    code = "import sys; from repose import cli; print(*(n for n in ('torch', 'pandas', 'dvc') if n in sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], check=True, text=True, stdout=subprocess.PIPE)
    assert ran.stdout == "\n"


@pytest.mark.parametrize(("arguments", "named"), [
    (["trian"], "trian"), (["train", "--sistem", "attend"], "--sistem"), (["train", *FOLDERS["train"]], "--system"),
])  # fmt: skip
def test_a_wrong_or_missing_word_is_named_and_ends_with_2(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], arguments: list[str], named: str
) -> None:
    assert repose(monkeypatch, *arguments) == 2
    said = capfd.readouterr().err
    assert named in said
    assert "Traceback" not in said


def test_a_repose_error_is_a_message_without_a_traceback_in_a_process_of_its_own(params: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "repose.cli", "posemaps", *FOLDERS["posemaps"]], check=False, text=True,
        capture_output=True,
    )  # fmt: skip
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert ran.stderr == (
        "repose: There is no i/images.csv. Run the stage that writes it (`dvc repro`), or `dvc pull`.\n"
    )


def test_another_error_keeps_its_traceback(params: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from repose.stages import posemaps

    def broken(**_: Any) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(posemaps, "run", broken)
    monkeypatch.setattr(sys, "argv", ["repose", "posemaps", *FOLDERS["posemaps"]])
    with pytest.raises(RuntimeError, match="a defect"):
        cli.main()


def test_an_unknown_system_names_the_nearest(
    params: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    said = refused(monkeypatch, capfd, "train", "--system", "atend", *FOLDERS["train"])
    assert said == "repose: params.yaml has no row 'atend' under systems. Did you mean 'attend'?\n"


def test_a_system_like_none_names_all(
    params: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    said = refused(monkeypatch, capfd, "train", "--system", "xyz", *FOLDERS["train"])
    assert "has no row 'xyz' under systems; known: paper-m, paper-s, g-di, g-dp, attend, " in said


@pytest.mark.parametrize("systems", ["systems:", "systems: [attend]", ""])
def test_params_without_rows_are_an_error(
    params: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], systems: str
) -> None:
    text = params.read_text("utf-8")
    params.write_text(text[: text.index("systems:\n")] + systems + "\n", "utf-8")
    assert "has no row 'attend' under systems" in refused(
        monkeypatch, capfd, "train", "--system", "attend", *FOLDERS["train"]
    )


@pytest.mark.parametrize(("command", "old", "new", "message"), [
    ("posemaps", "  line_width:", "  line_widht:", "posemaps: unknown key 'line_widht'. Did you mean 'line_width'?"),
    ("train", "  log_every:", "  log_evry:", "train: unknown key 'log_evry'. Did you mean 'log_every'?"),
    ("train", "  layers: viton", "  layers: vitno",
     "train.perceptual.layers should be one of viton, crn, vunet, patn, not 'vitno'. Did you mean 'viton'?"),
    ("train", "    kind: attend", "    kind: atend", "systems.attend.kind should be one of attend, "),
    ("train", "synthesized: 0.5", "synthesised: 0.5", "systems.attend.losses: unknown key 'synthesised'. Did you mean 'synthesized'?"),
    ("evaluate", "  picture_pairs:", "  pictur_pairs:",
     "evaluate: unknown key 'pictur_pairs'. Did you mean 'picture_pairs'?"),
    ("evaluate", "\nevaluate:", "\nevaluat:", " has no block 'evaluate'. Did you mean 'evaluat'?"),
    ("train", "\ntrain:", "\ntrian:", " has no block 'train'. Did you mean 'trian'?"),
])  # fmt: skip
def test_a_typo_in_the_params_names_key_file_and_nearest_key(
    params: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], command: str, old: str, new: str,
    message: str,
) -> None:  # fmt: skip
    replaced(params, old, new)
    system = ["--system", "attend"] if command == "train" else []
    said = refused(monkeypatch, capfd, command, *system, *FOLDERS[command])
    assert said.startswith("repose: params.yaml")
    assert message in said


def test_params_in_another_place_are_named_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("posemaps: {heigth: 64}\n")
    said = refused(monkeypatch, capfd, "posemaps", *FOLDERS["posemaps"], "--params", str(other))
    assert f"{other}: posemaps: unknown key 'heigth'. Did you mean 'height'?" in said


def test_no_params_says_where_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    said = refused(monkeypatch, capfd, "evaluate", *FOLDERS["evaluate"])
    assert f"There is no {tmp_path / 'params.yaml'}. Run repose in the project's folder" in said


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_run_with_its_folders_and_settings(
    params: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], stage: str
) -> None:
    """Every option of dvc.yaml's line arrives as a path under its own name, and the settings are the stage's block."""
    module = __import__(f"repose.stages.{stage}", fromlist=["run"])
    seen: dict[str, Any] = {}
    monkeypatch.setattr(module, "run", lambda **given: seen.update(given))
    line = STAGES[stage]["cmd"].replace("${item.system}", "attend").replace("${item}", "0")
    words = shlex.split(line)[2:]
    monkeypatch.setattr(sys, "argv", ["repose", stage, *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    folders = seen.pop("folders", None)
    for name in {word.removeprefix("--") for word in words[::2]}:
        values = [value for word, value in zip(words[::2], words[1::2], strict=True) if word == f"--{name}"]
        field = name.replace("-", "_")
        arrived = seen.get(field, getattr(folders, field, None))
        assert [str(path) for path in (arrived if isinstance(arrived, tuple) else [arrived])] == values, name
    shared = {
        "gates": "repose.report.gates", "evaluate": "repose.evaluation.settings", "train": "repose.training.settings",
    }  # fmt: skip
    assert type(seen["settings"]).__module__ == shared.get(stage, f"repose.stages.{stage}")
    assert capfd.readouterr().err == ""


def test_the_row_of_a_system_arrives(params: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from repose.stages import train

    seen: dict[str, Any] = {}
    monkeypatch.setattr(train, "run", lambda **given: seen.update(given))
    monkeypatch.setattr(sys, "argv", ["repose", "train", "--system", "paper-s", *FOLDERS["train"]])
    with pytest.raises(SystemExit):
        cli.main()
    assert (seen["system"], seen["row"].kind, seen["row"].max_sources) == ("paper-s", "paper", 1)


@pytest.fixture
def pipeline(params: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What train and evaluate are called with, in a folder with the pipeline's dvc.yaml and params.yaml and what they read."""
    from repose.stages import evaluate, train

    seen: dict[str, Any] = {}
    for stage in (train, evaluate):
        monkeypatch.setattr(stage, "run", lambda **given: seen.update(given))
    (params.parent / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text("utf-8"), "utf-8")
    for name in ("data/images", "data/keypoints", "data/posemaps", "data/split", "runs"):
        (params.parent / name).mkdir(parents=True)
    return seen


def test_the_paths_of_train_and_evaluate_are_those_of_the_pipeline(
    pipeline: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert repose(monkeypatch, "train", "paper-s", "--split", "other") == 0
    assert (pipeline["system"], str(pipeline["run"]), str(pipeline["work"])) == (
        "paper-s",
        "runs/paper-s",
        ".repose/runs",
    )
    folders = vars(pipeline["folders"])
    assert {name: str(path) for name, path in folders.items()} == {
        "images": "data/images", "keypoints": "data/keypoints", "posemaps": "data/posemaps", "split": "other",
    }  # fmt: skip
    assert repose(monkeypatch, "evaluate") == 0
    assert (str(pipeline["folders"].runs), str(pipeline["results"]), str(pipeline["metrics"])) == (
        "runs", "results", "metrics.json",
    )  # fmt: skip
    assert repose(monkeypatch, "evaluate", "--results", "r") == 0
    assert pipeline["metrics"] is None


def test_a_path_that_the_pipeline_lacks_is_named_with_what_makes_it(
    pipeline: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("data/keypoints").rmdir()
    said = refused(monkeypatch, capfd, "train", "attend")
    assert said.startswith("repose: There is no data/keypoints. Make it with `dvc repro keypoints`, ")
    assert said.endswith("or name another with --keypoints.\n")
    assert "With --system, name --results" in refused(monkeypatch, capfd, "evaluate", "--system", "attend")
    Path("dvc.yaml").write_text("stages: {}")
    said = refused(monkeypatch, capfd, "train", "attend", *FOLDERS["train"][:-4])
    assert said == "repose: Name --run, --work: the dvc.yaml of this folder is no pipeline of repose.\n"
    Path("dvc.yaml").unlink()
    assert "Name --run, --work: this folder has no pipeline" in refused(
        monkeypatch, capfd, "train", "attend", *FOLDERS["train"][:-4]
    )
    assert repose(monkeypatch, "train", "attend", "--system", "attend", *FOLDERS["train"]) == 2
    assert not pipeline


@pytest.mark.parametrize("given", [[], ["--system", "paper-s"], ["--system", "baselines"]])
def test_the_system_to_score_alone_arrives(params: Path, monkeypatch: pytest.MonkeyPatch, given: list[str]) -> None:
    from repose.stages import evaluate

    seen: dict[str, Any] = {}
    monkeypatch.setattr(evaluate, "run", lambda **given: seen.update(given))
    assert repose(monkeypatch, "evaluate", *FOLDERS["evaluate"][:-2], *given) == 0
    assert (seen["system"], seen["metrics"]) == (given[1] if given else None, None)


def test_the_block_of_the_table_arrives(params: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from repose.stages import table

    block = {
        "budget": "demo", "data_sets": {"fashion": "DeepFashion"}, "systems": ["attend"],
        "metrics": ["ssim/pg2", "torso-ciede2000"], "reference": "attend", "resamples": 10, "confidence": 0.95, "seed": 0,
        "figure_pairs": 2,
    }  # fmt: skip
    params.write_text(yaml.safe_dump({"table": block}))
    seen: dict[str, Any] = {}
    monkeypatch.setattr(table, "run", lambda **given: seen.update(given))
    assert repose(monkeypatch, "table", "--results", "r", "--published", "p.csv", "--table", "t") == 0
    assert (str(seen["results"]), str(seen["published"]), str(seen["table"])) == ("r", "p.csv", "t")
    assert seen["settings"].data_sets == {"fashion": "DeepFashion"}
