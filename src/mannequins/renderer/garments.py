"""A dressed person: body and clothes as surfaces at rest, painted and joined to one mesh."""

from dataclasses import replace

import numpy as np

from mannequins.renderer.body import Shape
from mannequins.renderer.canvas import Canvas, darker, line, smoothstep
from mannequins.renderer.exact import cos, interp, sin
from mannequins.renderer.head import Look, hair_grids, head_grids, paint_face, paint_hair
from mannequins.renderer.paint import (
    CORE_END,
    LEG_END,
    LEG_TOP,
    paint_bag,
    paint_core,
    paint_hand,
    paint_leg,
    paint_neck,
    paint_plain,
    paint_ribs,
    paint_shoe,
    paint_skirt,
    paint_sleeve,
    paint_trousers,
    paint_upper,
    sleeve_rows,
    upper_azimuths,
    upper_rows,
)  # fmt: skip
from mannequins.renderer.posed_person import Person, assemble
from mannequins.renderer.surfaces import (
    ALL_ROWS,
    SECOND_SKIN,
    Fit,
    Grid,
    Torso,
    arm_grid,
    around,
    ball,
    bones_only,
    foot_grid,
    hand_grids,
    leg_grid,
    neck_points,
    neck_weights,
    push,
    sweep,
    torso_grid,
)  # fmt: skip
from mannequins.renderer.wardrobe import Lower, Outfit, Shoes, Upper

_SHINE = {"hair": 0.16, "face": 0.05, "skin": 0.05, "leg": 0.04, "shoe": 0.15}
_SIDES = (-1.0, 1.0)  # right, left
_WRIST = 0.322  # heights below the shoulder joint

Parts = tuple[list[Grid], dict[str, Canvas]]  # surfaces, and what is painted on them


def dressed(shape: Shape, look: Look, outfit: Outfit, detail: float, rng: np.random.Generator) -> Person:
    """The person of a person in an outfit; detail 1 is for images of 256 pixels, less is coarser and faster."""
    outfit = _with_room(outfit)
    parts = [_bare(shape, look, outfit, detail, rng), _neck(shape, look, outfit.upper, detail)]
    parts += [_legs(shape, look, outfit, detail, rng), _accessories(shape, outfit)]
    parts.append(_upper(shape, look, outfit.upper, outfit.outer, "upper", detail, rng))
    if outfit.outer is not None:
        parts.append(_upper(shape, look, outfit.outer, None, "outer", detail, rng))
    grids = [grid for surfaces, _ in parts for grid in surfaces]
    textures = {name: canvas.planes for _, canvases in parts for name, canvas in canvases.items()}
    return assemble(shape, grids, textures, _SHINE)


def fine(count: int, detail: float) -> int:
    """A number of rows or columns at a level of detail."""
    return max(5, round(count * detail))


def _with_room(outfit: Outfit) -> Outfit:
    """The outfit with upper garments wide enough for the lower one beneath them."""
    room = 0.008 if outfit.lower is None or outfit.lower.skirt else 0.004 + 0.5 * outfit.lower.room
    upper = replace(outfit.upper, fit=replace(outfit.upper.fit, over=room))
    outer = outfit.outer and replace(outfit.outer, fit=replace(outfit.outer.fit, over=room + 0.003))
    return replace(outfit, upper=upper, outer=outer)


# ---- the body where it shows


def _bare(shape: Shape, look: Look, outfit: Outfit, detail: float, rng: np.random.Generator) -> Parts:
    """Head, hair, hands and the arms below the sleeves."""
    columns = fine(16, detail)
    sleeve = max(upper.sleeve for upper in (outfit.upper, outfit.outer) if upper is not None)
    y = sleeve_rows(_WRIST, fine(28, detail))
    if sleeve:
        y = np.linspace(-sleeve + 0.012, -_WRIST, fine(round(80 * (0.33 - sleeve)), detail))
    grids = [*head_grids(fine(34, detail), fine(40, detail)), *hair_grids(look, fine(20, detail), fine(40, detail))]
    for sign in _SIDES:
        grids += [
            arm_grid(shape, sign, y, np.zeros_like(y), columns, "skin"),
            *hand_grids(shape, sign, fine(12, detail)),
        ]
    return grids, {
        "face": paint_face(look, shape.woman, fine(128, detail), fine(176, detail)),
        "hair": paint_hair(look, fine(64, detail), fine(128, detail), rng),
        "hand": paint_hand(look.skin),
        "skin": paint_plain(look.skin),
    }


def _neck(shape: Shape, look: Look, upper: Upper, detail: float) -> Parts:
    """The neck, with a high collar where there is one."""
    points = neck_points(shape, 0.0, 9, fine(18, detail))
    grids, textures = [Grid(points, neck_weights(points[..., 1]), "neck")], {"neck": paint_neck(look.skin)}
    if upper.collar == "turtle":
        wide = neck_points(shape, 0.005, 9, fine(18, detail))[2:]
        grids.append(Grid(wide, neck_weights(wide[..., 1]), "turtle"))
        textures["turtle"] = paint_ribs(upper.trim or upper.front.ground)
    return grids, textures


