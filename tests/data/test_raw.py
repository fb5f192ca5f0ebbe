import hashlib
import pickle
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from repose.data.raw import RawFiles
from repose.data.records import FILES, write_json, write_table
from repose.data.shards import ShardWriter, index_table
from repose.errors import ReposeError

PHOTO = "img/MEN/Denim/id_00000001/01_1_front.jpg"
LISTS = {
    "Eval/list_eval_partition.txt": b"0", "keypoints.csv": b"name:keypoints_y:keypoints_x", "lists/train.lst": b"a",
    "other/train.lst": b"b",
}  # fmt: skip
CONTENTS = {PHOTO: b"photo"} | LISTS


def write_raw(folder: Path, contents: Mapping[str, bytes] = CONTENTS) -> Path:
    for kind in ("photos", "lists"):
        (folder / kind).mkdir(parents=True)
        there = {name: content for name, content in contents.items() if name.endswith(".jpg") == (kind == "photos")}
        with ShardWriter(folder / kind, shard_bytes=1000) as shards:
            table = index_table((name, shards.add(name, content)) for name, content in there.items())
        digests = [hashlib.sha256(content).hexdigest() for content in there.values()]
        write_table(folder / kind / "files.csv", table.assign(sha256=digests), FILES)
    write_json(folder / "lists" / "source.json", {"source": "mannequin", "layout": "deepfashion"})
    return folder


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return write_raw(tmp_path / "raw")


def test_files_are_read_by_their_owners_names(raw):
    files = RawFiles(raw)
    assert dict(files) == dict(pickle.loads(pickle.dumps(files))) == CONTENTS  # noqa: S301
    assert files.names == list(files.table["name"]) == list(CONTENTS)  # photos come first
    assert (files.source, files.layout) == ("mannequin", "deepfashion")
    assert list(files.table.columns) == list(FILES)


def test_the_lists_are_read_without_the_photos(raw):
    shutil.rmtree(raw / "photos")
    files = RawFiles(raw / "lists")
    assert dict(files) == LISTS
    assert (files.source, files.layout) == ("mannequin", "deepfashion")
    with pytest.raises(ReposeError, match=r"There is no .*photos/files\.csv"):
        RawFiles(raw)


@pytest.mark.parametrize(("suffix", "name"), [
    ("keypoints.csv", "keypoints.csv"), ("list_eval_partition.txt", "Eval/list_eval_partition.txt"),
    ("lists/train.lst", "lists/train.lst"),
])  # fmt: skip
def test_find_takes_a_name_or_the_last_part_of_a_path(raw, suffix, name):
    assert RawFiles(raw).find(suffix) == name


@pytest.mark.parametrize(("contents", "suffix", "message"), [
    (CONTENTS, "points.csv", "no file named points.csv.*: keypoints.csv, Eval/list_eval_partition.txt, lis"),
    ({"a.jpg": b"1"}, "keypoints.csv", r"its lists are: none\."),
    ({f"{i:02d}.json": b"" for i in range(15)}, "keypoints.json", r"00.json, .*, 09.json and 5 more"),
    (CONTENTS, "train.lst", r"2 files named train.lst; they are: lists/train.lst, other/train.lst. Correct"),
])  # fmt: skip
def test_find_lists_the_candidates(tmp_path, contents, suffix, message):
    with pytest.raises(ReposeError, match=message):
        RawFiles(write_raw(tmp_path / "raw", contents)).find(suffix)


def test_a_folder_that_download_did_not_write_is_rejected(raw, tmp_path):
    with pytest.raises(ReposeError, match=r"There is no .*files.csv"):
        RawFiles(tmp_path / "missing")
    for record in ({"source": "mannequin"}, [], {"source": "mannequin", "layout": "fashion"}):
        write_json(raw / "lists" / "source.json", record)
        with pytest.raises(ReposeError, match=r"lacks a source or a layout \(deepfashion, market1501, folders\)"):
            RawFiles(raw)
