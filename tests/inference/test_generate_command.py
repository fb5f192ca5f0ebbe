import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

import repose
from mannequins.renderer import MannequinSettings, render_item
from repose import cli
from repose.cli import app, main
from repose.errors import ReposeError
from tiny_system import STANDING, save_openpose, save_photo, save_system

ROOT = Path(__file__).parents[2]


def generate(*arguments: str | Path) -> None:
    """Run the command; a ReposeError is raised."""
    result = CliRunner().invoke(app, ["generate", *map(str, arguments)])
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


WITH = ("--checkpoint", "model.safetensors", "--keypoints", "openpose", "--device", "cpu", "--threads", "1")


def test_photos_and_a_pose_become_an_image(here: Path) -> None:
    generate("front.jpg", "side.jpg", "--pose", "target.jpg", *WITH, "-o", "made/new.png", "--contact-sheet", "row.png")
    image = np.asarray(Image.open(here / "made/new.png"))
    assert image.shape == (32, 24, 3)
    np.testing.assert_array_equal(np.asarray(Image.open(here / "row.png"))[-36:-4, -28:-4], image)
    model = repose.load("model.safetensors", device="cpu", keypoints="openpose")
    np.testing.assert_array_equal(image, model(["front.jpg", "side.jpg"], "target.jpg"))


def save_mannequins(folder: Path) -> None:
    """Photos of one garment on one mannequin, as photo-0.png and so on."""
    item = render_item(MannequinSettings("fashion", items=2, seed=7, quality=90), 0)
    for number, photo in enumerate(item):
        Image.fromarray(photo.pixels).save(folder / f"photo-{number}.png")


def test_a_network_finds_poses_that_no_file_knows(here: Path) -> None:
    save_mannequins(here)
    bare = (*WITH[:2], "--device", "cpu", "--threads", "1")
    with pytest.raises(ReposeError, match=r"There are no keypoints of .*--find-poses.*keypoint-rcnn for people"):
        generate("photo-0.png", "--pose", "photo-1.png", *bare, "-o", "new.png")
    generate("photo-0.png", "--pose", "photo-1.png", *bare, "--find-poses", "figure", "-o", "new.png")
    image = np.asarray(Image.open(here / "new.png"))
    model = repose.load("model.safetensors", device="cpu", pose_detector="figure")
    np.testing.assert_array_equal(image, model("photo-0.png", "photo-1.png"))


def test_a_known_pose_counts_more_than_one_that_a_network_finds(here: Path) -> None:
    for how in ((), ("--find-poses", "figure")):
        generate("front.jpg", "--pose", "target.jpg", *WITH, *how, "-o", f"{len(how)}.png")
    assert (here / "0.png").read_bytes() == (here / "2.png").read_bytes()


def test_a_photo_in_which_the_network_finds_nobody_is_told(here: Path) -> None:
    Image.new("RGB", (96, 128), (128, 128, 128)).save(here / "wall.png")
    with pytest.raises(ReposeError, match=r"wall\.png: .*(no joint is known|nothing to draw)"):
        generate("front.jpg", "--pose", "wall.png", *WITH, "--find-poses", "figure", "-o", "new.png")


def test_the_same_inputs_give_the_same_bytes_also_over_an_earlier_image(here: Path) -> None:
    generate("front.jpg", "--pose", "pose.json", *WITH, "-o", "one.png")
    generate("front.jpg", "--pose", "target.jpg", *WITH, "-o", "two.png")
    (here / "three.png").write_text("an earlier image")
    generate("front.jpg", "--pose", "pose.json", *WITH, "-o", "three.png")
    assert (here / "one.png").read_bytes() == (here / "two.png").read_bytes() == (here / "three.png").read_bytes()


def test_the_size_of_a_poses_image_can_be_told(here: Path) -> None:
    save_openpose(here / "large.json", (STANDING + np.float32(2)) * 10 + np.float32(4.5))
    generate("front.jpg", "--pose", "pose.json", *WITH, "-o", "one.png")
    generate("front.jpg", "--pose", "large.json", "--pose-size", "640x480", *WITH, "-o", "two.png")
    assert (here / "one.png").read_bytes() == (here / "two.png").read_bytes()
    for wrong in ("640", "640x", "0x480", "480 x 640", "1e3x1"):
        with pytest.raises(ReposeError, match=rf"--pose-size should be HEIGHTxWIDTH .* not '{wrong}'"):
            generate("front.jpg", "--pose", "large.json", "--pose-size", wrong, *WITH, "-o", "three.png")


