"""The rows of an index laid out for exact search: read without the engine, whose import alone takes seconds.

``snapshot.json`` names the table version it was made from and two files: ``.npy``, the vectors as (A, N, D)
float32, so that a query on one attribute touches only that attribute's block; ``.arrow``, all other columns.
Rows are sorted by id. The files are mapped, not read; the json is replaced last, so a reader never sees two
halves.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import uuid
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


@dataclass(frozen=True)
class Snapshot:
    """Rows sorted by id, and their vectors.

    Attributes:
        rows: (N) every column of the table but ``vector``.
        vectors: (A, N, D) float32.
        state: the table version it shows.
    """

    rows: pa.Table
    vectors: Floats
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
                vectors = np.load(folder / pointer["vectors"], mmap_mode="r", allow_pickle=False)
                with pa.memory_map(str(folder / pointer["rows"])) as source:
                    rows = pa.ipc.open_file(source).read_all()
                wanted = (len(record.attributes), rows.num_rows, record.dim)
                if vectors.shape == wanted and vectors.dtype == np.float32:
                    return cls(rows, vectors, pointer["state"])
        return None

    @classmethod
    def load(cls, store: Store, record: IndexRecord, shown: str | None) -> Snapshot:
        """Read the rows from the engine into memory: N x A x D x 4 bytes."""
        rows, places = _sorted(store)
        vectors = np.empty((len(record.attributes), rows.num_rows, record.dim), np.float32)
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
        vectors = _allocate(matrix_path, (len(record.attributes), rows.num_rows, record.dim))
        _fill(store, places, vectors)
        vectors.flush()
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


def _fill(store: Store, order: dict[str, int], vectors: npt.NDArray[Any]) -> None:
    """Put every row's vectors in its place, batch by batch."""
    attributes, _, dim = vectors.shape
    for batch in store.batches(["id", "vector"]):
        places = [order[name] for name in batch.column("id").to_pylist()]
        vectors[:, places] = matrix(batch.column("vector"), attributes, dim).swapaxes(0, 1)


def _allocate(path: Path, shape: tuple[int, int, int]) -> np.memmap[Any, np.dtype[np.float32]]:
    """Make a .npy file of float32 and map it.

    Its space is claimed first: writing to a mapped file that the full disk cannot hold would kill the
    process.
    """
    with path.open("wb") as stream:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        stream.flush()
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(stream.fileno(), stream.tell(), 4 * math.prod(shape))
        else:
            stream.truncate(stream.tell() + 4 * math.prod(shape))
    mapped: np.memmap[Any, np.dtype[np.float32]] = np.load(path, mmap_mode="r+")
    return mapped


def matrix(column: pa.Array | pa.ChunkedArray, attributes: int, dim: int) -> Floats:
    """Return a vector column as (N, A, D) float32, every vector of length one again after float16."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    flat = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    vectors = flat.reshape(len(column), attributes, dim)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=2, keepdims=True))
