"""Who was asked, who was ranked and how well each query did: what the figures of a report are drawn from.

A board is one ranking task on images that are embedded already: retrieval under one attribute, or of items. Figures ask
it for a few queries, which are ranked exactly as the measured figure ranked them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from lapel.evaluation import metrics
from lapel.evaluation.instances import ItemResult
from lapel.evaluation.protocols import RetrievalResult, sides_of
from lapel.evaluation.queries import QueryLists
from lapel.evaluation.selection import Selection

if TYPE_CHECKING:
    from lapel.catalogue import Catalogue

Rows = NDArray[np.int64]
Array = NDArray[Any]
_NUMBERS = 2**22  # of a block of candidates


class Ranking(NamedTuple):
    """One query's candidates, best first.

    Attributes:
        order: (C',) their positions in the board's candidates.
        scores: (C',) cosines.
        right: (C',) bool.
    """

    order: Rows
    scores: Array
    right: Array

    @property
    def first(self) -> int:
        """The rank of the first right one, 0 without any."""
        return int(self.right.argmax()) + 1 if self.right.any() else 0


@dataclass(frozen=True, eq=False)
class Board:
    """Queries, candidates and how well each query did, under one attribute or of items.

    Attributes:
        name: the attribute, or ``item``.
        queries: (Q,) rows of the catalogue.
        candidates: (C,) rows of the catalogue; equal scores keep this order.
        quality: (Q,) AP of each query, or 1 / rank of its first right image.
        counts: (Q,) how many right candidates each query has.
        chance: (Q,) expected quality of a random order.
        asked: (Q,) the value each query asks for, as text.
        given: (C,) the value of each candidate, as text.
        relevant: query number -> (C,) bool.
        allowed: query number -> (C,) bool, who is a candidate of it at all; None: everyone.
        vectors: rows -> (n, D).
        items: (Q,) the item that each query shows; another view of it is no other failure.
        attribute: False for a board of items.
    """

    name: str
    queries: Rows
    candidates: Rows
    quality: Array
    counts: Array
    chance: Array
    asked: Sequence[str]
    given: Sequence[str]
    relevant: Callable[[int], Array]
    allowed: Callable[[int], Array] | None
    vectors: Callable[[Rows], Array]
    items: Sequence[str]
    attribute: bool = True

    def ranking(self, query: int) -> Ranking:
        """Rank the candidates of query number ``query``; memory is that of some blocks of vectors."""
        right = self.relevant(query)
        wanted = metrics.fixed_point(self.vectors(self.queries[query : query + 1]))[0]
        positions = np.arange(len(self.candidates)) if self.allowed is None else np.flatnonzero(self.allowed(query))
        scores = np.empty(len(positions))
        step = max(1, _NUMBERS // max(len(wanted), 1))
        for start in range(0, len(positions), step):
            rows = self.candidates[positions[start : start + step]]
            scores[start : start + step] = metrics.fixed_point(self.vectors(rows)) @ wanted
        order = np.argsort(-scores, kind="stable")
        return Ranking(positions[order], scores[order] / 2.0**52, right[positions[order]])

    def answerable(self) -> Rows:
        """Return the numbers of the queries with a right candidate, the best answered first."""
        order = np.argsort(-self.quality, kind="stable")
        return np.asarray(order[self.counts[order] > 0])

    def generator(self, seed: int) -> np.random.Generator:
        """Return this board's own source of randomness."""
        return np.random.default_rng([seed, zlib.crc32(self.name.encode())])


def attribute_boards(
    result: RetrievalResult,
    catalogue: Catalogue,
    vectors: Array,
    attributes: Sequence[str],
    *,
    missing: Array,
    lists: QueryLists | None = None,
    share: float = 0.2,
    seed: int = 0,
) -> list[Board]:
    """Return a board for each attribute of a result, in its order.

    Args:
        result: measured on these images, lists, share and seed.
        catalogue: N images.
        vectors: (N, A, D).
        attributes: names of axis 1.
        missing: (N,) bool, images without an embedding.
        lists: the given queries, if any.
        share: of queries, where they are drawn.
        seed: of that draw.
    """
    boards, items = [], _items(catalogue)
    for row in (*result.attributes, *result.beside):
        sides = sides_of(catalogue, row.attribute, lists, share, seed)
        if isinstance(sides, str):
            continue
        sides = sides.without(missing)
        texts = value_texts(catalogue, row.attribute)
        asked = [texts.get(int(place), "") for place in sides.queries]
        given = [texts.get(int(place), "") for place in sides.candidates]
        if lists is not None and row.attribute in lists.values:
            kept = [~missing[side] for side in lists.lists[row.attribute]]
            asked, given = (
                [str(value) for value in np.asarray(side, object)[keep]]
                for side, keep in zip(lists.values[row.attribute], kept, strict=True)
            )
        counts = metrics.relevant_counts(sides.query_labels, sides.candidate_labels)
        place = list(attributes).index(row.attribute)
        boards.append(
            Board(
                row.attribute,
                sides.queries,
                sides.candidates,
                row.aps,
                counts,
                metrics.expected_average_precision(counts, len(sides.candidates)),
                asked,
                given,
                _sharing(sides.query_labels, sides.candidate_labels),
                None,
                _under(vectors, place),
                [items[row] for row in sides.queries],
            )
        )
    return boards


def item_board(result: ItemResult, catalogue: Catalogue, vectors: Array, chosen: Selection, missing: Array) -> Board:
    """Return the board of an instance retrieval.

    Args:
        result: measured with this selection.
        catalogue: N images.
        vectors: (N, A, D).
        chosen: who is asked and ranked, as rows of ``catalogue``.
        missing: (N,) bool, images without an embedding.
    """
    if missing[chosen.query].any() or missing[chosen.gallery].any():
        chosen = chosen.keep(~missing[chosen.query], ~missing[chosen.gallery])
    ranks, items = result.ranks, _items(catalogue)
    first = ranks.rank.astype(np.float64)
    quality = np.where(first > 0, 1 / np.maximum(first, 1), 0.0)

    def relevant(query: int) -> Array:
        found = np.zeros(len(chosen.gallery), bool)
        found[chosen.relevance[query]] = True
        return found

    def allowed(query: int) -> Array:
        if chosen.within is None:
            found = np.ones(len(chosen.gallery), bool)
        else:
            found = np.asarray(chosen.within[1] == chosen.within[0][query])
        if chosen.excluded is not None:
            found[chosen.excluded[query]] = False
        return found

    return Board(
        "item",
        chosen.query,
        chosen.gallery,
        quality,
        ranks.relevant,
        # The first right one of R among C is expected at rank (C + 1) / (R + 1).
        (ranks.relevant + 1) / (ranks.candidates + 1),
        [items[row] for row in chosen.query],
        [items[row] for row in chosen.gallery],
        relevant,
        allowed,
        lambda rows: vectors[rows].reshape(len(rows), -1),
        [items[row] for row in chosen.query],
        attribute=False,
    )


def value_texts(catalogue: Catalogue, attribute: str) -> dict[int, str]:
    """Return row -> its values of an attribute as one text; rows without a label are left out."""
    labels = catalogue.labels.filter(pc.equal(catalogue.labels["attribute"], attribute))
    found: dict[int, str] = {}
    for row, value in zip(labels["image"].to_pylist(), labels["value"].to_pylist(), strict=True):
        found[row] = f"{found[row]}, {value}" if row in found else value
    return found


def three_queries(board: Board, seed: int) -> list[tuple[str, int]]:
    """Draw a well, a middling and a badly answered query: one each of the best, middle and worst tenth.

    Returns:
        (which, query number); fewer where there are fewer queries with a right candidate.
    """
    order = board.answerable()
    if len(order) < 3:
        return [("a query", int(number)) for number in order]
    generator, width = board.generator(seed), max(1, len(order) // 10)
    starts = {"well answered": 0, "middling": (len(order) - width) // 2, "badly answered": len(order) - width}
    return [(which, int(order[start + generator.integers(width)])) for which, start in starts.items()]


def worst_queries(boards: Sequence[Board], count: int = 8, each: int = 2) -> list[tuple[Board, int]]:
    """Return the queries that failed worst, worst first: little or nothing gained over a random order.

    That weighs how many right candidates a query had: to miss the one among thousands is no failure to learn from, to
    miss hundreds is. At most ``each`` are of one board, and of different items: the figure shows several failures. A
    query that ranks every right candidate first did not fail.
    """
    found: list[tuple[float, int, Board, int]] = []
    for board in boards:
        gain = board.quality - board.chance
        gain[(board.counts == 0) | (board.quality > 1 - 1e-9)] = np.inf
        shown: set[str] = set()
        for number in np.argsort(gain, kind="stable").tolist():
            if len(shown) == each or not np.isfinite(gain[number]):
                break
            if board.items[number] not in shown:
                shown.add(board.items[number])
                found.append((float(gain[number]), len(found), board, number))
    return [(board, number) for _, _, board, number in sorted(found, key=lambda entry: entry[:2])[:count]]


def _items(catalogue: Catalogue) -> list[str]:
    images = catalogue.images["image"].to_pylist()
    return [item or image for item, image in zip(catalogue.items(), images, strict=True)]


def _sharing(asked: Array, given: Array) -> Callable[[int], Array]:
    return lambda query: np.asarray(given[:, asked[query]].any(axis=1))


def _under(vectors: Array, place: int) -> Callable[[Rows], Array]:
    return lambda rows: np.asarray(vectors[rows, place])
