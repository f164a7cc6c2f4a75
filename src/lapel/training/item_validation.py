"""Measure an instance model in the middle of its training, to keep the best."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import functional

from lapel import protocol
from lapel.catalogue import Catalogue
from lapel.errors import CatalogueError
from lapel.evaluation.instances import Selection, instance_retrieval, select
from lapel.evaluation.ranking import Relevance, accuracy_at, first_relevant_ranks
from lapel.image_source import ImageSource
from lapel.images import Preprocessing, normalise
from lapel.item_outputs import CHUNK, ItemOutputs, item_outputs, landmark_result, tag_result
from lapel.models.base import ItemNetwork
from lapel.protocol import ItemProtocol, Side
from lapel.runs import RunConfig
from lapel.training.item_objective import ITEM_LOSSES, active

VIEWS = 2000  # images that are asked for at most, where nothing is labelled
_KEPT = 0.8  # of height and width in a view


def validate_items(
    model: ItemNetwork,
    config: RunConfig,
    source: ImageSource,
    catalogue: Catalogue,
    run: Path,  # noqa: ARG001
    fabric: Fabric,
) -> dict[str, float]:
    """Return the figure that the best weights are chosen by, then the others there are, all in percent.

    The first entry is what the training can be held to, and its name says which:

    - ``acc@1``: share of images whose nearest other image shows their item; ``acc@10`` likewise among ten. Where the
      catalogue's protocol asks one domain for another and both are there, consumers' images are asked for the shop's.
      An image whose item has no other there is not asked.
    - ``branches``, while no loss is on that trains the embedding by items (AHBN's first stage): the mean of ``tags``,
      mean AP of the attribute branch, and ``landmarks``, 100 less the landmark branch's error in percent of the image.
    - ``views``, of images without a label that would do: share of images (of at most 2,000) that their own mirrored
      and cropped view finds first.

    Args:
        model: to be measured as it is.
        config: of its run.
        source: the catalogue's prepared images, row by row.
        catalogue: the images held out.
        run: its folder, for messages.
        fabric: device and precision.
    """
    model.eval()
    pre = Preprocessing.from_dict(config.preprocessing)
    with fabric.autocast():
        outputs = item_outputs(model, source, fabric.device)
    branches = _branches(outputs, config, catalogue, pre)
    mean = {"branches": float(np.mean(list(branches.values())))} if branches else {}
    if mean and not set(ITEM_LOSSES) & set(active(config.recipe.training)):
        return mean | branches
    asked = held_out_items(catalogue)
    if asked is not None:
        chosen, how = asked
        chosen = chosen.keep(~outputs.missing[chosen.query], ~outputs.missing[chosen.gallery])
        chosen = chosen.keep(chosen.relevance.counts > 0, np.ones(len(chosen.gallery), bool))
        if len(chosen.query):
            found = instance_retrieval(
                outputs.vectors, catalogue, how, selection=chosen, distance=model.distance, samples=1
            )
            accuracy = {f"acc@{k}": 100 * each.mean for k, each in zip(found.ks, found.accuracy, strict=True)}
            return accuracy | branches
    if mean:
        return mean | branches
    return {"views": _views(model, source, outputs, pre, fabric)} | branches


def held_out_items(catalogue: Catalogue) -> tuple[Selection, ItemProtocol] | None:
    """Who is asked and ranked among held-out images, as near to the catalogue's own protocol as they allow.

    None where no image has another of its item. Pairs and splits of the protocol are not followed: they are of the test
    images, or of single images.

    Raises:
        CatalogueError: the record holds a protocol of a newer Lapel.
    """
    recorded = catalogue.record.get("protocol")
    own = None if recorded is None else protocol.from_dict(recorded, f"catalogue {catalogue.name!r}")
    plain = ItemProtocol(Side(), Side(), ks=(1, 10), headline=1, alone="skip")
    tries = [plain]
    if isinstance(own, ItemProtocol):
        sides = Side((), own.query.domain), Side((), own.gallery.domain)
        near = replace(plain, query=sides[0], gallery=sides[1], within=own.within, only=own.only)
        # What a held-out split lacks (a domain, a category) is left out, piece by piece.
        tries = [near, replace(near, within="", only=()), plain]
    for each in tries:
        try:
            return select(catalogue, each), each
        except CatalogueError:
            continue
    return None


def _branches(outputs: ItemOutputs, config: RunConfig, catalogue: Catalogue, pre: Preprocessing) -> dict[str, float]:
    """How well the branches predict that a loss trains, where the images tell."""
    losses, found = active(config.recipe.training), {}
    if "tags" in losses and (tags := tag_result(outputs, catalogue, config.tags)) is not None:
        found["tags"] = 100 * tags.map
    if "landmarks" in losses and (points := landmark_result(outputs, catalogue, pre)) is not None:
        found["landmarks"] = 100 * (1 - points.error)
    return found


def _views(model: ItemNetwork, source: ImageSource, outputs: ItemOutputs, pre: Preprocessing, fabric: Fabric) -> float:
    """Share of images that their own view finds first, in percent."""
    read = np.flatnonzero(~outputs.missing)
    rows = read[np.linspace(0, len(read) - 1, min(VIEWS, len(read))).round().astype(np.int64)]
    vectors = []
    with fabric.autocast(), torch.inference_mode():
        for _, images in source.batches(rows[at : at + CHUNK] for at in range(0, len(rows), CHUNK)):
            view = normalise(view_of(images).to(fabric.device), pre, torch.channels_last)
            vectors.append(model.embed(model.features(view)).float().cpu().numpy())
    own = np.arange(len(rows))
    wanted = Relevance.of_pairs(own, own, len(rows))
    ranks = first_relevant_ranks(np.concatenate(vectors), outputs.vectors[rows], wanted, distance=model.distance)
    return 100 * float(accuracy_at(ranks, (1,)).mean())


def view_of(images: Tensor) -> Tensor:
    """Mirror uint8 images (B, 3, H, W) and cut off a fifth of height and width, in the middle: always the same view."""
    height, width = images.shape[2:]
    rows, columns = max(1, round(_KEPT * height)), max(1, round(_KEPT * width))
    top, left = (height - rows) // 2, (width - columns) // 2
    part = images.flip(-1)[:, :, top : top + rows, left : left + columns].float()
    return functional.interpolate(part, size=(height, width), mode="bilinear", align_corners=False)
