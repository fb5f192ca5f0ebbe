"""The stage download, from every kind of origin, and with everything that can be wrong with one."""

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from file_server import Server
from mannequins import renderer
from mannequins.renderer import MannequinSettings
from repose.data.archives import Limits
from repose.data.raw import RawFiles
from repose.errors import DataError, ReposeError
from repose.stages import download
from repose.stages.download import DownloadSettings, Origin
from serving import serving
from tiny import files_in as folder_bytes
from tiny import settings as settings_of

LIMITS = Limits(files=1000, total_gigabytes=0.1, file_megabytes=10, ratio=100)
FILES = {
    "img/WOMEN/Tees/id_00000002/02_3_back.jpg": b"back" * 500,
    "img/WOMEN/Tees/id_00000002/02_1_front.jpg": b"front" * 500,
    "Eval/list_eval_partition.txt": b"2\nimage_name item_id evaluation_status\n",
}


def run(tmp_path: Path, *origins: Origin | str, **changes: Any) -> RawFiles:
    """Run the stage with these origins and read what it wrote."""
    values: dict[str, Any] = {
        "source": "deepfashion", "mannequin": MannequinSettings(flavour="fashion", items=2, seed=0, quality=90),
        "origins": tuple(Origin(origin) if isinstance(origin, str) else origin for origin in origins),
        "endpoint": None, "version": None, "limits": LIMITS, "shard_megabytes": 1, "workers": 1,
    }  # fmt: skip
    download.run(raw=tmp_path / "raw", transfers=tmp_path / "transfers", settings=DownloadSettings(**values | changes))
    return RawFiles(tmp_path / "raw")


def write_folder(folder: Path, files: Mapping[str, bytes] = FILES) -> str:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return str(folder)


def write_zip(path: Path, files: Mapping[str, bytes] = FILES, method: int = zipfile.ZIP_DEFLATED) -> str:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return str(path)


def source(tmp_path: Path) -> dict[str, Any]:
    return json.loads((tmp_path / "raw" / "lists" / "source.json").read_text())


@pytest.fixture
def served(s3_credentials: None) -> Iterator[Server]:
    with serving(server := Server()):
        yield server


# ---- what it writes ----


def test_a_folder_becomes_shards_a_table_and_a_record(tmp_path, capsys):
    address = write_folder(tmp_path / "in")
    raw = run(tmp_path, address)
    assert dict(raw) == FILES
    partition, *photos = sorted(FILES)
    assert raw.names == [*photos, partition]
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    assert dict(zip(raw.table["name"], raw.table["sha256"], strict=True)) == digests
    assert set(folder_bytes(tmp_path / "raw")) == {
        "photos/00000.tar", "photos/files.csv", "lists/00000.tar", "lists/files.csv", "lists/source.json",
    }  # fmt: skip
    assert dict(RawFiles(tmp_path / "raw" / "lists")) == {partition: FILES[partition]}
    terms = (
        "DeepFashion (In-shop Clothes Retrieval), Multimedia Laboratory, The Chinese University of Hong Kong: for "
        "non-commercial research and educational purposes only, under the agreement with its owners."
    )
    size = sum(map(len, FILES.values()))
    assert source(tmp_path) == {
        "source": "deepfashion", "layout": "deepfashion", "terms": terms, "version": None, "files": 3, "bytes": size,
        "origins": [{"address": address, "sha256": None, "size": size, "skipped": 0}],
    }  # fmt: skip
    assert f"deepfashion: {terms}" in capsys.readouterr().err


