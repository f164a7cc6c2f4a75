"""ASEN++: ASENet with a second branch on the attended region, as in ``Maryeon/asenpp``.

Two branches share the attribute embeddings: ResNet-50 to block 3 on the whole image, ResNet-34 to block 3 on a crop
around what the first one attends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lapel.losses.attributes import triplet_loss
from lapel.losses.regions import alignment_loss
from lapel.models.attention import ConditionedChannelAttention, pool
from lapel.models.base import Triplets, check_option
from lapel.models.branches import (
    BranchFeatures,
    Renormalise,
    TwoBranches,
    branch_weights,
    check_common,
    compared,
    named,
)
from lapel.models.trunks import Trunk


class GuidedHead(nn.Module):
    """Spatial attention, channel attention and embedding of one branch, guided by the attribute.

    As ASENet_V2's, but without BatchNorm, and with a last layer.

    Args:
        channels: of the map, C.
        attribute_width: size of the attribute embeddings, e.
        common: width in which map and attribute are compared, c.
        width: size of the vector.
    """

    def __init__(self, channels: int, attribute_width: int, common: int, width: int) -> None:
        super().__init__()
        self.image = nn.Conv2d(channels, common, 1)
        self.where = nn.Linear(attribute_width, common)
        self.which = nn.Linear(attribute_width, attribute_width)
        self.channel = ConditionedChannelAttention(channels, attribute_width, max(1, channels // 2))
        self.out = nn.Linear(channels, width)

    def keys(self, maps: Tensor) -> Tensor:
        """Image side of the score: (B, C, h, w) -> tanh of the projection (B, c, h, w)."""
        return torch.tanh(self.image(maps))

    def attention(self, keys: Tensor, queries: Tensor) -> Tensor:
        """Keys (B, c, h, w) and attribute embeddings (B, A, e) -> (B, A, h, w), summing to 1 over positions."""
        return compared(keys, torch.tanh(self.where(queries)))

    def forward(self, maps: Tensor, attention: Tensor, queries: Tensor) -> Tensor:
        """Maps (B, C, h, w), attention (B, A, h, w), embeddings (B, A, e) -> unit vectors (B, A, width), float32."""
        vectors = pool(maps, attention)
        vectors = vectors * self.channel(vectors, self.which(queries))
        return F.normalize(self.out(vectors).float(), dim=-1, eps=1e-8)


class LocalBranch(nn.Module):
    """A trunk of its own on the crops, and a head."""

    def __init__(self, trunk: Trunk, like: Trunk, attribute_width: int, common: int, width: int) -> None:
        super().__init__()
        self.renormalise = Renormalise(like, trunk.name)
        self.trunk = trunk
        self.trunk.drop_tail()
        self.head = GuidedHead(trunk.channels[1], attribute_width, common, width)

    def forward(self, crops: Tensor, queries: Tensor) -> Tensor:
        """Crops (N, 3, s, s) and the attribute embedding of each (N, e) -> unit vectors (N, width), float32."""
        maps, queries = self.trunk(self.renormalise(crops))[1], queries.unsqueeze(1)
        vectors: Tensor = self.head(maps, self.head.attention(self.head.keys(maps), queries), queries)
        return vectors.squeeze(1)


class ASENPP(TwoBranches):
    """ASEN++.

    Its loss of a batch of triplets is ``global_weight`` times the cosine triplet loss of the global vectors +
    ``local_weight`` times that of the local ones + ``align_weight`` times their alignment. With ``local=False`` (stage
    1) it is the plain cosine triplet loss. The official schedule: stage 1 for 50 epochs, then both branches for 20.

    Args:
        attributes: number of attributes n.
        trunk: timm name of the global trunk; the paper's is ResNet-50.
        pretrained: see ``Trunk``.
        trunk_options: further arguments of ``timm.create_model``.
        local: whether there is a local branch: the second stage, and the finished network. See ``TwoBranches``.
        width: size of each branch's vector; the embedding has twice that, or once with ``local=False``.
        attribute_width: size of the attribute embeddings, and the global branch's common width.
        local_width: the local branch's common width.
        local_trunk: timm name of the local trunk.
        local_weights: ``hub``, ``none`` or a local ``.safetensors`` file; read only where the trunk's are.
        global_size: longer side of the global branch's input; 0: the prepared images as they are.
        local_size: side of the crops.
        threshold: of the normalised attention; 0.1 in the official configurations, 0.4 the code's default.
        share: of the local branch in the cosine.
        global_weight, local_weight, align_weight: of the losses.

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
        local: bool = True,
        width: int = 1024,
        attribute_width: int = 512,
        local_width: int = 256,
        local_trunk: str = "resnet34",
        local_weights: str = "hub",
        global_size: int = 0,
        local_size: int = 112,
        threshold: float = 0.1,
        share: float = 0.4,
        global_weight: float = 1.0,
        local_weight: float = 0.1,
        align_weight: float = 0.1,
    ) -> None:
        check_common("asenpp", attribute_width, global_size, local_size, threshold, ("share", share))
        for key, size in (("width", width), ("local_width", local_width)):
            check_option("asenpp", key, size >= 1, "at least 1", size)
        weights = {"global_weight": global_weight, "local_weight": local_weight, "align_weight": align_weight}
        for key, weight in weights.items():
            check_option("asenpp", key, weight >= 0, "at least 0", weight)
        super().__init__(
            attributes,
            trunk,
            pretrained,
            trunk_options,
            width=width,
            attribute_width=attribute_width,
            global_size=global_size,
            local_size=local_size,
            threshold=threshold,
            share=share,
            with_local=local,
        )
        self.weights = (global_weight, local_weight, align_weight)
        self.head = GuidedHead(self.trunk.channels[1], attribute_width, attribute_width, width)
        if not local:
            self.local = None
            return
        with named("local_weights"):
            second = Trunk(local_trunk, branch_weights(pretrained, local_weights))
        self.local = LocalBranch(second, self.trunk, attribute_width, local_width, width)

    def features(self, images: Tensor) -> BranchFeatures:
        """Run the global trunk once: images (B, 3, H, W) -> ``BranchFeatures``."""
        seen = self.shrunk(images)
        maps = self.trunk(seen)[1]
        return BranchFeatures(images, (seen.shape[2], seen.shape[3]), maps, self.head.keys(maps))

    def looked(self, features: BranchFeatures, queries: Tensor) -> Tensor:
        """The global branch's attention under queries (B, A, e) -> (B, A, h, w)."""
        return self.head.attention(features.keys, queries)

    def first(self, features: BranchFeatures, attention: Tensor, queries: Tensor) -> Tensor:
        """The global branch's unit vectors (B, A, width), float32."""
        vectors: Tensor = self.head(features.attended, attention, queries)
        return vectors

    def triplet_objective(self, roles: Sequence[Any], targets: Triplets, margin: float) -> Tensor | None:
        """The loss of the class's docstring; the alignment is summed over anchors, positives and negatives."""
        if self.local is None:
            return None
        queries = self.embedding(targets.attributes).unsqueeze(1)
        whole, part = [], []
        for features in roles:
            attention = self.looked(features, queries)
            whole.append(self.first(features, attention, queries))
            part.append(self.second(features, attention, queries))
        terms = [
            *(triplet_loss((a * p).sum(-1), (a * n).sum(-1), margin) for a, p, n in (whole, part)),
            torch.stack([alignment_loss(g, near) for g, near in zip(whole, part, strict=True)]).sum(),
        ]
        return torch.stack([weight * term for weight, term in zip(self.weights, terms, strict=True)]).sum()
