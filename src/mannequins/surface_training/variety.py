"""What training varies beyond the demo's mannequins: fuller hair, and clothes as shops sell them."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from mannequins.renderer.body import Look
from mannequins.renderer.canvas import Cloth, Colour
from mannequins.renderer.exact import uniform
from mannequins.renderer.posed_person import Person
from mannequins.renderer.wardrobe import Lower, Outfit, Upper

_LOOSE = ("long", "long_front", "bob")
_STYLES = ("long", "long_front", "long_front", "long_front", "bob", "ponytail", "bun")


def with_hair(look: Look, woman: bool, rng: np.random.Generator) -> Look:
    """The same face in another tone. A woman's hair is mostly loose, of any volume, before the shoulders or behind them."""
    tone = uniform(rng, 0.75, 1.25)
    hair = _colour(level * tone + uniform(rng, -8, 8) for level in look.hair)
    shade = uniform(rng, 0.9, 1.06)
    skin = _colour(level * shade for level in look.skin)
    style = str(rng.choice(_STYLES)) if woman and look.style != "afro" else look.style
    volume = uniform(rng, 0, 1.5) if style in _LOOSE else 0.0
    return replace(look, hair=hair, skin=skin, style=style, volume=volume, length=uniform(rng, 0.66, 0.81))


def as_sold(outfit: Outfit, rng: np.random.Generator) -> Outfit:
    """The same cut. In most outfits the back is of the front's fabric, and in many the colors are quieter."""
    same, quiet = rng.random() < 0.8, uniform(rng, 0.1, 1.0) if rng.random() < 0.6 else 1.0
    level = uniform(rng, 0.8, 1.15)

    def colour(of: Colour) -> Colour:
        gray = sum(of) / 3
        return _colour((gray + quiet * (c - gray)) * level for c in of)

    def cloth(of: Cloth) -> Cloth:
        return replace(of, ground=colour(of.ground), second=colour(of.second), third=colour(of.third))

    def upper(of: Upper) -> Upper:
        of = replace(of, back=of.front, rear=None) if same else of
        return replace(of, front=cloth(of.front), back=cloth(of.back), sleeves=cloth(of.sleeves))

    def lower(of: Lower) -> Lower:
        return replace(of, cloth=cloth(of.cloth))

    return replace(
        outfit, upper=upper(outfit.upper), outer=outfit.outer and upper(outfit.outer),
        lower=outfit.lower and lower(outfit.lower),
    )  # fmt: skip


def with_grain(person: Person, rng: np.random.Generator) -> Person:
    """The same person with grain in all that is seen: weave, knit, washed denim, strands. It is the same in each photo."""
    atlas, depth = person.atlas, uniform(rng, 0, 0.08)
    shape = atlas.shape[1:]
    grain = np.ones(shape, np.float32)
    for coarse in (3, 8, 20):  # texels
        height, width = (-(-side // coarse) for side in shape)
        blocks = rng.normal(1, depth * uniform(rng, 0.3, 1.0), (height, width)).astype(np.float32)
        grain *= blocks.repeat(coarse, 0)[: shape[0]].repeat(coarse, 1)[:, : shape[1]]
    return replace(person, atlas=np.clip(atlas * grain, 0, 255))


def _colour(levels: Iterable[float]) -> Colour:
    red, green, blue = (min(max(level, 10.0), 250.0) for level in levels)
    return (red, green, blue)
