"""surface export: write the trained weights as they ship, in half precision.

    repose surface export --run run --model model --height 256

At 256x176, the networks see half of the size (`generator.reduce` is 2), and flow, paint and alpha are enlarged.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import torch

from mannequins.surface import DIGEST, WEIGHTS
from repose import checkpoint, systems
from repose.errors import ReposeError
from repose.storage.atomic import whole_folder, write_text
from repose.systems.surface import SurfaceSystemSettings


def run(*, run: Path, model: Path, height: int) -> None:
    """Write the weights of the folder `run` of `surface train`, and their SHA-256, to the folder `model`.

    Args:
        run: the folder.
        model: the folder to write.
        height: of the images in px, a multiple of that of the training.

    Raises:
        ReposeError: the run is missing or of another kind of system, or the height is no multiple.
    """
    trained, about = checkpoint.load(run / "model.safetensors", torch.device("cpu"))
    if not isinstance(about.row, SurfaceSystemSettings):
        raise ReposeError(
            f"{run} is a system of the kind {about.row.kind}, not surface. Give a folder of `surface train`."
        )
    used = replace(about.row, generator=replace(about.row.generator, unlike_training=True))  # on photos of people
    about = checkpoint.at_height(replace(about, row=used), height)
    system = systems.build(about.row, about.frame)
    system.networks["generator"].load_state_dict(trained.networks["generator"].state_dict())
    system.networks["generator"].half()
    with whole_folder(model, (WEIGHTS.name, DIGEST.name)) as folder:
        checkpoint.save(folder / WEIGHTS.name, system, about, to_resume=False)
        digest = hashlib.sha256((folder / WEIGHTS.name).read_bytes()).hexdigest()
        write_text(folder / DIGEST.name, f"{digest}  {WEIGHTS.name}\n")
