"""The photos of one item: a garment in a studio, in DeepFashion's layout (fashion), or a person who walks past six cameras
and is cropped as by a detector, in Market-1501's (street).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, Literal, cast

import numpy as np
from pydantic import Field, NonNegativeInt

from mannequins.renderer.body import Pose, Shape, draw_person, standing, walking
from mannequins.renderer.exact import normal, uniform
from mannequins.renderer.garments import dressed
from mannequins.renderer.posed_person import Person, posed
from mannequins.renderer.render import Camera, Rendering, render
from mannequins.renderer.scenes import STUDIO_LIGHT, Place, Studio, as_seen, crop_of, in_studio, places, studio
from mannequins.renderer.wardrobe import Chance, outfit
from repose.config import settings
from repose.data.layouts import DISTRACTOR, JUNK, DeepFashion, Market1501, Photo
from repose.data.skeleton import K
from repose.data.visibility import to_text

_MAX_PERSONS = 9999  # Market-1501's names have four digits for a person


@settings
class MannequinSettings:
    """The settings of a mannequin data set."""

    flavour: Literal["fashion", "street"]  # DeepFashion's layout at 256x256, or Market-1501's at 128x64
    items: Annotated[int, Field(ge=2)]  # garments (fashion) or persons (street): one to train on and one to test on
    seed: NonNegativeInt
    quality: Annotated[int, Field(ge=1, le=100)]  # of the JPEG files

    def __post_init__(self) -> None:
        if self.flavour == "street" and self.items > _MAX_PERSONS:
            raise ValueError(f"items is {self.items}, but Market-1501's names have room for {_MAX_PERSONS} persons.")


@dataclass(frozen=True)
class Truth:
    """Ground truth of a photo of an item."""

    item: str
    yaw: float  # degrees, 0 to 360: 0 faces the camera, 90 shows the person's right side, 180 the back
    front_share: float  # of the torso's garments in sight, how much is their front half; NaN where none is in sight
    person_share: float  # of the image, how much the person covers
    visible: str  # which cells of the torso's garments are in sight, see `visibility.to_text`


@dataclass(frozen=True)
class MannequinPhoto:
    """One photo."""

    path: str  # in the owner's layout
    name: str  # as in every later table
    pixels: np.ndarray  # (H, W, 3) uint8
    keypoints: np.ndarray  # (18, 2) float32 x, y in pixels; NaN: missing
    truth: Truth | None  # None for junk and distractors, which are no item


def render_item(settings: MannequinSettings, number: int) -> list[MannequinPhoto]:
    """All photos of item `number` (from 0); in street, with the junk and the distractors that lie beside them."""
    return (_garment if settings.flavour == "fashion" else _person)(settings.seed, number)


def _photo(
    layout: type[DeepFashion | Market1501], path: str, pixels: np.ndarray, keypoints: np.ndarray,
    picture: Rendering | None = None, yaw: float = 0.0,
) -> MannequinPhoto:  # fmt: skip
    """The photo at a path of the owner's layout; without a picture it is of no item."""
    listed, truth = cast(Photo, layout([], lambda _: b"").photo(path)), None
    if picture is not None:
        covered = float(picture.coverage.sum(dtype=np.float64)) / (pixels.shape[0] * pixels.shape[1])
        truth = Truth(listed.item, yaw % 360, picture.front_share, covered, to_text(picture.visible))
    return MannequinPhoto(path, listed.name, pixels, keypoints, truth)


def to_pixels(planes: np.ndarray) -> np.ndarray:
    """(3, H, W) float, 0 to 255 (other values are clipped) -> (H, W, 3) uint8, rounded to nearest."""
    return np.ascontiguousarray(np.clip(planes + np.float32(0.5), 0, 255).astype(np.uint8).transpose(1, 2, 0))


def _generator(seed: int, *which: int) -> np.random.Generator:
    """The random generator of one part of a data set; other parts and seeds draw independently."""
    return np.random.default_rng((seed, *which))


_SIZE, _CONTENT, _BAR = 256, 174, 41  # pixels: the square image, the width of the picture in it, the bar at its left
_COLOURS = (1, 2, 1, 1, 3)  # how many colors five garments in a row come in; each color is an item
# Per hundred women's and men's garments; 86 of them are upper garments or dresses.
CATEGORIES = {
    True: {
        "Tees_Tanks": 22, "Blouses_Shirts": 17, "Dresses": 17, "Sweaters": 8, "Jackets_Coats": 7, "Cardigans": 5,
        "Graphic_Tees": 5, "Sweatshirts_Hoodies": 5, "Shorts": 4, "Skirts": 4, "Pants": 3, "Rompers_Jumpsuits": 1,
        "Denim": 1, "Leggings": 1,
    },
    False: {
        "Tees_Tanks": 36, "Shirts_Polos": 18, "Sweatshirts_Hoodies": 14, "Sweaters": 10, "Jackets_Vests": 9,
        "Suiting": 2, "Pants": 5, "Shorts": 4, "Denim": 2,
    },
}  # fmt: skip
# How often a garment has a photo of a view: DeepFashion's shares.
VIEWS = {"1_front": 0.98, "2_side": 0.84, "3_back": 0.84, "4_full": 0.52, "7_additional": 0.84}


