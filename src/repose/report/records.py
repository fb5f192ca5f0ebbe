"""What the other stages say of a run: how its systems were trained, and what was checked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from repose.errors import ReposeError
from repose.evaluation.results import read_whole
from repose.report.curves import charts
from repose.validation.page import RECORD

_OF_TRAINING = ("steps", "images", "seed", "device", "precision", "processes", "perceptual", "parameters")
_OF_CHECKS = ("title", "passed", "counts", "checks", "rejected")


class Training(NamedTuple):
    """How a system was trained."""

    system: str
    record: dict[str, Any]  # run.json
    model_bytes: int  # of model.safetensors
    curves: list[str]  # SVG, one for each term of the loss


class Checked(NamedTuple):
    """What a stage checked."""

    stage: str
    record: dict[str, Any]  # validation.json

    def failed(self, severity: str) -> list[dict[str, Any]]:
        """The checks of that severity (critical, warning) that do not hold."""
        return [check for check in self.record["checks"] if check["severity"] == severity and not check["passed"]]

    @property
    def held(self) -> int:
        """How many checks hold."""
        return sum(bool(check["passed"]) for check in self.record["checks"])


def read_training(run: Path) -> Training:
    """What a run's folder says of it.

    Raises:
        ReposeError: a file is missing, damaged, or of an earlier version.
    """
    record = read_whole(run / "run.json", _OF_TRAINING, f"Train {run.name} again.")
    history, model = run / "history.csv", run / "model.safetensors"
    try:
        size, text = model.stat().st_size, history.read_text("utf-8")
    except FileNotFoundError as error:
        raise ReposeError(f"There is no {error.filename}. Run `dvc repro train@{run.name}`, or `dvc pull`.") from None
    try:
        return Training(run.name, record, size, charts(text))
    except ValueError as error:
        raise ReposeError(
            f"{history} is damaged ({error}). Restore it (`dvc checkout`) or train {run.name} again."
        ) from None


def read_checks(folder: Path, parts: Sequence[str]) -> list[Checked]:
    """The record in a stage's report, or, where the stage runs once for each part of the photos, those of all parts.

    Raises:
        ReposeError: one is missing, damaged, or of an earlier version.
    """
    whole = (folder / RECORD).exists()
    files = (
        {folder.name: folder / RECORD} if whole else {f"{folder.name} {part}": folder / part / RECORD for part in parts}
    )
    found = []
    for stage, file in files.items():
        record = read_whole(file, _OF_CHECKS, f"Run `dvc repro {folder.name}` again.")
        found.append(Checked(stage, record))
    return found
