"""A dressed person as one mesh with one texture, and in a pose."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mannequins.renderer.body import BONES, Pose, Shape, bone_frames, joints
from mannequins.renderer.exact import arctan2, norm
from mannequins.renderer.surfaces import Grid

ATLAS_WIDTH = 512  # texels
CELLS_DOWN, CELLS_AROUND = 12, 16  # of the surface of each garment of the torso
_BONES_PER_POINT = 3


@dataclass(frozen=True)
class Person:
    """The mesh and texture of one person, ready to be posed. n points, t triangles."""

    shape: Shape
    rest: np.ndarray  # (3, n) float32
    bones: np.ndarray  # (3, n) of BONES
    shares: np.ndarray  # (3, n) float32: how much each of them moves the point
    beside: np.ndarray  # (4, n): the points above, below, left and right of each
    texel: np.ndarray  # (2, n) float32: x and y in the atlas
    triangles: np.ndarray  # (3, t), clockwise in an image when seen from outside
    two_sided: np.ndarray  # (t,) bool
    torso: np.ndarray  # (t,) int8: 1 the garment's front half, 2 its back half, 0 anything else
    cell: np.ndarray  # (t,) int16: the cell of the torso's garments that it is part of, from 1; 0 anything else
    cell_areas: np.ndarray  # (1 + cells,) at rest, in heights squared; the first is of no cell
    shine: np.ndarray  # (n,) float32: how much light the surface reflects like a mirror
    atlas: np.ndarray  # (3, rows, ATLAS_WIDTH) float32, 0 to 255


@dataclass(frozen=True)
class PosedPerson:
    """A person in a pose: x to the right, y up, z to the camera, in heights; the floor is y = 0."""

    points: np.ndarray  # (3, n) float32
    normals: np.ndarray  # (3, n) float32, outwards
    joints: np.ndarray  # (18, 3)


def assemble(
    shape: Shape, grids: Sequence[Grid], textures: Mapping[str, np.ndarray], shine: Mapping[str, float]
) -> Person:
    """The person made of the grids and their textures."""
    atlas, places = _pack(textures)
    counts = [g.points.shape[0] * g.points.shape[1] for g in grids]
    starts = np.concatenate([[0], np.cumsum(counts)])[:-1]
    index = [
        start + np.arange(count).reshape(g.points.shape[:2])
        for g, start, count in zip(grids, starts, counts, strict=True)
    ]
    triangles = [_triangles(i) for i in index]
    torso = [_torso_halves(g, len(t)) for g, t in zip(grids, triangles, strict=True)]
    rest, corners = np.concatenate([g.points.reshape(-1, 3) for g in grids]), np.concatenate(triangles)
    cell, cell_areas = _torso_cells(grids, rest[corners])
    bones, shares = _strongest(np.concatenate([g.weights.reshape(-1, len(BONES)) for g in grids]))
    return Person(
        shape=shape,
        rest=rest.T.astype(np.float32, order="C"),
        bones=bones,
        shares=shares,
        beside=np.concatenate([_beside(g, i) for g, i in zip(grids, index, strict=True)], 1),
        texel=np.concatenate([_texels(g, places[g.texture]) for g in grids], 1),
        triangles=corners.T.astype(np.int32),
        two_sided=np.concatenate([_two_sided(g) for g in grids]),
        torso=np.concatenate(torso),
        cell=cell,
        cell_areas=cell_areas,
        shine=np.concatenate(
            [np.full(c, shine.get(g.texture, 0), np.float32) for g, c in zip(grids, counts, strict=True)]
        ),
        atlas=atlas,
    )


def posed(person: Person, pose: Pose) -> PosedPerson:
    """Turn the bones and let the surfaces follow (linear blend skinning)."""
    frames = bone_frames(person.shape, pose)
    entries = frames.astype(np.float32).reshape(len(BONES), 12).T.copy()
    motion = [
        sum(entry[bones] * share for bones, share in zip(person.bones, person.shares, strict=True)) for entry in entries
    ]
    x, y, z = person.rest
    points = np.stack([motion[k] * x + motion[k + 1] * y + motion[k + 2] * z + motion[k + 3] for k in (0, 4, 8)])
    above, below, left, right = (points[:, beside] for beside in person.beside)
    normals = _cross(below - above, right - left)
    normals /= norm(normals.T) + np.float32(1e-12)
    return PosedPerson(points, normals, joints(person.shape, frames))


def _strongest(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of weights (n, 16), the bones that move each point most and their shares: (3, n) each."""
    bones = np.argsort(-weights, axis=1, kind="stable")[:, :_BONES_PER_POINT]
    shares = np.take_along_axis(weights, bones, 1)
    return np.ascontiguousarray(bones.T), (shares.T / sum(shares.T)).astype(np.float32, order="C")


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def _triangles(index: np.ndarray) -> np.ndarray:
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    return np.stack([np.stack([a, b, d], -1), np.stack([a, d, c], -1)], 2).reshape(-1, 3)


