import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from mannequins.renderer import MannequinSettings, contact_sheet, files, render_item
from mannequins.renderer.body import BONE, Arm, Leg, Pose, Shape, arm_reaching, beyond_limits, bone_frames, joints
from mannequins.renderer.canvas import Canvas
from mannequins.renderer.fashion import CATEGORIES, draw_category, garment_of, status_of
from mannequins.renderer.garments import dressed
from mannequins.renderer.head import Look
from mannequins.renderer.patterns import PATTERNS, PRINTS, Cloth, Print, printed, weave
from mannequins.renderer.people import person, standing, walking
from mannequins.renderer.photo import photo_of
from mannequins.renderer.posed_person import Figure, posed
from mannequins.renderer.render import Camera, Light, Rendering, _nearest, blurred, render
from mannequins.renderer.wardrobe import CLOSE, Chance, Outfit, Shoes, outfit, plain, tee, trousers
from repose.config import build
from repose.data.images import decode
from repose.data.layouts import DeepFashion, Market1501
from repose.data.skeleton import JOINT, JOINTS, TORSO
from repose.data.visibility import occlusion, to_text
from repose.errors import ReposeError

FASHION = MannequinSettings("fashion", items=10, seed=3, quality=90)
STREET = MannequinSettings("street", items=4, seed=3, quality=90)
LIGHT = Light((0.0, 0.3, 1.0), 0.4, 0.7, 0.6)
HANGING, STRAIGHT = Arm(10, 0, 10, 10), Leg(2, 0, 6, 2, 0)
WOMAN = Shape(woman=True, height=1, girth=1, shoulders=1, hips=1, bust=1, muscle=1)
MAN = replace(WOMAN, woman=False, bust=0)
LOOK = Look(
    skin=(225, 180, 150), eyes=(60, 60, 60), lips=(190, 100, 100), hair=(60, 40, 30), style="crop", parting=0.012,
    length=0.75, beard=0, cap=(0, 0, 0),
)  # fmt: skip
BLUE, RED, GREEN = (20.0, 40.0, 220.0), (230.0, 10.0, 10.0), (10.0, 200.0, 20.0)


def upright(yaw: float, **other: object) -> Pose:
    angles = dict.fromkeys(
        ("lean", "hip_tilt", "chest_tilt", "chest_twist", "chest_pitch", "head_turn", "head_tilt", "head_pitch"), 0.0
    )
    limbs = {"right_arm": HANGING, "left_arm": HANGING, "right_leg": STRAIGHT, "left_leg": STRAIGHT}
    return Pose(yaw=yaw, **(angles | limbs | other))


def in_tee(shape: Shape = MAN, look: Look = LOOK, **changes: object) -> Figure:
    """A blue tee over white trousers."""
    chance = Chance(np.random.default_rng(0), np.random.default_rng(0))
    blue = plain(BLUE)
    top = replace(
        tee(chance, woman=False), front=blue, back=blue, sleeves=blue, chest=None, rear=None, trim=None, sleeve=0.1,
        neckline="crew", fit=CLOSE, hem=0.5, pocket=False,
    )  # fmt: skip
    white = replace(trousers(chance, False, calm=True), cloth=plain((240, 240, 240)), denim=False, side=None, belt=None)
    shoes = Shoes("shoe", (30, 30, 30), (30, 30, 30), None)
    return dressed(shape, look, Outfit(replace(top, **changes), None, white, shoes), 1.0, np.random.default_rng(0))


def view(figure: Figure, yaw: float, **angles: object) -> Rendering:
    camera = Camera(height=256, width=174, scale=240, x=86.5, y=128, level=0.5, distance=4, pitch=0)
    return render(figure, posed(figure, upright(yaw, **angles)), camera, LIGHT)


def share_like(picture: Rendering, colour: tuple[float, float, float]) -> float:
    """The share of the figure's pixels that are more like a strong colour than like anything else."""
    planes = picture.colour / np.maximum(picture.coverage, 1e-6)
    main = int(np.argmax(colour))
    others = [plane for k, plane in enumerate(planes) if k != main]
    like = (planes[main] > 2 * np.maximum(*others)) & (picture.coverage > 0.9)
    return float(like.sum() / (picture.coverage > 0.9).sum())


