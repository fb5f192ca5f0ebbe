"""Backgrounds: a photo studio, and six places of a street, each with its camera."""

from dataclasses import dataclass

import numpy as np

from mannequins.renderer.canvas import Colour
from mannequins.renderer.exact import decay, line, noise, sin, uniform
from mannequins.renderer.render import Camera, Light, Rendering, blurred

STUDIO_LIGHT = Light((-0.40, 0.60, 0.85), 0.48, 0.70, 0.50)


@dataclass(frozen=True)
class Studio:
    """A backdrop: brightness in 0 to 255."""

    level: float
    warmth: float  # red over blue
    fall: float  # how much darker it is at the bottom
    bars: float  # the constant bars beside the picture
    shadow: float = 0.07  # how much darker the person's shadow on the wall is
    soft: float = 0.02  # how soft its edge is, in heights
    aside: float = 2.0  # how far to the right of the person it falls, in widths of that edge
    spot: float = 0.45  # how much darker the floor is below the person


def studio(rng: np.random.Generator) -> Studio:
    """White, off-white or light gray; at times a dark gray."""
    level = uniform(rng, 96, 140) if rng.random() < 0.05 else uniform(rng, 222, 253)
    return Studio(level, uniform(rng, -3, 5), uniform(rng, 0.0, 0.08), uniform(rng, 226, 255))


