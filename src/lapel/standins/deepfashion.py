"""What the stand-ins of the three DeepFashion benchmarks write alike: boxes and landmarks, and how they are read."""

from __future__ import annotations

from collections.abc import Sequence

from lapel.landmarks import CUT_OFF, LANDMARKS, PLACES

MARKS = " ".join(f"landmark_visibility_{n} landmark_location_x_{n} landmark_location_y_{n}" for n in range(1, 9))
"""The column names of the landmarks, those of eight whatever a row holds."""


def box_text(box: Sequence[float], gap: str = "  ") -> tuple[str, list[int] | None]:
    """Return a box as the lists write it, zero-padded, and as it is read: None without a size."""
    x1, y1, x2, y2 = sides = [round(side) for side in box]
    return gap.join(f"{side:03d}" for side in sides), sides if x2 > x1 and y2 > y1 else None


def landmark_text(eight: Sequence[Sequence[float]], clothes: int) -> tuple[str, list[int]]:
    """Return a garment's 6, 4 or 8 landmarks as the lists write them, and the 24 numbers they are read as.

    Args:
        eight: x, y, visibility of the eight landmarks; those that are cut off are written as 0 0.
        clothes: the clothes type, which says which of them the garment has.
    """
    told = [0, 0, CUT_OFF] * len(LANDMARKS)
    triples = []
    for place in PLACES[clothes]:
        x, y, visibility = (round(value) for value in eight[place])
        if visibility == CUT_OFF:
            x = y = 0
        triples.append(f"{visibility} {x:03d} {y:03d}")
        told[3 * place : 3 * place + 3] = [x, y, visibility]
    return "  ".join(triples), told
