"""Ranks against Python integers, which never round; accuracies against enumeration."""

from __future__ import annotations

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.errors import LapelError
from lapel.evaluation.metrics import mean_interval
from lapel.evaluation.ranking import (
    Ranks,
    Relevance,
    accuracy_at,
    chance_accuracy,
    expected_accuracy,
    first_relevant_ranks,
    relevance_by_group,
    share_interval,
)

from .rank_world import DISTANCES, KINDS, random_task, ranks_of, slow_ranks


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ranks_equal_sorting_whole_numbers(kind, distance, seed):
    left, right, relevance, own = random_task(seed, kind=kind)
    found = ranks_of((left, right, relevance, own), distance)
    assert found.rank.tolist() == slow_ranks(left, right, relevance, own, distance)
    excluded = [len(own[i]) if own else 0 for i in range(len(left))]
    kept = [len(set(relevance[i]) - set(own[i] if own else ())) for i in range(len(left))]
    assert found.relevant.tolist() == kept
    assert found.candidates.tolist() == [len(right) - count for count in excluded]
    assert ((found.rank == 0) == (found.relevant == 0)).all()


@given(st.data())
def test_ranks_equal_sorting_whatever_the_input(data):
    queries, candidates, dim = (data.draw(st.integers(1, 6)) for _ in range(3))
    number = st.one_of(st.integers(-2, 2), st.floats(-1e3, 1e3, width=32))
    sides = [
        np.array([[data.draw(number) for _ in range(dim)] for _ in range(rows)], np.float32)
        for rows in (queries, candidates)
    ]
    groups = [np.array([data.draw(st.integers(-1, 2)) for _ in range(rows)]) for rows in (queries, candidates)]
    pairs = data.draw(st.lists(st.tuples(st.integers(0, queries - 1), st.integers(0, candidates - 1)), max_size=4))
    own = Relevance.of_pairs([q for q, _ in pairs], [g for _, g in pairs], queries)
    distance = data.draw(st.sampled_from(DISTANCES))
    task = (*sides, relevance_by_group(*groups), own)
    assert ranks_of(task, distance).rank.tolist() == slow_ranks(*task, distance)


def test_euclidean_takes_vectors_as_they_are():
    query = np.array([[1.0, 0.0]])
    gallery = np.array([[100.0, 0.0], [0.0, 0.0], [1.0, 0.5]])  # same direction; the zero vector; close by
    each = [Relevance(np.array([0, 1]), np.array([row])) for row in range(3)]
    near = [first_relevant_ranks(query, gallery, one, distance="euclidean").rank[0] for one in each]
    alike = [first_relevant_ranks(query, gallery, one).rank[0] for one in each]
    assert near == [3, 2, 1]
    assert alike == [1, 3, 2]


def test_rows_save_a_copy():
    left, right, relevance, _ = random_task(10, queries=9, candidates=20)
    both = np.concatenate([np.full((3, 7), np.nan, np.float32), right[::-1], left])
    found = first_relevant_ranks(
        both, both, relevance, query_rows=np.arange(23, 32), gallery_rows=np.arange(22, 2, -1), chunk=4
    )
    assert found.rank.tolist() == first_relevant_ranks(left, right, relevance).rank.tolist()


def test_no_queries_no_gallery_no_relevant():
    none, some = np.zeros((0, 3)), np.ones((2, 3))
    for distance in DISTANCES:
        nobody = first_relevant_ranks(none, some, relevance_by_group([], [1, 2]), distance=distance)
        assert len(nobody) == 0
        nothing = first_relevant_ranks(some, none, relevance_by_group([1, 2], []), distance=distance)
        assert nothing.rank.tolist() == nothing.candidates.tolist() == [0, 0]
        apart = first_relevant_ranks(some, some, relevance_by_group([1, 2], [3, 4]), distance=distance)
        assert apart.rank.tolist() == [0, 0]
        zeros = first_relevant_ranks(0 * some, 0 * some, relevance_by_group([1, 2], [2, 1]), distance=distance)
        assert zeros.rank.tolist() == [2, 1]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("distance", DISTANCES)
def test_not_a_number_is_an_error_that_counts_rows(value, distance):
    left, right, relevance, _ = random_task(0)
    bad = right.copy()
    bad[4:6, 2] = value
    with pytest.raises(LapelError, match="2 of 37 gallery embedding rows hold NaN or infinity"):
        first_relevant_ranks(left, bad, relevance, distance=distance)
    with pytest.raises(LapelError, match="1 of 3 query embedding rows"):
        first_relevant_ranks(
            bad, left, relevance_by_group([1, 2, 3], [1] * 13), distance=distance, query_rows=np.array([0, 5, 9])
        )


