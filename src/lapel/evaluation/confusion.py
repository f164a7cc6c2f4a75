"""Which values of an attribute a model takes for which: each query's value as its nearest candidates vote.

An embedding names no value, so a query is given the one that its k nearest candidates (exact cosine, ties as in
``metrics.TIE_RULE``) say: each has as much say as its cosine, if that is positive, shared evenly between its values.
The value with the most votes is predicted; of several with the same, the one that the nearest candidate has, then the
first in order. A query that has several values is right with any of them; else it counts for each of them in equal
parts, so that every query weighs 1 in the matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lapel.errors import LapelError
from lapel.evaluation.exact import Space
from lapel.evaluation.metrics import Interval, mean_interval
from lapel.evaluation.protocols import sides_of
from lapel.evaluation.ranking import Relevance, relevance_by_group

if TYPE_CHECKING:
    from lapel.catalogue import Catalogue
    from lapel.evaluation.queries import QueryLists

Array = NDArray[Any]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

NEIGHBOURS = 10
"""Candidates that vote, where nobody says how many."""

TIE = 1e-9
"""Votes this near to the most, relative to it, are as many: the sum of the same cosines in another order."""

_QUERIES = 256  # at a time
_CELLS = 2**22  # of labels held at a time
_SCALE = 2.0**-52  # of exact scores


class Neighbours(NamedTuple):
    """The nearest candidates of each query, nearest first.

    Attributes:
        rows: (Q, K) positions among the candidates.
        cosines: (Q, K), exact.
    """

    rows: Integers
    cosines: Floats


def nearest(query: Array, candidates: Array, k: int = NEIGHBOURS, excluded: Relevance | None = None) -> Neighbours:
    """Return the k nearest candidates of each query by exact cosine; equal ones keep the order of the candidates.

    Args:
        query: (Q, D) vectors, any length.
        candidates: (C, D) vectors.
        k: how many, fewer where there are no more candidates.
        excluded: positions among the candidates that are not candidates of a query, such as itself.

    Memory beyond the input: 16 Q K bytes, and about 150 MB.

    Raises:
        LapelError: an embedding holds NaN or infinity, or k is below 1.
        ValueError: the shapes do not fit.
    """
    if query.ndim != 2 or candidates.ndim != 2 or query.shape[1] != candidates.shape[1]:
        raise ValueError(f"expected (Q, D) and (C, D) vectors, found {query.shape} and {candidates.shape}")
    if k < 1:
        raise LapelError(f"k is {k}: expected at least one neighbour")
    own = excluded or Relevance(np.zeros(len(query) + 1, np.int64), np.zeros(0, np.int64))
    if len(own) != len(query):
        raise ValueError(f"expected what is excluded for {len(query)} queries, found {len(own)}")
    count = max(0, min(k, len(candidates) - int(own.counts.max(initial=0))))
    rows, cosines = np.zeros((len(query), count), np.int64), np.zeros((len(query), count))
    space = Space("cosine", query, np.arange(len(query)), candidates, np.arange(len(candidates)))
    for start in range(0, len(query) if count else 0, _QUERIES):
        part = slice(start, min(start + _QUERIES, len(query)))
        left, without = space.queries(part), own.part(part)
        best, place = np.zeros((len(left), 0)), np.zeros((len(left), 0), np.int64)
        for block in space.blocks():
            scores = left @ space.candidates(block).T
            here = (without.rows >= block.start) & (without.rows < block.stop)
            scores[without.queries[here], without.rows[here] - block.start] = -np.inf
            names = np.broadcast_to(np.arange(block.start, block.stop), scores.shape)
            # What is kept comes first and stands earlier in the catalogue: ties stay in order.
            best, place = _first(np.hstack([best, scores]), np.hstack([place, names]), count)
        rows[part], cosines[part] = place, best * _SCALE
    return Neighbours(rows, cosines)


def _first(scores: Floats, names: Integers, count: int) -> tuple[Floats, Integers]:
    """Return the ``count`` highest scores of each row, highest first, equal ones in order, with their names."""
    if scores.shape[1] > count:
        last = np.partition(scores, -count, axis=1)[:, -count, None]
        above, equal = scores > last, scores == last
        room = count - np.count_nonzero(above, axis=1)[:, None]
        kept = above | (equal & (np.cumsum(equal, axis=1) <= room))
        scores, names = scores[kept].reshape(-1, count), names[kept].reshape(-1, count)
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.take_along_axis(scores, order, 1), np.take_along_axis(names, order, 1)


def votes(neighbours: Neighbours, labels: Array) -> Floats:
    """Return the share (Q, V) of the vote that each value gets, as the module says; a row sums to 1.

    Where no neighbour has a positive cosine they have the same say.

    Args:
        neighbours: of the queries.
        labels: (C, V) bool, values of the candidates; each has one at least.

    Memory: 8 Q V bytes, and some 40 MB.
    """
    found = np.zeros((len(neighbours.rows), labels.shape[1]))
    say = np.maximum(neighbours.cosines, 0.0)
    say[~(say > 0).any(axis=1)] = 1.0
    say /= np.maximum(say.sum(axis=1, keepdims=True), 1e-300)
    for part in _parts(neighbours, labels):
        hot = labels[neighbours.rows[part]].astype(np.float64)
        hot /= np.maximum(hot.sum(axis=2, keepdims=True), 1)
        found[part] = np.einsum("qk,qkv->qv", say[part], hot)
    return found


def predict(neighbours: Neighbours, labels: Array, shares: Floats | None = None) -> Integers:
    """Return the value (Q,) that the neighbours vote for; ``shares`` are their ``votes``, where they are known."""
    shares = votes(neighbours, labels) if shares is None else shares
    found = np.zeros(len(shares), np.int64)
    for part in _parts(neighbours, labels):
        hot = labels[neighbours.rows[part]].astype(bool)
        rank = np.where(hot.any(axis=1), hot.argmax(axis=1), hot.shape[1])
        tied = shares[part] >= shares[part].max(axis=1, keepdims=True) * (1 - TIE)
        found[part] = np.where(tied, rank, hot.shape[1] + 1).argmin(axis=1)
    return found


def _parts(neighbours: Neighbours, labels: Array) -> list[slice]:
    step = max(1, _CELLS // max(1, neighbours.rows.shape[1] * labels.shape[1]))
    return [slice(start, start + step) for start in range(0, len(neighbours.rows), step)]


class Mistake(NamedTuple):
    """One value taken for another: how many queries, and which share of the queries that have it."""

    value: str
    taken_for: str
    queries: float
    share: float


@dataclass(frozen=True, eq=False)
class Confusion:
    """What the values of one attribute are taken for.

    Attributes:
        values: names of the V values.
        matrix: (V, V), queries by their value (row) and the value predicted (column); whole numbers unless queries
            have several values.
        predicted: (Q,) value numbers.
        right: (Q,) bool.
        own_votes: (Q,) share of the vote that the query's own values got.
        commonest: accuracy of always answering the commonest value of the candidates.
        k: candidates that voted.
        rows: (Q,) rows of the queries in the catalogue, or their numbers.
    """

    values: tuple[str, ...]
    matrix: Floats
    predicted: Integers
    right: NDArray[np.bool_]
    own_votes: Floats
    commonest: float
    k: int
    rows: Integers

    @property
    def accuracy(self) -> float:
        """Share of queries whose predicted value is one of theirs."""
        return float(np.mean(self.right))

    @property
    def precision(self) -> Floats:
        """(V,) of the queries predicted to have a value, the share that has it; NaN where there is none."""
        return _ratio(np.diag(self.matrix), self.matrix.sum(axis=0))

    @property
    def recall(self) -> Floats:
        """(V,) of the queries that have a value, the share predicted so; NaN where there is none."""
        return _ratio(np.diag(self.matrix), self.matrix.sum(axis=1))

    def interval(self, samples: int = 2000, seed: int = 0) -> Interval:
        """Accuracy with its bootstrap interval over queries."""
        return mean_interval([self.right], samples, seed)

    def mistakes(self, most: int = 10) -> list[Mistake]:
        """Return the pairs of values confused most, by number of queries; equal ones in the order of the values."""
        wrong = self.matrix * (1 - np.eye(len(self.values)))
        have = self.matrix.sum(axis=1)
        order = np.argsort(-wrong.ravel(), kind="stable")[: max(0, most)]
        pairs = [divmod(int(at), len(self.values)) for at in order if wrong.ravel()[at] > 0]
        return [
            Mistake(self.values[a], self.values[b], float(wrong[a, b]), float(wrong[a, b] / have[a])) for a, b in pairs
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON: shares in percent, the matrix in queries; null where nothing can be said."""
        each = zip(self.values, self.precision, self.recall, self.matrix.sum(axis=1).tolist(), strict=True)
        return {
            "unit": "percent",
            "neighbours": self.k,
            "queries": len(self.right),
            "accuracy": round(100 * self.accuracy, 4),
            "commonest_value": round(100 * self.commonest, 4),
            "values": {
                name: {"precision": _percent(precision), "recall": _percent(recall), "queries": round(count, 4)}
                for name, precision, recall, count in each
            },
            "matrix": self.matrix.round(4).tolist(),
            "most_confused": [
                {**pair._asdict(), "queries": round(pair.queries, 4), "share": _percent(pair.share)}
                for pair in self.mistakes()
            ],
        }


