"""Training a model that finds items: what is read, learned and measured."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from lightning_fabric import Fabric

from lapel.catalogue import Catalogue
from lapel.config import Recipe
from lapel.errors import CatalogueError, RecipeError, unknown
from lapel.image_source import ImageSource
from lapel.images import Preprocessing
from lapel.item_outputs import tag_truth
from lapel.landmarks import VISIBLE
from lapel.models import build_item
from lapel.models.base import ItemNetwork
from lapel.runs import RunConfig
from lapel.training.checkpoint import start_items_from
from lapel.training.item_feed import ItemFeed, ItemLabels
from lapel.training.item_objective import ITEM_LOSSES, VIEW_LOSSES, ItemObjective, active, rest_idle
from lapel.training.item_validation import validate_items
from lapel.training.sampling import Rows

Tags = tuple[tuple[str, str], ...]


class ItemWork:
    """See ``lapel.training.work.Work``.

    Splits are by item. A catalogue that comes with ``train`` and no ``val`` (the benchmarks' query and gallery are for
    testing) is validated on a ninth of its training items.

    Args:
        recipe: of an instance model; ``recipe.data.catalogue`` must be set.

    Attributes:
        tags: the (attribute, value) pairs that are learned; none without their loss.
        items: the training items, in the order of the classifier.

    Raises:
        RecipeError: it is not.
        CatalogueError: unreadable; an empty split; nothing of what a loss needs, to train or to validate on.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        data, settings = recipe.data, recipe.training
        if not data.catalogue:
            raise RecipeError("the recipe names no catalogue: --set data.catalogue=PATH/catalogue.csv")
        within = (settings.within,) if settings.within else ()
        catalogue = Catalogue.read(data.catalogue, data.attributes or None, within)
        if settings.within and settings.within not in catalogue.attributes:
            message = unknown("attribute in training.within", settings.within, catalogue.attributes)
            raise CatalogueError(f"catalogue {catalogue.name!r}: {message}; or leave training.within out")
        self.catalogue = catalogue.with_splits(data.split_seed).with_validation(data.split_seed)
        self.training, self.validation = self.catalogue.split("train"), self.catalogue.split("val")
        self.values: dict[str, tuple[str, ...]] = {}
        losses = active(settings)
        named = data.attributes or self.catalogue.attributes
        self.tags = frequent_tags(self.training, named, data.tags) if "tags" in losses else ()
        self.items = sorted({item for item in self.training.items() if item is not None})
        _check(self.training, self.validation, losses, self.tags)

    def model(self, restored: bool) -> ItemNetwork:
        """The recipe's model; resuming needs no pretrained weights, they are in the state."""
        spec = self.recipe.model
        weights = not restored and spec.pretrained
        return build_item(
            spec.name, len(self.tags), spec.trunk, weights, trunk_options=spec.trunk_options, **spec.options
        )

    def start_from(self, model: ItemNetwork, run: str) -> None:
        """Every tensor that the run has; the tag head only if it is one of the same tags."""
        start_items_from(model, run, self.tags)

    def feed(self, pre: Preprocessing, fabric: Fabric) -> ItemFeed:
        """Batches of images."""
        within = self.recipe.training.within
        hot = self.training.multi_hot(within) if within else None
        return ItemFeed(self.recipe, self.training, self._labels(self.training), hot, pre, fabric)

    def _labels(self, catalogue: Catalogue) -> ItemLabels:
        number = {item: place for place, item in enumerate(self.items)}
        items = np.array([number.get(item or "", -1) for item in catalogue.items()], np.int64)
        return ItemLabels(items, *tag_truth(catalogue, self.tags), catalogue.landmarks())

    def digest(self, feed: ItemFeed) -> str:
        """Images, boxes, labels, items, landmarks."""
        held = hashlib.sha256(json.dumps(self.validation.items()).encode())
        held.update(self.validation.landmarks().tobytes())
        found = [self.training.digest(), self.validation.digest(), json.dumps(self.items), feed.digest()]
        return "".join([*found, held.hexdigest()])

    def record(self, feed: ItemFeed) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """That it is a run of items, its tags; the number of items, and what a step of one process reads."""
        model = {"task": "items", "tags": [list(tag) for tag in self.tags]}
        return model, {"items": len(self.items), "images_per_step": feed.views * feed.batch}

    def objective(self, model: ItemNetwork, pre: Preprocessing) -> ItemObjective:
        """The model with its losses; what none of them reaches rests."""
        objective = ItemObjective(model, self.recipe.training, len(self.items))
        rest_idle(objective, pre.height, pre.width)
        return objective

    def validate(
        self, model: ItemNetwork, config: RunConfig, source: ImageSource, run: Path, fabric: Fabric
    ) -> dict[str, float]:
        """Items found, or what the branches predict, or views of an image recognised."""
        return validate_items(model, config, source, self.validation, run, fabric)


