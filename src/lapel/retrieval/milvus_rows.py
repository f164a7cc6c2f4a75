"""How a row lies in a Milvus collection, which has plain names only and, before version 2.5, no missing values.

========================  =========================================  ==========================================
column                    field                                      missing is
========================  =========================================  ==========================================
text                      VARCHAR, as it is                          ``""``; an empty text is ``"\\x01"``
labels                    ARRAY of VARCHAR                           no element; an empty list has one, ``""``
true/false                INT8, 1 or 0                               -1
whole number, number      INT64 or DOUBLE, and ``has_NAME`` (BOOL)   ``has_NAME`` false
vector                    FLOAT16_VECTOR, before 2.5 FLOAT_VECTOR    never
any of these, added later a key of ``more`` (JSON)                   no such key
========================  =========================================  ==========================================

A collection keeps the fields it was made with, and has no more than 64: what comes later, or would be too many, is
loose in ``more``. A text that begins with ``\\x00`` or ``\\x01`` gets one more ``\\x01`` before it, so the order of
texts and what begins with what stay as they are. A field's description is the column's name.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from lapel.errors import SearchIndexError
from lapel.retrieval.filter_tree import Kind
from lapel.retrieval.layout import kind_of

KEY, VECTOR, MORE, HAS, ESCAPE = "id", "vector", "more", "has_", "\x01"
LONGEST_TEXT, MOST_LABELS, MOST_FIELDS = 65535, 4096, 64  # bytes, values, fields: the most that Milvus takes
_KINDS: Mapping[Kind, tuple[pa.DataType, str]] = {
    "text": (pa.string(), "VARCHAR"),
    "integer": (pa.int64(), "INT64"),
    "number": (pa.float64(), "DOUBLE"),
    "truth": (pa.bool_(), "INT8"),
    "labels": (pa.list_(pa.string()), "ARRAY"),
}
Row: TypeAlias = Mapping[str, Any]
Setting: TypeAlias = tuple[str, str, dict[str, Any]]


@dataclass(frozen=True)
class Field:
    """A column and where it lies: in fields of its own, or loose in ``more`` under ``key``."""

    column: str
    type: pa.DataType
    key: str = ""

    @cached_property
    def name(self) -> str:
        """Its field."""
        return MORE if self.key else name_of(self.column)

    @cached_property
    def kind(self) -> Kind | None:
        """What it holds for filters; None for the vector."""
        return None if self.column == VECTOR else kind_of(self.type)

    @cached_property
    def names(self) -> list[str]:
        """Its field, and that which says whether there is a value, if there is one."""
        pair = self.kind in ("integer", "number") and not self.key
        return [self.name, HAS + self.name] if pair else [self.name]

    def settings(self, float16: bool) -> list[Setting]:
        """Name, Milvus type and options of each of its fields."""
        about = {"description": self.column}
        if self.kind is None:
            return [(self.name, "FLOAT16_VECTOR" if float16 else "FLOAT_VECTOR", {"dim": self.type.list_size, **about})]
        options: dict[str, Any] = dict(about)
        if self.kind in ("text", "labels"):
            options["max_length"] = LONGEST_TEXT
        if self.kind == "labels":
            options |= {"element_type": "VARCHAR", "max_capacity": MOST_LABELS}
        if self.column == KEY:
            options["is_primary"] = True
        return [(self.name, _KINDS[self.kind][1], options), *((name, "BOOL", about) for name in self.names[1:])]

    def write(self, column: pa.ChunkedArray, rows: Sequence[dict[str, Any]], float16: bool) -> None:
        """Put a column into rows for Milvus."""
        if self.kind is None:
            flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
            vectors = flat.astype(np.float16 if float16 else np.float32).reshape(len(rows), -1)
            for row, vector in zip(rows, vectors, strict=True):
                row[self.name] = vector
            return
        key, name, has = self.key, self.name, self.names[1:]
        for row, value in zip(rows, column.to_pylist(), strict=True):
            if key:
                if value is not None:
                    row[MORE][key] = self._stored(value)
            else:
                row[name] = value if self.column == KEY else self._stored(value)
                for each in has:
                    row[each] = value is not None

    def read(self, rows: Sequence[Row]) -> pa.Array:
        """Return its column of rows that Milvus gave."""
        if self.kind is None:
            found = [_numbers(row[self.name]) for row in rows]
            flat = np.concatenate(found) if found else np.empty(0)
            return pa.FixedSizeListArray.from_arrays(pa.array(flat.astype(np.float16)), self.type.list_size)
        if self.column == KEY:
            return pa.array([row[KEY] for row in rows], self.type)
        key, name, has, values = self.key, self.name, self.names[-1], []
        for row in rows:
            value = row[MORE].get(key) if key else row[name]
            there = key in row[MORE] if key else row[has] if has != name else self._is(value)
            values.append(self._plain(value) if there else None)
        return pa.array(values, self.type)

    def _stored(self, value: Any) -> Any:
        """A value, or None, as its field holds it."""
        if self.kind == "text":
            return "" if value is None else held(value)
        if self.kind == "labels":
            return [] if value is None else [*map(held, value)] or [""]
        if self.kind == "truth":
            return -1 if value is None else int(value)
        if self.key and not math.isfinite(value):
            raise SearchIndexError(f"{self.column!r} has the value {value}, which a column added later cannot hold")
        return value if value is not None else 0 if self.kind == "integer" else 0.0

    def _is(self, value: Any) -> bool:
        """Whether what a field holds is a value."""
        return value >= 0 if self.kind == "truth" else len(value) > 0

    def _plain(self, value: Any) -> Any:
        if self.kind == "text":
            return value[value.startswith(ESCAPE) :]
        if self.kind == "labels":
            return [each[each.startswith(ESCAPE) :] for each in value if each]
        return bool(value) if self.kind == "truth" else float(value) if self.kind == "number" else value


def fields_of(schema: pa.Schema) -> list[Field]:
    """Say where the columns of a table are to lie in a new collection.

    Raises:
        SearchIndexError: a column of a type that an index does not have.
    """
    fields, left = [], MOST_FIELDS - 2  # besides the vector and ``more``
    for column in schema:
        field = Field(column.name, column.type)
        if field.kind is not None:
            if field.type != _KINDS[field.kind][0]:
                raise SearchIndexError(f"column {field.column!r} has type {field.type}, which Milvus cannot hold")
            if len(field.names) > left:
                field = loose(field, 0)
            else:
                left -= len(field.names)
        fields.append(field)
    return fields


def loose(field: Field, number: int) -> Field:
    """Put a column into ``more``, under a key that its name and ``number`` make."""
    return replace(field, key=f"{name_of(field.column)}_{number}")


def fields_in(description: Row, added: str) -> list[Field]:
    """Return the columns of a collection.

    Args:
        description: what Milvus says of the collection: the inverse of ``Field.settings``.
        added: of what is loose, as ``write_loose`` returned it; "" for nothing.
    """
    kinds = {milvus: type for type, milvus in _KINDS.values()}
    found = []
    for field in description["fields"]:
        milvus = field["type"].name
        if milvus.endswith("_VECTOR"):
            found.append(Field(VECTOR, pa.list_(pa.float16(), int(field["params"]["dim"]))))
        elif milvus in kinds:
            found.append(Field(field["description"], kinds[milvus]))
    for column, (kind, key) in json.loads(added or "{}").items():
        found.append(Field(column, _KINDS[kind][0], key))
    return found


def write_loose(fields: Iterable[Field]) -> str:
    """Say which of the columns are loose, for a property of the collection."""
    return json.dumps({field.column: [field.kind, field.key] for field in fields if field.key})


def to_rows(table: pa.Table, fields: Sequence[Field], float16: bool) -> list[dict[str, Any]]:
    """Return a table as rows for Milvus."""
    rows: list[dict[str, Any]] = [{MORE: {}} for _ in range(table.num_rows)]
    for field in fields:
        field.write(table[field.column], rows, float16)
    return rows


def to_table(rows: Sequence[Row], fields: Sequence[Field]) -> pa.Table:
    """Return rows that Milvus gave as a table."""
    return pa.table({field.column: field.read(rows) for field in fields})


def name_of(column: str) -> str:
    """Return a column's name as Milvus takes it: letters, digits and _.

    >>> name_of("meta_price"), name_of("meta_size%2Eeu")
    ('meta_price', 'meta_size_2Eeu_12c27822')
    """
    plain = re.sub(r"\W", "_", column, flags=re.ASCII)[:200]
    return column if plain == column else f"{plain}_{hashlib.sha256(column.encode()).hexdigest()[:8]}"


def held(value: str) -> str:
    """Return a text as a field holds it, where ``""`` stands for a missing one.

    >>> held("Red"), held("")
    ('Red', '\\x01')
    """
    return ESCAPE + value if value[:1] in ("", "\x00", ESCAPE) else value


def _numbers(vector: Any) -> np.ndarray[Any, np.dtype[Any]]:
    """A vector as Milvus gives it: floats, or the bytes of 16-bit ones."""
    if isinstance(vector, list) and len(vector) == 1 and isinstance(vector[0], bytes):
        vector = vector[0]
    return np.frombuffer(vector, np.float16) if isinstance(vector, bytes) else np.asarray(vector)
