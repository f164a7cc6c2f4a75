"""What a search gives back."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Entry:
    """An image of the index.

    Attributes:
        id: its key in the index: the path as the catalogue has it, with its box where one image has several.
        image: absolute path.
        item: the product it shows, if known.
        metadata: column -> value; None where missing.
        labels: attribute -> values; attributes without a label are left out.
        box: of the garment, x1, y1, x2, y2 in pixels of the upright image; None where the catalogue has none.
    """

    id: str
    image: str
    item: str | None
    metadata: dict[str, object]
    labels: dict[str, tuple[str, ...]]
    box: tuple[float, ...] | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Hit(Entry):
    """An image found.

    Attributes:
        score: sum over attributes of weight times cosine.
        scores: cosine per attribute, also of those with weight zero; a picture is not embedded by a run of which no
            attribute weighs, so its attributes are left out.
        others: ids of the further images of the same item that passed the filter, best first, where hits are grouped
            by item.
    """

    score: float
    scores: dict[str, float]
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """A page of results.

    Attributes:
        hits: best first; equal scores in order of id.
        similarities: per hit its score over the sum of the weights' sizes, from -1 to 1: what ``threshold`` is held to.
        left: whether more follow.
        weights: attribute -> weight that the query has in it, all attributes; 0 where it is not asked by.
    """

    hits: list[Hit]
    similarities: list[float]
    left: bool
    weights: dict[str, float]
