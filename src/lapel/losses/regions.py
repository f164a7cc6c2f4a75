"""The losses between two branches of a network: ASEN++'s alignment and RPF's cross-branch contrast."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def alignment_loss(whole: Tensor, part: Tensor) -> Tensor:
    """``mean(1 - cos(g, l))`` of the two branches' unit vectors, each (..., D) (ASEN++)."""
    return (1 - (whole * part).sum(-1)).mean()


def cross_branch_loss(
    regions: Tensor,
    patches: Tensor,
    backgrounds: Tensor,
    attributes: Tensor,
    values: Tensor,
    alpha: float = 12.0,
    temperature: float = 0.07,
) -> Tensor:
    """Contrast each region vector with the patch and background vectors of the batch (RPF).

    With s = cosine / temperature, P_i the images of i's attribute and value (i among them) and B_i those of its
    attribute: ``- mean_i mean_{p in P_i} log( e^{s(r_i, p_p)} / (sum_j e^{s(r_i, p_j)} + alpha sum_{b in B_i}
    e^{s(r_i, b_b)}) )``. The sum over j takes every patch vector: positives, and as negatives those of another value,
    be it of the same attribute or of another. That and the positives' place in the denominator are our reading; the
    weights, the temperature and who is positive, negative and background are the official code's.

    Args:
        regions, patches, backgrounds: unit vectors (N, D).
        attributes, values: of each image, (N,) int64; a value of -1 is unknown, and alike to that image's alone.
        alpha: weight of the backgrounds.
        temperature: divides the cosines.
    """
    # Autocast would multiply in bf16, whose rounding the temperature magnifies.
    with torch.autocast(regions.device.type, enabled=False):
        near, behind = regions @ patches.T / temperature, regions @ backgrounds.T / temperature
    alike = attributes.unsqueeze(1) == attributes
    own = torch.eye(len(values), dtype=torch.bool, device=values.device)
    positive = alike & (values.unsqueeze(1) == values) & ((values >= 0) | own)
    weighted = behind + (math.log(alpha) if alpha > 0 else -math.inf)
    total = torch.logsumexp(torch.cat([near, weighted.masked_fill(~alike, -math.inf)], 1), 1, keepdim=True)
    gained = ((near - total) * positive).sum(1) / positive.sum(1)
    return -gained.mean()