FINE = {"query": np.ones((2, 4)), "gallery": np.ones((3, 4)), "relevance": relevance_by_group([0, 1], [0, 1, 1])}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"distance": "euclidian"}, LapelError, "unknown distance 'euclidian'; did you mean 'euclidean'"),
        ({"gallery": np.ones((3, 5))}, ValueError, r"\(Q, D\) and \(C, D\)"),
        ({"query": np.ones(4)}, ValueError, r"\(Q, D\) and \(C, D\)"),
        ({"chunk": 0}, ValueError, "chunk must be at least 1"),
        ({"relevance": relevance_by_group([0], [0, 1, 1])}, ValueError, "of 2 queries, found that of 1"),
        ({"gallery": np.ones((2, 4))}, ValueError, "rows 0 to 2, the gallery has 2"),
        ({"excluded": Relevance(np.array([0, 1, 1]), np.array([-1]))}, ValueError, "rows -1 to -1"),
    ],
)
def test_bad_input(change, error, message):
    with pytest.raises(error, match=message):
        first_relevant_ranks(**(FINE | change))


groups = st.lists(st.integers(-1, 4), max_size=12)


@given(groups, groups)
def test_relevance_by_group_equals_loops(asked, items):
    found = relevance_by_group(np.array(asked, int), np.array(items, int))
    assert len(found) == len(asked)
    for query, group in enumerate(asked):
        assert found[query].tolist() == [row for row, item in enumerate(items) if item == group >= 0]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), max_size=20), st.data())
def test_relevance_is_a_set_of_pairs(pairs, data):
    def pairs_of(relevance):
        return set(zip(relevance.queries.tolist(), relevance.rows.tolist(), strict=True))

    whole = Relevance.of_pairs([q for q, _ in pairs], [r for _, r in pairs], 5)
    assert pairs_of(whole) == set(pairs)
    assert whole.counts.sum() == len(set(pairs)) == len(whole.rows)
    other = data.draw(st.lists(st.sampled_from([*pairs, (0, 0), (4, 6)]), max_size=5))
    less = whole.without(Relevance.of_pairs([q for q, _ in other], [r for _, r in other], 5), 7)
    assert pairs_of(less) == set(pairs) - set(other)
    queries, rows = (sorted(data.draw(st.sets(st.integers(0, most)))) for most in (4, 6))
    kept = whole.restrict(np.array(queries, int), np.array(rows, int), 7)
    assert pairs_of(kept) == {(queries.index(q), rows.index(r)) for q, r in pairs if q in queries and r in rows}
    first, last = sorted((data.draw(st.integers(0, 5)), data.draw(st.integers(0, 5))))
    assert pairs_of(whole.part(slice(first, last))) == {(q - first, r) for q, r in pairs if first <= q < last}


def ranks(rank, relevant, candidates):
    return Ranks(*(np.atleast_1d(np.asarray(values, np.int64)) for values in (rank, relevant, candidates)))


def test_a_query_without_relevant_image_is_a_miss_that_counts():
    some = ranks([1, 0, 7, 3], [2, 0, 1, 1], [9] * 4)
    assert accuracy_at(some, (1, 5, 7, 100)).mean(axis=1).tolist() == [0.25, 0.5, 0.75, 0.75]
    assert accuracy_at(some, (5,)).dtype == bool


@pytest.mark.parametrize("candidates", [1, 2, 4, 6])
def test_chance_equals_the_mean_over_every_ranking(candidates):
    ks = (9, 1, 2, 3)
    for relevant in range(candidates + 1):
        places = [set(chosen) for chosen in itertools.combinations(range(candidates), relevant)]
        means = [np.mean([any(place < k for place in chosen) for chosen in places]) for k in ks]
        found = chance_accuracy(ranks(min(relevant, 1), relevant, candidates), ks)
        np.testing.assert_allclose(found[:, 0], means, atol=1e-14)


def test_chance_equals_binomial_coefficients_at_size():
    some = ranks([1, 5, 0], [3, 40, 0], [12612, 400_000, 50])
    for k, found in zip((1, 20, 50), chance_accuracy(some, (1, 20, 50)), strict=True):
        counts = zip(some.relevant.tolist(), some.candidates.tolist(), strict=True)
        slow = [1 - math.comb(n - r, k) / math.comb(n, k) for r, n in counts]
        np.testing.assert_allclose(found, slow, rtol=1e-9)
    assert chance_accuracy(ranks([], [], []), (1, 2)).shape == (2, 0)


