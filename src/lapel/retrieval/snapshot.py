"""The rows of an index laid out for exact search: read without the engine, whose import alone takes seconds.

``snapshot.json`` names the table version it was made from and two files: ``.npy``, one block of (N, D) float32 after
the other, one per attribute, so that a query on one attribute touches only that attribute's block; ``.arrow``, all
other columns. Rows are sorted by id. The files are mapped, not read; the json is replaced last, so a reader never sees
two halves.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lapel.files import atomic_write, disk_error
from lapel.retrieval.layout import IndexRecord
from lapel.retrieval.store import Store, state

POINTER = "snapshot.json"
FORMAT = "lapel-snapshot-1"
Floats = npt.NDArray[np.float32]
Blocks = tuple[Floats, ...]


@dataclass(frozen=True)
class Snapshot:
    """Rows sorted by id, and their vectors.

    Attributes:
        rows: (N) every column of the table but ``vector``.
        vectors: per attribute (N, D) float32.
        state: the table version it shows.
    """

    rows: pa.Table
    vectors: Blocks
    state: str | None

    @classmethod
    def open(cls, folder: Path, record: IndexRecord) -> Snapshot | None:
        """Map an index's snapshot; None if there is none that shows the table's newest version."""
        # The second try is for a writer that replaced the files after the first read of the pointer.
        for _ in range(2):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, pa.ArrowInvalid):
                pointer = json.loads((folder / POINTER).read_text("utf-8"))
                if pointer["format"] != FORMAT or pointer["state"] != state(folder):
                    return None
                flat = np.load(folder / pointer["vectors"], mmap_mode="r", allow_pickle=False)
                with pa.memory_map(str(folder / pointer["rows"])) as source:
                    rows = pa.ipc.open_file(source).read_all()
                if flat.size == rows.num_rows * record.width and flat.dtype == np.float32:
                    # Earlier versions wrote (A, N, D): the same numbers in the same order.
                    return cls(rows, blocks(flat.reshape(-1), rows.num_rows, record.dims), pointer["state"])
        return None

    @classmethod
    def load(cls, store: Store, record: IndexRecord, shown: str | None) -> Snapshot:
        """Read the rows from the engine into memory: 4 bytes per number."""
        rows, places = _sorted(store)
        vectors = blocks(np.empty(rows.num_rows * record.width, np.float32), rows.num_rows, record.dims)
        _fill(store, places, vectors)
        return cls(rows, vectors, shown)


def write(folder: Path, store: Store, record: IndexRecord) -> None:
    """Write the snapshot of a table's newest version, then remove the files of older ones.

    Raises:
        LapelError: the disk is full; the older snapshot is untouched.
    """
    shown = state(folder)
    name = f"snapshot-{shown}-{uuid.uuid4().hex[:8]}"
    matrix_path, rows_path = folder / f"{name}.npy", folder / f"{name}.arrow"
    rows, places = _sorted(store)
    try:
        flat = _allocate(matrix_path, rows.num_rows * record.width)
        _fill(store, places, blocks(flat, rows.num_rows, record.dims))
        flat.flush()
        with pa.OSFile(str(rows_path), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
            writer.write_table(rows)
        pointer = {"format": FORMAT, "state": shown, "vectors": matrix_path.name, "rows": rows_path.name}
        atomic_write(folder / POINTER, json.dumps(pointer) + "\n")
    except BaseException as error:
        matrix_path.unlink(missing_ok=True)
        rows_path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise disk_error(folder, error) from error
        raise
    remove(folder, keep=name)


def remove(folder: Path, keep: str | None = None) -> None:
    """Remove the snapshot's files, or those of older ones; a reader that has them mapped keeps them."""
    if keep is None:
        (folder / POINTER).unlink(missing_ok=True)
    for path in folder.glob("snapshot-*"):
        if keep is None or not path.name.startswith(f"{keep}."):
            path.unlink(missing_ok=True)


def _sorted(store: Store) -> tuple[pa.Table, dict[str, int]]:
    rows = store.read([name for name in store.schema.names if name != "vector"])
    ids = np.array(rows["id"].to_pylist(), object)
    order = np.argsort(ids, kind="stable")
    rows = rows.take(pa.array(order)).combine_chunks()
    return rows, {name: place for place, name in enumerate(ids[order])}


def _fill(store: Store, order: dict[str, int], vectors: Blocks) -> None:
    """Put every row's vectors in its place, batch by batch."""
    dims = tuple(block.shape[1] for block in vectors)
    for batch in store.batches(["id", "vector"]):
        places = [order[name] for name in batch.column("id").to_pylist()]
        for block, found in zip(vectors, split(batch.column("vector"), dims), strict=True):
            block[places] = found


def _allocate(path: Path, count: int) -> np.memmap[Any, np.dtype[np.float32]]:
    """Make a .npy file of ``count`` float32 and map it.

    Its space is claimed first: writing to a mapped file that the full disk cannot hold would kill the
    process.
    """
    with path.open("wb") as stream:
        header = {"descr": "<f4", "fortran_order": False, "shape": (count,)}
        np.lib.format.write_array_header_1_0(stream, header)
        stream.flush()
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(stream.fileno(), stream.tell(), 4 * count)
        else:
            stream.truncate(stream.tell() + 4 * count)
    mapped: np.memmap[Any, np.dtype[np.float32]] = np.load(path, mmap_mode="r+")
    return mapped


def blocks(flat: Floats, count: int, dims: Sequence[int]) -> Blocks:
    """Cut (count x sum of dims,) numbers into one (count, D) view per attribute."""
    edges = np.cumsum([0, *dims]) * count
    return tuple(flat[a:b].reshape(count, dim) for a, b, dim in zip(edges[:-1], edges[1:], dims, strict=True))


def split(column: pa.Array | pa.ChunkedArray, dims: Sequence[int]) -> Blocks:
    """Return a vector column as (N, D) float32 per attribute, every vector of length one again after float16."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    rows = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(len(column), sum(dims))
    parts = np.split(rows, np.cumsum(dims)[:-1], axis=1)
    return tuple(part / np.linalg.norm(part, axis=1, keepdims=True) for part in parts)
