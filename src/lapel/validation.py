"""Measure a model in the middle of its training, to keep the best."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from lightning_fabric import Fabric

from lapel.catalogue import Catalogue
from lapel.evaluation.protocols import attribute_retrieval
from lapel.evaluation.queries import QueryLists
from lapel.image_source import ImageSource
from lapel.models.agman import AGMAN
from lapel.retrieval.embedder import Embedder
from lapel.runs import RunConfig


def validate(
    model: AGMAN, config: RunConfig, source: ImageSource, catalogue: Catalogue, run: Path, fabric: Fabric
) -> dict[str, float]:
    """Return MAP on the validation split in percent: overall under ``map``, then each attribute.

    A catalogue that gives queries and candidates for this split (ASEN's files) is asked those; else they are drawn,
    always the same.

    Args:
        model: to be measured as it is.
        config: of its run.
        source: the catalogue's prepared images, row by row.
        catalogue: the validation split.
        run: its folder, for messages.
        fabric: device and precision.
    """
    embedder = Embedder(model, config, run, "", str(fabric.device))
    vectors = np.zeros((len(catalogue), len(config.attributes), embedder.dim), np.float32)
    missing = np.ones(len(catalogue), bool)
    chunks = (np.arange(at, min(at + 64, len(source))) for at in range(0, len(source), 64))
    with fabric.autocast():
        for rows, found in embedder.embed_source(source, chunks):
            vectors[rows], missing[rows] = found, False
    names, lists = list(config.attributes), _given(catalogue)
    asked = names if lists is None else [name for name in names if name in lists.attributes]
    result = attribute_retrieval(
        lambda name: vectors[:, names.index(name)],
        catalogue,
        asked or names,
        lists if asked else None,
        missing=missing,
        samples=1,
    )
    return {"map": 100 * result.map} | {found.attribute: 100 * found.map for found in result.attributes}


def _given(catalogue: Catalogue) -> QueryLists | None:
    """Return the queries and candidates that a catalogue gives for its split ``val``, if it gives any."""
    table = catalogue.relations.get("queries")
    if table is None or not pc.any(pc.equal(table["split"], "val")).as_py():
        return None
    return QueryLists.of_relation(table, catalogue, "val", f"relation 'queries' of catalogue {catalogue.name!r}")
