"""From a catalogue to an index: embed what is new or changed, drop what is gone, leave the rest alone.

An index has the vectors of the runs it was made with, and a row has those of all of them or is not there. Another set
of runs is another index folder.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from lapel.catalogue import Catalogue
from lapel.errors import LapelError, SearchIndexError
from lapel.retrieval import apart, kept, snapshot
from lapel.retrieval.bulk import Limits, column, embedded
from lapel.retrieval.encoder import QueryEncoder
from lapel.retrieval.encoders import mismatch
from lapel.retrieval.engines import create_store, open_store, settled, state
from lapel.retrieval.layout import EXACT_BELOW, LOCK, RECORD, IndexRecord, Source, encoder_path
from lapel.retrieval.locking import only_writer
from lapel.retrieval.projection import given_dims, short_runs
from lapel.retrieval.rows import content_hashes, row_ids, row_table
from lapel.retrieval.store import Store

if TYPE_CHECKING:
    from lapel.image_source import Failure
    from lapel.retrieval.embedder import Embedder

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
        encoder: why a query encoder could not be written, or "".
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
    embedder: Embedder | Sequence[Embedder],
    path: Path | str,
    max_failed: float = 0.05,
    quiet: bool = False,
    exact_below: int = EXACT_BELOW,
    commit_rows: int = COMMIT_ROWS,
    engine: str | None = None,
    uri: str | None = None,
) -> IndexReport:
    """Bring the index at ``path`` to what the catalogue says; make it if there is none.

    Work is committed as it goes: after an interruption the same call takes up where it was. Searches may go
    on meanwhile. Images that were written one by one (``writing.py``) stay, unless the catalogue lists their ids.

    Args:
        catalogue: what to index, all splits.
        embedder: the run to embed with, or several, of which no two embed an attribute of the same name; an index
            keeps the runs it was made with.
        path: the index folder.
        max_failed: share of the catalogue's images that may be unreadable (one image always may, unless it
            is 0).
        quiet: no progress bars.
        exact_below: up to this many rows are searched exactly, more with an approximate index.
        commit_rows: images per commit.
        engine: what is to hold the rows of a new index, ``lance`` or ``milvus``; None: ``milvus`` if there is ``uri``.
        uri: address of the Milvus server.

    Raises:
        SearchIndexError: the folder holds something else, the vectors of other runs or another catalogue;
            another process is indexing into it; an image is listed twice; two runs embed the same; the rows of the
            index are on another engine.
        EngineUnavailable: the server does not answer.
        ImageError: more than ``max_failed`` of the images cannot be read.
        LapelError: the disk is full; what was committed stays.
    """
    folder = Path(path)
    if not 0 <= max_failed <= 1:
        raise SearchIndexError(f"max_failed is a share from 0 to 1, found {max_failed}")
    embedders = [embedder] if not isinstance(embedder, Sequence) else list(embedder)
    _distinct(embedders)
    settled(folder, _existing(folder, embedders), engine, uri)
    ids = row_ids(catalogue)
    folder.mkdir(parents=True, exist_ok=True)
    with only_writer(folder):
        old = _existing(folder, embedders)  # again: another process may have written until now
        if old is not None:  # the order of the vectors is the index's, whatever the runs are given in
            places = [source.fingerprint for source in old.sources]
            embedders.sort(key=lambda one: places.index(one.fingerprint))
            embedders = short_runs(embedders, folder, old)
        rows_at = settled(folder, old, engine, uri)
        record = IndexRecord(
            sources=tuple(_source(one, old) for one in embedders),
            catalogue=catalogue.name,
            root=str(catalogue.root.resolve()),
            exact_below=rows_at.exact_below(exact_below),
            **vars(rows_at),
        )
        beside = None
        if old is not None and state(folder) is not None:
            beside = _beside(folder, old, record, ids)
        rows = row_table(catalogue, ids, beside)
        allowed = 0 if max_failed == 0 else max(1, int(max_failed * len(ids)))
        hashes = content_hashes(catalogue, allowed, quiet)
        if old is None or replace(old, complete=False, count=0) != record:
            record.write(folder)  # before the table, so that an interruption leaves a folder known as ours
        vector = pa.list_(pa.float16(), record.width)
        schema = rows.schema.append(pa.field("hash", pa.string())).append(pa.field("vector", vector))
        store = create_store(folder, rows_at, schema)
        store.reshape(schema) if beside is None else apart.reshape(folder, store, schema, beside)
        limits = Limits(allowed, commit_rows, quiet)
        report = _bring(store, rows, hashes, catalogue, embedders, limits, lambda: record.write(folder))
        final = replace(record, complete=True, count=len(store))
        small = final.count <= final.exact_below
        shown = snapshot.Snapshot.open(folder, final) if small else None
        touched = report.added + report.changed + report.updated + report.removed > 0
        unfinished = old is None or not old.complete or old.exact_below != final.exact_below
        if touched or unfinished or (small and shown is None):
            store.tidy(approximate=not small)
            kept.collect(folder, store)
            snapshot.write(folder, store, final) if small else snapshot.remove(folder)
        failed = (_write_encoder(encoder_path(folder, number), one) for number, one in enumerate(embedders))
        report.encoder = "; ".join(filter(None, failed))
        if IndexRecord.read(folder) != final:
            final.write(folder)
    return report


def _write_encoder(path: Path, embedder: Embedder) -> str:
    """Leave a model as ONNX beside the table, for searches that do not wait for torch; return why not, or ""."""
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


def _bring(
    store: Store,
    rows: pa.Table,
    hashes: list[str | None],
    catalogue: Catalogue,
    embedders: Sequence[Embedder],
    limits: Limits,
    begin: Callable[[], None],
) -> IndexReport:
    """Make the store's rows those of the catalogue, calling ``begin`` first if there is anything to do."""
    ids, row_hashes = rows["id"].to_pylist(), rows["row_hash"].to_pylist()
    rows = rows.append_column("hash", pa.array(hashes, pa.string()))
    stored = store.read(["id", "hash", "row_hash", "image"]).to_pylist()
    known = {row["id"]: (row["hash"], row["row_hash"]) for row in stored}
    foreign = {row["id"] for row in stored if kept.is_kept(row["image"])}  # no catalogue's to remove
    update: list[int] = []
    left: dict[int, None] = {}  # places still to embed
    for place, (name, found) in enumerate(zip(ids, hashes, strict=True)):
        if found is None or known.get(name, ("",))[0] != found:
            left[place] = None
        elif known[name][1] != row_hashes[place]:
            update.append(place)
    dims = [one.dim for one in embedders for _ in one.attributes]
    report = IndexReport(updated=len(update), unchanged=len(ids) - len(left) - len(update))

    if update or left or not known.keys() - foreign <= set(ids):
        begin()
    for start in range(0, len(update), limits.commit_rows):
        part = rows.take(pa.array(update[start : start + limits.commit_rows]))
        stored = store.read(["id", "vector"], part["id"].to_pylist())
        order = pc.index_in(part["id"], stored["id"].combine_chunks())
        store.upsert(part.append_column("vector", stored.take(order)["vector"]))
    for places, vectors, failures in embedded(catalogue, list(left), embedders, limits):
        report.skipped = failures
        if places:
            part = rows.take(pa.array(places))
            store.upsert(part.append_column("vector", column(vectors, part["image"], dims)))
        changed = sum(ids[place] in known for place in places)
        report.changed += changed
        report.added += len(places) - changed
        for place in places:
            del left[place]
    # Removal comes last: an indexing that stops because too many files are unreadable has removed nothing.
    # What is left over could not be read; a row with the vectors of what the file was before would be a lie.
    current = {name for place, name in enumerate(ids) if place not in left}
    gone = [name for name in known if name not in current and name not in foreign]
    store.delete(gone)
    report.removed = len(gone)
    return report


