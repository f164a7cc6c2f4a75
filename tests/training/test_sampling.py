"""Triplets are valid and uniform, rare values never loop, batches of pairs cover what is labelled."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.errors import CatalogueError
from lapel.training.sampling import (
    BalancedSampler,
    GivenTriplets,
    Hot,
    Rows,
    TripletSampler,
    pair_batches,
    triplet_batches,
)


def hot_of(labels: list[set[int]], values: int) -> Hot:
    """Build a multi-hot matrix from the set of values of each image."""
    hot = np.zeros((len(labels), values), bool)
    for row, own in enumerate(labels):
        hot[row, list(own)] = True
    return hot


def slow_triplets(labels: list[set[int]]) -> dict[int, set[tuple[int, int, int]]]:
    """List every (anchor, positive, negative) of each value of one attribute."""
    found: dict[int, set[tuple[int, int, int]]] = {}
    for value in set().union(*labels):
        for anchor, of_anchor in enumerate(labels):
            for positive, of_positive in enumerate(labels):
                for negative, of_negative in enumerate(labels):
                    same = anchor != positive and value in of_anchor and value in of_positive
                    if same and of_negative and value not in of_negative:
                        found.setdefault(value, set()).add((anchor, positive, negative))
    return found


def labels_of(values: int, images: int) -> st.SearchStrategy[list[set[int]]]:
    return st.lists(st.sets(st.integers(0, values - 1), max_size=2), min_size=images, max_size=images)


LABELS = st.integers(0, 7).flatmap(lambda images: st.lists(labels_of(4, images), min_size=1, max_size=3))


def check_values(labels: list[list[set[int]]], triplets: Rows, numbers: Rows, values: Rows) -> None:
    """Anchor and positive share their value, the negative shows its own and not theirs."""
    for number, triplet, shown in zip(numbers.tolist(), triplets.tolist(), values.tolist(), strict=True):
        anchor, positive, negative = (labels[number][row] for row in triplet)
        assert shown[0] == shown[1] != shown[2]
        assert shown[0] in anchor & positive
        assert shown[0] not in negative
        assert shown[2] in negative


@given(LABELS, st.integers(0, 2**31))
def test_every_triplet_is_one_of_the_slow_list_and_all_of_it_is_drawn(labels: list[list[set[int]]], seed: int) -> None:
    known = [slow_triplets(each) for each in labels]
    hots = [hot_of(each, 4) for each in labels]
    trainable = tuple(number for number, found in enumerate(known) if found)
    if not trainable:
        with pytest.raises(CatalogueError, match="nothing to train"):
            TripletSampler(hots, ["a", "b", "c"][: len(hots)])
        return
    sampler = TripletSampler(hots, ["a", "b", "c"][: len(hots)])
    assert sampler.trainable == trainable
    triplets, numbers, values = sampler.draw(3000, seed)
    check_values(labels, triplets, numbers, values)
    assert triplets.shape == (3000, 3)
    assert set(numbers.tolist()) == set(trainable)
    drawn: dict[int, set[tuple[int, ...]]] = {}
    for number, triplet in zip(numbers.tolist(), triplets.tolist(), strict=True):
        drawn.setdefault(number, set()).add(tuple(triplet))
    for number, found in drawn.items():
        everything = set().union(*known[number].values())
        assert found <= everything
        # The rarest triplet of 3 attributes, 4 values, 7 images has a chance above 1 in 3 * 4 * 7 * 6 * 5.
        if len(everything) < 60 and len(trainable) == 1:
            assert found == everything


def test_the_order_is_anchor_positive_negative() -> None:
    labels = [{0}, {0}, {1}, set(), {2}]
    triplets, numbers, _ = TripletSampler([hot_of(labels, 3)], ["neckline"]).draw(200, 0)
    assert set(map(tuple, triplets.tolist())) == {(0, 1, 2), (1, 0, 2), (0, 1, 4), (1, 0, 4)}
    assert triplets.dtype == numbers.dtype == np.int64


def test_an_image_with_several_values_is_never_its_own_negative() -> None:
    labels = [{0, 1}, {0}, {1}, {0, 1}, {2}]
    triplets, _, _ = TripletSampler([hot_of(labels, 3)], ["neckline"]).draw(2000, 1)
    for anchor, positive, negative in triplets.tolist():
        assert len({anchor, positive, negative}) == 3
        shared = labels[anchor] & labels[positive]
        assert any(value not in labels[negative] for value in shared)
    assert {0, 3} <= set(triplets[:, 0].tolist())


def chi_square(counts: npt.NDArray[np.int64]) -> float:
    expected = counts.sum() / len(counts)
    return float(((counts - expected) ** 2 / expected).sum())


def test_attributes_values_and_images_are_uniform() -> None:
    """Uniform over attributes, then values, then images, however unequal their numbers (99.9 % limits)."""
    first = np.repeat(np.arange(4), [2, 10, 50, 300])
    second = np.r_[np.arange(2).repeat(5), np.full(352, -1)]
    hots = [np.eye(4, dtype=bool)[first], np.eye(2, dtype=bool)[second] & (second >= 0)[:, None]]
    triplets, numbers, _ = TripletSampler(hots, ["a", "b"]).draw(60_000, 7)
    assert chi_square(np.bincount(numbers, minlength=2)) < 10.8  # 1 degree of freedom
    of_first = triplets[numbers == 0]
    values = first[of_first[:, 0]]
    assert chi_square(np.bincount(values, minlength=4)) < 16.3  # 3
    assert (first[of_first[:, 1]] == values).all()
    for role in (0, 1):
        members = of_first[values == 1][:, role] - 2
        assert chi_square(np.bincount(members, minlength=10)) < 27.9  # 9
    negatives = of_first[values == 3][:, 2]
    assert chi_square(np.bincount(negatives, minlength=62)) < 100.9  # 61


def test_rare_values_are_left_out_and_still_serve_as_negatives() -> None:
    labels = [{0}] + [{1}] * 3 + [{2}] * 3 + [set()]
    triplets, _, _ = TripletSampler([hot_of(labels, 4)], ["neckline"]).draw(1000, 0)
    anchors, negatives = set(triplets[:, 0].tolist()), set(triplets[:, 2].tolist())
    assert anchors == {1, 2, 3, 4, 5, 6}
    assert negatives == {0, 1, 2, 3, 4, 5, 6}


@given(LABELS, st.integers(0, 2**31))
def test_balanced_triplets_are_of_the_slow_list_too(labels: list[list[set[int]]], seed: int) -> None:
    known = [slow_triplets(each) for each in labels]
    hots = [hot_of(each, 4) for each in labels]
    trainable = tuple(number for number, found in enumerate(known) if found)
    if not trainable:
        with pytest.raises(CatalogueError, match="nothing to train"):
            BalancedSampler(hots, ["a", "b", "c"][: len(hots)])
        return
    sampler = BalancedSampler(hots, ["a", "b", "c"][: len(hots)])
    assert sampler.trainable == trainable
    drawn = sampler.draw(500, seed)
    check_values(labels, *drawn)
    assert set(drawn.attributes.tolist()) == set(trainable)
    for number, triplet, shown in zip(*(each.tolist() for each in (drawn[1], drawn[0], drawn[2])), strict=True):
        assert tuple(triplet) in known[number][shown[0]]


def test_balanced_values_are_uniform_for_anchors_and_negatives() -> None:
    """However many images each has (99.9 % limits), where the other sampler's negatives follow the images."""
    values = np.repeat(np.arange(4), [2, 10, 50, 300])
    hots = [np.eye(4, dtype=bool)[values]]
    drawn = BalancedSampler(hots, ["a"]).draw(30_000, 7)
    pairs = drawn.values[:, 0] * 4 + drawn.values[:, 2]
    counts = np.bincount(pairs, minlength=16)
    assert (counts[::5] == 0).all()
    assert chi_square(counts[counts > 0]) < 31.3  # 11 degrees of freedom
    assert (values[drawn.triplets] == drawn.values).all()
    members = drawn.triplets[drawn.values[:, 2] == 1][:, 2] - 2
    assert chi_square(np.bincount(members, minlength=10)) < 27.9  # 9
    other = TripletSampler(hots, ["a"]).draw(30_000, 7)
    assert np.bincount(other.values[:, 2], minlength=4)[0] < 1000 < np.bincount(drawn.values[:, 2], minlength=4)[0]


