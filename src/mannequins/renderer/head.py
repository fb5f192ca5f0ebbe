"""Head, face, ears and hair: surfaces and textures."""

from copy import copy
from typing import NamedTuple

import numpy as np

from mannequins.renderer.body import BONE, BONES, Look
from mannequins.renderer.canvas import Canvas, Colour, darker
from mannequins.renderer.exact import along, cos, decay, hypot, interp, line, noise, power, sin, smoothstep
from mannequins.renderer.surfaces import ALL_ROWS, Grid, around, ball, fine, rigid, sections, sweep

# Height, half width, front and back (z against the axis of the body).
_HEAD = np.array([
    (0.9995, 0.0010, -0.0040, -0.010), (0.9970, 0.0150, 0.0120, -0.030), (0.9900, 0.0270, 0.0280, -0.045),
    (0.9800, 0.0355, 0.0400, -0.056), (0.9670, 0.0415, 0.0480, -0.063), (0.9520, 0.0445, 0.0525, -0.066),
    (0.9380, 0.0450, 0.0525, -0.066), (0.9250, 0.0440, 0.0520, -0.062), (0.9120, 0.0425, 0.0525, -0.054),
    (0.8990, 0.0398, 0.0535, -0.044), (0.8870, 0.0350, 0.0530, -0.034), (0.8770, 0.0280, 0.0520, -0.024),
    (0.8700, 0.0205, 0.0480, -0.014), (0.8660, 0.0120, 0.0380, -0.002), (0.8645, 0.0020, 0.0220, 0.014),
])  # fmt: skip
_ROWS = np.concatenate([np.linspace(0.9995, 0.985, 5), np.linspace(0.978, 0.876, 22), np.linspace(0.872, 0.8645, 5)])
_DENSE_FRONT = 0.55  # columns of the face against those of the back
_MIDDLE = -0.006  # z of the axis of the head


def head_grids(look: Look, woman: bool, skin: Canvas, detail: float, rng: np.random.Generator) -> list[Grid]:
    """The head with its nose, both ears, and the hair: a shell around the head, with strands, ponytail or bun."""
    y, azimuth = _head_rows(fine(34, detail))[:, None], around(fine(40, detail), _DENSE_FRONT)
    x, z = _head_section(azimuth, y)
    points = np.stack(np.broadcast_arrays(x, y, z + _features(x, y) * (cos(azimuth) > 0.2)), -1)
    grids = [rigid(points, _face(look, woman, fine(128, detail), fine(176, detail)), "head")]
    grids += [rigid(ball((x, 0.926, -0.004), (0.0045, 0.0155, 0.0095), 7, 8), skin, "head") for x in (-0.0445, 0.0445)]
    hair = _hair(look, fine(64, detail), fine(128, detail), rng)
    grids.append(_shell(look, _STYLES[look.style], fine(20, detail), fine(40, detail), hair))
    if look.style == "long_front":
        grids += [_strand(look, sign, hair) for sign in (-1.0, 1.0)]
    if look.style == "ponytail":
        grids.append(_tail(look, hair))
    if look.style == "bun":
        middle = (0, 1.004, -0.034) if look.parting > 0 else (0, 0.938, -0.078)
        grids.append(rigid(ball(middle, (0.024, 0.022, 0.022), 9, 12), hair, "head"))
    return grids


def _head_rows(rows: int) -> np.ndarray:
    """Heights of rows from the crown to under the chin: (rows,)."""
    return interp(np.linspace(0, 1, rows), np.linspace(0, 1, len(_ROWS)), _ROWS)


