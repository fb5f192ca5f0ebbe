"""The scores of one side of a comparison, from a file that evaluate wrote or from a git revision in which it is committed."""

import json
import math
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from repose.config import parse_yaml
from repose.errors import ReposeError
from repose.metrics.provenance import SCHEMA


class Record(NamedTuple):
    """The scores of one side, and their provenance."""

    where: str  # for people: a path, or a revision with its commit
    protocol: dict[str, Any]  # scores of different protocols are not comparable
    scores: dict[str, dict[str, Any]]  # by system, then by metric; values may be anything that JSON has
    metrics: dict[str, Any]  # by metric: networks, real photos, which way is better


def read_side(side: str | None) -> Record:
    """The scores in the file `side`, or if there is no such file, those committed in the revision `side`.

    None reads the file of scores that the pipeline in this folder names.

    Raises:
        ReposeError: there is neither, git is missing, the revision has no scores, or the content is not scores.
    """
    if side is None:
        return read_file(_metrics())
    path = Path(side)
    if path.is_file() or path.suffix == ".json":
        return read_file(path)
    commit, metrics = _commit(side), _metrics()
    content = _git("show", f"{commit}:./{metrics.as_posix()}")
    if content.returncode:
        raise ReposeError(
            f"The revision {side} ({commit[:10]}) has no {metrics}, so it has no scores. Name a later one, or a file."
        )
    return parsed(content.stdout, f"{side} ({commit[:10]})")


def read_file(path: Path) -> Record:
    """The scores in a file.

    Raises:
        ReposeError: it cannot be read, or its content is not scores.
    """
    try:
        return parsed(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise ReposeError(f"There is no {path}. Run `dvc repro`, or name another file or a git revision.") from None
    except OSError as error:
        raise ReposeError(f"{path} cannot be read: {error.strerror}. Name another file or a git revision.") from None


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
    if "scores" in record and record.get("schema") != SCHEMA:
        raise ReposeError(
            f"The scores of {where} are of schema {json.dumps(record.get('schema', 1))[:20]}, and this repose reads {SCHEMA}: "
            "another version wrote them. Run `dvc repro evaluate` there, or name a later revision."
        )
    for key in ("protocol", "metrics", "scores"):
        if not isinstance(record.get(key), dict):
            raise ReposeError(
                f"The scores of {where} have no block {key!r}: another version of repose wrote them, or another program. "
                "Run `dvc repro evaluate` there, or name a later revision."
            )
    for system, scores in record["scores"].items():
        if not isinstance(scores, dict):
            raise ReposeError(
                f"The scores of {where} have no metrics under {system!r}. Run `dvc repro evaluate` there."
            )
    return Record(where, record["protocol"], record["scores"], record["metrics"])


def number(value: Any) -> float | None:
    """A score as a finite number; None if it is anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number beyond all floats
        return None


def _metrics() -> Path:
    """The file of scores that dvc.yaml names, relative to this folder."""
    try:
        (entry,) = parse_yaml(Path("dvc.yaml").read_text("utf-8"))["stages"]["evaluate"]["metrics"]
        return Path(entry if isinstance(entry, str) else next(iter(entry)))
    except (OSError, ValueError, LookupError, TypeError, StopIteration):
        raise ReposeError(
            "The dvc.yaml of this folder, if there is one, names no file of scores (evaluate: metrics). Run repose in the "
            "project's folder, or name two files."
        ) from None


def _commit(revision: str) -> str:
    """The full name of a revision's commit."""
    found = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if not found.returncode:
        return found.stdout.decode().strip()
    if said := found.stderr.decode(errors="replace").strip():
        raise ReposeError(f"There is no file {revision}, and git cannot look for a revision: {said}. Name two files.")
    raise ReposeError(
        f"There is no file and no git revision {revision!r} here. Fetch it (`git fetch origin`), or name another one or a "
        "file."
    )


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", *arguments], check=False, capture_output=True)  # noqa: S603, S607
    except FileNotFoundError:
        raise ReposeError("Git is not installed, so no revision can be read. Name two files instead.") from None
