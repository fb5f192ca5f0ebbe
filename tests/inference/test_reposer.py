"""`repose.load`: photos and poses in every form that it takes, and what it rejects."""

import copy
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import repose
from repose import checkpoint, systems
from repose.data.frame import Frame
from repose.data.photo_files import HIPS
from repose.inference import reposer as module
from repose.inference.reposer import Reposer, SourcePhoto, TargetPose
from tiny_system import FRAME, SIZE, SMALL, STANDING, photo, save_openpose, save_photo, save_system, small_row

POSE = STANDING + np.float32([3, 2])
TARGET = TargetPose(POSE, *SIZE)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def sources(count: int = 2) -> list[SourcePhoto]:
    return [SourcePhoto(photo(seed), STANDING, f"{seed}.jpg") for seed in range(count)]


@pytest.fixture
def model(tmp_path: Path) -> Reposer:
    """Takes two photos at most; knows the pose of front.jpg, which lies in tmp_path, as target.jpg and side.jpg do."""
    for seed, name in enumerate(("front", "side", "target")):
        save_photo(tmp_path / f"{name}.jpg", seed)
    save_openpose(tmp_path / "openpose/front_keypoints.json")
    save_openpose(tmp_path / "openpose/target_keypoints.json", POSE)
    saved = save_system(tmp_path / "m.safetensors", max_sources=2)
    return repose.load(saved, device="cpu", keypoints=tmp_path / "openpose")


def same(first: Image.Image, second: Image.Image) -> bool:
    return first.tobytes() == second.tobytes()


@pytest.mark.parametrize("kind", systems.kinds())
@pytest.mark.parametrize("device", DEVICES)
def test_photos_and_a_pose_make_an_image_of_the_frames_size(tmp_path, kind, device):
    model = repose.load(str(save_system(tmp_path / "m.safetensors", kind)), device=device)
    given = sources(min(2, model.max_sources))
    made = model(given, POSE)
    assert (made.mode, made.size) == ("RGB", (FRAME.width, FRAME.height))
    assert same(made, model(given, POSE))
    assert not same(made, model(given, POSE + np.float32([6, 0])))
    assert not same(made, model(sources(2)[1], POSE))


def test_a_photo_is_a_path_a_pil_image_or_an_array(model, tmp_path):
    path, pixels = tmp_path / "front.jpg", photo(0)
    made = [model(given, POSE) for given in (path, str(path), [path], SourcePhoto(pixels, STANDING))]
    assert all(same(made[0], image) for image in made[1:])
    message = r"None of .*openpose has keypoints of the array, and its pose .*pose_detector.*openpose\.bin .*POSES\.$"
    with pytest.raises(repose.PoseNotFoundError, match=message):
        model(pixels, POSE)
    paper = repose.load(save_system(tmp_path / "p.safetensors", "paper"))
    made = [paper(given, POSE) for given in (path, pixels, Image.fromarray(pixels), Image.open(path))]
    assert all(same(made[0], image) for image in made[1:])


def test_a_pose_is_joints_a_file_or_a_photo(model, tmp_path):
    front, pose = tmp_path / "front.jpg", save_openpose(tmp_path / "pose.json", POSE)
    x, y = POSE.astype(int).T.tolist()
    (tmp_path / "two.csv").write_text(f"name:keypoints_y:keypoints_x\nt: {y}: {x}\nu #2: {y}: {x}\n")
    confident = np.concatenate([POSE, np.ones((18, 1), np.float32)], 1)
    files = [pose, str(pose), f"{tmp_path / 'two.csv'}#u #2", front.with_stem("target")]
    poses = [POSE, confident, POSE.astype(float), TARGET, *files]
    made = model(front, poses)
    assert len(made) == len(poses)
    for number, given in enumerate(poses):
        alone = np.asarray(model(front, given)).astype(int)
        np.testing.assert_array_equal(alone, model(front, POSE))
        assert abs(alone - np.asarray(made[number])).max() <= 1  # sums over a batch are rounded in another order
    assert model(front, []) == []


