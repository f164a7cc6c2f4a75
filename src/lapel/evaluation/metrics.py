"""Exact metrics as pure functions of numpy arrays: average precision, chance, triplets, bootstrap intervals.

Average precision (AP) follows ASEN's evaluator, which AG-MAN's tables use: rank every candidate by cosine
similarity; AP is the mean of the precision at the rank of each relevant candidate, over all relevant ones,
with neither interpolation nor cut-off; a query without a relevant candidate scores 0 and is counted.

Equal scores need care. Floating-point matrix products give different last bits for different block shapes,
thread counts and machines, so two identical photographs may or may not tie. Here a score is exact instead:
unit vectors are rounded to multiples of 2**-26 (finer than float32 resolves a cosine), so every partial sum
of a product is an integer below 2**53 in units of 2**-52, and float64 adds it without error, in any order.
Ties are then a property of the vectors alone, and TIE_RULE orders them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lapel.errors import LapelError

AP_DEFINITION = (
    "AP = mean of the precision at the rank of each relevant candidate over all relevant candidates, "
    "no interpolation, no cut-off; relevant = shares a value of the attribute; a query without a relevant "
    "candidate scores 0 and is counted; MAP of an attribute = mean AP of its queries; "
    "overall MAP = mean over all queries (query-weighted)"
)
TIE_RULE = "equal scores keep the order of the candidates in the catalogue (stable)"
SCORE = "cosine, exact on unit vectors rounded to multiples of 2**-26"

LEVEL = 0.95  # of the bootstrap intervals
FEW = 10  # answers below which a bootstrap says little: of one or two alike its interval is a point

Array = NDArray[Any]
Floats = NDArray[np.float64]
_SCALE = float(2**26)
_BLOCK = 8192  # candidates multiplied at a time
_CELLS = 2**23  # scores held at a time when no chunk is given


def average_precisions(
    query: Array, candidates: Array, query_labels: Array, candidate_labels: Array, chunk: int | None = None
) -> Floats:
    """Return the AP of each query against all candidates, ranked by cosine similarity.

    Args:
        query: (Q, D) vectors, any length; a zero vector has similarity 0 to everything.
        candidates: (C, D) vectors. Queries are not looked for among them: leave them out.
        query_labels: (Q, V) bool, the values of the attribute that each query has.
        candidate_labels: (C, V) bool; relevant means at least one value in common.
        chunk: queries ranked at a time; the result does not depend on it, to the last bit.

    Memory beyond the input: 4 D (Q + C) + 4 V C bytes, and about 50 ``chunk`` C bytes while ranking (by
    default ``chunk`` C is kept near 8 million, some 400 MB).

    Raises:
        LapelError: an embedding holds NaN or infinity.
        ValueError: the shapes do not fit.

    >>> average_precisions(np.eye(2), np.eye(2), np.eye(2) > 0, np.eye(2)[::-1] > 0)
    array([0.5, 0.5])
    """
    if query.ndim != 2 or candidates.ndim != 2 or query.shape[1] != candidates.shape[1]:
        raise ValueError(f"expected (Q, D) and (C, D) vectors, found {query.shape} and {candidates.shape}")
    _check_labels(query_labels, candidate_labels, (len(query), len(candidates)))
    left, right = _fixed_point(query, "query"), _fixed_point(candidates, "candidate")
    wanted = candidate_labels.astype(np.float32).T
    step = _chunk(chunk, len(candidates))
    result = np.zeros(len(query))
    for start in range(0, len(query), step):
        rows = slice(start, start + step)
        block = left[rows].astype(np.float64)
        scores = np.empty((len(block), len(candidates)))
        for first in range(0, len(candidates), _BLOCK):
            part = slice(first, first + _BLOCK)
            scores[:, part] = block @ right[part].astype(np.float64).T
        result[rows] = _precision_of_ranking(scores, query_labels[rows].astype(np.float32) @ wanted > 0)
    return result


def average_precision_from_scores(scores: Array, relevant: Array, chunk: int | None = None) -> Floats:
    """Return the AP (Q,) of each row of a (Q, C) score matrix, higher is better; ``relevant`` is (Q, C) bool.

    For scores that are not cosines of one vector per image. Ties follow TIE_RULE on the scores as given.
    Memory beyond the input: about 50 ``chunk`` C bytes.

    Raises:
        LapelError: a score is NaN or infinite.
        ValueError: the shapes differ.

    >>> average_precision_from_scores(np.array([[0.9, 0.5, 0.5]]), np.array([[False, False, True]])).round(4)
    array([0.3333])
    """
    if scores.ndim != 2 or scores.shape != relevant.shape:
        raise ValueError(f"expected two arrays (Q, C), found {scores.shape} and {relevant.shape}")
    check_finite(scores, "score")
    result = np.zeros(len(scores))
    step = _chunk(chunk, scores.shape[1])
    for start in range(0, len(scores), step):
        rows = slice(start, start + step)
        result[rows] = _precision_of_ranking(scores[rows].astype(np.float64), relevant[rows].astype(bool))
    return result


def expected_average_precision(relevant: Array, candidates: int) -> Floats:
    """Return the expected AP (Q,) of a random ranking of queries with ``relevant`` (Q,) relevant candidates.

    With R relevant of C, rank k is relevant with probability R / C, and then k - 1 others hold on average
    (k - 1)(R - 1) / (C - 1) relevant ones; the sum over k of (1 + that) / k, divided by C, is
    (H + (R - 1) (C - H) / (C - 1)) / C with H the C-th harmonic number. 0 where R is 0.

    >>> expected_average_precision(np.array([0, 1, 2, 3]), 3).round(4)
    array([0.    , 0.6111, 0.8056, 1.    ])
    """
    count = np.asarray(relevant, dtype=np.float64)
    if candidates < 1 or ((count < 0) | (count > candidates)).any():
        raise ValueError(f"relevant counts must lie between 0 and the number of candidates, {candidates}")
    harmonic = float((1.0 / np.arange(candidates, 0, -1)).sum())
    if candidates == 1:
        return (count > 0).astype(np.float64)
    expected = (harmonic + (count - 1) * (candidates - harmonic) / (candidates - 1)) / candidates
    return np.asarray(np.where(count > 0, expected, 0.0))


def relevant_counts(query_labels: Array, candidate_labels: Array, chunk: int = 1024) -> NDArray[np.int64]:
    """Return how many candidates (C, V) share a value with each query (Q, V); memory 5 ``chunk`` C bytes."""
    _check_labels(query_labels, candidate_labels, (len(query_labels), len(candidate_labels)))
    wanted = candidate_labels.astype(np.float32).T
    counts = np.zeros(len(query_labels), dtype=np.int64)
    for start in range(0, len(query_labels), chunk):
        rows = slice(start, start + chunk)
        counts[rows] = np.count_nonzero(query_labels[rows].astype(np.float32) @ wanted > 0, axis=1)
    return counts


def query_weighted_mean(maps: Sequence[float], queries: Sequence[int]) -> float:
    """Return the overall MAP of attributes with these MAPs and query counts.

    AG-MAN does not say how its "MAP" column is formed; this reproduces its printed averages to 4 decimals.

    >>> round(query_weighted_mean([60.0, 80.0], [300, 100]), 4)
    65.0
    """
    if len(maps) != len(queries) or not maps or min(queries) < 0 or sum(queries) == 0:
        raise ValueError("expected one query count per MAP, not all of them zero")
    return float(np.dot(maps, queries) / sum(queries))


class Interval(NamedTuple):
    """A mean and the ends of its bootstrap interval."""

    mean: float
    low: float
    high: float


def few_said(counts: Mapping[str, int]) -> str:
    """Say under which names there are too few answers for an interval to tell much; nothing if under none.

    >>> few_said({"collar": 2, "colour": 60})
    'fewer than 10 answers of collar: such an interval says little, and one or two alike make it a point'
    """
    few = [name for name, count in counts.items() if count < FEW]
    if not few:
        return ""
    why = "such an interval says little, and one or two alike make it a point"
    return f"fewer than {FEW} answers of {', '.join(few)}: {why}"


def mean_interval(groups: Sequence[Array], samples: int = 2000, seed: int = 0, level: float = LEVEL) -> Interval:
    """Return the mean of all values of all groups, with a percentile bootstrap interval.

    Each group (the queries of one attribute) is resampled with replacement to its own size, so the share of
    each attribute in the overall figure stays fixed. Same values and seed, same interval. The interval covers
    the draw of queries, neither the draw of candidates nor another training seed. Memory: about 64 MB.

    Raises:
        LapelError: a value is NaN or infinite.
        ValueError: there is no value at all.
    """
    arrays = [np.asarray(group, dtype=np.float64).reshape(-1) for group in groups]
    arrays = [array for array in arrays if len(array)]
    if not arrays or not 0 < level < 1 or samples < 1:
        raise ValueError("expected at least one value, a level between 0 and 1 and at least one sample")
    total = sum(len(array) for array in arrays)
    sums = np.zeros(samples)
    for number, array in enumerate(arrays):
        check_finite(array, "value")
        generator = np.random.default_rng([seed, number])
        step = max(1, 2**22 // len(array))
        for start in range(0, samples, step):
            size = (min(step, samples - start), len(array))
            sums[start : start + step] += array[generator.integers(0, len(array), size=size)].sum(axis=1)
    low, high = np.quantile(sums / total, [(1 - level) / 2, (1 + level) / 2])
    return Interval(sum(float(array.sum()) for array in arrays) / total, float(low), float(high))


def paired_difference(
    first: Sequence[Array], second: Sequence[Array], samples: int = 2000, seed: int = 0, level: float = LEVEL
) -> Interval:
    """Return the mean of ``first - second`` with its bootstrap interval, for two systems on the same queries.

    Resampling queries together keeps what the systems have in common out of the interval, so a difference can
    be certain although the two separate intervals overlap.

    Raises:
        ValueError: the systems were not measured on the same numbers of queries.
    """
    if [np.shape(group) for group in first] != [np.shape(group) for group in second]:
        raise ValueError("a paired comparison needs the same queries in both systems, found different counts")
    gaps = [np.subtract(a, b) for a, b in zip(first, second, strict=True)]
    return mean_interval(gaps, samples, seed, level)


def triplet_accuracy(positive: Array, negative: Array) -> float:
    """Return the share of triplets whose positive similarity is strictly the higher one; ties are wrong.

    >>> triplet_accuracy(np.array([0.9, 0.5, 0.1]), np.array([0.2, 0.5, 0.3])).__round__(4)
    0.3333
    """
    _check_triplets(positive, negative)
    return float(np.mean(np.asarray(positive) > np.asarray(negative)))


def triplet_margin_loss(positive: Array, negative: Array, margin: float = 0.2) -> float:
    """Return the mean of max(0, margin + negative - positive): "average loss" in AG-MAN's table 4."""
    _check_triplets(positive, negative)
    gap = np.asarray(negative, dtype=np.float64) - np.asarray(positive, dtype=np.float64)
    return float(np.maximum(0.0, margin + gap).mean())


