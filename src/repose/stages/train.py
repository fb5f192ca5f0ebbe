"""train: one system, from the split's items to a model that makes images by itself.

The folder `run` then holds

| file | what |
|---|---|
| model.safetensors | the networks and their settings: all that `repose generate` needs |
| checkpoints/ | the last state and one every `keep_every` steps, with the optimisers |
| history.csv | each term of the loss, averaged over `log_every` steps |
| live/ | the same as DVCLive has it, for `dvc metrics` and `dvc plots` |
| samples/ | pictures of a few test pairs while training went on |
| run.json | what else a report says: images made, seed, device, precision, perceptual layers, numbers of parameters |

While training goes on, all this lies in the folder `work`, under a name made of everything that decides the result:
settings, data, code, versions. Killed at any moment and started again, it goes on from the last checkpoint and ends, on
a CPU, with the same bytes. `run` appears whole when training is done.

Several processes (`processes`) share the items of each step, and so train as one process with all of them does, up to
rounding. All of them go through the steps; the first alone looks at the losses, writes and tells.
"""

import hashlib
import json
import platform
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

import repose
from repose import checkpoint, processes
from repose.checkpoint import About
from repose.data.augment import AugmentSettings
from repose.data.batches import Packed, Steps, unpack
from repose.data.images import encode_png
from repose.data.photos import Photos
from repose.data.posemaps import PALETTE
from repose.data.records import ITEMS, PAIRS, part_files, part_names, read_table, write_json
from repose.devices import set_up
from repose.errors import ReposeError
from repose.files import whole_folder, write_bytes
from repose.generate import Job, generate_jobs, jobs_of_pairs
from repose.history import History, what_is_kept
from repose.models.figure_maps import figure_loss
from repose.models.layers import parameter_count
from repose.models.perceptual import PerceptualLoss
from repose.models.vgg import LayersName, vgg19_loss
from repose.pictures import grid
from repose.processes import Rank
from repose.settings import as_dict
from repose.systems import Progress, Row, System, build
from repose.terminal import TrainingBar, say
from repose.weights import locate

# Settings of which the bytes do not depend; the device that `device` came to is told apart.
_NOT_DECIDING = ("device", "workers", "cache_megabytes")


@dataclass(frozen=True)
class PerceptualSettings:
    """The network for the second term of Eq. 1."""

    weights: str | None  # path, s3:// or https:// of torchvision's VGG19; null: its term is left out, as reports say
    sha256: str | None  # of that file, at least its first 8 digits
    layers: LayersName  # which layers of VGG19 count how much
    endpoint: str | None = None  # for s3://: a server other than Amazon's
    network: Literal["vgg19", "figure"] = "vgg19"  # figure: the embedded one, which knows mannequins alone

    def __post_init__(self) -> None:
        if self.weights and self.network == "figure":
            raise ValueError(
                "weights are VGG19's, and the figure network has its own: set weights to null, or network to vgg19."
            )
        if self.weights and not self.sha256:
            raise ValueError(
                "sha256 should be given with weights (torchvision's file name ends in its first 8 digits)."
            )


@dataclass(frozen=True)
class TrainSettings:
    """The block `train` of params.yaml: what all systems share; each system's own is in its row."""

    seed: int  # of the first weights, the order of items, sources, augmentation
    device: Literal["auto", "cpu", "cuda"]  # auto: cuda where there is one
    precision: Literal["fp32", "bf16"]  # bf16: autocast; losses, the ConvLSTM's state and the last layer stay fp32
    processes: processes.Wanted  # of DistributedDataParallel, which share the items of a step; gpu: one for each GPU
    threads: int  # CPU threads of torch; the bytes of a result are equal from run to run at one number of threads
    workers: int  # processes that load photos, for each that trains; 0: none besides it
    cache_megabytes: float  # MiB of decoded photos kept in memory (in each worker)
    log_every: int  # steps between two rows of the history
    checkpoint_every: int  # steps between two checkpoints, of which the last is kept
    keep_every: int  # steps between two checkpoints that are kept for good; 0: none but the last
    sample_every: int  # steps between two sample pictures; 0: none
    sample_pairs: int  # test pairs in a sample picture
    augment: AugmentSettings | None  # crop, flip and rotation; null: photos as they are
    perceptual: PerceptualSettings

    def __post_init__(self) -> None:
        if self.processes != "gpu" and self.processes < 1:
            raise ValueError(f"processes should be at least 1, or gpu, not {self.processes}.")
        for name in ("threads", "log_every", "checkpoint_every", "sample_pairs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} should be at least 1, not {getattr(self, name)}.")
        for name in ("workers", "cache_megabytes", "keep_every", "sample_every"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} should not be negative, but it is {getattr(self, name)}.")


