"""Search: by photographs, by images of an index, by several of them with weights."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Request
from pydantic import ValidationError

from lapel.retrieval.parts import Part, combine
from lapel.serve import schema
from lapel.serve.batching import while_connected
from lapel.serve.errors import Invalid
from lapel.serve.routes_indexes import described
from lapel.serve.routes_queries import upload
from lapel.serve.service import Serves, Service
from lapel.serve.state import Opened
from lapel.serve.uploads import receive

router = APIRouter(tags=["search"])
ASKED = {
    "type": "string",
    "contentMediaType": "application/json",
    "description": "The rest of the search as JSON, an ImageSearchRequest",
    "examples": ['{"weights": {"neckline": 1}, "k": 12, "where": "price < 50"}'],
}


@router.post(
    "/v1/search",
    operation_id="search",
    summary="Find images",
    responses=schema.refusals(400, 401, 404, 410, 413, 415, 422, 429, 503),
)
async def search(service: Serves, request: Request, body: schema.SearchRequest) -> schema.SearchResponse:
    """Find the images most like the parts under their weights, best first."""
    begun = time.perf_counter()
    found = await service.answer(request, body.index, lambda opened: answered(service, opened, body))
    return schema.SearchResponse(**found, request_id=request.state.request_id, took_ms=_since(begun))


@router.post(
    "/v1/search/image",
    operation_id="search_image",
    summary="Find images like a photograph",
    response_model=schema.ImageSearchResponse,
    openapi_extra=upload(request=ASKED),
    responses=schema.refusals(400, 401, 404, 408, 410, 413, 415, 422, 429, 503),
)
async def search_image(service: Serves, request: Request) -> schema.ImageSearchResponse:
    """Send a photograph and search with it at once. It is kept: further searches need only its id."""
    begun = time.perf_counter()
    sent = await receive(request, ("request",))
    try:
        asked = schema.ImageSearchRequest.model_validate_json(sent.fields.get("request", "{}"))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise Invalid(f"request{f'.{place}' if place else ''}: {first['msg']}") from None
    kept = await while_connected(request, service.keep(sent.image, asked.index))
    image = schema.Part(query=kept.query, box=asked.box, weights=asked.weights)
    rest = {name: value for name, value in asked if name in schema.SearchSettings.model_fields}
    body = schema.SearchRequest(**rest, parts=[image, *asked.parts])
    found = await service.answer(request, body.index, lambda opened: answered(service, opened, body))
    return schema.ImageSearchResponse(
        **found, query=kept.query, request_id=request.state.request_id, took_ms=_since(begun)
    )


async def answered(service: Service, opened: Opened, body: schema.SearchRequest) -> dict[str, Any]:
    """Search an index: what the answers have in common."""
    # At once, so that several photographs share a pass of the model.
    vectors = await asyncio.gather(*(service.vectors(opened, part) for part in body.parts))
    parts = [Part(each, part.weights) for each, part in zip(vectors, body.parts, strict=True)]
    own = frozenset(part.id for part in body.parts if part.id is not None and part.of in (None, opened.name))
    return await service.workers(ranked, opened, body, parts, own)


def ranked(opened: Opened, body: schema.SearchRequest, parts: list[Part], own: frozenset[str]) -> dict[str, Any]:
    """Rank, and tell what was found."""
    index = opened.index
    found = index.search_parts(
        parts,
        k=body.k,
        offset=body.offset,
        where=body.where,
        group=body.group,
        without=own,
        threshold=body.threshold,
        more=body.more,
        less=body.less,
    )
    hits = [
        schema.Hit(
            **described(opened, hit),
            similarity=similarity,
            score=hit.score,
            scores=hit.scores,
            others=list(hit.others),
        )
        for hit, similarity in zip(found.hits, found.similarities, strict=True)
    ]
    likely = None
    if body.likely:
        asked = combine(parts, index.attributes, index.dims).vectors
        likely = {
            name: [schema.LikelyValue(**vars(vote)) for vote in index.likely(asked, name, without=own)]
            for name in index.labelled
        }
    return {"index": opened.version, "hits": hits, "left": found.left, "weights": found.weights, "likely": likely}


def _since(begun: float) -> float:
    return round((time.perf_counter() - begun) * 1e3, 1)
