"""Textures of clothes, skin and shoes.

Every coordinate is one of the body at rest: turn, the share of the way around (-0.5 to 0.5, 0 in front), and y, the
height; so patterns, prints, necklines and seams lie on the cloth and move with it.
"""

import numpy as np

from mannequins.renderer.body import Shape
from mannequins.renderer.canvas import Canvas, Colour, along, darker, line, smoothstep
from mannequins.renderer.exact import cos, hypot, interp, noise, sin
from mannequins.renderer.patterns import printed, weave
from mannequins.renderer.surfaces import NECK_TOP, Torso
from mannequins.renderer.wardrobe import Lower, Shoes, Upper

GIRTH, ARM_GIRTH, LEG_GIRTH = 0.52, 0.17, 0.26  # lengths of the way around, in heights
_SHOULDER = 0.79  # rows lie denser above it
LEG_TOP, LEG_END = 0.532, 0.035
CORE_END = 0.442


def upper_rows(upper: Upper, rows: int) -> np.ndarray:
    """Heights of rows from the neck to the hem, denser over the shoulders: (rows, 1)."""
    return interp(np.linspace(0, 1, rows), (0, 0.28, 1), (NECK_TOP, _SHOULDER, upper.hem)).astype(np.float32)[:, None]


def upper_azimuths(upper: Upper, y: np.ndarray, columns: int) -> np.ndarray:
    """All around, (1, columns), or from one edge of an open front to the other, (rows, columns); radians."""
    if upper.gap == 0:
        return along(-np.pi, np.pi, columns)[None]
    gaps = (1.15 * upper.gap, upper.gap, 1.2 * upper.gap, 62)
    edge = np.radians(interp(y, (upper.hem, 0.70, 0.79, 0.845), gaps)).astype(np.float32)
    return np.asarray(edge + along(0, 1, columns) * (2 * np.pi - 2 * edge))


def sleeve_rows(length: float, rows: int) -> np.ndarray:
    """Heights of rows from the top of the shoulder, against its joint, to the end of a sleeve or arm: (rows,)."""
    return interp(np.linspace(0, 1, rows), (0, 0.24, 1), (0.019, -0.02, -length)).astype(np.float32)


# ---- the torso


def paint_upper(shape: Shape, skin: Colour, upper: Upper, rows: int, columns: int, rng: np.random.Generator) -> Canvas:
    """A top, a dress or a jacket; skin where its neckline leaves the torso bare."""
    y = upper_rows(upper, rows)
    azimuth = upper_azimuths(upper, y, columns)
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
    _fasten(canvas, upper, x, y, front)
    canvas.shade(1 - 0.10 * line(np.abs(turn) - 0.25, 0.006))  # side seams
    crease(canvas, y, GIRTH, rng)
    _finish(canvas, upper, y, azimuth)
    canvas.lay(skin, 1 - _covered(upper, x, y, front))
    return canvas


def _fasten(canvas: Canvas, upper: Upper, x: np.ndarray, y: np.ndarray, front: np.ndarray) -> None:
    """Buttons or a zip down the front, a breast pocket."""
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


def _finish(canvas: Canvas, upper: Upper, y: np.ndarray, azimuth: np.ndarray) -> None:
    """Hem, trim and belt."""
    canvas.shade(1 - 0.22 * smoothstep(0.0022, 0.0008, np.abs(y - upper.hem - 0.009)))
    if upper.trim is not None:
        canvas.lay(upper.trim, y < upper.hem + 0.016)
        canvas.shade(1 - 0.06 * (y < upper.hem + 0.016) * (sin(azimuth * 90) > 0))  # ribs
    if upper.waist is not None:
        canvas.lay(upper.waist, np.abs(y - 0.637) < 0.010)


# Half width of the neckline, its height in the middle of the front and of the back.
_NECKLINES = {
    "crew": (0.040, 0.826, 0.842), "scoop": (0.058, 0.786, 0.832), "v": (0.050, 0.757, 0.840),
    "boat": (0.070, 0.822, 0.830), "tank": (0.053, 0.792, 0.812), "racer": (0.046, 0.800, 0.815),
    "camisole": (0.050, 0.782, 0.765), "strapless": (0.2, 0.766, 0.766),
}  # fmt: skip
_COLLAR_BONE = 0.847  # no neckline is higher


def _covered(upper: Upper, x: np.ndarray, y: np.ndarray, front: np.ndarray) -> np.ndarray:
    """Where the torso is under cloth: 0 to 1."""
    wide, fore, rear = _NECKLINES[upper.neckline]
    ax, low = np.abs(x), np.where(front, np.float32(fore), np.float32(rear))
    if upper.neckline == "strapless":
        return smoothstep(0.0015, -0.0015, y - low)
    top = 0.845 - 0.35 * max(wide - 0.036, 0)
    curve = np.minimum(ax * (1 / wide), 1)
    edge = low + (top - low) * (curve if upper.neckline == "v" else curve * curve)
    covered = np.where(ax < wide, smoothstep(0.0015, -0.0015, y - edge), y < _COLLAR_BONE)
    if upper.neckline in ("tank", "racer", "camisole"):
        covered = covered * ~_armhole(upper.neckline, ax, y, front)
    return np.asarray(covered)