def test_the_same_files_give_the_same_bytes_wherever_they_come_from(tmp_path, served, storage, endpoint):
    last, *others = FILES
    reversed_zip = Path(write_zip(tmp_path / "reversed.zip", dict(reversed(FILES.items()))))
    for name, content in FILES.items():
        prefix = storage.put(f"in/{name}", content).removesuffix(name)
    served.body = Path(write_zip(tmp_path / "all.zip", method=zipfile.ZIP_STORED)).read_bytes()
    origins: list[list[Origin | str]] = [
        [write_folder(tmp_path / "in")],
        [str(reversed_zip)],
        [f"{served.address}/all.zip"],
        [prefix],
        [Origin(storage.put("all.zip", reversed_zip.read_bytes()), size=reversed_zip.stat().st_size)],
        [
            write_folder(tmp_path / "parts", {name: FILES[name] for name in others}),
            write_zip(tmp_path / "part.zip", {last: FILES[last]}),
        ],
    ]
    results, records = [], []
    for origin in origins:
        run(tmp_path, *origin, endpoint=endpoint)
        record = source(tmp_path)
        records.append(record.pop("origins"))
        results.append({**folder_bytes(tmp_path / "raw"), "lists/source.json": record})
        assert not (tmp_path / "transfers").exists()
    assert all(result == results[0] for result in results)
    assert [record[0]["size"] for record in records[1:3]] == [reversed_zip.stat().st_size, len(served.body)]
    assert records[4][0]["sha256"] == hashlib.sha256(reversed_zip.read_bytes()).hexdigest()
    assert [len(record) for record in records] == [1, 1, 1, 1, 1, 2]


def test_a_single_file_counts_by_its_name_and_archives_in_a_folder_are_left_out(tmp_path, served, storage, endpoint):
    write_zip(tmp_path / "img.zip", {"img/a.jpg": b"1"})
    served.body = b"2"
    prefix = storage.put("in/Img/img.zip", (tmp_path / "img.zip").read_bytes()).removesuffix("Img/img.zip")
    storage.put("in/Img/.DS_Store", b"3" * 1000)  # no limit counts it
    storage.put("in/a.csv", b"5")
    small = Limits(files=9, total_gigabytes=1, file_megabytes=0.0001, ratio=100)  # img.zip is larger
    raw = run(
        tmp_path, Origin(f"{served.address}/key%20points.csv", sha256=hashlib.sha256(b"2").hexdigest()[:8]), prefix,
        storage.put("lists/train.lst", b"4"), str(tmp_path / "img.zip"), endpoint=endpoint, limits=small,
    )  # fmt: skip
    assert dict(raw) == {"img/a.jpg": b"1", "a.csv": b"5", "key points.csv": b"2", "train.lst": b"4"}
    assert [origin["skipped"] for origin in source(tmp_path)["origins"]] == [0, 1, 0, 0]


@pytest.mark.parametrize("files", [{"a.JPG": b"1"}, {"a.csv": b"1", "b.json": b"{}", "c": b""}])
def test_a_source_of_photos_or_lists_alone_has_both_folders(tmp_path, files):
    assert dict(run(tmp_path, write_folder(tmp_path / "in", files))) == files
    lists = RawFiles(tmp_path / "raw" / "lists")
    assert dict(lists) == {name: content for name, content in files.items() if name != "a.JPG"}


def test_what_came_of_another_version_is_not_taken_for_this_one(tmp_path, served):
    served.body = Path(write_zip(tmp_path / "a.zip", {"a.csv": b"old", "b.csv": b""})).read_bytes()
    tight = Limits(files=1, total_gigabytes=1, file_megabytes=1, ratio=100)
    with pytest.raises(ReposeError, match=r"more than 1 files"):
        run(tmp_path, f"{served.address}/a.zip", limits=tight, version="1")
    served.body = Path(write_zip(tmp_path / "a.zip", {"a.csv": b"new", "b.csv": b""})).read_bytes()
    assert run(tmp_path, f"{served.address}/a.zip", version="2")["a.csv"] == b"new"
    assert not (tmp_path / "transfers").exists()


def test_the_same_file_from_two_origins_is_one_and_another_of_its_name_is_an_error(tmp_path):
    one = write_folder(tmp_path / "one")
    two = write_zip(tmp_path / "two.zip", {"keypoints.csv": b"1"} | dict(list(FILES.items())[:1]))
    assert dict(run(tmp_path, one, two)) == FILES | {"keypoints.csv": b"1"}
    for content in (b"2", b"of another size"):
        three = write_folder(tmp_path / "three", {"keypoints.csv": content})
        with pytest.raises(ReposeError, match=r"two.zip and .*three have different files keypoints.csv"):
            run(tmp_path, one, two, three)


