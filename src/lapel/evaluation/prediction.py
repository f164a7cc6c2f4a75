"""What AHBN's branches predict beside the embedding: attributes (its figure 4) and landmarks (its figure 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapel.errors import LapelError
from lapel.evaluation import metrics
from lapel.landmarks import CUT_OFF, LANDMARKS, OCCLUDED, VISIBLE

Array = NDArray[Any]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_CELLS = 2**22  # scores sorted at a time


@dataclass(frozen=True)
class AttributePrecision:
    """Prediction of one attribute; shares between 0 and 1.

    Attributes:
        ap: average precision of the images ranked by their score.
        chance: expected AP of a random ranking.
        positives: images that have the attribute.
        images: images of which it is known whether they have it.
    """

    ap: float
    chance: float
    positives: int
    images: int


@dataclass(frozen=True)
class PredictionResult:
    """Attribute prediction: each attribute that has a positive, and their plain mean.

    Attributes:
        attributes: name -> its figures, in the order of the scores.
        map: mean AP over ``attributes``.
        chance: mean of their chance.
        not_evaluated: name -> why it has no figure.
    """

    attributes: Mapping[str, AttributePrecision]
    map: float
    chance: float
    not_evaluated: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON, in percent with 4 decimals."""
        return {
            "task": "attribute prediction",
            "unit": "percent",
            "attributes": {
                name: {
                    "ap": _percent(row.ap),
                    "chance": _percent(row.chance),
                    "positives": row.positives,
                    "images": row.images,
                }
                for name, row in self.attributes.items()
            },
            "overall": {"map": _percent(self.map), "chance": _percent(self.chance), "attributes": len(self.attributes)},
            "not_evaluated": dict(self.not_evaluated),
        }


def attribute_prediction(
    scores: Array, labels: Array, names: Sequence[str], known: Array | None = None
) -> PredictionResult:
    """Measure attribute prediction: AP of each attribute over the images, and the mean over attributes (mAP).

    For each attribute the images are ranked by their score, ties in the order of the images; AP is as in
    ``metrics``: no interpolation, no cut-off. An attribute that no image has is left out of the mean and named.

    Args:
        scores: (N, K), higher is likelier; any scale, each attribute is ranked by itself.
        labels: (N, K) bool.
        names: (K,) the attributes.
        known: (N, K) bool, where a label is known; elsewhere the image does not count for the attribute.

    Memory: about 60 N bytes.

    Raises:
        LapelError: a score is NaN or infinite; no attribute has a positive.
        ValueError: shapes do not fit.
    """
    certain = _check(scores, labels, known)
    if len(names) != scores.shape[1] or len(set(names)) < len(names):
        raise ValueError(f"expected {scores.shape[1]} different names, found {len(set(names))} in {len(names)}")
    found: dict[str, AttributePrecision] = {}
    reasons: dict[str, str] = {}
    for column, name in enumerate(names):
        rows = slice(None) if certain is None else np.flatnonzero(certain[:, column])
        positive = labels[rows, column].astype(bool)
        count, images = int(np.count_nonzero(positive)), len(positive)
        if not count:
            reasons[name] = f"none of {images} images has it"
            continue
        ap = metrics.average_precision_from_scores(scores[rows, column][None], positive[None])
        chance = metrics.expected_average_precision(np.array([count]), images)
        found[name] = AttributePrecision(float(ap[0]), float(chance[0]), count, images)
    if not found:
        raise LapelError(
            f"nothing to evaluate: none of {len(names)} attributes has a positive among {len(scores)} images"
        )
    mean, chance_mean = (float(np.mean([getattr(row, key) for row in found.values()])) for key in ("ap", "chance"))
    return PredictionResult(found, mean, chance_mean, reasons)


