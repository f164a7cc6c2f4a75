"""RPF, from region to patch (SIGIR 2023; facts as the official code has them): the best open successor.

Two branches share the attribute embeddings: a convolutional one that finds the region of an attribute in the whole
image, and a vision transformer on a crop of that region, whose patches the attribute attends once more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lapel.losses.attributes import triplet_loss
from lapel.losses.regions import cross_branch_loss
from lapel.models.attention import pool
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
from lapel.models.vit import PatchTokens

DROPOUT = 0.1


class ResidualNorm(nn.Module):
    """LayerNorm(x + MLP(LayerNorm(x))): a pre-norm residual MLP of width -> width / 2 -> width, and a last norm.

    Args:
        width: of the vectors.
        activation: between the two layers; ReLU in the region branch, GELU in the patch branch.
    """

    def __init__(self, width: int, activation: nn.Module) -> None:
        super().__init__()
        hidden = max(1, width // 2)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, hidden), activation, nn.Dropout(DROPOUT), nn.Linear(hidden, width)
        )
        self.drop = nn.Dropout(DROPOUT)
        self.norm = nn.LayerNorm(width)

    def forward(self, vectors: Tensor) -> Tensor:
        """(..., width) -> unit vectors (..., width), float32."""
        normed = self.norm(vectors + self.drop(self.mlp(vectors)))
        return F.normalize(normed.float(), dim=-1, eps=1e-8)


class RegionHead(nn.Module):
    """The region branch behind its trunk.

    Args:
        channels: of the trunk's map, C.
        attribute_width: size of the attribute embeddings e, and of the comparison.
    """

    def __init__(self, channels: int, attribute_width: int) -> None:
        super().__init__()
        self.map_norm = nn.LayerNorm(channels)
        self.query_norm = nn.LayerNorm(attribute_width)
        self.key = nn.Conv2d(channels, attribute_width, 1)
        self.query = nn.Linear(attribute_width, attribute_width)
        # Background vectors pass the MLP but not this layer, so the vectors have the map's channels.
        self.out = nn.Linear(channels, channels)
        self.last = ResidualNorm(channels, nn.ReLU())

    def normed(self, maps: Tensor) -> Tensor:
        """LayerNorm over the channels of (B, C, h, w)."""
        normed: Tensor = self.map_norm(maps.permute(0, 2, 3, 1))
        return normed.permute(0, 3, 1, 2)

    def attention(self, keys: Tensor, queries: Tensor) -> Tensor:
        """Keys (B, e, h, w) and attribute embeddings (B, A, e) -> (B, A, h, w), summing to 1 over positions."""
        return compared(keys, torch.tanh(self.query(self.query_norm(queries))))

    def forward(self, maps: Tensor, attention: Tensor) -> Tensor:
        """Normed maps (B, C, h, w), attention (B, A, h, w) -> unit vectors (B, A, C), float32."""
        vectors: Tensor = self.last(self.out(pool(maps, attention)))
        return vectors

    def background(self, maps: Tensor, attention: Tensor) -> Tensor:
        """The same under the complement (1 - attention), normalised to sum 1, without the linear layer."""
        behind = 1 - attention
        behind = behind / behind.sum((2, 3), keepdim=True).clamp(min=1e-8)
        vectors: Tensor = self.last(pool(maps, behind))
        return vectors


class PatchBranch(nn.Module):
    """A vision transformer on the crops; the attribute attends its patches once, as the only query.

    Args:
        tokens: the vision transformer.
        like: the trunk for which the crops are normalised.
        attribute_width: size of the attribute embeddings, e.
        width: size of the vector.
    """

    def __init__(self, tokens: PatchTokens, like: Trunk, attribute_width: int, width: int) -> None:
        super().__init__()
        self.renormalise = Renormalise(like, tokens.name)
        self.tokens = tokens
        self.heads = tokens.heads
        self.lift = nn.Linear(attribute_width, tokens.channels)
        # Type embeddings: row 0 for the attribute, row 1 for patches.
        self.types = nn.Embedding(2, tokens.channels)
        self.query = nn.Linear(tokens.channels, tokens.channels)
        self.key_value = nn.Linear(tokens.channels, 2 * tokens.channels)
        self.join = nn.Linear(tokens.channels, tokens.channels)
        self.out = nn.Linear(tokens.channels, width)
        self.last = ResidualNorm(width, nn.GELU())

    def forward(self, crops: Tensor, queries: Tensor) -> Tensor:
        """Crops (N, 3, s, s) and the attribute embedding of each (N, e) -> unit vectors (N, width), float32."""
        patches = self.tokens(self.renormalise(crops)) + self.types.weight[1]
        query = self.query(self.lift(queries) + self.types.weight[0]).unsqueeze(1)
        key, value = self.key_value(patches).chunk(2, -1)
        split = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value))
        found = F.scaled_dot_product_attention(*split).flatten(1)
        vectors: Tensor = self.last(self.out(self.join(found)))
        return vectors


class RPF(TwoBranches):
    """RPF.

    Its loss of a batch of triplets is the cosine triplet loss of the region vectors + ``patch_weight`` times that of
    the patch vectors + ``contrast_weight`` times ``cross_branch_loss`` over all three roles together (of one process).
    With ``local=False`` (stage 1: the region branch alone) it is the plain cosine triplet loss. Each branch's vector
    has the channels of the trunk's stride-16 map, 1024 of ResNet-50.

    Not known, so ours: the map is pooled after its LayerNorm; the patch branch's MLP has the width and the dropout of
    the region branch's, and dropout follows both; the cross-attention has the transformer's number of heads, a linear
    layer behind them and no residual; ``beta`` weighs the patch branch's cosine against the region branch's 1 - beta.

    Args:
        attributes: number of attributes n.
        trunk: timm name of the region branch's trunk; the paper's is ResNet-50.
        pretrained: see ``Trunk``.
        trunk_options: further arguments of ``timm.create_model``.
        local: whether there is a patch branch: the second stage, and the finished network. See ``TwoBranches``.
        attribute_width: size of the attribute embeddings, and the width of the comparison.
        patch_trunk: timm name of the vision transformer; the paper's is ViT-B/16 with ImageNet-21k weights,
            ``vit_base_patch16_224.augreg_in21k``.
        patch_weights: ``hub``, ``none`` or a local ``.safetensors`` file; read only where the trunk's are.
        patch_options: further arguments of ``timm.create_model`` for it.
        global_size: longer side of the region branch's input; 0: the prepared images as they are.
        local_size: side of the crops.
        threshold: of the normalised attention.
        beta: share of the patch branch in the cosine: 0.3 on FashionAI and DARN, 0.4 on DeepFashion.
        patch_weight, contrast_weight: of the losses.
        alpha, temperature: of the contrast.

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
        attribute_width: int = 512,
        patch_trunk: str = "vit_base_patch16_224.augreg_in21k",
        patch_weights: str = "hub",
        patch_options: Mapping[str, Any] | None = None,
        global_size: int = 0,
        local_size: int = 224,
        threshold: float = 0.1,
        beta: float = 0.3,
        patch_weight: float = 0.1,
        contrast_weight: float = 0.04,
        alpha: float = 12.0,
        temperature: float = 0.07,
    ) -> None:
        check_common("rpf", attribute_width, global_size, local_size, threshold, ("beta", beta))
        weights = {"patch_weight": patch_weight, "contrast_weight": contrast_weight, "alpha": alpha}
        for key, weight in weights.items():
            check_option("rpf", key, weight >= 0, "at least 0", weight)
        check_option("rpf", "temperature", temperature > 0, "above 0", temperature)
        right = patch_options is None or isinstance(patch_options, Mapping)
        check_option("rpf", "patch_options", right, "keys with values", patch_options)
        super().__init__(
            attributes,
            trunk,
            pretrained,
            trunk_options,
            width=None,
            attribute_width=attribute_width,
            global_size=global_size,
            local_size=local_size,
            threshold=threshold,
            share=beta,
            with_local=local,
        )
        self.patch_weight, self.contrast_weight = patch_weight, contrast_weight
        self.alpha, self.temperature = alpha, temperature
        self.head = RegionHead(self.width, attribute_width)
        if not local:
            self.local = None
            return
        with named("patch_weights"):
            tokens = PatchTokens(patch_trunk, branch_weights(pretrained, patch_weights), local_size, patch_options)
        self.local = PatchBranch(tokens, self.trunk, attribute_width, self.width)

    def features(self, images: Tensor) -> BranchFeatures:
        """Run the region branch's trunk once: images (B, 3, H, W) -> ``BranchFeatures``."""
        seen = self.shrunk(images)
        maps = self.head.normed(self.trunk(seen)[1])
        return BranchFeatures(images, (seen.shape[2], seen.shape[3]), maps, torch.tanh(self.head.key(maps)))

    def looked(self, features: BranchFeatures, queries: Tensor) -> Tensor:
        """The region branch's attention under queries (B, A, e) -> (B, A, h, w)."""
        return self.head.attention(features.keys, queries)

    def first(self, features: BranchFeatures, attention: Tensor, queries: Tensor) -> Tensor:  # noqa: ARG002
        """The region branch's unit vectors (B, A, width), float32."""
        vectors: Tensor = self.head(features.attended, attention)
        return vectors

    def triplet_objective(self, roles: Sequence[Any], targets: Triplets, margin: float) -> Tensor | None:
        """The loss of the class's docstring."""
        if self.local is None:
            return None
        queries = self.embedding(targets.attributes).unsqueeze(1)
        regions, patches, behind = [], [], []
        for features in roles:
            attention = self.looked(features, queries)
            regions.append(self.first(features, attention, queries).squeeze(1))
            patches.append(self.second(features, attention, queries).squeeze(1))
            behind.append(self.head.background(features.attended, attention).squeeze(1))
        region, patch = (triplet_loss((a * p).sum(-1), (a * n).sum(-1), margin) for a, p, n in (regions, patches))
        contrast = cross_branch_loss(
            torch.cat(regions),
            torch.cat(patches),
            torch.cat(behind),
            targets.attributes.repeat(len(regions)),
            targets.values.T.flatten(),
            self.alpha,
            self.temperature,
        )
        return region + self.patch_weight * patch + self.contrast_weight * contrast
