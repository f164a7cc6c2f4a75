"""A filter tree run on an Arrow table, or rendered as SQL for LanceDB. Both give the same rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lapel.retrieval.filter_tree import And, Column, Compare, Filter, In, IsNull, Like, Not, Or, Value

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
