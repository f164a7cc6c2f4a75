"""Rows in an index that are not of its catalogue, and what becomes of them when the catalogue's columns change."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from lapel.files import atomic_path
from lapel.retrieval import kept
from lapel.retrieval.rows import filled, hashed, retyped
from lapel.retrieval.store import Store

CARRIED = "carried.arrow"
PORTION = 1000  # rows per commit


def rows_apart(folder: Path, store: Store, listed: Collection[str]) -> pa.Table:
    """Return the rows that came by the API, without their vectors, but those whose ids the catalogue lists.

    The catalogue takes these over: their kept images are released.
    """
    rows = store.read([name for name in store.schema.names if name != "vector"], where=kept.OURS)
    taken = pc.is_in(rows["id"], value_set=pa.array(list(listed), pa.string()))
    kept.release(folder, rows.filter(taken)["image"].to_pylist())
    return rows.filter(pc.invert(taken))


def reshape(folder: Path, store: Store, schema: pa.Schema, apart: pa.Table) -> None:
    """Give the table the columns of ``schema``; what the rows ``apart`` hold in them is kept, whatever stops this.

    A column that changes its type loses its values, and the rows apart are in no catalogue that could give them again.
    """
    kinds = {name: schema.field(name).type for name in filled(apart)}
    if any(apart.schema.field(name).type != kind for name, kind in kinds.items()):
        said = {name: kind for name, kind in kinds.items() if name not in ("id", "hash", "row_hash")}
        cells = pa.table({name: retyped(apart[name], kind) for name, kind in said.items()})
        rows = hashed(apart["id"].to_pylist(), cells).append_column("hash", apart["hash"])
        with atomic_path(folder / CARRIED) as temporary, pa.ipc.new_file(temporary, rows.schema) as writer:
            writer.write_table(rows)
    store.reshape(schema)
    restore(folder, store)


def restore(folder: Path, store: Store) -> None:
    """Take up a change of columns where it was interrupted, if one was. Only for the one writer of an index."""
    path = folder / CARRIED
    if not path.is_file():
        return
    with path.open("rb") as stream:
        rows = pa.ipc.open_file(stream).read_all()
    kinds = {field.name: field.type for field in store.schema}
    # A column of another type: it stopped before the table changed, which therefore has everything.
    if all(kinds.get(field.name, field.type) == field.type for field in rows.schema):
        missing = [field for field in rows.schema if field.name not in kinds]
        if missing:
            store.reshape(pa.schema([*store.schema, *missing]))
        for start in range(0, rows.num_rows, PORTION):
            part = rows.slice(start, PORTION)
            stored = store.read(["id", "vector"], part["id"].to_pylist())
            order = pc.index_in(part["id"].combine_chunks(), value_set=stored["id"].combine_chunks())
            part = part.append_column("vector", stored["vector"].combine_chunks().take(order))
            part = part.filter(order.is_valid())
            store.upsert(pa.concat_tables([store.schema.empty_table(), part], promote_options="default"))
    path.unlink()