@pytest.fixture(scope="module")
def fashion():
    return [render_item(FASHION, number) for number in range(FASHION.items)]


@pytest.fixture(scope="module")
def street():
    return [render_item(STREET, number) for number in range(STREET.items)]


@pytest.fixture(scope="module")
def fashion_files():
    return list(files(FASHION, workers=1))


@pytest.fixture(scope="module")
def street_files():
    return list(files(STREET, workers=1))


# ---- settings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"items": 1}, "items is 1"),
        ({"flavour": "street", "items": 10_000}, "9999 persons"),
        ({"seed": -1}, "seed is -1"),
        ({"quality": 0}, "quality is 0"),
        ({"quality": 101}, "quality is 101"),
        ({"flavour": "film"}, "fashion, street"),
    ],
)
def test_impossible_settings_are_refused_by_name(values, message):
    with pytest.raises(ReposeError, match=message):
        build(MannequinSettings, {"flavour": "fashion", "items": 4, "seed": 0, "quality": 90} | values, "params.yaml")


# ---- determinism


@pytest.mark.parametrize("settings", [FASHION, STREET], ids=lambda s: s.flavour)
def test_the_number_of_workers_does_not_change_a_byte(settings):
    few = replace(settings, items=3)
    assert list(files(few, workers=2)) == list(files(few, workers=1))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_bytes(fashion_files):
    again = next(files(FASHION, workers=1))
    assert again == fashion_files[0]
    assert next(files(replace(FASHION, seed=4), workers=1))[1] != again[1]


@pytest.mark.parametrize("settings", [FASHION, STREET], ids=lambda s: s.flavour)
def test_an_item_does_not_depend_on_how_many_there_are(settings):
    two, three = (list(files(replace(settings, items=n), workers=1)) for n in (2, 3))
    photos = [entry for entry in two if entry[0].endswith(".jpg")]
    assert photos == three[: len(photos)]


# ---- layouts


def layout_of(listing, layout):
    contents = dict(listing)
    return layout(contents, contents.__getitem__)


def test_the_real_reader_understands_fashion(fashion_files, fashion):
    layout = layout_of(fashion_files, DeepFashion)
    photos = [layout.photo(path) for path, _ in fashion_files if path.endswith(".jpg")]
    assert [p.name for p in photos] == [p.name for item in fashion for p in item]
    assert [p.item for p in photos] == [p.truth.item for item in fashion for p in item]
    partitions = {p.partition for p in photos}
    assert partitions == {"train", "query", "gallery"}
    garments = {
        side: {p.item.split("/")[2] for p in photos if (p.partition == "train") == side} for side in (True, False)
    }
    assert not garments[True] & garments[False]


def test_the_partition_list_is_written_as_its_owner_does(fashion_files):
    lines = dict(fashion_files)["Eval/list_eval_partition.txt"].decode().splitlines()
    photos = [path for path, _ in fashion_files if path.endswith(".jpg")]
    assert lines[:2] == [str(len(photos)), "image_name item_id evaluation_status"]
    assert [line.split()[0] for line in lines[2:]] == photos
    assert all(line.split()[1] == line.split("/")[3] for line in lines[2:])


def test_items_have_two_to_five_views_each_once(fashion):
    views = [[photo.path.split("_")[-1] for photo in item] for item in fashion]
    assert all(2 <= len(v) <= 5 and len(set(v)) == len(v) for v in views)
    assert sum(len(v) >= 4 for v in views) > len(views) / 2


def test_some_garments_come_in_several_colours_of_one_cut(fashion):
    assert [garment_of(n) for n in range(9)] == [
        (1, 1), (2, 1), (2, 2), (3, 1), (4, 1), (5, 1), (5, 2), (5, 3), (6, 1),
    ]  # fmt: skip
    first, second = (item[0].path.rsplit("/", 1)[0] for item in fashion[1:3])
    assert first == second
    assert {status_of(2, 0), status_of(2, 1), status_of(7, 0)} == {"query", "gallery"}
    assert {status_of(g, n) for g in (1, 3, 4, 5, 6) for n in (0, 1)} == {"train"}


