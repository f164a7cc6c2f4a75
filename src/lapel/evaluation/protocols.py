"""The papers' tasks: attribute-specific retrieval (MAP) and triplet prediction (accuracy).

Both take embeddings and a catalogue, never a model, so a trained run, a frozen trunk and a colour histogram
are measured by the same code on the same queries.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lapel.errors import CatalogueError, LapelError, unknown
from lapel.evaluation import metrics
from lapel.evaluation.metrics import LEVEL, Interval

if TYPE_CHECKING:
    from lapel.catalogue import Catalogue

Rows = NDArray[np.int64]
Array = NDArray[Any]
Vectors = Array | Callable[[str], Array]


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
class QueryLists:
    """Query and candidate rows of a catalogue per attribute, as the FashionAI files of ASEN give them.

    Attributes:
        lists: attribute -> (query rows, candidate rows).
        source: where they come from, for the protocol record.
    """

    lists: Mapping[str, tuple[Array, Array]]
    source: str

    def of(self, attribute: str, labelled: Array) -> tuple[Rows, Rows]:
        """Return the checked lists of one attribute; ``labelled`` is (N,) bool.

        Raises:
            CatalogueError: none for this attribute; a row not in the catalogue, listed twice or not labelled.
        """
        if attribute not in self.lists:
            raise CatalogueError(f"{self.source}: {unknown('attribute', attribute, self.lists)}")
        queries, candidates = (np.asarray(rows, dtype=np.int64) for rows in self.lists[attribute])
        both, images = np.concatenate([queries, candidates]), len(labelled)
        where = f"{self.source}, attribute {attribute!r}"
        if len(both) and (both.min() < 0 or both.max() >= images):
            raise CatalogueError(f"{where}: rows {both.min()} to {both.max()}, the catalogue has {images} images")
        if repeated := len(both) - len(np.unique(both)):
            raise CatalogueError(f"{where}: {repeated} rows are listed twice; no query may be its own candidate")
        if not labelled[both].all():
            raise CatalogueError(f"{where}: {int((~labelled[both]).sum())} listed images have no label of it")
        return queries, candidates


@dataclass(frozen=True, eq=False)
class AttributeResult:
    """Retrieval under one attribute; shares between 0 and 1.

    Attributes:
        map: mean AP, with its bootstrap interval ``low`` to ``high``.
        chance: expected MAP of a random ranking.
        queries: number of queries counted.
        candidates: number of candidates ranked.
        hopeless: queries without any relevant candidate; they count as 0.
        missing: listed images left out because they have no embedding.
        aps: (queries,) AP of each query.
        rows: (queries,) their rows in the catalogue.
    """

    attribute: str
    map: float
    low: float
    high: float
    chance: float
    queries: int
    candidates: int
    hopeless: int
    missing: int
    aps: Array
    rows: Rows

    def to_dict(self, aps: bool = False) -> dict[str, Any]:
        """Return it ready for JSON, in percent; ``aps`` adds each query's row and AP."""
        counts = {
            "queries": self.queries,
            "candidates": self.candidates,
            "queries_without_relevant": self.hopeless,
            "images_without_embedding": self.missing,
        }
        each = {"query_rows": self.rows.tolist(), "aps": (100 * self.aps).round(4).tolist()} if aps else {}
        return _percent(self) | counts | each


@dataclass(frozen=True, eq=False)
class RetrievalResult:
    """Attribute-specific retrieval: each attribute, and overall weighted by queries."""

    attributes: tuple[AttributeResult, ...]
    map: float
    low: float
    high: float
    chance: float
    query_source: str
    not_evaluated: Mapping[str, str] = field(default_factory=dict)

    @property
    def queries(self) -> int:
        """Number of queries over all attributes."""
        return sum(result.queries for result in self.attributes)

    def __getitem__(self, attribute: str) -> AttributeResult:
        for result in self.attributes:
            if result.attribute == attribute:
                return result
        raise KeyError(unknown("attribute", attribute, [result.attribute for result in self.attributes]))

    def to_dict(self, aps: bool = False) -> dict[str, Any]:
        """Return it ready for JSON, in percent with 4 decimals like the papers; ``aps`` adds each query's."""
        return {
            "task": "attribute-specific retrieval",
            "unit": "percent",
            "interval": LEVEL,
            "attributes": {result.attribute: result.to_dict(aps) for result in self.attributes},
            "overall": _percent(self) | {"queries": self.queries},
            "not_evaluated": dict(self.not_evaluated),
        }


