import dataclasses
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fabricated import write_lists
from repose.data.layouts import LayoutName, is_image
from repose.data.raw import RawFiles
from repose.data.records import IMAGES, part_names, read_parts, read_table
from repose.data.shards import ShardReader
from repose.errors import ReposeError
from repose.stages import validate
from repose.stages.validate import ValidateSettings
from tiny import files_in as contents
from tiny import settings as settings_of

SETTINGS = ValidateSettings(
    formats=("JPEG",), modes=("RGB",), sizes=((64, 64),), min_side=32, max_megapixels=1, duplicates="set-aside",
    photos_per_item=(2, 6), tolerated_share=0.5, parts=(0,), shard_megabytes=64, workers=1,
)  # fmt: skip
GENERATOR = np.random.default_rng(0)


def picture(height: int = 64, width: int = 64) -> bytes:
    """Another picture at each call."""
    buffer = io.BytesIO()
    Image.fromarray(GENERATOR.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def source(folder: Path, files: dict[str, bytes], layout: LayoutName = "deepfashion") -> Path:
    """What the stage download writes."""
    for kind in ("photos", "lists"):
        own = {name: data for name, data in files.items() if is_image(name) == (kind == "photos")}
        write_lists(folder / kind, own, layout)
    return folder


def dresses(items: int = 6) -> dict[str, bytes]:
    views = ("1_front", "2_side", "3_back")
    return {f"img/WOMEN/Dresses/id_{n:08d}/01_{view}.jpg": picture() for n in range(items) for view in views}


def run(tmp_path: Path, files: dict[str, bytes], layout: LayoutName = "deepfashion", **settings: Any) -> pd.DataFrame:
    """Run the stage; give back images.csv of all parts."""
    raw = tmp_path / "raw"
    if not raw.exists():
        source(raw, files, layout)
    images, chosen = tmp_path / "images", dataclasses.replace(SETTINGS, **settings)
    validate.run(raw=raw, images=images, report=tmp_path / "report", settings=chosen)
    return read_parts(images, part_names(images), "images.csv", IMAGES)


def set_aside(tmp_path: Path) -> dict[str, tuple[str, str]]:
    table = read_table(tmp_path / "report" / "set-aside.csv", ("path", "reason", "detail"))
    return {path: (reason, detail) for path, reason, detail in table.itertuples(index=False)}


def test_good_photos_are_packed_with_their_bytes_unchanged(tmp_path):
    files = dresses()
    backwards = {path: files[path] for path in sorted(files, reverse=True)}
    table = run(tmp_path, backwards | {"keypoints.csv": b"name", "Anno/drawing.jpg": b"no photo of the source's"})
    assert tuple(table.columns) == IMAGES
    assert table["path"].tolist() == sorted(files)
    assert table.loc[0].to_dict() | {"sha256": "", "size": 0} == {
        "name": "fashionWOMENDressesid0000000001_1front.jpg", "path": "img/WOMEN/Dresses/id_00000000/01_1_front.jpg",
        "item": "WOMEN/Dresses/id_00000000/01", "category": "WOMEN/Dresses", "view": "front", "partition": "",
        "height": 64, "width": 64, "sha256": "", "shard": "0/00000.tar", "offset": 512, "size": 0,
    }  # fmt: skip
    reader = ShardReader(tmp_path / "images", table)
    for row in table.itertuples():
        assert reader[row.name] == files[row.path]
        assert hashlib.sha256(reader[row.name]).hexdigest() == row.sha256
    assert set_aside(tmp_path) == {}
    record = json.loads((tmp_path / "report" / "validation.json").read_bytes())
    assert record["passed"] is True
    assert record["counts"] == {
        "photos in the source": 18, "photos that pass": 18, "set aside": 0, "items": 6, "images elsewhere, ignored": 1,
        "other files": 1,
    }  # fmt: skip
    assert record["distributions"]["Photos per item"] == {"3": 6}
    assert record["distributions"]["View"] == {"back": 6, "front": 6, "side": 6}
    assert "Owner's partition" not in record["distributions"]


def test_a_photo_of_just_as_many_pixels_as_allowed_is_still_decoded(tmp_path):
    """0.001972 * 1e6 is a little less than 1972: cut off to a whole number, this photo would pass unread."""
    path = "img/WOMEN/Dresses/id_00000099/01_1_front.jpg"
    files = {name: picture(34, 58) for name in dresses()} | {path: picture(34, 58)[:-200]}
    run(tmp_path, files, sizes=(), max_megapixels=0.001972)
    assert set_aside(tmp_path)[path][0] == "does not decode"
    assert len(set_aside(tmp_path)) == 1


def half_bad() -> dict[str, bytes]:
    files = dresses()
    return {path: content if n % 2 else content[:300] for n, (path, content) in enumerate(files.items())}


def test_bad_photos_are_set_aside_and_listed(tmp_path):
    good, folder = dresses(), "img/WOMEN/Dresses/id_00000099"
    first = next(iter(good))
    bad = {f"{folder}/01_1_front.jpg": picture()[:-200], f"{folder}/05_1_front.jpg": good[first]}
    assert run(tmp_path, good | bad)["path"].tolist() == sorted(good)
    found = set_aside(tmp_path)
    assert [reason for reason, _ in found.values()] == ["does not decode", "duplicate content"]
    assert found[f"{folder}/05_1_front.jpg"][1] == f"as in {first}"
    page = (tmp_path / "report" / "validation.html").read_text("utf-8")
    assert "Passed, with" in page
    assert all(path in page.replace("<wbr>", "") for path in bad)


def test_too_many_bad_photos_fail_and_leave_earlier_results_and_a_report(tmp_path):
    run(tmp_path, dresses())
    before = contents(tmp_path / "images")
    (tmp_path / "raw").rename(tmp_path / "earlier")
    with pytest.raises(ReposeError) as failure:
        run(tmp_path, half_bad(), tolerated_share=0.1)
    message = str(failure.value)
    assert "at most 10 % of the photos are set aside): 9 of 18 (50 %); does not decode: 9" in message
    assert "img/WOMEN/Dresses/id_00000000/01_1_front.jpg -> does not decode" in message
    assert str(tmp_path / "report" / "validation.html") in message
    assert contents(tmp_path / "images") == before
    assert len(set_aside(tmp_path)) == 9
    assert "✕ Failed" in (tmp_path / "report" / "validation.html").read_text("utf-8")
    assert json.loads((tmp_path / "report" / "validation.json").read_bytes())["passed"] is False
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_source_of_another_layout(tmp_path):
    with pytest.raises(ReposeError, match=r"None of the 18 files.*market1501.*first is img/WOMEN.*download\.source"):
        run(tmp_path, dresses(), "market1501")
    (tmp_path / "raw").rename(tmp_path / "earlier")
    with pytest.raises(ReposeError, match="None of the 0 files"):
        run(tmp_path, {})


def test_a_photo_that_changed_since_it_was_downloaded(tmp_path):
    raw = source(tmp_path / "raw", dresses())
    row = RawFiles(raw).table.iloc[4]
    with (raw / row["shard"]).open("r+b") as shard:
        shard.seek(row["offset"] + 300)
        shard.write(b"\xff\x00\xff\x00")
    with pytest.raises(ReposeError, match=rf"1 of 18 photos.*changed since download wrote them, first {row['name']}"):
        run(tmp_path, {})
    assert not (tmp_path / "report").exists()


def test_same_photos_same_bytes_whatever_the_order_and_the_workers(tmp_path):
    files = half_bad()
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    run(tmp_path / "one", files, photos_per_item=(1, 3))
    backwards = {path: files[path] for path in sorted(files, reverse=True)}
    run(tmp_path / "two", backwards, photos_per_item=(1, 3), workers=2)
    for folder in ("images", "report"):
        assert contents(tmp_path / "one" / folder) == contents(tmp_path / "two" / folder)


@pytest.mark.parametrize(("parts", "sizes"), [((0, 1, 2, 3), [5, 5, 4, 4]), ((3, 11), [9, 9])])
def test_parts_are_blocks_of_nearly_equal_size_in_the_order_of_the_paths(tmp_path, parts, sizes):
    files = dresses()
    run(tmp_path, files)
    whole = read_table(tmp_path / "images" / "0" / "images.csv", IMAGES)
    (tmp_path / "images").rename(tmp_path / "earlier")
    table = run(tmp_path, {}, parts=parts)
    assert part_names(tmp_path / "images") == tuple(map(str, parts))
    places = ["shard", "offset"]
    pd.testing.assert_frame_equal(table.drop(columns=places), whole.drop(columns=places))
    reader = ShardReader(tmp_path / "images", table)
    assert [reader[name] for name in table["name"]] == [files[path] for path in sorted(files)]
    for part, size in zip(parts, sizes, strict=True):
        folder = tmp_path / "images" / str(part)
        assert set(contents(folder)) == {"00000.tar", "images.csv"}
        alone = read_table(folder / "images.csv", IMAGES)
        assert len(alone) == size
        assert all(ShardReader(folder, alone).values())  # by itself, on another machine


def test_more_parts_than_photos_are_refused_and_earlier_photos_stay(tmp_path):
    run(tmp_path, dresses(1))
    before = contents(tmp_path / "images")
    with pytest.raises(ReposeError, match=r"3 photo\(s\) pass, but validate.parts in params.yaml has 4 parts.*fewer"):
        run(tmp_path, {}, parts=(0, 1, 2, 3))
    assert contents(tmp_path / "images") == before
    assert [len(rows) for _, rows in run(tmp_path, {}, parts=(0, 1, 2)).groupby("shard")] == [1, 1, 1]


@pytest.mark.parametrize(("values", "message"), [
    ({"formats": ["JPG"]}, r"formats has the unknown format 'JPG'. Did you mean 'JPEG'"),
    ({"modes": ["RGB", "F"]}, "modes should not contain I or F"),
    ({"photos_per_item": [3, 2]}, r"photos_per_item should be \[least, most\]"),
    ({"parts": []}, r"parts should be whole numbers from 0 up, ascending, as \[0, 1\], not \[\]"),
    ({"parts": [0, 0]}, r"parts should be whole numbers.*not \[0, 0\]"),
])  # fmt: skip
def test_settings_that_cannot_be(values, message):
    with pytest.raises(ReposeError, match=message):
        settings_of("validate", ValidateSettings, **values)
