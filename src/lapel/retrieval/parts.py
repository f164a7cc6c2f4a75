"""A query of several parts: images, each with weights of its own, made into one vector per attribute.

With unit vectors q_pa of part p and x_a of an image, the score of the image is the double sum

    sum_p sum_a w_pa <q_pa, x_a> = sum_a <v_a, x_a>,    v_a = sum_p w_pa q_pa

so any number of query images is one query: in attribute a the unit vector v_a / |v_a| with the weight |v_a|.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lapel.errors import SearchIndexError
from lapel.retrieval.query import Asked, Doubles, numbers, unit

# Parts are taken to cancel where less than this share of their weights is left: what remains is rounding.
CANCELLED = 1e-6


@dataclass(frozen=True)
class Part:
    """An image that a query is made of.

    Attributes:
        vectors: per attribute (D_a,), of any length but 0; None where it is not known.
        weights: attribute -> weight, below 0 for less like it; attributes not named weigh zero; None: 1 for each that
            is known.
    """

    vectors: Sequence[npt.NDArray[np.floating] | None]
    weights: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Mixed:
    """What parts make together.

    Attributes:
        vectors: per attribute a unit vector (D_a,) in float64; where the weight is 0, that of the first part that has
            one, which is good for showing a cosine; None where no part has one.
        weights: (A,) in float64.
    """

    vectors: Asked
    weights: Doubles


def combine(parts: Sequence[Part], attributes: Sequence[str], dims: Sequence[int]) -> Mixed:
    """Make one query of several parts; it ranks images as the double sum over parts and attributes does.

    A weight is the length of the weighted vectors' sum. Where every part that weighs asks for less (one part may be the
    only one), it is negative and the vector is what less is wanted of: cosines are then those to the query. Where
    parts cancel, it is 0.

    Args:
        parts: one or more.
        attributes: names in the order of the vectors.
        dims: numbers of each attribute's vector.

    Raises:
        SearchIndexError: no parts, an unknown attribute, a bad weight or vector, a weight for an attribute that the
            part does not know, or nothing that weighs.
    """
    if not parts:
        raise SearchIndexError("a query needs at least one image")
    weighing = np.stack([_weights(part, attributes) for part in parts])
    queries = [unit(part.vectors, dims, own) for part, own in zip(parts, weighing, strict=True)]
    if not weighing.any():
        raise SearchIndexError("every weight is zero, so nothing can be ranked: give one that is not")
    mixed = [_mix([query[a] for query in queries], weighing[:, a]) for a in range(len(attributes))]
    weights = np.array([weight for _, weight in mixed])
    if not weights.any():
        raise SearchIndexError("the parts of the query cancel, so nothing can be ranked: change a weight")
    return Mixed([vector for vector, _ in mixed], weights)


def _weights(part: Part, attributes: Sequence[str]) -> Doubles:
    if part.weights is None and len(part.vectors) == len(attributes):
        return np.array([0.0 if vector is None else 1.0 for vector in part.vectors])
    return numbers(part.weights, attributes)


def _mix(queries: Sequence[Doubles | None], weights: Doubles) -> tuple[Doubles | None, float]:
    """One attribute's vector and weight."""
    pairs = [(query, float(w)) for query, w in zip(queries, weights, strict=True) if query is not None and w]
    if len(pairs) == 1:  # as it is: no rounding, and its sign
        return pairs[0]
    first = next((query for query in queries if query is not None), None)
    total = sum((w * query for query, w in pairs), np.zeros(0 if first is None else len(first)))
    length = float(np.linalg.norm(total))
    if length <= CANCELLED * np.abs(weights).sum():
        return first, 0.0
    signed = -length if all(w < 0 for _, w in pairs) else length
    return total / signed, signed
