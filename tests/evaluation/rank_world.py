"""Vectors that make ranking hard, and the slow obvious ranks of them, for the tests of ranking and of exactness."""

from __future__ import annotations

import math

import numpy as np

from lapel.evaluation.ranking import Relevance, first_relevant_ranks, relevance_by_group

DISTANCES = ("cosine", "euclidean")


def whole_numbers(sides: list[np.ndarray], distance: str) -> list[list[list[int]]]:
    """The vectors as the module says it rounds them, in Python integers."""
    rows = [[[float(x) for x in row] for row in side] for side in sides]
    lengths = [math.sqrt(math.fsum(x * x for x in row)) for side in rows for row in side]
    if distance == "cosine":
        units = [
            [[x / (math.sqrt(math.fsum(x * x for x in row)) or 1.0) for x in row] for row in side] for side in rows
        ]
        return [[[round(x * 2**26) for x in row] for row in side] for side in units]
    exponent = max((math.frexp(length)[1] for length in lengths if length), default=0)
    return [[[round(math.ldexp(x, 25 - exponent)) for x in row] for row in side] for side in rows]


def slow_ranks(query, gallery, relevance, excluded=None, distance="cosine"):
    left, right = whole_numbers([query, gallery], distance)
    ranks = []
    for i, q in enumerate(left):
        own = set() if excluded is None else set(excluded[i].tolist())
        places = [j for j in range(len(right)) if j not in own]
        wanted = set(relevance[i].tolist()) - own
        if distance == "cosine":
            score = {j: sum(a * b for a, b in zip(q, right[j], strict=True)) for j in places}
        else:
            score = {j: -sum((a - b) ** 2 for a, b in zip(q, right[j], strict=True)) for j in places}
        ranking = sorted(places, key=lambda j: (-score[j], j))
        ranks.append(next((n for n, j in enumerate(ranking, start=1) if j in wanted), 0))
    return ranks


KINDS = ("plain", "ties", "duplicates", "empty", "single", "zero", "lengths", "excluded")


def random_task(seed, queries=13, candidates=37, dim=7, kind="plain"):
    """(query, gallery, relevance, excluded) of few distinct items, with whatever makes ranking hard."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    left = rng.normal(size=(queries, dim)).astype(np.float32)
    right = rng.normal(size=(candidates, dim)).astype(np.float32)
    asked, items = rng.integers(0, 5, queries), rng.integers(0, 5, candidates)
    if kind == "ties":  # few directions: most scores are equal
        left, right = (rng.integers(-1, 2, side.shape).astype(np.float32) for side in (left, right))
    if kind == "duplicates":  # the same picture many times over, of several items
        right = right[rng.integers(0, 4, candidates)]
    if kind == "empty":  # items that nobody has
        asked[::3] = 9
    if kind == "single":
        items = rng.permutation(candidates)
        asked = rng.integers(0, candidates, queries)
    if kind == "zero":
        left[2] = right[3] = right[8] = 0
    if kind == "lengths":
        left *= np.exp(rng.normal(size=(queries, 1)) * 4).astype(np.float32)
        right *= np.exp(rng.normal(size=(candidates, 1)) * 4).astype(np.float32)
    own = None
    if kind == "excluded":  # each query is in the gallery, twice
        left[:10] = right[:10] = right[10:20]
        own = Relevance.of_pairs(np.tile(np.arange(10), 2), np.arange(20), queries)
    return left, right, relevance_by_group(asked, items), own


def ranks_of(task, distance, **settings):
    left, right, relevance, own = task
    return first_relevant_ranks(left, right, relevance, excluded=own, distance=distance, **settings)
