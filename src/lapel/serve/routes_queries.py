"""Query photographs: sent once, searched with many times."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request

from lapel.errors import LapelError
from lapel.serve import schema
from lapel.serve.batching import while_connected
from lapel.serve.errors import ApiError
from lapel.serve.queries import Kept
from lapel.serve.service import Serves, Service
from lapel.serve.uploads import receive

router = APIRouter(tags=["search"])
# A suggested box that is not there by then comes with the next question about the photograph.
PATIENCE_S, LONG_PATIENCE_S = 0.15, 10.0


def upload(**fields: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI description of a multipart body with a photograph and text fields."""
    image = {"type": "string", "format": "binary", "description": "JPEG, PNG, WebP, GIF or AVIF"}
    body = {
        "type": "object",
        "required": ["image"],
        "properties": {"image": image, **fields},
        "additionalProperties": False,
    }
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": body}}}}


INDEX = {"type": "string", "maxLength": 200, "description": "The index that will be searched; by default the first"}


@router.post(
    "/v1/queries",
    operation_id="send_query",
    status_code=201,
    summary="Send a photograph to search with",
    response_model=schema.Query,
    openapi_extra=upload(index=INDEX),
    responses=schema.refusals(400, 401, 404, 408, 413, 415, 422, 429, 503),
)
async def send_query(service: Serves, request: Request) -> schema.Query:
    """Keep a photograph in memory for a while; the same photograph gets the same id."""
    sent = await receive(request, ("index",))
    index = sent.fields.get("index")
    kept = await while_connected(request, service.keep(sent.image, index))
    return await told(service, kept, index, PATIENCE_S)


@router.get(
    "/v1/queries/{query}",
    operation_id="query",
    summary="What is known of a photograph sent before",
    responses=schema.refusals(401, 404, 410, 422, 429, 503),
)
async def query(
    service: Serves,
    request: Request,
    query: Annotated[str, Path(description="Its id", examples=["9f2c5a0e6b7d41c88e3f5a6b7c8d9e0f"])],
) -> schema.Query:
    """Say that it is still kept, and suggest a box, which may take some seconds the first time."""
    return await while_connected(request, told(service, service.queries.get(query), None, LONG_PATIENCE_S))


async def told(service: Service, kept: Kept, index: str | None, patience: float) -> schema.Query:
    """What the API says of a photograph; a box is suggested if a run that finds landmarks does so in time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(patience):
            await suggest(service, kept, index)
    return schema.Query(
        query=kept.query,
        width=kept.width,
        height=kept.height,
        box=kept.facts.get("box"),
        kept_s=service.queries.seconds,
    )


async def suggest(service: Service, kept: Kept, index: str | None) -> None:
    """Find the box, once; whoever no longer waits for it leaves it to be found."""
    if "box" in kept.facts:
        return
    if "finding" not in kept.facts:
        kept.facts["finding"] = service.start(_find(service, kept, index))
    await asyncio.shield(kept.facts["finding"])


async def _find(service: Service, kept: Kept, index: str | None) -> None:
    try:
        with service.served.using(index) as opened:
            source = await service.workers(service.explainer.locates, opened.sources)
            box = None if source is None else await service.explainer.suggest(source, kept.image)
        kept.facts["box"] = box
    except (ApiError, LapelError):  # too much waits, or the run is gone: the next question tries again
        return
    finally:
        del kept.facts["finding"]
