"""Near-duplicate designs in a catalogue, or of one catalogue in another; copies of a file apart from look-alikes.

How alike two designs are is a question of what else there is. In a catalogue of garments a hundred pairs of plain
jeans are more alike than a printed blouse and its imitation, so a threshold on similarity finds jeans. What tells a
copy is that two images are much nearer to each other than either is to anything else:

    nearness(a, b) = min(u_a, u_b) / d(a, b)        d = 1 - similarity

with u_a the distance of a to its 20th nearest. Pairs are ranked by it. On 965 product photographs of shop items that a
run had not seen, by its attributes other than colour, two photographs of one item (one design in two colours) are found
with average precision .30 when pairs are ranked by nearness, .16 by similarity; 53 and 25 of the first 100 are right.

A design that is listed more than 20 times is its own neighbourhood and does not stand out: a threshold finds it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lapel import archives
from lapel.errors import SearchIndexError
from lapel.retrieval.copies_found import Copies, Group, Pair
from lapel.retrieval.copies_groups import Codes, codes, complete_link, equals
from lapel.retrieval.copies_rows import Places, Side, shared
from lapel.retrieval.index import Index
from lapel.retrieval.layout import ITEM
from lapel.retrieval.nearest_pairs import Doubles, Lists, cosines, nearest, similarities
from lapel.retrieval.query import Weights, weigh

NEARNESS = 4.0  # seen on a catalogue of 9,493: from here on pairs look like one design, at 3 like one kind of garment
NEIGHBOURS = 20
MOST = 10_000  # pairs
SPARE = 4  # places of a list beyond those that count, for what float32 confuses
ROUNDING = 1e-5  # float32 similarities are nearer than this to the exact ones
# Vectors are stored in float16, and two pictures of one thing differ by the encoder's own rounding: below this distance
# there is nothing to tell apart.
RESOLUTION = 1e-4


@dataclass(frozen=True)
class _Found:
    """Pairs as arrays, in no order: rows of both sides, similarity and nearness (n,)."""

    ours: Places
    theirs: Places
    similarity: Doubles
    nearness: Doubles


def find_copies(
    index: Index | Path | str,
    against: Index | Path | str | None = None,
    weights: Weights = None,
    threshold: float | None = None,
    nearness: float | None = None,
    top: int | None = None,
    within_item: bool = False,
    where: str | None = None,
    quiet: bool = False,
    between: Callable[[float], object] | None = None,
) -> Copies:
    """Find copies of files, and pairs of images that look alike.

    In one catalogue, a pair are two images of different items of which one is among the 20 nearest of the other. Of two
    catalogues, each image of the first is compared with its nearest of the second; an item of one is never that of the
    other, whatever they are called.

    Every image is compared with every other, in blocks (``nearest_pairs``): 10 thousand images with nine attributes of
    256 numbers take seconds on two cores, 100 thousand minutes, and 10 times more images 100 times longer.

    Args:
        index: an index, or its folder.
        against: another one, made by the same run.
        weights: attribute -> weight: what must be alike, below 0 what must not (little stands out then: ask for the
            ``top``); None: all, equally.
        threshold: least similarity, the weighted mean of cosines.
        nearness: least nearness; by default 4, or none where ``threshold`` or ``top`` is given.
        top: that many pairs, those that stand out most; by default 10,000.
        within_item: also compare images of one item.
        where: only images of ``index`` that pass this filter.
        quiet: no progress bar.
        between: told after each block which share of them is done; what it raises ends the search.

    Raises:
        SearchIndexError: not an index; a setting out of range; unknown attribute or bad filter; the indexes are one, or
            made by different runs.
    """
    _check(threshold, nearness, top)
    left = Side.of(index if isinstance(index, Index) else Index.open(index), where)
    right = None if against is None else Side.of(against if isinstance(against, Index) else Index.open(against))
    if nearness is None and threshold is None and top is None:
        nearness = NEARNESS
    return compare(left, right, weights, threshold, nearness, top, within_item, quiet, between)


def compare(
    left: Side,
    right: Side | None,
    weights: Weights = None,
    threshold: float | None = None,
    nearness: float | None = None,
    top: int | None = None,
    within_item: bool = False,
    quiet: bool = False,
    between: Callable[[float], object] | None = None,
) -> Copies:
    """Find the copies among the images of one side, or of one side in the other; see ``find_copies``."""
    names = left.record.attributes if right is None else _shared(left, right, weights)
    weighing = dict(zip(names, weigh(weights, names).tolist(), strict=True))
    sides = [left] if right is None else [left, right]
    hashes, items, images = (codes([side.rows[field] for side in sides]) for field in ("hash", ITEM, "image"))
    alone = [hashes]  # an image and itself among them
    if right is None:
        # Several boxes in one picture are several garments; a picture is never a copy of itself.
        apart = [images] if within_item else [images, items]
        alone += [each for each in apart if len(np.unique(each[0])) < len(left)]
    barred = [(each[0], each[-1]) for each in alone]
    others = len(left) - 1 if right is None else min(len(left), len(right))
    rank = max(1, min(NEIGHBOURS, math.ceil(others / 2)))
    size = sum(map(abs, weighing.values()))
    scaled = {name: weight / size for name, weight in weighing.items()}
    lists = nearest(left, right, scaled, rank + SPARE, barred, quiet, between)
    asked = {name: weight for name, weight in weighing.items() if weight}
    found = _Judge(left, right, lists, asked, rank).pairs(threshold, nearness, top)
    order = np.lexsort((found.theirs, found.ours, -found.similarity, -found.nearness))[: MOST if top is None else top]
    pairs = _pairs(left, right, found, order, names)
    rows = list(zip(found.ours[order].tolist(), found.theirs[order].tolist(), strict=True))
    return Copies(
        folder=left.index.folder,
        against=None if right is None else right.index.folder,
        images=(len(left), None if right is None else len(right)),
        weights=weighing,
        threshold=threshold,
        nearness=nearness,
        neighbours=rank,
        within_item=within_item,
        exact=_exact(left, right, hashes),
        pairs=pairs,
        groups=_groups(pairs, rows, None if right is not None else (hashes[0], items[0])),
        total=len(found.ours) if top is None else None,
    )


def _check(threshold: float | None, nearness: float | None, top: int | None) -> None:
    if threshold is not None and not -1 <= threshold <= 1:
        raise SearchIndexError(f"expected a threshold from -1 to 1, found {threshold}: it is held to a mean of cosines")
    if nearness is not None and not 1 <= nearness < math.inf:
        raise SearchIndexError(f"expected a nearness of at least 1, found {nearness}: 4 finds what looks the same")
    if top is not None and top < 1:
        raise SearchIndexError(f"expected a number of pairs of at least 1, found {top}")


def _shared(left: Side, right: Side, weights: Weights) -> tuple[str, ...]:
    if left.index.folder.resolve() == right.index.folder.resolve():
        raise SearchIndexError(f"{left.index.folder} is compared with itself: leave the second index out")
    names = shared(left.record, right.record)
    for name in weights or ():
        if name not in names and name in left.record.attributes and name in right.record.attributes:
            raise SearchIndexError(
                f"{name!r} was embedded by different runs in {left.index.folder} and {right.index.folder}, whose "
                f"vectors do not compare. Compare by {', '.join(names)}, or index both catalogues with the same run"
            )
    return names


class _Judge:
    """Turns lists of neighbours, which float32 made, into pairs with exact figures."""

    def __init__(
        self, left: Side, right: Side | None, lists: tuple[Lists, Lists], asked: Mapping[str, float], rank: int
    ) -> None:
        self.sides = (left, left if right is None else right)
        self.one, self.lists, self.asked, self.rank = right is None, lists, asked, rank

    def pairs(self, threshold: float | None, nearness: float | None, top: int | None) -> _Found:
        """Return all pairs that pass, or some of them with those ``top`` that stand out most."""

        def passing(alike: Doubles, less: Doubles, more: Doubles) -> tuple[npt.NDArray[np.bool_], Doubles]:
            near = _nearness(less, 1 - alike)
            kept = (1 - alike <= more) if self.one else np.ones(len(alike), bool)
            kept &= True if threshold is None else alike >= threshold
            kept &= True if nearness is None else near >= nearness
            return kept, near

        ours, theirs, rough = self._edges() if self.one else self._firsts()
        far = [1 - lists.similarities[:, self.rank - 1].astype(np.float64).clip(-1) for lists in self.lists]
        less, more = np.minimum(far[0][ours], far[1][theirs]), np.maximum(far[0][ours], far[1][theirs])
        kept, most = passing(rough + ROUNDING, less + ROUNDING, more + ROUNDING)
        if top is not None:
            sure, least = passing(rough - ROUNDING, less - ROUNDING, more - ROUNDING)
            if np.count_nonzero(sure) > top:
                kept &= most >= -np.partition(-least[sure], top - 1)[top - 1]
        ours, theirs = ours[kept], theirs[kept]
        alike, own, other = self._similarities(0, ours, theirs), self._far(0, ours), self._far(1, theirs)
        kept, near = passing(alike, np.minimum(own, other), np.maximum(own, other))
        return _Found(ours[kept], theirs[kept], alike[kept], near[kept])

    def _edges(self) -> tuple[Places, Places, Doubles]:
        """Every two images of one catalogue of which one is in the other's list, the lower row first."""
        places, scores = self.lists[0].places, self.lists[0].similarities
        rows, at = np.nonzero(places >= 0)
        others = places[rows, at]
        low, high = np.minimum(rows, others), np.maximum(rows, others)
        _, once = np.unique(low * len(places) + high, return_index=True)
        return low[once], high[once], scores[rows, at][once].astype(np.float64)

    def _firsts(self) -> tuple[Places, Places, Doubles]:
        """Each image of the first catalogue with its nearest of the second, exactly; equal ones by id."""
        places, scores = self.lists[0].places, self.lists[0].similarities
        rows, at = np.nonzero((places >= 0) & (scores >= scores[:, :1] - 2 * ROUNDING))
        others = places[rows, at]
        exact = self._similarities(0, rows, others)
        order = np.lexsort((others, -exact, rows))
        _, first = np.unique(rows[order], return_index=True)
        chosen = order[first]
        return rows[chosen], others[chosen], exact[chosen]

    def _similarities(self, side: int, rows: Places, others: Places) -> Doubles:
        return similarities(self.asked, cosines(self.sides[side], rows, self.sides[1 - side], others, list(self.asked)))

    def _far(self, side: int, rows: Places) -> Doubles:
        """Exact distance (n,) of some rows of a side to their 20th nearest; 2, the largest, where there are fewer."""
        own, back = np.unique(rows, return_inverse=True)
        places = self.lists[side].places[own]
        at, column = np.nonzero(places >= 0)
        found = np.full(places.shape, -1.0)
        found[at, column] = self._similarities(side, own[at], places[at, column])
        found = -np.sort(-found, axis=1)
        return np.asarray(1 - found[back, self.rank - 1])


