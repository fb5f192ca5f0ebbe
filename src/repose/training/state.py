"""The state of training runs: its location, and which state a run resumes from.

The state of an unfinished run is in `work/SYSTEM-FINGERPRINT`. When the run is done, that folder moves to
`work/finished/SYSTEM/` and replaces an earlier one. An extended run continues from there, because DVC removes the outputs of a
stage before it runs the stage. The fingerprint is a hash of all that determines the weights at a given step, so it does not
depend on the number of steps.
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

# The version of the training code. Raise it when a change (to a loss, a layer, the order of items) gives other weights for the
# same settings and data; unfinished runs then start over.
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
    """Return the SHA-256 of all that determines the weights at a given step.

    Of the row, `steps` and the path `init` are excluded, and of the settings those that do not affect the weights. `tables`
    are files with the data or with its digests; `init` is the SHA-256 of the initial checkpoint, if there is one.
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
    """Return the checkpoint that a run resumes from, in the run's folder."""
    return place / "checkpoints" / "last.safetensors"


def prepare(work: Path, about: About, *, extend: bool) -> None:
    """Create the folder of a run, with the state to resume from if there is one.

    This is the state of the same unfinished run or, with `extend`, of a run with fewer steps, finished or not. What an
    attempt left after that state is removed: kept checkpoints, sample pictures and the note of an extension.

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
    step = 0 if found is None else found.step
    for file in [*place.glob("checkpoints/[0-9]*"), *place.glob("samples/[0-9]*")]:
        if file.stem.isdecimal() and int(file.stem) > step:  # others are the user's
            file.unlink()
    notes = [note for note in extensions(place) if note["step"] < step]
    if found is not None and found.row.steps != steps:
        notes.append({"step": step, "planned": found.row.steps})
    write_json(place / _EXTENDED, notes)


def extensions(place: Path) -> list[dict[str, int]]:
    """Return the steps after which the number of steps was changed, and the earlier number."""
    noted: list[dict[str, int]] = read_json(place / _EXTENDED) if (place / _EXTENDED).is_file() else []
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
    return checkpoint.read_about(last) if last.is_file() else None


def _remove(place: Path) -> None:
    """Remove the folder of a run, its checkpoint first, so that no run resumes from a partly removed folder."""
    if place.is_symlink():
        place.unlink()
    elif place.exists():
        last_checkpoint(place).unlink(missing_ok=True)
        shutil.rmtree(place)
