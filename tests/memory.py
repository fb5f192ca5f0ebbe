"""The memory that code needs, measured in a process of its own."""

import subprocess
import sys

_MEASURED = """
import resource, sys
used = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
{setup}
before = used()
{code}
print((used() - before) / 1024)
"""


def mebibytes(setup: str, code: str, *arguments: str) -> float:
    """The MiB at the peak of `code` beyond the peak of `setup`; both are Python, and sys.argv has the arguments from 1."""
    program = _MEASURED.format(setup=setup, code=code)
    run = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    return float(run.stdout)
