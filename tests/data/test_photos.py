import shutil
from pathlib import Path

import numpy as np
import pytest
from small_photos import HEIGHT, LINE_WIDTH, WIDTH, Small, write_small

from repose.data import photos as module
from repose.data.frame import Frame
from repose.data.posemaps import draw
from repose.data.records import IMAGES, read_table, write_json, write_keypoints, write_table
from repose.errors import ReposeError

CROP = (8.0, 0.0, 56.0, 64.0)


def write(folder: Path, parts: tuple[int, ...] = ()) -> Small:
    return write_small(folder, (3, 4), size=(64, 64), crop=CROP, without_map=["0-1.png"], grainy=True, parts=parts)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return write(tmp_path_factory.mktemp("small"))


def loadable(small: Small) -> list[str]:
    return [name for name in small.names if name != "0-1.png"]


@pytest.mark.parametrize("parts", [(), (3, 2, 1, 1)])
def test_photos_keypoints_and_maps_are_those_of_the_stages(tmp_path, parts):
    small = write(tmp_path, parts)
    photos, names = small.photos(), [*loadable(small)[::-1], loadable(small)[0]]
    assert (photos.frame, photos.line_width, photos.size) == (Frame(HEIGHT, WIDTH, CROP), LINE_WIDTH, (64, 64))
    loaded = photos.load(names)
    assert [part.shape for part in loaded] == [(7, HEIGHT, WIDTH, 3), (7, 18, 2), (7, HEIGHT, WIDTH)]
    assert [part.dtype for part in loaded] == [np.uint8, np.float32, np.uint8]
    rows = [small.names.index(name) for name in names]
    keypoints = photos.frame.keypoints(small.keypoints[rows], 64, 64)
    np.testing.assert_array_equal(loaded.keypoints, keypoints)
    np.testing.assert_array_equal(loaded.maps, draw(keypoints, height=HEIGHT, width=WIDTH, line_width=LINE_WIDTH))
    np.testing.assert_array_equal(loaded.pixels, [photos.frame.image(small.pixels[row]) for row in rows])


# pixels and map of a photo are 4 * 32 * 24 bytes: the limits have room for none, two and all of them
# pixels and map of a photo are 4 * 32 * 24 bytes: the limits have room for two and for all of them
@pytest.mark.parametrize(("megabytes", "kept"), [(2.5 * 4 * 32 * 24 / 2**20, 2), (1, 6)])
def test_cached_photos_are_not_decoded_again_and_stay_the_same(small, monkeypatch, megabytes, kept):
    photos, names = small.photos(megabytes), loadable(small)
    expected, decoded, decode = small.photos().load(names), [], module.decode
    monkeypatch.setattr(module, "decode", lambda encoded: decoded.append(1) or decode(encoded))
    for _ in range(2):
        for one, other in zip(expected, photos.load(names), strict=True):
            np.testing.assert_array_equal(one, other)
            other[:] = 0  # the caller's copy
    assert len(decoded) == 12 - kept


def test_a_photo_of_an_unknown_name_or_without_its_map_is_named(small):
    with pytest.raises(ReposeError, match=r"1 photo\(s\) in the split have no image, such as 9-9\.png\. .*run"):
        small.photos().load([loadable(small)[0], "9-9.png"])
    with pytest.raises(ReposeError, match=r"0-1\.png has a limb in the frame, but no pose map. Run `dvc repro"):
        small.photos().load(["0-1.png"])


@pytest.mark.parametrize("kind", ["images", "posemaps"])
def test_a_damaged_photo_or_map_is_named(tmp_path, kind):
    small = write(tmp_path)
    for shard in (tmp_path / kind / "0").glob("*.tar"):
        shard.write_bytes(shard.read_bytes().replace(b"IDAT", b"DATI"))
    with pytest.raises(ReposeError, match=rf"^{loadable(small)[0]} in .*/{kind} is damaged \(.+\)\. Restore it"):
        small.photos().load(loadable(small))


def test_a_photo_without_a_limb_in_the_frame_has_a_blank_map(tmp_path):  # with split.posed any, it may be in a pair
    small = write(tmp_path)
    small.keypoints[small.names.index("0-1.png"), 1:] = np.nan
    write_keypoints(tmp_path / "keypoints/0/keypoints.csv", small.names, small.keypoints, np.ones((7, 18)))
    maps = small.photos().load(["0-1.png"]).maps
    assert (maps.shape, maps.any()) == ((1, HEIGHT, WIDTH), False)


def test_photos_of_several_sizes_have_no_one_size_and_must_be_those_with_keypoints(tmp_path):
    small, path = write_small(tmp_path, (2, 2)), tmp_path / "images" / "0" / "images.csv"
    whole = read_table(path, IMAGES)
    write_table(path, whole.assign(height=[HEIGHT + 1, *whole["height"][1:]]), IMAGES)
    assert small.photos().size is None
    write_table(path, whole[::-1], IMAGES)
    message = rf"{tmp_path}/keypoints and {tmp_path}/images list different photos\. Run `dvc repro keypoints` again\."
    with pytest.raises(ReposeError, match=message):
        small.photos()


@pytest.mark.parametrize(("change", "message"), [
    ({"height": 0}, r"1/posemaps\.json lacks the settings that the maps were drawn with.*dvc repro"),
    ({"line_width": float("nan")}, r"1/posemaps\.json lacks the settings that the maps were drawn with"),
    ({"height": 16}, r"0/posemaps\.json and .*1/posemaps\.json were drawn with different"),
    ({"crop": CROP}, "were drawn with different"),
    ({"line_width": 2.5}, "were drawn with different"),
])  # fmt: skip
def test_parts_whose_maps_were_drawn_in_another_or_an_unknown_way_are_rejected(tmp_path, change, message):
    small = write_small(tmp_path, (2, 2), parts=(2, 2))
    record = {"height": HEIGHT, "width": WIDTH, "crop": None, "line_width": LINE_WIDTH}
    write_json(tmp_path / "posemaps" / "1" / "posemaps.json", record | change)
    with pytest.raises(ReposeError, match=message):
        small.photos()


def test_leftover_parts_are_not_read(tmp_path):
    small, other = write_small(tmp_path / "a", (2, 2), parts=(2, 2)), write_small(tmp_path / "b", (9, 9))
    for kind in ("keypoints", "posemaps"):
        shutil.move(other.folder / kind / "0", small.folder / kind / "2")
    assert len(small.photos().load(small.names).pixels) == 4
    (small.folder / "keypoints" / "1" / "keypoints.csv").unlink()
    with pytest.raises(ReposeError, match=f"There is no {small.folder}/keypoints/1/keypoints.csv"):
        small.photos()
