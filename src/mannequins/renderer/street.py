"""Mannequins in Market-1501's layout: people who walk past six cameras, cropped as by a detector."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from mannequins.renderer.chance import Chance
from mannequins.renderer.exact import normal, uniform
from mannequins.renderer.fashion import draw_category
from mannequins.renderer.garments import dressed
from mannequins.renderer.people import draw_person, walking
from mannequins.renderer.photo import MannequinPhoto, Truth, generator, photo_of, to_pixels, truth
from mannequins.renderer.posed_person import Person, posed
from mannequins.renderer.render import Camera, Rendering, render
from mannequins.renderer.scenes import Place, as_seen, compose, crop_of, places
from mannequins.renderer.wardrobe import outfit
from repose.data.layouts import DISTRACTOR, JUNK, Market1501
from repose.data.skeleton import K

HEIGHT, WIDTH = 128, 64  # pixels
_DETAIL = 0.6  # of the surfaces, for so small an image
_FRAMES = 60  # numbers kept for the photos of one person, so that no two photos share a name
_TEST = "bounding_box_test"


def street_item(seed: int, number: int) -> list[MannequinPhoto]:
    """All photos of person `number` + 1; for every other person, of the test partition, also query photos and nobodies."""
    rng = generator(seed, 11, number)
    street = _Street(places_of(seed), rng, iter(range((number + 1) * _FRAMES, (number + 2) * _FRAMES)))
    who, person = f"{number + 1:04d}", _passer_by(rng)
    cameras = sorted(rng.choice(6, int(rng.integers(3, 7)), replace=False).tolist())
    test = (number + 1) % 2 == 0
    folder = _TEST if test else "bounding_box_train"
    photos = [
        street.photo(person, folder, who, camera, box + 1)
        for camera in cameras
        for box in range(int(rng.integers(2, 5)))
    ]
    if test:
        photos += [street.photo(person, "query", who, camera, 0) for camera in cameras]
        photos += _nobodies(street, person, slips=number == 1)
    return photos


@lru_cache(maxsize=2)
def places_of(seed: int) -> tuple[Place, ...]:
    """The six cameras of a data set."""
    return places(generator(seed, 10))


def _passer_by(rng: np.random.Generator) -> Person:
    """A person in everyday clothes, at times with a backpack or a scarf."""
    woman = bool(rng.random() < 0.5)
    shape, look = draw_person(rng, woman)
    chance = Chance(rng, rng)
    clothes = outfit(draw_category(rng, woman), woman, chance)
    bag, scarf = chance.colour(), chance.vivid()
    if rng.random() < 0.3:
        clothes = replace(clothes, bag=bag)
    if rng.random() < 0.1 and clothes.upper.collar == "none":
        clothes = replace(clothes, scarf=scarf)
    return dressed(shape, look, clothes, _DETAIL, rng)


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
        x, y = normal(rng, (WIDTH - 1) / 2, 2 * loose), normal(rng, 5.5, 4 * loose)
        yaw = float(uniform(rng, 0, 360))
        picture, pixels = self._seen(person, yaw, camera, scale, x, y)
        known = None if who == DISTRACTOR else truth(who, yaw, picture, pixels)
        return self._named(folder, who, camera, box, pixels, picture.keypoints, known)

    def junk(self, person: Person) -> MannequinPhoto:
        """A box with half a person or none."""
        rng, camera = self.rng, int(self.rng.integers(6))
        if rng.random() < 0.5:
            place = self.places[camera]
            pixels = to_pixels(as_seen(crop_of(place, HEIGHT, WIDTH, rng), place, rng))
        else:
            x = WIDTH / 2 + float(rng.choice((-1, 1))) * uniform(rng, 24, 34)
            yaw, scale, y = float(uniform(rng, 0, 360)), uniform(rng, 110, 260), uniform(rng, -120, 40)
            pixels = self._seen(person, yaw, camera, scale, x, y)[1]
        nothing = np.full((K, 2), np.nan, np.float32)
        return self._named(_TEST, JUNK, camera, int(rng.integers(1, 9)), pixels, nothing, None)

    def _seen(
        self, person: Person, yaw: float, camera: int, scale: float, x: float, y: float
    ) -> tuple[Rendering, np.ndarray]:
        place, rng = self.places[camera], self.rng
        view = Camera(HEIGHT, WIDTH, scale, x, y, level=1.0, distance=6.0, pitch=place.pitch)
        picture = render(person, posed(person, walking(rng, yaw)), view, place.light)
        return picture, to_pixels(as_seen(compose(picture, crop_of(place, HEIGHT, WIDTH, rng)), place, rng))

    def _named(
        self,
        folder: str,
        who: str,
        camera: int,
        box: int,
        pixels: np.ndarray,
        keypoints: np.ndarray,
        known: Truth | None,
    ) -> MannequinPhoto:
        frame = next(self.frames)
        path = f"{folder}/{who}_c{camera + 1}s{1 + frame % 6}_{frame:06d}_{box:02d}.jpg"
        return MannequinPhoto(path, photo_of(Market1501, path).name, pixels, keypoints, known)


def _nobodies(street: _Street, person: Person, slips: bool) -> list[MannequinPhoto]:
    """Two strangers (distractors) and two or three boxes of junk; with Market-1501's slips: two names in .jpg.jpg."""
    strangers = [
        street.photo(_passer_by(street.rng), _TEST, DISTRACTOR, int(street.rng.integers(6)), 1) for _ in range(2)
    ]
    junk = [street.junk(person) for _ in range(int(street.rng.integers(2, 4)))]
    if slips:
        strangers[0], junk[0] = _slip(strangers[0]), _slip(junk[0])
    return strangers + junk


def _slip(photo: MannequinPhoto) -> MannequinPhoto:
    return replace(photo, path=f"{photo.path}.jpg", name=f"{photo.name}.jpg")
