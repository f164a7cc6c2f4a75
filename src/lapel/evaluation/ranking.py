"""Instance retrieval as pure functions of numpy arrays: where in the gallery does the first relevant image stand?

Acc@K needs no sorted gallery. The rank of a query's best relevant image is 1 + the candidates that score better + those
that score the same and come earlier; counting them takes one product of two matrices and no memory to speak of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapel.evaluation.exact import Space, count_better, scores_of_pairs
from lapel.evaluation.metrics import LEVEL, Interval

ACCURACY_DEFINITION = (
    "Acc@K = share of queries with at least one relevant image among the first K of the gallery; "
    "a query without a relevant image in the gallery is a miss and is counted"
)

Array = NDArray[Any]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_NUMBERS = 2**25  # of the queries, held at a time as float64 and float32 when no chunk is given


@dataclass(frozen=True, eq=False)
class Relevance:
    """Some gallery rows of each query: query i has ``rows[offsets[i]:offsets[i + 1]]``, ascending, none twice.

    Attributes:
        offsets: (Q + 1,) int64.
        rows: (R,) int64 positions in the gallery.
    """

    offsets: Integers
    rows: Integers

    @classmethod
    def of_pairs(cls, queries: Array, rows: Array, count: int) -> Relevance:
        """Return the relevance of pairs (query, gallery row), in any order; repeats count once.

        Args:
            queries: (P,) positions of queries, 0 to ``count`` - 1.
            rows: (P,) positions in the gallery.
            count: number of queries.
        """
        pairs = np.stack([np.asarray(queries, np.int64), np.asarray(rows, np.int64)], axis=1)
        order = np.lexsort((pairs[:, 1], pairs[:, 0]))
        pairs = pairs[order]
        new = np.ones(len(pairs), bool)
        new[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
        pairs = pairs[new]
        return cls(np.searchsorted(pairs[:, 0], np.arange(count + 1)).astype(np.int64), pairs[:, 1].copy())

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def counts(self) -> Integers:
        """(Q,) number of rows of each query."""
        return np.diff(self.offsets)

    @property
    def queries(self) -> Integers:
        """(R,) the query of each of ``rows``."""
        return np.repeat(np.arange(len(self)), self.counts)

    def __getitem__(self, query: int) -> Integers:
        return self.rows[self.offsets[query] : self.offsets[query + 1]]

    def part(self, queries: slice) -> Relevance:
        """Return that of consecutive queries."""
        first, last, _ = queries.indices(len(self))
        offsets = self.offsets[first : last + 1]
        return Relevance(offsets - offsets[0], self.rows[offsets[0] : offsets[-1]])

    def restrict(self, queries: Array, gallery: Array, size: int) -> Relevance:
        """Return that of some queries against some of a gallery of ``size``, both named by ascending positions."""
        place = np.full(size, -1, np.int64)
        place[gallery] = np.arange(len(gallery))
        owner = np.full(len(self), -1, np.int64)
        owner[queries] = np.arange(len(queries))
        asked, rows = owner[self.queries], place[self.rows]
        kept = (asked >= 0) & (rows >= 0)
        return Relevance.of_pairs(asked[kept], rows[kept], len(queries))

    def without(self, other: Relevance, size: int) -> Relevance:
        """Return it less the pairs of another, for a gallery of ``size``."""
        kept = ~np.isin(self.queries * size + self.rows, other.queries * size + other.rows)
        return Relevance.of_pairs(self.queries[kept], self.rows[kept], len(self))


def relevance_by_group(query_groups: Array, gallery_groups: Array) -> Relevance:
    """Return the gallery rows in the same group (item) as each query; a negative number is no group.

    Memory: 8 bytes for each relevant pair, and 24 more while it is made.

    >>> relevance_by_group(np.array([7, 5, -1]), np.array([5, 7, 5, -1])).rows
    array([1, 0, 2])
    """
    groups = np.asarray(gallery_groups, dtype=np.int64)
    asked = np.asarray(query_groups, dtype=np.int64)
    order = np.argsort(groups, kind="stable")
    first, last = (np.searchsorted(groups[order], asked, side) for side in ("left", "right"))
    counts = np.where(asked >= 0, last - first, 0)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    place = np.arange(offsets[-1]) + np.repeat(first - offsets[:-1], counts)
    return Relevance(offsets, order[place])


@dataclass(frozen=True, eq=False)
class Ranks:
    """Where each query's best relevant image stands.

    Attributes:
        rank: (Q,) int64, 1 = first; 0 = there is no relevant candidate.
        relevant: (Q,) int64 number of relevant candidates.
        candidates: (Q,) int64 number of candidates, relevant ones and others.
    """

    rank: Integers
    relevant: Integers
    candidates: Integers

    def __len__(self) -> int:
        return len(self.rank)


def first_relevant_ranks(
    query: Array,
    gallery: Array,
    relevance: Relevance,
    *,
    excluded: Relevance | None = None,
    distance: str = "cosine",
    chunk: int | None = None,
    query_rows: Array | None = None,
    gallery_rows: Array | None = None,
) -> Ranks:
    """Return the rank of the best relevant image of each query; ties keep the order of the gallery.

    Scores are exact (``lapel.evaluation.exact`` says of what), so neither the chunk nor the number of threads nor the
    machine changes a rank.

    Args:
        query: (Q, D) vectors.
        gallery: (C, D) vectors.
        relevance: relevant gallery rows of each query.
        excluded: gallery rows that are no candidates of a query: its own image. It outweighs ``relevance``.
        distance: ``cosine``, where a zero vector has similarity 0 to everything; or ``euclidean``, the nearest first,
            of the vectors as they are, for one factor common to all.
        chunk: queries ranked at a time.
        query_rows: (Q,) the rows of ``query`` that are asked, in place of all: saves their copy.
        gallery_rows: (C,) likewise of ``gallery``.

    Memory beyond the input: 12 ``chunk`` D bytes (by default at most 400 MB), 80 bytes for each relevant pair, and some
    350 MB of blocks, whatever Q and C.

    Raises:
        LapelError: an embedding that takes part holds NaN or infinity; an unknown distance.
        ValueError: shapes do not fit.

    >>> same = relevance_by_group(np.array([0, 1]), np.array([1, 0, 1]))
    >>> first_relevant_ranks(np.eye(2), np.array([[0.0, 1], [1, 1], [1, 0]]), same).rank
    array([2, 1])
    """
    if query.ndim != 2 or gallery.ndim != 2 or query.shape[1] != gallery.shape[1]:
        raise ValueError(f"expected (Q, D) and (C, D) vectors, found {query.shape} and {gallery.shape}")
    asked = np.arange(len(query)) if query_rows is None else np.asarray(query_rows, np.int64)
    ranked = np.arange(len(gallery)) if gallery_rows is None else np.asarray(gallery_rows, np.int64)
    for given in (relevance, excluded):
        if given is not None:
            _check_relevance(given, len(asked), len(ranked))
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk must be at least 1, found {chunk}")
    space = Space(distance, query, asked, gallery, ranked)
    own = Relevance.of_pairs(np.zeros(0), np.zeros(0), len(asked)) if excluded is None else excluded
    wanted = relevance if excluded is None else relevance.without(own, len(ranked))
    rank = np.zeros(len(asked), np.int64)
    step = chunk or max(1, _NUMBERS // max(query.shape[1], 1))
    for start in range(0, len(asked), step):
        part = slice(start, start + step)
        rank[part] = _ranks(space.queries(part), space, wanted.part(part), own.part(part))
    return Ranks(rank, wanted.counts, len(ranked) - own.counts)


def accuracy_at(ranks: Ranks, ks: Sequence[int]) -> NDArray[np.bool_]:
    """Return whether each query has a relevant image among the first K: (len(ks), Q); rank 0 never has.

    >>> accuracy_at(Ranks(np.array([1, 0, 3]), np.array([1, 0, 1]), np.array([9, 9, 9])), (1, 5)).tolist()
    [[True, False, False], [True, False, True]]
    """
    _check_ks(ks)
    return np.asarray((ranks.rank > 0) & (ranks.rank <= np.asarray(ks, np.int64).reshape(-1, 1)))


def chance_accuracy(ranks: Ranks, ks: Sequence[int]) -> Floats:
    """Return the expected Acc@K (len(ks), Q) of a random ranking: 1 - C(N - R, K) / C(N, K), as a stable product.

    >>> one = np.array([1])
    >>> chance_accuracy(Ranks(one, one, np.array([4])), (1, 2, 9)).tolist()
    [[0.25], [0.5], [1.0]]
    """
    _check_ks(ks)
    most = int(ranks.candidates.max(initial=0))
    stops = np.minimum(ks, most)
    result = np.zeros((len(ks), len(ranks)))
    missed = np.ones(len(ranks))
    for drawn in range(stops.max()):
        others = np.maximum(ranks.candidates - ranks.relevant - drawn, 0)
        missed *= np.where(ranks.relevant > 0, others / np.maximum(ranks.candidates - drawn, 1), 1.0)
        result[stops == drawn + 1] = 1.0 - missed
    return result


def expected_accuracy(ranks: Ranks, sizes: Sequence[int], ks: Sequence[int]) -> Floats:
    """Return the expected Acc@K (len(sizes), len(ks)) in a gallery of fewer distractors, averaged over the queries.

    The gallery then holds all relevant images of the query and n images drawn at random from its irrelevant candidates.
    The b = rank - 1 candidates before the first relevant one are all irrelevant; of N irrelevant ones n are drawn, and
    the query hits when at most K - 1 of those b are among them, which the hypergeometric distribution gives in closed
    form. An n beyond N counts as N: the whole gallery. Error: below 1e-8.

    >>> second = Ranks(np.array([2]), np.array([1]), np.array([5]))
    >>> expected_accuracy(second, (0, 1, 2, 99), (1,)).round(4).ravel().tolist()
    [1.0, 0.75, 0.5, 0.0]
    """
    _check_ks(ks)
    if any(size < 0 for size in sizes):
        raise ValueError(f"expected numbers of distractors from 0 on, found {min(sizes)}")
    result = np.zeros((len(sizes), len(ks)))
    found = ranks.rank > 0
    better = (ranks.rank - 1)[found]
    others = (ranks.candidates - ranks.relevant)[found]
    stops = np.minimum(ks, better.max(initial=0) + 1)
    for row, size in enumerate(sizes):
        drawn = np.minimum(size, others)
        share = np.zeros(len(better))
        for k in range(stops.max()):
            share += _hypergeometric(k, others, better, drawn)
            result[row, stops == k + 1] = np.minimum(share, 1.0).sum() / max(len(ranks), 1)
    return result


def share_interval(hits: Array, samples: int = 2000, seed: int = 0, level: float = LEVEL) -> Interval:
    """Return the share of hits with the interval of ``metrics.mean_interval``, for values that are hit or miss only.

    A resample of n hits and misses holds a binomial number of hits, so each is drawn as one number.

    Raises:
        ValueError: there is no value at all.
    """
    if not len(hits) or not 0 < level < 1 or samples < 1:
        raise ValueError("expected at least one value, a level between 0 and 1 and at least one sample")
    share = float(np.count_nonzero(hits) / len(hits))
    drawn = np.random.default_rng(seed).binomial(len(hits), share, size=samples) / len(hits)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(share, float(low), float(high))


def _ranks(left: Floats, space: Space, wanted: Relevance, own: Relevance) -> Integers:
    """Return the ranks (n,) of some queries; ``own`` are their excluded rows, none of them ``wanted``."""
    rank = np.zeros(len(left), np.int64)
    found = np.flatnonzero(wanted.counts)
    if not len(found):
        return rank
    scores = scores_of_pairs(left, space, wanted.queries, wanted.rows)
    best, place = np.full(len(left), np.inf), np.zeros(len(left), np.int64)
    best[found] = np.maximum.reduceat(scores, wanted.offsets[found])
    equal = np.flatnonzero(scores == best[wanted.queries])
    # Rows ascend within a query, so the first of the equal ones is the earliest.
    place[found] = wanted.rows[equal[np.unique(wanted.queries[equal], return_index=True)[1]]]
    # Nothing is better than the infinity of those without a relevant image; to leave them out would copy the rest.
    rank[found] = 1 + count_better(left, space, best, place)[found]
    scores = scores_of_pairs(left, space, own.queries, own.rows)
    counted = (scores > best[own.queries]) | ((scores == best[own.queries]) & (own.rows < place[own.queries]))
    return rank - np.bincount(own.queries[counted], minlength=len(left))


def _hypergeometric(k: int, total: Integers, marked: Integers, drawn: Integers) -> Floats:
    """Return the probability that k of the marked ones are among those drawn."""
    possible = (k <= marked) & (k <= drawn) & (drawn - k <= total - marked)
    k_marked, k_drawn = np.maximum(marked - k, 0), np.maximum(drawn - k, 0)
    rest = np.maximum(total - marked - drawn + k, 0)
    above = _log_factorial(marked) + _log_factorial(total - marked) + _log_factorial(drawn)
    above += _log_factorial(total - drawn) - _log_factorial(total)
    below = _log_factorial(np.array(k)) + _log_factorial(k_marked) + _log_factorial(k_drawn) + _log_factorial(rest)
    chance = np.where(possible, np.exp(np.minimum(above - below, 0.0)), 0.0)
    return np.asarray(np.where(drawn == total, marked == k, chance))


def _log_factorial(numbers: Integers) -> Floats:
    """Return log(n!): from a table up to 31, beyond by Stirling's series, exact to 1e-15 of it."""
    n = np.maximum(numbers, 32).astype(np.float64)
    series = (n + 0.5) * np.log(n) - n + 0.5 * np.log(2 * np.pi) + 1 / (12 * n) - 1 / (360 * n**3) + 1 / (1260 * n**5)
    return np.asarray(np.where(numbers < 32, _SMALL[np.minimum(numbers, 31)], series))


_SMALL = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, 32)))])


def _check_ks(ks: Sequence[int]) -> None:
    if not len(ks) or min(ks) < 1:
        raise ValueError(f"expected at least one K, each 1 or more, found {tuple(ks)}")


def _check_relevance(given: Relevance, queries: int, gallery: int) -> None:
    if len(given) != queries:
        raise ValueError(f"expected the relevance of {queries} queries, found that of {len(given)}")
    if len(given.rows) and (given.rows.min() < 0 or given.rows.max() >= gallery):
        raise ValueError(f"relevance names rows {given.rows.min()} to {given.rows.max()}, the gallery has {gallery}")
