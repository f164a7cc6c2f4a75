"""The network in AttnFashion's style against a slow writing of its docstring."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lapel.errors import RecipeError
from lapel.models import MODELS, build
from lapel.models.attnfashion import AttnFashionStyle
from lapel.models.trunks import parameter_count

from .contract import ATTRIBUTES, AttributeModelContract, alive

TRUNK = "test_resnet"


class TestStyle(AttributeModelContract):
    def build(self) -> AttnFashionStyle:
        return build("attnfashion_style", ATTRIBUTES, TRUNK, width=32, dim=24)


def literal(model: AttnFashionStyle, images: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """One attribute: its vector, not normalised, and where it looks."""
    stride16 = model.trunk.stages[1](model.trunk.stages[0](images))
    embedded = model.embedding.weight[number]
    keys = torch.relu(F.conv2d(stride16, model.key.weight, model.key.bias))
    query = model.query.weight @ embedded + model.query.bias
    score = torch.exp((keys * query.view(1, -1, 1, 1)).sum(1) / math.sqrt(len(query)))
    attention = score / score.sum((1, 2), keepdim=True)
    vector = (stride16 * attention.unsqueeze(1)).sum((2, 3))
    image = vector @ model.fuse_image.weight.T + model.fuse_image.bias
    attribute = model.fuse_attribute.weight @ embedded + model.fuse_attribute.bias
    weights = torch.sigmoid(torch.relu(image * attribute) @ model.weigh.weight.T + model.weigh.bias)
    return (vector * weights) @ model.output.weight.T + model.output.bias, attention


@pytest.mark.parametrize("size", [(96, 96), (80, 128)], ids=str)
def test_it_is_what_its_docstring_says(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = alive(build("attnfashion_style", ATTRIBUTES, TRUNK, width=32, dim=24)).double()
    images = torch.randn(3, 3, *size, dtype=torch.float64)
    features = model.features(images)
    vectors, maps = (method(features, torch.arange(ATTRIBUTES)) for method in (model.embed, model.attention))
    for number in range(ATTRIBUTES):
        expected, looked = literal(model, images, number)
        torch.testing.assert_close(maps[:, number], looked)
        expected = expected / expected.pow(2).sum(1, keepdim=True).sqrt()
        torch.testing.assert_close(vectors[:, number], expected.float(), atol=1e-6, rtol=0)


def test_it_says_that_it_is_not_the_published_network() -> None:
    assert "attnfashion" not in MODELS
    assert "in the style of" in (AttnFashionStyle.__doc__ or "")


def test_its_cost_is_near_that_of_the_systems_it_stands_beside() -> None:
    """Between ASENet_V2 and twice its head, so that a comparison is not one of sizes."""
    assert 10_910_784 < parameter_count(build("attnfashion_style", 8)) < 8_543_296 + 2 * 2_367_488


@pytest.mark.parametrize("key", ["width", "dim"])
def test_a_size_below_one(key: str) -> None:
    with pytest.raises(
        RecipeError, match=f"model 'attnfashion_style': expected option {key} to be at least 1, found 0"
    ):
        build("attnfashion_style", 3, TRUNK, **{key: 0})
