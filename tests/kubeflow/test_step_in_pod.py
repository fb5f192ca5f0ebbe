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
import yaml
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


def test_what_is_found_is_shown_not_the_older_metrics_of_the_image(flowers, remote, counted):
    judge(flowers, remote, counted)
    (flowers / "score.json").write_text('{"score": {"petals": 99}}')  # in git, so in the image
    assert judge(flowers, remote, counted, "run-2").metadata["score_json"]["score.petals"] == 12
    assert steps.left(remote, "judge", "run-2")["how"] == "found in the run-cache"


def test_a_frozen_stage_of_no_interest_without_an_entry(flowers, remote, counted):
    (flowers / "other").mkdir()
    (flowers / "other" / "dvc.yaml").write_text("stages: {old: {cmd: touch old, outs: [old], frozen: true}}")
    (flowers / "other" / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    judge(flowers, remote, counted)


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


def test_the_same_work_is_found_and_no_data_move(flowers, remote, counted):
    assert steps.left(remote, "count")["how"] == "run"
    judge(flowers, remote, counted)
    for path in objects(remote):  # the inputs' data; what is found is pointers, a page, metrics
        if path.read_bytes() == b"1\n2\n3\n":
            path.unlink()
    again = steps.run("count", flowers, remote, ["made"], run="run-2")
    assert steps.left(remote, "count", "run-2")["how"] == "found in the run-cache"
    assert entry(remote, "count", "run-2") == entry(remote, "count")
    judge(flowers, remote, again, run="run-2")
    assert steps.left(remote, "judge", "run-2")["how"] == "found in the run-cache"  # also with an uncached output


def test_work_of_a_laptop_is_found(flowers, remote):
    foreign.dvc(flowers, "pull", "--quiet", "petals.csv")
    foreign.dvc(flowers, "repro")
    foreign.dvc(flowers, "push", "--run-cache")
    (flowers / "petals.csv").unlink()
    steps.run("count", flowers, remote, ["made"])
    assert steps.left(remote, "count")["how"] == "found in the run-cache"


def test_work_of_a_pod_is_found_by_a_laptop(flowers, remote, counted):
    judge(flowers, remote, counted)
    foreign.dvc(flowers, "fetch", "--run-cache")
    foreign.dvc(flowers, "pull", "petals.csv")
    output = foreign.dvc(flowers, "repro", "--pull")
    assert "Running stage" not in output
    assert output.count("is cached - skipping run") == 2


def test_an_entry_whose_objects_are_gone_is_not_found_but_run(flowers, remote, counted):
    for path in objects(remote):
        if path.read_bytes().startswith(b'{"petals"'):
            path.unlink()
    steps.run("count", flowers, remote, ["made"], run="run-2")
    assert steps.left(remote, "count", "run-2")["how"] == "run"


@pytest.mark.parametrize(("given", "read"), [
    ({"scale": 3, "labels": [1, 2.5, 7], "precise": True}, {"labels": [1, 2.5, 7], "precise": True, "scale": 3}),
    ({"scale": "3", "labels": "[1]", "precise": "null"}, {"labels": [1], "precise": None, "scale": 3}),  # as `submit -P`
    ({"scale": 2}, {"labels": [1, 2.5, "a"], "precise": False, "scale": 2}),
])  # fmt: skip
def test_params_of_the_run_reach_the_stage_with_their_types(flowers, remote, given, read):
    steps.run("count", flowers, remote, ["made"], params=given)
    assert repr(entry(remote, "count")["params"]["params.yaml"]) == repr(read)


def test_texts_of_any_kind_are_written_into_the_params(flowers, remote):
    texts = {"scale": '"3"', "labels": "[{1: .inf}]", "precise": "null"}
    words = steps.words("count", flowers, remote, [], params=texts)
    task.apply_params(flowers, task.read_task(words, {"REPOSE_RUN": "r"}))
    read = yaml.safe_load((flowers / "params.yaml").read_text())
    assert read == {"scale": "3", "labels": [{1: float("inf")}], "precise": None}


def test_an_exposed_param(flowers, remote):
    *_, last = steps.words("count", flowers.parent / "artifacts", remote, ["made"])
    given = json.loads(last)
    given["inputs"]["parameterValues"]["scale"] = "-1e-05"
    work = task.read_task(["count", "made", "scale=params.yaml:scale", json.dumps(given)], {"REPOSE_RUN": "r"})
    step.run_step(work, flowers)
    assert entry(remote, "count", "r")["params"]["params.yaml"]["scale"] == -1e-05


@pytest.mark.parametrize(("stage", "outputs", "params", "message"), [
    ("count", ["made"], {"scal": 3}, r"params.yaml has no key 'scal'. Did you mean 'scale'"),
    ("count", ["made"], {"scale": "x"}, r"The parameter scale should be a number such as 2, or null, not 'x'"),
    ("count", ["made"], {"dvc.yaml:stages.count.cmd": ["mkdir made"]}, r"dvc\.yaml is not a params file of a stage"),
    ("count", ["made"], {"scale": 3, "more.json:scale": 3}, r"more\.json is not a params file of a stage"),
    ("counts", [], {}, r"no stage 'counts'"),
    ("count", ["made", "more"], {}, r"The task has 2 outputs, but count has 1 in this image's dvc.yaml"),
    ("judge", [], {}, "The task of judge needs the entries of count"),
])  # fmt: skip
def test_a_task_of_another_version(flowers, remote, stage, outputs, params, message):
    (flowers / "more.json").write_text('{"scale": 2}')
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


@pytest.mark.parametrize("error", [ReposeError("lost"), RuntimeError("of a cloud")])
def test_the_error_of_the_stage_is_seen_if_its_report_cannot_be_written(flowers, remote, monkeypatch, capfd, error):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(step.Remote, "write", fail)
    (flowers / "count.py").write_text("raise SystemExit(1)")
    with pytest.raises(ReposeError, match="Stage count failed"):
        steps.run("count", flowers, remote, ["made"])
    assert capfd.readouterr().err.count(f"The run's record will lack this step: {error}") == 2


def test_entries_that_are_missing_in_the_remote(flowers, remote, counted):
    shutil.rmtree(remote / "kubeflow" / "entries")
    with pytest.raises(ReposeError, match=r"has no intact kubeflow/entries/.*Did it use another remote"):
        judge(flowers, remote, counted)


@pytest.mark.parametrize(("text", "numbers"), [
    (f'{{"a": NaN, "b": {{"c": 1, "d": true}}, "e": 1{"0" * 309}}}', {"b.c": 1}),
    ("0.5", {"score": 0.5}),
    ("{", {}),
])  # fmt: skip
def test_metrics_that_are_bare_not_finite_or_none(flowers, remote, counted, capfd, text, numbers):
    with (flowers / "judge.py").open("a") as judging:
        judging.write(f"open(sys.argv[2], 'w').write({text!r})\n")
    metrics = judge(flowers, remote, counted).metadata["score_json"]
    assert {key: value for key, value in metrics.items() if not isinstance(value, str)} == numbers
    told = "Kubeflow gets no numbers of score.json: The metrics file score.json cannot be" in capfd.readouterr().err
    assert told == (not numbers)


WRITES_A_FOLDER = """
import pathlib, sys
_, _, scores, report = map(pathlib.Path, sys.argv)
scores.mkdir()
(scores / "a.json").write_text('{"b": 1}')
(scores / "c.yaml").write_text("day: 2024-01-02")
(scores / "d").mkdir()
(scores / "d" / "a.json").write_text('{"b": 2}')
report.touch()
"""


def test_a_folder_of_metrics_of_which_one_has_a_date(flowers, remote, counted):
    for name in ("score.json report", "score.json: {c", "score.json: M"):
        edit(flowers / "dvc.yaml", name, name.replace(".json", ""))
    (flowers / "judge.py").write_text(WRITES_A_FOLDER)
    judged = steps.run("judge", flowers, remote, ["report_html", "score"], inputs=[counted.entry])
    numbers = {key: value for key, value in judged.metadata["score"].items() if not isinstance(value, str)}
    assert numbers == {"a.b": 1, "d.a.b": 2}
    assert (judged.files["score"] / "c.yaml").is_file()


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
    steps.run("count", flowers, remote, ["made"], run="run-2")
    assert any(path.read_bytes() == b"from 2" for path in objects(remote))
    assert not list(kept.iterdir())


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


def test_unfinished_work_of_another_param_named_size_is_not_resumed(flowers, remote):
    edit(flowers / "dvc.yaml", 'cpu: "1"', "unfinished: .work")
    (flowers / "count.py").write_text(RESUMING.replace("time.sleep(600)", "sys.exit(1)"))
    for size in (1, 2):
        (flowers / "params.yaml").write_text(f"scale: {{size: {size}}}\nlabels: []\nprecise: false\n")
        with pytest.raises(ReposeError, match="Stage count failed"):
            steps.run("count", flowers, remote, ["made"])
    assert len(list((remote / "kubeflow" / "unfinished").iterdir())) == 2


def test_a_stage_s_own_transfers_have_boto_s_attempts(flowers, remote, monkeypatch):
    program = "import os, sys; open(sys.argv[2], 'w').write(str('AWS_MAX_ATTEMPTS' in os.environ))"
    (flowers / "count.py").write_text(program)
    steps.run("count", flowers, remote, ["made"])
    assert any(path.read_bytes() == b"False" for path in objects(remote))
    assert os.environ["AWS_MAX_ATTEMPTS"] == "1"  # of the step's


BUSY = """
import itertools, os, pathlib, subprocess, sys, time
if sys.argv[1] != "busy":
    subprocess.Popen([sys.executable, __file__, "busy"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pathlib.Path(sys.argv[2]).write_text("{}")
else:
    end = time.monotonic() + 5
    os.mkdir("busy")
    for number in itertools.takewhile(lambda _: time.monotonic() < end, itertools.count()):
        open(f"busy/{number}", "w").close()
"""


def test_a_process_that_a_stage_leaves_behind_may_go_on_to_write(flowers, remote, monkeypatch, tmp_path):
    monkeypatch.setenv("REPOSE_WORK", str(tmp_path))
    (flowers / "count.py").write_text(BUSY)
    steps.run("count", flowers, remote, ["made"])
    assert steps.left(remote, "count")["state"] == "finished"


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
