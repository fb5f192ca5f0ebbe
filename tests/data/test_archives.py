import os
import stat
import struct
import sys
import tracemalloc
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from zip_builder import Member, noise, zip_bytes

from repose.data import archives
from repose.data.archives import Limits, is_zip, list_files, open_zip, walk
from repose.errors import ReposeError

LIMITS = Limits(files=100, total_gigabytes=0.01, file_megabytes=2, ratio=50)
FILES = {
    "img/MEN/Denim/id_00000001/01_1_front.jpg": bytes(range(256)) * 40,
    "img/WOMEN/Tees/id_00000002/02_3_back.jpg": b"",
    "Eval/list_eval_partition.txt": b"2\nimage_name item_id evaluation_status\n",
}
Members = Mapping[str, Member] | list[tuple[str, Member]]


def write_zip(folder: Path, members: Members | bytes) -> Path:
    path = folder / "a.zip"
    path.write_bytes(members if isinstance(members, bytes) else zip_bytes(members))
    return path


def read_zip(path: Path, limits: Limits = LIMITS, **options: Any) -> dict[str, bytes]:
    with open_zip(path, limits, "a.zip", **options) as contents:
        return {file.name: file.read() for file in contents.files}


def write_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_zip_files_are_read_without_unpacking(tmp_path):
    members = {name: Member(content, method=0) for name, content in FILES.items()}
    path = write_zip(tmp_path, members | {"img/": Member(b""), "modeless": Member(b"1" * 99, mode=0)})  # and deflated
    with open_zip(path, LIMITS, "a.zip") as contents:
        assert {file.name: file.size for file in contents.files[:-1]} == {n: len(c) for n, c in FILES.items()}
        assert {file.name: file.read() for file in contents.files} == FILES | {"modeless": b"1" * 99}
    assert list(tmp_path.iterdir()) == [path]


LITTER = (
    "__MACOSX/img/._a.jpg", "img/.DS_Store", "img/Thumbs.db", "img/._a.jpg", "img/desktop.ini", "img/Icon\r",
    ".thumbnails/a.jpg", "img/@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", "img/.~lock.keypoints.csv#", "img/a.jpg~",
    "#recycle/a.jpg", "$RECYCLE.BIN/a.jpg", "img/a.jpg:Zone.Identifier", "img/.ipynb_checkpoints/a.jpg",
)  # fmt: skip


def test_litter_of_other_programs_is_skipped_and_counted(tmp_path):
    with open_zip(
        write_zip(tmp_path, dict.fromkeys([*LITTER, "img/a.jpg"], Member(b"1"))), LIMITS, "a.zip"
    ) as contents:
        assert ([file.name for file in contents.files], contents.skipped) == (["img/a.jpg"], len(LITTER))
    write_folder(tmp_path / "in", dict.fromkeys([*LITTER, "@anna/a.jpg", "icon/a.jpg", "img/a.jpg"], b"1"))
    (tmp_path / "in/img/.#lock").symlink_to("nowhere")
    contents = list_files(walk(tmp_path / "in", "in"), LIMITS, "in")
    assert [file.name for file in contents.files] == ["@anna/a.jpg", "icon/a.jpg", "img/a.jpg"]
    assert contents.skipped == len(LITTER) + 1  # each folder of litter counts once


def test_folder_files_come_sorted(tmp_path):
    write_folder(tmp_path, FILES | {"b.csv": b"1", "B.csv": b"2"})
    contents = list_files(walk(tmp_path, "in"), LIMITS, "in")
    photos = sorted(name for name in FILES if name.startswith("img"))
    # the files of a folder, then its folders
    assert [file.name for file in contents.files] == ["B.csv", "b.csv", "Eval/list_eval_partition.txt", *photos]
    assert {file.name: file.read() for file in contents.files} == FILES | {"b.csv": b"1", "B.csv": b"2"}


