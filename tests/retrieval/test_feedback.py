"""Thumbs move a query: where to, how far, and in which attributes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.retrieval.feedback import BETA, RIDGE, moved, steered
from lapel.retrieval.parts import Mixed


def unit(values: Any) -> np.ndarray:
    found = np.asarray(values, float)
    return found / np.linalg.norm(found)


def slow(query: np.ndarray, more: list[np.ndarray], less: list[np.ndarray], beta: float, ridge: float) -> np.ndarray:
    """The docstring's formula as the ridge regression it is: solved over the D numbers, by its normal equations."""
    pulled = unit(query + beta * sum(more) / len(more)) if more else query
    wanted = [(pulled, 1.0), *((x, 1.0) for x in more), *((x, 0.0) for x in less)]
    matrix, right = ridge * np.eye(len(query)), ridge * pulled
    for x, y in wanted:
        matrix = matrix + np.outer(x, x)
        right = right + y * x
    return unit(np.linalg.solve(matrix, right))


@given(
    seed=st.integers(0, 999),
    up=st.integers(0, 4),
    down=st.integers(0, 4),
    ridge=st.floats(0.1, 9),
    beta=st.floats(0, 4),
)
def test_the_formula(seed: int, up: int, down: int, ridge: float, beta: float) -> None:
    rng = np.random.default_rng(seed)
    query, *others = (unit(rng.normal(size=6)) for _ in range(1 + up + down))
    more, less = others[:up], others[up:]
    scaled = [np.float32(3) * query.astype(np.float32)]  # any length, any type
    (found,) = moved(scaled, [[x] for x in more], [[5 * x] for x in less], beta, ridge)
    expected = slow(query, more, less, beta, ridge) if up or down else query
    np.testing.assert_allclose(found, expected, atol=1e-6)


@given(seed=st.integers(0, 999))
def test_a_thumb_moves_the_query_towards_or_away(seed: int) -> None:
    rng = np.random.default_rng(seed)
    query = unit(rng.normal(size=8))
    liked, disliked = (unit(query + 0.7 * rng.normal(size=8)) for _ in range(2))
    (up,) = moved([query], [[liked]], [])
    (down,) = moved([query], [], [[disliked]])
    assert up is not None
    assert down is not None
    assert up @ liked > query @ liked
    if query @ disliked > 0.1:
        assert down @ disliked < query @ disliked
    assert down @ query > 0.5  # one dislike does not turn the query round


def test_nothing_moves_without_thumbs_or_where_they_cancel_it() -> None:
    query = unit([1.0, 2, 2])
    for more, less in (([], []), ([[-query]], [])):
        (found,) = moved([query], more, less, beta=1.0)
        np.testing.assert_allclose(found, query, atol=1e-12)
    assert moved([None, query], [[None, query]], [])[0] is None


def test_only_attributes_that_weigh_move() -> None:
    rng = np.random.default_rng(0)
    query, liked = ([unit(rng.normal(size=5)) for _ in range(3)] for _ in range(2))
    mixed = steered(Mixed([*query[:2], None], np.array([2.0, 0, 0])), [liked], [])
    assert mixed.weights.tolist() == [2, 0, 0]
    np.testing.assert_allclose(mixed.vectors[0], slow(query[0], [liked[0]], [], BETA, RIDGE))
    assert mixed.vectors[1] is query[1]
    assert mixed.vectors[2] is None


def test_where_less_is_wanted_thumbs_up_still_raise_the_score() -> None:
    """A negative weight scores by -cosine: what is liked must score more after, what is disliked less."""
    rng = np.random.default_rng(1)
    query = unit(rng.normal(size=6))
    liked, disliked = unit(rng.normal(size=6)), unit(-query + 0.2 * rng.normal(size=6))
    mixed = steered(Mixed([query], np.array([-1.5])), [[liked]], [[disliked]])
    assert mixed.weights.tolist() == [-1.5]
    (vector,) = mixed.vectors
    assert vector is not None
    assert -vector @ liked > -query @ liked
    assert -vector @ disliked < -query @ disliked
    assert np.linalg.norm(vector) == pytest.approx(1)
