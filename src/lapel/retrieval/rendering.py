"""A filter tree run on an Arrow table, rendered as SQL for LanceDB or as an expression for Milvus: the same rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lapel.retrieval.filter_tree import And, Column, Compare, Filter, In, IsNull, Like, Not, Or, Value
from lapel.retrieval.milvus_rows import Field, held

Mask = npt.NDArray[np.bool_]
_COMPUTE: Mapping[str, Callable[[pa.ChunkedArray, pa.Scalar], pa.ChunkedArray]] = {
    "=": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}


def mask(tree: Filter, table: pa.Table) -> Mask:
    """Return which rows of ``table`` pass, as (N,) booleans."""
    if isinstance(tree, Not):
        return ~mask(tree.part, table)
    if isinstance(tree, And):
        return np.asarray(np.all([mask(part, table) for part in tree.parts], axis=0))
    if isinstance(tree, Or):
        return np.asarray(np.any([mask(part, table) for part in tree.parts], axis=0))
    column = table[tree.column.field]
    present: Mask = column.is_valid().to_numpy()
    if isinstance(tree, IsNull):
        return present if tree.negated else ~present
    if tree.column.kind != "labels":
        found, negated = _test(tree, column)
        return present & ~found if negated else found
    column = column.combine_chunks()
    found, negated = _test(tree, pc.list_flatten(column))
    hit = np.zeros(len(column), bool)
    hit[pc.list_parent_indices(column).to_numpy()[found]] = True
    return present & ~hit if negated else hit


def _test(tree: Compare | In | Like, values: pa.ChunkedArray) -> tuple[Mask, bool]:
    """Test values on their own, missing ones false; also say whether to negate the result over an image."""
    if isinstance(tree, Compare):
        labels = tree.column.kind == "labels" and tree.op == "!="
        compare = _COMPUTE["=" if labels else tree.op]
        return _flags(compare(values, pa.scalar(tree.value, values.type))), labels
    if isinstance(tree, In):
        chosen = pa.array(tree.values, values.type)
    else:
        matches = tree.matches()
        found = [value for value in pc.unique(values).to_pylist() if value is not None and matches(value)]
        chosen = pa.array(found, values.type)
    return _flags(pc.is_in(values, value_set=chosen)), tree.negated


def _flags(column: pa.ChunkedArray | pa.Array) -> Mask:
    flags = pc.fill_null(column, False)
    return np.asarray(flags.to_numpy(**({"zero_copy_only": False} if isinstance(flags, pa.Array) else {})), bool)


def sql(tree: Filter, values_of: Callable[[Column], Iterable[str]]) -> str:
    """Render as a LanceDB (DataFusion) condition; every literal is escaped, every name quoted.

    Args:
        tree: the filter.
        values_of: gives the distinct values of a label column; asked where LIKE meets labels, which SQL
            cannot do.
    """
    if isinstance(tree, Not):
        return f"(NOT {sql(tree.part, values_of)})"
    if isinstance(tree, And | Or):
        joined = (" AND " if isinstance(tree, And) else " OR ").join(sql(part, values_of) for part in tree.parts)
        return f"({joined})"
    name = f"`{tree.column.field}`"
    present = f"{name} IS NOT NULL"
    if isinstance(tree, IsNull):
        return f"({present})" if tree.negated else f"({name} IS NULL)"
    labels = tree.column.kind == "labels"
    if isinstance(tree, Compare):
        if not labels:
            # SQL's third truth value ends here: with the guard a missing value is false, not unknown.
            return f"({present} AND {name} {tree.op} {_literal(tree.value, tree.column)})"
        tree = In(tree.column, (tree.value,), negated=tree.op == "!=")
    if isinstance(tree, Like):
        if not labels:
            negation = "NOT " if tree.negated else ""
            return f"({present} AND {name} {negation}LIKE {_literal(tree.pattern, tree.column)})"
        matches = tree.matches()
        tree = In(tree.column, tuple(value for value in values_of(tree.column) if matches(value)), tree.negated)
    if not tree.values:
        return f"({present})" if tree.negated else f"({name} IS NULL AND {present})"
    listed = ", ".join(_literal(value, tree.column) for value in tree.values)
    test = f"array_has_any({name}, make_array({listed}))" if labels else f"{name} IN ({listed})"
    return f"({present} AND {'NOT ' if tree.negated else ''}{test})"


def _literal(value: Value, column: Column) -> str:
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, str):
        return text(value)
    if column.kind == "integer":
        return f"CAST('{int(value)}' AS BIGINT)"
    return f"CAST('{float(value)!r}' AS DOUBLE)"


def text(value: str) -> str:
    """Return a text literal in SQL.

    >>> text("it's")
    "'it''s'"
    """
    return "'" + value.replace("'", "''") + "'"


NOTHING = 'id == ""'  # holds for no row: Milvus takes no constant


class Expression(NamedTuple):
    """A condition for Milvus.

    Attributes:
        text: what it says; "" for every row.
        exact: whether exactly the rows of the filter pass; else also others do, and ``mask`` must have the last word.
    """

    text: str
    exact: bool


def expression(tree: Filter, fields: Mapping[str, Field], likes: bool = True) -> Expression:
    """Render for Milvus.

    Args:
        tree: the filter.
        fields: where the columns lie.
        likes: whether this Milvus knows LIKE with % at any place; older ones know it at the end only.
    """
    return _Milvus(fields, likes).part(tree, False)


def columns_in(tree: Filter) -> set[str]:
    """Return the fields that a filter looks at."""
    if isinstance(tree, Not):
        return columns_in(tree.part)
    if isinstance(tree, And | Or):
        return {name for part in tree.parts for name in columns_in(part)}
    return {tree.column.field}


class _Milvus:
    def __init__(self, fields: Mapping[str, Field], likes: bool) -> None:
        self.fields, self.likes = fields, likes

    def part(self, tree: Filter, flip: bool) -> Expression:
        """Render ``tree``, or its negation. NOT goes down to the tests: all but too many rows would be too few."""
        if isinstance(tree, Not):
            return self.part(tree.part, not flip)
        if isinstance(tree, And | Or):
            parts = [self.part(part, flip) for part in tree.parts]
            exact = all(part.exact for part in parts)
            every = isinstance(tree, And) != flip
            if not every and any(not part.text for part in parts):
                return Expression("", exact)
            texts = list(dict.fromkeys(part.text for part in parts if part.text))
            return Expression(f"({(' and ' if every else ' or ').join(texts)})" if texts else "", exact)
        found = self.like(tree) if isinstance(tree, Like) else Expression(self.test(tree), True)
        if not flip:
            return found
        return Expression(f"not ({found.text})", True) if found.exact else Expression("", False)

    def test(self, tree: Compare | In | IsNull) -> str:
        """A test that Milvus can do. Every test of a missing value is false."""
        kind, name, missing, present = tree.column.kind, *self.place(tree.column)
        if isinstance(tree, IsNull):
            return present if tree.negated else missing
        if isinstance(tree, Compare) and tree.op not in ("=", "!="):
            return f"({present} and {name} {tree.op} {_said(tree.value, tree.column)})"
        if isinstance(tree, Compare):
            tree = In(tree.column, (tree.value,), negated=tree.op == "!=")
        if not tree.values:
            return present if tree.negated else NOTHING
        listed = ", ".join(_said(value, tree.column) for value in dict.fromkeys(tree.values))
        if kind == "labels":
            test = f"{'json' if self.fields[tree.column.field].key else 'array'}_contains_any({name}, [{listed}])"
            return f"({present} and not {test})" if tree.negated else test
        return f"({present} and {name} {'not ' if tree.negated else ''}in [{listed}])"

    def like(self, tree: Like) -> Expression:
        """LIKE as equality or as what lies between two texts where it is that, else what may match, roughly."""
        start, rest = _start(tree.pattern)
        if not rest:
            return Expression(self.test(In(tree.column, (start,), tree.negated)), True)
        name, _, present = self.place(tree.column)
        if tree.column.kind == "labels" or (tree.negated and rest.strip("%")):
            return Expression(present, False)
        texts, low = [present], held(start)
        if start:
            above = _above(low)
            texts += [f"{name} >= {quoted(low)}"] + ([f"{name} < {quoted(above)}"] if above else [])
        if not rest.strip("%"):
            found = " and ".join(texts[1:] or [present])
            return Expression(f"({present} and not ({found}))" if tree.negated else f"({' and '.join(texts)})", True)
        if self.likes and not self.fields[tree.column.field].key:
            # Its _ may stand for one byte; % is more than either.
            loose = re.sub(r"(\\.)|_", lambda match: match[1] or "%", tree.pattern, flags=re.DOTALL)
            texts.append(f"{name} like {quoted(held(loose) if start else loose)}")
        return Expression(f"({' and '.join(texts)})", False)

    def place(self, column: Column) -> tuple[str, str, str]:
        """How a column is named, when it is missing and when it is there."""
        field = self.fields[column.field]
        if field.key:
            name = f'{field.name}["{field.key}"]'
            return name, f"not (exists {name})", f"(exists {name})"  # EXISTS binds less than AND
        name = field.name
        if column.kind == "text":
            return name, f'{name} == ""', f'{name} != ""'
        if column.kind == "labels":
            return name, f"array_length({name}) == 0", f"array_length({name}) != 0"
        if column.kind == "truth":
            return name, f"{name} == -1", f"{name} != -1"
        return name, f"{field.names[1]} == false", f"{field.names[1]} == true"


def _start(pattern: str) -> tuple[str, str]:
    """Split a LIKE pattern into the text before its first wildcard, without escapes, and the rest."""
    match = re.match(r"(?:[^%_\\]|\\.)*", pattern, re.DOTALL)
    assert match is not None
    return re.sub(r"\\(.)", r"\1", match[0], flags=re.DOTALL), pattern[match.end() :]


def _above(text: str) -> str:
    """Return the smallest text that is larger than all that begin with ``text``, by code points; "" for none."""
    text = text.rstrip("\U0010ffff")
    following = ord(text[-1]) + 1 if text else 0
    return text[:-1] + chr(0xE000 if following == 0xD800 else following) if text else ""


def _said(value: Value, column: Column) -> str:
    if column.kind in ("text", "labels"):
        return quoted(held(str(value)))
    if column.kind == "truth":
        return str(int(value))
    if column.kind == "number":
        return repr(float(value))
    # The smallest whole number cannot be written: its digits alone are too large.
    return str(int(value)) if int(value) > -(2**63) else "(-9223372036854775807 - 1)"


def quoted(value: str) -> str:
    r"""Return a text literal for Milvus.

    >>> print(quoted('a "b"\\c'))
    "a \"b\"\\c"
    """
    escaped = re.sub(r'(["\\])', r"\\\1", value)
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda match: f"\\x{ord(match[0]):02x}", escaped) + '"'
