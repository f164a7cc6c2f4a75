"""AG-MAN: attribute-guided multi-level attention network (Xiao and Yamasaki, IEEE Access 2024).

The default is the official code's path; the paper's printed variants and the ablations are options. Where the two
differ, the docstrings say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lapel.models.attention import (
    AttributeChannelAttention,
    AttributeSpatialAttention,
    MaskChannelAttention,
    SpatialAttention,
    SqueezeChannelAttention,
    pool,
    uniform,
)
from lapel.models.base import AttributeNetwork, check_option
from lapel.models.trunks import Trunk, pooled


class Features(NamedTuple):
    """What the trunk gives once per image, whatever the number of attributes.

    Attributes:
        attended: X, the map that every attribute attends, (B, c, H, W).
        logits: attribute logits of the classification branch (B, n), or None where it is off.
    """

    attended: Tensor
    logits: Tensor | None


class AGMAN(AttributeNetwork):
    """Attribute-guided multi-level attention network.

    Args:
        attributes: number of attributes n.
        trunk: timm name of the trunk; the paper's is ResNet-50.
        pretrained: see ``Trunk``.
        trunk_options: further arguments of ``timm.create_model``.
        width: channels of the attended map and of the embedding: 512 in the official code, 1024 in the paper's text.
        hierarchical: fuse the stride-8 and stride-16 maps (Table 5, column H). As printed, F2 + F3 is impossible
            (512 x 28 x 28 against 1024 x 14 x 14); as in the code, F2 is max-pooled and projected by a 1x1 convolution.
        classification: the branch that predicts the attribute (Table 5, column C).
        asa, sa, aca: the attention parts (Table 7). Without ASA every position has the same attention 1/HW, which keeps
            the scale of the pooled vector.
        ca: ``mask`` (official code), ``squeeze`` (the paper's Figure 3d) or ``none``.
        sa_kernel: 7 (official code) or 1 (paper).
        pyramid: ours, off in the paper: also attend the stride-32 map, resized to stride 16. Needs the last block.
        dropout: ours, 0 in the paper: drop channels of the attended map while training.

    Raises:
        RecipeError: a value that is none of these.
    """

    def __init__(
        self,
        attributes: int,
        trunk: str = "resnet50",
        pretrained: bool | Path | str = False,
        trunk_options: Mapping[str, Any] | None = None,
        *,
        width: int = 512,
        hierarchical: bool = True,
        classification: bool = True,
        asa: bool = True,
        sa: bool = True,
        aca: bool = True,
        ca: Literal["mask", "squeeze", "none"] = "mask",
        sa_kernel: int = 7,
        pyramid: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_option("agman", "width", width >= 1, "at least 1", width)
        check_option("agman", "ca", ca in ("mask", "squeeze", "none"), "mask, squeeze or none", ca)
        check_option("agman", "sa_kernel", sa_kernel >= 1 and sa_kernel % 2 == 1, "odd", sa_kernel)
        check_option("agman", "dropout", 0 <= dropout < 1, "from 0 to below 1", dropout)
        self.attributes = attributes
        self.dim = width
        self.trunk = Trunk(trunk, pretrained, trunk_options)
        stride8, stride16, stride32 = self.trunk.channels
        self.pyramid = pyramid
        if not (classification or pyramid):
            self.trunk.drop_tail()
        # Initialised after He for ReLU networks, fan-out, as every convolution of the official trunk.
        self.lift = nn.Conv2d(stride8, stride16, 1) if hierarchical else None
        if self.lift is not None:
            nn.init.normal_(self.lift.weight, 0.0, (2.0 / stride16) ** 0.5)
        self.classifier = nn.Linear(stride32, attributes) if classification else None
        self.map_scale = nn.Parameter(torch.ones(()))
        levels = stride16 * (2 if hierarchical else 1) + (stride32 if pyramid else 0)
        self.project = nn.Conv2d(levels, width, 1)
        self.drop = nn.Dropout2d(dropout)
        self.embedding = nn.Embedding(attributes, width)
        self.asa = AttributeSpatialAttention(width) if asa else None
        self.sa = SpatialAttention(sa_kernel) if sa else None
        self.aca = AttributeChannelAttention(width) if aca else None
        self.mask = MaskChannelAttention(attributes, width) if ca == "mask" else None
        self.squeeze = SqueezeChannelAttention(width) if ca == "squeeze" else None

    def features(self, images: Tensor) -> Features:
        """Run the trunk once: images (B, 3, H, W) -> ``Features``."""
        stride8, stride16 = self.trunk(images)
        fused = stride16
        levels = [stride16]
        if self.lift is not None:
            fused = _match(self.lift(F.max_pool2d(stride8, 3, 2, 1)), stride16) + stride16
            levels.append(fused)
        logits = None
        # The logits only serve the training loss; searching and indexing skip the last block.
        classify = self.classifier is not None and self.training and self.classifier.weight.requires_grad
        if self.pyramid or classify:
            stride32 = self.trunk.tail(fused)
            if self.classifier is not None and classify:
                logits = self.classifier(pooled(stride32))
            if self.pyramid:
                levels.append(_match(stride32, stride16))
        return Features(self.drop(self.project(torch.cat(levels, 1) * self.map_scale)), logits)

    def attention(self, features: Features, attributes: Tensor) -> Tensor:
        """ASA maps of attributes (A,) -> (B, A, H, W), non-negative, summing to 1 over positions."""
        x = features.attended
        if self.asa is None:
            return uniform(x, len(attributes))
        weights: Tensor = self.asa(x, self.embedding(attributes))
        return weights

    def embed(self, features: Features, attributes: Tensor) -> Tensor:
        """Embeddings under attributes (A,) -> (B, A, D), float32, L2-normalised (with an epsilon: see D-32)."""
        embedded = self.embedding(attributes)
        attention = self.attention(features, attributes).to(features.attended.dtype)
        x = features.attended if self.asa is None else features.attended * self.asa.scale
        if self.sa is not None:
            attention = attention * self.sa(x, attention)
        vectors = pool(x, attention)
        if self.aca is not None:
            vectors = vectors * self.aca.scale * self.aca(vectors, embedded)
        if self.mask is not None:
            vectors = vectors * self.mask(vectors, attributes)
        if self.squeeze is not None:
            vectors = vectors * self.squeeze(vectors)
        return F.normalize(vectors.float(), dim=-1, eps=1e-8)


def _match(features: Tensor, like: Tensor) -> Tensor:
    """Resize (B, C, h, w) to the height and width of ``like``; trunks round odd sizes differently."""
    if features.shape[-2:] == like.shape[-2:]:
        return features
    return F.interpolate(features, like.shape[-2:], mode="bilinear", align_corners=False)
