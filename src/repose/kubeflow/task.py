"""What Kubeflow gives a task: the executor input, as JSON in the last argument of its command."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from repose.errors import ReposeError
from repose.kubeflow.params import changed_files, parse_overrides
from repose.kubeflow.variables import RUN
from repose.storage.atomic import write_text

AFTER = "after_"  # with a number: the name of an input with the ID of entries
_FOLDERS = {"gs": "gcs"}  # of the launcher's local copies, where it is not the scheme


class Artifact(NamedTuple):
    """An output of a task."""

    name: str
    uri: str

    @property
    def file(self) -> Path:
        """Where Kubeflow's launcher keeps its bytes: s3://bucket/key below /s3/bucket/key."""
        scheme, separator, rest = self.uri.partition("://")
        return Path(f"/{_FOLDERS.get(scheme, scheme)}/{rest}") if separator else Path(self.uri)


@dataclass(frozen=True)
class Task:
    """The inputs and outputs of a task."""

    words: tuple[str, ...]  # the arguments before `{{$}}`, without the keys of exposed params
    stage: str  # empty for the record
    run: str
    remote: str
    endpoint: str
    changes: Mapping[str, str]  # exposed params by FILE:KEY: their text
    overrides: str  # other params: a JSON object by KEY or FILE:KEY, as typed into the run form
    entries: tuple[str, ...]  # IDs, of the stages before it
    outputs: tuple[Artifact, ...]
    entry_file: Path  # for the ID of the stage's own entry
    output_file: Path  # for the metadata of the outputs

    @property
    def params(self) -> dict[str, Any]:
        """The values or texts of the run's params, by KEY or FILE:KEY. Raises as `parse_overrides`."""
        return {**self.changes, **parse_overrides(self.overrides)}


def read_task(words: Sequence[str], environment: Mapping[str, str] = os.environ) -> Task:
    """The task of a command line: constants, NAME=FILE:KEY of each exposed param, and the executor input.

    Raises:
        ReposeError: the last argument is not an executor input, or the run's ID is not in the environment.
    """
    *before, last = words or [""]
    try:
        given = json.loads(last)
        inputs, outputs = given.get("inputs", {}), given["outputs"]
        texts = {key: text for key, text in inputs["parameterValues"].items() if text is not None}
        if wrong := [key for key, text in texts.items() if not isinstance(text, str)]:
            raise TypeError(f"{wrong[0]} is not text")
        exposed = [word for word in before if ":" in word.partition("=")[2]]  # a folder may be named a=b
        keys = dict(word.split("=", 1) for word in exposed)
        return Task(
            tuple(word for word in before if word not in exposed), texts.get("stage", ""), environment[RUN], texts["remote"],
            texts.get("endpoint", ""), {keys[name]: text for name, text in texts.items() if name in keys},
            texts.get("overrides", ""),
            tuple(text for name, text in sorted(texts.items()) if re.fullmatch(rf"{AFTER}\d+", name) and name not in keys),
            tuple(Artifact(name, one["artifacts"][0]["uri"]) for name, one in outputs.get("artifacts", {}).items()),
            Path(outputs.get("parameters", {}).get("entry", {}).get("outputFile", "")), Path(outputs["outputFile"]),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ReposeError(
            f"The command's last argument is not an executor input of Kubeflow, or {RUN} is not set ({error!r}). Components "
            "of this version need Kubeflow Pipelines 2.16 or later; compile the pipeline from the image's commit."
        ) from None


def report(task: Task, entry: str, metadata: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the ID of the stage's entry, and the metadata of the outputs by name, to the files that the launcher reads."""
    found = {
        name: {"artifacts": [{"name": name, "uri": uri, "metadata": dict(metadata[name])}]}
        for name, uri in task.outputs
    }
    write_text(task.entry_file, entry)
    write_text(task.output_file, json.dumps({"artifacts": found}, indent=1))


def apply_params(folder: Path, task: Task) -> None:
    """Write the run's params into the params files of a project. Raises as `changed_files`."""
    for name, text in changed_files(folder, task.params, "The parameter").items():
        write_text(folder / name, text)
