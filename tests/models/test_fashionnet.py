"""FashionNet in its runnable form: glimpses at predicted landmarks, gated by how visible they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lapel.errors import RecipeError
from lapel.heatmaps import draw_heatmaps, read_heatmaps
from lapel.losses.items import heatmap_loss
from lapel.models.fashionnet import FashionNet, FashionNetFeatures, glimpses

from .item_contract import TAGS, TRUNK, ItemModelContract, alive, outputs

SMALL = {"dim": 24, "hidden": 32, "grid": 3, "width": 12}


class TestFashionNet(ItemModelContract):
    points = 8
    stacks = 1
    gazes = ("appearance", "landmarks")

    def build(self) -> FashionNet:
        return FashionNet(TAGS, TRUNK, **SMALL)


@torch.no_grad()
def test_fewer_landmarks_and_no_tags() -> None:
    torch.manual_seed(0)
    model = alive(FashionNet(0, TRUNK, **SMALL, points=3, dropout=0.0))
    found = outputs(model, torch.randn(2, 3, 96, 80))
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == {
        "embed": (2, 24),
        "heatmaps": (2, 1, 3, 6, 5),
        "saliency": (2, 2, 6, 5),
    }


@torch.no_grad()
def test_the_local_saliency_is_where_the_visible_landmarks_are() -> None:
    """One of three maps is above 0 at two places, one nowhere, one belongs to a landmark that is not visible."""
    maps = torch.full((1, 3, 2, 3), -1.0)
    maps[0, 0, 0, 1], maps[0, 0, 1, 1] = 3.0, 1.0
    maps[0, 1, 1, 2] = -0.5
    maps[0, 2, 0, 0] = 5.0
    model = FashionNet(0, TRUNK, **SMALL, points=3)
    last = torch.zeros(1, 4, 2, 3)
    last[0, :, 1, 0] = torch.tensor([1.0, -2.0, 0.0, 2.0])
    last[0, 2, 0, 2] = 3.0
    found = model.saliency(FashionNetFeatures(last, maps, torch.tensor([[1.0, 0.25, 0.0]]), torch.zeros(1, 32)))
    torch.testing.assert_close(found[0, 0], torch.tensor([[0, 0, 0.5], [0.5, 0, 0]]))
    torch.testing.assert_close(found[0, 1], torch.tensor([[0, 0.75, 0], [0, 0.25, 0.25]]) / 1.25)


def bilinear(map: Tensor, x: float, y: float) -> Tensor:
    """The map (C, h, w) at x, y in cells from its edge, the edge's own cells repeated outwards."""
    height, width = map.shape[1:]
    x, y = min(max(x - 0.5, 0.0), width - 1.0), min(max(y - 0.5, 0.0), height - 1.0)
    left, top = min(int(x), max(width - 2, 0)), min(int(y), max(height - 2, 0))
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    a, b = x - left, y - top
    upper = (1 - a) * map[:, top, left] + a * map[:, top, right]
    lower = (1 - a) * map[:, bottom, left] + a * map[:, bottom, right]
    return (1 - b) * upper + b * lower


@pytest.mark.parametrize("size", [(7, 7), (3, 5), (1, 1)], ids=str)
def test_a_glimpse_is_the_largest_of_four_samples(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 3, *size, generator=generator, dtype=torch.float64)
    places = torch.rand(2, 6, 2, generator=generator, dtype=torch.float64)
    places[0, 0], places[0, 1] = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])
    found = glimpses(maps, places)
    assert found.shape == (2, 6, 3)
    for image in range(2):
        for number in range(6):
            x, y = (float(places[image, number, axis]) * size[1 - axis] for axis in (0, 1))
            four = [bilinear(maps[image], x + a, y + b) for a in (-0.5, 0.5) for b in (-0.5, 0.5)]
            torch.testing.assert_close(found[image, number], torch.stack(four).amax(0))


def linear(layer: Any, values: Tensor) -> Tensor:
    return values @ layer.weight.T + layer.bias


