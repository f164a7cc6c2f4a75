"""Models, built by name.

An attribute model obeys one contract: ``features(images)`` runs the trunk once, then ``embed(features, attributes)``
gives (B, A, D) for all attributes together and ``attention(features, attributes)`` gives (B, A, H, W).
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from lapel.errors import RecipeError, unknown
from lapel.models.agman import AGMAN, Features

MODELS: dict[str, type[AGMAN]] = {"agman": AGMAN}


class AttributeModel(Protocol):
    """The contract of attribute models; ``attributes`` below is an int64 tensor (A,) of attribute numbers."""

    dim: int

    def features(self, images: Tensor) -> Features:
        """Images (B, 3, H, W) -> what every attribute shares."""

    def embed(self, features: Features, attributes: Tensor) -> Tensor:
        """-> (B, A, D) float32, L2-normalised."""

    def attention(self, features: Features, attributes: Tensor) -> Tensor:
        """-> (B, A, H, W), non-negative, summing to 1 over positions."""


def build(
    name: str,
    attributes: int | Sequence[str],
    trunk: str = "resnet50",
    pretrained: bool | Path | str = False,
    **options: Any,
) -> AGMAN:
    """Build a model by name.

    Args:
        name: one of ``MODELS``.
        attributes: how many attributes, or their names.
        trunk: timm name of the trunk.
        pretrained: True (hub), a local ``.safetensors`` file, or False.
        options: the model's own options, see its class.

    Raises:
        RecipeError: unknown model, option or trunk, or a wrong value of one; weights that cannot be had.
    """
    if name not in MODELS:
        raise RecipeError(unknown("model", name, MODELS))
    kind = MODELS[name]
    known = {
        key: parameter.default
        for key, parameter in inspect.signature(kind).parameters.items()
        if key not in ("attributes", "trunk", "pretrained")
    }
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
    model = kind(count, trunk, pretrained, **options)
    assert isinstance(model, nn.Module)
    return model