def test_the_colours_of_a_garment_differ_and_its_cut_does_not():
    for seed in range(20):
        variants = [
            outfit("Tees_Tanks", True, Chance(np.random.default_rng(seed), np.random.default_rng(seed), variant))
            for variant in range(3)
        ]
        grounds = [np.array(v.upper.front.ground) for v in variants]
        assert min(np.abs(a - b).max() for a, b in zip(grounds, grounds[1:] + grounds[:1], strict=True)) > 25
        assert len({(v.upper.hem, v.upper.neckline, v.upper.front.pattern, v.shoes.kind) for v in variants}) == 1


def test_most_garments_are_upper_garments_or_dresses():
    lower = {"Shorts", "Skirts", "Pants", "Denim", "Leggings", "Rompers_Jumpsuits"}
    rng = np.random.default_rng(0)
    draws = [draw_category(rng, woman) for woman in [True] * 300 + [False] * 100]
    assert 0.80 < np.mean([category not in lower for category in draws]) < 0.92


def test_the_real_reader_understands_street(street_files, street):
    layout = layout_of(street_files, Market1501)
    photos = [layout.photo(path) for path, _ in street_files if "/" in path]
    assert [p.name for p in photos] == [p.name for item in street for p in item]
    assert len({p.name for p in photos}) == len(photos)
    ids = {part: {p.item for p in photos if p.partition == part} for part in ("train", "gallery", "query")}
    assert ids == {"train": {"0001", "0003"}, "gallery": {"0002", "0004", "-1", "0000"}, "query": {"0002", "0004"}}
    for who in ("0001", "0002", "0003", "0004"):
        assert len({p.view for p in photos if p.item == who}) >= 3


def test_street_has_junk_distractors_and_two_slips(street_files):
    names = [path for path, _ in street_files]
    assert sum(name.endswith(".jpg.jpg") for name in names) == 2
    assert all(name.startswith("bounding_box_test/") for name in names if "/-1_" in name or "/0000_" in name)
    assert sum("/-1_" in name for name in names) >= 4
    assert sum("/0000_" in name for name in names) == 4
    rows = dict(row.split(": ", 1) for row in dict(street_files)["keypoints.csv"].decode().splitlines()[1:])
    nothing = str([-1] * 18)
    assert all(rows[name.split("/")[1]] == f"{nothing}: {nothing}" for name in names if "/-1_" in name)
    assert any(rows[name.split("/")[1]] != f"{nothing}: {nothing}" for name in names if "/0000_" in name)


def test_a_path_outside_the_layout_is_a_defect():
    with pytest.raises(AssertionError, match="DeepFashion"):
        photo_of(DeepFashion, "img/WOMEN/Dresses/1.jpg")


# ---- photos


def test_every_photo_decodes_to_its_size(fashion_files, street_files):
    assert all(decode(content).shape == (256, 256, 3) for path, content in fashion_files if path.endswith(".jpg"))
    assert all(decode(content).shape == (128, 64, 3) for path, content in street_files if path.endswith(".jpg"))


def test_fashion_photos_stand_between_constant_light_bars(fashion):
    for photo in (photo for item in fashion for photo in item):
        bars = np.concatenate([photo.pixels[:, :41], photo.pixels[:, 215:]], axis=1)
        assert len(np.unique(bars.reshape(-1, 3), axis=0)) == 1
        assert bars.min() >= 225
        assert photo.pixels[:, 41:215].std() > 10


def test_cameras_see_different_backgrounds(street):
    corners = {}
    for photo in (photo for item in street for photo in item):
        if photo.truth is not None:
            corners.setdefault(photo.name.split("_")[1][:2], []).append(photo.pixels[-12:, :6].mean((0, 1)))
    means = [np.mean(values, axis=0) for values in corners.values()]
    assert len(means) >= 5
    assert max(np.abs(a - b).max() for a in means for b in means) > 25


