"""Heat-maps are drawn where landmarks are and read back to within what a map can tell."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lapel.heatmaps import draw_heatmaps, read_heatmaps


def slow_draw(points: Tensor, height: int, width: int, rows: int, columns: int, sigma: float) -> Tensor:
    maps = torch.zeros(*points.shape[:2], rows, columns)
    for image, placed in enumerate(points.tolist()):
        for number, (x, y) in enumerate(placed):
            for i in range(rows):
                for j in range(columns):
                    across = ((j + 0.5) * width / columns - x) / (width / columns)
                    down = ((i + 0.5) * height / rows - y) / (height / rows)
                    maps[image, number, i, j] = math.exp(-(across**2 + down**2) / (2 * sigma**2))
    return maps


def slow_read(map: list[list[float]], height: int, width: int) -> tuple[float, float, float]:
    rows, columns = len(map), len(map[0])
    score, i, j = max((map[i][j], -i, -j) for i in range(rows) for j in range(columns))
    i, j = -i, -j
    x, y = j + 0.5, i + 0.5
    if 0 < j < columns - 1 and map[i][j + 1] != map[i][j - 1]:
        x += 0.25 if map[i][j + 1] > map[i][j - 1] else -0.25
    if 0 < i < rows - 1 and map[i + 1][j] != map[i - 1][j]:
        y += 0.25 if map[i + 1][j] > map[i - 1][j] else -0.25
    return x * width / columns, y * height / rows, score


@pytest.mark.parametrize(("sigma", "rows", "columns"), [(1.0, 8, 6), (0.5, 5, 7), (2.0, 1, 1)])
def test_drawing_equals_the_loop(sigma: float, rows: int, columns: int) -> None:
    points = torch.rand(2, 3, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([60.0, 40.0])
    found = draw_heatmaps(points, 40, 60, rows, columns, sigma)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, slow_draw(points, 40, 60, rows, columns, sigma))


@pytest.mark.parametrize("seed", range(5))
def test_reading_equals_the_loop(seed: int) -> None:
    maps = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(seed))
    if seed == 4:  # many equal cells
        maps = maps.round()
    found = read_heatmaps(maps, 40, 60)
    assert found.shape == (2, 3, 3)
    for image in range(2):
        for number in range(3):
            expected = slow_read(maps[image, number].tolist(), 40, 60)
            assert found[image, number].tolist() == pytest.approx(expected, abs=1e-5)


def test_a_landmark_at_a_cells_centre_has_the_peak_there() -> None:
    maps = draw_heatmaps(torch.tensor([[[10.0, 6.0]]]), 16, 32, 4, 8)  # cells of 4 x 4 pixels
    assert maps[0, 0, 1, 2] == 1
    assert read_heatmaps(maps, 16, 32)[0, 0].tolist() == [10.0, 6.0, 1.0]


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0, 1), st.floats(0, 1), st.integers(3, 40), st.integers(3, 40), st.integers(8, 300), st.integers(8, 300)
)
def test_what_is_drawn_is_read_to_a_quarter_cell(
    across: float, down: float, rows: int, columns: int, height: int, width: int
) -> None:
    """But in the outermost cells, which are not moved: half a cell there."""
    x, y = across * width, down * height
    found = read_heatmaps(draw_heatmaps(torch.tensor([[[x, y]]]), height, width, rows, columns), height, width)[0, 0]
    for place, seen, size, count in ((x, found[0], width, columns), (y, found[1], height, rows)):
        cell = size / count
        inside = cell < place < size - cell
        assert abs(float(seen) - place) <= cell * (0.25 if inside else 0.5) + 1e-3 * cell


def test_points_that_are_nowhere_or_outside() -> None:
    points = torch.tensor([[[math.nan, 3.0], [-500.0, 3.0], [4.0, math.inf], [-2.0, 4.0]]])
    maps = draw_heatmaps(points, 16, 16, 4, 4)
    assert torch.isfinite(maps).all()
    assert not maps[0, :3].any()
    assert 0 < maps[0, 3].max() < 1


def test_maps_of_one_cell_and_half_precision() -> None:
    assert read_heatmaps(torch.ones(1, 2, 1, 1), 10, 20)[0].tolist() == [[10.0, 5.0, 1.0]] * 2
    maps = torch.randn(2, 8, 64, 64).bfloat16()
    torch.testing.assert_close(read_heatmaps(maps, 256, 256), read_heatmaps(maps.float(), 256, 256))
    fine = torch.tensor([[[200.3, 77.9]]]).bfloat16()
    assert draw_heatmaps(fine, 256, 256, 64, 64).dtype == torch.float32