def unit_vectors(vectors: Array) -> Floats:
    """Return rows of (N, D) scaled to unit length in float64; a zero row stays zero."""
    rows: Floats = np.ascontiguousarray(vectors, dtype=np.float64)
    peak = np.abs(rows).max(axis=1, keepdims=True, initial=0.0)
    rows = rows / np.where(peak > 0, peak, 1.0)  # so that squares neither overflow nor vanish
    length = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
    rows /= np.where(length > 0, length, 1.0)
    return rows


def fixed_point(vectors: Array) -> Floats:
    """Return rows of (N, D) as unit vectors in whole multiples of 2**-26: products of them are exact in float64."""
    return np.asarray(np.rint(unit_vectors(vectors) * _SCALE))


def _fixed_point(vectors: Array, kind: str) -> NDArray[np.int32]:
    check_finite(vectors, f"{kind} embedding")
    result = np.empty(vectors.shape, dtype=np.int32)
    for start in range(0, len(vectors), _BLOCK):
        result[start : start + _BLOCK] = fixed_point(vectors[start : start + _BLOCK])
    return result


def _precision_of_ranking(scores: Floats, relevant: Array) -> Floats:
    """Return the AP of each row: a fast unstable sort, done again by a stable one in rows that hold ties."""
    order = np.argsort(-scores, axis=1)
    ranked = np.take_along_axis(scores, order, axis=1)
    tied = (ranked[:, 1:] == ranked[:, :-1]).any(axis=1)
    if tied.any():
        order[tied] = np.argsort(-scores[tied], axis=1, kind="stable")
    hits = np.take_along_axis(relevant, order, axis=1)
    precision = np.cumsum(hits, axis=1) / np.arange(1, scores.shape[1] + 1)
    total = np.count_nonzero(hits, axis=1)
    result: Floats = np.where(hits, precision, 0.0).sum(axis=1) / np.maximum(total, 1)
    return result


