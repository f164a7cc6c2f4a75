"""From an image to a batch a trunk can take; the same path for training, indexing and search.

``decode`` reads any image upright and in RGB, ``prepare`` brings it to the model's frame, ``normalise`` turns
a uint8 batch into floats, all under one :class:`Preprocessing` that the run records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from lapel.decoding import Box, DecodeError, ImageLike, decode
from lapel.errors import RecipeError, unknown

__all__ = ["Box", "DecodeError", "ImageLike", "Preprocessing", "decode", "normalise", "prepare", "thumbnail"]


@dataclass(frozen=True)
class Preprocessing:
    """How pixels become a network's input; recorded in the run.

    Args:
        height: input height in pixels.
        width: input width in pixels.
        resize: "crop" is the papers' (short side to the frame, centre crop; AG-MAN's code: Resize(224),
            CenterCrop(224)) and cuts the ends of tall garments; "letterbox" keeps the whole garment and pads.
        mean: per channel, of pixels in 0..1.
        std: per channel, of pixels in 0..1.
        fill: level 0..255 of the letterbox's padding; white, as most product photographs are.

    Raises:
        RecipeError: a setting is out of range.
    """

    height: int = 224
    width: int = 224
    resize: Literal["crop", "letterbox"] = "crop"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    fill: int = 255

    def __post_init__(self) -> None:
        if self.resize not in ("crop", "letterbox"):
            raise RecipeError(unknown("resize mode", self.resize, ("crop", "letterbox")))
        for name in ("height", "width"):
            side = getattr(self, name)
            if not isinstance(side, int) or side < 1:
                raise RecipeError(f"preprocessing {name} must be a whole number of pixels, got {side!r}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise RecipeError(
                "preprocessing mean and std must be 3 numbers each, std above 0; "
                f"got {self.mean} and {self.std}"
            )
        if not 0 <= self.fill <= 255:
            raise RecipeError(f"preprocessing fill must be a level from 0 to 255, got {self.fill!r}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """Build from ``to_dict``'s values; an unknown key is an error naming the nearest known one."""
        known = [field.name for field in fields(cls)]
        for key in values:
            if key not in known:
                raise RecipeError(unknown("preprocessing setting", key, known))
        plain: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return cls(**plain)


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
    source_height, source_width = image.shape[1:]
    if pre.resize == "crop":
        # Truncation and rounding as torchvision's Resize and CenterCrop do them.
        if pre.height * source_width >= pre.width * source_height:
            height, width = pre.height, max(pre.width, pre.height * source_width // source_height)
        else:
            height, width = max(pre.height, pre.width * source_height // source_width), pre.width
        top, left = round((height - pre.height) / 2), round((width - pre.width) / 2)
        return _resize(image, height, width)[:, top : top + pre.height, left : left + pre.width]
    scale = min(pre.height / source_height, pre.width / source_width)
    height = min(pre.height, max(1, round(source_height * scale)))
    width = min(pre.width, max(1, round(source_width * scale)))
    frame = torch.full((pre.height, pre.width, 3), pre.fill, dtype=torch.uint8).permute(2, 0, 1)
    top, left = (pre.height - height) // 2, (pre.width - width) // 2
    frame[:, top : top + height, left : left + width] = _resize(image, height, width)
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
