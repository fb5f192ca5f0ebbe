"""Measurements: ratios of two ways in one run, and speeds of one machine."""

import os

# As the command `repose` does: threads of torch that wait by spinning stand still where another program uses a core.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