@pytest.mark.parametrize("joint", [(0, 0, 0.04), (-500, np.nan), (np.nan, 1)])
def test_a_joint_of_no_confidence_or_without_x_or_y_is_missing(model, tmp_path, joint):
    columns = [POSE, np.ones((18, 1), np.float32)]
    poses = [np.concatenate(columns[: len(joint) - 1], 1) for _ in range(3)]
    poses[0][4], poses[1][4] = joint, np.nan
    unsure, missing, whole = (model(tmp_path / "front.jpg", TargetPose(pose, 128, 96)) for pose in poses)
    assert same(unsure, missing)
    assert not same(unsure, whole)


def test_joints_are_px_of_the_first_photo_or_of_an_image_of_a_given_size(model, tmp_path):
    large, front = POSE * 4 + np.float32(1.5), tmp_path / "front.jpg"
    file = save_openpose(tmp_path / "large.json", large)
    for pose in (large, file):
        with pytest.raises(repose.DataError, match=r"lie outside .* 48 px wide and 64 px high"):
            model(front, pose)
        assert same(model(front, pose, pose_size=(256, 192)), model(front, POSE))
    assert same(model(front, TargetPose(large, 256, 192)), model(front, POSE))


def test_a_detector_finds_the_poses_that_no_file_has_and_is_loaded_once(model, tmp_path, monkeypatch, capsys):
    loads = []

    def load(network: str, device: torch.device) -> object:
        loads.append((network, device.type))
        return lambda pixels: (np.where(pixels[0, 0, 0] == photo(1)[0, 0, 0], STANDING, POSE), 2)

    monkeypatch.setattr(module, "PoseFinder", load)
    saved, known = tmp_path / "m.safetensors", [tmp_path / "openpose"]
    found = repose.load(saved, device="cpu", keypoints=known, pose_detector="figure")
    made = found([tmp_path / "front.jpg", tmp_path / "side.jpg"], photo(2))
    assert same(made, model(sources(), POSE))
    assert same(made, found([tmp_path / "front.jpg", Image.fromarray(photo(1))], POSE))
    assert loads == [("figure", "cpu")]
    assert "the PIL image: shows 2 people; taking the large one near the middle" in capsys.readouterr().err
    alone = repose.load(saved, device="cpu")
    assert len(loads) == 1
    assert same(alone(sources(), photo(2)), made)
    assert loads[1:] == [("auto", "cpu")]


def test_a_model_can_be_pickled_and_copied_also_after_its_detector_was_used(model, tmp_path):
    model = repose.load(tmp_path / "m.safetensors", device="cpu", pose_detector="figure")
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):  # noqa: S301 (its own bytes)
        assert same(other(sources(), POSE), model(sources(), POSE))
        np.testing.assert_array_equal(other._find_pose(photo(0))[0], model._find_pose(photo(0))[0])


def test_a_source_that_shows_no_hips_is_named(model, capsys):
    above = np.where(np.isin(np.arange(18), HIPS)[:, None], np.nan, STANDING)
    model(GOOD, above)
    assert capsys.readouterr().err == ""
    model([GOOD, GOOD._replace(keypoints=above, name="head.jpg")], POSE)
    assert "head.jpg: shows no hips; the model invents what no source" in capsys.readouterr().err


def test_a_loaded_system_has_the_facts_of_its_checkpoint(model, tmp_path, capsys):
    assert (model.max_sources, model.needs_source_poses) == (2, True)
    assert model.about == checkpoint.read_about(tmp_path / "m.safetensors")
    assert same(model(sources(3), POSE), model(sources(2), POSE))
    assert capsys.readouterr().err == "tiny takes 2 photos; ignoring the last 1\n"


def test_only_systems_that_use_them_need_the_poses_of_their_sources(tmp_path):
    needing = {kind for kind in SMALL if small_row(kind).needs_source_poses}
    assert needing == {"attend", "posed", "surface", "vunet"}
    without = [source.pixels for source in sources()]
    known = save_openpose(tmp_path / "x_keypoints.json")
    paper = repose.load(save_system(tmp_path / "p.safetensors", "paper"), keypoints=known)
    assert same(paper(without, POSE), paper(sources(), POSE))
    cropped = save_system(tmp_path / "c.safetensors", "paper", frame=replace(FRAME, crop="person"))
    for system, pose in ((paper, photo(2)), (repose.load(cropped, keypoints=known), POSE)):  # it crops as in training
        with pytest.raises(repose.PoseNotFoundError, match="its pose must be known"):
            system(without, pose)


