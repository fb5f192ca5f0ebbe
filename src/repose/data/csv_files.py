"""Read CSV files from users and spreadsheet programs; detects the separator and the encoding.

Excel uses the locale's separator (a semicolon in much of Europe), may start with a byte order mark or a line `sep=;`, and
saves "Unicode text" as UTF-16 with tabs.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from repose.errors import DataError

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", ":": "colons", "|": "bars"}
_SEP_LINE = re.compile(r'"?sep=([^"\s]|\t)"?[\s,;]*', re.IGNORECASE)


class Row(NamedTuple):
    """A row of a CSV: the number of its last line, from 1, and its cells by column, without outer spaces."""

    line: int
    cells: dict[str, str]


class Table(NamedTuple):
    """The columns of a CSV and its rows that are not blank."""

    columns: list[str]
    rows: list[Row]


def read_csv(
    content: bytes, where: str, required: Sequence[str], optional: Sequence[str] = (), *, usual: str = ",", hint: str = ""
) -> Table:  # fmt: skip
    """Read a CSV that has at least the required columns, in any order and with any of SEPARATORS.

    The required and optional names, in lower case, match regardless of case and outer spaces; others keep their spelling.
    Blank columns at the end and blank lines are ignored. `where` names the file in messages, `usual` is the separator shown
    in the message about a wrong header, and `hint` ends the message about a row that is too long.

    Raises:
        DataError: the file is not text in UTF-8 or UTF-16, lacks or repeats a column, or a row is longer than the header.
    """
    lines = list(io.StringIO(text_of(content, where), newline=""))
    start = next((number for number, line in enumerate(lines) if line.strip()), len(lines))
    given = _SEP_LINE.fullmatch("".join(lines[start : start + 1]))
    start += given is not None
    header = "".join(lines[start : start + 1]).strip("\r\n")
    candidates = [given[1]] if given else [usual, *SEPARATORS]
    separator, names = _split_header(header, candidates, required, (*required, *optional))
    separated = f"separated by {SEPARATORS.get(separator, repr(separator))}"
    for column in required:
        if names.count(column) != 1:
            raise DataError(
                f"{where} has {'more than one' if column in names else 'no'} column {column!r}. Its header should be "
                f"{usual.join((*required, *optional))!r}; found {header[:80]!r}{f', {separated}' if len(names) > 1 else ''}."
            )
    rows = []
    for line, cells in _cells(lines[start + 1 :], separator, where, start + 1):
        if any(cells[len(names) :]):
            raise DataError(
                f"{where}, line {line} has more values than the header, which is {separated}. Put a value that contains "
                f"{separator!r} in quotes.{hint and f' {hint}'}"
            )
        if any(cells):
            rows.append(Row(line, dict(zip(names, cells + [""] * (len(names) - len(cells)), strict=False))))
    return Table(names, rows)


def text_of(content: bytes, where: str) -> str:
    """The text of a file in UTF-8, with or without a byte order mark, or in UTF-16 with one.

    Raises:
        DataError: the file has another encoding. `where` names it in the message.
    """
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = content.decode(encoding)
        place = content.find(b"\0") if "\0" in text else -1
    except UnicodeDecodeError as error:
        text, place = "", error.start
    if place < 0:
        return text
    line = content[:place].count(b"\n") + 1
    raise DataError(
        f"{where} is not a text file in UTF-8: byte 0x{content[place]:02x} in line {line}. If a spreadsheet program saved "
        "it, save it as 'CSV UTF-8' there (Excel's plain 'CSV' is in Windows-1252)."
    )


def _split_header(
    header: str, separators: Sequence[str], required: Sequence[str], known: Sequence[str]
) -> tuple[str, list[str]]:
    """The first separator that gives the required columns, else the one that gives most; and the column names."""
    found = {}
    for separator in separators:
        row = next(csv.reader([header], delimiter=separator, skipinitialspace=True), [])
        names = [" ".join(cell.split()) for cell in row]
        while names and not names[-1]:
            names.pop()
        found[separator] = [name.lower() if name.lower() in known else name for name in names]
    fits = (separator for separator, names in found.items() if set(required) <= set(names))
    separator = next(fits, max(found, key=lambda separator: len(found[separator])))
    return separator, found[separator]


def _cells(lines: list[str], separator: str, where: str, before: int) -> Iterator[tuple[int, list[str]]]:
    """The last line number and the cells of each row; `before` is the number of lines that precede the first."""
    rows = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
    try:
        for cells in rows:
            yield before + rows.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise DataError(
            f"{where}, line {before + rows.line_num}: it cannot be read as a CSV ({error}). Check the quotes."
        ) from None
