"""Training batches: the papers' triplets, and ours of every pair under every attribute. Vectorised, seeded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from lapel.errors import CatalogueError

Rows = npt.NDArray[np.int64]
Hot = npt.NDArray[np.bool_]


class Drawn(NamedTuple):
    """Triplets and what is known of them.

    Attributes:
        triplets: (T, 3) image rows in the order anchor, positive, negative.
        attributes: (T,) attribute numbers.
        values: (T, 3) numbers of the values that the three show under it; anchor and positive share theirs. Of an
            image with several, the negative's is the first that the triplet does not rule out. -1: no label.
    """

    triplets: Rows
    attributes: Rows
    values: Rows

    def part(self, rows: slice | Rows) -> Drawn:
        """Some of them."""
        return Drawn(*(each[rows] for each in self))


class Sampler(Protocol):
    """Where triplets come from."""

    def draw(self, count: int, seed: int | Sequence[int]) -> Drawn:
        """Draw ``count`` triplets; the same for the same seed."""


@dataclass(frozen=True)
class _Group:
    """One attribute: its labelled images, and for each trainable value the members among them."""

    number: int
    labelled: Rows  # (L,) image rows
    members: Rows  # positions in `labelled`, grouped by value, ascending within a value
    starts: Rows  # (V + 1,) where each value's members start
    ranks: Rows  # members minus their rank within the value, offset by value: see `_group`
    values: Rows  # (V,) number of each value
    first: Rows  # (L,) number of each image's first value


class TripletSampler:
    """The paper's triplets: attribute uniform, value uniform, anchor and positive two images of that value, negative
    an image of the attribute without that value (AG-MAN section IV; rules of the ASEN sampler).

    A value with fewer than two images, or without any other image to be the negative, is left out from the start,
    where rejection sampling would loop for ever.

    Args:
        labels: per attribute a multi-hot (N, V_a) bool matrix; an all-False row is an image without a label.
        names: attribute names, for messages.

    Attributes:
        trainable: numbers of the attributes that have triplets.

    Raises:
        CatalogueError: no attribute has a single triplet.
    """

    def __init__(self, labels: Sequence[Hot], names: Sequence[str]) -> None:
        found = (self._group(number, hot) for number, hot in enumerate(labels))
        self.groups = [group for group in found if group is not None]
        self.trainable = tuple(group.number for group in self.groups)
        _some(self.groups, names)

    def draw(self, count: int, seed: int | Sequence[int]) -> Drawn:
        """Draw triplets."""
        rng = np.random.default_rng(seed)
        which = rng.integers(len(self.groups), size=count)
        drawn = Drawn(np.empty((count, 3), np.int64), np.empty(count, np.int64), np.empty((count, 3), np.int64))
        for place, group in enumerate(self.groups):
            rows = np.flatnonzero(which == place)
            drawn.triplets[rows], drawn.values[rows] = self._draw(group, len(rows), rng)
            drawn.attributes[rows] = group.number
        return drawn

    def _group(self, number: int, hot: Hot) -> Any:
        """What is drawn from under one attribute, with its ``number``; None where there is no triplet."""
        return _group(number, hot)

    def _draw(self, group: Any, count: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
        """Triplets (count, 3) of image rows, and the values (count, 3) they show."""
        return _draw(group, count, rng)


def _some(groups: Sequence[object], names: Sequence[str]) -> None:
    if not groups:
        raise CatalogueError(
            f"nothing to train: none of {', '.join(names) or 'no attributes'} has a value with two images and "
            "another image to tell it from"
        )


def _group(number: int, hot: Hot) -> _Group | None:
    labelled = np.flatnonzero(hot.any(1))
    own = hot[labelled]
    sizes = own.sum(0)
    values = np.flatnonzero((sizes >= 2) & (sizes < len(labelled)))
    if not len(values):
        return None
    value, member = np.nonzero(own[:, values].T)
    starts = np.concatenate([[0], np.cumsum(sizes[values])]).astype(np.int64)
    rank = np.arange(len(member)) - starts[value]
    # Position p_j of the j-th member has p_j - j non-members before it, so the r-th non-member lies r + #{p_j - j <= r}
    # from the start. Adding (L + 1) per value keeps all values in one ascending array for one searchsorted.
    ranks = member - rank + value * (len(labelled) + 1)
    first = own.argmax(1)
    return _Group(number, labelled, member.astype(np.int64), starts, ranks.astype(np.int64), values, first)


def _draw(group: _Group, count: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
    value = rng.integers(len(group.starts) - 1, size=count)
    start, size = group.starts[value], np.diff(group.starts)[value]
    anchor = rng.integers(size)
    positive = rng.integers(size - 1)
    positive += positive >= anchor
    other = rng.integers(len(group.labelled) - size)
    before = np.searchsorted(group.ranks, other + value * (len(group.labelled) + 1), "right") - start
    places = np.stack([group.members[start + anchor], group.members[start + positive], other + before], 1)
    shared = group.values[value]
    return group.labelled[places], np.stack([shared, shared, group.first[places[:, 2]]], 1)


@dataclass(frozen=True)
class _Pairs:
    """One attribute: the ordered pairs of values that can be told apart, and the images of each value."""

    number: int
    hot: Hot  # (N, V)
    members: Rows  # image rows, grouped by value
    starts: Rows  # (V + 1,) where each value's images start
    own: Rows  # (P,) values that an anchor can show
    others: Rows  # for each of them the values that a negative can show, one after the other
    ends: Rows  # (P + 1,) where these start


class BalancedSampler(TripletSampler):
    """ASEN++'s triplets: attribute uniform, two different values uniform, then their images, so that a value with few
    images is a negative as often as one with many.

    The negative is an image of the second value without the first, which only matters where an image shows several. A
    value with fewer than two images is no anchor's; a pair that no image tells apart is left out.

    Args:
        labels: per attribute a multi-hot (N, V_a) bool matrix; an all-False row is an image without a label.
        names: attribute names, for messages.

    Attributes:
        trainable: numbers of the attributes that have triplets.

    Raises:
        CatalogueError: no attribute has a single triplet.
    """

    def _group(self, number: int, hot: Hot) -> Any:
        return _pairs(number, hot)

    def _draw(self, group: Any, count: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
        return _draw_pair(group, count, rng)


def _pairs(number: int, hot: Hot) -> _Pairs | None:
    sizes = hot.sum(0)
    both = np.zeros((hot.shape[1],) * 2, np.float32)
    for start in range(0, len(hot), 65_536):  # as numbers, a part at a time
        part = hot[start : start + 65_536].astype(np.float32)
        both += part.T @ part
    # Value v is told from w by the images of w that do not show v.
    apart = (sizes[None] > both) & (sizes[:, None] >= 2)
    own = np.flatnonzero(apart.any(1))
    if not len(own):
        return None
    ends = np.concatenate([[0], np.cumsum(apart[own].sum(1))])
    starts = np.concatenate([[0], np.cumsum(sizes)])
    return _Pairs(number, hot, np.nonzero(hot.T)[1], starts, own, np.nonzero(apart[own])[1], ends)


def _draw_pair(group: _Pairs, count: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
    place = rng.integers(len(group.own), size=count)
    value = group.own[place]
    other = group.others[group.ends[place] + rng.integers(np.diff(group.ends)[place])]
    start, sizes = group.starts[:-1], np.diff(group.starts)
    anchor = rng.integers(sizes[value])
    positive = rng.integers(sizes[value] - 1)
    positive += positive >= anchor
    negative = group.members[start[other] + rng.integers(sizes[other])]
    wrong = np.flatnonzero(group.hot[negative, value])
    for _ in range(16):
        if not len(wrong):
            break
        negative[wrong] = group.members[start[other[wrong]] + rng.integers(sizes[other[wrong]])]
        wrong = wrong[group.hot[negative[wrong], value[wrong]]]
    for row in wrong:  # nearly all images of the other value show both: choose among the few that do not
        able = np.flatnonzero(group.hot[:, other[row]] & ~group.hot[:, value[row]])
        negative[row] = able[rng.integers(len(able))]
    triplets = np.stack([group.members[start[value] + anchor], group.members[start[value] + positive], negative], 1)
    return triplets, np.stack([value, value, other], 1)


class GivenTriplets:
    """Triplets that the catalogue gives, as CSN and AG-MAN train on Zappos50k: a fixed random part of them.

    Args:
        triplets: (T, 3) image rows: anchor, positive, negative.
        attributes: (T,) attribute numbers.
        labels: per attribute a multi-hot (N, V_a) bool matrix, from which the values are read.
        count: how many to keep; all, where there are fewer.
        seed: chooses them.
    """

    def __init__(self, triplets: Rows, attributes: Rows, labels: Sequence[Hot], count: int, seed: int) -> None:
        chosen = np.random.default_rng(seed).permutation(len(triplets))[:count]
        triplets, attributes = triplets[chosen], attributes[chosen]
        values = np.empty_like(triplets)
        for number, hot in enumerate(labels):
            rows = np.flatnonzero(attributes == number)
            values[rows] = _shown(hot, triplets[rows])
        self.kept = Drawn(triplets, attributes, values)

    def __len__(self) -> int:
        return len(self.kept.triplets)

    def draw(self, count: int, seed: int | Sequence[int]) -> Drawn:
        """All of them in a new order; the first ``count``."""
        return self.kept.part(np.random.default_rng(seed).permutation(len(self))[:count])


def _shown(hot: Hot, triplets: Rows) -> Rows:
    anchor, positive, negative = (hot[rows] for rows in triplets.T)
    shared = anchor & positive
    shared = _first(np.where(shared.any(1, keepdims=True), shared, anchor))
    # What tells the negative apart is a value that is not the anchor's.
    return np.stack([shared, shared, _first(negative & (np.arange(hot.shape[1]) != shared[:, None]))], 1)


def _first(hot: Hot) -> Rows:
    return np.where(hot.any(1), hot.argmax(1) if hot.shape[1] else 0, -1)


def triplet_batches(sampler: Sampler, count: int, batch: int, seed: Sequence[int]) -> Iterator[Drawn]:
    """Batches of one epoch, ``count`` triplets drawn afresh per seed; the last short batch dropped."""
    drawn = sampler.draw(count, seed)
    for start in range(0, len(drawn.triplets) - batch + 1, batch):
        yield drawn.part(slice(start, start + batch))


def pair_batches(labels: Sequence[Hot], batch: int, seed: Sequence[int]) -> Iterator[Rows]:
    """Batches of one epoch for the every-pair mode: each labelled image once, shuffled, the last short batch dropped.

    Images without any label take no part. With fewer labelled images than ``batch`` there is one batch of them all;
    with none there is no batch.
    """
    rows = np.flatnonzero(np.any([hot.any(1) for hot in labels], axis=0))
    order = np.random.default_rng(seed).permutation(rows)
    size = max(1, min(batch, len(order)))
    for start in range(0, len(order) - size + 1, size):
        yield order[start : start + size]
