"""repose: pose-guided fashion image synthesis, from photos of a garment to images of the garment in other poses.

    import repose

    model = repose.load()
    image = model(["front.jpg", "side.jpg"], "target.jpg")

`import repose` imports neither torch nor numpy; `load` does. Messages go to the logger "repose";
Python prints its warnings unless the program configures logging.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from repose.errors import CheckpointError, DataError, PoseNotFoundError, RemoteError, ReposeError, SettingsError

if TYPE_CHECKING:
    from repose.inference.reposer import Reposer, SourcePhoto, TargetPose

__all__ = [
    "CheckpointError", "DataError", "PoseNotFoundError", "RemoteError", "ReposeError", "Reposer", "SettingsError",
    "SourcePhoto", "TargetPose", "load",
]  # fmt: skip
__version__ = "0.1.0"


def load(
    model: str | Path | None = None, *, device: str = "auto", keypoints: str | Path | Sequence[str | Path] = (),
    pose_detector: Literal["auto", "blazepose", "figure"] | None = None, height: int | None = None,
) -> "Reposer":  # fmt: skip
    """Load a trained system, by default the one that comes with repose, to call it with photos and poses; see `Reposer`."""
    # torch's threads spin while they wait, which makes them many times slower if another program uses a core
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    from repose.inference.reposer import Reposer

    return Reposer(model, device=device, keypoints=keypoints, pose_detector=pose_detector, height=height)


def __getattr__(name: str) -> Any:
    """Import the classes of `repose.inference.reposer` when they are first used, as it imports torch."""
    if name not in ("Reposer", "SourcePhoto", "TargetPose"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from repose.inference import reposer

    return getattr(reposer, name)
