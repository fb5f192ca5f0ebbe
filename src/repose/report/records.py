"""The records of other stages: how each system was trained, and the checks of the data."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from repose.errors import ReposeError
from repose.evaluation.results import read_whole
from repose.report.curves import charts
from repose.storage.limits import within_limit
from repose.validation.page import RECORD

_OF_TRAINING = ("steps", "images", "seed", "device", "precision", "processes", "perceptual", "parameters")
_OF_CHECKS = ("title", "passed", "counts", "checks", "rejected")


class Training(NamedTuple):
    """How a system was trained."""

    system: str
    record: dict[str, Any]  # run.json
    model_bytes: int  # of model.safetensors
    curves: list[str]  # SVG, one per term of the loss


def read_training(run: Path) -> Training:
    """The record and the curves in the folder of a run.

    Raises:
        ReposeError: a file is missing, damaged, or from an earlier version.
    """
    record = read_whole(run / "run.json", _OF_TRAINING, f"Train {run.name} again.")
    history, model = run / "history.csv", run / "model.safetensors"
    try:
        size, text = model.stat().st_size, within_limit(history, "table").read_text("utf-8")
        return Training(run.name, record, size, charts(text))
    except OSError as error:
        raise ReposeError(
            f"{error.filename} cannot be read: {error.strerror}. Run `dvc repro train@{run.name}`, or `dvc pull`."
        ) from None
    except (ValueError, csv.Error) as error:
        raise ReposeError(
            f"{history} is damaged ({error}). Restore it (`dvc checkout`) or train {run.name} again."
        ) from None


def read_checks(folder: Path, parts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The record (validation.json) of a stage, or one per part if the stage runs once per part.

    Raises:
        ReposeError: a record is missing, damaged, or from an earlier version.
    """
    files = {folder.name: folder / RECORD}
    if not files[folder.name].exists():
        files = {f"{folder.name} {part}": folder / part / RECORD for part in parts}
    again = f"Run `dvc repro {folder.name}` again."
    return {stage: read_whole(file, _OF_CHECKS, again) for stage, file in files.items()}
