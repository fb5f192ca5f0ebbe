"""Pictures of a posed person: hidden surfaces by a depth buffer, light per point, texture per sample, soft edges.

All triangles of a person go through each step in one batch, within the window of the image that the person fills. Each
pixel has SAMPLES x SAMPLES samples; a sample takes the nearest triangle that covers its center, and a pixel is the mean
of its samples over the background. Images are planar (3, H, W) here: whole planes are faster than triples.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from mannequins.renderer.exact import cos, dot, norm, sin
from mannequins.renderer.posed_person import Person, PosedPerson
from repose.data.skeleton import JOINT, JOINTS

SAMPLES = 2  # per pixel and axis (_pooled knows that it is two)
_FAR = -4.0  # behind everything, in heights
_DEPTH_STEPS = 1 << 20  # per height
_TRIANGLE_BITS = 18
_INSIDE = 0.72  # how bright the inside of an open surface is against its outside
_WRAP = 0.35  # how far light reaches around a surface: cloth and skin are soft
_IN_SIGHT = 0.25  # of a cell of a garment, the share of its samples face on that shows it
_SAME = 0.012  # heights: two depths closer than this are of one surface
_CREVICE = 0.016  # how far around a crevice is dark, in heights

# How deep under the person's surface a joint may lie and still count as seen, in heights: inside its own limb; for
# shoulders and hips, which pose estimators find from any side, inside the torso.
_DEEP = {
    "shoulder": 0.19, "hip": 0.19, "elbow": 0.055, "wrist": 0.045, "knee": 0.075, "ankle": 0.06, "eye": 0.022, "ear": 0.055,
}  # fmt: skip
_UNDER = np.array([_DEEP.get(joint.split("_")[-1], 0.03) for joint in JOINTS])
_UNDER[JOINT["neck"]] = 0.2


# How far to the camera a joint of the face is at least while it is seen, from the middle of the ears, in their distance.
_TURNED = {"nose": -0.15, "right_eye": 0.0, "left_eye": 0.0, "right_ear": -0.2, "left_ear": -0.2}


@dataclass(frozen=True)
class Camera:
    """Where the person lies in the image; pixels, and heights of the person."""

    height: int
    width: int
    scale: float  # pixels per height at the person's middle
    x: float  # the person's middle, pixels from the left
    y: float  # `level` on the image, pixels from the top
    level: float  # the height of the person that lies at `y`
    distance: float  # to the person's middle, in heights
    pitch: float  # degrees: how far the camera looks down


@dataclass(frozen=True)
class Light:
    """One lamp, and light from all around."""

    towards: tuple[float, float, float]  # where the lamp is: x right, y up, z to the camera
    lamp: float
    sky: float  # from above
    ground: float  # from below


@dataclass(frozen=True)
class Surface:
    """What each place of a picture, a square of some pixels, shows in its middle: the truth for dense correspondence."""

    corners: np.ndarray  # (3, h, w) int32: the points of the triangle in sight; -1 where there is none
    shares: np.ndarray  # (3, h, w) float32: the place within the triangle, as shares of its corners
    screen: np.ndarray  # (3, n) float32: all points of the person; x and y in pixels, and depth in heights
    depth: np.ndarray  # (H, W) float32: depth of the nearest surface of each pixel's first sample, in heights


@dataclass(frozen=True)
class Rendering:
    """A picture of a person before it meets a background."""

    colour: np.ndarray  # (3, H, W) float32, 0 to 255, already multiplied by the coverage
    coverage: np.ndarray  # (H, W) float32 in [0, 1]
    keypoints: np.ndarray  # (18, 2) float32 x, y in pixels; NaN where the joint is hidden or outside
    front_share: float  # of the torso's garments in sight, how much is their front half; NaN where none is in sight
    visible: np.ndarray  # (cells,) bool: which cells of the torso's garments are in sight, `person.cell` less one
    surface: Callable[[int], Surface]  # of places that are so many pixels wide and high


def render(person: Person, body: PosedPerson, camera: Camera, light: Light) -> Rendering:
    """Draw a posed person."""
    top, left, view = _window(_project(body.points, camera), camera)
    screen = _project(body.points, view)
    x, y = screen[0][person.triangles], screen[1][person.triangles]
    area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    drawn = np.flatnonzero((area > 0) | (person.two_sided & (area < 0)))
    turned = area[drawn] < 0  # they show their inside; their corners are made clockwise
    triangles = np.where(turned, person.triangles[::-1, drawn], person.triangles[:, drawn])
    samples, hit, depth = _nearest(screen, triangles, (view.height * SAMPLES, view.width * SAMPLES))
    colours = _shade(person, body, screen, light, triangles, turned, samples, hit, view.width * SAMPLES)
    planes = np.zeros((4, view.height * view.width * SAMPLES * SAMPLES), np.float32)
    planes[3, samples] = 1
    for plane, colour in zip(planes, colours, strict=False):
        plane[samples] = colour
    pooled = _pooled(planes.reshape(4, *depth.shape))
    # Dark where a surface lies behind its surroundings, as between an arm and the body.
    near, reach = _pooled(depth * planes[3].reshape(depth.shape)), max(1, round(_CREVICE * view.scale))
    around = blurred(near, reach) / np.maximum(blurred(pooled[3], reach), 1e-6)
    behind = around - near / np.maximum(pooled[3], 1e-6)
    pooled[:3] *= 1 - 0.4 * np.clip((behind - 0.004) * 20, 0, 1)
    image = np.zeros((4, camera.height, camera.width), np.float32)
    image[:, top : top + view.height, left : left + view.width] = pooled
    keypoints = _keypoints(body, view, depth) + np.array((left, top), np.float32)
    seen = np.bincount(hit, minlength=len(drawn))  # samples of each triangle
    half = np.bincount(person.torso[drawn], seen, minlength=3)[1:]
    front_share = float(half[0] / half.sum()) if half.any() else float("nan")
    outside = np.bincount(person.cell[drawn], np.where(turned, 0, seen), minlength=len(person.cell_areas))
    visible = outside > _IN_SIGHT * person.cell_areas * np.square(camera.scale * SAMPLES)
    surface = partial(_surface, screen, triangles, samples, hit, depth, (top, left), (camera.height, camera.width))
    return Rendering(image[:3], image[3], keypoints, front_share, visible[1:], surface)


def _project(points: np.ndarray, camera: Camera) -> np.ndarray:
    """(3, n) float32: x and y in samples, and depth (larger is nearer) in heights."""
    c, s = cos(np.radians(camera.pitch)), sin(np.radians(camera.pitch))
    across, up, ahead = points[0], points[1] - camera.level, points[2]
    z = up * s + ahead * c
    size = camera.scale * camera.distance / (camera.distance - z)
    edge = (SAMPLES - 1) / 2
    x, y = camera.x + size * across, camera.y - size * (up * c - ahead * s)
    return np.stack([x * SAMPLES + edge, y * SAMPLES + edge, z]).astype(np.float32)


def _window(screen: np.ndarray, camera: Camera) -> tuple[int, int, Camera]:
    """The part of the image that a person fills: its first row, its first column, and a camera that sees just that."""
    left, top = (int(np.floor(v.min() / SAMPLES)) - 1 for v in screen[:2])
    right, bottom = (int(np.ceil(v.max() / SAMPLES)) + 2 for v in screen[:2])
    left, right = np.clip((left, right), 0, camera.width).tolist()
    top, bottom = np.clip((top, bottom), 0, camera.height).tolist()
    size = {"height": max(bottom - top, 1), "width": max(right - left, 1)}
    top, left = min(top, camera.height - 1), min(left, camera.width - 1)
    return top, left, replace(camera, x=camera.x - left, y=camera.y - top, **size)


def _nearest(
    screen: np.ndarray, triangles: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which samples are covered, the nearest triangle at each of them, and the depth of all samples (_FAR: none).

    Triangles (3, t) are clockwise on the screen. They are cut into rows of samples, rows into samples.
    """
    height, width = size
    x, y, z = (plane.astype(np.float64)[triangles] for plane in screen)
    first = np.maximum(np.ceil(np.minimum(np.minimum(y[0], y[1]), y[2])), 0).astype(np.int32)
    last = np.minimum(np.floor(np.maximum(np.maximum(y[0], y[1]), y[2])), height - 1).astype(np.int32)
    owner, step = _ragged(last - first + 1)
    row = first[owner] + step
    left, right = _spans(x, y, owner, row)
    start = np.clip(np.ceil(left), 0, width).astype(np.int32)
    counts = np.clip(np.floor(right), -1, width - 1).astype(np.int32) - start + 1
    kept = np.flatnonzero(counts > 0)
    owner, row, start, counts = owner[kept], row[kept], start[kept], counts[kept]
    slope_x, slope_y = _slopes(x, y, z)
    offset = (z[0] - slope_x * x[0] - slope_y * y[0] - _FAR)[owner] + slope_x[owner] * start + slope_y[owner] * row
    line, along = _ragged(counts)
    onward = (slope_x * _DEPTH_STEPS).astype(np.float32)[owner]
    steps = (offset * _DEPTH_STEPS).astype(np.float32)[line] + onward[line] * along
    keys = (steps.astype(np.int64) << _TRIANGLE_BITS) | owner[line]
    buffer = np.zeros(height * width, np.int64)
    np.maximum.at(buffer, (row * width + start)[line] + along, keys)
    covered = np.flatnonzero(buffer)
    nearest = buffer[covered] & ((1 << _TRIANGLE_BITS) - 1)
    depth = (buffer >> _TRIANGLE_BITS).astype(np.float32) * np.float32(1 / _DEPTH_STEPS) + np.float32(_FAR)
    return covered, nearest, depth.reshape(size)


