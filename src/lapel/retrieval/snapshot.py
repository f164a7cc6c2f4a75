"""The rows of an index laid out for exact search: read without the engine, whose import alone takes seconds.

``snapshot.json`` names the table version it shows and its files: ``.npy``, one block of (room, D) float32 after the
other, one per attribute, so that a query on one attribute touches only that attribute's block; ``.arrow``, all other
columns; ``.changes``, the rows that changed since (``changes.py``). The first N of each block are in use, and a reader
puts the changes into memory of its own, in their places and into the rest of the room. The files are mapped, not read;
the json is replaced last, so a reader never sees two halves.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lapel.files import atomic_write, disk_error
from lapel.retrieval import changes
from lapel.retrieval.lance_store import state
from lapel.retrieval.layout import IndexRecord
from lapel.retrieval.store import Store

POINTER = "snapshot.json"
FORMAT = "lapel-snapshot-2"
FORMATS = ("lapel-snapshot-1", FORMAT)  # the first knew no changes, and its blocks no more room than rows
# Changes that a snapshot has room for. Each opening puts them in their places, so more of them make it slow.
ROOM_SHARE, ROOM_LEAST, ROOM_MOST = 8, 64, 1024
Floats = npt.NDArray[np.float32]
Blocks = tuple[Floats, ...]


@dataclass(frozen=True)
class Snapshot:
    """Rows and their vectors, in any order.

    Attributes:
        rows: (N) every column of the table but ``vector``.
        vectors: per attribute (N, D) float32.
    """

    rows: pa.Table
    vectors: Blocks

    @classmethod
    def open(cls, folder: Path, record: IndexRecord) -> Snapshot | None:
        """Map an index's snapshot; None if there is none that shows the table's newest version."""
        # The second try is for a writer that replaced the files after the first read of the pointer.
        for _ in range(2):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, pa.ArrowException):
                pointer = _Pointer.read(folder)
                if pointer.state != state(folder):
                    return None
                with pa.memory_map(str(folder / pointer.rows)) as source:
                    rows = pa.ipc.open_file(source).read_all()
                room = pointer.room or rows.num_rows
                # Copied on write: what changed is this process's own, the rest is shared with others.
                mode: Literal["r", "c"] = "c" if pointer.size else "r"
                flat = np.load(folder / pointer.vectors, mmap_mode=mode, allow_pickle=False)
                if flat.size != room * record.width or flat.dtype != np.float32:
                    continue
                # The first version wrote (A, N, D): the same numbers in the same order.
                vectors = blocks(flat.reshape(-1), room, record.dims)
                if pointer.size:
                    changed = changes.read(folder / pointer.changes, pointer.size)
                    present = changed["vector"]
                    present = present.drop_null() if present.null_count else present
                    fresh = split(present, record.dims) if len(present) else tuple(each[:0] for each in vectors)
                    rows, vectors = changes.merge(rows, vectors, changed, fresh)
                return cls(rows, tuple(block[: rows.num_rows] for block in vectors))
        return None

    @classmethod
    def load(cls, store: Store, record: IndexRecord) -> Snapshot:
        """Read the rows from the engine into memory: 4 bytes per number."""
        rows, places = _sorted(store)
        vectors = blocks(np.empty(rows.num_rows * record.width, np.float32), rows.num_rows, record.dims)
        _fill(store, places, vectors)
        return cls(rows, vectors)


@dataclass(frozen=True)
class _Pointer:
    """``snapshot.json``.

    Attributes:
        state: the table version that the snapshot shows.
        vectors, rows, changes: file names.
        count: rows in the files.
        room: rows that each block has room for; 0: for no more than there are.
        noted: rows in the log of changes.
        size: its bytes.
    """

    state: str
    vectors: str
    rows: str
    changes: str = ""
    count: int = 0
    room: int = 0
    noted: int = 0
    size: int = 0

    @classmethod
    def read(cls, folder: Path) -> _Pointer:
        """Read it; OSError, ValueError, KeyError or TypeError where there is none of ours."""
        found = json.loads((folder / POINTER).read_text("utf-8"))
        if found.pop("format") not in FORMATS:
            raise ValueError("another format")
        return cls(**found)

    def write(self, folder: Path) -> None:
        atomic_write(folder / POINTER, json.dumps({"format": FORMAT, **asdict(self)}) + "\n")


def write(folder: Path, store: Store, record: IndexRecord) -> None:
    """Write the snapshot of a table's newest version, then remove the files of older ones.

    Raises:
        LapelError: the disk is full; the older snapshot is untouched.
    """
    shown = state(folder)
    name = f"snapshot-{shown}-{uuid.uuid4().hex[:8]}"
    rows, places = _sorted(store)
    count = rows.num_rows
    room = count + min(ROOM_LEAST + count // ROOM_SHARE, ROOM_MOST)
    pointer = _Pointer(str(shown), f"{name}.npy", f"{name}.arrow", f"{name}.changes", count, room)
    try:
        flat = _allocate(folder / pointer.vectors, pointer.room * record.width)
        _fill(store, places, blocks(flat, pointer.room, record.dims))
        flat.flush()
        with (folder / pointer.rows).open("wb") as sink:
            with pa.ipc.new_file(sink, rows.schema) as writer:
                writer.write_table(rows)
            sink.flush()
            os.fsync(sink.fileno())
        pointer.write(folder)
    except BaseException as error:
        for path in (pointer.vectors, pointer.rows):
            (folder / path).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise disk_error(folder, error) from error
        raise
    remove(folder, keep=name)


def note(folder: Path, before: str | None, rows: pa.Table | None = None, gone: Sequence[str] = ()) -> float | None:
    """Let the snapshot of the table version ``before`` show the newest one, which differs by these rows.

    Args:
        folder: of the index.
        before: the table version before the change.
        rows: those added or replaced, with all columns of the table.
        gone: ids removed.

    Returns:
        The share of the room for changes that is used; None if the snapshot has to be written anew: there is none of
        that version, or not enough room.

    Raises:
        LapelError: the disk is full; the table has the rows, the snapshot still shows what was before.
    """
    try:
        pointer = _Pointer.read(folder)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    more, room = (0 if rows is None else rows.num_rows) + len(gone), pointer.room - pointer.count
    if pointer.state != before or pointer.noted + more > room:
        return None
    try:
        size = changes.append(folder / pointer.changes, pointer.size, rows, gone) if more else pointer.size
    except OSError as error:
        raise disk_error(folder, error) from error
    pointer = replace(pointer, state=str(state(folder)), noted=pointer.noted + more, size=size)
    pointer.write(folder)
    return pointer.noted / room if room else 0.0


def is_behind(folder: Path) -> bool:
    """Whether there is a snapshot, of an older version than the table's newest: a writer may be about to replace it."""
    try:
        return _Pointer.read(folder).state != state(folder)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def remove(folder: Path, keep: str | None = None) -> bool:
    """Remove the snapshot's files, or those of older ones; a reader that has them mapped keeps them.

    Returns whether there was a snapshot.
    """
    there = (folder / POINTER).is_file()
    if keep is None:
        (folder / POINTER).unlink(missing_ok=True)
    for path in folder.glob("snapshot-*"):
        if keep is None or not path.name.startswith(f"{keep}."):
            path.unlink(missing_ok=True)
    return there


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
