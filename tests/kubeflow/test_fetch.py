"""The record that a run leaves, and what fetch makes of it: also of a run that failed half-way."""

import json
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import foreign
import pytest
import steps
import yaml
from compiled import edit

from repose.errors import ReposeError
from repose.kubeflow import record
from repose.kubeflow.fetch import fetch_run
from repose.kubeflow.project import open_repo


def run_all(image: Path, remote: Path, run: str = "run-1") -> steps.Left:
    counted = steps.run("count", image, remote, ["made"], run=run)
    return steps.run("judge", image, remote, ["report_html", "score_json"], inputs=[counted.entry], run=run)


def states(left: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {stage["stage"]: (stage["state"], stage.get("how", stage.get("message"))) for stage in left["stages"]}


def test_a_run_is_fetched_other_code_is_told_and_nothing_is_left_to_do(ran, monkeypatch, capsys):
    monkeypatch.setenv("REPOSE_COMMIT", "abc123")
    steps.write_record(ran.image, ran.remote)
    monkeypatch.chdir(ran.folder)
    own = (ran.folder / "count.py").read_text()
    (ran.folder / "count.py").write_text("# another\n")
    ran.fetch()
    assert "The run's image (commit abc123) has other versions of count.py" in capsys.readouterr().err
    (ran.folder / "count.py").write_text(own)
    assert json.loads((ran.folder / "score.json").read_text())["score"]["petals"] == 12
    foreign.dvc(ran.folder, "pull")
    assert "Running stage" not in foreign.dvc(ran.folder, "repro")
    assert (ran.folder / "report.html").read_text() == "<p>12 petals</p>"


def test_what_dvc_lock_has_of_other_stages_stays(ran):
    steps.write_record(ran.image, ran.remote)
    other = {"schema": "2.0", "stages": {"other": {"cmd": "true"}}}
    (ran.folder / "dvc.lock").write_text(yaml.safe_dump(other))
    fetch_run(ran.folder, "run-1", remote=None, endpoint="", force=True)
    assert list(yaml.safe_load((ran.folder / "dvc.lock").read_text())["stages"]) == ["other", "count", "judge"]


def test_a_run_that_kubeflow_took_from_its_cache_is_whole(image, remote):
    run_all(image, remote, "earlier")
    earlier = steps.write_record(image, remote, run="earlier")
    left = steps.write_record(image, remote, run="later")  # none of its steps ran
    assert states(left) == dict.fromkeys(("count", "judge"), ("finished", "taken from Kubeflow's cache"))
    assert left["locks"] == earlier["locks"]
    (entry,) = (file.stem for file in (remote / "kubeflow" / "entries").iterdir() if "judge" not in file.read_text())
    steps.run("judge", image, remote, ["report_html", "score_json"], inputs=[entry], run="half")
    shutil.rmtree(remote / "runs")  # without the run-cache, what later steps got tells
    left = steps.write_record(image, remote, run="half")
    assert states(left) == {
        "count": ("finished", "taken from Kubeflow's cache"),
        "judge": ("finished", "found in the run-cache"),
    }
    assert left["locks"] == earlier["locks"]


@pytest.mark.parametrize(("error", "message"), [
    (KeyboardInterrupt(), record._KILLED), (OSError(116, "Stale file handle"), "OSError(116, 'Stale file handle')"),
])  # fmt: skip
def test_a_pod_that_was_killed_or_an_error_that_is_none_of_ours_is_in_the_record(image, remote, error, message):
    with mock.patch("repose.kubeflow.step.read_entries", side_effect=error), pytest.raises(type(error)):
        steps.run("count", image, remote, ["made"])
    assert states(steps.write_record(image, remote)) == {"count": ("failed", message), "judge": ("not run", "")}


def test_of_two_attempts_that_went_on_the_record_has_what_later_steps_got(ran):
    report = ran.remote / "kubeflow" / "runs" / "run-1" / "stages" / "count.json"
    left = steps.left(ran.remote, "count")
    (out,) = left["entry"]["outs"]
    got, out["md5"] = out["md5"], f"{'0' * 32}.dir"
    report.write_text(json.dumps(left | {"state": "failed"}))  # as of a lost node that goes on after the second attempt
    found = steps.write_record(ran.image, ran.remote)
    assert states(found)["count"] == ("finished", "run")
    lock = yaml.safe_load(found["locks"]["dvc.lock"])
    assert [out["md5"] for out in lock["stages"]["count"]["outs"]] == [got]


def test_dvc_repro_meanwhile(ran, monkeypatch):
    monkeypatch.setattr("dvc.lock.DEFAULT_TIMEOUT", 0)
    with open_repo(ran.folder).lock, pytest.raises(ReposeError, match=r"A command of DVC is at work in .*flowers"):
        ran.fetch()
    assert not (ran.folder / "dvc.lock").exists()


def test_a_folder_outside_dvc_s_cache_is_fetched(flowers, image, remote):
    for folder in (flowers, image):
        edit(folder / "dvc.yaml", "outs: [made]", "outs: [made: {cache: false}]")
    steps.run("count", image, remote, ["made"])
    assert "made/petals.json" in steps.write_record(image, remote)["files"]
    fetch_run(flowers, "run-1", remote=None, endpoint="", force=False)
    assert json.loads((flowers / "made" / "petals.json").read_text()) == {"petals": 12}
    (flowers / "made" / "old").mkdir()
    (flowers / "made" / "old" / "of another run.json").write_text("{}")
    with pytest.raises(ReposeError, match=r"other versions of made/old/of another run\.json, and your changes are not"):
        fetch_run(flowers, "run-1", remote=None, endpoint="", force=False)
    fetch_run(flowers, "run-1", remote=None, endpoint="", force=True)
    assert [path.name for path in (flowers / "made").rglob("*.json")] == ["petals.json"]
    assert "made" not in foreign.dvc(flowers, "status", "count")


def test_params_in_python_are_not_in_the_record(image, remote):
    (image / "own.py").write_text("WIDTH = 3\n")
    edit(image / "dvc.yaml", "params: [scale,", "params: [own.py: [WIDTH], scale,")
    assert list(steps.write_record(image, remote)["params"]) == ["params.yaml"]


def test_a_run_that_failed_half_way(flowers, image, remote, monkeypatch, capsys):
    (image / "judge.py").write_text("raise SystemExit(7)\n")
    with pytest.raises(ReposeError, match="Stage judge failed"):
        run_all(image, remote)
    left = steps.write_record(image, remote)
    assert [state for state, _ in states(left).values()] == ["finished", "failed"]
    monkeypatch.chdir(flowers)
    fetch_run(flowers, "run-1", remote=None, endpoint="", force=False)
    told = capsys.readouterr().err
    assert "Run run-1: 1 of 2 stages are finished" in told
    assert "judge: failed: Stage judge failed" in told
    assert list(yaml.safe_load((flowers / "dvc.lock").read_text())["stages"]) == ["count"]
    foreign.dvc(flowers, "pull", "--allow-missing")
    output = foreign.dvc(flowers, "repro")  # our judge.py is another one
    assert [line for line in output.splitlines() if line.startswith("Running stage")] == ["Running stage 'judge':"]


def test_a_stage_whose_page_is_missing_failed_though_its_data_are_there(image, remote):
    edit(image / "dvc.yaml", "{made: Dataset}", "{made: {type: HTML, page: none.html}}")
    with pytest.raises(ReposeError, match=r"count wrote no none\.html to made, but meta\.kfp in dvc\.yaml refers"):
        steps.run("count", image, remote, ["made"])
    left = steps.write_record(image, remote)
    assert states(left)["count"][0] == "failed"
    assert "wrote no none.html" in states(left)["count"][1]
    assert "count" in left["locks"]["dvc.lock"]


@pytest.mark.parametrize(("params", "message"), [
    ({}, "Run run-1: no stage finished; only the params are here."),
    ({"scal": 3}, "Run run-1: no stage finished; nothing was written."),
])  # fmt: skip
def test_a_run_of_which_nothing_finished(flowers, image, remote, capsys, params, message):
    steps.write_record(image, remote, params=params)
    fetch_run(flowers, "run-1", remote=None, endpoint="", force=False)
    told = capsys.readouterr().err
    assert message in told
    assert "dvc pull" not in told
