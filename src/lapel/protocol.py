"""How a catalogue is to be scored: the part of its record that says which images are asked, against which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from lapel.errors import CatalogueError, unknown

KS = (1, 10, 20, 30, 40, 50)
CHOICES = {"match": ("item", "image"), "asked": ("image", "pair"), "alone": ("miss", "skip")}
"""Settings of an ``ItemProtocol`` that are one of a few words."""


@dataclass(frozen=True)
class Side:
    """Some rows of a catalogue: those of these splits (none named: any) and of this domain (None: any)."""

    splits: tuple[str, ...] = ()
    domain: str | None = None


@dataclass(frozen=True)
class AttributeProtocol:
    """Attribute-specific retrieval (AG-MAN, ASEN): MAP per attribute, overall weighted by queries.

    Attributes:
        split: whose images are asked.
        headings: attribute -> how a paper's table names its column; the table is then printed as the paper prints it.
        relation: the catalogue's relation of given queries and candidates (``split, role, attribute, value, image``);
            empty: they are drawn.
    """

    split: str = "test"
    headings: tuple[tuple[str, str], ...] = ()
    relation: str = ""
    task: Literal["attributes"] = "attributes"


@dataclass(frozen=True)
class TripletProtocol:
    """Triplet relation prediction (CSN, AG-MAN table 4): the share of triplets told right.

    Attributes:
        split: whose triplets are asked.
        relation: the catalogue's relation of triplets (``split, attribute, anchor, positive, negative``).
    """

    split: str = "test"
    relation: str = "triplets"
    task: Literal["triplets"] = "triplets"


@dataclass(frozen=True)
class ItemProtocol:
    """Instance retrieval (AHBN): is an image of the query's item among the first K of the gallery?

    Attributes:
        query: rows that are asked.
        gallery: rows that are ranked; a query is never its own candidate.
        relation: the catalogue's relation of pairs (``split, query, gallery, item``); where one is named, the pairs of
            the sides' splits say which images are asked and ranked. Empty: the rows' own split and domain do.
        match: ``item`` (any image of the item) or ``image`` (an image that a pair lists with the query).
        asked: ``image`` (each image once) or ``pair`` (once for each of its pairs).
        within: column whose value query and candidate must share, such as the category; empty: one gallery for all.
        only: values of ``within`` that are asked; empty: all.
        ks: the K of Acc@K.
        headline: the K whose figure stands for the whole.
        groups: columns by which the queries' results are broken down.
        alone: a query without a right image in the gallery is a ``miss`` (the benchmarks) or not asked (``skip``):
            where each image is asked for the others of its item, an item of one image can only be missed.
    """

    query: Side = Side(("query",))
    gallery: Side = Side(("gallery",))
    relation: str = ""
    match: Literal["item", "image"] = "item"
    asked: Literal["image", "pair"] = "image"
    within: str = ""
    only: tuple[str, ...] = ()
    ks: tuple[int, ...] = KS
    headline: int = 20
    groups: tuple[str, ...] = ()
    alone: Literal["miss", "skip"] = "miss"
    task: Literal["items"] = "items"


Protocol = AttributeProtocol | TripletProtocol | ItemProtocol
TASKS: dict[str, type[AttributeProtocol] | type[TripletProtocol] | type[ItemProtocol]] = {
    "attributes": AttributeProtocol,
    "triplets": TripletProtocol,
    "items": ItemProtocol,
}


def to_dict(protocol: Protocol) -> dict[str, Any]:
    """Return a protocol ready for JSON."""
    return asdict(protocol)


def from_dict(data: Mapping[str, Any], source: str = "the catalogue's record") -> Protocol:
    """Return the protocol that ``to_dict`` gave.

    Raises:
        CatalogueError: an unknown task or setting, as a newer Lapel may write; a setting that is none of its kind.
    """
    kind = TASKS.get(str(data.get("task")))
    if kind is None:
        raise CatalogueError(f"{source}: {unknown('task', data.get('task'), TASKS)}")
    known = {field.name for field in fields(kind)}
    for name in data:
        if name not in known:
            raise CatalogueError(f"{source}: {unknown('setting of a protocol', name, known)}")
    return kind(**{name: _restore(name, value, source) for name, value in data.items()})


def _restore(name: str, value: Any, source: str) -> Any:
    try:
        if name in ("query", "gallery"):
            return Side(tuple(_each(value["splits"], str)), value["domain"])
        if name == "headings":
            return tuple((str(attribute), str(heading)) for attribute, heading in value)
        if name in ("ks", "only", "groups"):
            return tuple(_each(value, int if name == "ks" else str))
        if type(value) is not (int if name == "headline" else str):
            raise TypeError
    except (TypeError, KeyError, ValueError) as error:
        raise CatalogueError(f"{source}: {value!r} is nothing that the protocol's setting {name!r} can be") from error
    if value not in CHOICES.get(name, (value,)):
        raise CatalogueError(f"{source}: {unknown(f'setting {name}', value, CHOICES[name])}")
    return value


def _each(values: Any, kind: type) -> list[Any]:
    if not isinstance(values, list | tuple) or any(type(value) is not kind for value in values):
        raise TypeError
    return list(values)