def _source(embedder: Embedder, old: IndexRecord | None) -> Source:
    run = str(Path(embedder.run).resolve())
    for source in old.sources if old else ():
        if source.fingerprint == embedder.fingerprint:  # with the projection that its vectors have here
            return replace(source, run=run)
    return Source(run, embedder.fingerprint, tuple(embedder.attributes), int(embedder.dim))


def _distinct(embedders: Sequence[Embedder]) -> None:
    """Raise unless there is a run, and each attribute is embedded by one run only."""
    if not embedders:
        raise SearchIndexError("an index needs at least one run to embed with")
    twice = [name for name, n in Counter(name for one in embedders for name in one.attributes).items() if n > 1]
    if twice:
        runs = ", ".join(str(one.run) for one in embedders if twice[0] in one.attributes)
        raise SearchIndexError(
            f"runs {runs} all embed {', '.join(map(repr, twice))}, and a search could not say which is meant: "
            "give each an index folder of its own"
        )


def _existing(folder: Path, embedders: Sequence[Embedder]) -> IndexRecord | None:
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
    known = {source.fingerprint: source for source in record.sources}
    given = dict(zip(known, given_dims(folder, record), strict=True))
    for one in embedders:
        dim = given.get(one.fingerprint)
        source = known.pop(one.fingerprint, None)
        if source is None:
            raise SearchIndexError(mismatch(folder, record.sources, one.run, one.fingerprint))
        if (source.attributes, dim) != (tuple(one.attributes), one.dim):
            raise SearchIndexError(
                f"{folder} holds {len(source.attributes)} attributes of {dim} numbers, the run gives "
                f"{len(one.attributes)} of {one.dim}: index into another folder"
            )
    if known:
        raise SearchIndexError(
            f"index {folder} has vectors of run {', '.join(source.run for source in known.values())} too, and a row "
            "has those of all its runs: give --run for each, or index into another folder"
        )
    return record


def _beside(folder: Path, old: IndexRecord, new: IndexRecord, ids: Sequence[str]) -> pa.Table:
    """Return the rows of an index that are not for its catalogue to change.

    Raises:
        SearchIndexError: the index holds a catalogue of another place that shares no image.
    """
    store = open_store(folder, old, "Strong")
    apart.restore(folder, store)
    rows = apart.rows_apart(folder, store, ids)
    if old.root != new.root:
        known = set(store.read(["id"])["id"].to_pylist()) - set(rows["id"].to_pylist())
        if known and known.isdisjoint(ids):
            raise SearchIndexError(
                f"{folder} holds catalogue {old.catalogue!r} ({old.root}), which shares no image with "
                f"{new.catalogue!r} ({new.root}): index it into another folder"
            )
    return rows
