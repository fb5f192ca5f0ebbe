import io
import tarfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repose.data.shards import ShardReader, ShardWriter, index_table
from repose.errors import DataError, ReposeError

CONTENTS = {"a.jpg": b"one", "b/ä.jpg": b"", "c": bytes(range(256)) * 9, "d": b"x" * 512, "e" * 150: b"long"}


def write(folder: Path, contents: dict[str, bytes], shard_bytes: int = 64 * 2**20) -> pd.DataFrame:
    folder.mkdir(exist_ok=True)
    with ShardWriter(folder, shard_bytes) as shards:
        return index_table((name, shards.add(name, content)) for name, content in contents.items())


@settings(max_examples=15)
@given(contents=st.lists(st.binary(max_size=1500), max_size=8), shard_bytes=st.integers(1, 4000))
def test_any_contents_come_back_from_any_shards(tmp_path_factory, contents, shard_bytes):
    folder = tmp_path_factory.mktemp("shards")
    named = CONTENTS | {str(number): content for number, content in enumerate(contents)}
    table = write(folder, named, shard_bytes)
    assert dict(ShardReader(folder, table)) == named
    last = table.groupby("shard")["offset"].max()
    assert (last < shard_bytes + 3 * 512).all()  # a shard with so many bytes is full; a header has up to three blocks
    assert sorted(path.name for path in folder.iterdir()) == sorted(table["shard"].unique())


def test_the_bytes_are_those_of_tarfile(tmp_path):
    with tarfile.open(tmp_path / "plain.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in CONTENTS.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    write(tmp_path / "shards", CONTENTS)
    assert (tmp_path / "shards" / "00000.tar").read_bytes() == (tmp_path / "plain.tar").read_bytes()


def test_a_truncated_or_missing_shard_is_named(tmp_path):
    table = write(tmp_path, CONTENTS)
    shard, last, reader = tmp_path / "00000.tar", table.iloc[-1], ShardReader(tmp_path, table)
    shard.write_bytes(shard.read_bytes()[: last["offset"] + 2])
    assert reader["a.jpg"] == b"one"
    message = rf"{shard} is missing or truncated: {last['name']} should have 4 bytes at {last['offset']}\. Restore it"
    with pytest.raises(ReposeError, match=message):
        reader[last["name"]]
    shard.unlink()
    with pytest.raises(ReposeError, match=message):
        reader[last["name"]]


@pytest.mark.parametrize(("change", "message"), [
    ({"shard": "../secret"}, r"has no shard '\.\./secret'"), ({"shard": "/etc/passwd"}, "has no shard '/etc/passwd'"),
    ({"shard": "0/../../00000.tar"}, "has no shard"),
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
