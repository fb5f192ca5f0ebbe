"""A dressed person: body and clothes as surfaces at rest, painted and joined to one mesh."""

from dataclasses import replace

import numpy as np

from mannequins.renderer import surfaces
from mannequins.renderer.body import SIDES, Look, Shape
from mannequins.renderer.canvas import Canvas, Colour, crease, darker, weave
from mannequins.renderer.exact import along, cos, interp, line, noise, sin, smoothstep
from mannequins.renderer.head import head_grids
from mannequins.renderer.posed_person import Person, assemble
from mannequins.renderer.surfaces import Fit, Grid, Torso, around, fine, push, rigid, sweep, torso_grid
from mannequins.renderer.tops import GIRTH, arm_rows, upper_grids
from mannequins.renderer.wardrobe import Lower, Outfit, Shoes, Upper

_LEG_GIRTH = 0.26  # length of the way around, in heights
_WRIST = 0.322  # heights below the shoulder joint
_LEG_TOP, _LEG_END, _CORE_END = 0.532, 0.035, 0.442  # heights


def dressed(shape: Shape, look: Look, outfit: Outfit, detail: float, rng: np.random.Generator) -> Person:
    """The mesh of a person in an outfit; detail 1 is for images of 256 pixels, less is coarser and faster."""
    # Upper garments are wide enough for the lower one beneath them.
    room = 0.008 if outfit.lower is None or outfit.lower.skirt else 0.004 + 0.5 * outfit.lower.room
    upper = replace(outfit.upper, fit=replace(outfit.upper.fit, over=room))
    outer = outfit.outer and replace(outfit.outer, fit=replace(outfit.outer.fit, over=room + 0.003))
    grids = _bare(shape, look, max(upper.sleeve, outer.sleeve if outer else 0.0), detail, rng)
    grids.append(surfaces.neck_grid(shape, 0.0, fine(18, detail), _neck(look.skin)))
    if upper.collar == "turtle":
        ribs = _ribs(upper.trim or upper.front.ground)
        grids.append(surfaces.neck_grid(shape, 0.005, fine(18, detail), ribs, rows=slice(2, None)))
    grids += _legs(shape, look.skin, outfit.shoes, upper.hem, outfit.lower, detail)
    if outfit.lower is not None and outfit.lower.skirt:
        grids.append(_skirt(shape, outfit.lower, detail, rng))
    elif outfit.lower is not None:
        grids += _trousers(shape, look.skin, outfit.lower, upper.hem, detail, rng)
    if outfit.bag is not None:
        grids += _bag(shape, outfit.bag, outer or upper)
    if outfit.scarf is not None:
        grids.append(_scarf(shape, _ribs(outfit.scarf)))
    grids += upper_grids(shape, look.skin, upper, outer, detail, rng)
    if outer is not None:
        grids += upper_grids(shape, look.skin, outer, None, detail, rng)
    return assemble(shape, grids)


def _bare(shape: Shape, look: Look, sleeve: float, detail: float, rng: np.random.Generator) -> list[Grid]:
    """Head, hair, hands and the arms below the sleeves."""
    y = arm_rows(_WRIST, fine(28, detail))
    if sleeve:
        y = np.linspace(-sleeve + 0.012, -_WRIST, fine(round(80 * (0.33 - sleeve)), detail))
    skin = Canvas(4, 4, look.skin, shine=0.05)
    grids = head_grids(look, shape.woman, skin, detail, rng)
    v, u = along(0, 1, 32)[:, None], along(-0.5, 0.5, 64)
    hand = Canvas(32, 64, look.skin)
    between = line(np.abs(np.mod(cos(2 * np.pi * u) * 1.5 + 10.5, 1) - 0.5), 0.10)  # the fingers
    hand.shade(1 - 0.22 * between * smoothstep(0.50, 0.60, v))
    for _, sign in SIDES:
        grids.append(surfaces.arm_grid(shape, sign, y, np.zeros_like(y), fine(16, detail), skin))
        grids += surfaces.hand_grids(shape, sign, fine(12, detail), hand, skin)
    return grids


def _neck(skin: Colour) -> Canvas:
    """Skin in the shade of the chin."""
    canvas = Canvas(24, 4, skin)
    canvas.shade(0.97 - 0.16 * along(1, 0, 24)[:, None])
    return canvas


def _ribs(colour: Colour) -> Canvas:
    """A knitted band: a high collar, a scarf."""
    canvas = Canvas(24, 96, colour)
    canvas.shade(0.95 + 0.06 * sin(along(0, 48 * np.pi, 96)))
    return canvas