def _nearness(far: Doubles, apart: Doubles) -> Doubles:
    return np.asarray(np.maximum(far, RESOLUTION) / np.maximum(apart, RESOLUTION))


def _pairs(left: Side, right: Side | None, found: _Found, order: Places, names: Sequence[str]) -> list[Pair]:
    other = left if right is None else right
    ours, theirs = found.ours[order], found.theirs[order]
    every = cosines(left, ours, other, theirs, names)
    return [
        Pair(
            first,
            second,
            float(found.similarity[row]),
            float(found.nearness[row]),
            dict(zip(names, each.tolist(), strict=True)),
            _same_file(first.image, second.image),
        )
        for row, first, second, each in zip(
            order.tolist(), left.entries(ours.tolist()), other.entries(theirs.tolist()), every.T, strict=True
        )
    ]


def _same_file(first: str, second: str) -> bool:
    """Whether two files have the same bytes; hashes of the index tell only where the boxes are the same too."""
    try:
        one, other = archives.entry(Path(first)), archives.entry(Path(second))
        if one is None or other is None or one.size != other.size:
            return False
        return archives.sha256(Path(first)) == archives.sha256(Path(second))
    except OSError:
        return False


def _exact(left: Side, right: Side | None, hashes: Sequence[Codes]) -> list[Group]:
    groups = equals(hashes[0], None if right is None else hashes[1])
    return [
        Group(tuple(left.entries(ours)), () if right is None else tuple(right.entries(theirs)))
        for ours, theirs in groups
    ]


def _groups(pairs: Sequence[Pair], rows: Sequence[tuple[int, int]], same: tuple[Codes, Codes] | None) -> list[Group]:
    """Gather pairs: in one catalogue by complete link, else all of the first that look like one of the second."""
    if same is not None:
        gathered = complete_link(rows, lambda a, b: any(each[a] == each[b] for each in same))
    else:
        stars: dict[int, list[int]] = {}
        for position, (_, theirs) in enumerate(rows):
            stars.setdefault(theirs, []).append(position)
        gathered = list(stars.values())
    groups = []
    for positions in gathered:
        own = tuple(pairs[position] for position in positions)
        first = {pair.first.id: pair.first for pair in own}
        second = {pair.second.id: pair.second for pair in own}
        if same is not None:
            first, second = first | second, {}
        groups.append(Group(tuple(first[name] for name in sorted(first)), tuple(second.values()), own))
    return groups
