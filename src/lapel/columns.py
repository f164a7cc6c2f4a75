"""Columns of a catalogue file: which are attributes, and how cells become values."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from lapel.errors import CatalogueError

MAX_VALUES = 1000
MAX_LENGTH = 80
_SPLIT = re.compile(r"(?<!\\)\|")


def read_csv(path: Path) -> pa.Table:
    """Read a CSV with every column as text; an empty cell is missing. UTF-8, with or without a byte-order mark."""
    convert = pa.csv.ConvertOptions(strings_can_be_null=True, null_values=[""], quoted_strings_can_be_null=True)
    with path.open("rb") as stream:
        header = pa.csv.open_csv(stream).schema.names if path.stat().st_size else []
    if not header:
        raise CatalogueError(f"{path} is empty: expected a header line with a column 'image'")
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise CatalogueError(f"{path} has two columns named {repeated[0]!r}: rename one")
    convert.column_types = {name: pa.string() for name in header}
    table = pa.csv.read_csv(path, convert_options=convert, parse_options=pa.csv.ParseOptions(newlines_in_values=True))
    return table.rename_columns([name.strip() for name in table.column_names])


def is_list(column: pa.ChunkedArray) -> bool:
    """Whether a column holds lists (of values)."""
    return bool(pa.types.is_list(column.type) or pa.types.is_large_list(column.type))


def text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Column as stripped text; empty becomes missing."""
    stripped = pc.utf8_trim_whitespace(column.cast(pa.string()))
    return pc.if_else(pc.equal(stripped, ""), pa.scalar(None, pa.string()), stripped)


def required_text(column: pa.ChunkedArray, path: Path) -> pa.ChunkedArray:
    """Column as text with no gaps.

    Raises:
        CatalogueError: a cell is empty; names the first row.
    """
    cleaned = text(column)
    if cleaned.null_count:
        row = int(np.flatnonzero(cleaned.is_null().to_numpy())[0])
        raise CatalogueError(f"{path} row {row + 2}: the cell 'image' is empty; {cleaned.null_count} such rows in all")
    return cleaned


def is_attribute(column: pa.ChunkedArray) -> bool:
    """Whether a free column is an attribute rather than metadata.

    An attribute has values that repeat: at least two images per value on average, at most 1,000 values of at most 80
    characters, and, if every value is a number, at most 12 of them. An empty column is metadata.

    >>> is_attribute(pa.chunked_array([["red", "blue", "red", "blue"]]))
    True
    >>> is_attribute(pa.chunked_array([["a dress", "a skirt", "a coat", "a top"]]))
    False
    """
    if is_list(column):
        return True
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return False
    cells = text(column).drop_null().to_pylist()
    values = [value for cell in cells for value in split_values(cell)]
    distinct = set(values)
    if not values or len(distinct) > MAX_VALUES or max(map(len, distinct)) > MAX_LENGTH:
        return False
    if len(distinct) > 12 and all(_is_number(value) for value in distinct):
        return False
    return len(values) >= 2 * len(distinct)


def split_values(cell: str) -> list[str]:
    r"""Split a cell at ``|`` (``\|`` is a literal bar); duplicates and blanks go.

    >>> split_values("red| blue |red")
    ['red', 'blue']
    """
    parts = (part.replace("\\|", "|").strip() for part in _SPLIT.split(cell))
    return list(dict.fromkeys(part for part in parts if part))


def long_labels(attributes: Mapping[str, pa.ChunkedArray]) -> pa.Table:
    """Return the label table (image, attribute, value) of attribute columns, ordered by attribute, then image."""
    rows: list[np.ndarray] = []
    names: list[pa.Array] = []
    values: list[pa.Array] = []
    for name, column in attributes.items():
        cells = column.to_pylist() if is_list(column) else text(column).to_pylist()
        flat: list[str] = []
        owner: list[int] = []
        for row, cell in enumerate(cells):
            found = [] if cell is None else split_values(cell) if isinstance(cell, str) else [str(v) for v in cell]
            flat += found
            owner += [row] * len(found)
        rows.append(np.asarray(owner, np.int32))
        names.append(pa.array([name] * len(flat), pa.string()))
        values.append(pa.array(flat, pa.string()))
    return pa.table(
        {
            "image": pa.array(np.concatenate([np.zeros(0, np.int32), *rows]), pa.int32()),
            "attribute": pa.chunked_array(names, pa.string()),
            "value": pa.chunked_array(values, pa.string()),
        }
    ).combine_chunks()


def wide_labels(labels: pa.Table, attributes: Sequence[str], count: int) -> dict[str, pa.Array]:
    """Inverse of ``long_labels``: one list<string> column of ``count`` rows per attribute."""
    cells: dict[str, list[list[str] | None]] = {name: [None] * count for name in attributes}
    for row, name, value in zip(*(labels[key].to_pylist() for key in ("image", "attribute", "value")), strict=True):
        column = cells[name]
        found = column[row]
        if found is None:
            column[row] = [value]
        else:
            found.append(value)
    return {name: pa.array(column, pa.list_(pa.string())) for name, column in cells.items()}


def join_values(column: pa.Array) -> pa.Array:
    """Lists of values as CSV cells."""
    cells = column.to_pylist()
    return pa.array([c and "|".join(v.replace("|", "\\|") for v in c) for c in cells], pa.string())


def numbers(table: pa.Table, name: str, path: Path) -> pa.Array | pa.ChunkedArray:
    """Column ``box`` or ``landmarks`` as lists of float64.

    Raises:
        CatalogueError: a cell is not numbers, or not 4 (box) or a multiple of 3 (landmarks) of them; names the row.
    """
    kind = pa.list_(pa.float64())
    if name not in table.column_names:
        return pa.nulls(table.num_rows, kind)
    cells = table[name].to_pylist()
    parsed: list[list[float] | None] = []
    for row, cell in enumerate(cells):
        try:
            values = cell if cell is None or isinstance(cell, list) else [float(part) for part in _commas(cell)]
        except ValueError:
            values = [math.nan]
        values = values or None
        right = values is None or (len(values) == 4 if name == "box" else len(values) % 3 == 0)
        if not right or (values is not None and not all(map(math.isfinite, values))):
            expected = "four numbers x1 y1 x2 y2" if name == "box" else "triples x y visibility"
            raise CatalogueError(f"{path} row {row + 2}: expected {name} as {expected}, found {cell!r}")
        parsed.append(values)
    return pa.array(parsed, kind)


def join_numbers(column: pa.ChunkedArray) -> pa.Array:
    """Lists of numbers as CSV cells."""
    return pa.array([cell and " ".join(f"{v:g}" if v == int(v) and abs(v) < 1e6 else repr(v) for v in cell) for cell in column.to_pylist()], pa.string())


def metadata(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Metadata as int64 or float64 where every cell is a number, else as it is (text stripped)."""
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return column
    cleaned = text(column)
    present = cleaned.drop_null().to_pylist()
    # A leading zero is a code (an article number, a post code), not a quantity.
    coded = any(len(v) > 1 and v[0] == "0" and v[1] not in ".," for v in present)
    if present and not coded and all(_is_number(value) for value in present):
        for kind in (pa.int64(), pa.float64()):
            try:
                return cleaned.cast(kind)
            except pa.ArrowInvalid:
                continue
    return cleaned


def _commas(cell: str) -> list[str]:
    return cell.replace(",", " ").replace(";", " ").split()


def _is_number(value: str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False
