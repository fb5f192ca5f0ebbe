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


def test_metadata_carry_md5_size_number_of_files_and_remote(remote: Path, counted: steps.Left) -> None:
    (out,) = counted.entry("made")["outs"]
    assert counted.metadata("made") == {
        "md5": out["md5"], "size": out["size"], "nfiles": 1, "remote": str(remote), "path": "made",
    }  # fmt: skip


def test_metrics_are_numbers_and_what_is_dvc_s_is_text(flowers: Path, remote: Path, counted: steps.Left) -> None:
    said = judge(flowers, remote, counted).metadata("score_json")
    assert {key: value for key, value in said.items() if not isinstance(value, str)} == {
        "score.petals": 12,
        "score.half": 6.0,
    }
    assert said["dvc path"] == "score.json"


def test_a_page_is_the_page_with_the_pointer_at_its_end(flowers: Path, remote: Path, counted: steps.Left) -> None:
    page = judge(flowers, remote, counted).files["report_html"].read_text()
    assert page.startswith("<p>12 petals</p>")
    assert page.count("-->") == 1


def test_nothing_is_changed_in_the_image(flowers: Path, remote: Path) -> None:
    before = {path: path.read_bytes() for path in flowers.rglob("*") if path.is_file() and ".dvc/tmp" not in str(path)}
    steps.run("count", flowers, remote, ["made"])
    after = {path: path.read_bytes() for path in flowers.rglob("*") if path.is_file() and ".dvc/tmp" not in str(path)}
    assert after == before


def test_a_read_only_image_is_no_hindrance(flowers: Path, remote: Path) -> None:
    for path in [*flowers.rglob("*"), flowers]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        steps.run("count", flowers, remote, ["made"])
    finally:
        for path in [flowers, *flowers.rglob("*")]:
            path.chmod(0o755)


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


def test_work_of_a_laptop_is_found(flowers: Path, remote: Path) -> None:
    foreign.dvc(flowers, "pull", "--quiet", "petals.csv")
    foreign.dvc(flowers, "repro")
    foreign.dvc(flowers, "push", "--run-cache")
    (flowers / "dvc.lock").unlink()
    counted = steps.run("count", flowers, remote, ["made"])
    assert steps.left(remote, "count")["how"] == "found in the run-cache"
    judge(flowers, remote, counted)


def test_work_of_a_committed_lock_is_found(flowers: Path, remote: Path) -> None:
    foreign.dvc(flowers, "pull", "--quiet", "petals.csv")
    foreign.dvc(flowers, "repro")
    foreign.dvc(flowers, "push")
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


def test_params_of_the_run_reach_the_stage_with_their_types(flowers: Path, remote: Path) -> None:
    done = steps.run(
        "count", flowers, remote, ["made"], params={"scale": "3", "labels": "[1, 2.5, 7]", "precise": "True"}
    )
    params = done.entry("made")["params"]["params.yaml"]
    assert params == {"scale": 3, "labels": [1, 2.5, 7], "precise": True}
    assert type(params["scale"]) is int
    assert type(params["labels"][0]) is int


def test_default_params_leave_the_entry_as_it_is(flowers: Path, remote: Path, counted: steps.Left) -> None:
    given = steps.run(
        "count",
        flowers,
        remote,
        ["made"],
        params={"scale": "2", "labels": "[1, 2.5, a]", "precise": "false"},
        run="r2",
    )
    assert given.files["made"].read_bytes() == counted.files["made"].read_bytes()


def test_a_param_of_another_version(flowers: Path, remote: Path) -> None:
    with pytest.raises(ReposeError, match=r"The parameter petals is not one of count in this image's dvc.yaml"):
        steps.run("count", flowers, remote, ["made"], params={"petals": "3"})


def test_a_stage_of_another_version(flowers: Path, remote: Path) -> None:
    with pytest.raises(ReposeError, match=r"no stage 'counts'"):
        steps.run("counts", flowers, remote, [])


def test_an_output_of_another_version(flowers: Path, remote: Path) -> None:
    with pytest.raises(ReposeError, match=r"The output mad is not one of count in this image's dvc.yaml"):
        steps.run("count", flowers, remote, ["mad"])


