"""The losses of instance models: AHBN's three, and those of the systems that find items in other ways.

All are computed in single precision whatever the autocast: similarities over a small temperature, sums over thousands
of logits and histograms would not bear half. An item of -1 is unknown: it takes no part. A batch with nothing to
compare gives a zero from which gradients (of zero) still flow.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lapel.losses.attributes import pair_loss
from lapel.precision import single


def tag_loss(logits: Tensor, tags: Tensor, known: Tensor) -> Tensor:
    """Sum over the K tags of binary cross-entropy, mean over images (AHBN eq 1).

    Unknown labels do not count, and neither does an image without a known one.

    Args:
        logits: (B, K).
        tags: 1 or 0, (B, K); what stands at an unknown one does not matter.
        known: (B, K) bool.
    """
    logits = single(logits)
    target = torch.where(known, tags, torch.zeros_like(tags)).to(logits.dtype)
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (each * known).sum() / known.any(1).sum().clamp(min=1)


def heatmap_loss(predicted: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Squared L2 distance between heat-maps, weighed by visibility (AHBN eq 2).

    Summed over positions and landmarks as the paper's formula has it, then the mean over images that have a landmark
    of weight above 0, and over stacks. (The stacked hourglass's code takes the mean over positions instead, which is
    h w P times smaller: a matter of the learning rate only.)

    Args:
        predicted: heat-maps of S supervised stacks, (B, S, P, h, w).
        targets: drawn heat-maps, (B, P, h, w).
        weights: 1 for a visible landmark, 0 for one that must not count, (B, P). Its target may be anything.
    """
    predicted = single(predicted)
    counted = weights > 0
    target = torch.where(counted[..., None, None], targets, torch.zeros_like(targets)).to(predicted.dtype)
    distance = (predicted - target.unsqueeze(1)).square().sum((-2, -1))
    total = (distance * weights.to(predicted.dtype).unsqueeze(1)).sum()
    return total / (predicted.shape[1] * counted.any(1).sum().clamp(min=1))


class ItemClassifier(nn.Module):
    """A class per item over the embeddings, and its cross-entropy (AHBN eq 12): needed while training only.

    Args:
        items: number of classes.
        dim: size of an embedding.
        scale: 0 is the paper's linear layer on the embedding as it is. Above 0 (ours) the logits are this times the
            cosine of the embedding and the class's vector, which is what a search by cosine compares.
        smoothing: share of each target that is spread evenly over all items; 0 is the paper's.
    """

    def __init__(self, items: int, dim: int, scale: float = 0.0, smoothing: float = 0.0) -> None:
        super().__init__()
        self.scale = scale
        self.smoothing = smoothing
        self.weight = nn.Parameter(torch.randn(items, dim) * dim**-0.5)
        self.bias = nn.Parameter(torch.zeros(items)) if scale == 0 else None

    def forward(self, vectors: Tensor, items: Tensor) -> Tensor:
        """Embeddings (B, D) and their classes (B,) int64, -1 where unknown -> the mean over the known ones."""
        with torch.autocast(vectors.device.type, enabled=False):
            vectors = single(vectors)
            if self.bias is None:
                logits = self.scale * F.normalize(vectors, dim=-1) @ F.normalize(self.weight, dim=-1).T
            else:
                logits = F.linear(vectors, self.weight, self.bias)
            total = F.cross_entropy(logits, items, ignore_index=-1, reduction="sum", label_smoothing=self.smoothing)
        return total / (items >= 0).sum().clamp(min=1)