def _legs(shape: Shape, look: Look, outfit: Outfit, detail: float, rng: np.random.Generator) -> Parts:
    """Hips, legs, feet, and trousers or a skirt."""
    lower, shoes = outfit.lower, outfit.shoes
    hem = outfit.upper.hem if lower is None else lower.hem
    top = min(LEG_TOP, hem + (0.07 if lower is None or lower.skirt else 0.02))  # no leg where nobody can see it
    textures = {"leg": paint_leg(look.skin, shoes, top), "shoe": paint_shoe(look.skin, shoes)}
    grids = [grid for sign in _SIDES for grid in _leg(shape, sign, shoes, top, detail)]
    if lower is not None:
        grids += [_skirt(shape, lower, detail)] if lower.skirt else [_trousers(shape, s, lower, detail) for s in _SIDES]
        paint = paint_skirt if lower.skirt else paint_trousers
        textures["lower"] = paint(lower, fine(160, detail), fine(240 if lower.skirt else 96, detail), rng)
    if lower is not None and not lower.skirt:
        core = min(max(outfit.upper.hem, lower.waist) + 0.025, 0.70)
        y = np.linspace(core, CORE_END, fine(round(92 * (core - CORE_END)), detail))
        grids.append(torso_grid(Torso(shape, SECOND_SKIN), around(fine(36, detail)), y, "core"))
        textures["core"] = paint_core(look.skin, lower, core, fine(112, detail), fine(192, detail), rng)
    return grids, textures


def _leg(shape: Shape, sign: float, shoes: Shoes, top: float, detail: float) -> list[Grid]:
    y = np.linspace(top, LEG_END, fine(round(50 * top), detail))
    shaft = np.where((y < 0.15) & (shoes.kind == "boot"), 0.004, 0.0)
    room = 0.0 if shoes.kind in ("pump", "sandal") else 0.0025
    return [leg_grid(shape, sign, y, shaft, fine(18, detail), "leg"), foot_grid(shape, sign, fine(16, detail), room)]


def _trousers(shape: Shape, sign: float, lower: Lower, detail: float) -> Grid:
    y = np.linspace(LEG_TOP, lower.hem, fine(round(52 * (0.54 - lower.hem)), detail))
    room = 0.003 + (lower.room - 0.003) * smoothstep(0.50, max(lower.hem, 0.25), y)
    if lower.hem < 0.1:
        room = room + 0.002 * sin(y * 160) * smoothstep(0.16, 0.06, y)  # folds at the ankle
    leg = leg_grid(shape, sign, y, room, fine(20, detail), "lower")
    return replace(leg, inside=3, mirrored=sign < 0)


