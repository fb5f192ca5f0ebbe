"""What people wear: garments as data, and outfits drawn by chance."""

import colorsys
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from mannequins.renderer.canvas import PRINTS, Cloth, Colour, Print
from mannequins.renderer.exact import uniform
from mannequins.renderer.surfaces import Fit

T = TypeVar("T")


@dataclass(frozen=True)
class Upper:
    """A garment of the torso: a top, a dress, a jacket. Heights are those of a standing person."""

    hem: float
    sleeve: float  # how far down the arm, in heights below the shoulder; 0: none
    sleeve_room: float  # between arm and sleeve, heights
    fit: Fit
    neckline: str  # of tops._NECKLINES
    collar: str  # none, shirt, turtle, hood or stand
    front: Cloth
    back: Cloth
    sleeves: Cloth
    trim: Colour | None  # of collar, cuffs and hem
    chest: Print | None
    rear: Print | None  # on the back
    closing: str  # none, buttons or zip
    pocket: bool
    gap: float  # how far it stands open in front, in degrees on each side; 0: closed
    waist: Colour | None  # a belt at the waist
    folds: float  # depth of its folds, heights


@dataclass(frozen=True)
class Lower:
    """Trousers, shorts or a skirt."""

    skirt: bool
    hem: float
    waist: float  # height of its upper edge
    room: float  # trousers: between leg and hem, in heights; a skirt: its widening per height
    cloth: Cloth
    belt: Colour | None
    side: Colour | None  # a stripe down the sides
    denim: bool
    pleats: int


@dataclass(frozen=True)
class Shoes:
    """Shoes and tights."""

    kind: str  # of _SHOES
    upper: Colour
    sole: Colour
    tights: Colour | None


@dataclass(frozen=True)
class Outfit:
    """All that one person wears."""

    upper: Upper
    outer: Upper | None  # worn over the upper
    lower: Lower | None  # None: the upper is a dress
    shoes: Shoes
    bag: Colour | None = None  # a backpack
    scarf: Colour | None = None


_NEUTRALS: tuple[Colour, ...] = (
    (243, 242, 238), (236, 232, 222), (32, 32, 36), (60, 62, 68), (128, 130, 134), (188, 190, 192), (28, 36, 66),
    (200, 178, 146),
)  # fmt: skip
_DENIMS: tuple[Colour, ...] = ((46, 66, 104), (72, 98, 142), (118, 148, 186), (34, 40, 58))
_LEATHERS: tuple[Colour, ...] = (
    (36, 34, 36), (240, 240, 236), (92, 58, 38), (150, 104, 66), (70, 70, 76), (206, 182, 150), (40, 46, 70),
)  # fmt: skip
# The strong colors of clothes: hue in degrees, saturation, value.
_VIVID = (
    (355, 0.82, 0.80), (350, 0.80, 0.52), (4, 0.62, 0.93), (16, 0.80, 0.90), (28, 0.82, 0.94), (44, 0.80, 0.88),
    (52, 0.75, 0.95), (74, 0.55, 0.48), (88, 0.58, 0.72), (140, 0.68, 0.50), (152, 0.75, 0.62), (160, 0.45, 0.85),
    (176, 0.75, 0.55), (184, 0.68, 0.78), (200, 0.55, 0.92), (214, 0.78, 0.80), (226, 0.82, 0.62), (240, 0.55, 0.50),
    (262, 0.50, 0.80), (276, 0.68, 0.58), (300, 0.60, 0.58), (322, 0.72, 0.80), (336, 0.50, 0.94), (340, 0.72, 0.88),
    (20, 0.62, 0.50),
)  # fmt: skip