def _chunk(chunk: int | None, candidates: int) -> int:
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk must be at least 1, found {chunk}")
    return chunk or min(1024, max(1, _CELLS // max(candidates, 1)))


def check_finite(values: Array, kind: str, rows: Array | None = None) -> None:
    """Raise unless every number is finite, without a temporary as large as the input.

    Args:
        values: (N,) or (N, D).
        kind: what the message calls a row.
        rows: the rows that are looked at; by default all.

    Raises:
        LapelError: NaN or infinity; says in how many rows.
    """
    if values.ndim == 1:
        values = values[:, None]
    count = len(values) if rows is None else len(rows)
    step = max(1, _CELLS // max(values.shape[1], 1))
    parts = (slice(start, start + step) for start in range(0, count, step))
    blocks = (values[part if rows is None else rows[part]] for part in parts)
    bad = sum(int((~np.isfinite(block)).any(axis=1).sum()) for block in blocks)
    if bad:
        raise LapelError(
            f"{bad} of {count} {kind} rows hold NaN or infinity; a metric of them would mean nothing. "
            "Look for a diverged training or a division by zero in the model"
        )


def _check_labels(query_labels: Array, candidate_labels: Array, rows: tuple[int, int]) -> None:
    flat = query_labels.ndim == candidate_labels.ndim == 2
    found = (len(query_labels), len(candidate_labels))
    if not flat or query_labels.shape[1] != candidate_labels.shape[1] or found != rows:
        raise ValueError(
            f"expected labels (Q, V) and (C, V) with Q, C = {rows}, "
            f"found {query_labels.shape} and {candidate_labels.shape}"
        )


def _check_triplets(positive: Array, negative: Array) -> None:
    shapes = (np.shape(positive), np.shape(negative))
    if len(shapes[0]) != 1 or shapes[0] != shapes[1] or shapes[0] == (0,):
        raise ValueError(f"expected two non-empty arrays (T,), found {shapes[0]} and {shapes[1]}")
    check_finite(np.asarray(positive), "positive similarity")
    check_finite(np.asarray(negative), "negative similarity")
