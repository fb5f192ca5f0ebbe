"""The compiled pipeline beside `dvc repro` on a small profile: time, stage by stage.

python -m benchmarks.kubeflow

Both start from the same clean copies of the project; the pipeline runs one task after the other on this machine, as
subprocesses, with a folder as DVC's remote. A second run finds all its work done. The profile: few mannequins and three
steps of narrow networks. A cached step's own work is its wall time less that of a process that
imports the same and opens the project with DVC.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
SMALL = {
    "download.mannequin.items": 24, "split.min_test_pairs": 4, "posemaps.height": 64, "posemaps.width": 56,
    "train.threads": 1, "train.sample_every": 0, "evaluate.pairs": 6, "evaluate.threads": 1, "evaluate.picture_pairs": 2,
    "systems.paper-m.steps": 3, "systems.paper-m.generator.width": 4, "systems.paper-m.discriminators.width": 4,
    "systems.surface-tuned.steps": 3, "systems.attend.steps": 3,
    # three steps make nothing that the demo's gates would let through
    "gates.baseline": False, "gates.limits.surface-tuned.ssim/pg2.min": 0.0,
    "gates.limits.surface-tuned.torso-ciede2000.max": 1000.0,
}  # fmt: skip
START = "import repose.kubeflow.step, repose.kubeflow.run_cache; from dvc.repo import Repo; Repo('.').index.graph"


def main() -> None:
    """Measure and print."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # this environment's commands
    with tempfile.TemporaryDirectory() as made:
        by_dvc, by_kubeflow, remote = (Path(made) / name for name in ("dvc", "kubeflow", "remote"))
        for folder in (by_dvc, by_kubeflow):
            copy(folder)
        compiling, _ = timed(by_kubeflow, "repose", "kfp", "compile")
        repro, _ = timed(by_dvc, "dvc", "repro")
        local = ("repose", "kfp", "run-local", "--runner", "subprocess", "--remote", str(remote))
        first, output = timed(by_kubeflow, *local)
        again, cached = timed(by_kubeflow, *local)
        start, _ = timed(by_kubeflow, sys.executable, "-c", START)
        records = [record(remote, text) for text in (output, cached)]
        lock = (by_dvc / "dvc.lock").read_text()
    equal = all(stages(found["locks"]["dvc.lock"]) == stages(lock) for found in records)
    print(f"repose kfp compile {compiling:.2f} s, all of the command")
    print(f"dvc repro {repro:.1f} s; pipeline {first:.1f} s ({first / repro:.2f} times); pipeline again {again:.1f} s")
    print(f"dvc.lock of dvc repro and of both runs, stage by stage: {'the same' if equal else 'NOT the same'} bytes")
    print(f"Python's and DVC's start, of that of each step: {start:.2f} s")
    print("stage              run s  again s")
    for ran, found in zip(records[0]["stages"], records[1]["stages"], strict=True):
        print(f"{ran['stage']:17}{ran['seconds']:7.1f}{found['seconds']:9.1f}")


def copy(folder: Path) -> None:
    """The project as git has it, in a folder of its own, with the small profile's params and without its lock."""
    from repose.kubeflow.local import copy_sources
    from repose.kubeflow.params import ParamsFile

    copy_sources(ROOT, folder)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    (folder / "dvc.lock").unlink()
    (folder / "params.yaml").write_text(ParamsFile.read(ROOT / "params.yaml").with_values(SMALL))
    subprocess.run(["dvc", "config", "--local", "core.no_scm", "true"], cwd=folder, check=True)


def timed(folder: Path, name: str, *rest: str) -> tuple[float, str]:
    """Seconds that a command takes, and what it prints."""
    began = time.perf_counter()
    done = subprocess.run([name, *rest], cwd=folder, check=True, capture_output=True, text=True)
    return time.perf_counter() - began, done.stdout


def record(remote: Path, output: str) -> dict[str, Any]:
    """The record of the run whose name ends an output."""
    run = output.strip()
    found: dict[str, Any] = json.loads((remote / "kubeflow" / "runs" / run / "record.json").read_text())
    return found


def stages(lock: str) -> dict[str, str]:
    """The entries of a dvc.lock as text; DVC's order of new ones varies."""
    return {name: yaml.safe_dump(entry) for name, entry in yaml.safe_load(lock)["stages"].items()}


if __name__ == "__main__":
    main()
