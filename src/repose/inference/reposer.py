"""A trained system as one object that turns photos of a garment and target poses into images; see `repose.load`."""

import operator
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from PIL import Image

from mannequins import surface
from repose import checkpoint
from repose.data.photo_files import HIPS, Fit, Size, as_pixels, fit, read_photo
from repose.data.pictures import grid
from repose.data.posemaps import colour, draw
from repose.data.skeleton import K, present
from repose.devices import resolve
from repose.errors import DataError, PoseNotFoundError
from repose.generate import Framed, Request, generate
from repose.pose.detectors import NetworkName, PoseFinder
from repose.pose.keypoint_lookup import MIN_CONFIDENCE, KnownPoses, PoseSource, checked, read_pose
from repose.terminal import say, warn

_JOINTS = ((K, 2), (K, 3))  # the shapes of joints
_FINER = 1.5  # px of a photo per px of the frame from which its detail is worth the time


class SourcePhoto(NamedTuple):
    """A photo of the garment on a person, with the joints of that person."""

    pixels: np.ndarray  # (H, W, 3) uint8 RGB, upright
    keypoints: np.ndarray | None = None  # (18, 2) or (18, 3), see `Reposer.__call__`; None: look them up or detect them
    name: str = "a source photo"  # for messages

    @property
    def size(self) -> Size:
        """Height and width in px."""
        return self.pixels.shape[0], self.pixels.shape[1]


class TargetPose(NamedTuple):
    """A target pose that was measured in an image of another size than the first photo's."""

    keypoints: np.ndarray  # (18, 2) or (18, 3), see `Reposer.__call__`
    height: int  # px of the image that it was measured in
    width: int


PathLike = str | Path
Photo = PathLike | Image.Image | np.ndarray | SourcePhoto
Pose = PathLike | Image.Image | np.ndarray | TargetPose


class Found(NamedTuple):
    """What was found for earlier photos and poses, so that it is not looked for again."""

    joints: dict[Path | None, np.ndarray]  # that a network found, by the photo's path
    tables: dict[Path, PoseSource]  # the CSV files of poses


