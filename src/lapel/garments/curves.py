"""Curves and the parts that a garment's drawing is made of. Units: centimetres, x right, y down.

The origin lies where the neck meets the shoulders; the ground is 155 cm below it. Shoulders are near y = 6,
the waist 42, hips 62, knees 106, ankles 146.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Points = NDArray[np.float64]
"""Points (N, 2)."""


@cache
def _bernstein(count: int) -> Points:
    t = np.linspace(0.0, 1.0, count)[:, None]
    return np.hstack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3])


@cache
def _catmull(count: int) -> Points:
    t = np.linspace(0.0, 1.0, count, endpoint=False)[:, None]
    return 0.5 * np.hstack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3])


def points(*rows: ArrayLike) -> Points:
    """Stack single points and arrays of points into one (N, 2) array."""
    return np.vstack([np.atleast_2d(np.asarray(row, dtype=np.float64)) for row in rows])


def bezier(p0: ArrayLike, p1: ArrayLike, p2: ArrayLike, p3: ArrayLike, count: int = 12) -> Points:
    """Return ``count`` points of a cubic Bezier curve, both ends included."""
    return np.asarray(_bernstein(count) @ points(p0, p1, p2, p3))


def smooth(through: ArrayLike, count: int = 6) -> Points:
    """Return a Catmull-Rom curve through the given points, ``count`` points per piece."""
    knots = np.asarray(through, dtype=np.float64)
    padded = np.vstack([2 * knots[0] - knots[1], knots, 2 * knots[-1] - knots[-2]])
    basis = _catmull(count)
    pieces = [basis @ padded[i : i + 4] for i in range(len(knots) - 1)]
    return np.vstack([*pieces, knots[-1:]])


def mirror(curve: Points) -> Points:
    """Reflect a curve about x = 0 and reverse it, so that right + mirror(right) runs on."""
    return np.asarray(curve[::-1] * np.array([-1.0, 1.0]))


def moved(curve: Points, x: float, y: float) -> Points:
    """Return a curve moved by (x, y)."""
    return np.asarray(curve + np.array([x, y]))


def ellipse(x: float, y: float, rx: float, ry: float, count: int = 24) -> Points:
    """Return points on an ellipse."""
    t = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([x + rx * np.cos(t), y + ry * np.sin(t)], axis=1)


def rectangle(x1: float, y1: float, x2: float, y2: float) -> Points:
    """Return the corners of a rectangle."""
    return points((x1, y1), (x2, y1), (x2, y2), (x1, y2))


@dataclass(frozen=True)
class Mark:
    """A line or a filled spot on a part: a seam, a button, a drawstring."""

    path: Points
    width: float = 0.5
    tone: str = "seam"  # seam: a dark line; faint: half as strong; trim: in the colour of buttons and strings
    filled: bool = False


@dataclass
class Part:
    """One piece of cloth: an outline, a tone, the frame of its texture and the marks on it."""

    name: str
    outline: Points
    tone: str = "fabric"  # or plain (no pattern), inner (in the shade), rib, marks (only the marks are drawn)
    angle: float = 0.0  # direction of the cloth's length against the vertical, radians
    marks: list[Mark] = field(default_factory=list)
    lift: float = 0.0  # how far it stands off what lies below: its shadow, cm
    gain: float = 1.0  # brightness against the rest: what stands off catches more light
    edge: float = 1.0  # how heavy its outline is
    behind: bool = False  # behind the neck of the person who wears it


@dataclass
class Drawing:
    """A garment laid out for one stance: parts back to front, landmarks, and where each attribute shows."""

    parts: list[Part]
    landmarks: dict[str, tuple[float, float]]
    regions: dict[str, list[Points]]
    profile: Points  # (y, half width) down the body: folds fan out along it
    drape: tuple[float, float, float, float]  # y where folds start, y of the hem, how deep, how many
