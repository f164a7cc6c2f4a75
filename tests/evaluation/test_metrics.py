"""AP against nested loops and scikit-learn, chance against enumeration, intervals, triplets."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from lapel.errors import LapelError
from lapel.evaluation import metrics
from lapel.evaluation.metrics import (
    average_precision_from_scores,
    average_precisions,
    expected_average_precision,
    mean_interval,
    paired_difference,
    query_weighted_mean,
    relevant_counts,
    triplet_accuracy,
    triplet_margin_loss,
)

# AG-MAN (IEEE Access 2024), tables 2, 5 and 7: eight FashionAI attributes and the printed average, every
# distinct row; and the test queries per attribute of the ASEN split.
QUERIES = (422, 623, 535, 422, 341, 289, 703, 265)
PRINTED = """
59.5852 43.9943 42.8203 62.8021 67.5715 48.1033 41.7291 55.2886 50.8043
64.5731 54.9630 51.7645 64.4973 71.9256 66.7201 60.2929 60.8307 60.7551
61.9057 45.8526 45.8116 60.6013 70.4638 62.7362 52.0484 59.5861 55.3646
65.5674 55.0840 55.2060 68.9536 73.7867 68.1758 63.1985 62.0777 62.8788
66.2107 55.3089 52.6219 68.3924 71.2480 66.8022 62.1120 61.9079 61.9679
65.1353 57.0038 53.4465 68.0217 72.2718 67.4483 62.6834 61.9855 62.4804
65.8052 55.4035 54.3290 68.0434 72.4414 65.3819 62.6148 62.5654 62.2951
59.3651 43.3860 43.5791 62.3133 66.8545 54.7183 40.1253 54.1803 50.7971
65.7707 53.4347 52.7763 66.7755 72.3489 67.9203 62.6388 61.2233 61.6719
64.7258 55.3104 52.6036 68.3390 71.8768 65.7550 60.6618 62.1818 61.4976
65.6344 54.6032 52.5263 65.9612 71.7295 67.6182 61.2087 61.8379 61.4086
"""


def slow_ap(scores: list[int], relevant: list[bool]) -> float:
    """AP as one would explain it: sort, walk down, note the precision at each relevant candidate."""
    ranking = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    found, precisions = 0, []
    for rank, candidate in enumerate(ranking, start=1):
        if relevant[candidate]:
            found += 1
            precisions.append(found / rank)
    return sum(precisions) / len(precisions) if precisions else 0.0


def slow_scores(query: np.ndarray, candidates: np.ndarray) -> list[list[int]]:
    """Cosines as whole numbers of 2**-52, multiplied in Python integers, which never round."""

    def whole(vectors: np.ndarray) -> list[list[int]]:
        lengths = [float(np.sqrt((row.astype(np.float64) ** 2).sum())) or 1.0 for row in vectors]
        return [[round(float(x) / n * 2**26) for x in row] for row, n in zip(vectors, lengths, strict=True)]

    right = whole(candidates)
    return [[sum(a * b for a, b in zip(q, c, strict=True)) for c in right] for q in whole(query)]


def slow_aps(query, candidates, query_labels, candidate_labels) -> list[float]:
    scores = slow_scores(query, candidates)
    share = [[any(a and b for a, b in zip(q, c, strict=True)) for c in candidate_labels] for q in query_labels]
    return [slow_ap(s, r) for s, r in zip(scores, share, strict=True)]


def random_task(seed: int, queries=7, candidates=23, dim=6, values=4, kind="plain"):
    rng = np.random.default_rng(seed)
    left = rng.normal(size=(queries, dim)).astype(np.float32)
    right = rng.normal(size=(candidates, dim)).astype(np.float32)
    hot = np.eye(values, dtype=bool)
    q_labels, c_labels = hot[rng.integers(0, values, queries)], hot[rng.integers(0, values, candidates)]
    if kind == "ties":  # few directions: most scores are shared
        left, right = (
            rng.integers(-1, 2, left.shape).astype("f"),
            rng.integers(-1, 2, right.shape).astype("f"),
        )
    if kind == "duplicates":  # the same photograph many times, and once more as a query
        right = right[rng.integers(0, 5, candidates)]
        left[0] = right[0]
    if kind == "empty":  # a value that only queries have, one that nobody has, images without labels
        c_labels[:, 0] = False
        c_labels[:, 1] = q_labels[:, 1] = False
    if kind == "single":  # each value once among the candidates, the rest unlabelled
        c_labels[:] = False
        c_labels[rng.permutation(candidates)[:values]] = hot
    if kind == "several":  # several values of one attribute in one image
        q_labels, c_labels = rng.random((queries, values)) < 0.4, rng.random((candidates, values)) < 0.4
    if kind == "zero":  # a vector without direction
        left[1] = right[2] = right[9] = 0
    return left, right, q_labels, c_labels


KINDS = ["plain", "ties", "duplicates", "empty", "single", "several", "zero"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ap_equals_nested_loops(kind, seed):
    task = random_task(seed, kind=kind)
    np.testing.assert_allclose(average_precisions(*task), slow_aps(*task), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_chunk_and_blocks_change_nothing(kind, monkeypatch):
    task = random_task(3, queries=41, candidates=67, dim=33, kind=kind)
    whole = average_precisions(*task)
    for chunk in (1, 2, 7, 40, 41, 1000):
        np.testing.assert_array_equal(average_precisions(*task, chunk=chunk), whole)
    monkeypatch.setattr(metrics, "_BLOCK", 5)
    np.testing.assert_array_equal(average_precisions(*task, chunk=3), whole)


def test_ap_of_a_permuted_query_set_is_permuted():
    left, right, q_labels, c_labels = random_task(4, queries=50, candidates=300, dim=129, kind="duplicates")
    order = np.random.default_rng(0).permutation(50)
    whole = average_precisions(left, right, q_labels, c_labels)
    np.testing.assert_array_equal(
        average_precisions(left[order], right, q_labels[order], c_labels, chunk=4), whole[order]
    )


def test_identical_candidates_rank_in_catalogue_order():
    rng = np.random.default_rng(0)
    one = rng.normal(size=(1, 512)).astype(np.float32)
    query = rng.normal(size=(3, 512)).astype(np.float32)
    for position in (0, 1, 130, 256):
        labels = np.zeros((257, 1), bool)
        labels[position] = True
        aps = average_precisions(query, np.repeat(one, 257, axis=0), np.ones((3, 1), bool), labels)
        np.testing.assert_array_equal(aps, 1 / (position + 1))


@pytest.mark.parametrize("seed", range(5))
def test_ap_equals_scikit_learn_without_ties(seed):
    left, right, q_labels, c_labels = random_task(seed, queries=20, candidates=200, dim=64)
    cosine = metrics.unit_vectors(left) @ metrics.unit_vectors(right).T
    relevant = q_labels.astype(int) @ c_labels.T > 0
    oracle = [average_precision_score(r, s) for r, s in zip(relevant, cosine, strict=True)]
    np.testing.assert_allclose(average_precisions(left, right, q_labels, c_labels), oracle, atol=1e-12)
    np.testing.assert_allclose(average_precision_from_scores(cosine, relevant, chunk=3), oracle, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=12), st.integers(1, 4))
def test_ap_from_scores_equals_nested_loops(pairs, chunk):
    scores, relevant = (list(column) for column in zip(*pairs, strict=True))
    rows = average_precision_from_scores(np.array([scores] * 3) / 7, np.array([relevant] * 3), chunk)
    np.testing.assert_allclose(rows, slow_ap(scores, relevant), atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(KINDS))
def test_ap_properties(seed, kind):
    left, right, q_labels, c_labels = random_task(seed, kind=kind)
    aps = average_precisions(left, right, q_labels, c_labels)
    counts = relevant_counts(q_labels, c_labels, chunk=2)
    assert ((aps >= 0) & (aps <= 1 + 1e-12)).all()
    np.testing.assert_array_equal(aps == 0, counts == 0)
    np.testing.assert_array_equal(counts, [(c_labels & row).any(axis=1).sum() for row in q_labels])
    # Cosine: a power of two on either side changes nothing, to the last bit.
    np.testing.assert_array_equal(average_precisions(left * 4, right / 8, q_labels, c_labels), aps)


def test_perfect_and_worst_ranking():
    vectors = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9]], np.float32)
    near = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], bool)
    np.testing.assert_array_equal(average_precisions(vectors[:1], vectors[1:], near[:1], near[1:]), [1.0])
    np.testing.assert_allclose(average_precisions(vectors[:1], vectors[1:], near[:1], near[[2, 0, 3]]), [1 / 3])


def test_lengths_beyond_float32_squares():
    left, right, q_labels, c_labels = random_task(0)
    whole = average_precisions(left, right, q_labels, c_labels)
    for scale in (2.0**-120, 2.0**120):
        scaled = (right * np.float32(scale)).astype(np.float32)
        np.testing.assert_array_equal(average_precisions(left, scaled, q_labels, c_labels), whole)


@pytest.mark.parametrize(("value", "rows"), [(np.nan, 1), (np.inf, 2), (-np.inf, 3)])
def test_not_a_number_is_an_error_that_counts_rows(value, rows):
    left, right, q_labels, c_labels = random_task(0)
    bad = right.copy()
    bad[:rows, 1:3] = value
    with pytest.raises(LapelError, match=f"{rows} of 23 candidate embedding rows hold NaN or infinity"):
        average_precisions(left, bad, q_labels, c_labels)
    with pytest.raises(LapelError, match=f"{rows} of 23 query embedding rows"):
        average_precisions(bad, left, c_labels, q_labels)
    with pytest.raises(LapelError, match=f"{rows} of 23 score rows"):
        average_precision_from_scores(bad, np.ones(bad.shape, bool))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"candidates": np.zeros((3, 5))}, r"\(Q, D\) and \(C, D\)"),
        ({"query": np.zeros(4)}, r"\(Q, D\) and \(C, D\)"),
        ({"query_labels": np.zeros((1, 2), bool)}, r"\(Q, V\) and \(C, V\)"),
        ({"candidate_labels": np.zeros((3, 9), bool)}, r"\(Q, V\) and \(C, V\)"),
        ({"chunk": 0}, "chunk must be at least 1"),
    ],
)
def test_shapes_that_do_not_fit(change, message):
    fine = {"query": np.ones((2, 4)), "candidates": np.ones((3, 4))}
    fine |= {"query_labels": np.ones((2, 2), bool), "candidate_labels": np.ones((3, 2), bool)}
    with pytest.raises(ValueError, match=message):
        average_precisions(**(fine | change))


def test_no_queries_or_no_candidates():
    none, some = np.zeros((0, 3), np.float32), np.ones((2, 3), np.float32)
    assert average_precisions(none, some, np.zeros((0, 1), bool), np.ones((2, 1), bool)).shape == (0,)
    nothing = average_precisions(some, none, np.ones((2, 1), bool), np.zeros((0, 1), bool))
    np.testing.assert_array_equal(nothing, [0, 0])


@pytest.mark.parametrize("candidates", [1, 2, 3, 5, 7])
def test_chance_equals_the_mean_over_every_ranking(candidates):
    for relevant in range(candidates + 1):
        places = itertools.combinations(range(candidates), relevant)
        rankings = [[i in chosen for i in range(candidates)] for chosen in places]
        exact = np.mean([slow_ap([0] * candidates, ranking) for ranking in rankings])
        found = expected_average_precision(np.array([relevant]), candidates)
        np.testing.assert_allclose(found, [exact], atol=1e-14)


def test_chance_equals_simulation_at_size():
    rng = np.random.default_rng(0)
    relevant = np.zeros((4000, 300), bool)
    relevant[:, :40] = True
    simulated = average_precision_from_scores(rng.random(relevant.shape), relevant)
    expected = expected_average_precision(np.array([40]), 300)[0]
    assert abs(simulated.mean() - expected) < 4 * simulated.std() / np.sqrt(4000)


@pytest.mark.parametrize(("relevant", "candidates"), [([4], 3), ([-1], 3), ([0], 0)])
def test_chance_of_impossible_counts(relevant, candidates):
    with pytest.raises(ValueError, match="relevant counts"):
        expected_average_precision(np.array(relevant), candidates)


@pytest.mark.parametrize("row", PRINTED.split("\n")[1:-1])
def test_overall_reproduces_the_printed_averages(row):
    *maps, average = map(float, row.split())
    assert sum(QUERIES) == 3600
    assert round(query_weighted_mean(maps, QUERIES), 4) == average


def test_overall_is_not_the_plain_mean():
    *maps, average = map(float, PRINTED.split("\n")[4].split())
    assert round(float(np.mean(maps)), 4) == 64.0062
    assert average == 62.8788


def test_overall_equals_the_mean_over_all_queries():
    groups = [np.random.default_rng(i).random(size) for i, size in enumerate((3, 50, 11))]
    expected = query_weighted_mean([g.mean() for g in groups], [len(g) for g in groups])
    assert mean_interval(groups).mean == pytest.approx(expected, abs=1e-14)


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(300):
        groups = [rng.beta(2, 5, 60), rng.beta(5, 2, 30)]
        interval = mean_interval(groups, samples=400, seed=trial)
        hits += interval.low <= (60 * 2 / 7 + 30 * 5 / 7) / 90 <= interval.high
    assert 0.90 <= hits / 300 <= 0.985


def test_interval_is_stratified_and_repeatable():
    apart = [np.zeros(50), np.ones(50)]  # all the spread lies between the groups, none within
    assert mean_interval(apart) == metrics.Interval(0.5, 0.5, 0.5)
    pooled = mean_interval([np.concatenate(apart)], seed=3)
    assert pooled.low < 0.45
    assert pooled.high > 0.55
    assert pooled == mean_interval([np.concatenate(apart)], seed=3)
    assert pooled != mean_interval([np.concatenate(apart)], seed=4)
    assert pooled.low > mean_interval([np.concatenate(apart)], seed=3, level=0.999).low


def test_interval_equals_a_plain_bootstrap():
    values = np.random.default_rng(5).random(40)
    rng = np.random.default_rng(6)
    means = [np.mean([values[rng.integers(40)] for _ in range(40)]) for _ in range(1500)]
    interval = mean_interval([values], samples=4000)
    np.testing.assert_allclose([interval.low, interval.high], np.quantile(means, [0.025, 0.975]), atol=0.012)


def test_paired_difference_is_narrower_than_the_two_intervals():
    rng = np.random.default_rng(2)
    hard = rng.random(200)
    better = np.clip(hard + 0.02 + rng.normal(0, 0.02, 200), 0, 1)
    gap = paired_difference([better], [hard])
    assert gap.low > 0
    assert mean_interval([better]).low < mean_interval([hard]).high
    assert gap.mean == pytest.approx(better.mean() - hard.mean())
    mirror = paired_difference([hard], [better])
    np.testing.assert_allclose([mirror.low, mirror.high], [-gap.high, -gap.low], atol=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mean_interval([]), ValueError, "at least one value"),
        (lambda: mean_interval([np.zeros(0)]), ValueError, "at least one value"),
        (lambda: mean_interval([np.ones(3)], level=1.0), ValueError, "level between 0 and 1"),
        (lambda: mean_interval([np.array([0.1, np.nan])]), LapelError, "1 of 2 value rows"),
        (lambda: paired_difference([np.ones(3)], [np.ones(2)]), ValueError, "same queries"),
        (lambda: query_weighted_mean([0.5], [0]), ValueError, "not all of them zero"),
        (lambda: query_weighted_mean([0.5], [1, 2]), ValueError, "one query count per MAP"),
        (lambda: triplet_accuracy(np.ones(0), np.ones(0)), ValueError, "non-empty"),
        (lambda: triplet_accuracy(np.ones(2), np.ones(3)), ValueError, "two non-empty arrays"),
        (lambda: triplet_accuracy(np.array([np.nan]), np.ones(1)), LapelError, "1 of 1 positive similarity"),
        (lambda: triplet_margin_loss(np.ones(1), np.array([np.inf])), LapelError, "negative similarity"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_triplets_equal_a_loop_and_ties_are_wrong():
    rng = np.random.default_rng(0)
    positive, negative = rng.integers(-3, 4, (2, 200)) / 4
    pairs = list(zip(positive, negative, strict=True))
    assert (positive == negative).any()
    assert triplet_accuracy(positive, negative) == pytest.approx(sum(p > n for p, n in pairs) / 200)
    expected = sum(max(0.0, 0.3 + n - p) for p, n in pairs) / 200
    assert triplet_margin_loss(positive, negative, 0.3) == pytest.approx(expected)
    assert triplet_accuracy(np.ones(3), np.ones(3)) == 0
    assert triplet_margin_loss(np.ones(3), np.ones(3)) == pytest.approx(0.2)


def test_few_answers_are_told() -> None:
    assert metrics.few_said({"collar": metrics.FEW, "colour": 60}) == ""
    assert "fewer than 10 answers of collar, hem: " in metrics.few_said({"collar": 9, "colour": 60, "hem": 1})