def fastap_loss(vectors: Tensor, items: Tensor, bins: int = 10) -> Tensor:
    """One minus the average precision of every image's ranking of the batch, made smooth (FastAP, Cakir et al. 2019).

    The squared distances of unit vectors lie in 0..4. Over ``bins`` + 1 edges they are counted in soft histograms: a
    distance is shared between its two nearest edges in linear proportion (a triangular pulse). With h+ those of the
    positives, h of all others, H+ and H their cumulative sums and N+ the number of positives, a query's average
    precision is ``sum_l h+_l H+_l / H_l / N+``. The image itself is neither; an image without a positive is no query,
    though it stays among the others.

    Memory: bins + 1 numbers for each pair of the batch.

    Args:
        vectors: embeddings (B, D); brought to unit length here.
        items: of each, (B,) int64.
        bins: of the histograms; the paper's code has 10.
    """
    near, positive, compared = _pairs(vectors, items)
    distance = (2 - 2 * near).unsqueeze(-1)
    edges = torch.arange(bins + 1, device=near.device, dtype=near.dtype) * (4 / bins)
    pulse = F.relu(1 - (distance - edges).abs() * (bins / 4))
    hits = (pulse * positive.unsqueeze(-1)).sum(1)
    every = (pulse * compared.unsqueeze(-1)).sum(1)
    gained, all_so_far = hits.cumsum(1), every.cumsum(1)
    # Where a bin has no hit it adds nothing, and the bins up to it may be empty; the masked quotient keeps a gradient.
    full = all_so_far > 0
    terms = torch.where(full, hits * gained / torch.where(full, all_so_far, torch.ones_like(all_so_far)), 0 * hits)
    count = positive.sum(1)
    precision = terms.sum(1) / count.clamp(min=1)
    queries = count > 0
    return ((1 - precision) * queries).sum() / queries.sum().clamp(min=1)


def item_triplet_loss(vectors: Tensor, items: Tensor, margin: float = 0.2) -> Tensor:
    """Mean of max(0, margin + s_neg - s_pos) over the images that have both in the batch, s being cosines.

    Positive and negative are the hardest of the batch: the least similar image of the same item, the most similar one
    of another (batch hard, Hermans et al. 2017; the papers that name a cosine triplet loss do not say how they choose).

    Args:
        vectors: embeddings (B, D) of any length.
        items: of each, (B,) int64.
        margin: m.
    """
    near, positive, compared = _pairs(vectors, items)
    negative = compared & ~positive
    anchor = positive.any(1) & negative.any(1)
    # A filler of finite size: a row without a positive would else carry inf - inf into the gradient.
    farthest = near.masked_fill(~positive, 4.0).amin(1)
    nearest = near.masked_fill(~negative, -4.0).amax(1)
    return (F.relu(margin + nearest - farthest) * anchor).sum() / anchor.sum().clamp(min=1)


def item_contrast_loss(vectors: Tensor, items: Tensor, temperature: float = 0.1) -> Tensor:
    """Supervised contrast over the batch (Khosla et al. 2020, eq 2): ``pair_loss`` with items as values.

    An image without another of its item in the batch, or without one of another item, is no anchor.

    Args:
        vectors: embeddings (B, D) of any length; compared by cosine.
        items: of each, (B,) int64.
        temperature: divides the cosines.
    """
    # Column j stands for the item of image j: two rows have a column in common just where their items are the same.
    same = (items.unsqueeze(1) == items) & (items >= 0)
    return pair_loss(F.normalize(single(vectors), dim=-1).unsqueeze(1), [same], temperature)


def pair_match_loss(logits: Tensor, match: Tensor, counted: Tensor | None = None) -> Tensor:
    """Binary cross-entropy of pairs, matches and the others weighing one half each (GRNet; the balance is ours).

    A batch has many times more pairs that do not match. Where it has only one kind, that kind weighs all.

    Args:
        logits: of "these show the same item", (Q, K).
        match: whether they do, (Q, K) bool.
        counted: pairs that count, (Q, K) bool: not an image with itself, nor one of an unknown item. None: all.
    """
    logits = single(logits)
    counted = torch.ones_like(match) if counted is None else counted
    each = F.binary_cross_entropy_with_logits(logits, match.to(logits.dtype), reduction="none")
    kinds = torch.stack([match & counted, ~match & counted]).flatten(1)
    sizes = kinds.sum(1)
    means = (each.flatten() * kinds).sum(1) / sizes.clamp(min=1)
    return means.sum() / (sizes > 0).sum().clamp(min=1)


def _pairs(vectors: Tensor, items: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cosines of all pairs, which of them are of one item, and which count: (B, B) each.

    An image with itself does not count, nor does anything with an image of an unknown item.
    """
    with torch.autocast(vectors.device.type, enabled=False):
        unit = F.normalize(single(vectors), dim=-1)
        near = unit @ unit.T
    known = items >= 0
    other = ~torch.eye(len(items), dtype=torch.bool, device=items.device)
    compared = known.unsqueeze(1) & known & other
    return near, (items.unsqueeze(1) == items) & compared, compared
