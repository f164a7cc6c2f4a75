"""What an index folder holds: its record ``index.json``, and the columns of its table.

::

    INDEX/
      index.json              which runs and catalogue, attributes, sizes (this module)
      images.lance/           the table (lance_store.py), unless the record names a server that has it (milvus_store.py)
      snapshot.json, .npy, .arrow   the same rows laid out for exact search without an engine (snapshot.py)
      query.onnx              the run's model, for embedding query images without torch (encoder.py);
                              of a second run query-2.onnx, and so on
      projection.safetensors  what makes the run's vectors shorter, if they are (projection.py); of a second run
                              projection-2.safetensors, and so on
      kept/                   images that came one by one rather than with a catalogue (kept.py)

Table columns: ``id`` (the image path, with its box where one image has several), ``hash`` (of what the
vectors depend on), ``row_hash`` (of the rest), ``image`` (its path in the catalogue, or kept://...), ``item``,
``split``, ``domain``, ``box`` (text, four numbers), ``meta_NAME`` per metadata column, ``label_NAME`` (list of
text) per attribute of the catalogue, and ``vector``: the unit vectors of all attributes of all runs one after
the other, float16. Those of one run have one size, runs may differ.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from lapel import archives
from lapel.errors import SearchIndexError, unknown
from lapel.files import atomic_write
from lapel.retrieval.filter_tree import Column, Kind

FORMAT = "lapel-index"
VERSION = 2
READS = (1, VERSION)  # version 1 knew one run, told by the fields of ``Source`` in the record itself
ENGINES = ("lance", "milvus")  # the first: of a record that names none
EXACT_BELOW = 100_000
RECORD = "index.json"
LOCK = ".lock"
FIXED = ("image", "item", "split", "domain")
BOX = "box"
META, LABEL = "meta_", "label_"
ITEM = "item"  # the one attribute of an item run


@dataclass(frozen=True)
class Source:
    """A run that gave an index its vectors, or some of them.

    Attributes:
        run: its folder.
        fingerprint: SHA-256 over its weights and the settings that decide an embedding.
        attributes: what it embeds, in the order of the vectors; an item run: ``item``.
        dim: numbers per vector, as the index has them.
        projection: SHA-256 of the file that its vectors were made shorter with; "" where they are not.
    """

    run: str
    fingerprint: str
    attributes: tuple[str, ...]
    dim: int
    projection: str = ""

    @property
    def made_by(self) -> str:
        """Name what its vectors come from: only those of one name compare."""
        return f"{self.fingerprint}+{self.projection}" if self.projection else self.fingerprint


@dataclass(frozen=True)
class IndexRecord:
    """The record of an index, ``index.json``.

    Attributes:
        sources: the runs the vectors come from, in the order of the vectors.
        catalogue: name of the catalogue.
        root: folder that relative image paths start from.
        exact_below: up to this many rows are searched exactly, more with an approximate index; -1: however few.
        complete: whether the last indexing reached its end.
        count: rows at that time.
        engine: what holds the rows.
        uri: address of the server that does; "" for LanceDB, whose table lies in the folder.
        collection: its name there; "" for LanceDB.
    """

    sources: tuple[Source, ...]
    catalogue: str
    root: str
    exact_below: int = EXACT_BELOW
    complete: bool = False
    count: int = 0
    engine: str = ENGINES[0]
    uri: str = ""
    collection: str = ""

    @property
    def attributes(self) -> tuple[str, ...]:
        """Attributes of all runs, in the order of the vectors."""
        return tuple(name for source in self.sources for name in source.attributes)

    @property
    def dims(self) -> tuple[int, ...]:
        """Numbers of each attribute's vector."""
        return tuple(source.dim for source in self.sources for _ in source.attributes)

    @property
    def width(self) -> int:
        """Numbers per row."""
        return sum(self.dims)

    def write(self, folder: Path) -> None:
        """Write ``index.json`` in one step.

        Paths are kept absolute and relative to the folder, so that all may move together.
        """
        data = {"format": FORMAT, "version": VERSION, **asdict(self)}
        for part, key in ((data, "root"), *((source, "run") for source in data["sources"])):
            part[f"{key}_relative"] = os.path.relpath(part[key], folder.resolve())
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
        if data.get("version") not in READS:
            raise SearchIndexError(
                f"{path} has format version {data.get('version')!r}, this Lapel reads {READS[0]} to {READS[-1]}: "
                "index into a new folder"
            )
        try:
            told = [data] if data["version"] == 1 else data["sources"]
            sources = tuple(
                Source(
                    _whereabouts(folder, one, "run"),
                    one["fingerprint"],
                    tuple(map(str, one["attributes"])),
                    int(one["dim"]),
                    str(one.get("projection", "")),
                )
                for one in told
            )
            data = {"engine": ENGINES[0], "uri": "", "collection": "", **data}
            rest = {field.name: data[field.name] for field in fields(cls) if field.name not in ("sources", "root")}
            if rest["engine"] not in ENGINES:
                raise ValueError(unknown("engine", rest["engine"], ENGINES))
            return cls(sources, root=_whereabouts(folder, data, "root"), **rest)
        except (KeyError, TypeError, ValueError) as error:
            raise SearchIndexError(f"{path} is altered or incomplete ({error!r}); index into a new folder") from error


def encoder_path(folder: Path, number: int) -> Path:
    """Where an index keeps the query encoder of its run ``number``, from 0."""
    return folder / ("query.onnx" if number == 0 else f"query-{number + 1}.onnx")


def _whereabouts(folder: Path, data: Mapping[str, Any], key: str) -> str:
    """Path ``key`` of a record: as written or, where that is gone, as it lies from the index folder."""
    beside = folder.resolve() / str(data.get(f"{key}_relative", ""))
    moved = not _is_there(Path(data[key])) and _is_there(beside)
    return str(beside.resolve()) if moved else str(data[key])


def _is_there(path: Path) -> bool:
    """Whether there is such a folder, or a zip archive of pictures."""
    return path.is_dir() or archives.below(path) is not None


def encode(name: str) -> str:
    """Make a name safe as a field name; ``decode`` gives it back.

    >>> encode("size.eu")
    'size%2Eeu'
    """
    return re.sub(r"[%.`\x00-\x1f]", lambda match: f"%{ord(match.group()):02X}", name)


def write_box(box: Sequence[float] | None) -> str | None:
    """Return a box as its column holds it: ``x1 y1 x2 y2`` in pixels of the upright image.

    >>> write_box((0.0, 12.5, 300.0, 400.0))
    '0 12.5 300 400'
    """
    return None if box is None else " ".join(f"{value:.10g}" for value in box)


def read_box(cell: str | None) -> tuple[float, ...] | None:
    """Return the box of a row; None where it has none, or its index was made before there was such a column."""
    return None if cell is None else tuple(map(float, cell.split()))


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
