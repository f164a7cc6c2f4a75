"""Rows of an index scored exactly and put in order: by item where that is asked, equal scores by id."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lapel.retrieval.filter_tree import Filter
from lapel.retrieval.layout import ITEM
from lapel.retrieval.query import Asked, Doubles
from lapel.retrieval.snapshot import Blocks

CHUNK = 4096  # rows scored at a time, which bounds the memory of a page far down


@dataclass(frozen=True)
class Question:
    """What a search asks of the rows.

    Attributes:
        asked: per attribute a unit vector (D,) in float64; None where the query has none.
        weighing: (A,) weights.
        tree: what the images must pass.
        grouped: whether the images of one item are one result.
        without: ids of images left out.
        items: items left out, all their images.
        threshold: least score over the sum of the weights' sizes.
    """

    asked: Asked
    weighing: Doubles
    tree: Filter | None = None
    grouped: bool = False
    without: Collection[str] = ()
    items: Collection[str] = ()
    threshold: float | None = None

    @property
    def size(self) -> float:
        """Sum of the weights' sizes: no score is larger."""
        return float(np.abs(self.weighing).sum())


@dataclass(frozen=True)
class Result:
    """One place of a ranking.

    Attributes:
        row: number of its row.
        score: of that row.
        id: of its image.
        others: ids of the further images of its item, best first, where results are grouped.
        item: its item where results are grouped; else, and without one, None.
    """

    row: int
    score: float
    id: str
    others: tuple[str, ...] = ()
    item: str | None = None

    @property
    def key(self) -> tuple[bool, str]:
        """What makes it this result and no other."""
        return (True, self.item) if self.item is not None else (False, self.id)


def rank(question: Question, rows: pa.Table, vectors: Blocks, chosen: npt.NDArray[np.int64]) -> list[Result]:
    """Score the chosen rows in float64 and put them in order, best first.

    Args:
        question: its filters are taken as applied, but for the threshold.
        rows: (N) with columns ``id`` and ``item``.
        vectors: per attribute (N, D) float32.
        chosen: row numbers.
    """
    totals = np.concatenate([np.zeros(0), *(_totals(question, vectors, part) for part in _chunks(chosen))])
    table = rows.select(["id", ITEM]).take(pa.array(chosen))
    ids, items = table["id"].to_pylist(), table[ITEM].to_pylist()
    least = -np.inf if question.threshold is None else question.threshold * question.size
    groups: dict[object, list[int]] = {}
    for place in sorted(range(len(ids)), key=lambda place: (-totals[place], ids[place])):
        alone = not question.grouped or items[place] is None
        key = place if alone else items[place]
        if key in groups:
            groups[key].append(place)
        elif totals[place] >= least:
            groups[key] = [place]
    return [
        Result(
            int(chosen[best]),
            float(totals[best]),
            ids[best],
            tuple(ids[other] for other in others),
            items[best] if question.grouped else None,
        )
        for best, *others in groups.values()
    ]


def cosines(asked: Asked, vectors: Blocks, names: Sequence[str]) -> dict[str, Doubles]:
    """Cosine of every row, (N,) in float64, per attribute that the query has a vector for."""
    triples = zip(names, vectors, asked, strict=True)
    return {name: _dots(block, query) for name, block, query in triples if query is not None}


def _chunks(chosen: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    return [chosen[start : start + CHUNK] for start in range(0, len(chosen), CHUNK)]


def _totals(question: Question, vectors: Blocks, chosen: npt.NDArray[np.int64]) -> Doubles:
    """Sum over attributes of weight times cosine, of the chosen rows."""
    totals = np.zeros(len(chosen))
    for block, query, weight in zip(vectors, question.asked, question.weighing, strict=True):
        if weight and query is not None:
            totals += weight * _dots(block[chosen], query)
    return totals


def _dots(block: npt.NDArray[np.float32], query: Doubles) -> Doubles:
    # einsum adds up each row in the same order wherever it stands: equal vectors get equal scores.
    return np.asarray(np.einsum("nd,d->n", block.astype(np.float64), query))
