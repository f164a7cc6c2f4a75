"""ASEN: attribute-specific embedding networks (Ma et al., AAAI 2020), as in ``Maryeon/asen``, model.py.

ASENet is the paper's, ASENet_V2 the repository's later form, with which AG-MAN compares (Tables 2 to 4, 9 and 10). Both
attend the trunk's stride-16 map where the attribute looks, then weigh the channels of what was seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lapel.models.attention import ConditionedChannelAttention, over_positions, pool
from lapel.models.base import AttributeNetwork, check_option
from lapel.models.trunks import Trunk
from lapel.precision import single


class KeyedFeatures(NamedTuple):
    """What every attribute shares.

    Attributes:
        map: the trunk's stride-16 map (B, C, H, W), which is pooled.
        keys: what attributes are compared with at each position (B, c, H, W).
    """

    map: Tensor
    keys: Tensor


class ASENet(AttributeNetwork):
    """ASENet: one-hot attributes, a learned spatial score, and a linear layer at the end.

    An attribute's one-hot through a linear layer without bias is a column of its weight. The spatial score is a 1x1
    convolution over the product of image and attribute map, ``sum_c w_c tanh(k_c) tanh(q_c) + b``: w goes into q, and
    all attributes are one einsum, without a (B, A, c, H, W) product. Tanh and softmax over positions follow.

    Args:
        attributes: number of attributes n.
        trunk: timm name of the trunk; the papers' is ResNet-50.
        pretrained: see ``Trunk``.
        trunk_options: further arguments of ``timm.create_model``.
        width: c, size of the space where image and attribute meet, and of the channel attention's hidden layer.
        dim: size of the embedding.

    Raises:
        RecipeError: a size below 1.
    """

    def __init__(
        self,
        attributes: int,
        trunk: str = "resnet50",
        pretrained: bool | Path | str = False,
        trunk_options: Mapping[str, Any] | None = None,
        *,
        width: int = 512,
        dim: int = 1024,
    ) -> None:
        super().__init__()
        check_option("asenet", "width", width >= 1, "at least 1", width)
        check_option("asenet", "dim", dim >= 1, "at least 1", dim)
        self.attributes = attributes
        self.dim = dim
        self.trunk = Trunk(trunk, pretrained, trunk_options)
        self.trunk.drop_tail()
        channels = self.trunk.channels[1]
        self.key = nn.Conv2d(channels, width, 1)
        self.spatial_query = nn.Linear(attributes, width, bias=False)
        self.score = nn.Linear(width, 1)
        self.channel_query = nn.Linear(attributes, channels, bias=False)
        self.channel = ConditionedChannelAttention(channels, channels, width)
        self.output = nn.Linear(channels, dim)

    def features(self, images: Tensor) -> KeyedFeatures:
        """Run the trunk once: images (B, 3, H, W) -> ``KeyedFeatures``."""
        stride16 = self.trunk(images)[1]
        return KeyedFeatures(stride16, torch.tanh(self.key(stride16)))

    def attention(self, features: KeyedFeatures, attributes: Tensor) -> Tensor:
        """Where attributes (A,) look -> (B, A, H, W), non-negative, summing to 1 over positions."""
        query = torch.tanh(self.spatial_query.weight.T[attributes]) * self.score.weight
        score = single(torch.einsum("bchw,ac->bahw", features.keys, query.to(features.keys.dtype)))
        return over_positions(torch.tanh(score + self.score.bias))

    def embed(self, features: KeyedFeatures, attributes: Tensor) -> Tensor:
        """Embeddings under attributes (A,) -> (B, A, D), float32, L2-normalised."""
        vectors = pool(features.map, self.attention(features, attributes))
        vectors = vectors * self.channel(vectors, self.channel_query.weight.T[attributes])
        return F.normalize(self.output(vectors).float(), dim=-1, eps=1e-8)


class ASENetV2(AttributeNetwork):
    """ASENet_V2: one attribute embedding for both attentions, scaled products as scores, no layer at the end.

    The embedding has the channels of the trunk's stride-16 map: 1024 for ResNet-50.

    Args:
        attributes: number of attributes n.
        trunk: timm name of the trunk; the papers' is ResNet-50.
        pretrained: see ``Trunk``.
        trunk_options: further arguments of ``timm.create_model``.
        width: size of the attribute embedding, of the space where image and attribute meet, and of the channel
            attention's hidden layer.

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
        width: int = 512,
    ) -> None:
        super().__init__()
        check_option("asenet_v2", "width", width >= 1, "at least 1", width)
        self.attributes = attributes
        self.trunk = Trunk(trunk, pretrained, trunk_options)
        self.trunk.drop_tail()
        channels = self.trunk.channels[1]
        self.dim = channels
        self.embedding = nn.Embedding(attributes, width)
        self.key = nn.Conv2d(channels, width, 1)
        self.norm = nn.BatchNorm2d(width)
        self.spatial_query = nn.Linear(width, width)
        self.channel_query = nn.Linear(width, width)
        self.channel = ConditionedChannelAttention(channels, width, width)

    def features(self, images: Tensor) -> KeyedFeatures:
        """Run the trunk once: images (B, 3, H, W) -> ``KeyedFeatures``."""
        stride16 = self.trunk(images)[1]
        return KeyedFeatures(stride16, torch.tanh(self.norm(self.key(stride16))))

    def attention(self, features: KeyedFeatures, attributes: Tensor) -> Tensor:
        """Where attributes (A,) look -> (B, A, H, W), non-negative, summing to 1 over positions."""
        query = torch.tanh(self.spatial_query(self.embedding(attributes)))
        score = single(torch.einsum("bchw,ac->bahw", features.keys, query.to(features.keys.dtype)))
        return over_positions(score / query.shape[-1] ** 0.5)

    def embed(self, features: KeyedFeatures, attributes: Tensor) -> Tensor:
        """Embeddings under attributes (A,) -> (B, A, D), float32, L2-normalised."""
        vectors = pool(features.map, self.attention(features, attributes))
        vectors = vectors * self.channel(vectors, self.channel_query(self.embedding(attributes)))
        return F.normalize(vectors.float(), dim=-1, eps=1e-8)
