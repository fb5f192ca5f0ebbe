"""How torch is made repeatable, for every stage and command that uses it."""

import torch

from repose.errors import SettingsError


def resolve(device: str) -> torch.device:
    """The device of that name; auto is the GPU where there is one.

    Raises:
        SettingsError: there is no such device, or it is not here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise SettingsError(
            "The device is to be cuda, but torch sees no GPU here. Use auto or cpu, or a node with a GPU."
        )
    try:
        return torch.device(device)
    except RuntimeError:
        raise SettingsError(f"There is no device {device!r}. Use auto, cpu or cuda.") from None


def set_up(device: str, threads: int, seed: int) -> torch.device:
    """Make torch repeatable: seed, threads, deterministic kernels; return the device.

    Raises:
        SettingsError: see `resolve`.
    """
    chosen = resolve(device)
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    # As torch.use_deterministic_algorithms does, which would import the compiler first: seconds of every start.
    torch.set_deterministic_debug_mode("error" if chosen.type == "cpu" else "default")
    return chosen