def _garment(seed: int, number: int) -> list[MannequinPhoto]:
    """All photos of item `number`: one color of one garment."""
    garment, colour = garment_of(number)
    cut, hue = _generator(seed, 1, garment), _generator(seed, 2, garment)
    woman = bool(cut.random() < 0.78)
    category = draw_category(cut, woman)
    shape, look = draw_person(cut, woman)
    person = dressed(shape, look, outfit(category, woman, Chance(cut, hue, variant=colour - 1)), 1.0, hue)
    place = studio(_generator(seed, 3, garment))
    folder = f"img/{'WOMEN' if woman else 'MEN'}/{category}/id_{garment:08d}/{colour:02d}"
    rng, views = _generator(seed, 5, number), list[str]()
    while len(views) < 2:  # mostly four or five
        views = [view for view, share in VIEWS.items() if rng.random() < share]
    return [
        _studio_photo(person, place, view, f"{folder}_{view}.jpg", _generator(seed, 4, number, int(view[0])))
        for view in views
    ]


def garment_of(number: int) -> tuple[int, int]:
    """The id of an item's garment and the number of its color, both from 1."""
    block, place = divmod(number, sum(_COLOURS))
    ends = np.cumsum(_COLOURS)
    index = int(np.searchsorted(ends, place, side="right"))
    return 1 + block * len(_COLOURS) + index, place - int(ends[index]) + _COLOURS[index] + 1


def status_of(garment: int, photo: int) -> str:
    """The owner's partition of a garment's n-th photo: every fifth garment is for tests, query and gallery in turn."""
    return "train" if garment % len(_COLOURS) != 2 else ("query", "gallery")[photo % 2]


def draw_category(rng: np.random.Generator, woman: bool) -> str:
    """A category of DeepFashion."""
    names, counts = zip(*CATEGORIES[woman].items(), strict=True)
    return str(rng.choice(names, p=np.array(counts) / sum(counts)))


def _studio_photo(person: Person, place: Studio, view: str, path: str, rng: np.random.Generator) -> MannequinPhoto:
    yaw, pose, camera = studio_view(person.shape, view, rng)
    picture = render(person, posed(person, pose), camera, STUDIO_LIGHT)
    planes = np.full((3, _SIZE, _SIZE), place.bars, np.float32)
    lamp = replace(place, level=min(place.level * uniform(rng, 0.97, 1.03), 254.0))
    planes[..., _BAR : _BAR + _CONTENT] = in_studio(picture, camera, lamp)
    keypoints = picture.keypoints + np.array((_BAR, 0), np.float32)
    return _photo(DeepFashion, path, to_pixels(planes), keypoints, picture, yaw)


def studio_view(shape: Shape, view: str, rng: np.random.Generator) -> tuple[float, Pose, Camera]:
    """A person before the camera in one of VIEWS: yaw in degrees, pose, and the camera of a 256x174 picture."""
    side = float(rng.choice((-1, 1)))
    yaws = {
        "1_front": normal(rng, 0, 13), "2_side": side * uniform(rng, 52, 98), "3_back": 180 + normal(rng, 0, 17),
        "4_full": normal(rng, 0, 20),
        "7_additional": side * (uniform(rng, 15, 100) if rng.random() < 0.75 else uniform(rng, 100, 150)),
    }  # fmt: skip
    yaw = float(yaws[view])
    pose = standing(rng, shape, yaw, over_shoulder=view == "3_back" and bool(rng.random() < 0.6))
    return yaw, pose, _framing(view, shape.height, rng)


def _framing(view: str, height: float, rng: np.random.Generator) -> Camera:
    """The whole body, or from the head to the thighs or knees; pixels per height as measured in DeepFashion."""
    means = {"1_front": (366, 40), "2_side": (405, 42), "3_back": (398, 40), "4_full": (224, 8)}
    mean, spread = means.get(view, ((228, 12), (360, 40), (470, 35))[int(rng.integers(3))])
    if rng.random() < 0.1:  # a whole body in any view
        mean, spread = 228, 12
    scale = float(np.clip(normal(rng, mean, spread), 205, 540)) * float(np.sqrt(height))
    nose = 0.088 * scale + uniform(rng, 0, 9)
    if rng.random() < (0.35 if scale > 440 else 0.04) and scale > 280:  # the head is cut off
        nose -= uniform(rng, 8, 70)
    x = (_CONTENT - 1) / 2 + normal(rng, 0, 6)
    return Camera(_SIZE, _CONTENT, scale, x, nose, level=0.918, distance=4.0, pitch=uniform(rng, -1, 3))


_HEIGHT, _WIDTH = 128, 64  # pixels
_FRAMES = 60  # numbers kept for the photos of one person, so that no two photos share a name
_TEST = "bounding_box_test"


