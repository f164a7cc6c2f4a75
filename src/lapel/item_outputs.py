"""All that an instance model says of many images, in one pass: embeddings, tags, landmarks, regions; and the truth."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray

from lapel.catalogue import Catalogue
from lapel.decoding import Box, upright_size
from lapel.evaluation.prediction import (
    LandmarkResult,
    PredictionResult,
    attribute_prediction,
    landmark_error,
)
from lapel.heatmaps import read_heatmaps
from lapel.image_source import ImageSource
from lapel.images import Preprocessing, normalise
from lapel.landmark_frame import unframe_landmarks
from lapel.landmarks import CUT_OFF, LANDMARKS, VISIBLE
from lapel.models.base import ItemNetwork

Array = NDArray[Any]
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Tags = Sequence[tuple[str, str]]
CHUNK = 64  # images per forward pass


class ItemOutputs(NamedTuple):
    """What an instance model says of N images.

    Attributes:
        vectors: (N, D) embeddings as the model gives them, of any length; zero where an image is missing.
        missing: (N,) bool, images that could not be read.
        tags: (N, K) logits of the attribute branch; None without one.
        points: (N, P, 3) x, y in pixels of the prepared image, and the score of each landmark; None without them.
        regions: (N, R, C) vectors of a re-ranking model's windows; None where they were not asked for.
        sizes: (N, 2) height and width of each image after its box crop, -1 where it is missing.
    """

    vectors: Floats
    missing: Bools
    tags: Floats | None
    points: Floats | None
    regions: Floats | None
    sizes: NDArray[np.int64]


def item_outputs(
    model: ItemNetwork,
    source: ImageSource,
    device: torch.device | str,
    *,
    regions: bool = False,
    progress: Callable[[int], object] = lambda _: None,
) -> ItemOutputs:
    """Run a model over all images of a source: the branches once per image.

    Args:
        model: on ``device``, in evaluation mode.
        source: N images.
        device: where the model is.
        regions: keep what ``model.regions`` gives too, for re-ranking.
        progress: told after each batch how many images are done.

    Memory: 4 N (D + K + 3 P) bytes, and 4 N R C with ``regions``.

    Raises:
        ImageError: too many images cannot be read.
    """
    count, pre = len(source), source.pre
    found: dict[str, Floats] = {}
    missing = np.ones(count, bool)
    for rows, images in source.batches(np.arange(at, min(at + CHUNK, count)) for at in range(0, count, CHUNK)):
        if not len(rows):
            continue
        with torch.inference_mode():
            features = model.features(normalise(images.to(device, non_blocking=True), pre, torch.channels_last))
            given = {"vectors": model.embed(features), "tags": model.tag_logits(features)}
            maps = model.heatmaps(features)
            if maps is not None:
                given["points"] = read_heatmaps(maps[:, -1].float(), pre.height, pre.width)
            if regions:
                given["regions"] = cast(Any, model).regions(features)
        for name, tensor in given.items():
            if tensor is not None:
                values = tensor.float().cpu().numpy()
                found.setdefault(name, np.zeros((count, *values.shape[1:]), np.float32))[rows] = values
        missing[rows] = False
        progress(int(rows[-1]) + 1)
    vectors = found.get("vectors", np.zeros((count, int(model.dim)), np.float32))
    sizes = np.asarray(source.sizes, np.int64)
    return ItemOutputs(vectors, missing, found.get("tags"), found.get("points"), found.get("regions"), sizes)


def tag_truth(catalogue: Catalogue, tags: Tags) -> tuple[Bools, Bools]:
    """Return (labels, known), both (N, K): whether each image has each tag, and whether that is known.

    It is known of the images that have any label of the tag's attribute: there a missing value is a no. An attribute
    that the catalogue lacks is known of none.
    """
    labels, known = (np.zeros((len(catalogue), len(tags)), bool) for _ in range(2))
    for attribute in {name for name, _ in tags} & set(catalogue.attributes):
        places = [place for place, (name, _) in enumerate(tags) if name == attribute]
        labels[:, places] = catalogue.multi_hot(attribute, [tags[place][1] for place in places])
        known[:, places] = catalogue.multi_hot(attribute).any(axis=1, keepdims=True)
    return labels, known


def tag_result(outputs: ItemOutputs, catalogue: Catalogue, tags: Tags) -> PredictionResult | None:
    """Measure the tags that a model predicts (AHBN's figure 4); None where it predicts none or none is labelled.

    Args:
        outputs: of the catalogue's N images.
        catalogue: the images.
        tags: (attribute, value) of each of the K logits.
    """
    if outputs.tags is None or not len(tags):
        return None
    labels, known = tag_truth(catalogue, tags)
    known[outputs.missing] = False
    if not (labels & known).any():
        return None
    names = [f"{attribute}={value}" for attribute, value in tags]
    return attribute_prediction(outputs.tags, labels, names, known)


def landmark_result(
    outputs: ItemOutputs, catalogue: Catalogue, pre: Preprocessing, boxes: bool = True
) -> LandmarkResult | None:
    """Measure the landmarks that a model predicts (AHBN's figure 5); None where it predicts none or none is visible.

    Predictions go back to the original image, whose own size is what errors are measured in, box or no box. Visible
    landmarks that the box or the frame cut off count too: they are missed by as much as the image ends before them.

    Args:
        outputs: of the catalogue's N images.
        catalogue: the images.
        pre: how they were prepared.
        boxes: whether they were cropped by their boxes.
    """
    if outputs.points is None or outputs.points.shape[1] != len(LANDMARKS):
        return None
    truth = catalogue.landmarks()
    truth = np.where(np.isnan(truth).any(axis=2, keepdims=True), (0.0, 0.0, float(CUT_OFF)), truth)
    rows = np.flatnonzero(~outputs.missing & (truth[..., 2] == VISIBLE).any(axis=1))
    if not len(rows):
        return None
    found = catalogue.boxes()
    crops: list[Box | None] = [found[row] if boxes else None for row in rows]
    predicted = unframe_landmarks(outputs.points[rows, :, :2], crops, outputs.sizes[rows], pre)
    return landmark_error(predicted, truth[rows], whole_sizes(outputs, catalogue, rows, boxes))


def whole_sizes(
    outputs: ItemOutputs, catalogue: Catalogue, rows: NDArray[np.int64], boxes: bool = True
) -> NDArray[np.int64]:
    """Return what errors of landmarks are measured in: width and height (n, 2) of whole images, box or no box.

    Args:
        outputs: of the catalogue's images.
        catalogue: the images.
        rows: (n,) of images that were read.
        boxes: whether they were cropped by their boxes.
    """
    sizes = outputs.sizes[rows, ::-1].copy()
    paths, crops = catalogue.paths(), catalogue.boxes()
    for place, row in enumerate(rows.tolist()):
        if boxes and crops[row] is not None:
            sizes[place] = _upright_size(str(paths[row]))
    return sizes


@functools.lru_cache(maxsize=2**17)
def _upright_size(path: str) -> tuple[int, int]:
    """The size of a whole image, whose header is not read again at every validation."""
    return upright_size(path)
