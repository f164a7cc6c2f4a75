"""What a server tells of images: photographs that were sent, hits, and where a run looks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self, TypeAlias

from lapel.client.indexes import IndexVersion, Told, Value, made

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Box: TypeAlias = tuple[float, float, float, float]


@dataclass(frozen=True)
class Query:
    """A photograph that the server keeps for a while, to be searched with again and again.

    Attributes:
        query: its id, the first 32 hexadecimal digits of the SHA-256 of its bytes.
        width, height: pixels of the upright photograph.
        box: where the garment is, if a run could tell; in these pixels.
        kept_s: seconds it is kept when nobody uses it, unless space is needed.
        photograph: the bytes that were sent, to send them again if the server no longer has them.
    """

    query: str
    width: int = 0
    height: int = 0
    box: Box | None = None
    kept_s: float = 0.0
    photograph: bytes | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, told: Told, photograph: bytes | None) -> Self:
        """Read it from an answer."""
        return made(cls, told, box=box_of(told), photograph=photograph)


@dataclass(frozen=True)
class Listed:
    """An image of an index.

    Attributes:
        index: name of the index.
        item: the product it shows, if known.
        labels: attribute -> its values.
        metadata: column -> value; None where missing.
        image: where its picture is on the server; ``Client.image`` fetches it.
    """

    index: str
    id: str
    item: str | None
    labels: dict[str, list[str]]
    metadata: dict[str, Value | None]
    image: str


@dataclass(frozen=True)
class Entry(Listed):
    """An image of an index, with its garment's box and its size in pixels, if these are known."""

    box: Box | None
    width: int | None
    height: int | None


@dataclass(frozen=True)
class Hit(Listed):
    """An image found.

    Attributes:
        similarity: the score over the sum of the weights: -1 to 1.
        score: sum over attributes of effective weight times cosine.
        scores: attribute -> cosine.
        others: ids of further images of the same item, best first.
    """

    similarity: float
    score: float
    scores: dict[str, float]
    others: tuple[str, ...]


@dataclass(frozen=True)
class LikelyValue:
    """A value that the query's neighbours vote for: its share of the vote, and how many have it."""

    value: str
    share: float
    votes: int


@dataclass(frozen=True)
class SearchResult:
    """The hits of a search, best first.

    Attributes:
        request_id: what the server's log knows it by.
        left: whether more hits follow after these.
        weights: attribute -> the weight that it had in the end.
        likely: attribute -> likely values of the query, best first; None unless asked for.
        took_ms: milliseconds the server took.
    """

    request_id: str
    index: IndexVersion
    hits: tuple[Hit, ...]
    left: bool
    weights: dict[str, float]
    likely: dict[str, tuple[LikelyValue, ...]] | None
    took_ms: float

    @classmethod
    def of(cls, told: Told) -> Self:
        """Read it from an answer."""
        index = IndexVersion.of(told["index"])
        hits = tuple(made(Hit, each, index=index.name, others=tuple(each["others"])) for each in told["hits"])
        votes = told.get("likely")
        likely = votes and {name: tuple(made(LikelyValue, each) for each in found) for name, found in votes.items()}
        return made(cls, told, index=index, hits=hits, likely=likely)


@dataclass(frozen=True, eq=False)
class Explanation:
    """Where a run looks on an image for one attribute.

    Attributes:
        gaze: the branch of the model it shows, where the attribute is the item.
        gazes: branches that can be asked for.
        width, height: pixels of the upright image.
        flat: whether the model looks everywhere alike.
        map: (h, w) float32 over the whole upright image, from 0 (least) to 1 (most); NaN where it was not seen.
    """

    index: IndexVersion
    attribute: str
    gaze: str | None
    gazes: tuple[str, ...]
    width: int
    height: int
    flat: bool
    map: npt.NDArray[np.float32]

    @classmethod
    def of(cls, told: Told) -> Self:
        """Read it from an answer."""
        import numpy as np

        levels = np.array(told["map"], np.float32)
        return made(cls, told, index=IndexVersion.of(told["index"]), gazes=tuple(told["gazes"]), map=levels)


def box_of(told: Told) -> Box | None:
    """Return the box in an answer, if there is one."""
    numbers = told.get("box")
    return None if numbers is None else (numbers[0], numbers[1], numbers[2], numbers[3])
