"""BlazePose (Bazarevsky et al. 2020), the pose networks of MediaPipe, which find people and their joints in photos.

A detector sees the whole photo and proposes people, each by the center of the hips and a circle around the body. The second
network sees an upright square around a proposal and finds 33 landmarks, and where to look again more closely. The closer look
is taken twice, the second time mirrored, and averaged. If both differ much, nobody is there. Each landmark then moves to the
middle of its peak in the heat map. The detector looks for heads; where it is unsure, the head may be cut off, and the second
network also looks at the whole photo.

BlazePose also places what it cannot see. A joint is missing if it lies outside the photo, if its visibility is low, or, as the
visibility of a face is always high, if the turned head hides it. docs/data.md has the measured precision and recall.
"""

import tarfile
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from queue import Empty, SimpleQueue
from typing import IO, Any, NamedTuple, cast

import numpy as np
from PIL import Image
from torch import Tensor

from repose.data.skeleton import JOINT, K
from repose.errors import ReposeError
from repose.storage.networks import Weights, holding
from repose.storage.weight_files import KNOWN

NAME = "blazepose"
VISIBLE = 0.15  # joints of less visibility are missing
_RUNTIME = "ai-edge-litert"
_PROPOSAL, _SURE = 0.3, 0.6  # minimum score of a proposal; of one that needs no look at the whole photo
_PEOPLE = 8  # maximum number of proposals in a photo
_AGREE = 0.2  # maximum distance of the torsos in two looks, in diagonals of a torso; half if the detector is unsure
_OVERLAP = 0.3  # intersection over union of two faces that are one person's
_APART = 0.2  # distance of two people's centers, as a share of their squares; nearer ones are one person
_DETECTOR, _LANDMARKS = 224, 256  # px of the networks' inputs
_MARGIN = 1.25  # of the square around the circle
_CELL, _REACH = 4, 3  # px of a heat map's cell; cells on each side of a landmark that belong to its peak
_TORSO = [11, 12, 23, 24]  # its landmarks: left and right shoulder, left and right hip
_BODY = 33  # landmarks of the body; 33 and 34 are the hips' center and a point of the circle
_TURNED = 0.07  # sine of the head's turn to the side that hides the ear on that side
_BEYOND = 0.12  # an eye is hidden if it is beyond the nose by this share of the distance of the ears
# The landmarks of our joints; the neck is the middle of the shoulders.
LANDMARK = {
    "nose": 0, "left_eye": 2, "right_eye": 5, "left_ear": 7, "right_ear": 8, "left_shoulder": 11, "right_shoulder": 12,
    "left_elbow": 13, "right_elbow": 14, "left_wrist": 15, "right_wrist": 16, "left_hip": 23, "right_hip": 24,
    "left_knee": 25, "right_knee": 26, "left_ankle": 27, "right_ankle": 28,
}  # fmt: skip
_OTHER_SIDE = np.array(  # landmark i of a mirrored person is landmark _OTHER_SIDE[i] of the original
    [0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9, *(i + 1 if i % 2 else i - 1 for i in range(11, _BODY)), *range(_BODY, 39)]
)


