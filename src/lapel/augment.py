"""Random views of a training batch: one resampling for all, drawn per image from one generator.

``views`` draws, ``apply_view`` makes the pictures, ``move_landmarks`` tells where landmarks come to lie in them;
``augment`` is the first two in one. Coordinates are pixels from the frame's upper left corner: the middle of the first
pixel is 0.5, 0.5.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypedDict, Unpack

import torch
from torch import Tensor
from torch.nn import functional

from lapel.landmarks import LANDMARKS, MIRRORED

LUMA = (0.299, 0.587, 0.114)
"""What red, green and blue add to YIQ's brightness."""


class Options(TypedDict, total=False):
    """What ``views`` can be asked for; see there."""

    flip: bool
    scale: tuple[float, float]
    aspect: float
    brightness: float
    contrast: float
    erase: float
    rotate: float
    hue: float
    grey: float


class View(NamedTuple):
    """How each of B images is seen; None is off for all of them. Tensors lie on one device.

    Attributes:
        flipped: (B,) bool: mirrored left to right.
        window: (B, 4) what is seen of the frame: width and height in sides of the frame, and its centre x, y from -1
            to 1 across the frame. It stands upright in the turned picture.
        angle: (B,) radians by which the picture turns about its centre, counter-clockwise.
        levels: (B, 2) factors of brightness and contrast.
        colour: (B, 2) radians by which the chroma plane turns, and the share of the colour that stays, 0 or 1.
        hole: (B, 4) height and width of the rectangle that is wiped out, in sides of the frame, and its place down and
            across from 0 to 1; 0 high where there is none.
    """

    flipped: Tensor
    window: Tensor | None
    angle: Tensor | None
    levels: Tensor | None
    colour: Tensor | None
    hole: Tensor | None


def augment(batch: Tensor, generator: torch.Generator, **options: Unpack[Options]) -> Tensor:
    """Return a random view of each image, of the batch's shape and dtype; ``batch`` is left as it was.

    Args:
        batch: (B, 3, h, w), uint8 or float in levels 0..255, on any device.
        generator: on the CPU; the only source of randomness.
        options: as ``views`` takes them, which says what they do.
    """
    return apply_view(batch, views(len(batch), generator, device=batch.device, **options))


def views(
    count: int,
    generator: torch.Generator,
    flip: bool = True,
    scale: tuple[float, float] = (0.8, 1.0),
    aspect: float = 1.05,
    brightness: float = 0.0,
    contrast: float = 0.0,
    erase: float = 0.0,
    rotate: float = 0.0,
    hue: float = 0.0,
    grey: float = 0.0,
    device: torch.device | str = "cpu",
) -> View:
    """Draw how each image of a batch is seen: through a window of its own, placed at random inside the frame.

    AG-MAN flips only (its code: RandomHorizontalFlip), AHBN flips and rotates by a range it does not state; the rest is
    ours. Every call draws the same number of random numbers, so switching one option off leaves the others' draws as
    they were.

    Args:
        count: images.
        generator: on the CPU; the only source of randomness.
        flip: mirror left to right with probability 1/2.
        scale: smallest and largest side of the window, in sides of the frame; above 1 the edge is repeated
            outwards, so a letterbox's padding stays what it was.
        aspect: the window's width over height varies up to this factor either way; 1 is off.
        brightness: levels are multiplied by 1 +- this much; 0 is off.
        contrast: differences from the image's mean are multiplied by 1 +- this much; 0 is off.
        erase: probability that a rectangle of 2 to 20 % of the frame takes the image's mean colour.
        rotate: degrees that the picture turns at most, either way; its edge is repeated outwards; 0 is off.
        hue: share of the colour circle that colours move at most, either way; 0 is off. What turns is the chroma plane
            of YIQ, which keeps the brightness; HSV's hue would need a case for each sector of its hexagon.
        grey: probability that an image loses its colour.
        device: where the images are.
    """
    draws = torch.rand((count, 12), generator=generator).to(device)
    further = torch.rand((count, 3), generator=generator).to(device)  # apart: 15 at once would change the first 12
    window = angle = levels = colour = hole = None
    if scale != (1.0, 1.0) or aspect != 1 or rotate:
        window = _window(draws, scale, aspect)
    if rotate:
        angle = math.radians(rotate) * (2 * further[:, 0] - 1)
    if brightness or contrast:
        levels = 1 + torch.stack([brightness * (2 * draws[:, 5] - 1), contrast * (2 * draws[:, 6] - 1)], 1)
    if hue or grey:
        colour = torch.stack([2 * math.pi * hue * (2 * further[:, 1] - 1), (further[:, 2] >= grey).float()], 1)
    if erase:
        area = 0.02 + 0.18 * draws[:, 8]
        ratio = torch.exp(math.log(3) * (2 * draws[:, 9] - 1))
        tall, wide = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
        hole = torch.stack([tall * (draws[:, 7] < erase), wide, draws[:, 10], draws[:, 11]], 1)
    flipped = draws[:, 2] < (0.5 if flip else 0.0)
    return View(flipped, window, angle, levels, colour, hole)


