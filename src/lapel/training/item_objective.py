"""From a batch of images to an instance model's losses: what Fabric wraps, as ``objective`` for attributes."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from lapel.config import TrainingConfig
from lapel.errors import RecipeError
from lapel.heatmaps import draw_heatmaps
from lapel.landmarks import LANDMARKS
from lapel.losses.items import (
    ItemClassifier,
    fastap_loss,
    heatmap_loss,
    item_contrast_loss,
    item_triplet_loss,
    pair_match_loss,
    tag_loss,
)
from lapel.losses.views import simclr_loss, vicreg_loss
from lapel.models.base import ItemNetwork
from lapel.training.objective import gather_rows, gather_vectors

ITEM_LOSSES = ("id", "triplet", "fastap", "contrast", "pairs")
"""Losses that need to know the items."""
VIEW_LOSSES = ("simclr", "vicreg")
"""Losses that need no labels, but two views of each image."""
CANDIDATES = 15  # each image's, in the loss ``pairs``


class ItemTargets(NamedTuple):
    """What is known of a batch; with two views the B rows are those of the first, then those of the second.

    Attributes:
        items: (B,) int64, number of the item, -1 unknown.
        tags: (B, K) float32, 1 where the image has the tag.
        known: (B, K) bool, whether that is known.
        points: (B, 8, 2) float32, landmarks in pixels of the frame, as augmented.
        weights: (B, 8) float32, what each landmark counts; 0 unknown.
    """

    items: Tensor
    tags: Tensor
    known: Tensor
    points: Tensor
    weights: Tensor


def active(config: TrainingConfig) -> dict[str, float]:
    """The losses that are on, with their weights."""
    return {name: weight for name, weight in config.losses.items() if weight > 0}


class ItemObjective(nn.Module):
    """A model with its losses; their sum by ``training.losses`` is minimised.

    The losses that compare images see the batch of all processes: gradients are those of one process with that batch.

    Args:
        model: an instance model.
        config: which losses, and their settings.
        items: number of items to classify.

    Attributes:
        proxies: the item classifier (training only: the run's weights do not have it), or None.
        projector: layers between the embedding and the losses of two views (SimCLR, VICReg; training only), or None.
        alone: leave the batches of the other processes out.

    Raises:
        RecipeError: a loss of something that the model does not predict.
    """

    def __init__(self, model: ItemNetwork, config: TrainingConfig, items: int) -> None:
        super().__init__()
        self.losses = active(config)
        _check(model, self.losses)
        self.model = model
        self.config = config
        self.alone = False
        classified = "id" in self.losses
        self.proxies = ItemClassifier(items, model.dim, config.id_scale, config.smoothing) if classified else None
        self.projector = _projector(model.dim) if any(name in self.losses for name in VIEW_LOSSES) else None

    def forward(self, images: Tensor, targets: ItemTargets) -> Tensor:
        """Loss of one batch.

        Args:
            images: normalised, (B, 3, H, W), or (2, B, 3, H, W) for two views of each.
            targets: (B) rows, or (2 B).
        """
        if images.ndim == 5:
            images = images.flatten(0, 1)
        features = self.model.features(images)
        found = self._branches(features, targets, images.shape[2], images.shape[3])
        if any(name in self.losses for name in (*ITEM_LOSSES, *VIEW_LOSSES)):
            vectors = self.model.embed(features)
            found |= self._items(features, vectors, targets.items) | self._views(vectors)
        return torch.stack([self.losses[name] * loss for name, loss in found.items()]).sum()

    def _branches(self, features: Any, targets: ItemTargets, height: int, width: int) -> dict[str, Tensor]:
        """AHBN's equations 1 and 2."""
        found = {}
        if "tags" in self.losses:
            found["tags"] = tag_loss(cast(Tensor, self.model.tag_logits(features)), targets.tags, targets.known)
        if "landmarks" in self.losses:
            maps = cast(Tensor, self.model.heatmaps(features))
            drawn = draw_heatmaps(targets.points, height, width, maps.shape[3], maps.shape[4])
            found["landmarks"] = heatmap_loss(maps, drawn, targets.weights)
        return found

    def _items(self, features: Any, vectors: Tensor, items: Tensor) -> dict[str, Tensor]:
        """What tells items apart: AHBN's equation 12, and the losses of the systems it compares with."""
        config, found = self.config, {}
        if self.proxies is not None:
            found["id"] = self.proxies(vectors, items)
        if "pairs" in self.losses:
            found["pairs"] = self._pairs(features, vectors.detach(), items)
        if any(name in self.losses for name in ("triplet", "fastap", "contrast")):
            every, known = self._shared(vectors), items if self.alone else gather_rows(items)
            if "triplet" in self.losses:
                found["triplet"] = item_triplet_loss(every, known, config.margin)
            if "fastap" in self.losses:
                found["fastap"] = fastap_loss(every, known)
            if "contrast" in self.losses:
                found["contrast"] = item_contrast_loss(every, known, config.temperature)
        return found

    def _pairs(self, features: Any, vectors: Tensor, items: Tensor) -> Tensor:
        """A re-ranker's pairs: each image with those of its item in the process's batch and the most similar others."""
        model: Any = self.model
        unit = nn.functional.normalize(vectors.float(), dim=1)
        same = items[:, None] == items
        itself = torch.eye(len(items), dtype=torch.bool, device=items.device)
        # Cosines lie in -1..1: first those of the item, then the similar ones, last the image itself.
        order = (unit @ unit.T + 3.0 * same - 9.0 * itself).argsort(dim=1, descending=True)
        chosen = order[:, : max(1, min(CANDIDATES, len(items) - 1))]
        regions = model.regions(features)
        scores = model.pair_scores(regions, regions[chosen])
        counted = (items[:, None] >= 0) & (items[chosen] >= 0) & ~itself.gather(1, chosen)
        return pair_match_loss(scores, same.gather(1, chosen), counted)

    def _views(self, vectors: Tensor) -> dict[str, Tensor]:
        """What two views of an image teach without labels."""
        if self.projector is None:
            return {}
        first, second = (self._shared(view) for view in self.projector(vectors).chunk(2))
        found = {}
        if "simclr" in self.losses:
            found["simclr"] = simclr_loss(first, second, self.config.temperature)
        if "vicreg" in self.losses:
            found["vicreg"] = vicreg_loss(first, second)
        return found

    def _shared(self, vectors: Tensor) -> Tensor:
        return vectors if self.alone else gather_vectors(vectors)


def _check(model: ItemNetwork, losses: dict[str, float]) -> None:
    """Refuse losses of what the model does not predict."""
    eight = model.points == len(LANDMARKS)
    has = {"tags": model.tags > 0, "landmarks": eight, "pairs": hasattr(model, "pair_scores")}
    what = {"tags": "no tags", "landmarks": f"{model.points or 'no'} landmarks", "pairs": "no scores of pairs"}
    for name in losses:
        if not has.get(name, True):
            raise RecipeError(
                f"training.losses.{name}: this {type(model).__name__} predicts {what[name]}: leave {name} out of "
                f"training.losses, or take a model, or options of it, that does"
                + (f"; landmarks are {len(LANDMARKS)}" if name == "landmarks" else "")
            )


def _projector(dim: int) -> nn.Module:
    """Two layers, so that the embedding need not give up what the loss has no use for (SimCLR); the sizes are ours."""
    return nn.Sequential(
        nn.Linear(dim, dim, bias=False), nn.BatchNorm1d(dim), nn.ReLU(inplace=True), nn.Linear(dim, dim)
    )


def rest_idle(objective: ItemObjective, height: int, width: int) -> None:
    """Switch off the gradients of all parameters that the losses do not reach: a branch without its loss rests.

    Neither the optimiser nor the processes of one training must wait for a gradient that never comes. Which they are
    one step on blank images tells, for every model alike; it leaves weights and batch statistics as they were.

    Args:
        objective: on the CPU.
        height, width: of its images, pixels.
    """
    model = objective.model
    buffers = {name: buffer.clone() for name, buffer in objective.named_buffers()}
    count = 4 if objective.projector is not None else 2
    blank = torch.zeros(count, 3, height, width)
    known = torch.ones(count, model.tags, dtype=torch.bool)
    middle = torch.tensor([width / 2, height / 2]).expand(count, max(model.points, 1), 2)
    targets = ItemTargets(
        torch.zeros(count, dtype=torch.int64), known.float(), known, middle, torch.ones(middle.shape[:2])
    )
    training = objective.training
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        # The processes of a GPU training exchange nothing that lies on the CPU, and here there is nothing to exchange.
        objective.alone = True
        loss = objective.train()(blank, targets)
        objective.alone = False
        if loss.requires_grad:
            loss.backward()
    objective.train(training)
    with torch.no_grad():
        for name, buffer in objective.named_buffers():
            buffer.copy_(buffers[name])
    for parameter in objective.parameters():
        if parameter.grad is None:
            parameter.requires_grad_(False)
        parameter.grad = None
