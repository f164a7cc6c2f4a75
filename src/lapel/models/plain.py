"""A plain triplet network: one embedding, the same for every attribute. The floor that conditioned models stand on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from lapel.models.attention import uniform
from lapel.models.base import AttributeNetwork, check_option
from lapel.models.trunks import Trunk, pooled


class PooledFeatures(NamedTuple):
    """What a model without spatial attention keeps of an image.

    Attributes:
        map: the trunk's stride-16 map (B, C, H, W).
        vector: the embedding before masks and normalisation (B, D).
    """

    map: Tensor
    vector: Tensor


class PooledNetwork(AttributeNetwork):
    """What the plain triplet network and CSN have in common: the trunk's pooled stride-16 map and one linear layer.

    Args:
        attributes: number of attributes n.
        trunk: of which the last block is dropped.
        width: size of the embedding.
    """

    def __init__(self, attributes: int, trunk: Trunk, width: int) -> None:
        super().__init__()
        self.attributes = attributes
        self.dim = width
        self.trunk = trunk
        self.trunk.drop_tail()
        self.project = nn.Linear(self.trunk.channels[1], width)

    def features(self, images: Tensor) -> PooledFeatures:
        """Run the trunk once: images (B, 3, H, W) -> ``PooledFeatures``."""
        stride16 = self.trunk(images)[1]
        return PooledFeatures(stride16, self.project(pooled(stride16)))

    def attention(self, features: PooledFeatures, attributes: Tensor) -> Tensor:
        """Everywhere alike: 1/HW of attributes (A,) -> (B, A, H, W)."""
        return uniform(features.map, len(attributes))


class TripletNetwork(PooledNetwork):
    """The trunk's stride-16 map, average pooling, one linear layer, L2 normalisation; attributes are not looked at.

    Args:
        attributes: number of attributes n.
        trunk: timm name of the trunk.
        pretrained: see ``Trunk``.
        trunk_options: further arguments of ``timm.create_model``.
        width: size of the embedding; the default is that of the tables' CSN.

    Raises:
        RecipeError: a width below 1.
    """

    def __init__(
        self,
        attributes: int,
        trunk: str = "resnet50",
        pretrained: bool | Path | str = False,
        trunk_options: Mapping[str, Any] | None = None,
        *,
        width: int = 1024,
    ) -> None:
        check_option("triplet", "width", width >= 1, "at least 1", width)
        super().__init__(attributes, Trunk(trunk, pretrained, trunk_options), width)

    def embed(self, features: PooledFeatures, attributes: Tensor) -> Tensor:
        """The same embedding under each of the attributes (A,) -> (B, A, D), float32, L2-normalised."""
        vectors = F.normalize(features.vector.float(), dim=-1, eps=1e-8)
        return vectors.unsqueeze(1).expand(-1, len(attributes), -1)