def confusion(
    query: Array,
    candidates: Array,
    query_labels: Array,
    candidate_labels: Array,
    values: Sequence[str],
    k: int = NEIGHBOURS,
    excluded: Relevance | None = None,
) -> Confusion:
    """Return the confusion of values under one attribute.

    Args:
        query: (Q, D) vectors.
        candidates: (C, D) vectors.
        query_labels: (Q, V) bool.
        candidate_labels: (C, V) bool.
        values: V names.
        k: nearest candidates that vote.
        excluded: see ``nearest``.

    Memory: that of ``nearest``, and 16 Q V bytes.

    Raises:
        LapelError: NaN in an embedding; an image without a label; no query or no candidate; k below 1.
        ValueError: the shapes do not fit.
    """
    shapes = (len(query), len(values)), (len(candidates), len(values))
    if (query_labels.shape, candidate_labels.shape) != shapes:
        found = f"{query_labels.shape} and {candidate_labels.shape}"
        raise ValueError(f"expected labels of shapes {shapes[0]} and {shapes[1]}, found {found}")
    hot, known = query_labels.astype(bool), candidate_labels.astype(bool)
    for name, side in (("queries", hot), ("candidates", known)):
        if missing := int((~side.any(axis=1)).sum()):
            raise LapelError(f"{missing} of {len(side)} {name} have no value of the attribute: leave them out")
    near = nearest(query, candidates, k, excluded)
    if not near.rows.size:
        raise LapelError(f"no value can be voted on: {len(query)} queries, {len(candidates)} candidates")
    shares = votes(near, known)
    answer = predict(near, known, shares)
    right = hot[np.arange(len(hot)), answer]
    weights = hot / hot.sum(axis=1, keepdims=True)
    weights[right] = np.eye(len(values))[answer[right]]
    matrix = np.zeros((len(values), len(values)))
    np.add.at(matrix.T, answer, weights)
    commonest = int(known.sum(axis=0).argmax())
    own = np.where(hot, shares, 0.0).sum(axis=1)
    often = float(hot[:, commonest].mean())
    return Confusion(tuple(values), matrix, answer, right, own, often, near.rows.shape[1], np.arange(len(hot)))


