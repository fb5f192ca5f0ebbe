"""A folder of photos for each garment, through the stages up to train with the values of `make finetune`."""

import io
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from dvc.utils.hydra import to_hydra_overrides
from PIL import Image
from typer.testing import CliRunner

from mannequins import renderer
from mannequins.renderer import MannequinSettings
from project import ROOT, write_changed
from repose.cli import app
from repose.data.photos import Photos
from repose.data.records import IMAGES, ITEMS, read_json, read_table
from repose.errors import ReposeError

MAKEFILE = (ROOT / "Makefile").read_text()
CHANGES = {
    key: yaml.safe_load(value)
    for key, value in re.findall(
        r"([\w.-]+)=(\S+)", re.search(r"FINETUNE = (.*?[^\\])\n", MAKEFILE, re.DOTALL)[1].replace("$(STEPS)", "400")
    )
}
pytestmark = pytest.mark.usefixtures("outside_git")


def flat(block: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """The values of a nested block by their dotted names."""
    found = {}
    for name, value in block.items():
        found |= flat(value, f"{above}{name}.") if isinstance(value, dict) else {f"{above}{name}": value}
    return found


def test_the_documentation_has_the_values_of_the_makefile():
    page = (ROOT / "docs" / "data.md").read_text()
    block = yaml.safe_load(re.search(r"```yaml\n# folders\n(.*?)```", page, re.DOTALL)[1])
    assert flat(block) == CHANGES | {"download.origins": [{"address": "~/photos"}]}
    side = yaml.safe_load((ROOT / "params.yaml").read_text())["validate"]["min_side"]
    sizes = f"from {side} px on the shorter side to {CHANGES['validate.max_megapixels']} megapixels"
    assert sizes in " ".join(page.split())


def test_no_block_for_photos_of_people_keeps_a_network_for_rendered_people():
    """The blocks for other places of the same data follow the first one's example."""
    page = (ROOT / "docs" / "data.md").read_text()
    for name in ("folders", "deepfashion-folder", "market1501-folder"):
        block = yaml.safe_load(re.search(rf"```yaml\n# {name}\n(.*?)```", page, re.DOTALL)[1])
        assert block["keypoints"]["extractor"] != "figure" != block["train"]["perceptual"]["network"], name


def given_by_make(folder: Path, photos: Path) -> dict[str, Any]:
    """The values that `make finetune` gives to DVC."""
    for made in (photos, folder / ".venv/bin", folder / "results"):
        made.mkdir(parents=True, exist_ok=True)
    (folder / "results/table.md").touch()
    dvc = folder / ".venv/bin/dvc"
    dvc.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > given\n')
    dvc.chmod(0o755)
    command = ["make", "-o", ".venv/ready", "-f", str(ROOT / "Makefile"), "finetune", f"PHOTOS={photos}"]
    subprocess.run(command, cwd=folder, check=True)
    values = (folder / "given").read_text().splitlines()[4::2]  # exp run evaluate -S VALUE -S VALUE ...
    return {value.key_or_group: value.value() for value in to_hydra_overrides(values)}


def test_make_finetune_takes_a_folder_with_an_apostrophe(tmp_path):
    photos = tmp_path / "Anna's photos"
    assert given_by_make(tmp_path, photos)["download.origins"] == [{"address": str(photos)}]


def test_make_finetune_fetches_a_changed_folder_again(tmp_path):
    (photos := tmp_path / "my photos").mkdir()
    versions = []
    for name in ("1 a.jpg", ".DS_Store", "1 a.jpg", "2.jpg"):
        with (photos / name).open("a") as file:
            file.write("more")
        versions.append(given_by_make(tmp_path, photos)["download.version"])
    (photos / "2.jpg").rename(photos / "3.jpg")
    versions.append(given_by_make(tmp_path, photos)["download.version"])
    assert versions[0] == versions[1]
    assert len(set(versions)) == 4


class Shop:
    """A folder of photos, and the stages on it."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.folder, self.photos = folder, folder / "photos"
        origins = {"download.origins": [{"address": str(self.photos)}], "keypoints.extractor": "figure"}
        sizes = {"posemaps.height": 64, "posemaps.width": 48, "train.perceptual": "none", "train.sample_every": 0}
        params = yaml.safe_load((ROOT / "params.yaml").read_text())
        steps = {"systems.surface-tuned.steps": 1, "split.min_train_pairs": 2, "split.test_share": 0.34}
        write_changed(
            folder / "params.yaml", params, CHANGES | origins | sizes | steps | {"validate.parts": [0]} | changes
        )

    def save(self, path: str, image: Image.Image) -> None:
        (self.photos / path).parent.mkdir(parents=True, exist_ok=True)
        image.save(self.photos / path)

    def through(self, last: str) -> None:
        """Run the stages up to `last`."""
        data = "--images data/images --keypoints data/keypoints"
        for stage in (
            "download --raw data/raw --transfers transfers",
            "validate --raw data/raw --images data/images --report reports/validate",
            "keypoints --lists data/raw/lists --images data/images/0 --keypoints data/keypoints/0 --report reports/k --work w",
            "posemaps --images data/images/0 --keypoints data/keypoints/0 --posemaps data/posemaps/0",
            f"split --lists data/raw/lists {data} --split data/split --report reports/split",
            f"train surface-tuned {data} --posemaps data/posemaps --split data/split --run runs/surface-tuned --work work",
        ):
            assert CliRunner().invoke(app, stage.split(), catch_exceptions=False).exit_code == 0
            if stage.split()[0] == last:
                break


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.chdir(tmp_path)
    return Shop(tmp_path)


def dressed(garments: int) -> dict[str, list[Image.Image]]:
    """Mannequins by garment, 256x256."""
    found: dict[str, list[Image.Image]] = {}
    for name, content in renderer.files(MannequinSettings("fashion", items=garments, seed=3, quality=90), workers=1):
        if name.endswith(".jpg"):
            found.setdefault(name.rsplit("/", 1)[0] + name.rsplit("/", 1)[1][:2], []).append(
                Image.open(io.BytesIO(content))
            )
    return found


def test_photos_of_several_sizes_train_the_model_that_comes_with_repose(shop):
    garments = dressed(4)
    for number, (name, photos) in enumerate(garments.items()):
        for view, photo in enumerate(photos):
            wide = Image.new("RGB", (900, 400), photo.getpixel((2, 2)))  # the person stands on the right
            wide.paste(photo, (600, 100))
            placed = (photo, photo.resize((512, 512)), photo.crop((40, 0, 216, 256)), wide)[view % 4]
            shop.save(f"Mäntel & Co/{name.replace('/', '-')}/{view}.{('jpg', 'png', 'webp')[number % 3]}", placed)
    shop.save("Mäntel & Co/alone/1.jpg", garments.popitem()[1][0])
    shop.save("Mäntel & Co/nobody/1.png", Image.new("RGBA", (300, 400), "white"))
    (shop.photos / "notes.txt").write_text("not a photo")
    shop.through("train")
    table = read_table(Path("data/images/0/images.csv"), IMAGES)
    assert len({tuple(size) for size in table[["height", "width"]].to_numpy()}) > 3
    assert set(table["category"]) == {"Mäntel & Co"}
    items = read_table(Path("data/split/items.csv"), ITEMS)
    assert not items["item"].str.contains("alone|nobody").any()
    assert set(items["part"]) == {"train", "test"}
    photos = Photos(images=Path("data/images"), keypoints=Path("data/keypoints"), posemaps=Path("data/posemaps"))
    keypoints = photos.load(list(items["name"])).keypoints
    heights = np.nanmax(keypoints[..., 1], 1) - np.nanmin(keypoints[..., 1], 1)
    assert (heights > 0.5 * 64).all()  # also of the small person in a wide photo
    assert read_json(Path("runs/surface-tuned/run.json"))["init"]["system"] == "surface"


def test_photos_beside_each_other_are_of_no_garment(shop):
    for number in range(3):
        shop.save(f"{number}.jpg", Image.new("RGB", (100, 100)))
    with pytest.raises(ReposeError, match=r"3 of 3 \(100 %\); misnamed: 3"):
        shop.through("validate")


def test_photos_in_a_format_that_is_not_read_are_counted_and_set_aside(shop):
    for number, photo in enumerate(photo for photos in dressed(2).values() for photo in photos):
        shop.save(f"coat/{number}.jpg", photo)
    (shop.photos / "coat" / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    shop.through("validate")
    assert "coat/IMG_1.HEIC,does not decode," in Path("reports/validate/set-aside.csv").read_text()


def test_one_garment_is_too_few(shop):
    for view, photo in enumerate(next(iter(dressed(2).values()))):
        shop.save(f"coat/{view}.jpg", photo)
    with pytest.raises(ReposeError, match=r"has no train items\. Left out: none\. Add photos of other items"):
        shop.through("split")
