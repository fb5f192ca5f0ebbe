"""A tiny data set as the stages before train write it, and settings to train on it: the params.yaml with other values.

Other folders of tests import it as `tiny`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml

from repose import systems
from repose.config import block
from repose.data.records import part_names
from repose.stages import download, evaluate, keypoints, posemaps, split, train, validate
from repose.systems import SystemSettings
from repose.training import TrainSettings

T = TypeVar("T")
PARAMS = Path(__file__).parents[1] / "params.yaml"
HEIGHT, WIDTH = 64, 56  # the smallest multiples of 8 that the window of win51 fits
SYSTEMS = ("paper-m", "attend")
CHANGES: Mapping[str, Any] = {
    "download.mannequin.items": 8,
    "download.mannequin.seed": 0,
    "download.workers": 1,
    "validate.workers": 1,
    "keypoints.extractor": "posegan-csv",  # what the renderer says
    "posemaps.height": HEIGHT,
    "posemaps.width": WIDTH,
    "posemaps.crop": [16, 0, 240, 256],
    "split.test_share": 0.3,
    "split.test_pairs": 20,
    "split.min_train_pairs": 1,
    "split.min_test_pairs": 1,
    "train.device": "cpu",
    "train.threads": 1,
    "train.log_every": 2,
    "train.checkpoint_every": 2,
    "train.perceptual": "none",
    "train.sample_every": 4,
    "train.sample_pairs": 3,
    "evaluate.systems": [*SYSTEMS],
    "evaluate.metrics": ["ssim/pg2", "ssim/gaussian11", "ssim/win51", "mask-ssim/pg2", "psnr", "torso-ciede2000"],
    "evaluate.device": "cpu",
    "evaluate.threads": 1,
    "evaluate.pairs": None,
    "evaluate.picture_pairs": 3,
    "systems.paper-m.steps": 5,
    "systems.paper-m.generator": {"width": 4, "blocks": 1},
    "systems.paper-m.discriminators": {"width": 4, "layers": 1},
    "systems.attend.steps": 5,
    "systems.attend.generator": {"width": 8, "blocks": 1},
}


class Data(NamedTuple):
    """The folders that training reads."""

    images: Path
    keypoints: Path
    posemaps: Path
    split: Path

    def to_train(self) -> train.Folders:
        return train.Folders(*self)

    def to_evaluate(self, runs: Path) -> evaluate.Folders:
        return evaluate.Folders(*self, runs)


def params(**changes: Any) -> dict[str, Any]:
    """params.yaml with tiny values and these (`__` for the dot, `_` for the hyphen of a system's name)."""
    read: dict[str, Any] = yaml.safe_load(PARAMS.read_text("utf-8"))
    named = {path.replace("__", ".").replace("paper_m", "paper-m"): value for path, value in changes.items()}
    for path, value in (CHANGES | named).items():
        *above, last = path.split(".")
        place = read
        for name in above:
            place = place[name]
        place[last] = value
    return read


def settings(name: str, kind: type[T], **changes: Any) -> T:
    """A stage's settings, with changes to its block."""
    return block(params(**{f"{name}__{key}": value for key, value in changes.items()}), name, kind, "params.yaml")


def row(system: str, **changes: Any) -> SystemSettings:
    """A system's row, with changes to its block."""
    return systems.row(params()["systems"][system] | changes, f"systems.{system}")


def make(folder: Path, parts: Sequence[int] = (0, 1)) -> Data:
    """Mannequins through the real stages up to split, in these parts."""
    raw, reports, data = folder / "raw", folder / "reports", Data(*(folder / name for name in Data._fields))
    download.run(raw=raw, transfers=folder / "transfers", settings=settings("download", download.DownloadSettings))
    validate.run(
        raw=raw, images=data.images, report=reports / "validate",
        settings=settings("validate", validate.ValidateSettings, parts=list(parts)),
    )  # fmt: skip
    for part in part_names(data.images):
        keypoints.run(
            lists=raw / "lists", images=data.images / part, keypoints=data.keypoints / part,
            report=reports / "keypoints" / part, work=folder / "found" / part,
            settings=settings("keypoints", keypoints.KeypointsSettings),
        )  # fmt: skip
        posemaps.run(
            images=data.images / part, keypoints=data.keypoints / part, posemaps=data.posemaps / part,
            settings=settings("posemaps", posemaps.PosemapsSettings),
        )  # fmt: skip
    split.run(
        lists=raw / "lists", images=data.images, keypoints=data.keypoints, split=data.split, report=reports / "split",
        settings=settings("split", split.SplitSettings),
    )  # fmt: skip
    return data


def train_tiny(
    data: Data, run: Path, system: str = "attend", *, row_changes: Any = None, extend: bool = False, **changes: Any
) -> Path:
    """Train a system on the tiny data, with changed settings, into the folder `run`; the work folder is beside it."""
    train.run(
        system=system, row=row(system, **row_changes or {}), settings=settings("train", TrainSettings, **changes),
        folders=data.to_train(), run=run, work=run.parent / "work", extend=extend,
    )  # fmt: skip
    return run


def unfinished(work: Path) -> list[Path]:
    """The folders of unfinished runs."""
    return [path for path in work.iterdir() if path.name != "finished"]


def files_in(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path there."""
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}