def test_archives_in_a_source_are_named_and_left_out(tmp_path, capsys):
    path = write_zip(tmp_path, dict.fromkeys(["in/more.zip", "in/a.jpg", "in/old.tar.gz"], Member(b"1")))
    with open_zip(path, LIMITS, "a.zip") as contents:
        assert [file.name for file in contents.files] == ["in/a.jpg"]
    err = capsys.readouterr().err
    assert "a.zip: in/more.zip is not opened. Add it to download.origins" in err
    assert "a.zip: in/old.tar.gz is not opened" in err


def test_zips_are_recognised_by_their_first_bytes_or_their_name(tmp_path):
    write_folder(tmp_path, {"a": zip_bytes({"x": Member(b"")}), "b": zip_bytes({}), "c": b"x,y\n"})
    assert is_zip(tmp_path / "a", "uc")
    assert is_zip(tmp_path / "b", "uc")
    assert not is_zip(tmp_path / "c", "pairs.csv")
    assert is_zip(tmp_path / "c", "IMG.ZIP")


BAD_NAMES = ["", "../x", "a/../../x", "/etc/passwd", "//x", "c:x", "a\\b", "a\nb", "a\x7f", "."]
BAD_MEMBERS = [
    *((name, Member(b"2"), r"contains a file named .*plain path inside") for name in BAD_NAMES),
    ("x.jpg", Member(b"/etc/passwd", mode=stat.S_IFLNK | 0o777), ": x.jpg is a link"),
    ("x.jpg", Member(b"", mode=stat.S_IFIFO), ": x.jpg is a link or special file"),
    *(("x", Member(b"1", method=method), rf"encrypted with AES, or compressed.*\({method}\).*7z x") for method in (9, 99)),
    ("x", Member(b"12345", crc=7), r": x is damaged. Get the zip again."),
    ("x", Member(noise(50_000), size=1_000_000), r": x is damaged. Get the zip again."),
    ("./good.jpg", Member(b"1"), "contains good.jpg twice"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "member", "message"), BAD_MEMBERS)
def test_bad_members_are_rejected(tmp_path, name, member, message):
    with pytest.raises(ReposeError, match=f"a.zip.*{message}"):
        read_zip(write_zip(tmp_path, {"good.jpg": Member(b"1"), name: member}))


@pytest.mark.parametrize("name", ["é".encode(), "é".encode("cp437")])  # as macOS and Windows write it
def test_names_without_the_flag_of_utf_8_are_read_as_utf_8_if_they_can_be(tmp_path, name):
    content = zip_bytes({"?" * len(name): Member(b"1")}).replace(b"?" * len(name), name)
    assert read_zip(write_zip(tmp_path, content.replace(b"\x14\0\0\x08", b"\x14\0\0\0"))) == {"é": b"1"}


@pytest.mark.parametrize(
    "make", [lambda path: path.symlink_to("/etc/passwd"), lambda path: path.symlink_to("."), os.mkfifo]
)
def test_links_and_special_files_in_a_folder_are_rejected(tmp_path, make):
    make(tmp_path / "a.jpg")
    with pytest.raises(ReposeError, match=r"in contains a link or special file, a.jpg. Copy the data with `cp"):
        list(walk(tmp_path, "in"))


def test_a_bomb_is_rejected_by_its_ratio_before_it_is_read(tmp_path, monkeypatch):
    path = write_zip(tmp_path, {"zeros": Member(bytes(1_900_000))})
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    with pytest.raises(ReposeError, match=r"unpack to [\d,]+ times its size.*raise limits.ratio"):
        read_zip(path)


def parts_of(whole: bytes) -> tuple[bytes, bytes]:
    """The files of a zip, and its directory."""
    start, end = whole.index(b"PK\x01\x02"), whole.index(b"PK\x05\x06")
    return whole[:start], whole[start:end]


