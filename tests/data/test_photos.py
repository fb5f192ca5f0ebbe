"""Photos at the working size, from what the stages wrote."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_photos import HEIGHT, LINE_WIDTH, WIDTH, Small, write_small

from repose.data import photos as module
from repose.data.frame import Frame
from repose.data.posemaps import draw
from repose.data.records import IMAGES, read_table, write_table
from repose.errors import ReposeError

CROP = (8.0, 0.0, 56.0, 64.0)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return write_small(
        tmp_path_factory.mktemp("small"), (3, 4), size=(64, 64), crop=CROP, without_map=["0-1.png"], grainy=True
    )


def loadable(small: Small) -> list[str]:
    return [name for name in small.names if name != "0-1.png"]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the image files that were decoded."""
    sizes, decode = [], module.decode

    def counting(encoded: bytes) -> np.ndarray:
        sizes.append(len(encoded))
        return decode(encoded)

    monkeypatch.setattr(module, "decode", counting)
    return sizes


def test_photos_keypoints_and_maps_are_those_of_the_stages_in_the_order_asked_for(small: Small) -> None:
    photos, names = small.photos(), loadable(small)[::-1]
    assert photos.frame == Frame(HEIGHT, WIDTH, CROP)
    assert photos.line_width == LINE_WIDTH
    assert photos.size == (64, 64)
    loaded = photos.load(names)
    assert [part.shape for part in loaded] == [(6, HEIGHT, WIDTH, 3), (6, 18, 2), (6, HEIGHT, WIDTH)]
    assert [part.dtype for part in loaded] == [np.uint8, np.float32, np.uint8]
    rows = [small.names.index(name) for name in names]
    keypoints = photos.frame.keypoints(small.keypoints[rows], 64, 64)
    np.testing.assert_array_equal(loaded.keypoints, keypoints)
    np.testing.assert_array_equal(loaded.maps, draw(keypoints, height=HEIGHT, width=WIDTH, line_width=LINE_WIDTH))
    random = np.random.default_rng(0)  # as write_small draws
    random.permutation(7)
    random.uniform(2, 61, (7, 18, 2))
    pixels = [random.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(7)]
    np.testing.assert_array_equal(loaded.pixels, np.stack([photos.frame.image(pixels[row]) for row in rows]))


def test_a_photo_may_be_asked_for_twice(small: Small) -> None:
    name = loadable(small)[0]
    loaded = small.photos(1).load([name, name])
    for part in loaded:
        np.testing.assert_array_equal(part[0], part[1])


# pixels and map of a photo are 4 * 32 * 24 bytes: the limits have room for none, two and all of them
@pytest.mark.parametrize(("megabytes", "kept"), [(0, 0), (0.001, 0), (2.5 * 4 * 32 * 24 / 2**20, 2), (1, 6)])
def test_what_is_kept_is_not_decoded_again_and_is_the_same(
    small: Small, decoded: list[int], megabytes: float, kept: int
) -> None:
    photos, names = small.photos(megabytes), loadable(small)
    first = photos.load(names)
    assert len(decoded) == 6
    for name in reversed(names):
        again = photos.load([name])
        for one, other in zip(first, again, strict=True):
            np.testing.assert_array_equal(one[names.index(name)], other[0])
    assert len(decoded) == 6 + 6 - kept


def test_a_photo_that_the_caller_changes_stays_in_the_cache_as_it_was(small: Small) -> None:
    photos, names = small.photos(1), loadable(small)[:2]
    expected = small.photos().load(names)
    for _ in range(2):
        loaded = photos.load(names)
        for one, other in zip(loaded, expected, strict=True):
            np.testing.assert_array_equal(one, other)
            one[:] = 0


def test_a_photo_without_a_map_or_of_an_unknown_name_is_not_there(small: Small) -> None:
    photos = small.photos()
    assert loadable(small)[0] in photos
    for name in ("0-1.png", "9-9.png", 1):
        assert name not in photos
    names = [loadable(small)[0], "0-1.png", "9-9.png"]
    with pytest.raises(ReposeError, match=r"2 photo\(s\) that the split names .* no pose map, such as 0-1\.png\. Run"):
        photos.load(names)


def test_photos_of_several_sizes_have_no_one_size(tmp_path: Path) -> None:
    small = write_small(tmp_path, (2, 2))
    assert small.photos().size == (HEIGHT, WIDTH)
    change_images(small, height=lambda table: [HEIGHT + 1, *table["height"][1:]])
    assert small.photos().size is None


def change_images(small: Small, **columns: object) -> None:
    path = small.folder / "images" / "0" / "images.csv"
    table = read_table(path, IMAGES)
    write_table(path, table.assign(**columns), IMAGES)


def test_tables_of_other_photos_are_told(tmp_path: Path) -> None:
    small = write_small(tmp_path, (2, 2))
    path = tmp_path / "images" / "0" / "images.csv"
    whole = read_table(path, IMAGES)
    message = rf"{tmp_path}/keypoints and {tmp_path}/images list other photos\. Run `dvc repro keypoints` again\."
    others: list[pd.DataFrame] = [whole[::-1], whole[1:], whole.replace({"name": {whole["name"][0]: "other.png"}})]
    for other in others:
        write_table(path, other, IMAGES)
        with pytest.raises(ReposeError, match=message):
            small.photos()


@pytest.mark.parametrize("parts", [(1, 6), (6, 1), (3, 2, 1, 1)])
def test_the_parts_change_no_photo(small: Small, tmp_path: Path, parts: tuple[int, ...]) -> None:
    in_parts = write_small(
        tmp_path, (3, 4), size=(64, 64), crop=CROP, without_map=["0-1.png"], grainy=True, parts=parts
    )  # fmt: skip
    assert in_parts.names == small.names
    for one, other in zip(small.photos().load(loadable(small)), in_parts.photos().load(loadable(small)), strict=True):
        np.testing.assert_array_equal(one, other)
    assert "0-1.png" not in in_parts.photos()


def test_parts_that_are_left_over_are_not_read(tmp_path: Path) -> None:
    small, other = write_small(tmp_path / "a", (2, 2), parts=(2, 2)), write_small(tmp_path / "b", (9, 9))
    for kind in ("keypoints", "posemaps"):
        shutil.move(other.folder / kind / "0", small.folder / kind / "2")
    assert small.photos().load(small.names).pixels.shape[0] == 4


@pytest.mark.parametrize(
    "file", ["images/1/images.csv", "keypoints/1/keypoints.csv", "posemaps/1/posemaps.json", "posemaps/1/posemaps.csv"]
)
def test_a_missing_table_is_told(tmp_path: Path, file: str) -> None:
    small = write_small(tmp_path, (2, 2), parts=(3, 1))
    (tmp_path / file).unlink()
    with pytest.raises(ReposeError, match=f"There is no {tmp_path / file}"):
        small.photos()