def test_photos_of_the_trained_size_are_cropped_and_others_fitted_in(tmp_path):
    frame, upper = Frame(32, 24, (0, 0, 24, 32)), STANDING.copy()
    upper[(upper[:, 0] > 23) | (upper[:, 1] > 31)] = np.nan
    cropping = repose.load(save_system(tmp_path / "c.safetensors", frame=frame, photo_size=SIZE))
    plain = repose.load(save_system(tmp_path / "p.safetensors", photo_size=(32, 24)))
    whole = [source._replace(keypoints=upper) for source in sources()]
    corner = [source._replace(pixels=source.pixels[:32, :24]) for source in whole]
    assert same(cropping(whole, TargetPose(upper, *SIZE)), plain(corner, TargetPose(upper, 32, 24)))
    assert not same(plain(whole, TARGET), cropping(whole, TARGET))


def test_the_photo_and_the_pose_go_where_the_frame_has_them(model):
    larger = [SourcePhoto(s.pixels.repeat(2, 0).repeat(2, 1), s.keypoints * 2 + 0.5) for s in sources()]
    made = np.asarray(model(larger, POSE * 2 + np.float32(0.5))).astype(int)
    assert np.median(abs(made - model(sources(), POSE))) <= 4  # Pillow's filter sees other neighbours, and nothing else


def test_systems_that_copy_also_get_large_photos_in_more_detail(tmp_path):
    surface, paper = (repose.load(save_system(tmp_path / f"{kind}.safetensors", kind)) for kind in ("surface", "paper"))
    one, two = sources()
    small = SourcePhoto(one.pixels[::2, ::2], one.keypoints / 2)
    large = SourcePhoto(two.pixels.repeat(3, 0).repeat(3, 1), two.keypoints * 3 + 1)
    assert surface.source(large).finer.shape == (2 * FRAME.height, 2 * FRAME.width, 3)
    assert surface.source(small).finer is None
    assert paper.source(large).finer is None
    of_large, of_small = surface(large, POSE), surface(small, POSE / 2)
    assert of_large.size == of_small.size == (FRAME.width, FRAME.height)
    assert not same(surface([large, small], POSE), of_large)
    requests = [surface.request([surface.source(of)], TARGET) for of in (large, small)]
    for made, of in zip(surface.generate(requests), (large, small), strict=True):
        assert abs(made.astype(int) - surface(of, TARGET)).max() <= 1


def test_the_same_weights_make_images_of_other_heights(tmp_path):
    saved = save_system(tmp_path / "surface.safetensors", "surface")
    small, large = repose.load(saved), repose.load(saved, height=64)
    smooth = (Image.fromarray(photo(seed, (8, 6))).resize((48, 64)) for seed in (0, 1))
    one, other = (SourcePhoto(np.asarray(pixels), STANDING) for pixels in smooth)
    made = large(one, POSE)
    assert made.size == (48, 64)
    half = np.asarray(made.reduce(2), float)
    assert abs(half - small(one, POSE)).mean() < 1 < abs(half - small(other, POSE)).mean()
    for height in (16, 40, 4096):
        with pytest.raises(repose.SettingsError, match=f"should be a multiple of 32 px up to 2048, not {height}"):
            repose.load(saved, height=height)
    with pytest.raises(ValueError, match="height should be a whole number of px, such as 512, not '64'"):
        repose.load(saved, height="64")
    with pytest.raises(repose.SettingsError, match=r"kind paper only makes images of .* 32 px, not 64"):
        repose.load(save_system(tmp_path / "paper.safetensors", "paper"), height=64)


GOOD = sources()[0]


