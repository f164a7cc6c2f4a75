"""How one view shows a garment: arms, legs, the turn of the body, and the map from centimetres to pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lapel.garments.curves import Points

Grid = NDArray[np.float32]


@dataclass(frozen=True)
class Stance:
    """How the wearer stands: arm angles from the vertical, bend of the elbows, feet apart."""

    arms: tuple[float, float] = (0.3, 0.3)  # radians: image left, image right
    elbows: tuple[float, float] = (0.05, 0.05)
    feet: float = 12.0  # cm from the middle to each foot
    hood_up: bool = False

    @classmethod
    def draw(cls, rng: np.random.Generator, figure: bool, wide: float) -> Stance:
        """Draw one; ``wide`` widens the arms so that a bulky garment does not hide them."""
        low, high = (0.13, 0.36) if figure else (0.2, 0.5)
        arms = rng.uniform(low, high, 2) + wide
        elbows = rng.uniform(-0.05, 0.16, 2)
        return cls(
            arms=(float(arms[0]), float(arms[1])),
            elbows=(float(elbows[0]), float(elbows[1])),
            feet=float(rng.uniform(9.5, 16.0)),
            hood_up=not figure,
        )


@dataclass(frozen=True)
class Pose:
    """An invertible map from garment centimetres to pixels.

    Along x, at a height y: one half is widened and the other narrowed (the body turns), the whole widens
    with y (perspective) and moves sideways (it sways). Then rotation, shear, scale and shift.
    """

    scale: float
    angle: float = 0.0
    shear: float = 0.0
    turn: float = 0.0
    perspective: float = 0.0
    sway: float = 0.0
    middle: float = 60.0
    shift: tuple[float, float] = (0.0, 0.0)

    @cached_property
    def matrix(self) -> NDArray[np.float64]:
        """The 2 x 2 part of the map."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return np.asarray(self.scale * np.array([[cos, -sin], [sin, cos]]) @ np.array([[1.0, self.shear], [0.0, 1.0]]))

    def forward(self, where: Points) -> Points:
        """Map centimetres (N, 2) to pixels (N, 2)."""
        x, y = where[:, 0], where[:, 1]
        x = x + self.turn * np.abs(x)
        x = x * (1 + self.perspective * (y - self.middle)) + self._swayed(y)
        (a, b), (c, d) = self.matrix
        out = np.empty((len(x), 2))
        out[:, 0] = a * x + b * y + self.shift[0]
        out[:, 1] = c * x + d * y + self.shift[1]
        return out

    def inverse(self, size: int) -> tuple[Grid, Grid]:
        """Return x and y in centimetres of each pixel centre of a square image, each (size, size)."""
        back = np.linalg.inv(self.matrix)
        columns = np.arange(size, dtype=np.float32) + 0.5 - self.shift[0]
        rows = np.arange(size, dtype=np.float32)[:, None] + 0.5 - self.shift[1]
        x = np.float32(back[0, 0]) * columns + np.float32(back[0, 1]) * rows
        y = np.float32(back[1, 0]) * columns + np.float32(back[1, 1]) * rows
        x = (x - self._swayed(y)) / (1 + np.float32(self.perspective) * (y - np.float32(self.middle)))
        x /= np.where(x > 0, np.float32(1 + self.turn), np.float32(1 - self.turn))
        return x, y

    def _swayed(self, y: NDArray[np.floating]) -> NDArray[np.floating]:
        return np.asarray(self.sway * np.sin((y - y.dtype.type(self.middle)) * y.dtype.type(0.03)))


def place(everything: Points, size: int, rng: np.random.Generator, street: bool) -> Pose:
    """Draw a pose that shows points (N, 2) of a garment well inside a square image of ``size`` pixels."""
    strength = 1.6 if street else 1.0
    low, high = everything.min(0), everything.max(0)
    loose = Pose(
        scale=1.0,
        angle=float(rng.uniform(-0.06, 0.06) * strength),
        shear=float(rng.uniform(-0.05, 0.05) * strength),
        turn=float(rng.uniform(-0.1, 0.1) * strength),
        perspective=float(rng.uniform(-0.0008, 0.0008) * strength),
        sway=float(rng.uniform(-1.5, 1.5) * strength),
        middle=float((low[1] + high[1]) / 2),
    )
    flat = loose.forward(everything)
    low, high = flat.min(0), flat.max(0)
    fill = rng.uniform(0.6, 0.82) if street else rng.uniform(0.83, 0.92)
    # A cropped top must not look as long as a hip-length one: short garments fill less of the frame.
    scale = float(fill * size / max((high - low).max(), 62.0))
    spare = (size - scale * (high - low)) / 2
    reach = 0.75 if street else 0.3
    if street and rng.random() < 0.12:
        reach = 1.25  # sometimes a part of the garment is cut off
    centre = size / 2 + spare * rng.uniform(-reach, reach, 2)
    corner = centre - scale * (low + high) / 2
    return Pose(
        scale,
        loose.angle,
        loose.shear,
        loose.turn,
        loose.perspective,
        loose.sway,
        loose.middle,
        (float(corner[0]), float(corner[1])),
    )
