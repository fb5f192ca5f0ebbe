"""Measurements: ratios of two ways in one run, and speeds of one machine."""

import os
import resource
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

# As the command `repose` does: threads of torch that wait by spinning stand still where another program uses a core.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def peak_mebibytes() -> float:
    """The peak memory of this process or of the largest that it has waited for."""
    unit = 2**20 if sys.platform == "darwin" else 2**10  # of ru_maxrss: bytes there, KiB elsewhere
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / unit


def checked_out(revision: str, folder: Path) -> Path:
    """The files of a revision of this repository, in the folder."""
    folder.mkdir()
    packed = subprocess.run(["git", "archive", revision], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    subprocess.run(["tar", "-x"], cwd=folder, check=True, input=packed)
    return folder
