"""Thumbs up and thumbs down move a query, attribute by attribute.

The thumbs up pull it as in Rocchio's rule, then all thumbs correct it as in a ridge regression kept near it::

    p  = unit(q + beta mean(more))
    q' = unit(p + X' (X X' + ridge I)^-1 (y - X p)),    rows of X: p, more, less;  y: 1 for p and more, 0 for less

The second step moves by what is still wrong: away from a disliked image as far as it is taken to be alike, little where
the query tells it apart already. Rocchio's rule, q + beta mean(more) - gamma mean(less), needs a large gamma to find as
much, and then ruins a query that got thumbs down alone.

``benchmarks/feedback.py`` chose this, and the constants, on simulated users of 1,864 photographs. Right images among
the thirty shown after the first ten, in points above those of the next pages, for users after one attribute, after two,
and after two while all weigh: with a thumb for each image 13.9, 14.4, 22.2 (Rocchio 4, 3: 10.6, 11.8, 18.5); with two
thumbs down a page 1.3, 0.4, 5.1 (Rocchio: -25.8, -44.8, -25.1).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lapel.retrieval.parts import Mixed
from lapel.retrieval.query import Asked, Doubles

BETA, RIDGE = 2.0, 3.0
CANCELLED = 1e-6  # a length below which a sum of unit vectors is rounding

Vectors = Sequence[npt.NDArray[np.floating] | None]


def moved(
    vectors: Vectors, more: Sequence[Vectors], less: Sequence[Vectors], beta: float = BETA, ridge: float = RIDGE
) -> Asked:
    """Move a query towards the images wanted more of and away from those wanted less of.

    Args:
        vectors: the query: per attribute (D_a,), or None, which stays None.
        more: per image its vectors, in the form of ``vectors``; those of attributes that the query has are known.
        less: the same.
        beta: pull of the mean of ``more``; the query itself counts 1.
        ridge: how near the regression stays; larger is nearer.

    Returns:
        Per attribute a unit vector in float64. Without thumbs, and where they cancel it, the query as it is.
    """
    found: list[Doubles | None] = []
    for place, vector in enumerate(vectors):
        if vector is None:
            found.append(None)
        else:
            query = _unit(np.asarray([vector], np.float64))[0]
            found.append(_moved(query, _rows(more, place), _rows(less, place), beta, ridge))
    return found


def steered(mixed: Mixed, more: Sequence[Vectors], less: Sequence[Vectors]) -> Mixed:
    """Move a combined query in the attributes that weigh; the weights stay as they are.

    Where an attribute's weight is negative, less like the query is what is asked for: the direction that is moved is
    the opposite of its vector.
    """
    signs = np.sign(mixed.weights)
    asked = [None if v is None or not sign else sign * v for v, sign in zip(mixed.vectors, signs, strict=True)]
    found = moved(asked, more, less)
    triples = zip(mixed.vectors, found, signs, strict=True)
    return Mixed([old if new is None else sign * new for old, new, sign in triples], mixed.weights)


def _moved(query: Doubles, more: Doubles | None, less: Doubles | None, beta: float, ridge: float) -> Doubles:
    pulled = query if more is None else query + beta * more.mean(0)
    if (more is None and less is None) or np.linalg.norm(pulled) < CANCELLED:
        return query
    pulled = _unit(pulled[None])[0]
    rows = np.concatenate([pulled[None], *(each for each in (more, less) if each is not None)])
    wanted = np.ones(len(rows))
    wanted[len(rows) - (0 if less is None else len(less)) :] = 0
    step = np.linalg.solve(rows @ rows.T + ridge * np.eye(len(rows)), wanted - rows @ pulled)
    total = pulled + rows.T @ step
    return query if np.linalg.norm(total) < CANCELLED else _unit(total[None])[0]


def _rows(images: Sequence[Vectors], place: int) -> Doubles | None:
    """One attribute's unit vectors of several images, (n, D); None if there are no images."""
    return _unit(np.array([image[place] for image in images], np.float64)) if images else None


def _unit(rows: Doubles) -> Doubles:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))
