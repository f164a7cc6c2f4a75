"""The files of a catalogue: the table, what Parquet notes beside it, and the relations that lie next to it."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from lapel import archives, columns, delimited
from lapel.errors import CatalogueError
from lapel.files import atomic_path, sha256

SUFFIXES = (".csv", ".parquet")
_NOTE = b"lapel.catalogue"
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")


def find(path: Path) -> Path:
    """Return the catalogue file that ``path`` names: the file itself, or the one inside a folder.

    Raises:
        CatalogueError: there is none, or its kind is unknown.
    """
    if path.is_dir():
        for name in ("catalogue.parquet", "catalogue.csv"):
            if (path / name).is_file():
                return path / name
        raise CatalogueError(f"{path} holds neither catalogue.csv nor catalogue.parquet: name the file, or write one")
    if not path.is_file():
        raise CatalogueError(f"no catalogue at {path}: expected a .csv or .parquet file, or a folder holding one")
    if path.suffix.lower() not in SUFFIXES:
        found = path.suffix or path.name
        raise CatalogueError(f"{path} is no catalogue: expected a .csv or .parquet file, found {found!r}")
    return path


def load(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    """Return the table, and what ``write_parquet`` noted in it: attributes, record, relations, roots.

    Raises:
        CatalogueError: it cannot be read.
    """
    try:
        if path.suffix.lower() == ".csv":
            return delimited.read_csv(path), {}
        file = pa.parquet.ParquetFile(path)
        names = [name.strip() for name in file.schema_arrow.names]
        delimited.check_names(path, names)
        table = file.read().rename_columns(names)
        noted = (file.schema_arrow.metadata or {}).get(_NOTE)
        own = {} if noted is None else dict(json.loads(noted))
        own |= {} if noted is None else {"attributes": [str(name) for name in own["attributes"]]}
    except (pa.ArrowException, ValueError, KeyError, TypeError, OSError) as error:
        raise CatalogueError(f"cannot read {path}: {' '.join(str(error).split())[:200]}") from error
    # pandas stores its row numbers beside the columns.
    kept = {name: columns.plain(table[name]) for name in names if not _PANDAS_INDEX.fullmatch(name)}
    return pa.table(kept), own


def root(path: Path, own: Mapping[str, Any]) -> Path:
    """Return the folder (or the archive) that the relative image paths of the catalogue at ``path`` start from."""
    roots = own.get("roots")
    if not roots:
        return path.parent
    beside = path.parent / roots[0]
    return beside if beside.exists() or archives.split(beside) is not None else Path(roots[1])


def _relation(path: Path, name: str) -> Path:
    return path.with_name(f"{path.stem}.{name}.parquet")


def write_parquet(
    path: Path, table: pa.Table, noted: Mapping[str, Any], relations: Mapping[str, pa.Table], images: Path
) -> None:
    """Write a catalogue's table with what is noted beside it; the relations first, so that one that is there is whole.

    Args:
        path: the .parquet file.
        table: one row per image.
        noted: attributes, metadata and record.
        relations: name -> table.
        images: folder (or archive) that relative image paths start from.

    Raises:
        LapelError: the disk is full or the folder cannot be written.
    """
    own = {**noted, "relations": {}}
    here, there = path.parent.resolve(), images.resolve()
    if here != there:
        # Two ways to the images: one holds when all moves together, the other when the catalogue moves alone.
        own["roots"] = [os.path.relpath(there, here), str(there)]
    with contextlib.ExitStack() as stack:
        temporary = stack.enter_context(atomic_path(path))
        # All are written before any is put in its place, relations first: what fails leaves an older catalogue whole.
        for name, relation in relations.items():
            beside = stack.enter_context(atomic_path(_relation(path, name)))
            pa.parquet.write_table(relation, beside)
            # Tells later whose relation it is.
            own["relations"][name] = sha256(beside)
        pa.parquet.write_table(table.replace_schema_metadata({_NOTE: json.dumps(own).encode()}), temporary)


def read_relations(path: Path, digests: Mapping[str, str]) -> dict[str, pa.Table]:
    """Read the relations of the catalogue at ``path``: name -> table.

    Raises:
        CatalogueError: one is missing, or not the one that was written with the catalogue.
    """
    found = {}
    for name, digest in digests.items():
        file = _relation(path, name)
        if not file.is_file() or sha256(file) != digest:
            what = "has changed since" if file.is_file() else "is missing"
            raise CatalogueError(f"{file} {what}: it belongs to {path.name}. Import the data set again")
        found[name] = pa.parquet.read_table(file)
    return found


def check_text(path: Path, table: pa.Table, name: str, lists: bool) -> None:
    """Refuse a column that does not hold text (or, with ``lists``, lists of text).

    Raises:
        CatalogueError: names the column and what it holds.
    """
    if name not in table.column_names:
        return
    kind = table[name].type
    inner = kind.value_type if lists and columns.is_list(table[name]) else kind
    if not columns.is_readable(inner):
        raise CatalogueError(f"{path}: expected column {name!r} to hold text, found {kind}")
