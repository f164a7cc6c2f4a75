"""Which images are asked and which are ranked under an attribute: drawn by us, or as given lists say.

Lists with a value in each row are followed as ASEN's evaluator follows its files: every listed (image, attribute,
value) is one query or one candidate, and relevant means the same listed value. An image listed twice counts twice, and
a query's image may be among its candidates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from numpy.typing import NDArray

from lapel import columns, delimited
from lapel.errors import CatalogueError, unknown
from lapel.files import sha256

if TYPE_CHECKING:
    from lapel.catalogue import Catalogue

Rows = NDArray[np.int64]
Array = NDArray[Any]
ROLES = ("query", "candidate")


def draw_queries(
    labelled_rows: Array,
    share: float = 0.2,
    seed: int = 0,
    attribute: str = "",
    names: Sequence[str] | None = None,
) -> tuple[Rows, Rows]:
    """Split the labelled rows of one attribute into (queries, candidates), both in ascending order.

    Rows are ordered by the SHA-256 of (seed, attribute, name) and the first ``share`` of them become queries:
    the same in every process, for every model, under every numpy; rows added later hardly move it.

    Args:
        labelled_rows: (n,) row numbers, at least 2.
        share: share of queries, strictly between 0 and 1; at least one row lands on each side.
        seed: another seed, another draw.
        attribute: each attribute has its own draw.
        names: what identifies each row (the image's name), by default its number.

    Raises:
        ValueError: fewer than 2 rows, or a share out of range.
    """
    rows = np.asarray(labelled_rows, dtype=np.int64)
    if len(rows) < 2 or not 0 < share < 1:
        raise ValueError(f"expected at least 2 rows and a share between 0 and 1, found {len(rows)} and {share}")
    keys = [str(row) for row in rows] if names is None else names
    digests = [hashlib.sha256(f"{seed}\n{attribute}\n{key}".encode()).digest() for key in keys]
    order = sorted(range(len(rows)), key=lambda i: (digests[i], rows[i]))
    count = min(max(1, round(share * len(rows))), len(rows) - 1)
    return np.sort(rows[order[:count]]), np.sort(rows[order[count:]])


@dataclass(frozen=True, eq=False)
class Sides:
    """Queries and candidates of one attribute, with what decides relevance.

    Attributes:
        queries: (Q,) rows of the catalogue.
        candidates: (C,) rows; equal scores keep this order.
        query_labels: (Q, V) bool; a candidate is relevant that shares a value.
        candidate_labels: (C, V) bool.
    """

    queries: Rows
    candidates: Rows
    query_labels: Array
    candidate_labels: Array

    def __len__(self) -> int:
        return len(self.queries) + len(self.candidates)

    def without(self, absent: Array) -> Sides:
        """Return it without the rows that are True in ``absent`` (N,)."""
        asked, ranked = ~absent[self.queries], ~absent[self.candidates]
        labels = self.query_labels[asked], self.candidate_labels[ranked]
        return Sides(self.queries[asked], self.candidates[ranked], *labels)

    def shared(self) -> int:
        """Return how many images are a query and a candidate."""
        return len(np.intersect1d(self.queries, self.candidates))


@dataclass(frozen=True, eq=False)
class QueryLists:
    """Query and candidate rows of a catalogue per attribute, as the files of ASEN give them.

    Attributes:
        lists: attribute -> (query rows, candidate rows).
        source: where they come from, for the protocol record.
        values: attribute -> (value of each query row, of each candidate row); empty: the catalogue's labels decide
            what is relevant.
    """

    lists: Mapping[str, tuple[Array, Array]]
    source: str
    values: Mapping[str, tuple[Array, Array]] = field(default_factory=dict)

    @classmethod
    def of_relation(cls, table: pa.Table, catalogue: Catalogue, split: str, source: str) -> QueryLists:
        """Take the lists of one split from a table ``role, attribute, image`` with or without ``value`` and ``split``.

        Args:
            table: one row per query (role ``query``) or candidate (role ``candidate``); the order of the candidates
                orders equal scores.
            catalogue: the images of the split, which ``image`` names as the catalogue does.
            split: which rows of the table; a table without a column ``split`` is taken whole.
            source: where the table comes from, for messages and the protocol record.

        Raises:
            CatalogueError: a column or a cell is missing, an unknown role, nothing for this split, images that the
                catalogue lacks, values in some rows only.
        """
        for name in ("role", "attribute", "image"):
            if name not in table.column_names:
                found = ", ".join(table.column_names)
                raise CatalogueError(f"{source}: expected columns role, attribute, value and image, found {found}")
        kept = [name for name in ("split", "role", "attribute", "image", "value") if name in table.column_names]
        text = pa.table({name: columns.text(columns.plain(table[name])) for name in kept})
        if "value" in kept and text["value"].null_count == text.num_rows:
            text = text.drop_columns(["value"])
        for name in text.column_names:
            if text[name].null_count:
                row = int(np.flatnonzero(text[name].is_null().to_numpy())[0])
                raise CatalogueError(f"{source}: row {row + 1} has no {name}; {text[name].null_count} such rows in all")
        for role in text["role"].unique().to_pylist():
            if role not in ROLES:
                raise CatalogueError(f"{source}: {unknown('role', role, ROLES)}")
        if "split" in kept:
            splits = text["split"].unique().to_pylist()
            text = text.filter(pc.equal(text["split"], split))
            if not text.num_rows:
                raise CatalogueError(f"{source}: {unknown('split', split, splits)}")
        rows = rows_of(text["image"], catalogue, source)
        return cls._grouped(text, rows, source)

    @classmethod
    def _grouped(cls, text: pa.Table, rows: Rows, source: str) -> QueryLists:
        attributes = text["attribute"].combine_chunks().dictionary_encode()
        codes = attributes.indices.to_numpy()
        asked = pc.equal(text["role"], "query").to_numpy()
        given = np.array(text["value"].to_pylist(), object) if "value" in text.column_names else None
        lists, values = {}, {}
        for code, name in enumerate(attributes.dictionary.to_pylist()):
            sides = tuple(np.flatnonzero((codes == code) & (asked == side)) for side in (True, False))
            lists[name] = (rows[sides[0]], rows[sides[1]])
            if given is not None:
                values[name] = (given[sides[0]], given[sides[1]])
        return cls(lists, source, values)

    @classmethod
    def read(cls, path: Path | str, catalogue: Catalogue, split: str) -> QueryLists:
        """Read lists from a CSV or Parquet file with the columns ``role, attribute, image``, as ``of_relation``.

        Raises:
            CatalogueError: it cannot be read, or ``of_relation`` refuses it.
        """
        path = Path(path)
        if not path.is_file():
            raise CatalogueError(f"no query lists at {path}: expected a .csv or .parquet file")
        try:
            table = delimited.read_csv(path) if path.suffix.lower() == ".csv" else pyarrow.parquet.read_table(path)
        except (pa.ArrowException, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CatalogueError(f"cannot read {path}: expected a .csv or .parquet file ({reason})") from error
        lists = cls.of_relation(table, catalogue, split, str(path))
        return cls(lists.lists, f"{path}, SHA-256 {sha256(path)[:16]}", lists.values)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the attributes that have lists."""
        return tuple(self.lists)

    def rows(self, images: int) -> Rows:
        """Return all listed rows once, ascending; the catalogue has ``images``.

        Raises:
            CatalogueError: a row out of range.
        """
        for name in self.lists:
            self._sides(name, images)
        return np.unique(
            np.concatenate([np.zeros(0, np.int64), *(side for pair in self.lists.values() for side in pair)])
        )

    def on(self, rows: Rows) -> QueryLists:
        """Return it for a catalogue of these rows alone (``rows`` of ``self.rows`` or more, ascending)."""
        lists = {
            name: (np.searchsorted(rows, pair[0]), np.searchsorted(rows, pair[1])) for name, pair in self.lists.items()
        }
        return QueryLists(lists, self.source, self.values)

    def sides(self, attribute: str, labels: Array) -> Sides:
        """Return the checked lists of one attribute; ``labels`` (N, V) bool are the catalogue's.

        Raises:
            CatalogueError: none for this attribute; a row not in the catalogue. Without values also: a row listed
                twice, or without a label of the attribute.
        """
        queries, candidates = self._sides(attribute, len(labels))
        if attribute in self.values:
            asked, ranked = (np.asarray(side).astype(str) for side in self.values[attribute])
            if (len(asked), len(ranked)) != (len(queries), len(candidates)):
                raise CatalogueError(f"{self.source}, attribute {attribute!r}: expected one value per listed row")
            names, codes = np.unique(np.concatenate([asked, ranked]), return_inverse=True)
            given = np.zeros((len(codes), len(names)), bool)
            given[np.arange(len(codes)), codes] = True
            return Sides(queries, candidates, given[: len(asked)], given[len(asked) :])
        where = f"{self.source}, attribute {attribute!r}"
        both, labelled = np.concatenate([queries, candidates]), np.asarray(labels.any(axis=1))
        if repeated := len(both) - len(np.unique(both)):
            raise CatalogueError(f"{where}: {repeated} rows are listed twice; no query may be its own candidate")
        if not labelled[both].all():
            raise CatalogueError(f"{where}: {int((~labelled[both]).sum())} listed images have no label of it")
        return Sides(queries, candidates, labels[queries], labels[candidates])

    def _sides(self, attribute: str, images: int) -> tuple[Rows, Rows]:
        if attribute not in self.lists:
            raise CatalogueError(f"{self.source}: {unknown('attribute', attribute, self.lists)}")
        queries, candidates = (np.asarray(rows, dtype=np.int64) for rows in self.lists[attribute])
        both = np.concatenate([queries, candidates])
        if len(both) and (both.min() < 0 or both.max() >= images):
            where = f"{self.source}, attribute {attribute!r}"
            raise CatalogueError(f"{where}: rows {both.min()} to {both.max()}, the catalogue has {images} images")
        return queries, candidates


def rows_of(names: pa.ChunkedArray | pa.Array, catalogue: Catalogue, source: str) -> Rows:
    """Return the row of each named image in a catalogue; of an image that is there twice the first.

    Raises:
        CatalogueError: images that the catalogue lacks; says how many and names the first.
    """
    found = pc.index_in(names, value_set=catalogue.images["image"].combine_chunks())
    if found.null_count:
        first = names.filter(found.is_null())[0].as_py()
        raise CatalogueError(
            f"{source}: {found.null_count} of {len(names)} named images are not among the {len(catalogue)} of "
            f"catalogue {catalogue.name!r} that it speaks of, the first: {first!r}. Name images as the catalogue's "
            "column 'image' does"
        )
    rows: Rows = found.to_numpy().astype(np.int64)
    return rows
