"""Exact scores at the speed of float32: how many candidates beat a given one, to the last tie.

Floating-point products differ in their last bits with block shapes, thread counts and machines, so two identical
photographs may or may not tie. Here vectors are whole numbers, small enough that float64 adds every product of two of
them without error, in any order:

- cosine: unit vectors in multiples of 2**-26, as in ``lapel.evaluation.metrics``;
- euclidean: all vectors times one power of two that brings the longest to a length between 1/2 and 1, in multiples of
  2**-25. The score 2 q.g - g.g orders candidates as the distance does. Every number is off by at most 2**-25 of the
  longest vector's length, so what differs by less may tie, and vectors shorter than half of that are zero: with one
  vector a million times longer than the rest, the rest keep some 5 bits.

Most candidates are far from equal. So scores come from a float32 product first, whose error has a proven bound (n + 2
roundings for n terms, whatever the order: Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1, times
the lengths of the two vectors, by Cauchy-Schwarz), and only what lies within the bound is computed again, exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapel.errors import LapelError, unknown
from lapel.evaluation import metrics

SCORES = {
    "cosine": metrics.SCORE,
    "euclidean": "Euclidean distance, exact on vectors times one power of two, rounded to multiples of 2**-25",
}

Array = NDArray[Any]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_QUERIES = 1024  # of a tile
_CANDIDATES = 8192  # of a block, at most
_BLOCK = 2**22  # numbers of a block
_PAIRS = 4096  # multiplied one by one at a time
_DENSE = 256  # one such score in this many to settle: multiplying the whole row is cheaper
_BITS = 25


class Space:
    """Queries and gallery as whole numbers, made block by block: no second copy of the gallery.

    Args:
        distance: ``cosine`` or ``euclidean``.
        query: (N, D) vectors.
        query_rows: (Q,) those that are asked.
        gallery: (M, D) vectors.
        gallery_rows: (C,) those that are ranked.

    Raises:
        LapelError: an unknown distance; an embedding that takes part holds NaN or infinity.
    """

    def __init__(self, distance: str, query: Array, query_rows: Array, gallery: Array, gallery_rows: Array) -> None:
        if distance not in SCORES:
            raise LapelError(unknown("distance", distance, SCORES))
        metrics.check_finite(query, "query embedding", query_rows)
        metrics.check_finite(gallery, "gallery embedding", gallery_rows)
        self._sides = (query, query_rows), (gallery, gallery_rows)
        self._euclidean = distance == "euclidean"
        self.step = min(_CANDIDATES, max(64, _BLOCK // (query.shape[1] + 1)))
        self._shift = _BITS - max(map(self._exponent, (0, 1))) if self._euclidean else 0

    def queries(self, part: slice) -> Floats:
        """Return queries (n, E) such that their products with candidates (m, E) are the exact scores."""
        first, last, _ = part.indices(len(self._sides[0][1]))
        made = np.empty((last - first, self._sides[0][0].shape[1] + self._euclidean))
        for start in range(first, last, self.step):
            block = self._whole(0, slice(start, min(start + self.step, last)))
            target = made[start - first : start - first + len(block)]
            target[:, : block.shape[1]] = 2 * block if self._euclidean else block
            if self._euclidean:
                target[:, -1] = -(2.0**_BITS)
        return made

    def candidates(self, rows: slice | Integers) -> Floats:
        """Return some of the gallery (m, E); see ``queries``."""
        block = self._whole(1, rows)
        if not self._euclidean:
            return block
        # Divided between the two sides, so that neither's length spoils the bound.
        squares = np.square(block).sum(axis=1, keepdims=True) * 2.0**-_BITS
        return np.concatenate([block, squares], axis=1)

    def blocks(self) -> Iterator[slice]:
        """Yield the parts that the gallery is taken in."""
        count = len(self._sides[1][1])
        return (slice(start, min(start + self.step, count)) for start in range(0, count, self.step))

    def _whole(self, side: int, rows: slice | Integers) -> Floats:
        vectors, chosen = self._sides[side]
        block = vectors[chosen[rows]]
        if not self._euclidean:
            return metrics.fixed_point(block)
        return np.asarray(np.rint(np.ldexp(block.astype(np.float64), self._shift)))

    def _exponent(self, side: int) -> int:
        """Return the least e such that no vector of a side is as long as 2**e."""
        vectors, chosen = self._sides[side]
        longest = []
        for start in range(0, len(chosen), self.step):
            block = vectors[chosen[start : start + self.step]].astype(np.float64)
            peak = np.frexp(np.abs(block).max(axis=1, initial=0.0))[1]
            # Squares of what is scaled first neither overflow nor vanish.
            length = np.sqrt(np.square(np.ldexp(block, -peak[:, None])).sum(axis=1))
            longest += (peak + np.frexp(length)[1])[length > 0].tolist()
        return max(longest, default=-1000)


def scores_of_pairs(left: Floats, space: Space, queries: Integers, rows: Integers) -> Floats:
    """Return the exact score (P,) of pairs of a query, a position in ``left``, and a row of the gallery."""
    scores = np.empty(len(rows))
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    for block in space.blocks():
        first, last = np.searchsorted(ordered, (block.start, block.stop))
        if first < last:
            needed, place = np.unique(ordered[first:last], return_inverse=True)
            chosen = order[first:last]
            scores[chosen] = _dots(left, space.candidates(needed), queries[chosen], place)
    return scores


def count_better(left: Floats, space: Space, best: Floats, place: Integers) -> Integers:
    """Return how many candidates (n,) score above ``best``, or the same and stand before row ``place``.

    Args:
        left: (n, E) queries of the space.
        space: the gallery.
        best: (n,) exact scores.
        place: (n,) gallery rows.
    """
    counts = np.zeros(len(left), np.int64)
    rough = left.astype(np.float32)
    terms = (left.shape[1] + 2) * 2.0**-24
    bound = _lengths(left) * (terms / (1 - terms) * (1 + 1e-6))
    for block in space.blocks():
        right = space.candidates(block)
        rough_right = right.astype(np.float32).T
        margin = bound * _lengths(right).max()
        low = np.nextafter((best - margin).astype(np.float32), np.float32(-np.inf))[:, None]
        high = np.nextafter((best + margin).astype(np.float32), np.float32(np.inf))[:, None]
        for start in range(0, len(left), _QUERIES):
            part = slice(start, start + _QUERIES)
            scores = rough[part] @ rough_right
            sure = _per_row(scores > high[part])
            unsure = _per_row(scores >= low[part]) - sure
            if unsure.any():
                ends = (low[part], high[part])
                sure += _settle(scores, sure, unsure, ends, left[part], right, best[part], place[part] - block.start)
            counts[part] += sure
    return counts


def _settle(
    scores: Array,
    sure: Integers,
    unsure: Integers,
    ends: tuple[Array, Array],
    left: Floats,
    right: Floats,
    best: Floats,
    place: Integers,
) -> Integers:
    """Return what to add to the sure counts (n,) of a tile once what lies between the ends is computed exactly."""
    added = np.zeros(len(left), np.int64)
    dense = unsure > len(right) // _DENSE
    if dense.any():
        exact = left[dense] @ right.T
        earlier = np.arange(len(right)) < place[dense, None]
        better = (exact > best[dense, None]) | ((exact == best[dense, None]) & earlier)
        added[dense] = _per_row(better) - sure[dense]
    few = np.flatnonzero((unsure > 0) & ~dense)
    low, high = ends
    row, column = np.nonzero((scores[few] >= low[few]) & (scores[few] <= high[few]))
    row = few[row]
    found = _dots(left, right, row, column)
    better = (found > best[row]) | ((found == best[row]) & (column < place[row]))
    added += np.bincount(row[better], minlength=len(left))
    return added


def _dots(left: Floats, right: Floats, rows: Integers, others: Integers) -> Floats:
    result = np.empty(len(rows))
    for start in range(0, len(rows), _PAIRS):
        part = slice(start, start + _PAIRS)
        result[part] = np.einsum("ij,ij->i", left[rows[part]], right[others[part]])
    return result


def _per_row(mask: Array) -> Integers:
    return np.asarray(np.bitwise_count(np.packbits(mask, axis=1)).sum(axis=1, dtype=np.int64))


def _lengths(vectors: Floats) -> Floats:
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", vectors, vectors)))
