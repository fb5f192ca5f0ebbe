"""Mathematics whose results have the same bits on every processor.

IEEE 754 fixes the result of + - * /, of square roots, of comparisons and of rounding. It does not fix sines, exponentials
and powers, which libraries compute differently on different processors, nor the order of sums in a matrix product. The
functions here consist of the fixed operations, in a fixed order. All of them take and return floats or arrays of floats,
float32 or float64, element by element.
"""

from collections.abc import Sequence

import numpy as np

Floats = np.ndarray | float

# Polynomials in the square: sin(2 pi t) / t for |t| <= 1/4, and arctan(t) / t for |t| <= tan(pi / 8).
_SINE = (6.283185280154404, -41.34168061334541, 81.60247636884587, -76.58117264232887, 39.75982706990853)
_ARCTAN = (0.9999999812646108, -0.33332785771918577, 0.19974082415329175, -0.1384849021058911, 0.07976291801794223)


def cos(radians: Floats) -> np.ndarray:
    """The cosine, within 1e-8."""
    turns = radians * (0.5 / np.pi)
    return _odd(_SINE, 0.25 - np.abs(turns - np.rint(turns)))


def sin(radians: Floats) -> np.ndarray:
    """The sine, within 1e-8."""
    return cos(radians - np.pi / 2)


def arctan2(y: Floats, x: Floats) -> np.ndarray:
    """The angle of the point (x, y) from the x axis, -pi to pi, within 2e-8; 0 at the origin."""
    up, along = np.abs(y), np.abs(x)
    short, long = np.minimum(up, along), np.maximum(up, along)
    half = _odd(_ARCTAN, short / np.maximum(long + hypot(short, long), 1e-30))
    angle = np.where(up > along, np.pi / 2 - 2 * half, 2 * half)
    angle = np.where(np.less(x, 0), np.pi - angle, angle)
    return np.where(np.less(y, 0), -angle, angle)


def hypot(x: Floats, y: Floats) -> np.ndarray:
    """The length of the vector (x, y)."""
    return np.asarray(np.sqrt(x * x + y * y))


def decay(value: Floats) -> np.ndarray:
    """About exp(-value) for values from 0: (1 - value / 32) to the power of 32, within 0.01; 0 from 32."""
    result = np.maximum(1 - value * (1 / 32), 0)
    for _ in range(5):
        result = result * result
    return np.asarray(result)


def power(value: Floats, sixteenths: int) -> np.ndarray:
    """The value to the power of so many sixteenths, 1 to 31, with its sign: a product of square roots of square roots."""
    result, root = np.sign(value), np.abs(value)
    for bit in (16, 8, 4, 2, 1):
        if sixteenths & bit:
            result = result * root
        root = np.sqrt(root)
    return np.asarray(result)


def interp(at: Floats, places: Sequence[float] | np.ndarray, values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Linear between values at increasing places, constant beyond them: float64."""
    x, y = np.asarray(places, np.float64), np.asarray(values, np.float64)
    left = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(x) - 2)
    share = np.clip((at - x[left]) / (x[left + 1] - x[left]), 0, 1)
    return np.asarray(y[left] + share * (y[left + 1] - y[left]))


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The inner product of vectors (..., 3), broadcast: (...)."""
    return np.asarray(a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2])


def norm(vectors: np.ndarray) -> np.ndarray:
    """The length of vectors (..., 3): (...)."""
    return np.asarray(np.sqrt(dot(vectors, vectors)))


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A draw from [low, high)."""
    return low + (high - low) * rng.random()


def normal(rng: np.random.Generator, mean: float, deviation: float) -> float:
    """A draw that is about normal, at most 3.5 deviations from the mean."""
    return float(mean + deviation * noise(rng, ()))


def noise(rng: np.random.Generator, shape: tuple[int, ...], dtype: type = np.float64) -> np.ndarray:
    """Draws that are about normal with mean 0 and variance 1: sums of four uniform ones."""
    one, two, three, four = rng.random((4, *shape), dtype)
    return np.asarray((one + two + three + four - 2) * 1.7320508)  # the sum's variance is a third


def along(start: float, end: float, count: int) -> np.ndarray:
    """Evenly spaced float32, both ends included."""
    return np.linspace(start, end, count, dtype=np.float32)


def smoothstep(low: float, high: float, value: np.ndarray) -> np.ndarray:
    """0 below low, 1 above high, smooth between (low > high: the other way round)."""
    t = np.clip((value - low) * (1 / (high - low)), 0, 1)
    return t * t * (3 - 2 * t)


def line(distance: np.ndarray, width: float) -> np.ndarray:
    """1 at distance 0, falling off like a bell: 0.36 at `width`."""
    return decay(np.square(distance * (1 / width)))


def _odd(coefficients: tuple[float, ...], value: Floats) -> np.ndarray:
    square = value * value
    total: Floats = coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        total = total * square + coefficient
    return np.asarray(value * total)
