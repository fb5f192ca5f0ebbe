"""A dressed person as one mesh with one texture, and in a pose."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mannequins.renderer.body import BONES, Pose, Shape, bone_frames, joints
from mannequins.renderer.canvas import Canvas
from mannequins.renderer.exact import arctan2, norm
from mannequins.renderer.surfaces import Grid

_ATLAS_WIDTH = 512  # texels
_CELLS_DOWN, _CELLS_AROUND = 12, 16  # of the surface of each garment of the torso
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
    torso: np.ndarray  # (t,) int16: 1 the garment's front half, 2 its back half, 0 anything else
    cell: np.ndarray  # (t,) int16: the cell of the torso's garments that it is part of, from 1; 0 anything else
    cell_areas: np.ndarray  # (1 + cells,) at rest, in heights squared; the first is of no cell
    shine: np.ndarray  # (n,) float32: how much light the surface reflects like a mirror
    atlas: np.ndarray  # (3, rows, columns) float32, 0 to 255


@dataclass(frozen=True)
class PosedPerson:
    """A person in a pose: x to the right, y up, z to the camera, in heights; the floor is y = 0."""

    points: np.ndarray  # (3, n) float32
    normals: np.ndarray  # (3, n) float32, outwards
    joints: np.ndarray  # (18, 3)


def assemble(shape: Shape, grids: Sequence[Grid]) -> Person:
    """The person made of the grids and their textures."""
    atlas, places = _pack([grid.texture for grid in grids])
    triangles, beside, texel, two_sided, torso, cell, shine = parts = [list[np.ndarray]() for _ in range(7)]
    points, cells = 0, 1  # of the grids before; cell 0 is of no garment
    for grid in grids:
        rows, columns = grid.points.shape[:2]
        index = points + np.arange(rows * columns).reshape(rows, columns)
        a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
        triangles.append(np.stack([np.stack([a, b, d], -1), np.stack([a, d, c], -1)], 2).reshape(-1, 3).T)
        beside.append(_beside(grid, index))
        texel.append(_texels(grid, places[id(grid.texture)]))
        two_sided.append(np.repeat(np.arange(rows - 1) >= rows - 1 - grid.inside, 2 * (columns - 1)))
        half = own = np.zeros(a.size, np.int16)
        if grid.torso:
            half, own = _halves_and_cells(grid, cells)
            cells += _CELLS_DOWN * _CELLS_AROUND
        torso.append(np.repeat(half, 2))
        cell.append(np.repeat(own, 2))
        shine.append(np.full(index.size, grid.texture.shine, np.float32))
        points += index.size
    corners, beside_all, texels, two_sides, halves, cell_of, shines = (np.concatenate(part, -1) for part in parts)
    rest = np.concatenate([grid.points.reshape(-1, 3) for grid in grids])
    one, two = np.diff(rest[corners], axis=0)
    areas = np.bincount(cell_of, norm(np.cross(one, two)) / 2, minlength=cells)
    weights = np.concatenate([grid.weights.reshape(-1, len(BONES)) for grid in grids])
    bones = np.argsort(-weights, axis=1, kind="stable")[:, :_BONES_PER_POINT]  # those that move a point most
    shares = np.take_along_axis(weights, bones, 1).T
    return Person(
        shape, rest.T.astype(np.float32, order="C"), np.ascontiguousarray(bones.T),
        (shares / sum(shares)).astype(np.float32, order="C"), beside_all, texels, corners.astype(np.int32), two_sides,
        halves, cell_of, areas, shines, atlas,
    )  # fmt: skip


def _halves_and_cells(grid: Grid, first: int) -> tuple[np.ndarray, np.ndarray]:
    """`Person.torso` and `Person.cell` of each square: cells by height between its ends and azimuth from back to back."""
    x, y, z = np.moveaxis((grid.points[:-1, :-1] + grid.points[1:, 1:]) / 2, -1, 0)
    top, bottom = grid.points[..., 1].max(), grid.points[..., 1].min()
    down = np.minimum((top - y) / (top - bottom) * _CELLS_DOWN, _CELLS_DOWN - 1).astype(np.int16)
    around = np.minimum((arctan2(x, z) / (2 * np.pi) + 0.5) * _CELLS_AROUND, _CELLS_AROUND - 1).astype(np.int16)
    return np.where(z > 0, 1, 2).ravel(), (first + down * _CELLS_AROUND + around).ravel()


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
    a, b = below - above, right - left
    normals = np.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])
    normals /= norm(normals.T) + np.float32(1e-12)
    return PosedPerson(points, normals, joints(person.shape, frames))


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


def _pack(textures: Sequence[Canvas]) -> tuple[np.ndarray, dict[int, tuple[int, int, int, int]]]:
    """All textures in one atlas, on shelves, the highest first; and where each lies, by `id`: x, y, width, height."""
    canvases = {id(texture): texture.planes for texture in textures}
    places, x, y, shelf = {}, 0, 0, 0
    for key, planes in sorted(canvases.items(), key=lambda entry: -entry[1].shape[1]):
        height, width = planes.shape[1:]
        if x + width > _ATLAS_WIDTH:
            x, y, shelf = 0, y + shelf, 0
        places[key] = (x, y, width, height)
        x, shelf = x + width, max(shelf, height)
    atlas = np.zeros((3, y + shelf, _ATLAS_WIDTH), np.float32)
    for key, (x, y, width, height) in places.items():
        np.clip(canvases[key], 0, 255, out=atlas[:, y : y + height, x : x + width])
    return atlas, places
