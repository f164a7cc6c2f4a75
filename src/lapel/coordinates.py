"""Boxes and landmarks: how the cells of a catalogue file become lists of numbers, and back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lapel import columns
from lapel.errors import CatalogueError
from lapel.landmarks import CUT_OFF, LANDMARKS, OCCLUDED, PLACES, VISIBLE

_NUMBERS = pa.list_(pa.float64())


def numbers(table: pa.Table, name: str, path: Path) -> pa.Array | pa.ChunkedArray:
    """Column ``box`` or ``landmarks`` as lists of float64.

    Raises:
        CatalogueError: a cell is not numbers, or not 4 (box) or a multiple of 3 (landmarks) of them; names the row.
    """
    if name not in table.column_names:
        return pa.nulls(table.num_rows, _NUMBERS)
    found = _all_numbers(table[name], name)
    if found is not None:
        return found
    parsed: list[list[float] | None] = []
    for row, cell in enumerate(table[name].to_pylist()):
        values = _floats(cell)
        right = values is None or (len(values) == 4 if name == "box" else len(values) % 3 == 0)
        if not right or (values is not None and not all(map(math.isfinite, values))):
            expected = "four numbers x1 y1 x2 y2" if name == "box" else "triples x y visibility"
            raise CatalogueError(f"{path} row {row + 2}: expected {name} as {expected}, found {cell!r}")
        parsed.append(values)
    return pa.array(parsed, _NUMBERS)


def landmarks(images: pa.Table, source: str) -> npt.NDArray[np.float64]:
    """What ``Catalogue.landmarks`` gives, of a table with the columns ``image`` and ``landmarks``.

    Raises:
        CatalogueError: an image has not 4, 6 or 8 landmarks, or a visibility that is none of 0, 1 and 2; names it.
    """
    column = images["landmarks"]
    sizes = pc.fill_null(pc.list_value_length(column), 0).to_numpy().astype(np.int64)
    starts = np.cumsum(sizes) - sizes
    values = pc.list_flatten(column).to_numpy()
    found = np.full((len(sizes), len(LANDMARKS), 3), np.nan)
    wrong = sizes > 0
    for places in PLACES.values():
        rows = np.flatnonzero(sizes == 3 * len(places))
        triples = values[starts[rows, None] + np.arange(3 * len(places))].reshape(-1, len(places), 3)
        found[rows] = (0.0, 0.0, CUT_OFF)
        found[rows[:, None], places] = triples
        wrong[rows] = ~np.isin(triples[..., 2], (VISIBLE, OCCLUDED, CUT_OFF)).all(axis=1)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise CatalogueError(
            f"{source}: expected the landmarks of {images['image'][row].as_py()} as triples x y visibility, 8 as "
            "lapel.landmarks orders them (6 of an upper-body garment, 4 of a lower-body one), visibility 0 (visible), "
            f"1 (occluded) or 2 (cut off), found {values[starts[row] : starts[row] + sizes[row]].tolist()}"
        )
    return found


def _all_numbers(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray | None:
    """What the loop of ``numbers`` gives, a hundred times faster; None where it cannot tell, or something is wrong."""
    try:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            cells = columns.text(pc.replace_substring_regex(column, "[,;]", " "))
            column = pc.utf8_split_whitespace(cells)
        elif not columns.is_list(column):
            return None
        inner = column.type.value_type
        if not (pa.types.is_integer(inner) or pa.types.is_floating(inner) or pa.types.is_string(inner)):
            return None
        column = column.cast(_NUMBERS, safe=False)
    except pa.ArrowInvalid:
        # No number, or one that only Python reads.
        return None
    sizes = pc.list_value_length(column)
    wrong = pc.not_equal(sizes, 4) if name == "box" else pc.not_equal(pc.multiply(pc.divide(sizes, 3), 3), sizes)
    values = pc.list_flatten(column)
    if pc.any(pc.and_(wrong, pc.greater(sizes, 0))).as_py() or values.null_count or not _finite(values):
        return None
    empty = pc.equal(sizes, 0)
    return pc.if_else(empty, pa.scalar(None, _NUMBERS), column) if pc.any(empty).as_py() else column


def _finite(values: pa.ChunkedArray) -> bool:
    return all(bool(np.isfinite(chunk.to_numpy()).all()) for chunk in values.chunks)


def _floats(cell: Any) -> list[float] | None:
    """Numbers of one cell, None for an empty one, NaN for what is no number."""
    if cell is None:
        return None
    try:
        parts = cell.replace(",", " ").replace(";", " ").split() if isinstance(cell, str) else cell
        return [float(part) for part in parts] or None
    except (TypeError, ValueError):
        return [math.nan]


def join_numbers(column: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    """Lists of numbers as CSV cells."""
    lists = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    return pa.chunked_array([_join_numbers(cells) for cells in lists], pa.string())


def _join_numbers(cells: pa.Array) -> pa.Array:
    # By their bits, which tell 0 from -0; each different number is written once.
    bits, place = np.unique(cells.flatten().to_numpy(zero_copy_only=False).view(np.int64), return_inverse=True)
    written = pa.array([_number(value) for value in bits.view(np.float64).tolist()], pa.string())
    sizes = pc.fill_null(pc.list_value_length(cells), 0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    lists = pa.ListArray.from_arrays(offsets, written.take(pa.array(place)))
    return pc.if_else(pa.array(sizes > 0), pc.binary_join(lists, " "), pa.scalar(None, pa.string()))


def _number(value: float) -> str:
    return f"{value:g}" if value == int(value) and abs(value) < 1e6 else repr(value)
