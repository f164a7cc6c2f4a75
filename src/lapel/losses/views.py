"""The losses that need no labels: two views of each image, known only to show the same (SimCLR, VICReg)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lapel.precision import single


def simclr_loss(first: Tensor, second: Tensor, temperature: float = 0.1) -> Tensor:
    """Find the other view of an image among all views of the batch (NT-Xent; Chen et al. 2020, eq 1).

    With s = cosine / temperature, the mean over all 2 B views i, of partner p, of ``- log( e^{s(i, p)} / sum_{j != i}
    e^{s(i, j)} )``. A batch of one image gives zero.

    Args:
        first: vectors of one view of each image (B, D), of any length.
        second: of another view, (B, D).
        temperature: divides the cosines.
    """
    count = len(first)
    # Autocast would multiply in bf16, whose rounding the temperature magnifies.
    with torch.autocast(first.device.type, enabled=False):
        views = F.normalize(single(torch.cat([first, second])), dim=-1)
        similarity = views @ views.T / temperature
    # Not -inf: with no other view at all, in a batch of none, a row would have nothing finite.
    similarity = similarity.masked_fill(torch.eye(2 * count, dtype=torch.bool, device=views.device), -1e9)
    partner = torch.arange(2 * count, device=views.device).roll(count)
    return F.cross_entropy(similarity, partner, reduction="sum") / max(2 * count, 1)


def vicreg_loss(
    first: Tensor, second: Tensor, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0
) -> Tensor:
    """Bring two views together, keep every dimension spread and all of them uncorrelated (Bardes et al. 2022).

    Invariance: the mean squared difference. Variance: ``max(0, 1 - sqrt(var + 1e-4))``, mean over dimensions and over
    the two views, as the authors' code has it; the paper's eq 6 adds the views. Covariance: the squared off-diagonal
    entries of the covariance matrix over D, added over the views. A batch of one image has no variance: only the
    invariance counts.

    Args:
        first: vectors of one view of each image (B, D), not normalised: their spread is what is asked for.
        second: of another view, (B, D).
        invariance, variance, covariance: the weights; the defaults are the paper's.
    """
    with torch.autocast(first.device.type, enabled=False):
        first, second = single(first), single(second)
        loss = invariance * F.mse_loss(first, second)
        if len(first) < 2:
            return loss
        for view in (first, second):
            centred = view - view.mean(0)
            matrix = centred.T @ centred / (len(view) - 1)
            spread = matrix.diagonal()
            loss = loss + variance * F.relu(1 - (spread + 1e-4).sqrt()).mean() / 2
            loss = loss + covariance * (matrix - spread.diag()).square().sum() / view.shape[1]
    return loss
