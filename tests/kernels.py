"""Kernel levels: environment variables that make the numeric libraries compute as on other processors.

    python tests/kernels.py COMMAND    # run a command at each level; exits with the code of the first failure

A library reads its variable when it is imported, so each level needs its own process.
"""

import os
import subprocess
import sys

import numpy as np

# numpy's kernels for this processor, the oldest first; it warns about the names of others.
_FOUND: list[str] = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])

LEVELS = {
    "lowest": {
        "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE",
        "OPENBLAS_CORETYPE": "Nehalem", "NPY_DISABLE_CPU_FEATURES": " ".join(_FOUND),
    },
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell", "NPY_DISABLE_CPU_FEATURES": " ".join(_FOUND[1:]),
    },
}  # fmt: skip


if __name__ == "__main__":
    for name, level in LEVELS.items():
        print(f"kernel level {name}: {' '.join(f'{key}={value!r}' for key, value in level.items())}", flush=True)
        code = subprocess.run(sys.argv[1:], env=os.environ | level, check=False).returncode
        if code:
            sys.exit(code)
