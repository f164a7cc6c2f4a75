"""Measure a run by finding items: an item run by the model's own distance, an attribute run by all attributes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lapel.catalogue import Catalogue
from lapel.errors import LapelError
from lapel.evaluate_job import Job
from lapel.evaluation.instances import ItemResult, Rerank, instance_retrieval
from lapel.evaluation.prediction import LandmarkResult, PredictionResult
from lapel.image_source import ImageSource
from lapel.item_outputs import ItemOutputs, item_outputs, landmark_result, tag_result
from lapel.parts import item_part
from lapel.progress import bar
from lapel.protocol import ItemProtocol
from lapel.retrieval.embedder import Embedder
from lapel.retrieval.rerank import rerank
from lapel.runs import read_config
from lapel.training.item_objective import active

Rows = npt.NDArray[np.int64]


def evaluate_items(
    job: Job,
    protocol: ItemProtocol,
    distractors: Sequence[int] = (),
    first: int = 0,
    outputs: ItemOutputs | None = None,
) -> tuple[ItemResult, str, dict[str, Any]]:
    """Measure Acc@K; of an item run also the tags and landmarks it predicts, where the catalogue knows them.

    Args:
        job: the run and the catalogue.
        protocol: who is asked and ranked.
        distractors: sizes of the distractor curve.
        first: how many first candidates a re-ranking model looks at again; 0: none.
        outputs: of the images of ``item_part``, where they are at hand (``outputs_of``).

    Returns:
        the result, whose definitions hold (``record.DEFINITIONS``), and what the record says further.

    Raises:
        CatalogueError: the catalogue lacks what the protocol asks for.
        ImageError: too many images cannot be read.
        LapelError: nothing to evaluate; re-ranking asked of a model that scores no pairs.
    """
    embedder, part = job.embedder, item_part(job.whole, protocol, job.embedder.config.recipe)
    asked: dict[str, Any] = {"selection": part.selection, "distractors": distractors, "seed": job.seed}
    _check_rerank(embedder, first)
    if not embedder.items:
        vectors, missing = job.embed(part.images)
        found = instance_retrieval(
            vectors.reshape(len(part.images), -1), part.images, protocol, missing=missing, **asked
        )
        words = f"those of {len(embedder.attributes)} attributes, each of length one, end to end"
        return replace(found, rows=part.rows[found.rows]), "items", {"vectors": words}
    job.images = len(part.images)
    if outputs is None or (first and outputs.regions is None):
        outputs = outputs_of(embedder, part.images, job.max_failed, job.quiet, job.boxes, bool(first))
    distance = embedder.distance
    found = instance_retrieval(
        outputs.vectors,
        part.images,
        protocol,
        distance=distance,
        missing=outputs.missing,
        rerank=_rerank(embedder, outputs, first) if first else None,
        **asked,
    )
    tags, landmarks = predictions(embedder, part.images, outputs, job.boxes)
    found = replace(found, rows=part.rows[found.rows], tags=tags, landmarks=landmarks)
    further: dict[str, Any] = {"vectors": "the item's, as the model gives them", "distance": distance}
    if first:
        further["reranked"] = f"the first {first} of each query, by the model's score of pairs"
    return found, "euclidean items" if distance == "euclidean" else "items", further


def predictions(
    embedder: Embedder, catalogue: Catalogue, outputs: ItemOutputs, boxes: bool = True
) -> tuple[PredictionResult | None, LandmarkResult | None]:
    """Measure the tags and landmarks that an item run predicts; None where it does not, or the catalogue has none.

    A branch that no loss ever trained predicts nothing that is worth a figure.

    Args:
        embedder: of an item run.
        catalogue: the images.
        outputs: of these images.
        boxes: whether they were cropped by their boxes.
    """
    trained = trained_branches(embedder)
    tags = tag_result(outputs, catalogue, embedder.tags) if "tags" in trained else None
    points = landmark_result(outputs, catalogue, embedder.preprocessing, boxes) if "landmarks" in trained else None
    return tags, points


def trained_branches(embedder: Embedder) -> set[str]:
    """Return which of ``tags`` and ``landmarks`` an item run was trained to predict, by itself or before.

    The runs that it started from are followed (the stage before, a run on another catalogue) for as long as they are
    there; where one is gone, both may have been learned in it.
    """
    both, found, seen = {"tags", "landmarks"}, set[str](), set[Path]()
    run, recipe = embedder.run, embedder.config.recipe
    while True:
        found |= both & set(active(recipe.training))
        if not recipe.model.init:
            return found
        before = Path(recipe.model.init)
        run = before if before.is_dir() else run / before.name  # a stage moves with the folder that it lies in
        if run in seen:
            return found
        seen.add(run)
        try:
            recipe = read_config(run).recipe
        except LapelError:
            return both


def outputs_of(
    embedder: Embedder,
    catalogue: Catalogue,
    max_failed: float = 0.05,
    quiet: bool = False,
    boxes: bool = True,
    regions: bool = False,
) -> ItemOutputs:
    """Run an item run over every image of a catalogue; without ``boxes`` over whole pictures.

    What could not be read is in ``embedder.failures`` then.

    Raises:
        ImageError: more than ``max_failed`` of the images cannot be read.
    """
    crops = catalogue.boxes() if boxes else None
    source = ImageSource(catalogue.paths(), embedder.preprocessing, crops, cache_bytes=0, max_failed=max_failed)
    with bar("img", quiet) as progress:
        task = progress.add_task("embedding", total=len(catalogue), note="")
        found = item_outputs(
            embedder.model,
            source,
            embedder.device,
            regions=regions,
            progress=lambda done: progress.update(task, completed=done),
        )
    embedder.failures = source.failures
    return found


def _check_rerank(embedder: Embedder, first: int) -> None:
    if first < 0:
        raise LapelError(f"rerank is {first}: expected how many first results are looked at again, 1 or more")
    if first and not (embedder.items and hasattr(embedder.model, "pair_scores")):
        name = embedder.config.model["name"]
        raise LapelError(
            f"rerank was given, but model {name!r} scores no pairs of images, as grnet_style does: leave it out"
        )


def _rerank(embedder: Embedder, outputs: ItemOutputs, first: int) -> Rerank:
    """How the model scores pairs again, by the regions of both images."""
    regions = outputs.regions
    if regions is None:
        raise LapelError("re-ranking needs the images' regions, and they were not kept: embed the images with them")

    model, device = embedder.model, embedder.device

    def scores(queries: Rows, candidates: Rows) -> npt.NDArray[np.float32]:
        found = np.empty(candidates.shape, np.float32)
        with torch.inference_mode():
            # Query by query: the regions of its candidates are a copy.
            for place, (query, near) in enumerate(zip(queries.tolist(), candidates, strict=True)):
                sides = (torch.from_numpy(regions[rows])[None].to(device) for rows in (query, near))
                found[place] = model.pair_scores(*sides)[0].float().cpu().numpy()
        return found

    def sort(queries: Rows, candidates: Rows) -> Rows:
        return rerank(lambda numbers, near: scores(queries[numbers], near), candidates)

    return Rerank(first, sort)
