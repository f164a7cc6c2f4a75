"""Heat-maps of landmarks: drawn as targets, and read as positions.

Positions are (x, y) in pixels of the model's input frame, from edge to edge: the centre of its first pixel is at 0.5.
Cell (i, j) of a map covers an equal share of the frame, so its centre lies at ``((j + 1/2) width / columns, (i + 1/2)
height / rows)``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lapel.precision import single


def draw_heatmaps(points: Tensor, height: int, width: int, rows: int, columns: int, sigma: float = 1.0) -> Tensor:
    """Draw landmarks as Gaussians of peak 1: the targets of AHBN eq 2.

    The peak lies where the landmark does, not on the nearest cell's centre, so no position is rounded away. A point
    that is not finite gives an empty map; one outside the frame gives what of its Gaussian lies inside.

    Args:
        points: x, y in pixels of the frame, (B, P, 2).
        height: of the frame in pixels.
        width: of the frame in pixels.
        rows: of a map.
        columns: of a map.
        sigma: standard deviation in cells. AHBN does not give it; 1 is the stacked hourglass's custom.

    Returns:
        (B, P, rows, columns) float32.
    """
    known = torch.isfinite(points).all(-1)
    placed = single(torch.where(known.unsqueeze(-1), points, torch.zeros_like(points)))
    down = _bell(placed[..., 1] * (rows / height), rows, sigma)
    across = _bell(placed[..., 0] * (columns / width), columns, sigma)
    return (down.unsqueeze(-1) * across.unsqueeze(-2) * known[..., None, None]).float()


def _bell(place: Tensor, count: int, sigma: float) -> Tensor:
    """Places (B, P) in cells from the edge -> the Gaussian about them at the centres of the cells (B, P, count)."""
    centres = torch.arange(count, device=place.device, dtype=place.dtype) + 0.5
    return torch.exp(-0.5 * ((centres - place.unsqueeze(-1)) / sigma) ** 2)


@torch.no_grad()
def read_heatmaps(maps: Tensor, height: int, width: int) -> Tensor:
    """Where the maps have their maximum, as the stacked hourglass's code reads them.

    The position is the centre of the highest cell, moved a quarter of a cell towards the higher of its two neighbours
    across and down; at an edge, where there is only one, it is not moved. Of equal cells the first counts.

    Args:
        maps: (B, P, h, w).
        height: of the frame in pixels.
        width: of the frame in pixels.

    Returns:
        (B, P, 3) float32: x, y in pixels of the frame, and the map's value in its highest cell.
    """
    maps = single(maps)
    rows, columns = maps.shape[-2:]
    score, place = maps.flatten(2).max(-1)
    row, column = place // columns, place % columns
    line = maps.gather(2, row[..., None, None].expand(-1, -1, 1, columns)).squeeze(2)
    file = maps.gather(3, column[..., None, None].expand(-1, -1, rows, 1)).squeeze(3)
    x = (column + 0.5 + 0.25 * _leaning(line, column)) * (width / columns)
    y = (row + 0.5 + 0.25 * _leaning(file, row)) * (height / rows)
    return torch.stack([x, y, score.to(x.dtype)], -1).float()


def _leaning(line: Tensor, place: Tensor) -> Tensor:
    """Which neighbour of ``place`` (B, P) on a line (B, P, n) is higher: -1, 1, or 0 where it lacks one or they tie."""
    last = line.shape[-1] - 1
    before = line.gather(-1, (place - 1).clamp(min=0).unsqueeze(-1)).squeeze(-1)
    after = line.gather(-1, (place + 1).clamp(max=last).unsqueeze(-1)).squeeze(-1)
    return torch.sign(after - before) * ((place > 0) & (place < last))
