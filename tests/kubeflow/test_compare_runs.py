"""`repose compare run:A run:B`: records as runs leave them in a folder as DVC's remote."""

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from repose.kubeflow.record import FORMAT

PROTOCOL = {"split": "pg2-like", "pairs": 3, "size": "128x88", "crop": None}
PARAMS = """
gates:
  systems: [attend]
  metrics: {ssim/pg2: {better: higher, tolerance: 0.01}}
  limits: {}
  resamples: 200
  confidence: 0.95
  seed: 0
"""


class Remote:
    """A folder as the commands of a cluster fill it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def object(self, content: bytes, ending: str = "") -> str:
        oid = hashlib.md5(content, usedforsecurity=False).hexdigest() + ending
        place = self.folder / "files" / "md5" / oid[:2] / oid[2:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        return oid

    def run(self, run: str, *scores: float, **changes: Any) -> None:
        """Leave the record of a run whose evaluate scored three pairs."""
        scored = {"attend": {"ssim/pg2": sum(scores) / len(scores)}}
        mean = json.dumps({"schema": 2, "protocol": PROTOCOL, "metrics": {}, "scores": scored})
        rows = "".join(f"attend,a{number},b{number},{score!r}\n" for number, score in enumerate(scores))
        table = self.object(f"system,from,to,ssim/pg2\n{rows}".encode())
        folder = self.object(json.dumps([{"md5": table, "relpath": "pairs.csv"}]).encode(), ".dir")
        metrics = self.object(mean.encode())
        outs = [
            {"path": path, "hash": "md5", "md5": oid} for path, oid in (("metrics.json", metrics), ("results", folder))
        ]
        lock = {"schema": "2.0", "stages": {"evaluate": {"cmd": "x", "outs": outs}}}
        record = {
            "format": FORMAT, "run": run, "pipeline": "p", "file": "dvc.yaml", "remote": "r", "commit": "", "params": {},
            "stages": [{"stage": "evaluate", "state": "finished"}], "locks": {"dvc.lock": yaml.safe_dump(lock)},
            "files": {"metrics.json": metrics},
        } | changes  # fmt: skip
        place = self.folder / "kubeflow" / "runs" / run / "record.json"
        place.parent.mkdir(parents=True)
        place.write_text(json.dumps(record))


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Remote:
    """The default one of a DVC project, which is the current folder."""
    (tmp_path / "here" / ".dvc").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    Path(".dvc/config").write_text(
        "[core]\n    no_scm = true\n    remote = r\n['remote \"r\"']\n    url = ../../remote\n"
    )
    Path("params.yaml").write_text(PARAMS)
    return Remote(tmp_path / "remote")


@pytest.fixture
def compare(said_by: Any) -> Any:
    return partial(said_by, "compare")


@pytest.mark.parametrize(("scores", "code", "verdict"), [
    ((0.5, 0.6, 0.6), 1, "**worse**"), ((0.2, 0.9, 0.66), 0, "noise"),
])  # fmt: skip
def test_two_runs_by_their_pairs(remote, compare, scores, code, verdict):
    remote.run("r-1", 0.6, 0.7, 0.71)
    remote.run("r-2", *scores)
    out, _ = compare("run:r-1", "run:r-2", code=code)
    assert "HEAD is run:r-2, BASE is run:r-1." in out
    assert f"| 3 | {verdict} |" in out


def test_a_run_beside_a_file_with_and_without_its_pairs(remote, compare):
    remote.run("r-1", 0.6, 0.7, 0.71)
    record = {"schema": 2, "protocol": PROTOCOL, "metrics": {}, "scores": {"attend": {"ssim/pg2": 0.57}}}
    Path("new.json").write_text(json.dumps(record))
    Path("new.csv").write_text("system,from,to,ssim/pg2\nattend,a0,b0,0.2\nattend,a1,b1,0.9\nattend,a2,b2,0.61\n")
    compare("run:r-1", "new.json", code=1)  # the tolerance alone
    out, _ = compare("run:r-1", "new.json", "--head-pairs", "new.csv", code=0)
    assert "| 3 | noise |" in out


def test_another_remote_by_its_address_or_by_an_environment(remote, compare):
    remote.run("r-1", 0.6, 0.7, 0.71)
    Path(".dvc/config").write_text("[core]\n    no_scm = true\n")
    compare("run:r-1", "run:r-1", "--remote", str(remote.folder), code=0)
    Path("pipelines/environments").mkdir(parents=True)
    Path("pipelines/environments/lab.yaml").write_text(f"remote: {remote.folder}\n")
    compare("run:r-1", "run:r-1", "--environment", "lab", code=0)


@pytest.mark.parametrize(("changes", "said"), [
    ({"stages": [{"stage": "evaluate", "state": "failed", "message": "No pair."}]}, "; evaluate: failed: No pair."),
    ({"stages": []}, "; evaluate: not in its pipeline."),
    ({"files": {}}, "The evaluate of the run r-2 wrote metrics.json, results, not a file of scores and a folder with"),
])  # fmt: skip
def test_a_run_without_scores(remote, compare, changes, said):
    remote.run("r-1", 0.6, 0.7, 0.71)
    remote.run("r-2", 0.6, 0.7, 0.71, **changes)
    assert said in compare("run:r-1", "run:r-2", code=2)[1]


def test_a_run_that_the_remote_does_not_have(remote, compare):
    assert "has no record of a run 'r-1'" in compare("run:r-1", "run:r-1", code=2)[1]
