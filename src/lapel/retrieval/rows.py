"""From a catalogue to the rows of an index: keys, columns, and hashes that tell what changed."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lapel.archives import sha256
from lapel.catalogue import Catalogue
from lapel.columns import wide_labels
from lapel.errors import ImageError, SearchIndexError
from lapel.progress import track
from lapel.retrieval.kept import SCHEME, is_kept
from lapel.retrieval.layout import BOX, FIXED, LABEL, META, encode, write_box


def content_hashes(catalogue: Catalogue, allowed: int, quiet: bool) -> list[str | None]:
    """Hash what a row's vectors depend on beside the run: the file's bytes and the box. None: unreadable."""

    def content(job: tuple[Path, Any]) -> str | None:
        try:
            return content_hash(sha256(job[0]), job[1])
        except OSError:
            return None

    paths = catalogue.paths()
    with ThreadPoolExecutor(min(8, 2 * (os.cpu_count() or 1))) as pool:
        jobs = pool.map(content, zip(paths, catalogue.boxes(), strict=True))
        hashes = list(track(jobs, "comparing", len(paths), quiet=quiet))
    missing = [path for path, found in zip(paths, hashes, strict=True) if found is None]
    if len(missing) > allowed:
        listed = "".join(f"\n  {path}" for path in missing[:5])
        raise ImageError(
            f"{len(missing)} of {len(paths)} image files are missing or unreadable, more than the {allowed} "
            f"allowed (max_failed); the first:{listed}\nPaths start from {catalogue.root.resolve()}"
        )
    return hashes


def content_hash(digest: str, box: Sequence[float] | None) -> str:
    """Hash the SHA-256 of an image's bytes together with its box."""
    return digest if box is None else hashlib.sha256(f"{digest} {list(box)}".encode()).hexdigest()


def row_ids(catalogue: Catalogue) -> list[str]:
    """Key of every row: the image path, and the box where one image is listed with several."""
    images: list[str] = catalogue.images["image"].to_pylist()
    ours = next((image for image in images if is_kept(image)), None)
    if ours is not None:
        raise SearchIndexError(
            f"catalogue {catalogue.name!r} lists image {ours!r}; paths that begin with {SCHEME} are those of images "
            "that an index keeps itself: give it another name"
        )
    several = {image for image, count in Counter(images).items() if count > 1}
    ids = [
        image if image not in several else f"{image}#{','.join(f'{v:g}' for v in box)}" if box else f"{image}#"
        for image, box in zip(images, catalogue.boxes(), strict=True)
    ]
    name, count = Counter(ids).most_common(1)[0] if ids else ("", 0)
    if count > 1:
        rows = [place + 1 for place, other in enumerate(ids) if other == name]
        raise SearchIndexError(
            f"catalogue {catalogue.name!r} lists image {name.rstrip('#')!r} {count} times "
            f"(images {rows[0]} and {rows[1]}) with the same box or none: remove one, or give it another box"
        )
    return ids


def row_table(catalogue: Catalogue, ids: list[str], beside: pa.Table | None = None) -> pa.Table:
    """Every column of the index but ``hash`` and ``vector``, in the catalogue's order.

    Args:
        catalogue: the images.
        ids: their keys.
        beside: rows that stay in the index though they are not of the catalogue. The columns that they have something
            in are there too, and a column of both has a type that holds what is in either.
    """
    columns: dict[str, Any] = {name: catalogue.images[name].cast(pa.string()) for name in FIXED}
    columns[BOX] = pa.array(map(write_box, catalogue.boxes()), pa.string())
    columns |= {META + encode(name): _plain(catalogue.images[name]) for name in catalogue.metadata}
    labels = wide_labels(catalogue.labels, catalogue.attributes, len(catalogue))
    columns |= {LABEL + encode(name): column for name, column in labels.items()}
    for name, kind in {} if beside is None else filled(beside).items():
        if name.startswith((META, LABEL)):
            own = columns.get(name, pa.nulls(len(ids), kind))
            columns[name] = retyped(own, wider(own.type, kind))
    return hashed(ids, pa.table(columns))


def hashed(ids: Sequence[str], cells: pa.Table) -> pa.Table:
    """Put the columns ``id`` and ``row_hash`` before those of ``FIXED``, ``BOX``, metadata and labels."""
    batches = cells.to_batches(max_chunksize=10_000)  # as Python objects, all rows would fill the memory
    rows = (row for batch in batches for row in batch.to_pylist())
    keys = [pa.array(ids, pa.string()), pa.array(map(row_hash, rows), pa.string())]
    return pa.table([*keys, *cells.columns], names=["id", "row_hash", *cells.column_names])


def row_hash(cells: Mapping[str, Any]) -> str:
    """Hash a row's cells by field; missing ones stay out, so a new column changes only rows with something in it."""
    present = {field: cell for field, cell in cells.items() if cell is not None}
    return hashlib.sha256(json.dumps(present, sort_keys=True).encode()).hexdigest()[:32]


def filled(rows: pa.Table) -> dict[str, pa.DataType]:
    """Names and types of the columns that hold something."""
    return {field.name: field.type for field in rows.schema if rows[field.name].null_count < rows.num_rows}


def wider(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """Return the type of metadata that holds what either of two does: float64 for any numbers, else text."""
    if one == other:
        return one
    return pa.float64() if {one, other} == {pa.int64(), pa.float64()} else pa.string()


def retyped(column: pa.ChunkedArray | pa.Array, kind: pa.DataType) -> pa.ChunkedArray | pa.Array:
    """Return metadata in a type that is wider; numbers become text as people write them: 12, 12.5, true."""
    if column.type == kind or kind != pa.string():
        return column.cast(kind)
    return pa.chunked_array([[None if cell is None else _written(cell) for cell in column.to_pylist()]], kind)


def _written(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:.15g}"
    return str(cell).lower() if isinstance(cell, bool) else str(cell)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Metadata as text, int64, float64 (NaN is missing) or true/false."""
    if pa.types.is_boolean(column.type):
        return column
    if pa.types.is_signed_integer(column.type):
        return column.cast(pa.int64())
    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type) or pa.types.is_decimal(column.type):
        numbers = column.cast(pa.float64())
        return pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float64()), numbers)
    try:
        return column.cast(pa.string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return pa.chunked_array([[None if cell is None else str(cell) for cell in column.to_pylist()]], pa.string())
