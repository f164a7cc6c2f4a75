"""MAP by leave-one-out equals a slow count, and what is lost is told of the same queries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.retrieval import map_lost
from lapel.retrieval.map_lost import Labelled, lost, precisions

Cells = list[Any]


def column(cells: Cells) -> pa.ChunkedArray:
    kind = pa.list_(pa.string()) if any(isinstance(cell, list) for cell in cells) else pa.string()
    return pa.chunked_array([pa.array(cells, kind)])


def slow(cells: Cells, vectors: np.ndarray, query: int) -> float:
    """Average precision of a row among all others that have a value."""
    values = [set(cell if isinstance(cell, list) else [cell]) if cell else set() for cell in cells]
    others = [row for row in range(len(cells)) if row != query and values[row]]
    others.sort(key=lambda row: -round(float(vectors[query] @ vectors[row]), 6))
    hits = [bool(values[row] & values[query]) for row in others]
    return float(np.mean([np.mean(hits[: rank + 1]) for rank, hit in enumerate(hits) if hit]))


@given(st.data())
def test_it_equals_counting_by_hand(data: st.DataObject) -> None:
    value = st.sampled_from(["red", "blue", "green"])
    cells = data.draw(
        st.lists(st.none() | st.lists(value, max_size=2), min_size=4, max_size=12)
        | st.lists(st.none() | value, min_size=4, max_size=12)
    )
    vectors = np.random.default_rng(data.draw(st.integers(0, 99))).normal(size=(len(cells), 3))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    alike = [
        row
        for row, cell in enumerate(cells)
        if any(
            cell and other and set(cell_of(cell)) & set(cell_of(other)) for at, other in enumerate(cells) if at != row
        )
    ]
    found = Labelled.of(column(cells), 100, [0])
    if not alike:
        assert found is None
        return
    assert found is not None
    assert found.rows[found.queries].tolist() == alike
    wanted = [slow(cells, vectors.astype(np.float64), row) for row in alike]
    np.testing.assert_allclose(precisions(found, vectors[found.rows]), wanted, atol=1e-12)


def cell_of(cell: Any) -> list[str]:
    return cell if isinstance(cell, list) else [cell]


def test_the_portions_of_queries_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    found = Labelled.of(column([f"v{n % 5}" for n in range(40)]), 30, [0])
    assert found is not None
    vectors = rng.normal(size=(40, 8)).astype(np.float32)
    wanted = precisions(found, vectors)
    monkeypatch.setattr(map_lost, "CELLS", 90)
    np.testing.assert_array_equal(precisions(found, vectors), wanted)


def test_queries_are_drawn_by_the_seed() -> None:
    cells = column(["red", "blue"] * 50)
    draws = [Labelled.of(cells, 10, seed) for seed in ([0, 1], [0, 1], [0, 2])]
    first, again, other = (set(draw.queries.tolist()) for draw in draws if draw is not None)
    assert len(first) == 10
    assert first == again != other


def test_the_difference_is_of_the_same_queries() -> None:
    """Queries that lose 0.1 each lose it for certain, however far they are from each other."""
    found = Labelled.of(column(["red"] * 50), 20, [0])
    assert found is not None
    before = np.linspace(0.2, 0.9, 20)
    cost = lost([found, found], [before, before], [before - 0.1, before - 0.1])
    assert (cost.queries, cost.candidates) == (40, 49)
    assert cost.before == pytest.approx(0.55)
    assert cost.after == pytest.approx(0.45)
    np.testing.assert_allclose(cost.difference, [-0.1] * 3)
