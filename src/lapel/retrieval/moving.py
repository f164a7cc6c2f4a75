"""An index into another folder and onto another engine: row by row, and every row looked at again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from lapel.errors import SearchIndexError
from lapel.files import disk_error
from lapel.progress import bar
from lapel.retrieval import snapshot
from lapel.retrieval.engines import create_store, open_store, settled
from lapel.retrieval.kept import FOLDER
from lapel.retrieval.layout import LOCK, RECORD, IndexRecord
from lapel.retrieval.locking import only_writer
from lapel.retrieval.store import Store

PORTION = 32 << 20  # bytes per commit, roughly


def move(
    index: Path | str, to: Path | str, engine: str | None = None, uri: str | None = None, quiet: bool = False
) -> IndexRecord:
    """Copy an index, its rows onto the engine that is asked for, and check every row afterwards.

    The index stays as it is, and can be searched meanwhile. After an interruption the same call takes up where it was.

    Args:
        index: the index folder.
        to: the folder of the copy: new, empty or of a copy that was interrupted.
        engine: ``lance`` or ``milvus``; None: ``milvus`` if there is ``uri``, else ``lance``.
        uri: address of the Milvus server.
        quiet: no progress bars.

    Returns:
        The record of the copy.

    Raises:
        SearchIndexError: not an index, or an unfinished one; ``to`` holds something else; the engine refuses; a row of
            the copy is not as it was.
        EngineUnavailable: the server does not answer.
        LapelError: the disk is full.
    """
    source, target = Path(index), Path(to)
    record = IndexRecord.read(source)
    if not record.complete:
        raise SearchIndexError(f"index {source} is not finished: run lapel index again, then move it")
    begun = _begun(source, target, record)
    place = settled(target, begun, engine, uri)
    target.mkdir(parents=True, exist_ok=True)
    with only_writer(source), only_writer(target):
        rows = open_store(source, record, "Strong")
        before, count = rows.version, len(rows)
        final = replace(record, exact_below=place.exact_below(), count=count, **vars(place))
        replace(final, complete=False, count=0).write(target)
        copy_files(source, target)
        copy = create_store(target, place, rows.schema)
        copy.reshape(rows.schema)
        _copy_rows(rows, copy, count, quiet)
        small = place.engine == "lance" and count <= final.exact_below
        copy.tidy(approximate=not small)
        _check(rows, copy, count, quiet)
        if rows.version != before:
            raise SearchIndexError(f"index {source} was written to meanwhile: move it again, what is there stays")
        if small:
            snapshot.write(target, copy, final)
        final.write(target)
    return final


def _begun(source: Path, target: Path, record: IndexRecord) -> IndexRecord | None:
    """Return the record of a copy that was interrupted; None where nothing is yet."""
    if target.exists() and not target.is_dir():
        raise SearchIndexError(f"{target} is a file; expected a folder for the copy")
    found = sorted(entry.name for entry in target.iterdir() if entry.name != LOCK) if target.is_dir() else []
    if source.resolve() in (target.resolve(), *target.resolve().parents):
        raise SearchIndexError(f"{target} is the index itself or inside it: give a folder beside it")
    if not found:
        return None
    begun = IndexRecord.read(target) if RECORD in found else None
    if begun is None or begun.complete or begun.sources != record.sources or begun.root != record.root:
        raise SearchIndexError(f"{target} holds something else ({', '.join(found[:5])}): give an empty or new folder")
    return begun


def copy_files(source: Path, target: Path) -> None:
    """Copy all that an index folder has beside rows: query encoders, projections, images that came one by one.

    Raises:
        SearchIndexError: an image cannot be copied.
        LapelError: the disk is full.
    """
    try:
        for path in (*source.glob("query*.onnx"), *source.glob("projection*.safetensors")):
            shutil.copy2(path, target / path.name)
        if (source / FOLDER).is_dir():
            shutil.copytree(source / FOLDER, target / FOLDER, dirs_exist_ok=True)
    except shutil.Error as error:
        raise SearchIndexError(f"cannot copy the images of {source}: {error.args[0][0][-1]}") from error
    except OSError as error:
        raise disk_error(target, error) from error


def _copy_rows(rows: Store, copy: Store, count: int, quiet: bool) -> None:
    names, resumed = rows.schema.names, len(copy) > 0
    with bar("row", quiet) as progress:
        task = progress.add_task("copying", total=count, note="")
        for table in portions(rows):
            left = table
            if resumed:
                there = copy.read(["id", "hash", "row_hash"], table["id"].to_pylist())
                known = set(map(tuple, zip(*(column.to_pylist() for column in there.columns), strict=True)))
                told = zip(*(table[name].to_pylist() for name in there.column_names), strict=True)
                left = table.filter(pa.array([row not in known for row in told]))
            if left.num_rows:
                copy.upsert(left.select(names))
            progress.advance(task, table.num_rows)
    if resumed:  # what the index no longer had when this was taken up
        gone: list[str] = []
        for batch in copy.batches(["id"]):
            ids = batch.column("id")
            known = rows.read(["id"], ids.to_pylist())["id"].combine_chunks()
            gone += ids.filter(pc.invert(pc.is_in(ids, value_set=known))).to_pylist()
        copy.delete(gone)


def _check(rows: Store, copy: Store, count: int, quiet: bool) -> None:
    """Raise unless both have the same rows, to the last bit of the vectors."""
    names = rows.schema.names
    if len(copy) != count:
        raise SearchIndexError(f"the copy has {len(copy)} rows, the index {count}: move it into another folder")
    with bar("row", quiet) as progress:
        task = progress.add_task("checking", total=count, note="")
        for table in portions(rows):
            found = copy.read(names, table["id"].to_pylist())
            order = pc.index_in(table["id"].combine_chunks(), value_set=found["id"].combine_chunks())
            same = found.take(order).select(names)
            for name in names:
                if not same[name].equals(table[name]):
                    pairs = zip(table["id"].to_pylist(), table[name].to_pylist(), same[name].to_pylist(), strict=True)
                    row, was, now = next((each for each in pairs if each[1] != each[2]), (None, None, None))
                    raise SearchIndexError(
                        f"row {row!r} of the copy is not as it was: {name} was {was!r:.200} and is {now!r:.200}. The "
                        "index itself is untouched; move it into another folder"
                    )
            progress.advance(task, table.num_rows)


def portions(store: Store) -> Iterator[pa.Table]:
    """Go through all rows, all columns, in tables of bounded size."""
    waiting: list[pa.RecordBatch] = []
    for batch in store.batches(store.schema.names):
        waiting.append(batch)
        if sum(each.nbytes for each in waiting) >= PORTION:
            yield pa.Table.from_batches(waiting)
            waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting)
