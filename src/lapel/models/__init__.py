"""Models, built by name.

An attribute model obeys one contract, ``AttributeNetwork``: ``features(images)`` runs the trunk once, then
``embed(features, attributes)`` gives (B, A, D) for all attributes together and ``attention(features, attributes)``
gives (B, A, H, W). An instance model obeys another, ``ItemNetwork``: ``embed(features)`` gives (B, D).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from lapel.errors import RecipeError, unknown
from lapel.models.agman import AGMAN
from lapel.models.ahbn import AHBN
from lapel.models.asenet import ASENet, ASENetV2
from lapel.models.asenpp import ASENPP
from lapel.models.attnfashion import AttnFashionStyle
from lapel.models.base import AttributeNetwork, ItemNetwork, Triplets
from lapel.models.csn import CSN, OriginalCSN
from lapel.models.fashionnet import FashionNet
from lapel.models.frozen import FrozenTrunk
from lapel.models.grnet_style import GRNetStyle
from lapel.models.plain import TripletNetwork
from lapel.models.pooled import PooledItem
from lapel.models.rpf import RPF

__all__ = [
    "AGMAN",
    "AHBN",
    "ITEM_MODELS",
    "MODELS",
    "AttributeNetwork",
    "ItemNetwork",
    "Triplets",
    "build",
    "build_item",
]

MODELS: dict[str, Callable[..., AttributeNetwork]] = {
    "agman": AGMAN,
    "asenet": ASENet,
    "asenet_v2": ASENetV2,
    "asenpp": ASENPP,
    "attnfashion_style": AttnFashionStyle,
    "csn": CSN,
    "csn_original": OriginalCSN,
    "frozen": FrozenTrunk,
    "rpf": RPF,
    "triplet": TripletNetwork,
}

ITEM_MODELS: dict[str, Callable[..., ItemNetwork]] = {
    "ahbn": AHBN,
    "fashionnet": FashionNet,
    "grnet_style": GRNetStyle,
    "pooled": PooledItem,
}


def build(
    name: str,
    attributes: int | Sequence[str],
    trunk: str | None = None,
    pretrained: bool | Path | str = False,
    **options: Any,
) -> AttributeNetwork:
    """Build a model by name.

    Args:
        name: one of ``MODELS``.
        attributes: how many attributes, or their names.
        trunk: timm name of the trunk; None takes the model's own: ResNet-50, ResNet-18 of ``csn_original``.
        pretrained: True (hub), a local ``.safetensors`` file, or False.
        options: the model's own options, see its class.

    Raises:
        RecipeError: unknown model, option or trunk, or a wrong value of one; weights that cannot be had.
    """
    kind, trunk = _checked(MODELS, "attributes", name, trunk, options)
    count = attributes if isinstance(attributes, int) else len(attributes)
    if count < 1:
        raise RecipeError(f"model {name!r} needs at least one attribute, found {count}")
    return kind(count, trunk, pretrained, **options)


def build_item(
    name: str,
    tags: int,
    trunk: str | None = None,
    pretrained: bool | Path | str = False,
    **options: Any,
) -> ItemNetwork:
    """Build an instance model by name.

    Args:
        name: one of ``ITEM_MODELS``.
        tags: how many attribute values it predicts beside the embedding; 0 for none.
        trunk: timm name of the trunk; None takes the model's own.
        pretrained: True (hub), a local ``.safetensors`` file, or False.
        options: the model's own options, see its class.

    Raises:
        RecipeError: unknown model, option or trunk, or a wrong value of one; weights that cannot be had.
    """
    kind, trunk = _checked(ITEM_MODELS, "tags", name, trunk, options)
    if isinstance(tags, bool) or tags < 0:
        raise RecipeError(f"model {name!r}: expected at least 0 tags, found {tags!r}")
    return kind(tags, trunk, pretrained, **options)


Kind = TypeVar("Kind", bound=Callable[..., Any])


def _checked(
    models: Mapping[str, Kind], first: str, name: str, trunk: str | None, options: Mapping[str, Any]
) -> tuple[Kind, str]:
    """Return the model of that name, its options checked, and the trunk or the model's own.

    Args:
        models: those there are.
        first: name of their first argument, which is no option.
        name: the model's.
        trunk: as of ``build``.
        options: as of ``build``.
    """
    if name not in models:
        other = {**MODELS, **ITEM_MODELS}
        if name in other:
            wanted = "an attribute model" if models is MODELS else "an instance model"
            raise RecipeError(f"expected {wanted}, found {name!r}: choose one of {', '.join(sorted(models))}")
        raise RecipeError(unknown("model", name, models))
    parameters = inspect.signature(models[name]).parameters
    known = {key: one.default for key, one in parameters.items() if key not in (first, "trunk", "pretrained")}
    for key, value in options.items():
        if key not in known:
            raise RecipeError(f"model {name!r}: {unknown('option', key, known)}")
        # The default shows the type; a whole number is a number, but true is not 1.
        wanted_type = type(known[key])
        fits = isinstance(value, int | float if wanted_type is float else wanted_type) and isinstance(value, bool) <= (
            wanted_type is bool
        )
        if known[key] is not None and not fits:
            raise RecipeError(f"model {name!r}: expected option {key} to be {wanted_type.__name__}, found {value!r}")
    return models[name], trunk or parameters["trunk"].default
