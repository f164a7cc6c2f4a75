"""ASENet and ASENet_V2 against slow writings of the repository's steps, one attribute and one position at a time."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lapel.errors import RecipeError
from lapel.models import build
from lapel.models.asenet import ASENet, ASENetV2
from lapel.models.trunks import parameter_count

from .contract import ATTRIBUTES, AttributeModelContract, alive

TRUNK = "test_resnet"
EVERY = torch.arange(ATTRIBUTES)


class TestASENet(AttributeModelContract):
    def build(self) -> ASENet:
        return build("asenet", ATTRIBUTES, TRUNK, width=32, dim=24)


class TestASENetV2(AttributeModelContract):
    invariant = ("key.bias",)  # batch normalisation follows it

    def build(self) -> ASENetV2:
        return build("asenet_v2", ATTRIBUTES, TRUNK, width=32)


class TestInvertedResidualTrunk(AttributeModelContract):
    invariant = ("key.bias",)

    def build(self) -> ASENetV2:
        return build("asenet_v2", ATTRIBUTES, "mobilenetv3_small_050", width=16)


def awake(model: Any) -> Any:
    """Weights large enough for tanh to bend and for the channel weights to leave one half."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith("trunk"):
                parameter.mul_(2.0)
        if isinstance(model, ASENetV2):
            model.norm.bias.normal_(0, 0.2)
        else:
            model.score.bias.fill_(0.8)
    return model


def spatial(score: Tensor, stride16: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (B, H, W) -> attention and the attention-weighted sum over positions, position by position."""
    weights = torch.exp(score)
    attention = weights / weights.sum((1, 2), keepdim=True)
    vector = torch.zeros(stride16.shape[:2], dtype=stride16.dtype)
    for row in range(score.shape[1]):
        for column in range(score.shape[2]):
            vector = vector + stride16[:, :, row, column] * attention[:, row, column, None]
    return attention, vector


def channel(part: Any, vector: Tensor, condition: Tensor) -> Tensor:
    joined = torch.cat([vector, torch.relu(condition).expand(len(vector), -1)], 1)
    hidden = torch.relu(joined @ part.reduce.weight.T + part.reduce.bias)
    return vector * torch.sigmoid(hidden @ part.expand.weight.T + part.expand.bias)


def literal_v1(model: ASENet, images: Tensor, number: int) -> tuple[Tensor, Tensor]:
    stride16 = model.trunk.stages[1](model.trunk.stages[0](images))
    one_hot = F.one_hot(torch.tensor(number), ATTRIBUTES).to(images.dtype)
    image = torch.tanh(F.conv2d(stride16, model.key.weight, model.key.bias))
    attribute = torch.tanh(one_hot @ model.spatial_query.weight.T)
    product = image * attribute.view(1, -1, 1, 1)
    score = F.conv2d(product, model.score.weight.view(1, -1, 1, 1), model.score.bias)
    attention, vector = spatial(torch.tanh(score)[:, 0], stride16)
    vector = channel(model.channel, vector, one_hot @ model.channel_query.weight.T)
    return vector @ model.output.weight.T + model.output.bias, attention


def literal_v2(model: ASENetV2, images: Tensor, number: int) -> tuple[Tensor, Tensor]:
    stride16 = model.trunk.stages[1](model.trunk.stages[0](images))
    embedded = model.embedding.weight[number]
    x = F.conv2d(stride16, model.key.weight, model.key.bias)
    norm = model.norm
    if model.training:
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
    else:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean, var = norm.running_mean, norm.running_var
    mean, var, scale, shift = (part.view(1, -1, 1, 1) for part in (mean, var, norm.weight, norm.bias))
    image = torch.tanh((x - mean) / torch.sqrt(var + norm.eps) * scale + shift)
    attribute = torch.tanh(model.spatial_query.weight @ embedded + model.spatial_query.bias)
    score = (image * attribute.view(1, -1, 1, 1)).sum(1) / math.sqrt(len(embedded))
    attention, vector = spatial(score, stride16)
    return channel(model.channel, vector, model.channel_query.weight @ embedded + model.channel_query.bias), attention


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("size", [(96, 96), (80, 128)], ids=str)
@pytest.mark.parametrize("name", ["asenet", "asenet_v2"])
def test_it_equals_the_repositorys_path(name: str, size: tuple[int, int], training: bool) -> None:
    torch.manual_seed(0)
    options = {"width": 32} | ({"dim": 24} if name == "asenet" else {})
    model: Any = alive(awake(build(name, ATTRIBUTES, TRUNK, **options))).double().train(training)
    literal: Any = literal_v1 if name == "asenet" else literal_v2
    images = torch.randn(3, 3, *size, dtype=torch.float64)
    features = model.features(images)
    vectors, maps = model.embed(features, EVERY), model.attention(features, EVERY)
    for number in range(ATTRIBUTES):
        expected, looked = literal(model, images, number)
        torch.testing.assert_close(maps[:, number], looked)
        expected = expected / expected.pow(2).sum(1, keepdim=True).sqrt()
        torch.testing.assert_close(vectors[:, number], expected.float(), atol=1e-6, rtol=0)


COUNTS = [
    ("asenet", 8, 11_704_897),
    ("asenet", 5, 11_700_289),
    ("asenet", 4, 11_698_753),
    ("asenet_v2", 8, 10_910_784),
    ("asenet_v2", 5, 10_909_248),
    ("asenet_v2", 4, 10_908_736),
]


@pytest.mark.parametrize(("name", "attributes", "count"), COUNTS)
def test_parameter_counts_with_resnet50_are_those_of_the_official_code(name: str, attributes: int, count: int) -> None:
    model = build(name, attributes)
    assert parameter_count(model) == count
    assert model.dim == 1024


MISTAKES = [
    ("asenet", {"width": 0}, "model 'asenet': expected option width to be at least 1, found 0"),
    ("asenet", {"dim": 0}, "model 'asenet': expected option dim to be at least 1, found 0"),
    ("asenet_v2", {"width": -1}, "model 'asenet_v2': expected option width to be at least 1, found -1"),
    ("asenet_v2", {"dim": 8}, "model 'asenet_v2': unknown option 'dim'"),
]


@pytest.mark.parametrize(("name", "options", "message"), MISTAKES)
def test_mistakes_are_named(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as error:
        build(name, ATTRIBUTES, TRUNK, **options)
    assert message in str(error.value)
