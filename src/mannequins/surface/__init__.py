"""The weights that come with repose: the system surface, trained on rendered people alone (docs/surface.md)."""

import hashlib
from functools import cache
from pathlib import Path

from repose.errors import CheckpointError

WEIGHTS = Path(__file__).with_name("surface.safetensors")
DIGEST = Path(__file__).with_name("surface.safetensors.sha256")  # in sha256sum's format


@cache
def weights() -> Path:
    """The checkpoint that comes with repose.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    try:
        found = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    except FileNotFoundError:
        found = "missing"
    if found != DIGEST.read_text().split()[0]:
        raise CheckpointError(
            f"{WEIGHTS}, the weights that come with repose, is missing or damaged. Install repose again."
        )
    return WEIGHTS
