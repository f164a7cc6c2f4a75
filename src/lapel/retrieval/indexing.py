"""From a catalogue to an index: embed what is new or changed, drop what is gone, leave the rest alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lapel.catalogue import Catalogue
from lapel.errors import ImageError, LapelError, SearchIndexError
from lapel.progress import bar
from lapel.retrieval import snapshot
from lapel.retrieval.encoder import QueryEncoder
from lapel.retrieval.index import mismatch
from lapel.retrieval.layout import ENCODER, EXACT_BELOW, LOCK, RECORD, IndexRecord
from lapel.retrieval.rows import content_hashes, row_ids, row_table
from lapel.retrieval.store import LanceStore, Store, state

if TYPE_CHECKING:
    from lapel.image_source import Failure
    from lapel.retrieval.embedder import Embedder

Vectors = npt.NDArray[np.float32]
# A commit costs a file and a version: a thousand rows keep both few, and lose little work to an interruption.
COMMIT_ROWS = 1000


@dataclass
class IndexReport:
    """What one indexing did, in images.

    Attributes:
        added: new in the index.
        changed: embedded again, because the file or its box changed.
        updated: other labels or metadata, not embedded again.
        removed: gone from the catalogue, or no longer readable.
        unchanged: left alone.
        skipped: unreadable, with the reason.
        encoder: why no query encoder could be written, or "".
    """

    added: int = 0
    changed: int = 0
    updated: int = 0
    removed: int = 0
    unchanged: int = 0
    skipped: list[Failure] = field(default_factory=list)
    encoder: str = ""


def index_catalogue(
    catalogue: Catalogue,
    embedder: Embedder,
    path: Path | str,
    max_failed: float = 0.05,
    quiet: bool = False,
    exact_below: int = EXACT_BELOW,
    commit_rows: int = COMMIT_ROWS,
) -> IndexReport:
    """Bring the index at ``path`` to what the catalogue says; make it if there is none.

    Work is committed as it goes: after an interruption the same call takes up where it was. Searches may go
    on meanwhile.

    Args:
        catalogue: what to index, all splits.
        embedder: the run to embed with; an index has vectors of one run only.
        path: the index folder.
        max_failed: share of the catalogue's images that may be unreadable (one image always may, unless it
            is 0).
        quiet: no progress bars.
        exact_below: up to this many rows are searched exactly, more with an approximate index.
        commit_rows: images per commit.

    Raises:
        SearchIndexError: the folder holds something else, the vectors of another run or another catalogue;
            another process is indexing into it; an image is listed twice.
        ImageError: more than ``max_failed`` of the images cannot be read.
        LapelError: the disk is full; what was committed stays.
    """
    folder = Path(path)
    if not 0 <= max_failed <= 1:
        raise SearchIndexError(f"max_failed is a share from 0 to 1, found {max_failed}")
    _existing(folder, embedder)
    ids = row_ids(catalogue)
    folder.mkdir(parents=True, exist_ok=True)
    with _only_writer(folder):
        old = _existing(folder, embedder)  # again: another process may have written until now
        record = IndexRecord(
            run=str(Path(embedder.run).resolve()),
            fingerprint=embedder.fingerprint,
            attributes=tuple(embedder.attributes),
            dim=embedder.dim,
            catalogue=catalogue.name,
            root=str(catalogue.root.resolve()),
            exact_below=exact_below,
        )
        rows = row_table(catalogue, ids)
        if old is not None:
            _same_catalogue(folder, old, record, set(ids))
        allowed = 0 if max_failed == 0 else max(1, int(max_failed * len(ids)))
        hashes = content_hashes(catalogue, allowed, quiet)
        if old is None or replace(old, complete=False, count=0) != record:
            record.write(folder)  # before the table, so that an interruption leaves a folder known as ours
        vector = pa.list_(pa.float16(), record.width)
        schema = rows.schema.append(pa.field("hash", pa.string())).append(pa.field("vector", vector))
        store = LanceStore.create(folder, schema)
        store.reshape(schema)
        limits = _Limits(allowed, commit_rows, quiet)
        report = _bring(store, rows, hashes, catalogue, embedder, limits, lambda: record.write(folder))
        final = replace(record, complete=True, count=len(store))
        small = final.count <= exact_below
        shown = snapshot.Snapshot.open(folder, final) if small else None
        touched = report.added + report.changed + report.updated + report.removed > 0
        unfinished = old is None or not old.complete or old.exact_below != exact_below
        if touched or unfinished or (small and shown is None):
            store.tidy(approximate=not small)
            snapshot.write(folder, store, final) if small else snapshot.remove(folder)
        report.encoder = _write_encoder(folder, embedder)
        if IndexRecord.read(folder) != final:
            final.write(folder)
    return report


def _write_encoder(folder: Path, embedder: Embedder) -> str:
    """Leave the model as ONNX beside the table, for searches that do not wait for torch; return why not, or ""."""
    path = folder / ENCODER
    if path.is_file():
        with contextlib.suppress(SearchIndexError):
            if QueryEncoder(path).fingerprint == embedder.fingerprint:
                return ""
    try:
        embedder.export(path)
    except LapelError as error:  # an index without it is whole; searching loads torch then
        path.unlink(missing_ok=True)
        return str(error)
    return ""


@dataclass(frozen=True)
class _Limits:
    allowed: int  # unreadable images
    commit_rows: int
    quiet: bool


def _bring(
    store: Store,
    rows: pa.Table,
    hashes: list[str | None],
    catalogue: Catalogue,
    embedder: Embedder,
    limits: _Limits,
    begin: Callable[[], None],
) -> IndexReport:
    """Make the store's rows those of the catalogue, calling ``begin`` first if there is anything to do."""
    ids, row_hashes = rows["id"].to_pylist(), rows["row_hash"].to_pylist()
    rows = rows.append_column("hash", pa.array(hashes, pa.string()))
    known = {row["id"]: (row["hash"], row["row_hash"]) for row in store.read(["id", "hash", "row_hash"]).to_pylist()}
    update: list[int] = []
    left: dict[int, None] = {}  # places still to embed
    for place, (name, found) in enumerate(zip(ids, hashes, strict=True)):
        if found is None or known.get(name, ("",))[0] != found:
            left[place] = None
        elif known[name][1] != row_hashes[place]:
            update.append(place)
    report = IndexReport(updated=len(update), unchanged=len(ids) - len(left) - len(update))

    if update or left or not known.keys() <= set(ids):
        begin()
    for start in range(0, len(update), limits.commit_rows):
        part = rows.take(pa.array(update[start : start + limits.commit_rows]))
        stored = store.read(["id", "vector"], part["id"].to_pylist())
        order = pc.index_in(part["id"], stored["id"].combine_chunks())
        store.upsert(part.append_column("vector", stored.take(order)["vector"]))
    for places, vectors, failures in _embedded(catalogue, list(left), embedder, limits):
        report.skipped = failures
        if places:
            part = rows.take(pa.array(places))
            store.upsert(part.append_column("vector", _column(vectors, part["image"])))
        changed = sum(ids[place] in known for place in places)
        report.changed += changed
        report.added += len(places) - changed
        for place in places:
            del left[place]
    # Removal comes last: an indexing that stops because too many files are unreadable has removed nothing.
    # What is left over could not be read; a row with the vectors of what the file was before would be a lie.
    current = {name for place, name in enumerate(ids) if place not in left}
    gone = [name for name in known if name not in current]
    store.delete(gone)
    report.removed = len(gone)
    return report


