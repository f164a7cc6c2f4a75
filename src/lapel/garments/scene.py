"""Backgrounds, flat shapes, shadows and the camera: the clean shop and the cluttered street."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from lapel.garments import fabric
from lapel.garments.brush import FINE
from lapel.garments.curves import Part
from lapel.garments.fabric import Field
from lapel.garments.figure import Shape
from lapel.garments.pose import Pose

Colour = tuple[int, int, int]


def shop(size: int, rng: np.random.Generator) -> Field:
    """Return a plain studio background (size, size, 3) in 0..255."""
    base = rng.uniform(214, 240) + rng.uniform(-5, 5, 3)
    rows = np.linspace(-1, 1, size, dtype=np.float32)
    glow = 1.0 - 0.05 * rows[:, None] ** 2 - 0.04 * rows[None] ** 2 + rng.uniform(-0.03, 0.03) * rows[:, None]
    return np.asarray(glow.astype(np.float32)[..., None] * base.astype(np.float32))


def street(size: int, rng: np.random.Generator) -> Field:
    """Return a busy street, out of focus, (size, size, 3) in 0..255."""
    side = 128
    canvas = Image.new("RGB", (side, side), _tone(rng, 130, 220, 14))
    pen = ImageDraw.Draw(canvas)
    floor = int(rng.uniform(0.58, 0.8) * side)
    x = -int(rng.integers(0, 20))
    while x < side:  # facades with windows
        wide = int(rng.integers(22, 54))
        wall = _tone(rng, 70, 205, 20)
        top = int(rng.integers(-10, 34))
        pen.rectangle((x, top, x + wide, floor), fill=wall)
        glass = tuple(int(c * rng.uniform(0.4, 0.75)) for c in wall)
        nx, ny = int(rng.integers(2, 4)), int(rng.integers(2, 5))
        w, h = wide / nx, (floor - top) / ny
        for i in range(nx):
            for j in range(ny):
                corner = (x + (i + 0.22) * w, top + (j + 0.2) * h)
                pen.rectangle((*corner, corner[0] + 0.56 * w, corner[1] + 0.6 * h), fill=glass)
        if rng.random() < 0.5:
            pen.rectangle((x + 2, floor - 34, x + wide - 2, floor - 27), fill=_tone(rng, 60, 230, 90))
        x += wide
    pave = _tone(rng, 90, 175, 12)
    pen.rectangle((0, floor, side, side), fill=pave)
    vanish = rng.uniform(0.2, 0.8) * side
    darker = tuple(int(c * 0.84) for c in pave)
    for k in range(-4, 9):
        pen.line((vanish + (k - 2) * 8, floor, (k - 2) * 40, side), fill=darker, width=1)
    for _ in range(int(rng.integers(1, 4))):  # passers-by and cars
        cx, foot = rng.uniform(0, side), floor + rng.uniform(2, 16)
        tall = rng.uniform(40, 66)
        if rng.random() < 0.6:
            for part, (a, b, w) in enumerate(((1.0, 0.84, 0.08), (0.84, 0.45, 0.14), (0.45, 0.0, 0.11))):
                box = (cx - w * tall, foot - a * tall, cx + w * tall, foot - b * tall)
                pen.ellipse(box, fill=(206, 160, 130)) if part == 0 else pen.rectangle(
                    box, fill=_tone(rng, 30, 210, 70)
                )
        else:
            paint = _tone(rng, 40, 220, 70)
            pen.rounded_rectangle((cx - 30, foot - 18, cx + 30, foot - 4), 5, fill=paint)
            pen.rounded_rectangle((cx - 18, foot - 27, cx + 16, foot - 14), 6, fill=tuple(int(c * 0.6) for c in paint))
            for wheel in (cx - 18, cx + 18):
                pen.ellipse((wheel - 5, foot - 8, wheel + 5, foot + 2), fill=(30, 30, 32))
    if rng.random() < 0.6:  # a tree
        cx, cy = rng.uniform(0, side), rng.uniform(5, 45)
        pen.rectangle((cx - 3, cy, cx + 3, floor + 4), fill=(84, 66, 52))
        for _ in range(16):
            dx, dy, r = *rng.normal(0, 12, 2), rng.uniform(5, 11)
            green = (int(rng.uniform(50, 100)), int(rng.uniform(90, 140)), int(rng.uniform(40, 80)))
            pen.ellipse((cx + dx - r, cy + dy - r, cx + dx + r, cy + dy + r), fill=green)
    if rng.random() < 0.5:
        canvas = canvas.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    canvas = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(0.6, 1.8)))
    return np.asarray(canvas.resize((size, size), Image.Resampling.BICUBIC), np.float32)


def _tone(rng: np.random.Generator, low: float, high: float, spread: float) -> Colour:
    level = rng.uniform(low, high)
    r, g, b = np.clip(level + rng.uniform(-spread, spread, 3), 10, 245)
    return int(r), int(g), int(b)


def draw_shapes(canvas: Field, shapes: list[Shape], pose: Pose, size: int) -> Field:
    """Draw flat shapes, rounded off by shading, on the canvas in place; return their mask (size, size)."""
    paths = [pose.forward(outline) for outline, _ in shapes]
    everything = np.vstack(paths)
    low = np.clip(np.floor(everything.min(0)).astype(int) - 1, 0, size)
    high = np.clip(np.ceil(everything.max(0)).astype(int) + 1, 0, size)
    cover = np.zeros((size, size), np.float32)
    if (high - low < 1).any():
        return cover
    wide, tall = (int(v) for v in high - low)
    sheet = Image.new("RGB", (wide * FINE, tall * FINE))
    mask = Image.new("L", sheet.size)
    pen, stencil = ImageDraw.Draw(sheet), ImageDraw.Draw(mask)
    for path, (_, colour) in zip(paths, shapes, strict=True):
        corners = [tuple(p) for p in ((path - low) * FINE).tolist()]
        pen.polygon(corners, fill=colour)
        stencil.polygon(corners, fill=255)
    small = mask.reduce(FINE)
    inside = np.asarray(small, np.float32) / 255.0
    soft = small.reduce(4).filter(ImageFilter.GaussianBlur(max(1.0, pose.scale * 0.8)))
    shade = 0.72 + 0.32 / 255.0 * np.asarray(soft.resize((wide, tall), Image.Resampling.BILINEAR), np.float32)
    window = np.s_[low[1] : high[1], low[0] : high[0]]
    canvas[window] *= (1 - inside)[..., None]
    canvas[window] += np.asarray(sheet.reduce(FINE), np.float32) * shade[..., None]
    cover[window] = inside
    return cover


def cast_shadow(canvas: Field, parts: list[Part], pose: Pose, size: int) -> None:
    """Lay the soft shadow of a garment on the studio wall behind it."""
    sheet = Image.new("L", (size // 4, size // 4))
    pen = ImageDraw.Draw(sheet)
    for part in parts:
        if part.tone != "marks":
            pen.polygon([tuple(p) for p in (pose.forward(part.outline) / 4 + [0.7, 1.2]).tolist()], fill=255)
    soft = sheet.filter(ImageFilter.GaussianBlur(size / 180)).resize((size, size), Image.Resampling.BILINEAR)
    canvas *= (1 - np.asarray(soft, np.float32) * np.float32(0.22 / 255))[..., None]


def develop(canvas: Field, size: int, rng: np.random.Generator) -> None:
    """Give the street its light: darker, warmer or cooler, uneven, with the noise of a phone."""
    warm = rng.uniform(-0.02, 0.04)
    gain = rng.uniform(0.86, 1.03)
    tint = np.array([1 + warm, 1.0, 1 - warm], np.float32) * np.float32(gain)
    slope = rng.uniform(-0.08, 0.08, 2)
    rows = np.linspace(-1, 1, size, dtype=np.float32)
    light = 1 + np.float32(slope[0]) * rows[:, None] + np.float32(slope[1]) * rows[None]
    canvas *= light.astype(np.float32)[..., None] * tint
    canvas += (fabric.grain(size, rng) * np.float32(rng.uniform(1.5, 5.0)))[..., None]
