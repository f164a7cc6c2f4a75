"""Several query images become one: it ranks as the double sum over parts and attributes does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.errors import SearchIndexError
from lapel.retrieval.parts import Part, combine

NAMES, DIMS = ("neckline", "pattern", "item"), (4, 4, 6)
WEIGHTS = st.none() | st.dictionaries(st.sampled_from(NAMES), st.floats(-3, 3).filter(lambda w: abs(w) > 0.01))


def vectors(rng: np.random.Generator) -> list[Any]:
    return [rng.normal(size=dim) for dim in DIMS]


def double_sum(parts: list[Part], image: list[np.ndarray]) -> float:
    score = 0.0
    for part in parts:
        for name, query, candidate in zip(NAMES, part.vectors, image, strict=True):
            weight = 1.0 if part.weights is None else part.weights.get(name, 0.0)
            if weight and query is not None:
                score += weight * float(query @ candidate) / float(np.linalg.norm(query) * np.linalg.norm(candidate))
    return score


@given(seed=st.integers(0, 999), weights=st.lists(WEIGHTS, min_size=1, max_size=5))
def test_the_combined_query_scores_as_the_double_sum(seed: int, weights: list[Any]) -> None:
    rng = np.random.default_rng(seed)
    parts = [Part(vectors(rng), each) for each in weights]
    if not any(each is None or each for each in weights):
        with pytest.raises(SearchIndexError, match="every weight is zero"):
            combine(parts, NAMES, DIMS)
        return
    mixed = combine(parts, NAMES, DIMS)
    for vector in mixed.vectors:
        assert vector is not None
        assert np.linalg.norm(vector) == pytest.approx(1)
    for _ in range(5):
        image = vectors(rng)
        units = [each / np.linalg.norm(each) for each in image]
        found = sum(
            w * float(v @ x) for w, v, x in zip(mixed.weights, mixed.vectors, units, strict=True) if v is not None
        )
        assert found == pytest.approx(double_sum(parts, image), abs=1e-9)


def test_one_part_is_left_as_it_is() -> None:
    query = vectors(np.random.default_rng(0))
    mixed = combine([Part(query, {"pattern": -2.0, "item": 0.5})], NAMES, DIMS)
    assert mixed.weights.tolist() == [0, -2.0, 0.5]
    for vector, own in zip(mixed.vectors, query, strict=True):
        np.testing.assert_array_equal(vector, own / np.linalg.norm(own, axis=0))


def test_what_all_ask_less_of_stays_negative() -> None:
    """Two parts of half a weight are one part of it, also below zero."""
    query = vectors(np.random.default_rng(1))
    half = Part(query, {"pattern": -0.5, "item": 1})
    mixed = combine([half, half], NAMES, DIMS)
    np.testing.assert_allclose(mixed.weights, [0, -1, 2])
    np.testing.assert_allclose(mixed.vectors[1], query[1] / np.linalg.norm(query[1]))
    against = combine([Part(query, {"pattern": 1, "item": 1}), Part(query, {"pattern": -3})], NAMES, DIMS)
    np.testing.assert_allclose(against.weights, [0, 2, 1])  # of several parts the length, the direction in the vector
    np.testing.assert_allclose(against.vectors[1], -query[1] / np.linalg.norm(query[1]))


def test_where_parts_cancel_nothing_weighs() -> None:
    query = vectors(np.random.default_rng(2))
    opposite = Part(query, {"pattern": -1})
    mixed = combine([Part(query, {"pattern": 1, "item": 1}), opposite], NAMES, DIMS)
    assert mixed.weights.tolist() == [0, 0, 1]
    np.testing.assert_allclose(mixed.vectors[1], query[1] / np.linalg.norm(query[1]))  # to show a cosine by
    with pytest.raises(SearchIndexError, match="the parts of the query cancel"):
        combine([Part(query, {"pattern": 1}), opposite], NAMES, DIMS)


def test_what_a_part_does_not_know_is_left_to_the_others() -> None:
    rng = np.random.default_rng(3)
    known, partly = vectors(rng), [None, *vectors(rng)[1:]]
    mixed = combine([Part(partly), Part(known, {"neckline": 2})], NAMES, DIMS)
    assert mixed.weights.tolist() == [2, 1, 1]
    np.testing.assert_allclose(mixed.vectors[0], known[0] / np.linalg.norm(known[0]))
    alone = combine([Part(partly)], NAMES, DIMS)
    assert alone.weights.tolist() == [0, 1, 1]
    assert alone.vectors[0] is None


ONES = [np.ones(dim) for dim in DIMS]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "at least one image"),
        ([Part(ONES, {"patern": 1})], "unknown attribute 'patern'; did you mean 'pattern'"),
        ([Part(ONES, {"pattern": float("inf")})], "expected the weight of 'pattern' as a number, found inf"),
        ([Part(ONES, {"pattern": 0}), Part(ONES, {})], "every weight is zero"),
        ([Part([None, None, None])], "every weight is zero"),
        ([Part([None, *ONES[1:]], {"neckline": 1})], "needs a vector for each attribute that weighs"),
        ([Part(ONES[:2])], r"expected a query of 3 vectors of shapes \(4,\), \(4,\), \(6,\), found shape \(2, 4\)"),
        ([Part(ONES), Part([np.ones(5), *ONES[1:]])], r"found 3 vectors of shapes \(5,\)"),
        ([Part([np.zeros(4), *ONES[1:]])], "finite and not zero"),
        ([Part([np.full(4, np.nan), *ONES[1:]])], "finite and not zero"),
    ],
)
def test_mistakes(parts: list[Part], message: str) -> None:
    with pytest.raises(SearchIndexError, match=message):
        combine(parts, NAMES, DIMS)
