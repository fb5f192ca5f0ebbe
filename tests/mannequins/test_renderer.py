"""The renderer of mannequins: bodies, poses and what is in sight. test_mannequins_exact.py has the digest of its photos."""

from dataclasses import replace

import numpy as np
import pytest

from mannequins.renderer import body
from mannequins.renderer.body import Arm, Leg, Look, Pose, Shape, draw_person, standing, walking
from mannequins.renderer.canvas import PATTERNS, PRINTS, Canvas, Cloth, Print, printed, weave
from mannequins.renderer.garments import dressed
from mannequins.renderer.items import CATEGORIES
from mannequins.renderer.posed_person import Person, posed
from mannequins.renderer.render import Camera, Light, Rendering, render
from mannequins.renderer.wardrobe import CLOSE, Chance, Outfit, Shoes, outfit, plain, tee, trousers
from repose.data.skeleton import JOINT

LIGHT = Light((0.0, 0.3, 1.0), 0.4, 0.7, 0.6)
HANGING, STRAIGHT = Arm(10, 0, 10, 10), Leg(2, 0, 6, 2, 0)
MAN = Shape(woman=False, height=1, girth=1, shoulders=1, hips=1, bust=0, muscle=1)
LOOK = Look(
    skin=(225, 180, 150), eyes=(60, 60, 60), lips=(190, 100, 100), hair=(60, 40, 30), style="crop", parting=0.012,
    length=0.75, beard=0, cap=(0, 0, 0),
)  # fmt: skip
BLUE, RED = (20.0, 40.0, 220.0), (230.0, 10.0, 10.0)


def upright(yaw: float, **other: object) -> Pose:
    angles = dict.fromkeys(
        ("lean", "hip_tilt", "chest_tilt", "chest_twist", "chest_pitch", "head_turn", "head_tilt", "head_pitch"), 0.0
    )
    limbs = {"right_arm": HANGING, "left_arm": HANGING, "right_leg": STRAIGHT, "left_leg": STRAIGHT}
    return Pose(yaw=yaw, **(angles | limbs | other))


def in_tee() -> Person:
    """A blue tee over white trousers."""
    chance = Chance(np.random.default_rng(0), np.random.default_rng(0))
    blue = plain(BLUE)
    top = replace(
        tee(chance, woman=False), front=blue, back=blue, sleeves=blue, chest=None, rear=None, trim=None, sleeve=0.1,
        neckline="crew", fit=CLOSE, hem=0.5, pocket=False,
    )  # fmt: skip
    white = replace(trousers(chance, False, calm=True), cloth=plain((240, 240, 240)), denim=False, side=None, belt=None)
    shoes = Shoes("shoe", (30, 30, 30), (30, 30, 30), None)
    return dressed(MAN, LOOK, Outfit(top, None, white, shoes), 1.0, np.random.default_rng(0))


CAMERA = Camera(height=256, width=174, scale=240, x=86.5, y=128, level=0.5, distance=4, pitch=0)


def view(person: Person, yaw: float, camera: Camera = CAMERA) -> Rendering:
    return render(person, posed(person, upright(yaw)), camera, LIGHT)


def test_elbows_bend_forward_and_knees_backward_and_the_sides_mirror_each_other():
    arm, leg = Arm(0, 0, 0, 90), Leg(0, 0, 0, 60, 0)
    at = body.joints(MAN, body.bone_frames(MAN, upright(0, right_arm=arm, left_arm=arm, right_leg=leg, left_leg=leg)))
    for side in ("right", "left"):
        assert at[JOINT[f"{side}_wrist"], 2] - at[JOINT[f"{side}_elbow"], 2] > 0.1
        assert at[JOINT[f"{side}_ankle"], 2] - at[JOINT[f"{side}_knee"], 2] < -0.1
    arm = Arm(40, 20, 50, 70)  # lifted, and twisted inwards
    at = body.joints(MAN, body.bone_frames(MAN, upright(0, right_arm=arm, left_arm=arm)))
    right, left = (at[[JOINT[f"{side}_{j}"] for j in ("shoulder", "elbow", "wrist")]] for side in ("right", "left"))
    assert np.allclose(right * (-1, 1, 1), left)


