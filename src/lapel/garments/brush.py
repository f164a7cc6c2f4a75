"""Paint the pieces of a garment: cloth within an outline, its light, seams, buttons and shadow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from lapel.garments import fabric
from lapel.garments.curves import Drawing, Part, Points, points
from lapel.garments.fabric import Field
from lapel.garments.pose import Pose
from lapel.garments.spec import Garment

FINE = 2
"""Supersampling of outlines."""

_ROUND = ("body", "tube", "hood")
"""Parts that are rounded off by shading, besides the sleeves."""


class Brush:
    """Paints the parts of one garment in one pose: the fields shared by all parts are computed once."""

    def __init__(self, g: Garment, drawing: Drawing, pose: Pose, size: int, rng: np.random.Generator) -> None:
        self.g, self.pose, self.size = g, pose, size
        self.plain = replace(g, pattern="solid")
        self.x, self.y = pose.inverse(size)
        back = np.linalg.inv(pose.matrix)
        origin = (float(rng.uniform(-300, 300)), float(rng.uniform(-300, 300)))
        number = int(rng.integers(4))
        self.crumple = fabric.sample_wrinkles(number, back, origin, size)
        self.grain = fabric.grain(size, rng)
        self.light = float(rng.choice([-1.0, 1.0]) * rng.uniform(0.45, 1.0))
        self.gain = float(rng.uniform(0.97, 1.06))
        self.base, self.trim = fabric.ground(g), fabric.trim(g)
        outline = pose.forward(points(*[p.outline for p in drawing.parts]))
        self.enlarge = float(np.clip(np.ptp(outline, axis=0).max() / pose.scale / 80.0, 0.75, 1.5))
        self.drawing = drawing
        self.phase = float(rng.uniform(0, 2 * np.pi))
        self.dark = float(self.base.max()) < 0.3

    def draw(self, canvas: Field, cloth: Field, part: Part) -> None:
        """Paint one part on the canvas in place, and its mask into ``cloth`` (size, size), 0..1."""
        outline = self.pose.forward(part.outline)
        pad = 3
        low = np.maximum(np.floor(outline.min(0)).astype(int) - pad, 0)
        high = np.minimum(np.ceil(outline.max(0)).astype(int) + pad, self.size)
        if (high - low < 1).any():
            return
        window = np.s_[low[1] : high[1], low[0] : high[0]]
        shape = (int(high[0] - low[0]) * FINE, int(high[1] - low[1]) * FINE)
        mask_image = Image.new("L", shape)
        path = [tuple(p) for p in ((outline - low) * FINE).tolist()]
        if part.tone != "marks":
            ImageDraw.Draw(mask_image).polygon(path, fill=255)
        small = mask_image.reduce(FINE)
        mask = np.asarray(small, np.float32) / 255.0
        lines = self._lines(part, path, shape, low)
        target = canvas[window]
        if part.lift:
            self._shadow(canvas, small, low, high, part.lift)
        if part.tone != "marks":
            colour = self._cloth(part, window, small, mask)
            ink = colour * np.float32(0.5) if not self.dark else colour + np.float32(38.0)
            seam = lines["seam"][..., None]
            colour += seam * (ink - colour)
            self._spots(colour, lines["trim"], seam)
            target += mask[..., None] * (colour - target)
            np.maximum(cloth[window], mask, out=cloth[window])
            return
        strength = np.maximum(lines["seam"], 0)[..., None]
        ink = target * np.float32(0.5) if not self.dark else target + np.float32(38.0)
        target += strength * (ink - target)
        self._spots(target, lines["trim"], strength)

    def _spots(self, colour: Field, trim: Field | None, seam: Field) -> None:
        """Paint buttons and strings over the cloth."""
        if trim is not None:
            weight = trim[..., None] * (1 - 0.6 * seam)
            colour += weight * (self.trim * np.float32(250.0) - colour)

    def _lines(
        self, part: Part, path: list[tuple[float, ...]], shape: tuple[int, int], low: Points
    ) -> dict[str, Field]:
        """Rasterise a part's outline, seams and buttons: weights of dark ink and of trim."""
        seam = Image.new("L", shape)
        pen = ImageDraw.Draw(seam)
        trim: Image.Image | None = None
        scale = self.pose.scale * FINE
        if part.edge:
            wide = max(2, round(0.42 * part.edge * scale))
            pen.line([*path, path[0], path[1]], fill=min(255, int(190 * part.edge)), width=wide, joint="curve")
        for mark in part.marks:
            where = (self.pose.forward(mark.path) - low) * FINE
            line = [tuple(p) for p in where.tolist()]
            wide = max(1, round(mark.width * scale))
            if mark.tone == "trim":
                if trim is None:
                    trim = Image.new("L", shape)
                dots = ImageDraw.Draw(trim)
                if mark.filled:
                    dots.polygon(line, fill=255)
                    pen.line([*line, line[0]], fill=170, width=max(1, round(0.3 * scale)))
                else:
                    dots.line(line, fill=255, width=max(2, wide), joint="curve")
            else:
                pen.line(line, fill=150 if mark.tone == "seam" else 80, width=wide, joint="curve")
        found = {"seam": np.asarray(seam.reduce(FINE), np.float32) / 255.0}
        found["trim"] = np.asarray(trim.reduce(FINE), np.float32) / 255.0 if trim else None  # type: ignore[assignment]
        return found

    def _shadow(self, canvas: Field, mask: Image.Image, low: Points, high: Points, lift: float) -> None:
        """Darken what lies just below a part that stands off."""
        radius = max(1.0, lift * self.pose.scale * 0.8)
        grow = int(radius * 3) + 1
        a, b = np.maximum(low - grow, 0), np.minimum(high + grow, self.size)
        sheet = Image.new("L", (int(b[0] - a[0]), int(b[1] - a[1])))
        move = (-self.light * lift * 0.5 * self.pose.scale, lift * 0.6 * self.pose.scale)
        sheet.paste(mask, (int(low[0] - a[0] + move[0]), int(low[1] - a[1] + move[1])))
        soft = np.asarray(sheet.filter(ImageFilter.BoxBlur(radius)), np.float32)
        canvas[a[1] : b[1], a[0] : b[0]] *= (1.0 - soft * np.float32(0.42 / 255))[..., None]

    def _cloth(self, part: Part, window: tuple[slice, slice], small: Image.Image, mask: Field) -> Field:
        """Return the lit colour of a part over its window, 0..255."""
        x, y, crumple = self.x[window], self.y[window], self.crumple[window]
        height = self._height(part, x, y, crumple)
        gy, gx = fabric.slopes(height)
        steep = np.float32(self.pose.scale * 0.62)
        slope = (gx * np.float32(self.light) - gy * np.float32(0.8)) * steep
        shade = 1.0 + np.clip(slope, -0.34, 0.24) + np.clip(height, -1, 1) * np.float32(0.06)
        shade *= self._volume(small, mask.shape) if part.name in _ROUND or "sleeve" in part.name else 1.0
        shade += self.grain[window] * np.float32(0.014)
        cos, sin = np.float32(np.cos(part.angle)), np.float32(np.sin(part.angle))
        u, v = x * cos - y * sin, x * sin + y * cos
        bend = np.float32(0.35)
        g = self.plain if part.tone == "plain" else self.g
        colour = fabric.paint(g, u + height * bend, v + crumple * np.float32(0.25), 1 / self.pose.scale, self.enlarge)
        shade *= np.float32(part.gain)
        if part.tone == "inner":
            shade = shade * np.float32(0.52)
        elif part.tone == "rib":
            shade = shade * np.float32(0.9)
        colour = colour * (shade * np.float32(255.0 * self.gain))[..., None]
        if self.dark:  # black cloth shows its folds by sheen
            colour += np.clip(slope, 0, 0.3)[..., None] * np.float32(70.0)
        return np.asarray(colour, dtype=np.float32)

    def _height(self, part: Part, x: Field, y: Field, crumple: Field) -> Field:
        """Return the relief of the cloth: wrinkles, and folds that fan out towards the hem."""
        heavy = {"coat": 0.3, "trousers": 0.45, "skirt": 0.3}.get(self.g.category, 0.42)
        height = crumple * np.float32(heavy)
        if "sleeve" in part.name:
            return height * np.float32(1.2)
        start, hem, deep, count = self.drawing.drape
        if part.name == "body" and deep > 0.1:
            knots = self.drawing.profile.astype(np.float32)
            half = np.interp(y[:, y.shape[1] // 2], knots[:, 0], knots[:, 1]).astype(np.float32)[:, None]
            phase = x / half * np.float32(count * np.pi / 2) + np.float32(self.phase) + crumple * np.float32(0.5)
            ramp = np.clip((y - np.float32(start)) / np.float32(hem - start), 0, 1)
            wave = np.sin(phase)
            wave = wave * np.float32(0.75) + np.float32(0.25) * np.sin(phase * np.float32(1.7) + 1)
            height = height + wave * ramp * np.float32(deep * 2.6)
        return height

    def _volume(self, small: Image.Image, shape: tuple[int, ...]) -> Field:
        """Round a part off: darker towards its edges, more so on the side away from the light."""
        coarse = small.reduce(4)
        radius = max(1.2, self.pose.scale * 1.1)
        soft = coarse.filter(ImageFilter.GaussianBlur(radius)).resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
        rounded = np.asarray(soft, np.float32) / 255.0
        gx = fabric.slopes(rounded)[1] * np.float32(self.pose.scale * 3.0 * self.light)
        return np.asarray(0.84 + 0.2 * np.minimum(rounded, 1.0) + np.clip(gx, -0.14, 0.1), dtype=np.float32)
