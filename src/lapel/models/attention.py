"""The attention parts of AG-MAN, each a module with its own off switch in the model.

All attributes of a request are computed together. The attention of an attribute is one number per position, so
``mean_c(a x) = a mean_c(x)``, ``max_c(a x) = a max_c(x)`` for ``a >= 0`` and pooling is an (A, HW) x (HW, C) product:
no (B, A, C, H, W) tensor is ever formed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
        score = torch.einsum("bchw,ac->bahw", image, query).float() / features.shape[1] ** 0.5
        return torch.softmax(score.flatten(2), -1).view_as(score)


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


class MaskChannelAttention(nn.Module):
    """CA as the official code has it: a learned non-negative mask per attribute, as in CSN.

    Initialised to 0.1, and to 1 in the attribute's own block of floor(c / n) channels.
    """

    def __init__(self, attributes: int, width: int) -> None:
        super().__init__()
        mask = torch.full((attributes, width), 0.1)
        block = width // attributes
        for number in range(attributes):
            mask[number, number * block : (number + 1) * block] = 1.0
        self.mask = nn.Embedding.from_pretrained(mask, freeze=False)

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
