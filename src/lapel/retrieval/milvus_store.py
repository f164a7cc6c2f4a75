"""The engine for more rows than one machine holds: a collection on a Milvus server, 2.3 or later.

The collection that an index names is an alias. What it stands for, ``NAME_1``, gives way to ``NAME_2`` in one step when
a column goes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lapel.retrieval.filter_tree import Filter
from lapel.retrieval.milvus_client import WAIT, connect, trouble
from lapel.retrieval.milvus_collection import EF, METRIC, Collection, make, modern
from lapel.retrieval.milvus_rows import (
    KEY,
    VECTOR,
    Field,
    fields_of,
    loose,
    to_rows,
    to_table,
)
from lapel.retrieval.rendering import Expression, columns_in, expression, mask, quoted

MOST = 16384  # rows that a search or a query may give
IDS = 1000  # per condition
BYTES, TEXT = 16 << 20, 2000  # of a message, where the server takes 64 MiB; of a row beside its vector, roughly
IN_ORDER = {"iterator": "True", "reduce_stop_for_best": "True"}  # the rows of the smallest ids first
GENERATION = re.compile(r"_(\d+)$")
EVERY = Expression("", True)


class MilvusStore:
    """The rows of an index in a Milvus collection. Many processes may read and one write.

    Args:
        client: connected to the server.
        uri: of the server, for messages.
        alias: the collection as the index knows it.
        consistency: ``Strong`` sees every change that was acknowledged and waits for the server's tick, up to 200 ms
            per call. ``Session`` sees what was acknowledged when the store was opened and the changes of this process;
            those of others follow when the server comes to them, commonly within a second. ``Bounded`` may be 5 s
            behind in all.

    Raises:
        SearchIndexError: there is no such collection, or it is not ours.
        EngineUnavailable: the server does not answer.
    """

    def __init__(self, client: Any, uri: str, alias: str, consistency: str = "Strong") -> None:
        self.client, self.uri, self.alias = client, uri, alias
        self.consistency = "Strong"
        self._look()
        self.count()  # waits until what was acknowledged can be seen
        self.consistency = consistency

    @classmethod
    def open(cls, uri: str, alias: str, consistency: str = "Strong") -> MilvusStore:
        """Open a collection that ``create`` made."""
        return cls(connect(uri), uri, alias, consistency)

    @classmethod
    def create(cls, uri: str, alias: str, schema: pa.Schema) -> MilvusStore:
        """Open a collection, making an empty one where there is none."""
        client = connect(uri)
        with trouble(uri, alias, "write"):
            if not client.has_collection(alias, timeout=WAIT):
                name = f"{alias}_1"
                make(client, name, fields_of(schema))
                client.create_alias(name, alias, timeout=WAIT)
        return cls(client, uri, alias)

    @property
    def schema(self) -> pa.Schema:
        """Columns and their types."""
        return self._schema

    @property
    def version(self) -> str:
        """Id of the collection, another one where it was replaced, and when it was last changed."""
        with self._trouble():
            return Collection.of(self.client, self.alias).version

    def __len__(self) -> int:
        return self.count()

    def count(self, where: Filter | None = None) -> int:
        """Count the rows that pass, on the server where it can tell."""
        condition = self._condition(where)
        if not condition.exact:
            return sum(table.num_rows for table in self._passing([KEY], where))
        return self._count(condition.text)

    def upsert(self, rows: pa.Table) -> None:
        """Add or replace rows; each message is acknowledged once it is in the server's log."""
        fields, size = self._some(self._schema.names), self._portion(self._schema.names)
        with self._trouble("write"):
            for start in range(0, rows.num_rows, size):
                part = to_rows(rows.slice(start, size), fields, self._float16)
                self.client.upsert(self.name, part, timeout=WAIT)
            self._changed()

    def delete(self, ids: Sequence[str]) -> None:
        """Remove rows, a thousand ids per message."""
        with self._trouble("write"):
            for start in range(0, len(ids), IDS):
                self.client.delete(self.name, filter=_one_of(ids[start : start + IDS]), timeout=WAIT)
            if ids:
                self._changed()

    def reshape(self, schema: pa.Schema) -> None:
        """Add and drop columns; one whose type changed loses its values.

        What is added is loose, at once and whatever the number of rows. Where a column of the collection's own goes,
        the rows are copied into a new one, which then takes its place; who has the old one open reads it until
        ``tidy``.
        """
        old = {field.name: field.type for field in self._schema}
        if old == {field.name: field.type for field in schema}:
            return
        kept = [field for field in schema if old.get(field.name) == field.type]
        names = [field.name for field in kept]
        if any(not field.key and field.column not in names for field in self._fields.values()):
            self._copy(schema, names)
        else:
            with self._trouble("write"):
                number = Collection.of(self.client, self.name).changed_at + 1  # for keys that no column had before
                fresh = [field for field in fields_of(schema) if field.column not in names]
                fields = [*self._some(names), *(loose(field, number) for field in fresh)]
                self._changed(fields)
                self._look()

    def _copy(self, schema: pa.Schema, kept: Sequence[str]) -> None:
        number = int(GENERATION.findall(self.name)[0])
        order = [name for name in self._schema.names if name in kept]
        order += [name for name in schema.names if name not in kept]
        name, fields = f"{self.alias}_{number + 1}", fields_of(pa.schema([schema.field(name) for name in order]))
        with self._trouble("write"):
            float16 = make(self.client, name, fields)
            for batch in self.batches(kept):
                table = pa.Table.from_batches([batch])
                for field in schema:
                    if field.name not in kept:
                        table = table.append_column(field, pa.nulls(table.num_rows, field.type))
                self.client.upsert(name, to_rows(table, fields, float16), timeout=WAIT)
            self.client.alter_alias(name, self.alias, timeout=WAIT)
            self._look()
            self._changed()

    def read(self, columns: Sequence[str], ids: Sequence[str] | None = None, where: Filter | None = None) -> pa.Table:
        """Return some columns of all rows, of those with the given ids or of those that pass."""
        tables = [pa.schema([self._schema.field(name) for name in columns]).empty_table()]
        if ids is None:
            return pa.concat_tables([*tables, *self._passing(columns, where)])
        fields, size = self._some(columns), min(IDS, self._portion(columns))
        with self._trouble():
            for start in range(0, len(ids), size):
                found = self._query(_one_of(ids[start : start + size]), _names(fields))
                tables.append(to_table(found, fields))
        return pa.concat_tables(tables)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Go through all rows in order of id, some thousand at a time."""
        for table in self._passing(columns, None):
            yield from table.combine_chunks().to_batches()

    def nearest(self, vector: npt.NDArray[np.float32], limit: int, where: Filter | None = None) -> pa.Table:
        """Return the nearest rows by the approximate index.

        Where Milvus cannot tell all that pass, it is asked for more and they are filtered here. Where that is not
        enough, more are wanted than it gives at once, or its index comes across fewer than there are (as the makeshift
        one does with a filter, until rows are indexed some seconds after ``tidy``), all that may pass are compared.
        """
        condition, asked = self._condition(where), limit
        while asked <= MOST:
            # Ids first: the vectors of very many rows would be too much for one message.
            found = self._search(vector, asked, condition.text, _needed(condition, where))
            passing = _filtered(found, condition, where)
            if passing.num_rows >= limit or found.num_rows == self._count(condition.text):
                return self._in_order(passing[KEY].to_pylist()[:limit])
            if found.num_rows < asked:
                break
            asked = min(8 * asked, MOST) if asked < MOST else MOST + 1
        return self._in_order(self._compared(vector, limit, where))

    def tidy(self, approximate: bool) -> None:
        """Drop the collections replaced; have what is in the server's memory written out, so that it gets its index.

        Writing, merging and indexing are the server's own work and go on after this.
        """
        with self._trouble("write"):
            for name in self.client.list_collections(timeout=WAIT):
                generation = GENERATION.search(name)
                if generation and name == f"{self.alias}{generation[0]}" and name != self.name:
                    self.client.drop_collection(name, timeout=WAIT)
            if approximate:
                self.client.flush(self.name, timeout=WAIT, _async=True)

    def drop(self) -> None:
        """Remove the collection and all that is in it."""
        with self._trouble("write"):
            self.client.drop_alias(self.alias, timeout=WAIT)
            self.client.drop_collection(self.name, timeout=WAIT)

    def _trouble(self, verb: str = "read") -> AbstractContextManager[None]:
        return trouble(self.uri, self.alias, verb)

    def _look(self) -> None:
        """Learn what the alias stands for, and see that it can be searched."""
        with self._trouble():
            found = Collection.of(self.client, self.alias)
            self.name, self._fields, self._float16 = found.name, found.fields, found.float16
            self._schema = pa.schema([(field.column, field.type) for field in found.fields.values()])
            self._likes = modern(self.client)
            if self.client.get_load_state(self.name, timeout=WAIT)["state"].name != "Loaded":
                self.client.load_collection(self.name, timeout=WAIT)

    def _changed(self, fields: Sequence[Field] | None = None) -> None:
        Collection.of(self.client, self.name).changed(self.client, fields)

    def _condition(self, where: Filter | None) -> Expression:
        return EVERY if where is None else expression(where, self._fields, self._likes)

    def _count(self, text: str) -> int:
        with self._trouble():
            return int(self._query(text, ["count(*)"])[0]["count(*)"])

    def _query(self, text: str, names: Sequence[str], **options: Any) -> Sequence[Any]:
        level = self.consistency
        found: Sequence[Any] = self.client.query(
            self.name, text, output_fields=list(names), consistency_level=level, timeout=WAIT, **options
        )
        return found

    def _search(self, vector: npt.NDArray[np.float32], limit: int, text: str, columns: Iterable[str]) -> pa.Table:
        """Ids and some columns of the nearest rows under a condition of Milvus', best first."""
        # Of length one, in which the order is the same: a weight may be larger than a 16-bit number can be.
        query = vector / (np.linalg.norm(vector) or 1)
        fields = self._some([KEY, *columns])
        with self._trouble():
            found = self.client.search(
                self.name,
                data=[query.astype(np.float16 if self._float16 else np.float32)],
                filter=text,
                limit=limit,
                output_fields=_names(fields),
                search_params={"metric_type": METRIC, "params": {"ef": max(EF, limit)}},
                anns_field=VECTOR,
                consistency_level=self.consistency,
                timeout=WAIT,
            )
        return to_table([hit["entity"] for hit in found[0]], fields)

    def _in_order(self, ids: Sequence[str]) -> pa.Table:
        rows = self.read(self._schema.names, ids)
        places = pc.index_in(pa.array(ids, pa.string()), value_set=rows[KEY].combine_chunks())
        return rows.take(places.drop_null())  # without what has been deleted meanwhile

    def _compared(self, vector: npt.NDArray[np.float32], limit: int, where: Filter | None) -> list[str]:
        """Ids of the nearest rows of all that pass, compared one by one, best first."""
        ids, best = np.empty(0, object), np.empty(0, np.float32)
        for table in self._passing([KEY, VECTOR], where):
            flat = table[VECTOR].combine_chunks().flatten().to_numpy(zero_copy_only=False)
            scores = flat.astype(np.float32).reshape(table.num_rows, -1) @ vector
            ids = np.concatenate([ids, np.array(table[KEY].to_pylist(), object)])
            best = np.concatenate([best, scores])
            first = np.argsort(-best, kind="stable")[:limit]
            ids, best = ids[first], best[first]
        return list(ids)

    def _passing(self, columns: Sequence[str], where: Filter | None) -> Iterator[pa.Table]:
        """Some columns of the rows that pass, in order of id, one table per message."""
        condition, last = self._condition(where), ""
        rest = f" and {condition.text}" if condition.text else ""
        fields = self._some(dict.fromkeys([KEY, *columns, *_needed(condition, where)]))
        while True:
            with self._trouble():
                text = f"{KEY} > {quoted(last)}{rest}"
                rows = self._query(text, _names(fields), limit=self._portion(columns), **IN_ORDER)
            if not rows:
                return
            table = to_table(rows, fields)
            last = max(table[KEY].to_pylist())
            yield _filtered(table, condition, where).select(list(columns))

    def _some(self, columns: Iterable[str]) -> list[Field]:
        return [self._fields[name] for name in columns]

    def _portion(self, columns: Iterable[str]) -> int:
        """How many rows with these columns make a message."""
        vector = 4 * self._schema.field(VECTOR).type.list_size if VECTOR in columns else 0
        return max(1, min(MOST, BYTES // (vector + TEXT)))


def state(uri: str, alias: str) -> str | None:
    """Name the version of a collection's rows, as ``MilvusStore.version`` does; None where there is none."""
    client = connect(uri)
    with trouble(uri, alias):
        return Collection.of(client, alias).version if client.has_collection(alias, timeout=WAIT) else None


def _needed(condition: Expression, where: Filter | None) -> set[str]:
    """The columns that ``_filtered`` looks at."""
    return set() if condition.exact or where is None else columns_in(where)


def _filtered(table: pa.Table, condition: Expression, where: Filter | None) -> pa.Table:
    """Leave the rows that pass, where Milvus could not tell."""
    return table if condition.exact or where is None else table.filter(pa.array(mask(where, table)))


def _names(fields: Iterable[Field]) -> list[str]:
    return [*dict.fromkeys(name for field in fields for name in field.names)]


def _one_of(ids: Sequence[str]) -> str:
    return f"{KEY} in [{', '.join(map(quoted, ids))}]"
