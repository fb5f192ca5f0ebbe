"""What a task does in its pod, on a foreign project with a folder as DVC's remote."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import foreign
import psutil
import pytest
import steps
import yaml

from repose.errors import ReposeError
from repose.kubeflow import step


@pytest.fixture
def remote(flowers: Path, remote: Path) -> Path:
    """The remote of the project, which holds no data of its own."""
    (flowers / "petals.csv").unlink()
    shutil.rmtree(flowers / ".dvc" / "cache")
    return remote


@pytest.fixture
def counted(flowers: Path, remote: Path) -> steps.Left:
    """What the first stage left."""
    return steps.run("count", flowers, remote, ["made"])


def judge(flowers: Path, remote: Path, counted: steps.Left, run: str = "run-1") -> steps.Left:
    return steps.run("judge", flowers, remote, ["report_html", "score_json"], inputs=[counted.files["made"]], run=run)


def objects(remote: Path) -> list[Path]:
    return sorted(path for path in (remote / "files").rglob("*") if path.is_file())


def edit(flowers: Path, old: str, new: str) -> None:
    text = (flowers / "dvc.yaml").read_text()
    (flowers / "dvc.yaml").write_text(text.replace(old, new))


def test_a_stage_hands_on_the_entry_that_dvc_repro_writes(flowers: Path, remote: Path, counted: steps.Left) -> None:
    judged = judge(flowers, remote, counted)
    foreign.dvc(flowers, "pull", "petals.csv")
    foreign.dvc(flowers, "repro")
    lock = yaml.safe_load((flowers / "dvc.lock").read_text())["stages"]
    assert counted.entry("made") == lock["count"]
    assert judged.entry("score_json") == lock["judge"]


def test_a_stage_reads_metrics_that_dvc_s_cache_does_not_hold(flowers: Path, remote: Path, counted: steps.Left) -> None:
    pipeline = yaml.safe_load((flowers / "dvc.yaml").read_text())
    pipeline["stages"]["praise"] = {
        "cmd": "cp score.json praise.json", "deps": ["score.json"], "outs": ["praise.json"],
        "meta": {"kfp": {"outs": {"praise.json": "Dataset"}}},
    }  # fmt: skip
    (flowers / "dvc.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False))
    judged = judge(flowers, remote, counted)
    praised = steps.run("praise", flowers, remote, ["praise_json"], inputs=[judged.files["score_json"]])
    (read,) = praised.entry("praise_json")["deps"]
    assert read["md5"] == judged.metadata("score_json")["dvc md5"]


def test_metadata_metrics_and_page(flowers: Path, remote: Path, counted: steps.Left) -> None:
    (out,) = counted.entry("made")["outs"]
    assert counted.metadata("made") == {
        "md5": out["md5"], "size": out["size"], "nfiles": 1, "remote": str(remote), "path": "made",
    }  # fmt: skip
    judged = judge(flowers, remote, counted)
    metrics = judged.metadata("score_json")
    numbers = {key: value for key, value in metrics.items() if not isinstance(value, str)}
    assert numbers == {"score.petals": 12, "score.half": 6.0}  # what is DVC's is text
    assert metrics["dvc path"] == "score.json"
    page = judged.files["report_html"].read_text()
    assert page.startswith("<p>12 petals</p>")
    assert page.count("-->") == 1


def test_a_read_only_image_is_not_changed(flowers: Path, remote: Path) -> None:
    def files() -> dict[Path, bytes]:
        return {
            path: path.read_bytes() for path in flowers.rglob("*") if path.is_file() and ".dvc/tmp" not in str(path)
        }

    before = files()
    for path in [*flowers.rglob("*"), flowers]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        steps.run("count", flowers, remote, ["made"])
    finally:
        for path in [flowers, *flowers.rglob("*")]:
            path.chmod(0o755)
    assert files() == before


def test_the_same_work_is_found_and_no_data_move(flowers: Path, remote: Path, counted: steps.Left) -> None:
    assert steps.left(remote, "count")["how"] == "run"
    again = steps.run("count", flowers, remote, ["made"], run="run-2")
    assert steps.left(remote, "count", "run-2")["how"] == "found in the run-cache"
    assert again.entry("made") == counted.entry("made")
    first = judge(flowers, remote, counted)
    second = judge(flowers, remote, again, run="run-2")
    left = steps.left(remote, "judge", "run-2")
    assert left["how"] == "found in the run-cache"  # also with an output that DVC's cache does not hold
    assert left["moved"]["fetched"] <= 4  # the list of a folder, and the metrics and page that are shown
    assert first.report["artifacts"].keys() == second.report["artifacts"].keys()


@pytest.mark.parametrize("by", ["run-cache", "committed lock"])
def test_work_of_a_laptop_is_found(flowers: Path, remote: Path, by: str) -> None:
    foreign.dvc(flowers, "pull", "--quiet", "petals.csv")
    foreign.dvc(flowers, "repro")
    foreign.dvc(flowers, "push", *(["--run-cache"] if by == "run-cache" else []))
    if by == "run-cache":
        (flowers / "dvc.lock").unlink()
    steps.run("count", flowers, remote, ["made"])
    assert steps.left(remote, "count")["how"] == "found in the run-cache"


def test_work_of_a_pod_is_found_by_a_laptop(flowers: Path, remote: Path, counted: steps.Left) -> None:
    judge(flowers, remote, counted)
    foreign.dvc(flowers, "fetch", "--run-cache")
    foreign.dvc(flowers, "pull", "petals.csv")
    output = foreign.dvc(flowers, "repro", "--pull")
    assert "Running stage" not in output
    assert output.count("is cached - skipping run") == 2


def test_an_entry_whose_objects_are_gone_is_not_found_but_run(flowers: Path, remote: Path, counted: steps.Left) -> None:
    for path in objects(remote):
        if path.read_bytes().startswith(b'{"petals"'):
            path.unlink()
    steps.run("count", flowers, remote, ["made"], run="run-2")
    assert steps.left(remote, "count", "run-2")["how"] == "run"


def test_params_of_the_run_reach_the_stage_with_their_types(flowers: Path, remote: Path, counted: steps.Left) -> None:
    given = {"scale": "3", "labels": "[1, 2.5, 7]", "precise": "True"}
    done = steps.run("count", flowers, remote, ["made"], params=given, run="run-2")
    params = done.entry("made")["params"]["params.yaml"]
    assert repr(params) == "{'labels': [1, 2.5, 7], 'precise': True, 'scale': 3}"
    default = {"scale": "2", "labels": "[1, 2.5, a]", "precise": "false"}
    same = steps.run("count", flowers, remote, ["made"], params=default, run="run-3")
    assert same.files["made"].read_bytes() == counted.files["made"].read_bytes()


@pytest.mark.parametrize(
    ("stage", "outputs", "params", "message"),
    [
        ("count", ["made"], {"petals": "3"}, r"The parameter petals is not one of count in this image's dvc.yaml"),
        ("counts", [], {}, r"no stage 'counts'"),
        ("count", ["mad"], {}, r"The output mad is not one of count in this image's dvc.yaml"),
        ("judge", [], {}, "The task of judge needs the pointers of count as --input"),
    ],
)
def test_a_task_of_another_version(
    flowers: Path, remote: Path, stage: str, outputs: list[str], params: dict[str, str], message: str
) -> None:
    with pytest.raises(ReposeError, match=message):
        steps.run(stage, flowers, remote, outputs, params=params)


def test_a_stage_that_fails_pushes_nothing(flowers: Path, remote: Path) -> None:
    (flowers / "count.py").write_text("raise SystemExit(3)\n")
    before = objects(remote)
    with pytest.raises(ReposeError, match=r"Stage count failed: .*exited with 3\. Its output is above"):
        steps.run("count", flowers, remote, ["made"])
    assert objects(remote) == before
    left = steps.left(remote, "count")
    assert (left["state"], "entry" in left) == ("failed", False)
    assert not (remote / "runs").exists()


def test_metrics_that_are_none(flowers: Path, remote: Path, counted: steps.Left) -> None:
    with (flowers / "judge.py").open("a") as file:
        file.write("open(sys.argv[2], 'w').write('{')\n")
    with pytest.raises(ReposeError, match=r"The metrics file score.json is neither JSON nor YAML"):
        judge(flowers, remote, counted)


def test_the_shared_cache_is_used(flowers: Path, remote: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = flowers.parent / "cache"
    monkeypatch.setenv("REPOSE_DVC_CACHE", str(cache))
    counted = steps.run("count", flowers, remote, ["made"])
    assert any(path.is_file() for path in (cache / "files" / "md5").rglob("*"))
    judge(flowers, remote, counted)
    assert steps.left(remote, "judge")["moved"]["fetched"] == 0


def test_a_remote_that_cannot_be_written(flowers: Path) -> None:
    blocked = flowers.parent / "file"
    blocked.write_text("")
    with pytest.raises(ReposeError, match=r"The remote .*file cannot|There is no .*file"):
        steps.run("count", flowers, blocked, ["made"])


# --- unfinished work

RESUMING = """
import os, pathlib, sys, time
work = pathlib.Path(".work/counting"); work.mkdir(parents=True, exist_ok=True)
done = len(list(work.iterdir()))
for number in range(done, 4):
    (work / str(number)).write_text("x")
    if number == 1 and done == 0:
        open(os.environ["STARTED"], "w").close(); time.sleep(60)