def test_overlapping_members_do_not_hide_a_bomb(tmp_path):
    body, entry = parts_of(zip_bytes({"a": Member(noise(10_000), method=0)}))
    names = [bytes([33 + i]) for i in range(60) if chr(33 + i) not in "./\\"]
    entries = b"".join(entry[:-1] + name for name in names)
    end = struct.pack("<HHHHIIH", 0, 0, len(names), len(names), len(entries), len(body), 0)
    path = write_zip(tmp_path, body + entries + b"PK\x05\x06" + end)
    with pytest.raises(ReposeError, match="times its size"):
        read_zip(path, Limits(files=100, total_gigabytes=0.01, file_megabytes=2, ratio=10))


@pytest.mark.parametrize(("limits", "message"), [
    (Limits(2, 1, 1, 50), "more than 2 files.*raise limits.files"),
    (Limits(9, 0.000001, 1, 50), "more than 1e-06 GB.*raise limits.total_gigabytes"),
    (Limits(9, 1, 0.01, 50), "01_1_front.jpg with 0.0 MB.*raise limits.file_megabytes"),
])  # fmt: skip
def test_limits_hold_for_zips_and_folders(tmp_path, limits, message):
    with pytest.raises(ReposeError, match=message):
        read_zip(write_zip(tmp_path, {name: Member(content) for name, content in FILES.items()}), limits)
    folder = write_folder(tmp_path / "in", FILES)
    with pytest.raises(ReposeError, match=message):
        list_files(walk(folder, "in"), limits, "in")


def directory_of(entries: int, declared: int, *, zip64: bool) -> bytes:
    """A zip that is only a directory of empty members, whose record at the end declares another number of them."""
    body, entry = parts_of(zip_bytes({"a": Member(b"")}))
    listed = b"".join(entry[:28] + struct.pack("<H", 8) + entry[30:46] + b"%08d" % i for i in range(entries))
    end = struct.pack("<HHHHIIH", 0, 0, declared % 2**16, declared % 2**16, len(listed), len(body), 0)
    if zip64:
        large = struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, declared, declared, len(listed), len(body))
        locator = struct.pack("<IQI", 0, len(body + listed), 1)
        end = struct.pack("<HHHHIIH", 0, 0, 0, 0, 2**32 - 1, 2**32 - 1, 0)
        listed += b"PK\x06\x06" + large + b"PK\x06\x07" + locator
    return body + listed + b"PK\x05\x06" + end


@pytest.mark.parametrize("zip64", [False, True])
@pytest.mark.parametrize("declared", [5, 1000])
def test_a_directory_with_too_many_entries_is_never_parsed(tmp_path, monkeypatch, declared, zip64):
    path = write_zip(tmp_path, directory_of(1000, declared, zip64=zip64))
    monkeypatch.setattr(zipfile, "ZipInfo", None)
    with pytest.raises(ReposeError, match=r"a.zip contains more than 300 files and folders.*raise limits\.files"):
        read_zip(path)


@pytest.mark.parametrize(("declared", "zip64"), [(4, False), (99, True)])
def test_the_number_of_entries_in_a_directory_is_the_declared_one(tmp_path, declared, zip64):
    with pytest.raises(ReposeError, match=r"a.zip is not a zip, or a truncated or damaged one"):
        read_zip(write_zip(tmp_path, directory_of(5, declared, zip64=zip64)))


@pytest.mark.parametrize("after", [0, 76])
def test_the_directory_of_a_zip64_is_found_with_every_python(tmp_path, monkeypatch, after):
    """With the fix of CVE-2025-8291, which Linux distributions backport, zipfile gives another place (0)."""
    path, found = write_zip(tmp_path, directory_of(5, 5, zip64=True)), zipfile._EndRecData
    record = path.read_bytes().index(b"PK\x06\x06")
    monkeypatch.setattr(zipfile, "_EndRecData", lambda stream: [*found(stream)[:-1], record + after])
    archives._check_directory(path, LIMITS, "a.zip")


