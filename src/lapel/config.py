"""Recipes: one typed configuration, which is the YAML file, the ``--set`` flags and the record in the run."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import operator
import typing
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml

from lapel.errors import RecipeError, unknown


@dataclass(frozen=True)
class DataConfig:
    """What to train on.

    Attributes:
        catalogue: catalogue file or folder.
        attributes: attributes to train; empty takes every attribute with at least two trainable values.
        split_seed: seed of the 8:1:1 split, where the catalogue has none.
        max_failed: share of unreadable images above which the job stops.
    """

    catalogue: str = ""
    attributes: tuple[str, ...] = ()
    split_seed: int = 0
    max_failed: float = 0.05


@dataclass(frozen=True)
class ImageConfig:
    """Preprocessing and augmentation.

    Attributes:
        height, width: network input in pixels.
        resize: ``crop`` is the papers' short side + centre crop, ``letterbox`` keeps the whole garment.
        flip: mirror half of the training images.
        zoom: smallest share of height and width that a random training crop keeps; 1 is off (the papers).
        jitter: largest relative change of brightness and contrast in training; 0 is off (the papers).
        cache_gb: memory for prepared images in each process, so that none is decoded twice; validation takes an eighth
            more.
    """

    height: int = 224
    width: int = 224
    resize: Literal["crop", "letterbox"] = "crop"
    flip: bool = True
    zoom: float = 1.0
    jitter: float = 0.0
    cache_gb: float = 4.0


@dataclass(frozen=True)
class ModelConfig:
    """What to train.

    Attributes:
        name: a model of ``lapel.models``.
        trunk: a timm model name.
        weights: ``hub``, ``none`` or a local .safetensors file.
        mean, std: input normalisation; empty takes what the trunk's weights declare.
        trunk_options: further arguments of ``timm.create_model``.
        options: the model's own options.
    """

    name: str = "agman"
    trunk: str = "resnet50"
    weights: str = "hub"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    trunk_options: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingConfig:
    """How to train. The defaults are the paper's and its code's.

    Attributes:
        batching: ``triplets`` (the paper) or ``pairs`` (ours: every pair of the batch under every attribute).
        batch: triplets or images per step and process.
        triplets: triplets drawn per epoch.
        epochs: passes; with ``pairs`` a pass is every labelled image once.
        min_steps: optimiser steps at least; a small catalogue gets more passes to reach them.
        minutes: stop after this many minutes of training; the schedule is fitted to it. 0 is no limit.
        optimiser: ``adam`` (the code) or ``adamw``.
        lr: learning rate of the trunk.
        head_lr: learning rate of everything else; 0 takes ``lr``.
        weight_decay: of adamw.
        schedule: ``step`` (times ``decay`` every ``decay_every`` epochs) or ``cosine`` (warm-up, then cosine to 0).
        warmup: share of the training that ``cosine`` warms up for.
        clip: largest gradient norm; 0 is off.
        margin: of the triplet loss.
        temperature: of the pair loss.
        proxy_weight: weight of the value-proxy loss beside the pair loss.
        proxy_temperature: of the value-proxy loss.
        proxy_lr: learning rate of the value proxies; 0 takes that of the head.
        smoothing: label smoothing of the value-proxy loss.
        class_weight: weight of the attribute classification loss.
        combine: ``fixed``, ``learned`` or ``printed``, see ``lapel.losses.Combination``.
        average: decay of an exponential moving average of the weights, which is then validated and kept; 0 is off.
        precision: ``auto`` takes bf16 where the processor has it, ``bf16`` or ``fp32`` force one.
        validate_every: epochs between validations.
        seed: of Python's, NumPy's and torch's generators.
    """

    batching: Literal["triplets", "pairs"] = "triplets"
    batch: int = 16
    triplets: int = 100_000
    epochs: int = 50
    min_steps: int = 0
    minutes: float = 0.0
    optimiser: Literal["adam", "adamw"] = "adam"
    lr: float = 1e-4
    head_lr: float = 0.0
    weight_decay: float = 0.05
    schedule: Literal["step", "cosine"] = "step"
    decay: float = 0.9
    decay_every: int = 3
    warmup: float = 0.1
    clip: float = 0.0
    margin: float = 0.2
    temperature: float = 0.1
    proxy_weight: float = 0.0
    proxy_temperature: float = 0.1
    proxy_lr: float = 0.0
    smoothing: float = 0.0
    class_weight: float = 1.0
    combine: Literal["fixed", "learned", "printed"] = "fixed"
    average: float = 0.0
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    validate_every: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Recipe:
    """A whole training: data, images, model, training."""

    data: DataConfig = field(default_factory=DataConfig)
    image: ImageConfig = field(default_factory=ImageConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, ready for JSON or YAML."""
        plain: dict[str, Any] = yaml.safe_load(yaml.safe_dump(_plain(dataclasses.asdict(self))))
        return plain


def recipe_names() -> list[str]:
    """Names of the recipes that come with Lapel."""
    return sorted(Path(entry.name).stem for entry in files("lapel.recipes").iterdir() if entry.name.endswith(".yaml"))