@torch.no_grad()
def test_it_is_two_paths_joined() -> None:
    torch.manual_seed(0)
    model = alive(FashionNet(4, TRUNK, **SMALL)).double()
    images = torch.randn(2, 3, 96, 96, dtype=torch.float64)
    stride16 = model.trunk(images)[1]
    last = model.trunk.tail(stride16)
    assert last.shape[2:] == (3, 3), "the grid itself"
    whole = linear(model.whole[3], linear(model.whole[0], last.flatten(1)).clamp(min=0)).clamp(min=0)
    maps = model.landmarks(stride16)
    places = read_heatmaps(maps, 96, 96)
    peaks = maps.flatten(2).amax(-1)
    visible = 1 / (1 + torch.exp(-(model.slope * peaks + model.offset)))
    seen = glimpses(last, places[..., :2].double() / 96) * visible[..., None]
    local = linear(model.local[0], seen.flatten(1)).clamp(min=0)
    joined = linear(model.join, torch.cat([whole, local], 1))
    features = model.features(images)
    torch.testing.assert_close(features.joined, joined, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(model.embed(features), linear(model.project, joined).float(), atol=1e-5, rtol=0)
    torch.testing.assert_close(model.tag_logits(features), linear(model.tag_head, joined), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(model.heatmaps(features), maps.unsqueeze(1))


@torch.no_grad()
def test_an_invisible_landmark_is_not_looked_at() -> None:
    """Heat-maps of no height close the gate: what lies at the landmarks then changes nothing."""
    torch.manual_seed(0)
    model = alive(FashionNet(0, TRUNK, **SMALL))
    model.landmarks[-1].weight.zero_()
    images = torch.randn(2, 3, 96, 96)
    model.landmarks[-1].bias.fill_(-50.0)
    shut = model.embed(model.features(images))
    model.local[0].weight.mul_(-3)
    torch.testing.assert_close(model.embed(model.features(images)), shut)
    model.landmarks[-1].bias.fill_(1.0)
    features = model.features(images)
    assert features.visible.min() > 0.95
    assert (model.embed(features) - shut).abs().max() > 1e-3


def test_visibility_begins_with_one_half_at_half_a_peak() -> None:
    model = FashionNet(0, TRUNK, **SMALL)
    assert torch.sigmoid(model.slope * 0.5 + model.offset).tolist() == [0.5] * 8


def test_its_sizes_are_the_runnable_forms() -> None:
    with torch.device("meta"):
        model = FashionNet(463)
    assert tuple(model.whole[0].weight.shape) == (4096, 25_088)
    assert tuple(model.whole[3].weight.shape) == (4096, 4096)
    assert tuple(model.local[0].weight.shape) == (4096, 8 * 512)
    assert tuple(model.join.weight.shape) == (4096, 8192)
    assert tuple(model.project.weight.shape) == (256, 4096)
    assert tuple(model.tag_head.weight.shape) == (463, 4096)
    assert (model.dim, model.points, model.distance) == (256, 8, "cosine")


def test_the_landmark_head_learns_where_a_spot_is() -> None:
    torch.manual_seed(0)
    model = FashionNet(0, TRUNK, **SMALL, points=1, dropout=0.0).train()
    generator = torch.Generator().manual_seed(1)
    centres = torch.randint(1, 5, (4, 1, 2), generator=generator) * 16.0 + 8
    images = torch.zeros(4, 3, 96, 96)
    for image, (x, y) in enumerate(centres[:, 0].int().tolist()):
        images[image, :, y - 8 : y + 8, x - 8 : x + 8] = 3.0
    targets = draw_heatmaps(centres, 96, 96, 6, 6)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(25):
        optimiser.zero_grad()
        loss = heatmap_loss(model.heatmaps(model.features(images)), targets, torch.ones(4, 1))
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    with torch.no_grad():
        found = read_heatmaps(model.heatmaps(model.features(images))[:, -1], 96, 96)
    assert F.pairwise_distance(found[:, 0, :2], centres[:, 0]).mean() < 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(
            ({name: 0}, f"expected option {name} to be at least 1, found 0")
            for name in ("dim", "hidden", "grid", "points", "width")
        ),
        ({"dropout": 1.0}, "expected option dropout to be from 0 to below 1, found 1.0"),
    ],
    ids=str,
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=f"model 'fashionnet': {message}"):
        FashionNet(0, TRUNK, **options)
