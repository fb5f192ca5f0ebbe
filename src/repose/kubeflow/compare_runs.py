"""The scores of a run on Kubeflow, from the run's record in DVC's remote.

Kubeflow itself only holds pointers.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from repose.errors import ReposeError
from repose.kubeflow.entries import parse_lock
from repose.report.scores_file import Record, parsed
from repose.storage.atomic import write_bytes

PREFIX = "run:"


class RunScores(NamedTuple):
    """The scores that a run's evaluate wrote."""

    record: Record
    pairs: Path  # the scores by pair


def is_run(side: str) -> bool:
    """Whether a side of a comparison is a run, `run:ID`, and not a file of that name."""
    return side.startswith(PREFIX) and not Path(side).exists()


def read_run(side: str, store: Any, place: Path) -> RunScores:
    """The scores of the run `run:ID` in DVC's remote (`repose.storage.remote.Remote`); those by pair are written to `place`.

    Raises:
        ReposeError: the remote has no record of the run or no longer has its files, or its evaluate did not succeed.
    """
    from repose.kubeflow.fetch import read_record

    run = side.removeprefix(PREFIX)
    record = read_record(store, run)
    scores, pairs = _objects(record, run, store)
    path = place / run.replace("/", "-") / "pairs.csv"
    write_bytes(path, store.object(pairs))
    return RunScores(parsed(store.object(scores), side), path)


def _objects(record: Mapping[str, Any], run: str, store: Any) -> tuple[str, str]:
    """The hashes of the mean scores and of the scores by pair."""
    ended = {stage["stage"]: stage for stage in record["stages"]}
    stage = ended.get("evaluate", {"state": "not in its pipeline"})
    if stage["state"] != "finished":
        why = f": {stage['message']}" if stage.get("message") else "."
        raise ReposeError(f"The run {run} has no scores; evaluate: {stage['state']}{why}")
    lock = parse_lock(record["locks"].get("dvc.lock", ""), f"dvc.lock of the run {run}")
    outs = lock.get("evaluate", {}).get("outs", ())
    try:
        (scores,) = (out["md5"] for out in outs if out["path"] in record["files"])
        (folder,) = (out["md5"] for out in outs if out["md5"].endswith(".dir"))
        return scores, store.listed(folder)["pairs.csv"]
    except (ValueError, KeyError, TypeError):
        raise ReposeError(
            f"The evaluate of the run {run} wrote {', '.join(out['path'] for out in outs)}, not a file of scores and a "
            "folder with pairs.csv. The run is of another version of repose, or of another project."
        ) from None