def test_a_negative_that_is_one_in_a_thousand_is_found() -> None:
    """Nearly every image of the second value shows the first too, and may not be taken."""
    labels = [{0, 1}] * 1000 + [{1}]
    drawn = BalancedSampler([hot_of(labels, 2)], ["a"]).draw(300, 0)
    assert (drawn.triplets[:, 2] == 1000).all()
    assert (drawn.values == [0, 0, 1]).all()


def test_a_value_of_one_image_is_a_balanced_negative_only() -> None:
    drawn = BalancedSampler([hot_of([{0}, {0}, {1}, set()], 3)], ["a"]).draw(100, 0)
    assert set(map(tuple, drawn.triplets.tolist())) == {(0, 1, 2), (1, 0, 2)}


def test_balanced_draws_depend_on_the_seed_only() -> None:
    sampler = BalancedSampler([np.random.default_rng(0).random((60, 5)) < 0.3], ["a"])
    for found, expected in zip(sampler.draw(100, (3, 1)), sampler.draw(100, (3, 1)), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert (sampler.draw(100, (3, 1)).triplets != sampler.draw(100, (3, 2)).triplets).any()


def test_given_triplets_are_a_fixed_part_in_a_new_order_each_epoch() -> None:
    labels = [{0}, {0}, {1}, {1}, set(), {0, 1}]
    rows = np.random.default_rng(0).integers(6, size=(500, 3))
    attributes = np.arange(500) % 2
    hots = [hot_of(labels, 2), np.zeros((6, 0), bool)]
    sampler = GivenTriplets(rows, attributes, hots, 100, seed=5)
    assert len(sampler) == 100
    epochs = [sampler.draw(100, (5, epoch)) for epoch in range(2)]
    kept = [sorted(map(tuple, np.column_stack([found.triplets, found.attributes]).tolist())) for found in epochs]
    assert kept[0] == kept[1]
    assert (epochs[0].triplets != epochs[1].triplets).any()
    assert set(kept[0]) <= set(map(tuple, np.column_stack([rows, attributes]).tolist()))
    other = GivenTriplets(rows, attributes, hots, 100, seed=6).draw(100, 0)
    assert sorted(map(tuple, other.triplets.tolist())) != sorted(map(tuple, epochs[0].triplets.tolist()))
    assert len(GivenTriplets(rows, attributes, hots, 10_000, seed=5)) == 500
    assert len(sampler.draw(30, 0).triplets) == 30


def test_values_of_given_triplets_are_what_is_known_of_them() -> None:
    labels = [{0}, {0, 1}, {1}, set(), {1, 2}]
    rows = np.array([[0, 1, 2], [1, 4, 0], [1, 4, 2], [0, 3, 2], [3, 3, 0], [0, 0, 3]])
    expected = [[0, 0, 1], [1, 1, 0], [1, 1, -1], [0, 0, 1], [-1, -1, 0], [0, 0, -1]]
    sampler = GivenTriplets(rows, np.zeros(6, np.int64), [hot_of(labels, 3)], 6, seed=0)
    found = {tuple(triplet): shown for triplet, shown in zip(rows.tolist(), expected, strict=True)}
    for triplet, shown in zip(sampler.kept.triplets.tolist(), sampler.kept.values.tolist(), strict=True):
        assert found[tuple(triplet)] == shown


@pytest.mark.parametrize("kind", [TripletSampler, BalancedSampler])
@pytest.mark.parametrize(
    ("hots", "names", "message"),
    [
        ([hot_of([{0}] * 5, 1)], ["neckline"], "none of neckline has a value with two images"),
        ([hot_of([{0}, {1}, {2}], 3)], ["neckline"], "none of neckline"),
        ([hot_of([set()] * 4, 2), hot_of([{0}], 2)], ["fit", "hem"], "none of fit, hem has"),
        ([hot_of([], 3)], ["neckline"], "nothing to train"),
        ([np.zeros((4, 0), bool)], ["neckline"], "nothing to train"),
        ([], [], "none of no attributes"),
    ],
)
def test_nothing_to_train(kind: Any, hots: list[Hot], names: list[str], message: str) -> None:
    with pytest.raises(CatalogueError) as caught:
        kind(hots, names)
    assert message in str(caught.value)


def test_a_one_valued_attribute_beside_a_trainable_one() -> None:
    sampler = TripletSampler([hot_of([{0}] * 4, 1), hot_of([{0}, {0}, {1}, set()], 2)], ["one", "two"])
    assert sampler.trainable == (1,)
    triplets, numbers, _ = sampler.draw(20, 0)
    assert set(numbers.tolist()) == {1}
    assert set(triplets[:, 2].tolist()) == {2}


def test_the_same_seed_draws_the_same_and_another_one_does_not() -> None:
    rng = np.random.default_rng(0)
    sampler = TripletSampler([rng.random((50, 5)) < 0.3, rng.random((50, 3)) < 0.3], ["a", "b"])
    once, again, other, epoch = (sampler.draw(100, seed) for seed in (3, 3, 4, (3, 1)))
    np.testing.assert_array_equal(once[0], again[0])
    np.testing.assert_array_equal(once[1], again[1])
    assert (once[0] != other[0]).any()
    assert (once[0] != epoch[0]).any()
    assert sampler.draw(0, 0)[0].shape == (0, 3)


@given(st.integers(0, 40), st.integers(1, 12), st.integers(0, 5))
def test_triplet_batches_are_the_draw_cut_up(count: int, batch: int, epoch: int) -> None:
    sampler = TripletSampler([hot_of([{0}, {0}, {1}, {1}], 2)], ["neckline"])
    whole = sampler.draw(count, (1, epoch))
    batches = list(triplet_batches(sampler, count, batch, (1, epoch)))
    assert len(batches) == count // batch
    for place, drawn in enumerate(batches):
        for found, expected in zip(drawn, whole, strict=True):
            np.testing.assert_array_equal(found, expected[place * batch : (place + 1) * batch])


@given(LABELS, st.integers(1, 5), st.integers(0, 9))
def test_pair_batches_hold_each_labelled_image_once(labels: list[list[set[int]]], batch: int, epoch: int) -> None:
    hots = [hot_of(each, 4) for each in labels]
    labelled = {row for row in range(len(labels[0])) if any(each[row] for each in labels)}
    batches = list(pair_batches(hots, batch, (0, epoch)))
    drawn = [row for rows in batches for row in rows.tolist()]
    assert len(drawn) == len(set(drawn))
    assert set(drawn) <= labelled
    size = min(batch, len(labelled))
    assert all(len(rows) == size for rows in batches)
    # Only the last short batch is dropped.
    assert len(labelled) - len(drawn) < max(size, 1)


def test_pair_batches_are_shuffled_by_seed_and_cover_all_in_turn() -> None:
    hots = [np.ones((10, 2), bool)]
    once, again, other = (np.concatenate(list(pair_batches(hots, 4, (0, epoch)))).tolist() for epoch in (0, 0, 1))
    assert once == again
    assert once != other
    everything = {row for epoch in range(8) for rows in pair_batches(hots, 4, (0, epoch)) for row in rows.tolist()}
    assert everything == set(range(10))


@pytest.mark.parametrize("hots", [[], [np.zeros((5, 2), bool)], [np.zeros((0, 2), bool)], [np.zeros((3, 0), bool)]])
def test_no_label_no_batch(hots: list[Hot]) -> None:
    assert list(pair_batches(hots, 4, (0, 0))) == []


def test_fewer_images_than_a_batch_are_one_batch() -> None:
    (rows,) = pair_batches([hot_of([{0}, set(), {1}], 2)], 64, (0, 0))
    assert sorted(rows.tolist()) == [0, 2]
