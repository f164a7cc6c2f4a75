"""What stands in front of a garment in the street: a bag, a pole, a passer-by's head, straps."""

from __future__ import annotations

import numpy as np

from lapel.garments.curves import Drawing, Points, bezier, ellipse, moved, points, rectangle
from lapel.garments.figure import PLAIN, Shape
from lapel.garments.spec import Garment


def draw(g: Garment, drawing: Drawing, rng: np.random.Generator) -> list[Shape]:
    """Return the shapes in front of a garment, in garment centimetres: none in 4 of 10 views or more."""
    choice = rng.random()
    side = -1.0 if rng.random() < 0.5 else 1.0
    tone = PLAIN[int(rng.integers(len(PLAIN)))]
    if choice < 0.25:
        return _bag(side, tone, rng)
    if choice < 0.4:
        low, high = _extent(drawing)
        x = side * rng.uniform(0.25, 0.45) * (high[0] - low[0])
        return [(rectangle(x - 1.6, low[1] - 60, x + 1.6, high[1] + 60), (96, 98, 102))]
    if choice < 0.5:
        low, high = _extent(drawing)
        x = side * (high[0] + 4.0)
        y = high[1] + rng.uniform(-8.0, 4.0)
        head = ellipse(x, y, 11.0, 13.0)
        body = ellipse(x, y + 34.0, 24.0, 25.0)
        return [(body, tone), (head, (44, 34, 30))]
    if choice < 0.6 and g.category in ("top", "coat", "dress"):
        straps = []
        for s in (-1.0, 1.0):  # of a backpack
            strap = bezier((s * 12.5, 1.6), (s * 12.0, 12.0), (s * 12.5, 22.0), (s * 17.5, 33.0))
            straps.append((points(moved(strap, 1.6, 0.0), moved(strap[::-1], -1.6, 0.0)), tone))
        return straps
    return []


def _extent(drawing: Drawing) -> tuple[Points, Points]:
    everything = points(*[part.outline for part in drawing.parts])
    return everything.min(0), everything.max(0)


def _bag(side: float, tone: tuple[int, int, int], rng: np.random.Generator) -> list[Shape]:
    """A shoulder bag with its strap, hanging beside the hip."""
    x, y = side * rng.uniform(22.0, 27.0), rng.uniform(56.0, 66.0)
    start = -side * 9.0 if rng.random() < 0.5 else side * 15.0
    strap = bezier((start, 1.5), (start + side * 4, 16.0), (x - side * 5, y - 22), (x, y))
    band = points(moved(strap, 0.9, 0.0), moved(strap[::-1], -0.9, 0.0))
    darker = (int(tone[0] * 0.75), int(tone[1] * 0.75), int(tone[2] * 0.75))
    body = points((x - 9, y - 2), (x + 9, y - 2), (x + 10.5, y + 15), (x - 10.5, y + 15))
    flap = points((x - 9, y - 2), (x + 9, y - 2), (x + 9.4, y + 5), (x, y + 7), (x - 9.4, y + 5))
    return [(band, darker), (body, tone), (flap, darker)]
