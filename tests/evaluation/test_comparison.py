"""Rows on the same queries with several seeds: against slow loops, and against what is known of the variance."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from lapel.errors import LapelError
from lapel.evaluation import comparison
from lapel.evaluation.comparison import compare_rows, verdict
from lapel.evaluation.metrics import Interval, mean_interval, paired_difference


def answers(generator: np.random.Generator, sizes: dict[str, int], shift: float = 0.0) -> dict:
    return {name: (np.arange(n) * 3, generator.random(n) + shift) for name, n in sizes.items()}


def table(sizes: dict[str, int], seeds: dict[str, int], shift: float = 0.1) -> dict[str, list]:
    generator = np.random.default_rng(0)
    return {
        row: [answers(generator, sizes, number * shift) for _ in range(count)]
        for number, (row, count) in enumerate(seeds.items())
    }


def slow_samples(rows: dict[str, list], row: str, samples: int, seed: int) -> list[float]:
    """The formula, sample by sample: queries redrawn within each attribute, then the row's seeds."""
    attributes = list(rows[row][0])
    total = sum(len(rows[row][0][name][1]) for name in attributes)
    draws = {
        name: np.random.default_rng([seed, number]).integers(0, n := len(rows[row][0][name][1]), size=(samples, n))
        for number, name in enumerate(attributes)
    }
    runs = rows[row]
    chosen = np.random.default_rng([seed, zlib.crc32(row.encode())]).integers(0, len(runs), size=(samples, len(runs)))
    found = []
    for sample in range(samples):
        means = []
        for run in runs:
            means.append(sum(run[name][1][q] for name in attributes for q in draws[name][sample]) / total)
        middle = sum(means) / len(means)
        redrawn = sum(means[s] for s in chosen[sample]) / len(means)
        root = (len(means) / (len(means) - 1)) ** 0.5 if len(means) > 1 else 0.0
        found.append(middle + root * (redrawn - middle))
    return found


def test_figures_and_differences_equal_a_loop():
    rows = table({"neck": 9, "hem": 5}, {"a": 3, "b": 2, "c": 1})
    found = compare_rows(rows, samples=40, seed=3)
    slow = {row: np.array(slow_samples(rows, row, 40, 3)) for row in rows}
    for row, runs in rows.items():
        every = [np.concatenate([values for _, values in run.values()]) for run in runs]
        figure = found.figure(row)
        assert figure.mean == pytest.approx(np.mean(every))
        np.testing.assert_allclose([figure.low, figure.high], np.quantile(slow[row], [0.025, 0.975]), rtol=1e-12)
        np.testing.assert_allclose(found.seeds(row), [one.mean() for one in every])
        assert found.figure(row, "hem").mean == pytest.approx(np.mean([run["hem"][1] for run in runs]))
    gap = found.difference("b", "a")
    # Paired by query: the mean difference of answers that were averaged over the seeds first.
    averaged = {
        row: np.concatenate([np.mean([run[name][1] for run in runs], axis=0) for name in ("neck", "hem")])
        for row, runs in rows.items()
    }
    each = averaged["b"] - averaged["a"]
    assert gap.mean == pytest.approx(each.mean())
    expected = np.quantile(slow["b"] - slow["a"], [0.025, 0.975])
    np.testing.assert_allclose([gap.low, gap.high], expected, rtol=1e-12)


def test_one_seed_is_the_bootstrap_over_queries():
    rows = table({"neck": 300, "hem": 200}, {"a": 1, "b": 1})
    found = compare_rows(rows, samples=4000)
    groups = {row: [values for _, values in runs[0].values()] for row, runs in rows.items()}
    np.testing.assert_allclose(found.figure("a"), mean_interval(groups["a"], 4000), atol=2e-3)
    np.testing.assert_allclose(found.difference("a", "b"), paired_difference(groups["a"], groups["b"], 4000), atol=3e-3)


def test_seeds_add_their_variance_over_their_number():
    """With every query alike only seeds vary: the samples' variance is the unbiased one over S."""
    levels = [0.40, 0.46, 0.49, 0.53]
    rows = {"a": [{"neck": (np.arange(20), np.full(20, level))} for level in levels]}
    samples = compare_rows(rows, samples=20_000).samples["a"][:, 0]
    assert samples.mean() == pytest.approx(np.mean(levels), abs=1e-3)
    assert samples.var() == pytest.approx(np.var(levels, ddof=1) / 4, rel=0.05)


@pytest.mark.parametrize(("seeds", "expected"), [(2, 0.79), (3, 0.86), (5, 0.91)])
def test_how_often_few_seeds_hold_the_truth(seeds: int, expected: float) -> None:
    """What the docstring says of two equal systems that only the luck of their seeds tells apart."""
    generator = np.random.default_rng(0)
    held = 0
    for trial in range(400):
        rows = {name: [{"neck": (np.arange(1), generator.normal(0.5, 0.01, 1))} for _ in range(seeds)] for name in "ab"}
        held += verdict(compare_rows(rows, samples=300, seed=trial).difference("a", "b")) == "within noise"
    assert held / 400 == pytest.approx(expected, abs=0.04)


