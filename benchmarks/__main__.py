"""Every benchmark of this folder, one after the other, each in a process of its own.

python -m benchmarks
"""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The benchmarks, in the order in which they run; that of a GPU is `make bench-gpu`."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith(("_", "gpu")))


def main() -> None:
    """Run all; the first one that fails ends it."""
    for name in names():
        print(f"\npython -m benchmarks.{name}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True, cwd=FOLDER.parent)


if __name__ == "__main__":
    main()
