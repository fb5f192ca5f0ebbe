"""The training loop, which writes the folder of a finished run:

| file | what |
|---|---|
| model.safetensors | the networks and their settings, which `repose generate` needs |
| checkpoints/ | the last state and one every `keep_every` steps, with the optimizers |
| history.csv | each term of the loss, averaged over `log_every` steps |
| live/ | the same in DVCLive's format, for `dvc metrics` and `dvc plots` |
| samples/ | pictures of a few test pairs during training |
| run.json | seed, device, sizes, and whether the run was extended or started from a checkpoint |

An interrupted run resumes from its last checkpoint and, on a CPU, ends with the same bytes. Several processes share the items
of each step and train as one process with all items would, up to rounding. Only the first process checks losses, writes and
prints.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mannequins import surface
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
from repose.models.lite0 import lite0_loss
from repose.models.losses import PerceptualLoss
from repose.models.vgg import vgg19_loss
from repose.storage.atomic import check_replaceable, locked, whole_folder, write_bytes
from repose.storage.processes import end_with_parent, starting_workers
from repose.storage.transfer import check
from repose.storage.weight_files import locate
from repose.systems import Progress, System, SystemSettings, build
from repose.systems.learning import distributed
from repose.systems.learning.distributed import Rank
from repose.terminal import TrainingBar, say
from repose.training import state
from repose.training.history import History, what_is_kept
from repose.training.settings import TrainSettings

SHIPPED = "surface"  # as `init`: the weights that come with repose
FILES = ("run.json", "model.safetensors", "history.csv", "checkpoints/*", "live/*", "samples/*")


@dataclass(frozen=True)
class Training:
    """A training in progress."""

    trained: System
    about: About  # as after step 0
    steps: Steps
    samples: Sequence[Job]  # test pairs for the sample pictures
    settings: TrainSettings
    device: torch.device
    perceptual: PerceptualLoss | None
    init: dict[str, Any] | None  # the initial checkpoint, for run.json
    place: Path  # the folder of the unfinished run

    @property
    def last(self) -> Path:
        """The checkpoint to resume from."""
        return state.last_checkpoint(self.place)


def train(
    system: str, row: SystemSettings, settings: TrainSettings, steps: Steps, *, samples: Sequence[Job], tables: Sequence[Path],
    run: Path, work: Path, extend: bool = False, rank: Rank = Rank(0, 1),  # noqa: B008 (immutable)
) -> None:  # fmt: skip
    """Train the row called `system`, and write the folder `run` when the training is done.

    `settings.processes` is a number here, `rank` is this process among them, and `steps` has its part of each step. `samples`
    are test pairs for the sample pictures. A run only resumes while the bytes of `tables`, which identify the data, are the
    same. The folder `work` is for unfinished runs, and for the state of finished ones; with `extend`, a run with fewer
    steps, finished or not, is continued.

    Raises:
        ReposeError: another process trains the system in `work`, the weights of VGG19 are missing, `row.init` does not fit or
            is missing for 0 steps, a loss or a weight is not finite, or the disk is full.
    """
    if not row.steps and not row.init:
        raise ReposeError(
            f"systems.{system}: steps is 0, and there is no init, the checkpoint to use as it is. Set one."
        )
    check_replaceable(run, FILES)
    settings.perceptual_of(row)  # raises if weights are missing
    device = set_up(settings.device, settings.threads, settings.seed)
    training = _begun(system, row, settings, steps, samples, tables, device, work, rank)
    with ExitStack() as stack:
        stack.enter_context(_lost_workers_named())
        with distributed.first_alone():
            if rank.number == 0:
                stack.enter_context(locked(work / system, wait=False))
                state.prepare(work, training.about, extend=extend)
        start = _resume(training, rank)
        if rank.number > 0:
            for _ in _steps(training, start):
                pass
            return
        _lead(training, start)
        _write_run(training, run)
        state.finish(work, training.about)
    say(f"train {system}: {run} is ready")


def _begun(
    system: str, row: SystemSettings, settings: TrainSettings, steps: Steps, samples: Sequence[Job], tables: Sequence[Path],
    device: torch.device, work: Path, rank: Rank,
) -> Training:  # fmt: skip
    photos = steps.photos
    trained = build(row, photos.frame)
    init = _load_init(trained, row, rank) if row.init else None
    for network in trained.networks.values():
        network.to(device)
        if device.type == "cpu":  # convolutions are faster in this layout; not measured on a GPU
            network.to(memory_format=torch.channels_last)
    fingerprint = state.fingerprint(system, row, settings, tables, device, init["sha256"] if init else None)
    portable = replace(row, init=None)  # a model does not depend on the path of that file
    about = About(system, portable, photos.frame, photos.line_width, 0, fingerprint, photos.size)
    # Its first weights draw random numbers, so it is built before a resumed run's random state is restored.
    perceptual = perceptual_loss(row, settings, device)
    return Training(trained, about, steps, samples, settings, device, perceptual, init, state.place_of(work, about))


def _load_init(trained: System, row: SystemSettings, rank: Rank) -> dict[str, Any]:
    """Load the weights of the row's initial checkpoint; return its entry in run.json."""
    given = os.path.expanduser(row.init or "")  # noqa: PTH111 (Path.expanduser fails on an unknown user)
    path = surface.weights() if row.init == SHIPPED else Path(given)
    about, networks = checkpoint.load_weights(path, trained, row)
    if rank.number == 0:
        say(f"starting from {path} (system {about.system}, step {about.step:,}): {', '.join(networks)}")
    sha256 = check(path, sha256=None, size=None, where=str(path))
    return {"sha256": sha256, "system": about.system, "step": about.step, "networks": networks}


