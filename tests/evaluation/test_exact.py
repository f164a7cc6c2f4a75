"""Screening in float32 changes no rank: not under any cut, near-tie, scale or spread of lengths."""

from __future__ import annotations

import numpy as np
import pytest

from lapel.evaluation import exact, ranking
from lapel.evaluation.ranking import Relevance, accuracy_at, first_relevant_ranks, relevance_by_group

from .rank_world import DISTANCES, KINDS, random_task, ranks_of, slow_ranks

CUTS = [{"_CANDIDATES": 5}, {"_QUERIES": 3}, {"_PAIRS": 2}, {"_DENSE": 1}, {"_DENSE": 10**9}, {"_BLOCK": 1}]


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("kind", KINDS)
def test_chunks_and_blocks_change_nothing(kind, distance, monkeypatch):
    task = random_task(3, queries=41, candidates=97, dim=33, kind=kind)
    whole = ranks_of(task, distance).rank.tolist()
    for chunk in (1, 2, 7, 40, 41, 1000):
        assert ranks_of(task, distance, chunk=chunk).rank.tolist() == whole
    for cut in CUTS:
        with monkeypatch.context() as patch:
            for name, value in cut.items():
                patch.setattr(exact, name, value)
            assert ranks_of(task, distance, chunk=11).rank.tolist() == whole
    monkeypatch.setattr(ranking, "_NUMBERS", 100)
    assert ranks_of(task, distance).rank.tolist() == whole


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("gap", [0.0, 2.0**-24, 2.0**-22, 1e-6])
@pytest.mark.parametrize("dense", [1, 256, 10**9])
def test_differences_that_float32_cannot_see(distance, gap, dense, monkeypatch):
    """A gallery of all but equal images, at the edge of what is told apart, or exactly equal."""
    monkeypatch.setattr(exact, "_DENSE", dense)
    rng = np.random.default_rng(5)
    centre = rng.normal(size=24)
    right = centre / np.linalg.norm(centre) + gap * rng.normal(size=(60, 24))
    left = centre + 0.1 * rng.normal(size=(9, 24))
    relevance = relevance_by_group(np.arange(9) % 4, rng.integers(0, 20, 60))
    ranks = first_relevant_ranks(left, right, relevance, distance=distance).rank.tolist()
    assert ranks == slow_ranks(left, right, relevance, distance=distance)
    if gap == 0:
        assert ranks == [int(relevance[i][0]) + 1 if len(relevance[i]) else 0 for i in range(9)]


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("kind", ["plain", "duplicates", "lengths"])
def test_screening_equals_float64_alone_at_size(distance, kind):
    left, right, relevance, _ = random_task(6, queries=300, candidates=9000, dim=256, kind=kind)
    ranks = first_relevant_ranks(left, right, relevance, distance=distance).rank
    space = exact.Space(distance, left, np.arange(300), right, np.arange(9000))
    scores = space.queries(slice(None)) @ np.concatenate([space.candidates(block) for block in space.blocks()]).T
    order = np.argsort(-scores, axis=1, kind="stable")
    hit = np.zeros(scores.shape, bool)
    hit[relevance.queries, relevance.rows] = True
    assert ranks.tolist() == (np.take_along_axis(hit, order, axis=1).argmax(axis=1) + 1).tolist()


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("kind", ["plain", "single", "zero", "excluded"])
def test_float32_agrees_with_a_plain_float64_reference(distance, kind):
    task = random_task(7, queries=60, candidates=400, dim=48, kind=kind)
    left, right, relevance, own = task
    wide = [side.astype(np.float64) for side in (left, right)]
    if distance == "cosine":
        units = [side / np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-300) for side in wide]
        scores = np.round(units[0] @ units[1].T, 12)
    else:
        scores = np.round(-np.linalg.norm(wide[0][:, None] - wide[1][None], axis=2), 12)
    if own is not None:
        scores[own.queries, own.rows] = -np.inf
        relevance = relevance.without(own, len(right))
    order = np.argsort(-scores, axis=1, kind="stable")
    hit = np.zeros(scores.shape, bool)
    hit[relevance.queries, relevance.rows] = True
    reference = (np.cumsum(np.take_along_axis(hit, order, axis=1), axis=1) > 0)[:, :20].mean(axis=0)
    for vectors in ((left, right), wide):
        ranks = first_relevant_ranks(*vectors, task[2], excluded=own, distance=distance)
        found = accuracy_at(ranks, range(1, 21)).mean(axis=1)
        np.testing.assert_allclose(found, reference, rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [2.0**-900, 2.0**-1, 2.0**3, 2.0**900])
def test_a_power_of_two_changes_nothing(scale):
    """Not even where the squares of the numbers leave float64."""
    left, right, relevance, _ = random_task(8, kind="plain")
    for distance in DISTANCES:
        whole = first_relevant_ranks(left, right, relevance, distance=distance).rank.tolist()
        both = [side.astype(np.float64) * scale for side in (left, right)]
        assert first_relevant_ranks(*both, relevance, distance=distance).rank.tolist() == whole
    apart = first_relevant_ranks(left.astype(np.float64) * scale, right, relevance)
    assert apart.rank.tolist() == first_relevant_ranks(left, right, relevance).rank.tolist()


def test_one_giant_leaves_the_rest_few_bits():
    """What the docstring says: under Euclidean distance all share one scale."""
    query, gallery = np.array([[1.0, 0.0]]), np.array([[3.0, 0.0], [1.0, 0.1], [2.0**27, 0.0]])
    near = Relevance(np.array([0, 1]), np.array([1]))
    assert first_relevant_ranks(query, gallery[:2], near, distance="euclidean").rank.tolist() == [1]
    assert first_relevant_ranks(query, gallery, near, distance="euclidean").rank.tolist() == [2]