def load_recipe(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by the name of a built-in one or as a YAML file, with ``section.key=value`` overrides.

    Raises:
        RecipeError: no such recipe, not YAML, an unknown key (names the nearest one), a value of the wrong type.
    """
    path = Path(source)
    try:
        if path.suffix in (".yaml", ".yml") or path.is_file():
            if not path.is_file():
                raise RecipeError(f"no recipe at {path}; the built-in ones are {', '.join(recipe_names())}")
            text = path.read_text(encoding="utf-8")
        elif str(source) in recipe_names():
            text = files("lapel.recipes").joinpath(f"{source}.yaml").read_text(encoding="utf-8")
        else:
            raise RecipeError(f"{unknown('recipe', source, recipe_names())}; or give a .yaml file")
        data = _section(yaml.load(text, _Loader), str(source), "a recipe")
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{source} is not YAML: {' '.join(str(error).split())}") from error
    except OSError as error:
        raise RecipeError(f"cannot read the recipe {source}: {error.strerror}") from error
    for override in overrides:
        _override(data, override)
    return from_dict(data, str(source))


def from_dict(data: Any, source: str = "recipe") -> Recipe:
    """Build a recipe from nested dictionaries.

    Raises:
        RecipeError: an unknown key, or a value of the wrong type or out of range, by its full name.
    """
    recipe: Recipe = _build(Recipe, data, source, "")
    _check(recipe, source)
    return recipe


class _Loader(yaml.SafeLoader):
    """YAML in which a repeated key is an error; else the last one would win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value]
        for place, key in enumerate(keys):
            if key in keys[:place]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key!r} is there twice", node.value[place][0].start_mark
                )
        return super().construct_mapping(node, deep)


def _section(data: Any, source: str, name: str) -> dict[str, Any]:
    """Return a section, of which an empty one in YAML is None."""
    if data is not None and not isinstance(data, Mapping):
        raise RecipeError(f"{source}: expected {name} to hold sections or keys, found {data!r}")
    return dict(data or {})


def _override(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    parts = key.strip().replace("-", "_").split(".")
    if not equals or len(parts) < 2 or not all(parts):
        raise RecipeError(f"--set {override!r}: expected section.key=value, for example training.epochs=5")
    node = data
    for part in parts[:-1]:
        if node.get(part) is None:
            node[part] = {}
        node = node[part]
        if not isinstance(node, dict):
            raise RecipeError(f"--set {override!r}: {part!r} holds a value, not a section")
    hint: Any = Recipe
    for part in parts:
        hint = typing.get_type_hints(hint).get(part) if dataclasses.is_dataclass(hint) else None
    try:
        # What is to be text stays as it is typed: a path may be 2024, or hold a colon.
        verbatim = hint is str or (typing.get_origin(hint) is tuple and not text.lstrip().startswith("["))
        node[parts[-1]] = text if verbatim or not text else yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {override!r}: the value is not YAML") from error


def _build(kind: Any, data: Any, source: str, prefix: str) -> Any:
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for key, value in _section(data, source, prefix.rstrip(".") or "a recipe").items():
        if key not in hints:
            raise RecipeError(f"{source}: {unknown('key', f'{prefix}{key}', [f'{prefix}{name}' for name in hints])}")
        hint = hints[key]
        name = f"{prefix}{key}"
        values[key] = (
            _build(hint, value, source, f"{name}.")
            if dataclasses.is_dataclass(hint)
            else _convert(hint, value, name, source)
        )
    return kind(**values)


def _convert(hint: Any, value: Any, name: str, source: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value not in arguments:
            raise RecipeError(f"{source}: {unknown(f'value of {name}', value, arguments)}")
        return value
    if origin is tuple:
        items = value.split(",") if isinstance(value, str) else value
        if isinstance(items, list | tuple):
            stripped = [item.strip() if isinstance(item, str) else item for item in items]
            return tuple(_convert(arguments[0], item, name, source) for item in stripped if item != "")
    elif origin is dict:
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            return dict(value)
    elif hint is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        # YAML reads 1e-4 as text.
        with contextlib.suppress(ValueError):
            if math.isfinite(float(value)):
                return float(value)
    elif isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    elif name == "model.weights" and value is None:
        return "none"
    raise RecipeError(f"{source}: expected {name} to be {_WANTED[origin or hint]}, found {value!r}")


_WANTED = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    tuple: "a list",
    dict: "keys with values",
}

# Below these no training can run.
_LEAST = {
    "data.split_seed": 0,
    "image.height": 32,
    "image.width": 32,
    "image.cache_gb": 0,
    "training.batch": 2,
    "training.epochs": 1,
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


def _check(recipe: Recipe, source: str) -> None:
    """Refuse values that no training can run with."""
    image, model, training = recipe.image, recipe.model, recipe.training
    found = {name: operator.attrgetter(name)(recipe) for name in (*_LEAST, *_ABOVE_ZERO, *_BELOW_ONE)}
    rules = [(name, found[name] >= least, f"at least {least}", found[name]) for name, least in _LEAST.items()]
    rules += [(name, found[name] > 0, "above 0", found[name]) for name in _ABOVE_ZERO]
    rules += [(name, 0 <= found[name] < 1, "from 0 to below 1", found[name]) for name in _BELOW_ONE]
    three = (len(model.mean), len(model.std)) in ((0, 0), (3, 3)) and all(level > 0 for level in model.std)
    rules += [
        ("data.max_failed", 0 <= recipe.data.max_failed <= 1, "from 0 to 1", recipe.data.max_failed),
        ("image.zoom", 0 < image.zoom <= 1, "above 0 and at most 1", image.zoom),
        ("model.mean and model.std", three, "three numbers each, std above 0, or none", (model.mean, model.std)),
        ("training.triplets", training.triplets >= training.batch, "at least one batch", training.triplets),
        ("training.seed", 0 <= training.seed < 2**32, f"from 0 to {2**32 - 1}", training.seed),
    ]
    for name, right, expected, value in rules:
        if not right:
            raise RecipeError(f"{source}: expected {name} {expected}, found {value}")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