def test_a_pointer_that_is_missing(flowers: Path, remote: Path) -> None:
    with pytest.raises(ReposeError, match="The task of judge needs the pointers of count as --input"):
        steps.run("judge", flowers, remote, [])


@pytest.mark.parametrize("content", ["", "hello", "stages: {count: 3}", "{}", '<!-- dvc.lock {"a": {}} -->'])
def test_an_input_that_is_no_pointer(flowers: Path, remote: Path, content: str) -> None:
    file = flowers.parent / "made"
    file.write_text(content)
    with pytest.raises(ReposeError, match="is no pointer to the outputs of a stage"):
        steps.run("judge", flowers, remote, [], inputs=[file])


def test_data_that_changed_under_their_hash(flowers: Path, remote: Path, counted: steps.Left) -> None:
    (changed,) = (path for path in objects(remote) if path.read_bytes().startswith(b'{"petals"'))
    changed.chmod(0o644)
    changed.write_bytes(b'{"petals": 99}')
    md5 = changed.parent.name + changed.name
    with pytest.raises(ReposeError, match=rf"The object {md5} in the remote .* has changed.*It is not used"):
        judge(flowers, remote, counted)
    assert steps.left(remote, "judge")["state"] == "failed"


def test_a_missing_object(flowers: Path, remote: Path, counted: steps.Left) -> None:
    (gone,) = (path for path in objects(remote) if path.read_bytes().startswith(b'{"petals"'))
    gone.unlink()
    with pytest.raises(ReposeError, match=rf"The object {gone.parent.name}{gone.name} is not in the remote"):
        judge(flowers, remote, counted)


def test_a_stage_that_fails_says_so_and_pushes_nothing(flowers: Path, remote: Path) -> None:
    (flowers / "count.py").write_text("raise SystemExit(3)\n")
    before = objects(remote)
    with pytest.raises(ReposeError, match=r"Stage count failed: .*exited with 3\. Its own words are above"):
        steps.run("count", flowers, remote, ["made"])
    assert objects(remote) == before
    left = steps.left(remote, "count")
    assert (left["state"], "entry" in left) == ("failed", False)
    assert not (remote / "runs").exists()


def test_a_page_that_the_stage_did_not_write(flowers: Path, remote: Path) -> None:
    text = (flowers / "dvc.yaml").read_text()
    (flowers / "dvc.yaml").write_text(text.replace('cpu: "1"', "pages: {x: made/none.html}"))
    with pytest.raises(ReposeError, match=r"Stage count has no file made/none.html among its outputs"):
        steps.run("count", flowers, remote, ["made", "x_page"])


def test_metrics_that_are_none(flowers: Path, remote: Path, counted: steps.Left) -> None:
    with (flowers / "judge.py").open("a") as file:
        file.write("open(sys.argv[2], 'w').write('{')\n")
    with pytest.raises(ReposeError, match=r"The metrics file score.json is neither JSON nor YAML"):
        judge(flowers, remote, counted)


RESUMING = """
import os, pathlib, sys, yaml
work = pathlib.Path(".work/counting"); work.mkdir(parents=True, exist_ok=True)
done = len(list(work.iterdir()))
print("starting at", done, flush=True)
for number in range(done, 4):
    (work / str(number)).write_text("x")
    if number == 1 and done == 0:
        {crash}
out = pathlib.Path(sys.argv[2]); out.parent.mkdir(exist_ok=True); out.write_text(f"from {{done}}")
"""


def resuming(flowers: Path, crash: str) -> None:
    text = (flowers / "dvc.yaml").read_text()
    (flowers / "dvc.yaml").write_text(text.replace('cpu: "1"', "unfinished: .work"))
    (flowers / "count.py").write_text(RESUMING.format(crash=crash))


