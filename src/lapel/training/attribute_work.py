"""Training a model that embeds under attributes: what is read, learned and measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from lapel.catalogue import Catalogue
from lapel.config import Recipe
from lapel.errors import CatalogueError, RecipeError
from lapel.image_source import ImageSource
from lapel.images import Preprocessing
from lapel.models import build
from lapel.models.base import AttributeNetwork
from lapel.runs import RunConfig
from lapel.training.checkpoint import start_from
from lapel.training.feed import Feed, given_triplets
from lapel.training.objective import Objective
from lapel.training.validation import given_triplets as validation_triplets
from lapel.training.validation import held_out, validate


class AttributeWork:
    """See ``lapel.training.work.Work``.

    Args:
        recipe: of an attribute model; ``recipe.data.catalogue`` must be set.

    Raises:
        RecipeError: it is not.
        CatalogueError: unreadable; an empty split; an attribute asked for cannot be trained, or none can.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.catalogue, self.attributes = training_data(recipe)
        self.training, self.validation = self.catalogue.split("train"), held_out(self.catalogue, self.attributes)
        self.values = {name: self.training.values(name) for name in self.attributes}

    def model(self, restored: bool) -> AttributeNetwork:
        """The recipe's model."""
        return build_model(self.recipe, len(self.attributes), restored)

    def start_from(self, model: AttributeNetwork, run: str) -> None:
        """Every tensor that the run has, if it is one of the same attributes."""
        start_from(model, run, self.attributes)

    def feed(self, pre: Preprocessing, fabric: Fabric) -> Feed:
        """Triplets or labelled images."""
        labels = [self.training.multi_hot(name, found) for name, found in self.values.items()]
        return Feed(self.recipe, self.training, labels, self.attributes, pre, fabric)

    def digest(self, feed: Feed) -> str:
        """Images, boxes, labels, and given triplets."""
        return self.training.digest() + self.validation.digest() + feed.digest()

    def record(self, feed: Feed) -> tuple[Mapping[str, Any], Mapping[str, Any]]:  # noqa: ARG002
        """Nothing but what all runs have."""
        return {}, {}

    def objective(self, model: AttributeNetwork, pre: Preprocessing) -> Objective:  # noqa: ARG002
        """The papers' triplets, or every pair."""
        return Objective(model, self.recipe.training, [len(found) for found in self.values.values()])

    def validate(
        self, model: AttributeNetwork, config: RunConfig, source: ImageSource, run: Path, fabric: Fabric
    ) -> dict[str, float]:
        """MAP, or the accuracy of given triplets."""
        return validate(model, config, source, self.validation, run, fabric)


def build_model(recipe: Recipe, attributes: int, restored: bool) -> AttributeNetwork:
    """Build the recipe's model; resuming needs no pretrained weights, they are in the state."""
    spec = recipe.model
    weights = not restored and spec.pretrained
    return build(spec.name, attributes, spec.trunk, weights, trunk_options=spec.trunk_options, **spec.options)


def training_data(recipe: Recipe) -> tuple[Catalogue, list[str]]:
    """Read and split the catalogue; return it with the attributes to train, in its column order.

    Raises:
        CatalogueError: unreadable; an empty split; an attribute asked for cannot be trained, or none can.
    """
    if not recipe.data.catalogue:
        raise RecipeError("the recipe names no catalogue: --set data.catalogue=PATH/catalogue.csv")
    catalogue = Catalogue.read(recipe.data.catalogue, recipe.data.attributes or None)
    catalogue = catalogue.with_splits(recipe.data.split_seed)
    asked = validation_triplets(catalogue)
    if asked is None:
        catalogue = catalogue.with_validation(recipe.data.split_seed)
    training = catalogue.split("train")
    chosen = _trainable(recipe, catalogue, training)
    if asked is not None:
        if not set(chosen) & (told := set(asked["attribute"].unique().to_pylist())):
            raise CatalogueError(
                f"catalogue {catalogue.name!r} has nothing to validate on: its triplets of split 'val' are of "
                f"{', '.join(map(str, told))}, to train are {', '.join(chosen)}"
            )
        return catalogue, chosen
    validation = catalogue.split("val")
    if not any((validation.multi_hot(name).any(0)).sum() >= 2 for name in chosen):
        raise CatalogueError(
            f"catalogue {catalogue.name!r} has nothing to validate on: its split 'val' shows two values of none of "
            f"{', '.join(chosen)}"
        )
    return catalogue, chosen


def _trainable(recipe: Recipe, catalogue: Catalogue, training: Catalogue) -> list[str]:
    """Return the attributes to train; what is asked for and cannot be is an error."""
    if recipe.training.batching == "triplets" and recipe.training.sampler == "given":
        _, places = given_triplets(training, catalogue.attributes)
        listed = [name for number, name in enumerate(catalogue.attributes) if (places == number).any()]
        for name in recipe.data.attributes:
            if name not in listed:
                raise CatalogueError(
                    f"attribute {name!r} cannot be trained: the catalogue gives no triplets of it for the split "
                    f"'train', only of {', '.join(listed)}"
                )
        return listed
    chosen = []
    for name in catalogue.attributes:
        sizes = training.multi_hot(name).sum(0)
        if (sizes >= 2).sum() >= 2:
            chosen.append(name)
        elif recipe.data.attributes:
            raise CatalogueError(
                f"attribute {name!r} cannot be trained: {(sizes >= 2).sum()} of its {len(sizes)} values have two or "
                "more training images, at least two values are needed to tell apart"
            )
    if not chosen:
        raise CatalogueError(
            f"catalogue {catalogue.name!r} has nothing to train: no attribute has two values with two training "
            "images each. 'lapel data check' lists the counts"
        )
    return chosen
