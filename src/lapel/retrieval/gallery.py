"""The rows of an index as searches ask for them: compared one and all in memory, or as an engine finds them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lapel.retrieval.filter_tree import And, Column, Filter, In
from lapel.retrieval.layout import ITEM
from lapel.retrieval.ranking import Question, Result, rank
from lapel.retrieval.rendering import mask
from lapel.retrieval.snapshot import Blocks, Snapshot, split
from lapel.retrieval.store import Store

# Rounding in float32 may swap rows whose scores differ by less than this (per unit of weight): rows within
# it of the last place are scored again in float64, and equal scores are ordered by id.
ROUNDING = 1e-5
SPARE = 32  # rows an approximate index gives beyond those asked for, to be scored exactly
FIRST, GROWTH = 64, 4  # results of an engine's first window; how many times larger each further one is
ITEMS_AT_ONCE = 1000  # items that one filter names
PORTION = 1 << 16  # rows of a table that a count looks at


@dataclass(frozen=True)
class Page:
    """Some places of a ranking.

    Attributes:
        results: in order.
        rows: their rows, one each.
        vectors: of those rows, per attribute (n, D) float32.
        left: whether more follow.
    """

    results: list[Result]
    rows: pa.Table
    vectors: Blocks
    left: bool


class Gallery(Protocol):
    """Rows that can be ranked, looked up and gone through."""

    @property
    def schema(self) -> pa.Schema:
        """Columns and their types, with or without ``vector``."""

    def __len__(self) -> int: ...

    def count(self, tree: Filter) -> int:
        """Return how many rows pass."""

    def page(self, question: Question, start: int, stop: int) -> Page:
        """Return places ``start`` to ``stop`` of the ranking; pages of one question neither overlap nor leave gaps."""

    def fetch(self, ids: Sequence[str]) -> tuple[pa.Table, Blocks]:
        """Return rows and vectors in the order of ``ids``; unknown ids are left out."""

    def tables(self, fields: Sequence[str]) -> Iterator[pa.Table]:
        """Go through some columns of all rows in bounded memory: one table at least, which may be empty."""


class MemoryGallery:
    """Every row compared with the query, which is exact."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    @property
    def schema(self) -> pa.Schema:
        """Without ``vector``."""
        return self.snapshot.rows.schema

    def __len__(self) -> int:
        return int(self.snapshot.rows.num_rows)

    def count(self, tree: Filter) -> int:
        """Test every row."""
        return int(np.count_nonzero(mask(tree, self.snapshot.rows)))

    def page(self, question: Question, start: int, stop: int) -> Page:
        """Rank those that may be among the first, and cut."""
        rows, vectors = self.snapshot.rows, self.snapshot.vectors
        ranked = rank(question, rows, vectors, self._candidates(question, stop + 1))
        chosen = np.array([result.row for result in ranked[start:stop]], np.int64)
        found = tuple(block[chosen] for block in vectors)
        return Page(ranked[start:stop], rows.take(pa.array(chosen)), found, len(ranked) > stop)

    def fetch(self, ids: Sequence[str]) -> tuple[pa.Table, Blocks]:
        """Look rows up by id."""
        chosen = self._rows_of(ids)
        return self.snapshot.rows.take(pa.array(chosen)), tuple(block[chosen] for block in self.snapshot.vectors)

    def tables(self, fields: Sequence[str]) -> Iterator[pa.Table]:
        """All at once: they are in memory."""
        yield self.snapshot.rows.select(list(fields))

    def _passing(self, question: Question) -> npt.NDArray[np.bool_] | None:
        """Which rows may be results, (N,); None: all."""
        rows, masks = self.snapshot.rows, []
        if question.tree is not None:
            masks.append(mask(question.tree, rows))
        if question.without:
            masks.append(np.ones(len(self), bool))
            masks[-1][self._rows_of(question.without)] = False
        if question.items:
            masks.append(~pc.is_in(rows[ITEM], value_set=pa.array([*question.items], rows[ITEM].type)).to_numpy())
        return np.logical_and.reduce(masks) if masks else None

    def _rows_of(self, ids: Iterable[str]) -> npt.NDArray[np.int64]:
        """Return the row numbers of those ids that are there, in their order."""
        return np.array([self._places[name] for name in ids if name in self._places], np.int64)

    @cached_property
    def _places(self) -> dict[str, int]:
        """Row number of each id. Made twice, it is the same."""
        return {name: place for place, name in enumerate(self.snapshot.rows["id"].to_pylist())}

    def _candidates(self, question: Question, k: int) -> npt.NDArray[np.int64]:
        """Row numbers of the k best in float32, and of those too close to the last place to tell.

        Grouped: of all images of the k best items.
        """
        passing, total = self._passing(question), len(self)
        rows = np.arange(total) if passing is None else np.flatnonzero(passing)
        # Copying rows out costs more than comparing all of them, unless few pass.
        few = len(rows) * 8 < total
        totals = np.zeros(len(rows), np.float32)
        for block, query, weight in zip(self.snapshot.vectors, question.asked, question.weighing, strict=True):
            if weight and query is not None:
                part = (weight * query).astype(np.float32)
                # On a busy machine the threads of a matrix product wait for each other ten times as long as it takes.
                totals += np.vecdot(block[rows], part) if few else np.vecdot(block, part)[rows]
        best = totals
        if question.grouped:
            codes = self._items[rows]
            best = np.full(self._items.max(initial=-1) + 1, -np.inf, np.float32)
            np.maximum.at(best, codes, totals)
        if np.count_nonzero(best > -np.inf) <= k:
            return rows
        last = np.partition(best, len(best) - k)[len(best) - k]
        kept = best >= last - ROUNDING * question.size
        return np.asarray(rows[kept[codes] if question.grouped else kept])

    @cached_property
    def _items(self) -> npt.NDArray[np.int64]:
        """Number of each row's item; a row without one has a number of its own. Made twice, it is the same."""
        found = self.snapshot.rows[ITEM].combine_chunks().dictionary_encode()
        codes = np.array(pc.fill_null(found.indices, -1), np.int64)
        alone = np.flatnonzero(codes < 0)
        codes[alone] = len(found.dictionary) + np.arange(len(alone))
        return codes