def test_a_retry_goes_on_from_what_the_first_try_pushed(
    flowers: Path, remote: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    resuming(flowers, "sys.exit(1)")
    with pytest.raises(ReposeError, match="Stage count failed"):
        steps.run("count", flowers, remote, ["made"])
    (kept,) = (remote / "kubeflow" / "unfinished").iterdir()
    steps.run("count", flowers, remote, ["made"], run="run-2")
    assert "starting at 2" in capfd.readouterr().out
    assert not kept.exists()


def test_unfinished_work_is_pushed_while_it_goes_on(
    flowers: Path, remote: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed with no chance to say goodbye: what was pushed until then is there."""
    resuming(flowers, "import time; time.sleep(60)")
    process = started(flowers, remote, monkeypatch)
    waiting_for(remote / "kubeflow" / "unfinished")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    steps.run("count", flowers, remote, ["made"], run="run-2")
    assert steps.left(remote, "count", "run-2")["how"] == "run"
    assert any(path.read_bytes() == b"from 2" for path in objects(remote))


def test_a_step_that_is_told_to_stop_pushes_its_unfinished_work(
    flowers: Path, remote: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    resuming(flowers, "open(os.environ['STARTED'], 'w').close(); import time; time.sleep(60)")
    monkeypatch.setenv("STARTED", str(flowers.parent / "started"))
    process = started(flowers, remote, monkeypatch, every="1000")
    waiting_for(flowers.parent / "started")
    (stage,) = (
        child for child in psutil.Process(process.pid).children(recursive=True) if "count.py" in child.cmdline()[1:]
    )
    process.terminate()
    assert process.wait(30) == 1
    assert ended(stage)
    assert "Stage count failed: The step was told to stop (signal 15). Its own" in capfd.readouterr().err
    assert list((remote / "kubeflow" / "unfinished").iterdir())


def started(
    flowers: Path, remote: Path, monkeypatch: pytest.MonkeyPatch, every: str = "0.05"
) -> "subprocess.Popen[bytes]":
    monkeypatch.setenv("REPOSE_PUSH_EVERY", every)
    return subprocess.Popen(
        [
            sys.executable, "-m", "repose.kubeflow.step", "--stage", "count", "--run", "r", "--remote", str(remote),
            "--report", str(flowers.parent / "report.json"), "--output", "made", str(flowers.parent / "made"), "minio://made",
        ],
        env=os.environ | {"REPOSE_PROJECT": str(flowers)}, start_new_session=True, cwd=flowers.parent,
    )  # fmt: skip


def ended(process: psutil.Process) -> bool:
    """Where process 1 collects no orphans, as in many containers, one that ended stays listed as a zombie."""
    for _ in range(200):
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def waiting_for(path: Path) -> None:
    for _ in range(600):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} did not appear")


def test_damaged_unfinished_work_is_told(flowers: Path, remote: Path) -> None:
    resuming(flowers, "sys.exit(1)")
    with pytest.raises(ReposeError, match="Stage count failed"):
        steps.run("count", flowers, remote, ["made"])
    (kept,) = (remote / "kubeflow" / "unfinished").iterdir()
    kept.write_bytes(b"no tar")
    with pytest.raises(
        ReposeError, match=r"kubeflow/unfinished/\w+\.tar in .* is damaged: it is no tar file\. Delete it there"
    ):
        steps.run("count", flowers, remote, ["made"], run="run-2")


def test_the_shared_cache_is_used(flowers: Path, remote: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = flowers.parent / "cache"
    monkeypatch.setenv("REPOSE_DVC_CACHE", str(cache))
    counted = steps.run("count", flowers, remote, ["made"])
    assert any(path.is_file() for path in (cache / "files" / "md5").rglob("*"))
    judge(flowers, remote, counted)
    assert steps.left(remote, "judge")["moved"]["fetched"] == 0


def test_the_command_line(
    flowers: Path, remote: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REPOSE_PROJECT", str(flowers))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    place = flowers.parent / "out"
    step.main([
        "--stage", "count", "--run", "r", "--remote", str(remote), "--report", str(place / "report.json"),
        "--output", "made", str(place / "made"), "minio://x", "--param", "scale", "2", "--version", "petals_csv_version", "0",
    ])  # fmt: skip
    assert "count: run; fetched 1 objects" in capfd.readouterr().err
    with pytest.raises(SystemExit):
        step.main(["--stage", "none", "--run", "r", "--remote", str(remote), "--report", str(place / "report.json")])
    assert "repose: The project has no stage 'none'" in capfd.readouterr().err


def test_a_remote_that_cannot_be_written(flowers: Path) -> None:
    blocked = flowers.parent / "file"
    blocked.write_text("")
    with pytest.raises(ReposeError, match=r"The remote .*file cannot|There is no .*file"):
        steps.run("count", flowers, blocked, ["made"])
