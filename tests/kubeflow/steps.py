"""A task's work in this process, with the executor input that Kubeflow's launcher would give it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from repose.kubeflow import record, step, task

Metadata = dict[str, Any]  # of an artifact


class Left(NamedTuple):
    """What a task left."""

    files: dict[str, Path]  # of each artifact, by name
    metadata: dict[str, Metadata]  # of each artifact, by name
    entry: str  # the ID of the stage's entry


def words(
    stage: str, place: Path, remote: Path | str, outputs: Sequence[str], *, inputs: Sequence[str] = (),
    params: Mapping[str, Any] | None = None, endpoint: str = "", before: Sequence[str] = (),
) -> list[str]:  # fmt: skip
    """The command line of a task, with the executor input last."""

    texts = {"stage": stage, "remote": str(remote), "endpoint": endpoint, "overrides": json.dumps(params or {})}
    given = {
        "inputs": {"parameterValues": texts | {f"after_{number}": entry for number, entry in enumerate(inputs)}},
        "outputs": {
            "parameters": {"entry": {"outputFile": str(place / "entry")}},
            "artifacts": {name: {"artifacts": [{"name": name, "uri": str(place / name)}]} for name in outputs},
            "outputFile": str(place / "executor_output.json"),
        },
    }
    return [*(before or ["component", *outputs]), json.dumps(given)]


def run(
    stage: str, image: Path, remote: Path | str, outputs: Sequence[str], *, run: str = "run-1", **given: Any
) -> Left:
    """Do the task of a stage; its artifacts go beside the image's folder."""
    place = image.parent / "artifacts" / run / stage.replace("/", "-")
    line = words(stage, place, remote, outputs, **given)
    step.run_step(task.read_task(line, {"REPOSE_RUN": run}), image)
    report = json.loads((place / "executor_output.json").read_text())["artifacts"]
    metadata = {name: report[name]["artifacts"][0]["metadata"] for name in outputs}
    return Left({name: place / name for name in outputs}, metadata, (place / "entry").read_text())


def write_record(
    image: Path, remote: Path | str, *, run: str = "run-1", pipeline: str = "flowers", file: str = "dvc.yaml", **given: Any
) -> dict[str, Any]:  # fmt: skip
    """Do the last task of a run; return the record."""
    line = words("", image.parent / "record", remote, [], before=["run-record", pipeline, file], **given)
    return record.write_record(task.read_task(line, {"REPOSE_RUN": run}), image)


def left(remote: Path, stage: str, run: str = "run-1") -> dict[str, Any]:
    """What the step of a stage left for the run's record."""
    found: dict[str, Any] = json.loads((remote / "kubeflow" / "runs" / run / "stages" / f"{stage}.json").read_text())
    return found
