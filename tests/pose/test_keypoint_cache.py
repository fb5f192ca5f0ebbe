import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import forked
from repose.data.images import encode_png
from repose.data.records import IMAGES
from repose.data.shards import ShardWriter, index_table
from repose.data.skeleton import K
from repose.errors import ReposeError
from repose.pose.keypoint_cache import Found, Search

LEVELS = [10, 20, 30, 40, 50, 60, 70]  # of the photos' pixels
SHARDS = [[10, 20, 30], [40, 50], [60, 70]]
SIZES = [(8, 6), (8, 6), (8, 6), (8, 6), (12, 6), (8, 6), (8, 6)]
WHOLE = [[10, 20], [30], [40], [50], [60, 70]]  # what is looked at together, two at most
SETTINGS = {"network": "made up"}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A part of seven photos in three shards."""
    folder = tmp_path / "images"
    folder.mkdir()
    return folder


@pytest.fixture
def table(images: Path) -> pd.DataFrame:
    """Its images.csv."""
    contents = [encode_png(np.full((*size, 3), level, np.uint8)) for level, size in zip(LEVELS, SIZES, strict=True)]
    places = []
    with ShardWriter(images) as shards:
        for number, shard in enumerate(SHARDS):
            places += [(f"{level}.png", shards.add(f"{level}.png", contents[LEVELS.index(level)])) for level in shard]
            shards.close()
            assert shards.shards == number + 1
    rows = index_table(places).assign(sha256=LEVELS)
    rows[["height", "width"]] = SIZES
    return rows.reindex(columns=list(IMAGES))


@pytest.fixture
def search(images: Path, table: pd.DataFrame, tmp_path: Path) -> Search:
    return Search(images, table, tmp_path / "work", SETTINGS)


class Looks:
    """Finds as many people as a photo's pixels say, and notes what it looked at together."""

    def __init__(self, then: Callable[[list[int]], None] = lambda _: None) -> None:
        self.seen: list[list[int]] = []
        self.then = then

    def __call__(self, photos: torch.Tensor) -> Found:
        assert photos.dtype == torch.uint8
        assert photos.shape[1] == 3
        levels = photos[:, 0, 0, 0].tolist()
        self.seen.append(levels)
        self.then(levels)
        return Found(np.float32(levels)[:, None, None] + np.zeros((1, K, 3), np.float32), np.array(levels, np.int64))


def check(found: Found) -> None:
    assert found.joints.dtype == np.float32
    assert found.joints.shape == (len(LEVELS), K, 3)
    np.testing.assert_array_equal(found.joints[:, 0, 0], LEVELS)
    assert found.people.tolist() == LEVELS


def test_each_photo_is_looked_at_with_others_of_its_shard_and_size(search: Search, tmp_path: Path) -> None:
    looks = Looks()
    check(search.run(looks, batch=2))
    assert looks.seen == WHOLE
    assert len(list((tmp_path / "work").rglob("*.safetensors"))) == len(SHARDS)


def kill_at(level: int, search: Search) -> None:
    def kill(levels: list[int]) -> None:
        if level in levels:
            os.kill(os.getpid(), signal.SIGKILL)

    search.run(Looks(kill), batch=2)


@pytest.mark.parametrize(("level", "left"), [(30, WHOLE), (50, WHOLE[2:])])
def test_an_interrupted_search_resumes_after_the_last_whole_shard(
    search: Search, capsys: pytest.CaptureFixture[str], level: int, left: list[list[int]]
) -> None:
    child = forked.start(kill_at, level, search)
    child.join()
    assert child.exitcode == -signal.SIGKILL
    looks = Looks()
    check(search.run(looks, batch=2))
    assert looks.seen == left
    before = len(LEVELS) - sum(map(len, left))
    assert (f"resuming after {before} of 7 photos" in capsys.readouterr().err) == bool(before)


@pytest.mark.parametrize(("last_photo", "settings"), [(71, SETTINGS), (70, SETTINGS | {"network": "another"})])
def test_the_results_of_another_search_are_not_taken(
    search: Search, images: Path, table: pd.DataFrame, tmp_path: Path, last_photo: int, settings: dict[str, Any]
) -> None:
    search.run(Looks(), batch=2)
    looks = Looks()
    changed = table.assign(sha256=[*LEVELS[:-1], last_photo])
    check(Search(images, changed, tmp_path / "work", settings).run(looks, batch=2))
    assert looks.seen == WHOLE


@pytest.mark.parametrize(("old", "new"), [(b"}", b""), (b"people", b"papers")])
def test_a_damaged_file_is_told(search: Search, tmp_path: Path, old: bytes, new: bytes) -> None:
    search.run(Looks(), batch=2)
    file = next((tmp_path / "work").rglob("00001.safetensors"))
    file.write_bytes(file.read_bytes().replace(old, new))
    with pytest.raises(ReposeError, match=r"00001\.safetensors, a result of an earlier search, is damaged .*Delete"):
        search.run(Looks(), batch=2)
