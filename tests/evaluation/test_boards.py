"""Boards rank their queries as the measured figure did, and choose what is worth showing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lapel.evaluation.boards import Board, attribute_boards, item_board, three_queries, value_texts, worst_queries
from lapel.evaluation.instances import instance_retrieval
from lapel.evaluation.protocols import attribute_retrieval
from lapel.evaluation.queries import QueryLists
from lapel.evaluation.selection import select
from lapel.protocol import ItemProtocol, Side

from .item_world import random_world
from .report_world import board_of, catalogue_of, vectors_of


def average_precision(right: np.ndarray) -> float:
    ranks = [place + 1 for place in range(len(right)) if right[place]]
    return sum((n + 1) / rank for n, rank in enumerate(ranks)) / max(len(ranks), 1)


def test_a_ranking_gives_the_ap_that_was_measured(tmp_path: Path) -> None:
    catalogue = catalogue_of(tmp_path)
    missing = np.arange(len(catalogue)) % 7 == 3
    board = board_of(catalogue, vectors_of(catalogue, noise=1.0), missing)
    values = [next(iter(catalogue.values_of(row).values()))[0] for row in range(len(catalogue))]
    assert not missing[board.queries].any()
    assert not missing[board.candidates].any()
    for number, row in enumerate(board.queries):
        ranking = board.ranking(number)
        assert (np.diff(ranking.scores) <= 0).all()
        assert ranking.right.tolist() == [values[board.candidates[place]] == values[row] for place in ranking.order]
        assert average_precision(ranking.right) == pytest.approx(board.quality[number])
        assert ranking.first == ranking.right.tolist().index(True) + 1
        assert board.counts[number] == ranking.right.sum()
        assert board.asked[number] == values[row]


def test_listed_values_decide_what_is_right_and_what_is_shown(tmp_path: Path) -> None:
    catalogue, listed = catalogue_of(tmp_path), np.array([0, 1, 2, 3])
    lists = QueryLists(
        {"main_colour": (listed[:2], listed)},
        "given",
        {"main_colour": (np.array(["a", "b"], object), np.array(["b", "a", "b", "a"], object))},
    )
    vectors, missing = vectors_of(catalogue, 1.0), np.arange(len(catalogue)) == 3
    result = attribute_retrieval(vectors, catalogue, queries=lists, missing=missing, samples=1)
    (board,) = attribute_boards(result, catalogue, vectors, catalogue.attributes, missing=missing, lists=lists)
    assert list(board.asked) == ["a", "b"]
    assert list(board.given) == ["b", "a", "b"]
    assert board.ranking(0).right.sum() == 1
    assert average_precision(board.ranking(1).right) == pytest.approx(board.quality[1])


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("within", ["", "category"])
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_a_board_of_items_ranks_as_acc_at_k_does(seed: int, within: str, distance: str) -> None:
    catalogue = random_world(seed)[0]
    protocol = ItemProtocol(query=Side(domain="consumer"), gallery=Side(domain="shop"), within=within)
    chosen = select(catalogue, protocol)
    vectors = np.random.default_rng(seed).standard_normal((len(catalogue), 2, 4)).astype(np.float32).round(1)
    vectors[1::3] = vectors[::3]  # ties, which keep the order of the gallery
    missing = np.random.default_rng(seed + 1).random(len(catalogue)) < 0.15
    flat = vectors.reshape(len(catalogue), -1)
    result = instance_retrieval(
        flat, catalogue, protocol, selection=chosen, distance=distance, missing=missing, samples=1
    )
    board = item_board(result, catalogue, vectors, chosen, missing, distance)
    for number in range(len(board.queries)):
        ranking = board.ranking(number)
        assert ranking.first == result.ranks.rank[number]
        assert len(ranking.order) == result.ranks.candidates[number]
        if distance == "euclidean":
            gaps = flat[board.candidates[ranking.order]].astype(float) - flat[board.queries[number]]
            np.testing.assert_allclose(-ranking.scores, np.linalg.norm(gaps, axis=1))
            assert (np.diff(ranking.scores) <= 1e-6).all()


def test_three_queries_are_of_the_best_the_middle_and_the_worst_tenth(tmp_path: Path) -> None:
    board = board_of(catalogue_of(tmp_path, 300), vectors_of(catalogue_of(tmp_path, 300), 1.0))
    order = np.argsort(-board.quality, kind="stable").tolist()
    seen = set()
    for seed in range(20):
        found = dict(three_queries(board, seed))
        seen |= set(found.values())
        places = [order.index(number) for number in found.values()]
        tenth = len(order) // 10
        assert places[0] < tenth
        assert abs(places[1] - len(order) / 2) <= tenth
        assert places[2] >= len(order) - tenth
        assert three_queries(board, seed) == list(found.items())
    assert len(seen) > 6


def test_a_badly_answered_query_for_an_item_did_not_find_it_first() -> None:
    quality = [1.0] * 95 + [0.5, 0.2, 0.0, 1.0, 1.0]
    board = replace(simple_board(quality, [1] * 100, [f"{n}" for n in range(100)]), attribute=False)
    assert {dict(three_queries(board, seed))["badly answered"] for seed in range(20)} == {95, 96, 97}
    found = replace(board, quality=np.ones(100))
    assert dict(three_queries(found, 0))["badly answered"] in range(100)


def simple_board(quality: list[float], counts: list[int], items: list[str], name: str = "a") -> Board:
    n = len(quality)
    rows = np.arange(n)
    return Board(
        name, rows, rows, np.array(quality), np.array(counts), np.array(counts) / 10, ["v"] * n, ["v"] * n,
        lambda _: np.ones(n, bool), None, lambda found: np.ones((len(found), 2)), items,
    )  # fmt: skip


def test_the_worst_gained_least_over_chance_and_are_of_different_items() -> None:
    first = simple_board([0.5, 0.0, 0.1, 0.2, 0.0], [1, 1, 9, 9, 0], ["p", "q", "r", "r", "s"])
    second = simple_board([0.0], [5], ["x"], "b")
    found = [(board.name, number) for board, number in worst_queries([first, second])]
    # Gains: 0.4, -0.1, -0.8, -0.7 (the same item again), no right candidate at all; and -0.5.
    assert found == [("a", 2), ("b", 0), ("a", 1)]
    assert len(worst_queries([first, second], count=1)) == 1
    assert three_queries(second, 0) == [("a query", 0)]
    # Every right candidate first: chance is high, so the gain is little, but nothing failed.
    assert [number for _, number in worst_queries([simple_board([1.0, 0.99], [9, 9], ["p", "q"])])] == [1]
    assert three_queries(simple_board([0.0], [0], ["x"]), 0) == []


def test_values_of_a_row_are_one_text(tmp_path: Path) -> None:
    assert value_texts(catalogue_of(tmp_path), "main_colour")[4] == "green"