def test_keypoints_csv_is_pose_gans(fashion_files, fashion):
    lines = dict(fashion_files)["keypoints.csv"].decode("ascii").splitlines()
    assert lines[0] == "name:keypoints_y:keypoints_x"
    assert len(lines) == 1 + sum(map(len, fashion))
    name, ys, xs = lines[1].split(":")
    photo = fashion[0][0]
    y, x = np.array(eval(ys)), np.array(eval(xs))  # noqa: S307
    missing = np.isnan(photo.keypoints[:, 0])
    assert name == photo.name
    assert ((y == -1) == missing).all()
    assert ((x == -1) == missing).all()
    assert np.abs(np.stack([x, y], 1) - photo.keypoints)[~missing].max() <= 0.5


def test_figures_csv_tells_the_truth(fashion_files, fashion):
    rows = list(csv.DictReader(io.StringIO(dict(fashion_files)["figures.csv"].decode())))
    assert [row["name"] for row in rows] == [photo.name for item in fashion for photo in item]
    assert list(rows[0]) == ["name", "item", "yaw_degrees", "front_share", "figure_share", "visible"]
    assert [row["visible"] for row in rows] == [photo.truth.visible for item in fashion for photo in item]
    assert all(0 <= float(r["yaw_degrees"]) < 360 and 0.03 < float(r["figure_share"]) < 0.7 for r in rows)
    front = [float(r["front_share"]) for r in rows if "1front" in r["name"]]
    back = [float(r["front_share"]) for r in rows if "3back" in r["name"]]
    assert min(front) > 0.6 > 0.4 > max(back)


def test_joints_are_missing_about_as_often_as_in_deepfashion(fashion):
    keypoints = np.stack([photo.keypoints for item in fashion for photo in item])
    missing = dict(zip(JOINTS, np.isnan(keypoints[..., 0]).mean(0), strict=True))
    assert not np.isnan(keypoints[:, TORSO, 0]).any(1).mean() > 0.25
    assert missing["nose"] < 0.4
    assert 0.3 < missing["left_knee"] < 0.85
    assert 0.5 < missing["right_ankle"] < 0.95


@pytest.mark.parametrize("flavour", ["fashion", "street"])
def test_keypoints_lie_within_the_image(flavour, fashion, street):
    photos = [photo for item in (fashion if flavour == "fashion" else street) for photo in item]
    height, width = photos[0].pixels.shape[:2]
    known = np.concatenate([p.keypoints[~np.isnan(p.keypoints[:, 0])] for p in photos])
    low, high = (41, 214) if flavour == "fashion" else (0, width - 1)
    assert known[:, 0].min() > low - 1
    assert known[:, 0].max() < high + 1
    assert known[:, 1].min() > -1
    assert known[:, 1].max() < height


def test_right_is_the_persons_right(fashion):
    for photo in (photo for item in fashion for photo in item):
        facing = np.cos(np.radians(photo.truth.yaw))
        if abs(facing) > 0.8:
            apart = photo.keypoints[JOINT["left_shoulder"], 0] - photo.keypoints[JOINT["right_shoulder"], 0]
            assert np.isnan(apart) or np.sign(apart) == np.sign(facing)


def test_a_contact_sheet_has_a_row_per_item():
    assert contact_sheet(FASHION, rows=2, columns=4).shape == (512, 1024, 3)
    assert contact_sheet(STREET, rows=2, columns=6).shape == (256, 384, 3)
    with pytest.raises(ValueError, match="6 photos"):
        contact_sheet(FASHION, rows=1, columns=6)


# ---- bodies and poses


@pytest.mark.parametrize("woman", [True, False])
def test_all_poses_are_within_human_limits(woman):
    rng = np.random.default_rng(1)
    for _ in range(150):
        shape, _ = person(rng, woman)
        yaw = rng.uniform(0, 360)
        assert beyond_limits(standing(rng, shape, yaw, over_shoulder=bool(rng.random() < 0.5))) == []
        assert beyond_limits(walking(rng, yaw)) == []


