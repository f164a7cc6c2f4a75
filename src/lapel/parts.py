"""The images that a protocol needs, and what it asks of them: what is embedded before a run is measured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lapel.catalogue import Catalogue
from lapel.config import Recipe
from lapel.errors import CatalogueError, unknown
from lapel.evaluation.queries import QueryLists
from lapel.evaluation.selection import Selection, select
from lapel.evaluation.triplets import ROLES, triplets_of
from lapel.protocol import AttributeProtocol, ItemProtocol, TripletProtocol

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Part:
    """Images of a catalogue, with what a protocol asks of them.

    Attributes:
        images: the images that take part.
        rows: (n,) their rows in the protocol's split (attributes) or in the whole catalogue (triplets, items).
        lists: given queries and candidates, as rows of ``images`` (attributes).
        triplets: the relation (triplets).
        selection: who is asked and ranked, as rows of ``images`` (items).
        source: what messages and records call the relation.
    """

    images: Catalogue
    rows: Rows
    lists: QueryLists | None = None
    triplets: pa.Table | None = None
    selection: Selection | None = None
    source: str = ""


def attribute_part(
    whole: Catalogue, protocol: AttributeProtocol, recipe: Recipe, queries: QueryLists | Path | str | None = None
) -> Part:
    """Return the images of the protocol's split, or those of it that given lists name.

    Args:
        whole: the catalogue.
        protocol: whose split and relation.
        recipe: of the run, whose draw of splits holds where the catalogue has none.
        queries: lists, or a file of them, in place of the protocol's relation.

    Raises:
        CatalogueError: an empty split; lists that do not fit it; a relation that the catalogue lacks.
    """
    draw = recipe.data.split_seed
    chosen = whole.with_splits(draw).with_validation(draw).split(protocol.split)
    lists: QueryLists | None = None
    if isinstance(queries, QueryLists):
        lists = queries
    elif queries is not None:
        lists = QueryLists.read(queries, chosen, protocol.split)
    elif protocol.relation:
        table, source = _relation(whole, protocol.relation)
        lists = QueryLists.of_relation(table, chosen, protocol.split, source)
    if lists is None:
        return Part(chosen, np.arange(len(chosen)))
    rows = lists.rows(len(chosen))
    return Part(chosen.take(rows), rows, lists.on(rows))


def triplet_part(whole: Catalogue, protocol: TripletProtocol, attributes: tuple[str, ...]) -> Part:
    """Return the images that the triplets of these attributes name.

    Raises:
        CatalogueError: no such relation, or none of its triplets is of this split and these attributes.
    """
    table, source = _relation(whole, protocol.relation)
    every = triplets_of(table, protocol.split, source)
    text = every.filter(pc.is_in(every["attribute"], pa.array(attributes)))
    if not text.num_rows:
        found = ", ".join(every["attribute"].unique().to_pylist())
        raise CatalogueError(f"{source} has none of the run's attributes ({', '.join(attributes)}); found: {found}")
    named = pa.chunked_array([chunk for role in ROLES for chunk in text[role].chunks], pa.string()).unique()
    rows = np.flatnonzero(pc.is_in(whole.images["image"], named).to_numpy())
    return Part(whole.take(rows), rows, triplets=table, source=source)


def item_part(whole: Catalogue, protocol: ItemProtocol, recipe: Recipe) -> Part:
    """Return the images that are asked or ranked.

    Raises:
        CatalogueError: what ``select`` raises.
    """
    selection = select(whole.with_splits(recipe.data.split_seed), protocol)
    rows = np.unique(np.concatenate([selection.query, selection.gallery]))
    query, gallery = (np.searchsorted(rows, side) for side in (selection.query, selection.gallery))
    return Part(whole.take(rows), rows, selection=replace(selection, query=query, gallery=gallery))


def _relation(whole: Catalogue, name: str) -> tuple[pa.Table, str]:
    if name not in whole.relations:
        raise CatalogueError(
            f"catalogue {whole.name!r}: {unknown('relation', name, whole.relations)}. The protocol asks for it: import "
            "the data set again, or name another task"
        )
    return whole.relations[name], f"relation {name!r} of catalogue {whole.name!r}"
