"""A tiny instance model without batch statistics, and batches for it: for the tests of item training."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lapel.models.base import ItemNetwork
from lapel.training.item_objective import ItemTargets


class Seen(NamedTuple):
    """What the tiny model keeps of an image: a small map."""

    map: Tensor


class Tiny(ItemNetwork):
    """A convolution, and a linear layer for each of an embedding, tags, heat-maps and scores of pairs."""

    def __init__(self, tags: int = 3, points: int = 8, dim: int = 4, scores: bool = True) -> None:
        super().__init__()
        self.tags, self.points, self.dim = tags, points, dim
        self.trunk = nn.Conv2d(3, 6, 4, 4)
        self.project = nn.Linear(6, dim)
        self.tag_head = nn.Linear(6, tags) if tags else None
        self.draw = nn.Conv2d(6, 2 * points, 1) if points else None
        self.spread = nn.BatchNorm2d(6, affine=False, momentum=0.5)
        if scores:
            self.score = nn.Linear(6, 1)
            self.pair_scores = self._pair_scores

    def features(self, images: Tensor) -> Seen:
        found = self.trunk(images)
        self.spread(found)  # statistics that a trial step must leave as they were
        return Seen(torch.tanh(found))

    def embed(self, features: Seen) -> Tensor:
        vectors: Tensor = self.project(features.map.mean((2, 3)))
        return vectors

    def tag_logits(self, features: Seen) -> Tensor | None:
        return None if self.tag_head is None else self.tag_head(features.map.mean((2, 3)))

    def heatmaps(self, features: Seen) -> Tensor | None:
        return None if self.draw is None else self.draw(features.map).unflatten(1, (2, self.points))

    def regions(self, features: Seen) -> Tensor:
        return features.map.flatten(2).transpose(1, 2)

    def _pair_scores(self, queries: Tensor, candidates: Tensor) -> Tensor:
        scores: Tensor = self.score((queries[:, None] - candidates).square().mean(2)).squeeze(2)
        return scores


def batch(count: int, views: int = 1, tags: int = 3, side: int = 16) -> tuple[Tensor, ItemTargets]:
    """Images and targets of three items, one image of unknown item, one without labels, some landmarks unknown."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    items = torch.arange(count) % 3
    items[-1] = -1
    known = draw(count, tags) < 0.7
    known[0] = False
    found: list[Any] = [items, (draw(count, tags) < 0.5).double(), known]
    found = [each.repeat(views, *[1] * (each.ndim - 1)) for each in found]
    points, weights = draw(views * count, 8, 2) * side, (draw(views * count, 8) < 0.6).double()
    images = draw(views * count, 3, side, side) * 2 - 1
    return images if views == 1 else images.unflatten(0, (views, count)), ItemTargets(*found, points, weights)
