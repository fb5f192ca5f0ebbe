"""How torch is made repeatable, for every stage and command that uses it."""

import torch

from repose.errors import ReposeError


def set_up(device: str, threads: int, seed: int) -> torch.device:
    """Make torch repeatable: seed, threads, deterministic kernels; return the device.

    Raises:
        ReposeError: cuda is asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ReposeError(
            "The device is to be cuda, but torch sees no GPU here. Use auto or cpu, or a node with a GPU."
        )
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    # As torch.use_deterministic_algorithms does, which would import the compiler first: seconds of every start.
    torch.set_deterministic_debug_mode("error" if device == "cpu" or not torch.cuda.is_available() else "default")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
