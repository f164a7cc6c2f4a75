"""Models, built by name.

An attribute model obeys one contract, ``AttributeNetwork``: ``features(images)`` runs the trunk once, then
``embed(features, attributes)`` gives (B, A, D) for all attributes together and ``attention(features, attributes)``
gives (B, A, H, W).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lapel.errors import RecipeError, unknown
from lapel.models.agman import AGMAN
from lapel.models.asenet import ASENet, ASENetV2
from lapel.models.asenpp import ASENPP
from lapel.models.attnfashion import AttnFashionStyle
from lapel.models.base import AttributeNetwork, Triplets
from lapel.models.csn import CSN, OriginalCSN
from lapel.models.frozen import FrozenTrunk
from lapel.models.plain import TripletNetwork
from lapel.models.rpf import RPF

__all__ = ["AGMAN", "MODELS", "AttributeNetwork", "Triplets", "build"]

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
    if name not in MODELS:
        raise RecipeError(unknown("model", name, MODELS))
    kind = MODELS[name]
    parameters = inspect.signature(kind).parameters
    known = {key: one.default for key, one in parameters.items() if key not in ("attributes", "trunk", "pretrained")}
    for key, value in options.items():
        if key not in known:
            raise RecipeError(f"model {name!r}: {unknown('option', key, known)}")
        # The default shows the type; a whole number is a number, but true is not 1.
        wanted = type(known[key])
        fits = isinstance(value, int | float if wanted is float else wanted) and isinstance(value, bool) <= (
            wanted is bool
        )
        if known[key] is not None and not fits:
            raise RecipeError(f"model {name!r}: expected option {key} to be {wanted.__name__}, found {value!r}")
    count = attributes if isinstance(attributes, int) else len(attributes)
    if count < 1:
        raise RecipeError(f"model {name!r} needs at least one attribute, found {count}")
    return kind(count, trunk or parameters["trunk"].default, pretrained, **options)