class Square(NamedTuple):
    """A square around a person; positions are in px from the corner of the photo."""

    center: np.ndarray  # (2,) x, y
    side: float
    angle: float  # radians; 0: the head is up, more: turned clockwise

    @classmethod
    def around(cls, center: np.ndarray, rim: np.ndarray) -> "Square":
        """The square around a circle with this center, whose point `rim` is above the head."""
        x, y = rim - center
        return cls(center, 2 * _MARGIN * float(np.hypot(x, y)), float(np.arctan2(y, x)) + np.pi / 2)

    def matrix(self, px: int) -> np.ndarray:
        """The matrix (2,3) from px of the square, which has `px` per side, to px of the photo."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        turn = self.side / px * np.array([[cos, -sin], [sin, cos]])
        return np.c_[turn, self.center - turn @ (px / 2, px / 2)]

    def crop(self, photo: Image.Image, px: int) -> np.ndarray:
        """The pixels (px,px,3) uint8 of the square, black outside the photo."""
        shrink = max(1, int(self.side / px))  # whole px are averaged first, as bilinear sampling would skip some
        matrix = tuple((self.matrix(px) / shrink).ravel())
        shrunk = photo.reduce(shrink) if shrink > 1 else photo
        return np.asarray(shrunk.transform((px, px), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR))


class Landmarks(NamedTuple):
    """The output of the second network for a square."""

    points: np.ndarray  # (39,2) x, y in px of the square
    depth: np.ndarray  # (39,) in about the same unit; smaller is nearer
    visibility: np.ndarray  # (39,) 0 to 1
    heat: np.ndarray  # (64,64,39) 0 to 1
    person: float  # 0 to 1: the square shows a person

    def mirrored(self) -> "Landmarks":
        """The landmarks in the mirrored square."""
        points = np.stack([_LANDMARKS - self.points[:, 0], self.points[:, 1]], 1)
        points, depth, visibility = (given[_OTHER_SIDE] for given in (points, self.depth, self.visibility))
        return Landmarks(points, depth, visibility, self.heat[:, ::-1, _OTHER_SIDE], self.person)


def together(first: Landmarks, second: Landmarks) -> tuple[Landmarks, float]:
    """The mean of two looks at a square, and the distance of the torsos in them as a share of the torso's diagonal.

    If they only differ in what is left and right, it is not the mean, but the one with the higher peaks.
    """
    apart = np.linalg.norm(first.points - second.points, axis=1)
    swapped = np.linalg.norm(first.points - second.points[_OTHER_SIDE], axis=1)
    fields: Iterable[Any] = zip(first, second, strict=True)
    seen = Landmarks(*(np.mean(both, 0) for both in fields))
    if swapped.sum() < apart.sum():
        apart, seen = swapped, max(first, second, key=lambda of: float(of.heat.max((0, 1))[:_BODY].mean()))
    diagonal = np.linalg.norm(seen.points[_TORSO[0]] - seen.points[_TORSO[3]])
    return seen, float(apart[_TORSO].mean() / max(diagonal, 1e-6))


def at_peaks(points: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Points (n,2) in px, each moved to the mean position of the heat (h,w,n) around it; where there is none, it stays."""
    cells = (points / _CELL).astype(int)[:, None] + np.arange(-_REACH, _REACH + 1)[:, None]  # (n,7,xy)
    last = np.array(heat.shape[1::-1]) - 1
    near = cells.clip(0, last)
    inside = (cells == near).astype(heat.dtype)
    window = heat[near[:, :, None, 1], near[:, None, :, 0], np.arange(len(points))[:, None, None]]  # (n,y,x)
    window = window * inside[:, :, None, 1] * inside[:, None, :, 0]
    total = window.sum((1, 2))
    sums = np.stack([(window.sum(axis) * (cells[..., xy] + 0.5)).sum(1) for xy, axis in ((0, 1), (1, 2))], 1)
    return np.where(total[:, None] > 0, sums * _CELL / np.maximum(total, 1e-12)[:, None], points)


def hidden_by_the_head(seen: Landmarks) -> set[str]:
    """The joints of the face that the head hides from the camera.

    The face looks from the middle of the ears to the nose. The ear on the side to which it turns is hidden. An eye is hidden
    if it appears beyond the nose, on the other eye's side. From behind, both are, and with them the nose.
    """
    position = np.c_[seen.points[:, 0], seen.depth]  # x and depth
    nose, left_ear, right_ear = (position[LANDMARK[name]] for name in ("nose", "left_ear", "right_ear"))
    ahead = nose - (left_ear + right_ear) / 2
    turn = ahead[0] / max(float(np.hypot(*ahead)), 1e-6)  # sine; from the front, the left ear is at the right
    beyond = _BEYOND * float(np.hypot(*(left_ear - right_ear)))
    left = seen.points[LANDMARK["left_eye"], 0] < nose[0] - beyond
    right = seen.points[LANDMARK["right_eye"], 0] > nose[0] + beyond
    hidden = {
        "left_ear": turn > _TURNED, "right_ear": turn < -_TURNED, "left_eye": left, "right_eye": right, "nose": left and right,
    }  # fmt: skip
    return {name for name, is_hidden in hidden.items() if is_hidden}


