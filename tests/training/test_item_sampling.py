"""Batches of images: each rule holds whatever the items are."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lapel.training.item_sampling import Balanced, ItemSampler, Shuffled, Within

ITEMS = st.lists(st.integers(-1, 7), min_size=0, max_size=60).map(lambda found: np.array(found, np.int64))
WORLDS = st.integers(1, 3)


def batches(sampler: ItemSampler, seed: int = 0) -> list[np.ndarray]:
    found = list(sampler.batches((seed, 0)))
    assert len(found) == sampler.steps
    assert all(len(rows) == sampler.size for rows in found)
    again = list(sampler.batches((seed, 0)))
    assert all((one == two).all() for one, two in zip(found, again, strict=True)), "the same for the same seed"
    return found


@given(count=st.integers(0, 50), batch=st.integers(2, 12), world=WORLDS)
def test_shuffled_batches_show_each_image_once(count: int, batch: int, world: int) -> None:
    rows = np.arange(count) * 3
    sampler = Shuffled(rows, batch, world)
    assert sampler.size == min(batch, count // world) * world
    found = np.concatenate([np.zeros(0, int), *batches(sampler)])
    assert len(set(found.tolist())) == len(found)
    assert set(found.tolist()) <= set(rows.tolist())
    assert len(rows) - len(found) < max(sampler.size, world), "only the last short batch is dropped"


@given(items=ITEMS, per_item=st.integers(2, 4), groups=st.integers(2, 4), world=WORLDS, seed=st.integers(0, 9))
def test_balanced_batches_show_so_many_images_of_so_many_items(
    items: np.ndarray, per_item: int, groups: int, world: int, seed: int
) -> None:
    sampler = Balanced(items, groups * per_item, per_item, world)
    sizes = Counter(items[items >= 0].tolist())
    able = {item for item, size in sizes.items() if size >= 2}
    assert sampler.size == min(groups, len(able) // world) * world * per_item
    visits: Counter[int] = Counter()
    for rows in batches(sampler, seed):
        shown = Counter(items[rows].tolist())
        assert set(shown) <= able
        assert set(shown.values()) == {per_item}
        for mine in np.split(rows, world):
            assert set(Counter(items[mine].tolist()).values()) == {per_item}, "whole items in each process"
        for item in shown:
            assert len(set(rows[items[rows] == item].tolist())) == min(per_item, sizes[item]), "its images take turns"
        visits.update(shown.keys())
    if visits:
        assert max(visits.values()) - min(visits[item] for item in able) <= 1, "an item comes again when all have come"
        assert sampler.steps * sampler.size >= sum(sizes[item] for item in able) - sampler.size


def test_an_items_images_take_turns() -> None:
    """Eight images of one item and two of another, two at a time: none comes again before all have come."""
    items = np.array([0] * 8 + [1] * 2)
    found = list(Balanced(items, 4, 2).batches((0, 0)))
    assert len(found) == 2
    shown = [row for rows in found for row in rows.tolist() if row < 8]
    assert len(set(shown)) == len(shown) == 4


@settings(max_examples=60)
@given(
    data=st.data(), items=ITEMS, values=st.integers(0, 4), per_item=st.sampled_from([0, 2, 3]), world=WORLDS,
    groups=st.integers(1, 4), seed=st.integers(0, 9),
)  # fmt: skip
def test_batches_within_two_values(
    data: st.DataObject, items: np.ndarray, values: int, per_item: int, world: int, groups: int, seed: int
) -> None:
    cells = data.draw(st.lists(st.integers(-1, values - 1), min_size=len(items), max_size=len(items)))
    shown = np.array(cells, np.int64)
    hot = shown[:, None] == np.arange(values)
    each = max(per_item, 1)
    sampler = Within(items, hot, 2 * groups * each, per_item, world)
    usable = (items >= 0) & (shown >= 0)
    units: Counter[int] = Counter()  # images, or items with two images of one value
    for (_, value), size in Counter(zip(items[usable].tolist(), shown[usable].tolist(), strict=True)).items():
        units[value] += (size >= 2) if per_item else size
    assert sampler.size == min(2 * groups, sum(units.values()) // world) * world * each
    count = sampler.size // each
    enough = len(units) >= 2 and min(units.values()) >= -(-count // 2)
    for rows in batches(sampler, seed):
        assert usable[rows].all()
        kinds = Counter(shown[rows].tolist())
        if per_item:
            pairs = Counter(zip(items[rows].tolist(), shown[rows].tolist(), strict=True))
            assert set(pairs.values()) == {per_item}
        else:
            assert len(set(rows.tolist())) == len(rows)
        # Two values that have enough fill a batch; a third comes only where one of two was exhausted.
        assert sum(size < units[value] * each for value, size in kinds.items()) <= 2
        assert len(kinds) <= 2 or any(size == units[value] * each for value, size in kinds.items())
        if enough:
            assert sorted(kinds.values()) == [count // 2 * each, -(-count // 2) * each]


def test_whole_items_come_one_after_the_other() -> None:
    """As in FastAP's code: a batch of whole items, so that a query has its partners."""
    items = np.repeat(np.arange(20), 4)
    hot = np.arange(80)[:, None] % 80 // 40 == np.arange(2)
    for rows in Within(items, hot, 16).batches((0, 0)):
        assert set(Counter(items[rows].tolist()).values()) == {4}
        assert Counter((rows // 40).tolist()) == {0: 8, 1: 8}


def test_values_come_as_often_as_they_have_images() -> None:
    items = np.arange(600) // 2
    shown = np.repeat([0, 1, 2], [60, 240, 300])
    sampler = Within(items, shown[:, None] == np.arange(3), 4)
    epochs = [rows for seed in range(5) for rows in sampler.batches((seed,))]
    found = Counter(itertools.chain.from_iterable(set(shown[rows].tolist()) for rows in epochs))
    assert found[0] < found[1] < found[2]
    assert found[0] > 100
