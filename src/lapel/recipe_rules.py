"""Which values of a recipe's settings a training can run with."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

from lapel.errors import RecipeError, unknown

if TYPE_CHECKING:
    from lapel.config import Recipe

LOSSES = ("id", "tags", "landmarks", "triplet", "fastap", "contrast", "pairs", "simclr", "vicreg")
"""The losses of instance models, by the names that ``training.losses`` knows them by."""

# Below these no training can run.
_LEAST = {
    "data.split_seed": 0,
    "data.tags": 0,
    "image.height": 32,
    "image.width": 32,
    "image.cache_gb": 0,
    "training.batch": 2,
    "training.epochs": 1,
    "training.steps": 0,
    "training.min_steps": 0,
    "training.minutes": 0,
    "training.head_lr": 0,
    "training.proxy_lr": 0,
    "training.weight_decay": 0,
    "training.decay_every": 1,
    "training.clip": 0,
    "training.margin": 0,
    "training.proxy_weight": 0,
    "training.class_weight": 0,
    "training.id_scale": 0,
    "training.validate_every": 1,
}
_ABOVE_ZERO = ("training.lr", "training.decay", "training.temperature", "training.proxy_temperature")
_BELOW_ONE = ("image.jitter", "training.warmup", "training.smoothing", "training.average")


def check(recipe: Recipe, source: str) -> None:
    """Refuse values that no training can run with.

    Args:
        recipe: of the right types.
        source: where it comes from, for the message.

    Raises:
        RecipeError: names the first one, and what it must be.
    """
    image, model, training = recipe.image, recipe.model, recipe.training
    found = {name: operator.attrgetter(name)(recipe) for name in (*_LEAST, *_ABOVE_ZERO, *_BELOW_ONE)}
    rules = [(name, found[name] >= least, f"at least {least}", found[name]) for name, least in _LEAST.items()]
    rules += [(name, found[name] > 0, "above 0", found[name]) for name in _ABOVE_ZERO]
    rules += [(name, 0 <= found[name] < 1, "from 0 to below 1", found[name]) for name in _BELOW_ONE]
    three = (len(model.mean), len(model.std)) in ((0, 0), (3, 3)) and all(level > 0 for level in model.std)
    drawn = training.batching == "triplets" or training.sampler == "asen"
    rules += [
        ("data.max_failed", 0 <= recipe.data.max_failed <= 1, "from 0 to 1", recipe.data.max_failed),
        ("image.zoom", 0 < image.zoom <= 1, "above 0 and at most 1", image.zoom),
        ("image.rotate", 0 <= image.rotate <= 180, "from 0 to 180 degrees", image.rotate),
        ("image.hue", 0 <= image.hue <= 0.5, "from 0 to 0.5", image.hue),
        ("image.grey", 0 <= image.grey <= 1, "from 0 to 1", image.grey),
        ("image.erase", 0 <= image.erase <= 1, "from 0 to 1", image.erase),
        ("model.mean and model.std", three, "three numbers each, std above 0, or none", (model.mean, model.std)),
        ("training.triplets", training.triplets >= training.batch, "at least one batch", training.triplets),
        (
            "training.sampler",
            drawn,
            f"asen with training.batching={training.batching}, which draws no triplets",
            training.sampler,
        ),
        ("training.rates", all(rate > 0 for rate in training.rates.values()), "above 0 each", training.rates),
        ("training.seed", 0 <= training.seed < 2**32, f"from 0 to {2**32 - 1}", training.seed),
    ]
    for name, right, expected, value in rules:
        if not right:
            raise RecipeError(f"{source}: expected {name} {expected}, found {value}")
    _check_losses(recipe, source)


def _check_losses(recipe: Recipe, source: str) -> None:
    """Refuse losses of instance models that are not known, off altogether, or asked for with other batches."""
    training = recipe.training
    for name, weight in training.losses.items():
        if name not in LOSSES:
            raise RecipeError(f"{source}: {unknown('loss in training.losses', name, LOSSES)}")
        if weight < 0:
            raise RecipeError(f"{source}: expected training.losses.{name} at least 0, found {weight}")
    if training.batching != "images":
        named = {"losses": training.losses, "per_item": training.per_item, "within": training.within}
        for key, value in named.items():
            if value:
                raise RecipeError(
                    f"{source}: training.{key} is for training.batching=images, found {training.batching}: set that, "
                    f"or leave training.{key} out"
                )
        return
    if not any(training.losses.values()) and not recipe.stages:  # each stage may name its own
        raise RecipeError(
            f"{source}: training.batching=images needs training.losses, the weight of each loss: for example "
            f"{{id: 1, tags: 1, landmarks: 1}}; there are {', '.join(LOSSES)}"
        )
    each = training.per_item
    if each and (not 2 <= each <= training.batch // 2 or training.batch % each):
        raise RecipeError(
            f"{source}: expected training.per_item 0, or from 2 to half of training.batch = {training.batch} and a "
            f"divisor of it, found {each}"
        )
