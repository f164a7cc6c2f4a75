"""Which columns are attributes, how cells become values and back, and what stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel import columns
from lapel.errors import CatalogueError

HERE = Path("catalogue.csv")
# Values as they are after reading: no space around them, not empty.
VALUES = st.text(st.sampled_from("ab|\\, \"'\n\té袖;0"), max_size=6).map(str.strip).filter(bool)
CELLS = st.none() | st.lists(VALUES, min_size=1, max_size=3, unique=True)


def column(values: Any, kind: pa.DataType | None = None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, kind)])


def labels_of(table: pa.Table) -> list[tuple[int, str, str]]:
    return list(zip(*(table[name].to_pylist() for name in ("image", "attribute", "value")), strict=True))


NUMBERS = [str(number) for number in range(13)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["red", "blue"] * 2, True),
        (["red"] * 4, True),
        (["red", None, "red", None], True),
        (["red", "red", "blue"], False),
        (["red"], False),
        ([None, None], False),
        (["", " ", "|"], False),
        (["a|b", "b|a"], True),
        (["a|b", "c|d"], False),
        ([r"a\|b"] * 2, True),
        (NUMBERS[:12] * 2, True),
        (NUMBERS * 4, False),
        ([*NUMBERS[:12], "one"] * 4, True),
        (["12.50", "-3", "1e+05", ".5", *NUMBERS[:9]] * 4, False),
        (["12E4", *NUMBERS[:12]] * 4, True),
        ([f"value {n}" for n in range(1000)] * 2, True),
        ([f"value {n}" for n in range(1001)] * 2, False),
        (["x" * 80] * 4, True),
        (["x" * 81] * 4, False),
        (["A dress with pockets", "A skirt with pleats", "A coat"], False),
        (["true", "false"] * 3, True),
    ],
)
@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
def test_text_whose_values_repeat_is_an_attribute(values: list[str | None], expected: bool, kind: pa.DataType) -> None:
    if pa.types.is_dictionary(kind) and len(values) > 100:
        kind = pa.dictionary(pa.int32(), pa.string())
    assert columns.is_attribute(columns.plain(column(values, pa.string()).cast(kind))) is expected


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([["red"], ["red", "blue"], ["blue"], None, []], pa.list_(pa.string()), True),
        ([["red"], ["red", "blue"], ["blue"]], pa.large_list(pa.large_string()), True),
        ([["red"], ["red"]], pa.list_(pa.string(), 1), True),
        ([["red"], ["red"]], pa.list_(pa.dictionary(pa.int32(), pa.string())), True),
        ([["one.jpg"], ["two.jpg"]], pa.list_(pa.string()), False),
        ([[0.5, 0.25], [0.5, 0.25]], pa.list_(pa.float32()), False),
        ([1, 1, 2, 2], pa.int64(), False),
        ([1.0, 1.0], pa.float64(), False),
        ([True, False, True, False], pa.bool_(), False),
        ([None, None], pa.null(), False),
        ([{"a": 1}] * 2, pa.struct({"a": pa.int64()}), False),
        ([b"red"] * 2, pa.binary(), False),
    ],
)
def test_of_other_types_only_lists_of_text_are(values: list[Any], kind: pa.DataType, expected: bool) -> None:
    assert columns.is_attribute(column(values, kind)) is expected


def test_values_that_begin_to_repeat_late_are_an_attribute() -> None:
    early = ["red"] * 20_000
    assert columns.is_attribute(column([*early, *(f"value {n}" for n in range(999))]))
    assert not columns.is_attribute(column([*early, *(f"value {n}" for n in range(1000))]))
    assert columns.is_attribute(column([None] * 20_000 + ["red", "red"]))
    assert not columns.is_attribute(column([f"value {n}" for n in range(1001)] + early))


@pytest.mark.parametrize("most", [2, 8, 20, 1 << 31])
def test_taking_rows_of_more_text_than_one_array_holds(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "MAX_BYTES", most)
    words = [None, "a", "bb" * 5, "", "ç", None]
    table = pa.table({"text": pa.chunked_array([words[:4], words[4:]]), "box": [[row] for row in range(6)]})
    for rows in ([], [5, 0, 2, 2, 2, 3, 4, 1], [1], list(range(6))):
        found = columns.take(table, np.array(rows, np.int64))
        assert found.to_pylist() == [{"text": words[row], "box": [row]} for row in rows]
        assert found.schema == table.schema
        for part in found["text"].chunks:
            assert sum(len((word or "").encode()) for word in part.to_pylist()) <= most + 10
    assert columns.take(table[:0], np.zeros(0, np.int64)).schema == table.schema


@pytest.mark.parametrize(
    ("cell", "values"),
    [
        ("red", ["red"]),
        (" red ", ["red"]),
        ("red|blue", ["red", "blue"]),
        ("blue | red|blue", ["blue", "red"]),
        ("|red||", ["red"]),
        ("||", []),
        ("  ", []),
        (r"a\|b", ["a|b"]),
        (r"a\\|b", ["a\\", "b"]),
        (r"a\\\|b", ["a\\|b"]),
        (r"a\b\\c", [r"a\b\\c"]),
        ("a\\", ["a\\"]),
        (r"\||\|", ["|"]),
    ],
)
def test_cells_split_at_bars(cell: str, values: list[str]) -> None:
    assert columns.split_values(cell) == values


@given(st.lists(st.none() | st.text(st.sampled_from("ab|\\ \t0"), max_size=8), max_size=6), st.integers(0, 6))
def test_whole_columns_split_like_single_cells(cells: list[str | None], at: int) -> None:
    expected = [(row, "fit", value) for row, cell in enumerate(cells) for value in columns.split_values(cell or "")]
    parts = pa.chunked_array([cells[:at], cells[at:]], pa.string())
    assert labels_of(columns.long_labels({"fit": parts})) == expected
    assert labels_of(columns.long_labels({"fit": pa.chunked_array([cells], pa.large_string())})) == expected


@given(st.lists(CELLS, max_size=6))
def test_joined_cells_split_into_the_same_values(cells: list[list[str] | None]) -> None:
    joined = columns.join_values(pa.array(cells, pa.list_(pa.string()))).to_pylist()
    assert [cell and columns.split_values(cell) for cell in joined] == cells


def test_joining_leaves_out_what_is_empty() -> None:
    cells = pa.array([[], None, ["a", "b"], ["c|d", "e\\"], ["e\\", "f"]], pa.list_(pa.string()))
    assert columns.join_values(cells).to_pylist() == [None, None, "a|b", "c\\|d|e\\", "e\\\\|f"]
    assert columns.join_values(cells[2:]).to_pylist() == ["a|b", "c\\|d|e\\", "e\\\\|f"]
    assert columns.join_values(cells[:0]).to_pylist() == []


@given(st.lists(st.tuples(CELLS, CELLS), max_size=6))
def test_the_label_table_equals_a_loop_and_goes_back(rows: list[tuple[list[str] | None, list[str] | None]]) -> None:
    cells = {"fit": [row[0] for row in rows], "hem": [row[1] for row in rows]}
    expected = [(row, name, v) for name, own in cells.items() for row, values in enumerate(own) for v in values or ()]
    lists = {name: pa.array(own, pa.list_(pa.string())) for name, own in cells.items()}
    from_lists = columns.long_labels({name: pa.chunked_array([own]) for name, own in lists.items()})
    from_text = columns.long_labels({name: pa.chunked_array([columns.join_values(own)]) for name, own in lists.items()})
    for table in (from_lists, from_text):
        assert labels_of(table) == expected
        assert table.schema.types == [pa.int32(), pa.string(), pa.string()]
        wide = columns.wide_labels(table, ("fit", "hem", "none"), len(rows))
        assert {name: own.to_pylist() for name, own in wide.items()} == {**cells, "none": [None] * len(rows)}
    # In any order of rows: within an image the values keep theirs.
    order = np.random.default_rng(0).permutation(len(expected))
    order = order[np.argsort([expected[at][0] for at in order], kind="stable")] if len(expected) else order
    assert columns.wide_labels(from_text.take(pa.array(order)), ("fit",), len(rows))["fit"].null_count == sum(
        not cell for cell in cells["fit"]
    )


def test_labels_of_typed_columns_and_several_chunks() -> None:
    table = columns.long_labels(
        {
            "new": column([True, False, None]),
            "size": column([38, None, 40]),
            "tags": pa.chunked_array([[["a", None, " a ", "b", ""]], [None, [" "]]], pa.list_(pa.string())),
            "sizes": column([[1, 2], [], [2, 2]], pa.list_(pa.int64())),
            "kind": column(["x", "x", None]).dictionary_encode(),
            "text": pa.chunked_array([["a|b"], [], ["c", "a"]], pa.string()),
        }
    )
    assert labels_of(table) == [
        (0, "new", "true"),
        (1, "new", "false"),
        (0, "size", "38"),
        (2, "size", "40"),
        (0, "tags", "a"),
        (0, "tags", "b"),
        (0, "sizes", "1"),
        (0, "sizes", "2"),
        (2, "sizes", "2"),
        (0, "kind", "x"),
        (1, "kind", "x"),
        (0, "text", "a"),
        (0, "text", "b"),
        (1, "text", "c"),
        (2, "text", "a"),
    ]
    assert labels_of(columns.long_labels({})) == []


@pytest.mark.parametrize(
    ("cells", "expected", "kind"),
    [
        (["1", " 2 ", None, ""], [1, 2, None, None], pa.int64()),
        (["1", "-2.5", "1e+03"], [1.0, -2.5, 1000.0], pa.float64()),
        (["0.5", "0"], [0.5, 0.0], pa.float64()),
        (["0", "7"], [0, 7], pa.int64()),
        (["007", "12"], ["007", "12"], pa.string()),
        (["00.5", "1"], ["00.5", "1"], pa.string()),
        (["12E4", "13E5"], ["12E4", "13E5"], pa.string()),
        (["1_000", "2"], ["1_000", "2"], pa.string()),
        (["+49", "1"], ["+49", "1"], pa.string()),
        (["٣", "1"], ["٣", "1"], pa.string()),
        (["nan", "1"], ["nan", "1"], pa.string()),
        (["0x10", "1"], ["0x10", "1"], pa.string()),
        (["99999999999999999999", "1"], ["99999999999999999999", "1"], pa.string()),
        (["4006381333931", "1"], [4006381333931, 1], pa.int64()),
        (["12,50", "3"], ["12,50", "3"], pa.string()),
        (["1", "two"], ["1", "two"], pa.string()),
        ([None, ""], [None, None], pa.string()),
    ],
)
def test_metadata_is_a_number_where_no_digit_is_lost(cells: list[Any], expected: list[Any], kind: pa.DataType) -> None:
    for given_kind in (pa.string(), pa.large_string()):
        found = columns.metadata(column(cells, given_kind))
        assert found.to_pylist() == expected
        assert found.type == kind


def test_typed_metadata_stays_and_not_a_number_is_missing() -> None:
    for values, kind in ([[True, None], pa.bool_()], [[1, 2], pa.int8()], [[["a"]], pa.list_(pa.string())]):
        assert columns.metadata(column(values, kind)).type == kind
    assert columns.metadata(column([1.5, float("nan"), None])).to_pylist() == [1.5, None, None]


def test_required_text_names_the_first_empty_row() -> None:
    with pytest.raises(CatalogueError, match=r"catalogue\.csv row 3: the cell 'image' is empty; 2 such rows in all"):
        columns.required_text(column(["a", " ", None]), HERE)


@pytest.mark.parametrize(
    ("cells", "attribute"),
    [(["39.90", "39.90", "24.50", "24.50"], False), (["36", "36", "38", "38"], True), (["a", "a", "1.5", "1.5"], True)],
)
def test_decimals_are_metadata_and_few_whole_numbers_an_attribute(cells: list[str], attribute: bool) -> None:
    assert columns.is_attribute(pa.chunked_array([cells])) is attribute
