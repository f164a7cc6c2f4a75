"""One filter, three readings: plain Python, pyarrow on a table and SQL in LanceDB give the same rows."""

from __future__ import annotations

import operator
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapel.retrieval.filter_tree import And, Column, Compare, Filter, In, IsNull, Like, Not, Or
from lapel.retrieval.filters import parse
from lapel.retrieval.rendering import mask
from lapel.retrieval.store import LanceStore

TEXT, WHOLE = Column("t.ext", "meta_t%2Eext", "text"), Column("Whole", "meta_Whole", "integer")
NUMBER, TRUTH = Column("number", "meta_number", "number"), Column("truth", "meta_truth", "truth")
LABELS = Column("select", "label_select", "labels")
COLUMNS = [TEXT, WHOLE, NUMBER, TRUTH, LABELS]
WORDS = ["", "a", "A", "it's", "50%", "a_b", "back\\slash", "é", "new\nline", 'Zoë `x` "y"', "日本", "--"]
WHOLES = [-(2**63), -3, 0, 1, 2**53 + 1, 2**63 - 1]
NUMBERS = [-1e300, -2.5, 0.0, 1e-300, 1.0, 3.5, 9007199254740993.0]
COMPARE = {"=": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}


def one(row: dict[str, Any], tree: Filter) -> bool:
    """The slow obvious meaning of a filter on one row."""
    if isinstance(tree, Not):
        return not one(row, tree.part)
    if isinstance(tree, And):
        return all(one(row, part) for part in tree.parts)
    if isinstance(tree, Or):
        return any(one(row, part) for part in tree.parts)
    cell = row[tree.column.field]
    if isinstance(tree, IsNull):
        return (cell is None) != tree.negated
    if cell is None:
        return False
    cells = cell if tree.column is LABELS else [cell]
    if isinstance(tree, Compare):
        if tree.op == "!=":
            return all(value != tree.value for value in cells)
        return any(getattr(operator, COMPARE[tree.op])(value, tree.value) for value in cells)
    if isinstance(tree, In):
        return any(value in tree.values for value in cells) != tree.negated
    assert isinstance(tree, Like)
    pattern = re.sub(
        r"\\(.)|(.)",
        lambda m: re.escape(m[1]) if m[1] else {"%": ".*", "_": "."}.get(m[2], re.escape(m[2])),
        tree.pattern,
        flags=re.DOTALL,
    )
    return any(re.fullmatch(pattern, value, re.DOTALL) is not None for value in cells) != tree.negated


def quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@st.composite
def written_tests(draw: st.DrawFn) -> str:
    """A test of one column, written out."""
    column = draw(st.sampled_from(COLUMNS))
    written = '"' + column.name.replace('"', '""') + '"'
    text = st.sampled_from(WORDS).map(quote)
    number = st.sampled_from([*map(str, WHOLES), *map(repr, NUMBERS), "2.5", "1e40", "-1e40", "9223372036854775808"])
    literal = {
        "text": text,
        "labels": text,
        "integer": number,
        "number": number,
        "truth": st.sampled_from(["true", "false"]),
    }[column.kind]
    forms = ["is", "in", "equal"]
    forms += ["order", "between"] if column.kind in ("text", "integer", "number") else []
    forms += ["like"] if column.kind in ("text", "labels") else []
    form, maybe = draw(st.sampled_from(forms)), draw(st.sampled_from(["", "NOT "]))
    if form == "is":
        return f"{written} IS {maybe}NULL"
    if form == "in":
        return f"{written} {maybe}IN ({', '.join(draw(st.lists(literal, min_size=1, max_size=3)))})"
    if form == "between":
        return f"{written} {maybe}BETWEEN {draw(literal)} AND {draw(literal)}"
    if form == "like":
        pieces = st.lists(st.sampled_from(["%", "_", "\\%", "\\_", "\\\\", "a", "A", "'", "é", "\n", "b"]), max_size=4)
        return f"{written} {maybe}LIKE {quote(''.join(draw(pieces)))}"
    op = draw(st.sampled_from(["=", "!="] if form == "equal" else ["<", "<=", ">", ">="]))
    return f"{written} {op} {draw(literal)}"


FILTERS = st.recursive(
    written_tests(),
    lambda part: st.one_of(
        part.map(lambda text: f"NOT ({text})"),
        st.tuples(part, st.sampled_from([" AND ", " OR "]), part).map(
            lambda three: f"({three[0]}){three[1]}({three[2]})"
        ),
    ),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[LanceStore, pa.Table]:
    rng = np.random.default_rng(0)

    def column(values: list[Any], kind: pa.DataType) -> pa.Array:
        return pa.array([None if rng.random() < 0.2 else values[rng.integers(len(values))] for _ in range(80)], kind)

    lists = [list(rng.choice(WORDS, size, replace=False)) for size in rng.integers(1, 4, 40)]
    table = pa.table(
        {
            "id": [str(n) for n in range(80)],
            TEXT.field: column(WORDS, pa.string()),
            WHOLE.field: column(WHOLES, pa.int64()),
            NUMBER.field: column(NUMBERS, pa.float64()),
            TRUTH.field: column([True, False], pa.bool_()),
            LABELS.field: column(lists, pa.list_(pa.string())),
        }
    )
    folder: Path = tmp_path_factory.mktemp("store")
    store = LanceStore.create(folder, table.schema)
    store.upsert(table)
    return store, table


@settings(max_examples=100, deadline=None)
@given(text=FILTERS)
def test_three_readings_agree(store: tuple[LanceStore, pa.Table], text: str) -> None:
    lance, table = store
    tree = parse(text, COLUMNS)
    expected = [row["id"] for row in table.to_pylist() if one(row, tree)]
    assert table.filter(pa.array(mask(tree, table)))["id"].to_pylist() == expected
    found = lance.read(["id"], where=tree)["id"].to_pylist()
    assert sorted(found, key=int) == expected
