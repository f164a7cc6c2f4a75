"""Garment landmarks: their order, the garments that have fewer, and what a flip does to them.

A garment's landmarks are eight triples (x, y, visibility) in DeepFashion's full-body order, pixels of the upright
image, visibility 0 visible, 1 occluded, 2 cut off or absent. "Left" is the image's left.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LANDMARKS = (
    "left collar", "right collar", "left sleeve", "right sleeve",
    "left waistline", "right waistline", "left hem", "right hem",
)  # fmt: skip
"""The eight landmarks in DeepFashion's full-body order."""

VISIBLE, OCCLUDED, CUT_OFF = 0, 1, 2

UPPER, LOWER, FULL = 1, 2, 3
"""DeepFashion's clothes types."""

PLACES: dict[int, tuple[int, ...]] = {UPPER: (0, 1, 2, 3, 6, 7), LOWER: (4, 5, 6, 7), FULL: (0, 1, 2, 3, 4, 5, 6, 7)}
"""Clothes type -> where its 6, 4 or 8 landmarks stand among the eight."""

MIRRORED = (1, 0, 3, 2, 5, 4, 7, 6)
"""Where each landmark stands after a mirror."""

Array = NDArray[np.float64]


def flip_landmarks(landmarks: Array, width: float) -> Array:
    """Mirror landmarks with their image: x becomes width - x, as for boxes, and left and right change places.

    The papers do not mention the exchange; without it a flipped image would be taught that its left collar is the
    right one. A landmark without a position (0, 0, 2) keeps 0, 0.

    Args:
        landmarks: (..., 8, 3) x, y in pixels, visibility.
        width: of the image, pixels.

    Raises:
        ValueError: another shape.

    >>> flip_landmarks(np.array([[10.0, 5, 0], [30, 5, 1], *[[0, 0, 2]] * 6]), 100)[:2]
    array([[70.,  5.,  1.],
           [90.,  5.,  0.]])
    """
    if landmarks.shape[-2:] != (len(LANDMARKS), 3):
        raise ValueError(f"expected landmarks (..., {len(LANDMARKS)}, 3), found {landmarks.shape}")
    flipped = landmarks[..., MIRRORED, :].astype(np.float64)
    absent = (flipped == (0.0, 0.0, float(CUT_OFF))).all(axis=-1)
    flipped[..., 0] = np.where(absent, 0.0, width - flipped[..., 0])
    return np.asarray(flipped)


def on_eight(points: Array, clothes_type: int) -> Array:
    """Put the 6, 4 or 8 landmarks of an upper-body, lower-body or full-body garment on the eight places.

    Args:
        points: (6, 3), (4, 3) or (8, 3) x, y, visibility.
        clothes_type: 1, 2 or 3.

    Returns:
        (8, 3); places that the garment does not have are 0, 0, 2.

    Raises:
        ValueError: an unknown type, or another number of points than it has.
    """
    places = PLACES.get(clothes_type)
    if places is None or points.shape != (len(places), 3):
        expected = "1 (upper, 6 landmarks), 2 (lower, 4) or 3 (full, 8)"
        raise ValueError(f"expected clothes type {expected}, found type {clothes_type} with {len(points)}")
    eight = np.zeros((len(LANDMARKS), 3))
    eight[:, 2] = CUT_OFF
    eight[list(places)] = points
    return eight