def attribute_retrieval(
    vectors: Vectors,
    catalogue: Catalogue,
    attributes: Sequence[str] | None = None,
    queries: QueryLists | None = None,
    *,
    share: float = 0.2,
    seed: int = 0,
    missing: Array | None = None,
    chunk: int | None = None,
    samples: int = 2000,
) -> RetrievalResult:
    """Measure retrieval under each attribute separately (AG-MAN and ASEN, FashionAI and DeepFashion).

    Under each attribute only the images that have a label of it take part. Queries and candidates are drawn
    before images without an embedding are left out, so that two models are asked the same queries.

    Args:
        vectors: (N, A, D) embeddings of the catalogue's rows, or a function from an attribute to (N, D): one
            global vector per image then serves every attribute without being copied.
        catalogue: N images, usually ``catalogue.split("test")``.
        attributes: names of axis 1, by default ``catalogue.attributes``.
        queries: given query lists; by default drawn with ``share`` and ``seed``.
        share: share of each attribute's labelled images that become queries.
        seed: of the draw and of the bootstrap.
        missing: (N,) bool, images without an embedding (unreadable files); their vectors are not looked at.
        chunk: queries ranked at a time; changes memory, never the result.
        samples: bootstrap samples behind each interval.

    Memory: that of ``average_precisions`` for one attribute, plus a copy of the vectors under one attribute.

    Raises:
        LapelError: NaN in an embedding; nothing can be evaluated.
        CatalogueError: an attribute the catalogue lacks, or query lists that do not fit it.
        ValueError: shapes do not fit.
    """
    names = tuple(catalogue.attributes if attributes is None else attributes)
    for name in names:
        if name not in catalogue.attributes:
            raise CatalogueError(unknown("attribute", name, catalogue.attributes))
    if not callable(vectors) and (vectors.ndim != 3 or vectors.shape[:2] != (len(catalogue), len(names))):
        raise ValueError(f"expected vectors ({len(catalogue)}, {len(names)}, D), found {vectors.shape}")
    absent = np.zeros(len(catalogue), bool) if missing is None else np.asarray(missing, dtype=bool)
    if absent.shape != (len(catalogue),):
        raise ValueError(f"expected missing of shape ({len(catalogue)},), found {absent.shape}")
    images = catalogue.images["image"].to_pylist()
    results: list[AttributeResult] = []
    reasons: dict[str, str] = {}
    for name in names:
        labels = catalogue.multi_hot(name)
        labelled = np.asarray(labels.any(axis=1))
        if reason := _unfit(labels):
            reasons[name] = reason
            continue
        if queries is None:
            rows = np.flatnonzero(labelled)
            drawn = draw_queries(rows, share, seed, name, [images[row] for row in rows])
        else:
            drawn = queries.of(name, labelled)
        asked, ranked = (side[~absent[side]] for side in drawn)
        dropped = sum(map(len, drawn)) - len(asked) - len(ranked)
        if not len(asked) or not len(ranked):
            left = f"{len(asked)} queries and {len(ranked)} candidates"
            reasons[name] = f"{left} are left, {dropped} images have no embedding"
            continue
        matrix = np.asarray(vectors(name) if callable(vectors) else vectors[:, names.index(name)])
        if matrix.ndim != 2 or len(matrix) != len(catalogue):
            raise ValueError(f"expected vectors ({len(catalogue)}, D) for {name!r}, found {matrix.shape}")
        aps = metrics.average_precisions(matrix[asked], matrix[ranked], labels[asked], labels[ranked], chunk)
        relevant = metrics.relevant_counts(labels[asked], labels[ranked])
        interval = metrics.mean_interval([aps], samples, seed)
        chance = float(metrics.expected_average_precision(relevant, len(ranked)).mean())
        counts = (len(asked), len(ranked), int((relevant == 0).sum()), dropped)
        results.append(AttributeResult(name, *interval, chance, *counts, aps=aps, rows=asked))
    if not results:
        why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items()) or "no attribute was named"
        raise LapelError(f"nothing to evaluate in catalogue {catalogue.name!r}: {why}")
    overall = metrics.mean_interval([result.aps for result in results], samples, seed)
    chance = metrics.query_weighted_mean([row.chance for row in results], [row.queries for row in results])
    source = queries.source if queries else f"drawn: share {share:g} per attribute, seed {seed}"
    return RetrievalResult(tuple(results), *overall, chance, source, reasons)