@dataclass(frozen=True)
class RecallResult:
    """Top-k recall: the share of positive labels that are among the k best-scored attributes of their image.

    Attributes:
        k: attributes taken from each image.
        recall: ``matched / positives``, NaN without a positive.
        matched: positives found.
        positives: all positive labels of all images.
        groups: name -> the same within some of the attributes.
    """

    k: int
    recall: float
    matched: int
    positives: int
    groups: Mapping[str, RecallResult] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON, in percent with 4 decimals; no recall (null) where there is no positive."""
        recall = _percent(self.recall) if self.positives else None
        head = {"k": self.k, "recall": recall, "matched": self.matched, "positives": self.positives}
        groups = {"groups": {name: row.to_dict() for name, row in self.groups.items()}} if self.groups else {}
        return head | groups


def top_k_recall(
    scores: Array,
    labels: Array,
    k: int,
    known: Array | None = None,
    groups: Mapping[str, Sequence[int]] | None = None,
) -> RecallResult:
    """Measure top-k recall (FashionNet and its successors report k = 3 and 5), over all labels alike (micro).

    Args:
        scores: (N, K), comparable between attributes; ties in the order of the attributes.
        labels: (N, K) bool.
        k: attributes taken from each image.
        known: (N, K) bool, where a label is known; elsewhere an attribute is neither taken nor missed.
        groups: name -> columns: the same among those attributes only (texture, fabric, shape, part, style).

    Memory: about 100 MB beyond the input.

    Raises:
        LapelError: a score is NaN or infinite.
        ValueError: shapes do not fit, or k is below 1.
    """
    certain = _check(scores, labels, known)
    if k < 1:
        raise ValueError(f"k must be at least 1, found {k}")
    matched = positives = 0
    step = max(1, _CELLS // max(scores.shape[1], 1))
    for start in range(0, len(scores), step):
        part = slice(start, start + step)
        ranked, wanted = -scores[part].astype(np.float64), labels[part].astype(bool)
        if certain is not None:
            ranked, wanted = np.where(certain[part], ranked, np.inf), wanted & certain[part]
        best = np.argsort(ranked, axis=1, kind="stable")[:, :k]
        matched += int(np.count_nonzero(np.take_along_axis(wanted, best, axis=1)))
        positives += int(np.count_nonzero(wanted))
    recall = matched / positives if positives else float("nan")
    parts = {name: np.asarray(columns, dtype=np.int64) for name, columns in (groups or {}).items()}
    by_group = {
        name: top_k_recall(scores[:, columns], labels[:, columns], k, None if certain is None else certain[:, columns])
        for name, columns in parts.items()
    }
    return RecallResult(k, recall, matched, positives, by_group)


@dataclass(frozen=True, eq=False)
class LandmarkResult:
    """Landmark prediction; errors as shares of the image's size.

    Attributes:
        error: mean over all landmarks that count.
        errors: (8,) mean of each landmark of ``lapel.landmarks.LANDMARKS``, NaN where none counts.
        counts: (8,) how many count.
        without: images without a landmark that counts.
    """

    error: float
    errors: Floats
    counts: Integers
    without: int

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON, with 6 decimals; no error (null) where a landmark never counts."""
        each = {
            name: {"error": round(float(error), 6) if count else None, "count": int(count)}
            for name, error, count in zip(LANDMARKS, self.errors, self.counts, strict=True)
        }
        overall = {"error": round(self.error, 6), "count": int(self.counts.sum()), "images_without": self.without}
        return {"task": "landmark prediction", "unit": "image sizes", "landmarks": each, "overall": overall}


def landmark_error(predicted: Array, truth: Array, sizes: Array, occluded: bool = False) -> LandmarkResult:
    """Measure the normalised error of landmarks, left and right told apart: a swapped pair is two errors.

    A landmark's error is the length of (dx / width, dy / height). Ours to decide, because the papers' text of it is
    known from memory only ("L2 distance in normalised coordinates, averaged over visible landmarks"): each coordinate
    is divided by its own side of the image, and the overall error is the mean over landmarks, not over images.

    Args:
        predicted: (N, 8, 2) or (N, 8, 3) x, y in pixels; a third number is not looked at.
        truth: (N, 8, 3) x, y, visibility; 0, visible, counts.
        sizes: (N, 2) width and height of each image, pixels.
        occluded: count visibility 1 too, which has a position; 2, cut off or absent, never counts.

    Raises:
        LapelError: a prediction that counts is NaN or infinite; no landmark counts.
        ValueError: shapes do not fit, a size is not positive, or a visibility is none of 0, 1 and 2.
    """
    points, images = len(LANDMARKS), len(truth)
    if predicted.shape not in ((images, points, 2), (images, points, 3)) or truth.shape != (images, points, 3):
        shapes = f"{predicted.shape} and {truth.shape}"
        raise ValueError(f"expected predictions (N, {points}, 2 or 3) and truth (N, {points}, 3), found {shapes}")
    if sizes.shape != (images, 2) or not (np.asarray(sizes) > 0).all():
        raise ValueError(f"expected a positive width and height for each of {images} images, found {sizes.shape}")
    visibility = truth[..., 2]
    if not np.isin(visibility, (VISIBLE, OCCLUDED, CUT_OFF)).all():
        raise ValueError("expected visibility 0 (visible), 1 (occluded) or 2 (cut off or absent)")
    counted = np.isin(visibility, (VISIBLE, OCCLUDED) if occluded else (VISIBLE,))
    if not counted.any():
        raise LapelError(f"nothing to evaluate: none of {images} images has a visible landmark")
    for what, values in (("predicted", predicted), ("true", truth)):
        metrics.check_finite(values[..., :2][counted], f"{what} landmark")
    gap = (predicted[..., :2].astype(np.float64) - truth[..., :2]) / np.asarray(sizes, dtype=np.float64)[:, None]
    error = np.where(counted, np.sqrt(np.square(np.where(counted[..., None], gap, 0.0)).sum(axis=-1)), 0.0)
    counts = counted.sum(axis=0)
    errors = np.where(counts > 0, error.sum(axis=0) / np.maximum(counts, 1), np.nan)
    overall = float(error.sum() / counts.sum())
    return LandmarkResult(overall, errors, counts, int(np.count_nonzero(~counted.any(axis=1))))


def _check(scores: Array, labels: Array, known: Array | None) -> NDArray[np.bool_] | None:
    shapes = {array.shape for array in (scores, labels, known) if array is not None}
    if scores.ndim != 2 or len(shapes) > 1:
        raise ValueError(f"expected scores, labels and known of one shape (N, K), found {sorted(shapes)}")
    metrics.check_finite(scores, "score")
    return None if known is None else np.asarray(known, dtype=bool)


def _percent(share: float) -> float:
    return round(100 * share, 4)
