"""What values the images of an index have, column by column, and how many have each: for a filter bar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lapel.retrieval.filter_tree import And, Column, Filter, Kind, Not, Or, Value
from lapel.retrieval.rendering import mask

if TYPE_CHECKING:
    from lapel.retrieval.opened import Opened

MANY, TOP = 200, 50  # values of a text column above which not all are listed, and how many are then
COUNTED = 50_000  # values of a column above which none are: what every image has another of is no facet


@dataclass(frozen=True)
class Facet:
    """One column over the images that pass.

    Attributes:
        name: as filters name it.
        kind: ``text``, ``integer``, ``number``, ``truth`` or ``labels``.
        values: (value, images) of text, truth and labels, most images first, equal ones by value; none for numbers. An
            image counts once for each of its labels. Of a column with more than 200 values the 50 that most images
            have.
        low: smallest of an integer or number column; None where no image has one.
        high: largest.
        missing: images without a value.
        distinct: values there are, listed or not; None for numbers, and where they are too many to be counted: such
            a column lists none.
        other: image-value pairs that ``values`` leaves out.
    """

    name: str
    kind: Kind
    values: tuple[tuple[Value, int], ...]
    low: int | float | None
    high: int | float | None
    missing: int
    distinct: int | None
    other: int


@dataclass(frozen=True)
class Facets:
    """All columns over the images that pass a filter.

    Attributes:
        count: images that pass.
        columns: in the order of ``Index.columns``, without ``image``, of which every value is its own.
    """

    count: int
    columns: tuple[Facet, ...]


def facets(index: Opened, where: str | None = None) -> Facets:
    """Count what a filter leaves, column by column.

    Memory, where an engine holds the rows: some ten thousand of them at a time, and of each column up to 50,000
    different values.

    Raises:
        SearchIndexError: a bad filter.
    """
    tree = index.filter(where)
    tallies = [_Tally(column) for name, column in index.fields.items() if name != "image"]
    fields = {tally.column.field for tally in tallies} | {"id"} | (fields_of(tree) if tree is not None else set())
    passing = 0
    for rows in index.gallery.tables(sorted(fields)):
        rows = rows if tree is None else rows.filter(pa.array(mask(tree, rows)))
        passing += rows.num_rows
        for tally in tallies:
            tally.add(rows[tally.column.field].combine_chunks())
    return Facets(passing, tuple(tally.facet() for tally in tallies))


def fields_of(tree: Filter) -> set[str]:
    """Return the fields of the table that a filter looks at."""
    if isinstance(tree, Not):
        return fields_of(tree.part)
    if isinstance(tree, And | Or):
        return {field for part in tree.parts for field in fields_of(part)}
    return {tree.column.field}


class _Tally:
    """Counts one column, portion by portion."""

    def __init__(self, column: Column) -> None:
        self.column = column
        self.counts: pa.Table | None = None  # columns values, counts
        self.full = False
        self.bounds: list[Any] = []
        self.missing = self.pairs = 0

    def add(self, cells: pa.Array) -> None:
        if self.column.kind == "labels":
            self.missing += len(cells) - int(pc.sum(pc.greater(pc.list_value_length(cells), 0)).as_py() or 0)
            cells = _labels(cells)
        else:
            self.missing += cells.null_count
        if self.column.kind in ("integer", "number"):
            ends = pc.min_max(cells).as_py().values()
            self.bounds += [end for end in ends if end is not None]
            return
        self.pairs += len(cells) - cells.null_count
        if not self.full:
            found = pa.Table.from_struct_array(pc.value_counts(cells.drop_null()))
            if self.counts is not None:
                both = pa.concat_tables([self.counts, found])
                found = both.group_by("values").aggregate([("counts", "sum")]).rename_columns({"counts_sum": "counts"})
            self.counts, self.full = found, found.num_rows > COUNTED

    def facet(self) -> Facet:
        values: list[tuple[Value, int]] = []
        if self.counts is not None and not self.full:
            cut = self.column.kind == "text" and self.counts.num_rows > MANY
            keys = [("counts", "descending"), ("values", "ascending")]
            first = pc.select_k_unstable(self.counts, TOP if cut else self.counts.num_rows, keys)
            chosen = self.counts.take(first)
            values = [*zip(chosen["values"].to_pylist(), chosen["counts"].to_pylist(), strict=True)]
        return Facet(
            name=self.column.name,
            kind=self.column.kind,
            values=tuple(values),
            low=min(self.bounds, default=None),
            high=max(self.bounds, default=None),
            missing=self.missing,
            distinct=None if self.counts is None or self.full else self.counts.num_rows,
            other=self.pairs - sum(count for _, count in values),
        )


def _labels(cells: pa.Array) -> pa.Array:
    """Return the values of all lists, each once per list."""
    values = pc.list_flatten(cells)
    if pc.max(pc.list_value_length(cells)).as_py() in (None, 0, 1):
        return values
    coded = values.dictionary_encode()
    pairs = pc.list_parent_indices(cells).to_numpy() * max(1, len(coded.dictionary)) + coded.indices.to_numpy()
    return values.take(pa.array(np.unique(pairs, return_index=True)[1]))
