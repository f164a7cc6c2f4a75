"""Copies gathered into groups: the same file under several names, and look-alikes of which every two are alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Codes = npt.NDArray[np.int64]


def codes(columns: Sequence[pa.ChunkedArray]) -> list[Codes]:
    """Number the cells of some columns together: equal cells get one number, an empty one a number of its own."""
    joined = pa.concat_arrays([chunk for column in columns for chunk in column.chunks] or [pa.array([], pa.string())])
    encoded = joined.dictionary_encode()
    numbers = np.array(pc.fill_null(encoded.indices, -1), np.int64)
    empty = np.flatnonzero(numbers < 0)
    numbers[empty] = len(encoded.dictionary) + np.arange(len(empty))
    return np.split(numbers, np.cumsum([len(column) for column in columns])[:-1])


def equals(left: Codes, right: Codes | None) -> list[tuple[list[int], list[int]]]:
    """Return the rows that have one code, as (rows of the left, rows of the right), in order of the first row.

    Args:
        left: codes of the rows of one side.
        right: of the other: only codes that both sides have count. None: codes that the left has more than once.
    """
    members: dict[int, tuple[list[int], list[int]]] = {}
    for number, code in enumerate(left.tolist()):
        members.setdefault(code, ([], []))[0].append(number)
    if right is None:
        return [group for group in members.values() if len(group[0]) > 1]
    for number, code in enumerate(right.tolist()):
        if code in members:
            members[code][1].append(number)
    return [group for group in members.values() if group[1]]


def complete_link(
    pairs: Sequence[tuple[int, int]], alike: Callable[[int, int], bool] = lambda *_: False
) -> list[list[int]]:
    """Gather pairs into groups of which every two members are a pair, best pairs first.

    Connected components would not do: a is like b and b like c chains a plain black dress to a patterned one in a few
    steps. Here a member joins only if it is alike to all. A pair between two groups is a group of its own, so each pair
    is in exactly one.

    Args:
        pairs: (a, b), best first, none twice.
        alike: tells of two that are no pair whether they may be in one group all the same.

    Returns:
        Positions in ``pairs`` per group, in the order of their first.
    """
    known = {frozenset(pair) for pair in pairs}
    group: dict[int, list[int]] = {}
    for a, b in pairs:
        one, other = group.setdefault(a, [a]), group.setdefault(b, [b])
        if one is other or not all(frozenset((x, y)) in known or alike(x, y) for x in one for y in other):
            continue
        one += other
        group.update(dict.fromkeys(other, one))
    found: dict[object, list[int]] = {}
    for position, (a, b) in enumerate(pairs):
        together = group[a] is group[b]
        found.setdefault(id(group[a]) if together else (a, b), []).append(position)
    return list(found.values())
