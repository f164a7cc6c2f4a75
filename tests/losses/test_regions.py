"""Losses between branches equal their formulas written as loops."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lapel.losses.regions import alignment_loss, cross_branch_loss


def unit(seed: int, *shape: int) -> Tensor:
    vectors = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(vectors, dim=-1)


def slow_contrast(
    regions: Tensor, patches: Tensor, behind: Tensor, labels: list[tuple[int, int]], alpha: float, temperature: float
) -> float:
    terms = []
    for i, (attribute, value) in enumerate(labels):
        positives, total = [], 0.0
        for j, other in enumerate(labels):
            score = math.exp(float(regions[i] @ patches[j]) / temperature)
            total += score
            if other == (attribute, value):
                positives.append(score)
            if other[0] == attribute:
                total += alpha * math.exp(float(regions[i] @ behind[j]) / temperature)
        terms.append(-sum(math.log(score / total) for score in positives) / len(positives))
    return sum(terms) / len(terms)


LABELS = [(0, 1), (0, 1), (0, 2), (1, 1), (1, 1), (1, 0), (2, 5)]


@pytest.mark.parametrize("alpha", [12.0, 1.0, 0.0])
@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_cross_branch_loss_is_its_formula(alpha: float, temperature: float) -> None:
    regions, patches, behind = (unit(seed, len(LABELS), 6) for seed in range(3))
    attributes, values = torch.tensor(LABELS).T
    found = cross_branch_loss(regions, patches, behind, attributes, values, alpha, temperature)
    expected = slow_contrast(regions, patches, behind, LABELS, alpha, temperature)
    assert float(found) == pytest.approx(expected, rel=1e-9)


def test_the_same_value_number_of_another_attribute_is_no_positive() -> None:
    attributes, values = torch.tensor([0, 1]), torch.tensor([3, 3])
    regions, behind = torch.eye(4)[:2], torch.eye(4)[2:]
    own = cross_branch_loss(regions, regions, behind, attributes, values)
    crossed = cross_branch_loss(regions, regions.flip(0), behind, attributes, values)
    assert own < crossed


def test_images_of_unknown_value_are_alike_to_themselves_only() -> None:
    """As two values that no other image shows."""
    regions, patches, behind = (unit(seed, 4, 6) for seed in range(3))
    attributes = torch.zeros(4, dtype=torch.int64)
    found = cross_branch_loss(regions, patches, behind, attributes, torch.tensor([-1, 0, -1, 0]))
    assert torch.equal(found, cross_branch_loss(regions, patches, behind, attributes, torch.tensor([1, 0, 2, 0])))


def test_gradients_pull_positives_and_push_negatives_and_backgrounds() -> None:
    """One region vector's part of the loss: a step along the gradient of each other vector, by its sign."""
    attributes, values = torch.tensor([0, 0, 0, 1]), torch.tensor([1, 1, 2, 1])
    regions = unit(0, 1, 8).expand(4, -1)
    patches, behind = (unit(seed, 4, 8).requires_grad_() for seed in (1, 2))
    # Anchors of one value only, so that no patch is positive of one and negative of another.
    first = torch.zeros(4, 8, dtype=torch.float64).index_add(0, torch.tensor([0]), regions[:1])
    cross_branch_loss(first, patches, behind, attributes, values).backward()
    assert patches.grad is not None
    assert behind.grad is not None
    along = (patches.grad @ regions[0]).tolist()
    assert along[1] < 0 < along[2], "same value: closer; another value: away"
    assert along[3] > 0, "another attribute's: away"
    away = (behind.grad @ regions[0]).tolist()
    assert min(away[:3]) > 0, "backgrounds of the attribute: away"
    assert away[3] == 0, "another attribute's background takes no part"


def test_it_is_finite_in_single_precision_at_the_extremes() -> None:
    vectors = unit(0, 6, 4).float().requires_grad_()
    attributes, values = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 0, 1, 1, 2, 2])
    loss = cross_branch_loss(vectors, vectors, -vectors, attributes, values, alpha=0.0, temperature=0.001)
    loss.backward()
    assert torch.isfinite(loss)
    assert vectors.grad is not None
    assert torch.isfinite(vectors.grad).all()


def test_autocast_does_not_round_the_contrast() -> None:
    regions, patches, behind = (unit(seed, 7, 64).float() for seed in range(3))
    attributes, values = torch.tensor(LABELS).T
    expected = cross_branch_loss(regions, patches, behind, attributes, values)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(cross_branch_loss(regions, patches, behind, attributes, values), expected)


def test_alignment_is_the_mean_distance_of_the_cosines() -> None:
    whole, part = unit(0, 5, 4), unit(1, 5, 4)
    cosines = [
        sum(float(a) * float(b) for a, b in zip(g, near, strict=True)) for g, near in zip(whole, part, strict=True)
    ]
    assert float(alignment_loss(whole, part)) == pytest.approx(sum(1 - cosine for cosine in cosines) / 5)
    assert float(alignment_loss(whole, whole)) == pytest.approx(0, abs=1e-12)
    assert float(alignment_loss(whole, -whole)) == pytest.approx(2)