@pytest.mark.parametrize(("flavour", "layout"), [("fashion", "deepfashion"), ("street", "market1501")])
def test_mannequins_are_rendered_into_their_layout(tmp_path, monkeypatch, capsys, flavour, layout):
    asked = MannequinSettings(flavour=flavour, items=2, seed=3, quality=90)

    def files(settings: MannequinSettings, *, workers: int) -> Iterator[tuple[str, bytes]]:
        assert (settings, workers) == (asked, 2)
        yield from FILES.items()

    monkeypatch.setattr(renderer, "files", files)
    raw = run(tmp_path, source="mannequin", mannequin=asked, workers=2)
    assert dict(raw) == FILES
    assert raw.names == list(FILES)  # as they are rendered: nothing is held back to be sorted
    assert (raw.source, raw.layout) == ("mannequin", layout)
    assert source(tmp_path)["origins"] == []
    assert "mannequin: Rendered by repose; Apache-2.0" in capsys.readouterr().err


# ---- what stays of a run that fails, and what goes ----


def test_a_failure_leaves_the_earlier_folder_as_it_was(tmp_path):
    run(tmp_path, write_folder(tmp_path / "in"))
    before = folder_bytes(tmp_path / "raw")
    path = Path(write_zip(tmp_path / "a.zip", method=zipfile.ZIP_STORED))
    path.write_bytes(path.read_bytes().replace(b"frontfront", b"frontfrond", 1))
    with pytest.raises(ReposeError, match=r"02_1_front.jpg is damaged"):
        run(tmp_path, str(path))
    assert folder_bytes(tmp_path / "raw") == before
    assert {entry.name for entry in tmp_path.iterdir()} == {"raw", "in", "a.zip"}


def test_what_was_transferred_is_kept_until_the_stage_has_succeeded(tmp_path, served):
    served.body = Path(write_zip(tmp_path / "a.zip")).read_bytes()
    (tmp_path / "transfers").mkdir()
    (tmp_path / "transfers" / "mine.txt").write_text("not download's")
    tight = Limits(files=2, total_gigabytes=1, file_megabytes=1, ratio=100)
    with pytest.raises(ReposeError, match=r"more than 2 files.*raise limits.files"):
        run(tmp_path, f"{served.address}/a.zip?signature=1", limits=tight)
    kept = [path for path in (tmp_path / "transfers").rglob("file") if path.is_file()]
    assert len(kept) == 1
    run(tmp_path, f"{served.address}/a.zip?signature=2")
    assert [entry.name for entry in (tmp_path / "transfers").iterdir()] == ["mine.txt"]
    assert [asked["path"] for asked in served.asked] == ["/a.zip?signature=1", "/a.zip?signature=2"]


# ---- bad input ----


@pytest.mark.parametrize(("chosen", "origins", "message"), [
    ("deepfashion", [], "the source is deepfashion, and download.origins names no copy of it. Set origins in params"),
    ("mannequin", ["somewhere"], "which has no origins"),
])  # fmt: skip
def test_origins_that_do_not_fit_the_source(tmp_path, chosen, origins, message):
    with pytest.raises(ReposeError, match=message):
        run(tmp_path, *origins, source=chosen)
    assert not (tmp_path / "raw").exists()


