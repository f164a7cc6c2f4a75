"""Which values of a recipe's settings a training can run with."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

from lapel.errors import RecipeError

if TYPE_CHECKING:
    from lapel.config import Recipe

# Below these no training can run.
_LEAST = {
    "data.split_seed": 0,
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
        ("model.mean and model.std", three, "three numbers each, std above 0, or none", (model.mean, model.std)),
        ("training.triplets", training.triplets >= training.batch, "at least one batch", training.triplets),
        ("training.sampler", drawn, "asen with training.batching=pairs, which draws no triplets", training.sampler),
        ("training.rates", all(rate > 0 for rate in training.rates.values()), "above 0 each", training.rates),
        ("training.seed", 0 <= training.seed < 2**32, f"from 0 to {2**32 - 1}", training.seed),
    ]
    for name, right, expected, value in rules:
        if not right:
            raise RecipeError(f"{source}: expected {name} {expected}, found {value}")