def _legs(shape: Shape, skin: Colour, shoes: Shoes, hem: float, lower: Lower | None, detail: float) -> list[Grid]:
    """Both legs, in skin or tights and the shafts of boots, and the shoes; `hem` is that of the upper garment."""
    bare, boot = skin if shoes.tights is None else shoes.tights, shoes.kind == "boot"
    # No leg where nobody can see it.
    top = min(_LEG_TOP, hem + 0.07 if lower is None else lower.hem + (0.07 if lower.skirt else 0.02))
    leg = Canvas(160, 4, bare, shine=0.04)
    if boot:
        leg.lay(shoes.upper, along(top, _LEG_END, 160)[:, None] < 0.145)
    shoe = _shoe(bare, shoes)
    y = np.linspace(top, _LEG_END, fine(round(50 * top), detail))
    shaft = np.where((y < 0.15) & boot, 0.004, 0.0)
    room = 0.0 if shoes.kind in ("pump", "sandal") else 0.0025
    grids = []
    for _, sign in SIDES:
        grids.append(surfaces.leg_grid(shape, sign, y, shaft, fine(18, detail), leg))
        grids.append(surfaces.foot_grid(shape, sign, fine(16, detail), room, shoe))
    return grids


def _shoe(bare: Colour, shoes: Shoes) -> Canvas:
    """From heel (first row) to toes; the middle columns lie on top, the outer ones below."""
    v, u = along(0, 1, 48)[:, None], np.abs(along(-0.5, 0.5, 64))
    canvas = Canvas(48, 64, shoes.upper, shine=0.15)
    if shoes.kind == "pump":
        canvas.lay(bare, (v < 0.62) & (v > 0.12) & (u < 0.16 + 0.06 * v))
    if shoes.kind == "sandal":
        canvas.lay(bare, (np.abs(v - 0.64) > 0.07) & (np.abs(v - 0.28) > 0.05) & (u < 0.3))
    if shoes.kind == "sneaker":
        canvas.lay(shoes.sole, (u < 0.07) & (v > 0.34) & (v < 0.62) & (v * 24 % 1 < 0.55))  # laces
        canvas.lay(darker(shoes.sole, 0.97), (v > 0.88) & (u < 0.3))  # the cap
    sole = darker(shoes.upper, 0.5) if shoes.kind == "boot" else shoes.sole
    canvas.lay(sole, u > (0.245 if shoes.kind == "sneaker" else 0.27))
    return canvas


def _trousers(
    shape: Shape, skin: Colour, lower: Lower, top: float, detail: float, rng: np.random.Generator
) -> list[Grid]:
    """Both legs of trousers or shorts; belly and hips, for an upper garment that ends at `top`."""
    y, turn = along(_LEG_TOP, lower.hem, fine(160, detail))[:, None], along(-0.5, 0.5, fine(96, detail))
    canvas = Canvas(len(y), len(turn), lower.cloth.ground)  # of the left leg; the right one mirrors it
    weave(canvas, lower.cloth, turn, y, _LEG_GIRTH)
    if lower.denim:
        _wash(canvas, turn * _LEG_GIRTH + 0.06, y, 1.0, rng)
        canvas.shade(1 + 0.14 * line(turn, 0.10) * smoothstep(0.25, 0.38, y))
    canvas.shade(1 - 0.25 * line(np.abs(turn) - 0.25, 0.010))
    if lower.side is not None:
        canvas.lay(lower.side, np.abs(turn - 0.25) < 0.05)
    canvas.shade(1 - 0.2 * smoothstep(0.003, 0.001, np.abs(y - lower.hem - 0.012)))
    crease(canvas, y, _LEG_GIRTH, rng)
    y = np.linspace(_LEG_TOP, lower.hem, fine(round(52 * (0.54 - lower.hem)), detail))
    room = 0.003 + (lower.room - 0.003) * smoothstep(0.50, max(lower.hem, 0.25), y)
    if lower.hem < 0.1:
        room = room + 0.002 * sin(y * 160) * smoothstep(0.16, 0.06, y)  # folds at the ankle
    legs = [(sign, surfaces.leg_grid(shape, sign, y, room, fine(20, detail), canvas)) for _, sign in SIDES]
    top = min(max(top, lower.waist) + 0.025, 0.70)
    y = np.linspace(top, _CORE_END, fine(round(92 * (top - _CORE_END)), detail))
    core = _core(skin, lower, top, fine(112, detail), fine(192, detail), rng)
    hips = torso_grid(Torso(shape, surfaces.SECOND_SKIN), around(fine(36, detail)), y, core)
    return [*(replace(leg, inside=3, mirrored=sign < 0) for sign, leg in legs), hips]


def _wash(canvas: Canvas, x: np.ndarray, y: np.ndarray, worn: np.ndarray | float, rng: np.random.Generator) -> None:
    """The grain of denim, and how it fades on the thighs."""
    grain = 0.045 * noise(rng, canvas.planes.shape[1:], np.float32)
    canvas.shade(1 + worn * (grain + 0.18 * line(np.abs(x) - 0.06, 0.03) * smoothstep(0.56, 0.45, y)))


