"""Groups: every two members of one are a pair, each pair is in one, nothing chains."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.retrieval.copies_groups import codes, complete_link, equals

pairs = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(lambda pair: pair[0] < pair[1]), unique=True)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], []),
        ([(0, 1)], [[0]]),
        ([(0, 1), (1, 2)], [[0], [1]]),  # a chain: 0 and 2 are no pair
        ([(0, 1), (1, 2), (0, 2)], [[0, 1, 2]]),
        ([(0, 1), (2, 3), (1, 2)], [[0], [1], [2]]),
        ([(0, 1), (2, 3), (0, 2), (0, 3), (1, 2), (1, 3)], [[0, 1, 2, 3, 4, 5]]),
    ],
)
def test_examples(found: list[tuple[int, int]], expected: list[list[int]]) -> None:
    assert complete_link(found) == expected


def test_two_of_one_item_may_stand_in_a_group() -> None:
    """0 and 1 are colours of one item, which are no pair; 2 looks like both, 3 like the first only."""
    found = [(0, 2), (1, 2), (0, 3)]
    assert complete_link(found) == [[0], [1], [2]]
    assert complete_link(found, lambda a, b: {a, b} == {0, 1}) == [[0, 1], [2]]


@given(pairs)
def test_every_two_of_a_group_are_a_pair(found: list[tuple[int, int]]) -> None:
    groups = complete_link(found)
    assert sorted(itertools.chain(*groups)) == list(range(len(found)))
    assert [group[0] for group in groups] == sorted(group[0] for group in groups)
    for group in groups:
        members = sorted({row for position in group for row in found[position]})
        assert sorted(found[position] for position in group) == list(itertools.combinations(members, 2))


def test_codes_number_columns_together() -> None:
    left = pa.chunked_array([["a", None], ["b"]])
    ours, theirs = codes([left, pa.chunked_array([[None, "b", "c"]])])
    assert ours[2] == theirs[1]
    assert len({*ours.tolist(), *theirs.tolist()}) == 5
    assert codes([pa.chunked_array([], pa.string())])[0].tolist() == []


def test_equals() -> None:
    ours = np.array([5, 3, 5, 1, 3, 5])
    assert equals(ours, None) == [([0, 2, 5], []), ([1, 4], [])]
    assert equals(ours, np.array([1, 9, 5, 1])) == [([0, 2, 5], [2]), ([3], [0, 3])]
