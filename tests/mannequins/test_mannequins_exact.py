"""Mannequins have the same bytes on every processor."""

import ast
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mannequins import renderer
from mannequins.renderer import MannequinSettings, files

ITEMS = {"fashion": 4, "street": 2}
DIGESTS = {
    "fashion": "b4d85e611a20e9984b1898285780857175f5846e3760236f0c8f9fa97ddf6217",
    "street": "74a53fd7877c279e08fb662d9b7521d5a813c05b911e1a1fd5c58917f5123312",
}


def digests() -> dict[str, str]:
    """The SHA-256 of all paths and contents of a small set of each flavour."""
    found = {}
    for flavour, items in ITEMS.items():
        digest = hashlib.sha256()
        for path, content in files(MannequinSettings(flavour, items, seed=0, quality=90), workers=1):
            digest.update(f"{path} {len(content)}\n".encode() + content)
        found[flavour] = digest.hexdigest()
    return found


def kernels() -> list[str]:
    """The levels of this processor that numpy has kernels for beyond its baseline, the oldest first."""
    return np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])


def test_the_bytes_are_those_of_every_other_machine():
    assert digests() == DIGESTS


def test_an_older_processor_makes_the_same_bytes():
    """numpy without the kernels beyond its baseline, and other kernels of OpenBLAS, libm and libjpeg."""
    if not kernels():
        pytest.skip("this processor is no older")
    environment = os.environ | {
        "NPY_DISABLE_CPU_FEATURES": " ".join(kernels()), "OPENBLAS_CORETYPE": "Nehalem",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F", "JSIMD_FORCENONE": "1",
    }  # fmt: skip
    run = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == {"kernels": [], "digests": DIGESTS}


# What numpy or libm computes in a way that depends on the processor, and draws that go through it.
INEXACT = {
    "sin", "cos", "tan", "arcsin", "arccos", "arctan", "arctan2", "sinh", "cosh", "tanh", "sinc", "hypot", "cbrt",
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "power", "float_power", "interp", "hanning", "hamming",
    "dot", "vdot", "vecdot", "inner", "matmul", "tensordot", "einsum", "linalg", "convolve", "correlate", "fft",
    "normal", "standard_normal", "uniform", "lognormal", "exponential", "gamma", "beta",
}  # fmt: skip


def test_the_renderer_uses_no_operation_that_depends_on_the_processor():
    for path in Path(renderer.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            where = f"{path.name}:{getattr(node, 'lineno', 0)}"
            assert not (isinstance(node, ast.Attribute) and node.attr in INEXACT), f"{where} {node.attr}"
            assert not isinstance(node, ast.MatMult | ast.Pow), where
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not {"math", "cmath", "scipy"} & set(names), where


if __name__ == "__main__":
    print(json.dumps({"kernels": kernels(), "digests": digests()}))
