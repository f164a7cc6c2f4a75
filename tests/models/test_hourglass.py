"""The localisation branches: sizes by arithmetic of their own, structure step by step, what a run of them learns."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lapel.models.hourglass import LEAST, Hourglass, LightLocalisation, Residual, StackedHourglass
from lapel.models.trunks import parameter_count

NORM = 2  # parameters per channel


def residual_size(inputs: int, outputs: int) -> int:
    half = outputs // 2
    norms = NORM * (inputs + half + half)
    convolutions = inputs * half + half * half * 9 + half * outputs + outputs
    return norms + convolutions + (inputs * outputs + outputs if inputs != outputs else 0)


def branch_size(stacks: int, width: int, points: int) -> int:
    """Counted by hand from the list of layers."""
    quarter, half = width // 4, width // 2
    stem = 3 * 49 * quarter + NORM * quarter
    stem += residual_size(quarter, half) + residual_size(half, half) + residual_size(half, width)
    # Three residuals at each of four levels and one at the bottom; then the one before the features.
    stack = (3 * 4 + 1 + 1) * residual_size(width, width) + width * width + NORM * width
    maps = width * points + points
    back = points * width + width + width * width + width
    return stem + stacks * (stack + maps) + (stacks - 1) * back


@pytest.mark.parametrize(("stacks", "width", "points"), [(4, 256, 8), (1, 16, 8), (2, 32, 5), (8, 256, 16)], ids=str)
def test_it_has_the_parameters_of_its_layers(stacks: int, width: int, points: int) -> None:
    with torch.device("meta"):
        branch = StackedHourglass(points, stacks, width)
    assert parameter_count(branch) == branch_size(stacks, width, points)


def test_the_papers_branch_gives_64_squared_maps_of_256_px() -> None:
    with torch.device("meta"):
        found = StackedHourglass()(torch.empty(2, 3, 256, 256))
    assert found.features.shape == (2, 256, 64, 64)
    assert found.heatmaps.shape == (2, 4, 8, 64, 64)


def literal_residual(block: Residual, x: Tensor) -> Tensor:
    norm1, _, conv1, norm2, _, conv2, norm3, _, conv3 = block.steps
    out = conv3(F.relu(norm3(conv2(F.relu(norm2(conv1(F.relu(norm1(x)))))))))
    return out + (block.widen(x) if isinstance(block.widen, nn.Conv2d) else x)


def literal_hourglass(block: Hourglass, x: Tensor, depth: int) -> Tensor:
    up = literal_residual(block.skip, x)
    low = literal_residual(block.before, F.max_pool2d(x, 2, 2))
    if depth == 1:
        assert isinstance(block.inner, Residual)
        low = literal_residual(block.inner, low)
    else:
        assert isinstance(block.inner, Hourglass)
        low = literal_hourglass(block.inner, low, depth - 1)
    low = literal_residual(block.after, low)
    return up + low.repeat_interleave(2, 2).repeat_interleave(2, 3)


@torch.no_grad()
def test_it_is_the_published_structure_step_by_step() -> None:
    torch.manual_seed(0)
    branch = StackedHourglass(3, 3, 16).eval()
    for module in branch.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    images = torch.randn(2, 3, 64, 128)

    x = F.relu(branch.stem[1](F.conv2d(images, branch.stem[0].weight, stride=2, padding=3)))
    x = F.max_pool2d(literal_residual(branch.stem[3], x), 2, 2)
    x = literal_residual(branch.stem[6], literal_residual(branch.stem[5], x))
    expected = []
    for number in range(3):
        hourglass, merge = branch.stacks[number]
        features = F.relu(merge[2](merge[1](literal_residual(merge[0], literal_hourglass(hourglass, x, 4)))))
        expected.append(branch.maps[number](features))
        if number < 2:
            x = x + branch.back_maps[number](expected[-1]) + branch.back_features[number](features)

    found = branch(images)
    torch.testing.assert_close(found.features, features)
    torch.testing.assert_close(found.heatmaps, torch.stack(expected, 1))
    branch.intermediate = False
    torch.testing.assert_close(branch(images).heatmaps, expected[-1].unsqueeze(1))


def test_without_intermediate_supervision_every_part_still_learns() -> None:
    """The earlier stacks' heat-maps go into the later stacks."""
    torch.manual_seed(0)
    branch = StackedHourglass(3, 2, 16, intermediate=False)
    found = branch(torch.randn(3, 3, LEAST, LEAST)).heatmaps
    assert found.shape == (3, 1, 3, 16, 16)
    (found * torch.randn_like(found)).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in branch.parameters())


def test_the_light_branch_joins_both_maps_at_the_finer_one() -> None:
    torch.manual_seed(0)
    branch = LightLocalisation(6, 10, points=8, width=16).eval()
    fine, coarse = torch.randn(2, 6, 13, 17), torch.randn(2, 10, 7, 9)
    found = branch(fine, coarse)
    assert found.features.shape == (2, 16, 13, 17)
    assert found.heatmaps.shape == (2, 1, 8, 13, 17)
    for changed in (branch(fine + 1, coarse), branch(fine, coarse + 1)):
        assert (changed.heatmaps - found.heatmaps).abs().max() > 1e-3
    size = (6 * 16 + 16) + (10 * 16 + 16) + 2 * residual_size(16, 16) + 16 * 16 + NORM * 16 + (16 * 8 + 8)
    assert parameter_count(branch) == size


def test_it_learns_where_a_dot_is() -> None:
    """A few steps on one batch: the heat-map's peak goes to the dot."""
    torch.manual_seed(0)
    cells = torch.tensor([[3, 4], [11, 8], [6, 13], [12, 2]])
    images, targets = torch.zeros(4, 3, 64, 64), torch.zeros(4, 1, 1, 16, 16)
    for image, target, (row, column) in zip(images, targets, cells.tolist(), strict=True):
        image[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 1
        target[0, 0, row, column] = 1
    branch = StackedHourglass(1, 1, 16)
    optimiser = torch.optim.Adam(branch.parameters(), 1e-2)
    for _ in range(40):
        optimiser.zero_grad()
        loss = (branch(images).heatmaps - targets).square().sum((-2, -1)).mean()
        loss.backward()
        optimiser.step()
    peaks = branch(images).heatmaps[:, 0, 0].flatten(1).argmax(1)
    assert torch.stack([peaks // 16, peaks % 16], 1).tolist() == cells.tolist()
