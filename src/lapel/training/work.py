"""What a training trains: the one contract between the loop and the two kinds of models, of attributes and of items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from lightning_fabric import Fabric
from torch import Tensor

from lapel.catalogue import Catalogue
from lapel.config import Recipe
from lapel.errors import RecipeError, unknown
from lapel.image_source import Failure, ImageSource
from lapel.images import Preprocessing
from lapel.models import ITEM_MODELS, MODELS
from lapel.runs import RunConfig
from lapel.training.attribute_work import AttributeWork
from lapel.training.item_work import ItemWork


class Batches(Protocol):
    """Images and targets of one process, ready for the objective.

    Attributes:
        steps: steps per epoch.
        images: images that one step of all processes reads, each as often as it is seen.
    """

    steps: int
    images: int

    @property
    def failures(self) -> list[Failure]:
        """Training images that could not be read."""

    def epoch(self, epoch: int, skip: int) -> Iterator[tuple[Tensor, Any]]:
        """Images and targets of an epoch from step ``skip`` on: the same, wherever it begins."""


class Work(Protocol):
    """A recipe on its catalogue, read and checked: everything that differs between the kinds of models.

    Attributes:
        catalogue: whole, with its splits.
        training, validation: what is trained and what is validated on.
        values: attribute -> its values, as the run records them; of items none.
    """

    catalogue: Catalogue
    training: Catalogue
    validation: Catalogue
    values: dict[str, tuple[str, ...]]

    def model(self, restored: bool) -> Any:
        """Build the recipe's model; with ``restored`` without pretrained weights, they are in the state."""

    def start_from(self, model: Any, run: str) -> None:
        """Fill the model from another run."""

    def feed(self, pre: Preprocessing, fabric: Fabric) -> Batches:
        """The training batches."""

    def digest(self, feed: Any) -> str:
        """What the training depends on beside the recipe and the pixels."""

    def record(self, feed: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """What the run's ``model`` and its ``protocol`` say beside what all runs say."""

    def objective(self, model: Any, pre: Preprocessing) -> Any:
        """The model with its losses, ``forward(images, targets)`` -> loss; the model is its ``model``."""

    def validate(
        self, model: Any, config: RunConfig, source: ImageSource, run: Path, fabric: Fabric
    ) -> dict[str, float]:
        """Figures of the model as it is, in percent; the first is what the best weights are chosen by."""


def work_of(recipe: Recipe) -> Work:
    """Read the recipe's catalogue and return what is to be trained.

    Raises:
        RecipeError: an unknown model, or batches that it does not train with.
        CatalogueError: unreadable, or nothing to train or validate on.
    """
    name, batching = recipe.model.name, recipe.training.batching
    if name not in MODELS and name not in ITEM_MODELS:
        raise RecipeError(unknown("model", name, [*MODELS, *ITEM_MODELS]))
    if name in ITEM_MODELS and batching != "images":
        raise RecipeError(
            f"model {name!r} embeds items: set training.batching=images, and training.losses, the weight of each loss; "
            f"found training.batching={batching}, which is for models that embed under attributes"
        )
    if name not in ITEM_MODELS and batching == "images":
        raise RecipeError(
            f"model {name!r} embeds under attributes: set training.batching=triplets or pairs, and leave out "
            f"training.losses; images are for models of items: {', '.join(ITEM_MODELS)}"
        )
    return ItemWork(recipe) if name in ITEM_MODELS else AttributeWork(recipe)
