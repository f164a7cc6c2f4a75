"""Batches of images and targets for instance models: sampled, decoded ahead, augmented, their landmarks moved along."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from lapel.augment import apply_view, move_landmarks, views
from lapel.catalogue import Catalogue
from lapel.config import Recipe
from lapel.errors import CatalogueError
from lapel.image_source import Failure, ImageSource
from lapel.images import Preprocessing, normalise
from lapel.landmark_frame import frame_landmarks
from lapel.landmarks import LANDMARKS, VISIBLE
from lapel.shell import say
from lapel.training.feed import view_options
from lapel.training.item_objective import ITEM_LOSSES, VIEW_LOSSES, ItemTargets, active
from lapel.training.item_sampling import Balanced, ItemSampler, Shuffled, Within
from lapel.training.sampling import Hot, Rows


class ItemLabels(NamedTuple):
    """What is known of N images.

    Attributes:
        items: (N,) int64, number of the item, -1 unknown.
        tags: (N, K) bool, whether the image has the tag.
        known: (N, K) bool, whether that is known.
        landmarks: (N, 8, 3) as ``Catalogue.landmarks`` gives them; NaN where an image has none.
    """

    items: Rows
    tags: Hot
    known: Hot
    landmarks: NDArray[np.float64]


class ItemFeed:
    """Batches of one process, ready for the objective.

    Args:
        recipe: of an instance model.
        training: the training split.
        labels: what is known of its images.
        within: multi-hot (N, V) of the attribute ``training.within``, or None.
        pre: the frame.
        fabric: device and processes.

    Attributes:
        steps: steps per epoch.
        images: images that one step of all processes reads, each as often as it is seen.

    Raises:
        CatalogueError: too few images for a batch.
    """

    def __init__(
        self,
        recipe: Recipe,
        training: Catalogue,
        labels: ItemLabels,
        within: Hot | None,
        pre: Preprocessing,
        fabric: Fabric,
    ) -> None:
        self.image, self.settings, self.pre, self.fabric = recipe.image, recipe.training, pre, fabric
        self.labels = labels
        cache = int(recipe.image.cache_gb * 2**30)
        self.boxes = training.boxes()
        self.source = ImageSource(training.paths(), pre, self.boxes, cache, max_failed=recipe.data.max_failed)
        losses = active(recipe.training)
        self.views = 2 if any(name in losses for name in VIEW_LOSSES) else 1
        taught = _taught(labels, losses)
        self.sampler = self._sampler(taught, within)
        world = fabric.world_size
        self.batch = self.sampler.size // world
        if self.batch < 2:
            raise CatalogueError(
                f"catalogue {training.name!r} has too few training images for {world} processes with the losses "
                f"{', '.join(losses)}: a batch takes two of each process"
                + (", of items with two images each" if recipe.training.per_item else "")
            )
        if left := len(taught) - self.sampler.taking:
            settings = recipe.training
            why = ["have no other image of their item to go with (training.per_item)"] * (settings.per_item > 0)
            why += [f"show no value of {settings.within!r} (training.within)"] * bool(settings.within)
            say(f"{left:,} of {len(taught):,} training images take no part: they {' or '.join(why)}")
        self.steps = self.sampler.steps
        self.images = self.views * self.batch * world

    def _sampler(self, rows: Rows, within: Hot | None) -> ItemSampler:
        settings, world = self.settings, self.fabric.world_size
        # Only images that teach something take part; one without an item is an item of its own.
        items = np.full(len(self.labels.items), -1, np.int64)
        alone = self.labels.items.max(initial=-1) + 1 + np.arange(len(items))
        items[rows] = np.where(self.labels.items >= 0, self.labels.items, alone)[rows]
        if within is not None:
            return Within(items, within, settings.batch, settings.per_item, world)
        if settings.per_item:
            return Balanced(items, settings.batch, settings.per_item, world)
        return Shuffled(rows, settings.batch, world)

    def digest(self) -> str:
        """SHA-256 over items and landmarks, which a catalogue's own digest leaves out."""
        found = hashlib.sha256(self.labels.items.tobytes())
        found.update(self.labels.landmarks.tobytes())
        return found.hexdigest()

    @property
    def failures(self) -> list[Failure]:
        """Training images that could not be read."""
        return self.source.failures

    def epoch(self, epoch: int, skip: int) -> Iterator[tuple[Tensor, ItemTargets]]:
        """Images and targets of an epoch from step ``skip`` on; see ``ItemObjective.forward`` for their shapes."""
        drawn = self.sampler.batches((self.settings.seed, epoch))
        rank, first = self.fabric.global_rank, epoch * self.steps + skip
        mine = slice(rank * self.batch, (rank + 1) * self.batch)
        batches = [rows[mine] for rows in itertools.islice(drawn, skip, self.steps)]
        for number, (rows, images) in enumerate(self.source.batches(batches)):
            yield self._seen(rows, images, first + number)

    def _seen(self, rows: Rows, images: Tensor, step: int) -> tuple[Tensor, ItemTargets]:
        device, labels, (height, width) = self.fabric.device, self.labels, (self.pre.height, self.pre.width)
        points, weights = frame_landmarks(
            labels.landmarks[rows], [self.boxes[row] for row in rows], self.source.sizes[rows], self.pre
        )
        known: list[NDArray[Any]] = [labels.items[rows], labels.tags[rows].astype(np.float32), labels.known[rows]]
        known += [points, weights]
        gap = self.batch - len(rows)
        if gap:
            # An unreadable image leaves a place of which nothing is known: processes gather each other's batches, so
            # these need one size, and a step must stay a step.
            blank = torch.zeros((1, 3, height, width), dtype=torch.uint8)
            images = torch.cat([images, (images[:1] if len(images) else blank).expand(gap, -1, -1, -1)])
            known = [_padded(each, gap, -1 if each is known[0] else 0) for each in known]
        items, tags, sure, points_, weights_ = (torch.from_numpy(each).to(device) for each in known)
        images = images.to(device, non_blocking=True)
        generator = torch.Generator().manual_seed(
            (self.settings.seed * 1_000_003 + step) * self.fabric.world_size + self.fabric.global_rank
        )
        pictures, moved = [], []
        for _ in range(self.views):
            view = views(self.batch, generator, device=device, **view_options(self.image))
            pictures.append(apply_view(images, view))
            moved.append(move_landmarks(points_, weights_, view, height, width))
        every = normalise(torch.cat(pictures), self.pre, torch.channels_last)
        again = [each.repeat(self.views, *[1] * (each.ndim - 1)) for each in (items, tags, sure)]
        targets = ItemTargets(*again, *(torch.cat(each) for each in zip(*moved, strict=True)))
        return every if self.views == 1 else every.unflatten(0, (self.views, self.batch)), targets


def _padded(known: NDArray[Any], gap: int, filler: int) -> NDArray[Any]:
    return np.pad(known, ((0, gap), *((0, 0),) * (known.ndim - 1)), constant_values=filler)


def _taught(labels: ItemLabels, losses: dict[str, float]) -> Rows:
    """Rows of the images that at least one of the losses learns from."""
    found = np.zeros(len(labels.items), bool)
    for name in losses:
        if name in ITEM_LOSSES:
            found |= labels.items >= 0
        elif name == "tags":
            found |= labels.known.any(1)
        elif name == "landmarks":
            found |= (labels.landmarks[:, : len(LANDMARKS), 2] == VISIBLE).any(1)
        else:
            found[:] = True
    return np.flatnonzero(found)
