"""Measure a model in the middle of its training, to keep the best."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from lightning_fabric import Fabric

from lapel import protocol
from lapel.catalogue import Catalogue
from lapel.evaluation.protocols import attribute_retrieval
from lapel.evaluation.queries import QueryLists
from lapel.evaluation.triplets import ROLES, triplet_prediction
from lapel.image_source import ImageSource
from lapel.models.base import AttributeNetwork
from lapel.retrieval.embedder import Embedder
from lapel.runs import RunConfig

SPLIT = "val"


def given_triplets(catalogue: Catalogue) -> pa.Table | None:
    """Triplets that a catalogue is to be validated on: those it gives for the split ``val``, where its record says that
    triplets are how it is scored.

    Raises:
        CatalogueError: the record holds a protocol of a newer Lapel.
    """
    recorded = catalogue.record.get("protocol")
    scored = None if recorded is None else protocol.from_dict(recorded, f"catalogue {catalogue.name!r}")
    if not isinstance(scored, protocol.TripletProtocol):
        return None
    return _of_validation(catalogue.relations.get(scored.relation))


def held_out(catalogue: Catalogue, attributes: Sequence[str]) -> Catalogue:
    """The images that validation embeds: the split ``val``, or those that the triplets of these attributes name.

    Raises:
        CatalogueError: the split is empty.
    """
    table = given_triplets(catalogue)
    if table is None:
        return catalogue.split(SPLIT)
    table = table.filter(pc.is_in(table["attribute"], pa.array(list(attributes), pa.string())))
    named = pa.chunked_array([chunk for role in ROLES for chunk in table[role].chunks], pa.string()).unique()
    return catalogue.take(pc.is_in(catalogue.images["image"], named).to_numpy())


def validate(
    model: AttributeNetwork, config: RunConfig, source: ImageSource, catalogue: Catalogue, run: Path, fabric: Fabric
) -> dict[str, float]:
    """Return the figure that the best weights are chosen by, in percent, then the same of each attribute.

    The first entry is the overall figure and its name says what it is: ``map``, or ``accuracy`` of the catalogue's
    triplets where those are how it is scored (``given_triplets``), told by the distance that the model's paper has. A
    catalogue that gives queries and candidates for this split (ASEN's files) is asked those; else they are drawn,
    always the same.

    Args:
        model: to be measured as it is.
        config: of its run.
        source: the catalogue's prepared images, row by row.
        catalogue: what ``held_out`` gave.
        run: its folder, for messages.
        fabric: device and precision.
    """
    names, triplets = list(config.attributes), given_triplets(catalogue)
    embedder = Embedder(model, config, run, "", str(fabric.device))
    vectors = np.zeros((len(catalogue), len(config.attributes), embedder.dim), np.float32)
    missing = np.ones(len(catalogue), bool)
    chunks = (np.arange(at, min(at + 64, len(source))) for at in range(0, len(source), 64))
    with fabric.autocast():
        for rows, found in embedder.embed_source(source, chunks, raw=triplets is not None):
            vectors[rows], missing[rows] = found, False
    if triplets is not None:
        how = embedder.distance
        told = triplet_prediction(vectors, names, catalogue, triplets, SPLIT, distance=how, missing=missing, samples=1)
        return _named("accuracy", told.overall.accuracy, {name: one.accuracy for name, one in told.attributes.items()})
    lists = _given(catalogue)
    asked = names if lists is None else [name for name in names if name in lists.attributes]
    result = attribute_retrieval(
        lambda name: vectors[:, names.index(name)],
        catalogue,
        asked or names,
        lists if asked else None,
        missing=missing,
        samples=1,
    )
    return _named("map", result.map, {found.attribute: found.map for found in result.attributes})


def _named(name: str, overall: float, attributes: dict[str, float]) -> dict[str, float]:
    # An attribute may be called as the figure is: the overall one wins.
    return {name: 100 * overall} | {key: 100 * value for key, value in attributes.items() if key != name}


def _given(catalogue: Catalogue) -> QueryLists | None:
    """Return the queries and candidates that a catalogue gives for its split ``val``, if it gives any."""
    table = _of_validation(catalogue.relations.get("queries"))
    if table is None:
        return None
    return QueryLists.of_relation(table, catalogue, SPLIT, f"relation 'queries' of catalogue {catalogue.name!r}")


def _of_validation(table: pa.Table | None) -> pa.Table | None:
    """Return the rows of a relation for the split ``val``, if it has any."""
    if table is None or "split" not in table.column_names:
        return None
    table = table.filter(pc.equal(table["split"], SPLIT))
    return table if table.num_rows else None