class Reposer:
    """A trained system and, optionally, a network that finds poses; both are loaded once.

    Photos and poses of another size than the training photos are framed around the person (`data.photo_files.fit`). The same
    calls give the same bytes on the same machine with the same number of torch threads. Threads can share one; while one
    reads a photo's file, Pillow's limit on pixels and its warnings are off in the whole process. Torch does not work in forked
    processes, so a pool of processes should use the method "spawn", and each process loads its own.

    Args:
        model: path of the checkpoint, such as a run's model.safetensors; None: the model that comes with repose.
        device: auto (a GPU if there is one), cpu, cuda or cuda:N.
        keypoints: files and folders in which the poses of photos are looked up by the photo's path: keypoints CSV,
            OpenPose JSON or a folder of such JSONs.
        pose_detector: the network that finds the poses of photos that are not in `keypoints`: blazepose (people),
            figure (mannequins), or auto: blazepose if `repose weights fetch blazepose` has brought it, else figure.
            None: auto, or, if `keypoints` are given, no network: a photo without a known pose is an error.
        height: of the images in px: 128, 256, ... 2048. Only for systems of the kind surface, such as the model that comes
            with repose. None: the checkpoint's own.

    Attributes:
        about: the checkpoint's settings and facts.
        max_sources: maximum number of photos that the system uses.
        needs_source_poses: whether each photo's keypoints must be known, for the system or to crop around the person.

    Raises:
        CheckpointError: the checkpoint is missing, damaged or not of repose.
        DataError: a keypoint file is missing or of an unknown format.
        SettingsError: the device is unknown or unavailable, or the system cannot make images of that height.
        ReposeError: the weights or the runtime of a detector other than auto are missing.
        ValueError: there is no such detector, or the height is not a whole number.
    """

    def __init__(
        self, model: PathLike | None = None, *, device: str = "auto", keypoints: PathLike | Sequence[PathLike] = (),
        pose_detector: NetworkName | None = None, height: int | None = None,
    ) -> None:  # fmt: skip
        files = [keypoints] if isinstance(keypoints, PathLike) else keypoints or ()
        self._poses = KnownPoses([Path(file) for file in files])
        self._device = resolve(device)
        self._detector: NetworkName | None = pose_detector or (None if files else "auto")
        if model is None:
            say("model: the one that comes with repose")
        path = surface.weights() if model is None else Path(model)
        try:
            height = None if height is None else operator.index(height)
        except TypeError:
            raise ValueError(f"height should be a whole number of px, such as 512, not {height!r}.") from None
        self._system, self.about = checkpoint.load(path, self._device, height)
        if pose_detector:
            _ = self._find_pose  # its errors come before any photo
        self.max_sources = self.about.row.max_sources
        self.needs_source_poses = self.about.row.needs_source_poses or self.about.frame.crop == "person"

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a str is one pose, though it is also a sequence of str
        self, photos: Photo | Sequence[Photo], pose: Pose, *, pose_size: Size | None = None
    ) -> Image.Image: ...
    @overload
    def __call__(
        self, photos: Photo | Sequence[Photo], pose: Sequence[Pose], *, pose_size: Size | None = None
    ) -> list[Image.Image]: ...
    def __call__(
        self, photos: Photo | Sequence[Photo], pose: Pose | Sequence[Pose], *, pose_size: Size | None = None
    ) -> Image.Image | list[Image.Image]:
        """Show the garment of the photos in one pose, or in each pose of a list.

        Joints are an array of the 18 OpenPose (COCO) keypoints: (18, 2) of x, y in px, NaN for missing, or (18, 3) of x, y and
        confidence; a confidence below 0.05 means missing. The center of the first pixel is (0, 0).

        Args:
            photos: one photo or several of one garment, the one with the most similar pose first. A photo is a path, a PIL
                image, an array (H, W, 3) uint8 RGB or a `SourcePhoto`. Photos beyond `max_sources` are ignored.
            pose: joints, a `TargetPose`, a pose file (OpenPose JSON, keypoints CSV, or CSV#NAME for one of several rows), or a
                photo of somebody in that pose, as a path, PIL image or array; or a list of such poses.
            pose_size: height and width in px of the image in which joints or a pose file were measured; None: those of the
                first photo.

        Returns:
            An RGB image of the checkpoint's size, or of `height`; for a list of poses, a list of images.

        Raises:
            PoseNotFoundError: a required pose of a photo is unknown, or has too few joints.
            DataError: a file cannot be read, joints lie outside their image or on one place, or no photo is given.
            ValueError: an array is of another shape or type.
            TypeError: a photo or pose is of another type.
        """
        given, poses = _listed(photos), _listed(pose)
        if not given:
            raise DataError("No source photo is given. Give at least one.")
        if len(given) > self.max_sources:
            left_out = len(given) - self.max_sources
            warn(f"{self.about.system} takes {self.max_sources} photos; ignoring the last {left_out}")
        found = Found({}, {})
        sources = tuple(self.source(photo, found) for photo in given[: self.max_sources])
        requests = [self.request(sources, p, pose_size, found) for p in poses]
        images = [Image.fromarray(made) for made in self.generate(requests)]
        return images if _is_several(pose) else images[0]

    def source(self, photo: Photo, found: Found | None = None) -> Framed:
        """Read a photo, find its joints if they are needed, and fit both into the frame.

        What is in `found` is not looked for again, and what is found now is added. Raises as `__call__`.
        """
        read, path = _read(photo)
        joints = np.full((K, 2), np.nan, np.float32)
        if self.needs_source_poses:
            joints = self._joints(read, path, found)
            if not present(joints)[HIPS].any():
                warn(f"{read.name}: shows no hips; the model invents what no source photo shows of the garment")
        place, times = self._fit(read.size, joints, read.name), self.about.row.finer_photos
        finer = place.finer(times).image(read.pixels) if times > 1 and place.scale >= _FINER else None
        return Framed(place.image(read.pixels), place.keypoints(joints), read.size, finer)

    def request(
        self, sources: Sequence[Framed], pose: Pose, pose_size: Size | None = None, found: Found | None = None
    ) -> Request:
        """A request for an image of at least one photo. `found` as for `source`, the others and errors as for `__call__`."""
        name = "the target pose"
        size = sources[0].photo_size if pose_size is None else _checked_size(pose_size, "pose_size")
        if isinstance(pose, TargetPose):
            size = _checked_size((pose.height, pose.width), "the size of a TargetPose")
            keypoints = _checked_joints(pose.keypoints, size, name)
        elif isinstance(pose, np.ndarray) and (pose.ndim == 2 or pose.shape[-2:] in _JOINTS):
            keypoints = _checked_joints(pose, size, name)
        elif isinstance(pose, PathLike) and file_and_row(str(pose))[0].suffix.lower() in (".csv", ".json"):
            keypoints = read_pose(*file_and_row(str(pose)), *size, None if found is None else found.tables)
        else:
            read, path = _read(pose)
            size, name = read.size, read.name
            keypoints = self._joints(read, path, found)
        return Request(tuple(sources), self._fit(size, keypoints, name).keypoints(keypoints))

    def generate(self, requests: Sequence[Request]) -> Iterator[np.ndarray]:
        """Yield the images of requests, (height, width, 3) uint8 each, several per call of the system."""
        return generate(self._system, requests, self.about.line_width, self._device)

    def picture(self, request: Request, generated: np.ndarray) -> np.ndarray:
        """The system's input photos, the pose and the image in one row, (H, W, 3) uint8."""
        height, width = self.about.frame.height, self.about.frame.width
        maps = draw(request.pose[None], height=height, width=width, line_width=self.about.line_width)
        photos = [source.pixels for source in request.sources]
        titles = ["source" if len(photos) == 1 else f"source {n}" for n in range(1, len(photos) + 1)]
        return grid([[*photos, colour(maps)[0], generated]], [*titles, "pose", "generated"])

    def _fit(self, size: Size, joints: np.ndarray, name: str) -> Fit:
        place = fit(self.about.frame, size, self.about.photo_size, joints)
        if place.turns:
            warn(f"{name}: turned by {90 * min(place.turns, 4 - place.turns)} degrees, so that the person is upright")
        return place

    def _joints(self, photo: SourcePhoto, path: Path | None, found: Found | None) -> np.ndarray:
        """The joints (K, 2) in px of a photo: given, looked up in the files, or found by the network."""
        if photo.keypoints is not None:
            return _checked_joints(photo.keypoints, photo.size, photo.name)
        if path is not None and (known := self._poses.find(path, *photo.size)) is not None:
            return known
        if self._detector is None:
            raise PoseNotFoundError(
                f"None of {', '.join(map(str, self._poses.files))} has keypoints of {photo.name}, and its pose must be known. "
                "Let a network find it (--find-poses auto, in Python pose_detector), or run OpenPose (openpose.bin "
                "--image_dir PHOTOS --write_json POSES --model_pose COCO --display 0 --render_pose 0) and name its result: "
                "--keypoints POSES."
            )
        joints = {} if found is None else found.joints
        if path is None or path not in joints:
            joints[path] = self._detected(photo)
        return checked(joints[path], *photo.size, photo.name)

    def _detected(self, photo: SourcePhoto) -> np.ndarray:
        joints, people = self._find_pose(photo.pixels)
        if not present(joints).any():
            raise PoseNotFoundError(
                f"{photo.name}: the network {self._find_pose.network} finds no person. Give a photo that shows a person at "
                "least from the head to the hips, on a quarter of its longer side or more, name another network "
                "(--find-poses, in Python pose_detector), or give the joints (--keypoints, in Python keypoints)."
            )
        if people > 1:
            warn(f"{photo.name}: shows {people} people; taking the large one near the middle")
        return joints

    def __getstate__(self) -> dict[str, Any]:
        """What pickle and copy keep: all but the detector, which cannot be pickled; a copy loads its own."""
        return {name: value for name, value in vars(self).items() if name != "_find_pose"}

    @cached_property
    def _find_pose(self) -> PoseFinder:
        return PoseFinder(self._detector or "auto", self._device)