def test_long_names_and_comments_cannot_fill_the_memory(tmp_path):
    path = write_zip(tmp_path, [(f"{i:05d}" * 2000, Member(b"")) for i in range(40)])
    with pytest.raises(ReposeError, match=r"or very long names.*raise limits\.files"):
        read_zip(path, Limits(files=100, total_gigabytes=1, file_megabytes=1, ratio=50))


def test_a_bomb_with_a_wrong_size_is_never_unpacked(tmp_path):
    path = write_zip(tmp_path, {"x": Member(bytes(30_000_000), size=1000)})
    tracemalloc.start()
    with pytest.raises(ReposeError, match="x is damaged"):
        read_zip(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><html>", zip_bytes({"x": Member(b"1" * 99)})[:-30]])
def test_other_files_are_not_read_as_zips(tmp_path, content):
    damaged = rf"a.zip is not a zip, or a truncated or damaged one \({len(content)} bytes\)"
    with pytest.raises(ReposeError, match=damaged):
        read_zip(write_zip(tmp_path, content))


SOUND = zip_bytes({"a/b.txt": Member(b"some text " * 9), "c": Member(b"\x00\x01" * 40, method=0), "d": Member(b"")})


@example([(360, 1)], None)  # an offset below zero
@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255)), max_size=4),
    st.one_of(st.none(), st.integers(0, len(SOUND))),
)
def test_damage_is_always_detected(tmp_path, changes, cut):
    damaged = bytearray(SOUND)
    for at, byte in changes:
        damaged[at] = byte
    try:
        with open_zip(write_zip(tmp_path, bytes(damaged[:cut])), LIMITS, "a.zip") as contents:
            read = [(file.size, file.read()) for file in contents.files]
    except ReposeError:
        return
    assert all(size == len(content) for size, content in read)
    assert {content for _, content in read} <= {b"some text " * 9, b"\x00\x01" * 40, b""}


@pytest.mark.parametrize("module", [None, ModuleType("fast_zip_decryption")])
def test_an_encrypted_zip_is_read_with_the_password_of_the_variable(tmp_path, monkeypatch, capsys, module):
    password = "gehéim".encode("latin-1")  # as Windows has it
    path = write_zip(tmp_path, {name: Member(content, password=password) for name, content in FILES.items()})
    with pytest.raises(ReposeError, match=r"a.zip is encrypted. Set password_variable to"):
        read_zip(path)
    monkeypatch.setenv("ZIP_PASSWORD", os.fsdecode(password))
    monkeypatch.setitem(sys.modules, "fast_zip_decryption", module)
    assert read_zip(path, password_variable="ZIP_PASSWORD") == FILES
    assert ("pip install fast-zip-decryption" in capsys.readouterr().err) == (module is None)


@pytest.mark.parametrize(("number", "message"), [
    (0, "a.zip: the password is wrong. Ask the data's owner for the right one."),
    # the one byte that the format checks is right by chance
    (206, "a.zip: x is damaged, or the password is wrong. Get the zip again."),
])  # fmt: skip
def test_a_wrong_password_is_reported_and_not_shown(tmp_path, monkeypatch, number, message):
    path = write_zip(tmp_path, {"x": Member(noise(500), password=b"right")})
    monkeypatch.setenv("ZIP_PASSWORD", f"s3cret{number}")
    with pytest.raises(ReposeError) as caught:
        read_zip(path, password_variable="ZIP_PASSWORD")
    assert str(caught.value) == message


@pytest.mark.parametrize("content", [b"1", b"123456"])
def test_a_file_that_changes_while_it_is_read_is_named(tmp_path, content):
    write_folder(tmp_path, {"a": b"123"})
    file = list_files(walk(tmp_path, "in"), LIMITS, "in").files[0]
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ReposeError, match="changed while it was read"):
        file.read()


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    def deny(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", deny)
    with pytest.raises(ReposeError, match=r"Cannot read the folder .*Permission denied"):
        list(walk(tmp_path, "in"))