def _resume(training: Training, rank: Rank) -> int:
    """Give all processes the state of the first one's checkpoint, which other machines lack; return the steps done."""
    about, state_here = training.about, None
    if rank.number == 0 and training.last.is_file():
        state_here = checkpoint.read_state(training.last, about)
    fingerprint, found = distributed.from_first((about.fingerprint, state_here))
    if fingerprint != about.fingerprint:
        raise ReposeError(
            f"Training process {rank.number + 1} of {rank.of} has other data, settings or versions than "
            "the first one. All nodes need the same image, params and input folders."
        )
    if found is None:
        return 0
    checkpoint.restore(found, training.trained)
    return found.step


def _lead(training: Training, start: int) -> None:
    """Train from step `start` to the last, and write all files to the run's folder."""
    system, steps, settings, place = training.about.system, training.about.row.steps, training.settings, training.place
    if start:
        say(f"train {system}: resuming from step {start:,} of {steps:,}")
    history = History(place, start)
    with TrainingBar(f"train {system}", start, steps) as bar:
        for step, (terms, photos) in enumerate(_steps(training, start), start + 1):
            history.add(step, terms)

            at_end = step == steps
            due = at_end or step % settings.checkpoint_every == 0
            log = due or step % settings.log_every == 0
            if log or training.device.type == "cpu":  # a check at each step would make a GPU wait
                history.check_finite(system, training.last)
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
    if not steps:
        history.write()


def _steps(training: Training, start: int) -> Iterator[tuple[dict[str, Tensor], int]]:
    """Train from step `start` to the last; yield the terms and the number of images of each step, over all processes."""
    row, settings, steps, device = training.about.row, training.settings, training.steps, training.device
    if settings.processes != 1:
        training.trained.distribute()
    loader: DataLoader[Packed | ReposeError] = DataLoader(
        _Loaded(steps), batch_size=None, sampler=range(start, row.steps), num_workers=settings.workers,
        worker_init_fn=end_with_parent,
        generator=torch.Generator(),  # a separate generator: it draws at each start, and torch's state is in the checkpoint
    )  # fmt: skip
    with starting_workers("train.workers to 0") if settings.workers else nullcontext():
        batches = iter(loader)
    for step, packed in enumerate(batches, start):
        if isinstance(packed, ReposeError):
            raise packed
        batch = unpack(packed, augment=settings.augment, device=device)
        autocast = torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16")
        progress = Progress(step, row.steps, steps.steps_per_epoch)
        terms = training.trained.step(batch, training.perceptual, progress, autocast)
        yield distributed.weighted_mean(terms, batch.share), round(len(batch.target) / batch.share)


