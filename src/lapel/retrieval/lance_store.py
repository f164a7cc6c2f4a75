"""The embedded engine: LanceDB, a table in the index folder itself, ``images.lance``."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lapel.errors import LapelError, SearchIndexError
from lapel.files import disk_error
from lapel.retrieval.filter_tree import Column, Filter
from lapel.retrieval.rendering import sql, text

TABLE = "images"
CHUNK = 1000  # ids per condition
# Weights act on the query only, so a query may live in one attribute of many, and quantisation error counts
# for more than usual. Measured on 20,000 x 4 x 64 independent vectors, one attribute asked for, recall@10: 1
# bit .61 (.95 with 12 times the candidates re-scored), 4 bits 1.0 at the same time per query.
BITS, REFINE, EVERY_PARTITION = 4, 10, 1 << 16


class LanceStore:
    """A LanceDB table in a folder of its own, ``images.lance``. Many processes may read while one writes."""

    def __init__(self, table: Any, folder: Path) -> None:
        self.table, self.folder = table, folder

    @classmethod
    def open(cls, folder: Path) -> LanceStore:
        """Open the table of an index folder.

        Raises:
            SearchIndexError: there is none, or it cannot be read.
        """
        if not (folder / f"{TABLE}.lance").is_dir():
            raise SearchIndexError(f"index {folder} has no rows yet: run lapel index again, it takes up where it was")
        with _trouble(folder, "read"):
            return cls(_connect(folder).open_table(TABLE), folder)

    @classmethod
    def create(cls, folder: Path, schema: pa.Schema) -> LanceStore:
        """Open the table, making an empty one where there is none."""
        if state(folder) is not None:
            return cls.open(folder)
        data = folder / f"{TABLE}.lance" / "data"
        if data.is_dir() and any(data.iterdir()):
            raise SearchIndexError(
                f"{folder} holds rows but no version of them: restore it, or index into a new folder"
            )
        with _trouble(folder, "write"):
            shutil.rmtree(folder / f"{TABLE}.lance", ignore_errors=True)  # a creation that was interrupted
            return cls(_connect(folder).create_table(TABLE, schema=schema), folder)

    @property
    def schema(self) -> pa.Schema:
        """Columns and their types."""
        return self.table.schema

    @property
    def version(self) -> str | None:
        """Number of the table's newest version."""
        return state(self.folder)

    def __len__(self) -> int:
        return self.count()

    def count(self, where: Filter | None = None) -> int:
        """Count the rows that pass, without reading them."""
        with _trouble(self.folder, "read"):
            return int(self.table.count_rows(None if where is None else sql(where, self._values)))

    def upsert(self, rows: pa.Table) -> None:
        """Add or replace rows in one commit."""
        with _trouble(self.folder, "write"):
            merge = self.table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
            merge.execute(rows.select(self.schema.names))

    def delete(self, ids: Sequence[str]) -> None:
        """Remove rows, a thousand ids per commit."""
        with _trouble(self.folder, "write"):
            for start in range(0, len(ids), CHUNK):
                self.table.delete(_one_of(ids[start : start + CHUNK]))

    def reshape(self, schema: pa.Schema) -> None:
        """Add and drop columns; one whose type changed loses its values."""
        old = {field.name: field.type for field in self.schema}
        gone = [name for name, kind in old.items() if name not in schema.names or schema.field(name).type != kind]
        fresh = [field for field in schema if field.name not in old or field.name in gone]
        with _trouble(self.folder, "write"):
            if gone:
                self.table.drop_columns(gone)
            if fresh:
                self.table.add_columns(fresh)

    def read(self, columns: Sequence[str], ids: Sequence[str] | None = None, where: Filter | None = None) -> pa.Table:
        """Return some columns of all rows, of those with the given ids or of those that pass."""
        conditions: list[str | None] = [None if where is None else sql(where, self._values)]
        if ids is not None:
            conditions = [_one_of(ids[start : start + CHUNK]) for start in range(0, max(1, len(ids)), CHUNK)]
        with _trouble(self.folder, "read"):
            queries = [self.table.search().where(condition or "TRUE").select(list(columns)) for condition in conditions]
            return pa.concat_tables(query.to_arrow() for query in queries)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Go through all rows, some thousand at a time."""
        with _trouble(self.folder, "read"):
            yield from self.table.search().select(list(columns)).to_batches(4096)

    def nearest(self, vector: npt.NDArray[np.float32], limit: int, where: Filter | None = None) -> pa.Table:
        """Return the nearest rows by scan, or by the approximate index with re-scoring."""
        # Of length one, in which the order is the same: a weight may be larger than a 16-bit number can be.
        unit = vector / (np.linalg.norm(vector) or 1)
        with _trouble(self.folder, "read"):
            query = self.table.search(unit, vector_column_name="vector").distance_type("dot").limit(limit)
            query = query.nprobes(EVERY_PARTITION).refine_factor(REFINE)
            if where is not None:
                query = query.where(sql(where, self._values), prefilter=True)
            return query.to_arrow().drop_columns(["_distance"])

    def tidy(self, approximate: bool) -> None:
        """Compact, index and clean up; open readers keep the versions of the last hour."""
        count = len(self)
        with _trouble(self.folder, "write"):
            indexed = {column for index in self.table.list_indices() for column in index.columns}
            if approximate and "vector" not in indexed and self._width() % 8 == 0:
                from lancedb.index import BTree, IvfRq

                parts = max(1, min(1024, math.isqrt(count)))
                self.table.create_index("vector", config=IvfRq("dot", num_partitions=parts, num_bits=BITS))
                self.table.create_index("id", config=BTree())
            if not approximate and "vector" in indexed:
                for index in self.table.list_indices():
                    self.table.drop_index(index.name)
            self.table.optimize(cleanup_older_than=timedelta(hours=1))

    def _width(self) -> int:
        return int(self.schema.field("vector").type.list_size)

    def _values(self, column: Column) -> list[str]:
        found = pc.unique(pc.list_flatten(self.read([column.field])[column.field]))
        return [value for value in found.to_pylist() if value is not None]


def state(folder: Path) -> str | None:
    """Name the table's newest version from its file names alone: importing the engine to ask takes seconds.

    Lance names the manifest of version v either ``v.manifest`` or, so that the newest sorts first, 2^64 - 1
    - v in 20 digits.
    """
    try:
        # listdir: at thousands of versions a glob takes seven times as long, and every write asks.
        found = os.listdir(folder / f"{TABLE}.lance" / "_versions")  # noqa: PTH208
    except OSError:
        return None
    names = [name.removesuffix(".manifest") for name in found if name.endswith(".manifest")]
    numbers = [int(name) if len(name) < 20 else 2**64 - 1 - int(name) for name in names if name.isdecimal()]
    return str(max(numbers)) if numbers else None


def _connect(folder: Path) -> Any:
    import lancedb

    return lancedb.connect(folder)


def _one_of(ids: Sequence[str]) -> str:
    return f"id IN ({', '.join(map(text, ids))})" if ids else "id IS NULL"


@contextlib.contextmanager
def _trouble(folder: Path, verb: str) -> Iterator[None]:
    """Turn what the engine raises into a message a person can act on."""
    try:
        yield
    except LapelError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error)
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or any(sign in reason for sign in ("No space left", "os error 28", "os error 122", "StorageFull")):
            raise disk_error(folder, OSError(errno.ENOSPC, reason)) from error
        first = next(iter(reason.splitlines()), type(error).__name__)[:300]
        advice = (
            "the rows written before are safe" if verb == "write" else "if a file is damaged, index into a new folder"
        )
        raise SearchIndexError(f"cannot {verb} index {folder}: {first} ({advice})") from error