def frequent_tags(training: Catalogue, attributes: tuple[str, ...], count: int) -> Tags:
    """The (attribute, value) pairs that most images have, in the order of attributes and values (AHBN section III-A).

    A pair that fewer than two images have, or all that are labelled with its attribute, teaches nothing and is left
    out. Of equally frequent ones the first in that order are taken.

    Args:
        training: the training split.
        attributes: which to take them from.
        count: how many, 0 for all.
    """
    found: list[tuple[str, str]] = []
    sizes: list[int] = []
    for attribute in training.attributes:
        if attribute not in attributes:
            continue
        values = training.values(attribute)
        hot = training.multi_hot(attribute, values)
        labelled = int(hot.any(1).sum())
        for value, size in zip(values, hot.sum(0).tolist(), strict=True):
            if 2 <= size < labelled:
                found.append((attribute, value))
                sizes.append(size)
    order: Rows = np.argsort(-np.array(sizes, np.int64), kind="stable")
    return tuple(found[place] for place in sorted(order[: count or None].tolist()))


def _check(training: Catalogue, validation: Catalogue, losses: Mapping[str, float], tags: Tags) -> None:
    """Refuse losses of what the catalogue does not have.

    Raises:
        CatalogueError: which, and what to do.
    """
    name = training.name
    asked = [loss for loss in losses if loss in ITEM_LOSSES]
    if asked:
        sizes = _sizes(training)
        needed = 2 if asked != ["id"] else 1
        if len(sizes) < 2 or sizes.max() < needed:
            raise CatalogueError(
                f"catalogue {name!r} has {len(sizes)} items among its training images, of which "
                f"{int((sizes >= 2).sum())} have two images: training.losses.{asked[0]} needs "
                + ("at least two items" if needed == 1 else "at least two items, and two images of one")
                + ". Fill the column item, or train without items: training.losses={simclr: 1} or {vicreg: 1}"
            )
        if _sizes(validation).max(initial=0) < 2:
            raise CatalogueError(
                f"catalogue {name!r} has nothing to validate on: no item of its split 'val' has two images, one to ask "
                "and one to find"
            )
    if "tags" in losses and not tags:
        raise CatalogueError(
            f"catalogue {name!r} has no tags to learn: no value of an attribute is shown by two training images and "
            "not by all: leave tags out of training.losses, or name the columns by data.attributes"
        )
    if "landmarks" in losses and not (training.landmarks()[..., 2] == VISIBLE).any():
        raise CatalogueError(
            f"catalogue {name!r} has no visible landmarks among its training images: leave landmarks out of "
            "training.losses"
        )
    if not asked and not any(loss in VIEW_LOSSES for loss in losses):
        known = any(validation.multi_hot(attribute, [value]).any() for attribute, value in tags)
        shown = "landmarks" in losses and (validation.landmarks()[..., 2] == VISIBLE).any()
        if not known and not shown:
            raise CatalogueError(
                f"catalogue {name!r} has nothing to validate on: its split 'val' has none of {', '.join(losses)}"
            )


def _sizes(catalogue: Catalogue) -> Rows:
    """Images of each item."""
    named = np.array([item for item in catalogue.items() if item is not None], str)
    sizes: Rows = np.unique(named, return_counts=True)[1].astype(np.int64)
    return sizes