out = pathlib.Path(sys.argv[2]); out.parent.mkdir(exist_ok=True); out.write_text(f"from {done}")
"""


@pytest.mark.parametrize("killed", [True, False])
def test_unfinished_work_is_pushed_meanwhile_and_when_told_to_stop(
    flowers: Path, remote: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], killed: bool
) -> None:
    edit(flowers, 'cpu: "1"', "unfinished: .work")
    (flowers / "count.py").write_text(RESUMING)
    kept, begun = remote / "kubeflow" / "unfinished", flowers.parent / "started"
    monkeypatch.setenv("STARTED", str(begun))
    monkeypatch.setenv("REPOSE_PUSH_EVERY", "0.05" if killed else "1000")
    process = subprocess.Popen(
        [
            sys.executable, "-m", "repose.kubeflow.step", "--stage", "count", "--run", "r", "--remote", str(remote),
            "--report", str(flowers.parent / "report.json"), "--output", "made", str(flowers.parent / "made"), "minio://made",
        ],
        env=os.environ | {"REPOSE_PROJECT": str(flowers)}, start_new_session=True, cwd=flowers.parent,
    )  # fmt: skip
    wait_for(kept if killed else begun)
    if killed:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    else:
        below = psutil.Process(process.pid).children(recursive=True)
        (stage,) = (child for child in below if "count.py" in child.cmdline()[1:])
        process.terminate()
        assert process.wait(30) == 1
        assert has_ended(stage)
        assert "Stage count failed: The step was stopped by signal 15." in capfd.readouterr().err
    assert list(kept.iterdir())
    steps.run("count", flowers, remote, ["made"], run="run-2")
    assert any(path.read_bytes() == b"from 2" for path in objects(remote))
    assert not list(kept.iterdir())


def has_ended(process: psutil.Process) -> bool:
    """Where process 1 collects no orphans, as in many containers, one that ended stays listed as a zombie."""
    for _ in range(200):
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def wait_for(path: Path) -> None:
    for _ in range(600):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} did not appear")


# --- the command line


@pytest.mark.parametrize("value", ["-1e-05", "-.inf", "--param", ""])
def test_a_value_may_look_like_an_option(value: str) -> None:
    where = ["--stage", "train", "--run", "-r", "--remote", "./r", "--endpoint", "", "--report", "report.json"]
    work = step.read_work([*where, "--param", "rate", value, "--param", "steps", "3", "--input", "a", "--input", "b"])
    assert work.params == (("rate", value), ("steps", "3"))
    assert (work.run, work.endpoint, work.inputs) == ("-r", "", (Path("a"), Path("b")))


def test_the_command_line(
    flowers: Path, remote: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REPOSE_PROJECT", str(flowers))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    where = ["--run", "r", "--remote", str(remote), "--report", str(flowers.parent / "report.json")]
    step.main([
        "--stage", "count", *where, "--output", "made", str(flowers.parent / "made"), "minio://x",
        "--param", "scale", "-1e-05", "--version", "petals_csv_version", "0",
    ])  # fmt: skip
    assert "count: run; fetched 1 objects" in capfd.readouterr().err
    entry = yaml.safe_load((flowers.parent / "made").read_text())["stages"]["count"]
    assert float(entry["params"]["params.yaml"]["scale"]) == -1e-05
    for words, message in (
        (["--stage", "none", *where], "The project has no stage 'none'"),
        (where, "The task's command lacks --stage."),
        ([*where, "--stag", "count"], "The task's command is invalid at --stag: unknown option"),
        ([*where, "--param", "scale"], "The task's command is invalid at --param: "),
    ):
        with pytest.raises(SystemExit):
            step.main(words)
        assert f"repose: {message}" in capfd.readouterr().err
