"""Rendered people to train on: photos, joints as a detector finds them, and the renderer's truth.

Nothing is written to disk. An item depends on the seed and its number only, and is rendered when a step needs it.
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from PIL import Image

from mannequins.renderer.body import Arm, Leg, Look, Pose, draw_person
from mannequins.renderer.canvas import Cloth, Colour
from mannequins.renderer.exact import uniform
from mannequins.renderer.garments import dressed
from mannequins.renderer.items import VIEWS, draw_category, studio_view, to_pixels
from mannequins.renderer.posed_person import Person, posed
from mannequins.renderer.render import Camera, Light, Rendering, Surface, flow, joints_in, render
from mannequins.renderer.scenes import STUDIO_LIGHT, Studio, in_studio, studio
from mannequins.renderer.wardrobe import Chance, Lower, Outfit, Upper, outfit
from repose.data.skeleton import JOINT, MIRROR, K

BACKGROUND = 16  # the part of a place that shows no person
_STRIDE = 2  # px of a photo between two places of the truth
_FINER = 2  # px of a rendering per px of its photo: photos of shops are reduced, too
_OFF_MIDDLE = 0.25  # px of a rendering: how far to the right of and below the middle of a place the renderer samples it
_STUDIO_HEIGHT, _STUDIO_WIDTH = 256, 174  # px, of `items.studio_view`'s cameras
_FACE = [JOINT[name] for name in ("nose", "right_eye", "left_eye", "right_ear", "left_ear")]
_LEGS = [JOINT[f"{side}_{name}"] for side in ("right", "left") for name in ("hip", "knee", "ankle")]
_LOOSE = ("long", "long_front", "bob")
_STYLES = ("long", "long", "long_front", "long_front", "bob", "ponytail", "bun", "beanie")


class View(NamedTuple):
    """A photo of an item and what is known of it; h = H / 2, w = W / 2."""

    pixels: np.ndarray  # (H,W,3) uint8
    keypoints: np.ndarray  # (18,2) float32 px; NaN where missing
    alpha: np.ndarray  # (H,W) uint8: the share of each pixel that the person covers, of 255
    surface: np.ndarray  # (3,h,w) float32: x, y, z at rest, in heights
    parts: np.ndarray  # (h,w) uint8: the bone that moves the place most, or BACKGROUND
    yaw: float  # degrees


@dataclass(frozen=True)
class Item:
    """The views of one dressed person."""

    category: str  # of DeepFashion
    skin: Colour  # red, green, blue, 0 to 255
    views: list[View]
    surfaces: list[Surface]
    finer: int  # px of the renderings per px of the photos

    def flow(self, source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
        """Where the places of a view lie in another: (2,h,w) float32 px, and whether they are in sight there (h,w) bool."""
        found, sight = flow(self.surfaces[source], self.surfaces[target])
        return _of_photo(found - np.float32(_OFF_MIDDLE), self.finer), sight


def render_item(seed: int, number: int, views: int, height: int, width: int, *, plain: bool = False) -> Item:
    """Render an item in a studio.

    Args:
        seed: of the data set.
        number: of the item in it, from 0.
        views: the number of photos. Their views differ if there are enough kinds.
        height: of a photo in px.
        width: of a photo in px.
        plain: leave out folds, the variation of light and tone and the errors of joints; joints out of sight are missing.
            The photos are rendered at their size; others at twice their size.
    """
    rng, finer = np.random.default_rng((seed, number)), 1 if plain else _FINER
    woman = bool(rng.random() < 0.78)
    category = draw_category(rng, woman)
    if not plain and woman and rng.random() < 0.3:  # dresses are the hardest
        category = "Dresses"
    shape, look = draw_person(rng, woman)
    worn = outfit(category, woman, Chance(rng, rng, variant=0))
    if not plain:
        look, worn = with_hair(look, woman, rng), as_sold(worn, rng)
        shape = replace(shape, head=uniform(rng, 1.0, 1.14), muscle=shape.muscle * uniform(rng, 1.0, 1.15))
    heels = uniform(rng, 10, 40) if woman and rng.random() < 0.5 else 0.0
    person = dressed(shape, look, worn, 1.0, rng)
    if not plain:
        person = with_grain(person, rng)
    place, light, tone = _place(rng), _light(rng), _Tone(rng)
    detector, creases = _Detector(rng), 0.0 if plain else 0.18 * uniform(rng, 0, 1) ** 2
    chosen = rng.choice(list(VIEWS), views, replace=views > len(VIEWS))
    found, surfaces = [], []
    for view in chosen:
        yaw, pose, full_size = studio_view(shape, str(view), rng)
        pose = pose if plain else at_ease(pose, heels, rng)
        camera = _scaled(full_size, finer * height, finer * width)
        body = posed(person, pose)
        picture = render(person, body, camera, STUDIO_LIGHT if plain else light)
        if not plain:
            picture = replace(picture, colour=picture.colour * creased(picture, look.skin, camera.scale, creases, rng))
        image = in_studio(picture, camera, place)
        pixels = to_pixels(image) if plain else tone.photo(image, rng)
        keypoints = picture.keypoints
        if not plain:
            keypoints = detector.found(keypoints, joints_in(body, camera), camera.scale, rng)
        if finer > 1:
            pixels = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))
        surfaces.append(picture.surface(_STRIDE * finer))
        coverage = picture.coverage.reshape(height, finer, width, finer).mean((1, 3))
        found.append(_view(person, coverage, surfaces[-1], pixels, _of_photo(keypoints, finer), yaw))
    return Item(category, look.skin, found, surfaces, finer)


def _of_photo(places: np.ndarray, finer: int) -> np.ndarray:
    """Places of a rendering, in px of its photo."""
    return np.asarray((places - (finer - 1) / 2) / finer, np.float32)


def _view(
    person: Person, coverage: np.ndarray, surface: Surface, pixels: np.ndarray, keypoints: np.ndarray, yaw: float
) -> View:
    covered = surface.corners[0] >= 0
    corners = np.maximum(surface.corners, 0)
    rest = (person.rest[:, corners] * surface.shares).sum(1) * covered
    most = np.take_along_axis(corners, surface.shares.argmax(0)[None], 0)[0]
    parts = np.where(covered, person.bones[0][most], BACKGROUND)
    alpha = np.rint(coverage * 255).astype(np.uint8)
    return View(pixels, keypoints, alpha, rest.astype(np.float32), parts.astype(np.uint8), yaw % 360)


def _scaled(camera: Camera, height: int, width: int) -> Camera:
    """The camera of a smaller picture: the same height of the scene, and its middle."""
    factor = height / _STUDIO_HEIGHT
    x = (camera.x - (_STUDIO_WIDTH - 1) / 2) * factor + (width - 1) / 2
    y = (camera.y + 0.5) * factor - 0.5
    return replace(camera, height=height, width=width, scale=camera.scale * factor, x=x, y=y)


def _place(rng: np.random.Generator) -> Studio:
    """Mostly white or light gray, at times a wall of any brightness; with a shadow on any side."""
    kind, place = rng.random(), studio(rng)
    soft = uniform(rng, 0.008, 0.04)
    place = replace(
        place, shadow=max(0.0, uniform(rng, -0.06, 0.22)), soft=soft, aside=uniform(rng, -0.09, 0.09) / soft,
        spot=uniform(rng, 0.1, 0.6),
    )  # fmt: skip
    if kind < 0.5:
        return replace(place, level=uniform(rng, 246, 256), warmth=0.0, fall=0.0)
    return replace(place, level=uniform(rng, 40, 230), warmth=uniform(rng, -20, 20)) if kind < 0.6 else place


def _light(rng: np.random.Generator) -> Light:
    """A lamp from any side in front, hard or soft."""
    lamp = uniform(rng, 0.15, 0.65)
    around = 1.2 - 0.62 * lamp + uniform(rng, -0.1, 0.15)
    tilt = uniform(rng, 0, 0.2)
    return Light(
        (uniform(rng, -0.9, 0.9), uniform(rng, 0.2, 0.9), 0.85), lamp, (around + tilt) / 1.3, (around - tilt) / 1.3
    )


class _Detector:
    """A detector of joints: its own idea of where each joint is, how often it guesses what is hidden, and random errors."""

    def __init__(self, rng: np.random.Generator) -> None:
        below = rng.normal(0, 0.008, K)  # heights of the person
        self.below = (below + below[MIRROR]) / 2**0.5  # the same left and right
        self.wide = {"shoulder": 1 + rng.normal(0, 0.06), "hip": 1.14 + rng.normal(0, 0.1)}
        self.noise = uniform(rng, 0.003, 0.008) * np.ones((K, 1))
        for joint in _FACE:  # detectors are more exact there
            self.noise[joint] *= 0.35
            self.below[joint] *= 0.4
        self.guesses = np.full((K, 1), max(0.0, uniform(rng, -0.2, 1.3)))
        self.guesses[_FACE + _LEGS] = 0.9  # ears are also found under hair, and legs under skirts

    def found(self, keypoints: np.ndarray, hidden: np.ndarray, scale: float, rng: np.random.Generator) -> np.ndarray:
        """Keypoints as this detector finds them; a few are missing.

        Args:
            keypoints: (K,2) px, those in sight.
            hidden: (K,2) px, also those that clothes, hair and limbs hide, some of which are guessed.
            scale: px of the person's height.
            rng: draws the errors.
        """
        guessed = np.isnan(keypoints) & (rng.random((K, 1)) < self.guesses)
        found = np.where(guessed, hidden, keypoints)
        found = found + scale * self.noise * (1 + guessed) * rng.normal(0, 1, keypoints.shape)
        found[:, 1] += scale * self.below
        for part, factor in self.wide.items():
            both = [JOINT[f"{side}_{part}"] for side in ("right", "left")]
            wider = (factor - 1) * (keypoints[both] - keypoints[both].mean(0))
            found[both] += np.nan_to_num(wider)  # where the other one is missing, the width is not known
        return np.where(rng.random(len(keypoints))[:, None] < 0.02, np.nan, found).astype(np.float32)


class _Tone:
    """The camera, light and files of one shop."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.gain = 1 + rng.normal(0, 0.04, (3, 1, 1)) * (rng.random() < 0.25) + uniform(rng, -0.06, 0.06)
        self.contrast, self.saturation = uniform(rng, 0.85, 1.15), uniform(rng, 0.6, 1.3)
        self.blur, self.noise = uniform(rng, -0.6, 0.5), max(0.0, uniform(rng, -3, 3))
        self.quality = int(rng.integers(60, 101))

    def photo(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(3,H,W) float, 0 to 255 -> (H,W,3) uint8."""
        if self.blur:
            around = np.pad(image, ((0, 0), (1, 1), (1, 1)), mode="edge")
            cross = around[:, :-2, 1:-1] + around[:, 2:, 1:-1] + around[:, 1:-1, :-2] + around[:, 1:-1, 2:]
            image = image + self.blur * (cross / 4 - image)
        gray = image.mean(0, keepdims=True)
        image = (gray + self.saturation * (image - gray)) * self.gain * uniform(rng, 0.97, 1.03)
        image = 255 - (255 - image) * self.contrast  # white stays white
        image = image + rng.normal(0, 1, image.shape) * self.noise
        file = io.BytesIO()
        Image.fromarray(to_pixels(image.astype(np.float32))).save(file, "JPEG", quality=self.quality)
        return np.asarray(Image.open(file).convert("RGB"))


# ---- what training varies beyond the demo's mannequins: poses, fuller hair, and clothes as shops sell them


def at_ease(pose: Pose, heels: float, rng: np.random.Generator) -> Pose:
    """The same pose with the arms nearer to the body, the legs together or apart, and the heels raised (degrees)."""
    near, apart = uniform(rng, 0.2, 1.0), float(np.clip(rng.normal(-1.5, 3.5), -7, 8))

    def arm(of: Arm) -> Arm:
        return replace(of, abduction=of.abduction * near) if 0 < of.abduction < 35 else of

    def leg(of: Leg) -> Leg:
        return replace(of, abduction=max(of.abduction + apart, -3.0), heel=max(of.heel, heels))

    return replace(
        pose, right_arm=arm(pose.right_arm), left_arm=arm(pose.left_arm), right_leg=leg(pose.right_leg),
        left_leg=leg(pose.left_leg),
    )  # fmt: skip


def with_hair(look: Look, woman: bool, rng: np.random.Generator) -> Look:
    """The same face in another tone. A woman's hair is mostly loose, of any volume, before the shoulders or behind them."""
    tone = uniform(rng, 0.75, 1.25)
    hair = _colour(level * tone + uniform(rng, -8, 8) for level in look.hair)
    shade = uniform(rng, 0.9, 1.06)
    skin = _colour(level * shade for level in look.skin)
    style = str(rng.choice(_STYLES)) if woman and look.style != "afro" else look.style
    volume = uniform(rng, 0, 2) if style in _LOOSE else 0.0
    return replace(look, hair=hair, skin=skin, style=style, volume=volume, length=uniform(rng, 0.66, 0.81))


def as_sold(outfit: Outfit, rng: np.random.Generator) -> Outfit:
    """The same garments, many of them wider, longer, lower at the neck or quieter; most backs are of the front's fabric."""
    wider, low = uniform(rng, 0, 1) if rng.random() < 0.6 else 0.0, rng.random() < 0.35
    long = uniform(rng, 0.1, 1) if rng.random() < 0.6 else 0.0
    same = rng.random() < 0.8
    neckline, wide_leg = str(rng.choice(("scoop", "v"))), max(0.0, uniform(rng, -0.016, 0.014))
    dyes: dict[Cloth, _Dye] = {}

    def dyed(cloth: Cloth, dark: float) -> Cloth:
        """Cloth in other colors, the same wherever it is worn; a share of `dark` is nearly black."""
        if cloth not in dyes:
            dyes[cloth] = _Dye(rng, rng.random() < dark)
        return dyes[cloth].on(cloth)

    def upper(of: Upper) -> Upper:
        of = replace(of, back=of.front, rear=None) if same else of
        bare = low and of.neckline == "crew" and of.collar in ("none", "shirt")
        fit = replace(of.fit, ease=of.fit.ease + 0.01 * wider, flare=of.fit.flare + 0.1 * wider)
        fit = replace(fit, hang=max(fit.hang, wider), flare_from=fit.flare_from or 0.7)
        lowest = 0.06 if of.hem < 0.45 else 0.42  # of dresses and coats, or of tops
        fit = replace(fit, flare=fit.flare * (1 - 0.7 * long)) if of.hem < 0.45 else fit
        return replace(
            of, hem=of.hem + long * min(lowest - of.hem, 0.0), fit=fit,
            front=dyed(of.front, 0.3), back=dyed(of.back, 0.3), sleeves=dyed(of.sleeves, 0.3),
            sleeve_room=of.sleeve_room + 0.012 * wider, neckline=neckline if bare else of.neckline,
        )  # fmt: skip

    def lower(of: Lower) -> Lower:
        if of.skirt:
            hem, room = of.hem + long * min(0.06 - of.hem, 0.0), of.room * (1 - 0.7 * long)
            return replace(of, cloth=dyed(of.cloth, 0.5), hem=hem, room=room)
        return replace(of, cloth=dyed(of.cloth, 0.5), room=of.room + wide_leg)

    return replace(
        outfit, upper=upper(outfit.upper), outer=outfit.outer and upper(outfit.outer),
        lower=outfit.lower and lower(outfit.lower),
    )  # fmt: skip


class _Dye:
    """Quieter and paler colors, or nearly black ones on which prints keep theirs."""

    def __init__(self, rng: np.random.Generator, black: bool) -> None:
        self.quiet = uniform(rng, 0.1, 1.0) if rng.random() < 0.6 else 1.0
        self.pale = uniform(rng, 0.2, 0.95) if rng.random() < 0.4 and not black else 0.0
        self.level = uniform(rng, 0.8, 1.15)
        self.ground = uniform(rng, 0.05, 0.4) if black else self.level

    def on(self, cloth: Cloth) -> Cloth:
        """The cloth in these colors."""
        ground = self._colour(cloth.ground, self.ground)
        second, third = (self._colour(of, self.level) for of in (cloth.second, cloth.third))
        return replace(cloth, ground=ground, second=second, third=third)

    def _colour(self, of: Colour, level: float) -> Colour:
        gray = sum(of) / 3
        quiet = ((gray + self.quiet * (c - gray)) * level for c in of)
        return _colour(c + self.pale * (235 - c) for c in quiet)


def with_grain(person: Person, rng: np.random.Generator) -> Person:
    """The same person with grain in all that is seen: weave, knit, washed denim, strands. It is the same in each photo."""
    atlas, depth = person.atlas, uniform(rng, 0, 0.08)
    shape = atlas.shape[1:]
    grain = np.ones(shape, np.float32)
    for coarse in (2, 4, 8):  # texels
        height, width = (-(-side // coarse) for side in shape)
        blocks = rng.normal(1, depth * uniform(rng, 0.3, 1.0), (height, width)).astype(np.float32)
        grain *= blocks.repeat(coarse, 0)[: shape[0]].repeat(coarse, 1)[:, : shape[1]]
    return replace(person, atlas=np.clip(atlas * grain, 0, 255))


def creased(picture: Rendering, skin: Colour, scale: float, depth: float, rng: np.random.Generator) -> np.ndarray:
    """The light of folds and creases of cloth, (H,W) float32 around 1. They are different in each photo of a person.

    Args:
        picture: of the person.
        skin: its color, which has no folds.
        scale: px of the person's height.
        depth: how much they change the light at most.
        rng: draws them.
    """
    height, width = picture.coverage.shape
    reach = np.hypot(height, width)
    light = np.ones((height, width), np.float32)
    for length in (0.012, 0.02, 0.035, 0.06):  # heights from fold to fold
        across = max(1.2, length * scale)  # px
        along, angle = across * uniform(rng, 1.5, 5), uniform(rng, 0, np.pi)
        c, s = np.cos(angle), np.sin(angle)
        size = int(2 * reach / along) + 4, int(2 * reach / across) + 4
        grid = Image.fromarray(rng.normal(0, 1, size[::-1]).astype(np.float32))
        place = (c / along, s / along, size[0] / 2, -s / across, c / across, size[1] / 2)
        waves = np.asarray(grid.transform((width, height), Image.Transform.AFFINE, place, Image.Resampling.BICUBIC))
        rise = np.abs(waves)  # ridges are thin, and what lies between them is nearly flat
        light += (
            depth * uniform(rng, 0, 1) * across * (0.6 * np.gradient(rise, axis=0) + 0.8 * np.gradient(rise, axis=1))
        )
    hue = picture.colour / (np.sqrt(np.square(picture.colour).sum(0)) + 1e-3)
    of_skin = np.array(skin, np.float32)[:, None, None] / np.float32(np.linalg.norm(skin))
    cloth = np.clip(20 * np.sqrt(np.square(hue - of_skin).sum(0)) - 0.6, 0, 1)
    return np.clip(1 + cloth * (light - 1), 0.5, 1.4)


def _colour(levels: Iterable[float]) -> Colour:
    red, green, blue = (min(max(level, 10.0), 250.0) for level in levels)
    return (red, green, blue)
