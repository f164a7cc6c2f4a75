"""A query's likely value of an attribute: the vote of its nearest labelled images.

How many vote, and how much more the nearer ones count, is what made the shares most believable in
``benchmarks/votes.py``.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lapel.errors import SearchIndexError, unknown
from lapel.retrieval.filter_tree import IsNull
from lapel.retrieval.query import numbers, unit, whole
from lapel.retrieval.ranking import Question

if TYPE_CHECKING:
    from lapel.retrieval.opened import Opened

NEAREST = 20
WARMTH = 0.05  # difference of cosines that makes a vote e times weaker


@dataclass(frozen=True)
class Vote:
    """One value and what speaks for it.

    Attributes:
        value: the attribute's value.
        share: of the whole vote, from 0 to 1; near images count for more. The shares of a query's values sum to 1.
        votes: nearest images that have the value.
    """

    value: str
    share: float
    votes: int


def likely(
    index: Opened,
    vectors: Sequence[npt.NDArray[np.floating] | None],
    attribute: str,
    without: Collection[str] = (),
    nearest: int = NEAREST,
    warmth: float = WARMTH,
) -> list[Vote]:
    """Vote on a query's value of an attribute among the nearest images labelled with it.

    Near is by that attribute's vectors alone. An image with several values splits its vote.

    Args:
        index: where the images are.
        vectors: the query: per attribute of the index (D_a,), or None where not known.
        attribute: embedded by the index and labelled in it; see ``Index.labelled``.
        without: ids of images that do not vote, such as the query's own.
        nearest: how many images vote.
        warmth: difference of cosines that makes a vote e times weaker.

    Returns:
        Largest share first, equal ones by value; empty where no image is labelled or the query's vector is not known.

    Raises:
        SearchIndexError: the index does not embed the attribute or has no labels of it; a bad vector or setting.
    """
    if attribute not in index.labelled:
        raise SearchIndexError(unknown("labelled attribute", attribute, index.labelled))
    whole("nearest", nearest, 1)
    if not warmth > 0:
        raise SearchIndexError(f"expected a warmth above 0, found {warmth}")
    weighing = numbers({attribute: 1.0}, index.attributes)
    asked = unit(vectors, index.dims, np.zeros(len(weighing)))
    if asked[index.attributes.index(attribute)] is None:
        return []
    column = index.fields[attribute]
    question = Question(asked, weighing, IsNull(column, negated=True), without=frozenset(without))
    page = index.gallery.page(question, 0, nearest)
    shares: dict[str, float] = defaultdict(float)
    votes: Counter[str] = Counter()
    best = max((result.score for result in page.results), default=0.0)
    for result, labels in zip(page.results, page.rows[column.field].to_pylist(), strict=True):
        values = sorted(set(labels))
        votes.update(values)
        for value in values:
            shares[value] += math.exp((result.score - best) / warmth) / len(values)
    total = sum(shares.values())
    order = sorted(shares, key=lambda value: (-shares[value], value))
    return [Vote(value, shares[value] / total, votes[value]) for value in order]