def _skirt(shape: Shape, lower: Lower, detail: float) -> Grid:
    y = np.linspace(lower.waist, lower.hem, fine(round(20 + 60 * (lower.waist - lower.hem)), detail))
    azimuth = around(fine(60 if lower.pleats else 44, detail))
    grid = torso_grid(
        Torso(shape, Fit(0.009, 1.0, lower.waist - 0.005, lower.room, 0.55, over=0.004)), azimuth, y, "lower"
    )
    depth = 0.08 if lower.pleats else 0.33 * lower.room
    fold = depth * (lower.waist - y)[:, None] * sin((lower.pleats or 8) * azimuth + 0.5)
    return replace(grid, points=push(grid.points, azimuth, fold), inside=len(y) // 3)


# ---- tops, dresses, jackets


def _upper(
    shape: Shape, look: Look, upper: Upper, above: Upper | None, name: str, detail: float, rng: np.random.Generator
) -> Parts:
    """A garment of the torso with its sleeves and collar; `above` is worn over it."""
    rows, columns = (208 if upper.hem > 0.4 else 288), 240
    grids = [_body(shape, upper, name, detail)]
    textures = {name: paint_upper(shape, look.skin, upper, fine(rows, detail), fine(columns, detail), rng)}
    if upper.sleeve and (above is None or above.sleeve < upper.sleeve):
        grids += [_sleeve(shape, sign, upper, f"{name} sleeve", detail) for sign in _SIDES]
        textures[f"{name} sleeve"] = paint_sleeve(upper, fine(96, detail), fine(96, detail), rng)
    if upper.collar in ("shirt", "stand", "hood"):
        grids.append(
            _hood(shape, f"{name} collar") if upper.collar == "hood" else _collar(shape, upper, f"{name} collar")
        )
        textures[f"{name} collar"] = paint_plain(upper.trim or upper.front.ground)
    return grids, textures


def _body(shape: Shape, upper: Upper, texture: str, detail: float) -> Grid:
    rows = fine(34 if upper.hem > 0.4 else 52, detail)
    y = upper_rows(upper, rows).astype(float)
    azimuth = upper_azimuths(upper, y, fine(44, detail) + 1)
    grid = torso_grid(Torso(shape, upper.fit), azimuth, y[:, 0], texture)
    wave = sin(7 * azimuth + 2 + 20 * y) + 0.7 * sin(12 * azimuth - 14 * y)
    waist = sin(75 * y + 2 * sin(3 * azimuth)) * line(y - 0.635, 0.045)
    swing = 0.22 * upper.fit.flare * np.maximum(upper.fit.flare_from - y, 0) * sin(9 * azimuth + 1)
    fold = upper.folds * (smoothstep(0.70, 0.52, y) * wave + 0.5 * waist) + swing
    inside = ALL_ROWS if upper.gap else (rows // 3 if upper.hem < 0.45 else 0)
    return replace(grid, points=push(grid.points, azimuth, fold), inside=inside, torso=True)


def _sleeve(shape: Shape, sign: float, upper: Upper, texture: str, detail: float) -> Grid:
    y = sleeve_rows(upper.sleeve, fine(round(12 + 45 * upper.sleeve), detail)).astype(float)
    snug = 0.6 * upper.fit.ease
    room = snug + (upper.sleeve_room - snug) * smoothstep(0.0, -min(upper.sleeve, 0.1), y)
    if upper.sleeve > 0.28:
        room = room * (1 - 0.35 * smoothstep(-upper.sleeve + 0.02, -upper.sleeve, y))  # the cuff
        room = room + 0.0022 * sin(y * 190) * smoothstep(-0.10, -0.15, y) * smoothstep(-0.24, -0.18, y)  # the elbow
    return replace(arm_grid(shape, sign, y, room, fine(16, detail), texture), inside=3)


def _hood(shape: Shape, texture: str) -> Grid:
    """A hood that lies on the back."""
    size = 1.0 if shape.woman else 1.12
    a = np.radians(np.linspace(48, 312, 15))
    back = -cos(a)
    low = np.maximum(back, 0)
    path = np.stack([0.056 * size * sin(a), 0.843 - 0.010 * low, -0.016 - 0.050 * size * back - 0.010 * low], -1)
    thick = interp(back, (-0.7, 0.2, 1), (0.007, 0.015, 0.022))
    points = sweep(path, 0.85 * thick, 1.25 * thick, 10, (0, 1, 0))
    return Grid(points, bones_only(points.shape[:2], "chest"), texture, ALL_ROWS)


def _collar(shape: Shape, upper: Upper, texture: str) -> Grid:
    """A collar that stands, or that is folded down to two points in front."""
    size, stands = (1.0 if shape.woman else 1.12), upper.collar == "stand"
    gap = np.radians(30 if upper.gap else 14)
    a, t = np.linspace(gap, 2 * np.pi - gap, 25), np.linspace(0, 1, 4)[:, None]
    point = 0.0 if stands else line(np.minimum(a, 2 * np.pi - a) - gap, 0.5)
    high = (0.868 if stands else 0.864) - 0.008 * cos(a)
    radius = size * (0.0335 + (0.010 if stands else 0.018) * t + 0.010 * t * point)
    y = high + t * (0.836 - 0.020 * point - high)
    points = np.stack([radius * sin(a), y, -0.013 + 1.02 * radius * cos(a)], -1)
    return Grid(points, bones_only(points.shape[:2], "chest", "chest", "neck"), texture, ALL_ROWS)


# ---- bag and scarf


def _accessories(shape: Shape, outfit: Outfit) -> Parts:
    grids: list[Grid] = []
    textures: dict[str, Canvas] = {}
    if outfit.bag is not None:
        points = ball((0, 0.722, -0.098), (0.066, 0.092, 0.042), 13, 20, edge=7)
        grids.append(Grid(points, bones_only(points.shape[:2], "chest"), "bag"))
        grids += [_strap(shape, sign, outfit.outer or outfit.upper) for sign in _SIDES]
        textures |= {"bag": paint_bag(outfit.bag), "strap": paint_plain(darker(outfit.bag, 0.8))}
    if outfit.scarf is not None:
        grids.append(_scarf(shape))
        textures["scarf"] = paint_ribs(outfit.scarf)
    return grids, textures


def _strap(shape: Shape, sign: float, upper: Upper) -> Grid:
    """A strap of the bag, over the shoulder and under the arm."""
    azimuth = np.radians(interp(np.linspace(0, 1, 12), (0, 0.35, 0.7, 1), (95, 42, 48, 88)))
    y = interp(np.linspace(0, 1, 12), (0, 0.35, 0.7, 1), (0.836, 0.805, 0.72, 0.665))
    path = Torso(shape, upper.fit).points(sign * azimuth, y) + np.array((0, 0.002, 0.003))
    points = sweep(path, np.full(12, 0.010), np.full(12, 0.004), 8, (sign * 0.3, 0.2, 1))
    return Grid(points, bones_only(points.shape[:2], "chest"), "strap")


def _scarf(shape: Shape) -> Grid:
    a, size = np.radians(np.linspace(180, -180, 25)), 1.0 if shape.woman else 1.12
    path = np.stack([0.043 * size * sin(a), 0.848 - 0.010 * cos(a), -0.013 + 0.044 * size * cos(a)], -1)
    points = sweep(path, np.full(25, 0.017), np.full(25, 0.020), 12, (0, 1, 0))
    points[-1] = points[0]
    return Grid(points, bones_only(points.shape[:2], "chest"), "scarf")
