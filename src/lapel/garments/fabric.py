"""Cloth: pattern, folds and how light falls on it. All arrays float32, (height, width) of the piece drawn."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from lapel.garments.spec import PALETTE, Garment

Field = NDArray[np.float32]

TILE = 256
FIELD = 768
FIELD_SCALE = 4.0
"""Samples per centimetre of a noise field."""


@cache
def wrinkles(number: int) -> Image.Image:
    """Return a periodic noise field (2 FIELD, 2 FIELD), mode F, unit variance.

    It holds wrinkles some 15 cm apart that run at a slant, in patches, with calm cloth between.
    """
    rng = np.random.default_rng([7919, number])
    frequency = np.fft.fftfreq(FIELD) * FIELD_SCALE
    fx, fy = frequency[None, : FIELD // 2 + 1].copy(), frequency[:, None]
    slant = (-0.7, 0.7, -0.35, 0.35)[number % 4]
    across = np.cos(slant) * fx + np.sin(slant) * fy
    along = np.cos(slant) * fy - np.sin(slant) * fx
    radius = np.sqrt(across**2 + (along * 1.7) ** 2)
    power = radius * np.exp(-((radius / 0.065) ** 2))
    spectrum = (rng.standard_normal(power.shape) + 1j * rng.standard_normal(power.shape)) * power
    spectrum[0, 0] = 0.0
    field = np.fft.irfft2(spectrum, s=(FIELD, FIELD))
    slow = rng.standard_normal(power.shape) * np.exp(-((np.hypot(fx, fy) / 0.022) ** 2))
    patch = np.fft.irfft2(slow, s=field.shape)
    field = field / field.std() * (0.35 + np.clip(0.5 + 0.6 * patch / patch.std(), 0, 1.6))
    field = 2.2 * np.tanh(field / field.std() / 2.2)
    return Image.fromarray(np.tile(field.astype(np.float32), (2, 2)))


def sample_wrinkles(number: int, back: NDArray[np.floating], origin: tuple[float, float], size: int) -> Field:
    """Sample a field of wrinkles over a square image of ``size`` pixels, in the frame of the cloth.

    Args:
        number: which field.
        back: the map from pixels to centimetres, (2, 2).
        origin: where in the field the middle of the image falls, in samples.
        size: side of the image.
    """
    a = back * FIELD_SCALE * 2  # wrinkles are soft: half the resolution is enough
    half = size / 4
    c = np.array(origin) + FIELD * 0.5 - a @ np.array([half, half])
    data = (a[0, 0], a[0, 1], c[0], a[1, 0], a[1, 1], c[1])
    out = wrinkles(number).transform(
        (size // 2, size // 2), Image.Transform.AFFINE, data, resample=Image.Resampling.BILINEAR
    )
    return np.asarray(out.resize((size, size), Image.Resampling.BILINEAR), dtype=np.float32)


def slopes(height: Field) -> tuple[Field, Field]:
    """Return central differences of a field along y and along x, zero on the border."""
    down, across = np.zeros_like(height), np.zeros_like(height)
    down[1:-1] = (height[2:] - height[:-2]) * np.float32(0.5)
    across[:, 1:-1] = (height[:, 2:] - height[:, :-2]) * np.float32(0.5)
    return down, across


@cache
def _grain() -> Field:
    return np.random.default_rng(31).standard_normal((1024, 1024), dtype=np.float32)


def grain(size: int, rng: np.random.Generator) -> Field:
    """Return unit white noise (size, size): the finest irregularity of cloth, or of a phone's sensor."""
    field = _grain()
    if size > 1024:
        field = np.tile(field, (size // 1024 + 1,) * 2)
    y, x = rng.integers(0, field.shape[0] - size + 1, 2)
    return field[y : y + size, x : x + size]


def ground(g: Garment) -> Field:
    """Return the colour of the cloth, (3,) in 0..1."""
    rgb = np.array(PALETTE[g.colour], np.float32) + np.array(g.tint, np.float32) * (0.3 if g.colour in _NEUTRAL else 1)
    return np.asarray(np.clip(rgb / 255.0, 0.03, 0.98), dtype=np.float32)


_NEUTRAL = ("white", "black", "grey", "beige", "brown", "navy")


def second(g: Garment) -> Field:
    """Return the second colour: of the pattern, (3,) in 0..1."""
    return np.asarray(PALETTE[g.second_colour], dtype=np.float32) / np.float32(255.0)


def trim(g: Garment) -> Field:
    """Return the colour of buttons and strings, (3,) in 0..1."""
    base = ground(g)
    if g.pattern != "solid" and g.texture % 3 == 0:
        return second(g)
    light = float(base.mean()) > 0.5
    return np.array([0.2, 0.15, 0.12] if light else [0.86, 0.83, 0.76], np.float32)


def paint(g: Garment, u: Field, v: Field, pixel: float, enlarge: float) -> Field:
    """Return the unlit colour of the cloth at cloth coordinates (u, v), (height, width, 3) in 0..1.

    Args:
        g: the garment.
        u: centimetres across the cloth.
        v: centimetres along the cloth.
        pixel: size of a pixel in centimetres; edges of the pattern are that soft.
        enlarge: factor on the period of the pattern, larger for long garments.
    """
    base, other = ground(g), second(g)
    if g.pattern == "solid":
        return np.broadcast_to(base, (*u.shape, 3)).astype(np.float32)
    period = np.float32(g.period * enlarge)
    soft = np.float32(max(0.9 * pixel, 0.1) / period)
    if g.pattern == "floral":
        return _floral(g, u / period, v / period, base, other)
    if g.pattern == "stripe":
        weight = _band((u if g.upright else v) / period, 0.34, soft)
    elif g.pattern == "check":
        period *= np.float32(1.15)
        if g.upright:  # tartan: two crossing bands and thin lines between them
            thin = np.maximum(_band(u / period + 0.5, 0.1, soft), _band(v / period + 0.5, 0.1, soft))
            bands = _band(u / period, 0.34, soft) + _band(v / period, 0.34, soft)
            weight = np.minimum(np.float32(0.45) * bands + np.float32(0.5) * thin, np.float32(1.0))
        else:
            weight = np.float32(0.5) * (_band(u / period, 0.38, soft) + _band(v / period, 0.38, soft))
    else:
        a, b = u / period, v / period
        row = np.floor(b * 2.0)
        a = a + 0.5 * (row % 2.0)
        da, db = (a - np.floor(a) - 0.5), (b * 2.0 - row - 0.5) * 0.5
        distance = np.sqrt(da * da + db * db)
        radius = np.float32(0.19 + 0.03 * g.depth)
        weight = np.asarray(np.clip((radius - distance) / (2 * soft) + np.float32(0.5), 0, 1), np.float32)
    return np.asarray(base + np.asarray(weight, np.float32)[..., None] * (other - base))


def _band(t: Field, duty: float, soft: np.float32) -> Field:
    """A soft-edged periodic band: 1 over ``duty`` of each unit of ``t``."""
    distance = np.abs(t - np.floor(t) - np.float32(0.5))
    return np.asarray(np.clip((np.float32(duty / 2) - distance) / (2 * soft) + np.float32(0.5), 0, 1))


@cache
def _flowers(number: int) -> Field:
    """Return a periodic tile of flowers (TILE, TILE, 3): weights of petals, hearts, leaves."""
    rng = np.random.default_rng([104729, number])
    layers = [Image.new("L", (TILE, TILE)) for _ in range(3)]
    pens = [ImageDraw.Draw(layer) for layer in layers]
    cells = [(i, j) for i in range(3) for j in range(3)]
    for i, j in cells:
        x0, y0 = (np.array([i + (j % 2) * 0.5, j]) + 0.5 + rng.uniform(-0.14, 0.14, 2)) * TILE / 3
        size = TILE / 3 * rng.uniform(0.26, 0.34)
        turn = rng.uniform(0, 2 * np.pi)
        petals = 5 if number % 2 == 0 else 6
        for dx in (-TILE, 0, TILE):
            for dy in (-TILE, 0, TILE):
                x, y = x0 + dx, y0 + dy
                for k in (0.4, 2.6):
                    lx, ly = x + 1.3 * size * np.cos(turn + k), y + 1.3 * size * np.sin(turn + k)
                    side = 0.3 * size * np.array([-np.sin(turn + k), np.cos(turn + k)])
                    tip = np.array([np.cos(turn + k), np.sin(turn + k)]) * size * 0.6
                    leaf = [
                        (lx - tip[0], ly - tip[1]),
                        (lx + side[0], ly + side[1]),
                        (lx + tip[0], ly + tip[1]),
                        (lx - side[0], ly - side[1]),
                    ]
                    pens[2].polygon(leaf, fill=255)
                for k in range(petals):
                    a = turn + 2 * np.pi * k / petals
                    px, py, r = x + 0.56 * size * np.cos(a), y + 0.56 * size * np.sin(a), 0.4 * size
                    pens[0].ellipse((px - r, py - r, px + r, py + r), fill=255)
                r = 0.3 * size
                pens[1].ellipse((x - r, y - r, x + r, y + r), fill=255)
    soft = [np.asarray(layer.filter(ImageFilter.GaussianBlur(1.6)), np.float32) / 255 for layer in layers]
    return np.stack(soft, axis=-1)


def _floral(g: Garment, u: Field, v: Field, base: Field, other: Field) -> Field:
    tile = _flowers(g.texture % 4)
    scale = np.float32(TILE / 3.3)
    index = ((v * scale).astype(np.int32) % TILE) * TILE + (u * scale).astype(np.int32) % TILE
    weights = tile.reshape(-1, 3)[index]
    heart = np.array([0.95, 0.78, 0.2] if g.second_colour not in ("yellow", "orange") else [0.5, 0.2, 0.1], np.float32)
    leaf = np.array([0.2, 0.42, 0.22] if g.colour != "green" else [0.75, 0.85, 0.5], np.float32)
    out = base + weights[..., 2:] * (leaf - base)
    out += weights[..., :1] * (other - out)
    out += weights[..., 1:2] * (heart - out)
    return np.asarray(out, dtype=np.float32)
