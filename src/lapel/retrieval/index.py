"""An indexed catalogue, searched by any weighting of what its runs embed: attributes, the item, or both.

One column holds the A unit vectors of a row one after the other, so for any weights w

    sum_a w_a cos(q_a, x_a) = < concat_a(w_a q_a), concat_a(x_a) >

and weights live in the query alone: zero leaves an attribute out, a negative weight asks for less of it. Vectors of
different runs may differ in size; each counts by its cosine all the same. Where the item weighs, the images of one
item become one hit.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lapel.decoding import decode_array
from lapel.errors import SearchIndexError
from lapel.retrieval.encoders import Encoder, Encoders
from lapel.retrieval.filter_tree import And, Filter, In, Kind
from lapel.retrieval.filters import parse
from lapel.retrieval.hits import Entry, Hit
from lapel.retrieval.layout import ITEM, META, IndexRecord, columns_of
from lapel.retrieval.query import Asked, Doubles, Weights, unit, weigh
from lapel.retrieval.rendering import mask
from lapel.retrieval.snapshot import Blocks, Floats, Snapshot, split
from lapel.retrieval.store import LanceStore, Store, state

# Rounding in float32 may swap rows whose scores differ by less than this (per unit of weight): rows within
# it of the last place are scored again in float64, and equal scores are ordered by id.
ROUNDING = 1e-5
SPARE = 32  # rows an approximate index gives beyond those asked for, to be scored exactly


class Index:
    """A catalogue's vectors, opened for searching. It stays as it was when opened; see ``refresh``."""

    def __init__(self, folder: Path, record: IndexRecord, encoders: Encoders) -> None:
        self.folder, self.record = folder, record
        self._encoders = encoders
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
    def open(
        cls,
        path: Path | str,
        run: Path | str | Sequence[Path | str] | None = None,
        encoder: Encoder | Sequence[Encoder] | None = None,
    ) -> Index:
        """Open an index folder.

        Args:
            path: folder that ``lapel index`` wrote.
            run: folder of the run, if it is no longer where it was at indexing; of several runs, those that moved.
            encoder: takes images to (N, A, D) unit vectors, instead of loading the run on first use; of several
                runs one for each, in the order of ``record.sources``.

        Raises:
            SearchIndexError: not an index, damaged, or ``run`` has other weights than the index's.
        """
        folder = Path(path)
        record = IndexRecord.read(folder)
        runs = [run] if isinstance(run, Path | str) else run or []
        given = [encoder] if callable(encoder) else encoder or []
        return cls(folder, record, Encoders(folder, record, [Path(each) for each in runs], given))

    @property
    def attributes(self) -> tuple[str, ...]:
        """What can be searched by, in the order of the vectors: attributes, and ``item`` where an item run is in it."""
        return self.record.attributes

    @property
    def dims(self) -> tuple[int, ...]:
        """Numbers of each attribute's vector."""
        return self.record.dims

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
        record = IndexRecord.read(self.folder)
        return type(self)(self.folder, record, self._encoders.reopened(record))

    def __len__(self) -> int:
        return len(self._engine()) if self._snapshot is None else int(self._snapshot.rows.num_rows)

    def search(
        self,
        image: Any,
        weights: Weights = None,
        k: int = 10,
        where: str | None = None,
        box: Sequence[float] | None = None,
        group: bool | None = None,
    ) -> list[Hit]:
        """Find the images most like ``image`` under the weighted attributes.

        Args:
            image: path, bytes, PIL image or (H, W, 3) uint8 array.
            weights: attribute -> weight; attributes not named weigh zero; None weighs every attribute 1.
            k: hits wanted; fewer come back if fewer pass the filter.
            where: filter (grammar: ``lapel.retrieval.filters``), applied before ranking.
            box: x1, y1, x2, y2 of the garment in pixels of the upright image; give it where the catalogue has boxes.
            group: whether the images of one item make one hit, that of the best of them, with the others' ids in
                ``Hit.others``; images without an item stand alone. None: where ``item`` weighs.

        Returns:
            Hits, best first; equal scores in order of id.

        Raises:
            SearchIndexError: unknown attribute, weights all zero, bad k or filter, the run's weights changed.
            ImageError: the image cannot be read.
        """
        weighing = self._check(weights, k, where)  # before the seconds that loading a model takes
        found = self._encoders(image if box is None else decode_array(image, box), weighing)
        return self._search(unit(found, self.dims, weighing), weighing, k, where, group)

    def search_id(
        self,
        image_id: str,
        weights: Weights = None,
        k: int = 10,
        where: str | None = None,
        group: bool | None = None,
    ) -> list[Hit]:
        """Find the images most like one of the index, which is itself left out; no model is needed."""
        weighing = self._check(weights, k, where)
        return self._search(unit(self.vectors(image_id), self.dims, weighing), weighing, k, where, group, image_id)

    def search_vector(
        self,
        query: npt.ArrayLike | Sequence[npt.ArrayLike],
        weights: Weights = None,
        k: int = 10,
        where: str | None = None,
        group: bool | None = None,
    ) -> list[Hit]:
        """Find the images nearest to A vectors of ``dims`` numbers: one per attribute, of any length but 0."""
        weighing = self._check(weights, k, where)
        return self._search(unit(query, self.dims, weighing), weighing, k, where, group)

    def _search(
        self, asked: Asked, weighing: Doubles, k: int, where: str | None, group: bool | None, without: str | None = None
    ) -> list[Hit]:
        """Rank exactly what the snapshot or the engine gives, leaving out the image ``without``."""
        tree = None if where is None else parse(where, self._columns.values())
        names = self.attributes
        grouped = (ITEM in names and weighing[names.index(ITEM)] != 0) if group is None else group
        nearest = self._nearest if self._snapshot is None else self._compared
        rows, vectors = nearest(asked, weighing, k, tree, grouped, without)
        # einsum adds up each row in the same order wherever it stands: equal vectors get equal scores.
        triples = zip(names, vectors, asked, strict=True)
        cosines = {name: np.einsum("nd,d->n", b.astype(np.float64), q) for name, b, q in triples if q is not None}
        weights = np.array([weight for weight, q in zip(weighing, asked, strict=True) if q is not None])
        totals = np.einsum("a,an->n", weights, np.stack([*cosines.values()]))
        ids, items = rows["id"].to_pylist(), rows[ITEM].to_pylist()
        groups: dict[object, list[int]] = {}
        for place in sorted(range(len(ids)), key=lambda place: (-totals[place], ids[place])):
            alone = not grouped or items[place] is None
            groups.setdefault(place if alone else items[place], []).append(place)
        best = [*groups.values()][:k]
        hits = []
        for (place, *others), entry in zip(best, self._entries(rows, [each[0] for each in best]), strict=True):
            scores = {name: float(found[place]) for name, found in cosines.items()}
            hits.append(
                Hit(**vars(entry), score=float(totals[place]), scores=scores, others=tuple(ids[o] for o in others))
            )
        return hits

    def get(self, image_id: str) -> Entry:
        """Return one image of the index.

        Raises:
            SearchIndexError: there is none with this id.
        """
        return self._entries(self._row(image_id), [0])[0]

    def vectors(self, image_id: str) -> Floats | Blocks:
        """Return the unit vectors of one image of the index: (A, D), or A of ``dims`` numbers where those differ."""
        row = self._row(image_id)
        if self._snapshot is None:
            return _one_array([block[0] for block in split(row["vector"], self.dims)])
        place = int(pc.index(self._snapshot.rows["id"], image_id).as_py())
        return _one_array([np.array(block[place]) for block in self._snapshot.vectors])

    def encode(self, image: Any, box: Sequence[float] | None = None) -> Floats | Blocks:
        """Return the unit vectors of a query image, or of its part in ``box``, in the form of ``vectors``.

        The encoders stored with the index are loaded on first use, or the runs where there are none.

        Raises:
            SearchIndexError: a run is gone, or has other weights than the index was built with.
            ImageError: the image cannot be read, or the box is empty.
        """
        every = self._encoders(image if box is None else decode_array(image, box), np.ones(len(self.attributes)))
        return _one_array([found for found in every if found is not None])

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
        return weigh(weights, self.attributes)

    def _compared(
        self, asked: Asked, weighing: Doubles, k: int, tree: Filter | None, grouped: bool, without: str | None
    ) -> tuple[pa.Table, Blocks]:
        """Rows and vectors that may be among the k best, of the rows in memory; grouped: of the k best items."""
        assert self._snapshot is not None
        passing = None if tree is None else mask(tree, self._snapshot.rows)
        if without is not None:
            others = pc.not_equal(self._snapshot.rows["id"], without).to_numpy()
            passing = others if passing is None else passing & others
        chosen = self._candidates(asked, weighing, k, passing, grouped)
        return self._snapshot.rows.take(pa.array(chosen)), tuple(block[chosen] for block in self._snapshot.vectors)

    def _candidates(
        self, asked: Asked, weighing: Doubles, k: int, passing: npt.NDArray[np.bool_] | None, grouped: bool
    ) -> npt.NDArray[np.int64]:
        """Row numbers of the k best in float32, and of those too close to the last place to tell."""
        assert self._snapshot is not None
        vectors, count = self._snapshot.vectors, self._snapshot.rows.num_rows
        rows = np.arange(count) if passing is None else np.flatnonzero(passing)
        # Copying rows out costs more than comparing all of them, unless few pass.
        few = len(rows) * 8 < count
        totals = np.zeros(len(rows), np.float32)
        for block, q, weight in zip(vectors, asked, weighing, strict=True):
            if weight and q is not None:
                part = (weight * q).astype(np.float32)
                totals += block[rows] @ part if few else (block @ part)[rows]
        best = totals
        if grouped:
            codes = self._items[rows]
            best = np.full(self._items.max(initial=-1) + 1, -np.inf, np.float32)
            np.maximum.at(best, codes, totals)
        if np.count_nonzero(best > -np.inf) <= k:
            return rows
        last = np.partition(best, len(best) - k)[len(best) - k]
        kept = best >= last - ROUNDING * np.abs(weighing).sum()
        return np.asarray(rows[kept[codes] if grouped else kept])

    @cached_property
    def _items(self) -> npt.NDArray[np.int64]:
        """Number of each row's item; a row without one has a number of its own."""
        assert self._snapshot is not None
        found = self._snapshot.rows[ITEM].combine_chunks().dictionary_encode()
        codes = np.array(pc.fill_null(found.indices, -1), np.int64)
        alone = np.flatnonzero(codes < 0)
        codes[alone] = len(found.dictionary) + np.arange(len(alone))
        return codes

    def _nearest(
        self, asked: Asked, weighing: Doubles, k: int, tree: Filter | None, grouped: bool, without: str | None
    ) -> tuple[pa.Table, Blocks]:
        """Rows and vectors that may be among the k best, as the engine finds them; grouped: of the k best items."""
        triples = zip(weighing, asked, self.dims, strict=True)
        flat = np.concatenate([np.zeros(dim) if q is None else weight * q for weight, q, dim in triples])
        engine, limit = self._engine(), k + SPARE
        while True:
            rows = engine.nearest(flat.astype(np.float32), limit, tree)
            whole = rows.num_rows < limit
            rows = rows if without is None else rows.filter(pc.not_equal(rows["id"], without))
            items = [item for item in pc.unique(rows[ITEM]).to_pylist() if item is not None] if grouped else []
            alone = rows.filter(pc.is_null(rows[ITEM]))
            if not grouped or whole or len(items) + alone.num_rows >= k + SPARE:
                break
            limit *= 4
        if items:
            same: Filter = In(self._columns[ITEM], tuple(items))
            every = engine.read(rows.column_names, where=same if tree is None else And((tree, same)))
            every = every if without is None else every.filter(pc.not_equal(every["id"], without))
            rows = pa.concat_tables([alone, every.select(rows.column_names)])
        return rows, split(rows["vector"], self.dims)

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

    def _entries(self, rows: pa.Table, places: Sequence[int]) -> list[Entry]:
        rows = rows.take(pa.array(places, pa.int64()))
        root, entries = Path(self.record.root), []
        for row in rows.drop_columns(["vector"] if "vector" in rows.column_names else []).to_pylist():
            metadata: dict[str, object] = {}
            labels: dict[str, tuple[str, ...]] = {}
            for name, column in self._columns.items():
                if column.field.startswith(META):
                    metadata[name] = row[column.field]
                elif column.kind == "labels" and row[column.field]:
                    labels[name] = tuple(row[column.field])
            entries.append(Entry(row["id"], str(root / row["image"]), row[ITEM], metadata, labels))
        return entries


def _one_array(vectors: Sequence[Floats]) -> Floats | Blocks:
    return np.stack(vectors) if len({len(each) for each in vectors}) == 1 else tuple(vectors)