def compare(first: RetrievalResult, second: RetrievalResult, samples: int = 2000, seed: int = 0) -> dict[str, Interval]:
    """Return MAP of ``first`` minus ``second`` on the queries both answered: per attribute, and "overall".

    An interval that excludes 0 says the difference is not the luck of this draw of queries.

    Raises:
        LapelError: no query in common.
    """
    pairs: dict[str, tuple[Array, Array]] = {}
    others = {result.attribute: result for result in second.attributes}
    for mine in first.attributes:
        if theirs := others.get(mine.attribute):
            _, left, right = np.intersect1d(mine.rows, theirs.rows, return_indices=True)
            if len(left):
                pairs[mine.attribute] = (mine.aps[left], theirs.aps[right])
    if not pairs:
        raise LapelError("the two results share no query: measure both on one catalogue, share and seed")
    sides = [a for a, _ in pairs.values()], [b for _, b in pairs.values()]
    gaps = {name: metrics.paired_difference([a], [b], samples, seed) for name, (a, b) in pairs.items()}
    return gaps | {"overall": metrics.paired_difference(*sides, samples, seed)}


@dataclass(frozen=True)
class TripletResult:
    """Triplet prediction: share of right triplets with its interval, and the mean margin loss."""

    accuracy: float
    low: float
    high: float
    loss: float
    triplets: int

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON, accuracy in percent with 4 decimals."""
        shares = {name: round(100 * getattr(self, name), 4) for name in ("accuracy", "low", "high")}
        head = {"task": "triplet prediction", "unit": "percent", "interval": LEVEL}
        return head | shares | {"average_loss": round(self.loss, 6), "triplets": self.triplets}


def triplet_relation(
    vectors: Array,
    triplets: Array,
    attribute_index: Array,
    margin: float = 0.2,
    *,
    chunk: int = 4096,
    samples: int = 2000,
    seed: int = 0,
) -> TripletResult:
    """Measure triplet prediction (Zappos in AG-MAN's table 4): is the positive closer than the negative?

    Args:
        vectors: (N, A, D) embeddings.
        triplets: (T, 3) rows of anchor, positive, negative. CSN's files list anchor, far, close: swap first.
        attribute_index: (T,) the attribute of each triplet, a position on axis 1.
        margin: of the average loss.
        chunk: triplets at a time; memory is about 60 ``chunk`` D bytes.
        samples: bootstrap samples (over triplets) behind the interval of the accuracy.
        seed: of the bootstrap.

    Raises:
        LapelError: NaN in an embedding that a triplet uses.
        ValueError: shapes do not fit or an index is out of range.
    """
    index, asked = np.asarray(triplets, dtype=np.int64), np.asarray(attribute_index, dtype=np.int64)
    if vectors.ndim != 3 or index.ndim != 2 or index.shape[1] != 3 or asked.shape != index.shape[:1]:
        found = f"{vectors.shape}, {index.shape} and {asked.shape}"
        raise ValueError(f"expected vectors (N, A, D), triplets (T, 3) and attributes (T,), found {found}")
    for kind, used, size in (("row", index, vectors.shape[0]), ("attribute", asked, vectors.shape[1])):
        if used.size and (used.min() < 0 or used.max() >= size):
            raise ValueError(f"triplets name {kind} {used.min()} to {used.max()}, expected 0 to {size - 1}")
    similar = np.empty((2, len(index)))
    for start in range(0, len(index), chunk):
        part = slice(start, start + chunk)
        anchor, *others = (metrics.unit_vectors(vectors[index[part, side], asked[part]]) for side in range(3))
        for side, other in enumerate(others):
            similar[side, part] = (anchor * other).sum(axis=1)
    accuracy = metrics.triplet_accuracy(similar[0], similar[1])
    interval = metrics.mean_interval([similar[0] > similar[1]], samples, seed)
    loss = metrics.triplet_margin_loss(similar[0], similar[1], margin)
    return TripletResult(accuracy, interval.low, interval.high, loss, len(index))


def _unfit(labels: Array) -> str | None:
    """Return why an attribute with these (N, V) labels cannot be evaluated, or None."""
    labelled, present = int(labels.any(axis=1).sum()), int(labels.any(axis=0).sum())
    if labelled < 2:
        return f"{labelled} labelled images, needs at least 2"
    return f"all {labelled} labelled images have the same value" if present < 2 else None


def _percent(result: AttributeResult | RetrievalResult) -> dict[str, Any]:
    return {name: round(100 * getattr(result, name), 4) for name in ("map", "low", "high", "chance")}
