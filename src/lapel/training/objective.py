"""From a batch of images to the loss: what Fabric wraps, so that gradients are averaged over processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lapel.config import TrainingConfig
from lapel.losses.attributes import (
    Combination,
    ValueProxies,
    attribute_loss,
    labelled_attribute_loss,
    pair_loss,
    triplet_loss,
)
from lapel.models.base import AttributeNetwork, Triplets


class Objective(nn.Module):
    """A model with its losses.

    Args:
        model: an attribute model.
        config: which losses, and their settings.
        values: values of each attribute.
    """

    def __init__(self, model: AttributeNetwork, config: TrainingConfig, values: Sequence[int]) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.classify = config.class_weight > 0 and model.classifier is not None
        if not self.classify and model.classifier is not None:
            # Without its loss the branch gets no gradient; the optimiser and DDP must not wait for one.
            model.classifier.requires_grad_(False)
            if not model.pyramid:
                model.trunk.stages[2].requires_grad_(False)
        self.combine = Combination(2, config.combine) if self.classify else None
        self.proxies = (
            ValueProxies(values, model.dim, config.proxy_temperature, config.smoothing)
            if config.proxy_weight > 0 and config.batching == "pairs"
            else None
        )
        self.numbers: Tensor
        self.register_buffer("numbers", torch.arange(len(values)), persistent=False)

    def forward(self, images: Tensor, labels: Triplets | Sequence[Tensor]) -> Tensor:
        """Loss of one batch.

        Args:
            images: normalised; (3, B, 3, H, W) anchors, positives, negatives, or (B, 3, H, W) for every pair.
            labels: attributes and values of each triplet, or per attribute a multi-hot (B, V_a) matrix.
        """
        if isinstance(labels, Triplets):
            return self._triplets(images, labels)
        return self._pairs(images, labels)

    def _triplets(self, images: Tensor, targets: Triplets) -> Tensor:
        """The papers'. Three forwards, as in the official code: each role has its own batch statistics."""
        roles = [self.model.features(role) for role in images]
        loss = self.model.triplet_objective(roles, targets, self.config.margin)
        if loss is None:
            anchor, positive, negative = (self.model.embed_each(found, targets.attributes) for found in roles)
            loss = triplet_loss((anchor * positive).sum(-1), (anchor * negative).sum(-1), self.config.margin)
        if self.combine is None:
            return loss
        classes = torch.stack([attribute_loss(found.logits, targets.attributes) for found in roles]).mean()
        combined: Tensor = self.combine([loss, self.config.class_weight * classes])
        return combined

    def _pairs(self, images: Tensor, labels: Sequence[Tensor]) -> Tensor:
        """Ours: one trunk pass, every pair of the (global) batch under every attribute."""
        features = self.model.features(images)
        vectors = self.model.embed(features, self.numbers)
        every, tags = gather(vectors, labels)
        loss = pair_loss(every, tags, self.config.temperature)
        if self.proxies is not None:
            loss = loss + self.config.proxy_weight * self.proxies(every, tags)
        if self.combine is None or getattr(features, "logits", None) is None:
            return loss
        labelled = torch.stack([hot.any(1) for hot in labels], 1)
        combined: Tensor = self.combine(
            [loss, self.config.class_weight * labelled_attribute_loss(features.logits, labelled)]
        )
        return combined


def gather(vectors: Tensor, labels: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
    """Collect the batches of all processes, with gradients, so that pairs across processes count too.

    Each process computes the same loss of the whole batch; the gradients that flow back to a process's own vectors are
    summed over processes here and averaged over them by DDP, which leaves the gradient of one process with that batch.
    Batches must be of one size on every process.
    """
    if not _shared():
        return vectors, labels
    widths = [hot.shape[1] for hot in labels]
    every = gather_rows(torch.cat(list(labels), 1).to(torch.uint8))
    return gather_vectors(vectors), every.bool().split(widths, 1)


def gather_vectors(vectors: Tensor) -> Tensor:
    """Collect the (B, ...) vectors of all processes, with gradients; see ``gather``."""
    every: Tensor = _Gather.apply(vectors) if _shared() else vectors
    return every


def gather_rows(mine: Tensor) -> Tensor:
    """Collect what is known of the (B, ...) images of all processes, in the order of their vectors."""
    if not _shared():
        return mine
    every = [torch.empty_like(mine) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(every, mine)
    return torch.cat(every)


def _shared() -> bool:
    """Whether several processes train together."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


class _Gather(torch.autograd.Function):
    """Concatenate over processes; backward, sum over processes and keep one's own part.

    torch's own differentiable ``all_gather`` gives scrambled gradients where they arrive transposed, as here.
    """

    @staticmethod
    def forward(ctx: Any, mine: Tensor) -> Tensor:
        mine = mine.contiguous()
        every = [torch.empty_like(mine) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(every, mine)
        ctx.size = len(mine)
        return torch.cat(every)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        start: int = torch.distributed.get_rank() * ctx.size
        return total[start : start + ctx.size]
