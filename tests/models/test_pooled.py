"""The pooled network: a mean, a linear layer, unit length; and the parts of its embedding add up."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lapel.errors import RecipeError
from lapel.models.pooled import PooledItem, generalised_mean_parts, shares

from .item_contract import TAGS, TRUNK, ItemModelContract, alive


class TestPooled(ItemModelContract):
    unit = True

    def build(self) -> PooledItem:
        return PooledItem(TAGS, TRUNK, dim=24)


class TestGeM(ItemModelContract):
    tags = 0

    def build(self) -> PooledItem:
        return PooledItem(0, TRUNK, dim=24, pooling="gem", normalise=False)


@torch.no_grad()
def test_it_is_the_mean_of_the_last_map_through_one_layer() -> None:
    torch.manual_seed(0)
    model = alive(PooledItem(3, TRUNK, dim=24)).double()
    images = torch.randn(3, 3, 80, 64, dtype=torch.float64)
    last = images
    for stage in model.trunk.stages:
        last = stage(last)
    mean = last.mean((2, 3))
    expected = mean @ model.project.weight.T + model.project.bias
    features = model.features(images)
    expected = expected / expected.pow(2).sum(1, keepdim=True).sqrt()
    torch.testing.assert_close(model.embed(features), expected.float(), atol=1e-6, rtol=0)
    torch.testing.assert_close(model.tag_logits(features), mean @ model.tag_head.weight.T + model.tag_head.bias)


def test_its_sizes_are_fastaps() -> None:
    """ResNet-50's 2,048 pooled channels to 512 dimensions; no tags, no layer for them."""
    model = PooledItem(0)
    assert (model.dim, model.tags, model.tag_head) == (512, 0, None)
    assert tuple(model.project.weight.shape) == (512, 2048)


@pytest.mark.parametrize("power", [1.0, 3.0, 7.5])
def test_the_parts_add_up_to_the_generalised_mean(power: float) -> None:
    features = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = generalised_mean_parts(features, torch.tensor(power, dtype=torch.float64))
    assert found.shape == features.shape
    for image in range(2):
        for channel in range(4):
            values = [max(value, 1e-6) for value in features[image, channel].flatten().tolist()]
            mean = (sum(value**power for value in values) / len(values)) ** (1 / power)
            assert float(found[image, channel].sum()) == pytest.approx(mean)
            largest = max(range(15), key=values.__getitem__)
            assert int(found[image, channel].argmax()) == largest


def test_large_powers_do_not_leave_the_range_of_numbers() -> None:
    features = torch.rand(1, 2, 4, 4) * 1e4
    features.requires_grad_()
    power = torch.tensor(60.0, requires_grad=True)
    found = generalised_mean_parts(features, power).sum((2, 3))
    assert (found / features.amax((2, 3))).min() > 0.9
    found.sum().backward()
    assert features.grad is not None
    assert power.grad is not None
    assert torch.isfinite(features.grad).all()
    assert torch.isfinite(power.grad)


@pytest.mark.parametrize("options", [{}, {"pooling": "gem"}], ids=str)
@torch.no_grad()
def test_saliency_is_each_positions_part_of_the_embedding(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = alive(PooledItem(0, TRUNK, dim=24, normalise=False, **options)).double()
    features = model.features(torch.randn(2, 3, 96, 64, dtype=torch.float64))
    vectors = model.embed(features).double()
    _, channels, height, width = features.map.shape
    for image in range(2):
        parts = []
        for i in range(height):
            for j in range(width):
                if model.power is None:
                    pooled = features.map[image, :, i, j] / (height * width)
                else:
                    pooled = generalised_mean_parts(features.map, model.power)[image, :, i, j]
                assert len(pooled) == channels
                add = model.project.weight @ pooled + model.project.bias / (height * width)
                parts.append(float(add @ vectors[image]))
        assert sum(parts) == pytest.approx(float(vectors[image] @ vectors[image]), rel=1e-4)
        kept = [max(part, 0.0) for part in parts]
        expected = torch.tensor([part / sum(kept) for part in kept], dtype=torch.float64)
        torch.testing.assert_close(model.saliency(features)[image, 0].flatten(), expected, atol=1e-5, rtol=0)


def test_shares_of_nothing_are_even() -> None:
    scores = torch.tensor([[[[-1.0, 3.0], [1.0, 0.0]], [[-1.0, 0.0], [-2.0, -3.0]]]])
    assert shares(scores).tolist() == [[[[0.0, 0.75], [0.25, 0.0]], [[0.25, 0.25], [0.25, 0.25]]]]
    assert float(shares(torch.full((1, 1, 2, 2), 1e-35)).sum()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, "model 'pooled': expected option dim to be at least 1, found 0"),
        ({"pooling": "max"}, "expected option pooling to be mean or gem, found 'max'"),
        ({"power": 0.5}, "expected option power to be at least 1, found 0.5"),
        ({"trunk": "resnett18"}, "did you mean 'resnet18'"),
    ],
    ids=str,
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        PooledItem(0, **{"trunk": TRUNK, **options})