def confusions(
    vectors: Array | Callable[[str], Array],
    catalogue: Catalogue,
    attributes: Sequence[str] | None = None,
    queries: QueryLists | None = None,
    *,
    share: float = 0.2,
    seed: int = 0,
    missing: Array | None = None,
    k: int = NEIGHBOURS,
) -> dict[str, Confusion]:
    """Return attribute -> confusion of its values, on the queries of ``protocols.attribute_retrieval``.

    Arguments are those of ``attribute_retrieval``. A query's own image does not vote. Attributes that cannot be
    evaluated are left out.

    Raises:
        LapelError: NaN in an embedding, or k below 1.
        CatalogueError: an attribute the catalogue lacks, or query lists that do not fit it.
    """
    names = tuple(catalogue.attributes if attributes is None else attributes)
    absent = np.zeros(len(catalogue), bool) if missing is None else np.asarray(missing, bool)
    found: dict[str, Confusion] = {}
    for place, name in enumerate(names):
        listed = sides_of(catalogue, name, queries, share, seed)
        if isinstance(listed, str):
            continue
        sides = listed.without(absent)
        own = relevance_by_group(sides.queries, sides.candidates)
        if not len(sides.queries) or len(sides.candidates) <= own.counts.max(initial=0):
            continue
        given = () if queries is None else np.unique(np.concatenate(queries.values.get(name, ((), ())))).tolist()
        matrix = np.asarray(vectors(name) if callable(vectors) else vectors[:, place])
        pair = matrix[sides.queries], matrix[sides.candidates]
        labels = sides.query_labels, sides.candidate_labels
        result = confusion(*pair, *labels, [str(each) for each in given] or catalogue.values(name), k, own)
        found[name] = Confusion(**{**vars(result), "rows": sides.queries})
    return found


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.asarray(np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), np.nan))


def _percent(share: float) -> float | None:
    return None if np.isnan(share) else round(100 * float(share), 4)
