"""A copy of the project with changed params, in which `dvc repro` runs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

import warm

ROOT = Path(__file__).parents[1]
BASELINE = ROOT / "baseline"  # the scores that the stage gates compares with
TINY: Mapping[str, Any] = {  # a few steps of small networks
    "posemaps.height": 64,
    "posemaps.width": 56,  # with the height, the least that every window of SSIM fits
    "train.threads": 1,
    "train.sample_every": 0,
    "evaluate.threads": 1,
    "evaluate.picture_pairs": 2,
    "gates.baseline": False,
    "gates.limits": {},
    "gates.metrics": {"ssim/pg2": {"better": "higher", "tolerance": 0}},  # one is enough
    "systems.paper-m.steps": 3,
    "systems.paper-m.generator.width": 4,
    "systems.paper-m.discriminators.width": 4,
    "systems.surface-tuned.steps": 3,
    "systems.attend.steps": 3,
    "systems.attend.generator": {"width": 8},
}

_COMMANDS = Path(sys.executable).parent
_MADE = shutil.ignore_patterns("runs", "results", "street", "table", "dvc.lock")  # by a pipeline that ran


class Project:
    """The pipeline as a user has it, with changed values in params.yaml; its programs start as in `warm`."""

    def __init__(self, folder: Path, changes: Mapping[str, Any], pipelines: Sequence[str] = ()) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(BASELINE, folder / "baseline")
        for name in ("dvc.yaml", ".dvcignore"):
            shutil.copy(ROOT / name, folder / name)
        (folder / "table1").mkdir()
        shutil.copy(ROOT / "table1" / "published.csv", folder / "table1")
        for name in pipelines:  # of their own, beside the first
            shutil.copytree(ROOT / name, folder / name, ignore=_MADE, dirs_exist_ok=True)
        write_changed(folder / "params.yaml", yaml.safe_load((ROOT / "params.yaml").read_text()), changes)
        self.dvc("init", "--no-scm", "--quiet")

    def set(self, **changes: Any) -> None:
        """Change values of the params as they stand (`__` for the dot)."""
        path = self.folder / "params.yaml"
        named = {name.replace("__", "."): value for name, value in changes.items()}
        write_changed(path, yaml.safe_load(path.read_text()), named)

    def dvc(self, *arguments: str, code: int = 0) -> str:
        """The output of a dvc command, which must end with the exit code."""
        return self._run([str(_COMMANDS / "dvc"), *arguments], code)

    def make(self, target: str) -> str:
        """The output of a target of our Makefile, run with the tests' programs; it must succeed."""
        return self._run(["make", "-o", ".venv/ready", "-f", str(ROOT / "Makefile"), target], 0)

    def _run(self, command: Sequence[str], code: int) -> str:
        path = f"{_COMMANDS}{os.pathsep}{os.environ['PATH']}"
        environment = warm.environment() | {"PATH": path, "DVC_NO_ANALYTICS": "1"}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, check=False, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == code, done.stdout
        return done.stdout

    def files(self, *folders: str) -> dict[str, bytes]:
        """Every file below these folders."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for folder in folders
            for path in sorted((self.folder / folder).rglob("*"))
            if path.is_file()
        }


def write_changed(path: Path, params: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Write params with changed values of existing keys (named `block.key`) to a file."""
    for key, value in changes.items():
        *above, last = key.split(".")
        block = params
        for name in above:
            block = block[name]
        assert last in block or above[0] == "systems", f"{key} is no key of {path.name}"
        block[last] = value
    path.write_text(yaml.safe_dump(params, sort_keys=False))
