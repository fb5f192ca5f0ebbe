"""Where the state of a training run lies, and which state a run resumes from.

An unfinished run lies in `work/SYSTEM-FINGERPRINT`. When it is done, that folder moves to `work/finished/SYSTEM/` and
replaces an earlier one there. An extended run continues from it, as DVC removes the outputs of a stage before it runs the
stage. The fingerprint is of what decides the weights at a given step, so it does not depend on the number of steps.
"""

import hashlib
import json
import platform
import shutil
from collections.abc import Iterable
from pathlib import Path

import torch

from repose import checkpoint
from repose.checkpoint import About
from repose.config import as_dict
from repose.data.records import read_json, write_json
from repose.systems import SystemSettings
from repose.training.settings import TrainSettings

# The version of the code that trains. Raise it in a change after which the same settings and data give other weights (a
# loss, a layer, the order of items): unfinished runs then start over instead of mixing the two.
VERSION = 1

_EXTENDED = "extended.json"  # in the folder of a run


def fingerprint(
    system: str,
    row: SystemSettings,
    settings: TrainSettings,
    tables: Iterable[Path],
    device: torch.device,
    init: str | None,
) -> str:
    """Return the SHA-256 of all that decides the weights at a given step.

    Args:
        system: the name of the row.
        row: the system's settings; `steps` is left out, and the path `init`.
        settings: those that decide are included.
        tables: files with the data, or with the digests of the data.
        device: where it trains.
        init: the SHA-256 of the checkpoint whose weights it starts from, if there is one.
    """
    of_row = {name: value for name, value in as_dict(row).items() if name not in ("steps", "init")}
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in tables]
    facts = [VERSION, system, of_row, settings.deciding(row), digests, init]
    facts += [torch.__version__, device.type, platform.machine()]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def place_of(work: Path, about: About) -> Path:
    """Return the folder of an unfinished run."""
    return work / f"{about.system}-{about.fingerprint[:16]}"


def finished_place_of(work: Path, about: About) -> Path:
    """Return the folder of the state of a finished run."""
    return work / "finished" / about.system / about.fingerprint[:16]


def last_checkpoint(place: Path) -> Path:
    """Return the checkpoint in the folder of a run that the run resumes from."""
    return place / "checkpoints" / "last.safetensors"


def prepare(work: Path, about: About, *, extend: bool) -> None:
    """Make the folder of a run, with the state to resume from if there is one.

    That is the state of the same run, unfinished. With `extend` it is also that of a run with fewer steps, finished or not.

    Args:
        work: the folder of unfinished and finished runs.
        about: the run; its row has the number of steps to train.
        extend: continue a run that was planned with another number of steps.

    Raises:
        ReposeError: a checkpoint is damaged.
    """
    place, finished, steps = place_of(work, about), finished_place_of(work, about), about.row.steps
    found = _read_last(place)
    if found is not None and found.row.steps != steps and not (extend and found.step < steps):
        _remove(place)
        found = None
    if extend and found is None and (done := _read_last(finished)) is not None and done.step < steps:
        _remove(place)
        finished.rename(place)
        found = done
    place.mkdir(parents=True, exist_ok=True)
    if found is None:
        (place / _EXTENDED).unlink(missing_ok=True)
    elif found.row.steps != steps:
        noted, note = extensions(place), {"step": found.step, "planned": found.row.steps}
        if note not in noted:  # else this is another attempt at the same extension
            write_json(place / _EXTENDED, [*noted, note])


def extensions(place: Path) -> list[dict[str, int]]:
    """Return after which steps the number of steps was changed, and what it was until then."""
    noted: list[dict[str, int]] = read_json(place / _EXTENDED) if (place / _EXTENDED).exists() else []
    return noted


def finish(work: Path, about: About) -> None:
    """Keep the state of a finished run; it replaces an earlier one of the same system."""
    finished = finished_place_of(work, about)
    finished.parent.mkdir(parents=True, exist_ok=True)
    for earlier in sorted(finished.parent.iterdir()):
        _remove(earlier)
    place_of(work, about).rename(finished)


def _read_last(place: Path) -> About | None:
    last = last_checkpoint(place)
    return checkpoint.read_about(last) if last.exists() else None


def _remove(place: Path) -> None:
    """Remove the folder of a run, its checkpoint first: nothing resumes from a folder that is half gone."""
    last_checkpoint(place).unlink(missing_ok=True)
    if place.exists():
        shutil.rmtree(place)
