"""The training loop: the steps, what is written meanwhile, and the folder of a finished run.

That folder then holds

| file | what |
|---|---|
| model.safetensors | the networks and their settings: all that `repose generate` needs |
| checkpoints/ | the last state and one every `keep_every` steps, with the optimisers |
| history.csv | each term of the loss, averaged over `log_every` steps |
| live/ | the same as DVCLive has it, for `dvc metrics` and `dvc plots` |
| samples/ | pictures of a few test pairs during training |
| run.json | what else a report says: seed, device, sizes, and whether the run was extended or started from a checkpoint |

Killed at any moment and started again, a run resumes from its last checkpoint and ends, on a CPU, with the same bytes.
Several processes share the items of each step, and so train as one process with all of them does, up to rounding. All
of them go through the steps; the first alone looks at the losses, writes and prints.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from repose import checkpoint
from repose.checkpoint import About
from repose.data.batches import Packed, Steps, unpack
from repose.data.images import encode_png
from repose.data.pictures import grid
from repose.data.posemaps import PALETTE
from repose.data.records import write_json
from repose.devices import set_up
from repose.errors import ReposeError
from repose.generate import Job, generate_jobs
from repose.models.figure_maps import figure_loss
from repose.models.layers import parameter_count
from repose.models.perceptual import PerceptualLoss
from repose.models.vgg import vgg19_loss
from repose.storage.atomic import whole_folder, write_bytes
from repose.storage.weight_files import locate
from repose.systems import Progress, System, SystemSettings, build
from repose.systems.learning import distributed
from repose.systems.learning.distributed import Rank
from repose.terminal import TrainingBar, say
from repose.training import state
from repose.training.history import History, what_is_kept
from repose.training.settings import TrainSettings

_ALONE = Rank(0, 1)


@dataclass(frozen=True)
class Training:
    """A training that is under way."""

    trained: System
    about: About  # as it is after step 0
    steps: Steps
    samples: Sequence[Job]  # the test pairs of the sample pictures
    settings: TrainSettings
    device: torch.device
    init: dict[str, Any] | None  # what run.json says of the checkpoint it started from
    place: Path  # the folder of the unfinished run

    @property
    def row(self) -> SystemSettings:
        """The system's settings."""
        return self.about.row

    @property
    def last(self) -> Path:
        """The checkpoint to resume from."""
        return state.last_checkpoint(self.place)


def train(
    system: str, row: SystemSettings, settings: TrainSettings, steps: Steps, *, samples: Sequence[Job], tables: Sequence[Path],
    run: Path, work: Path, extend: bool = False, rank: Rank = _ALONE,
) -> None:  # fmt: skip
    """Train a system, and write the folder `run` (see above) when the training is done.

    Args:
        system: the name of the row.
        row: the system's settings; `row.steps` steps are trained.
        settings: what all systems share; `processes` is a number here.
        steps: the batches, of this process's part of each step.
        samples: test pairs for the sample pictures.
        tables: the files that say what the data are; a run resumes only while their bytes are the same.
        run: the folder to write.
        work: the folder for unfinished runs, and for the state of finished ones, which can be extended.
        extend: continue a run that was planned with fewer steps, finished or not, instead of starting over.
        rank: which of the processes that train this one is.

    Raises:
        ReposeError: the weights of VGG19 are missing, `row.init` does not fit, a loss or a weight is not finite, the disk
            is full.
    """
    settings.perceptual_of(row)
    device = set_up(settings.device, settings.threads, settings.seed)
    training = _begun(system, row, settings, steps, samples, tables, device, work)
    with distributed.first_alone():
        if rank.number == 0:
            state.prepare(work, training.about, extend=extend)
    if rank.number > 0:
        _follow(training)
        return
    _lead(training)
    _write(training, run)
    state.finish(work, training.about)
    say(f"train {system}: {run} is ready")


def _begun(
    system: str, row: SystemSettings, settings: TrainSettings, steps: Steps, samples: Sequence[Job], tables: Sequence[Path],
    device: torch.device, work: Path,
) -> Training:  # fmt: skip
    photos = steps.photos
    trained = build(row, photos.frame)
    init = _init(Path(row.init).expanduser(), trained, row) if row.init else None
    for network in trained.networks.values():
        # on a CPU convolutions are faster in this layout; on a GPU that is not measured
        network.to(device)
        if device.type == "cpu":
            network.to(memory_format=torch.channels_last)
    fingerprint = state.fingerprint(system, row, settings, tables, device, init["sha256"] if init else None)
    portable = replace(row, init=None)  # a model does not depend on where that file lay
    about = About(system, portable, photos.frame, photos.line_width, 0, fingerprint, photos.size)
    return Training(trained, about, steps, samples, settings, device, init, state.place_of(work, about))


def _init(path: Path, trained: System, row: SystemSettings) -> dict[str, Any]:
    """Load the weights of a checkpoint; return what run.json says of it."""
    about, networks = checkpoint.load_weights(path, trained, row)
    say(f"starting from {path} (system {about.system}, step {about.step:,}): {', '.join(networks)}")
    return {"sha256": state.sha256_of(path), "system": about.system, "step": about.step, "networks": networks}