class Chance:
    """Draws for one outfit: `cut` decides forms, `hue` decides colors.

    The same draws with another `variant` (0, 1, 2) give the same outfit in other colors.
    """

    def __init__(self, cut: np.random.Generator, hue: np.random.Generator, variant: int = 0) -> None:
        self.cut, self.hue, self.variant = cut, hue, variant

    def often(self, share: float) -> bool:
        """True in this share of all cuts."""
        return bool(self.cut.random() < share)

    def pick(self, *choices: T) -> T:
        """One of these forms."""
        return choices[int(self.cut.integers(len(choices)))]

    def between(self, low: float, high: float) -> float:
        """A measure."""
        return uniform(self.cut, low, high)

    def one_of(self, colours: tuple[Colour, ...]) -> Colour:
        """One of these colors."""
        return colours[(int(self.hue.integers(len(colours))) + self.variant * (len(colours) // 3)) % len(colours)]

    def vivid(self, away: Colour | None = None) -> Colour:
        """A strong color, its hue well away from another's."""
        while True:
            hue, saturation, value = self.one_of(_VIVID)
            turn = 0.5 if away is None else (hue / 360 - colorsys.rgb_to_hsv(*(c / 255 for c in away))[0]) % 1
            if 0.16 < turn < 0.84:
                hue, value = (hue + uniform(self.hue, -5, 5)) / 360 % 1, value * uniform(self.hue, 0.94, 1.04)
                red, green, blue = (255 * min(level, 1.0) for level in colorsys.hsv_to_rgb(hue, saturation, value))
                return (red, green, blue)

    def neutral(self) -> Colour:
        """White, gray, black, navy or beige."""
        return self.one_of(_NEUTRALS)

    def colour(self) -> Colour:
        """A color of clothes: mostly a strong one."""
        return self.vivid() if self.hue.random() < 0.78 else self.neutral()

    def contrast(self, ground: Colour) -> Colour:
        """A color that clearly differs from another."""
        if self.hue.random() < 0.45:
            return (242.0, 240.0, 234.0) if np.mean(ground) < 150 else (28.0, 28.0, 36.0)
        return self.vivid(ground)


# Heights per repeat.
_REPEATS = {
    "plain": (0.1, 0.1), "stripes": (0.024, 0.06), "breton": (0.018, 0.034), "triple": (0.02, 0.035),
    "upright": (0.02, 0.05), "gingham": (0.02, 0.05), "tartan": (0.05, 0.09), "dots": (0.022, 0.05),
    "argyle": (0.06, 0.10), "chevron": (0.035, 0.07), "floral": (0.045, 0.08), "camouflage": (0.09, 0.14),
}  # fmt: skip
_BUSY = tuple(name for name in _REPEATS if name != "plain")


def plain(colour: Colour) -> Cloth:
    """A fabric of one color."""
    return Cloth("plain", colour, colour, colour, 0.1)


def _fabric(chance: Chance, plain_share: float, patterns: tuple[str, ...] = _BUSY) -> Cloth:
    """A fabric; plain in this share of all cuts."""
    pattern = "plain" if chance.often(plain_share) else chance.pick(*patterns)
    ground = chance.colour()
    second = chance.contrast(ground)
    return Cloth(pattern, ground, second, chance.contrast(second), chance.between(*_REPEATS[pattern]))


def _print(chance: Chance, ground: Colour, motifs: tuple[str, ...], y: float, size: tuple[float, float]) -> Print:
    height = y + chance.between(-0.01, 0.01)
    return Print(chance.pick(*motifs), chance.contrast(ground), 0.0, height, chance.between(*size))


def _back_of(chance: Chance, front: Cloth) -> tuple[Cloth, Print | None]:
    """The back: as the front, of another color, of another pattern, or with a print of its own."""
    what = chance.cut.choice(("same", "colour", "pattern", "print"), p=(0.46, 0.19, 0.13, 0.22))
    if what == "same":
        return front, None
    if what == "print":
        motifs = ("number", "letters", "cross", "disc", "bars", "star", "diamond")
        return front, _print(chance, front.ground, motifs, 0.70, (0.035, 0.055))
    other = plain(chance.contrast(front.ground))
    if what == "pattern":
        pattern = chance.pick(*(p for p in ("stripes", "dots", "gingham", "chevron", "upright") if p != front.pattern))
        other = replace(other, pattern=pattern, second=front.ground, repeat=chance.between(*_REPEATS[pattern]))
    return other, None


def _in_one(upper: Upper, cloth: Cloth) -> Upper:
    """The same garment in one fabric all over, without prints."""
    return replace(upper, front=cloth, back=cloth, sleeves=cloth, trim=None, chest=None, rear=None)


CLOSE = Fit(0.006, 0.15, 0.72, 0, 0.6)
_EASY, _LOOSE = Fit(0.008, 0.55, 0.74, 0, 0.6), Fit(0.013, 0.9, 0.75, 0.03, 0.6)
_LONG = 0.307  # a sleeve to the wrist


def _upper(chance: Chance, *, plain_share: float, chest: float) -> Upper:
    """A garment of the torso with fabrics and prints; `tee`, `dress` and others replace its cut."""
    front, mark = _fabric(chance, plain_share), None
    if chance.often(chest):
        front = front if front.pattern == "breton" else replace(front, pattern="plain")
        mark = _print(chance, front.ground, tuple(PRINTS), 0.715, (0.030, 0.048))
        if chance.often(0.25):  # a small one over the heart
            mark = replace(mark, x=0.042, y=mark.y + 0.03, size=mark.size * 0.4)
    back, rear = _back_of(chance, front)
    raglan = chance.often(0.25)
    sleeves = plain(chance.contrast(front.ground)) if raglan else front
    return Upper(
        hem=chance.between(0.475, 0.53), sleeve=0.10, sleeve_room=0.012, fit=CLOSE, neckline="crew", collar="none",
        front=front, back=back, sleeves=sleeves, trim=sleeves.ground if raglan else None, chest=mark, rear=rear,
        closing="none", pocket=False, gap=0.0, waist=None, folds=0.0015,
    )  # fmt: skip


def tee(chance: Chance, woman: bool, graphic: bool = False) -> Upper:
    """A tee or a tank top."""
    top = _upper(chance, plain_share=0.45, chest=1.0 if graphic else 0.35)
    if not graphic and chance.often(0.4 if woman else 0.2):
        neckline = chance.pick("tank", "racer", "camisole") if woman else "tank"
        return replace(top, sleeve=0.0, neckline=neckline, hem=chance.between(0.48, 0.60) if woman else top.hem)
    short = woman and chance.often(0.25)
    return replace(
        top, sleeve=chance.between(0.07, 0.13), fit=chance.pick(CLOSE, _EASY, _LOOSE), hem=0.59 if short else top.hem,
        neckline=chance.pick("crew", "scoop", "v", "boat") if woman else chance.pick("crew", "crew", "v"),
        pocket=top.chest is None and chance.often(0.2),
    )  # fmt: skip


def blouse(chance: Chance) -> Upper:
    """A loose blouse of any sleeve."""
    top = _upper(chance, plain_share=0.35, chest=0.0)
    sleeve = chance.pick(0.0, 0.0, 0.12, 0.30, 0.30)
    bare, covered = chance.pick("camisole", "tank", "strapless"), chance.pick("scoop", "v", "boat", "crew")
    neckline, hem = covered if sleeve else bare, chance.between(0.47, 0.56)
    return replace(top, sleeve=sleeve, sleeve_room=0.016, neckline=neckline, fit=_LOOSE, folds=0.0028, hem=hem)


def shirt(chance: Chance) -> Upper:
    """A shirt or a polo: collar and buttons."""
    top = _upper(chance, plain_share=0.35, chest=0.0)
    collar = chance.contrast(top.front.ground)
    return replace(
        top, sleeve=chance.pick(_LONG, _LONG, 0.12), sleeve_room=0.010, fit=_EASY, collar="shirt", closing="buttons",
        trim=collar if chance.often(0.3) else None, pocket=chance.often(0.4), folds=0.002, sleeves=top.front,
    )  # fmt: skip


def sweater(chance: Chance, hood: bool) -> Upper:
    """A sweater, a sweatshirt or a hoodie."""
    top = _upper(chance, plain_share=0.45, chest=0.3)
    trim = chance.contrast(top.front.ground) if chance.often(0.4) else top.trim
    zipped = hood and top.chest is None and chance.often(0.5)
    return replace(
        top, sleeve=_LONG, sleeve_room=0.013, fit=Fit(0.013, 0.7, 0.74, 0, 0.6), folds=0.0025, trim=trim,
        collar="hood" if hood else chance.pick("turtle", "none", "none", "none"), hem=chance.between(0.49, 0.54),
        closing="zip" if zipped else "none",
    )  # fmt: skip


def jacket(chance: Chance, kind: str) -> Upper:
    """A jacket, coat, vest, cardigan or suit over a top, open or closed."""
    top = _upper(chance, plain_share=1.0 if kind == "suit" else 0.65, chest=0.0)
    if top.front.pattern not in ("plain", "tartan", "gingham", "camouflage", "stripes"):
        calm = replace(top.front, pattern="plain")
        sleeves = calm if top.sleeves == top.front else top.sleeves
        top = replace(top, front=calm, sleeves=sleeves, back=calm if top.back == top.front else top.back)
    collars = {"coat": "shirt", "suit": "shirt", "cardigan": "none", "vest": "stand"}
    hems = {"coat": chance.between(0.28, 0.40), "suit": 0.455, "cardigan": chance.between(0.40, 0.52)}
    closed = chance.often({"vest": 0.5, "jacket": 0.35}.get(kind, 0.0))
    sporty = kind == "jacket"
    return replace(
        top, hem=hems.get(kind, chance.between(0.48, 0.54)), sleeve=0.0 if kind == "vest" else 0.31, sleeve_room=0.016,
        fit=Fit(0.019, 0.6, 0.75, 0.02, 0.6), collar=collars.get(kind, chance.pick("stand", "shirt", "hood")),
        closing="zip" if closed else "none", gap=0.0 if closed else chance.between(9, 24), folds=0.002,
        sleeves=top.sleeves if sporty else top.front, trim=top.trim if sporty else None,
    )  # fmt: skip


def dress(chance: Chance) -> Upper:
    """A dress: close, swinging or long."""
    top = _upper(chance, plain_share=0.35, chest=0.0)
    form = chance.pick("sheath", "sheath", "swing", "swing", "maxi")
    hem = {"sheath": (0.31, 0.37), "swing": (0.31, 0.39), "maxi": (0.07, 0.12)}[form]
    fit = {
        "sheath": Fit(0.005, 0.1, 0.55, -0.02, 0.45), "swing": Fit(0.005, 1.0, 0.62, 0.40, 0.61),
        "maxi": Fit(0.005, 1.0, 0.60, 0.13, 0.58),
    }[form]  # fmt: skip
    sleeve = chance.pick(0.0, 0.0, 0.08, 0.12, 0.30)
    bare, covered = chance.pick("tank", "camisole", "racer", "strapless"), chance.pick("crew", "scoop", "v", "boat")
    neckline, belt = covered if sleeve else bare, chance.contrast(top.front.ground)
    return replace(
        top, hem=chance.between(*hem), fit=fit, sleeve=sleeve, sleeve_room=0.006, neckline=neckline, folds=0.001,
        waist=belt if chance.often(0.4) else None, trim=None, sleeves=top.front if sleeve < 0.2 else top.sleeves,
    )  # fmt: skip


def trousers(chance: Chance, woman: bool, *, calm: bool) -> Lower:
    """Trousers; calm ones leave the eye to the top."""
    denim = chance.often(0.45)
    colour = chance.one_of(_DENIMS) if denim else (chance.neutral() if calm else chance.vivid())
    cloth = plain(colour)
    if not denim and not calm:
        cloth = replace(_fabric(chance, 0.6, ("upright", "tartan", "camouflage", "floral")), ground=colour)
    tight = woman and chance.often(0.7)
    return Lower(
        skirt=False, hem=chance.between(0.05, 0.075), waist=0.598 if woman else 0.585, cloth=cloth, denim=denim,
        room=chance.between(0.003, 0.006) if tight else chance.between(0.008, 0.016), pleats=0,
        belt=(70.0, 48.0, 34.0) if chance.often(0.4) else None,
        side=chance.contrast(colour) if not denim and chance.often(0.15) else None,
    )  # fmt: skip


def skirt(chance: Chance, *, calm: bool) -> Lower:
    """A skirt: narrow, swinging, pleated or long."""
    form = chance.pick("pencil", "pencil", "swing", "swing", "pleats", "maxi")
    colour = chance.neutral() if calm else chance.vivid()
    cloth = plain(colour) if calm else replace(_fabric(chance, 0.4), ground=colour)
    hem = {"pencil": (0.30, 0.36), "maxi": (0.06, 0.12)}.get(form, (0.33, 0.41))
    return Lower(
        skirt=True, hem=chance.between(*hem), waist=0.625, cloth=cloth, denim=False, side=None,
        room={"pencil": -0.02, "swing": 0.35, "pleats": 0.38, "maxi": 0.12}[form],
        belt=chance.contrast(colour) if chance.often(0.3) else None, pleats=22 if form == "pleats" else 0,
    )  # fmt: skip


_SHOES = ("sneaker", "shoe", "boot", "pump", "sandal")  # the last two are women's


def shoes(chance: Chance, woman: bool) -> Shoes:
    """Shoes, at times with dark tights."""
    kind = chance.pick(*(_SHOES if woman else _SHOES[:3]))
    leather, bright = chance.one_of(_LEATHERS), chance.vivid()
    sole = chance.pick((240.0, 240.0, 236.0), (240.0, 240.0, 236.0), (60.0, 50.0, 44.0))
    tights = (34.0, 32.0, 36.0) if woman and chance.often(0.12) else None
    return Shoes(kind, bright if chance.often(0.2) and kind != "boot" else leather, sole, tights)


_JACKETS: dict[str, tuple[str, ...]] = {
    "Jackets_Coats": ("jacket", "jacket", "coat"), "Jackets_Vests": ("jacket", "jacket", "vest"),
    "Cardigans": ("cardigan",), "Suiting": ("suit",),
}  # fmt: skip
_LOWER_CATEGORIES = ("Skirts", "Shorts", "Pants", "Denim", "Leggings")


def outfit(category: str, woman: bool, chance: Chance) -> Outfit:
    """An outfit around a garment of a DeepFashion category; the rest is calm."""
    top, outer = _top_of(category, woman, chance), None
    lower = None if category == "Dresses" else _lower_of(category, woman, chance)
    if category in _JACKETS:
        outer = jacket(chance, chance.pick(*_JACKETS[category]))
    if category == "Rompers_Jumpsuits" and lower is not None:
        lower = replace(lower, cloth=top.front, denim=False, belt=None, side=None, waist=0.62)
    if lower is not None and lower.skirt:
        top = replace(top, hem=0.605, fit=Fit(0.004, 0.1, 0.72, 0, 0.6))
    return Outfit(top, outer, lower, shoes(chance, woman))


def _top_of(category: str, woman: bool, chance: Chance) -> Upper:
    if category == "Dresses":
        return dress(chance)
    if category in ("Blouses_Shirts", "Shirts_Polos"):
        return blouse(chance) if woman and chance.often(0.5) else shirt(chance)
    if category in ("Sweaters", "Sweatshirts_Hoodies"):
        return sweater(chance, hood=category == "Sweatshirts_Hoodies" and chance.often(0.7))
    top = tee(chance, woman, graphic=category == "Graphic_Tees")
    if category in _JACKETS:
        under = replace(_in_one(top, plain(chance.neutral())), neckline="crew", fit=CLOSE, hem=max(top.hem, 0.49))
        return replace(under, sleeve=min(top.sleeve, 0.12), collar="shirt" if category == "Suiting" else "none")
    if category == "Rompers_Jumpsuits":
        return replace(_in_one(top, top.front), hem=0.585, fit=CLOSE, waist=None)
    if category in _LOWER_CATEGORIES:
        return replace(_in_one(top, plain(chance.neutral())), hem=0.575, fit=CLOSE)
    return top


def _lower_of(category: str, woman: bool, chance: Chance) -> Lower:
    calm = category not in _LOWER_CATEGORIES
    if category == "Skirts" or (calm and woman and category != "Rompers_Jumpsuits" and chance.often(0.25)):
        return skirt(chance, calm=calm)
    if category == "Shorts" or (calm and chance.often(0.3)):
        hem = chance.between(0.385, 0.43) if woman else chance.between(0.28, 0.33)
        return replace(trousers(chance, woman, calm=calm), hem=hem, room=chance.between(0.008, 0.016))
    full = trousers(chance, woman, calm=calm)
    if category == "Denim":
        return replace(full, denim=True, cloth=plain(chance.one_of(_DENIMS)), side=None)
    return replace(full, room=0.002, denim=False) if category == "Leggings" else full
