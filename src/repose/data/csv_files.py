"""CSV files that people write or save from a spreadsheet program; separator and encoding are found out from the file.

Excel separates the columns by what the country uses (semicolons in much of Europe), may put a byte order mark or a line
`sep=;` first, and saves "Unicode text" as UTF-16 with tabs. All of these are read alike.
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
    """A row of a CSV: the line of the file that it ends in, from 1, and its cells by column, without outer spaces."""

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

    Names of columns may differ in capitals and outer spaces; blank columns at the end and blank lines are passed over.

    Args:
        content: of the file.
        where: names the file in messages.
        required: names that the header must have, in lower case.
        optional: names that it may have, likewise; others keep their spelling.
        usual: the separator that the message about another header shows.
        hint: what to do about a row that is too long, at the end of the message.

    Raises:
        DataError: it is not text in UTF-8 or UTF-16, lacks a column, has one twice, or a row is longer than the header.
    """
    lines = list(io.StringIO(text_of(content, where), newline=""))
    start = next((number for number, line in enumerate(lines) if line.strip()), len(lines))
    given = _SEP_LINE.fullmatch("".join(lines[start : start + 1]))
    start += given is not None
    header = "".join(lines[start : start + 1]).strip("\r\n")
    separator, names = _header(header, [given[1]] if given else [usual, *SEPARATORS], required, optional)
    _check_header(header, separator, names, where, required, usual.join((*required, *optional)))
    rows = []
    for line, cells in _cells(lines[start + 1 :], separator, where, start + 1):
        if any(cells[len(names) :]):
            raise DataError(
                f"{where}, line {line} has more values than the header, which is separated by {_called(separator)}. Put "
                f"a value that contains {separator!r} in quotes.{hint and f' {hint}'}"
            )
        if any(cells):
            rows.append(Row(line, dict(zip(names, cells + [""] * (len(names) - len(cells)), strict=False))))
    return Table(names, rows)


def text_of(content: bytes, where: str) -> str:
    """The text of a file in UTF-8, with or without a byte order mark, or in UTF-16 with one.

    Raises:
        DataError: it is something else. `where` names the file in the message.
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


def _header(
    header: str, separators: Sequence[str], required: Sequence[str], optional: Sequence[str]
) -> tuple[str, list[str]]:
    """The first separator that finds the required columns, or else the one that finds most; and the names of the columns."""
    found = {separator: _names(header, separator, (*required, *optional)) for separator in separators}
    fits = (separator for separator, names in found.items() if set(required) <= set(names))
    separator = next(fits, max(found, key=lambda separator: len(found[separator])))
    return separator, found[separator]


def _names(header: str, separator: str, known: Sequence[str]) -> list[str]:
    """The names in a header, those that are known as they are known, without blank ones at the end."""
    names = [
        " ".join(cell.split()) for cell in next(csv.reader([header], delimiter=separator, skipinitialspace=True), [])
    ]
    while names and not names[-1]:
        names.pop()
    return [name.lower() if name.lower() in known else name for name in names]


def _check_header(
    header: str, separator: str, names: list[str], where: str, required: Sequence[str], expected: str
) -> None:
    for column in required:
        if names.count(column) != 1:
            raise DataError(
                f"{where} has {'more than one' if column in names else 'no'} column {column!r}. Its header should be "
                f"{expected!r}; found {header[:80]!r}{f', separated by {_called(separator)}' if len(names) > 1 else ''}."
            )


def _cells(lines: list[str], separator: str, where: str, before: int) -> Iterator[tuple[int, list[str]]]:
    """The cells of each row and the line that it ends in, where `before` lines of the file come before the first."""
    rows = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
    try:
        for cells in rows:
            yield before + rows.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise DataError(
            f"{where}, line {before + rows.line_num}: it cannot be read as a CSV ({error}). Check the quotes."
        ) from None


def _called(separator: str) -> str:
    return SEPARATORS.get(separator, repr(separator))