@dataclass(frozen=True)
class Folders:
    """What training reads."""

    images: Path
    keypoints: Path
    posemaps: Path
    split: Path


def process_count(system: str, row: Row, settings: TrainSettings) -> int:
    """How many processes train the row called `system` here.

    Raises:
        ReposeError: there are too few GPUs for `settings.processes`, or a step's items cannot be shared evenly.
    """
    count = processes.count(settings.processes, settings.device)
    if row.items_per_step % count:
        raise ReposeError(
            f"{count} processes cannot share the {row.items_per_step} item(s) of a step of {system} evenly. Set "
            f"systems.{system}.items_per_step to a multiple of {count} (another training: more items a step), or "
            "train.processes to a number that divides it."
        )
    return count


def run(*, system: str, row: Row, settings: TrainSettings, folders: Folders, run: Path, work: Path) -> None:
    """Train the row called `system` and write the folder `run`, as one process or as one of several.

    Raises:
        ReposeError: the data do not fit, the weights of VGG19 are missing, a loss or a weight is not finite, the disk
            is full, or `settings.processes` does not fit the row or the machine.
    """
    count = process_count(system, row, settings)
    with processes.joined(count, settings.device) as rank:
        _run(system, row, replace(settings, processes=count), folders, run, work, rank)


def _run(
    system: str, row: Row, settings: TrainSettings, folders: Folders, run: Path, work: Path, rank: Rank
) -> None:  # fmt: skip
    device = set_up(settings.device, settings.threads, settings.seed)
    photos = Photos(
        images=folders.images, keypoints=folders.keypoints, posemaps=folders.posemaps,
        cache_megabytes=settings.cache_megabytes,
    )  # fmt: skip
    items = read_table(folders.split / "items.csv", ITEMS)
    steps = Steps(
        photos, items[items["part"] == "train"], steps=row.steps, seed=settings.seed,
        items_per_step=row.items_per_step, most_photos=row.most_photos, most_sources=row.most_sources,
        targets=row.targets, augment=settings.augment, rank=rank.number, processes=rank.of,
    )  # fmt: skip
    trained = build(row, photos.frame)
    for network in trained.networks.values():
        # on a CPU convolutions are faster in this layout; on a GPU that is not measured
        network.to(device)
        if device.type == "cpu":
            network.to(memory_format=torch.channels_last)
    fingerprint = _fingerprint(system, row, settings, folders, device)
    about = About(system, row, photos.frame, photos.thickness, 0, fingerprint, photos.size)
    place = work / f"{system}-{about.fingerprint[:16]}"
    place.mkdir(parents=True, exist_ok=True)
    pairs = read_table(folders.split / "test-pairs.csv", PAIRS)[: settings.sample_pairs]
    jobs = jobs_of_pairs(pairs, items[items["part"] == "test"], row.most_sources)
    if rank.number > 0:
        _follow(trained, about, steps, settings, device, place)
        return
    _train(trained, about, steps, settings, device, place, jobs)
    record = _record(trained, replace(about, step=row.steps), steps.images(), settings, device)
    _finish(trained, replace(about, step=row.steps), record, place, run)
    say(f"train {system}: {run} is ready")