def test_visible_joints_lie_on_the_figure():
    rng, on, total = np.random.default_rng(5), 0, 0
    for _ in range(4):
        shape, look = draw_person(rng, bool(rng.random() < 0.5))
        person = dressed(shape, look, outfit("Tees_Tanks", shape.woman, Chance(rng, rng)), 0.6, rng)
        for yaw in (0, 70, 180, 250):
            pose = walking(rng, yaw) if yaw == 70 else standing(rng, shape, yaw, over_shoulder=False)
            picture = render(person, posed(person, pose), replace(CAMERA, pitch=3), LIGHT)
            known = picture.keypoints[~np.isnan(picture.keypoints[:, 0])]
            column, row = np.rint(known).astype(int).T
            on, total = on + int((picture.coverage[row, column] > 0).sum()), total + len(known)
    assert total > 170
    assert on / total > 0.99


def test_joints_outside_the_image_are_missing():
    lost = np.isnan(view(in_tee(), 0, replace(CAMERA, height=100, y=50, level=0.8)).keypoints[:, 0])
    assert lost[[JOINT["left_knee"], JOINT["right_ankle"]]].all()
    assert not lost[[JOINT["left_shoulder"], JOINT["nose"]]].any()


def in_sight_by_rays(person: Person, yaw: float) -> np.ndarray:
    """The visible share of each cell: a triangle is hidden if another lies between its middle and the camera."""
    eye = np.array((0, 0.5, 4.0))  # the camera of `view`
    corners = posed(person, upright(yaw)).points.T.astype(np.float64)[person.triangles.T]  # (t, 3, 3)
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    across = np.cross(one, two)  # twice the area
    share = np.zeros(len(person.cell_areas))
    for number in np.flatnonzero(person.cell):
        middle = corners[number].mean(0)
        ray = eye - middle
        facing = -across[number] @ ray / np.linalg.norm(ray) / 2  # clockwise in an image: the normal points away
        if facing <= 0:
            continue
        # Moller and Trumbore's test of the ray against every triangle.
        side = np.cross(ray, two)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = 1 / (one * side).sum(1)
            start = middle - corners[:, 0]
            u = (start * side).sum(1) * scale
            turned = np.cross(start, one)
            v, t = turned @ ray * scale, (turned * two).sum(1) * scale
            before = (u > 0) & (v > 0) & (u + v < 1) & (t > 1e-4)
        share[person.cell[number]] += 0 if before.any() else facing
    return share[1:] / person.cell_areas[1:]


def test_cells_in_sight_are_those_that_rays_from_the_camera_reach():
    person = in_tee()
    found, share = view(person, 70).visible, in_sight_by_rays(person, 70)
    assert found.shape == (192,)
    assert found[share > 0.35].all()
    assert not found[share < 0.15].any()
    assert ((share > 0.35) | (share < 0.15)).mean() > 0.85


@pytest.mark.parametrize("woman", [True, False])
def test_every_category_and_hair_style_can_be_worn(woman):
    styles = ("bob", "long", "long_front", "ponytail", "bun") if woman else ("crop", "quiff", "buzz", "afro", "beanie")
    for number, category in enumerate(CATEGORIES[woman]):
        rng = np.random.default_rng(number)
        shape, look = draw_person(rng, woman)
        clothes = replace(outfit(category, woman, Chance(rng, rng)), bag=(90, 60, 200), scarf=(200, 60, 90))
        person = dressed(shape, replace(look, style=styles[number % 5]), clothes, 0.6, rng)
        picture = view(person, 30 * number)
        assert np.isfinite(picture.colour).all()
        assert 0.08 < picture.coverage.mean() < 0.6
        assert person.atlas.min() >= 0
        assert person.atlas.max() <= 255


def test_patterns_close_at_the_back_and_use_their_colours_and_prints_cover_some_of_their_square():
    turn = np.linspace(-0.5, 0.5, 241, dtype=np.float32)
    y = np.linspace(0.8, 0.5, 120, dtype=np.float32)[:, None]
    for pattern in PATTERNS:
        canvas = Canvas(120, 241, (0, 0, 0))
        weave(canvas, Cloth(pattern, (250, 0, 0), (0, 250, 0), (0, 0, 250), 0.06), turn, y, 0.52)
        assert np.abs(canvas.planes[..., 0] - canvas.planes[..., -1]).mean() < 12, pattern
        assert (canvas.planes.std((1, 2)).max() > 30) == (pattern != "plain")
    v, u = (np.mgrid[1:-1:41j, -1:1:41j] * 0.05).astype(np.float32)
    for motif in PRINTS:
        share = printed(Print(motif, RED, 0.0, 0.0, 0.04), u, v)
        assert 0.1 < share.mean() < 0.8, motif
        assert share.max() == 1
