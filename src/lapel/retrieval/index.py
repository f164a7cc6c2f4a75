"""An indexed catalogue, searched by any weighting of the model's attributes.

One column holds the A unit vectors of a row one after the other, so for any weights w

    sum_a w_a cos(q_a, x_a) = < concat_a(w_a q_a), concat_a(x_a) >

and weights live in the query alone: zero leaves an attribute out, a negative weight asks for less of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lapel.decoding import decode_array
from lapel.errors import SearchIndexError, unknown
from lapel.retrieval.encoder import QueryEncoder
from lapel.retrieval.filter_tree import Kind
from lapel.retrieval.filters import parse
from lapel.retrieval.hits import Entry, Hit
from lapel.retrieval.layout import ENCODER, META, IndexRecord, columns_of
from lapel.retrieval.rendering import mask
from lapel.retrieval.snapshot import Snapshot, matrix
from lapel.retrieval.store import LanceStore, Store, state

Weights: TypeAlias = Mapping[str, float] | None
Floats: TypeAlias = npt.NDArray[np.float32]
Doubles: TypeAlias = npt.NDArray[np.float64]
Encoder = Callable[[Sequence[Any]], Floats]
# Rounding in float32 may swap rows whose scores differ by less than this (per unit of weight): rows within
# it of the last place are scored again in float64, and equal scores are ordered by id.
ROUNDING = 1e-5
SPARE = 32  # rows an approximate index gives beyond those asked for, to be scored exactly


class Index:
    """A catalogue's vectors, opened for searching. It stays as it was when opened; see ``refresh``."""

    def __init__(
        self, folder: Path, record: IndexRecord, encoder: Encoder | None = None, run: Path | None = None
    ) -> None:
        self.folder, self.record = folder, record
        self._encoder, self._run = encoder, run
        self._store: Store | None = None
        self._snapshot = Snapshot.open(folder, record)
        self._state = state(folder) if self._snapshot is None else self._snapshot.state
        if self._snapshot is None:
            self._store = LanceStore.open(folder)
            if len(self._store) <= record.exact_below:
                self._snapshot = Snapshot.load(self._store, record, self._state)
        schema = self._snapshot.rows.schema if self._snapshot is not None else self._engine().schema
        self._columns = columns_of(schema)

    @classmethod
    def open(cls, path: Path | str, run: Path | str | None = None, encoder: Encoder | None = None) -> Index:
        """Open an index folder.

        Args:
            path: folder that ``lapel index`` wrote.
            run: folder of the run, if it is no longer where it was at indexing.
            encoder: takes images to (N, A, D) unit vectors, instead of loading the run on first use.

        Raises:
            SearchIndexError: not an index, damaged, or ``run`` has other weights than the index's.
        """
        folder = Path(path)
        record = IndexRecord.read(folder)
        if run is not None:
            _same_weights(folder, record, Path(run))
        return cls(folder, record, encoder, None if run is None else Path(run))

    @property
    def attributes(self) -> tuple[str, ...]:
        """Attributes that can be searched by, in the order of the vectors."""
        return self.record.attributes

    @property
    def dim(self) -> int:
        """Numbers per attribute vector."""
        return self.record.dim

    @property
    def columns(self) -> dict[str, Kind]:
        """Columns a filter may name, and what each holds."""
        return {name: column.kind for name, column in self._columns.items()}

    @property
    def exact(self) -> bool:
        """Whether every row is compared, rather than an approximate index asked."""
        return self._snapshot is not None

    @property
    def stale(self) -> bool:
        """Whether the index has been written to since it was opened."""
        return state(self.folder) != self._state

    def refresh(self) -> Index:
        """Return the index as it is now: itself if nothing changed."""
        if not self.stale:
            return self
        return type(self)(self.folder, IndexRecord.read(self.folder), self._encoder, self._run)

    def __len__(self) -> int:
        return len(self._engine()) if self._snapshot is None else int(self._snapshot.rows.num_rows)

    def search(
        self,
        image: Any,
        weights: Weights = None,
        k: int = 10,
        where: str | None = None,
        box: Sequence[float] | None = None,
    ) -> list[Hit]:
        """Find the images most like ``image`` under the weighted attributes.

        Args:
            image: path, bytes, PIL image or (H, W, 3) uint8 array.
            weights: attribute -> weight; attributes not named weigh zero; None weighs every attribute 1.
            k: hits wanted; fewer come back if fewer pass the filter.
            where: filter (grammar: ``lapel.retrieval.filters``), applied before ranking.
            box: x1, y1, x2, y2 of the garment in pixels of the upright image; give it where the catalogue has boxes.

        Returns:
            Hits, best first; equal scores in order of id.

        Raises:
            SearchIndexError: unknown attribute, weights all zero, bad k or filter, the run's weights changed.
            ImageError: the image cannot be read.
        """
        self._check(weights, k, where)  # before the seconds that loading a model takes
        return self.search_vector(self.encode(image, box), weights, k, where)

    def search_id(self, image_id: str, weights: Weights = None, k: int = 10, where: str | None = None) -> list[Hit]:
        """Find the images most like one of the index, which is itself left out; no model is needed."""
        self._check(weights, k, where)
        query = self.vectors(image_id)
        hits = self.search_vector(query, weights, k + 1, where)
        return [hit for hit in hits if hit.id != image_id][:k]

    def search_vector(
        self, query: npt.ArrayLike, weights: Weights = None, k: int = 10, where: str | None = None
    ) -> list[Hit]:
        """Find the images nearest to (A, D) numbers: one vector per attribute, of any length but 0."""
        weighing = self._check(weights, k, where)
        asked = self._unit(query)
        tree = None if where is None else parse(where, self._columns.values())
        if self._snapshot is None:
            flat = (weighing[:, None] * asked).ravel().astype(np.float32)
            rows = self._engine().nearest(flat, k + SPARE, tree)
            vectors = matrix(rows["vector"], len(self.attributes), self.dim).swapaxes(0, 1)
        else:
            passing = None if tree is None else mask(tree, self._snapshot.rows)
            chosen = self._candidates(asked, weighing, k, passing)
            rows = self._snapshot.rows.take(pa.array(chosen))
            vectors = self._snapshot.vectors[:, chosen]
        # einsum adds up each row in the same order wherever it stands: equal vectors get equal scores.
        pairs = zip(vectors, asked, strict=True)
        cosines = np.stack([np.einsum("nd,d->n", block.astype(np.float64), q) for block, q in pairs])
        totals = np.einsum("a,an->n", weighing, cosines)
        ids = rows["id"].to_pylist()
        best = sorted(range(len(ids)), key=lambda place: (-totals[place], ids[place]))[:k]
        hits = []
        for place, entry in zip(best, self._entries(rows.take(pa.array(best, pa.int64()))), strict=True):
            scores = dict(zip(self.attributes, cosines[:, place].tolist(), strict=True))
            hits.append(Hit(**vars(entry), score=float(totals[place]), scores=scores))
        return hits

    def get(self, image_id: str) -> Entry:
        """Return one image of the index.

        Raises:
            SearchIndexError: there is none with this id.
        """
        return self._entries(self._row(image_id))[0]

    def vectors(self, image_id: str) -> Floats:
        """Return the (A, D) unit vectors of one image of the index."""
        row = self._row(image_id)
        if self._snapshot is None:
            return np.asarray(matrix(row["vector"], len(self.attributes), self.dim)[0])
        place = int(pc.index(self._snapshot.rows["id"], image_id).as_py())
        return np.array(self._snapshot.vectors[:, place])

    def encode(self, image: Any, box: Sequence[float] | None = None) -> Floats:
        """Return the (A, D) unit vectors of a query image, or of its part in ``box``.

        The encoder stored with the index is loaded on first use, or the run where there is none.

        Raises:
            SearchIndexError: the run is gone, or has other weights than the index was built with.
            ImageError: the image cannot be read, or the box is empty.
        """
        if box is not None:
            image = decode_array(image, box)
        if self._encoder is None:
            self._encoder = self._load()
        found = np.asarray(self._encoder([image]), np.float32)
        wanted = (1, len(self.attributes), self.dim)
        if found.shape != wanted:
            raise SearchIndexError(f"the encoder gave shape {found.shape}, the index needs {wanted}")
        return np.asarray(found[0])

    def _load(self) -> Encoder:
        run = self._run or Path(self.record.run)
        light = self.folder / ENCODER
        if run.is_dir() or not light.is_file():
            _same_weights(self.folder, self.record, run)  # from the file's header, before loading for seconds
        if light.is_file():
            encoder = QueryEncoder(light)
            if encoder.fingerprint == self.record.fingerprint:
                return encoder
        from lapel.retrieval.embedder import load

        return load(run).embed

    def _engine(self) -> Store:
        if self._store is None:
            self._store = LanceStore.open(self.folder)
        return self._store

    def _check(self, weights: Weights, k: int, where: str | None) -> Doubles:
        """Check a query's settings and return the weights as (A,)."""
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise SearchIndexError(f"expected k as a whole number of at least 1, found {k!r}")
        if where is not None:
            parse(where, self._columns.values())
        if weights is None:
            return np.ones(len(self.attributes))
        for name, weight in weights.items():
            if name not in self.attributes:
                raise SearchIndexError(unknown("attribute", name, self.attributes))
            number = isinstance(weight, int | float | np.number) and not isinstance(weight, bool)
            if not number or not math.isfinite(weight):
                raise SearchIndexError(f"expected the weight of {name!r} as a number, found {weight!r}")
        weighing = np.array([weights.get(name, 0) for name in self.attributes], np.float64)
        if not weighing.any():
            raise SearchIndexError("every weight is zero, so nothing can be ranked: give one that is not")
        return weighing

    def _unit(self, query: npt.ArrayLike) -> Doubles:
        asked, wanted = np.asarray(query, np.float64), (len(self.attributes), self.dim)
        if asked.shape != wanted:
            raise SearchIndexError(f"expected a query of shape {wanted}, found {asked.shape}")
        lengths = np.linalg.norm(asked, axis=1, keepdims=True)
        if not np.isfinite(lengths).all() or (lengths == 0).any():
            raise SearchIndexError("the query's vectors must be finite and not zero")
        return np.asarray(asked / lengths)

    def _candidates(
        self, asked: Doubles, weighing: Doubles, k: int, passing: npt.NDArray[np.bool_] | None
    ) -> npt.NDArray[np.int64]:
        """Row numbers of the k best in float32, and of those too close to the last place to tell."""
        assert self._snapshot is not None
        vectors, count = self._snapshot.vectors, self._snapshot.rows.num_rows
        rows = np.arange(count) if passing is None else np.flatnonzero(passing)
        # Copying rows out costs more than comparing all of them, unless few pass.
        few = len(rows) * 8 < count
        totals = np.zeros(len(rows), np.float32)
        for block, q, weight in zip(vectors, asked, weighing, strict=True):
            if weight:
                part = (weight * q).astype(np.float32)
                totals += block[rows] @ part if few else (block @ part)[rows]
        if len(rows) <= k:
            return rows
        last = np.partition(totals, len(rows) - k)[len(rows) - k]
        return np.asarray(rows[totals >= last - ROUNDING * np.abs(weighing).sum()])

    def _row(self, image_id: str) -> pa.Table:
        if self._snapshot is None:
            row = self._engine().read(self._engine().schema.names, [image_id])
        else:
            row = self._snapshot.rows.filter(pc.equal(self._snapshot.rows["id"], image_id))
        if not row.num_rows:
            root = Path(self.record.root)
            hint = f"; ids are image paths under {root}" if Path(image_id).is_absolute() else ""
            raise SearchIndexError(f"no image {image_id!r} in index {self.folder}{hint}")
        return row

    def _entries(self, rows: pa.Table) -> list[Entry]:
        root, entries = Path(self.record.root), []
        for row in rows.drop_columns(["vector"] if "vector" in rows.column_names else []).to_pylist():
            metadata: dict[str, object] = {}
            labels: dict[str, tuple[str, ...]] = {}
            for name, column in self._columns.items():
                if column.field.startswith(META):
                    metadata[name] = row[column.field]
                elif column.kind == "labels" and row[column.field]:
                    labels[name] = tuple(row[column.field])
            entries.append(Entry(row["id"], str(root / row["image"]), row["item"], metadata, labels))
        return entries


def mismatch(folder: Path, record: IndexRecord, run: Path, fingerprint: str) -> str:
    """Message for a run whose weights are not those of the index."""
    return (
        f"index {folder} was built with run {record.run} (weights {record.fingerprint[:12]}), but run {run} "
        f"has other weights ({fingerprint[:12]}), and their vectors cannot be compared: use the run of the "
        "index, or index into another folder"
    )


def _same_weights(folder: Path, record: IndexRecord, run: Path) -> None:
    """Raise unless ``run`` is there and has the weights the index was built with."""
    if not run.is_dir():
        raise SearchIndexError(
            f"index {folder} was built with run {record.run}; expected it at {run}, which is not there. "
            "Say where the run is now: Index.open(path, run=FOLDER), or --run FOLDER"
        )
    from lapel.runs import stored_fingerprint  # not needed to search by id

    if (found := stored_fingerprint(run)) != record.fingerprint:
        raise SearchIndexError(mismatch(folder, record, run, found))