def _train(
    trained: System, about: About, steps: Steps, settings: TrainSettings, device: torch.device, place: Path,
    jobs: Sequence[Job],
) -> None:  # fmt: skip
    """From the last checkpoint in `place`, or from the start, to the last step; leaves everything in `place`."""
    row, last = about.row, _last(place)
    start = _resume(trained, about, place)
    if start:
        say(f"train {about.system}: going on from step {start:,} of {row.steps:,}")
    if row.perceptual_layers(settings.perceptual.layers) and _perceptual_by(row, settings) is None:
        say("train.perceptual.weights is null: the loss has no perceptual term (VGG19)")
    history = History(place, start)
    with TrainingBar(f"train {about.system}", start, row.steps) as bar:
        for step, (terms, photos) in enumerate(_steps(trained, row, steps, settings, device, start), start + 1):
            history.add(step, terms)

            at_end = step == row.steps
            due = at_end or step % settings.checkpoint_every == 0
            log = due or step % settings.log_every == 0
            if log or device.type == "cpu":  # on a GPU a look at each step would make it wait
                history.check_finite(about.system, last)
            if log:
                history.log(step)
            if settings.sample_every and (at_end or step % settings.sample_every == 0):
                write_bytes(place / "samples" / f"{step:06d}.png", _sample(trained, jobs, steps.photos, device))
            if settings.keep_every and step % settings.keep_every == 0:
                here = place / "checkpoints" / f"{step:06d}.safetensors"
                _save(here, trained, replace(about, step=step), last)
            if due:
                history.write()
                _save(last, trained, replace(about, step=step), last)
            bar.advance(history.latest, photos=photos)


def _follow(
    trained: System, about: About, steps: Steps, settings: TrainSettings, device: torch.device, place: Path
) -> None:
    """What `_train` does in every process but the first: the steps alone."""
    start = _resume(trained, about, place)
    for _ in _steps(trained, about.row, steps, settings, device, start):
        pass


def _steps(
    trained: System, row: Row, steps: Steps, settings: TrainSettings, device: torch.device, start: int
) -> Iterator[tuple[dict[str, Tensor], int]]:
    """Train from step `start` to the last; of each step, over all processes, the terms and how many images it made."""
    perceptual = _perceptual(row, settings, device)
    if settings.processes != 1:
        trained.distribute()
    loader: DataLoader[Packed] = DataLoader(
        steps, batch_size=None, sampler=range(start, row.steps), num_workers=settings.workers,
        generator=torch.Generator(),  # of its own: it draws at each start, and torch's state is in the checkpoint
    )  # fmt: skip
    for step, packed in enumerate(loader, start):
        batch = unpack(packed, thickness=steps.photos.thickness, augment=settings.augment, device=device)
        progress = Progress(step, row.steps, steps.steps_per_epoch)
        terms = trained.step(batch, perceptual, progress, _autocast(settings, device))
        yield processes.weighted_mean(terms, batch.share), round(len(batch.target) / batch.share)


def _last(place: Path) -> Path:
    return place / "checkpoints" / "last.safetensors"


def _resume(trained: System, about: About, place: Path) -> int:
    """The number of steps that the last checkpoint in `place` has done, which is now the state; 0 without one."""
    last = _last(place)
    return checkpoint.resume(last, trained, about) if last.exists() else 0


def _save(path: Path, trained: System, about: About, last: Path) -> None:
    """Write a checkpoint to go on from; never one whose weights are not finite (a finite loss can have made them so)."""
    for name, network in trained.networks.items():
        if not all(bool(weights.isfinite().all()) for weights in network.parameters()):
            raise ReposeError(
                f"Training {about.system} stopped: weights of the network {name} are not finite after step {about.step}. "
                f"{what_is_kept(last)}. Lower the learning rate in systems.{about.system}, or use precision fp32; the same "
                "settings would end the same way."
            )
    checkpoint.save(path, trained, about, to_resume=True)