class _Loaded(Dataset[Packed | ReposeError]):
    """The batches of steps, or their errors: to the message of an error that a worker raises, torch adds a traceback."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def __getitem__(self, step: int) -> Packed | ReposeError:
        try:
            return self._steps[step]
        except ReposeError as error:
            return error


@contextmanager
def _lost_workers_named() -> Iterator[None]:
    """Turn the error of a lost worker process, which torch's signal handler raises anywhere, into a ReposeError."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        raise ReposeError(
            f"Training stopped: a process that loads photos ended ({str(error).strip(' .')}), perhaps because there was "
            "no memory or space in /dev/shm left. Lower train.workers or train.cache_megabytes, and run the same command "
            "again: it resumes from the last checkpoint."
        ) from None


def perceptual_loss(row: SystemSettings, settings: TrainSettings, device: torch.device) -> PerceptualLoss | None:
    """Return the perceptual term of a row, at the scale of the row's losses; None if it has no such term.

    Raises:
        ReposeError: the weights of VGG19 are missing or have another digest, or the package of EfficientNet-Lite0 is missing.
    """
    chosen, term = settings.perceptual, settings.perceptual_of(row)
    if chosen == "none" or term is None:
        return None
    if term == "figure":
        return figure_loss(row.l1_scale).to(device)
    if term == "lite0":
        return lite0_loss(row.l1_scale).to(device)
    with distributed.first_alone():
        weights = locate(chosen.weights or "", chosen.sha256 or "", endpoint=chosen.endpoint)
    return vgg19_loss(weights, term).to(device)


def _save(training: Training, path: Path, step: int) -> None:
    """Write a checkpoint to resume from. Raises if weights are not finite, as after an overflowed gradient."""
    system = training.about.system
    for name, network in training.trained.networks.items():
        if not all(bool(weights.isfinite().all()) for weights in network.parameters()):
            raise ReposeError(
                f"Training {system} stopped: weights of the network {name} are not finite after step {step}. "
                f"{what_is_kept(training.last)}. Lower the learning rate in systems.{system}, or use precision fp32; the "
                "same settings would end the same way."
            )
    checkpoint.save(path, training.trained, replace(training.about, step=step), to_resume=True)


def _write_run(training: Training, run: Path) -> None:
    """Write the folder of the finished run."""
    place, about = training.place, replace(training.about, step=training.about.row.steps)
    with whole_folder(run, FILES) as folder:
        checkpoint.save(folder / "model.safetensors", training.trained, about, to_resume=False)
        shutil.copy(place / "history.csv", folder / "history.csv")
        for part in ("checkpoints", "live", "samples"):
            if (place / part).is_dir():  # hidden files are incomplete files of a killed process
                shutil.copytree(place / part, folder / part, ignore=shutil.ignore_patterns(".*"))
        write_json(folder / "run.json", _record(training))


def _record(training: Training) -> dict[str, Any]:
    """Return the facts about the run that a report needs besides the checkpoint's settings."""
    row, settings, networks = training.about.row, training.settings, training.trained.networks
    return {
        "system": training.about.system,
        "steps": row.steps,
        "images": training.steps.images(),
        "seed": settings.seed,
        "device": training.device.type,
        "precision": settings.precision,
        "processes": settings.processes,
        "perceptual": settings.perceptual_of(row),
        "parameters": {name: parameter_count(network) for name, network in networks.items()},
        "extended": state.extensions(training.place),
        "init": training.init,
    }


def _sample(training: Training) -> bytes:
    """Return a picture of a few test pairs (source, target's pose, target, generated) as a PNG file."""
    trained, photos, rows = training.trained, training.steps.photos, []
    for network in trained.networks.values():
        network.eval()
    for done in generate_jobs(trained, training.samples, photos, training.device):
        sources = photos.load([job.sources[0] for job in done.jobs]).pixels
        poses = PALETTE[photos.load([job.target for job in done.jobs]).maps]
        rows += [list(shown) for shown in zip(sources, poses, done.target, done.generated, strict=True)]
    for network in trained.networks.values():
        network.train()
    return encode_png(grid(rows, ["source", "pose", "target", "generated"]))
