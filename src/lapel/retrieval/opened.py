"""An index folder opened for reading: which rows there are, of which version, and what is in them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa

from lapel.errors import SearchIndexError
from lapel.retrieval import snapshot
from lapel.retrieval.encoders import Encoder, Encoders
from lapel.retrieval.engines import open_store
from lapel.retrieval.facets import Facets, facets
from lapel.retrieval.filter_tree import Column, Filter, Kind
from lapel.retrieval.filters import parse
from lapel.retrieval.gallery import EngineGallery, Gallery, MemoryGallery
from lapel.retrieval.hits import Entry
from lapel.retrieval.kept import path_of
from lapel.retrieval.layout import BOX, ITEM, META, IndexRecord, columns_of, read_box
from lapel.retrieval.snapshot import Blocks, Floats, Snapshot
from lapel.retrieval.store import Store
from lapel.retrieval.versions import age, mark, place

TRIES = 3
# A writer shows what it committed some hundredths of a second later. Reading all rows from the engine instead costs
# seconds, and the memory of all rows; so an index that was written to just now is given this long.
PATIENCE_S, PAUSE_S = 0.5, 0.01


class Opened:
    """The rows of an index. It stays as it was when opened; see ``refresh``.

    Attributes:
        folder: of the index.
        record: of the index, as it was when opened.
        gallery: the rows, as the modules of this room rank and count them.
    """

    def __init__(self, folder: Path, record: IndexRecord, encoders: Encoders) -> None:
        self.folder, self.record = folder, record
        self._encoders = encoders
        self._store: Store | None = None
        self._facets: Facets | None = None
        self._version = mark(folder)  # before the rows: what is written from here on makes it stale
        self.gallery = self._rows()
        self._columns = columns_of(self.gallery.schema)

    def _rows(self) -> Gallery:
        shown = _shown(self.folder, self.record)
        if shown is None:
            self._store = open_store(self.folder, self.record)
            if len(self._store) > self.record.exact_below:
                return EngineGallery(self._store, self.dims)
            shown = Snapshot.load(self._store, self.record)
        return MemoryGallery(shown)

    @classmethod
    def open(
        cls,
        path: Path | str,
        run: Path | str | Sequence[Path | str] | None = None,
        encoder: Encoder | Sequence[Encoder] | None = None,
    ) -> Self:
        """Open an index folder.

        Args:
            path: folder that ``lapel index`` wrote.
            run: folder of the run, if it is no longer where it was at indexing; of several runs, those that moved.
            encoder: takes images to (N, A, D) unit vectors, instead of loading the run on first use; of several
                runs one for each, in the order of ``record.sources``.

        Raises:
            SearchIndexError: not an index, damaged, or ``run`` has other weights than the index's.
        """
        runs = [run] if isinstance(run, Path | str) else run or []
        given = [encoder] if callable(encoder) else encoder or []
        folder = Path(path)
        return cls._of(folder, lambda record: Encoders(folder, record, [Path(each) for each in runs], given))

    @classmethod
    def _of(cls, folder: Path, encoders: Callable[[IndexRecord], Encoders]) -> Self:
        """Open what lies there, once more where another index was put in its place between record and rows."""
        for _ in range(TRIES):
            lies, record = place(folder), IndexRecord.read(folder)
            try:
                index = cls(folder, record, encoders(record))
            except Exception:  # the rows need not even fit the record
                if lies == place(folder):
                    raise
                continue
            if lies == place(folder):
                return index
        raise SearchIndexError(f"{folder} was replaced {TRIES} times while it was opened: try again")

    @property
    def attributes(self) -> tuple[str, ...]:
        """What can be searched by, in the order of the vectors: attributes, and ``item`` where an item run is in it."""
        return self.record.attributes

    @property
    def labelled(self) -> tuple[str, ...]:
        """The attributes that the catalogue has labels of: those ``likely`` can tell the value of."""
        columns = self._columns
        return tuple(name for name in self.attributes if name in columns and columns[name].kind == "labels")

    @property
    def dims(self) -> tuple[int, ...]:
        """Numbers of each attribute's vector."""
        return self.record.dims

    @property
    def columns(self) -> dict[str, Kind]:
        """Columns a filter may name, and what each holds."""
        return {name: column.kind for name, column in self._columns.items()}

    @property
    def fields(self) -> Mapping[str, Column]:
        """The same columns, with the fields of the table that hold them."""
        return self._columns

    @property
    def exact(self) -> bool:
        """Whether every row is compared, rather than an approximate index asked."""
        return isinstance(self.gallery, MemoryGallery)

    @property
    def version(self) -> str:
        """The version of the rows: another one after each write, also of another index put in this one's place."""
        return self._version

    @property
    def stale(self) -> bool:
        """Whether the index has been written to, or another put in its place, since it was opened."""
        return mark(self.folder) != self._version

    def refresh(self) -> Self:
        """Return the index as it is now: itself if nothing changed.

        Raises:
            SearchIndexError: there is none now, or it is damaged; this one can still be searched.
        """
        return self._of(self.folder, self._encoders.reopened) if self.stale else self

    def __len__(self) -> int:
        return len(self.gallery)

    def get(self, image_id: str) -> Entry:
        """Return one image of the index.

        Raises:
            SearchIndexError: there is none with this id.
        """
        return self.entries(self._fetch([image_id])[0])[0]

    def vectors(self, image_id: str) -> Floats | Blocks:
        """Return the unit vectors of one image of the index: (A, D), or A of ``dims`` numbers where those differ."""
        return one_array(self.vectors_of([image_id])[0])

    def vectors_of(self, ids: Sequence[str]) -> list[Blocks]:
        """Return the unit vectors of images of the index, in the order of ``ids``: per attribute (D,) float32.

        Raises:
            SearchIndexError: there is none with such an id.
        """
        return [*zip(*self._fetch(ids)[1], strict=True)]

    def count(self, where: str | None = None) -> int:
        """Return how many images pass a filter.

        Raises:
            SearchIndexError: a bad filter.
        """
        tree = self.filter(where)
        return len(self) if tree is None else self.gallery.count(tree)

    def facets(self, where: str | None = None) -> Facets:
        """Count the values that the images have which pass a filter; see ``lapel.retrieval.facets``.

        Raises:
            SearchIndexError: a bad filter.
        """
        if where is not None:
            return facets(self, where)
        if self._facets is None:
            self._facets = facets(self)
        return self._facets

    def filter(self, where: str | None) -> Filter | None:
        """Parse a filter for this index's columns.

        Raises:
            SearchIndexError: bad syntax, an unknown column, or a value of another type than the column's.
        """
        return None if where is None else parse(where, self._columns.values())

    def entries(self, rows: pa.Table) -> list[Entry]:
        """Return rows of the index, given with all columns, as a person knows them."""
        root, entries = Path(self.record.root), []
        for row in rows.drop_columns(["vector"] if "vector" in rows.column_names else []).to_pylist():
            metadata: dict[str, object] = {}
            labels: dict[str, tuple[str, ...]] = {}
            for name, column in self._columns.items():
                if column.field.startswith(META):
                    metadata[name] = row[column.field]
                elif column.kind == "labels" and row[column.field]:
                    labels[name] = tuple(row[column.field])
            image = str(path_of(self.folder, root, row["image"]))
            # An index made by an earlier version has no column of boxes.
            box = read_box(row.get(BOX))
            entries.append(Entry(row["id"], image, row[ITEM], metadata, labels, box=box))
        return entries

    def _fetch(self, ids: Sequence[str]) -> tuple[pa.Table, Blocks]:
        """Rows and vectors by id; raise where one is not there."""
        rows, vectors = self.gallery.fetch(ids)
        if rows.num_rows < len(ids):
            known = set(rows["id"].to_pylist())
            lost = next(name for name in ids if name not in known)
            root = Path(self.record.root)
            hint = f"; ids are image paths under {root}" if Path(lost).is_absolute() else ""
            raise SearchIndexError(f"no image {lost!r} in index {self.folder}{hint}")
        return rows, vectors


def _shown(folder: Path, record: IndexRecord) -> Snapshot | None:
    """Map the snapshot of the newest rows; None if there is none, also after a moment."""
    give_up = time.monotonic() + 2 * PATIENCE_S
    while (found := Snapshot.open(folder, record)) is None and snapshot.is_behind(folder):
        if age(folder) > PATIENCE_S or time.monotonic() > give_up:
            return None
        time.sleep(PAUSE_S)
    return found or Snapshot.open(folder, record)  # shown between the two questions


def one_array(vectors: Sequence[Floats]) -> Floats | Blocks:
    """Return vectors as one array (A, D) where they are of one size."""
    return np.stack(vectors) if len({len(each) for each in vectors}) == 1 else tuple(vectors)