def file_and_row(pose: str) -> tuple[Path, str | None]:
    """`poses.csv#NAME` -> the file and NAME; any other pose -> the file and None."""
    found = re.fullmatch(r"(.*?\.csv)#(.*)", pose, re.IGNORECASE | re.DOTALL)  # a name may have a # too
    return (Path(found[1]), found[2]) if found else (Path(pose), None)


def _is_several(given: object) -> bool:
    return isinstance(given, (list, tuple)) and not isinstance(given, (SourcePhoto, TargetPose))


def _listed(given: Any) -> list[Any]:
    return list(given) if _is_several(given) else [given]


def _read(photo: object) -> tuple[SourcePhoto, Path | None]:
    """Read a photo's pixels; return them with the path if it is a file."""
    match photo:
        case str() | Path():
            return SourcePhoto(read_photo(Path(photo)), None, str(photo)), Path(photo)
        case SourcePhoto():
            return photo._replace(pixels=as_pixels(photo.pixels, photo.name)), None
        case Image.Image() | np.ndarray():
            name = "the PIL image" if isinstance(photo, Image.Image) else "the array"
            return SourcePhoto(as_pixels(photo, name), None, name), None
    raise TypeError(
        f"a photo or pose should be a path, a PIL image or a numpy array (also of joints), not {type(photo).__name__}."
    )


def _checked_size(size: Any, what: str) -> Size:
    try:
        height, width = map(operator.index, size)
    except (TypeError, ValueError):
        wanted = "the height and width in px, such as (256, 176)"
        raise ValueError(f"{what} should be {wanted}, not {size!r}.") from None
    return height, width


def _checked_joints(joints: np.ndarray, size: Size, where: str) -> np.ndarray:
    """Check a caller's joints (18, 2) or (18, 3); return them as keypoints (K, 2)."""
    try:
        joints = np.asarray(joints, np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"joints should be an array of numbers ({where}): {error}") from None
    if joints.shape not in _JOINTS:
        raise ValueError(
            f"joints should be ({K}, 2) or ({K}, 3), not {joints.shape} ({where}). For several poses, give a list of arrays."
        )
    sure = (joints[:, 2:] >= MIN_CONFIDENCE).all(1, keepdims=True)  # (K, 1); True where there is no confidence
    points = np.where(sure, joints[:, :2], np.float32(np.nan))
    for mark in (0, -1):
        if (points == mark).all(1).any():
            raise DataError(f"{where}: a joint is at ({mark}, {mark}). Give NaN for joints that are missing.")
    return checked(points, *size, where)
