"""The paths of a stage in dvc.yaml of the current folder: the defaults of the command line."""

import shlex
from collections.abc import Mapping
from pathlib import Path

from repose.config import parse_yaml
from repose.errors import DataError, SettingsError


def completed(stage: str, given: Mapping[str, Path | None], system: str = "") -> dict[str, Path]:
    """The options `given` for a stage's command, with None replaced by the stage's own paths in dvc.yaml.

    `system` is the item of a stage that runs once per system.

    Raises:
        SettingsError: there is no dvc.yaml, or it lacks the stage.
        DataError: an input was neither given nor made by the pipeline.
    """
    absent = [name for name, path in given.items() if path is None]
    if not absent:
        return {name: path for name, path in given.items() if path is not None}
    missing = ", ".join(f"--{name}" for name in absent)
    try:
        stages = parse_yaml(Path("dvc.yaml").read_text("utf-8"))["stages"]
        words = shlex.split(stages[stage]["cmd"].replace("${item.system}", system))[2:]
        paths = {name.removeprefix("--"): Path(path) for name, path in zip(words[::2], words[1::2], strict=True)}
        defaults = {name: paths[name] for name in absent}
    except FileNotFoundError:
        raise SettingsError(f"Give {missing}: this folder has no pipeline (dvc.yaml).") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise SettingsError(f"Give {missing}: the dvc.yaml of this folder is not a pipeline of repose.") from None
    for name, path in defaults.items():
        if str(path) in stages[stage].get("deps", []) and not path.exists():
            outs = {maker: of.get("do", of).get("outs", []) for maker, of in stages.items()}
            makers = [maker for maker in outs if any(f"{out}/".startswith(f"{path}/") for out in outs[maker])]
            raise DataError(
                f"There is no {path}. Make it with `dvc repro {' '.join(makers)}`, fetch it with `dvc pull`, or give another "
                f"with --{name}."
            )
    return {name: path or defaults[name] for name, path in given.items()}
