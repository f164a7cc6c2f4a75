"""What requests and answers of the API look like: one pydantic model for each body, with examples for OpenAPI."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Weight = Annotated[float, Field(ge=-10, le=10)]
Id = Annotated[str, Field(min_length=1, max_length=4096, examples=["images/dress-1.jpg"])]
QueryId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$", examples=["9f2c5a0e6b7d41c88e3f5a6b7c8d9e0f"])]
IndexName = Annotated[str, Field(min_length=1, max_length=200, examples=["shop"])]
Box = Annotated[
    list[Annotated[float, Field(ge=-1e6, le=1e6)]],
    Field(
        min_length=4,
        max_length=4,
        description="x1, y1, x2, y2 in pixels of the upright photograph",
        examples=[[40, 12, 310, 420]],
    ),
]
Where = Annotated[
    str,
    Field(
        max_length=10_000,
        description="A filter over the index's columns, applied before ranking",
        examples=["colour = 'Red' and price < 50"],
    ),
]


class Request(BaseModel):
    """A body that a client sends: a key that is not known is an error, not ignored."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class RunInfo(BaseModel):
    """A run that gave an index its vectors."""

    name: str = Field(description="Name of the run's folder", examples=["neckline-run"])
    fingerprint: str = Field(description="SHA-256 over its weights and settings", examples=["59ce986856e0"])


class IndexVersion(BaseModel):
    """Which index answered, and as of when."""

    name: str = Field(examples=["shop"])
    version: str = Field(description="Changes with each write", examples=["13"])
    images: int = Field(description="Rows of the index", examples=[9493])
    runs: list[RunInfo]


class Counted(BaseModel):
    """A value and how many images have it."""

    value: str | int | float | bool = Field(examples=["V-neck"])
    count: int = Field(examples=[412])


class AttributeInfo(BaseModel):
    """Something an index can be searched by."""

    name: str = Field(examples=["neckline"])
    dim: int = Field(description="Numbers per vector", examples=[256])
    item: bool = Field(description="Whether it stands for the item as a whole")
    labelled: int = Field(description="Images that have a value", examples=[8120])
    values: list[Counted] = Field(description="Most frequent first")


class ColumnInfo(BaseModel):
    """A column that a filter may name."""

    name: str = Field(examples=["price"])
    kind: Literal["text", "integer", "number", "boolean", "labels"]


class IndexInfo(IndexVersion):
    """An index, and what can be asked of it."""

    attributes: list[AttributeInfo]
    columns: list[ColumnInfo]
    explains: bool = Field(description="Whether a run is there that can show where it looks")
    writable: bool = Field(description="Whether this server takes writes")


class Indexes(BaseModel):
    """All that is served; the first answers where a request names none."""

    indexes: list[IndexInfo]


class FacetColumn(ColumnInfo):
    """A column's values among the images that pass a filter."""

    values: list[Counted] = Field(description="Most frequent first; of a column with very many values the first ones")
    low: float | None = Field(default=None, description="Least number", examples=[9.99])
    high: float | None = Field(default=None, description="Greatest number", examples=[129.0])
    missing: int = Field(description="Images without a value")
    distinct: int | None = Field(default=None, description="Values there are; null where nobody counted them")
    other: int = Field(default=0, description="Values of images that are not listed")


class Facets(BaseModel):
    """What the images that pass a filter have in their columns."""

    index: IndexVersion
    count: int = Field(description="Images that pass")
    columns: list[FacetColumn]


class Query(BaseModel):
    """A photograph that the server keeps for a while, to be searched with again and again."""

    query: QueryId
    width: int = Field(description="Pixels of the upright photograph", examples=[768])
    height: int = Field(examples=[1024])
    box: Box | None = Field(default=None, description="Where the garment is, if a run can tell")
    kept_s: float = Field(description="Seconds it is kept when nobody uses it, unless space is needed", examples=[3600])


class Source(Request):
    """One image to start from: a photograph sent before, or an image of an index."""

    query: QueryId | None = Field(default=None, description="A photograph sent to /v1/queries")
    id: Id | None = Field(default=None, description="An image of an index")
    of: IndexName | None = Field(default=None, description="Index that `id` belongs to; by default the one searched")
    box: Box | None = Field(default=None, description="The part of the image that is meant; by default all of it")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.query is None) == (self.id is None):
            raise ValueError("give exactly one of query and id")
        if self.of is not None and self.id is None:
            raise ValueError("of goes with id")
        return self


class Part(Source):
    """One image of a search, and how much each of its attributes counts."""

    weights: dict[str, Weight] | None = Field(
        default=None,
        max_length=1000,
        description="Attribute to weight: above 0 more like this, below 0 less; those not named count 0. "
        "Without weights every attribute counts 1",
        examples=[{"neckline": 1, "pattern": -0.5}],
    )


class SearchSettings(Request):
    """A search without its images."""

    index: IndexName | None = Field(default=None, description="By default the first index")
    more: list[Id] = Field(default=[], max_length=100, description="Results to move towards")
    less: list[Id] = Field(default=[], max_length=100, description="Results to move away from")
    k: int = Field(default=24, ge=1, le=200, description="Hits wanted")
    offset: int = Field(default=0, ge=0, le=10_000, description="Hits to skip: the next page starts at offset + k")
    where: Where | None = None
    group: bool | None = Field(
        default=None, description="Whether images of one item are one hit; by default where the item weighs"
    )
    threshold: float | None = Field(default=None, ge=-1, le=1, description="Least similarity of a hit")
    likely: bool = Field(default=False, description="Whether to tell the query's likely value of each attribute")


