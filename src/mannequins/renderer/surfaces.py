"""Surfaces of the body at rest: grids of points, each tied to the bones that move it.

A grid has rows (v, downwards) and columns (u, to the person's left in front). A texture spans it from edge to edge, so
what is painted on a surface stays on it in every pose and from every side. Azimuth is the angle about the upright axis:
0 in front, 90 degrees on the left.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mannequins.renderer.body import BONE, BONES, SIDES, Shape, pivots
from mannequins.renderer.canvas import Canvas
from mannequins.renderer.exact import cos, dot, interp, line, norm, power, sin, smoothstep

NECK_TOP = 0.862  # where the torso's surface ends, inside the neck
ALL_ROWS = 10_000  # for Grid.inside


@dataclass(frozen=True)
class Grid:
    """A surface at rest with its texture."""

    points: np.ndarray  # (v, u, 3)
    weights: np.ndarray  # (v, u, 16) of the bones, sum 1
    texture: Canvas
    inside: int = 0  # an open surface: in so many of its lowest rows the inside may be seen
    mirrored: bool = False  # the texture runs to the person's right instead
    torso: bool = False  # a garment of the torso: it has a front half and a back half, and cells that may be in sight


@dataclass(frozen=True)
class Fit:
    """How a cloth keeps away from the torso, in heights."""

    ease: float  # room between cloth and skin
    hang: float  # 0 follows the body, 1 falls straight down from its widest place above
    hang_from: float  # the height from which it may fall straight
    flare: float  # widening per height below flare_from
    flare_from: float
    over: float = 0.0  # room at the hips for what else is worn there


SECOND_SKIN = Fit(ease=0.003, hang=0, hang_from=0.5, flare=0, flare_from=0)


def fine(count: int, detail: float) -> int:
    """A number of rows or columns at a level of detail."""
    return max(5, round(count * detail))


def around(columns: int, dense_front: float = 0.0) -> np.ndarray:
    """Azimuths from back to back in radians, the last equal to the first; more of them in front where asked."""
    turn = np.linspace(-np.pi, np.pi, columns + 1)
    return turn - dense_front * sin(turn)


def follow(shape: Shape, y: np.ndarray, first: str, *then: tuple[str, float]) -> np.ndarray:
    """Weights down a chain: the `first` bone, each next from its pivot down, softly over +- so many heights."""
    weights = np.zeros((*y.shape, len(BONES)))
    weights[..., BONE[first]] = 1
    previous = BONE[first]
    for name, soft in then:
        pivot = pivots(shape)[BONE[name], 1]
        share = smoothstep(pivot + soft, pivot - soft, y) * weights[..., previous]
        weights[..., BONE[name]] += share
        weights[..., previous] -= share
        previous = BONE[name]
    return weights


def sections(table: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """The further columns of a table at heights, which are its first column, downwards."""
    return [interp(y, table[::-1, 0], column[::-1]) for column in table.T[1:]]


def rigid(points: np.ndarray, texture: Canvas, *names: str, inside: int = 0) -> Grid:
    """A surface whose points all have the same weights: an equal share for each name (a bone may be named twice)."""
    weights = np.zeros((*points.shape[:2], len(BONES)))
    for name in names:
        weights[..., BONE[name]] += 1 / len(names)
    return Grid(points, weights, texture, inside)


def rings(middle: np.ndarray, wide: np.ndarray, deep: np.ndarray, columns: int) -> np.ndarray:
    """Level ellipses about middles (v, 3): (v, u, 3)."""
    turn = around(columns)
    points = np.repeat(middle[:, None], columns + 1, 1)
    points[..., 0] += wide[:, None] * sin(turn)
    points[..., 2] += deep[:, None] * cos(turn)
    return points


def sweep(path: np.ndarray, wide: np.ndarray, deep: np.ndarray, columns: int, ahead: Sequence[float]) -> np.ndarray:
    """Ellipses across a path (v, 3): `deep` lies towards `ahead`, `wide` at a right angle to it; (v, u, 3)."""
    onward = np.gradient(path, axis=0)
    onward /= norm(onward)[:, None]
    front = np.asarray(ahead, float) - onward * dot(onward, np.asarray(ahead, float))[:, None]
    front *= (deep / norm(front))[:, None]
    aside = np.cross(front, onward) * (wide / deep)[:, None]
    turn = around(columns)[:, None]
    points: np.ndarray = path[:, None] + cos(turn) * front[:, None] + sin(turn) * aside[:, None]
    return points


def ball(middle: Sequence[float], radii: Sequence[float], rows: int, columns: int, edge: int = 16) -> np.ndarray:
    """An ellipsoid, or with an edge below 16 a rounded box: (v, u, 3)."""
    polar, turn = np.linspace(0.03, np.pi - 0.03, rows)[:, None], around(columns)
    level, left, ahead, up = (power(v, edge) for v in (sin(polar), sin(turn), cos(turn), cos(polar)))
    unit = np.broadcast_arrays(level * left, up, level * ahead)
    return np.stack([m + r * u for m, r, u in zip(middle, radii, unit, strict=True)], -1)


# Height, half width, depth to the front and to the back.
_TORSO = {
    True: np.array([
        (0.440, 0.0400, 0.0300, 0.036), (0.462, 0.0740, 0.0470, 0.056), (0.490, 0.0885, 0.0530, 0.063),
        (0.515, 0.0905, 0.0550, 0.063), (0.545, 0.0860, 0.0545, 0.057), (0.575, 0.0770, 0.0520, 0.049),
        (0.605, 0.0680, 0.0480, 0.042), (0.635, 0.0635, 0.0460, 0.040), (0.665, 0.0660, 0.0480, 0.042),
        (0.695, 0.0705, 0.0520, 0.046), (0.722, 0.0755, 0.0540, 0.050), (0.748, 0.0805, 0.0510, 0.053),
        (0.775, 0.0860, 0.0450, 0.053), (0.798, 0.0920, 0.0370, 0.048), (0.814, 0.0870, 0.0320, 0.041),
        (0.826, 0.0670, 0.0290, 0.036), (0.838, 0.0410, 0.0260, 0.034), (0.850, 0.0295, 0.0210, 0.031),
        (0.862, 0.0250, 0.0180, 0.028),
    ]),
    False: np.array([
        (0.440, 0.0400, 0.0320, 0.036), (0.462, 0.0700, 0.0500, 0.056), (0.490, 0.0830, 0.0540, 0.060),
        (0.515, 0.0850, 0.0550, 0.059), (0.545, 0.0830, 0.0550, 0.055), (0.575, 0.0790, 0.0540, 0.048),
        (0.605, 0.0760, 0.0530, 0.045), (0.635, 0.0765, 0.0520, 0.045), (0.665, 0.0800, 0.0530, 0.048),
        (0.695, 0.0855, 0.0570, 0.053), (0.722, 0.0910, 0.0610, 0.057), (0.748, 0.0960, 0.0600, 0.060),
        (0.775, 0.1010, 0.0530, 0.061), (0.798, 0.1060, 0.0430, 0.055), (0.815, 0.1010, 0.0370, 0.047),
        (0.828, 0.0780, 0.0330, 0.042), (0.840, 0.0490, 0.0300, 0.038), (0.851, 0.0340, 0.0240, 0.034),
        (0.862, 0.0290, 0.0200, 0.030),
    ]),
}  # fmt: skip
_LEVELS = np.linspace(0.0, NECK_TOP, 432)
_SEAT = 0.515  # below it, a cloth spans the legs


def _rounded(table: np.ndarray) -> np.ndarray:
    """The columns of a torso table at _LEVELS, corners rounded: (3, n)."""
    rows = np.stack([interp(_LEVELS, table[:, 0], column) for column in table[:, 1:].T])
    padded = np.pad(rows, ((0, 0), (5, 5)), mode="edge")
    kernel = (1 - cos(np.arange(1, 12) * np.pi / 6)) / 12
    return np.asarray(sum(weight * padded[:, k : k + rows.shape[1]] for k, weight in enumerate(kernel)))


_ROUNDED = {woman: _rounded(table) for woman, table in _TORSO.items()}


class Torso:
    """The upright loft of a torso as a cloth lies on it."""

    def __init__(self, shape: Shape, fit: Fit) -> None:
        self.shape, self.fit = shape, fit
        body = _ROUNDED[shape.woman] * (1 + (shape.girth - 1) * (1 - 0.75 * smoothstep(0.76, 0.83, _LEVELS)))
        body[0] *= 1 + (shape.shoulders - 1) * smoothstep(0.62, 0.78, _LEVELS)
        body[0] *= 1 + (shape.hips - 1) * smoothstep(0.60, 0.53, _LEVELS)
        room = fit.ease * smoothstep(NECK_TOP, NECK_TOP - 0.07, _LEVELS) + fit.over * smoothstep(0.60, 0.52, _LEVELS)
        room = room + fit.flare * np.maximum(fit.flare_from - _LEVELS, 0)
        # What falls is as wide as the widest place above it, and below the seat as wide as the seat.
        below, seat = (int(np.searchsorted(_LEVELS, level)) for level in (fit.hang_from, _SEAT))
        falling = body.copy()
        falling[:, :below] = np.maximum.accumulate(body[:, below::-1], axis=1)[:, 1:][:, ::-1]
        falling[:, :seat] = np.maximum(falling[:, :seat], falling[:, seat : seat + 1])
        hang = np.where((_LEVELS < _SEAT) & (fit.ease > SECOND_SKIN.ease), 1.0, fit.hang)
        self._rows = body + hang * (falling - body) + room

    def across(self, azimuth: np.ndarray, y: np.ndarray) -> np.ndarray:
        """How far to the left the surface is at azimuths (radians) and heights, broadcast."""
        side = sin(azimuth)
        half_width = interp(y, _LEVELS, self._rows[0]).astype(y.dtype)
        return np.asarray(half_width * power(side, 14))

    def points(self, azimuth: np.ndarray, y: np.ndarray) -> np.ndarray:
        """(..., 3) at azimuths and heights, broadcast."""
        x, ahead = self.across(azimuth, y), cos(azimuth)
        front, back = (interp(y, _LEVELS, row) for row in self._rows[1:])
        apart, spread = (0.035, 0.027) if self.fit.ease < 0.012 else (0.030, 0.036)  # loose cloth bridges the gap
        bust = line(np.abs(x) - apart, spread) * line(y - 0.72, 0.028)
        bust = 0.024 * self.shape.bust * bust * (1 - 0.4 * self.fit.hang)
        buttocks = line(np.abs(x) - 0.036, 0.034) * line(y - 0.497, 0.034)
        buttocks = (0.014 if self.shape.woman else 0.009) * buttocks * (1 - 0.6 * self.fit.hang)
        depth = np.where(ahead > 0, front + bust, back + buttocks)
        flat = smoothstep(0.50, 0.44, y)  # cloth that spans the legs is flat in front and behind
        level = (1 - flat) * power(ahead, 15) + flat * power(ahead, 12)
        return np.stack(np.broadcast_arrays(x, y, depth * level), -1)


def torso_grid(torso: Torso, azimuth: np.ndarray, heights: np.ndarray, texture: Canvas) -> Grid:
    """The torso's surface at heights (v,) and azimuths (u,) or (v, u).

    It follows upwards pelvis, chest, neck; below the hips the nearer leg.
    """
    points = torso.points(azimuth, heights[:, None])
    x, y = np.broadcast_arrays(points[..., 0], heights[:, None])
    weights = np.zeros((*y.shape, len(BONES)))
    chest, neck = smoothstep(0.565, 0.695, y), smoothstep(0.832, 0.866, y)
    weights[..., BONE["neck"]], weights[..., BONE["chest"]] = neck, chest * (1 - neck)
    leg, shin = (1 - chest) * smoothstep(0.53, 0.44, y), 0.75 * smoothstep(0.29, 0.12, y)
    spread = 0.03 + 0.03 * smoothstep(0.46, 0.30, y)
    for side, sign in SIDES:
        near = smoothstep(-1, 1, sign * x / spread)
        weights[..., BONE[f"{side}_thigh"]] = leg * near * (1 - shin)
        weights[..., BONE[f"{side}_shin"]] = leg * near * shin
    weights[..., BONE["pelvis"]] = 1 - chest - leg
    return Grid(points, weights, texture)


def push(points: np.ndarray, azimuth: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Points moved level outwards, away from the upright axis."""
    out = np.stack(np.broadcast_arrays(sin(azimuth), 0.0, cos(azimuth)), -1)
    return np.asarray(points + out * distance[..., None])


