"""GRNet's steps, one by one: windows, differences, a graph over them, a logit of each pair."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lapel.errors import RecipeError
from lapel.losses.items import pair_match_loss
from lapel.models.grnet_style import GRNetStyle, windows

from .item_contract import TAGS, TRUNK, ItemModelContract, alive

SMALL = {"dim": 24, "region_dim": 12, "node_dim": 6, "scales": 2}
PAIRS = ("region", "difference", "asking", "answering", "convolve", "match")


class TestGRNetStyle(ItemModelContract):
    unit = True

    def build(self) -> GRNetStyle:
        return GRNetStyle(TAGS, TRUNK, **SMALL)

    def test_gradients_reach_every_trainable_parameter(self, model: Any) -> None:
        """Those of the pairs too, from the score of pairs."""
        model.train()
        features = model.features(torch.randn(4, 3, 96, 96))
        regions = model.regions(features)
        scores = model.pair_scores(regions, regions.expand(4, -1, -1, -1))
        loss = pair_match_loss(scores, torch.eye(4).roll(1, 0) > 0) + (model.embed(features) ** 3).sum()
        (loss + model.tag_logits(features).square().sum()).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().max() > 0, name


def overlap(start: float, end: float, cell: int) -> float:
    return max(0.0, min(end, cell + 1) - max(start, cell))


@pytest.mark.parametrize("size", [(7, 7), (5, 3), (1, 2)], ids=str)
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_windows_equal_the_loop(count: int, size: tuple[int, int]) -> None:
    features = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = windows(features, count)
    assert found.shape == (2, count**2, 3)
    tall, wide = (2 * side / (count + 1) for side in size)
    for row in range(count):
        for column in range(count):
            total = torch.zeros(2, 3, dtype=torch.float64)
            for i in range(size[0]):
                for j in range(size[1]):
                    inside = overlap(row * tall / 2, row * tall / 2 + tall, i) * overlap(
                        column * wide / 2, column * wide / 2 + wide, j
                    )
                    total += inside * features[:, :, i, j]
            torch.testing.assert_close(found[:, row * count + column], total / (tall * wide))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 5))
def test_windows_are_means(height: int, width: int, count: int) -> None:
    torch.testing.assert_close(windows(torch.ones(1, 1, height, width), count), torch.ones(1, count**2, 1))


def test_one_window_is_the_mean_and_windows_lie_where_they_should() -> None:
    features = torch.arange(16.0).view(1, 1, 4, 4)
    assert windows(features, 1).tolist() == [[[7.5]]]
    # Three windows of 2 along a side of 4, one cell apart: the middle one is cells 1 and 2.
    assert windows(features, 3)[0, 4].tolist() == [(5 + 6 + 9 + 10) / 4]


def slow_score(model: Any, query: Tensor, candidate: Tensor) -> float:
    nodes, start = [], 0
    for scale in range(1, model.scales + 1):
        places = range(start, start + scale**2)
        for left in places:
            for right in places:
                apart = torch.tensor(
                    [(float(a) - float(b)) ** 2 for a, b in zip(query[left], candidate[right], strict=True)]
                )
                node = model.difference.weight @ apart.to(query.dtype) + model.difference.bias
                nodes.append(node / math.sqrt(float(node @ node)))
        start += scale**2
    seen = []
    for node in nodes:
        products = [float((model.asking.weight @ node) @ (model.answering.weight @ other)) for other in nodes]
        total = sum(math.exp(value) for value in products)
        mixed = sum(math.exp(value) / total * other for value, other in zip(products, nodes, strict=True))
        seen.append((model.convolve.weight @ mixed + model.convolve.bias).clamp(min=0))
    return float(model.match.weight[0] @ torch.cat(seen) + model.match.bias[0])


@pytest.fixture
def model() -> Any:
    torch.manual_seed(0)
    return alive(GRNetStyle(0, TRUNK, **SMALL))


@torch.no_grad()
@pytest.mark.parametrize("block", [1, 4, 100])
def test_scores_of_pairs_equal_the_loop(model: Any, block: int) -> None:
    model = model.double()
    model.pairs_at_once = block
    queries, candidates = torch.randn(2, 5, 12, dtype=torch.float64), torch.randn(2, 3, 5, 12, dtype=torch.float64)
    found = model.pair_scores(queries, candidates)
    assert found.shape == (2, 3)
    assert found.dtype == torch.float32
    for query in range(2):
        for place in range(3):
            expected = slow_score(model, queries[query], candidates[query, place])
            assert float(found[query, place]) == pytest.approx(expected, abs=1e-5)


@torch.no_grad()
def test_regions_are_windows_of_every_scale(model: Any) -> None:
    assert (model.region_count, model.region_dim) == (5, 12)
    assert GRNetStyle(0, TRUNK).region_count == 14
    features = model.features(torch.randn(3, 3, 96, 128))
    found = model.regions(features)
    assert found.shape == (3, 5, 12)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.square().mean(-1), torch.ones(3, 5))
    whole = features.map.mean((2, 3)) @ model.region.weight.T
    torch.testing.assert_close(found[:, 0], whole / whole.square().mean(-1, keepdim=True).sqrt(), atol=1e-5, rtol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model.regions(model.features(torch.randn(3, 3, 96, 128)))
    assert rounded.dtype == torch.float32


def test_blocks_change_no_gradient(model: Any) -> None:
    regions = torch.randn(4, 5, 12)
    grads = []
    for block in (3, 16):
        model.pairs_at_once = block
        model.zero_grad()
        asked = regions.clone().requires_grad_()
        model.pair_scores(asked, asked.expand(4, -1, -1, -1)).square().sum().backward()
        grads.append([asked.grad, *(getattr(model, name).weight.grad for name in PAIRS[1:])])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_equal_regions_have_finite_gradients(model: Any) -> None:
    regions = torch.ones(2, 5, 12, requires_grad=True)
    model.pair_scores(regions, regions.expand(2, -1, -1, -1)).sum().backward()
    assert regions.grad is not None
    assert torch.isfinite(regions.grad).all()


class Largest(TorchDispatchMode):
    """Remembers the largest memory, in numbers, that lies behind what any operation gives."""

    size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if isinstance(found, Tensor):
            self.size = max(self.size, found.untyped_storage().nbytes() // found.element_size())
        return found


def test_memory_is_a_blocks(model: Any) -> None:
    model.pairs_at_once = 8
    regions = torch.randn(20, 5, 12)
    with torch.no_grad(), Largest() as largest:
        model.pair_scores(regions, regions.expand(20, -1, -1, -1))
    nodes = 1 + 16
    assert largest.size <= max(8 * nodes * max(12, nodes), 20 * 20)


def test_no_candidates(model: Any) -> None:
    assert model.pair_scores(torch.randn(2, 5, 12), torch.randn(2, 0, 5, 12)).shape == (2, 0)
    assert model.pair_scores(torch.randn(0, 5, 12), torch.randn(0, 3, 5, 12)).shape == (0, 3)


def test_pairs_can_be_told_apart(model: Any) -> None:
    """Items are directions, images of them noisy copies: a few steps on the pairs' loss find which match."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(8, 5, 12, generator=generator)
    regions = centres.repeat_interleave(2, 0) + 0.2 * torch.randn(16, 5, 12, generator=generator)
    items = torch.arange(8).repeat_interleave(2)
    match, other = items[:, None] == items, ~torch.eye(16, dtype=torch.bool)
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(40):
        optimiser.zero_grad()
        loss = pair_match_loss(model.pair_scores(regions, regions.expand(16, -1, -1, -1)), match, other)
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        scores = model.pair_scores(regions, regions.expand(16, -1, -1, -1)).masked_fill(~other, -math.inf)
    assert match.gather(1, scores.argmax(1, keepdim=True)).float().mean() > 0.8


@pytest.mark.parametrize("option", ["dim", "scales", "region_dim", "node_dim", "pairs_at_once"])
def test_mistakes(option: str) -> None:
    with pytest.raises(RecipeError, match=f"model 'grnet_style': expected option {option} to be at least 1, found 0"):
        GRNetStyle(0, TRUNK, **{option: 0})
