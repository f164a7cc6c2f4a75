"""An index made again with shorter vectors, and what that costs.

The storage stays float16. Whole numbers of 8 bits would halve it once more, but LanceDB (0.40) neither compares such
vectors with a query nor builds an approximate index of them; its index has codes of 4 bits a number already.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lapel.errors import SearchIndexError
from lapel.files import atomic_write, disk_error
from lapel.progress import bar
from lapel.retrieval import map_lost, snapshot
from lapel.retrieval.bulk import column
from lapel.retrieval.engines import Place, create_store, open_store
from lapel.retrieval.layout import EXACT_BELOW, ITEM, LABEL, LOCK, IndexRecord, Source, encode
from lapel.retrieval.locking import only_writer
from lapel.retrieval.map_lost import Doubles, Labelled, Lost
from lapel.retrieval.moving import copy_files, portions
from lapel.retrieval.projection import Floats, Projection, load, principal
from lapel.retrieval.snapshot import split
from lapel.retrieval.store import Store

SAMPLE = 50_000  # rows that projections are found in and MAP is measured among
UNIT = 8  # numbers: an approximate index packs as many
REPORT = "compression.json"
BYTES = 2  # of a float16


@dataclass(frozen=True)
class Shorter:
    """What became of one attribute's vectors.

    Attributes:
        attribute: its name.
        dim_before, dim_after: numbers per vector.
        kept: share of the vectors' squared length that the directions have which stayed.
        lost: MAP before and after; None where no two rows have a label in common.
    """

    attribute: str
    dim_before: int
    dim_after: int
    kept: float
    lost: Lost | None


@dataclass(frozen=True)
class Compression:
    """What ``compress`` did.

    Attributes:
        rows: of the index.
        sampled: of these, rows that projections were found in and MAP measured among.
        attributes: in the order of the index.
        overall: MAP over all queries of all attributes; None where nothing is labelled.
        bytes_before, bytes_after: of a row's vectors on disk.
    """

    rows: int
    sampled: int
    attributes: tuple[Shorter, ...]
    overall: Lost | None
    bytes_before: int
    bytes_after: int


@dataclass(frozen=True)
class _Sample:
    """Some rows by id: their labels and vectors, (n, width) float16."""

    rows: pa.Table
    vectors: npt.NDArray[np.float16]

    def blocks(self, record: IndexRecord) -> Iterator[Floats]:
        """Give the unit vectors (n, D) of one attribute after the other."""
        for start, dim in zip(np.cumsum([0, *record.dims]), record.dims, strict=False):
            part = self.vectors[:, start : start + dim].astype(np.float32)
            yield part / np.linalg.norm(part, axis=1, keepdims=True)


def compress(
    index: Path | str, to: Path | str, dim: int, queries: int = 500, quiet: bool = False, seed: int = 0
) -> Compression:
    """Make an index with vectors of at most ``dim`` numbers from another, and measure what that costs.

    The index stays as it is, and can be searched meanwhile. The new one is LanceDB's, in its folder, whichever engine
    has the old one. It appears when it is whole: an interruption leaves nothing, and running again begins anew.
    Photographs that are searched with or indexed later go through the same projection.

    Args:
        index: the index folder.
        to: the folder to make: there is none, or an empty one.
        dim: numbers per vector; a run with no more than that keeps its own.
        queries: rows per attribute that MAP is measured with, at most.
        quiet: no progress bars.
        seed: of the sample and the queries.

    Memory: 2 bytes per number of up to 50,000 rows, some 30 per number of one of their attributes, and 500 MB.

    Raises:
        SearchIndexError: not an index, an unfinished one, or one with too few rows or with vectors that are short
            enough; ``to`` is taken; a bad ``dim`` or ``queries``; a row has nothing in the directions that stay.
        LapelError: the disk is full.
    """
    source, target = Path(index), Path(to)
    record = IndexRecord.read(source)
    _check(source, target, record, dim, queries)
    earlier = load(source, record)
    with _built(target) as folder, only_writer(source):
        rows = open_store(source, record, "Strong")
        before, count = rows.version, len(rows)
        if count < dim:
            raise SearchIndexError(f"index {source} has {count} rows; {dim} directions are found in {dim} or more")
        sample = _drawn(rows, record, count, seed, quiet)
        projections, report = _measured(sample, record, dim, queries, seed, quiet)
        copy_files(source, folder)
        final = _record(folder, record, earlier, projections, count)
        replace(final, complete=False, count=0).write(folder)
        schema = pa.schema(_vector(each, final.width) if each.name == "vector" else each for each in rows.schema)
        store = create_store(folder, Place(), schema)
        _write_rows(rows, store, record, final, projections, quiet)
        if rows.version != before or len(store) != count:
            raise SearchIndexError(f"index {source} was written to meanwhile: run the same command again")
        small = count <= final.exact_below
        store.tidy(approximate=not small)
        if small:
            snapshot.write(folder, store, final)
        report = replace(report, rows=count, bytes_before=BYTES * record.width, bytes_after=BYTES * final.width)
        atomic_write(folder / REPORT, json.dumps(asdict(report), indent=2) + "\n")
        final.write(folder)
    return report


def _check(source: Path, target: Path, record: IndexRecord, dim: int, queries: int) -> None:
    if dim < UNIT or dim % UNIT:
        raise SearchIndexError(f"expected a dim of {UNIT}, {2 * UNIT}, {3 * UNIT} and so on, found {dim}")
    if queries < 1:
        raise SearchIndexError(f"expected at least 1 query per attribute, found {queries}")
    if not record.complete:
        raise SearchIndexError(f"index {source} is not finished: run lapel index again, then compress it")
    if dim >= max(record.dims):
        raise SearchIndexError(
            f"the vectors of index {source} have {max(record.dims)} numbers: expected a dim below that, found {dim}"
        )
    if source.resolve() in (target.resolve(), *target.resolve().parents):
        raise SearchIndexError(f"{target} is the index itself or inside it: give a folder beside it")


@contextlib.contextmanager
def _built(target: Path) -> Iterator[Path]:
    """Give a folder beside ``target`` that takes its place at the end, and is gone where it comes to none.

    One that a killed process left is emptied.
    """
    folder = target.resolve().with_name(f".{target.resolve().name}.compressing")
    _free(target)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(folder, error) from error
    with only_writer(folder):
        try:
            _empty(folder)
            yield folder
            _free(target)
            try:
                if target.is_dir():
                    target.rmdir()
                folder.rename(target)
            except OSError as error:
                raise disk_error(target, error) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _free(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise SearchIndexError(f"{target} is a file; expected a folder for the shorter index")
    found = sorted(entry.name for entry in target.iterdir()) if target.is_dir() else []
    if found:
        raise SearchIndexError(f"{target} holds something ({', '.join(found[:5])}): give an empty or new folder")


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def _drawn(store: Store, record: IndexRecord, count: int, seed: int, quiet: bool) -> _Sample:
    """Draw rows while going through all of them once."""
    names = [LABEL + encode(name) for name in record.attributes]
    fields = ["id", ITEM, *(name for name in names if name in store.schema.names)]
    chosen = np.sort(np.random.default_rng(seed).choice(count, min(count, SAMPLE), replace=False))
    parts: list[pa.Table] = []
    start = 0
    with bar("row", quiet) as progress:
        task = progress.add_task("sampling", total=count, note="")
        for batch in store.batches([*fields, "vector"]):
            first, last = np.searchsorted(chosen, [start, start + batch.num_rows])
            if first < last:
                parts.append(pa.Table.from_batches([batch]).take(pa.array(chosen[first:last] - start)))
            start += batch.num_rows
            progress.advance(task, batch.num_rows)
    rows = pa.concat_tables(parts).sort_by("id").combine_chunks()
    flat = rows["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return _Sample(rows.select(fields), flat.reshape(-1, record.width))


def _measured(
    sample: _Sample, record: IndexRecord, dim: int, queries: int, seed: int, quiet: bool
) -> tuple[list[Projection | None], Compression]:
    """Find the projections of all runs, and what they cost."""
    projections: list[Projection | None] = []
    found: list[Shorter] = []
    measured: list[tuple[Labelled, Doubles, Doubles]] = []
    vectors = sample.blocks(record)
    with bar("attribute", quiet) as progress:
        task = progress.add_task("measuring", total=len(record.attributes), note="")
        for source in record.sources:
            matrices: list[Floats] = []
            for name in source.attributes:
                whole = next(vectors)
                short, kept = whole, 1.0
                if source.dim > dim:
                    double = whole.astype(np.float64)
                    directions, kept = principal(double.T @ double, dim)
                    matrices.append(directions.astype(np.float32))
                    short = Projection(matrices[-1][None])(whole[:, None])[:, 0].astype(np.float16)
                each = _labelled(sample.rows, name, queries, [seed, len(found)])
                cost = None
                if each is not None:
                    before = map_lost.precisions(each, whole[each.rows])
                    after = before if short is whole else map_lost.precisions(each, short[each.rows])
                    measured.append((each, before, after))
                    cost = map_lost.lost([each], [before], [after])
                found.append(Shorter(name, source.dim, short.shape[1], kept, cost))
                progress.advance(task)
            projections.append(Projection(np.stack(matrices)) if matrices else None)
    overall = map_lost.lost(*zip(*measured, strict=True)) if measured else None
    return projections, Compression(0, sample.rows.num_rows, tuple(found), overall, 0, 0)


def _labelled(rows: pa.Table, name: str, queries: int, seed: list[int]) -> Labelled | None:
    field = ITEM if name == ITEM else LABEL + encode(name)
    return Labelled.of(rows[field], queries, seed) if field in rows.column_names else None


def _record(
    folder: Path,
    record: IndexRecord,
    earlier: list[Projection | None],
    projections: list[Projection | None],
    count: int,
) -> IndexRecord:
    """Write the projections, from what the runs give, and return the record of the new index."""
    sources: list[Source] = []
    for number, (source, first, then) in enumerate(zip(record.sources, earlier, projections, strict=True)):
        if then is not None:
            digest = then.after(first).write(folder, number)
            source = replace(source, dim=then.matrices.shape[2], projection=digest)
        sources.append(source)
    exact_below = record.exact_below if record.exact_below >= 0 else EXACT_BELOW
    kind = vars(Place())
    return replace(record, sources=tuple(sources), exact_below=exact_below, complete=True, count=count, **kind)


def _vector(field: pa.Field, width: int) -> pa.Field:
    return field.with_type(pa.list_(pa.float16(), width))


def _write_rows(
    rows: Store,
    store: Store,
    record: IndexRecord,
    final: IndexRecord,
    projections: list[Projection | None],
    quiet: bool,
) -> None:
    with bar("row", quiet) as progress:
        task = progress.add_task("writing", total=final.count, note="")
        for table in portions(rows):
            every, parts = iter(split(table["vector"], record.dims)), []
            for source, projection in zip(record.sources, projections, strict=True):
                whole = np.stack([next(every) for _ in source.attributes], axis=1)
                short = whole if projection is None else projection(whole)
                lone = np.flatnonzero(np.any(~np.any(short, axis=2), axis=1))
                if len(lone):
                    raise SearchIndexError(
                        f"of image {table['id'][int(lone[0])].as_py()!r} nothing is left in {short.shape[2]} numbers: "
                        "give a larger dim"
                    )
                parts.append(short.reshape(len(short), -1))
            found = column(np.concatenate(parts, axis=1), table["image"], final.dims)
            store.upsert(table.set_column(table.schema.get_field_index("vector"), "vector", found))
            progress.advance(task, table.num_rows)
