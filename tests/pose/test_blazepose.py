"""BlazePose: its arithmetic without the weights, and with them people in photos that a package holds or we draw."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image, ImageDraw

from fakes import ByName
from mannequins.renderer import MannequinPhoto, MannequinSettings, render_item
from repose.data.skeleton import JOINT, JOINTS, MIRROR, K, present
from repose.errors import ReposeError
from repose.pose import blazepose
from repose.pose.blazepose import (
    LANDMARK,
    BlazePose,
    Landmarks,
    Square,
    as_openpose,
    at_peaks,
    hidden_by_the_head,
    together,
)
from repose.storage.networks import Weights
from repose.storage.weight_files import cached

NOTHING = np.zeros((64, 64, 39), np.float32)
WHOLE = Square(np.array([128.0, 128.0]), 256.0, 0.0)  # of a photo of 256x256


def landmarks(seed: int = 0, **changed: np.ndarray) -> Landmarks:
    points = np.random.default_rng(seed).uniform(40, 200, (39, 2)).astype(np.float32)
    points[[LANDMARK["right_ear"], LANDMARK["nose"], LANDMARK["left_ear"]], 0] = (100, 110, 120)  # from the front
    points[[LANDMARK["right_eye"], LANDMARK["left_eye"]], 0] = (105, 115)
    depth = np.zeros(39, np.float32)
    depth[LANDMARK["nose"]] = -20
    return Landmarks(points, depth, np.linspace(0.4, 0.9, 39, dtype=np.float32), NOTHING, 0.9)._replace(**changed)


def test_the_detectors_anchors_lie_in_the_middle_of_the_cells_of_three_grids():
    wanted = [[4, 4], [4, 4], [12, 4], [220, 4], [4, 12], [208, 208]]
    np.testing.assert_array_equal(blazepose.anchors()[[0, 1, 2, 55, 56, 2253]], wanted)


def test_the_square_of_a_lying_person_is_turned_so_that_the_head_is_up():
    lying = Square.around(np.array([300.0, 200.0]), np.array([200.0, 200.0]))  # the head is at the left
    assert lying.side == 250
    photo = Image.new("RGB", (600, 400))
    draw = ImageDraw.Draw(photo)
    draw.ellipse((196, 196, 204, 204), fill="red")
    draw.ellipse((296, 236, 304, 244), fill="blue")  # below the hips in the photo: at the person's left
    for px in (256, 64):  # with 64, four px of the photo are averaged
        crop = lying.crop(photo, px).astype(float)
        for channel, place in ((0, (200.5, 200.5)), (2, (300.5, 240.5))):
            y, x = np.indices(crop.shape[:2]) + 0.5
            middle = [(crop[..., channel] * at).sum() / crop[..., channel].sum() for at in (x, y, 1.0)][:2]
            np.testing.assert_allclose(lying.matrix(px) @ (*middle, 1), place, atol=0.3)
        assert crop[: px // 4, :, 0].any()
        assert not crop[px // 4 :, :, 0].any()


def test_a_mirrored_look_has_left_and_right_changed():
    seen = landmarks()
    joints, mirrored = (as_openpose(of, WHOLE, (256, 256)) for of in (seen, seen.mirrored()))
    np.testing.assert_allclose(mirrored[MIRROR, 0], 255 - joints[:, 0], atol=1e-3)
    np.testing.assert_allclose(mirrored[MIRROR, 1:], joints[:, 1:], atol=1e-4)


def test_two_looks_are_averaged_unless_they_disagree_about_left_and_right():
    one, other = landmarks(0), landmarks(0, points=landmarks(0).points + 4)
    seen, apart = together(one, other)
    np.testing.assert_allclose(seen.points, one.points + 2)
    diagonal = np.linalg.norm(seen.points[LANDMARK["left_shoulder"]] - seen.points[LANDMARK["right_hip"]])
    assert apart == pytest.approx(np.hypot(4, 4) / diagonal)
    swapped = one.mirrored()
    swapped = swapped._replace(points=np.stack([256 - swapped.points[:, 0], swapped.points[:, 1]], 1))
    surer = swapped._replace(heat=NOTHING + 0.5)
    for seen, apart in (together(one, surer), together(surer, one)):
        assert seen is surer
        assert apart == pytest.approx(0, abs=1e-6)


def test_points_move_to_the_mean_of_the_heat_around_them():
    heat = np.zeros((64, 64, 4), np.float32)
    heat[10, 20, 0], heat[10, 22, 0] = 0.5, 0.5  # mean x: 21.5 cells
    heat[40, 40, 1] = 1  # more than three cells away
    heat[63, 0, 2] = 0.1  # in the corner
    heat[0, 0, 3] = 1  # the window of a point far outside holds no cell
    points = np.array([[81, 40], [100, 100], [2, 253], [-40, -40]], np.float32)
    np.testing.assert_allclose(at_peaks(points, heat), [[86, 42], [100, 100], [2, 254], [-40, -40]], rtol=1e-6)


@pytest.mark.parametrize(("degrees", "hidden"), [
    (0, set()), (45, {"left_ear"}), (90, {"left_ear", "left_eye"}), (-45, {"right_ear"}),
    (180, {"left_eye", "right_eye", "nose"}),
])  # fmt: skip
def test_a_turned_head_hides_the_ear_on_its_side_and_from_behind_the_face(degrees, hidden):
    """A head with ears 20 px apart, the nose 14 px before their middle, turned to the left side of the person."""
    turn, seen = np.radians(degrees), landmarks()
    head = {"nose": (0, -14), "left_ear": (10, 0), "right_ear": (-10, 0), "left_eye": (4, -11), "right_eye": (-4, -11)}
    for name, (x, depth) in head.items():
        seen.points[LANDMARK[name], 0] = 128 + x * np.cos(turn) - depth * np.sin(turn)
        seen.depth[LANDMARK[name]] = x * np.sin(turn) + depth * np.cos(turn)
    assert hidden_by_the_head(seen) == hidden


def test_every_joint_has_its_landmark_and_those_out_of_sight_are_missing():
    seen = landmarks()
    joints = as_openpose(seen, WHOLE, (256, 256))
    for name, index in LANDMARK.items():
        wanted = (*(seen.points[index] - 0.5), seen.visibility[index])
        np.testing.assert_allclose(joints[JOINT[name]], wanted, rtol=1e-5)
    left, right = joints[JOINT["left_shoulder"]], joints[JOINT["right_shoulder"]]
    np.testing.assert_allclose(joints[JOINT["neck"]], (*(left + right)[:2] / 2, min(left[2], right[2])), rtol=1e-5)
    seen.points[LANDMARK["left_knee"]] = (100, 257)
    seen.visibility[LANDMARK["right_shoulder"]] = blazepose.VISIBLE - 0.01
    joints = as_openpose(seen, WHOLE, (256, 256))
    missing = {name for name, joint in zip(JOINTS, joints, strict=True) if not joint.any()}
    assert missing == {"left_knee", "right_shoulder", "neck"}


def test_a_file_of_something_else_or_a_missing_runtime_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "other.tar").write_bytes(b"something else")
    with pytest.raises(ReposeError, match=r"other\.tar does not hold .*BlazePose .*weights fetch blazepose"):
        blazepose.load(ByName(blazepose=tmp_path / "other.tar"), min_person=0.5)
    monkeypatch.setattr(blazepose, "has_runtime", lambda: False)
    with pytest.raises(ReposeError, match=r"pip install ai-edge-litert.*Intel Macs"):
        blazepose.load(Weights({}), min_person=0.5)


# With the weights.


@pytest.fixture(scope="module")
def network() -> BlazePose:
    if not cached("blazepose").is_file():
        pytest.skip("BlazePose's weights are not in the cache: run `repose weights fetch blazepose`")
    return blazepose.load(Weights({}), min_person=0.5)


HEAD_AND_SHOULDERS = [0, 1, 2, 5, 14, 15, 16, 17]  # the elbows and wrists of the astronaut are hard to see


def people(network: BlazePose, pixels: np.ndarray) -> np.ndarray:
    return network.people(torch.from_numpy(pixels.copy()).movedim(2, 0)[None])[0]


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    """A woman from the hips up; NASA, in the public domain."""
    return skimage.data.astronaut()


@pytest.fixture(scope="module")
def upright(network: BlazePose, astronaut: np.ndarray) -> np.ndarray:
    (found,) = people(network, astronaut)
    return found


def test_the_joints_of_a_real_person(upright):
    by_eye = {"nose": (216, 135), "right_eye": (196, 112), "left_eye": (240, 113), "right_shoulder": (104, 230)}
    for name, place in by_eye.items():
        assert np.linalg.norm(upright[JOINT[name], :2] - place) < 15
    below = [JOINT[f"{side}_{joint}"] for side in ("left", "right") for joint in ("knee", "ankle")]
    assert not upright[below].any()
    assert (upright[:, 2] > 0).sum() >= 12


@pytest.mark.parametrize("quarters", [1, 2])
def test_a_person_who_lies_or_stands_on_the_head(network, astronaut, upright, quarters):
    (found,) = people(network, np.rot90(astronaut, quarters))
    x, y = found[:, 0], found[:, 1]
    for _ in range(quarters):
        x, y = 511 - y, x
    away = np.linalg.norm(np.stack([x, y], 1) - upright[:, :2], axis=1)
    assert away[HEAD_AND_SHOULDERS].max() < 15


def test_a_photo_of_twelve_megapixels(network, astronaut, upright):
    large = np.asarray(Image.fromarray(astronaut).resize((3500, 3500), Image.Resampling.BICUBIC))
    (found,) = people(network, large)
    away = np.abs((found[:, :2] + 0.5) * 512 / 3500 - 0.5 - upright[:, :2])
    assert away[HEAD_AND_SHOULDERS].max() < 5


def test_of_two_people_both_are_found_and_where_nobody_is_nobody(network, astronaut):
    small = np.asarray(Image.fromarray(astronaut).resize((256, 256)))
    two = np.full((512, 768, 3), 255, np.uint8)
    two[:, :512], two[256:, 512:] = astronaut, small
    found = people(network, two)
    noses = sorted(found[:, JOINT["nose"], :2].tolist())
    np.testing.assert_allclose(noses, [[216, 135], [512 + 108, 256 + 67]], atol=15)
    assert people(network, skimage.data.chelsea()).shape == (0, K, 3)


@pytest.fixture(scope="module")
def rendered() -> list[MannequinPhoto]:
    return list(render_item(MannequinSettings("fashion", items=2, seed=7, quality=90), 0))


@pytest.mark.parametrize("cut_off", [False, True])
def test_a_rendered_person_also_with_the_head_cut_off(network, rendered, cut_off):
    truth, pixels = rendered[0].keypoints, rendered[0].pixels
    top = int(truth[JOINT["neck"], 1]) - 4 if cut_off else 0
    (found,) = people(network, pixels[top:])
    both = (found[:, 2] > 0) & present(truth)
    assert both.sum() >= (8 if cut_off else 12)
    assert np.linalg.norm(found[:, :2] + [0, top] - truth, axis=1)[both].mean() < 8  # of 256
    assert found[JOINT["nose"], 2] == 0 or not cut_off


def test_threads_change_no_byte(network, rendered):
    images = torch.from_numpy(np.stack([photo.pixels for photo in rendered[:2]])).movedim(3, 1)
    alone = network.people(images)
    with ThreadPoolExecutor(2) as pool:
        found = [people for (people,) in pool.map(network.people, images.split(1))]
    assert any(len(people) for people in found)
    for one, other in zip(alone, found, strict=True):
        np.testing.assert_array_equal(one, other)
