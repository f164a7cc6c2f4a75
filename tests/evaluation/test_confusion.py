"""Neighbours against sorted Python integers, votes against a tally by hand, matrices against loops."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapel.catalogue import Catalogue
from lapel.errors import LapelError
from lapel.evaluation import confusion as module
from lapel.evaluation.confusion import Neighbours, confusion, confusions, nearest, predict, votes
from lapel.evaluation.protocols import attribute_retrieval
from lapel.evaluation.queries import QueryLists
from lapel.evaluation.ranking import Relevance

from .rank_world import KINDS, random_task, whole_numbers

VALUES = ("a", "b", "c", "d")


def slow_nearest(query, candidates, k, own=None):
    left, right = whole_numbers([query, candidates], "cosine")
    rows = []
    for i, q in enumerate(left):
        skip = set() if own is None else set(own[i].tolist())
        score = {j: sum(a * b for a, b in zip(q, right[j], strict=True)) for j in range(len(right)) if j not in skip}
        rows.append(sorted(score, key=lambda j: (-score[j], j))[:k])
    return rows


def slow_vote(rows, cosines, labels):
    """(predicted value, share of each value) of one query, in exact fractions of the given cosines."""
    say = [max(Fraction(float(c)), Fraction(0)) for c in cosines]
    if not any(say):
        say = [Fraction(1)] * len(say)
    tally = {}
    for row, weight in zip(rows, say, strict=True):
        has = [v for v, there in enumerate(labels[row]) if there]
        for v in has:
            tally[v] = tally.get(v, 0) + weight / len(has)
    total, most = sum(tally.values()), max(tally.values())
    tied = [v for v in tally if tally[v] >= most * (1 - Fraction(1, 10**9))]
    for row in rows:
        here = [v for v in sorted(tied) if labels[row][v]]
        if here:
            return here[0], [float(tally.get(v, 0) / total) for v in range(len(labels[0]))]
    raise AssertionError


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 3, 100])
def test_neighbours_are_the_first_of_the_exact_ranking(kind: str, k: int) -> None:
    query, candidates, _, own = random_task(2, kind=kind)
    most = len(candidates) - (int(own.counts.max()) if own else 0)
    found = nearest(query, candidates, k, own)
    assert found.rows.tolist() == [row[: min(k, most)] for row in slow_nearest(query, candidates, k, own)]
    assert (np.diff(found.cosines, axis=1) <= 0).all()
    unit = [m / np.maximum(np.linalg.norm(m, axis=1, keepdims=True), 1e-30) for m in (query, candidates)]
    expected = np.einsum("qd,qkd->qk", unit[0], unit[1][found.rows])
    np.testing.assert_allclose(found.cosines, expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["ties", "duplicates", "excluded"])
def test_blocks_change_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    query, candidates, _, own = random_task(5, candidates=300, kind=kind)
    expected = nearest(query, candidates, 7, own)
    monkeypatch.setattr(module, "_QUERIES", 4)
    monkeypatch.setattr("lapel.evaluation.exact._BLOCK", 1)  # blocks of 64
    found = nearest(query, candidates, 7, own)
    assert np.array_equal(found.rows, expected.rows)
    assert np.array_equal(found.cosines, expected.cosines)


@given(st.integers(0, 10**6))
@settings(max_examples=60)
def test_votes_and_predictions_are_a_tally(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.random((9, 4)) < 0.3
    labels[np.arange(9), rng.integers(0, 4, 9)] = True
    rows = np.stack([rng.permutation(9)[:5] for _ in range(6)])
    # Few different cosines, some not positive: many values tie.
    cosines = -np.sort(-rng.choice([-0.5, 0.0, 0.25, 0.5, 1.0], (6, 5)), axis=1)
    near = Neighbours(rows, cosines)
    expected = [slow_vote(*pair, labels.tolist()) for pair in zip(rows, cosines, strict=True)]
    np.testing.assert_allclose(votes(near, labels), [shares for _, shares in expected], atol=1e-12)
    assert predict(near, labels).tolist() == [value for value, _ in expected]
    np.testing.assert_allclose(votes(near, labels).sum(1), 1)


def test_parts_of_the_vote_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    labels = np.eye(4, dtype=bool)[rng.integers(0, 4, 30)]
    near = nearest(rng.normal(size=(11, 3)), rng.normal(size=(30, 3)), 5)
    whole = votes(near, labels), predict(near, labels)
    monkeypatch.setattr(module, "_CELLS", 1)
    assert np.array_equal(votes(near, labels), whole[0])
    assert np.array_equal(predict(near, labels), whole[1])


def unit(degrees: float) -> list[float]:
    return [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]


def test_a_matrix_by_hand() -> None:
    candidates = np.array([unit(0), unit(2), unit(40), unit(44)])
    hot = np.eye(3, dtype=bool)
    found = confusion(
        np.array([unit(1), unit(3), unit(39), unit(43), unit(41)]),
        candidates,
        hot[[0, 1, 1, 0, 2]],
        hot[[0, 0, 1, 1]],
        VALUES[:3],
        k=2,
    )
    assert found.matrix.tolist() == [[1, 1, 0], [1, 1, 0], [0, 1, 0]]
    assert found.right.tolist() == [True, False, True, False, False]
    assert found.accuracy == pytest.approx(2 / 5)
    np.testing.assert_allclose(found.precision, [1 / 2, 1 / 3, np.nan])
    np.testing.assert_allclose(found.recall, [1 / 2, 1 / 2, 0])
    assert found.commonest == pytest.approx(2 / 5), "a and b are as common; the first"
    assert [tuple(pair) for pair in found.mistakes()] == [("a", "b", 1, 0.5), ("b", "a", 1, 0.5), ("c", "b", 1, 1)]
    assert len(found.mistakes(1)) == 1
    assert found.own_votes.tolist() == [1, 0, 1, 0, 0]
    low, high = found.interval()[1:]
    assert low <= found.accuracy <= high
    told = json.loads(json.dumps(found.to_dict()))
    assert told["accuracy"] == 40.0
    assert told["values"]["c"] == {"precision": None, "recall": 0.0, "queries": 1}
    assert told["most_confused"][0] == {"value": "a", "taken_for": "b", "queries": 1, "share": 50.0}
    assert told["matrix"] == [[1, 1, 0], [1, 1, 0], [0, 1, 0]]


def test_a_query_with_several_values_weighs_one() -> None:
    hot = np.array([[1, 1, 0, 0], [1, 1, 0, 0]], bool)
    known = np.array([[0, 1, 0, 0], [0, 0, 1, 1]], bool)
    found = confusion(np.array([unit(0), unit(90)]), np.array([unit(1), unit(89)]), hot, known, VALUES, k=1)
    assert found.matrix.tolist() == [[0, 0, 0.5, 0], [0, 1, 0.5, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert found.matrix.sum() == 2
    assert found.right.tolist() == [True, False]


@given(st.integers(0, 10**6))
def test_whatever_the_labels_every_query_is_counted_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sides = []
    for count in (7, 12):
        labels = rng.random((count, 4)) < 0.3
        labels[np.arange(count), rng.integers(0, 4, count)] = True
        sides.append((rng.normal(size=(count, 3)).astype(np.float32), labels))
    (query, hot), (candidates, known) = sides
    found = confusion(query, candidates, hot, known, VALUES, k=4)
    assert found.matrix.sum() == pytest.approx(7)
    np.testing.assert_allclose(found.matrix.sum(0), np.bincount(found.predicted, minlength=4))
    assert np.diag(found.matrix).sum() == pytest.approx(found.right.sum())
    assert found.right.tolist() == [bool(hot[q, v]) for q, v in enumerate(found.predicted)]
    assert ((found.own_votes >= 0) & (found.own_votes <= 1 + 1e-12)).all()
    order = rng.permutation(7)
    other = confusion(query[order], candidates, hot[order], known, VALUES, k=4)
    np.testing.assert_allclose(other.matrix, found.matrix)


def random_vectors(catalogue: Catalogue, names: tuple[str, ...]) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(len(catalogue), len(names), 6)).astype(np.float32)


def test_the_queries_are_those_of_the_evaluation(garments: Catalogue) -> None:
    names = ("colour", "length", "neckline")
    vectors = random_vectors(garments, names)
    found = confusions(vectors, garments, names, k=3)
    measured = attribute_retrieval(vectors, garments, names)
    assert list(found) == list(names)
    for name, result in found.items():
        assert result.rows.tolist() == measured[name].rows.tolist()
        assert result.values == garments.values(name)
        assert result.matrix.sum() == pytest.approx(measured[name].queries)
        assert result.k == 3
    hot = garments.multi_hot("length")
    labelled = hot[found["length"].rows]
    np.testing.assert_allclose(found["length"].matrix.sum(1), labelled.sum(0))
    lazily = confusions(lambda name: vectors[:, names.index(name)], garments, names, k=3)
    assert np.array_equal(lazily["colour"].matrix, found["colour"].matrix)


def test_labels_seen_in_the_vectors_are_found_without_a_mistake(garments: Catalogue) -> None:
    hot = garments.multi_hot("colour").astype(np.float32)
    found = confusions(hot[:, None], garments, ["colour"], k=1)["colour"]
    known = np.diag(found.matrix) > 0
    assert found.accuracy == 1
    assert found.mistakes() == []
    assert (found.recall[known] == 1).all()


def test_given_lists_bring_their_values_and_a_query_does_not_vote_for_itself(garments: Catalogue) -> None:
    rows, ranked = np.array([0, 1, 2]), np.array([0, 3, 4, 0])
    lists = QueryLists(
        {"length": (rows, ranked)}, "ours", {"length": (np.array(["x", "y", "z"]), np.array(list("xyyz")))}
    )
    vectors = random_vectors(garments, ("length",))
    vectors[3] = -vectors[0]  # so that only an own image could be near
    found = confusions(vectors, garments, ["length"], lists, k=2)["length"]
    assert found.values == ("x", "y", "z")
    assert found.predicted[0] == 1, "what is left without itself is y"
    assert found.rows.tolist() == [0, 1, 2]


def test_images_without_an_embedding_stay_out(garments: Catalogue) -> None:
    vectors = random_vectors(garments, ("length",))
    missing = np.zeros(len(garments), bool)
    missing[::3] = True
    vectors[missing] = np.nan
    found = confusions(vectors, garments, ["length"], missing=missing)["length"]
    assert not missing[found.rows].any()


def test_mistakes_are_named() -> None:
    vectors, hot = np.eye(3), np.eye(3, dtype=bool)
    bare = hot.copy()
    bare[1] = False
    with pytest.raises(LapelError, match="1 of 3 queries have no value"):
        confusion(vectors, vectors, bare, hot, VALUES[:3])
    with pytest.raises(LapelError, match="1 of 3 candidates have no value"):
        confusion(vectors, vectors, hot, bare, VALUES[:3])
    with pytest.raises(LapelError, match="k is 0"):
        confusion(vectors, vectors, hot, hot, VALUES[:3], k=0)
    with pytest.raises(LapelError, match="NaN"):
        confusion(vectors * np.nan, vectors, hot, hot, VALUES[:3])
    with pytest.raises(LapelError, match="0 queries, 3 candidates"):
        confusion(vectors[:0], vectors, hot[:0], hot, VALUES[:3])
    own = Relevance.of_pairs(np.zeros(3), np.arange(3), 3)
    with pytest.raises(LapelError, match="no value can be voted on"):
        confusion(vectors, vectors, hot, hot, VALUES[:3], excluded=own)
    with pytest.raises(ValueError, match="expected labels of shapes"):
        confusion(vectors, vectors, hot, hot, VALUES)
    with pytest.raises(ValueError, match=r"expected \(Q, D\)"):
        nearest(vectors, np.eye(4))
    with pytest.raises(ValueError, match="excluded for 3 queries, found 2"):
        nearest(vectors, vectors, 1, Relevance.of_pairs(np.zeros(0), np.zeros(0), 2))
