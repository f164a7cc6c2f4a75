"""The settings of a search: weights and query vectors, checked and brought to one form."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lapel.errors import SearchIndexError, unknown
from lapel.retrieval.layout import ITEM

Weights: TypeAlias = Mapping[str, float] | None
Doubles: TypeAlias = npt.NDArray[np.float64]
Asked: TypeAlias = Sequence[Doubles | None]  # per attribute (D,), None where its run did not embed the query


def weigh(weights: Weights, attributes: Sequence[str]) -> Doubles:
    """Return weights in the order of ``attributes``, (A,): 0 for those not named, all 1 for None.

    Raises:
        SearchIndexError: an unknown attribute, a weight that is no finite number, or no weight but 0.
    """
    weighing = numbers(weights, attributes)
    if not weighing.any():
        raise SearchIndexError("every weight is zero, so nothing can be ranked: give one that is not")
    return weighing


def numbers(weights: Weights, attributes: Sequence[str]) -> Doubles:
    """The same, also where all are 0."""
    if weights is None:
        return np.ones(len(attributes))
    for name, weight in weights.items():
        if name not in attributes:
            hint = "" if name != ITEM else ". To search by item, index with an item run too: --run RUN --run ITEM_RUN"
            raise SearchIndexError(unknown("attribute", name, attributes) + hint)
        number = isinstance(weight, int | float | np.number) and not isinstance(weight, bool)
        if not number or not math.isfinite(weight):
            raise SearchIndexError(f"expected the weight of {name!r} as a number, found {weight!r}")
    return np.array([weights.get(name, 0) for name in attributes], np.float64)


def whole(name: str, value: object, least: int) -> None:
    """Raise SearchIndexError unless a setting is a whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SearchIndexError(f"expected {name} as a whole number of at least {least}, found {value!r}")


def similarity(name: str, value: object) -> None:
    """Raise SearchIndexError unless a setting is None or a number from -1 to 1."""
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if value is not None and not (number and -1 <= value <= 1):  # type: ignore[operator]
        raise SearchIndexError(f"expected {name} as a number from -1 to 1, found {value!r}")


def unit(query: Any, dims: Sequence[int], weighing: Doubles) -> Asked:
    """Bring a query's vectors, one of ``dims`` numbers per attribute or None, to length one in float64.

    Raises:
        SearchIndexError: no numbers, other shapes, a vector of length 0 or that is not finite, or none where the
            weight is not 0.
    """
    try:
        asked = [None if each is None else np.asarray(each, np.float64) for each in query]
    except (TypeError, ValueError) as error:
        raise SearchIndexError(f"expected a query of {len(dims)} vectors of numbers, found {query!r:.80}") from error
    wanted = [(dim,) for dim in dims]
    found = [want if each is None else each.shape for each, want in zip(asked, wanted, strict=False)]
    if len(asked) != len(wanted) or found != wanted:
        raise SearchIndexError(
            f"expected a query of {_form(wanted)}, found {_form([np.shape(each) for each in query])}"
        )
    for place, each in enumerate(asked):
        if each is None and weighing[place]:
            raise SearchIndexError("the query needs a vector for each attribute that weighs")
        if each is not None:
            # By axis, so that it adds up as it does over the rows of an array.
            length = np.linalg.norm(each, axis=0)
            if not np.isfinite(length) or length == 0:
                raise SearchIndexError("the query's vectors must be finite and not zero")
            asked[place] = each / length
    return asked


def _form(shapes: Sequence[tuple[int, ...]]) -> str:
    if len(set(shapes)) == 1:
        return f"shape {(len(shapes), *shapes[0])}"
    return f"{len(shapes)} vectors of shapes {', '.join(map(str, shapes))}"
