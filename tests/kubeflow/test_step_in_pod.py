"""What a task does in its pod, on a foreign project with a folder as DVC's remote."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import foreign
import pytest
import steps
from compiled import edit

from processes import until
from repose.errors import ReposeError
from repose.kubeflow import nodes, record, step, task, variables
from repose.kubeflow.needs import Accelerator, Needs


@pytest.fixture
def remote(flowers: Path, remote: Path) -> Path:
    """The remote of the project, which holds no data of its own."""
    foreign.without_data(flowers)
    return remote


@pytest.fixture
def counted(flowers: Path, remote: Path) -> steps.Left:
    """What the first stage left."""
    return steps.run("count", flowers, remote, ["made"])


def judge(flowers: Path, remote: Path, counted: steps.Left, run: str = "run-1") -> steps.Left:
    return steps.run("judge", flowers, remote, ["report_html", "score_json"], inputs=[counted.entry], run=run)


def objects(remote: Path) -> list[Path]:
    return sorted(path for path in (remote / "files").rglob("*") if path.is_file())


def entry(remote: Path, stage: str, run: str = "run-1") -> dict[str, Any]:
    """The entry of dvc.lock that a stage handed on."""
    found: dict[str, Any] = steps.left(remote, stage, run)["entry"]
    return found


def test_artifacts_are_pointers_pages_or_bytes_and_say_where_the_data_are(flowers, remote, counted):
    (out,) = entry(remote, "count")["outs"]
    about = {key: out[key] for key in ("path", "md5", "size")} | {"nfiles": 1, "remote": str(remote), "stage": "count"}
    assert counted.metadata["made"] == json.loads(counted.files["made"].read_text()) == about
    judged = judge(flowers, remote, counted)
    metrics = judged.metadata["score_json"]
    numbers = {key: value for key, value in metrics.items() if not isinstance(value, str)}
    assert numbers == {"score.petals": 12, "score.half": 6.0}  # what is DVC's is text
    assert judged.files["report_html"].read_text() == "<p>12 petals</p>"


def test_an_exported_output_is_copied_to_the_artifact_also_when_it_is_found(flowers, remote):
    edit(flowers / "dvc.yaml", "{made: Dataset}", "{made: {type: Model, export: true}}")
    for run in ("run-1", "run-2"):
        left = steps.run("count", flowers, remote, ["made"], run=run)
        assert [path.name for path in left.files["made"].iterdir()] == ["petals.json"]
        assert json.loads((left.files["made"] / "petals.json").read_text()) == {"petals": 12}


def test_a_read_only_image_is_not_changed(flowers, remote):
    files = [path for path in flowers.rglob("*") if path.is_file() and ".dvc/tmp" not in str(path)]
    before = {path: path.read_bytes() for path in files}
    for path in [*flowers.rglob("*"), flowers]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        steps.run("count", flowers, remote, ["made"])
    finally:
        for path in [flowers, *flowers.rglob("*")]:
            path.chmod(0o755)
    assert {path: path.read_bytes() for path in files} == before


def test_the_same_work_is_found_and_shown_and_no_data_move(flowers, remote, counted):
    assert steps.left(remote, "count")["how"] == "run"
    judge(flowers, remote, counted)
    for path in objects(remote):  # the inputs' data; what is found is pointers, a page, metrics
        if path.read_bytes() == b"1\n2\n3\n":
            path.unlink()
    again = steps.run("count", flowers, remote, ["made"], run="run-2")
    assert steps.left(remote, "count", "run-2")["how"] == "found in the run-cache"
    assert entry(remote, "count", "run-2") == entry(remote, "count")
    (flowers / "score.json").write_text('{"score": {"petals": 99}}')  # in git, so in the image
    assert judge(flowers, remote, again, "run-2").metadata["score_json"]["score.petals"] == 12
    assert steps.left(remote, "judge", "run-2")["how"] == "found in the run-cache"  # also with an uncached output


def test_work_of_a_laptop_is_found_by_a_pod_and_the_pod_s_by_a_laptop(flowers, remote):
    foreign.dvc(flowers, "pull", "--quiet", "petals.csv")
    foreign.dvc(flowers, "repro", "count")
    foreign.dvc(flowers, "push", "--run-cache")
    foreign.without_data(flowers)
    shutil.rmtree(flowers / "made")
    (flowers / "dvc.lock").unlink()
    counted = steps.run("count", flowers, remote, ["made"])
    assert steps.left(remote, "count")["how"] == "found in the run-cache"
    judge(flowers, remote, counted)
    foreign.dvc(flowers, "fetch", "--run-cache")
    foreign.dvc(flowers, "pull", "petals.csv")
    output = foreign.dvc(flowers, "repro", "--pull")
    assert output.count("is cached - skipping run") == 2


@pytest.mark.parametrize(("given", "read"), [
    ({"scale": 3, "labels": [1, 2.5, 7], "precise": True}, {"labels": [1, 2.5, 7], "precise": True, "scale": 3}),
    ({"scale": "3", "labels": "[1]", "precise": "null"}, {"labels": [1], "precise": None, "scale": 3}),  # as `submit -P`
])  # fmt: skip
def test_params_of_the_run_reach_the_stage_with_their_types(flowers, remote, given, read):
    steps.run("count", flowers, remote, ["made"], params=given)
    assert repr(entry(remote, "count")["params"]["params.yaml"]) == repr(read)


@pytest.mark.parametrize(("stage", "outputs", "params", "message"), [
    ("count", ["made"], {"dvc.yaml:stages.count.cmd": ["mkdir made"]}, r"dvc\.yaml is not a params file of a stage"),
    ("counts", [], {}, r"no stage 'counts'"),
    ("count", ["made", "more"], {}, r"The task has 2 outputs, but count has 1 in this image's dvc.yaml"),
    ("judge", [], {}, "The task of judge needs the entries of count"),
])  # fmt: skip
def test_a_task_of_another_version(flowers, remote, stage, outputs, params, message):
    with pytest.raises(ReposeError, match=message):
        steps.run(stage, flowers, remote, outputs, params=params)


def test_a_stage_that_fails_pushes_nothing(flowers, remote):
    (flowers / "count.py").write_text("raise SystemExit(3)\n")
    before = objects(remote)
    with pytest.raises(ReposeError, match=r"Stage count failed: .*exited with 3\. Its output is above"):
        steps.run("count", flowers, remote, ["made"])
    assert objects(remote) == before
    left = steps.left(remote, "count")
    assert (left["state"], "entry" in left) == ("failed", False)
    assert not (remote / "runs").exists()


def test_entries_that_are_missing_in_the_remote(flowers, remote, counted):
    shutil.rmtree(remote / "kubeflow" / "entries")
    with pytest.raises(ReposeError, match=r"has no intact kubeflow/entries/.*Did it use another remote"):
        judge(flowers, remote, counted)


WRITES_METRICS = """
import pathlib, sys
_, _, scores, report = map(pathlib.Path, sys.argv)
scores.mkdir()
(scores / "a.json").write_text('{"b": 1, "c": NaN, "d": true, "e": 1%s}' % (309 * "0"))
(scores / "bare.json").write_text("0.5")
(scores / "date.yaml").write_text("day: 2024-01-02")
(scores / "half.json").write_text("{")
(scores / "in").mkdir()
(scores / "in" / "a.json").write_text('{"b": 2}')
report.touch()
"""


def test_kubeflow_gets_the_finite_numbers_of_a_folder_of_metrics_and_all_its_files(flowers, remote, counted, capfd):
    for name in ("score.json report", "score.json: {c", "score.json: M"):
        edit(flowers / "dvc.yaml", name, name.replace(".json", ""))
    (flowers / "judge.py").write_text(WRITES_METRICS)
    judged = steps.run("judge", flowers, remote, ["report_html", "score"], inputs=[counted.entry])
    numbers = {key: value for key, value in judged.metadata["score"].items() if not isinstance(value, str)}
    assert numbers == {"a.b": 1, "bare": 0.5, "in.a.b": 2}
    assert (judged.files["score"] / "date.yaml").is_file()
    assert "Kubeflow gets no numbers of score/half.json: The metrics file half.json cannot be" in capfd.readouterr().err


def test_the_shared_cache_is_used(flowers, remote, monkeypatch):
    cache = flowers.parent / "cache"
    monkeypatch.setenv("REPOSE_DVC_CACHE", str(cache))
    counted = steps.run("count", flowers, remote, ["made"])
    assert any(path.is_file() for path in (cache / "files" / "md5").rglob("*"))
    for path in objects(remote):
        path.unlink()
    judge(flowers, remote, counted)


def test_the_project_s_own_cache_folder_and_remote_named_pipeline_are_not_used_but_a_remote_of_any_path(
    flowers, remote
):
    foreign.dvc(flowers, "config", "cache.dir", str(flowers.parent / "own"))
    foreign.dvc(flowers, "remote", "add", "pipeline", "s3://bucket")
    foreign.dvc(flowers, "remote", "modify", "pipeline", "profile", "mine")
    counted = steps.run("count", flowers, remote.rename(remote.with_name("josé's, #1")), ["made"])
    assert counted.metadata["made"]["remote"].endswith("josé's, #1")
    assert not (flowers.parent / "own").exists()


# --- several nodes


def test_a_stage_on_several_nodes(flowers, remote, monkeypatch):
    seen: list[dict[str, Any]] = []

    def run(job: dict[str, Any]) -> None:
        """Do the work of the nodes of a TrainJob, one after the other."""
        seen.append(job)
        trainer = job["spec"]["trainer"]
        words = [word.replace("$$", "$") for word in trainer["command"][3:]]
        for number in range(trainer["numNodes"]):
            with monkeypatch.context() as node:
                node.delenv(variables.JOB)
                for variable in (*trainer["env"], {"name": "PET_NODE_RANK", "value": str(number)}):
                    node.setenv(variable["name"], variable["value"])
                step.run_node(task.read_task(words), flowers)

    place = flowers.parent / "artifacts"
    words = steps.words("count", place, remote, ["made"], params={"labels": ["$(HOME)"]})
    edit(flowers / "dvc.yaml", "- mkdir -p made", "- '[[ $DVC_STAGE = count ]] && mkdir -p made'")
    monkeypatch.setenv("SHELL", shutil.which("bash") or "")  # which DVC uses
    monkeypatch.setattr(nodes, "run", run)
    monkeypatch.setattr(sys, "argv", ["step", *words])
    needs = Needs(nodes=2, cpu="4", accelerator=Accelerator("nvidia.com/gpu", 8))
    monkeypatch.setenv(variables.JOB, nodes.job_text(needs, "image@sha256:0", "runner"))
    step.run_step(task.read_task(words, {"REPOSE_RUN": "r"}), flowers)
    assert steps.left(remote, "count", "r")["how"] == "run on several nodes"
    assert entry(remote, "count", "r")["params"]["params.yaml"]["labels"] == ["$(HOME)"]
    (job,) = seen
    assert job["spec"]["trainer"]["resourcesPerNode"]["requests"] == {"cpu": "4", "nvidia.com/gpu": "8"}
    step.run_step(task.read_task(words, {"REPOSE_RUN": "again"}), flowers)
    assert len(seen) == 1  # found in the run-cache, without nodes


# --- unfinished work

RESUMING = """
import os, pathlib, sys, time
work, half = pathlib.Path(".work/counting"), pathlib.Path(".work/.counting")
done = len(list(work.glob("*")))
if done == 0:
    half.mkdir(parents=True)
    for number in range(2):
        (half / str(number)).write_text("x")
    half.rename(work)
    time.sleep(600)
