"""Boxes and landmarks keep every digit through a file, and a wrong one names its row."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel import coordinates
from lapel.errors import CatalogueError

HERE = Path("catalogue.csv")
CELL = st.none() | st.lists(st.integers(-9, 2**53), max_size=6) | st.lists(st.floats(), min_size=4, max_size=4)
WORDS = st.sampled_from(
    ["1", "-0", "+2", "1e2", "1_0", "nan", "1e999", "４", "0x1", ".5", "x", "", "12345678901234567890"]
)
TEXTS = st.none() | st.lists(WORDS, max_size=5).flatmap(
    lambda w: st.sampled_from([" ", ",", " ; ", "\t"]).map(lambda s: s.join(w))
)


def loop(cells: list[Any], name: str) -> list[Any] | int:
    """The obvious reading: the numbers of every cell, or the first faulty row."""
    found: list[Any] = []
    for row, cell in enumerate(cells):
        try:
            parts = re.split(r"[\s,;]+", cell) if isinstance(cell, str) else cell or []
            values = [float(part) for part in parts if part != ""]
        except ValueError:
            return row
        if (len(values) not in (0, 4) if name == "box" else len(values) % 3) or not all(map(math.isfinite, values)):
            return row
        found.append(values or None)
    return found


@given(st.lists(CELL, max_size=5) | st.lists(TEXTS, max_size=5), st.sampled_from(["box", "landmarks"]), st.data())
def test_numbers_equal_a_loop_in_any_number_of_chunks(cells: list[Any], name: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(cells)))
    kind = pa.string() if any(isinstance(cell, str) for cell in cells) else pa.list_(pa.float64())
    kind = data.draw(st.sampled_from([kind, pa.large_string() if kind == pa.string() else pa.large_list(pa.float64())]))
    table = pa.table({name: pa.chunked_array([pa.array(part, kind) for part in (cells[:at], cells[at:])])})
    expected = loop(cells, name)
    if isinstance(expected, int):
        with pytest.raises(CatalogueError, match=rf"^catalogue\.csv row {expected + 2}: expected {name} as "):
            coordinates.numbers(table, name, HERE)
        return
    found = coordinates.numbers(table, name, HERE)
    assert found.to_pylist() == expected
    assert found.type == pa.list_(pa.float64())
    assert str(coordinates.numbers(table[at:], name, HERE).to_pylist()) == str(expected[at:])
    written = coordinates.join_numbers(found)
    assert str(coordinates.numbers(pa.table({name: written}), name, HERE).to_pylist()) == str(expected)


@pytest.mark.parametrize(
    ("kind", "box"),
    [
        (pa.list_(pa.int16(), 4), [1, 0, 1, 2]),
        (pa.list_(pa.float32()), [1.5, 0, 1, 2]),
        (pa.large_list(pa.uint64()), [1, 0, 2**60 + 1, 2**63 + 1]),
        (pa.list_(pa.decimal128(5, 2)), [Decimal("1.25"), 0, 1, 2]),
        (pa.list_(pa.string()), ["1", " 2 ", "1_0", "4e1"]),
        (pa.list_(pa.bool_()), [True, False, True, True]),
    ],
)
def test_boxes_of_any_kind_of_list(kind: pa.DataType, box: list[Any]) -> None:
    column = pa.array([box, None, box], kind)
    found = coordinates.numbers(pa.table({"box": column}), "box", HERE).to_pylist()
    assert found == [[float(number) for number in box], None, [float(number) for number in box]]


def test_numbers_are_written_as_people_write_them() -> None:
    column = pa.chunked_array([[[1.0, -0.0, 0.0, 0.1]], [], [None, [1e6, 12.5, 1e-7, -3.0]]], pa.list_(pa.float64()))
    assert coordinates.join_numbers(column).to_pylist() == ["1 -0 0 0.1", None, "1000000.0 12.5 1e-07 -3"]
    assert coordinates.join_numbers(column[3:]).to_pylist() == []


@pytest.mark.parametrize(
    ("name", "cells", "expected"),
    [
        ("box", ["1 2 3 4", None, " 1.5,2;3 , 4 "], [[1, 2, 3, 4], None, [1.5, 2, 3, 4]]),
        ("box", ["", "  "], [None, None]),
        ("box", [[1, 2, 3, 4], None, []], [[1, 2, 3, 4], None, None]),
        ("landmarks", ["1 2 1", "1 2 1 3 4 0"], [[1, 2, 1], [1, 2, 1, 3, 4, 0]]),
        ("box", ["-1 0 1e2 4"], [[-1, 0, 100, 4]]),
    ],
)
def test_boxes_and_landmarks(name: str, cells: list[Any], expected: list[Any]) -> None:
    table = pa.table({name: cells})
    assert coordinates.numbers(table, name, HERE).to_pylist() == expected
    written = coordinates.join_numbers(coordinates.numbers(table, name, HERE))
    assert coordinates.numbers(pa.table({name: written}), name, HERE).to_pylist() == expected
    assert coordinates.numbers(pa.table({"image": ["a", "b"]}), name, HERE).to_pylist() == [None, None]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=4, max_size=4))
def test_boxes_keep_every_digit(box: list[float]) -> None:
    written = coordinates.join_numbers(pa.chunked_array([[box]], pa.list_(pa.float64())))
    assert coordinates.numbers(pa.table({"box": written}), "box", HERE).to_pylist() == [box]


@pytest.mark.parametrize(
    ("name", "cell", "message"),
    [
        ("box", "1 2 3", "row 3: expected box as four numbers x1 y1 x2 y2, found '1 2 3'"),
        ("box", "1 2 3 4 5", "row 3: expected box as four numbers"),
        ("box", "1 2 3 four", "found '1 2 3 four'"),
        ("box", "1 2 3 nan", "found '1 2 3 nan'"),
        ("box", "1 2 3 inf", "found '1 2 3 inf'"),
        ("box", "[1, 2, 3, 4]", "found '[1, 2, 3, 4]'"),
        ("box", [1.0, 2.0, 3.0], "found [1.0, 2.0, 3.0]"),
        ("box", [1.0, 2.0, 3.0, None], "found [1.0, 2.0, 3.0, None]"),
        ("box", {"x": 1, "y": 2}, "found {'x': 1, 'y': 2}"),
        ("box", 5, "found 5"),
        ("landmarks", "1 2", "row 3: expected landmarks as triples x y visibility, found '1 2'"),
        ("landmarks", "1 2 1 4", "expected landmarks as triples"),
        ("landmarks", "1 x 1", "expected landmarks as triples"),
    ],
)
def test_wrong_boxes_and_landmarks_name_their_row(name: str, cell: Any, message: str) -> None:
    with pytest.raises(CatalogueError) as caught:
        coordinates.numbers(pa.table({name: [None, cell]}), name, HERE)
    assert str(caught.value).startswith("catalogue.csv row 3: ")
    assert message in str(caught.value)
