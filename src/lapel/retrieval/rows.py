"""From a catalogue to the rows of an index: keys, columns, and hashes that tell what changed."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
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
from lapel.retrieval.layout import FIXED, LABEL, META, encode


def content_hashes(catalogue: Catalogue, allowed: int, quiet: bool) -> list[str | None]:
    """Hash what a row's vectors depend on beside the run: the file's bytes and the box. None: unreadable."""

    def content(job: tuple[Path, Any]) -> str | None:
        try:
            digest = sha256(job[0])
        except OSError:
            return None
        return digest if job[1] is None else hashlib.sha256(f"{digest} {list(job[1])}".encode()).hexdigest()

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


def row_ids(catalogue: Catalogue) -> list[str]:
    """Key of every row: the image path, and the box where one image is listed with several."""
    images: list[str] = catalogue.images["image"].to_pylist()
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


def row_table(catalogue: Catalogue, ids: list[str]) -> pa.Table:
    """Every column of the index but ``hash`` and ``vector``, in the catalogue's order."""
    columns: dict[str, Any] = {name: catalogue.images[name].cast(pa.string()) for name in FIXED}
    columns |= {META + encode(name): _plain(catalogue.images[name]) for name in catalogue.metadata}
    labels = wide_labels(catalogue.labels, catalogue.attributes, len(catalogue))
    columns |= {LABEL + encode(name): column for name, column in labels.items()}
    # Missing cells stay out of the hash, so a new column changes only the rows that have something in it.
    batches = pa.table(columns).to_batches(max_chunksize=10_000)  # as Python objects, all rows would fill the memory
    cells = (row for batch in batches for row in batch.to_pylist())
    contents = ({key: cell for key, cell in row.items() if cell is not None} for row in cells)
    hashes = [hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()[:32] for row in contents]
    return pa.table({"id": pa.array(ids, pa.string()), "row_hash": pa.array(hashes, pa.string()), **columns})


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