def in_studio(picture: Rendering, camera: Camera, place: Studio) -> np.ndarray:
    """The picture before the backdrop, with soft shadows on floor and wall: (3, H, W) float32."""
    rows, columns = np.arange(camera.height, dtype=np.float32)[:, None], np.arange(camera.width, dtype=np.float32)
    shade = 1 - place.fall * rows / camera.height - 0.035 * np.square(2 * columns / camera.width - 1)
    reach = max(2, round(place.soft * camera.scale))
    wall = _moved(blurred(picture.coverage, reach), reach // 2, round(place.aside * reach))
    floor = camera.y + camera.scale * camera.level
    spot = line(columns - camera.x, 0.12 * camera.scale) * line(rows - floor, 0.018 * camera.scale)
    backdrop = place.level * shade * (1 - place.shadow * wall) * (1 - place.spot * spot)
    warmth = np.array((place.warmth, 0, -place.warmth), np.float32) / 2
    return np.asarray(picture.colour + (1 - picture.coverage) * (backdrop + warmth[:, None, None]))


def _moved(plane: np.ndarray, down: int, right: int) -> np.ndarray:
    """(H, W) moved by whole pixels; 0 where nothing comes from."""
    height, width = plane.shape
    moved = np.zeros_like(plane)
    moved[down:, max(right, 0) : width + min(right, 0)] = plane[: height - down, max(-right, 0) : width - max(right, 0)]
    return moved


@dataclass(frozen=True)
class Place:
    """A street camera: its scene, light and image quality."""

    scene: np.ndarray  # (3, 160, 256) float32, 0 to 255
    light: Light
    pitch: float  # degrees
    blur: float  # sigma, pixels
    contrast: float
    tint: np.ndarray  # (3,)


# Wall or greenery above, ground below; and what is drawn on each.
_SCENES: tuple[tuple[Colour, Colour, str, str], ...] = (
    ((96, 122, 76), (150, 146, 138), "leaves", "tiles"),
    ((158, 132, 112), (136, 134, 130), "bricks", "kerb"),
    ((120, 132, 142), (168, 160, 148), "windows", "tiles"),
    ((88, 104, 72), (104, 128, 74), "trunks", "grass"),
    ((186, 184, 176), (120, 118, 118), "panels", "road"),
    ((112, 116, 108), (176, 158, 132), "leaves", "plain"),
)


def places(rng: np.random.Generator) -> tuple[Place, ...]:
    """The six cameras of a street."""
    return tuple(_place(rng, *scene) for scene in _SCENES)


def _place(rng: np.random.Generator, wall: Colour, ground: Colour, above: str, below: str) -> Place:
    height, width, horizon = 160, 256, int(rng.integers(46, 70))
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    scene = np.where((y < horizon)[..., None], np.array(wall, float), np.array(ground, float))
    depth = np.maximum(y - horizon, 1) / (height - horizon)
    marks = np.where(y < horizon, _above(above, x, y, rng), _below(below, x, depth, rng))
    scene = scene * (marks * (0.9 + 0.2 * _clouds(rng, (height, width), 6)))[..., None]
    side = float(rng.choice((-1, 1))) * uniform(rng, 0.2, 0.9)
    lamp = uniform(rng, 0.35, 0.75)
    light = Light((side, uniform(rng, 0.5, 0.9), uniform(rng, 0.2, 0.9)), lamp, 0.98 - 0.6 * lamp, 0.66 - 0.45 * lamp)
    tint = 0.93 + 0.14 * rng.random(3)
    pitch, blur, contrast = uniform(rng, 6, 16), uniform(rng, 0.35, 0.8), uniform(rng, 0.8, 1.05)
    return Place(scene.astype(np.float32).transpose(2, 0, 1), light, pitch, blur, contrast, tint)


def _above(kind: str, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if kind == "leaves":
        return 0.75 + 0.5 * _clouds(rng, x.shape, 24)
    if kind == "bricks":
        return np.where((y % 5 < 1) | ((x + 6 * (y // 5 % 2)) % 12 < 1), 0.78, 1.0)
    if kind == "windows":
        return np.where((x % 40 < 26) & (y % 34 > 8), 0.62 + 0.3 * _clouds(rng, x.shape, 8), 1.05)
    if kind == "trunks":
        return np.where(np.abs((x + 9 * sin(x // 50)) % 50 - 25) < 4, 0.5, 0.8 + 0.4 * _clouds(rng, x.shape, 20))
    return np.where(x % 36 < 1.5, 0.75, 1.0)


def _below(kind: str, x: np.ndarray, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    across = (x - x.shape[1] / 2) / (0.25 + depth)
    if kind == "tiles":
        return np.where((across % 22 < 1.6) | ((6 / (0.12 + depth)) % 1 < 0.13), 0.86, 1.0)
    if kind == "kerb":
        return np.where(np.abs(depth - 0.3) < 0.035, 1.25, np.where(depth < 0.3, 1.05, 0.85))
    if kind == "grass":
        return 0.8 + 0.4 * _clouds(rng, x.shape, 40)
    if kind == "road":
        return np.where((np.abs(across % 120 - 60) < 6) & (depth > 0.1), 1.6, 1.0)
    return np.ones_like(x)


def _clouds(rng: np.random.Generator, shape: tuple[int, ...], cells: int) -> np.ndarray:
    """Smooth noise in [0, 1]: two layers of random cells, interpolated."""
    height, width = shape
    total = np.zeros(shape)
    for share, count in ((0.65, cells), (0.35, 2 * cells)):
        grid = rng.random((count + 1, count + 1))
        v, u = np.linspace(0, count, height, endpoint=False), np.linspace(0, count, width, endpoint=False)
        i, j, dv, du = v.astype(int)[:, None], u.astype(int), (v % 1)[:, None], u % 1
        upper = grid[i, j] * (1 - du) + grid[i, j + 1] * du
        lower = grid[i + 1, j] * (1 - du) + grid[i + 1, j + 1] * du
        total += share * (upper * (1 - dv) + lower * dv)
    return total


def crop_of(place: Place, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A random piece of the camera's scene: (3, height, width)."""
    top = int(rng.integers(0, place.scene.shape[1] - height + 1))
    left = int(rng.integers(0, place.scene.shape[2] - width + 1))
    return place.scene[:, top : top + height, left : left + width]


def as_seen(image: np.ndarray, place: Place, rng: np.random.Generator) -> np.ndarray:
    """The camera's own blur, color cast, contrast and noise: (3, H, W) float32."""
    weights = decay(0.5 * np.square(np.arange(-2, 3, dtype=np.float32) / np.float32(place.blur)))
    weights /= sum(weights)
    height, width = image.shape[1:]
    padded = np.pad(image, ((0, 0), (2, 2), (2, 2)), mode="edge")
    rows = sum(w * padded[:, k : k + height] for k, w in enumerate(weights))
    smooth = sum(w * rows[:, :, k : k + width] for k, w in enumerate(weights))
    gain = (uniform(rng, 0.88, 1.08) * place.tint).astype(np.float32)[:, None, None]
    graded = ((smooth - 120) * np.float32(place.contrast) + 118) * gain
    return np.asarray(graded + 2.5 * noise(rng, (height, width), np.float32))