def test_limits_name_the_joint():
    assert beyond_limits(upright(0, left_arm=Arm(0, 0, 0, -20))) == ["left_arm.elbow"]
    assert beyond_limits(upright(0, right_leg=Leg(0, 0, 0, -5, 0), head_turn=120)) == ["head_turn", "right_leg.knee"]


def test_elbows_bend_forward_and_knees_backward():
    arm, leg = Arm(0, 0, 0, 90), Leg(0, 0, 0, 60, 0)
    at = joints(MAN, bone_frames(MAN, upright(0, right_arm=arm, left_arm=arm, right_leg=leg, left_leg=leg)))
    for side in ("right", "left"):
        assert at[JOINT[f"{side}_wrist"], 2] - at[JOINT[f"{side}_elbow"], 2] > 0.1
        assert at[JOINT[f"{side}_ankle"], 2] - at[JOINT[f"{side}_knee"], 2] < -0.1


def test_lifting_an_arm_or_twisting_it_in_mirrors_between_the_sides():
    arm = Arm(40, 20, 50, 70)
    at = joints(MAN, bone_frames(MAN, upright(0, right_arm=arm, left_arm=arm)))
    right, left = (at[[JOINT[f"{side}_{j}"] for j in ("shoulder", "elbow", "wrist")]] for side in ("right", "left"))
    assert np.allclose(right * (-1, 1, 1), left)
    assert left[1, 0] > left[0, 0]  # the elbow away from the body
    assert left[2, 0] < left[1, 0]  # the forearm inwards


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_reaching_arm_gets_there(sign):
    target, pole = np.array((sign * 0.11, 0.57, 0.02)), np.array((sign, 0, -0.75))
    arm = arm_reaching(MAN, sign, target, pole)
    side = "left" if sign > 0 else "right"
    frames = bone_frames(MAN, upright(0, **{f"{side}_arm": arm}))
    at = joints(MAN, frames)
    lift = frames[BONE["chest"], 1, 3]
    assert np.allclose(at[JOINT[f"{side}_wrist"]] - (0, lift, 0), target, atol=1e-6)
    assert sign * at[JOINT[f"{side}_elbow"], 0] > sign * target[0]
    far = arm_reaching(MAN, sign, np.array((sign * 0.3, 0.2, 0.5)), pole)
    assert 0 <= far.elbow < 15


def test_the_lower_foot_stands_on_the_floor():
    for leg in (STRAIGHT, Leg(0, 25, 5, 40, 10)):
        frames = bone_frames(WOMAN, upright(30, right_leg=leg))
        heels = [(frames[BONE[f"{side}_foot"]] @ (0, 0, -0.035, 1))[1] for side in ("right", "left")]
        toes = [(frames[BONE[f"{side}_foot"]] @ (0, 0, 0.07, 1))[1] for side in ("right", "left")]
        assert min(heels + toes) == pytest.approx(0, abs=1e-9)


# ---- what is seen


def test_visible_joints_lie_on_the_figure():
    rng, on, total = np.random.default_rng(5), 0, 0
    for _ in range(8):
        shape, look = person(rng, bool(rng.random() < 0.5))
        chance = Chance(rng, rng)
        figure = dressed(shape, look, outfit("Tees_Tanks", shape.woman, chance), 0.6, rng)
        for yaw in (0, 70, 180, 250):
            camera = Camera(height=256, width=174, scale=240, x=86.5, y=128, level=0.5, distance=4, pitch=3)
            pose = walking(rng, yaw) if yaw == 70 else standing(rng, shape, yaw, over_shoulder=False)
            picture = render(figure, posed(figure, pose), camera, LIGHT)
            known = picture.keypoints[~np.isnan(picture.keypoints[:, 0])]
            column, row = np.rint(known).astype(int).T
            on, total = on + int((picture.coverage[row, column] > 0).sum()), total + len(known)
    assert total > 350
    assert on / total > 0.99