class EngineGallery:
    """Rows as an engine finds them, scored exactly.

    What an approximate index finds depends on how much it is asked for, so that a longer list need not begin with a
    shorter one. The ranking is therefore made in windows whose sizes are always the same: the first 64 places are those
    of the first window, the next are those of a larger one without what was placed before, and so on. Wherever pages
    are cut, nothing comes twice or is left out.
    """

    def __init__(self, store: Store, dims: Sequence[int]) -> None:
        self.store, self.dims = store, dims

    @property
    def schema(self) -> pa.Schema:
        """As the engine has it."""
        return self.store.schema

    def __len__(self) -> int:
        return len(self.store)

    def count(self, tree: Filter) -> int:
        """Let the engine count."""
        return self.store.count(tree)

    def page(self, question: Question, start: int, stop: int) -> Page:
        """Go from window to window until the page is full."""
        placed: set[tuple[bool, str]] = set()
        results: list[Result] = []
        tables: list[pa.Table] = []
        for window in count():
            bound = FIRST * GROWTH**window
            rows, ranked, last = self._window(question, bound)
            at = len(placed)
            fresh = [result for result in ranked if result.key not in placed]
            fresh = fresh if last else fresh[: bound - at]
            placed.update(result.key for result in fresh)
            wanted = fresh[max(0, start - at) : max(0, stop - at)]
            results += wanted
            tables.append(rows.take(pa.array([result.row for result in wanted], pa.int64())))
            if last or len(placed) > stop:
                break
        # A later window may find what an earlier one missed: within the page the best still comes first.
        order = sorted(range(len(results)), key=lambda place: (-results[place].score, results[place].id))
        table = pa.concat_tables(tables).take(pa.array(order, pa.int64()))
        vectors = split(table["vector"], self.dims)
        return Page([results[place] for place in order], table, vectors, len(placed) > stop)

    def fetch(self, ids: Sequence[str]) -> tuple[pa.Table, Blocks]:
        """Read rows by id."""
        rows = self.store.read(self.schema.names, list(dict.fromkeys(ids)))
        places = pc.index_in(pa.array(ids, pa.string()), value_set=rows["id"].combine_chunks())
        rows = rows.take(places.drop_null())
        return rows, split(rows["vector"], self.dims)

    def tables(self, fields: Sequence[str]) -> Iterator[pa.Table]:
        """Some ten thousand rows at a time."""
        waiting: list[pa.RecordBatch] = []
        some = False
        for batch in self.store.batches(fields):
            waiting.append(batch)
            if sum(each.num_rows for each in waiting) >= PORTION:
                yield pa.Table.from_batches(waiting)
                waiting = []
                some = True
        if waiting:
            yield pa.Table.from_batches(waiting)
        elif not some:
            yield self.schema.empty_table().select(list(fields))

    def _window(self, question: Question, bound: int) -> tuple[pa.Table, list[Result], bool]:
        """Rank what the engine finds: at least ``bound`` results, or all there are; say whether it is all."""
        weighed = zip(question.weighing, question.asked, self.dims, strict=True)
        parts = [np.zeros(dim) if query is None else weight * query for weight, query, dim in weighed]
        flat = np.concatenate(parts).astype(np.float32)
        limit = bound + SPARE + len(question.without)
        while True:
            rows = self.store.nearest(flat, limit, question.tree)
            whole = rows.num_rows < limit
            rows = self._allowed(rows, question)
            items = [item for item in pc.unique(rows[ITEM]).to_pylist() if item is not None] if question.grouped else []
            alone = rows.filter(pc.is_null(rows[ITEM])) if question.grouped else rows
            if whole or len(items) + alone.num_rows >= bound + SPARE:
                break
            limit *= GROWTH
        if items:
            rows = pa.concat_tables([alone, *self._of(items, rows.column_names, question)])
        vectors = split(rows["vector"], self.dims)
        every = np.arange(rows.num_rows)
        ranked = rank(question, rows, vectors, every)
        cut = question.threshold is not None and len(ranked) < len(items) + alone.num_rows
        return rows, ranked, whole or cut

    def _of(self, items: Sequence[str], fields: Sequence[str], question: Question) -> Iterator[pa.Table]:
        """All images of some items that pass."""
        for start in range(0, len(items), ITEMS_AT_ONCE):
            same: Filter = In(Column(ITEM, ITEM, "text"), tuple(items[start : start + ITEMS_AT_ONCE]))
            tree = same if question.tree is None else And((question.tree, same))
            yield self._allowed(self.store.read(fields, where=tree), question).select(list(fields))

    def _allowed(self, rows: pa.Table, question: Question) -> pa.Table:
        for field, barred in (("id", question.without), (ITEM, question.items)):
            if barred:
                found = pc.is_in(rows[field], value_set=pa.array([*barred], rows[field].type))
                rows = rows.filter(pc.invert(found))
        return rows
