"""Checkpoints: one safetensors file with a system's weights and settings.

A checkpoint to resume from also holds the optimizers and the random state; a finished model only holds the networks.
Both can make images without any other file.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, NonNegativeInt, PositiveInt, SkipValidation, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor
from torch.overrides import TorchFunctionMode

from repose.config import as_dict
from repose.config import build as build_settings
from repose.data.frame import Frame
from repose.errors import CheckpointError, DataError, ReposeError
from repose.storage.atomic import whole_file
from repose.storage.limits import within_limit
from repose.systems import System, SystemSettings, build
from repose.systems import row as read_row

FORMAT = "repose checkpoint 1"


@dataclass(frozen=True)
class About:
    """The settings and facts in a checkpoint."""

    system: str  # name of the row
    row: SkipValidation[SystemSettings]  # `systems.row` validates it
    frame: Frame
    line_width: Annotated[float, Field(gt=0, allow_inf_nan=False)]  # of a limb in px of the frame
    step: NonNegativeInt  # steps done
    fingerprint: str  # hash of all that determines the weights at a given step; a run only resumes its own checkpoints
    photo_size: tuple[PositiveInt, PositiveInt] | None = None  # height, width in px of the photos; None: several sizes


def save(path: Path, system: System, about: About, *, to_resume: bool) -> None:
    """Write a checkpoint atomically; with `to_resume`, include the optimizers and torch's random state."""
    tensors = {
        f"network.{name}.{key}": value
        for name, network in system.networks.items()
        for key, value in network.state_dict().items()
    }
    if to_resume:
        for name, optimiser in system.optimisers.items():
            for number, parameter in enumerate(_parameters(optimiser)):
                state = optimiser.state.get(parameter, {})
                tensors |= {f"optimiser.{name}.{number}.{key}": value for key, value in state.items()}
        tensors["random"] = torch.get_rng_state()
        if _on_gpu(system):
            tensors["random.cuda"] = torch.cuda.get_rng_state()
    record = {"format": FORMAT, **as_dict(about)}
    with whole_file(path) as partial:
        # one key: safetensors keeps the metadata in no particular order; its own save_file hides a full disk's error
        partial.write_bytes(serialise({k: _copy(v) for k, v in tensors.items()}, {"repose": json.dumps(record)}))


def read_about(path: Path) -> About:
    """Return the settings and the facts in a checkpoint, without reading its tensors.

    Raises:
        CheckpointError: the file is missing or truncated, or is not a checkpoint of repose.
    """
    with _opened(path) as file:
        record = json.loads((file.metadata() or {}).get("repose", "null"))
    if not isinstance(record, dict) or record.pop("format", None) != FORMAT:
        raise CheckpointError(f"{path} is a safetensors file, but not a checkpoint of repose ('{FORMAT}').")
    where = f"{path}: settings"
    try:
        read = {"row": read_row(record["row"], where), "frame": build_settings(Frame, record["frame"], where)}
        return TypeAdapter(About).validate_python(vars(About(**record | read)))
    except ReposeError as error:
        raise CheckpointError(str(error)) from None
    except (KeyError, TypeError, ValidationError) as error:
        raise CheckpointError(
            f"{path} does not have the facts that this version of repose reads ({error}). Train again, or use the version "
            "that wrote it."
        ) from None


def at_height(about: About, height: int) -> About:
    """The settings with which the same weights make images of another height in px. Raises as `SystemSettings.at_height`."""
    row, frame = about.row.at_height(about.frame, height)
    return replace(about, row=row, frame=frame, line_width=about.line_width * height / about.frame.height)


def load(path: Path, device: torch.device, height: int | None = None) -> tuple[System, About]:
    """Return the system in a checkpoint, in evaluation mode, on a device; for images of `height` px if it is given.

    Raises:
        CheckpointError: see `read_about`; or its tensors do not fit the networks in its settings.
        SettingsError: see `at_height`.
    """
    about = read_about(path)
    about = about if height is None else at_height(about, height)
    _check_shapes(path, about)
    system = build(about.row, about.frame)
    _restore_networks(path, system, _read_tensors(path))
    for network in system.networks.values():
        network.to(device).eval().requires_grad_(False)
    return system, about


@dataclass(frozen=True)
class State:
    """The state of a run to resume."""

    path: Path  # of the checkpoint
    step: int  # steps done
    tensors: dict[str, Tensor]


def read_state(path: Path, expected: About) -> State:
    """Return a run's state in a checkpoint.

    Raises:
        CheckpointError: see `read_about`; or the checkpoint is of another run, or a finished model.
    """
    about = read_about(path)
    if about.fingerprint != expected.fingerprint:
        raise CheckpointError(
            f"{path} is a checkpoint of another run: its settings, data or version differ. Delete it."
        )
    tensors = _read_tensors(path)
    if "random" not in tensors:
        raise CheckpointError(f"{path} is a finished model, without the state to resume from. Delete it.")
    return State(path, about.step, tensors)