def test_the_body_hides_joints_behind_it():
    figure = in_tee()
    front, right, back = (view(figure, yaw).keypoints for yaw in (0, 90, 180))
    assert not np.isnan(front).any()
    hidden = {name for name, point in zip(JOINTS, back, strict=True) if np.isnan(point[0])}
    assert {"nose", "right_eye", "left_eye"} <= hidden
    assert not hidden & {"neck", "right_shoulder", "left_shoulder", "right_hip", "left_hip", "right_elbow", "left_knee"}
    hidden = {name for name, point in zip(JOINTS, right, strict=True) if np.isnan(point[0])}
    assert {"left_ear", "left_elbow"} <= hidden
    assert not hidden & {"nose", "right_eye", "right_ear", "right_elbow", "right_wrist", "right_shoulder", "right_hip"}


def test_joints_outside_the_image_are_missing():
    figure = in_tee()
    camera = Camera(height=100, width=174, scale=240, x=86.5, y=50, level=0.8, distance=4, pitch=0)
    picture = render(figure, posed(figure, upright(0)), camera, LIGHT)
    lost = np.isnan(picture.keypoints[:, 0])
    assert lost[[JOINT["left_knee"], JOINT["right_ankle"]]].all()
    assert not lost[[JOINT["left_shoulder"], JOINT["nose"]]].any()


def test_a_figure_out_of_sight_is_an_empty_picture():
    figure = in_tee()
    camera = Camera(height=64, width=64, scale=100, x=900, y=30, level=0.5, distance=4, pitch=0)
    picture = render(figure, posed(figure, upright(0)), camera, LIGHT)
    assert picture.coverage.max() == 0
    assert np.isnan(picture.keypoints).all()
    assert np.isnan(picture.front_share)
    assert not picture.visible.any()


def test_a_print_on_the_chest_is_seen_from_the_front_only():
    figure = in_tee(chest=Print("disc", RED, 0.0, 0.715, 0.04))
    assert share_like(view(figure, 0), RED) > 0.02
    assert share_like(view(figure, 180), RED) == 0
    assert share_like(view(in_tee(rear=Print("disc", RED, 0.0, 0.7, 0.04)), 180), RED) > 0.02


def test_a_print_turns_with_the_body():
    figure = in_tee(chest=Print("disc", RED, 0.0, 0.715, 0.03))
    middles = []
    for yaw in (-40, 0, 40):
        red, green, blue = view(figure, yaw).colour
        middles.append(np.nonzero((red > 100) & (green < 60) & (blue < 60))[1].mean())
    assert middles[0] < middles[1] - 5
    assert middles[2] > middles[1] + 5


def test_a_small_print_lies_on_the_persons_left():
    picture = view(in_tee(chest=Print("disc", RED, 0.05, 0.74, 0.02)), 0)
    red, green, blue = picture.colour
    columns = np.nonzero((red > 100) & (green < 60) & (blue < 60))[1]
    assert columns.mean() > picture.keypoints[JOINT["nose"], 0] + 4


def test_a_back_unlike_the_front_shows_from_behind_and_half_from_the_side():
    figure = in_tee(back=plain(GREEN))
    front, side, back = (view(figure, yaw) for yaw in (0, 90, 180))
    assert share_like(front, GREEN) < 0.01 < 0.15 < share_like(back, GREEN)
    assert share_like(side, GREEN) > 0.03
    assert front.front_share > 0.9
    assert 0.3 < side.front_share < 0.7
    assert back.front_share < 0.1


def hidden_from(figure: Figure, source: float, target: float) -> float:
    return occlusion(to_text(view(figure, source).visible), to_text(view(figure, target).visible))


@pytest.mark.parametrize("shape", [WOMAN, MAN], ids=["woman", "man"])
@pytest.mark.parametrize("way", [1, -1])
def test_a_photo_hides_the_more_of_another_the_further_the_person_turns(shape, way):
    figure = in_tee(shape)
    shares = [hidden_from(figure, way * yaw, 0) for yaw in (0, 30, 60, 90, 180)]
    assert shares[0] == 0
    assert shares == sorted(set(shares))
    assert shares[1] < 0.15 < 0.25 < shares[2] < 0.5 < shares[3] < 0.9
    assert shares[4] == 1
    assert hidden_from(figure, 0, way * 180) == 1


