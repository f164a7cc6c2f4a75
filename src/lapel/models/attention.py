"""The parts that attribute models are made of: where an attribute looks, and which channels it takes.

All attributes of a request are computed together. The attention of an attribute is one number per position, so
``mean_c(a x) = a mean_c(x)``, ``max_c(a x) = a max_c(x)`` for ``a >= 0`` and pooling is an (A, HW) x (HW, C) product:
no (B, A, C, H, W) tensor is ever formed.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lapel.precision import single


def over_positions(scores: Tensor) -> Tensor:
    """Scores (B, A, H, W) -> their softmax over positions, not below single precision."""
    return torch.softmax(single(scores).flatten(2), -1).view_as(scores)


def pool(features: Tensor, attention: Tensor) -> Tensor:
    """Attention-weighted sum over positions: maps (B, C, H, W) and weights (B, A, H, W) -> (B, A, C)."""
    return torch.bmm(attention.to(features.dtype).flatten(2), features.flatten(2).transpose(1, 2))


def uniform(features: Tensor, count: int) -> Tensor:
    """The attention (B, count, H, W) of a model that looks everywhere alike: 1/HW at every position."""
    batch, _, height, width = features.shape
    return single(features.new_empty(0)).new_full((batch, count, height, width), 1 / (height * width))


class AttributeSpatialAttention(nn.Module):
    """ASA: where to look for an attribute (AG-MAN eqs 1-3; BatchNorm and 1/sqrt(c) as in the official code).

    Args:
        width: channels c of the image map and of the attribute embedding.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width)
        self.query = nn.Linear(width, width)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, features: Tensor, attributes: Tensor) -> Tensor:
        """Maps (B, c, H, W) and attribute embeddings (A, c) -> attention (B, A, H, W), summing to 1 over positions."""
        image = torch.tanh(self.norm(features))
        query = F.silu(self.query(attributes))
        return over_positions(torch.einsum("bchw,ac->bahw", image, query).float() / features.shape[1] ** 0.5)


class SpatialAttention(nn.Module):
    """SA: mean and max over channels, one convolution, sigmoid (AG-MAN eq 4).

    Args:
        kernel: 7 in the official code (padding 3), 1 in the paper's text.
    """

    def __init__(self, kernel: int = 7) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, features: Tensor, attention: Tensor) -> Tensor:
        """Maps (B, c, H, W) and non-negative attention (B, A, H, W) -> gates (B, A, H, W) in (0, 1).

        Equal to the gates of the attended maps ``features * attention``, attribute by attribute.
        """
        batch, count, height, width = attention.shape
        mean = features.mean(1, keepdim=True) * attention
        peak = features.amax(1, keepdim=True) * attention
        pair = torch.stack([mean, peak], 2).view(batch * count, 2, height, width)
        return torch.sigmoid(self.conv(pair)).view(batch, count, height, width)


class AttributeChannelAttention(nn.Module):
    """ACA: which channels matter for an attribute (AG-MAN eqs 5, 6; concatenation, as in the official code)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.reduce = nn.Linear(2 * width, width)
        self.expand = nn.Linear(width, width)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, vectors: Tensor, attributes: Tensor) -> Tensor:
        """Vectors (B, A, c) and attribute embeddings (A, c) -> channel weights (B, A, c) in (0, 1)."""
        query = F.silu(self.query(attributes)).expand_as(vectors)
        return torch.sigmoid(self.expand(F.relu(self.reduce(torch.cat([vectors, query], -1)))))


class ConditionedChannelAttention(nn.Module):
    """Channel weights from a vector and a condition, as ASENet and its successors have them.

    The vector joined with ReLU(condition), a linear layer, ReLU, a linear layer, sigmoid (``Maryeon/asen``, model.py).

    Args:
        channels: C, of the vector and of the weights.
        condition: K, size of the condition.
        hidden: size between the two layers.
    """

    def __init__(self, channels: int, condition: int, hidden: int) -> None:
        super().__init__()
        self.reduce = nn.Linear(channels + condition, hidden)
        self.expand = nn.Linear(hidden, channels)

    def forward(self, vectors: Tensor, condition: Tensor) -> Tensor:
        """Vectors (B, A, C) and conditions (A, K) -> channel weights (B, A, C) in (0, 1)."""
        known = F.relu(condition).to(vectors.dtype).expand(*vectors.shape[:-1], -1)
        return torch.sigmoid(self.expand(F.relu(self.reduce(torch.cat([vectors, known], -1)))))


class MaskChannelAttention(nn.Module):
    """A non-negative mask per attribute, as in CSN; AG-MAN's official code has it for CA.

    Args:
        attributes: how many masks.
        width: channels c of each.
        start: ``block``: 0.1, and 1 in the attribute's own block of floor(c / n) channels (AG-MAN; CSN calls it learned
            and pre-initialised). ``normal``: N(0.9, 0.7) (CSN's learned mask). ``disjoint``: 0, and 1 in the own
            block; it is not learned (CSN's fixed mask).
    """

    def __init__(self, attributes: int, width: int, start: Literal["block", "normal", "disjoint"] = "block") -> None:
        super().__init__()
        if start == "normal":
            mask = torch.randn(attributes, width) * 0.7 + 0.9
        else:
            mask = torch.full((attributes, width), 0.1 if start == "block" else 0.0)
            block = width // attributes
            for number in range(attributes):
                mask[number, number * block : (number + 1) * block] = 1.0
        self.mask = nn.Embedding.from_pretrained(mask, freeze=start == "disjoint")

    def forward(self, vectors: Tensor, numbers: Tensor) -> Tensor:
        """Vectors (B, A, c) of attributes ``numbers`` (A,) -> weights (A, c)."""
        return F.relu(self.mask(numbers)).to(vectors.dtype)


class SqueezeChannelAttention(nn.Module):
    """CA as the paper's Figure 3d draws it: reduction by 16, expansion, sigmoid.

    The paper names no activation between the two; the official repository's unused class has LeakyReLU and no biases,
    which is what stands here.
    """

    def __init__(self, width: int, ratio: int = 16) -> None:
        super().__init__()
        self.reduce = nn.Linear(width, max(1, width // ratio), bias=False)
        self.expand = nn.Linear(max(1, width // ratio), width, bias=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """Vectors (B, A, c) -> weights (B, A, c) in (0, 1)."""
        return torch.sigmoid(self.expand(F.leaky_relu(self.reduce(vectors))))
