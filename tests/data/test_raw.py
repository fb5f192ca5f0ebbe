import hashlib
import pickle
import shutil
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


def write_raw(folder: Path) -> Path:
    for kind in ("photos", "lists"):
        (folder / kind).mkdir(parents=True)
        there = {name: content for name, content in CONTENTS.items() if name.endswith(".jpg") == (kind == "photos")}
        with ShardWriter(folder / kind, shard_bytes=1000) as shards:
            table = index_table((name, shards.add(name, content)) for name, content in there.items())
        digests = [hashlib.sha256(content).hexdigest() for content in there.values()]
        write_table(folder / kind / "files.csv", table.assign(sha256=digests), FILES)
    write_json(folder / "lists" / "source.json", {"source": "mannequin", "layout": "deepfashion"})
    return folder


def test_files_are_read_by_their_owners_names(tmp_path):
    files = RawFiles(write_raw(tmp_path / "raw"))
    assert dict(files) == dict(pickle.loads(pickle.dumps(files))) == CONTENTS  # noqa: S301
    assert files.names == list(files.table["name"]) == list(CONTENTS)  # photos come first
    assert (files.source, files.layout) == ("mannequin", "deepfashion")


def test_the_lists_are_read_without_the_photos(tmp_path):
    raw = write_raw(tmp_path / "raw")
    shutil.rmtree(raw / "photos")
    assert dict(RawFiles(raw / "lists")) == LISTS
    with pytest.raises(ReposeError, match=r"There is no .*photos/files\.csv"):
        RawFiles(raw)


def test_find_takes_a_name_or_the_last_part_of_a_path(tmp_path):
    raw = RawFiles(write_raw(tmp_path / "raw"))
    found = [raw.find(suffix) for suffix in ("keypoints.csv", "list_eval_partition.txt", "lists/train.lst")]
    assert found == ["keypoints.csv", "Eval/list_eval_partition.txt", "lists/train.lst"]


@pytest.mark.parametrize(("suffix", "message"), [
    ("points.csv", "no file named points.csv.*: keypoints.csv, Eval/list_eval_partition.txt, lis"),
    ("train.lst", r"2 files named train.lst; they are: lists/train.lst, other/train.lst. Correct"),
])  # fmt: skip
def test_find_lists_the_candidates(tmp_path, suffix, message):
    with pytest.raises(ReposeError, match=message):
        RawFiles(write_raw(tmp_path / "raw")).find(suffix)


@pytest.mark.parametrize("record", [{"source": "mannequin"}, [], {"source": "mannequin", "layout": "fashion"}])
def test_a_folder_that_download_did_not_write_is_rejected(tmp_path, record):
    raw = write_raw(tmp_path / "raw")
    write_json(raw / "lists" / "source.json", record)
    with pytest.raises(ReposeError, match=r"lacks a source or a layout \(deepfashion, market1501, folders\)"):
        RawFiles(raw)
