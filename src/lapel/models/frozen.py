"""The floor: a trunk as it came, without training and without attributes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch.nn.functional as F
from torch import Tensor, nn

from lapel.models import trunks
from lapel.models.base import AttributeNetwork
from lapel.precision import single


class Pooled(NamedTuple):
    """Pooled vectors (B, D), and the size of a map at stride 16."""

    vectors: Tensor
    height: int
    width: int


class FrozenTrunk(AttributeNetwork):
    """The pooled features of an untouched trunk: one vector for every attribute, nothing to train.

    What a trained model adds is what it is better by.

    Args:
        attributes: number of attributes.
        trunk: timm name of any network.
        pretrained: see ``lapel.models.trunks.Trunk``.
        trunk_options: further arguments of ``timm.create_model``.

    Raises:
        RecipeError: unknown trunk, or weights that cannot be had.
    """

    def __init__(
        self,
        attributes: int,
        trunk: str = "resnet50",
        pretrained: bool | Path | str = False,
        trunk_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.attributes = attributes
        self.trunk = _Whole(trunk, pretrained, trunk_options)
        self.trunk.requires_grad_(False)
        self.dim = self.trunk.dim

    def features(self, images: Tensor) -> Pooled:
        """Run the trunk once: images (B, 3, H, W) -> ``Pooled``."""
        height, width = (-(-side // 16) for side in images.shape[-2:])
        return Pooled(self.trunk(images), height, width)

    def embed(self, features: Pooled, attributes: Tensor) -> Tensor:
        """The same vector under each of the attributes (A,) -> (B, A, D), float32, L2-normalised."""
        vectors = F.normalize(features.vectors.float(), dim=-1, eps=1e-8)
        return vectors[:, None].expand(-1, len(attributes), -1)

    def attention(self, features: Pooled, attributes: Tensor) -> Tensor:
        """It looks everywhere alike: (B, A, H, W) of 1 / HW."""
        size = (len(features.vectors), len(attributes), features.height, features.width)
        return single(features.vectors.new_empty(0)).new_full(size, 1 / (features.height * features.width))


class _Whole(nn.Module):
    """A whole timm network with what a run wants to know of a trunk."""

    def __init__(self, name: str, pretrained: bool | Path | str, options: Mapping[str, Any] | None) -> None:
        super().__init__()
        self.name = name
        net: Any = trunks.whole(name, pretrained, options)
        # Some networks have a layer between pooling and classifier.
        self.dim = int(getattr(net, "head_hidden_size", None) or net.num_features)
        self.net = net
        config: Any = timm.get_pretrained_cfg(name)
        self.mean = tuple(float(v) for v in config.mean)
        self.std = tuple(float(v) for v in config.std)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> (B, D)."""
        vectors: Tensor = self.net(images)
        return vectors
