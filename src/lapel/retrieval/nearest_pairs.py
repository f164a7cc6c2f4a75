"""The nearest of every image among all others: blocks of float32 products, then exact cosines of the pairs found.

Two blocks of 2048 rows and their product are in memory at a time: about 150 MB for rows of 2304 numbers (nine
attributes of 256), however many rows there are, beside the lists, 12 bytes per image and place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lapel.progress import track
from lapel.retrieval.copies_rows import Places, Side

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

BLOCK = 2048
PORTION = 1 << 21  # numbers of a side that are scored exactly at a time
DENSE = 4  # times the places of a list: more candidates than that per row are first reduced row by row


@dataclass(frozen=True)
class Lists:
    """The nearest of each of n images.

    Attributes:
        places: (n, k) rows of the other side, nearest first; -1 where there are fewer.
        similarities: (n, k) float32, -inf where there are fewer.
    """

    places: Places
    similarities: Floats


def nearest(
    left: Side,
    right: Side | None,
    weights: Mapping[str, float],
    k: int,
    barred: Sequence[tuple[Codes, Codes]],
    quiet: bool = False,
    between: Callable[[float], object] | None = None,
) -> tuple[Lists, Lists]:
    """Return the k nearest of every image of ``left`` in ``right``, and of every image of ``right`` in ``left``.

    Args:
        left: a side.
        right: the other side; None: ``left`` itself, whose list is then given twice.
        weights: attribute -> weight, of which the sizes sum to 1; similarity is the sum of weight times cosine.
        k: places of a list.
        barred: codes of the rows of both sides; two rows that have the same code are not compared.
        quiet: no progress bar.
        between: told after each block which share of them is done.
    """
    other = left if right is None else right
    names = [name for name, weight in weights.items() if weight]
    scale = [np.float32(weights[name]) for name in names]
    mine = _Best(len(left), k)
    theirs = mine if right is None else _Best(len(other), k)
    starts = [(i, j) for i in range(0, len(left), BLOCK) for j in range(i if right is None else 0, len(other), BLOCK)]
    held = (-1, np.empty(0, np.float32))
    for number, (i, j) in enumerate(track(starts, "comparing", unit="block", quiet=quiet), 1):
        if held[0] != i:
            blocks = left.vectors(np.arange(i, min(i + BLOCK, len(left))), names)
            held = (i, np.concatenate([w * block for w, block in zip(scale, blocks, strict=True)], axis=1))
        facing = np.concatenate(other.vectors(np.arange(j, min(j + BLOCK, len(other))), names), axis=1)
        tile = held[1] @ facing.T
        for ours, codes in barred:
            tile[ours[i : i + BLOCK, None] == codes[None, j : j + BLOCK]] = -np.inf
        mine.add(i, j, tile)
        if right is not None or i != j:
            theirs.add(j, i, tile.T)
        if between is not None:
            between(number / len(starts))
    return mine.lists(), theirs.lists()


class _Best:
    """The k best of each row, kept as tiles of the matrix come by."""

    def __init__(self, count: int, k: int) -> None:
        self.k = k
        self.places = np.full((count, k), -1, np.int64)
        self.scores = np.full((count, k), -np.inf, np.float32)

    def add(self, row: int, column: int, tile: Floats) -> None:
        """Take a tile whose first number is that of ``row`` and ``column``."""
        (count, width), k = tile.shape, self.k
        own = slice(row, row + count)
        rows, columns = np.nonzero(tile > self.scores[own].min(axis=1, keepdims=True))
        if len(rows) > DENSE * k * count and width > k:
            columns = np.argpartition(tile, width - k, axis=1)[:, width - k :].reshape(-1)
            rows = np.repeat(np.arange(count), k)
        if not len(rows):
            return
        numbers = np.concatenate([np.repeat(np.arange(count), k), rows])
        places = np.concatenate([self.places[own].reshape(-1), columns + column])
        scores = np.concatenate([self.scores[own].reshape(-1), tile[rows, columns]])
        order = np.lexsort((places, -scores, numbers))
        first = np.searchsorted(numbers[order], np.arange(count))
        kept = order[np.arange(len(order)) - first[numbers[order]] < k]  # k of each row: it has that many already
        self.places[own], self.scores[own] = places[kept].reshape(count, k), scores[kept].reshape(count, k)

    def lists(self) -> Lists:
        """Return what was kept."""
        return Lists(np.where(self.scores == -np.inf, -1, self.places), self.scores)


def cosines(left: Side, places: Places, right: Side, others: Places, names: Sequence[str]) -> Doubles:
    """Return the cosine of each pair of rows for each attribute, (A, n), in float64.

    A pair gets the same numbers to the last bit whichever row comes first and wherever it stands.
    """
    found = np.empty((len(names), len(places)))
    width = max(1, sum(dict(zip(left.record.attributes, left.record.dims, strict=True))[name] for name in names))
    step = max(1, PORTION // width)
    for start in range(0, len(places), step):
        own = slice(start, start + step)
        blocks = zip(left.vectors(places[own], names), right.vectors(others[own], names), strict=True)
        for number, (a, b) in enumerate(blocks):
            x, y = a.astype(np.float64), b.astype(np.float64)
            # Rounded to float32, unit vectors are off by 1e-7: without the lengths, a copy would not have cosine 1.
            lengths = np.sqrt(np.einsum("nd,nd->n", x, x) * np.einsum("nd,nd->n", y, y))
            found[number, own] = np.clip(np.einsum("nd,nd->n", x, y) / lengths, -1, 1)
    return found


def similarities(weights: Mapping[str, float], found: Doubles) -> Doubles:
    """Return the weighted mean (n,) of cosines (A, n) of the attributes of ``weights``; negative weights subtract."""
    sizes = np.array(list(weights.values()))
    total: Doubles = (sizes[:, None] * found).sum(axis=0) / np.abs(sizes).sum()
    return np.clip(total, -1, 1)
