"""Batches of images and targets for training: sampled, decoded ahead, augmented, normalised."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from lightning_fabric import Fabric
from torch import Tensor

from lapel.augment import Options, augment
from lapel.catalogue import Catalogue
from lapel.config import ImageConfig, Recipe
from lapel.errors import CatalogueError, RecipeError
from lapel.evaluation.triplets import ROLES, triplets_of
from lapel.image_source import ImageSource
from lapel.images import Preprocessing, normalise
from lapel.models.base import Triplets
from lapel.training.sampling import (
    BalancedSampler,
    GivenTriplets,
    Rows,
    Sampler,
    TripletSampler,
    pair_batches,
    triplet_batches,
)


class Feed:
    """Batches of one process, ready for the objective.

    Attributes:
        steps: steps per epoch.
        images: images that one step of all processes reads.
    """

    def __init__(
        self,
        recipe: Recipe,
        training: Catalogue,
        labels: list[Any],
        names: list[str],
        pre: Preprocessing,
        fabric: Fabric,
    ) -> None:
        self.image, self.settings, self.pre, self.fabric = recipe.image, recipe.training, pre, fabric
        self.labels = labels
        cache = int(recipe.image.cache_gb * 2**30)
        self.source = ImageSource(training.paths(), pre, training.boxes(), cache, max_failed=recipe.data.max_failed)
        self.sampler = self._sampler(training, names) if recipe.training.batching == "triplets" else None
        self.batch = recipe.training.batch
        world = fabric.world_size
        if self.sampler is not None:
            every = recipe.training.triplets
            if isinstance(self.sampler, GivenTriplets):
                every = len(self.sampler)
            self.steps = every // (self.batch * world)
            self.images = 3 * self.batch * world
            if self.steps < 1:
                raise RecipeError(
                    f"training.triplets: {every} are less than one step of all processes, {self.batch * world}: lower "
                    "training.batch"
                )
        else:
            usable = int(np.any([hot.any(1) for hot in labels], axis=0).sum())
            self.batch = min(self.batch, usable // world)
            if self.batch < 2:
                raise CatalogueError(f"{usable} labelled training images are too few for {world} processes")
            self.steps = usable // (self.batch * world)
            self.images = self.batch * world

    def _sampler(self, training: Catalogue, names: list[str]) -> Sampler:
        settings = self.settings
        if settings.sampler == "given":
            rows, attributes = given_triplets(training, names)
            return GivenTriplets(rows, attributes, self.labels, settings.triplets, settings.seed)
        return (BalancedSampler if settings.sampler == "balanced" else TripletSampler)(self.labels, names)

    def digest(self) -> str:
        """SHA-256 over the triplets that the catalogue gives; empty where they are drawn."""
        if not isinstance(self.sampler, GivenTriplets):
            return ""
        kept = self.sampler.kept
        return hashlib.sha256(kept.triplets.tobytes() + kept.attributes.tobytes()).hexdigest()

    @property
    def failures(self) -> list[Any]:
        """Training images that could not be read."""
        return self.source.failures

    def epoch(self, epoch: int, skip: int) -> Iterator[tuple[Tensor, Triplets | list[Tensor]]]:
        """Images and targets of an epoch from step ``skip`` on; see ``Objective.forward`` for their shapes."""
        seed = (self.settings.seed, epoch)
        rank, world, size = self.fabric.global_rank, self.fabric.world_size, self.batch
        mine = slice(rank * size, (rank + 1) * size)
        first = epoch * self.steps
        if self.sampler is None:
            batches = [
                rows[mine] for rows in itertools.islice(pair_batches(self.labels, size * world, seed), skip, self.steps)
            ]
            for number, (rows, images) in enumerate(self.source.batches(batches)):
                # An unreadable image leaves an unlabelled place, which no loss counts: processes that gather each
                # other's batches need them of one size, and a step must stay a step.
                gap = size - len(rows)
                labels = [torch.from_numpy(np.pad(hot[rows], ((0, gap), (0, 0)))) for hot in self.labels]
                if gap:
                    images = torch.cat([images, self._any(images).expand(gap, -1, -1, -1)])
                yield self._images(images, first + skip + number), [hot.to(self.fabric.device) for hot in labels]
            return
        drawn = triplet_batches(self.sampler, self.settings.triplets, size * world, seed)
        chosen = [batch.part(mine) for batch in itertools.islice(drawn, skip, self.steps)]
        loaded = self.source.batches(batch.triplets.T.reshape(-1) for batch in chosen)
        for number, (batch, (rows, images)) in enumerate(zip(chosen, loaded, strict=True)):
            triplets = batch.triplets
            prepared = self._images(images if len(rows) else self._any(images), first + skip + number)
            if len(rows) < triplets.size:
                # Unreadable images: a triplet that was read stands in for one that was not, so that every step has as
                # many. Where there is none, one image in all three places has nothing to teach.
                read = np.flatnonzero(np.isin(triplets, rows).all(1))
                kept = np.resize(read, size) if len(read) else np.arange(size)
                place = {row: at for at, row in enumerate(rows.tolist())} if len(read) else {}
                prepared = prepared[[place.get(row, 0) for row in triplets[kept].T.reshape(-1).tolist()]]
                batch = batch.part(kept)
            known = (torch.from_numpy(each).to(self.fabric.device) for each in (batch.attributes, batch.values))
            yield prepared.reshape(3, size, *prepared.shape[1:]), Triplets(*known)

    def _any(self, images: Tensor) -> Tensor:
        """One of the images, or a blank one where there is none."""
        return images[:1] if len(images) else torch.zeros((1, 3, self.pre.height, self.pre.width), dtype=torch.uint8)

    def _images(self, images: Tensor, step: int) -> Tensor:
        generator = torch.Generator().manual_seed(
            (self.settings.seed * 1_000_003 + step) * self.fabric.world_size + self.fabric.global_rank
        )
        images = augment(images.to(self.fabric.device, non_blocking=True), generator, **view_options(self.image))
        return normalise(images, self.pre, torch.channels_last)


def view_options(image: ImageConfig) -> Options:
    """What ``lapel.augment`` takes of a recipe's settings."""
    return {
        "flip": image.flip,
        "scale": (image.zoom, 1.0),
        "aspect": 1.05 if image.zoom < 1 else 1.0,
        "brightness": image.jitter,
        "contrast": image.jitter,
        "rotate": image.rotate,
        "hue": image.hue,
        "grey": image.grey,
        "erase": image.erase,
    }


