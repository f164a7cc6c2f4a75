"""Copies in an index, or of one index in another, as JSON a page at a time and as a CSV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field

from lapel.retrieval.copies import find_copies
from lapel.retrieval.copies_found import Copies, Group, Pair, table
from lapel.retrieval.hits import Entry
from lapel.serve import schema
from lapel.serve.comparing import Comparisons
from lapel.serve.routes_indexes import IndexParameter, WhereParameter, described
from lapel.serve.service import Serves
from lapel.serve.state import Opened
from lapel.shell import parse_weights

router = APIRouter(tags=["copies"])
CSV: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "A line per pair"}
}
REFUSALS = schema.refusals(400, 401, 404, 422, 429, 503)


class CopyImage(schema.Listed):
    """An image of a group."""

    index: str = Field(description="The index it belongs to", examples=["shop"])


class CopyPair(BaseModel):
    """Two images of a group that look alike."""

    first: schema.Id
    second: schema.Id = Field(description="Of the other index, where two are compared")
    similarity: float = Field(description="Weighted mean of the cosines: -1 to 1", examples=[0.991])
    nearness: float = Field(
        description="Times nearer to each other than either is to its 20th nearest image", examples=[17.3]
    )
    cosines: dict[str, float] = Field(examples=[{"neckline": 0.98}])
    differs: dict[str, tuple[list[str], list[str]]] = Field(
        description="Attributes of which both have labels, and other ones",
        examples=[{"fabric": [["denim"], ["twill"]]}],
    )
    same_item: bool = Field(description="Whether both are known to show one product")
    same_file: bool = Field(description="Whether they are parts of one file, cut out by other boxes")


class CopyGroup(BaseModel):
    """Images that belong together."""

    images: list[CopyImage]
    pairs: list[CopyPair] = Field(description="Those that stand out most first; none where all are copies of one file")


class CopiesResponse(BaseModel):
    """Copies of files, and look-alikes, a page of each."""

    index: schema.IndexVersion
    against: schema.IndexVersion | None
    weights: dict[str, float] = Field(description="Attribute to how much it counts")
    rule: str = Field(description="What counts as a look-alike, in words")
    exact: list[CopyGroup] = Field(description="The same file under several names")
    groups: list[CopyGroup] = Field(
        description="Look-alikes, those that stand out most first; each pair is in one group"
    )
    exact_total: int
    groups_total: int
    pairs_total: int | None = Field(
        description="Look-alikes that there are, of which the groups may have the first only"
    )
    left: bool = Field(description="Whether more follow after this page")


class Asked(BaseModel):
    """What is compared, and how."""

    index: str | None
    against: str | None
    attribute: tuple[str, ...]
    threshold: float | None
    nearness: float | None
    within_item: bool
    where: str | None


async def _asked(
    index: IndexParameter = None,
    against: Annotated[
        str | None, Query(max_length=200, description="Another index of the same runs, to be compared with")
    ] = None,
    attribute: Annotated[
        list[Annotated[str, Query(max_length=200)]] | None,
        Query(max_length=100, description="What must be alike, NAME or NAME=WEIGHT; without any: all attributes"),
    ] = None,
    threshold: Annotated[float | None, Query(ge=-1, le=1, description="Least similarity")] = None,
    nearness: Annotated[
        float | None, Query(ge=1, le=1e6, description="Least nearness; by default 4, or none with a threshold")
    ] = None,
    within_item: Annotated[bool, Query(description="Whether images of one item are compared")] = False,
    where: WhereParameter = None,
) -> Asked:
    return Asked(
        index=index,
        against=against,
        attribute=tuple(attribute or ()),
        threshold=threshold,
        nearness=nearness,
        within_item=within_item,
        where=where,
    )


async def _comparisons(request: Request) -> Comparisons[Copies]:
    state = request.app.state
    if not hasattr(state, "comparisons"):
        state.comparisons = Comparisons()
    held: Comparisons[Copies] = state.comparisons
    return held


Question = Annotated[Asked, Depends(_asked)]
Desk = Annotated["Comparisons[Copies]", Depends(_comparisons)]


@router.get("/v1/copies", operation_id="copies", summary="Near-duplicate designs", responses=REFUSALS)
async def copies(
    service: Serves,
    request: Request,
    desk: Desk,
    asked: Question,
    limit: Annotated[int, Query(ge=1, le=200, description="Groups of each kind")] = 50,
    offset: Annotated[int, Query(ge=0, le=10_000, description="Groups of each kind to skip")] = 0,
) -> CopiesResponse:
    """Find images that look alike, and files that are there twice.

    The first question after a change of the index compares all its images with all, which takes seconds for ten
    thousand; while it takes longer than a request may wait, the answer is 429 and the work goes on.
    """

    async def work(opened: Opened) -> CopiesResponse:
        other = None if asked.against is None else service.served.get(asked.against)
        found = await _find(desk, asked, opened, other)
        return await service.workers(_response, found, opened, other, limit, offset)

    return await service.answer(request, asked.index, work)


@router.get(
    "/v1/copies.csv",
    operation_id="copies_csv",
    summary="Near-duplicate designs as a CSV",
    response_class=Response,
    responses={
        200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "A line per pair"},
        **REFUSALS,
    },
)
async def copies_csv(service: Serves, request: Request, desk: Desk, asked: Question) -> Response:
    """All that /v1/copies finds, the columns as ``lapel copies`` writes them, without the files' paths."""

    async def work(opened: Opened) -> Response:
        other = None if asked.against is None else service.served.get(asked.against)
        found = await _find(desk, asked, opened, other)
        text = await service.workers(table, found, False)
        headers = {"Content-Disposition": 'attachment; filename="copies.csv"'}
        return Response(text, media_type="text/csv; charset=utf-8", headers=headers)

    return await service.answer(request, asked.index, work)


