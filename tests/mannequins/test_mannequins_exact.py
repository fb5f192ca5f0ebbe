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
from mannequins.renderer import MannequinSettings, exact, files

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


@pytest.mark.parametrize("first", [0, 1])
def test_older_processors_make_the_same_bytes(first):
    """numpy without the kernels from a level on; for the oldest level, also other kernels of OpenBLAS, libm and libjpeg."""
    off = kernels()[first:]
    if not off:
        pytest.skip("this processor has no more levels")
    environment = os.environ | {"NPY_DISABLE_CPU_FEATURES": " ".join(off)}
    if first == 0:
        environment |= {
            "OPENBLAS_CORETYPE": "Nehalem",
            "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F",
            "JSIMD_FORCENONE": "1",
        }
    run = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == {"kernels": kernels()[:first], "digests": DIGESTS}


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


ANGLES = np.linspace(-30, 30, 20_001)


@pytest.mark.parametrize(("ours", "theirs"), [(exact.sin, np.sin), (exact.cos, np.cos)])
def test_sine_and_cosine(ours, theirs):
    assert np.abs(ours(ANGLES) - theirs(ANGLES)).max() < 1e-8
    single = ours(ANGLES.astype(np.float32))
    assert single.dtype == np.float32
    assert np.abs(single - theirs(ANGLES)).max() < 5e-6


def test_arctan2_knows_all_quadrants():
    angles = ANGLES[np.abs(ANGLES) < np.pi]
    assert np.abs(exact.arctan2(3 * np.sin(angles), 3 * np.cos(angles)) - angles).max() < 2e-8
    y, x = np.array([(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (0.0, -1.0)]).T
    assert exact.arctan2(y, x) == pytest.approx([0, 0, np.pi / 2, np.pi])


def test_powers_interpolation_and_products_are_numpys():
    values = np.linspace(-2, 2, 401)
    for sixteenths in (1, 5, 11, 14, 16, 19, 31):
        expected = np.sign(values) * np.abs(values) ** (sixteenths / 16)
        assert np.allclose(exact.power(values, sixteenths), expected, atol=1e-12)
    x, y = (0, 0.5, 0.7, 1.2), (1, 3, -1, 0)
    assert np.allclose(exact.interp(values, x, y), np.interp(values, x, y), atol=1e-12)
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 7, 3))
    assert np.allclose(exact.dot(a, b), (a * b).sum(1))
    assert np.allclose(exact.norm(a), np.linalg.norm(a, axis=1))
    assert np.allclose(exact.hypot(a, b), np.hypot(a, b))


def test_decay_is_about_the_exponential():
    values = np.linspace(0, 60, 6001)
    assert np.abs(exact.decay(values) - np.exp(-values)).max() < 0.01
    assert (np.diff(exact.decay(values)) <= 0).all()
    assert exact.decay(values)[values >= 32].max() == 0


def test_draws_have_the_moments_that_they_claim():
    rng = np.random.default_rng(0)
    draws = exact.noise(rng, (100_000,), np.float32)
    assert draws.dtype == np.float32
    assert abs(draws.mean()) < 0.02
    assert draws.std() == pytest.approx(1, abs=0.02)
    assert 3 < np.abs(draws).max() < 3.5
    assert np.mean([exact.normal(rng, 5, 2) for _ in range(2000)]) == pytest.approx(5, abs=0.2)
    flat = np.array([exact.uniform(rng, -1, 3) for _ in range(2000)])
    assert -1 <= flat.min() < -0.9 < 2.9 < flat.max() < 3


if __name__ == "__main__":
    print(json.dumps({"kernels": kernels(), "digests": digests()}))