@pytest.mark.parametrize("others", [0, 1, 3, 5])
def test_fewer_distractors_equal_the_mean_over_every_draw(others):
    for better, k in itertools.product(range(others + 1), (1, 2, 3, 9)):
        for size in range(others + 3):
            draws = list(itertools.combinations(range(others), min(size, others)))
            mean = np.mean([sum(one < better for one in drawn) <= k - 1 for drawn in draws])
            found = expected_accuracy(ranks(better + 1, 2, others + 2), (size,), (k,))
            np.testing.assert_allclose(found, [[mean]], atol=1e-12)


@given(st.integers(1, 400_000), st.floats(0, 1), st.floats(0, 1), st.lists(st.integers(1, 60), min_size=1, max_size=3))
def test_fewer_distractors_equal_whole_number_arithmetic(others, better_share, size_share, ks):
    better, size = min(round(better_share**4 * 300), others), round(size_share * others)
    total = math.comb(others, size) if others < 3000 else None
    found = expected_accuracy(ranks(better + 1, 1, others + 1), (size,), ks)[0]
    for k, share in zip(ks, found, strict=True):
        if total is not None:
            ways = sum(math.comb(better, j) * math.comb(others - better, size - j) for j in range(min(k, size + 1)))
            assert share == pytest.approx(ways / total, abs=1e-9)
        else:  # by the symmetric form: how many of the drawn are among the better, drawn the other way round
            ways = sum(math.comb(better, j) * _falling(others - size, better - j, size, j, others) for j in range(k))
            assert share == pytest.approx(ways, abs=1e-8)


def _falling(rest, outside, size, inside, total):
    """Chance that given items, ``inside`` of them drawn and ``outside`` not, fall so."""
    if inside < 0 or outside < 0 or outside > rest or inside > size:
        return 0.0
    chance = 1.0
    for step in range(inside):
        chance *= (size - step) / (total - step)
    for step in range(outside):
        chance *= (rest - step) / (total - inside - step)
    return chance


def test_the_curve_ends_at_the_accuracy_and_begins_at_one():
    rng = np.random.default_rng(0)
    some = ranks(rng.integers(0, 300, 80), rng.integers(1, 4, 80), np.full(80, 500))
    some.relevant[some.rank == 0] = 0
    ks, sizes = (1, 10, 50, 400), (0, 1, 10, 100, 499, 500, 10**9)
    curve = expected_accuracy(some, sizes, ks)
    np.testing.assert_array_equal(curve[-1], accuracy_at(some, ks).mean(axis=1))
    np.testing.assert_allclose(curve[0], (some.rank > 0).mean(), atol=1e-12)
    assert (np.diff(curve, axis=0) <= 1e-9).all()
    assert (np.diff(curve, axis=1) >= -1e-9).all()
    assert expected_accuracy(some, (), ks).shape == (0, 4)
    assert expected_accuracy(ranks([0, 0], [0, 0], [3, 3]), (1,), (1,)).tolist() == [[0.0]]


@pytest.mark.parametrize("call", [accuracy_at, chance_accuracy, lambda r, ks: expected_accuracy(r, (1,), ks)])
@pytest.mark.parametrize("ks", [(), (0,), (5, -1)])
def test_impossible_ks(call, ks):
    with pytest.raises(ValueError, match="at least one K"):
        call(ranks([1], [1], [2]), ks)


def test_negative_numbers_of_distractors():
    with pytest.raises(ValueError, match="distractors from 0 on, found -3"):
        expected_accuracy(ranks([1], [1], [2]), (4, -3), (1,))


@pytest.mark.parametrize(("queries", "share"), [(40, 0.3), (700, 0.02), (5000, 0.9)])
def test_interval_of_shares_is_the_bootstrap_interval(queries, share):
    hits = np.random.default_rng(1).random(queries) < share
    short, long = share_interval(hits, samples=8000), mean_interval([hits], samples=8000)
    assert short.mean == pytest.approx(long.mean)
    np.testing.assert_allclose([short.low, short.high], [long.low, long.high], atol=1.5 / queries + 0.002)
    assert share_interval(hits, seed=4) == share_interval(hits, seed=4)


def test_interval_of_certainty_and_of_nothing():
    assert share_interval(np.ones(5, bool)) == (1.0, 1.0, 1.0)
    assert share_interval(np.zeros(5, bool)) == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="at least one value"):
        share_interval(np.zeros(0, bool))


def test_queries_without_a_relevant_image_cost_no_memory():
    """The rest is not copied to leave them out."""
    vectors, groups = np.ones((30_000, 64), np.float32), np.arange(30_000) % 500
    peaks = []
    for asked in (groups, np.where(groups % 2, groups, -1)):
        relevance = relevance_by_group(asked, np.arange(500))
        tracemalloc.start()
        found = first_relevant_ranks(vectors, vectors[:500], relevance)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert ((found.rank > 0) == (asked >= 0)).all()
    assert peaks[1] < 1.02 * peaks[0]
