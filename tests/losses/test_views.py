"""The losses of two views equal their formulas written as loops."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lapel.losses.views import simclr_loss, vicreg_loss


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_simclr_equals_the_loop(count: int) -> None:
    first, second = draw(count, 4), draw(count, 4, seed=1)
    views = [*first, *second]
    losses = []
    for number, view in enumerate(views):
        partner = (number + count) % (2 * count)
        total = sum(math.exp(cosine(view, views[j]) / 0.3) for j in range(2 * count) if j != number)
        losses.append(math.log(total) - cosine(view, views[partner]) / 0.3)
    assert float(simclr_loss(first, second, 0.3)) == pytest.approx(sum(losses) / len(losses), abs=1e-12)


@pytest.mark.parametrize(("invariance", "variance", "covariance"), [(25, 25, 1), (1, 0, 0), (0, 2, 0), (0, 0, 3)])
def test_vicreg_equals_the_loop(invariance: float, variance: float, covariance: float) -> None:
    count, dim = 5, 3
    first, second = draw(count, dim) * 0.7, draw(count, dim, seed=1) * 0.7
    expected = invariance * sum(
        (a - b) ** 2 for a, b in zip(first.flatten().tolist(), second.flatten().tolist(), strict=True)
    )
    expected /= count * dim
    for view in (first.tolist(), second.tolist()):
        means = [sum(row[d] for row in view) / count for d in range(dim)]
        matrix = [
            [sum((row[a] - means[a]) * (row[b] - means[b]) for row in view) / (count - 1) for b in range(dim)]
            for a in range(dim)
        ]
        expected += variance * sum(max(0.0, 1 - math.sqrt(matrix[d][d] + 1e-4)) for d in range(dim)) / dim / 2
        expected += covariance * sum(matrix[a][b] ** 2 for a in range(dim) for b in range(dim) if a != b) / dim
    assert float(vicreg_loss(first, second, invariance, variance, covariance)) == pytest.approx(expected)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"simclr": simclr_loss, "vicreg": vicreg_loss}


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("name", LOSSES)
def test_collapsed_and_single_views_have_finite_gradients(name: str, count: int) -> None:
    first, second = (torch.ones(count, 4).requires_grad_() for _ in range(2))
    loss = LOSSES[name](first, second)
    loss.backward()
    assert torch.isfinite(loss)
    for view in (first, second):
        assert view.grad is not None
        assert torch.isfinite(view.grad).all()


@pytest.mark.parametrize("name", LOSSES)
def test_the_same_views_in_order_are_better_than_mixed_ones(name: str) -> None:
    views = draw(6, 8)
    assert LOSSES[name](views, views) < LOSSES[name](views, views.roll(1, 0))


@pytest.mark.parametrize("name", LOSSES)
def test_autocast_does_not_round_them(name: str) -> None:
    first, second = draw(6, 16).float(), draw(6, 16, seed=1).float()
    expected = LOSSES[name](first, second)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(LOSSES[name](first, second), expected)


def test_simclr_does_not_look_at_lengths() -> None:
    first, second = draw(4, 5), draw(4, 5, seed=1)
    torch.testing.assert_close(simclr_loss(first * 3, second / 7), simclr_loss(first, second))