# Height (arms: above the shoulder joint), half width, half depth, outwards, forwards.
_ARM = np.array([
    (0.0190, 0.0030, 0.0040, -0.010, 0), (0.0172, 0.0110, 0.0130, -0.009, 0), (0.0100, 0.0190, 0.0210, -0.006, 0),
    (-0.003, 0.0250, 0.0278, -0.003, 0), (-0.020, 0.0268, 0.0305, -0.001, 0), (-0.042, 0.0260, 0.0308, 0, 0.001),
    (-0.070, 0.0240, 0.0285, 0, 0.001), (-0.110, 0.0222, 0.0262, 0, 0.001), (-0.145, 0.0203, 0.0235, 0, 0),
    (-0.166, 0.0195, 0.0215, 0, 0), (-0.185, 0.0203, 0.0225, 0, 0), (-0.210, 0.0203, 0.0232, 0, 0),
    (-0.250, 0.0172, 0.0195, 0, 0), (-0.290, 0.0135, 0.0152, 0, 0), (-0.311, 0.0113, 0.0138, 0, 0),
    (-0.322, 0.0092, 0.0115, 0, 0),
])  # fmt: skip
_LEG = np.array([
    (0.530, 0.0300, 0.0360, -0.004, 0), (0.505, 0.0370, 0.0450, -0.001, -0.002), (0.470, 0.0405, 0.0500, 0, -0.002),
    (0.420, 0.0378, 0.0475, 0, 0), (0.360, 0.0335, 0.0412, 0, 0.002), (0.310, 0.0292, 0.0345, 0, 0.003),
    (0.277, 0.0272, 0.0320, 0, 0.003), (0.250, 0.0262, 0.0305, 0, 0.000), (0.215, 0.0282, 0.0335, 0, -0.006),
    (0.185, 0.0275, 0.0332, 0, -0.007), (0.140, 0.0222, 0.0265, 0, -0.004), (0.100, 0.0175, 0.0208, 0, 0),
    (0.060, 0.0160, 0.0195, 0, 0), (0.035, 0.0165, 0.0210, 0, 0.001),
])  # fmt: skip
# Below the wrist, half width (front to back), half thickness.
_HAND = np.array([
    (-0.006, 0.0135, 0.0112), (0.008, 0.0150, 0.0105), (0.024, 0.0195, 0.0100), (0.040, 0.0205, 0.0095),
    (0.056, 0.0190, 0.0082), (0.072, 0.0165, 0.0072), (0.086, 0.0125, 0.0062), (0.093, 0.0070, 0.0045),
    (0.095, 0.0010, 0.0010),
])  # fmt: skip
# In front of the ankle, half width, height.
_FOOT = np.array([
    (-0.0402, 0.0004, 0.0090), (-0.0400, 0.0040, 0.0160), (-0.0375, 0.0135, 0.0330), (-0.0300, 0.0180, 0.0470),
    (-0.0120, 0.0200, 0.0600), (0.0060, 0.0205, 0.0620), (0.0220, 0.0205, 0.0500), (0.0420, 0.0225, 0.0360),
    (0.0660, 0.0252, 0.0270), (0.0860, 0.0235, 0.0220), (0.1000, 0.0175, 0.0180), (0.1080, 0.0090, 0.0120),
    (0.1100, 0.0020, 0.0090), (0.1102, 0.0002, 0.0085),
])  # fmt: skip


