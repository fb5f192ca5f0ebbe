from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from repose import checkpoint, systems
from repose.data.frame import Frame
from repose.data.known_poses import KnownPoses, read_pose
from repose.data.photo_files import read_photo
from repose.errors import ReposeError
from repose.reposer import Reposer, SourcePhoto, TargetPose
from tiny_system import FRAME, SIZE, STANDING, photo, save_openpose, save_photo, save_system, small_row

TARGET = TargetPose(STANDING + np.float32([3, 2]), *SIZE)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def sources(count: int = 2) -> list[SourcePhoto]:
    return [SourcePhoto(photo(seed), STANDING, f"{seed}.jpg") for seed in range(count)]


@pytest.mark.parametrize("kind", systems.kinds())
@pytest.mark.parametrize("device", DEVICES)
def test_photos_and_a_pose_make_an_image_of_the_frames_size(tmp_path: Path, kind: str, device: str) -> None:
    reposer = Reposer.load(save_system(tmp_path / "m.safetensors", kind), device)
    given = sources(min(2, reposer.most_sources))
    made = reposer(given, TARGET)
    assert (made.shape, made.dtype) == ((FRAME.height, FRAME.width, 3), np.uint8)
    np.testing.assert_array_equal(made, reposer(given, TARGET))
    assert (made != reposer(given, replace_pose(TARGET, 6))).any()
    assert (made != reposer(sources(2)[1:], TARGET)).any()


def replace_pose(target: TargetPose, pixels: float) -> TargetPose:
    return target._replace(keypoints=target.keypoints + np.float32([pixels, 0]))


def test_a_developer_goes_from_files_to_pixels(tmp_path: Path) -> None:
    save_system(tmp_path / "m.safetensors")
    poses = KnownPoses([save_openpose(tmp_path / "front_keypoints.json")])
    pixels = read_photo(save_photo(tmp_path / "front.jpg"))
    height, width = pixels.shape[:2]
    front = SourcePhoto(pixels, poses.find(tmp_path / "front.jpg", height, width))
    target = TargetPose(read_pose(save_openpose(tmp_path / "pose.json", TARGET.keypoints), None, height, width), *SIZE)
    made = Reposer.load(str(tmp_path / "m.safetensors"))([front], target)
    np.testing.assert_array_equal(made, Reposer.load(tmp_path / "m.safetensors")(sources(1), TARGET))


def test_a_loaded_system_is_told_by_its_checkpoint(tmp_path: Path) -> None:
    reposer = Reposer.load(save_system(tmp_path / "m.safetensors", most_sources=3, photo_size=(256, 200)))
    assert (reposer.most_sources, reposer.needs_source_poses) == (3, True)
    assert reposer.about.photo_size == (256, 200)
    assert reposer.about == checkpoint.read_about(tmp_path / "m.safetensors")
    with pytest.raises(ReposeError, match=r"There is no checkpoint .*gone"):
        Reposer.load(tmp_path / "gone")


def test_only_systems_that_use_them_need_the_poses_of_their_sources(tmp_path: Path) -> None:
    without = [source._replace(keypoints=None) for source in sources()]
    paper = Reposer.load(save_system(tmp_path / "p.safetensors", "paper"))
    assert not paper.needs_source_poses
    np.testing.assert_array_equal(paper(without, TARGET), paper(sources(), TARGET))
    attend = Reposer.load(save_system(tmp_path / "a.safetensors", "attend"))
    with pytest.raises(ReposeError, match=r"1\.jpg: tiny needs the keypoints"):
        attend([sources()[0], without[1]], TARGET)


def test_every_kind_says_whether_it_needs_the_poses_of_its_sources() -> None:
    assert [kind for kind in systems.kinds() if small_row(kind).needs_source_poses] == ["attend", "posed", "vunet"]