class SearchRequest(SearchSettings):
    """A search: images with weights, a filter, and feedback."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"parts": [{"id": "images/dress-1.jpg", "weights": {"neckline": 1}}], "k": 12},
                {
                    "parts": [{"query": "9f2c5a0e6b7d41c88e3f5a6b7c8d9e0f", "box": [40, 12, 310, 420]}],
                    "where": "price < 50",
                    "more": ["images/dress-7.jpg"],
                },
            ]
        }
    )
    parts: list[Part] = Field(min_length=1, max_length=8)


class ImageSearchRequest(SearchSettings):
    """A search with a photograph sent along, which comes before the parts."""

    box: Box | None = Field(default=None, description="The part of the photograph that is meant")
    weights: dict[str, Weight] | None = Field(default=None, max_length=1000, description="Of the photograph")
    parts: list[Part] = Field(default=[], max_length=7)


class Listed(BaseModel):
    """An image of an index."""

    id: Id
    item: str | None = Field(description="The product it shows, if known", examples=["dress-1"])
    labels: dict[str, list[str]] = Field(examples=[{"neckline": ["V-neck"]}])
    metadata: dict[str, Any] = Field(examples=[{"price": 39.9}])
    image: str = Field(description="Where its picture is", examples=["/v1/images/dress-1.jpg?index=shop"])


class Hit(Listed):
    """An image found."""

    similarity: float = Field(description="The score over the sum of the weights: -1 to 1", examples=[0.83])
    score: float = Field(description="Sum over attributes of effective weight times cosine", examples=[1.66])
    scores: dict[str, float] = Field(description="Cosine for each attribute", examples=[{"neckline": 0.91}])
    others: list[Id] = Field(description="Further images of the same item, best first")


class LikelyValue(BaseModel):
    """A value that the query's neighbours vote for."""

    value: str = Field(examples=["V-neck"])
    share: float = Field(description="Of the vote", examples=[0.72])
    votes: int = Field(description="Neighbours with this value", examples=[18])


class SearchResponse(BaseModel):
    """The hits of a search, best first."""

    request_id: str = Field(description="What the log knows the request by", examples=["9dd50fadbfb7fc8e"])
    index: IndexVersion
    hits: list[Hit]
    left: bool = Field(description="Whether more hits follow after these")
    weights: dict[str, float] = Field(description="Attribute to the weight that it had in the end")
    likely: dict[str, list[LikelyValue]] | None = Field(default=None, description="Likely values, best first")
    took_ms: float = Field(description="Milliseconds the server took", examples=[18.2])


class ImageSearchResponse(SearchResponse):
    """The hits of a search, and the id under which the photograph is kept."""

    query: QueryId


class Entry(Listed):
    """An image of an index, with its size."""

    box: Box | None = Field(description="Where the garment is, if the catalogue says so")
    width: int | None = Field(description="Pixels of the upright image; null where its file cannot be read")
    height: int | None


class EntryResponse(BaseModel):
    """An image of an index, and which index it is."""

    index: IndexVersion
    entry: Entry


class Sample(BaseModel):
    """Some images of an index."""

    index: IndexVersion
    count: int = Field(description="Images that pass the filter")
    entries: list[Listed]


class ExplainRequest(Request):
    """Where a run looks on an image for one attribute."""

    index: IndexName | None = None
    part: Source
    attribute: str = Field(min_length=1, max_length=200, examples=["neckline"])
    gaze: str | None = Field(
        default=None, max_length=200, description="Of the item: which branch of the model; by default the mean of all"
    )
    format: Literal["map", "png"] = "map"


class Explanation(BaseModel):
    """A map over the whole upright image, from 0 (least attention) to 1 (most)."""

    index: IndexVersion
    attribute: str
    gaze: str | None = Field(description="The branch it shows, where the attribute is the item")
    gazes: list[str] = Field(description="Branches that can be asked for")
    width: int = Field(description="Pixels of the upright image")
    height: int
    flat: bool = Field(description="Whether the model looks everywhere alike")
    map: list[list[float | None]] = Field(description="Rows from the top; null where the model did not see the image")


class Health(BaseModel):
    """The process is there."""

    status: Literal["ok"] = "ok"
    version: str = Field(description="Of Lapel")


class Ready(BaseModel):
    """Whether searches can be answered."""

    ready: bool
    indexes: dict[str, str] = Field(description="`ready`, or why not", examples=[{"shop": "ready"}])


class ErrorDetail(BaseModel):
    """What went wrong."""

    code: str = Field(description="A word for programs", examples=["bad_request"])
    message: str = Field(
        description="What was expected, what was found, what to do",
        examples=["unknown attribute 'neklin'; did you mean 'neckline'?"],
    )
    request_id: str = Field(description="What the log knows the request by", examples=["9dd50fadbfb7fc8e"])


class ErrorBody(BaseModel):
    """The body of every answer that is no success."""

    error: ErrorDetail


REASONS = {
    400: "A wrong name, filter or setting; the message says what to do",
    401: "A token is needed",
    403: "This server takes no such request",
    404: "No such index or image",
    408: "The request took too long to arrive",
    409: "The run that could answer is not there",
    410: "The photograph is no longer kept: send it again",
    413: "Too large, in bytes or pixels",
    415: "Not an image that can be read",
    422: "The request has another form than expected",
    429: "Too much waits already: try again after Retry-After seconds",
    503: "Not ready yet",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The answers that are no success, for a route's OpenAPI entry."""
    return {status: {"model": ErrorBody, "description": REASONS[status]} for status in sorted(statuses)}