def restore(state: State, system: System) -> None:
    """Restore a run's state on the device of `system`, and torch's random state.

    Raises:
        CheckpointError: its tensors do not fit the networks, or the random state is damaged.
    """
    tensors = state.tensors
    _restore_networks(state.path, system, tensors)
    for name, optimiser in system.optimisers.items():
        for number, parameter in enumerate(_parameters(optimiser)):
            saved = _below(f"optimiser.{name}.{number}.", tensors)
            optimiser.state[parameter] = {key: _as_was(value, parameter) for key, value in saved.items()}
    try:
        torch.set_rng_state(tensors["random"])
        if _on_gpu(system) and "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"])
    except (RuntimeError, TypeError) as error:
        raise CheckpointError(f"{state.path} has no random state of torch ({error}). Delete it.") from None


def load_weights(path: Path, system: System, row: SystemSettings) -> tuple[About, list[str]]:
    """Load the networks of a system, whose settings are `row`, from those with the same names in a checkpoint.

    Networks that the file lacks, such as a discriminator, are not changed. Returns the facts in the checkpoint, and the names
    of the loaded networks.

    Raises:
        ReposeError: see `read_about`; or the checkpoint is of another kind, or a network has another architecture.
    """
    about, where = read_about(path), f"{path}, the checkpoint to start from (init),"
    if about.row.kind != row.kind:
        raise ReposeError(f"{where} is of the kind {about.row.kind}, not {row.kind}. Give one of that kind.")
    tensors, found = _read_tensors(path), []
    for name, network in system.networks.items():
        state = _below(f"network.{name}.", tensors)
        if not state:
            continue
        wanted, given = ({key: value.shape for key, value in of.items()} for of in (network.state_dict(), state))
        if differ := sorted(key for key in wanted | given if wanted.get(key) != given.get(key)):
            raise ReposeError(
                f"{where} has another architecture: {len(differ)} tensor(s) of its network {name!r} differ, first "
                f"{differ[0]}. Give the system the sizes of {about.system} in that file, or use another checkpoint."
            )
        network.load_state_dict(state)
        found.append(name)
    if not found:
        raise ReposeError(f"{where} has none of the networks {', '.join(system.networks)}. Use another checkpoint.")
    return about, found


def _on_gpu(system: System) -> bool:
    return any(weights.is_cuda for network in system.networks.values() for weights in network.parameters())


def _parameters(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a safetensors file; raises CheckpointError if it is missing, or if the part that the block reads is damaged."""
    try:
        with safe_open(within_limit(path, "checkpoint"), "pt") as file:
            yield file
    except DataError as error:
        raise CheckpointError(str(error)) from None
    except FileNotFoundError:
        raise CheckpointError(f"There is no checkpoint {path}. Train one (`dvc repro`), or `dvc pull`.") from None
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is not a checkpoint, or a truncated or damaged one ({error}). Give the model.safetensors of a training, "
            "or restore it (`dvc checkout`)."
        ) from None


class _Unallocated(TorchFunctionMode):
    """Modules built in this mode have parameters of the right shapes that take no memory.

    `torch.device("meta")` alone would also move computed values there, for which torch imports its compiler. That takes more
    than a second.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if func.__name__ == "normal_":  # of a tensor or of torch.nn.init: values are not needed
            return (*args, *given.values())[0]
        allocates = func in (torch.empty, torch.zeros, torch.ones)
        return func(*args, **given | ({"device": "meta"} if allocates else {}))


def _check_shapes(path: Path, about: About) -> None:
    """Raise a CheckpointError if the tensors are not those of the networks in the settings, before networks use memory."""
    with _opened(path) as file:
        given = {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118 (it is not a mapping)
    try:
        with _Unallocated():
            networks = build(about.row, about.frame).networks
    except Exception as error:  # sizes that no network has can raise almost any error in torch
        if isinstance(error, RuntimeError) and "meta" in str(error):
            return  # the system computes with values while it is built; `load` builds it, then compares
        raise CheckpointError(f"{path}: its settings describe no network that can be built ({error}).") from None
    for name, network in networks.items():
        for key, value in network.state_dict().items():
            found = given.get(f"network.{name}.{key}")
            if found != list(value.shape):
                raise CheckpointError(
                    f"{path} does not fit the network {name!r} in its settings: {key} should have the shape "
                    f"{list(value.shape)}, not {found}. Restore the file (`dvc checkout`), or train again."
                )


def _read_tensors(path: Path) -> dict[str, Tensor]:
    with _opened(path) as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (it is not a mapping)


def _restore_networks(path: Path, system: System, tensors: dict[str, Tensor]) -> None:
    for name, network in system.networks.items():
        try:
            network.load_state_dict(_below(f"network.{name}.", tensors))
        except RuntimeError as error:
            raise CheckpointError(f"{path} does not fit the network {name!r} in its settings: {error}") from None


def _copy(tensor: Tensor) -> Tensor:
    """Return a tensor's values in the usual order, in memory of its own: networks may share tensors, a file's may not."""
    return torch.empty_like(tensor, device="cpu", memory_format=torch.contiguous_format).copy_(tensor)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose keys start with `prefix`, by the rest of the key."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _as_was(saved: Tensor, parameter: Tensor) -> Tensor:
    """Return an optimizer's tensor on the device and in the layout of its parameter, so that sums round as before."""
    if saved.shape != parameter.shape:
        return saved.to(parameter.device)  # Adam's step count
    return torch.empty_like(parameter, dtype=saved.dtype).copy_(saved)