def _person(seed: int, number: int) -> list[MannequinPhoto]:
    """All photos of person `number` + 1; for every other person, of the test partition, also query photos and nobodies.

    The nobodies are two strangers (distractors) and two or three boxes of junk. Two of a data set's are named .jpg.jpg, as
    in Market-1501.
    """
    rng = _generator(seed, 11, number)
    street = _Street(_places(seed), rng, iter(range((number + 1) * _FRAMES, (number + 2) * _FRAMES)))
    who, person = f"{number + 1:04d}", _passer_by(rng)
    cameras = sorted(rng.choice(6, int(rng.integers(3, 7)), replace=False).tolist())
    test = (number + 1) % 2 == 0
    folder = _TEST if test else "bounding_box_train"
    boxes = ((camera, box + 1) for camera in cameras for box in range(int(rng.integers(2, 5))))
    photos = [street.photo(person, folder, who, camera, box) for camera, box in boxes]
    if test:
        photos += [street.photo(person, "query", who, camera, 0) for camera in cameras]
        strangers = [street.photo(_passer_by(rng), _TEST, DISTRACTOR, int(rng.integers(6)), 1) for _ in range(2)]
        junk = [street.junk(person) for _ in range(int(rng.integers(2, 4)))]
        if number == 1:
            for some in (strangers, junk):
                some[0] = replace(some[0], path=f"{some[0].path}.jpg", name=f"{some[0].name}.jpg")
        photos += strangers + junk
    return photos


@lru_cache(maxsize=2)
def _places(seed: int) -> tuple[Place, ...]:
    """The six cameras of a data set."""
    return places(_generator(seed, 10))


def _passer_by(rng: np.random.Generator) -> Person:
    """A person in everyday clothes, at times with a backpack or a scarf; coarser, for so small an image."""
    woman = bool(rng.random() < 0.5)
    shape, look = draw_person(rng, woman)
    chance = Chance(rng, rng)
    clothes = outfit(draw_category(rng, woman), woman, chance)
    bag, scarf = chance.colour(), chance.vivid()
    if rng.random() < 0.3:
        clothes = replace(clothes, bag=bag)
    if rng.random() < 0.1 and clothes.upper.collar == "none":
        clothes = replace(clothes, scarf=scarf)
    return dressed(shape, look, clothes, 0.6, rng)


@dataclass(frozen=True)
class _Street:
    """The cameras, and the draws and frame numbers of one person's photos."""

    places: tuple[Place, ...]
    rng: np.random.Generator
    frames: Iterator[int]

    def photo(self, person: Person, folder: str, who: str, camera: int, box: int) -> MannequinPhoto:
        """A person as a detector's box cuts them out; box 0 is drawn by hand and fits better."""
        rng, loose = self.rng, 1.0 if box else 0.5
        scale = 125 * person.shape.height * normal(rng, 1, 0.06 * loose)
        x, y = normal(rng, (_WIDTH - 1) / 2, 2 * loose), normal(rng, 5.5, 4 * loose)
        yaw = float(uniform(rng, 0, 360))
        picture, pixels = self._seen(person, yaw, camera, scale, x, y)
        path, item = self._path(folder, who, camera, box), None if who == DISTRACTOR else picture
        return _photo(Market1501, path, pixels, picture.keypoints, item, yaw)

    def junk(self, person: Person) -> MannequinPhoto:
        """A box with half a person or none."""
        rng, camera = self.rng, int(self.rng.integers(6))
        if rng.random() < 0.5:
            place = self.places[camera]
            pixels = to_pixels(as_seen(crop_of(place, _HEIGHT, _WIDTH, rng), place, rng))
        else:
            x = _WIDTH / 2 + float(rng.choice((-1, 1))) * uniform(rng, 24, 34)
            yaw, scale, y = float(uniform(rng, 0, 360)), uniform(rng, 110, 260), uniform(rng, -120, 40)
            pixels = self._seen(person, yaw, camera, scale, x, y)[1]
        path = self._path(_TEST, JUNK, camera, int(rng.integers(1, 9)))
        return _photo(Market1501, path, pixels, np.full((K, 2), np.nan, np.float32))

    def _seen(
        self, person: Person, yaw: float, camera: int, scale: float, x: float, y: float
    ) -> tuple[Rendering, np.ndarray]:
        place, rng = self.places[camera], self.rng
        view = Camera(_HEIGHT, _WIDTH, scale, x, y, level=1.0, distance=6.0, pitch=place.pitch)
        picture = render(person, posed(person, walking(rng, yaw)), view, place.light)
        image = picture.colour + (1 - picture.coverage) * crop_of(place, _HEIGHT, _WIDTH, rng)
        return picture, to_pixels(as_seen(image, place, rng))

    def _path(self, folder: str, who: str, camera: int, box: int) -> str:
        frame = next(self.frames)
        return f"{folder}/{who}_c{camera + 1}s{1 + frame % 6}_{frame:06d}_{box:02d}.jpg"
