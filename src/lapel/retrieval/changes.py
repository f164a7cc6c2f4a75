"""What changed since a snapshot was written, noted beside it: one row more does not cost all rows again.

The log is one Arrow stream after the other, one for each commit of the table: the rows as they are now with their
vectors, and the ids that are gone, whose vector is missing.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Blocks = tuple[npt.NDArray[np.float32], ...]


def append(path: Path, size: int, rows: pa.Table | None, gone: Sequence[str]) -> int:
    """Write one more change behind the first ``size`` bytes of a log; return its size then.

    Whatever lies behind ``size`` was never told of: a writer was stopped before it could.

    Raises:
        OSError: the disk is full.
    """
    left = pa.table({"id": pa.array(gone, pa.string()), "vector": pa.nulls(len(gone))})
    table = left if rows is None else pa.concat_tables([rows, left], promote_options="default")
    with path.open("r+b" if size else "wb") as stream:
        stream.truncate(size)
        stream.seek(size)
        with pa.ipc.new_stream(stream, table.schema) as writer:
            writer.write_table(table.combine_chunks())
        stream.flush()
        os.fsync(stream.fileno())
        return stream.seek(0, io.SEEK_END)


def read(path: Path, size: int) -> pa.Table:
    """Return the last that the first ``size`` bytes of a log say of each id.

    Raises:
        OSError: there is no such file.
        ValueError: it is cut short or altered.
    """
    with path.open("rb") as file:
        data = file.read(size)
    if len(data) < size:
        raise ValueError(f"{path} has {len(data)} bytes, expected {size}")
    stream, tables = pa.BufferReader(data), []
    while stream.tell() < size:
        tables.append(pa.ipc.open_stream(stream).read_all())
    table = pa.concat_tables(tables, promote_options="default")
    last = {name: place for place, name in enumerate(table["id"].to_pylist())}
    if len(last) < table.num_rows:
        table = table.take(pa.array(list(last.values()), pa.int64()))
    return table.combine_chunks()


def merge(rows: pa.Table, room: Blocks, changes: pa.Table, vectors: Blocks) -> tuple[pa.Table, Blocks]:
    """Bring rows to what changes say of them, in any order.

    Args:
        rows: (N) without vectors.
        room: per attribute (at least N + added, D): the rows' vectors, which are overwritten, and room for more.
        changes: one row for each id, with a column ``vector`` that is missing where the id is gone.
        vectors: per attribute (present, D): of the changes whose vector is there.

    Returns:
        rows and per attribute (their number, D): a view of ``room``.
    """
    count = rows.num_rows
    place = pc.fill_null(pc.index_in(changes["id"], value_set=rows["id"].combine_chunks()), -1).to_numpy().copy()
    present = changes["vector"].is_valid().to_numpy()
    fresh = present & (place < 0)
    place[fresh] = count + np.arange(np.count_nonzero(fresh))
    total = count + np.count_nonzero(fresh)
    source = np.arange(total)  # of each place: its number among the rows followed by the changes
    source[place[present]] = count + np.flatnonzero(present)
    for block, found in zip(room, vectors, strict=True):
        block[place[present]] = found
    # The last ones move to where one is gone.
    gone = np.zeros(total, bool)
    gone[place[~present & (place >= 0)]] = True
    kept = total - np.count_nonzero(gone)
    holes, moved = np.flatnonzero(gone[:kept]), kept + np.flatnonzero(~gone[kept:])
    source[holes] = source[moved]
    for block in room:
        block[holes] = block[moved]
    every = pa.concat_tables([rows, changes.drop_columns(["vector"])], promote_options="default")
    return every.take(pa.array(source[:kept])).combine_chunks(), tuple(block[:kept] for block in room)
