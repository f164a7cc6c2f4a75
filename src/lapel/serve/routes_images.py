"""Photographs of an index and of queries, made small."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi import Path as PathParameter

from lapel.decoding import DecodeError
from lapel.serve import schema
from lapel.serve.errors import NotFound
from lapel.serve.routes_indexes import IdParameter, IndexParameter
from lapel.serve.service import Serves, found
from lapel.serve.state import Opened
from lapel.serve.thumbs import shrink

router = APIRouter(tags=["images"])
JPEG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}, "description": "A JPEG"},
    304: {"description": "As the client has it"},
}
# A browser shows at once what it has, but asks beside that whether the picture is another one by now: an id stays the
# same when its photograph is replaced.
KEPT = {"Cache-Control": "private, max-age=30, stale-while-revalidate=600"}

Known = Annotated[str | None, Header(alias="If-None-Match", description="ETag of the picture the client has")]


class Side(IntEnum):
    """Pixels of a picture's longest side."""

    TINY = 160
    SMALL = 320
    MEDIUM = 640
    LARGE = 1280


@router.get(
    "/v1/images/{id:path}",
    operation_id="image",
    summary="The photograph of an index's image",
    response_class=Response,
    responses={**JPEG, **schema.refusals(401, 404, 422, 429, 503)},
)
async def image(
    service: Serves,
    request: Request,
    image_id: IdParameter,
    index: IndexParameter = None,
    side: Side = Side.SMALL,
    known: Known = None,
) -> Response:
    """Return it upright, smaller than its file where that is larger than ``side`` pixels."""

    def make(opened: Opened) -> Response:
        path = Path(found(opened, image_id).image)
        try:
            tag = service.thumbs.tag(path, side)
            if _is_known(tag, known):
                return _not_modified(tag)
            data, tag = service.thumbs.get(path, side)
        except DecodeError as error:
            raise NotFound(f"the photograph of {image_id!r} cannot be read: {error.reason}") from error
        return _jpeg(data, tag)

    return await service.answer(request, index, lambda opened: service.workers(make, opened))


@router.get(
    "/v1/queries/{query}/image",
    operation_id="query_image",
    summary="A photograph sent before",
    response_class=Response,
    responses={**JPEG, **schema.refusals(401, 404, 410, 422, 429, 503)},
)
async def query_image(
    service: Serves,
    query: Annotated[str, PathParameter(description="Its id", examples=["9f2c5a0e6b7d41c88e3f5a6b7c8d9e0f"])],
    side: Side = Side.MEDIUM,
    known: Known = None,
) -> Response:
    """Return it upright, smaller than it was sent where that is larger than ``side`` pixels."""
    kept = service.queries.get(query)
    tag = f"{kept.query}-{side:d}"  # an id names the bytes
    if _is_known(tag, known):
        return _not_modified(tag)
    async with service.photographs.open(kept.image) as pixels:
        return _jpeg(await service.workers(shrink, pixels, side), tag)


def _jpeg(data: bytes, tag: str) -> Response:
    return Response(data, media_type="image/jpeg", headers={"ETag": f'"{tag}"', **KEPT})


def _not_modified(tag: str) -> Response:
    return Response(status_code=304, headers={"ETag": f'"{tag}"', **KEPT})


def _is_known(tag: str, known: str | None) -> bool:
    tags = [each.strip().removeprefix("W/") for each in (known or "").split(",")]
    return "*" in tags or f'"{tag}"' in tags
