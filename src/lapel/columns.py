"""Columns of a catalogue file: which are attributes, and how cells become values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lapel.errors import CatalogueError

MAX_VALUES = 1000
MAX_LENGTH = 80
MAX_NUMBERS = 12
MAX_BYTES = 1 << 31
_HEAD = 10_000
_BAR = re.compile(r"(\\*)\|")
_INTEGER = re.compile(r"-?\d+", re.ASCII)
# An exponent has a sign, as programs write it: 12E4 is an article code.
_NUMBER = re.compile(r"-?(\d+\.?\d*|\.\d+)([eE][+-]\d+)?", re.ASCII)


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Column as one of the common types: categorical ones decoded, an empty one as text."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return plain(column.cast(kind.value_type))
    if pa.types.is_null(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.string())
    return column


def is_list(column: pa.ChunkedArray) -> bool:
    """Whether a column holds lists (of values)."""
    kind = column.type
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def is_readable(kind: pa.DataType) -> bool:
    """Whether cells of this type can be read as text: not bytes, structures or lists."""
    return not (pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


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

    An attribute is text, or lists of text, whose values repeat: at least two images per value on average, at most
    1,000 values of at most 80 characters, and, if every value is a number, at most 12 of them and whole
    (39.90 is a price, 42 may be a size). A column that Parquet types as numbers or true/false is metadata unless it is
    asked for by name, and so is an empty one.

    >>> is_attribute(pa.chunked_array([["red", "blue", "red", "blue"]]))
    True
    >>> is_attribute(pa.chunked_array([["a dress", "a skirt", "a coat", "a top"]]))
    False
    """
    kind = column.type.value_type if is_list(column) else column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        return False
    for part in (column[:_HEAD], column):
        # Paths, prices and descriptions show themselves in the first rows: the rest need not be taken apart.
        values = _values(part)[1]
        distinct = pc.unique(values).to_pylist()
        if len(distinct) > MAX_VALUES or max(map(len, distinct), default=0) > MAX_LENGTH:
            return False
    if not distinct:
        return False
    if all(map(_NUMBER.fullmatch, distinct)) and (len(distinct) > MAX_NUMBERS or any("." in v for v in distinct)):
        return False
    return len(values) >= 2 * len(distinct)


def split_values(cell: str) -> list[str]:
    r"""Split a cell at ``|``; duplicates and blanks go.

    ``\|`` is a literal bar, and before a bar ``\\`` is a literal backslash; elsewhere a backslash is itself.

    >>> split_values("red| blue |red")
    ['red', 'blue']
    >>> split_values(r"AC\DC|a\|b|c\\|d")
    ['AC\\DC', 'a|b', 'c\\', 'd']
    """
    if "|" not in cell:
        return [cell.strip()] if cell.strip() else []
    parts, start = [""], 0
    for bar in _BAR.finditer(cell):
        slashes, escaped = divmod(len(bar[1]), 2)
        parts[-1] += cell[start : bar.start()] + "\\" * slashes + "|" * escaped
        if not escaped:
            parts.append("")
        start = bar.end()
    parts[-1] += cell[start:]
    return list(dict.fromkeys(part for part in map(str.strip, parts) if part))


def join_values(column: pa.Array) -> pa.Array:
    """Lists of values as CSV cells: the inverse of ``split_values``."""
    sizes = pc.fill_null(pc.list_value_length(column), 0).to_numpy().astype(np.int64)
    encoded = pc.fill_null(column.flatten(), "").dictionary_encode()
    distinct = [_BAR.sub(r"\1\1\\|", value) for value in encoded.dictionary.to_pylist()]
    # A backslash at a value's end comes to stand before a bar, but for the last value's.
    distinct += [re.sub(r"(\\+)$", r"\1\1", value) for value in distinct]
    ends = np.cumsum(sizes)
    inner = np.ones(len(encoded), np.int64)
    inner[ends[sizes > 0] - 1] = 0
    codes = encoded.indices.to_numpy() + inner * len(encoded.dictionary)
    flat = pa.array(distinct, pa.string()).take(pa.array(codes))
    joined = pc.binary_join(pa.ListArray.from_arrays(np.concatenate([[0], ends]).astype(np.int32), flat), "|")
    return pc.if_else(pa.array(sizes > 0), joined, pa.scalar(None, pa.string()))


def long_labels(attributes: Mapping[str, pa.ChunkedArray]) -> pa.Table:
    """Return the label table (image, attribute, value) of attribute columns, ordered by attribute, then image."""
    found = {name: _values(column) for name, column in attributes.items()}
    rows = [owner for owner, _ in found.values()]
    return pa.table(
        {
            "image": pa.array(np.concatenate([np.zeros(0, np.int64), *rows]).astype(np.int32)),
            "attribute": pa.chunked_array(
                [pa.repeat(name, len(owner)) for name, (owner, _) in found.items()], pa.string()
            ),
            "value": pa.chunked_array([values for _, values in found.values()], pa.string()),
        }
    ).combine_chunks()


