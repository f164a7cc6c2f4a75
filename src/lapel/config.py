"""Recipes: one typed configuration, which is the YAML file, the ``--set`` flags and the record in the run."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
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
        cache_gb: memory for prepared images, so that none is decoded twice.
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
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if not path.is_file():
            raise RecipeError(f"no recipe at {path}; the built-in ones are {', '.join(recipe_names())}")
        text = path.read_text(encoding="utf-8")
    elif str(source) in recipe_names():
        text = files("lapel.recipes").joinpath(f"{source}.yaml").read_text(encoding="utf-8")
    else:
        raise RecipeError(f"{unknown('recipe', source, recipe_names())}; or give a .yaml file")
    try:
        data = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise RecipeError(f"{source} is not YAML: {' '.join(str(error).split())}") from error
    for override in overrides:
        _override(data, override)
    return from_dict(data, str(source))


def from_dict(data: Any, source: str = "recipe") -> Recipe:
    """Build a recipe from nested dictionaries.

    Raises:
        RecipeError: an unknown key or a value of the wrong type, by its full name.
    """
    recipe: Recipe = _build(Recipe, data, source, "")
    _check(recipe, source)
    return recipe


def _override(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    parts = key.strip().replace("-", "_").split(".")
    if not equals or len(parts) < 2 or not all(parts):
        raise RecipeError(f"--set {override!r}: expected section.key=value, for example training.epochs=5")
    node = data
    for part in parts[:-1]:
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            raise RecipeError(f"--set {override!r}: {part!r} holds a value, not a section")
    try:
        node[parts[-1]] = yaml.safe_load(text) if text else ""
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {override!r}: the value is not YAML") from error


def _build(kind: Any, data: Any, source: str, prefix: str) -> Any:
    if not isinstance(data, Mapping):
        raise RecipeError(f"{source}: expected {prefix or 'a recipe'} to hold sections or keys, found {data!r}")
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key not in hints:
            raise RecipeError(f"{source}: {unknown('key', f'{prefix}{key}', [f'{prefix}{name}' for name in hints])}")
        hint = hints[key]
        name = f"{prefix}{key}"
        values[key] = (
            _build(hint, value, source, f"{name}.") if dataclasses.is_dataclass(hint) else _convert(hint, value, name, source)
        )
    return kind(**values)


def _convert(hint: Any, value: Any, name: str, source: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value not in arguments:
            raise RecipeError(f"{source}: {unknown(f'value of {name}', value, arguments)}")
        return value
    if origin is tuple:
        items = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        if isinstance(items, list | tuple):
            return tuple(_convert(arguments[0], item, name, source) for item in items)
    elif origin is dict:
        if isinstance(value, Mapping):
            return dict(value)
    elif hint is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            # YAML reads 1e-4 as text.
            return float(value)
        except ValueError:
            pass
    elif isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    elif hint is str and value is None:
        return "none"
    wanted = hint.__name__ if isinstance(hint, type) and not isinstance(hint, types.GenericAlias) else str(hint)
    raise RecipeError(f"{source}: expected {name} to be {wanted}, found {value!r}")


def _check(recipe: Recipe, source: str) -> None:
    """Refuse values that no training can run with."""
    image, training = recipe.image, recipe.training
    rules = [
        (image.height >= 32 and image.width >= 32, "image.height and image.width", "at least 32", (image.height, image.width)),
        (0 < image.zoom <= 1, "image.zoom", "above 0 and at most 1", image.zoom),
        (training.batch >= 2, "training.batch", "at least 2", training.batch),
        (training.epochs >= 1, "training.epochs", "at least 1", training.epochs),
        (training.triplets >= training.batch, "training.triplets", "at least one batch", training.triplets),
        (training.lr > 0, "training.lr", "above 0", training.lr),
        (training.temperature > 0, "training.temperature", "above 0", training.temperature),
        (0 <= training.average < 1, "training.average", "from 0 to below 1", training.average),
        (0 <= recipe.data.max_failed <= 1, "data.max_failed", "from 0 to 1", recipe.data.max_failed),
        (len(recipe.model.mean) in (0, 3) and len(recipe.model.mean) == len(recipe.model.std), "model.mean and model.std", "three numbers each, or none", (recipe.model.mean, recipe.model.std)),
    ]
    for right, name, expected, found in rules:
        if not right:
            raise RecipeError(f"{source}: expected {name} {expected}, found {found}")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
