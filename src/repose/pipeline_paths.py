"""The paths of a stage in dvc.yaml of the current folder: the defaults of `repose train` and `repose evaluate`."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repose.config import parse_yaml
from repose.errors import DataError, SettingsError


def stage_paths(stage: str, system: str, missing: str) -> dict[str, Path]:
    """The path options of a stage's command, such as {"images": data/images}.

    Args:
        stage: the stage's name.
        system: the item of a stage that runs once per system.
        missing: what the user can give instead, for the messages.

    Raises:
        SettingsError: there is no dvc.yaml, or it lacks the stage.
    """
    return _paths(_stages(missing), stage, system, missing)


def completed(stage: str, given: Mapping[str, Path | None], system: str = "") -> dict[str, Path]:
    """The options `given` for a stage's command, with None replaced by the stage's own paths.

    Raises:
        SettingsError: see `stage_paths`.
        DataError: an input was neither given nor made by the pipeline.
    """
    absent = [name for name, path in given.items() if path is None]
    missing = ", ".join(f"--{name}" for name in absent)
    stages = _stages(missing) if absent else {}
    defaults = _paths(stages, stage, system, missing) if absent else {}
    for name in absent:
        path = defaults[name]
        if str(path) in stages[stage].get("deps", []) and not path.exists():
            raise DataError(
                f"There is no {path}. Make it with `dvc repro {_maker(stages, str(path))}`, fetch it with `dvc pull`, or "
                f"give another with --{name}."
            )
    return {name: path or defaults[name] for name, path in given.items()}


def _stages(missing: str) -> dict[str, Any]:
    try:
        stages: dict[str, Any] = parse_yaml(Path("dvc.yaml").read_text("utf-8"))["stages"]
    except FileNotFoundError:
        raise SettingsError(f"Give {missing}: this folder has no pipeline (dvc.yaml).") from None
    except (OSError, ValueError, LookupError, TypeError):
        raise _not_ours(missing) from None
    return stages


def _paths(stages: dict[str, Any], stage: str, system: str, missing: str) -> dict[str, Path]:
    try:
        words = shlex.split(stages[stage]["cmd"].replace("${item.system}", system))[2:]
        return {name.removeprefix("--"): Path(path) for name, path in zip(words[::2], words[1::2], strict=True)}
    except (ValueError, LookupError, TypeError, AttributeError):
        raise _not_ours(missing) from None


def _not_ours(missing: str) -> SettingsError:
    return SettingsError(f"Give {missing}: the dvc.yaml of this folder is not a pipeline of repose.")


def _maker(stages: dict[str, Any], path: str) -> str:
    """The names of the stages whose outputs are the path or inside it."""
    return " ".join(
        name
        for name, stage in stages.items()
        if any(f"{out}/".startswith(f"{path}/") for out in stage.get("do", stage).get("outs", []))
    )
