"""Random views of a training batch: one resampling for all, drawn per image from one generator."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def augment(
    batch: Tensor,
    generator: torch.Generator,
    flip: bool = True,
    scale: tuple[float, float] = (0.8, 1.0),
    aspect: float = 1.05,
    brightness: float = 0.0,
    contrast: float = 0.0,
    erase: float = 0.0,
) -> Tensor:
    """Return a random view of each image, of the batch's shape and dtype; ``batch`` is left as it was.

    Each image is seen through a window of its own, placed at random inside the frame. The papers flip only
    (AG-MAN's code: RandomHorizontalFlip); the rest is ours. Every call draws the same number of random
    numbers, so switching one option off leaves the others' draws as they were.

    Args:
        batch: (B, 3, h, w), uint8 or float in levels 0..255, on any device.
        generator: on the CPU; the only source of randomness.
        flip: mirror left to right with probability 1/2.
        scale: smallest and largest side of the window, in sides of the frame; above 1 the edge is repeated
            outwards, so a letterbox's padding stays what it was.
        aspect: the window's width over height varies up to this factor either way; 1 is off.
        brightness: levels are multiplied by 1 +- this much; 0 is off.
        contrast: differences from the image's mean are multiplied by 1 +- this much; 0 is off.
        erase: probability that a rectangle of 2 to 20 % of the frame takes the image's mean colour.
    """
    count, _, height, width = batch.shape
    draws = torch.rand((count, 12), generator=generator).to(batch.device)
    moving = scale != (1.0, 1.0) or aspect != 1
    if flip and not moving:  # as the papers do it: exact and cheap
        batch = torch.where((draws[:, 2] < 0.5).view(-1, 1, 1, 1), batch.flip(-1), batch)
    if not (moving or brightness or contrast or erase):
        return batch
    image = batch.to(torch.float32)
    if moving:
        image = _window(image, draws, flip, scale, aspect)
    if brightness or contrast:
        mean = image.mean(dim=(1, 2, 3), keepdim=True)
        light = 1 + brightness * (2 * draws[:, 5] - 1).view(-1, 1, 1, 1)
        spread = 1 + contrast * (2 * draws[:, 6] - 1).view(-1, 1, 1, 1)
        image = (((image - mean) * spread + mean) * light).clamp(0, 255)
    if erase:
        area = 0.02 + 0.18 * draws[:, 8]
        ratio = torch.exp(math.log(3) * (2 * draws[:, 9] - 1))
        tall, wide = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
        rows = _inside(height, tall, draws[:, 10])
        columns = _inside(width, wide, draws[:, 11])
        hit = (draws[:, 7] < erase).view(-1, 1, 1, 1)
        mask = rows.view(count, 1, height, 1) & columns.view(count, 1, 1, width) & hit
        image = torch.where(mask, image.mean(dim=(2, 3), keepdim=True), image)
    if batch.dtype == torch.uint8:
        return image.round_().clamp_(0, 255).to(torch.uint8)
    return image.to(batch.dtype)


def _window(image: Tensor, draws: Tensor, flip: bool, scale: tuple[float, float], aspect: float) -> Tensor:
    count, _, height, width = image.shape
    side = scale[0] + (scale[1] - scale[0]) * draws[:, 0]
    stretch = torch.exp(0.5 * math.log(aspect) * (2 * draws[:, 1] - 1))
    largest = max(1.0, scale[1])
    wide, tall = (side * stretch).clamp(max=largest), (side / stretch).clamp(max=largest)
    across, down = (1 - wide) * (2 * draws[:, 3] - 1), (1 - tall) * (2 * draws[:, 4] - 1)
    if flip:
        wide = torch.where(draws[:, 2] < 0.5, -wide, wide)
    # affine_grid would multiply 3 x 3 matrices at every pixel; without rotation the two axes are separate.
    grid = image.new_empty((count, height, width, 2))
    grid[..., 0] = (wide[:, None] * _centres(width, image) + across[:, None])[:, None, :]
    grid[..., 1] = (tall[:, None] * _centres(height, image) + down[:, None])[:, :, None]
    return functional.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _centres(size: int, like: Tensor) -> Tensor:
    """Pixel centres in grid_sample's coordinates, -1..1 from edge to edge."""
    return (torch.arange(size, device=like.device, dtype=torch.float32) * 2 + 1) / size - 1


def _inside(size: int, length: Tensor, place: Tensor) -> Tensor:
    """Return (B, size) bool: the pixels of a stretch, ``length`` of the side long, put at ``place`` 0..1."""
    start = place * (1 - length)
    at = (torch.arange(size, device=length.device) + 0.5) / size
    return (at >= start[:, None]) & (at < (start + length)[:, None])