def as_openpose(seen: Landmarks, square: Square, size: tuple[int, int]) -> np.ndarray:
    """The joints (K,3) of the landmarks in a photo of `size` (width, height): x, y in px and the visibility, 0 if missing."""
    own, joints = list(LANDMARK.values()), np.zeros((K, 3), np.float32)
    points = at_peaks(seen.points, seen.heat)[own]
    # from pixels' corners to their centers
    places = np.c_[points, np.ones(len(own))] @ square.matrix(_LANDMARKS).T - 0.5
    hidden = hidden_by_the_head(seen)
    known = (seen.visibility[own] >= VISIBLE) & [name not in hidden for name in LANDMARK]
    known &= ((places >= -0.5) & (places < np.array(size) - 0.5)).all(1)
    joints[[JOINT[name] for name in LANDMARK]] = np.c_[places, seen.visibility[own]] * known[:, None]
    shoulders = joints[[JOINT["left_shoulder"], JOINT["right_shoulder"]]]
    if (shoulders[:, 2] > 0).all():
        joints[JOINT["neck"]] = (*shoulders[:, :2].mean(0), shoulders[:, 2].min())
    return joints


def anchors() -> np.ndarray:
    """The positions (2254,2) x, y in px to which the detector's outputs are relative: 2, 2 and 6 in each cell of 3 grids."""
    grids = []
    for cell, repeats in ((8, 2), (16, 2), (32, 6)):
        middles = np.arange(cell / 2, _DETECTOR, cell)
        grids.append(np.stack(np.meshgrid(middles, middles), -1).reshape(-1, 2).repeat(repeats, 0))
    return np.concatenate(grids)


class _Network:
    """A network in LiteRT, on one CPU thread."""

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._run = Interpreter(model_content=content, num_threads=1)
        self._run.allocate_tensors()
        self._input = self._run.get_input_details()[0]["index"]
        self._outputs = {tuple(map(int, of["shape"][1:])): of["index"] for of in self._run.get_output_details()}

    def __call__(self, pixels: np.ndarray) -> dict[tuple[int, ...], np.ndarray]:
        """The outputs for an image (H,W,3) float32, by their shapes."""
        self._run.set_tensor(self._input, np.ascontiguousarray(pixels, np.float32)[None])
        self._run.invoke()
        return {shape: self._run.get_tensor(index)[0] for shape, index in self._outputs.items()}