@pytest.mark.parametrize(("given", "pose", "error", "message"), [
    (GOOD._replace(pixels=GOOD.pixels / 255), POSE, ValueError, r"should be an array \(H, W, 3\) uint8, not .*0\.jpg"),
    (GOOD._replace(keypoints=STANDING[:17]), POSE, ValueError, r"should be \(18, 2\) or \(18, 3\), not \(17, 2\) \(0\.jpg\)"),
    (GOOD, POSE[:17], ValueError, r"joints should be .*, not \(17, 2\) \(the target pose\)"),
    (GOOD, POSE[None], ValueError, r"not \(1, 18, 2\) .* For several poses, give a list of arrays"),
    (GOOD, POSE.tolist(), TypeError, r"a numpy array \(also of joints\), not list"),
    ("a\0b.jpg", POSE, repose.DataError, r"'a\\x00b\.jpg' cannot be the path of a file .* Check the path"),
    ([], POSE, repose.DataError, "No source photo is given"),
    (GOOD, np.full((18, 2), np.nan), repose.PoseNotFoundError, "the target pose: 0 of 18 joints are known, with 0 whole limb"),
    (GOOD, POSE / 256, repose.DataError, "all 18 joints lie within 2 px .*, not shares of its sides"),
    (GOOD, np.where(np.arange(18)[:, None] == 4, -1, POSE), repose.DataError, r"a joint is at \(-1, -1\). Give NaN"),
    (GOOD, np.where(np.arange(18)[:, None] == 4, 0, POSE), repose.DataError, r"a joint is at \(0, 0\). Give NaN"),
    (GOOD, np.where(np.isin(np.arange(18), (2, 3, 4))[:, None], POSE, np.nan), repose.PoseNotFoundError, "3 of 18 joints"),
    (GOOD.pixels[:8, :9], POSE, repose.DataError, r"the array has 9x8 px .* at least 16 px per side"),
])  # fmt: skip
def test_a_call_that_makes_no_sense_is_an_error(model, given, pose, error, message):
    with pytest.raises(error, match=message):
        model(given, pose)


@pytest.mark.parametrize("size", ["64x48", 64, (64.5, 48)])
def test_a_size_is_two_whole_numbers(model, size):
    with pytest.raises(ValueError, match=r"pose_size should be the height and width in px, such as \(256, 176\)"):
        model(GOOD, POSE, pose_size=size)


def test_a_device_is_a_cpu_or_a_cuda_gpu(tmp_path):
    with pytest.raises(repose.SettingsError, match=r"There is no device 'mps'. Use auto, cpu or cuda"):
        repose.load(save_system(tmp_path / "m.safetensors"), device="mps")
    assert repose.load(tmp_path / "m.safetensors", device=torch.device("cpu")).about.system


def test_the_picture_shows_photos_pose_and_image_in_a_row(model):
    request = model.request([model.source(source) for source in sources()], POSE)
    (made,) = model.generate([request])
    picture = model.picture(request, made)
    assert picture.shape[1] == 4 * (FRAME.width + 4) + 4
    photo_of, pose, image = (picture[-36:-4, left : left + 24] for left in (4, 60, 88))
    np.testing.assert_array_equal(image, made)
    assert (pose == (255, 0, 0)).all(-1).any()
    assert abs(photo_of.astype(int) - photo(0).reshape(32, 2, 24, 2, 3).mean((1, 3))).mean() < 20


def test_the_import_is_cheap():
    code = "import sys, repose; print(*{'torch', 'numpy', 'PIL', 'pandas', 'rich'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], check=True, text=True, capture_output=True)
    assert (ran.stdout, ran.stderr) == ("\n", "")


@pytest.mark.parametrize(("before", "expected"), [
    ("", ""), ("import logging; logging.basicConfig(format='%(name)s: %(message)s', level='INFO')", "repose: a fact\n"),
    ("from repose.terminal import show_messages; show_messages()", "a fact\n"),
])  # fmt: skip
def test_messages_are_seen_only_where_logging_is_configured(before, expected):
    code = f"{before}\nfrom repose.terminal import bar, say\nsay('a fact')\nassert list(bar([1], 'photos')) == [1]"
    ran = subprocess.run([sys.executable, "-c", code], check=True, text=True, capture_output=True)
    assert (ran.stdout, ran.stderr) == ("", expected)