def test_many_jobs_make_what_each_makes_alone(here: Path) -> None:
    (here / "jobs.csv").write_text("sources,pose,out\nfront.jpg;side.jpg,target.jpg,a.png\nside.jpg,pose.json,\n")
    generate("--jobs", "jobs.csv", *WITH, "-o", "images")
    assert sorted(path.name for path in (here / "images").iterdir()) == ["a.png", "side_in_pose.png"]
    generate("front.jpg", "side.jpg", "--pose", "target.jpg", *WITH, "-o", "alone.png")
    together, alone = (np.asarray(Image.open(here / name)).astype(int) for name in ("images/a.png", "alone.png"))
    assert abs(together - alone).max() <= 1  # sums over a batch are rounded in another order


def test_a_job_that_fails_is_told_at_the_end_with_exit_1(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "jobs.csv").write_text("sources,pose\ngone.jpg,pose.json\nfront.jpg,pose.json\n")
    monkeypatch.setattr(sys, "argv", ["repose", "generate", "--jobs", "jobs.csv", *WITH, "-o", "images"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    told = capsys.readouterr().err
    assert (
        "repose: 1 of 2 images could not be made; the others are.\n  jobs.csv, line 2: There is no photo gone" in told
    )
    assert [path.name for path in (here / "images").iterdir()] == ["front_in_pose.png"]


def test_photos_are_not_named_beside_jobs_and_something_is(here: Path) -> None:
    for more in (("front.jpg",), ("--pose", "pose.json"), ("--contact-sheet", "x.png")):
        with pytest.raises(ReposeError, match="With --jobs, the jobs name photos and poses"):
            generate(*more, "--jobs", "jobs.csv", *WITH, "-o", "images")
    for less in (("front.jpg",), ("--pose", "pose.json")):
        with pytest.raises(ReposeError, match="Name at least one photo and a --pose, or many of both with --jobs"):
            generate(*less, *WITH, "-o", "new.png")


def test_a_source_photo_is_never_written_over(here: Path) -> None:
    before = save_photo(here / "front.png").read_bytes()
    for out in (("-o", "front.png"), ("-o", "new.png", "--contact-sheet", "front.png")):
        with pytest.raises(ReposeError, match=r"front\.png is a photo or pose that is read"):
            generate("front.png", "--pose", "pose.json", *WITH, *out)
    assert (here / "front.png").read_bytes() == before
    assert not (here / "new.png").exists()


def test_the_checkpoint_is_that_of_the_pipeline_in_this_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without = [argument for argument in WITH if argument not in WITH[:2]]
    with pytest.raises(ReposeError, match=r"Name the trained system with --checkpoint: .*no pipeline \(dvc\.yaml\)"):
        generate("front.jpg", "--pose", "pose.json", *without, "-o", "new.png")
    for other in (
        "stages: {}",
        "[]",
        "stages: {train: {outs: [model.bin]}}",
        "stages: {train: {outs: [{runs: {}}]}}",
        "a: b: c",
    ):
        (here / "dvc.yaml").write_text(other)
        with pytest.raises(ReposeError, match=r"--checkpoint: the dvc\.yaml of this folder is no pipeline of repose"):
            generate("front.jpg", "--pose", "pose.json", *without, "-o", "new.png")
    (here / "dvc.yaml").write_bytes((ROOT / "dvc.yaml").read_bytes())
    with pytest.raises(ReposeError, match=r"There is no checkpoint runs/attend/model\.safetensors"):
        generate("front.jpg", "--pose", "pose.json", *without, "-o", "new.png")
    save_system(here / "runs/attend/model.safetensors")
    generate("front.jpg", "--pose", "pose.json", *without, "-o", "new.png")
    assert (here / "new.png").exists()


def test_the_system_that_is_used_unless_told_is_one_that_the_pipeline_trains() -> None:
    assert cli.USED in yaml.safe_load((ROOT / "params.yaml").read_text())["evaluate"]["systems"]
