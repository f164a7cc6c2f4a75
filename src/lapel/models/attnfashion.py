"""A network in the style of AttnFashion (Wan et al., J. Exp. Theor. Artif. Intell. 2022), with sizes of our own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lapel.models.asenet import KeyedFeatures
from lapel.models.attention import over_positions, pool
from lapel.models.base import AttributeNetwork, check_option
from lapel.models.trunks import Trunk
from lapel.precision import single


class AttnFashionStyle(AttributeNetwork):
    """Spatial and channel attention guided by the attribute, in the style of AttnFashion: not AttnFashion.

    Of AttnFashion only a description in words is public: a spatial attention, guided by the attribute, that locates key
    regions, and a channel attention that fuses image and attribute. Neither its layers nor its sizes are published, and
    AG-MAN, which reports it, has no code of it. Everything below is therefore ours, and what it measures says nothing
    of the numbers printed for AttnFashion (AG-MAN Tables 2 to 4, 9 and 10).

    Spatial: keys are ReLU(1x1 convolution) of the trunk's stride-16 map, the query is a linear layer of the attribute's
    embedding; scaled inner product, softmax over positions, weighted sum. Channel: linear layers of the pooled vector
    and of the attribute embedding are multiplied; ReLU, a linear layer and sigmoid make the channels' weights. A linear
    layer and L2 normalisation end it.

    Args:
        attributes: number of attributes n.
        trunk: timm name of the trunk.
        pretrained: see ``Trunk``.
        trunk_options: further arguments of ``timm.create_model``.
        width: size of the attribute embedding and of the spaces where image and attribute meet.
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
        check_option("attnfashion_style", "width", width >= 1, "at least 1", width)
        check_option("attnfashion_style", "dim", dim >= 1, "at least 1", dim)
        self.attributes = attributes
        self.dim = dim
        self.trunk = Trunk(trunk, pretrained, trunk_options)
        self.trunk.drop_tail()
        channels = self.trunk.channels[1]
        self.embedding = nn.Embedding(attributes, width)
        self.key = nn.Conv2d(channels, width, 1)
        self.query = nn.Linear(width, width)
        self.fuse_image = nn.Linear(channels, width)
        self.fuse_attribute = nn.Linear(width, width)
        self.weigh = nn.Linear(width, channels)
        self.output = nn.Linear(channels, dim)

    def features(self, images: Tensor) -> KeyedFeatures:
        """Run the trunk once: images (B, 3, H, W) -> ``KeyedFeatures``."""
        stride16 = self.trunk(images)[1]
        return KeyedFeatures(stride16, F.relu(self.key(stride16)))

    def attention(self, features: KeyedFeatures, attributes: Tensor) -> Tensor:
        """Where attributes (A,) look -> (B, A, H, W), non-negative, summing to 1 over positions."""
        query = self.query(self.embedding(attributes)).to(features.keys.dtype)
        score = single(torch.einsum("bchw,ac->bahw", features.keys, query))
        return over_positions(score / query.shape[-1] ** 0.5)

    def embed(self, features: KeyedFeatures, attributes: Tensor) -> Tensor:
        """Embeddings under attributes (A,) -> (B, A, D), float32, L2-normalised."""
        vectors = pool(features.map, self.attention(features, attributes))
        fused = F.relu(self.fuse_image(vectors) * self.fuse_attribute(self.embedding(attributes)))
        vectors = vectors * torch.sigmoid(self.weigh(fused))
        return F.normalize(self.output(vectors).float(), dim=-1, eps=1e-8)
