"""Batches of images for instance models: shuffled, balanced over items, or of two values of an attribute. Seeded.

A sampler gives the batches of all processes together; each process takes its part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from lapel.training.sampling import Hot, Rows

Seed = Sequence[int]


class ItemSampler(Protocol):
    """Where batches come from.

    Attributes:
        size: images of a batch, of which no two are the same but where an item has fewer than are asked of it.
        steps: batches of an epoch.
        taking: images that take part.
    """

    size: int
    steps: int
    taking: int

    def batches(self, seed: Seed) -> Iterator[Rows]:
        """The batches of an epoch, (size,) rows each; the same for the same seed."""


class Shuffled:
    """Each image once, in a new order; the last short batch dropped (AHBN, as far as it says).

    Args:
        rows: images that take part.
        batch: images of a batch and process; fewer where there are not so many.
        world: processes.
    """

    def __init__(self, rows: Rows, batch: int, world: int = 1) -> None:
        self.rows, self.taking = rows, len(rows)
        self.size = min(batch, len(rows) // world) * world
        self.steps = len(rows) // self.size if self.size else 0

    def batches(self, seed: Seed) -> Iterator[Rows]:
        """The batches of an epoch."""
        order = np.random.default_rng(seed).permutation(self.rows)
        for step in range(self.steps):
            yield order[step * self.size : (step + 1) * self.size]


class Balanced:
    """So many images of each of so many items (identity-balanced batches).

    An item comes again when all have come; its images take turns, from one visit of the item to the next. One with
    fewer images than ``per_item`` shows them again, and one with a single image takes no part: it has no partner. A
    process has whole items.

    Args:
        items: (N,) item of each image, -1 where it takes no part.
        batch: images of a batch and process, a multiple of ``per_item``; fewer where there are too few items.
        per_item: images of each item, at least 2.
        world: processes.
    """

    def __init__(self, items: Rows, batch: int, per_item: int, world: int = 1) -> None:
        self.world = world
        self.bundles = _Bundles(items, np.flatnonzero(items >= 0), per_item)
        self.taking = len(self.bundles.rows)
        self.count = min(batch // per_item, len(self.bundles) // world) * world
        self.size = self.count * per_item
        self.steps = max(1, len(self.bundles.rows) // self.size) if self.size else 0

    def batches(self, seed: Seed) -> Iterator[Rows]:
        """The batches of an epoch."""
        rng = np.random.default_rng(seed)
        bundle = self.bundles.dealer(rng)
        deck = _Deck(len(self.bundles), _order(self.bundles, rng))
        for _ in range(self.steps):
            parts = np.split(bundle(deck.deal(self.count)), self.world)
            # Each process has whole items: some losses compare the images of one process only.
            yield np.concatenate([rng.permutation(part) for part in parts])


class Within:
    """Batches of two values of an attribute, half from each (after FastAP's, of two categories).

    Two values, drawn by their numbers of images, are told apart harder than all of them. Without ``per_item`` whole
    items come one after the other, as in FastAP's code. Where two values have too few, further ones fill the batch.

    Args:
        items: (N,) item of each image, -1 where it takes no part.
        values: multi-hot (N, V) of the attribute; an image counts as one of its first value, one without takes no part.
        batch: images of a batch and process; fewer where there are not so many.
        per_item: images of each item, or 0.
        world: processes.
    """

    def __init__(self, items: Rows, values: Hot, batch: int, per_item: int = 0, world: int = 1) -> None:
        known = (items >= 0) & values.any(1)
        first = values.argmax(1) if values.shape[1] else np.zeros(len(items), np.int64)
        kinds: list[_Bundles | _Whole] = []
        for value in range(values.shape[1]):
            rows = np.flatnonzero(known & (first == value))
            found = _Bundles(items, rows, per_item) if per_item else _Whole(items, rows)
            if len(found):
                kinds.append(found)
        self.kinds, each = kinds, max(per_item, 1)
        self.count = min(batch // each, sum(map(len, kinds)) // world) * world
        self.size = self.count * each
        self.shares = np.array([len(kind.rows) for kind in kinds], float)
        self.taking = sum(len(kind.rows) for kind in kinds)
        self.steps = max(1, self.taking // self.size) if self.size else 0

    def batches(self, seed: Seed) -> Iterator[Rows]:
        """The batches of an epoch."""
        rng = np.random.default_rng(seed)
        dealers = [kind.dealer(rng) for kind in self.kinds]
        decks = [_Deck(len(kind), _order(kind, rng)) for kind in self.kinds]
        for _ in range(self.steps):
            found: list[Rows] = []
            left = self.count
            # Exponentials over the shares, in order, draw without replacement by the shares.
            for turn, kind in enumerate(np.argsort(rng.exponential(size=len(decks)) / self.shares)):
                taken = min(-(-self.count // 2) if turn == 0 else left, decks[kind].count)
                found.append(dealers[kind](decks[kind].deal(taken)))
                left -= taken
                if not left:
                    break
            yield rng.permutation(np.concatenate(found))


class _Bundles:
    """Items of some rows that have two or more of them, from which ``each`` are taken at a time."""

    def __init__(self, items: Rows, rows: Rows, each: int) -> None:
        _, place, sizes = np.unique(items[rows], return_inverse=True, return_counts=True)
        kept = sizes[place] >= 2
        self.rows, self.each = rows[kept], each
        self.place = np.unique(place[kept], return_inverse=True)[1].astype(np.int64)
        self.sizes = sizes[sizes >= 2].astype(np.int64)

    def __len__(self) -> int:
        return len(self.sizes)

    def order(self, rng: np.random.Generator) -> Rows:
        """The items in a new order."""
        return rng.permutation(len(self))

    def dealer(self, rng: np.random.Generator) -> Callable[[Rows], Rows]:
        """From numbers of items to rows of their images, whose turn it is."""
        order = rng.permutation(len(self.rows))
        members = self.rows[order[np.argsort(self.place[order], kind="stable")]]
        starts = np.cumsum(self.sizes) - self.sizes
        turns = np.zeros(len(self), np.int64)

        def rows(numbers: Rows) -> Rows:
            shown = (turns[numbers][:, None] + np.arange(self.each)) % self.sizes[numbers][:, None]
            turns[numbers] += self.each
            found: Rows = members[starts[numbers][:, None] + shown].reshape(-1)
            return found

        return rows


class _Whole:
    """Rows of which those of one item come one after the other."""

    def __init__(self, items: Rows, rows: Rows) -> None:
        self.rows = rows
        self.items = np.unique(items[rows], return_inverse=True)[1]

    def __len__(self) -> int:
        return len(self.rows)

    def order(self, rng: np.random.Generator) -> Rows:
        """Items in a new order, and the images of each in a new order."""
        within = rng.permutation(len(self.rows))
        rank = rng.permutation(self.items.max(initial=-1) + 1)
        found: Rows = within[np.argsort(rank[self.items[within]], kind="stable")]
        return found

    def dealer(self, rng: np.random.Generator) -> Callable[[Rows], Rows]:  # noqa: ARG002
        """From places to rows."""
        return lambda numbers: self.rows[numbers]


def _order(kind: _Bundles | _Whole, rng: np.random.Generator) -> Callable[[], Rows]:
    return lambda: kind.order(rng)


class _Deck:
    """Numbers below ``count``, dealt in the order of ``fresh`` and then again, never one twice in a deal."""

    def __init__(self, count: int, fresh: Callable[[], Rows]) -> None:
        self.count, self.fresh = count, fresh
        self.left = np.zeros(0, np.int64)

    def deal(self, number: int) -> Rows:
        """The next ones; at most ``count``."""
        if len(self.left) < number:
            more = self.fresh()
            held = np.isin(more, self.left)
            self.left = np.concatenate([self.left, more[~held], more[held]])
        dealt, self.left = self.left[:number], self.left[number:]
        return dealt