def given_triplets(training: Catalogue, names: Sequence[str]) -> tuple[Rows, Rows]:
    """Triplets of the catalogue's relation ``triplets`` for the split ``train``, of these attributes.

    Those that name an image outside the catalogue's training split are left out.

    Returns:
        (T, 3) rows of ``training`` in the order anchor, positive, negative; (T,) places in ``names``.

    Raises:
        CatalogueError: no such relation, a column of it missing, or no triplet to train on.
    """
    source = f"relation 'triplets' of catalogue {training.name!r}"
    if "triplets" not in training.relations:
        raise CatalogueError(
            f"training.sampler=given, but catalogue {training.name!r} has no relation 'triplets': import a data set "
            "that comes with them, or set training.sampler=asen to draw triplets from the labels"
        )
    table = triplets_of(training.relations["triplets"], "train", source)
    places = {"attribute": pa.array(list(names), pa.string())}
    places |= dict.fromkeys(ROLES, training.images["image"].combine_chunks())
    found = [pc.fill_null(pc.index_in(table[name], value_set=known), -1) for name, known in places.items()]
    attributes, *rows = (each.to_numpy().astype(np.int64) for each in found)
    triplets = np.stack(rows, 1)
    kept = (attributes >= 0) & (triplets >= 0).all(1)
    if not kept.any():
        raise CatalogueError(
            f"{source}: none of {len(kept)} triplets is of {', '.join(names)} and names images of the split 'train'"
        )
    return triplets[kept], attributes[kept]
