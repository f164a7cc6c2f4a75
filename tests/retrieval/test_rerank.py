"""Re-ranking equals sorting by hand, and never loses, invents or moves what it should not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lapel.errors import SearchIndexError
from lapel.retrieval.rerank import rerank

Array = NDArray[Any]


def slow(table: Array, order: list[list[int]], first: int | None) -> list[list[int]]:
    """Python's sort is stable."""
    result = []
    for query, row in enumerate(order):
        head, tail = (row, []) if first is None else (row[:first], row[first:])
        there = [candidate for candidate in head if candidate >= 0]
        scored = [candidate for candidate in there if not math.isnan(table[query, candidate])]
        scored.sort(key=lambda candidate: -table[query, candidate])
        unscored = [candidate for candidate in there if math.isnan(table[query, candidate])]
        result.append(scored + unscored + [-1] * (len(head) - len(there)) + tail)
    return result


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_it_equals_sorting_by_hand(data: st.DataObject) -> None:
    queries, gallery = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 7))
    values = st.sampled_from([-math.inf, -1.0, 0.0, 0.5, 2.0, math.inf, math.nan])  # few: many ties
    table = np.array([[data.draw(values) for _ in range(gallery)] for _ in range(queries)])
    holes = data.draw(st.integers(0, 3))
    order = [data.draw(st.permutations([*range(gallery), *[-1] * holes])) for _ in range(queries)]
    first = data.draw(st.one_of(st.none(), st.integers(1, gallery + holes + 2)))
    asked: list[tuple[int, int]] = []

    def scores(rows: Array, candidates: Array) -> Array:
        assert (candidates >= 0).all()
        asked.extend(zip(rows.repeat(candidates.shape[1]).tolist(), candidates.ravel().tolist(), strict=True))
        return table[rows[:, None], candidates]

    given_order = np.array(order)
    found = rerank(scores, given_order, first, pairs_at_once=data.draw(st.integers(1, 20)))
    assert found.tolist() == slow(table, order, first)
    assert found.dtype == np.int64
    assert given_order.tolist() == order, "what was given is not changed"
    heads = {(query, candidate) for query, row in enumerate(order) for candidate in row[:first] if candidate >= 0}
    assert set(asked) == heads, "only the first are scored"


def test_equal_scores_keep_the_order() -> None:
    order = np.array([[4, 1, 3, 0]], np.int32)
    assert rerank(lambda _, candidates: np.ones(candidates.shape, np.float32), order).tolist() == order.tolist()


def test_queries_come_in_blocks() -> None:
    sizes = []

    def scores(rows: Array, candidates: Array) -> Array:
        sizes.append(len(rows))
        return -candidates

    order = np.arange(12)[::-1].reshape(1, 12).repeat(7, 0)
    found = rerank(scores, order, first=4, pairs_at_once=12)
    assert sizes == [3, 3, 1]
    assert found[5].tolist() == [8, 9, 10, 11, 7, 6, 5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)], ids=str)
def test_nothing_to_sort(shape: tuple[int, int]) -> None:
    found = rerank(lambda *_: pytest.fail("nothing to ask"), np.empty(shape, np.int64), first=2)
    assert found.shape == shape


def test_queries_without_candidates_are_not_asked_about() -> None:
    def scores(rows: Array, candidates: Array) -> Array:
        assert rows.tolist() == [1]
        return candidates

    assert rerank(scores, np.array([[-1, -1], [3, 5]])).tolist() == [[-1, -1], [5, 3]]


@pytest.mark.parametrize(
    ("order", "first", "message"),
    [
        (np.arange(3), 1, r"expected an order \(queries, candidates\) of whole numbers, -1 for none; found int64 \(3,"),
        (np.ones((2, 3)), 1, "found float64"),
        (np.array([[0, -2]]), 1, "-1 for none"),
        (np.array([[0, 1]]), 0, "re-ranking the first 0 candidates: expected 1 or more"),
    ],
)
def test_what_cannot_be_sorted(order: Array, first: int, message: str) -> None:
    with pytest.raises(SearchIndexError, match=message):
        rerank(lambda _, candidates: candidates, order, first)


def test_scores_of_another_shape() -> None:
    with pytest.raises(SearchIndexError, match=r"expected scores of pairs \(1, 2\), found \(1,\)"):
        rerank(lambda rows, _: rows, np.array([[0, 1]]))
