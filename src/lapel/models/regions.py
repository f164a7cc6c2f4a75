"""The square around what an attribute attends, and its pixels: from a map of attention to a crop, all at once.

Nothing here has a gradient, a Python loop over images or a shape that depends on data, so that it can be exported.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.no_grad()
def attended_boxes(attention: Tensor, size: tuple[int, int], threshold: float) -> Tensor:
    """The square around what is attended, as ASEN++ and RPF find it.

    The map is resized bilinearly to the network's input, min-max normalised and thresholded; the bounding box of what
    is above becomes a square of its longer side about the same centre, moved to lie inside the frame. The square is
    no longer than the frame's shorter side, so in a frame that is not square it may leave out some of what is above.
    Where a map is the same everywhere, the box is the largest square in the middle.

    Args:
        attention: non-negative (B, A, h, w).
        size: height and width of the frame in pixels.
        threshold: from 0 to below 1, of the normalised map.

    Returns:
        left, top, right, bottom of each square as shares of the frame's width and height, (B, A, 4) float32.
    """
    height, width = size
    maps = F.interpolate(attention.float(), size, mode="bilinear", align_corners=False)
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    # A span of rounding only is a flat map: its "maximum" would be noise.
    above = (maps - low > threshold * (high - low)) | (high - low <= 1e-6 * high)
    top, bottom = _extent(above.any(3))
    left, right = _extent(above.any(2))
    side = torch.maximum(bottom - top, right - left).clamp(max=min(size))
    left = torch.minimum(((left + right - side) / 2).clamp(min=0), width - side)
    top = torch.minimum(((top + bottom - side) / 2).clamp(min=0), height - side)
    return torch.stack([left / width, top / height, (left + side) / width, (top + side) / height], -1)


def _extent(lines: Tensor) -> tuple[Tensor, Tensor]:
    """Where lines (B, A, n) bool begin and end: first true, last true + 1, as float32."""
    length = lines.shape[-1]
    number = torch.arange(length, device=lines.device, dtype=torch.float32)
    first = torch.where(lines, number, float(length)).amin(-1)
    return first, torch.where(lines, number, -1.0).amax(-1) + 1


@torch.no_grad()
def crop_regions(images: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Cut boxes out of images and resize them, bilinearly.

    An output pixel is the mean of k x k samples spread over it, k = ceil(shorter side of the image / size), so that no
    box is sampled more sparsely than its pixels lie: that is what an antialiased resize is for. Memory: k^2 times the
    crops.

    Args:
        images: (B, 3, H, W) float.
        boxes: left, top, right, bottom as shares of width and height, (B, A, 4).
        size: height and width of the crops, in pixels.

    Returns:
        (B, A, 3, size, size) of the images' type.
    """
    samples = math.ceil(min(images.shape[-2:]) / size)
    count, fine = boxes.shape[1], size * samples
    steps = (torch.arange(fine, device=boxes.device, dtype=boxes.dtype) + 0.5) / fine
    x = boxes[..., 0:1] + steps * (boxes[..., 2:3] - boxes[..., 0:1])
    y = boxes[..., 1:2] + steps * (boxes[..., 3:4] - boxes[..., 1:2])
    grid = torch.stack([x.unsqueeze(2).expand(-1, -1, fine, -1), y.unsqueeze(3).expand(-1, -1, -1, fine)], -1)
    # The attributes' crops lie one below the other: an image is not repeated for each.
    grid = (2 * grid - 1).flatten(1, 2).to(images.dtype)
    found = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    if samples > 1:
        found = F.avg_pool2d(found, samples)
    crops: Tensor = found.unflatten(2, (count, size)).transpose(1, 2)
    return crops