def _lead(training: Training) -> None:
    """From the last checkpoint, or from the start, to the last step; leaves everything in the run's folder."""
    row, settings, place = training.row, training.settings, training.place
    start = _resume(training)
    if start:
        say(f"train {training.about.system}: going on from step {start:,} of {row.steps:,}")
    history = History(place, start)
    with TrainingBar(f"train {training.about.system}", start, row.steps) as bar:
        for step, (terms, photos) in enumerate(_steps(training, start), start + 1):
            history.add(step, terms)

            at_end = step == row.steps
            due = at_end or step % settings.checkpoint_every == 0
            log = due or step % settings.log_every == 0
            if log or training.device.type == "cpu":  # on a GPU a look at each step would make it wait
                history.check_finite(training.about.system, training.last)
            if log:
                history.log(step)
            if settings.sample_every and (at_end or step % settings.sample_every == 0):
                write_bytes(place / "samples" / f"{step:06d}.png", _sample(training))
            if settings.keep_every and step % settings.keep_every == 0:
                _save(training, place / "checkpoints" / f"{step:06d}.safetensors", step)
            if due:
                history.write()
                _save(training, training.last, step)
            bar.advance(history.latest, photos=photos)


def _follow(training: Training) -> None:
    """What `_lead` does in every process but the first: the steps alone."""
    for _ in _steps(training, _resume(training)):
        pass


def _steps(training: Training, start: int) -> Iterator[tuple[dict[str, Tensor], int]]:
    """Train from step `start` to the last; of each step, over all processes, the terms and how many images it made."""
    row, settings, steps, device = training.row, training.settings, training.steps, training.device
    perceptual = perceptual_loss(row, settings, device)
    if settings.processes != 1:
        training.trained.distribute()
    loader: DataLoader[Packed] = DataLoader(
        steps, batch_size=None, sampler=range(start, row.steps), num_workers=settings.workers,
        generator=torch.Generator(),  # of its own: it draws at each start, and torch's state is in the checkpoint
    )  # fmt: skip
    for step, packed in enumerate(loader, start):
        batch = unpack(packed, line_width=steps.photos.line_width, augment=settings.augment, device=device)
        progress = Progress(step, row.steps, steps.steps_per_epoch)
        terms = training.trained.step(batch, perceptual, progress, _autocast(settings, device))
        yield distributed.weighted_mean(terms, batch.share), round(len(batch.target) / batch.share)


def perceptual_loss(row: SystemSettings, settings: TrainSettings, device: torch.device) -> PerceptualLoss | None:
    """The perceptual term of a row, at the scale of the row's losses; None: it has no such term.

    Raises:
        ReposeError: the weights of VGG19 are missing, or are not those that the settings name.
    """
    chosen, term = settings.perceptual, settings.perceptual_of(row)
    if chosen == "none" or term is None:
        return None
    if term == "figure":
        return figure_loss(row.figure_scale).to(device)
    with distributed.first_alone():
        weights = locate(chosen.weights or "", chosen.sha256 or "", endpoint=chosen.endpoint)
    return vgg19_loss(weights, term).to(device)


def _autocast(settings: TrainSettings, device: torch.device) -> AbstractContextManager[Any]:
    if settings.precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def _resume(training: Training) -> int:
    """The number of steps that the last checkpoint has done, which is now the state; 0 without one."""
    if not training.last.exists():
        return 0
    return checkpoint.resume(training.last, training.trained, training.about)


def _save(training: Training, path: Path, step: int) -> None:
    """Write a checkpoint to resume from; never one whose weights are not finite, as after a gradient that overflowed."""
    system = training.about.system
    for name, network in training.trained.networks.items():
        if not all(bool(weights.isfinite().all()) for weights in network.parameters()):
            raise ReposeError(
                f"Training {system} stopped: weights of the network {name} are not finite after step {step}. "
                f"{what_is_kept(training.last)}. Lower the learning rate in systems.{system}, or use precision fp32; the "
                "same settings would end the same way."
            )
    checkpoint.save(path, training.trained, replace(training.about, step=step), to_resume=True)


def _write(training: Training, run: Path) -> None:
    """Put the run's folder together."""
    place, about = training.place, replace(training.about, step=training.row.steps)
    with whole_folder(run) as folder:
        checkpoint.save(folder / "model.safetensors", training.trained, about, to_resume=False)
        shutil.copy(place / "history.csv", folder / "history.csv")
        for part in ("checkpoints", "live", "samples"):
            if (place / part).is_dir():  # hidden files are what a killed process had begun to write
                shutil.copytree(place / part, folder / part, ignore=shutil.ignore_patterns(".*"))
        write_json(folder / "run.json", _record(training))


def _record(training: Training) -> dict[str, Any]:
    """What a report says of the run beside what its checkpoint says."""
    settings, networks = training.settings, training.trained.networks
    return {
        "system": training.about.system,
        "steps": training.row.steps,
        "images": training.steps.images(),
        "seed": settings.seed,
        "device": training.device.type,
        "precision": settings.precision,
        "processes": settings.processes,
        "perceptual": settings.perceptual_of(training.row),
        "parameters": {name: parameter_count(network) for name, network in networks.items()},
        "extended": state.extensions(training.place),
        "init": training.init,
    }


def _sample(training: Training) -> bytes:
    """A picture of a few test pairs (source, target's pose, target, generated) as a PNG file."""
    trained, photos = training.trained, training.steps.photos
    for network in trained.networks.values():
        network.eval()
    rows: list[list[np.ndarray]] = []
    for done in generate_jobs(trained, training.samples, photos, training.device):
        loaded = photos.load([name for job in done.jobs for name in (job.sources[0], job.target)])
        for number, (generated, target) in enumerate(zip(done.generated, done.target, strict=True)):
            rows.append([loaded.pixels[2 * number], PALETTE[loaded.maps[2 * number + 1]], target, generated])
    for network in trained.networks.values():
        network.train()
    return encode_png(grid(rows, ["source", "pose", "target", "generated"]))