def _armhole(neckline: str, ax: np.ndarray, y: np.ndarray, front: np.ndarray) -> np.ndarray:
    """Where a sleeveless top leaves the shoulder bare (bool)."""
    if neckline == "camisole":
        edge = np.where(front, 0.776, 0.764) - 0.12 * np.maximum(ax - 0.05, 0)
        return np.asarray((y > edge) & (np.abs(ax - 0.044) > 0.0042))
    armpit = 0.757
    up = np.clip((y - armpit) / 0.06, 0, 1)
    strap = np.where(front | (neckline == "tank"), 0.071, 0.048)
    return np.asarray((y > armpit) & (ax > strap + 0.030 * np.square(1 - up)))


def crease(canvas: Canvas, y: np.ndarray, girth: float, rng: np.random.Generator) -> None:
    """Light and shade of small folds; y (rows, 1)."""
    phase, few = 2 * np.pi * rng.random(3), max(1, round(girth / 0.13))
    u = along(0, 2 * np.pi, canvas.planes.shape[2])
    bend, slow = 2 * sin(few * u + phase[0]), 2 * few * u + phase[1]
    # sin(slow + 30 y) sin(48 y + bend), each sine of a sum written as products of a row and a column
    first = sin(slow) * cos(30 * y) + cos(slow) * sin(30 * y)
    second = cos(bend) * sin(48 * y + phase[2]) + sin(bend) * cos(48 * y + phase[2])
    third = sin(3 * few * u) * cos(40 * y) - cos(3 * few * u) * sin(40 * y)
    canvas.shade((1 + 0.022 * first * second + 0.014 * third).astype(np.float32))


def paint_sleeve(upper: Upper, rows: int, columns: int, rng: np.random.Generator) -> Canvas:
    """A sleeve, from the shoulder to the cuff."""
    y, turn = sleeve_rows(upper.sleeve, rows)[:, None], along(-0.5, 0.5, columns)
    canvas = Canvas(rows, columns, upper.sleeves.ground)
    weave(canvas, upper.sleeves, turn, y + 0.803, ARM_GIRTH)
    crease(canvas, y, ARM_GIRTH, rng)
    if upper.trim is not None:
        canvas.lay(upper.trim, y < -upper.sleeve + (0.016 if upper.sleeve > 0.28 else 0.010))
    else:
        canvas.shade(1 - 0.2 * smoothstep(0.0022, 0.0008, np.abs(y + upper.sleeve - 0.010)))
    return canvas


# ---- below the waist


def paint_core(skin: Colour, lower: Lower, top: float, rows: int, columns: int, rng: np.random.Generator) -> Canvas:
    """Belly and hips from the height `top` down: skin above the waistband, cloth below."""
    y, turn = along(top, CORE_END, rows)[:, None], along(-0.5, 0.5, columns)
    canvas = Canvas(rows, columns, skin)
    canvas.shade(1 - 0.25 * line(turn, 0.006) * line(y - 0.607, 0.004))  # the navel
    worn = smoothstep(lower.waist + 0.001, lower.waist - 0.001, y)
    weave(canvas, lower.cloth, turn, y, GIRTH, worn)
    if lower.denim:
        _wash(canvas, turn * GIRTH, y, worn, rng)
    if not lower.skirt:
        canvas.shade(1 - 0.3 * worn * _seams(lower, turn, y))
    if lower.belt is not None:
        band = np.abs(y - lower.waist + 0.009) < 0.008
        canvas.lay(lower.belt, band)
        canvas.lay((205, 190, 150), band & (np.abs(turn) < 0.023))  # the buckle
    return canvas


