"""Read CSV files from users and spreadsheet programs, which separate columns by the locale's character."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from repose.errors import DataError

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", ":": "colons", "|": "bars"}


# The beginning of a text that a spreadsheet program would run, and the ' that `records` writes before it.
FORMULA = r"'*[=+\-@\t\r]"
MARK = re.compile(rf"\A'(?={FORMULA})")


class Row(NamedTuple):
    """A row of a CSV: the number of its last line, from 1, and its cells by column, without outer spaces and MARK."""

    line: int
    cells: dict[str, str]


class Table(NamedTuple):
    """The columns of a CSV, and its rows that are not blank, which are read one at a time."""

    columns: list[str]
    rows: Iterator[Row]


def read_csv(
    content: bytes, where: str, required: Sequence[str], optional: Sequence[str] = (), *, usual: str = ",", hint: str = ""
) -> Table:  # fmt: skip
    """Read a CSV that has at least the required columns, in any order and with any of SEPARATORS.

    The required and optional names, in lower case, match regardless of case and outer spaces; others keep their spelling.
    Blank columns at the end and blank lines are ignored. `where` names the file in messages, `usual` is the separator shown
    in the message about a wrong header, and `hint` ends the message about a row that is too long.

    Raises:
        DataError: the file is not text in UTF-8, or lacks or repeats a column; or, when it is read, a row is longer than the
            header or has a quote without an end.
    """
    beginning, known = text_of(content, where).strip()[:80], (*required, *optional)
    headers = {separator: _header(content, separator, known) for separator in (usual, *SEPARATORS)}
    fits = (separator for separator, names in headers.items() if set(required) <= set(names))
    separator = next(fits, max(headers, key=lambda separator: len(headers[separator])))
    names = headers[separator]
    for column in known:
        if names.count(column) != 1 and (column in required or column in names):
            raise DataError(
                f"{where} has {'more than one' if column in names else 'no'} column {column!r}. Its header should be "
                f"{usual.join(known)!r}; found {beginning.partition(chr(10))[0]!r}, separated by "
                f"{SEPARATORS[separator]}."
            )
    return Table(names, _rows(content, where, separator, names, hint))


def text_of(content: bytes, where: str) -> str:
    """The text of a file in UTF-8, with or without a byte order mark.

    Raises:
        DataError: the file has another encoding. `where` names it in the message.
    """
    try:
        text = content.decode("utf-8-sig")
        place = content.find(b"\0")
    except UnicodeDecodeError as error:
        text, place = "", error.start
    if place < 0:
        return text
    raise DataError(
        f"{where} is not a text file in UTF-8 (line {content[:place].count(10) + 1}). If a spreadsheet program saved it, save "
        "it as 'CSV UTF-8' there (Excel's plain 'CSV' is in Windows-1252)."
    )


def _rows(content: bytes, where: str, separator: str, names: Sequence[str], hint: str) -> Iterator[Row]:
    try:
        lines = _lines(content, separator)
        next(lines)
        for line, cells in lines:
            if len(cells) > len(names):
                raise DataError(
                    f"{where}, line {line} has more values than the header, which is separated by {SEPARATORS[separator]}. "
                    f"Put a value that contains {separator!r} in quotes.{hint and f' {hint}'}"
                )
            yield Row(line, dict(zip(names, cells + [""] * (len(names) - len(cells)), strict=True)))
    except csv.Error as error:
        raise DataError(f"{where} cannot be read as a CSV ({error}). Check the quotes.") from None


def _lines(content: bytes, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The line number and the cells of each row that is not blank, without blank cells at its end."""
    text = io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline="")  # decoded line by line
    rows = csv.reader(text, delimiter=separator, skipinitialspace=True, strict=True)
    for row in rows:
        cells = [MARK.sub("", cell.strip()) for cell in row]
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            yield rows.line_num, cells


def _header(content: bytes, separator: str, known: Sequence[str]) -> list[str]:
    """The column names; those that are known in lower case."""
    try:
        _, cells = next(_lines(content, separator), (0, []))
    except csv.Error:
        return []
    names = [" ".join(cell.split()) for cell in cells]
    return [name.lower() if name.lower() in known else name for name in names]