def apply_view(batch: Tensor, view: View) -> Tensor:
    """Return the images as ``view`` has them, of the batch's shape and dtype; ``batch`` is left as it was.

    Args:
        batch: (B, 3, h, w), uint8 or float in levels 0..255, on the view's device.
        view: of B images.
    """
    count, _, height, width = batch.shape
    if view.window is None:  # as the papers do it: exact and cheap
        batch = torch.where(view.flipped.view(-1, 1, 1, 1), batch.flip(-1), batch)
    if view.window is None and view.levels is None and view.colour is None and view.hole is None:
        return batch
    image = batch.to(torch.float32)
    if view.window is not None:
        image = _resample(image, view, view.window)
    if view.levels is not None:
        mean = image.mean(dim=(1, 2, 3), keepdim=True)
        light, spread = (factor.view(-1, 1, 1, 1) for factor in view.levels.unbind(1))
        image = (((image - mean) * spread + mean) * light).clamp(0, 255)
    if view.colour is not None:
        image = torch.einsum("bij,bjhw->bihw", _colours(view.colour), image).clamp(0, 255)
    if view.hole is not None:
        tall, wide, down, across = view.hole.unbind(1)
        rows, columns = _inside(height, tall, down), _inside(width, wide, across)
        mask = rows.view(count, 1, height, 1) & columns.view(count, 1, 1, width)
        image = torch.where(mask, image.mean(dim=(2, 3), keepdim=True), image)
    if batch.dtype == torch.uint8:
        return image.round_().clamp_(0, 255).to(torch.uint8)
    return image.to(batch.dtype)


def move_points(points: Tensor, view: View, height: int, width: int) -> Tensor:
    """Return where landmarks lie in the images of ``apply_view``; a mirror exchanges those of left and right.

    Args:
        points: (B, 8, 2) x, y in pixels of the frame, in the order of ``lapel.landmarks``, on the view's device.
        view: of B images.
        height, width: of the frame, pixels.

    Returns:
        (B, 8, 2) x, y in pixels; they may lie outside the frame.

    Raises:
        ValueError: another shape.
    """
    if points.shape != (len(view.flipped), len(LANDMARKS), 2):
        expected = (len(view.flipped), len(LANDMARKS), 2)
        raise ValueError(f"expected points of shape {expected}, found {tuple(points.shape)}")
    x, y = points[..., 0] * (2 / width) - 1, points[..., 1] * (2 / height) - 1
    if view.angle is not None:
        # In pixels: turned in shares of a frame that is not square, a picture would be sheared.
        cosine, sine = view.angle.cos()[:, None], view.angle.sin()[:, None]
        x, y = cosine * x + sine * (height / width) * y, cosine * y - sine * (width / height) * x
    if view.window is not None:
        wide, tall, across, down = (side[:, None] for side in view.window.unbind(1))
        x, y = (x - across) / wide, (y - down) / tall
    flipped = view.flipped[:, None]
    moved = torch.stack([(torch.where(flipped, -x, x) + 1) * (width / 2), (y + 1) * (height / 2)], -1)
    return torch.where(flipped[..., None], moved[:, MIRRORED], moved)