def _embedded(
    catalogue: Catalogue, places: Sequence[int], embedder: Embedder, limits: _Limits
) -> Iterator[tuple[list[int], Vectors, list[Failure]]]:
    """Embed the given rows: yields (places, (n, A, D) vectors, failures so far), a commit at a time."""
    if not places:
        return
    paths, boxes = catalogue.paths(), catalogue.boxes()
    done: list[int] = []
    vectors: list[Vectors] = []
    with bar("img", limits.quiet) as progress:
        task = progress.add_task("embedding", total=len(places), note="")
        batches = embedder.embed_paths([paths[p] for p in places], [boxes[p] for p in places], max_failed=1.0)
        try:
            for rows, found in batches:
                done += [places[int(row)] for row in rows]
                vectors.append(found)
                skipped = len(embedder.failures)
                progress.update(task, advance=len(rows), note=f"{skipped} skipped" if skipped else "")
                _refuse_many(embedder.failures, limits.allowed, len(paths))
                if len(done) >= limits.commit_rows:
                    yield done, np.concatenate(vectors), list(embedder.failures)
                    done, vectors = [], []
        except KeyboardInterrupt:
            if done:  # what is embedded need not be embedded again
                yield done, np.concatenate(vectors), list(embedder.failures)
            raise
    _refuse_many(embedder.failures, limits.allowed, len(paths))
    yield done, np.concatenate(vectors) if done else np.zeros((0, 1, 1), np.float32), list(embedder.failures)


