"""What every test shares."""

import os

# Two pytest workers on two cores: threads that wait by spinning would take the other worker's time (see repose.cli.main).
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
