from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import repose
from mannequins.renderer import MannequinSettings, render_item
from repose.cli import app
from repose.errors import ReposeError
from tiny_system import STANDING, save_openpose, save_photo, save_system

WITH = ("--checkpoint", "model.safetensors", "--keypoints", "openpose", "--device", "cpu", "--threads", "1")


def generate(*arguments: str) -> None:
    """Run the command; a ReposeError is raised."""
    result = CliRunner().invoke(app, ["generate", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a trained system, photos, and what OpenPose found in them; the current one."""
    monkeypatch.chdir(tmp_path)
    save_system(tmp_path / "model.safetensors")
    for seed, name in enumerate(("front", "side", "target")):
        save_photo(tmp_path / f"{name}.jpg", seed)
        save_openpose(tmp_path / f"openpose/{name}_keypoints.json", STANDING + np.float32(seed))
    save_openpose(tmp_path / "pose.json", STANDING + np.float32(2))
    return tmp_path


def test_photos_and_a_pose_become_an_image(here):
    generate("front.jpg", "side.jpg", "--pose", "target.jpg", *WITH, "-o", "made/new.png", "--contact-sheet", "row.png")
    image = np.asarray(Image.open(here / "made/new.png"))
    assert image.shape == (32, 24, 3)
    np.testing.assert_array_equal(np.asarray(Image.open(here / "row.png"))[-36:-4, -28:-4], image)
    model = repose.load("model.safetensors", device="cpu", keypoints="openpose")
    np.testing.assert_array_equal(image, model(["front.jpg", "side.jpg"], "target.jpg"))


def test_a_network_finds_the_poses_that_no_file_has(here, monkeypatch):
    for number, photo in enumerate(render_item(MannequinSettings("fashion", items=2, seed=7, quality=90), 0)):
        Image.fromarray(photo.pixels).save(here / f"photo-{number}.png")
    bare = (*WITH[:2], "--device", "cpu", "--threads", "1")
    with pytest.raises(ReposeError, match=r"None of openpose has keypoints of photo-0.png.*--find-poses auto"):
        generate("photo-0.png", "--pose", "photo-1.png", *WITH, "-o", "new.png")
    monkeypatch.setenv("REPOSE_CACHE", str(here / "cache"))  # without blazepose, auto is figure
    generate("photo-0.png", "--pose", "photo-1.png", *bare, "-o", "auto.png")
    image = np.asarray(Image.open(here / "auto.png"))
    model = repose.load("model.safetensors", device="cpu", pose_detector="figure")
    np.testing.assert_array_equal(image, model("photo-0.png", "photo-1.png"))
    Image.new("RGB", (96, 128), (128, 128, 128)).save(here / "wall.png")
    with pytest.raises(ReposeError, match=r"wall\.png: (the network figure finds no person|.*at least 3 are needed)"):
        generate("front.jpg", "--pose", "wall.png", *WITH, "--find-poses", "figure", "-o", "new.png")


def test_the_same_inputs_give_the_same_bytes_also_over_an_earlier_image(here):
    (here / "two.png").write_text("an earlier image")
    save_openpose(here / "large.json", (STANDING + np.float32(2)) * 10 + np.float32(4.5))
    for out, *pose in (("one", "pose.json"), ("two", "target.jpg"), ("three", "large.json", "--pose-size", "640x480")):
        generate("front.jpg", "--pose", *pose, *WITH, "-o", f"{out}.png")
    assert len({(here / f"{out}.png").read_bytes() for out in ("one", "two", "three")}) == 1


def test_images_have_the_height_that_is_asked_for(here):
    save_system(here / "surface.safetensors", "surface")
    how = ("--checkpoint", "surface.safetensors", *WITH[2:], "-o", "new.png", "--height", "96")
    generate("front.jpg", "--pose", "target.jpg", *how)
    assert np.asarray(Image.open(here / "new.png")).shape == (96, 72, 3)


def test_a_job_that_fails_is_reported_at_the_end_with_exit_1(here, said_by):
    (here / "jobs.csv").write_text("sources,pose,out\ngone.jpg,pose.json,\nside.jpg,pose.json,a.png\n")
    _, told = said_by("generate", "--jobs", "jobs.csv", *WITH, "-o", "images", code=1)
    message = "repose: 1 of 2 images could not be made; the others are.\n  jobs.csv, line 2: There is no photo gone"
    assert message in told
    assert [path.name for path in (here / "images").iterdir()] == ["a.png"]


ONE, MANY = ("front.jpg", "--pose", "pose.json"), ("--jobs", "jobs.csv")


@pytest.mark.parametrize(("words", "message"), [
    ((*MANY, "front.jpg"), "cannot be used with --jobs"), ((*MANY, "--pose", "pose.json"), "cannot be used with --jobs"),
    ((*MANY, "--contact-sheet", "x.png"), "cannot be used with --jobs"),
    (ONE[:1], "Give at least one photo and a --pose, or --jobs"), (ONE[1:], "Give at least one photo and a --pose, or --jobs"),
    ((*ONE, "--contact-sheet", "pose.json"), "images are written as PNG"),
    ((*ONE, "-p", "target.jpg"), "Give one --pose; for several images, give --jobs"),
    ((*ONE, "--pose-size", "640"), "--pose-size should be HEIGHTxWIDTH .* not '640'"),
    ((*ONE, "--model", "attend"), "with --checkpoint or with --model, not with both"),
])  # fmt: skip
def test_words_that_make_no_sense_are_an_error(words, message):
    with pytest.raises(ReposeError, match=message):
        generate(*words, *WITH, "-o", "new.png")
