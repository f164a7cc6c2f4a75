"""Why an image was found: where the run that embeds an attribute looks on it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from lapel.decoding import Box
from lapel.decoding import Source as Picture
from lapel.retrieval.layout import ITEM
from lapel.serve import schema
from lapel.serve.errors import BadRequest
from lapel.serve.service import Serves, Service
from lapel.serve.state import Opened

router = APIRouter(tags=["search"])
PNG: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The map or, with `format` `png`, the photograph with the map on top",
        "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post(
    "/v1/explain",
    operation_id="explain",
    summary="Where a run looks",
    response_model=schema.Explanation,
    responses={**PNG, **schema.refusals(400, 401, 404, 409, 410, 413, 415, 422, 429, 503)},
)
async def explain(service: Serves, request: Request, body: schema.ExplainRequest) -> schema.Explanation | Response:
    """Show where a run looks on an image for one attribute; the first time takes seconds, to load the run."""
    return await service.answer(request, body.index, lambda opened: explained(service, opened, body))


async def explained(service: Service, opened: Opened, body: schema.ExplainRequest) -> schema.Explanation | Response:
    """Ask the run, and tell what it answers in the form that is wanted."""
    if body.gaze is not None and body.attribute != ITEM:
        raise BadRequest(f"gaze {body.gaze!r} goes with the attribute {ITEM!r} only: leave it out")
    picture, key, box = await _picture(service, opened, body.part)
    looked = await service.explainer.look(opened.sources, body.attribute, lambda: picture, key, box)
    attention = looked.map(body.gaze if body.attribute == ITEM else body.attribute)
    if body.format == "png":
        return Response(await service.workers(looked.picture, picture, attention), media_type="image/png")
    rows, flat = await service.workers(looked.spread, attention)
    return schema.Explanation(
        index=opened.version,
        attribute=body.attribute,
        gaze=body.gaze,
        gazes=list(looked.maps) if body.attribute == ITEM else [],
        width=looked.size[0],
        height=looked.size[1],
        flat=flat,
        map=rows,
    )


async def _picture(service: Service, opened: Opened, part: schema.Source) -> tuple[Picture, object, Box | None]:
    """The image of a part, what it is known by, and the box that is meant."""
    box = None if part.box is None else tuple(part.box)
    if part.query is not None:
        return service.queries.get(part.query).image, part.query, box
    _, entry = await service.entry(opened, part)
    path, known = await service.picture(entry)
    return path, known, entry.box if box is None else box