out = pathlib.Path(sys.argv[2]); out.parent.mkdir(exist_ok=True); out.write_text(f"from {done}")
"""


def test_a_pod_that_is_killed_leaves_its_unfinished_work_to_the_next(flowers, remote, monkeypatch):
    edit(flowers / "dvc.yaml", 'cpu: "1"', "unfinished: .work")
    (flowers / "count.py").write_text(RESUMING)
    kept = remote / "kubeflow" / "unfinished"
    monkeypatch.setenv("REPOSE_PUSH_EVERY", "0.05")
    process = subprocess.Popen(
        [sys.executable, "-m", "repose.kubeflow.step", *steps.words("count", flowers.parent / "made", remote, ["made"])],
        env=os.environ | {"REPOSE_PROJECT": str(flowers), "REPOSE_RUN": "r"}, start_new_session=True, cwd=flowers.parent,
    )  # fmt: skip
    try:
        until(lambda: any(kept.glob("*.tar")))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert steps.left(remote, "count", "r")["state"] == "started"  # what the run's record tells of
    steps.run("count", flowers, remote, ["made"], run="run-2")
    assert any(path.read_bytes() == b"from 2" for path in objects(remote))
    assert not list(kept.glob("*.tar"))


def test_a_stage_without_a_key_only_resumes_its_own_run(flowers, remote):
    edit(flowers / "dvc.yaml", 'cpu: "1"', "unfinished: .work")
    edit(flowers / "dvc.yaml", "    desc: Count", "    always_changed: true\n    desc: Count")
    (flowers / "count.py").write_text(RESUMING.replace("time.sleep(600)", "sys.exit(1)"))
    for run in ("run-1", "run-2"):
        with pytest.raises(ReposeError, match="Stage count failed"):
            steps.run("count", flowers, remote, ["made"], run=run)
    assert len(list((remote / "kubeflow" / "unfinished").iterdir())) == 2
    steps.run("count", flowers, remote, ["made"], run="run-2")
    assert any(path.read_bytes() == b"from 2" for path in objects(remote))


def test_a_stage_s_own_transfers_have_boto_s_attempts(flowers, remote, monkeypatch):
    program = "import os, sys; open(sys.argv[2], 'w').write(str('AWS_MAX_ATTEMPTS' in os.environ))"
    (flowers / "count.py").write_text(program)
    steps.run("count", flowers, remote, ["made"])
    assert any(path.read_bytes() == b"False" for path in objects(remote))
    assert os.environ["AWS_MAX_ATTEMPTS"] == "1"  # of the step's


# --- the command line


def test_the_command_line(flowers, remote, monkeypatch, capfd):
    monkeypatch.setenv("REPOSE_PROJECT", str(flowers))
    monkeypatch.setenv("REPOSE_RUN", "r")
    place, of_record = flowers.parent / "a", ["run-record", "flowers", "dvc.yaml"]
    step.main(step.run_step, steps.words("count", place, remote, ["made"]))
    assert "count: run, " in capfd.readouterr().err
    step.main(record.write_record, steps.words("", place, remote, [], before=of_record))
    said = capfd.readouterr().err
    assert "count: finished, run\njudge: not run\n" in said
    assert f"The record of the run is kubeflow/runs/r/record.json in {remote}" in said
    for words, message in (
        (steps.words("none", place, remote, []), "The project has no stage 'none'"),
        (["count"], "The command's last argument is not an executor input"),
        ([], "The command's last argument is not an executor input"),
    ):
        with pytest.raises(SystemExit):
            step.main(step.run_step, words)
        assert f"repose: {message}" in capfd.readouterr().err
