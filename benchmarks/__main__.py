"""The benchmarks of this folder, one after the other, each in a process of its own.

python -m benchmarks [--all]

Without --all, some run with fewer rows or photos, and the longest do not run, so that it takes less than ten minutes of two
cores. That of a GPU is `make bench-gpu`.
"""

import argparse
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
LONG = ("finetune", "kubeflow")
SHORTER = {
    "proportions": ("--items", "50"),
    "scale": ("--photos", "100", "500"),
    "train": ("cpu", "--rows", "attend", "paper-m", "--seconds", "6"),
    "variety": ("--items", "100"),
}


def names() -> list[str]:
    """The benchmarks, in the order in which they run."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith(("_", "gpu")))


def main(arguments: list[str] | None = None) -> None:
    """Run them; the first one that fails ends it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help=f"also {' and '.join(LONG)}, and the others at full length")
    everything = parser.parse_args(arguments).all
    for name in names():
        if everything or name not in LONG:
            module = (f"benchmarks.{name}", *(() if everything else SHORTER.get(name, ())))
            print(f"\npython -m {' '.join(module)}", flush=True)
            subprocess.run([sys.executable, "-m", *module], check=True, cwd=FOLDER.parent)


if __name__ == "__main__":
    main()
