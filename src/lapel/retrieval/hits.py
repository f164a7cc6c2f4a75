"""What a search gives back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """An image of the index.

    Attributes:
        id: its key in the index: the path as the catalogue has it, with its box where one image has several.
        image: absolute path.
        item: the product it shows, if known.
        metadata: column -> value; None where missing.
        labels: attribute -> values; attributes without a label are left out.
    """

    id: str
    image: str
    item: str | None
    metadata: dict[str, object]
    labels: dict[str, tuple[str, ...]]


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