def _column(vectors: Vectors, images: pa.ChunkedArray) -> pa.Array:
    """(N, A, D) vectors as the table's column."""
    flat = vectors.reshape(len(vectors), -1)
    if not np.isfinite(flat).all():
        image = images[int(np.flatnonzero(~np.isfinite(flat).all(1))[0])].as_py()
        raise SearchIndexError(f"the model gives NaN or infinity for {image}; nothing of this batch was written")
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.astype(np.float16).ravel()), flat.shape[1])


def _refuse_many(failures: Sequence[Failure], allowed: int, total: int) -> None:
    if len(failures) > allowed:
        listed = "".join(f"\n  {failure.path}: {failure.reason}" for failure in failures[:5])
        raise ImageError(
            f"{len(failures)} of {total} images cannot be read, more than the {allowed} allowed (max_failed)."
            f" The first:{listed}"
        )


def _existing(folder: Path, embedder: Embedder) -> IndexRecord | None:
    """Return the record of the index at ``folder``; None if there is nothing yet."""
    if folder.exists() and not folder.is_dir():
        raise SearchIndexError(f"{folder} is a file; expected a folder for the index")
    if not folder.is_dir() or not (folder / RECORD).exists():
        found = sorted(entry.name for entry in folder.iterdir() if entry.name != LOCK) if folder.is_dir() else []
        if found:
            raise SearchIndexError(
                f"{folder} is not an index and holds other files ({', '.join(found[:5])}): give an empty or new folder"
            )
        return None
    record = IndexRecord.read(folder)
    if record.fingerprint != embedder.fingerprint:
        raise SearchIndexError(mismatch(folder, record, Path(embedder.run), embedder.fingerprint))
    if record.attributes != tuple(embedder.attributes) or record.dim != embedder.dim:
        raise SearchIndexError(
            f"{folder} holds {len(record.attributes)} attributes of {record.dim} numbers, the run gives "
            f"{len(embedder.attributes)} of {embedder.dim}: index into another folder"
        )
    return record


def _same_catalogue(folder: Path, old: IndexRecord, new: IndexRecord, ids: set[str]) -> None:
    """Raise if the index holds a catalogue of another place that shares no image."""
    if old.root == new.root or state(folder) is None:
        return
    known = LanceStore.open(folder).read(["id"])["id"].to_pylist()
    if known and ids.isdisjoint(known):
        raise SearchIndexError(
            f"{folder} holds catalogue {old.catalogue!r} ({old.root}), which shares no image with "
            f"{new.catalogue!r} ({new.root}): index it into another folder"
        )


@contextlib.contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """Hold the index for writing; the lock goes with the process, however it ends."""
    with (folder / LOCK).open("a") as stream:
        try:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # Windows: one writer is then up to the user
            pass
        except OSError as error:
            raise SearchIndexError(f"another process is indexing into {folder}: wait until it ends") from error
        yield
