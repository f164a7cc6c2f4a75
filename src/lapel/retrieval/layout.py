"""What an index folder holds: its record ``index.json``, and the columns of its table.

::

    INDEX/
      index.json              which run and catalogue, attributes, sizes (this module)
      images.lance/           the table (store.py)
      snapshot.json, .npy, .arrow   the same rows laid out for exact search without an engine (snapshot.py)
      query.onnx              the run's model, for embedding query images without torch (encoder.py)

Table columns: ``id`` (the image path, with its box where one image has several), ``hash`` (of what the
vectors depend on), ``row_hash`` (of the rest), ``image``, ``item``, ``split``, ``domain``, ``meta_NAME`` per
metadata column, ``label_NAME`` (list of text) per attribute of the catalogue, and ``vector``: the A unit
vectors of D numbers one after the other, float16.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa

from lapel import archives
from lapel.errors import SearchIndexError
from lapel.files import atomic_write
from lapel.retrieval.filter_tree import Column, Kind

FORMAT = "lapel-index"
VERSION = 1
EXACT_BELOW = 100_000
RECORD = "index.json"
LOCK = ".lock"
ENCODER = "query.onnx"
FIXED = ("image", "item", "split", "domain")
META, LABEL = "meta_", "label_"


@dataclass(frozen=True)
class IndexRecord:
    """The record of an index, ``index.json``.

    Attributes:
        run: folder of the run the vectors come from.
        fingerprint: of that run: SHA-256 over its weights and the settings that decide an embedding.
        attributes: attributes of the model, in the order of the vectors.
        dim: numbers per attribute vector.
        catalogue: name of the catalogue.
        root: folder that relative image paths start from.
        exact_below: up to this many rows are searched exactly, more with an approximate index.
        complete: whether the last indexing reached its end.
        count: rows at that time.
    """

    run: str
    fingerprint: str
    attributes: tuple[str, ...]
    dim: int
    catalogue: str
    root: str
    exact_below: int = EXACT_BELOW
    complete: bool = False
    count: int = 0

    def write(self, folder: Path) -> None:
        """Write ``index.json`` in one step.

        Paths are kept absolute and relative to the folder, so that all may move together.
        """
        relative = {f"{key}_relative": os.path.relpath(getattr(self, key), folder.resolve()) for key in ("run", "root")}
        data = {"format": FORMAT, "version": VERSION, **asdict(self), **relative}
        atomic_write(folder / RECORD, json.dumps(data, indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> IndexRecord:
        """Read ``index.json``.

        Raises:
            SearchIndexError: there is none, it is not ours, altered, or of another version.
        """
        path = folder / RECORD
        if not path.is_file():
            found = "there is no such folder" if not folder.is_dir() else f"the folder has no {RECORD}"
            raise SearchIndexError(
                f"{folder} is not an index: {found}. Make one with: lapel index CATALOGUE --run RUN --to {folder}"
            )
        try:
            data = json.loads(path.read_text("utf-8"))
        except (ValueError, OSError) as error:
            raise SearchIndexError(f"{path} cannot be read ({error}); index into a new folder") from error
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise SearchIndexError(
                f'{path} was not written by Lapel (expected "format": "{FORMAT}"): give an index folder'
            )
        if data.get("version") != VERSION:
            raise SearchIndexError(
                f"{path} has format version {data.get('version')!r}, this Lapel reads {VERSION}: "
                "index into a new folder"
            )
        try:
            record = cls(**{field.name: data[field.name] for field in fields(cls)})
            record = replace(record, attributes=tuple(map(str, record.attributes)), dim=int(record.dim))
        except (KeyError, TypeError, ValueError) as error:
            raise SearchIndexError(f"{path} is altered or incomplete ({error!r}); index into a new folder") from error
        moved = {}
        for key in ("run", "root"):
            beside = folder.resolve() / str(data.get(f"{key}_relative", ""))
            if not _is_there(Path(getattr(record, key))) and _is_there(beside):
                moved[key] = str(beside.resolve())
        return replace(record, **moved)  # type: ignore[arg-type]  # both are text

    @property
    def width(self) -> int:
        """Numbers per row: attributes times dim."""
        return len(self.attributes) * self.dim


def _is_there(path: Path) -> bool:
    """Whether there is such a folder, or a zip archive of pictures."""
    return path.is_dir() or archives.below(path) is not None


def encode(name: str) -> str:
    """Make a name safe as a field name; ``decode`` gives it back.

    >>> encode("size.eu")
    'size%2Eeu'
    """
    return re.sub(r"[%.`\x00-\x1f]", lambda match: f"%{ord(match.group()):02X}", name)


def columns_of(schema: pa.Schema) -> dict[str, Column]:
    """Return the filterable columns of a table: name -> column."""
    found: dict[str, Column] = {}
    for field in schema:
        name: str | None = None
        if field.name in FIXED:
            name = field.name
        elif field.name.startswith((META, LABEL)):
            name = unquote(field.name.partition("_")[2])
        if name is not None:
            found[name] = Column(name, field.name, kind_of(field.type))
    return found


def kind_of(kind: pa.DataType) -> Kind:
    """What a column of this type holds, for filters."""
    if pa.types.is_list(kind):
        return "labels"
    if pa.types.is_boolean(kind):
        return "truth"
    if pa.types.is_integer(kind):
        return "integer"
    return "number" if pa.types.is_floating(kind) else "text"