def move_landmarks(points: Tensor, weights: Tensor, view: View, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Move landmarks and what each counts: a mirror exchanges those of left and right, one that leaves counts nothing.

    One that is wiped out counts on: the network learns to tell it from what is left of the garment (ours).

    Args:
        points, view, height, width: as ``move_points`` takes them.
        weights: (B, 8) what each landmark counts.

    Returns:
        (B, 8, 2) and (B, 8).

    Raises:
        ValueError: another shape.
    """
    moved = move_points(points, view, height, width)
    weights = torch.where(view.flipped[:, None], weights[:, MIRRORED], weights)
    x, y = moved.unbind(-1)
    return moved, weights * ((x >= 0) & (x <= width) & (y >= 0) & (y <= height))


def _window(draws: Tensor, scale: tuple[float, float], aspect: float) -> Tensor:
    side = scale[0] + (scale[1] - scale[0]) * draws[:, 0]
    stretch = torch.exp(0.5 * math.log(aspect) * (2 * draws[:, 1] - 1))
    largest = max(1.0, scale[1])
    wide, tall = (side * stretch).clamp(max=largest), (side / stretch).clamp(max=largest)
    across, down = (1 - wide) * (2 * draws[:, 3] - 1), (1 - tall) * (2 * draws[:, 4] - 1)
    return torch.stack([wide, tall, across, down], 1)


def _resample(image: Tensor, view: View, window: Tensor) -> Tensor:
    count, _, height, width = image.shape
    wide, tall, across, down = (side[:, None] for side in window.unbind(1))
    wide = torch.where(view.flipped[:, None], -wide, wide)
    x, y = wide * _centres(width, image) + across, tall * _centres(height, image) + down
    # affine_grid would multiply 3 x 3 matrices at every pixel; each of its two sums has one part per axis.
    grid = image.new_empty((count, height, width, 2))
    if view.angle is None:
        grid[..., 0] = x[:, None, :]
        grid[..., 1] = y[:, :, None]
    else:
        cosine, sine = view.angle.cos()[:, None], view.angle.sin()[:, None]
        grid[..., 0] = (cosine * x)[:, None, :] - (sine * (height / width) * y)[:, :, None]
        grid[..., 1] = (cosine * y)[:, :, None] + (sine * (width / height) * x)[:, None, :]
    return functional.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _colours(colour: Tensor) -> Tensor:
    """(B, 3, 3) matrices that turn the chroma plane of YIQ, or leave only brightness."""
    luma = torch.tensor(LUMA).expand(3, 3)
    # Y, I and Q of a colour; I and Q are the axes of the plane that turns.
    forth = torch.tensor([LUMA, (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135)], dtype=torch.float64)
    quarter = torch.tensor([[0, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=torch.float64)
    turned = (torch.linalg.inv(forth) @ quarter @ forth).float()
    parts = torch.stack([luma, torch.eye(3) - luma, turned]).to(colour.device)
    angle, kept = colour.unbind(1)
    weights = torch.stack([torch.ones_like(kept), kept * angle.cos(), kept * angle.sin()], 1)
    return torch.einsum("bk,kij->bij", weights, parts)


def _centres(size: int, like: Tensor) -> Tensor:
    """Pixel centres in grid_sample's coordinates, -1..1 from edge to edge."""
    return (torch.arange(size, device=like.device, dtype=torch.float32) * 2 + 1) / size - 1


def _inside(size: int, length: Tensor, place: Tensor) -> Tensor:
    """Return (B, size) bool: the pixels of a stretch, ``length`` of the side long, put at ``place`` 0..1."""
    start = place * (1 - length)
    at = (torch.arange(size, device=length.device) + 0.5) / size
    return (at >= start[:, None]) & (at < (start + length)[:, None])
