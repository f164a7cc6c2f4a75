"""Landmarks between the original image and the model's frame: what box, resize, crop and letterbox do to them.

Coordinates count from the upper left corner of the first pixel, whose middle is 0.5, 0.5, as ``lapel.augment`` and
boxes have them: resizing multiplies them, and a mirror takes x to width - x.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lapel.decoding import Box
from lapel.frame import Preprocessing
from lapel.landmarks import LANDMARKS, OCCLUDED, VISIBLE

Boxes = npt.NDArray[np.floating[Any]] | Sequence[Box | None] | None
Floats = npt.NDArray[np.float64]


class _Placement(NamedTuple):
    """How N images come to lie in the frame; (N, 1, 2) each, x before y."""

    origin: Floats
    """Of the box, in the original image."""
    factor: Floats
    """By which the resize multiplies."""
    shift: Floats
    """Of the resized image, in the frame."""
    size: Floats
    """Of the image cut to its box, before the resize."""


def frame_landmarks(
    landmarks: npt.NDArray[np.floating[Any]],
    boxes: Boxes,
    sizes: npt.NDArray[np.integer[Any]],
    pre: Preprocessing,
    occluded: float = 0.0,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Bring landmarks to the model's frame, and say what each counts.

    A visible landmark counts 1 and an occluded one ``occluded``: AHBN's eq 2 weighs by visibility and leaves open what
    an occluded landmark counts, which has a position too. One that is cut off or absent counts 0, as does one outside
    its box or outside the frame, where no pixel shows it.

    Args:
        landmarks: (N, 8, 3) x, y in pixels of the upright original image, visibility; NaN where there are none.
        boxes: (N, 4) x1, y1, x2, y2 in the same pixels, NaN without a box; or a list with None there; None: no boxes.
        sizes: (N, 2) height and width of the images cut to their boxes, as ``ImageSource.sizes`` has them.
        pre: the frame.
        occluded: what an occluded landmark counts.

    Returns:
        (N, 8, 2) x, y in pixels of the frame, 0 where there are none; (N, 8) weights. Both float32.

    Raises:
        ValueError: another shape, or a size that is not positive (an image that was not read).
    """
    place = _place(landmarks, 3, boxes, sizes, pre)
    inside = landmarks[..., :2] - place.origin
    points = inside * place.factor + place.shift
    # Beyond a box there is a letterbox's padding, or what the frame cuts off.
    shown = (inside >= 0) & (inside <= place.size) & (points >= 0) & (points <= (pre.width, pre.height))
    visibility = landmarks[..., 2]
    weights = np.where(visibility == VISIBLE, 1.0, np.where(visibility == OCCLUDED, occluded, 0.0))
    return np.nan_to_num(points).astype(np.float32), (weights * shown.all(axis=-1)).astype(np.float32)


def unframe_landmarks(
    points: npt.NDArray[np.floating[Any]], boxes: Boxes, sizes: npt.NDArray[np.integer[Any]], pre: Preprocessing
) -> Floats:
    """Bring points of the model's frame back to the original image: the inverse of ``frame_landmarks``.

    Args:
        points: (N, 8, 2) x, y in pixels of the frame.
        boxes, sizes, pre: as ``frame_landmarks`` takes them.

    Returns:
        (N, 8, 2) x, y in pixels of the upright original image.

    Raises:
        ValueError: another shape, or a size that is not positive (an image that was not read).
    """
    place = _place(points, 2, boxes, sizes, pre)
    return np.asarray((points - place.shift) / place.factor + place.origin, dtype=np.float64)


def _place(
    points: npt.NDArray[Any], numbers: int, boxes: Boxes, sizes: npt.NDArray[np.integer[Any]], pre: Preprocessing
) -> _Placement:
    count = len(points)
    if points.shape != (count, len(LANDMARKS), numbers) or sizes.shape != (count, 2):
        expected = f"landmarks (N, {len(LANDMARKS)}, {numbers}) and sizes (N, 2)"
        raise ValueError(f"expected {expected}, found {points.shape} and {sizes.shape}")
    if (sizes < 1).any():
        row = int(np.flatnonzero((sizes < 1).any(axis=1))[0])
        raise ValueError(f"expected images that were read, found the size {sizes[row].tolist()} at place {row}")
    distinct, which = np.unique(sizes, axis=0, return_inverse=True)
    placed = np.array([pre.placed(*map(int, size)) for size in distinct], dtype=np.float64).reshape(-1, 4)
    lengths, corners = (placed[which.reshape(-1), part] for part in (slice(0, 2), slice(2, 4)))
    found = (_origins(boxes, count), (lengths / sizes)[:, ::-1], corners[:, ::-1], sizes[:, ::-1])
    return _Placement(*(each.astype(np.float64)[:, None] for each in found))


def _origins(boxes: Boxes, count: int) -> Floats:
    """(N, 2) x, y of the pixel that ``lapel.decoding`` cuts from; 0, 0 without a box."""
    if boxes is None:
        return np.zeros((count, 2))
    if not isinstance(boxes, np.ndarray):
        boxes = np.array([(np.nan,) * 4 if box is None else box for box in boxes], dtype=np.float64).reshape(-1, 4)
    if boxes.shape != (count, 4):
        raise ValueError(f"expected a box for each of {count} images, found {boxes.shape}")
    return np.maximum(np.floor(np.nan_to_num(boxes[:, :2].astype(np.float64))), 0)
