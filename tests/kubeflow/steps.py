"""A task's work in this process, as its component's command would say it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from repose.kubeflow import step


class Left(NamedTuple):
    """What a task left."""

    files: dict[str, Path]  # of each artifact, by name
    report: dict[str, Any]  # the executor's output: metadata of each artifact

    def metadata(self, name: str) -> dict[str, Any]:
        """Of an artifact."""
        found: dict[str, Any] = self.report["artifacts"][name]["artifacts"][0]["metadata"]
        return found

    def entry(self, name: str) -> dict[str, Any]:
        """The entry of dvc.lock in a pointer."""
        (found,) = yaml.safe_load(self.files[name].read_text())["stages"].values()
        return dict(found)


def run(
    stage: str, image: Path, remote: Path | str, outputs: Sequence[str], *, inputs: Sequence[Path] = (),
    params: Mapping[str, str] | None = None, run: str = "run-1", endpoint: str = "",
) -> Left:  # fmt: skip
    """Do the task of a stage; its artifacts go beside the image's folder."""
    place = image.parent / "artifacts" / run / stage.replace("/", "-")
    files = {name: place / name for name in outputs}
    step.do(
        step.Work(
            stage, run, str(remote), endpoint, place / "executor_output.json", tuple(inputs),
            tuple(step.Artifact(name, file, f"minio://{name}") for name, file in files.items()),
            tuple((params or {}).items()),
        ), image,
    )  # fmt: skip
    return Left(files, json.loads((place / "executor_output.json").read_text()))


def left(remote: Path, stage: str, run: str = "run-1") -> dict[str, Any]:
    """What the step of a stage left for the run's record."""
    found: dict[str, Any] = json.loads((remote / "kubeflow" / "runs" / run / "stages" / f"{stage}.json").read_text())
    return found
