"""Recipes: one typed configuration, which is the YAML file, the ``--set`` flags and the record in the run."""

from __future__ import annotations

import copy
import dataclasses
import typing
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml

from lapel import recipe_rules
from lapel.errors import RecipeError, unknown
from lapel.typed import build, inside, section


@dataclass(frozen=True)
class DataConfig:
    """What to train on.

    Attributes:
        catalogue: catalogue file or folder.
        attributes: attributes to train; empty takes every attribute with at least two trainable values.
        tags: instance models: how many (attribute, value) pairs the attribute branch learns, the most frequent of the
            training split, from ``attributes`` (AHBN's K, which the paper does not tell: the default is ours). 0 takes
            every pair that two training images have.
        split_seed: seed of the 8:1:1 split, where the catalogue has none.
        max_failed: share of unreadable images above which the job stops.
    """

    catalogue: str = ""
    attributes: tuple[str, ...] = ()
    tags: int = 100
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
        rotate: degrees that a training image turns at most, either way (AHBN turns them by a range that it does not
            state); 0 is off.
        hue: share of the colour circle that a training image's colours move at most, either way; 0 is off.
        grey: probability that a training image loses its colour.
        erase: probability that a rectangle of a training image is wiped out.
        cache_gb: memory for prepared images in each process, so that none is decoded twice; validation takes an eighth
            more.
    """

    height: int = 224
    width: int = 224
    resize: Literal["crop", "letterbox"] = "crop"
    flip: bool = True
    zoom: float = 1.0
    jitter: float = 0.0
    rotate: float = 0.0
    hue: float = 0.0
    grey: float = 0.0
    erase: float = 0.0
    cache_gb: float = 4.0


@dataclass(frozen=True)
class ModelConfig:
    """What to train.

    Attributes:
        name: a model of ``lapel.models``.
        trunk: a timm model name.
        weights: ``hub``, ``none`` or a local .safetensors file.
        init: a run whose weights the training starts from: every tensor of this model that it has, by name. What it
            lacks is filled as ``weights`` says.
        mean, std: input normalisation; empty takes what the trunk's weights declare.
        trunk_options: further arguments of ``timm.create_model``.
        options: the model's own options.
    """

    name: str = "agman"
    trunk: str = "resnet50"
    weights: str = "hub"
    init: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    trunk_options: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def pretrained(self) -> bool | str:
        """``weights`` as ``lapel.models.build`` takes them."""
        return {"hub": True, "none": False}.get(self.weights, self.weights)


@dataclass(frozen=True)
class TrainingConfig:
    """How to train. The defaults are the paper's and its code's.

    Attributes:
        batching: ``triplets`` (the paper), ``pairs`` (ours: every pair of the batch under every attribute) or
            ``images`` (instance models: a step is a batch of images, with the losses of ``losses``).
        sampler: where triplets come from: ``asen`` (attribute, value, images, each uniform), ``balanced`` (ASEN++: two
            values, then images) or ``given`` (the catalogue's relation ``triplets``, in a new order each epoch).
        per_item: of ``images``: so many images of each item in a batch, which leaves out those that are the only one
            of their item; 0 shuffles all images (AHBN).
        within: of ``images``: each batch is of two values of this attribute (FastAP's batches); empty is off.
        losses: of ``images``: the weight of each loss, by its name in ``lapel.recipe_rules.LOSSES``; at 0 it is off.
        id_scale: of the loss ``id``: 0 is a linear layer (AHBN), above it the scaled cosine (ours).
        batch: triplets or images per step and process.
        triplets: triplets drawn per epoch; of given ones a random part of so many, the same in every epoch.
        epochs: passes; with ``pairs`` and ``images`` a pass is every image once that has a label of what is learned.
        steps: optimiser steps, in place of the passes; 0 leaves the length to ``epochs``.
        min_steps: optimiser steps at least; a small catalogue gets more passes to reach them.
        minutes: stop after this many minutes of training, to which a ``cosine`` schedule is fitted (``step`` counts
            epochs all the same). 0 is no limit.
        optimiser: ``adam`` (the code) or ``adamw``.
        lr: learning rate of the trunk.
        head_lr: learning rate of everything else; 0 takes ``lr``.
        rates: learning rates of single modules by the beginning of their parameters' names, such as ``trunk: 1e-5``;
            the longest that fits wins, before all other rates.
        weight_decay: of adamw.
        schedule: ``step`` (times ``decay`` every ``decay_every`` epochs) or ``cosine`` (warm-up, then cosine to 0).
        warmup: share of the training that ``cosine`` warms up for.
        clip: largest gradient norm; 0 is off.
        margin: of the triplet loss.
        temperature: of the pair loss, of ``contrast`` and of ``simclr``.
        proxy_weight: weight of the value-proxy loss beside the pair loss.
        proxy_temperature: of the value-proxy loss.
        proxy_lr: learning rate of the value proxies, and of the item classifier; 0 takes that of the head.
        smoothing: label smoothing of the value-proxy loss, and of ``id``.
        class_weight: weight of the attribute classification loss.
        combine: ``fixed``, ``learned`` or ``printed``, see ``lapel.losses.attributes.Combination``.
        average: decay of an exponential moving average of the weights, which is then validated and kept; 0 is off.
        precision: ``auto`` takes bf16 where the processor has it, ``bf16`` or ``fp32`` force one.
        validate_every: epochs between validations.
        seed: of Python's, NumPy's and torch's generators.
    """

    batching: Literal["triplets", "pairs", "images"] = "triplets"
    sampler: Literal["asen", "balanced", "given"] = "asen"
    per_item: int = 0
    within: str = ""
    losses: dict[str, float] = field(default_factory=dict)
    id_scale: float = 0.0
    batch: int = 16
    triplets: int = 100_000
    epochs: int = 50
    steps: int = 0
    min_steps: int = 0
    minutes: float = 0.0
    optimiser: Literal["adam", "adamw"] = "adam"
    lr: float = 1e-4
    head_lr: float = 0.0
    rates: dict[str, float] = field(default_factory=dict)
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
    """A whole training: data, images, model, training.

    Attributes:
        data, image, model, training: the settings.
        stages: none, or for each stage of the training what it changes in them, by dotted names:
            ``[{training.epochs: 50}, {training.epochs: 20, training.lr: 1e-5}]``. Each stage starts from the best
            weights of the one before. A stage's own value wins over the recipe's, ``--set`` included;
            ``--set stages.2.training.epochs=5`` changes the second stage.
    """

    data: DataConfig = field(default_factory=DataConfig)
    image: ImageConfig = field(default_factory=ImageConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    stages: tuple[dict[str, Any], ...] = ()

    def resolved(self, source: str = "recipe") -> list[Recipe]:
        """Each stage as a recipe of its own; a recipe without stages is the only one.

        A time limit (``training.minutes``) is that of the whole training: stages that set none of their own share it by
        their epochs.

        Raises:
            RecipeError: what a stage changes is no setting, or of the wrong type or range; names the stage.
        """
        if not self.stages:
            return [self]
        found = []
        for number, changes in enumerate(self.stages, 1):
            data = dataclasses.replace(self, stages=()).to_dict()
            where = f"{source}, stage {number}"
            for key, value in changes.items():
                if key in ("data.catalogue", "model.init") or "." not in key:
                    raise RecipeError(
                        f"{where}: {key!r} cannot be changed: expected a setting such as training.epochs, but not the "
                        "catalogue, nor model.init: a stage starts from the one before"
                    )
                *sections, name = key.split(".")
                # A copy: a later key of the stage may set one inside it.
                inside(data, sections, f"{where}: {key!r}")[name] = copy.deepcopy(value)
            found.append(from_dict(data, where))
        epochs = sum(stage.training.epochs for stage in found)
        for place, (stage, changes) in enumerate(zip(found, self.stages, strict=True)):
            if "training.minutes" not in changes:
                minutes = stage.training.minutes * stage.training.epochs / epochs
                found[place] = dataclasses.replace(stage, training=dataclasses.replace(stage.training, minutes=minutes))
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, ready for JSON or YAML."""
        plain: dict[str, Any] = yaml.safe_load(yaml.safe_dump(_plain(dataclasses.asdict(self))))
        return plain


def recipe_names() -> list[str]:
    """Names of the recipes that come with Lapel."""
    return sorted(Path(entry.name).stem for entry in files("lapel.recipes").iterdir() if entry.name.endswith(".yaml"))


def load_recipe(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by the name of a built-in one or as a YAML file, with ``section.key=value`` overrides.

    In a recipe with stages an override changes what the stages share; what a stage sets itself stays. To change that
    too, name it: ``stages.2.training.epochs=5``, counted from 1.

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
        data = section(yaml.load(text, _Loader), str(source), "a recipe")
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
    recipe: Recipe = build(Recipe, data, source, "")
    recipe_rules.check(recipe, source)
    recipe.resolved(source)
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


def _override(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    parts = key.strip().replace("-", "_").split(".")
    if not equals or len(parts) < 2 or not all(parts):
        raise RecipeError(f"--set {override!r}: expected section.key=value, for example training.epochs=5")
    if parts[0] == "stages":
        stages = data.get("stages") or []
        number = int(parts[1]) if parts[1].isdecimal() else 0
        if not stages or not isinstance(stages, list):
            raise RecipeError(f"--set {override!r}: the recipe has no stages")
        if len(parts) < 4 or not 1 <= number <= len(stages) or not isinstance(stages[number - 1], dict):
            raise RecipeError(f"--set {override!r}: expected stages.N.section.key=value, N from 1 to {len(stages)}")
        parts = parts[2:]
        node, name = stages[number - 1], ".".join(parts)
    else:
        node, name = inside(data, parts[:-1], f"--set {override!r}"), parts[-1]
    hint: Any = Recipe
    for part in parts:
        hint = typing.get_type_hints(hint).get(part) if dataclasses.is_dataclass(hint) else None
    try:
        # What is to be text stays as it is typed: a path may be 2024, or hold a colon.
        verbatim = hint is str or (typing.get_origin(hint) is tuple and not text.lstrip().startswith("["))
        node[name] = text if verbatim or not text else yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {override!r}: the value is not YAML") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