def _core(skin: Colour, lower: Lower, top: float, rows: int, columns: int, rng: np.random.Generator) -> Canvas:
    """Belly and hips from the height `top` down: skin above the waistband, trousers below."""
    y, turn = along(top, _CORE_END, rows)[:, None], along(-0.5, 0.5, columns)
    canvas = Canvas(rows, columns, skin)
    canvas.shade(1 - 0.25 * line(turn, 0.006) * line(y - 0.607, 0.004))  # the navel
    worn = smoothstep(lower.waist + 0.001, lower.waist - 0.001, y)
    weave(canvas, lower.cloth, turn, y, GIRTH, worn)
    x, below = turn * GIRTH, lower.waist - y
    if lower.denim:
        _wash(canvas, x, y, worn, rng)
    fly = line(x, 0.0025) * (below > 0.01) + 0.7 * line((np.abs(turn) - 0.25) * GIRTH, 0.003)  # and the sides
    slant = line(np.abs(x) - 0.052 - (0.60 - y) * 0.6, 0.003) * ((below > 0.012) & (below < 0.06))  # front pockets
    patch = np.maximum(np.abs(np.abs(turn) - 0.40) * GIRTH / 0.024, np.abs(below - 0.085) / 0.026)  # back pockets
    canvas.shade(1 - 0.3 * worn * np.clip(fly + slant + (np.abs(patch - 1) < 0.12), 0, 1))
    if lower.belt is not None:
        band = np.abs(y - lower.waist + 0.009) < 0.008
        canvas.lay(lower.belt, band)
        canvas.lay((205, 190, 150), band & (np.abs(turn) < 0.023))  # the buckle
    return canvas


def _skirt(shape: Shape, lower: Lower, detail: float, rng: np.random.Generator) -> Grid:
    """A skirt from the waist to its hem."""
    y, turn = along(lower.waist, lower.hem, fine(160, detail))[:, None], along(-0.5, 0.5, fine(240, detail))
    canvas = Canvas(len(y), len(turn), lower.cloth.ground)
    weave(canvas, lower.cloth, turn, y, GIRTH)
    if lower.pleats:
        canvas.shade(1 + 0.10 * sin(2 * np.pi * turn * lower.pleats + 1.2))
    if lower.belt is not None:
        canvas.lay(lower.belt, y > lower.waist - 0.016)
    canvas.shade(1 - 0.2 * smoothstep(0.003, 0.001, np.abs(y - lower.hem - 0.010)))
    crease(canvas, y, GIRTH, rng)
    y = np.linspace(lower.waist, lower.hem, fine(round(20 + 60 * (lower.waist - lower.hem)), detail))
    azimuth = around(fine(60 if lower.pleats else 44, detail))
    fit = Fit(0.009, 1.0, lower.waist - 0.005, lower.room, 0.55, over=0.004)
    grid = torso_grid(Torso(shape, fit), azimuth, y, canvas)
    depth = 0.08 if lower.pleats else 0.33 * lower.room
    fold = depth * (lower.waist - y)[:, None] * sin((lower.pleats or 8) * azimuth + 0.5)
    return replace(grid, points=push(grid.points, azimuth, fold), inside=len(y) // 3)


def _bag(shape: Shape, colour: Colour, upper: Upper) -> list[Grid]:
    """A backpack with a pocket and a seam, and its straps, over the shoulders and under the arms."""
    v, u = along(0, 1, 64)[:, None], along(-0.5, 0.5, 64)
    canvas, strap = Canvas(64, 64, colour), Canvas(4, 4, darker(colour, 0.8))
    pocket = np.maximum(np.abs(np.abs(u) - 0.5) / 0.16, np.abs(v - 0.68) / 0.2)
    canvas.shade(1 - 0.5 * (np.abs(pocket - 1) < 0.08))
    canvas.shade(1 - 0.45 * (np.abs(v - 0.36) < 0.012))
    grids = [rigid(surfaces.ball((0, 0.722, -0.098), (0.066, 0.092, 0.042), 13, 20, edge=7), canvas, "chest")]
    t, bends = np.linspace(0, 1, 12), (0, 0.35, 0.7, 1)
    azimuth, y = np.radians(interp(t, bends, (95, 42, 48, 88))), interp(t, bends, (0.836, 0.805, 0.72, 0.665))
    for _, sign in SIDES:
        path = Torso(shape, upper.fit).points(sign * azimuth, y) + np.array((0, 0.002, 0.003))
        points = sweep(path, np.full(12, 0.010), np.full(12, 0.004), 8, (sign * 0.3, 0.2, 1))
        grids.append(rigid(points, strap, "chest"))
    return grids


def _scarf(shape: Shape, texture: Canvas) -> Grid:
    a, size = np.radians(np.linspace(180, -180, 25)), 1.0 if shape.woman else 1.12
    path = np.stack([0.043 * size * sin(a), 0.848 - 0.010 * cos(a), -0.013 + 0.044 * size * cos(a)], -1)
    points = sweep(path, np.full(25, 0.017), np.full(25, 0.020), 12, (0, 1, 0))
    points[-1] = points[0]
    return rigid(points, texture, "chest")
