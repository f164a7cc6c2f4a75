"""Images written to an index and deleted from it, one by one, with the meaning of ``lapel index``."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, StrictBool, StrictFloat, StrictInt, StrictStr, ValidationError

from lapel.errors import ImageError, LapelError
from lapel.retrieval.new_images import EntryError, NewImage
from lapel.retrieval.plan import checked
from lapel.retrieval.writing import Removal, Writer
from lapel.serve import schema
from lapel.serve.errors import Invalid, NotReady
from lapel.serve.routes_queries import upload
from lapel.serve.service import Serves, Service
from lapel.serve.uploads import header, receive
from lapel.serve.writes import Asked, WriteQueue

RETRY_S = 5
Cell = StrictBool | StrictInt | StrictFloat | StrictStr | None
Name = Annotated[str, Field(min_length=1, max_length=100)]


class NewItem(schema.Request):
    """An image for an index, with all that is to be known of it."""

    index: schema.IndexName | None = Field(None, description="By default the first index")
    id: schema.Id
    item: str | None = Field(None, max_length=1000, description="The product it shows", examples=["dress-1"])
    labels: dict[Name, list[str] | str] = Field(
        {}, description="Attribute to its values", examples=[{"neckline": ["V-neck"]}]
    )
    metadata: dict[Name, Cell] = Field({}, description="Column to what it holds", examples=[{"price": 39.9}])
    split: str | None = Field(None, max_length=200, examples=["gallery"])
    domain: str | None = Field(None, max_length=200, examples=["shop"])
    box: schema.Box | None = Field(None, description="The garment in the image; by default all of it")


class Removed(schema.Request):
    """Images to delete."""

    index: schema.IndexName | None = Field(None, description="By default the first index")
    ids: list[schema.Id] = Field(min_length=1, max_length=10_000)


class ItemChange(BaseModel):
    """What writing an image came to."""

    index: schema.IndexVersion
    id: schema.Id
    change: Literal["added", "changed", "updated", "unchanged"] = Field(
        description="`changed`: another image or box than before. `updated`: other labels or metadata, not embedded "
        "again. `unchanged`: nothing was written"
    )


class Deletion(BaseModel):
    """How many images were deleted."""

    index: schema.IndexVersion
    deleted: int = Field(description="Of those asked for: unknown ids do not count", examples=[1])


ENTRY = {
    "type": "string",
    "contentMediaType": "application/json",
    "description": "The rest as JSON, a NewItem: `id`, and what is known of the image",
    "examples": [
        '{"id": "new/dress-9.jpg", "item": "dress-9", "labels": {"neckline": ["V-neck"]}, "metadata": {"price": 39.9}}'
    ],
}


router = APIRouter(tags=["items"])


@router.post(
    "/v1/items",
    operation_id="write_item",
    summary="Add an image to an index, or replace it",
    response_model=ItemChange,
    openapi_extra=upload(entry=ENTRY),
    responses=schema.refusals(400, 401, 403, 404, 408, 413, 415, 422, 429, 503),
)
async def write_item(service: Serves, request: Request) -> ItemChange:
    """Write an image with what is known of it; what an earlier one of the same id had is gone.

    The answer comes when it is on disk and the next search finds it. The same image is not embedded again, and writing
    the same twice changes nothing. It stays when the catalogue is indexed again; an image that the catalogue lists is
    made as the catalogue says then.
    """
    sent = await receive(request, ("entry",))
    entry = _parsed(sent.fields.get("entry"))
    said = {name: value for name, value in entry if name != "index"}
    image = NewImage(image=sent.image, **said)
    name = service.served.get(entry.index).name
    photographs = service.photographs
    try:
        await service.workers(checked, image)
    except EntryError as error:
        raise Invalid(f"entry: {error}") from error
    await service.workers(header, sent.image, photographs.max_pixels, photographs.max_frames)
    change = await _done(service, name, image)
    return ItemChange(index=service.served.get(name).version, id=entry.id, change=change)


@router.post(
    "/v1/items/delete",
    operation_id="delete_items",
    summary="Delete images from an index",
    responses=schema.refusals(400, 401, 403, 404, 408, 413, 422, 429, 503),
)
async def delete_items(service: Serves, body: Removed) -> Deletion:
    """Delete images by id. One that the catalogue lists comes back when the catalogue is indexed again."""
    name = service.served.get(body.index).name
    deleted = await _done(service, name, Removal(body.ids))
    return Deletion(index=service.served.get(name).version, deleted=deleted)


async def _done(service: Service, name: str, change: Asked) -> Any:
    try:
        return await _queue(service, name)(change)
    except (EntryError, ImageError):
        raise
    except LapelError as error:  # another process writes, the index or its run is gone, the disk is full
        raise NotReady(str(error), RETRY_S) from error


def _queue(service: Service, name: str) -> WriteQueue:
    if name not in service.writes:
        served = service.served
        writer = Writer(served.folders[name], lambda: served.get(name).index)
        service.writes[name] = WriteQueue(writer, partial(served.look, name), service.settings.queue)
    return service.writes[name]


def _parsed(entry: str | None) -> NewItem:
    if entry is None:
        raise Invalid("the body has no field 'entry'; expected JSON with at least an id")
    try:
        return NewItem.model_validate_json(entry)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))[:200]
        raise Invalid(f"entry{f'.{place}' if place else ''}: {first['msg']}") from None