class _Networks:
    """Both networks; for one photo at a time."""

    def __init__(self, min_person: float, detector: bytes, landmarks: bytes) -> None:
        self._detector, self._landmarks, self._min_person = _Network(detector), _Network(landmarks), min_person
        self._anchors = anchors()

    def people(self, pixels: np.ndarray) -> np.ndarray:
        """The joints (n,K,3) of the people in a photo (H,W,3) uint8, those whose two looks agree best first."""
        photo = Image.fromarray(pixels)
        proposals = list(self._proposals(photo))
        sure = any(score >= _SURE for score, _ in proposals)
        squares = [square for _, square in proposals]
        if not sure:  # with room for a head above
            above = np.array([0, 0.2 * max(photo.size)])
            squares.append(Square(np.array(photo.size) / 2 - above, 1.5 * max(photo.size), 0.0))
        limit = _AGREE if sure else _AGREE / 2
        seen = sorted((self._closely(photo, square) for square in squares), key=lambda of: of[2])
        people = list[tuple[Square, Landmarks]]()
        for square, landmarks, apart in seen:
            near = (np.hypot(*(square.center - of.center)) < _APART * max(square.side, of.side) for of, _ in people)
            if apart < limit and landmarks.person >= self._min_person and not any(near):
                people.append((square, landmarks))
        joints = [as_openpose(landmarks, square, photo.size) for square, landmarks in people[: None if sure else 1]]
        return np.array(joints, np.float32).reshape(-1, K, 3)

    def _proposals(self, photo: Image.Image) -> Iterator[tuple[float, Square]]:
        """Scores (0 to 1) and squares of what may be people, the most probable first."""
        whole = Square(np.array(photo.size) / 2, max(photo.size), 0.0)
        output = self._detector(whole.crop(photo, _DETECTOR) / np.float32(127.5) - 1)
        scores = _logistic(output[len(self._anchors), 1][:, 0])
        values = output[len(self._anchors), 12].reshape(-1, 6, 2)  # the face's center and size, and four points
        faces = list[np.ndarray]()
        for best in np.argsort(-scores, kind="stable"):
            if scores[best] < _PROPOSAL or len(faces) == _PEOPLE:
                return
            face, size = values[best, 0] + self._anchors[best], values[best, 1]
            box = np.stack([face - size / 2, face + size / 2])
            if all(_overlap(box, other) < _OVERLAP for other in faces):
                faces.append(box)
                center, rim = values[best, 2:4] + self._anchors[best]
                matrix = whole.matrix(_DETECTOR)
                yield float(scores[best]), Square.around(matrix @ (*center, 1), matrix @ (*rim, 1))

    def _closely(self, photo: Image.Image, proposal: Square) -> tuple[Square, Landmarks, float]:
        """The square around the person in a proposal, and what `together` makes of two looks at it."""
        rough = self._look(proposal.crop(photo, _LANDMARKS))
        center, rim = np.c_[rough.points[_BODY : _BODY + 2], np.ones(2)] @ proposal.matrix(_LANDMARKS).T
        square = Square.around(center, rim)
        crop = square.crop(photo, _LANDMARKS)
        return square, *together(self._look(crop), self._look(crop[:, ::-1]).mirrored())

    def _look(self, crop: np.ndarray) -> Landmarks:
        output = self._landmarks(crop / np.float32(255))
        values = output[(195,)].reshape(39, 5)  # x, y, depth, visibility, presence
        return Landmarks(
            values[:, :2], values[:, 2], _logistic(values[:, 3]), _logistic(output[64, 64, 39]), float(output[(1,)][0])
        )


class BlazePose:
    """Finds people. Threads that share one work side by side, each with networks of its own.

    Attributes:
        sha256: the SHA-256 of its file, by file name.
        runtime: the library that runs the networks, and its version; another one may give other digits.
    """

    def __init__(self, make: Callable[[], _Networks], sha256: str) -> None:
        self.sha256, self.runtime = {NAME: sha256}, f"{_RUNTIME} {version(_RUNTIME)}"
        self._make, self._idle = make, SimpleQueue[_Networks]()
        self._idle.put(make())  # which fails if the file does not hold them

    def people(self, images: Tensor) -> list[np.ndarray]:
        """The people in each photo, the surest first.

        From images (B, 3, H, W) uint8. Of each, (n, K, 3) float32: x and y in px, where (0, 0) is the center of the first
        pixel, and the visibility as confidence, all 0 for a missing joint.
        """
        try:
            networks = self._idle.get_nowait()
        except Empty:  # another thread uses them
            networks = self._make()
        try:
            return [networks.people(pixels) for pixels in images.movedim(1, 3).cpu().numpy()]
        finally:
            self._idle.put(networks)


def has_runtime() -> bool:
    """Whether the library that runs the networks is installed."""
    return find_spec("ai_edge_litert") is not None


def load(weights: Weights, *, min_person: float) -> BlazePose:
    """The networks, on the CPU; they ignore people with a score (0 to 1) below `min_person`.

    Raises:
        ReposeError: their file is missing, has another digest, or does not hold them; or their runtime is not installed.
    """
    if not has_runtime():
        raise ReposeError(
            f"blazepose runs in {_RUNTIME}, which is not installed: pip install ai-edge-litert. It has no wheel for Intel "
            "Macs."
        )
    path, sha256 = weights.of(NAME)
    with holding(path, "BlazePose", NAME), tarfile.open(path) as files:
        contents = [cast(IO[bytes], files.extractfile(of.rpartition("/")[2])).read() for of in KNOWN[NAME].members]
        return BlazePose(lambda: _Networks(min_person, *contents), sha256)


def _logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x.clip(-80, 80)))


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes (2,2): low and high corner."""
    shared = (np.minimum(one[1], other[1]) - np.maximum(one[0], other[0])).clip(0).prod()
    return float(shared / ((one[1] - one[0]).prod() + (other[1] - other[0]).prod() - shared))
