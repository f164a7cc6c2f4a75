"""The crop around the attended region: against loops over pixels, and what holds of every box."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lapel.models.regions import attended_boxes, crop_regions


def maps(seed: int, height: int, width: int, peak: float = 3.0) -> Tensor:
    """One random attention map (1, 1, h, w)."""
    scores = torch.randn(height, width, generator=torch.Generator().manual_seed(seed)) * peak
    return torch.softmax(scores.flatten(), 0).view(1, 1, height, width)


def resized(attention: Tensor, height: int, width: int) -> list[list[float]]:
    """Bilinear interpolation between cell centres, pixel by pixel."""
    cells = attention.double().numpy()
    rows, columns = cells.shape
    out = [[0.0] * width for _ in range(height)]
    for y in range(height):
        for x in range(width):
            v = min(max((y + 0.5) * rows / height - 0.5, 0), rows - 1)
            u = min(max((x + 0.5) * columns / width - 0.5, 0), columns - 1)
            top, left = int(v), int(u)
            down, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            over = cells[top, left] * (1 - (u - left)) + cells[top, right] * (u - left)
            under = cells[down, left] * (1 - (u - left)) + cells[down, right] * (u - left)
            out[y][x] = over * (1 - (v - top)) + under * (v - top)
    return out


def slow_box(attention: Tensor, height: int, width: int, threshold: float) -> tuple[list[float], list[tuple[int, int]]]:
    """The box in pixels, and the pixels above the threshold."""
    grid = resized(attention, height, width)
    low, high = min(map(min, grid)), max(map(max, grid))
    above = [(y, x) for y in range(height) for x in range(width) if (grid[y][x] - low) / (high - low) > threshold]
    top, bottom = min(y for y, _ in above), max(y for y, _ in above) + 1
    left, right = min(x for _, x in above), max(x for _, x in above) + 1
    side = min(max(bottom - top, right - left), height, width)
    x = min(max((left + right) / 2 - side / 2, 0), width - side)
    y = min(max((top + bottom) / 2 - side / 2, 0), height - side)
    return [x, y, x + side, y + side], above


def pixels(boxes: Tensor, height: int, width: int) -> Tensor:
    return boxes * torch.tensor([width, height, width, height])


@pytest.mark.parametrize("size", [(56, 56), (48, 80), (61, 43)], ids=str)
@pytest.mark.parametrize("threshold", [0.1, 0.4])
def test_boxes_equal_a_loop_over_pixels(size: tuple[int, int], threshold: float) -> None:
    rows, columns = (math.ceil(side / 16) for side in size)
    several = torch.cat([maps(seed, rows, columns) for seed in range(6)]).view(2, 3, rows, columns)
    found = pixels(attended_boxes(several, size, threshold), *size).view(6, 4)
    for number, attention in enumerate(several.view(6, rows, columns)):
        box, _ = slow_box(attention, *size, threshold)
        torch.testing.assert_close(found[number], torch.tensor(box), atol=1e-3, rtol=0)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    height=st.integers(32, 90),
    width=st.integers(32, 90),
    threshold=st.sampled_from([0.0, 0.1, 0.4, 0.9, 0.99]),
    peak=st.sampled_from([0.01, 1.0, 8.0]),
)
def test_every_box_is_a_square_inside_the_frame_around_what_is_attended(
    seed: int, height: int, width: int, threshold: float, peak: float
) -> None:
    attention = maps(seed, math.ceil(height / 16), math.ceil(width / 16), peak)
    left, top, right, bottom = pixels(attended_boxes(attention, (height, width), threshold), height, width)[
        0, 0
    ].tolist()
    near = 1e-3
    assert right - left == pytest.approx(bottom - top, abs=near)
    assert -near <= left < right <= width + near
    assert -near <= top < bottom <= height + near
    # Away from the threshold by more than float32's rounding, the pixels above it lie inside, where a square can.
    _, above = slow_box(attention[0, 0], height, width, threshold + 1e-3)
    rows, columns = {y for y, _ in above}, {x for _, x in above}
    if max(rows) + 1 - min(rows) <= width:
        assert top <= min(rows) + near
        assert bottom >= max(rows) + 1 - near
    if max(columns) + 1 - min(columns) <= height:
        assert left <= min(columns) + near
        assert right >= max(columns) + 1 - near


def test_a_higher_threshold_gives_no_larger_box() -> None:
    for seed in range(8):
        attention = maps(seed, 5, 5)
        boxes = [attended_boxes(attention, (80, 80), step)[0, 0] for step in (0.05, 0.2, 0.5, 0.9)]
        sides = [float(box[2] - box[0]) for box in boxes]
        assert sides == sorted(sides, reverse=True)


def test_one_cell_gives_a_box_around_it() -> None:
    attention = torch.zeros(1, 1, 7, 7)
    attention[0, 0, 1, 5] = 1.0
    left, top, right, bottom = pixels(attended_boxes(attention, (112, 112), 0.1), 112, 112)[0, 0].tolist()
    assert left < 5 * 16 < 6 * 16 < right <= 112
    assert 0 <= top < 16 < 32 < bottom
    assert right - left < 48


@pytest.mark.parametrize("value", [1 / 12, 0.0])
def test_a_flat_map_gives_the_largest_square_in_the_middle(value: float) -> None:
    box = pixels(attended_boxes(torch.full((1, 2, 3, 4), value), (48, 64), 0.1), 48, 64)[0, 1]
    torch.testing.assert_close(box, torch.tensor([8.0, 0.0, 56.0, 48.0]))


def slow_crop(image: Tensor, box: list[float], size: int) -> np.ndarray:
    """Mean of bilinear samples, sample by sample; the box in pixels."""
    planes = image.double().numpy()
    _, height, width = planes.shape
    samples = math.ceil(min(height, width) / size)
    out = np.zeros((3, size, size))
    for row in range(size * samples):
        for column in range(size * samples):
            x = box[0] + (column + 0.5) / (size * samples) * (box[2] - box[0]) - 0.5
            y = box[1] + (row + 0.5) / (size * samples) * (box[3] - box[1]) - 0.5
            x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
            left, top = int(x), int(y)
            right, down = min(left + 1, width - 1), min(top + 1, height - 1)
            over = planes[:, top, left] * (1 - (x - left)) + planes[:, top, right] * (x - left)
            under = planes[:, down, left] * (1 - (x - left)) + planes[:, down, right] * (x - left)
            out[:, row // samples, column // samples] += (over * (1 - (y - top)) + under * (y - top)) / samples**2
    return out


@pytest.mark.parametrize("size", [8, 20], ids=["smaller", "about as large"])
def test_crops_equal_a_loop_over_samples(size: int) -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 3, 20, 28)
    boxes = torch.tensor([[[0.0, 0.0, 20.0, 20.0], [3.5, 2.0, 10.5, 9.0]], [[8.0, 0.0, 28.0, 20.0], [20, 12, 28, 20]]])
    crops = crop_regions(images, boxes / torch.tensor([28, 20, 28, 20]), size)
    assert crops.shape == (2, 2, 3, size, size)
    for image in range(2):
        for number in range(2):
            expected = slow_crop(images[image], boxes[image, number].tolist(), size)
            np.testing.assert_allclose(crops[image, number].numpy(), expected, atol=1e-4)


def test_the_whole_frame_at_its_own_size_is_the_image() -> None:
    images = torch.randn(2, 3, 32, 32)
    crops = crop_regions(images, torch.tensor([[[0.0, 0.0, 1.0, 1.0]]] * 2), 32)
    torch.testing.assert_close(crops[:, 0], images, atol=1e-5, rtol=0)


def test_a_large_box_is_averaged_not_picked_from() -> None:
    """Stripes of one pixel become grey; single samples would make them black or white."""
    images = (torch.arange(64) % 2).float().expand(1, 3, 64, 64)
    crops = crop_regions(images, torch.tensor([[[0.0, 0.0, 1.0, 1.0]]]), 16)
    torch.testing.assert_close(crops, torch.full_like(crops, 0.5), atol=1e-5, rtol=0)


def test_there_is_no_gradient_through_a_box() -> None:
    attention = maps(0, 4, 4).requires_grad_()
    boxes = attended_boxes(attention, (64, 64), 0.1)
    assert not boxes.requires_grad
    assert not crop_regions(torch.randn(1, 3, 64, 64), boxes, 32).requires_grad