def side_of(sign: float) -> str:
    """The name of a side: 1 is left, -1 right."""
    return "left" if sign > 0 else "right"


def arm_grid(shape: Shape, sign: float, y: np.ndarray, ease: np.ndarray, columns: int, texture: Canvas) -> Grid:
    """An arm, or a sleeve `ease` (v,) away from it, at heights y (v,) against the shoulder joint, downwards."""
    side, size = side_of(sign), shape.muscle * (0.96 if shape.woman else 1.16)
    pivot = pivots(shape)[BONE[f"{side}_upper_arm"]]
    wide, deep, out, ahead = sections(_ARM, y)
    ahead = ahead - 0.004 * smoothstep(0, -0.1, y)
    middle = np.stack([pivot[0] + sign * out, pivot[1] + y, pivot[2] + ahead], -1)
    points = rings(middle, wide * size + ease, deep * size + ease, columns)
    chain = (f"{side}_upper_arm", 0.024), (f"{side}_forearm", 0.022), (f"{side}_hand", 0.012)
    return Grid(points, follow(shape, points[..., 1], "chest", *chain), texture)


def leg_grid(shape: Shape, sign: float, y: np.ndarray, ease: np.ndarray, columns: int, texture: Canvas) -> Grid:
    """A leg, or a trouser leg `ease` (v,) away from it, at heights y (v,) above the floor, downwards."""
    side = side_of(sign)
    at = pivots(shape)[[BONE[f"{side}_{bone}"] for bone in ("foot", "shin", "thigh")]]
    size = interp(y, (0.2, 0.5), (0.5 + 0.5 * shape.muscle, shape.girth)) * (1 if shape.woman else 1.03)
    wide, deep, out, ahead = sections(_LEG, y)
    x, z = (interp(y, at[:, 1], at[:, axis]) for axis in (0, 2))
    points = rings(np.stack([x + sign * out, y, z + ahead], -1), wide * size + ease, deep * size + ease, columns)
    weights = follow(shape, points[..., 1], "pelvis", (f"{side}_thigh", 0.028), (f"{side}_shin", 0.024))
    return Grid(points, weights, texture)