def _seams(lower: Lower, turn: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The seams of trousers at the hips: fly, sides, pockets; 0 to 1."""
    x, below = turn * GIRTH, lower.waist - y
    fly = line(x, 0.0025) * (below > 0.01) + 0.7 * line((np.abs(turn) - 0.25) * GIRTH, 0.003)
    slant = line(np.abs(x) - 0.052 - (0.60 - y) * 0.6, 0.003) * ((below > 0.012) & (below < 0.06))
    patch = np.maximum(np.abs(np.abs(turn) - 0.40) * GIRTH / 0.024, np.abs(below - 0.085) / 0.026)
    return np.asarray(np.clip(fly + slant + (np.abs(patch - 1) < 0.12), 0, 1))


def _wash(canvas: Canvas, x: np.ndarray, y: np.ndarray, worn: np.ndarray | float, rng: np.random.Generator) -> None:
    """The grain of denim, and how it fades on the thighs."""
    grain = 0.045 * noise(rng, canvas.planes.shape[1:], np.float32)
    canvas.shade(1 + worn * (grain + 0.18 * line(np.abs(x) - 0.06, 0.03) * smoothstep(0.56, 0.45, y)))


def paint_trousers(lower: Lower, rows: int, columns: int, rng: np.random.Generator) -> Canvas:
    """The left leg of trousers or shorts; the right one mirrors it."""
    y, turn = along(LEG_TOP, lower.hem, rows)[:, None], along(-0.5, 0.5, columns)
    canvas = Canvas(rows, columns, lower.cloth.ground)
    weave(canvas, lower.cloth, turn, y, LEG_GIRTH)
    if lower.denim:
        _wash(canvas, turn * LEG_GIRTH + 0.06, y, 1.0, rng)
        canvas.shade(1 + 0.14 * line(turn, 0.10) * smoothstep(0.25, 0.38, y))
    canvas.shade(1 - 0.25 * line(np.abs(turn) - 0.25, 0.010))
    if lower.side is not None:
        canvas.lay(lower.side, np.abs(turn - 0.25) < 0.05)
    canvas.shade(1 - 0.2 * smoothstep(0.003, 0.001, np.abs(y - lower.hem - 0.012)))
    crease(canvas, y, LEG_GIRTH, rng)
    return canvas


def paint_skirt(lower: Lower, rows: int, columns: int, rng: np.random.Generator) -> Canvas:
    """A skirt from the waist to its hem."""
    y, turn = along(lower.waist, lower.hem, rows)[:, None], along(-0.5, 0.5, columns)
    canvas = Canvas(rows, columns, lower.cloth.ground)
    weave(canvas, lower.cloth, turn, y, GIRTH)
    if lower.pleats:
        canvas.shade(1 + 0.10 * sin(2 * np.pi * turn * lower.pleats + 1.2))
    if lower.belt is not None:
        canvas.lay(lower.belt, y > lower.waist - 0.016)
    canvas.shade(1 - 0.2 * smoothstep(0.003, 0.001, np.abs(y - lower.hem - 0.010)))
    crease(canvas, y, GIRTH, rng)
    return canvas


def paint_leg(skin: Colour, shoes: Shoes, top: float) -> Canvas:
    """A leg from the height `top` to the ankle: skin or tights, and the shaft of a boot."""
    canvas = Canvas(160, 4, skin if shoes.tights is None else shoes.tights)
    if shoes.kind == "boot":
        canvas.lay(shoes.upper, along(top, LEG_END, 160)[:, None] < 0.145)
    return canvas


def paint_shoe(skin: Colour, shoes: Shoes) -> Canvas:
    """From heel (first row) to toes; the middle columns lie on top, the outer ones below."""
    v, u = along(0, 1, 48)[:, None], np.abs(along(-0.5, 0.5, 64))
    canvas = Canvas(48, 64, shoes.upper)
    bare = skin if shoes.tights is None else shoes.tights
    if shoes.kind == "pump":
        canvas.lay(bare, (v < 0.62) & (v > 0.12) & (u < 0.16 + 0.06 * v))
    if shoes.kind == "sandal":
        canvas.lay(bare, (np.abs(v - 0.64) > 0.07) & (np.abs(v - 0.28) > 0.05) & (u < 0.3))
    if shoes.kind == "sneaker":
        canvas.lay(shoes.sole, (u < 0.07) & (v > 0.34) & (v < 0.62) & (v * 24 % 1 < 0.55))  # laces
        canvas.lay(darker(shoes.sole, 0.97), (v > 0.88) & (u < 0.3))  # the cap
    sole = darker(shoes.upper, 0.5) if shoes.kind == "boot" else shoes.sole
    canvas.lay(sole, u > (0.245 if shoes.kind == "sneaker" else 0.27))
    return canvas


# ---- neck, hands, bag


def paint_neck(skin: Colour) -> Canvas:
    """Skin in the shade of the chin."""
    canvas = Canvas(24, 4, skin)
    canvas.shade(0.97 - 0.16 * along(1, 0, 24)[:, None])
    return canvas


def paint_ribs(colour: Colour) -> Canvas:
    """A knitted band: a high collar, a scarf."""
    canvas = Canvas(24, 96, colour)
    canvas.shade(0.95 + 0.06 * sin(along(0, 48 * np.pi, 96)))
    return canvas


def paint_hand(skin: Colour) -> Canvas:
    """Skin with the lines between the fingers."""
    v, u = along(0, 1, 32)[:, None], along(-0.5, 0.5, 64)
    canvas = Canvas(32, 64, skin)
    between = line(np.abs(np.mod(cos(2 * np.pi * u) * 1.5 + 10.5, 1) - 0.5), 0.10)
    canvas.shade(1 - 0.22 * between * smoothstep(0.50, 0.60, v))
    return canvas


def paint_bag(colour: Colour) -> Canvas:
    """A backpack with a pocket and a seam."""
    v, u = along(0, 1, 64)[:, None], along(-0.5, 0.5, 64)
    canvas = Canvas(64, 64, colour)
    pocket = np.maximum(np.abs(np.abs(u) - 0.5) / 0.16, np.abs(v - 0.68) / 0.2)
    canvas.shade(1 - 0.5 * (np.abs(pocket - 1) < 0.08))
    canvas.shade(1 - 0.45 * (np.abs(v - 0.36) < 0.012))
    return canvas


def paint_plain(colour: Colour) -> Canvas:
    """One color all over."""
    return Canvas(4, 4, colour)
