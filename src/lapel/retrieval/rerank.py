"""Put the first results of a ranking in the order of a costlier score of pairs; the ranks below stay as they were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapel.errors import SearchIndexError

Array = NDArray[Any]
PairScores = Callable[[NDArray[np.int64], NDArray[np.int64]], Array]
"""Query numbers (n,) and the numbers of their candidates (n, K) -> scores (n, K), higher is better."""


def rerank(
    scores_of: PairScores, order: Array, first: int | None = None, pairs_at_once: int = 2**16
) -> NDArray[np.int64]:
    """Sort the first candidates of each query by the score of their pair.

    Of equal scores the one that stood first stays first. A pair without a score (NaN) comes behind all that have one,
    in the old order. Missing candidates (-1, as where a ranking is shorter than the others) come last.

    Args:
        scores_of: asked for a block of queries at a time. Where a candidate is missing it is given the query's first
            one instead, and that score is not looked at; a query without any candidate is not asked about.
        order: (Q, N) numbers of candidates, best first, -1 where there is none.
        first: how many candidates of each query to sort; None: all.
        pairs_at_once: pairs asked for in one call, at least one query's.

    Returns:
        (Q, N) int64: the same candidates.

    Raises:
        SearchIndexError: ``order`` is not two-dimensional whole numbers of -1 or more, ``first`` is below 1, or scores
            came in another shape than asked for.

    >>> rerank(lambda queries, candidates: -candidates, np.array([[5, 2, 9, 1], [3, 7, -1, -1]]), first=3)
    array([[ 2,  5,  9,  1],
           [ 3,  7, -1, -1]])
    """
    order = np.asarray(order)
    if order.ndim != 2 or not np.issubdtype(order.dtype, np.integer) or (order < -1).any():
        raise SearchIndexError(
            f"expected an order (queries, candidates) of whole numbers, -1 for none; found {order.dtype} {order.shape}"
        )
    if first is not None and first < 1:
        raise SearchIndexError(f"re-ranking the first {first} candidates: expected 1 or more")
    found = order.astype(np.int64)
    head = found[:, :first]
    # Not only the end of a row may be missing: what is there counts, wherever it stands.
    asked = np.flatnonzero((head >= 0).any(1))
    step = max(1, pairs_at_once // max(head.shape[1], 1))
    for start in range(0, len(asked), step):
        queries = asked[start : start + step]
        candidates = head[queries]
        there = candidates >= 0
        stand_in = candidates[np.arange(len(queries)), there.argmax(1)]
        scores = np.asarray(scores_of(queries, np.where(there, candidates, stand_in[:, None])), np.float64)
        if scores.shape != candidates.shape:
            raise SearchIndexError(f"expected scores of pairs {candidates.shape}, found {scores.shape}")
        # Three classes by the first key: scored, not scored, not there.
        kind = np.where(there, np.isnan(scores).astype(np.int64), 2)
        places = np.lexsort((-np.where(kind == 0, scores, 0.0), kind), axis=1)  # stable: ties keep their order
        head[queries] = np.take_along_axis(candidates, places, 1)
    return found