def test_wrong_origins_are_rejected_before_the_first_transfer(tmp_path, served, monkeypatch):
    monkeypatch.delenv("ZIP_PASSWORD", raising=False)
    for origin, message in {
        Origin("nowhere/in"): r"nowhere/in is missing or cannot be read.*a relative one starts at /",
        Origin(str(tmp_path), sha256="0" * 64): "is a folder, but sha256 and size are for single files",
        Origin("s3://bucket/in/", size=3): r"s3://bucket/in/ is a folder, but sha256",
        Origin(f"{served.address}/a.tar.gz?signature=s3cret"): r"^a\.tar\.gz: only zip archives are opened\. Unpack it",
        Origin("ftp://anna:s3cret@host/a.zip"): "^ftp://host/a.zip: cannot fetch",
        Origin(
            f"{served.address}/a.zip", password_variable="ZIP_PASSWORD"
        ): "variable that password_variable names is not",
    }.items():
        with pytest.raises(ReposeError, match=message) as caught:
            run(tmp_path, f"{served.address}/a.zip", origin)
        assert "s3cret" not in str(caught.value)
    assert served.asked == []


def test_an_origin_without_files(tmp_path, endpoint, storage):
    for address in (write_zip(tmp_path / "b.zip", {"__MACOSX/x": b""}), storage.put("in/", b"")):
        with pytest.raises(ReposeError, match="has no files"):
            run(tmp_path, write_folder(tmp_path / "good"), address, endpoint=endpoint)


def test_limits_hold_for_all_origins_together_and_before_anything_is_transferred(tmp_path, endpoint, storage, served):
    one = write_folder(tmp_path / "one", {"a": b"1", "b": b"2"})
    two = write_folder(tmp_path / "two", {"c": b"1", "d": b"2"})
    with pytest.raises(ReposeError, match="the source contains more than 3 files"):
        run(tmp_path, one, two, limits=Limits(files=3, total_gigabytes=1, file_megabytes=1, ratio=9))
    prefix = storage.put("in/a", b"1" * 3_000_000).removesuffix("a")
    small = Limits(files=9, total_gigabytes=0.002, file_megabytes=9, ratio=9)
    with pytest.raises(ReposeError, match=r"s3://.*/in/ contains more than 0.002 GB"):
        run(tmp_path, prefix, endpoint=endpoint, limits=small)
    storage.put("in/b\\c", b"1")
    with pytest.raises(ReposeError, match=r"contains a file named 'b\\\\c'.*Nothing was read"):
        run(tmp_path, prefix, endpoint=endpoint)
    assert not list((tmp_path / "transfers").rglob("*"))
    served.body = b"1" * 3_000_000
    with pytest.raises(ReposeError, match="larger than the limit of 2,000,000 bytes"):
        run(tmp_path, f"{served.address}/a.csv", limits=small)
    assert not list((tmp_path / "transfers").rglob("*file*"))


@pytest.mark.parametrize("place", [50, -10], ids=["content", "directory"])
def test_a_zip_that_came_damaged_is_fetched_again(tmp_path, served, place):
    whole = Path(write_zip(tmp_path / "a.zip")).read_bytes()
    served.body = bytearray(whole)
    served.body[place] ^= 0xFF
    with pytest.raises(DataError, match="damaged"):
        run(tmp_path, f"{served.address}/a.zip")
    served.body = whole  # of the same ETag
    assert run(tmp_path, f"{served.address}/a.zip").table["size"].sum() == sum(map(len, FILES.values()))


def test_no_secret_of_an_address_is_written_or_said(tmp_path, served, capsys):
    served.body = Path(write_zip(tmp_path / "a.zip", FILES | {".DS_Store": b""})).read_bytes()
    address = served.address.replace("http://", "http://anna:s3cret@")
    run(tmp_path, f"{address}/a.zip?signature=s3cret")
    assert source(tmp_path)["origins"][0]["address"] == f"{served.address}/a.zip"
    output = capsys.readouterr()
    assert "ignored 1 files or folders of other programs" in output.err
    assert "s3cret" not in output.err + output.out


# ---- settings ----


@pytest.mark.parametrize(("change", "message"), [
    ({"origins": [{"address": "a", "sha256": "abc"}]}, r"download.origins\[0\].sha256: A sha256 is 64 hexadecimal digits"),
    ({"version": 2}, "download.version should be text, not 2. Put it in quotes."),
])  # fmt: skip
def test_settings_that_cannot_be_are_rejected(change, message):
    with pytest.raises(ReposeError, match=message):
        settings_of("download", DownloadSettings, **change)