def hand_grids(shape: Shape, sign: float, columns: int, hand: Canvas, skin: Canvas) -> list[Grid]:
    """A hand, its palm to the body, slightly bent; and its thumb."""
    bone = f"{side_of(sign)}_hand"
    x, y, z = pivots(shape)[BONE[bone]]
    size = (0.95 if shape.woman else 1.08) * float(np.sqrt(shape.muscle))
    down, deep, wide = _HAND.T * size
    bend = -sign * 0.012 * np.square(np.maximum(down - 0.045, 0) / 0.05)  # fingers towards the palm
    palm = rings(np.stack([x + bend, y - down, z + 0.1 * down], -1), wide, deep, columns)
    t = np.linspace(0, 1, 5)
    ahead = size * (0.010 + 0.019 * power(t, 11))
    path = np.stack([x - sign * 0.010 * t, y - size * (0.012 + 0.043 * t), z + ahead], -1)
    radius = size * 0.0072 * np.array([1.0, 1.1, 1.0, 0.85, 0.2])
    thumb = sweep(path, radius, radius, 8, (0, 0, 1))
    return [rigid(palm, hand, bone), rigid(thumb, skin, bone)]


def foot_grid(shape: Shape, sign: float, columns: int, room: float, texture: Canvas) -> Grid:
    """A foot in a shoe that is `room` wider, from heel to toes; flat below."""
    bone = f"{side_of(sign)}_foot"
    x, _, z = pivots(shape)[BONE[bone]]
    ahead, wide, high = (_FOOT.T * (0.97 if shape.woman else 1.06))[:, :, None]
    across, up = sin(around(columns)), cos(around(columns))
    sole = 0.008
    y = np.where(up > 0, sole + (high + room - sole) * up, sole + sole * power(up, 5))
    width = (wide + room) * power(across, 13)
    return rigid(np.stack(np.broadcast_arrays(x + width, y, z + ahead * (1 + 4 * room)), -1), texture, bone)


def neck_grid(shape: Shape, room: float, columns: int, texture: Canvas, rows: slice = slice(None)) -> Grid:
    """Some of the neck's nine rows, `room` wider than the skin; it follows upwards chest, neck, head."""
    y = np.linspace(0.893, 0.828, 9)
    z = interp(-y, (-0.893, -0.828), (-0.008, -0.017))
    size = (1.0 if shape.woman else 1.17) * (0.6 + 0.4 * shape.girth)
    middle = np.stack([np.zeros(9), y, z], -1)
    points = rings(middle, np.full(9, 0.0282 * size + room), np.full(9, 0.0300 * size + room), columns)[rows]
    y, weights = points[..., 1], np.zeros((*points.shape[:2], len(BONES)))
    weights[..., BONE["head"]], weights[..., BONE["chest"]] = smoothstep(0.865, 0.895, y), smoothstep(0.852, 0.828, y)
    weights[..., BONE["neck"]] = 1 - weights[..., BONE["head"]] - weights[..., BONE["chest"]]
    return Grid(points, weights, texture)