def _finish(trained: System, about: About, record: dict[str, Any], place: Path, run: Path) -> None:
    """Put the run's folder together from what lies in `place`, then forget `place`."""
    with whole_folder(run) as folder:
        checkpoint.save(folder / "model.safetensors", trained, about, to_resume=False)
        shutil.copy(place / "history.csv", folder / "history.csv")
        for part in ("checkpoints", "live", "samples"):
            if (place / part).is_dir():  # hidden files are what a killed process had begun to write
                shutil.copytree(place / part, folder / part, ignore=shutil.ignore_patterns(".*"))
        write_json(folder / "run.json", record)
    _last(place).unlink()  # first: nothing goes on from a folder that is half gone
    shutil.rmtree(place)


def _record(
    trained: System, about: About, images: int, settings: TrainSettings, device: torch.device
) -> dict[str, Any]:
    """What a report says of the run beside what its checkpoint says."""
    return {
        "system": about.system,
        "steps": about.step,
        "images": images,
        "seed": settings.seed,
        "device": device.type,
        "precision": settings.precision,
        "processes": settings.processes,
        "perceptual": _perceptual_by(about.row, settings),
        "parameters": {name: parameter_count(network) for name, network in trained.networks.items()},
    }


def _perceptual_by(row: Row, settings: TrainSettings) -> str | None:
    """What the perceptual term is of: `figure`, or layers of VGG19; None where the loss has no such term."""
    chosen = settings.perceptual
    layers = row.perceptual_layers(chosen.layers)
    if layers is None or (chosen.network == "vgg19" and chosen.weights is None):
        return None
    return "figure" if chosen.network == "figure" else layers


def _perceptual(row: Row, settings: TrainSettings, device: torch.device) -> PerceptualLoss | None:
    chosen = settings.perceptual
    layers = row.perceptual_layers(chosen.layers)
    if layers is None or _perceptual_by(row, settings) is None:
        return None
    if chosen.weights is None:
        return figure_loss().to(device)
    with processes.first_alone():
        weights = locate(chosen.weights, chosen.sha256 or "", endpoint=chosen.endpoint)
    return vgg19_loss(weights, layers).to(device)


def _autocast(settings: TrainSettings, device: torch.device) -> AbstractContextManager[Any]:
    if settings.precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def _sample(trained: System, jobs: Sequence[Job], photos: Photos, device: torch.device) -> bytes:
    """A picture of a few test pairs (source, target's pose, target, generated) as a PNG file."""
    for network in trained.networks.values():
        network.eval()
    rows: list[list[np.ndarray]] = []
    for done in generate_jobs(trained, jobs, photos, device):
        loaded = photos.load([name for job in done.jobs for name in (job.sources[0], job.target)])
        for number, (generated, target) in enumerate(zip(done.generated, done.target, strict=True)):
            rows.append([loaded.pixels[2 * number], PALETTE[loaded.maps[2 * number + 1]], target, generated])
    for network in trained.networks.values():
        network.train()
    return encode_png(grid(rows, ["source", "pose", "target", "generated"]))


def _fingerprint(system: str, row: Row, settings: TrainSettings, folders: Folders, device: torch.device) -> str:
    """Of all that decides the bytes of the result: settings, data, code, versions, kind of machine."""
    parts = part_names(folders.images)
    tables = (
        *part_files(folders.images, parts, "images.csv"), *part_files(folders.keypoints, parts, "keypoints.csv"),
        *part_files(folders.posemaps, parts, "posemaps.json"),
        folders.split / "items.csv", folders.split / "test-pairs.csv",
    )  # fmt: skip
    package = Path(repose.__file__).parent
    compiler = package / "kubeflow"  # left out: how a run is started decides no byte of it
    code = sorted(file for file in package.rglob("*.py") if compiler not in file.parents)
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in (*tables, *code)]
    deciding = {name: value for name, value in as_dict(settings).items() if name not in _NOT_DECIDING}
    facts = [system, as_dict(row), deciding, digests, torch.__version__, device.type, platform.machine()]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
