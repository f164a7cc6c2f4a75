"""A query's likely value: votes counted by a loop give the same, and every way of reading an index agrees."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lapel.errors import SearchIndexError
from lapel.retrieval.votes import Vote, likely

from .ways import ways

ATTRIBUTES = ("neckline", "pattern", "colour")


@pytest.fixture(scope="module")
def shared(lasting_world: Any) -> Any:
    """60 images, of which one in four has no colour and one in four has two."""
    world = lasting_world.fill(60)
    world.index()
    return world


def slow_votes(world: Any, query: np.ndarray, without: str, nearest: int, warmth: float) -> list[Vote]:
    near = []
    for name, vectors in world.expected().items():
        values = (world.rows[name]["colour"] or "").split("|")
        if name != without and values != [""]:
            near.append((float(vectors[2] @ query / np.linalg.norm(query)), values))
    near = sorted(near, key=lambda pair: -pair[0])[:nearest]
    shares: dict[str, float] = {}
    votes: dict[str, int] = {}
    for cosine, values in near:
        for value in values:
            shares[value] = shares.get(value, 0) + math.exp((cosine - near[0][0]) / warmth) / len(values)
            votes[value] = votes.get(value, 0) + 1
    order = sorted(shares, key=lambda value: (-shares[value], value))
    return [Vote(value, shares[value] / sum(shares.values()), votes[value]) for value in order]


@pytest.mark.parametrize(("nearest", "warmth"), [(1, 0.05), (7, 0.05), (20, 0.3), (500, 1.0)])
def test_every_way_equals_a_slow_vote(shared: Any, nearest: int, warmth: float) -> None:
    for seed in range(5):
        query = np.random.default_rng(seed).normal(size=(3, 8))
        expected = slow_votes(shared, query[2], "004.jpg", nearest, warmth)
        for way, index in ways(shared.open).items():
            found = index.likely(query, "colour", {"004.jpg"}, nearest, warmth)
            assert [(each.value, each.votes) for each in found] == [(e.value, e.votes) for e in expected], way
            np.testing.assert_allclose([v.share for v in found], [v.share for v in expected], atol=1e-4)
            assert sum(each.share for each in found) == pytest.approx(1)


def test_by_its_own_vectors_alone_and_without_itself(shared: Any) -> None:
    index = shared.open()
    assert index.labelled == ("colour",)
    (own,) = index.vectors_of(["009.jpg"])
    assert index.likely([None, None, own[2]], "colour", nearest=1) == [Vote("Blue", 1.0, 1)]
    others = index.likely([*-np.array(own[:2]), own[2]], "colour", {"009.jpg"})
    assert others == index.likely(own, "colour", {"009.jpg"})
    assert sum(each.votes for each in others) >= 20
    assert index.likely([own[0], own[1], None], "colour") == []


def test_nobody_left_to_vote(world: Any) -> None:
    world.fill(1).index()
    index = world.open()
    assert index.likely(np.ones((3, 8)), "colour", {"000.jpg"}) == []
    world.rows["000.jpg"]["colour"] = None
    world.add("001.jpg", item="i", colour="Red")
    world.index()
    assert world.open().likely(np.ones((3, 8)), "colour") == [Vote("Red", 1.0, 1)]


@pytest.mark.parametrize(
    ("attribute", "options", "message"),
    [
        ("colur", {}, "unknown labelled attribute 'colur'; did you mean 'colour'"),
        ("neckline", {}, "unknown labelled attribute 'neckline'.* Known: colour"),
        ("price", {}, "unknown labelled attribute 'price'"),
        ("colour", {"nearest": 0}, "expected nearest as a whole number of at least 1, found 0"),
        ("colour", {"warmth": 0.0}, "expected a warmth above 0, found 0.0"),
    ],
)
def test_mistakes(shared: Any, attribute: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SearchIndexError, match=message):
        likely(shared.open(), np.ones((3, 8)), attribute, **options)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [(np.zeros((3, 8)), "finite and not zero"), (np.ones((3, 7)), "found shape"), (np.ones((2, 8)), "found shape")],
)
def test_bad_vectors(shared: Any, vectors: Any, message: str) -> None:
    with pytest.raises(SearchIndexError, match=message):
        shared.open().likely(vectors, "colour")
