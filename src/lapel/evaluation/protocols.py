"""The papers' main task: attribute-specific retrieval (MAP), with drawn or given queries.

It takes embeddings and a catalogue, never a model, so a trained run, a frozen trunk and a colour histogram are measured
by the same code on the same queries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lapel.errors import CatalogueError, LapelError, unknown
from lapel.evaluation import metrics
from lapel.evaluation.metrics import LEVEL, Interval
from lapel.evaluation.queries import QueryLists, Sides, draw_queries

if TYPE_CHECKING:
    from lapel.catalogue import Catalogue

Rows = NDArray[np.int64]
Array = NDArray[Any]
Vectors = Array | Callable[[str], Array]


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
        shared: images that are a query and a candidate, as given lists may have it; such a query finds itself.
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
    shared: int = 0

    def to_dict(self, aps: bool = False) -> dict[str, Any]:
        """Return it ready for JSON, in percent; ``aps`` adds each query's row and AP."""
        counts = {
            "queries": self.queries,
            "candidates": self.candidates,
            "queries_without_relevant": self.hopeless,
            "images_without_embedding": self.missing,
            "queries_also_candidates": self.shared,
        }
        each = {"query_rows": self.rows.tolist(), "aps": (100 * self.aps).round(4).tolist()} if aps else {}
        return _percent(self) | counts | each


@dataclass(frozen=True, eq=False)
class RetrievalResult:
    """Attribute-specific retrieval: each attribute, and overall weighted by queries.

    Attributes:
        attributes: what the overall figure is made of.
        map: overall MAP, with its interval ``low`` to ``high`` and its ``chance``.
        query_source: how the queries came about.
        not_evaluated: attribute -> why it could not be measured.
        beside: attributes measured alike that stay out of the overall figure, as they are not in a paper's table.
    """

    attributes: tuple[AttributeResult, ...]
    map: float
    low: float
    high: float
    chance: float
    query_source: str
    not_evaluated: Mapping[str, str] = field(default_factory=dict)
    beside: tuple[AttributeResult, ...] = ()

    @property
    def queries(self) -> int:
        """Number of queries behind the overall figure."""
        return sum(result.queries for result in self.attributes)

    def __getitem__(self, attribute: str) -> AttributeResult:
        measured = (*self.attributes, *self.beside)
        for result in measured:
            if result.attribute == attribute:
                return result
        raise KeyError(unknown("attribute", attribute, [result.attribute for result in measured]))

    def to_dict(self, aps: bool = False) -> dict[str, Any]:
        """Return it ready for JSON, in percent with 4 decimals like the papers; ``aps`` adds each query's."""
        return {
            "task": "attribute-specific retrieval",
            "unit": "percent",
            "interval": LEVEL,
            "attributes": {result.attribute: result.to_dict(aps) for result in self.attributes},
            "overall": _percent(self) | {"queries": self.queries},
            "not_evaluated": dict(self.not_evaluated),
        } | ({"not_in_overall": {row.attribute: row.to_dict(aps) for row in self.beside}} if self.beside else {})


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
    beside: Sequence[str] = (),
) -> RetrievalResult:
    """Measure retrieval under each attribute separately (AG-MAN and ASEN, FashionAI and DeepFashion).

    Under each attribute only the images that have a label of it take part, or those that given lists name. Queries and
    candidates are drawn before images without an embedding are left out, so that two models are asked the same queries.

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
        beside: attributes that are measured and stay out of the overall figure.

    Memory: that of ``average_precisions`` for one attribute, plus a copy of the vectors under one attribute.

    Raises:
        LapelError: NaN in an embedding; nothing can be evaluated.
        CatalogueError: an attribute the catalogue lacks, or query lists that do not fit it.
        ValueError: shapes do not fit.
    """
    names = tuple(catalogue.attributes if attributes is None else attributes)
    valued = () if queries is None else queries.values
    for name in (*names, *beside):
        if name not in catalogue.attributes and name not in valued:
            raise CatalogueError(unknown("attribute", name, catalogue.attributes))
    if not callable(vectors) and (vectors.ndim != 3 or vectors.shape[:2] != (len(catalogue), len(names))):
        raise ValueError(f"expected vectors ({len(catalogue)}, {len(names)}, D), found {vectors.shape}")
    absent = np.zeros(len(catalogue), bool) if missing is None else np.asarray(missing, dtype=bool)
    if absent.shape != (len(catalogue),):
        raise ValueError(f"expected missing of shape ({len(catalogue)},), found {absent.shape}")
    results: list[AttributeResult] = []
    reasons: dict[str, str] = {}
    for name in names:
        listed = sides_of(catalogue, name, queries, share, seed)
        if isinstance(listed, str):
            reasons[name] = listed
            continue
        sides = listed.without(absent)
        dropped = len(listed) - len(sides)
        if not len(sides.queries) or not len(sides.candidates):
            left = f"{len(sides.queries)} queries and {len(sides.candidates)} candidates"
            reasons[name] = f"{left} are left, {dropped} images have no embedding"
            continue
        matrix = np.asarray(vectors(name) if callable(vectors) else vectors[:, names.index(name)])
        if matrix.ndim != 2 or len(matrix) != len(catalogue):
            raise ValueError(f"expected vectors ({len(catalogue)}, D) for {name!r}, found {matrix.shape}")
        labels = sides.query_labels, sides.candidate_labels
        aps = metrics.average_precisions(matrix[sides.queries], matrix[sides.candidates], *labels, chunk)
        relevant = metrics.relevant_counts(*labels)
        interval = metrics.mean_interval([aps], samples, seed)
        chance = float(metrics.expected_average_precision(relevant, len(sides.candidates)).mean())
        counts = (len(sides.queries), len(sides.candidates), int((relevant == 0).sum()), dropped)
        results.append(AttributeResult(name, *interval, chance, *counts, aps, sides.queries, sides.shared()))
    counted = tuple(row for row in results if row.attribute not in beside)
    if not counted:
        why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items()) or "no attribute was named"
        raise LapelError(f"nothing to evaluate in catalogue {catalogue.name!r}: {why}")
    overall = metrics.mean_interval([row.aps for row in counted], samples, seed)
    chance = metrics.query_weighted_mean([row.chance for row in counted], [row.queries for row in counted])
    source = queries.source if queries else f"drawn: share {share:g} per attribute, seed {seed}"
    aside = tuple(row for row in results if row.attribute in beside)
    return RetrievalResult(counted, *overall, chance, source, reasons, aside)


