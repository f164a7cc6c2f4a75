"""A public data set on disk to a catalogue of ours: read, look for the pictures, write in one step."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lapel import datasets, protocol
from lapel.catalogue import Catalogue
from lapel.datasets.formats import Draft, Format
from lapel.datasets.source import Fault, Source
from lapel.datasets.whereabouts import elsewhere
from lapel.errors import DatasetError, unknown
from lapel.files import atomic_write

_TYPES = {
    "image": pa.string(),
    "item": pa.string(),
    "split": pa.string(),
    "domain": pa.string(),
    "box": pa.list_(pa.float64()),
    "landmarks": pa.list_(pa.float64()),
}


@dataclass(frozen=True, eq=False)
class Imported:
    """What an import left.

    Attributes:
        catalogue: the catalogue, as it was written.
        notes: what was odd but harmless.
        faults: what was left out because it is faulty (only with ``skip_faulty``); listed in left-out.txt.
        absent: images that are not there, in a data set whose copies usually lack some.
    """

    catalogue: Catalogue
    notes: tuple[str, ...]
    faults: tuple[Fault, ...]
    absent: int


def import_dataset(
    name: str,
    root: Path | str,
    to: Path | str,
    variant: str = "",
    skip_faulty: bool = False,
    quiet: bool = False,
    options: Mapping[str, str] | None = None,
) -> Imported:
    """Read a public data set and write it as ``to/catalogue.parquet``, with its relations and its protocol.

    Nothing is copied: the catalogue names the pictures where they lie, in folders or in zip archives. A failed import
    leaves what was in ``to`` whole.

    Args:
        name: a format of ``lapel.datasets``.
        root: the data set's folder.
        to: folder of the catalogue.
        variant: which of the format's variants; empty takes the first that is there.
        skip_faulty: leave out faulty rows and missing pictures, and list them in ``to/left-out.txt``, instead of
            stopping at the first. Figures on the rest do not compare with published ones.
        quiet: no progress bars.
        options: settings of the format.

    Raises:
        DatasetError: a file is missing, or not in its published format; a picture is missing.
        LapelError: the disk is full or the folder cannot be written.
    """
    form = datasets.get(name)
    source = open_source(form, root, variant, strict=not skip_faulty, quiet=quiet, options=options)
    try:
        catalogue, absent = assemble(form, source)
    except DatasetError as error:
        raise DatasetError("; ".join([str(error), *elsewhere(form, source)])) from error
    to = Path(to)
    catalogue.write(to / "catalogue.parquet")
    left_out = to / "left-out.txt"
    if source.faults:
        atomic_write(left_out, "".join(f"{fault}\n" for fault in source.faults))
    else:
        left_out.unlink(missing_ok=True)
    return Imported(Catalogue.read(to), tuple(source.notes), tuple(source.faults), absent)


def open_source(
    form: Format,
    root: Path | str,
    variant: str = "",
    strict: bool = True,
    quiet: bool = True,
    options: Mapping[str, str] | None = None,
) -> Source:
    """Return the source of a format at ``root``; without a variant named, the first that lacks fewest needed files.

    Raises:
        DatasetError: an unknown variant; options of a format that takes none; nothing at ``root``, or a single file
            of which nothing tells that its folder is meant.
    """
    if options and not form.options:
        raise DatasetError(f"{form.name} takes no --column: that is for csv, whose columns may have any names")
    if not variant and Path(root).resolve().name in form.variants:
        variant = Path(root).resolve().name  # the root is that variant's own folder
    if variant and variant not in form.variants:
        raise DatasetError(f"{form.name}: {unknown('variant', variant, form.variants)}")
    choices = (variant,) if variant or not form.variants else form.variants
    sources = [Source(root, form.files(choice), choice, strict, quiet, options) for choice in choices]
    if sources[0].root != sources[0].given and not (sources[0].specs or form.options):
        raise DatasetError(f"{root} is a file: expected a folder, or a zip archive of one")

    def lacking(source: Source) -> int:
        return sum(source.find(spec.names[0]) is None for spec in source.specs if spec.required)

    return min(sources, key=lacking)


def assemble(form: Format, source: Source) -> tuple[Catalogue, int]:
    """Read a source and look for its pictures; return the catalogue of those there are, and how many are absent.

    Raises:
        DatasetError: as the format's reader; no picture at all, or (strict) one of them missing.
    """
    collecting = gc.isenabled()
    gc.disable()  # millions of small objects live until the end: looking through them again and again finds nothing
    try:
        draft = form.read(source)
    finally:
        if collecting:
            gc.enable()
    names = [str(name) for name in draft.images["image"]]
    if not names:
        raise DatasetError(f"{source.root}: no images are listed")
    base, present = source.locate(draft.bases, names)
    if source.unread():
        source.note(source.unread().lstrip(". "))
    gone = [name for name, there in zip(names, present, strict=True) if not there]
    absent = 0
    if len(gone) == len(names):
        raise DatasetError(_no_pictures(source, draft, base, names))
    if gone and draft.missing:
        absent = len(set(gone))
        source.note(f"{absent:,} of {len(set(names)):,} images are not there: {draft.missing}")
    elif gone and source.strict:
        source.fault(
            f"{len(gone):,} of {len(names):,} images are missing, the first: {base / gone[0]}. Unpack the images "
            "again, or import with --skip-faulty, which leaves them out (figures then compare with no published one)"
            f"{source.unread()}"
        )
    else:
        for name in gone:
            source.fault(f"image missing: {name}")
    catalogue = _catalogue(form, source, draft, base, absent)
    if gone:
        kept = set(np.asarray(names, object)[present])
        relations = {key: _only(table, kept) for key, table in draft.relations.items()}
        catalogue = catalogue.take(present).with_relations(relations)
    return catalogue, absent


def _catalogue(form: Format, source: Source, draft: Draft, base: Path, absent: int) -> Catalogue:
    count = len(draft.images["image"])
    columns: dict[str, Any] = {
        name: _column(draft.images[name], kind) if name in draft.images else pa.nulls(count, kind)
        for name, kind in _TYPES.items()
    }
    columns |= {name: _column(cells, None) for name, cells in draft.images.items() if name not in _TYPES}
    record = {
        "format": form.name,
        "title": form.title,
        "variant": source.variant,
        "protocol": protocol.to_dict(draft.protocol),
        "notes": list(source.notes),
        "left_out": len(source.faults),
        "absent": absent,
    }
    name = source.root.resolve().name
    return Catalogue(base, pa.table(columns), draft.labels, draft.attributes, name, record, dict(draft.relations))


def _column(cells: Sequence[Any] | pa.Array, kind: pa.DataType | None) -> pa.Array:
    if not isinstance(cells, pa.Array | pa.ChunkedArray):
        return pa.array(cells, kind)
    return cells if kind is None else cells.cast(kind)


def _only(table: pa.Table, kept: set[str]) -> pa.Table:
    """Return the rows of a relation whose images are all there."""
    mask = np.ones(table.num_rows, bool)
    for name in ("image", "anchor", "positive", "negative", "query", "gallery"):
        if name in table.column_names:
            mask &= pc.is_in(table[name], pa.array(sorted(kept))).to_numpy()
    return table.filter(pa.array(mask))


def _no_pictures(source: Source, draft: Draft, base: Path, names: Sequence[str]) -> str:
    where = " or ".join(str(source.root / folder) for folder in dict.fromkeys(draft.bases))
    expected = f"expected {base / names[0]} and the like, below {where}"
    return f"none of the {len(names):,} images is there: {expected}{source.unread()}"