def test_cells_are_told_apart_alike_in_a_small_image():
    """What is in sight is measured against the cell's own size, so the size of the image decides little."""
    figure, body = in_tee(), posed(in_tee(), upright(20))
    small = Camera(height=128, width=87, scale=120, x=43, y=64, level=0.5, distance=4, pitch=0)
    one, other = view(figure, 20).visible, render(figure, body, small, LIGHT).visible
    assert (one == other).mean() > 0.93
    assert abs(int(one.sum()) - int(other.sum())) < 8


def in_sight_by_rays(figure: Figure, yaw: float) -> np.ndarray:
    """The share of each cell that is in sight, face on: each triangle's middle is out of sight if anything lies before it."""
    body, eye = posed(figure, upright(yaw)), np.array((0, 0.5, 4.0))  # the camera of `view`
    corners = body.points.T.astype(np.float64)[figure.triangles.T]  # (t, 3, 3)
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    across = np.cross(one, two)  # twice the area
    share = np.zeros(len(figure.cell_areas))
    for number in np.flatnonzero(figure.cell):
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
        share[figure.cell[number]] += 0 if before.any() else facing
    return share[1:] / figure.cell_areas[1:]


@pytest.mark.parametrize("yaw", [0, 70, 180])
def test_cells_in_sight_are_those_that_rays_from_the_camera_reach(yaw):
    figure = in_tee()
    found, share = view(figure, yaw).visible, in_sight_by_rays(figure, yaw)
    assert found.shape == (192,)
    assert found[share > 0.35].all()
    assert not found[share < 0.15].any()
    assert ((share > 0.35) | (share < 0.15)).mean() > 0.85


def test_each_garment_of_the_torso_has_cells_of_its_own():
    """The jacket hides the tee's back, and the tee fills the gap of the jacket's front."""
    chance = Chance(np.random.default_rng(0), np.random.default_rng(0))
    top = replace(tee(chance, woman=False), sleeve=0.1, hem=0.5)
    jacket = replace(top, gap=20.0, fit=replace(CLOSE, ease=0.02), sleeve=0.3, neckline="crew")
    clothes = Outfit(top, jacket, trousers(chance, False, calm=True), Shoes("shoe", RED, RED, None))
    figure = dressed(MAN, LOOK, clothes, 1.0, np.random.default_rng(0))
    front, back = (view(figure, yaw).visible.reshape(2, 12, 16).any(1) for yaw in (0, 180))  # garment, azimuth
    assert front[0, 7:9].all()  # of the tee, the middle of the front
    assert front[1, 5:7].any()
    assert not front[:, [0, 15]].any()
    assert not back[0].any()
    assert back[1, [0, 15]].all()


def test_the_inside_of_a_garment_shows_none_of_its_cells():
    """From below one looks into a wide dress; its back's outside stays out of sight."""
    figure = in_tee(hem=0.3, fit=replace(CLOSE, flare=0.5, flare_from=0.6), sleeve=0.0)
    camera = Camera(height=256, width=174, scale=240, x=86.5, y=128, level=0.5, distance=4, pitch=-35)
    visible = render(figure, posed(figure, upright(0)), camera, LIGHT).visible.reshape(12, 16)
    assert visible[-1, 6:10].all()
    assert not visible[:, [0, 1, 14, 15]].any()


def test_the_torso_has_no_holes():
    for shape in (WOMAN, MAN):
        for yaw in (0, 180):
            picture = view(in_tee(shape), yaw)
            corners = picture.keypoints[list(TORSO)]
            (_, left, right, _), top, bottom = np.sort(corners[:, 0]), corners[:, 1].min(), corners[:, 1].max()
            inner = picture.coverage[round(top) : round(bottom), round(left) + 1 : round(right)]
            assert inner.size > 1000
            assert inner.min() == pytest.approx(1)


