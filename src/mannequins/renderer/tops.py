"""Garments of the torso, tops, dresses and jackets: surfaces at rest and their textures.

Every coordinate of a texture is one of the body at rest: turn, the share of the way around (-0.5 to 0.5, 0 in front), and
y, the height; so patterns, prints, necklines and seams lie on the cloth and move with it.
"""

from dataclasses import replace

import numpy as np

from mannequins.renderer.body import SIDES, Shape
from mannequins.renderer.canvas import Canvas, Colour, crease, printed, weave
from mannequins.renderer.exact import along, cos, hypot, interp, line, sin, smoothstep
from mannequins.renderer.surfaces import ALL_ROWS, NECK_TOP, Grid, Torso, arm_grid, fine, push, rigid, sweep, torso_grid
from mannequins.renderer.wardrobe import Upper

GIRTH, ARM_GIRTH = 0.52, 0.17  # lengths of the way around, in heights


def upper_grids(
    shape: Shape, skin: Colour, upper: Upper, above: Upper | None, detail: float, rng: np.random.Generator
) -> list[Grid]:
    """A garment of the torso with its sleeves and collar; `above` is worn over it."""
    rows = fine(34 if upper.hem > 0.4 else 52, detail)
    y, azimuth = _places(upper, rows, fine(44, detail) + 1)
    y = y.astype(float)
    grid = torso_grid(Torso(shape, upper.fit), azimuth, y[:, 0], _cloth(shape, skin, upper, detail, rng))
    wave = sin(7 * azimuth + 2 + 20 * y) + 0.7 * sin(12 * azimuth - 14 * y)
    waist = sin(75 * y + 2 * sin(3 * azimuth)) * line(y - 0.635, 0.045)
    swing = 0.22 * upper.fit.flare * np.maximum(upper.fit.flare_from - y, 0) * sin(9 * azimuth + 1)
    fold = upper.folds * (smoothstep(0.70, 0.52, y) * wave + 0.5 * waist) + swing
    inside = ALL_ROWS if upper.gap else (rows // 3 if upper.hem < 0.45 else 0)
    grids = [replace(grid, points=push(grid.points, azimuth, fold), inside=inside, torso=True)]
    if upper.sleeve and (above is None or above.sleeve < upper.sleeve):
        grids += _sleeves(shape, upper, detail, rng)
    if upper.collar in ("shirt", "stand", "hood"):
        collar = Canvas(4, 4, upper.trim or upper.front.ground)
        grids.append(_hood(shape, collar) if upper.collar == "hood" else _collar(shape, upper, collar))
    return grids


def _places(upper: Upper, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Heights from the neck to the hem, denser over the shoulders (rows, 1); azimuths in radians.

    They go all around, (1, columns), or from one edge of an open front to the other, (rows, columns).
    """
    y = interp(np.linspace(0, 1, rows), (0, 0.28, 1), (NECK_TOP, 0.79, upper.hem)).astype(np.float32)[:, None]
    if upper.gap == 0:
        return y, along(-np.pi, np.pi, columns)[None]
    gaps = (1.15 * upper.gap, upper.gap, 1.2 * upper.gap, 62)
    edge = np.radians(interp(y, (upper.hem, 0.70, 0.79, 0.845), gaps)).astype(np.float32)
    return y, edge + along(0, 1, columns) * (2 * np.pi - 2 * edge)


def _cloth(shape: Shape, skin: Colour, upper: Upper, detail: float, rng: np.random.Generator) -> Canvas:
    """The texture of a top, a dress or a jacket; skin where its neckline leaves the torso bare."""
    rows, columns = fine(208 if upper.hem > 0.4 else 288, detail), fine(240, detail)
    y, azimuth = _places(upper, rows, columns)
    turn = (azimuth / (2 * np.pi) + 0.5) % 1 - 0.5 if upper.gap else azimuth / (2 * np.pi)
    x, front = Torso(shape, upper.fit).across(azimuth, y), cos(azimuth) > 0
    canvas = Canvas(rows, columns, upper.front.ground)
    weave(canvas, upper.front, turn, y, GIRTH)
    if upper.back != upper.front:
        weave(canvas, upper.back, turn, y, GIRTH, ~front)
    if upper.chest is not None:
        canvas.lay(upper.chest.colour, printed(upper.chest, x, y) * front)
    if upper.rear is not None:
        canvas.lay(upper.rear.colour, printed(upper.rear, -x, y) * ~front)
    if upper.closing == "zip":
        canvas.shade(1 - 0.55 * line(x, 0.003) * front)
    if upper.closing == "buttons":
        canvas.shade(1 - 0.25 * ((np.abs(np.abs(x) - 0.0075) < 0.0012) & front))
        button = hypot(x, (y / 0.034 - np.rint(y / 0.034)) * 0.034) < 0.0042
        dark = float(np.mean(upper.front.ground)) < 130
        canvas.lay((235, 232, 225) if dark else (60, 55, 50), button & front)
    if upper.pocket:
        ring = np.maximum(np.abs(x - 0.042) / 0.021, np.abs(y - 0.725) / 0.022)
        canvas.shade(1 - 0.30 * ((np.abs(ring - 1) < 0.09) & front))
    canvas.shade(1 - 0.10 * line(np.abs(turn) - 0.25, 0.006))  # side seams
    crease(canvas, y, GIRTH, rng)
    canvas.shade(1 - 0.22 * smoothstep(0.0022, 0.0008, np.abs(y - upper.hem - 0.009)))
    if upper.trim is not None:
        canvas.lay(upper.trim, y < upper.hem + 0.016)
        canvas.shade(1 - 0.06 * (y < upper.hem + 0.016) * (sin(azimuth * 90) > 0))  # ribs
    if upper.waist is not None:
        canvas.lay(upper.waist, np.abs(y - 0.637) < 0.010)
    canvas.lay(skin, 1 - _covered(upper.neckline, x, y, front))
    return canvas


# Half width of the neckline, its height in the middle of the front and of the back.
_NECKLINES = {
    "crew": (0.040, 0.826, 0.842), "scoop": (0.058, 0.786, 0.832), "v": (0.050, 0.757, 0.840),
    "boat": (0.070, 0.822, 0.830), "tank": (0.053, 0.792, 0.812), "racer": (0.046, 0.800, 0.815),
    "camisole": (0.050, 0.782, 0.765), "strapless": (0.2, 0.766, 0.766),
}  # fmt: skip


def _covered(neckline: str, x: np.ndarray, y: np.ndarray, front: np.ndarray) -> np.ndarray:
    """Where the torso is under cloth: 0 to 1."""
    wide, fore, rear = _NECKLINES[neckline]
    ax, low = np.abs(x), np.where(front, np.float32(fore), np.float32(rear))
    if neckline == "strapless":
        return smoothstep(0.0015, -0.0015, y - low)
    top, collar_bone, armpit = 0.845 - 0.35 * max(wide - 0.036, 0), 0.847, 0.757
    curve = np.minimum(ax * (1 / wide), 1)
    edge = low + (top - low) * (curve if neckline == "v" else curve * curve)
    covered = np.where(ax < wide, smoothstep(0.0015, -0.0015, y - edge), y < collar_bone)
    if neckline == "camisole":
        edge = np.where(front, 0.776, 0.764) - 0.12 * np.maximum(ax - 0.05, 0)
        return covered * ~((y > edge) & (np.abs(ax - 0.044) > 0.0042))
    if neckline in ("tank", "racer"):
        up = np.clip((y - armpit) / 0.06, 0, 1)
        strap = np.where(front | (neckline == "tank"), 0.071, 0.048)
        return covered * ~((y > armpit) & (ax > strap + 0.030 * np.square(1 - up)))
    return covered


def arm_rows(length: float, rows: int) -> np.ndarray:
    """Heights of rows from the top of the shoulder, against its joint, to the end of a sleeve or arm: (rows,)."""
    return interp(np.linspace(0, 1, rows), (0, 0.24, 1), (0.019, -0.02, -length)).astype(np.float32)


def _sleeves(shape: Shape, upper: Upper, detail: float, rng: np.random.Generator) -> list[Grid]:
    """Both sleeves, from the shoulder to the cuff."""
    long = upper.sleeve > 0.28
    y, turn = arm_rows(upper.sleeve, fine(96, detail))[:, None], along(-0.5, 0.5, fine(96, detail))
    canvas = Canvas(len(y), len(turn), upper.sleeves.ground)
    weave(canvas, upper.sleeves, turn, y + 0.803, ARM_GIRTH)
    crease(canvas, y, ARM_GIRTH, rng)
    if upper.trim is not None:
        canvas.lay(upper.trim, y < -upper.sleeve + (0.016 if long else 0.010))
    else:
        canvas.shade(1 - 0.2 * smoothstep(0.0022, 0.0008, np.abs(y + upper.sleeve - 0.010)))
    y = arm_rows(upper.sleeve, fine(round(12 + 45 * upper.sleeve), detail)).astype(float)
    snug = 0.6 * upper.fit.ease
    room = snug + (upper.sleeve_room - snug) * smoothstep(0.0, -min(upper.sleeve, 0.1), y)
    if long:
        room = room * (1 - 0.35 * smoothstep(-upper.sleeve + 0.02, -upper.sleeve, y))  # the cuff
        room = room + 0.0022 * sin(y * 190) * smoothstep(-0.10, -0.15, y) * smoothstep(-0.24, -0.18, y)  # the elbow
    return [replace(arm_grid(shape, sign, y, room, fine(16, detail), canvas), inside=3) for _, sign in SIDES]


def _hood(shape: Shape, texture: Canvas) -> Grid:
    """A hood that lies on the back."""
    size = 1.0 if shape.woman else 1.12
    a = np.radians(np.linspace(48, 312, 15))
    back = -cos(a)
    low = np.maximum(back, 0)
    path = np.stack([0.056 * size * sin(a), 0.843 - 0.010 * low, -0.016 - 0.050 * size * back - 0.010 * low], -1)
    thick = interp(back, (-0.7, 0.2, 1), (0.007, 0.015, 0.022))
    return rigid(sweep(path, 0.85 * thick, 1.25 * thick, 10, (0, 1, 0)), texture, "chest", inside=ALL_ROWS)


def _collar(shape: Shape, upper: Upper, texture: Canvas) -> Grid:
    """A collar that stands, or that is folded down to two points in front."""
    size, stands = (1.0 if shape.woman else 1.12), upper.collar == "stand"
    gap = np.radians(30 if upper.gap else 14)
    a, t = np.linspace(gap, 2 * np.pi - gap, 25), np.linspace(0, 1, 4)[:, None]
    point = 0.0 if stands else line(np.minimum(a, 2 * np.pi - a) - gap, 0.5)
    high = (0.868 if stands else 0.864) - 0.008 * cos(a)
    radius = size * (0.0335 + (0.010 if stands else 0.018) * t + 0.010 * t * point)
    y = high + t * (0.836 - 0.020 * point - high)
    points = np.stack([radius * sin(a), y, -0.013 + 1.02 * radius * cos(a)], -1)
    return rigid(points, texture, "chest", "chest", "neck", inside=ALL_ROWS)
