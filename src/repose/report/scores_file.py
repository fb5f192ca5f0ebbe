"""The scores of one side of a comparison, read from a file that evaluate wrote or from a git revision."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple, cast

from repose.config import parse_yaml
from repose.errors import ReposeError
from repose.metrics.provenance import SCHEMA
from repose.storage.limits import read_limited


class Record(NamedTuple):
    """The scores of one side with their provenance."""

    where: str  # for messages: a path, or a revision with its commit
    protocol: dict[str, Any]  # scores are only comparable under the same protocol
    scores: dict[str, dict[str, Any]]  # by system, then by metric; values may be any JSON
    metrics: dict[str, Any]  # by metric: networks, real photos, the better direction


def read_side(side: str | None) -> Record:
    """The scores in the file `side`, or in the git revision `side` if there is no such file.

    If None, the scores are read from the file that the pipeline in this folder names.

    Raises:
        ReposeError: there is neither, git is missing, or the content is missing or not scores.
    """
    if side is None:
        return read_file(_metrics())
    # Path.is_file raises an error if the name is too long or its folder cannot be searched
    if os.path.isfile(side) or side.endswith(".json"):  # noqa: PTH113
        return read_file(Path(side))
    commit, metrics = _commit(side), _metrics()
    content = _git("show", f"{commit}:./{metrics.as_posix()}")
    if content.returncode:
        said = " ".join(content.stderr.decode(errors="replace").split())
        raise ReposeError(
            f"Git cannot read {metrics} of the revision {side} ({commit[:10]}): {said}. Give a later one, or a file."
        )
    return parsed(content.stdout, f"{side} ({commit[:10]})")


def read_file(path: Path) -> Record:
    """The scores in a file. Raises a ReposeError if it cannot be read, or its content is not scores."""
    content = read_limited(path, "JSON", "Run `dvc repro`, or give another file or a git revision.")
    return parsed(content, str(path))


def parsed(content: bytes, where: str) -> Record:
    """The scores in the bytes of a JSON file; `where` names the file or revision in messages.

    Raises:
        ReposeError: it is not JSON, or has another schema.
    """
    try:
        record = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ReposeError(f"The scores of {where} are not JSON: {error}. Run `dvc repro evaluate` there.") from None
    record = record if isinstance(record, dict) else {}
    protocol, scores, metrics = (cast(Any, record.get(name)) for name in ("protocol", "scores", "metrics"))
    parts = [protocol, scores, metrics]
    parts += [entry for part in (scores, metrics) if isinstance(part, dict) for entry in part.values()]
    if record.get("schema") != SCHEMA or not all(isinstance(part, dict) for part in parts):
        raise ReposeError(
            f"The scores of {where} do not have schema {SCHEMA}, with protocol, metrics, and scores by system and metric: "
            "another version of repose or another program wrote them. Run `dvc repro evaluate` there, or give a later "
            "revision."
        )
    return Record(where, protocol, scores, metrics)


def number(value: Any) -> float | None:
    """A score as a finite float, or None if it is anything else."""
    real = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if real and abs(value) <= sys.float_info.max else None


def _metrics() -> Path:
    """The path of the scores in dvc.yaml, relative to this folder."""
    try:
        (entry,) = parse_yaml(Path("dvc.yaml").read_text("utf-8"))["stages"]["evaluate"]["metrics"]
        return Path(entry if isinstance(entry, str) else next(iter(entry)))
    except (OSError, ValueError, LookupError, TypeError, StopIteration):
        raise ReposeError(
            "This folder has no dvc.yaml that names a file of scores (evaluate: metrics). Run repose in the project folder, "
            "or give two files."
        ) from None


def _commit(revision: str) -> str:
    """The full SHA of the commit of a revision."""
    found = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if not found.returncode:
        return found.stdout.decode().strip()
    if said := found.stderr.decode(errors="replace").strip():
        raise ReposeError(f"There is no file {revision}, and git cannot look for a revision: {said}. Give two files.")
    raise ReposeError(
        f"There is no file and no git revision {revision!r} here. Fetch it (`git fetch origin`), or give another one or a "
        "file."
    )


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", *arguments], check=False, capture_output=True)  # noqa: S603, S607
    except FileNotFoundError:
        raise ReposeError("Git is not installed, so revisions cannot be read. Give two files instead.") from None
