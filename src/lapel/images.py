"""From an image to a batch a trunk can take; the same path for training, indexing and search.

``decode`` reads any image upright and in RGB, ``prepare`` brings it to the model's frame, ``normalise`` turns
a uint8 batch into floats, all under one :class:`Preprocessing` that the run records.
"""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from lapel.decoding import Box, DecodeError, Source, decode_array
from lapel.frame import Preprocessing

ImageLike = Source | Tensor

__all__ = ["Box", "DecodeError", "ImageLike", "Preprocessing", "decode", "normalise", "prepare", "thumbnail"]


def decode(source: ImageLike, box: Box | None = None) -> Tensor:
    """Read one image: RGB, upright (EXIF orientation applied), transparency on white, first frame.

    JPEG goes through torchvision, everything else and what torchvision refuses through Pillow.

    Args:
        source: a path, an encoded file's bytes, a Pillow image, an (H, W, 3) uint8 array or a (3, H, W) uint8
            tensor.
        box: x1, y1, x2, y2 in pixels of the upright image; what lies outside the frame is clipped.

    Returns:
        (3, H, W) uint8; a view of ``source`` where that is a tensor already.

    Raises:
        DecodeError: an :class:`lapel.errors.ImageError` whose ``reason`` says what is wrong.
    """
    if isinstance(source, Tensor):
        if source.ndim != 3 or source.shape[0] != 3 or source.dtype != torch.uint8:
            raise DecodeError(f"expected a (3, H, W) uint8 tensor, got {tuple(source.shape)} {source.dtype}")
        source = source.cpu().permute(1, 2, 0).numpy()
    pixels = decode_array(source, box, torchvision=True)
    # torch knows no negative strides, which an upright view of a turned picture has.
    pixels = pixels if min(pixels.strides) > 0 and pixels.flags.writeable else pixels.copy()
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _resize(image: Tensor, height: int, width: int) -> Tensor:
    if tuple(image.shape[1:]) == (height, width):
        return image
    # Interleaved uint8 is the layout with a vectorised kernel, 5 times the speed of planar.
    batch = image[None].contiguous(memory_format=torch.channels_last)
    return functional.interpolate(batch, size=(height, width), mode="bilinear", antialias=True)[0]


def prepare(image: Tensor, pre: Preprocessing) -> Tensor:
    """Bring one (3, H, W) uint8 image to the model's (3, height, width), antialiased bilinear.

    "crop" scales until the frame is covered and cuts the centre (for a square frame: torchvision's
    Resize and CenterCrop); "letterbox" scales until all of it fits and pads both sides with ``pre.fill``.
    """
    height, width, top, left = pre.placed(*image.shape[1:])
    resized = _resize(image, height, width)
    if pre.resize == "crop":
        return resized[:, -top : -top + pre.height, -left : -left + pre.width]
    frame = torch.full((pre.height, pre.width, 3), pre.fill, dtype=torch.uint8).permute(2, 0, 1)
    frame[:, top : top + height, left : left + width] = resized
    return frame


def normalise(
    batch: Tensor, pre: Preprocessing, memory_format: torch.memory_format = torch.contiguous_format
) -> Tensor:
    """Return ``(x / 255 - mean) / std`` as float32 (B, 3, h, w) in the memory format asked for.

    ``batch`` is (B, 3, h, w), uint8 or float in levels 0..255, on any device; it is left as it was.
    """
    std = torch.tensor(pre.std, dtype=torch.float64)
    scale = (1 / (255 * std)).float().to(batch.device)
    shift = (-torch.tensor(pre.mean, dtype=torch.float64) / std).float().to(batch.device)
    if memory_format != torch.channels_last:
        floats = batch.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        return floats.mul_(scale.view(3, 1, 1)).add_(shift.view(3, 1, 1))
    # Interleaved pixels as rows of w * 3 numbers: long inner loops, where three channels would be short ones.
    count, _, height, width = batch.shape
    pixels = batch.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
    rows = pixels.reshape(count, height, width * 3)
    rows = rows.to(torch.float32, copy=True).mul_(scale.repeat(width)).add_(shift.repeat(width))
    return rows.view(count, height, width, 3).permute(0, 3, 1, 2)


def thumbnail(source: ImageLike, box: Box | None = None, size: int | tuple[int, int] = 256) -> Image.Image:
    """Return a small RGB Pillow image for figures and pages, never larger than the original.

    Args:
        source: what :func:`decode` takes.
        box: crop first, pixels of the upright image.
        size: (width, height) it must fit in, in pixels; one number means a square.

    Raises:
        DecodeError: the image cannot be read.
    """
    image = Image.fromarray(decode(source, box).permute(1, 2, 0).contiguous().numpy())
    image.thumbnail((size, size) if isinstance(size, int) else size)
    return image
