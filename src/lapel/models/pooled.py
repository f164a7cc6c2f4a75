"""A trunk, its last map pooled, one linear layer: FastAP's network, and what other item models add to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lapel.models.base import ItemNetwork, check_option
from lapel.models.trunks import Trunk, pooled
from lapel.precision import single

POOLINGS = ("mean", "gem")


class PooledMap(NamedTuple):
    """What a model of one branch keeps of an image.

    Attributes:
        map: the trunk's last map (B, C, h, w).
        vector: the pooled map (B, C).
    """

    map: Tensor
    vector: Tensor


class PooledItem(ItemNetwork):
    """The trunk's last map, pooled, through one linear layer, brought to unit length (FastAP, Cakir et al. 2019).

    FastAP's own is ResNet-50, the mean and 512 dimensions. A second linear layer on the pooled map predicts tags.

    Args:
        tags: number K of tags to predict; 0 leaves that layer out.
        trunk: timm name of the trunk.
        pretrained: see ``Trunk``.
        trunk_options: further arguments of ``timm.create_model``.
        dim: size of the embedding.
        pooling: ``mean``, or ``gem`` (ours here): the generalised mean ``(mean x^p)^(1/p)`` of non-negative x with a
            learned p, between the mean (p = 1) and the maximum (Radenovic et al. 2019).
        power: p that ``gem`` starts from; 3 is its paper's.
        normalise: bring embeddings to unit length.

    Raises:
        RecipeError: an option out of range.
    """

    gazes = ("appearance",)

    def __init__(
        self,
        tags: int,
        trunk: str = "resnet50",
        pretrained: bool | Path | str = False,
        trunk_options: Mapping[str, Any] | None = None,
        *,
        dim: int = 512,
        pooling: str = "mean",
        power: float = 3.0,
        normalise: bool = True,
    ) -> None:
        super().__init__()
        check_option("pooled", "dim", dim >= 1, "at least 1", dim)
        check_option("pooled", "pooling", pooling in POOLINGS, " or ".join(POOLINGS), pooling)
        check_option("pooled", "power", power >= 1, "at least 1", power)
        self.tags = tags
        self.dim = dim
        self.normalise = normalise
        self.trunk = Trunk(trunk, pretrained, trunk_options)
        self.power = nn.Parameter(torch.tensor(power)) if pooling == "gem" else None
        self.project = nn.Linear(self.trunk.channels[2], dim)
        self.tag_head = nn.Linear(self.trunk.channels[2], tags) if tags else None

    def features(self, images: Tensor) -> PooledMap:
        """Run the trunk once: images (B, 3, H, W) -> ``PooledMap``."""
        last = self.trunk.tail(self.trunk(images)[1])
        if self.power is None:
            return PooledMap(last, pooled(last))
        return PooledMap(last, generalised_mean_parts(last, self.power).sum((2, 3)))

    def embed(self, features: PooledMap) -> Tensor:
        """Embeddings (B, D), float32, of unit length unless ``normalise`` is off."""
        vectors: Tensor = self.project(features.vector).float()
        return F.normalize(vectors, dim=-1, eps=1e-8) if self.normalise else vectors

    def tag_logits(self, features: PooledMap) -> Tensor | None:
        """Logits (B, K); None without tags."""
        return None if self.tag_head is None else self.tag_head(features.vector)

    def saliency(self, features: PooledMap) -> Tensor:
        """What each position adds to the embedding's length -> (B, 1, h, w), non-negative, summing to 1.

        The embedding before normalisation v is linear in the pooled vector, and that is a sum over positions: the
        position's part of <v, v>, where it is above 0.
        """
        last = single(features.map)
        positions = last.shape[2] * last.shape[3]
        with torch.autocast(last.device.type, enabled=False):
            parts = last / positions if self.power is None else generalised_mean_parts(last, self.power)
            whole = self.project(parts.sum((2, 3)))
            share = torch.einsum("bc,bchw->bhw", whole @ self.project.weight, parts)
            share = share + (whole @ self.project.bias).view(-1, 1, 1) / positions
        return shares(share.unsqueeze(1))


def generalised_mean_parts(features: Tensor, power: Tensor) -> Tensor:
    """What each position adds to the generalised mean of maps (B, C, h, w): it is their sum over positions.

    With m = (mean x^p)^(1/p), position i adds ``m x_i^p / sum x^p``. Values below 1e-6 count as that.
    """
    with torch.autocast(features.device.type, enabled=False):
        values = single(features).clamp(min=1e-6)
        peak = values.amax((2, 3), keepdim=True)  # x^p may leave the range of numbers; (x / max)^p does not
        raised = (values / peak) ** power
        total = raised.sum((2, 3), keepdim=True)
        mean = peak * (total / (values.shape[2] * values.shape[3])) ** (1 / power)
        return mean * (raised / total)


def shares(scores: Tensor) -> Tensor:
    """Scores (B, M, h, w) -> what is above 0 as shares of its sum over positions; 1/hw where nothing is above 0."""
    positive = single(scores).clamp(min=0).flatten(2)
    total = positive.sum(-1, keepdim=True)
    even = torch.full_like(positive, 1 / positive.shape[-1])
    return torch.where(total > 0, positive / torch.where(total > 0, total, torch.ones_like(total)), even).view_as(
        scores
    )
