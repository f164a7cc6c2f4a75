"""Training batches: the paper's triplets, and ours of every pair under every attribute. Vectorised, seeded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lapel.errors import CatalogueError

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Group:
    """One attribute: its labelled images, and for each trainable value the members among them."""

    number: int
    labelled: Rows  # (L,) image rows
    members: Rows  # positions in `labelled`, grouped by value, ascending within a value
    starts: Rows  # (V + 1,) where each value's members start
    ranks: Rows  # members minus their rank within the value, offset by value: see `_group`


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

    def __init__(self, labels: Sequence[npt.NDArray[np.bool_]], names: Sequence[str]) -> None:
        self.groups = [group for number, hot in enumerate(labels) if (group := _group(number, hot)) is not None]
        self.trainable = tuple(group.number for group in self.groups)
        if not self.groups:
            raise CatalogueError(
                f"nothing to train: none of {', '.join(names) or 'no attributes'} has a value with two images and "
                "another image to tell it from"
            )

    def draw(self, count: int, seed: int | Sequence[int]) -> tuple[Rows, Rows]:
        """Draw triplets.

        Returns:
            triplets (count, 3) of image rows in the order anchor, positive, negative; attribute numbers (count,).
        """
        rng = np.random.default_rng(seed)
        which = rng.integers(len(self.groups), size=count)
        triplets = np.empty((count, 3), np.int64)
        numbers = np.empty(count, np.int64)
        for place, group in enumerate(self.groups):
            rows = np.flatnonzero(which == place)
            triplets[rows] = _draw(group, len(rows), rng)
            numbers[rows] = group.number
        return triplets, numbers


def _group(number: int, hot: npt.NDArray[np.bool_]) -> _Group | None:
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
    return _Group(number, labelled, member.astype(np.int64), starts, ranks.astype(np.int64))


def _draw(group: _Group, count: int, rng: np.random.Generator) -> Rows:
    value = rng.integers(len(group.starts) - 1, size=count)
    start, size = group.starts[value], np.diff(group.starts)[value]
    anchor = rng.integers(size)
    positive = rng.integers(size - 1)
    positive += positive >= anchor
    other = rng.integers(len(group.labelled) - size)
    before = np.searchsorted(group.ranks, other + value * (len(group.labelled) + 1), "right") - start
    places = np.stack([group.members[start + anchor], group.members[start + positive], other + before], 1)
    found: Rows = group.labelled[places]
    return found


def triplet_batches(
    sampler: TripletSampler, count: int, batch: int, seed: Sequence[int]
) -> Iterator[tuple[Rows, Rows]]:
    """Batches of one epoch: triplets (batch, 3) and attributes (batch,), ``count`` triplets drawn afresh per seed."""
    triplets, numbers = sampler.draw(count, seed)
    for start in range(0, count - batch + 1, batch):
        yield triplets[start : start + batch], numbers[start : start + batch]


def pair_batches(labels: Sequence[npt.NDArray[np.bool_]], batch: int, seed: Sequence[int]) -> Iterator[Rows]:
    """Batches of one epoch for the every-pair mode: each labelled image once, shuffled, the last short batch dropped.

    Images without any label take no part. With fewer labelled images than ``batch`` there is one batch of them all;
    with none there is no batch.
    """
    rows = np.flatnonzero(np.any([hot.any(1) for hot in labels], axis=0))
    order = np.random.default_rng(seed).permutation(rows)
    size = max(1, min(batch, len(order)))
    for start in range(0, len(order) - size + 1, size):
        yield order[start : start + size]
