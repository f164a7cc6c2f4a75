"""Where each branch of an instance model looks, on a query and on what it found for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lapel.errors import ImageError
from lapel.evaluation.boards import Board, three_queries
from lapel.evaluation.figures import Tile, grid
from lapel.evaluation.gaze import FLAT, open_photo
from lapel.evaluation.markup import encode, words
from lapel.evaluation.overlays import colours, overlay
from lapel.evaluation.sheets import Pictures

if TYPE_CHECKING:
    from lapel.retrieval.embedder import Embedder


@dataclass(frozen=True)
class Seen:
    """A picture and its maps.

    Attributes:
        role: query, or at which rank it was found.
        photo: the whole photograph.
        maps: an overlay for each branch, named in its caption.
        right: whether it shows the query's item; None of the query itself.
        flat: every branch looks everywhere alike.
    """

    role: str
    photo: Tile
    maps: Sequence[Tile]
    right: bool | None = None
    flat: bool = False


@dataclass(frozen=True)
class Look:
    """A query, its best right result and its first wrong one, each as the branches see it."""

    title: str
    seen: Sequence[Seen]


def looks(embedder: Embedder, board: Board, pictures: Pictures, seed: int = 0) -> list[Look]:
    """Draw what the branches look at for a well, a middling and a badly answered query of the board.

    Args:
        embedder: of an item run.
        board: of items.
        pictures: of its catalogue.
        seed: of the draw; the queries are those of the ten best results.
    """
    found = []
    for which, number in three_queries(board, seed):
        ranking = board.ranking(number)
        places = [int(side[0]) for side in (np.flatnonzero(ranking.right), np.flatnonzero(~ranking.right)) if len(side)]
        asked: list[tuple[str, int, bool | None]] = [("query", int(board.queries[number]), None)]
        for place in sorted(places):
            row = int(board.candidates[ranking.order[place]])
            asked.append((f"rank {place + 1:,}", row, bool(ranking.right[place])))
        seen = [see(embedder, pictures, row, role, right) for role, row, right in asked]
        found.append(Look(f"{which}: {words(board.asked[number])}", [each for each in seen if each is not None]))
    return [look for look in found if look.seen]


def see(embedder: Embedder, pictures: Pictures, row: int, role: str, right: bool | None) -> Seen | None:
    """Return a picture with a map for each branch; None where its crop is too small to read."""
    photo, crop, box, _ = open_photo(pictures, row)
    try:
        maps = embedder.attention([crop])[0]
    except ImageError:
        return None
    tiles = [
        Tile(encode(overlay(photo, one, preprocessing=embedder.preprocessing, box=box)), words(name), tag=words(name))
        for name, one in zip(embedder.gazes, maps, strict=True)
    ]
    flat = bool((np.ptp(maps, axis=(1, 2)) <= FLAT * maps.max(axis=(1, 2))).all())
    return Seen(role, Tile(encode(photo), pictures.name(row), tag=role, right=right), tiles, right, flat)


def draw_looks(found: Sequence[Look], path: Path, title: str = "", side: int = 150) -> Path:
    """Write the figure as one picture: a row for each query; returns its path."""
    rows = []
    for look in found:
        row = []
        for each in look.seen:
            row += [each.photo, *(Tile(tile.image, tag=tile.caption) for tile in each.maps)]
        rows.append(row)
    ends = ((0.1, "little attention"), (0.95, "most attention, each map from its least to its greatest"))
    foot = [(f"#{colours(np.array(at)).tobytes().hex()}", said) for at, said in ends]
    grid(rows, path, title=title, headings=[look.title for look in found], side=side, foot=foot)
    return path