def test_what_rows_have_in_common_is_no_noise():
    generator = np.random.default_rng(1)
    hard = generator.random(400)
    rows = {
        name: [{"neck": (np.arange(400), hard + shift + generator.normal(0, 0.01, 400))} for _ in range(3)]
        for name, shift in (("a", 0.0), ("b", 0.01))
    }
    found = compare_rows(rows)
    separate = [found.figure(name) for name in rows]
    assert separate[0].high > separate[1].low, "the two intervals overlap"
    assert verdict(found.difference("b", "a")) == "above"
    assert verdict(found.difference("a", "b")) == "below"
    assert verdict(found.difference("a", "a")) == "within noise"


@pytest.mark.parametrize(
    ("gap", "word"),
    [((1, 0.1, 2), "above"), ((-1, -2, -0.1), "below"), ((1, 0, 2), "within noise"), ((1, -1, 3), "within noise")],
)
def test_verdicts(gap, word):
    assert verdict(Interval(*gap)) == word


def test_right_and_wrong_answers_need_no_draw_of_queries():
    """The multinomial of patterns is the same resampling."""
    generator = np.random.default_rng(2)
    right = [generator.random(500) < share for share in (0.7, 0.75, 0.9)]
    rows = {"a": [{"heel": (np.arange(500), right[0])}, {"heel": (np.arange(500), right[1])}]}
    rows["b"] = [{"heel": (np.arange(500), right[2])}]
    as_numbers = {
        row: [{"heel": (run["heel"][0], run["heel"][1].astype(float))} for run in runs] for row, runs in rows.items()
    }
    fast, plain = compare_rows(rows, 6000), compare_rows(as_numbers, 6000)
    for row in rows:
        np.testing.assert_allclose(fast.figure(row), plain.figure(row), atol=3e-3)
    np.testing.assert_allclose(fast.difference("b", "a"), plain.difference("b", "a"), atol=4e-3)


def test_the_same_seed_gives_the_same_and_blocks_change_nothing(monkeypatch):
    rows = table({"neck": 30, "hem": 7}, {"a": 2, "b": 3})
    first = compare_rows(rows, 100, seed=5)
    monkeypatch.setattr(comparison, "_CELLS", 64)
    for row in rows:
        np.testing.assert_array_equal(compare_rows(rows, 100, seed=5).figure(row)[0], first.figure(row)[0])
    again = compare_rows(rows, 100, seed=5)
    monkeypatch.undo()
    assert compare_rows(rows, 100, seed=5).figure("a") == first.figure("a")
    assert compare_rows(rows, 100, seed=6).figure("a") != first.figure("a")
    assert again.figure("a").mean == first.figure("a").mean


def test_another_row_changes_no_figure():
    rows = table({"neck": 40}, {"a": 3, "b": 3, "c": 2})
    whole, part = compare_rows(rows, 200), compare_rows({name: rows[name] for name in ("c", "a")}, 200)
    for row in ("a", "c"):
        np.testing.assert_allclose(part.figure(row), whole.figure(row), rtol=1e-12)
    np.testing.assert_allclose(part.difference("a", "c"), whole.difference("a", "c"), rtol=1e-9)


def test_only_queries_that_all_answered_count():
    full = {"neck": (np.array([4, 2, 9]), np.array([0.4, 0.2, 0.9])), "hem": (np.array([1]), np.array([0.5]))}
    holes = {"neck": (np.array([9, 4]), np.array([0.8, 0.3]))}
    found = compare_rows({"a": [full], "b": [holes]}, 10)
    assert found.attributes == {"neck": 2}
    assert found.left_out == 2
    assert found.figure("a").mean == pytest.approx(0.65)
    assert found.difference("a", "b").mean == pytest.approx(0.1)


def test_what_cannot_be_compared():
    one = {"neck": (np.array([1]), np.array([0.5]))}
    with pytest.raises(LapelError, match="share no query"):
        compare_rows({"a": [one], "b": [{"neck": (np.array([2]), np.array([0.5]))}]})
    with pytest.raises(LapelError, match="NaN"):
        compare_rows({"a": [{"neck": (np.array([1]), np.array([np.nan]))}]})
    with pytest.raises(ValueError, match="at least one"):
        compare_rows({"a": []})
    found = compare_rows({"a": [one]}, 10)
    with pytest.raises(KeyError, match="unknown row 'b'"):
        found.figure("b")
    with pytest.raises(KeyError, match="did you mean 'neck'"):
        found.figure("a", "nek")