def sides_of(catalogue: Catalogue, name: str, queries: QueryLists | None, share: float, seed: int) -> Sides | str:
    """Return the queries and candidates of one attribute, or why there are none."""
    if queries is not None and name in queries.values:
        return queries.sides(name, np.zeros((len(catalogue), 0), bool))
    labels = catalogue.multi_hot(name)
    if reason := _unfit(labels):
        return reason
    if queries is not None:
        return queries.sides(name, labels)
    rows = np.flatnonzero(labels.any(axis=1))
    images = catalogue.images["image"].take(pa.array(rows)).to_pylist()
    asked, ranked = draw_queries(rows, share, seed, name, images)
    return Sides(asked, ranked, labels[asked], labels[ranked])


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
            _, left, right = np.intersect1d(query_keys(mine.rows), query_keys(theirs.rows), return_indices=True)
            if len(left):
                pairs[mine.attribute] = (mine.aps[left], theirs.aps[right])
    if not pairs:
        raise LapelError("the two results share no query: measure both on one catalogue, share and seed")
    sides = [a for a, _ in pairs.values()], [b for _, b in pairs.values()]
    gaps = {name: metrics.paired_difference([a], [b], samples, seed) for name, (a, b) in pairs.items()}
    return gaps | {"overall": metrics.paired_difference(*sides, samples, seed)}


def query_keys(rows: Rows) -> Rows:
    """Return a number per query: its row, and the how-manieth of that row it is, as lists may ask an image twice."""
    order = np.argsort(rows, kind="stable")
    ranked = rows[order]
    keys = np.empty(len(rows), np.int64)
    keys[order] = (ranked << 20) + np.arange(len(rows)) - np.searchsorted(ranked, ranked)
    return keys


def _unfit(labels: Array) -> str | None:
    """Return why an attribute with these (N, V) labels cannot be evaluated, or None."""
    labelled, present = int(labels.any(axis=1).sum()), int(labels.any(axis=0).sum())
    if labelled < 2:
        return f"{labelled} labelled images, needs at least 2"
    return f"all {labelled} labelled images have the same value" if present < 2 else None


def _percent(result: AttributeResult | RetrievalResult) -> dict[str, Any]:
    return {name: round(100 * getattr(result, name), 4) for name in ("map", "low", "high", "chance")}
