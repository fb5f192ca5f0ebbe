"""Measurements: ratios of two ways in one run, and speeds of one machine."""

import os
import resource
import sys

# As the command `repose` does: threads of torch that wait by spinning stand still where another program uses a core.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def peak_mebibytes() -> float:
    """The peak memory of this process or of the largest that it has waited for."""
    unit = 2**20 if sys.platform == "darwin" else 2**10  # of ru_maxrss: bytes there, KiB elsewhere
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / unit