def _head_section(azimuth: np.ndarray, y: np.ndarray, out: np.ndarray | float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """The bare head's x and z without its features at azimuths and heights, `out` heights away from it."""
    wide, front, back = sections(_HEAD, y)
    side, ahead = sin(azimuth), cos(azimuth)
    x = (wide + out) * power(side, 15)
    return x, _MIDDLE + ahead * (np.where(ahead > 0, front - _MIDDLE, _MIDDLE - back) + out)


def _features(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The depth that nose, eye sockets, lips, chin and cheeks add to the face."""

    def bump(cx: float, cy: float, rx: float, ry: float) -> np.ndarray:
        return decay(np.square((np.abs(x) - cx) / rx) + np.square((y - cy) / ry))

    length = np.clip((0.944 - y) / 0.031, 0, 1)
    bridge = (0.003 + 0.0155 * power(length, 19)) * smoothstep(0.947, 0.935, y) * smoothstep(0.9055, 0.9125, y)
    nose = bridge * decay(np.square(x / (0.0045 + 0.0035 * length)))
    face = 0.0028 * bump(0, 0.8965, 0.011, 0.006) + 0.0030 * bump(0, 0.8765, 0.011, 0.006)
    return np.asarray(
        nose + face + 0.0022 * bump(0.026, 0.918, 0.011, 0.011) - 0.0045 * bump(0.0175, 0.937, 0.009, 0.007)
    )


def _face(look: Look, woman: bool, rows: int, columns: int) -> Canvas:
    """The texture of the head: face in front, hair above the hairline."""
    y, azimuth = _head_rows(rows).astype(np.float32)[:, None], around(columns - 1, _DENSE_FRONT).astype(np.float32)
    canvas = Canvas(rows, columns, look.skin, shine=0.05)
    ahead = np.flatnonzero(cos(azimuth) > 0)
    front, low = slice(int(ahead[0]), int(ahead[-1]) + 1), slice(int(np.argmax(y < 0.962)), rows)
    x = _head_section(azimuth[front], y[low])[0].astype(np.float32)
    part = copy(canvas)
    part.planes = canvas.planes[:, low, front]
    _paint_features(part, np.abs(x), y[low], look, woman)
    high = 0.9775 if look.style in ("buzz", "quiff", "crop") else 0.974
    heights = (high, high - 0.002, 0.962, 0.928, 0.905, 0.888)
    hairline = interp(np.degrees(np.abs(azimuth)), (0, 31, 52, 80, 110, 180), heights).astype(np.float32)
    canvas.lay(darker(look.hair, 0.85), smoothstep(-0.003, 0.003, y - hairline))
    return canvas


def _paint_features(canvas: Canvas, ax: np.ndarray, y: np.ndarray, look: Look, woman: bool) -> None:
    """Cheeks, nose, beard, lips, brows and eyes, on both sides of the middle at once: ax is the distance from it."""
    skin, lay = look.skin, canvas.lay

    def spot(cx: float, cy: float, rx: float, ry: float, soft: float = 0.3) -> np.ndarray:
        """1 within an ellipse, 0 outside."""
        return smoothstep(1 + soft, 1 - soft, hypot((ax - cx) * (1 / rx), (y - cy) * (1 / ry)))

    def mixed(one: float, first: Colour, two: float, second: Colour) -> Colour:
        red, green, blue = (one * a + two * b for a, b in zip(first, second, strict=True))
        return (red, green, blue)

    lay((skin[0], skin[1] * 0.84, skin[2] * 0.82), 0.45 * spot(0.025, 0.914, 0.013, 0.011, 0.9))  # cheeks
    lay(darker(skin, 0.72), 0.35 * spot(0.0, 0.9085, 0.011, 0.0045, 0.7))  # under the nose
    lay(darker(skin, 0.45), 0.5 * spot(0.0045, 0.9095, 0.0028, 0.0018, 0.6))  # nostrils
    lay(darker(skin, 0.70), 0.35 * spot(0.0, 0.8865, 0.010, 0.003, 0.8))  # under the lip
    if look.beard:
        jaw = smoothstep(0.915, 0.898, y) + smoothstep(0.036, 0.041, ax) * smoothstep(0.945, 0.93, y)
        jaw = np.clip(jaw, 0, 1) * (1 - 0.75 * spot(0, 0.8965, 0.012, 0.006, 0.4))
        beard = jaw + spot(0, 0.9045, 0.016, 0.004, 0.4)
        lay(mixed(0.75, look.hair, 0.15, skin), look.beard * 0.85 * np.clip(beard, 0, 1) * (y < 0.94))
    lay(look.lips, spot(0.0, 0.8975, 0.0128, 0.0033) * (0.95 if woman else 0.6))
    lay(darker(look.lips, 1.08), 0.9 * spot(0.0, 0.8945, 0.0095, 0.0030))
    lay(darker(look.lips, 0.45), 0.55 * spot(0.0, 0.8965, 0.0125, 0.0008, 0.6))
    brow = 0.9485 - 5.0 * np.square(ax - 0.0165) - 0.03 * (ax - 0.0165)
    lay(darker(look.hair, 0.6), 0.8 * smoothstep(0.0030, 0.0012, np.abs(y - brow)) * ((ax > 0.0075) & (ax < 0.0285)))
    lay(darker(skin, 0.66), 0.35 * spot(0.0175, 0.9385, 0.0125, 0.0062, 0.6))  # the socket's shade
    eye = spot(0.0175, 0.9365, 0.0094, 0.0043, 0.18)
    lay(mixed(0.75, (238, 236, 232), 0.25, skin), eye)
    lay(look.eyes, eye * spot(0.0175, 0.9368, 0.0044, 0.0044, 0.2))
    lay((15, 12, 12), eye * spot(0.0175, 0.9368, 0.0021, 0.0021))
    lash = 0.9365 + 0.0043 * np.sqrt(np.clip(1 - np.square((ax - 0.0175) * (1 / 0.0102)), 0, 1))
    share = (0.9 if woman else 0.65) * smoothstep(0.0019, 0.0006, np.abs(y - lash))
    lay((28, 20, 18), share * (np.abs(ax - 0.0175) < 0.0102))


class _Style(NamedTuple):
    """How hair lies about the head, in heights; its edge from the front over temple, ear and behind it to the nape."""

    crown: float  # thickness on top
    side: float
    back: float
    edge: tuple[float, float, float, float, float]
    falls: bool = False  # loose, over the neck or further
    soft_edge: bool = True  # thins out towards the skin


_STYLES = {
    "buzz": _Style(0.0035, 0.002, 0.003, (0.976, 0.960, 0.930, 0.906, 0.893)),
    "crop": _Style(0.010, 0.006, 0.007, (0.972, 0.958, 0.925, 0.906, 0.890)),
    "quiff": _Style(0.013, 0.004, 0.006, (0.974, 0.959, 0.926, 0.906, 0.890)),
    "afro": _Style(0.030, 0.027, 0.028, (0.974, 0.956, 0.918, 0.902, 0.890)),
    "bob": _Style(0.012, 0.013, 0.013, (0.968, 0.940, 0.880, 0.872, 0.868), falls=True, soft_edge=False),
    "long": _Style(0.011, 0.011, 0.012, (0.970, 0.945, 0.885, 0.835, 0.740), falls=True, soft_edge=False),
    "ponytail": _Style(0.008, 0.005, 0.007, (0.973, 0.957, 0.926, 0.900, 0.892)),
    "beanie": _Style(0.012, 0.009, 0.010, (0.962, 0.955, 0.940, 0.925, 0.915), soft_edge=False),
}
_STYLES |= {"long_front": _STYLES["long"], "bun": _STYLES["ponytail"]}
_NAPE = 0.905  # hair below it hangs


def _shell(look: Look, style: _Style, rows: int, columns: int, texture: Canvas) -> Grid:
    """From the crown to the hair's edge, column by column."""
    azimuth, t = around(columns), np.linspace(0, 1, rows)[:, None]
    y = _heights(look, style, azimuth, t)
    ripple = 0.0016 * sin(9 * azimuth + 3 * sin(y * 90)) * smoothstep(1.0, 0.96, y) * (look.style != "beanie")
    thick = _thickness(look, style, azimuth, y)
    if style.soft_edge:
        thick = thick * (0.25 + 0.75 * np.minimum(1, (1 - t) * rows / 2.5))
    x, z = _head_section(azimuth, np.maximum(y, _NAPE), thick + ripple)
    if style.falls:  # below the ears over the shoulders, close to the neck and the back
        down, behind = smoothstep(_NAPE, 0.80, y), np.maximum(-cos(azimuth), 0)
        heights = (0.70, 0.75, 0.79, 0.82, 0.845, 0.87, 0.905)
        back = interp(y, heights, (-0.072, -0.075, -0.073, -0.066, -0.058, -0.056, -0.060))
        x = x * (1 + 0.35 * down * np.minimum(1, behind * 2))
        z = z + (back + 0.02 * (1 - behind) - z) * down * smoothstep(-0.2, 0.35, behind)
    points = np.stack(np.broadcast_arrays(x, y + 0.9 * thick * smoothstep(0.955, 1.0, y), z), -1)
    return _hanging(points, texture, ALL_ROWS) if style.falls else rigid(points, texture, "head", inside=ALL_ROWS)


def _heights(look: Look, style: _Style, azimuth: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Heights of the shell's points: from the crown around the head, then straight down where hair hangs."""
    front, temple, ear, behind, nape = style.edge
    heights = (front, front - 0.002, temple, ear, behind, nape, nape)
    if look.style in ("long", "long_front"):
        heights = (front, front - 0.003, temple, ear, look.length + 0.06, look.length + 0.008, look.length)
    edge = interp(np.degrees(np.abs(azimuth)), (0, 35, 56, 75, 100, 140, 180), heights)
    if look.style not in ("beanie", "afro"):  # a notch where it parts
        x, _ = _head_section(azimuth, np.full_like(azimuth, 0.96))
        edge = edge + 0.007 * line(x - look.parting, 0.012) * (cos(azimuth) > 0.5)
    crown, on_head = 0.9995, np.maximum(edge, _NAPE)
    share = np.where(edge < _NAPE - 0.005, 0.62, 1.0)  # of the rows that lie on the head
    turn = np.minimum(t / share, 1) * np.pi / 2
    around_head = crown - (crown - on_head) * power(1 - cos(turn), 14)
    hanging = on_head + (edge - on_head) * (t - share) / np.maximum(1 - share, 1e-9)
    return np.where(t <= share, around_head, hanging)


def _thickness(look: Look, style: _Style, azimuth: np.ndarray, y: np.ndarray) -> np.ndarray:
    behind = np.maximum(-cos(azimuth), 0)
    level = style.side + (style.back - style.side) * behind
    thick = np.asarray(level + (style.crown - level) * smoothstep(0.955, 1.0, y))
    if look.style == "quiff":
        thick = thick + 0.016 * line(azimuth, 0.8) * smoothstep(0.962, 0.985, y)
    if look.style == "afro":
        thick = thick * smoothstep(0.865, 0.945, y)
    if style.falls and look.volume:
        thick = thick + look.volume * (0.004 + 0.016 * smoothstep(0.985, 0.90, y))
    return thick


def _hanging(points: np.ndarray, texture: Canvas, inside: int = 0) -> Grid:
    """Hair that follows the head at its top, the chest at its bottom."""
    weights = np.zeros((*points.shape[:2], len(BONES)))
    weights[..., BONE["head"]] = smoothstep(0.845, 0.905, points[..., 1])
    weights[..., BONE["chest"]] = 1 - weights[..., BONE["head"]]
    return Grid(points, weights, texture, inside)


def _strand(look: Look, sign: float, texture: Canvas) -> Grid:
    """Hair that falls to the front over a shoulder."""
    y = np.linspace(0.955, max(look.length, 0.70), 14)
    x = interp(-y, (-0.955, -0.92, -0.87, -0.83, -0.79, -0.70), (0.036, 0.0465, 0.050, 0.053, 0.054, 0.049))
    depths = (0.014, 0.010, 0.008, 0.026, 0.048, 0.064, 0.070)
    z = interp(-y, (-0.955, -0.92, -0.87, -0.83, -0.79, -0.74, -0.70), depths)
    size = interp(np.linspace(0, 1, 14), (0, 0.2, 0.7, 0.95, 1), (0.007, 0.014, 0.016, 0.010, 0.002))
    wide, wave = 1.1 + 0.9 * look.volume, 0.003 + 0.004 * look.volume
    path = np.stack([sign * (x + 0.010 * look.volume + wave * sin(y * 70)), y, z], -1)
    return _hanging(sweep(path, size * wide, size * 0.8, 10, (0, 0, 1)), texture)


def _tail(look: Look, texture: Canvas) -> Grid:
    """A ponytail."""
    t = np.linspace(0, 1, 12)
    y = interp(t, (0, 0.12, 0.3, 1), (0.952, 0.962, 0.945, max(look.length, 0.76)))
    z = interp(t, (0, 0.12, 0.3, 1), (-0.064, -0.082, -0.100, -0.092))
    size = interp(t, (0, 0.08, 0.3, 0.75, 0.95, 1), (0.008, 0.009, 0.018, 0.016, 0.007, 0.001))
    return _hanging(sweep(np.stack([0.004 * sin(6 * t), y, z], -1), size, size * 0.8, 10, (0, 0.3, -1)), texture)


def _hair(look: Look, rows: int, columns: int, rng: np.random.Generator) -> Canvas:
    """Lighter and darker strands with a shine, or the knit of a beanie."""
    u, v = along(0, 1, columns), along(0, 1, rows)[:, None]
    if look.style == "beanie":
        canvas = Canvas(rows, columns, look.cap, shine=0.16)
        canvas.shade(0.92 + 0.08 * sin(96 * np.pi * u) - 0.10 * (v > 0.82))
        return canvas
    strands = noise(rng, (columns + 2,), np.float32)
    tone = 0.4 * strands[1:-1] + 0.3 * (strands[:-2] + strands[2:])
    wavy = (np.arange(columns) + (3 * sin(5 * v)).astype(int)) % columns
    canvas = Canvas(rows, columns, look.hair, shine=0.16)
    canvas.planes += 6
    canvas.shade(0.93 + 0.13 * tone[wavy] + 0.16 * line(v - 0.30, 0.09) + 0.10 * smoothstep(0.6, 1.0, v))
    return canvas
