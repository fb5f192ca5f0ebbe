"""The campaign of faults: kills, full disks, two of everything, a failing S3 server, damaged files (`make test-faults`)."""

import sys
from pathlib import Path

for folder in ("kubeflow", "data"):  # steps and foreign projects; the builder of zips
    sys.path.append(str(Path(__file__).parents[1] / folder))
