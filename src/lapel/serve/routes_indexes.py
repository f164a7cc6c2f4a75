"""What is served: indexes, their facets and their entries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import nsmallest
from typing import Annotated, Any
from urllib.parse import quote
from zlib import crc32

from fastapi import APIRouter, Path, Query, Request

from lapel.decoding import DecodeError, upright_size
from lapel.retrieval.facets import Facet
from lapel.retrieval.filter_tree import And, Filter, Not, Or
from lapel.retrieval.hits import Entry
from lapel.retrieval.layout import ITEM
from lapel.retrieval.rendering import mask
from lapel.serve import schema
from lapel.serve.service import Serves, Service, found
from lapel.serve.state import Opened

router = APIRouter(tags=["indexes"])
LOOKED_AT = 200_000  # rows that a sample is drawn from

IndexParameter = Annotated[
    str | None, Query(alias="index", max_length=200, description="By default the first index", examples=["shop"])
]
IdParameter = Annotated[str, Path(alias="id", max_length=4096, description="As in a hit", examples=["dress-1.jpg"])]
WhereParameter = Annotated[
    str | None,
    Query(max_length=10_000, description="A filter over the index's columns", examples=["colour = 'Red'"]),
]


@router.get("/v1/indexes", operation_id="indexes", summary="What is served", responses=schema.refusals(401, 429, 503))
async def indexes(service: Serves, request: Request) -> schema.Indexes:
    """Every index that is open: what it can be searched by, what filters may name, what it can do."""
    names = [opened.name for opened in service.served.current] or service.served.names[:1]
    told = []
    for name in names:
        told.append(await service.answer(request, name, lambda opened: service.workers(describe, service, opened)))
    return schema.Indexes(indexes=told)


@router.get(
    "/v1/facets",
    operation_id="facets",
    summary="Values and counts",
    responses=schema.refusals(400, 401, 404, 422, 429, 503),
)
async def facets(
    service: Serves, request: Request, index: IndexParameter = None, where: WhereParameter = None
) -> schema.Facets:
    """Count the values of every column among the images that pass a filter."""

    def count(opened: Opened) -> schema.Facets:
        counted = opened.index.facets(where)
        columns = [_column(each) for each in counted.columns]
        return schema.Facets(index=opened.version, count=counted.count, columns=columns)

    return await service.answer(request, index, lambda opened: service.workers(count, opened))


@router.get(
    "/v1/entries",
    operation_id="sample",
    summary="Some images of an index",
    responses=schema.refusals(400, 401, 404, 422, 429, 503),
)
async def sample(
    service: Serves,
    request: Request,
    index: IndexParameter = None,
    where: WhereParameter = None,
    k: Annotated[int, Query(ge=1, le=200, description="How many")] = 24,
    seed: Annotated[int, Query(ge=0, lt=2**31, description="Equal seeds give equal images")] = 0,
) -> schema.Sample:
    """Draw images that pass a filter, one of each item, to start from."""

    def draw(opened: Opened) -> schema.Sample:
        drawn = [opened.index.get(each) for each in drawn_ids(opened, where, k, seed)]
        listed = [schema.Listed(**described(opened, each)) for each in drawn]
        return schema.Sample(index=opened.version, count=opened.index.count(where), entries=listed)

    return await service.answer(request, index, lambda opened: service.workers(draw, opened))


@router.get(
    "/v1/entries/{id:path}",
    operation_id="entry",
    summary="One image's labels and metadata",
    responses=schema.refusals(401, 404, 422, 429, 503),
)
async def entry(
    service: Serves, request: Request, image_id: IdParameter, index: IndexParameter = None
) -> schema.EntryResponse:
    """Tell all that an index knows of one image."""

    def tell(opened: Opened) -> schema.EntryResponse:
        known = found(opened, image_id)
        try:
            size: tuple[int | None, int | None] = upright_size(known.image)
        except DecodeError:
            size = (None, None)
        told = schema.Entry(
            **described(opened, known),
            box=None if known.box is None else list(known.box),
            width=size[0],
            height=size[1],
        )
        return schema.EntryResponse(index=opened.version, entry=told)

    return await service.answer(request, index, lambda opened: service.workers(tell, opened))


def describe(service: Service, opened: Opened) -> schema.IndexInfo:
    """Tell what can be asked of an index."""
    counted = opened.index.facets()
    by_name = {column.name: column for column in counted.columns if column.kind == "labels"}
    attributes = []
    for name, dim in zip(opened.index.attributes, opened.index.dims, strict=True):
        column = by_name.get(name)
        labelled = 0 if column is None else counted.count - column.missing
        values = [] if column is None else _counted(column)
        attributes.append(schema.AttributeInfo(name=name, dim=dim, item=name == ITEM, labelled=labelled, values=values))
    columns = [schema.ColumnInfo(name=name, kind=_kind(kind)) for name, kind in opened.index.columns.items()]
    return schema.IndexInfo(
        **dict(opened.version),
        attributes=attributes,
        columns=columns,
        explains=any(service.explainer.whereabouts(source) is not None for source in opened.sources),
        writable=service.settings.token is not None,
    )


def described(opened: Opened, entry: Entry) -> dict[str, Any]:
    """What entries and hits have in common."""
    return {
        "id": entry.id,
        "item": entry.item,
        "labels": {name: list(values) for name, values in entry.labels.items()},
        "metadata": entry.metadata,
        "image": image_url(opened.name, entry.id),
    }


def image_url(index: str, image_id: str) -> str:
    """Where the picture of an image is; an id that a browser would shorten as a path goes as one segment.

    >>> image_url("shop", "red dresses/1.jpg"), image_url("shop", "../1.jpg")
    ('/v1/images/red%20dresses/1.jpg?index=shop', '/v1/images/..%2F1.jpg?index=shop')
    """
    plain = all(part not in ("", ".", "..") for part in image_id.split("/"))
    return f"/v1/images/{quote(image_id, safe='/' if plain else '')}?index={quote(index, safe='')}"


def drawn_ids(opened: Opened, where: str | None, k: int, seed: int) -> list[str]:
    """Ids of ``k`` images that pass a filter, one of each item, those whose checksums with the seed are the least."""
    tree = opened.index.filter(where)
    fields = {"id", ITEM} | (set() if tree is None else set(_fields(tree)))
    best: dict[Any, tuple[int, str, str | None]] = {}
    salt, seen = seed.to_bytes(8, "little"), 0
    for table in opened.index.gallery.tables(sorted(fields)):
        seen += table.num_rows
        rows = table if tree is None else table.filter(mask(tree, table))
        pairs = zip(rows["id"].to_pylist(), rows[ITEM].to_pylist(), strict=True)
        scored = ((crc32(image.encode("utf-8", "surrogatepass"), crc32(salt)), image, item) for image, item in pairs)
        best = _least([*best.values(), *scored], k)
        if seen >= LOOKED_AT:
            break
    return [image for _, image, _ in best.values()]


def _least(scored: Iterable[tuple[int, str, str | None]], k: int) -> dict[Any, tuple[int, str, str | None]]:
    """The ``k`` least, one of each item."""
    first: dict[Any, tuple[int, str, str | None]] = {}
    for each in scored:
        key = ("alone", each[1]) if each[2] is None else each[2]
        first[key] = min(first.get(key, each), each)
    return dict(nsmallest(k, first.items(), key=lambda pair: pair[1]))


def _fields(tree: Filter) -> Iterator[str]:
    if isinstance(tree, And | Or):
        for part in tree.parts:
            yield from _fields(part)
    elif isinstance(tree, Not):
        yield from _fields(tree.part)
    else:
        yield tree.column.field


def _column(facet: Facet) -> schema.FacetColumn:
    return schema.FacetColumn(
        name=facet.name,
        kind=_kind(facet.kind),
        values=_counted(facet),
        low=facet.low,
        high=facet.high,
        missing=facet.missing,
        distinct=facet.distinct,
        other=facet.other,
    )


def _counted(facet: Facet) -> list[schema.Counted]:
    return [schema.Counted(value=value, count=count) for value, count in facet.values]


def _kind(kind: str) -> Any:
    return "boolean" if kind == "truth" else kind
