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
from lapel.evaluation.exact import Space
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
        scores: (C',) cosines, or distances with a minus: the greater the nearer.
        right: (C',) bool.
        euclidean: scores are distances.
    """

    order: Rows
    scores: Array
    right: Array
    euclidean: bool = False

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
        distance: ``cosine`` or ``euclidean``, as the figure was measured.
        scores: (query number, positions of candidates) -> exact scores (n,) that rank them, where that is no cosine.
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
    distance: str = "cosine"
    scores: Callable[[int, Rows], Array] | None = None

    def ranking(self, query: int) -> Ranking:
        """Rank the candidates of query number ``query``; memory is that of some blocks of vectors."""
        right = self.relevant(query)
        positions = np.arange(len(self.candidates)) if self.allowed is None else np.flatnonzero(self.allowed(query))
        if self.scores is not None:
            order = np.argsort(-self.scores(query, positions), kind="stable")
            asked, ranked = self.queries[query : query + 1], self.candidates[positions[order]]
            return Ranking(positions[order], -self._distances(asked, ranked), right[positions[order]], True)
        wanted = metrics.fixed_point(self.vectors(self.queries[query : query + 1]))[0]
        scores = np.empty(len(positions))
        step = max(1, _NUMBERS // max(len(wanted), 1))
        for start in range(0, len(positions), step):
            rows = self.candidates[positions[start : start + step]]
            scores[start : start + step] = metrics.fixed_point(self.vectors(rows)) @ wanted
        order = np.argsort(-scores, kind="stable")
        return Ranking(positions[order], scores[order] / 2.0**52, right[positions[order]])

    def _distances(self, asked: Rows, ranked: Rows) -> Array:
        """Return the Euclidean distance (n,) of a query to candidates, rows of the catalogue, for a person to read."""
        wanted = self.vectors(asked).astype(np.float64)
        found, step = np.empty(len(ranked)), max(1, _NUMBERS // max(wanted.shape[1], 1))
        for start in range(0, len(ranked), step):
            part = slice(start, start + step)
            found[part] = np.linalg.norm(self.vectors(ranked[part]) - wanted, axis=1)
        return found

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


def item_board(
    result: ItemResult,
    catalogue: Catalogue,
    vectors: Array,
    chosen: Selection,
    missing: Array,
    distance: str = "cosine",
) -> Board:
    """Return the board of an instance retrieval.

    Args:
        result: measured with this selection.
        catalogue: N images.
        vectors: (N, A, D).
        chosen: who is asked and ranked, as rows of ``catalogue``.
        missing: (N,) bool, images without an embedding.
        distance: that of the measurement, ``cosine`` or ``euclidean``.
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
        distance=distance,
        scores=None if distance == "cosine" else _exact_scores(vectors.reshape(len(vectors), -1), chosen, distance),
    )


def _exact_scores(vectors: Array, chosen: Selection, distance: str) -> Callable[[int, Rows], Array]:
    """Return the scores that ``instance_retrieval`` ranks by: (query number, positions in the gallery) -> (n,)."""
    codes = (np.zeros(len(chosen.query)), np.zeros(len(chosen.gallery))) if chosen.within is None else chosen.within[:2]
    spaces: dict[int, tuple[Space, Rows, Rows]] = {}

    def scores(query: int, positions: Rows) -> Array:
        code = int(codes[0][query])
        if code not in spaces:  # whoever is ranked together shares one scale
            asked, ranked = (np.flatnonzero(side == code) for side in codes)
            space = Space(distance, vectors, chosen.query[asked], vectors, chosen.gallery[ranked])
            spaces[code] = space, asked, ranked
        space, asked, ranked = spaces[code]
        place = int(np.searchsorted(asked, query))
        left = space.queries(slice(place, place + 1))[0]
        rows, found = np.searchsorted(ranked, positions), np.empty(len(positions))
        for start in range(0, len(rows), space.step):
            part = slice(start, start + space.step)
            found[part] = space.candidates(rows[part]) @ left
        return found

    return scores


def value_texts(catalogue: Catalogue, attribute: str) -> dict[int, str]:
    """Return row -> its values of an attribute as one text; rows without a label are left out."""
    labels = catalogue.labels.filter(pc.equal(catalogue.labels["attribute"], attribute))
    found: dict[int, str] = {}
    for row, value in zip(labels["image"].to_pylist(), labels["value"].to_pylist(), strict=True):
        found[row] = f"{found[row]}, {value}" if row in found else value
    return found


def three_queries(board: Board, seed: int) -> list[tuple[str, int]]:
    """Draw a well, a middling and a badly answered query: one each of the best, middle and worst tenth.

    Of items, one of the worst tenth that did not find its item first, where there is one.

    Returns:
        (which, query number); fewer where there are fewer queries with a right candidate.
    """
    order = board.answerable()
    if len(order) < 3:
        return [("a query", int(number)) for number in order]
    generator, width = board.generator(seed), max(1, len(order) // 10)
    starts = {"well answered": 0, "middling": (len(order) - width) // 2, "badly answered": len(order) - width}
    pools = {which: order[start : start + width] for which, start in starts.items()}
    missed = pools["badly answered"][board.quality[pools["badly answered"]] < 1]
    if not board.attribute and len(missed):  # most of the worst tenth may have found their item at once
        pools["badly answered"] = missed
    return [(which, int(pool[generator.integers(len(pool))])) for which, pool in pools.items()]


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
