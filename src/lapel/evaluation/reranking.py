"""Re-ranking: the first K candidates of each query in the order of a costlier score, the others as they were."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapel.errors import LapelError
from lapel.evaluation.exact import Space
from lapel.evaluation.ranking import Ranks
from lapel.evaluation.selection import Selection

Array = NDArray[Any]
Integers = NDArray[np.int64]
_CELLS = 2**23  # scores held at a time


@dataclass(frozen=True)
class Rerank:
    """How the first candidates of a query are put into a new order.

    Attributes:
        first: how many.
        sort: (rows of n queries (n,), rows of their candidates (n, K), best first, -1 for none) -> the same candidates
            (n, K) in the new order, -1 last.
    """

    first: int
    sort: Callable[[Integers, Integers], Integers]


def reranked(ranks: Ranks, vectors: Array, chosen: Selection, distance: str, rerank: Rerank) -> Ranks:
    """Return the ranks after the first ``rerank.first`` candidates of each query changed places.

    A query whose first relevant image stands behind them keeps its rank, so only the others' candidates are sorted.

    Args:
        ranks: those of the first order, for the queries of ``chosen``.
        vectors: (N, D) what the first order is by.
        chosen: who is asked and ranked; without ``within``.
        distance: of the first order.
        rerank: how many, and by what.

    Memory: some 300 MB, and what ``rerank.sort`` takes for a block of queries.

    Raises:
        LapelError: ``first`` is below 1.
        ValueError: the sorted candidates are others than the given ones.
    """
    if rerank.first < 1:
        raise LapelError(f"re-ranking the first {rerank.first} candidates: expected 1 or more")
    rank = ranks.rank.copy()
    asked = np.flatnonzero((rank > 0) & (rank <= rerank.first))
    step = max(1, _CELLS // max(len(chosen.gallery), 1))
    for start in range(0, len(asked), step):
        queries = asked[start : start + step]
        keep = np.zeros(len(chosen.query), bool)
        keep[queries] = True
        part = chosen.keep(keep, np.ones(len(chosen.gallery), bool))
        order = first_candidates(vectors, part, distance, rerank.first)
        given = np.where(order < 0, -1, part.gallery[order])
        found = rerank.sort(part.query, given)
        if found.shape != given.shape or (np.sort(found) != np.sort(given)).any():
            raise ValueError("expected the same candidates in another order")
        for place, query in enumerate(queries):
            right = np.isin(found[place], part.gallery[part.relevance[place]])
            # None, only if rounding put it just behind the others this time: it keeps its rank.
            rank[query] = 1 + int(right.argmax()) if right.any() else rank[query]
    return replace(ranks, rank=rank)


def first_candidates(vectors: Array, chosen: Selection, distance: str, count: int) -> Integers:
    """Return the positions (Q, K) in the gallery of each query's first K candidates, exactly as they are ranked.

    K is ``count`` or the gallery's size; a query with fewer candidates ends with -1.

    Args:
        vectors: (N, D).
        chosen: Q queries and their gallery; ``within`` is not looked at.
        distance: ``cosine`` or ``euclidean``.
        count: K.

    Memory: 32 Q C bytes, for a gallery of C.
    """
    space = Space(distance, vectors, chosen.query, vectors, chosen.gallery)
    left, count = space.queries(slice(None)), min(count, len(chosen.gallery))
    scores = np.concatenate([left @ space.candidates(block).T for block in space.blocks()], axis=1)
    if chosen.excluded is not None:
        scores[chosen.excluded.queries, chosen.excluded.rows] = -np.inf
    least = np.partition(scores, scores.shape[1] - count, axis=1)[:, scores.shape[1] - count]
    found = np.empty((len(scores), count), np.int64)
    for place, row in enumerate(scores):
        near = np.flatnonzero(row >= least[place])
        near = near[np.argsort(-row[near], kind="stable")][:count]
        found[place] = np.where(np.isneginf(row[near]), -1, near)
    return found
