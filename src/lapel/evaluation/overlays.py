"""Attention on top of a photograph, in the photograph's own pixels.

Only Pillow and numpy are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lapel.decoding import DecodeError, decode_array, rgb
from lapel.errors import ImageError
from lapel.frame import Preprocessing

Picture = Image.Image | Path | str | bytes
Box = Sequence[float]

# Nine points of the plasma scale (CC0), whose lightness rises evenly, so it also reads in greyscale.
_SCALE = np.array(
    [
        (13, 8, 135), (75, 3, 161), (125, 3, 168), (168, 34, 150), (203, 70, 121),
        (229, 107, 93), (248, 148, 65), (253, 195, 40), (240, 249, 33),
    ],
    dtype=np.float32,
)  # fmt: skip


def colours(values: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Return the RGB colours (..., 3) of values (...) in [0, 1]: dark blue, magenta, orange, yellow."""
    places = np.linspace(0.0, 1.0, len(_SCALE))
    flat = np.clip(values, 0.0, 1.0)
    channels = [np.interp(flat, places, channel) for channel in _SCALE.T]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def _axis(size: int, start: int, stop: int, frame: int, cells: int, shown: int, offset: int) -> Any:
    """Map one axis: of ``size`` image pixels, start..stop lies ``shown`` long at ``offset`` in the frame.

    Returns (size, cells) cubic B-spline weights, and which pixels (size,) the model saw.
    """
    centre = np.arange(size) + 0.5
    position = (centre - start) * shown / (stop - start) + offset
    seen = (centre >= start) & (centre < stop) & (position >= 0) & (position < frame)
    cell = position * cells / frame - 0.5
    first = np.floor(cell).astype(int)
    t = cell - first
    spline = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    weights = np.zeros((size, cells), dtype=np.float32)
    for step, part in enumerate(spline):  # a B-spline never overshoots, so attention stays >= 0
        np.add.at(weights, (np.arange(size), np.clip(first + step - 1, 0, cells - 1)), part / 6)
    return weights, seen


def attention_to_image(
    attention: NDArray[np.floating[Any]],
    image_size: tuple[int, int],
    preprocessing: Preprocessing | None = None,
    box: Box | None = None,
) -> NDArray[np.float32]:
    """Map attention from the model's input frame back to the pixels of the original image, smoothly.

    Args:
        attention: (h, w), over the model's input frame.
        image_size: (width, height) in pixels of the image after its EXIF orientation, as Pillow gives it.
        preprocessing: the frame's height, width and resize mode ("crop" or "letterbox"); None when the
            attention covers the whole image.
        box: the crop (x1, y1, x2, y2) in pixels that was taken before preprocessing, if any.

    Returns:
        (height, width) float32; NaN where the model did not see the image.
    """
    attention = np.asarray(attention, dtype=np.float32)
    if attention.ndim != 2 or attention.size == 0 or not np.isfinite(attention).all():
        raise ImageError(f"attention must be a finite (height, width) array; found shape {attention.shape}")
    width, height = image_size
    x1, y1, x2, y2 = whole_box(box, width, height)
    source = (x2 - x1, y2 - y1)
    frame = source if preprocessing is None else (preprocessing.width, preprocessing.height)
    if preprocessing is None:
        across, down = ((n, 0) for n in source)
    else:
        tall, wide, top, left = preprocessing.placed(source[1], source[0])
        across, down = (wide, left), (tall, top)
    rows, row_seen = _axis(height, y1, y2, frame[1], attention.shape[0], *down)
    columns, column_seen = _axis(width, x1, x2, frame[0], attention.shape[1], *across)
    spread: NDArray[np.float32] = rows @ attention @ columns.T
    spread[~row_seen] = np.nan
    spread[:, ~column_seen] = np.nan
    return spread


def whole_box(box: Box | None, width: int, height: int) -> tuple[int, int, int, int]:
    """Return ``box`` in whole pixels inside an image of this size (the whole image for None)."""
    if box is None:
        return 0, 0, width, height
    x1, y1 = max(0, int(np.floor(box[0]))), max(0, int(np.floor(box[1])))
    x2, y2 = min(width, int(np.ceil(box[2]))), min(height, int(np.ceil(box[3])))
    if x2 <= x1 or y2 <= y1:
        raise ImageError(f"box {tuple(box)} lies outside the image of {width} x {height} pixels")
    return x1, y1, x2, y2


def overlay(
    image: Picture,
    attention: NDArray[np.floating[Any]],
    opacity: float = 0.62,
    preprocessing: Preprocessing | None = None,
    box: Box | None = None,
) -> Image.Image:
    """Lay an attention map (h, w) on top of a photograph; the result has the photograph's size.

    Attention is scaled from its least to its greatest value. The photograph is greyed so the colours are the
    map's own; colour grows with attention, a double line (light and dark, so it shows on any garment)
    encloses what is above half, and what the model did not see is veiled. A constant map leaves no colour.
    """
    photo = open_picture(image)
    spread = attention_to_image(attention, photo.size, preprocessing, box)
    unseen = np.isnan(spread)
    low, high = (float(np.nanmin(spread)), float(np.nanmax(spread))) if not unseen.all() else (0.0, 0.0)
    flat = high - low <= 1e-4 * abs(high)
    strength = np.zeros_like(spread) if flat else np.nan_to_num((spread - low) / (high - low))
    grey = np.asarray(ImageOps.grayscale(photo), dtype=np.float32)[..., None]
    base = 0.65 * grey + 0.35 * np.asarray(photo, dtype=np.float32)
    base = 0.82 * base + 20.0  # keep pure white and pure black apart from the ends of the scale
    alpha = (opacity * np.clip(strength * 1.6, 0.0, 1.0))[..., None]
    mixed = base * (1 - alpha) + colours(strength).astype(np.float32) * alpha
    mixed = np.where(unseen[..., None], 0.5 * base + 0.5 * 200.0, mixed)
    line = max(1.0, min(photo.size) / 240)
    for reach, tone in ((3.2 * line, 30.0), (1.3 * line, 250.0)):
        edge = 0.85 * _contour(strength, 0.5, reach)[..., None]
        mixed = mixed * (1 - edge) + tone * edge
    return Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8))


def _contour(values: NDArray[np.float32], level: float, width: float) -> NDArray[np.float32]:
    """Return the cover in [0, 1] of an antialiased line, ``width`` pixels, where (H, W) values cross it."""
    if min(values.shape) < 2:
        return np.zeros_like(values)
    slope = np.hypot(*np.gradient(values))
    distance = np.abs(values - level) / np.maximum(slope, 1e-6)
    cover: NDArray[np.float32] = np.clip(width / 2 + 0.5 - distance, 0, 1)
    return cover


def open_picture(source: Picture, side: int | None = None) -> Image.Image:
    """Return an upright RGB copy of a picture, alpha on white, shrunk to fit ``side`` pixels if given.

    Raises:
        ImageError: with the reason in a few words, short enough for a tile.
    """
    try:
        if isinstance(source, Image.Image):  # may be small: a swatch, a thumbnail
            image = rgb(ImageOps.exif_transpose(source))
        else:
            image = Image.fromarray(np.ascontiguousarray(decode_array(source)))
    except DecodeError as error:
        raise ImageError(error.reason) from error
    if side is not None and max(image.size) > side:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image
