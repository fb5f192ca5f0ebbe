import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from repose.data.images import encode_png
from repose.data.records import IMAGES
from repose.data.shards import ShardWriter, index_table
from repose.data.skeleton import K
from repose.errors import ReposeError
from repose.pose.keypoint_cache import Found, Search

LEVELS = [10, 20, 30, 40, 50, 60, 70]  # of the photos' pixels
SHARDS = [[10, 20, 30], [40, 50], [60, 70]]
HEIGHTS = [8, 8, 8, 8, 12, 8, 8]
WHOLE = [[10, 20], [30], [40], [50], [60, 70]]  # what is looked at together, two at most
SETTINGS = {"network": "made up"}


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    """The images.csv of a part of seven photos in three shards."""
    (tmp_path / "images").mkdir()
    places = []
    with ShardWriter(tmp_path / "images") as shards:
        for shard in SHARDS:
            for level in shard:
                photo = np.full((HEIGHTS[LEVELS.index(level)], 6, 3), level, np.uint8)
                places.append((f"{level}.png", shards.add(f"{level}.png", encode_png(photo))))
            shards.close()
    rows = index_table(places).assign(sha256=LEVELS, height=HEIGHTS, width=6)
    return rows.reindex(columns=list(IMAGES))


@pytest.fixture
def search(table: pd.DataFrame, tmp_path: Path) -> Search:
    return Search(tmp_path / "images", table, tmp_path / "work", SETTINGS)


class Looks:
    """Finds as many people as a photo's pixels say, and notes what it looked at together."""

    def __init__(self, then: Callable[[list[int]], None] = lambda _: None) -> None:
        self.seen: list[list[int]] = []
        self.then = then

    def __call__(self, photos: torch.Tensor) -> Found:
        assert (photos.dtype, photos.shape[1]) == (torch.uint8, 3)
        levels = photos[:, 0, 0, 0].tolist()
        self.seen.append(levels)
        self.then(levels)
        return Found(np.float32(levels)[:, None, None] + np.zeros((1, K, 3), np.float32), np.array(levels, np.int64))


def check(search: Search, seen: list[list[int]]) -> None:
    """It finds what is in all photos, and looks at some of them anew."""
    looks = Looks()
    found = search.run(looks, batch=2)
    assert (found.joints.dtype, found.joints.shape) == (np.float32, (len(LEVELS), K, 3))
    np.testing.assert_array_equal(found.joints[:, 0, 0], LEVELS)
    assert found.people.tolist() == LEVELS
    assert looks.seen == seen


def test_each_photo_is_looked_at_with_others_of_its_shard_and_size(search, tmp_path):
    check(search, WHOLE)
    assert len(list((tmp_path / "work").rglob("*.safetensors"))) == len(SHARDS)


def test_large_photos_are_looked_at_one_at_a_time(tmp_path):
    with ShardWriter(tmp_path) as shards:
        photo = encode_png(np.zeros((3000, 3000, 3), np.uint8))
        rows = index_table((name, shards.add(name, photo)) for name in ("a", "b"))
    looks = Looks()
    Search(tmp_path, rows.assign(sha256="", height=3000, width=3000), tmp_path / "work", {}).run(looks, batch=64)
    assert looks.seen == [[0], [0]]


def test_threads_look_at_batches_side_by_side_and_change_no_result(search):
    together = threading.Barrier(2)

    def wait(levels: list[int]) -> None:
        if levels in ([40], [50]):  # photos of two sizes in one shard
            together.wait(timeout=30)

    found = search.run(Looks(wait), batch=2, threads=2)
    assert found.people.tolist() == LEVELS


@pytest.mark.parametrize(("level", "left"), [(30, WHOLE), (50, WHOLE[2:])])
def test_an_interrupted_search_resumes_after_the_last_whole_shard(search, capsys, level, left):
    def stop(levels: list[int]) -> None:
        if level in levels:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search.run(Looks(stop), batch=2)
    check(search, left)
    before = len(LEVELS) - sum(map(len, left))
    assert (f"resuming after {before} of 7 photos" in capsys.readouterr().err) == bool(before)


@pytest.mark.parametrize(("last_photo", "settings"), [(71, SETTINGS), (70, SETTINGS | {"network": "another"})])
def test_the_results_of_another_search_are_not_taken(search, table, tmp_path, last_photo, settings):
    search.run(Looks(), batch=2)
    changed = table.assign(sha256=[*LEVELS[:-1], last_photo])
    check(Search(tmp_path / "images", changed, tmp_path / "work", settings), WHOLE)


def test_a_damaged_file_is_told(search, tmp_path):
    search.run(Looks(), batch=2)
    file = next((tmp_path / "work").rglob("00001.safetensors"))
    file.write_bytes(file.read_bytes().replace(b"}", b""))
    with pytest.raises(ReposeError, match=r"00001\.safetensors, a result of an earlier search, is damaged .*Delete"):
        search.run(Looks(), batch=2)
