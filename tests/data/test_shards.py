import io
import tarfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repose.data.shards import INDEX_COLUMNS, ShardReader, ShardWriter, index_table
from repose.errors import DataError, ReposeError

CONTENTS = {"a.jpg": b"one", "b/ä.jpg": b"", "c": bytes(range(256)) * 9, "d": b"x" * 512, "e" * 150: b"long"}


def write(folder: Path, contents: dict[str, bytes], shard_bytes: int = 64 * 2**20) -> pd.DataFrame:
    folder.mkdir(exist_ok=True)
    with ShardWriter(folder, shard_bytes) as shards:
        return index_table((name, shards.add(name, content)) for name, content in contents.items())


@settings(max_examples=25)
@given(contents=st.lists(st.binary(max_size=1500), max_size=8), shard_bytes=st.integers(1, 4000))
def test_any_contents_come_back_from_any_shards(tmp_path_factory, contents, shard_bytes):
    folder = tmp_path_factory.mktemp("shards")
    named = CONTENTS | {str(number): content for number, content in enumerate(contents)}
    table = write(folder, named, shard_bytes)
    assert list(table.columns) == list(INDEX_COLUMNS)
    reader = ShardReader(folder, table)
    assert dict(reader) == named
    assert (list(reader), len(reader)) == (list(named), len(named))
    assert "c" in reader
    assert "f" not in reader


def test_shards_have_about_the_requested_size(tmp_path):
    table = write(tmp_path, {str(number): b"x" * 1000 for number in range(10)}, 4000)
    assert table["shard"].tolist() == ["00000.tar"] * 3 + ["00001.tar"] * 3 + ["00002.tar"] * 3 + ["00003.tar"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(table["shard"].unique())


def test_the_bytes_are_those_of_tarfile(tmp_path):
    for count in range(len(CONTENTS) + 1):
        some, plain = dict(list(CONTENTS.items())[:count]), tmp_path / "plain.tar"
        with tarfile.open(plain, "w", format=tarfile.GNU_FORMAT) as archive:
            for name, content in some.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        write(tmp_path / str(count), some)
        written = [path.read_bytes() for path in (tmp_path / str(count)).iterdir()]
        assert written == ([plain.read_bytes()] if some else [])


def test_a_truncated_or_missing_shard_is_named(tmp_path):
    table = write(tmp_path, CONTENTS)
    shard, last, reader = tmp_path / "00000.tar", table.iloc[-1], ShardReader(tmp_path, table)
    shard.write_bytes(shard.read_bytes()[: last["offset"] + 2])
    assert reader["a.jpg"] == b"one"
    message = rf"{shard} is missing or truncated: {last['name']} should have 4 bytes at {last['offset']}\. Restore it"
    for damage in (lambda: None, shard.unlink):
        damage()
        with pytest.raises(ReposeError, match=message):
            reader[last["name"]]
    shard.mkdir()
    with pytest.raises(ReposeError, match=f"{shard} cannot be read: Is a directory. Check its permissions"):
        reader["a.jpg"]


@pytest.mark.parametrize(("change", "message"), [
    ({"shard": "../secret"}, r"has no shard '\.\./secret'"), ({"shard": "/etc/passwd"}, "has no shard '/etc/passwd'"),
    ({"shard": "0/../../00000.tar"}, "has no shard"), ({"shard": "00000.tar\0"}, "has no shard"),
    ({"shard": ""}, "has no shard"),
    ({"size": 10**15}, "is missing or truncated"), ({"size": -1}, "is missing or truncated"),
    ({"offset": -1}, "is missing or truncated"), ({"offset": 2**63 - 1}, "is missing or truncated"),
])  # fmt: skip
def test_a_hostile_table_reads_no_other_file_and_takes_no_memory(tmp_path, change, message):
    (tmp_path / "secret").write_bytes(bytes(10_000))
    folder = tmp_path / "shards"
    folder.mkdir()
    table = write(folder, CONTENTS).iloc[[0]].assign(**change)
    with pytest.raises(DataError, match=message):
        ShardReader(folder, table)[table["name"].iloc[0]]
