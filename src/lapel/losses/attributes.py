"""The losses: AG-MAN's triplet, classification and their combination; and ours over every pair of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lapel.precision import single


def triplet_loss(positive: Tensor, negative: Tensor, margin: float = 0.2) -> Tensor:
    """Mean of max(0, margin + s_neg - s_pos) over triplets (AG-MAN eq 8, with the right sign).

    Equation 8c as printed adds the positive and subtracts the negative *similarity*, which would push positives apart;
    the official code has the sign used here.

    Args:
        positive: cosine similarity of anchor and positive, any shape.
        negative: cosine similarity of anchor and negative, the same shape.
        margin: m.
    """
    return F.relu(margin + negative - positive).mean()


def attribute_loss(logits: Tensor, attributes: Tensor) -> Tensor:
    """Binary cross-entropy of attribute logits (B, n) against the one-hot attribute (B,) (AG-MAN eq 7, w_a = 1)."""
    logits = single(logits)
    return F.binary_cross_entropy_with_logits(logits, F.one_hot(attributes, logits.shape[-1]).to(logits.dtype))


def labelled_attribute_loss(logits: Tensor, labelled: Tensor) -> Tensor:
    """The same without a chosen attribute: targets are the attributes an image is labelled with, (B, n) bool."""
    logits = single(logits)
    return F.binary_cross_entropy_with_logits(logits, labelled.to(logits.dtype))


class Combination(nn.Module):
    """Weighted sum of several losses (AG-MAN eq 9).

    Args:
        count: number of losses.
        mode: ``fixed`` is 1:1, to which the official code amounts (its weights never reach the optimiser).
            ``learned`` learns w_i in 0.5 e^{-w_i} L_i + 0.5 w_i, which has its minimum at e^{w_i} = L_i.
            ``printed`` is 0.5 e^{w_i} L_i + w_i as the paper prints it: it has no minimum, w_i runs to minus infinity
            and the losses' weight tends to zero. It is here to be looked at, not to train with.
    """

    def __init__(self, count: int, mode: Literal["fixed", "learned", "printed"] = "fixed") -> None:
        super().__init__()
        self.mode = mode
        self.weights = nn.Parameter(torch.zeros(count), requires_grad=mode != "fixed")

    def forward(self, losses: Sequence[Tensor]) -> Tensor:
        """Scalars -> one scalar."""
        stacked = torch.stack([single(loss) for loss in losses])
        if self.mode == "fixed":
            return stacked.sum()
        if self.mode == "learned":
            return (0.5 * torch.exp(-self.weights) * stacked + 0.5 * self.weights).sum()
        return (0.5 * torch.exp(self.weights) * stacked + self.weights).sum()


def pair_loss(vectors: Tensor, labels: Sequence[Tensor], temperature: float = 0.1) -> Tensor:
    """Contrast every pair of the batch under every attribute (ours; form of supervised contrastive learning).

    Under attribute a, images that share a value are positives of each other, images labelled with other values are
    negatives, images without a label take no part. For an anchor with positives P and other labelled images R (P among
    them): ``- mean_{p in P} log( exp(s_p / t) / sum_{r in R} exp(s_r / t) )`` (Khosla et al. 2020, eq 2). The mean runs
    over all (anchor, attribute) pairs that have a positive and a negative.

    Args:
        vectors: unit embeddings (B, A, D).
        labels: per attribute a multi-hot (B, V_a) matrix; an all-zero row is an image without a label.
        temperature: t.
    """
    # Autocast would multiply in bf16, whose rounding the temperature magnifies.
    with torch.autocast(vectors.device.type, enabled=False):
        per_attribute = single(vectors).transpose(0, 1)
        similarity = per_attribute @ per_attribute.transpose(1, 2) / temperature
        shared = torch.stack([hot.float() @ hot.float().T for hot in labels]) > 0
    labelled = torch.stack([hot.any(1) for hot in labels])
    other = ~torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    compared = labelled.unsqueeze(2) & labelled.unsqueeze(1) & other
    positive = shared & compared
    anchor = positive.any(2) & (compared & ~positive).any(2)
    if not anchor.any():
        return similarity.sum() * 0.0
    logits = similarity.masked_fill(~compared, -torch.inf)
    # An anchor without comparisons has only -inf; its row is left out below, so keep it finite for the gradient.
    norm = torch.logsumexp(torch.where(anchor.unsqueeze(2), logits, torch.zeros_like(logits)), 2, keepdim=True)
    gained = (torch.where(positive, similarity - norm, torch.zeros_like(similarity))).sum(2)
    return -(gained / positive.sum(2).clamp(min=1))[anchor].mean()


class ValueProxies(nn.Module):
    """One learned unit vector per value of each attribute, classified by cosine (ours; after normalised softmax).

    Args:
        counts: values of each attribute.
        width: embedding size D.
        temperature: divides the cosines.
        smoothing: share of each target that is spread evenly over all values of the attribute.
    """

    def __init__(self, counts: Sequence[int], width: int, temperature: float = 0.1, smoothing: float = 0.0) -> None:
        super().__init__()
        self.counts = list(counts)
        self.temperature = temperature
        self.smoothing = smoothing
        self.proxies = nn.Parameter(torch.randn(sum(self.counts), width) * width**-0.5)

    def forward(self, vectors: Tensor, labels: Sequence[Tensor]) -> Tensor:
        """Unit embeddings (B, A, D) and per attribute multi-hot labels (B, V_a) -> a scalar.

        It is the mean cross-entropy over all labelled (image, attribute) pairs; an image with several values of an
        attribute has them as equal shares of its target. Attributes of fewer than two values are left out.
        """
        # Every parameter has a gradient even where nothing is labelled, or distributed processes would wait for it.
        loss, count = (single(vectors).sum() + self.proxies.sum()) * 0.0, 0
        for number, (proxies, hot) in enumerate(zip(self.proxies.split_with_sizes(self.counts), labels, strict=True)):
            rows = hot.any(1)
            if not rows.any() or hot.shape[1] < 2:
                continue
            with torch.autocast(vectors.device.type, enabled=False):
                chosen = single(vectors[rows, number])
                cosines = chosen @ F.normalize(proxies.to(chosen.dtype), dim=-1).T
            target = hot[rows].to(cosines.dtype)
            target = target / target.sum(1, keepdim=True)
            logits = cosines / self.temperature
            loss = loss + F.cross_entropy(logits, target, label_smoothing=self.smoothing, reduction="sum")
            count += int(rows.sum())
        return loss / max(count, 1)