def _values(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int64], pa.Array]:
    """Row number and text of every value in a column, row by row; blanks, and repeats within a row, go."""
    if is_list(column):
        cells = column.cast(pa.list_(column.type.value_type))
        starts = np.cumsum([0, *map(len, cells.chunks)])
        own = [pc.list_parent_indices(c).to_numpy() + start for c, start in zip(cells.chunks, starts, strict=False)]
        owner = np.concatenate([np.zeros(0, np.int64), *own])
        encoded = _encoded(plain(pc.list_flatten(cells)))
        codes = pc.fill_null(encoded.indices, -1).to_numpy()
        _, first = np.unique(owner * (len(encoded.dictionary) + 1) + codes, return_index=True)
        kept = np.sort(first[codes[first] >= 0])
        return owner[kept], encoded.dictionary.take(pa.array(codes[kept]))
    encoded = _encoded(column)
    # Each different cell is split once.
    pieces, sizes = _pieces(encoded.dictionary)
    rows = np.flatnonzero(encoded.indices.is_valid())
    codes = encoded.indices.drop_null().to_numpy()
    owner, place = spread(np.cumsum(sizes)[codes] - sizes[codes], sizes[codes])
    return rows[owner], pieces.take(pa.array(place))


def _encoded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """Text, stripped, as codes of its different cells. Put together as codes, it may be longer than 2 GB."""
    return text(column).dictionary_encode().combine_chunks()


def _pieces(cells: pa.Array) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """The values of different cells one after the other, and how many each cell has: ``split_values`` of all."""
    if not pc.any(pc.match_substring(cells, "\\|")).as_py():
        owner, values = _values(pa.chunked_array([pc.split_pattern(cells, "|")]))
        return values, np.bincount(owner, minlength=len(cells))
    split = [split_values(cell) for cell in cells.to_pylist()]
    flat = pa.array([value for values in split for value in values], pa.string())
    return flat, np.array([len(values) for values in split], np.int64)


def spread(
    starts: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Lay out the ranges start .. start + size one after the other.

    Returns:
        for every element the number of its range, and its place.

    >>> spread(np.array([5, 0, 9]), np.array([2, 0, 1]))
    (array([0, 0, 2]), array([5, 6, 9]))
    """
    owner = np.repeat(np.arange(len(sizes)), sizes)
    return owner, np.arange(len(owner)) + np.repeat(starts - (np.cumsum(sizes) - sizes), sizes)


def take(table: pa.Table, rows: npt.NDArray[np.int64]) -> pa.Table:
    """Rows of a table in this order, also where a text column holds more than 2 GB, which Arrow's own take refuses."""
    place = pa.array(rows)
    return pa.table({name: _take(table[name], place) for name in table.column_names})


def _take(column: pa.ChunkedArray, place: pa.Array) -> pa.ChunkedArray:
    # The same row may be taken many times.
    expected = column.nbytes * max(1, len(place) / max(1, len(column)))
    if not pa.types.is_string(column.type) or expected < MAX_BYTES:
        return column.take(place)
    found = column.cast(pa.large_string()).take(place)
    part = np.cumsum(pc.fill_null(pc.binary_length(found), 0).to_numpy()) // (MAX_BYTES // 2)
    bounds = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), len(found)]
    pieces = [found[low:high].cast(column.type) for low, high in pairwise(bounds)]
    return pa.chunked_array([chunk for piece in pieces for chunk in piece.chunks], column.type)


def wide_labels(labels: pa.Table, attributes: Sequence[str], count: int) -> dict[str, pa.Array]:
    """Inverse of ``long_labels``: one list<string> column of ``count`` rows per attribute."""
    wide = {}
    for name in attributes:
        rows = labels.filter(pc.equal(labels["attribute"], name)).combine_chunks()
        owner = rows["image"].to_numpy()
        values = rows["value"].take(pa.array(np.argsort(owner, kind="stable"))).combine_chunks()
        sizes = np.bincount(owner, minlength=count)
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
        wide[name] = pa.ListArray.from_arrays(offsets, values, mask=pa.array(sizes == 0))
    return wide


def csv_cells(column: pa.ChunkedArray, name: str, path: Path) -> pa.Array | pa.ChunkedArray:
    """Any other column of the image table as CSV can hold it.

    Raises:
        CatalogueError: structures, or bytes.
    """
    kind = column.type.value_type if is_list(column) else column.type
    if not is_readable(kind):
        raise CatalogueError(f"cannot write column {name!r} of {column.type} to {path}: give a name ending in .parquet")
    if not is_list(column):
        return column
    return join_values(column.cast(pa.list_(pa.string())).combine_chunks())


def metadata(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Metadata as int64 or float64 where every cell is a number, else as it is: text stripped, NaN missing."""
    if pa.types.is_floating(column.type):
        return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return column
    cleaned = text(column)
    present = cleaned.drop_null().to_pylist()
    # A leading zero is a code (an article number, a post code), not a quantity.
    coded = any(len(v) > 1 and v[0] == "0" and v[1] != "." for v in present)
    if not present or coded or not all(map(_NUMBER.fullmatch, present)):
        return cleaned
    whole = all(map(_INTEGER.fullmatch, present))
    try:
        return cleaned.cast(pa.int64() if whole else pa.float64())
    except pa.ArrowInvalid:
        # Digits beyond 64 bits are a code too; as float64 they would change.
        return cleaned