def _spans(x: np.ndarray, y: np.ndarray, owner: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where a row enters and leaves its triangle. Clockwise, edges that go down bound it on the right."""
    left, right = np.full(len(owner), -np.inf), np.full(len(owner), np.inf)
    for a, b in ((0, 1), (1, 2), (2, 0)):
        rise = y[b] - y[a]
        slope = (x[b] - x[a]) / np.where(rise == 0, 1, rise)
        start = x[a] - slope * y[a]
        across = slope[owner] * row
        np.maximum(left, across + np.where(rise < 0, start, -np.inf)[owner], out=left)
        np.minimum(right, across + np.where(rise > 0, start, np.inf)[owner], out=right)
    return left, right


def _slopes(x: np.ndarray, y: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How values (3, ..., t) at the corners of triangles change per sample to the right and downwards."""
    area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    one, two = (value[1] - value[0]) / area, (value[2] - value[0]) / area
    return one * (y[2] - y[0]) - two * (y[1] - y[0]), two * (x[1] - x[0]) - one * (x[2] - x[0])


def _shade(
    person: Person, body: PosedPerson, screen: np.ndarray, light: Light, triangles: np.ndarray, turned: np.ndarray,
    samples: np.ndarray, hit: np.ndarray, width: int,
) -> list[np.ndarray]:  # fmt: skip
    """Red, green and blue of each covered sample: the lit texture and the reflected lamp."""
    used = np.zeros(triangles.shape[1], bool)
    used[hit] = True
    seen, place = np.flatnonzero(used), np.cumsum(used) - 1
    corners, inside = triangles[:, seen], turned[seen]
    values = _light(body.normals, person.shine, light)
    bright = np.where(inside, values[1][corners] * _INSIDE, values[0][corners])
    value = np.stack([bright, values[2][corners], person.texel[0][corners], person.texel[1][corners]], 1)  # (3, 4, u)
    x, y = screen[0][corners].astype(np.float64), screen[1][corners].astype(np.float64)
    right, down = _slopes(x[:, None], y[:, None], value)
    start = value[0] - right * x[0] - down * y[0]
    at = place[hit]
    row, column = (v.astype(np.float32) for v in np.divmod(samples, width))
    bright, mirrored, u, v = (
        s.astype(np.float32)[at] + r.astype(np.float32)[at] * column + d.astype(np.float32)[at] * row
        for s, r, d in zip(start, right, down, strict=True)
    )
    rows, columns = person.atlas.shape[1:]
    texel = np.clip(v, 0, rows - 1).astype(np.int32) * columns + np.clip(u, 0, columns - 1).astype(np.int32)
    mirrored *= 255
    return [plane[texel] * bright + mirrored for plane in person.atlas.reshape(3, -1)]


def _surface(
    screen: np.ndarray, triangles: np.ndarray, samples: np.ndarray, hit: np.ndarray, depth: np.ndarray,
    corner: tuple[int, int], size: tuple[int, int], stride: int,
) -> Surface:  # fmt: skip
    """The surface of a picture whose window begins at `corner` (row, column) of an image of `size`."""
    top, left = corner
    row, column = np.divmod(samples, depth.shape[1])
    every, middle = stride * SAMPLES, stride * SAMPLES // 2
    kept = ((row + top * SAMPLES) % every == middle) & ((column + left * SAMPLES) % every == middle)
    row, column, points = row[kept], column[kept], triangles[:, hit[kept]]
    x, y = screen[0][points].astype(np.float64), screen[1][points].astype(np.float64)
    area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    second = ((column - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (row - y[0])) / area
    third = ((x[1] - x[0]) * (row - y[0]) - (column - x[0]) * (y[1] - y[0])) / area
    h, w = size[0] // stride, size[1] // stride
    corners, shares = np.full((3, h, w), -1, np.int32), np.zeros((3, h, w), np.float32)
    place = (row + top * SAMPLES) // every, (column + left * SAMPLES) // every
    inside = (place[0] < h) & (place[1] < w)
    at = (slice(None), place[0][inside], place[1][inside])
    corners[at], shares[at] = points[:, inside], np.stack([1 - second - third, second, third])[:, inside]
    first = np.full(size, _FAR, np.float32)
    first[top : top + depth.shape[0] // SAMPLES, left : left + depth.shape[1] // SAMPLES] = depth[::SAMPLES, ::SAMPLES]
    edge = (SAMPLES - 1) / 2
    pixels = (screen[:2] - edge) / SAMPLES + np.array([[left], [top]], np.float32)
    return Surface(corners, shares, np.concatenate([pixels, screen[2:]]).astype(np.float32), first)


def flow(source: Surface, target: Surface) -> tuple[np.ndarray, np.ndarray]:
    """Where each place of the target lies in the source: (2, h, w) float32 x and y in px, and whether it is in sight there.

    Where the target shows no surface, both are 0. Both pictures show the same person.
    """
    covered = target.corners[0] >= 0
    points = source.screen[:, np.maximum(target.corners, 0)]  # (3, 3, h, w)
    x, y, z = (points * target.shares).sum(1) * covered
    height, width = source.depth.shape
    column, row = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    within = covered & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    nearest = source.depth[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
    return np.stack([x, y]), within & (np.abs(z - nearest) < _SAME)


def _light(normals: np.ndarray, shine: np.ndarray, light: Light) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Brightness of the outside and of the inside of each point, and the mirrored light on its outside."""
    lamp, normals = np.array(light.towards, np.float32), normals.T
    lamp /= norm(lamp)
    facing = dot(normals, lamp)
    middle, tilt = (light.sky + light.ground) / 2, normals[:, 1] * ((light.sky - light.ground) / 2)
    outside = middle + tilt + light.lamp * np.maximum((facing + _WRAP) / (1 + _WRAP), 0)
    inside = middle - tilt + light.lamp * np.maximum((_WRAP - facing) / (1 + _WRAP), 0)
    between = lamp + np.array((0, 0, 1), np.float32)
    mirrored = np.square(np.square(np.square(np.maximum(dot(normals, between / norm(between)), 0))))  # to the 8th
    return outside, inside, shine * (mirrored * mirrored * mirrored) * light.lamp


def _pooled(samples: np.ndarray) -> np.ndarray:
    """The mean of the samples of each pixel: (..., H, W)."""
    rows = samples[..., ::SAMPLES, :] + samples[..., 1::SAMPLES, :]
    return np.asarray((rows[..., ::SAMPLES] + rows[..., 1::SAMPLES]) * np.float32(1 / (SAMPLES * SAMPLES)))


def blurred(image: np.ndarray, reach: int) -> np.ndarray:
    """Mean over a square of 2 reach + 1 pixels, twice (zeros outside): (H, W) float32."""
    wide = 2 * reach + 1
    total = np.pad(image, 2 * reach)
    for _ in range(2):
        total = _summed(_summed(total, wide).T, wide).T
    return total * np.float32(1 / (wide * wide * wide * wide))


def _summed(rows: np.ndarray, count: int) -> np.ndarray:
    """The sums of each `count` rows that follow each other: (H - count + 1, W)."""
    if count == 1:
        return rows
    half = _summed(rows, count // 2)
    pairs = half[: len(half) - count // 2] + half[count // 2 :]
    return pairs[:-1] + rows[count - 1 :] if count % 2 else pairs


def _keypoints(body: PosedPerson, camera: Camera, depth: np.ndarray) -> np.ndarray:
    """Joints in pixels; those behind the person's own surfaces or outside the image are NaN."""
    screen = _project(body.joints.T, camera)
    column, row = (np.rint(plane).astype(np.int64) for plane in screen[:2])
    height, width = depth.shape
    seen = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    surface = depth[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
    seen &= (screen[2] > surface - _UNDER) & (surface > _FAR)
    points = (screen[:2].T - (SAMPLES - 1) / 2) / SAMPLES
    return np.where(seen[:, None], points, np.nan).astype(np.float32)


def joints_in(body: PosedPerson, camera: Camera) -> np.ndarray:
    """Joints (18,2) in pixels, also those under clothes and hair and behind other limbs.

    NaN outside the image, and on the side of the head that is turned away from the camera.
    """
    x, y = points = (_project(body.joints.T, camera)[:2] - (SAMPLES - 1) / 2) / SAMPLES
    inside = (x > -0.5) & (x < camera.width - 0.5) & (y > -0.5) & (y < camera.height - 0.5)
    face, ears = [JOINT[name] for name in _TURNED], body.joints[[JOINT["right_ear"], JOINT["left_ear"]]]
    towards = (body.joints[face, 2] - ears[:, 2].mean()) / norm(ears[0] - ears[1])
    inside[face] &= towards > list(_TURNED.values())
    return np.where(inside, points, np.nan).T.astype(np.float32)


def _ragged(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For counts (2, 0, 3): owners 0 0 2 2 2 and steps 0 1 0 1 2; counts below 0 count as 0."""
    counts = np.maximum(counts, 0)
    owner = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    ends = np.cumsum(counts, dtype=np.int32)
    return owner, np.arange(len(owner), dtype=np.int32) - (ends - counts)[owner]
