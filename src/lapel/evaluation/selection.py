"""Who is asked and who is ranked: an ``ItemProtocol`` applied to a catalogue, without a look at any vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lapel.errors import CatalogueError, unknown
from lapel.evaluation.ranking import Relevance, relevance_by_group
from lapel.protocol import CHOICES

if TYPE_CHECKING:
    from lapel.catalogue import Catalogue
    from lapel.protocol import ItemProtocol, Side

Array = NDArray[Any]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Selection:
    """Queries and gallery of an instance retrieval.

    Attributes:
        query: (Q,) rows of the catalogue; a row that is asked for several pairs is there several times.
        gallery: (C,) rows of the catalogue, ascending.
        relevance: positions in ``gallery`` that are hits for each query.
        excluded: positions in ``gallery`` that show the query itself, the same image and box; None: there are none.
        within: (codes (Q,), codes (C,), names): only candidates with the query's code are its candidates.
        notes: what was left out, counted.
    """

    query: Integers
    gallery: Integers
    relevance: Relevance
    excluded: Relevance | None = None
    within: tuple[Integers, Integers, tuple[str, ...]] | None = None
    notes: Mapping[str, int] = field(default_factory=dict)

    def keep(self, queries: Array, gallery: Array) -> Selection:
        """Return it with these queries (Q,) bool and gallery images (C,) bool only."""
        sides, size = (np.flatnonzero(queries), np.flatnonzero(gallery)), len(self.gallery)
        return replace(
            self,
            query=self.query[queries],
            gallery=self.gallery[gallery],
            relevance=self.relevance.restrict(*sides, size),
            excluded=None if self.excluded is None else self.excluded.restrict(*sides, size),
            within=self.within and (self.within[0][queries], self.within[1][gallery], self.within[2]),
        )


class _Sides(NamedTuple):
    query: Integers
    gallery: Integers
    relevance: Relevance
    notes: dict[str, int]


def select(catalogue: Catalogue, protocol: ItemProtocol) -> Selection:
    """Return the rows that a protocol asks and ranks.

    Without a relation the sides are rows by split and domain, and a hit is an image of the same item. With one, the
    pairs of the sides' splits say which images are asked and ranked, whatever their domain, and of which item they are.
    A query is never its own candidate: neither its row nor another row with the same image and box. A query without a
    hit in the gallery stays, unless ``alone`` is ``skip``. Left out and counted in ``notes``: those skipped, queries
    without an item (or without a value of ``within``), gallery images without a value of ``within``, pairs that name an
    image the catalogue lacks.

    Raises:
        CatalogueError: no such split, domain, relation or column; no item; a side that is empty; a protocol that
            contradicts itself.
    """
    where = f"catalogue {catalogue.name!r}"
    if not protocol.ks or min(protocol.ks) < 1:
        raise CatalogueError(f"{where}: expected at least one K of Acc@K, each 1 or more, found {protocol.ks}")
    if protocol.only and not protocol.within:
        raise CatalogueError(f"{where}: only {', '.join(protocol.only)} of what? Set 'within' to a column too")
    for setting, (plain, *others) in CHOICES.items():
        if (value := getattr(protocol, setting)) not in (plain, *others):
            raise CatalogueError(f"{where}: {unknown(f'setting {setting}', value, CHOICES[setting])}")
        if value != plain and not protocol.relation and setting != "alone":
            raise CatalogueError(
                f"{where}: {setting} {value!r} needs a relation of pairs; without one, {plain!r} holds"
            )
    for column in protocol.groups:
        coded(catalogue, column, "groups")
    sides = (_by_pairs if protocol.relation else _by_rows)(catalogue, protocol, where)
    chosen = Selection(sides.query, sides.gallery, sides.relevance, notes=sides.notes)
    if protocol.within:
        chosen = _within(catalogue, protocol, chosen, where)
    own = _same_picture(catalogue, chosen)
    if len(own.rows):
        chosen = replace(chosen, excluded=own, relevance=chosen.relevance.without(own, len(chosen.gallery)))
    return _skip_alone(chosen, where) if protocol.alone == "skip" else chosen


def _skip_alone(chosen: Selection, where: str) -> Selection:
    paired = chosen.relevance.counts > 0
    if not paired.any():
        raise CatalogueError(
            f"{where}: none of {len(paired)} queries has another image of its item in the gallery to be found. Name "
            "other splits for the gallery, or count such queries as misses (alone 'miss')"
        )
    notes = {**chosen.notes, **_counted(queries_without_another_image=int((~paired).sum()))}
    return replace(chosen.keep(paired, np.ones(len(chosen.gallery), bool)), notes=notes)


def coded(catalogue: Catalogue, column: str, role: str) -> tuple[Integers, Integers, tuple[str, ...]]:
    """Return the values of a column or an attribute: rows that have one, its code, and what the codes stand for.

    A row is there once for each value of an attribute that it has, and not at all without one.

    Raises:
        CatalogueError: no such column, or one that holds no texts or numbers.
    """
    if column in catalogue.attributes:
        labels = catalogue.labels.filter(pc.equal(catalogue.labels["attribute"], column))
        rows, values = labels["image"].to_numpy().astype(np.int64), labels["value"]
    else:
        free = [name for name in catalogue.images.column_names if name not in ("image", "box", "landmarks")]
        if column not in free:
            known = [*catalogue.attributes, *free]
            raise CatalogueError(f"catalogue {catalogue.name!r}, {role}: {unknown('column', column, known)}")
        found = catalogue.images[column]
        if pa.types.is_nested(found.type):
            raise CatalogueError(f"catalogue {catalogue.name!r}, {role}: column {column!r} holds {found.type}")
        rows = np.flatnonzero(pc.is_valid(found).to_numpy())
        values = found.drop_null().cast(pa.string())
    codes, names = _encode(values)
    return rows, codes, names


def _encode(values: pa.ChunkedArray) -> tuple[Integers, tuple[str, ...]]:
    """Codes of texts, -1 for a missing one, and the texts in order."""
    names = sorted(values.drop_null().unique().to_pylist())
    return _place(values, pa.array(names, pa.string())), tuple(names)


def _place(values: pa.ChunkedArray, among: pa.Array | pa.ChunkedArray) -> Integers:
    found = pc.index_in(values.cast(pa.string()), value_set=among, skip_nulls=True)
    return np.asarray(pc.fill_null(found, -1).to_numpy(), dtype=np.int64)


def _by_rows(catalogue: Catalogue, protocol: ItemProtocol, where: str) -> _Sides:
    query, gallery = (_rows(catalogue, side, where) for side in (protocol.query, protocol.gallery))
    items = _encode(catalogue.images["item"])[0]
    if (items[query] < 0).all():
        raise CatalogueError(f"{where}: no query has an item: instance retrieval needs the column 'item'")
    asked = query[items[query] >= 0]
    notes = _counted(queries_without_item=len(query) - len(asked))
    return _Sides(asked, gallery, relevance_by_group(items[asked], items[gallery]), notes)


def _rows(catalogue: Catalogue, side: Side, where: str) -> Integers:
    """Rows of a side, ascending."""
    mask = _of_splits(catalogue.images["split"], side, where)
    if side.domain is not None:
        domains = catalogue.images["domain"]
        if side.domain not in (known := domains.drop_null().unique().to_pylist()):
            raise CatalogueError(f"{where}: {unknown('domain', side.domain, known)}")
        mask &= pc.fill_null(pc.equal(domains, side.domain), False).to_numpy()
    if not mask.any():
        splits = " or ".join(side.splits) or "any"
        raise CatalogueError(f"{where}: no image of split {splits} has domain {side.domain!r}")
    return np.flatnonzero(mask)


def _of_splits(column: pa.ChunkedArray, side: Side, where: str) -> NDArray[np.bool_]:
    mask = np.zeros(len(column), bool) if side.splits else np.ones(len(column), bool)
    known = column.drop_null().unique().to_pylist()
    for split in side.splits:
        if split not in known:
            raise CatalogueError(f"{where}: {unknown('or empty split', split, known)}")
        mask |= pc.fill_null(pc.equal(column, split), False).to_numpy()
    return mask


def _by_pairs(catalogue: Catalogue, protocol: ItemProtocol, where: str) -> _Sides:
    if protocol.relation not in catalogue.relations:
        raise CatalogueError(f"{where}: {unknown('relation', protocol.relation, catalogue.relations)}")
    pairs = catalogue.relations[protocol.relation]
    where = f"{where}, relation {protocol.relation!r}"
    for name in ("split", "query", "gallery", "item"):
        if name not in pairs.column_names:
            raise CatalogueError(f"{where}: {unknown('column', name, pairs.column_names)}")
    items = _encode(pairs["item"])[0]
    query, gallery = (_images(catalogue, pairs[side], pairs["item"], where) for side in ("query", "gallery"))
    asked, ranked = (_of_splits(pairs["split"], side, where) for side in (protocol.query, protocol.gallery))
    notes = _counted(pairs_without_image=int(((asked & (query < 0)) | (ranked & (gallery < 0))).sum()))
    asked &= query >= 0
    ranked &= gallery >= 0
    if protocol.match == "item":
        notes |= _counted(pairs_without_item=int((asked & (items < 0)).sum()))
        asked &= items >= 0
    for name, mask in (("asked", asked), ("ranked", ranked)):
        if not mask.any():
            raise CatalogueError(f"{where}: no pair is left of which an image could be {name} ({notes})")
    rows, position = np.unique(gallery[ranked], return_inverse=True)
    if protocol.asked == "image":
        queries, owner = np.unique(query[asked], return_inverse=True)
    else:
        queries, owner = query[asked], np.arange(np.count_nonzero(asked))
    if protocol.match == "item":
        # Each image with each item that its pairs give it.
        of_item = np.unique(np.stack([items[ranked], position], axis=1), axis=0)
        met = relevance_by_group(items[asked], of_item[:, 0])
        hits = Relevance.of_pairs(owner[met.queries], of_item[met.rows, 1], len(queries))
    else:
        place = np.full(len(catalogue) + 1, -1)
        place[rows] = np.arange(len(rows))
        listed = place[gallery[asked]]
        hits = Relevance.of_pairs(owner[listed >= 0], listed[listed >= 0], len(queries))
    return _Sides(queries, rows, hits, notes)


def _images(catalogue: Catalogue, images: pa.ChunkedArray, items: pa.ChunkedArray, where: str) -> Integers:
    """Rows (P,) that pairs name by image, -1 where there is none; of several with one image, that of the pair's item.

    Raises:
        CatalogueError: an image with several rows, none of them of the pair's item.
    """
    known = catalogue.images["image"].unique()
    own, named = _place(catalogue.images["image"], known), _place(images, known)
    order = np.argsort(own, kind="stable")
    first, last = (np.searchsorted(own[order], named, side) for side in ("left", "right"))
    rows = np.where(named < 0, -1, order[np.minimum(first, len(order) - 1)])
    several = np.flatnonzero((named >= 0) & (last - first > 1))
    if len(several):
        values = catalogue.images["item"].unique()
        size = len(values) + 1
        keys = own * size + _place(catalogue.images["item"], values) + 1
        wanted = named[several] * size + _place(items, values)[several] + 1
        order = np.argsort(keys, kind="stable")
        place = np.minimum(np.searchsorted(keys[order], wanted), len(order) - 1)
        found = order[place]
        if (keys[found] != wanted).any():
            pair = several[np.flatnonzero(keys[found] != wanted)[0]]
            image, item = images[pair].as_py(), items[pair].as_py()
            raise CatalogueError(f"{where}: {image!r} has several rows in the catalogue, none of them of item {item!r}")
        rows[several] = found
    return rows


def _within(catalogue: Catalogue, protocol: ItemProtocol, chosen: Selection, where: str) -> Selection:
    rows, codes, names = coded(catalogue, protocol.within, "within")
    if len(np.unique(rows)) < len(rows):
        raise CatalogueError(f"{where}: {protocol.within!r} gives an image several values; 'within' needs one each")
    for value in protocol.only:
        if value not in names:
            raise CatalogueError(f"{where}: {unknown(f'value of {protocol.within!r}', value, names)}")
    code = np.full(len(catalogue), -1, np.int64)
    code[rows] = codes
    asked, ranked = code[chosen.query], code[chosen.gallery]
    notes = _counted(queries_without_value=int((asked < 0).sum()), gallery_without_value=int((ranked < 0).sum()))
    wanted = np.array([not protocol.only or name in protocol.only for name in names] + [False])
    kept = wanted[asked]
    if not kept.any():
        raise CatalogueError(f"{where}: no query has one of the asked values of {protocol.within!r}")
    in_question = np.isin(ranked, asked[kept])
    if not in_question.any():
        raise CatalogueError(f"{where}: no gallery image has a query's value of {protocol.within!r}")
    chosen = replace(chosen, within=(asked, ranked, names), notes={**chosen.notes, **notes}).keep(kept, in_question)
    asked, ranked = code[chosen.query], code[chosen.gallery]
    owner, place = chosen.relevance.queries, chosen.relevance.rows
    same = asked[owner] == ranked[place]
    return replace(chosen, relevance=Relevance.of_pairs(owner[same], place[same], len(chosen.query)))


def _same_picture(catalogue: Catalogue, chosen: Selection) -> Relevance:
    """Return the gallery positions that have each query's image and box."""
    image = _place(catalogue.images["image"], catalogue.images["image"].unique())
    met = relevance_by_group(image[chosen.query], image[chosen.gallery])
    query, gallery = chosen.query[met.queries], chosen.gallery[met.rows]
    other = np.flatnonzero(query != gallery)
    same = query == gallery
    boxes = catalogue.images["box"]
    pair = (boxes.take(pa.array(side[other])).to_pylist() for side in (query, gallery))
    same[other] = [a == b for a, b in zip(*pair, strict=True)]
    return Relevance.of_pairs(met.queries[same], met.rows[same], len(chosen.query))


def _counted(**counts: int) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}