def test_edges_are_soft():
    coverage = view(in_tee(), 0).coverage
    assert 0.02 < ((coverage > 0) & (coverage < 1)).sum() / (coverage > 0).sum() < 0.2


@pytest.mark.parametrize("woman", [True, False])
def test_every_category_and_hair_style_can_be_worn(woman):
    styles = ("bob", "long", "long_front", "ponytail", "bun") if woman else ("crop", "quiff", "buzz", "afro", "beanie")
    for number, category in enumerate(CATEGORIES[woman]):
        rng = np.random.default_rng(number)
        shape, look = person(rng, woman)
        clothes = replace(outfit(category, woman, Chance(rng, rng)), bag=(90, 60, 200), scarf=(200, 60, 90))
        figure = dressed(shape, replace(look, style=styles[number % 5]), clothes, 0.6, rng)
        picture = view(figure, 30 * number)
        assert np.isfinite(picture.colour).all()
        assert 0.08 < picture.coverage.mean() < 0.6
        assert figure.atlas.min() >= 0
        assert figure.atlas.max() <= 255


# ---- parts of the renderer


def test_nearest_agrees_with_a_sample_by_sample_search():
    rng = np.random.default_rng(2)
    height, width, count = 23, 31, 40
    screen = np.stack(
        [rng.uniform(-5, width + 5, 3 * count), rng.uniform(-5, height + 5, 3 * count), rng.uniform(-1, 1, 3 * count)]
    )
    screen = screen.astype(np.float32)
    corners = np.arange(3 * count).reshape(3, count)
    x, y, z = screen.astype(float)[:, corners]
    area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    corners = np.where(area > 0, corners, corners[::-1])
    x, y, z = screen.astype(float)[:, corners]
    samples, hit, depth = _nearest(screen, corners, (height, width))
    row, column = (v.astype(float)[..., None] for v in np.mgrid[0:height, 0:width])
    shares = [
        ((x[b] - x[a]) * (row - y[a]) - (y[b] - y[a]) * (column - x[a])) / np.abs(area)
        for a, b in ((1, 2), (2, 0), (0, 1))
    ]
    at = np.where(np.min(shares, 0) >= 0, sum(s * v for s, v in zip(shares, z, strict=True)), -np.inf)
    assert (samples == np.flatnonzero(at.max(-1) > -np.inf)).all()
    assert (hit == at.argmax(-1).ravel()[samples]).all()
    assert np.abs(depth.ravel()[samples] - at.max(-1).ravel()[samples]).max() < 1e-4


def test_blurred_is_two_means_over_a_square():
    image = np.random.default_rng(0).random((9, 12)).astype(np.float32)
    wide = np.pad(image, 4)
    for _ in range(2):
        padded = np.pad(wide, 1)
        wide = sum(padded[i : i + wide.shape[0], j : j + wide.shape[1]] for i in range(3) for j in range(3)) / 9
    assert np.allclose(blurred(image, 1), wide[4:-4, 4:-4], atol=1e-6)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_close_at_the_back_and_use_their_colours(pattern):
    canvas = Canvas(120, 241, (0, 0, 0))
    turn = np.linspace(-0.5, 0.5, 241, dtype=np.float32)
    y = np.linspace(0.8, 0.5, 120, dtype=np.float32)[:, None]
    weave(canvas, Cloth(pattern, (250, 0, 0), (0, 250, 0), (0, 0, 250), 0.06), turn, y, 0.52)
    assert np.abs(canvas.planes[..., 0] - canvas.planes[..., -1]).mean() < 12
    assert (canvas.planes.std((1, 2)).max() > 30) == (pattern != "plain")


@pytest.mark.parametrize("figure", PRINTS)
def test_prints_cover_some_of_their_square(figure):
    v, u = np.mgrid[1:-1:41j, -1:1:41j] * 0.05
    share = printed(Print(figure, RED, 0.0, 0.0, 0.04), u.astype(np.float32), v.astype(np.float32))
    assert 0.1 < share.mean() < 0.8
    assert share.max() == 1
