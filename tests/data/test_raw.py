"""What download wrote, read back."""

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

CONTENTS = {
    "Eval/list_eval_partition.txt": b"0",
    "img/MEN/Denim/id_00000001/01_1_front.jpg": b"photo",
    "keypoints.csv": b"name:keypoints_y:keypoints_x",
    "lists/train.lst": b"a",
    "other/train.lst": b"b",
}


def write_raw(folder: Path, contents: Mapping[str, bytes] = CONTENTS) -> Path:
    for kind in ("photos", "lists"):
        (folder / kind).mkdir(parents=True)
        there = {name: content for name, content in contents.items() if name.endswith(".jpg") == (kind == "photos")}
        with ShardWriter(folder / kind, shard_bytes=1000) as shards:
            table = index_table((name, shards.add(name, content)) for name, content in there.items())
        digests = [hashlib.sha256(content).hexdigest() for content in there.values()]
        write_table(folder / kind / "files.csv", table.assign(sha256=digests), FILES)
    write_json(folder / "lists" / "source.json", {"source": "mannequin", "layout": "deepfashion", "terms": "ours"})
    return folder


PHOTO = "img/MEN/Denim/id_00000001/01_1_front.jpg"
LISTS = [name for name in CONTENTS if name != PHOTO]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return write_raw(tmp_path / "raw")


def test_files_are_read_by_their_owners_names(raw: Path) -> None:
    files = RawFiles(raw)
    assert dict(files) == CONTENTS
    assert files.names == [PHOTO, *LISTS]  # photos come first
    assert len(files) == 5
    assert "keypoints.csv" in files
    assert "nothing.csv" not in files
    assert (files.source, files.layout, files.terms) == ("mannequin", "deepfashion", "ours")
    assert list(files.table.columns) == list(FILES)
    with pytest.raises(KeyError):
        files["nothing.csv"]


def test_the_lists_are_read_by_themselves_where_there_are_no_photos(raw: Path) -> None:
    shutil.rmtree(raw / "photos")
    files = RawFiles(raw / "lists")
    assert dict(files) == {name: CONTENTS[name] for name in LISTS}
    assert (files.source, files.layout, files.terms) == ("mannequin", "deepfashion", "ours")
    assert files.find("keypoints.csv") == "keypoints.csv"
    with pytest.raises(ReposeError, match=r"There is no .*photos/files\.csv"):
        RawFiles(raw)


def test_a_reader_goes_to_other_processes(raw: Path) -> None:
    assert dict(pickle.loads(pickle.dumps(RawFiles(raw)))) == CONTENTS  # noqa: S301


@pytest.mark.parametrize(("suffix", "name"), [
    ("keypoints.csv", "keypoints.csv"), ("list_eval_partition.txt", "Eval/list_eval_partition.txt"),
    ("lists/train.lst", "lists/train.lst"),
])  # fmt: skip
def test_find_takes_a_name_or_the_last_part_of_a_path(raw: Path, suffix: str, name: str) -> None:
    assert RawFiles(raw).find(suffix) == name


@pytest.mark.parametrize("suffix", ["points.csv", "train.csv"])
def test_find_lists_the_candidates_where_there_is_none(raw: Path, suffix: str) -> None:
    with pytest.raises(
        ReposeError, match=f"no file named {suffix}.*: keypoints.csv, Eval/list_eval_partition.txt, lis"
    ):
        RawFiles(raw).find(suffix)


def test_find_says_that_there_are_none_at_all(tmp_path: Path) -> None:
    with pytest.raises(ReposeError, match=r"not images: none\."):
        RawFiles(write_raw(tmp_path / "raw", {"a.jpg": b"1"})).find("keypoints.csv")


def test_find_lists_at_most_ten(tmp_path: Path) -> None:
    files = RawFiles(write_raw(tmp_path / "raw", {f"{i:02d}.json": b"" for i in range(15)}))
    with pytest.raises(ReposeError, match=r"00.json, .*, 09.json and 5 more"):
        files.find("keypoints.json")


def test_find_does_not_choose(raw: Path) -> None:
    with pytest.raises(ReposeError, match=r"2 files named train.lst: lists/train.lst, other/train.lst. Name one with"):
        RawFiles(raw).find("train.lst")


def test_a_folder_that_download_did_not_write_is_told(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(ReposeError, match=r"There is no .*files.csv"):
        RawFiles(tmp_path / "missing")
    write_json(raw / "lists" / "source.json", {"source": "mannequin", "layout": "fashion", "terms": ""})
    with pytest.raises(ReposeError, match="layout 'fashion', which is none of deepfashion, market1501"):
        RawFiles(raw)
    for record in ({"source": "mannequin"}, []):
        write_json(raw / "lists" / "source.json", record)
        with pytest.raises(ReposeError, match="lacks source, layout or terms"):
            RawFiles(raw)
    (raw / "lists" / "source.json").unlink()
    with pytest.raises(ReposeError, match=r"There is no .*source.json"):
        RawFiles(raw)
