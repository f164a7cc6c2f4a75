"""Reading delimited text: every cell as text, and which row is at fault where that fails."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from lapel.errors import CatalogueError

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
_HEAD = 1 << 20
_ROWS = 20  # at the start, by which separators are told apart


def read_csv(path: Path, needed: str = "image", skip: Callable[[int, str], None] | None = None) -> pa.Table:
    """Read a CSV with every column as text; an empty cell is missing.

    UTF-8 with or without a byte-order mark, any line ends. Cells are separated by commas, or else by semicolons or tabs
    where those give a column ``image``: spreadsheets write semicolons where the comma is the decimal sign. Spaces
    around column names go. A column without a name is left out if it holds nothing or only whole numbers, as
    trailing separators and written row numbers leave it.

    Args:
        path: the file.
        needed: a column it must have; empty: any names will do, and the separator is that which gives most of them.
        skip: takes the number (the header is 1) and what is wrong of a row with more or fewer cells than the header,
            which is then left out; without it such a row raises.

    Raises:
        CatalogueError: empty, not UTF-8, no column ``needed``, a repeated or missing column name, a row with more or
            fewer cells than the header, a quote without its end.
    """
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head, final=len(head) < _HEAD)
        found = {separator: _header(text, separator) for separator in SEPARATORS}
    except (UnicodeDecodeError, csv.Error) as error:
        raise CatalogueError(_fault(path, [], ",", str(error))) from error
    if needed:
        separator = next((each for each, (names, _) in found.items() if needed in names), ",")
    else:
        separator = max(found, key=lambda each: (_agreement(text, each, len(found[each][0])), len(found[each][0])))
    names, lines = found[separator]
    if not names:
        with_column = f" with a column {needed!r}" if needed else ""
        raise CatalogueError(f"{path} is empty: expected a header line{with_column}")
    check_names(path, [name for name in names if name], needed)

    def handle(row: Any) -> str:
        assert skip is not None
        skip(row.number - lines + 1, _cells_message(len(names), row.actual_columns, row.text, separator))
        return "skip"

    keys = [str(number) for number in range(len(names))]
    try:
        table = pa.csv.read_csv(
            path,
            # Rows are numbered by a single thread only.
            read_options=pa.csv.ReadOptions(column_names=keys, skip_rows=lines, use_threads=skip is None),
            parse_options=pa.csv.ParseOptions(
                delimiter=separator, newlines_in_values=True, invalid_row_handler=None if skip is None else handle
            ),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(keys, pa.string()),
                strings_can_be_null=True,
                null_values=[""],
                quoted_strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid as error:
        raise CatalogueError(_fault(path, names, separator, str(error).splitlines()[0])) from error
    if _ends_in_quotes(path, table):
        raise CatalogueError(f"{path} row {table.num_rows + 1}: a quote is opened and never closed")
    named = [number for number, name in enumerate(names) if name or not _is_idle(path, number, table[number])]
    return table.select(named).rename_columns([names[number] for number in named])


def check_names(path: Path, names: list[str], needed: str = "image") -> None:
    """Refuse column names that no catalogue can have.

    Raises:
        CatalogueError: no column ``needed`` (empty: none is), or two columns of one name.
    """
    if needed and needed not in names:
        raise CatalogueError(
            f"{path} has no column {needed!r}; found: {', '.join(names)}. Name the column with the image paths 'image'"
        )
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise CatalogueError(f"{path} has two columns named {repeated[0]!r}: rename one")


def _header(text: str, separator: str) -> tuple[list[str], int]:
    """Return the names of the first line that holds any, and how many lines of text end with it."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    for row in reader:
        names = [name.strip() for name in row]
        if any(names):
            return names, reader.line_num
    return [], 0


def _agreement(text: str, separator: str, count: int) -> int:
    """Return how many of the first rows have ``count`` cells, more than one."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    return 0 if count < 2 else sum(len(row) == count for row in itertools.islice(filter(None, rows), _ROWS))


def _is_idle(path: Path, number: int, column: pa.ChunkedArray) -> bool:
    if all(cell.isdecimal() for cell in column.drop_null().to_pylist()):
        return True
    raise CatalogueError(f"{path}: column {number + 1} has no name: give it one in the first line")


def _ends_in_quotes(path: Path, table: pa.Table) -> bool:
    """Whether the last cell took in the rest of the file because its quote was never closed."""
    last = table.column(table.num_columns - 1)[-1].as_py() if table.num_rows else None
    if not last or not ("\n" in last or "\r" in last):
        return False
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _HEAD))
        return not stream.read().rstrip().endswith(b'"')


def _fault(path: Path, names: list[str], separator: str, reason: str) -> str:
    """Say which row of an unreadable file is at fault. Slow, for files that have been refused."""
    data = path.read_bytes()
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return f"{path} is UTF-16 text, expected UTF-8: save it as 'CSV UTF-8', or run: iconv -f utf-16 -t utf-8"
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return (
            f"{path} line {line} is not UTF-8 text (byte 0x{data[error.start]:02x}): save it as 'CSV UTF-8', "
            "or, if it is Latin-1 (Western Europe), run: iconv -f latin1 -t utf-8"
        )
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    number = 0
    try:
        for number, cells in enumerate((row for row in rows if row), 1):
            if number > 1 and len(cells) != len(names):
                wrong = _cells_message(len(names), len(cells), separator.join(cells), separator)
                return f"{path} row {number}: {wrong}"
    except csv.Error:
        return f"{path} row {number + 1}: a quote is opened and never closed"
    return f"{path} has no rows: expected one row per image" if number < 2 else f"cannot read {path}: {reason}"


def _cells_message(expected: int, found: int, text: str, separator: str) -> str:
    hint = f"A cell with a {SEPARATORS[separator]} in it needs quotes"
    return f"expected {expected} cells as in the first line, found {found}: {text[:80]!r}. {hint}"