def test_photos_of_the_trained_size_are_cropped_and_others_fitted_in(tmp_path: Path) -> None:
    frame = Frame(32, 24, (0, 0, 24, 32))
    cropping = Reposer.load(save_system(tmp_path / "c.safetensors", frame=frame, photo_size=SIZE))
    plain = Reposer.load(save_system(tmp_path / "p.safetensors"))
    corner = [SourcePhoto(source.pixels[:32, :24], source.keypoints, source.name) for source in sources()]
    small = TARGET._replace(height=32, width=24)
    np.testing.assert_array_equal(cropping(sources(), TARGET), plain(corner, small))
    assert (plain(sources(), TARGET) != cropping(sources(), TARGET)).any()
    unlike = [SourcePhoto(np.pad(sources()[0].pixels, ((0, 0), (16, 16), (0, 0))), STANDING + np.float32([16, 0]))]
    assert plain(unlike, TARGET).shape == (32, 24, 3)


def test_the_photo_and_the_pose_go_where_the_frame_has_them(tmp_path: Path) -> None:
    reposer = Reposer.load(save_system(tmp_path / "m.safetensors"))
    larger = [SourcePhoto(s.pixels.repeat(2, 0).repeat(2, 1), s.keypoints * 2 + 0.5) for s in sources()]
    target = TargetPose(TARGET.keypoints * 2 + np.float32(0.5), 2 * SIZE[0], 2 * SIZE[1])
    difference = abs(reposer(larger, target).astype(int) - reposer(sources(), TARGET))
    assert np.median(difference) <= 4  # Pillow's filter sees other neighbours, and nothing else


def test_one_to_most_sources_are_taken(tmp_path: Path) -> None:
    reposer = Reposer.load(save_system(tmp_path / "m.safetensors", most_sources=2))
    for count in (0, 3):
        with pytest.raises(ReposeError, match=f"tiny takes 1 to 2 source photos, not {count}"):
            reposer(sources(count), TARGET)
    assert reposer(sources(2), TARGET).shape == (32, 24, 3)


def test_arrays_of_another_shape_or_type_are_refused(tmp_path: Path) -> None:
    reposer = Reposer.load(save_system(tmp_path / "m.safetensors"))
    good = sources()[0]
    for pixels in (good.pixels[..., 0], good.pixels[..., :2], good.pixels / 255):
        with pytest.raises(ValueError, match=r"pixels should be \(H, W, 3\) uint8, not .*0\.jpg"):
            reposer([good._replace(pixels=pixels)], TARGET)
    with pytest.raises(ValueError, match=r"keypoints should be \(18, 2\), not \(17, 2\)"):
        reposer([good._replace(keypoints=STANDING[:17])], TARGET)
    with pytest.raises(ValueError, match=r"keypoints should be \(18, 2\), not \(18, 3\)"):
        reposer([good], TARGET._replace(keypoints=np.zeros((18, 3), np.float32)))


def test_the_picture_shows_photos_pose_and_image_in_a_row(tmp_path: Path) -> None:
    reposer = Reposer.load(save_system(tmp_path / "m.safetensors"))
    made = reposer(sources(), TARGET)
    picture = reposer.picture(sources(), TARGET, made)
    assert picture.shape[1] == 4 * (FRAME.width + 4) + 4
    np.testing.assert_array_equal(picture[-36:-4, -28:-4], made)
    pose = picture[-36:-4, -56:-32]
    assert (pose == 0).all(-1).any()
    assert (pose == (255, 0, 0)).all(-1).any()
    left = picture[-36:-4, 4:28]
    assert abs(left.astype(int) - photo(0).reshape(32, 2, 24, 2, 3).mean((1, 3))).mean() < 20


def test_about_of_an_earlier_checkpoint_names_no_size_of_photos(tmp_path: Path) -> None:
    about = checkpoint.read_about(save_system(tmp_path / "m.safetensors"))
    assert about.photo_size is None
    assert replace(about, photo_size=(3, 4)) != about
