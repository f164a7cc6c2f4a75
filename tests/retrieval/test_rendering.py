"""One filter, four readings: plain Python, pyarrow on a table, SQL in LanceDB and Milvus give the same rows."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapel.retrieval.filter_tree import And, Column, Compare, Filter, In, IsNull, Like, Not, Or
from lapel.retrieval.filters import parse
from lapel.retrieval.lance_store import LanceStore
from lapel.retrieval.milvus_rows import Field, loose
from lapel.retrieval.milvus_store import MilvusStore
from lapel.retrieval.rendering import expression, mask
from lapel.retrieval.store import Store

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
def table() -> pa.Table:
    rng = np.random.default_rng(0)

    def column(values: list[Any], kind: pa.DataType) -> pa.Array:
        return pa.array([None if rng.random() < 0.2 else values[rng.integers(len(values))] for _ in range(80)], kind)

    lists = [list(rng.choice(WORDS, size, replace=False)) for size in rng.integers(0, 4, 40)]
    return pa.table(
        {
            "id": [str(n) for n in range(80)],
            TEXT.field: column(WORDS, pa.string()),
            WHOLE.field: column(WHOLES, pa.int64()),
            NUMBER.field: column(NUMBERS, pa.float64()),
            TRUTH.field: column([True, False], pa.bool_()),
            LABELS.field: column(lists, pa.list_(pa.string())),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(np.ones(160, np.float16)), 2),
        }
    )


@pytest.fixture(
    scope="module",
    params=["lance", *(pytest.param(name, marks=pytest.mark.milvus) for name in ("milvus", "milvus, added later"))],
)
def store(request: pytest.FixtureRequest, table: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    if request.param == "lance":
        lance = LanceStore.create(tmp_path_factory.mktemp("store"), table.schema)
        lance.upsert(table)
        yield lance
        return
    uri = request.getfixturevalue("milvus").uri
    later = request.param != "milvus"
    milvus = MilvusStore.create(uri, "rendering", table.select(["id", "vector"]).schema if later else table.schema)
    milvus.reshape(table.schema)
    milvus.upsert(table)
    yield MilvusStore.open(uri, "rendering", "Session")
    milvus.drop()


@settings(max_examples=70, deadline=None)
@given(text=FILTERS)
def test_readings_agree(store: Store, table: pa.Table, text: str) -> None:
    tree = parse(text, COLUMNS)
    expected = [row["id"] for row in table.to_pylist() if one(row, tree)]
    assert table.filter(pa.array(mask(tree, table)))["id"].to_pylist() == expected
    found = store.read(["id"], where=tree)["id"].to_pylist()
    assert sorted(found, key=int) == expected


def placed(*columns: Column, added: bool = False) -> dict[str, Field]:
    """Where columns lie in a collection: in fields of their own or, if ``added`` later, loose."""
    kinds = {"labels": pa.list_(pa.string()), "text": pa.string(), "integer": pa.int64()}
    kinds |= {"number": pa.float64(), "truth": pa.bool_()}
    fields = {column.field: Field(column.field, kinds[column.kind]) for column in columns}
    return {name: loose(field, 7) for name, field in fields.items()} if added else fields


A = Column("a", "meta_a", "text")


@pytest.mark.parametrize(
    ("where", "text", "exact"),
    [
        ("a = 'x'", '(meta_a != "" and meta_a in ["x"])', True),
        ("a != ''", '(meta_a != "" and meta_a not in ["\\x01"])', True),
        ("a IS NULL", 'meta_a == ""', True),
        ("NOT a < 'it''s \"'", 'not ((meta_a != "" and meta_a < "it\'s \\""))', True),
        ("a LIKE 'x\\_%'", '(meta_a != "" and meta_a >= "x_" and meta_a < "x`")', True),
        ("a NOT LIKE 'x%'", '(meta_a != "" and not (meta_a >= "x" and meta_a < "y"))', True),
        ("a LIKE '%'", '(meta_a != "")', True),
        ("a LIKE 'x%y_'", '(meta_a != "" and meta_a >= "x" and meta_a < "y" and meta_a like "x%y%")', False),
        ("a NOT LIKE '%y'", 'meta_a != ""', False),
        ("NOT a LIKE '%y'", "", False),
        ("a LIKE '%y' OR a = 'x'", '((meta_a != "" and meta_a like "%y") or (meta_a != "" and meta_a in ["x"]))', 0),
        ("NOT (a LIKE '%y' OR Whole = 1)", "(not ((has_meta_Whole == true and meta_Whole in [1])))", False),
        ("Whole > -9223372036854775808", "(has_meta_Whole == true and meta_Whole > (-9223372036854775807 - 1))", True),
        ("number >= 2", "(has_meta_number == true and meta_number >= 2.0)", True),
        ("truth != true", "(meta_truth != -1 and meta_truth not in [1])", True),
        ("\"select\" IN ('u', 'v')", 'array_contains_any(label_select, ["u", "v"])', True),
        ("\"select\" LIKE 'u%'", "array_length(label_select) != 0", False),
    ],
)  # fmt: skip
def test_what_milvus_is_told(where: str, text: str, exact: int) -> None:
    found = expression(parse(where, [*COLUMNS, A]), placed(*COLUMNS, A))
    assert (found.text, found.exact) == (text, exact)


def test_what_milvus_is_told_of_columns_added_later() -> None:
    tree = parse("a = 'x' AND Whole IS NULL AND \"select\" = 'v' AND a LIKE '%x'", [*COLUMNS, A])
    found = expression(tree, placed(*COLUMNS, A, added=True))
    a, whole, labels = 'more["meta_a_7"]', 'more["meta_Whole_7"]', 'more["label_select_7"]'
    parts = [f'((exists {a}) and {a} in ["x"])', f"not (exists {whole})"]
    parts += [f'json_contains_any({labels}, ["v"])', f"((exists {a}))"]
    assert found == (f"({' and '.join(parts)})", False)


def test_older_milvus_knows_no_wildcard_in_front() -> None:
    found = expression(parse("a LIKE '%y'", [A]), placed(A), likes=False)
    assert found == ('(meta_a != "")', False)