async def _find(desk: Comparisons[Copies], asked: Asked, opened: Opened, other: Opened | None) -> Copies:
    weights = parse_weights(asked.attribute)
    versions = tuple((each.name, each.index.version) for each in (opened, other) if each is not None)
    key = (versions, tuple(weights.items()), asked.threshold, asked.nearness, asked.within_item, asked.where)
    return await desk(
        key,
        lambda between: find_copies(
            opened.index,
            None if other is None else other.index,
            weights=weights or None,
            threshold=asked.threshold,
            nearness=asked.nearness,
            within_item=asked.within_item,
            where=asked.where,
            quiet=True,
            between=between,
        ),
    )


def _response(found: Copies, opened: Opened, other: Opened | None, limit: int, offset: int) -> CopiesResponse:
    end = offset + limit
    return CopiesResponse(
        index=opened.version,
        against=None if other is None else other.version,
        weights=dict(found.weights),
        rule=found.rule,
        exact=[_group(group, opened, other) for group in found.exact[offset:end]],
        groups=[_group(group, opened, other) for group in found.groups[offset:end]],
        exact_total=len(found.exact),
        groups_total=len(found.groups),
        pairs_total=found.total,
        left=max(len(found.exact), len(found.groups)) > end,
    )


def _group(group: Group, opened: Opened, other: Opened | None) -> CopyGroup:
    images = _images(opened, group.first)
    if other is not None:
        images += _images(other, group.second)
    return CopyGroup(images=images, pairs=[_pair(pair) for pair in group.pairs])


def _images(opened: Opened, entries: Sequence[Entry]) -> list[CopyImage]:
    return [CopyImage(index=opened.name, **described(opened, entry)) for entry in entries]


def _pair(pair: Pair) -> CopyPair:
    return CopyPair(
        first=pair.first.id,
        second=pair.second.id,
        similarity=pair.similarity,
        nearness=pair.nearness,
        cosines=dict(pair.cosines),
        differs={name: (list(ours), list(theirs)) for name, (ours, theirs) in pair.differs.items()},
        same_item=pair.same_item,
        same_file=pair.same_file,
    )
