"""Mannequins in DeepFashion's layout: two to five studio photos of a person in each garment."""

from dataclasses import replace

import numpy as np

from mannequins.renderer.body import Shape
from mannequins.renderer.chance import Chance
from mannequins.renderer.exact import normal, uniform
from mannequins.renderer.garments import dressed
from mannequins.renderer.people import draw_person, standing
from mannequins.renderer.photo import MannequinPhoto, generator, photo_of, to_pixels, truth
from mannequins.renderer.posed_person import Person, posed
from mannequins.renderer.render import Camera, render
from mannequins.renderer.scenes import STUDIO_LIGHT, Studio, in_studio, studio
from mannequins.renderer.wardrobe import outfit
from repose.data.layouts import DeepFashion

SIZE, CONTENT, BAR = 256, 174, 41  # pixels: the square image, the width of the picture in it, the bar at its left

_COLOURS = (1, 2, 1, 1, 3)  # how many colors five garments in a row come in; each color is an item
_TEST_GARMENT = 2  # of five garments in a row, the one for tests
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
_VIEWS = {"1_front": 0.98, "2_side": 0.84, "3_back": 0.84, "4_full": 0.52, "7_additional": 0.84}


def fashion_item(seed: int, number: int) -> list[MannequinPhoto]:
    """All photos of item `number`: one color of one garment."""
    garment, colour = garment_of(number)
    cut, hue = generator(seed, 1, garment), generator(seed, 2, garment)
    woman = bool(cut.random() < 0.78)
    category = draw_category(cut, woman)
    shape, look = draw_person(cut, woman)
    person = dressed(shape, look, outfit(category, woman, Chance(cut, hue, variant=colour - 1)), 1.0, hue)
    place = studio(generator(seed, 3, garment))
    folder = f"img/{'WOMEN' if woman else 'MEN'}/{category}/id_{garment:08d}/{colour:02d}"
    return [
        _photo(person, place, view, f"{folder}_{view}.jpg", generator(seed, 4, number, int(view[0])))
        for view in _views(generator(seed, 5, number))
    ]


def garment_of(number: int) -> tuple[int, int]:
    """The id of an item's garment and the number of its color, both from 1."""
    block, place = divmod(number, sum(_COLOURS))
    ends = np.cumsum(_COLOURS)
    index = int(np.searchsorted(ends, place, side="right"))
    return 1 + block * len(_COLOURS) + index, place - int(ends[index]) + _COLOURS[index] + 1


def status_of(garment: int, photo: int) -> str:
    """The owner's partition of a garment's n-th photo: every fifth garment is for tests, query and gallery in turn."""
    return "train" if garment % len(_COLOURS) != _TEST_GARMENT else ("query", "gallery")[photo % 2]


def draw_category(rng: np.random.Generator, woman: bool) -> str:
    """A category of DeepFashion."""
    names, counts = zip(*CATEGORIES[woman].items(), strict=True)
    return str(rng.choice(names, p=np.array(counts) / sum(counts)))


def _views(rng: np.random.Generator) -> list[str]:
    """Two to five views, mostly four or five."""
    while True:
        views = [view for view, share in _VIEWS.items() if rng.random() < share]
        if len(views) >= 2:
            return views


def _photo(person: Person, place: Studio, view: str, path: str, rng: np.random.Generator) -> MannequinPhoto:
    yaw = _yaw(view, rng)
    pose = standing(rng, person.shape, yaw, over_shoulder=view == "3_back" and bool(rng.random() < 0.6))
    camera = _framing(view, person.shape, rng)
    picture = render(person, posed(person, pose), camera, STUDIO_LIGHT)
    planes = np.full((3, SIZE, SIZE), place.bars, np.float32)
    lamp = replace(place, level=min(place.level * uniform(rng, 0.97, 1.03), 254.0))
    planes[..., BAR : BAR + CONTENT] = in_studio(picture, camera, lamp)
    pixels, photo = to_pixels(planes), photo_of(DeepFashion, path)
    keypoints = picture.keypoints + np.array((BAR, 0), np.float32)
    return MannequinPhoto(path, photo.name, pixels, keypoints, truth(photo.item, yaw, picture, pixels))


def _yaw(view: str, rng: np.random.Generator) -> float:
    side = float(rng.choice((-1, 1)))
    draws = {
        "1_front": normal(rng, 0, 13), "2_side": side * uniform(rng, 52, 98), "3_back": 180 + normal(rng, 0, 17),
        "4_full": normal(rng, 0, 20),
        "7_additional": side * (uniform(rng, 15, 100) if rng.random() < 0.75 else uniform(rng, 100, 150)),
    }  # fmt: skip
    return float(draws[view])


def _framing(view: str, shape: Shape, rng: np.random.Generator) -> Camera:
    """The whole body, or from the head to the thighs or knees; pixels per height as measured in DeepFashion."""
    means = {"1_front": (366, 40), "2_side": (405, 42), "3_back": (398, 40), "4_full": (224, 8)}
    mean, spread = means.get(view, ((228, 12), (360, 40), (470, 35))[int(rng.integers(3))])
    if rng.random() < 0.1:  # a whole body in any view
        mean, spread = 228, 12
    scale = float(np.clip(normal(rng, mean, spread), 205, 540)) * float(np.sqrt(shape.height))
    nose = 0.088 * scale + uniform(rng, 0, 9)
    if rng.random() < (0.35 if scale > 440 else 0.04) and scale > 280:  # the head is cut off
        nose -= uniform(rng, 8, 70)
    x = (CONTENT - 1) / 2 + normal(rng, 0, 6)
    return Camera(SIZE, CONTENT, scale, x, nose, level=0.918, distance=4.0, pitch=uniform(rng, -1, 3))