def _two_sided(grid: Grid) -> np.ndarray:
    """Of each triangle, whether its inside may be seen."""
    rows, columns = grid.points.shape[0] - 1, grid.points.shape[1] - 1
    return np.repeat(np.arange(rows) >= rows - grid.inside, 2 * columns)


def _torso_halves(grid: Grid, triangles: int) -> np.ndarray:
    """Front or back of each triangle of a surface that is part of the torso's garments."""
    if not grid.torso:
        return np.zeros(triangles, np.int8)
    return np.repeat(np.where(_middles(grid)[..., 2] > 0, 1, 2).astype(np.int8).ravel(), 2)


def _torso_cells(grids: Sequence[Grid], corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`Person.cell` and `Person.cell_areas`; corners (t, 3, 3) of all triangles. Each garment has cells of its own."""
    cells: list[np.ndarray] = []
    before = 1
    for grid in grids:
        squares = (grid.points.shape[0] - 1) * (grid.points.shape[1] - 1)
        cells.append(before + _cells(grid) if grid.torso else np.zeros(squares, np.int16))
        before += grid.torso * CELLS_DOWN * CELLS_AROUND
    cell = np.repeat(np.concatenate(cells).astype(np.int16), 2)
    sides = np.diff(corners, axis=1)
    areas = norm(np.cross(sides[:, 0], sides[:, 1])) / 2
    return cell, np.bincount(cell, areas, minlength=before)


def _cells(grid: Grid) -> np.ndarray:
    """Of each square of a grid, the cell by height between its ends and azimuth from back to back: (squares,) from 0."""
    x, y, z = np.moveaxis(_middles(grid), -1, 0)
    top, bottom = grid.points[..., 1].max(), grid.points[..., 1].min()
    down = np.minimum((top - y) / (top - bottom) * CELLS_DOWN, CELLS_DOWN - 1).astype(np.int16)
    around = np.minimum((arctan2(x, z) / (2 * np.pi) + 0.5) * CELLS_AROUND, CELLS_AROUND - 1).astype(np.int16)
    return (down * CELLS_AROUND + around).ravel()


def _middles(grid: Grid) -> np.ndarray:
    """The middle of each square of a grid: (v - 1, u - 1, 3)."""
    return np.asarray((grid.points[:-1, :-1] + grid.points[1:, 1:]) / 2)


def _beside(grid: Grid, index: np.ndarray) -> np.ndarray:
    """Above, below, left, right of each point; a closed grid goes on around."""
    rows, columns = index.shape
    row, column = np.arange(rows), np.arange(columns)
    left, right = np.maximum(column - 1, 0), np.minimum(column + 1, columns - 1)
    if np.abs(grid.points[:, 0] - grid.points[:, -1]).max() < 1e-6:
        left, right = (column - 1) % (columns - 1), (column + 1) % (columns - 1)
    above, below = index[np.maximum(row - 1, 0)], index[np.minimum(row + 1, rows - 1)]
    return np.stack([above, below, index[:, left], index[:, right]]).reshape(4, -1)


def _texels(grid: Grid, place: tuple[int, int, int, int]) -> np.ndarray:
    """Where each point lies in the atlas; just inside its borders, so that nothing bleeds in."""
    x, y, width, height = place
    across = np.linspace(x + 0.01, x + width - 0.01, grid.points.shape[1])[:: -1 if grid.mirrored else 1]
    down = np.linspace(y + 0.01, y + height - 0.01, grid.points.shape[0])
    return np.stack([np.tile(across, len(down)), np.repeat(down, len(across))]).astype(np.float32)


def _pack(textures: Mapping[str, np.ndarray]) -> tuple[np.ndarray, dict[str, tuple[int, int, int, int]]]:
    """All textures in one atlas, on shelves, the highest first; and where each lies: x, y, width, height."""
    places, x, y, shelf = {}, 0, 0, 0
    for name, texture in sorted(textures.items(), key=lambda entry: -entry[1].shape[1]):
        height, width = texture.shape[1:]
        if x + width > ATLAS_WIDTH:
            x, y, shelf = 0, y + shelf, 0
        places[name] = (x, y, width, height)
        x, shelf = x + width, max(shelf, height)
    atlas = np.zeros((3, y + shelf, ATLAS_WIDTH), np.float32)
    for name, (x, y, width, height) in places.items():
        np.clip(textures[name], 0, 255, out=atlas[:, y : y + height, x : x + width])
    return atlas, places
