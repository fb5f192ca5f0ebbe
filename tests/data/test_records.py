import csv
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from repose.data import records
from repose.data.skeleton import JOINTS, K
from repose.errors import ReposeError

HEADER = "name," + ",".join(f"{joint}_{part}" for joint in JOINTS for part in ("x", "y", "confidence"))


def test_text_stays_text_and_numbers_are_numbers(tmp_path):
    table = pd.DataFrame(
        {
            "name": ["0002", "NA", 'a "b", c.jpg', "ä", "1e5"], "shard": ["00000.tar", "null", "", "None", "nan"],
            "offset": [0, 1, 2**40, 3, 4], "other": "", "size": [1, 2, 3, 4, 5], "sha256": ["0123", "", "1", "00", "inf"],
        }
    )  # fmt: skip
    records.write_table(tmp_path / "new" / "files.csv", table, records.FILES)
    assert (tmp_path / "new" / "files.csv").read_text("utf-8").startswith("name,shard,offset,size,sha256\n")
    found = records.read_table(tmp_path / "new" / "files.csv", records.FILES)
    assert found.to_dict("list") == table.drop(columns="other").to_dict("list")
    assert found["offset"].dtype == found["size"].dtype == np.int64


@pytest.mark.parametrize("rows", [0, 3, 7])
def test_only_the_columns_asked_for_are_kept_of_any_number_of_rows(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(records, "_ROWS_AT_ONCE", 3)
    table = pd.DataFrame({"name": [f"0{row}" for row in range(rows)], "view": "front", "size": range(rows)})
    records.write_table(tmp_path / "t.csv", table, ["name", "view", "size"])
    read = records.read_table(tmp_path / "t.csv", ["size", "name"])
    assert read.to_dict("list") == table[["name", "size"]].to_dict("list")
    assert read["size"].dtype == np.int64


def test_shares_are_numbers_from_0_to_1_and_missing_where_empty():
    found = records.shares(pd.DataFrame({"occlusion": ["0.25", "", "1", "0"]}), "occlusion", Path("pairs.csv"))
    np.testing.assert_array_equal(found, [0.25, np.nan, 1, 0])
    for value, message in (("1.01", "should be from 0 to 1"), ("some", "could not convert")):
        with pytest.raises(ReposeError, match=rf"pairs\.csv is damaged \(.*{message}.*\)\. Restore it"):
            records.shares(pd.DataFrame({"occlusion": [value]}), "occlusion", Path("pairs.csv"))


def poses(photos: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    keypoints = random.uniform(0, 300, (photos, K, 2)).round(3).astype(np.float32)
    confidence = random.uniform(0.001, 1, (photos, K)).round(3).astype(np.float32)
    gone = random.random((photos, K)) < 0.3
    keypoints[gone], confidence[gone] = np.nan, 0
    return [f"{number:04d}" for number in range(photos)], keypoints, confidence


@pytest.mark.parametrize("parts", [[9], [0, 2, 7]])
def test_keypoints_come_back(tmp_path, parts):
    names, keypoints, confidence = poses(sum(parts))
    first = 0
    for part, count in enumerate(parts):
        rows, first = slice(first, first + count), first + count
        records.write_keypoints(tmp_path / str(part) / "keypoints.csv", names[rows], keypoints[rows], confidence[rows])
    found = records.read_parts_keypoints(tmp_path, [str(part) for part in range(len(parts))])
    assert found[0] == names
    assert found[1].dtype == found[2].dtype == np.float32
    np.testing.assert_array_equal(found[1], keypoints)
    np.testing.assert_array_equal(found[2], confidence)


def test_missing_joints_are_empty_and_have_no_confidence(tmp_path):
    keypoints = np.full((1, K, 2), 2.5, np.float32)
    keypoints[0, 0] = np.nan
    records.write_keypoints(tmp_path / "keypoints.csv", ["NA"], keypoints, np.full((1, K), 0.25))
    assert (tmp_path / "keypoints.csv").read_text() == f"{HEADER}\nNA,,,0{',2.5,2.5,0.25' * (K - 1)}\n"
    assert records.read_keypoints(tmp_path / "keypoints.csv")[0] == ["NA"]


READERS = {
    "pairs.csv": lambda path: records.read_table(path, records.PAIRS),
    "sizes.csv": lambda path: records.read_table(path, ["size"]),
    "keypoints.csv": records.read_keypoints, "a.json": records.read_json,
}  # fmt: skip


@pytest.mark.parametrize(("file", "content", "message"), [
    *((file, None, r"There is no .*/{}\. Run the stage that writes it \(`dvc repro`\), or `dvc pull`\.") for file in READERS),
    ("pairs.csv", "", r"{} is damaged \(its header.*\)\. Restore it \(`dvc checkout`\) or run the stage"),
    ("pairs.csv", "from,to\n\na,b,c\n", r"{} is damaged \(its first row has more values than its header\)"),
    ("pairs.csv", "from,to,from\na,b,c\n", r"{} is damaged \(its header should have 1 to 500 different names\)"),
    ("pairs.csv", "from,to" + "," * 130_000 + "\n", r"{} is damaged \(its header"),  # quadratic in pandas
    ("pairs.csv", b"from,to\n\xff,b\n", r"{} is damaged \(.*utf-8"),
    ("sizes.csv", "from,to,size\na,b,\n", r"{} is damaged \(invalid literal for int"),
    ("pairs.csv", "from,too\na,b\n", r"{} lacks the column\(s\) to; it has from, too\."),
    ("keypoints.csv", HEADER.replace("nose_x,nose_y", "nose_y,nose_x"), r"{} is not a table of 18 keypoints: its header"),
    ("keypoints.csv", f"{HEADER}\na,x{',1' * (3 * K - 1)}\n", r"{} is damaged \(.*\)\. Restore it"),
    ("a.json", b'{"a": 1', r"{} is damaged \(.*\)\. Restore it"),
])  # fmt: skip
def test_files_that_cannot_be_read_are_named(tmp_path, file, content, message):
    if content is not None:
        (tmp_path / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ReposeError, match=message.format(file.replace(".", r"\."))):
        READERS[file](tmp_path / file)


def test_tables_of_parts_are_read_as_one_with_their_shards(tmp_path):
    for part, size in (("2", 1), ("10", 4), ("11", 0)):
        table = pd.DataFrame({"name": [f"{part}-{row}" for row in range(size)], "shard": "00000.tar", "offset": 0})
        records.write_table(tmp_path / part / "files.csv", table, list(table))
    for other in (".2.partial", "other", "-1"):
        (tmp_path / other).mkdir()
    (tmp_path / "3").write_text("a file")
    parts = records.part_names(tmp_path)
    assert parts == ("2", "10", "11")  # as numbers
    found = records.read_parts(tmp_path, parts, "files.csv", ["name", "shard", "offset"])
    assert found["name"].tolist() == ["2-0", "10-0", "10-1", "10-2", "10-3"]
    assert found["shard"].tolist() == ["2/00000.tar", *["10/00000.tar"] * 4]
    assert found["offset"].dtype == np.int64
    with pytest.raises(ReposeError, match=r"There are no photos in .* \(its parts are .*0 and so on\).*`dvc repro v"):
        records.part_names(tmp_path / "other")


def test_json_is_written_for_people_to_read(tmp_path):
    records.write_json(tmp_path / "a.json", {"b": [1, None], "a": "ä"})
    assert (tmp_path / "a.json").read_text("utf-8") == '{\n  "b": [\n    1,\n    null\n  ],\n  "a": "ä"\n}\n'


FORMULAS = ["=HYPERLINK(1)", "+1+cmd", "-2+3", "@SUM(1)", "\tx", "'=1", "''-a", "-a.jpg"]
KEPT = ["a=b", "'a", "", "'", "-1.5", "+3", "-2e-05", "0002"]


def test_no_cell_is_a_formula_and_names_come_back(tmp_path):
    names, path = [*FORMULAS, *KEPT], tmp_path / "a.csv"
    records.write_table(path, pd.DataFrame({"name": names, "row": range(-1, len(names) - 1)}), records.ORDER)
    with path.open(newline="") as file:
        cells = list(csv.reader(file))[1:]
    assert [name for name, _ in cells] == [*(f"'{name}" for name in FORMULAS), *KEPT]
    assert [row for _, row in cells][:2] == ["-1", "0"]  # numbers stay numbers
    assert list(records.read_table(path, records.ORDER)["name"]) == names
    names = [*FORMULAS, ""]
    joints = np.full((len(names), 18, 2), -1.5, np.float32)
    records.write_keypoints(path, names, joints, joints[..., 0])
    assert not re.search(r"^\"?[=+@\t-]", path.read_text(), re.MULTILINE)
    assert records.read_keypoints(path)[0] == names
