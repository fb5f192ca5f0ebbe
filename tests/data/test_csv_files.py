import pytest

from repose.data.csv_files import read_csv
from repose.errors import ReposeError

TEXT = 'name,note\na.jpg,"x, y"\nä.jpg,\n'
ROWS = [{"name": "a.jpg", "note": "x, y"}, {"name": "ä.jpg", "note": ""}]


def by(separator: str) -> str:
    return f'name{separator}note\n"a.jpg"{separator}"x, y"\nä.jpg{separator}\n'


@pytest.mark.parametrize("content", [
    TEXT.encode(),
    TEXT.encode("utf-8-sig"),
    TEXT.replace("\n", "\r\n").encode(),
    *[by(separator).encode() for separator in ";\t:|"],
    by(";").replace("name", '"name"').replace("note", '"note"').encode("utf-8-sig"),
    TEXT.replace("name,note", " Name , NOTE").encode(),
    by(";").replace("\n", ";;\n").encode() + b";;;\n\n  \n",
    b"\n" + TEXT.encode(),
    TEXT.replace("ä.jpg,", "ä.jpg").encode(),
])  # fmt: skip
def test_a_csv_is_read_as_any_program_writes_it(content):
    table = read_csv(content, "x.csv", ["name"], ["note"])
    assert sorted(table.columns) == ["name", "note"]
    assert [row.cells for row in table.rows] == ROWS


def test_a_row_knows_the_line_that_it_ends_in():
    rows = list(read_csv(b'\nname,note\n\na,"1\n2"\nb,3\n', "x.csv", ["name"]).rows)
    assert [(row.line, row.cells["name"]) for row in rows] == [(5, "a"), (6, "b")]


@pytest.mark.parametrize(("content", "message"), [
    (b"", r"x\.csv has no column 'name'\. Its header should be 'name,note'; found '', separated by commas\.$"),
    (b"names;note\n", "has no column 'name'.*found 'names;note', separated by semicolons"),
    (b"name,Name\n", "has more than one column 'name'"),
    (b"name;note\na;b;c\n", "line 2 has more values than the header, which is separated by semicolons"),
    (b'name,note\n"a,b\n', r"x\.csv cannot be read as a CSV \(unexpected end of data\)"),
    ("name\nä".encode("cp1252"), r"not a text file in UTF-8 \(line 2\).*'CSV UTF-8'.*Windows-1252"),
    ("name\na".encode("utf-16"), "not a text file in UTF-8 "),
])  # fmt: skip
def test_bad_files_are_rejected(content, message):
    with pytest.raises(ReposeError, match=message):
        list(read_csv(content, "x.csv", ["name"], ["note"]).rows)
