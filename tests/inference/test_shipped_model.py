"""The model that comes with repose: it is the default, and photos as shops have them become images of people."""

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageDraw

import repose
from mannequins import figure, surface
from mannequins.renderer import MannequinPhoto, MannequinSettings, render_item
from repose.data.skeleton import TORSO
from repose.inference.reposer import Reposer, SourcePhoto, TargetPose
from repose.pose import blazepose
from repose.pose.detectors import PoseFinder
from repose.storage.weight_files import cached

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def rendered() -> list[MannequinPhoto]:
    """Photos of one item, and the front of another."""
    first, second = (render_item(MannequinSettings("fashion", items=2, seed=7, quality=90), item) for item in (0, 1))
    return [*first, next(iter(second))]


def source(photo: MannequinPhoto) -> SourcePhoto:
    return SourcePhoto(photo.pixels, photo.keypoints)


def test_it_is_the_default_and_keeps_the_colors_of_the_garment(rendered, capsys):
    model = repose.load(device="cpu")
    assert capsys.readouterr().err == "model: the one that comes with repose\n"
    target = TargetPose(rendered[1].keypoints, 256, 256)
    image = model(source(rendered[0]), target)
    assert image.size == (176, 256)
    same = repose.load(surface.weights(), device="cpu")(source(rendered[0]), target)
    assert image.tobytes() == same.tobytes()
    middle = [photo.pixels[:, 40:216] for photo in rendered]
    truth, made, copied = (np.asarray(of, float) for of in (middle[1], image, middle[0]))
    assert abs(made - truth).mean() < 0.7 * abs(copied - truth).mean()


def test_the_command_uses_it_without_a_checkpoint(tmp_path, rendered, said_by):
    for number, photo in enumerate(rendered[:2]):
        Image.fromarray(photo.pixels).save(tmp_path / f"{number}.png")
    out, how = str(tmp_path / "new.png"), ("--find-poses", "figure", "--device", "cpu", "--threads", "1")
    _, told = said_by("generate", str(tmp_path / "0.png"), "--pose", str(tmp_path / "1.png"), *how, "-o", out)
    assert told == f"model: the one that comes with repose\ngenerate: {out} is ready\n"


def test_cut_weights_are_named_before_anything_is_read(monkeypatch, tmp_path):
    cut = tmp_path / surface.WEIGHTS.name
    cut.write_bytes(surface.WEIGHTS.read_bytes()[:-1])
    monkeypatch.setattr(surface, "weights", surface.weights.__wrapped__)
    monkeypatch.setattr(surface, "WEIGHTS", cut)
    with pytest.raises(repose.CheckpointError, match=rf"{cut}.*is missing or damaged\. Install repose again"):
        repose.load(device="cpu")


def test_the_wheel_holds_its_types_the_weights_of_both_networks_and_little_else(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        assert "repose/py.typed" in files.namelist()  # or mypy ignores the types of the package
        for weights in (surface.WEIGHTS, Path(figure.__file__).with_name("figure.safetensors")):
            for path in (weights, Path(f"{weights}.sha256")):
                assert files.read(path.relative_to(ROOT / "src").as_posix()) == path.read_bytes()
    assert surface.WEIGHTS.stat().st_size < 15e6
    assert wheel.stat().st_size < 25e6


# With BlazePose: photos as shops have them.


@pytest.fixture(scope="module")
def model() -> Reposer:
    if not (cached("blazepose").is_file() and blazepose.has_runtime()):
        pytest.skip("BlazePose is not here: run `repose weights fetch blazepose`")
    return repose.load(device="cpu", pose_detector="blazepose")


def scene(
    photo: Image.Image, side: int, size: tuple[int, int], place: tuple[int, int], other: Image.Image | None = None
) -> Image.Image:
    """A photo, resized to `side`, and another at the bottom right, on a wall of the color of its corner."""
    whole = Image.new("RGB", size, photo.getpixel((0, 0)))
    whole.paste(photo.resize((side, side), Image.Resampling.BICUBIC), place)
    if other:
        whole.paste(other, (size[0] - other.width, size[1] - other.height))
    return whole


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "12 MP": lambda photo: scene(photo, 3000, (4000, 3000), (900, 0)),
    "lying": lambda photo: photo.transpose(Image.Transpose.ROTATE_90),
    "a small person": lambda photo: scene(photo, 400, (1600, 1200), (300, 700)),
    "beside another": lambda photo: scene(photo, 512, (900, 512), (0, 0), photo.resize((200, 200))),
    "without the head": lambda photo: photo.crop((0, 70, 256, 256)),
    "a thumbnail": lambda photo: photo.resize((64, 64)),
}


@pytest.fixture(scope="module")
def torso(model: Reposer, rendered: list[MannequinPhoto]) -> Callable[[Image.Image], np.ndarray]:
    """The torso of the full view, made from a photo."""
    joints = rendered[3].keypoints[[*TORSO]] - (40, 0)
    (left, top), (right, bottom) = (np.rint(edge(joints, 0)).astype(int) for edge in (np.min, np.max))
    pose = Image.fromarray(rendered[3].pixels)
    return lambda photo: np.asarray(model(photo, pose), float)[top:bottom, left:right]


@pytest.fixture(scope="module")
def known(torso: Callable[[Image.Image], np.ndarray], rendered: list[MannequinPhoto]) -> list[np.ndarray]:
    """The torso made from the photo of the item, and from that of another."""
    return [torso(Image.fromarray(rendered[row].pixels)) for row in (0, -1)]


@pytest.mark.parametrize("change", CHANGES)
def test_the_garment_is_found_whatever_its_photo_is_like(torso, known, rendered, change):
    made = torso(CHANGES[change](Image.fromarray(rendered[0].pixels)))
    assert abs(made - known[0]).mean() < abs(known[1] - known[0]).mean() / 2


def test_a_garment_that_nobody_wears_is_put_on_somebody(torso):
    tee = Image.new("RGB", (600, 600), "white")
    half = [(300, 120), (400, 120), (520, 240), (460, 300), (410, 250), (410, 500), (300, 500)]
    pen = ImageDraw.Draw(tee)
    pen.polygon([*half, *((600 - x, y) for x, y in reversed(half))], fill=(40, 70, 160))
    pen.ellipse((260, 100, 340, 150), fill="white")
    np.testing.assert_allclose(np.median(torso(tee), (0, 1)), (40, 70, 160), atol=40)


@pytest.mark.parametrize("change", ["12 MP", "lying"])
def test_the_pose_is_taken_whatever_its_photo_is_like(model, rendered, change):
    request = model.request([model.source(rendered[0].pixels)], CHANGES[change](Image.fromarray(rendered[3].pixels)))
    (made,) = model.generate([request])
    found, people = PoseFinder("blazepose")(made)
    assert people == 1
    assert np.nanmedian(np.linalg.norm(found - request.pose, axis=1)) < 4  # px of 256


def test_a_photo_without_a_person_is_an_error(model, rendered):
    message = (
        "the array: the network blazepose finds no person. Give a photo that shows a person at least from the head "
        "to the hips, on a quarter of its longer side or more"
    )
    cat = skimage.data.chelsea()
    for given in ((cat, rendered[0].pixels), (rendered[0].pixels, cat)):
        with pytest.raises(repose.PoseNotFoundError, match=message):
            model(*given)
