"""Why a query failed, likely: what scores, votes, views and landmarks say of it (AG-MAN's figure 9 names such causes).

Each reason has a rule below, in the order in which they are believed: what the catalogue itself says (a hidden garment,
another view) before what only the model's own scores say. A rule points at a circumstance, it proves no cause: nobody
looked at the picture. Where no rule holds the reason is not known, and that is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lapel.evaluation.confusion import NEIGHBOURS, nearest
from lapel.evaluation.ranking import Relevance
from lapel.landmarks import CUT_OFF, VISIBLE

if TYPE_CHECKING:
    from lapel.catalogue import Catalogue

Array = NDArray[Any]
Rows = NDArray[np.int64]

REASONS = ("occlusion", "viewpoint", "tiny difference", "label doubtful", "not known")
"""What a failure can be put down to, most believed first."""

HIDDEN = 1 / 3
"""Occlusion: this share of the landmarks is occluded or cut off, in the query or in its best right candidate."""

VIEW_WRONG, VIEW_RIGHT = 0.5, 0.25
"""Viewpoint: of the wrong results at least, and of the best right candidates at most, so many show the query's view."""

TINY = 0.1
"""Tiny difference: the best right candidate is this near to the best wrong one, in standard deviations of the query's
scores; values differ that the model hardly tells apart."""

TINY_COSINE = 0.02
"""The same as a cosine, where the spread of the scores is not known."""

OWN_VOTE, RIVAL_VOTE = 0.1, 0.8
"""Label doubtful: among the nearest candidates the label's value has so little of the vote at most, and one other value
so much at least; and the query is as near to the latter as images of it usually are to each other."""

VIEW_COLUMNS = ("pose", "view", "viewpoint", "angle")
"""Metadata columns that tell how a garment is seen; the first one that knows the query's counts."""


class Reason(NamedTuple):
    """A likely reason: one of ``REASONS``, and what speaks for it in a few words."""

    name: str
    detail: str


@dataclass(frozen=True)
class Known:
    """What is known of a query and its results; None, an empty text or nothing at all: not known.

    Attributes:
        wrong_score: cosine of the best wrong candidate, or its distance with a minus where that ranks.
        right_score: cosine of the best right one, where a wrong one ranks above it: else it was not hard to tell.
        spread: standard deviation of the query's scores over all candidates.
        view: how the query is seen.
        wrong_views: how the first wrong results are.
        right_views: how the best right candidates are.
        hidden: share of the query's landmarks that are occluded or cut off.
        right_hidden: that of the best right candidate.
        own_vote: share of the vote of the nearest candidates that the query's own value gets.
        rival: the other value with the most votes.
        rival_vote: its share.
        rival_score: the query's cosine with its nearest candidate of that value.
        usual_score: median cosine of such candidates with their own nearest one of that value.
    """

    wrong_score: float | None = None
    right_score: float | None = None
    spread: float | None = None
    view: str = ""
    wrong_views: Sequence[str] = ()
    right_views: Sequence[str] = ()
    hidden: float | None = None
    right_hidden: float | None = None
    own_vote: float | None = None
    rival: str = ""
    rival_vote: float | None = None
    rival_score: float | None = None
    usual_score: float | None = None


def likely_reasons(known: Known) -> tuple[Reason, ...]:
    """Return the reasons that hold, the likeliest first; never none.

    >>> likely_reasons(Known(wrong_score=0.91, right_score=0.90))[0].name
    'tiny difference'
    >>> likely_reasons(Known()) == (Reason("not known", ""),)
    True
    """
    found = [rule(known) for rule in (_occlusion, _viewpoint, _tiny, _doubtful)]
    return tuple(reason for reason in found if reason is not None) or (Reason("not known", ""),)


def _occlusion(known: Known) -> Reason | None:
    for who, share in (("query", known.hidden), ("best right image", known.right_hidden)):
        if share is not None and share >= HIDDEN:
            return Reason("occlusion", f"{100 * share:.0f} % of the {who}'s landmarks are hidden or cut off")
    return None


def _viewpoint(known: Known) -> Reason | None:
    sides = [[view for view in side if view] for side in (known.wrong_views, known.right_views)]
    if not known.view or not all(sides):
        return None
    wrong, right = (np.mean([view == known.view for view in side]) for side in sides)
    if wrong < VIEW_WRONG or right > VIEW_RIGHT:
        return None
    other = max(sorted(set(sides[1]) - {known.view}), key=sides[1].count)
    return Reason("viewpoint", f"seen as {known.view!r} like the wrong ones; the right ones as {other!r}")


def _tiny(known: Known) -> Reason | None:
    if known.wrong_score is None or known.right_score is None:
        return None
    gap = known.wrong_score - known.right_score
    if not 0 <= gap <= (TINY_COSINE if known.spread is None else TINY * known.spread):
        return None
    said = f"{gap:.3f} behind" if gap >= 0.0005 else "as good as level with"
    return Reason("tiny difference", f"the best right image is {said} the best wrong one")


def _doubtful(known: Known) -> Reason | None:
    if known.own_vote is None or known.rival_vote is None:
        return None
    if known.own_vote > OWN_VOTE or known.rival_vote < RIVAL_VOTE:
        return None
    told = f"its neighbours say {known.rival!r}" + (
        f" ({100 * known.rival_vote:.0f} % of the vote, {100 * known.own_vote:.0f} % for its own label)"
    )
    if known.rival_score is None or known.usual_score is None:
        return Reason("label doubtful", told)
    if known.rival_score < known.usual_score:
        return None
    return Reason("label doubtful", f"{told}, and it is as near to them as they are to each other")


def evidence(
    catalogue: Catalogue,
    query: int,
    ranked: Array,
    scores: Array,
    right: Array,
    values: Sequence[str],
    vectors: Callable[[Rows], Array] | None = None,
    top: int = 5,
    k: int = NEIGHBOURS,
) -> Known:
    """Gather what is known of one query.

    Args:
        catalogue: whose rows are named.
        query: its row.
        ranked: (C,) rows of the candidates, best first, without the query itself.
        scores: (C,) their cosines, or distances with a minus, which give no vote.
        right: (C,) bool.
        values: (C,) what each candidate shows, as text.
        vectors: rows -> (n, D); without it nothing is known of how near images of a value usually are.
        top: wrong and right results that are looked at.
        k: candidates that vote, each with its cosine where that is positive.

    Raises:
        ValueError: the shapes do not fit.
    """
    if len({len(ranked), len(scores), len(right), len(values)}) > 1:
        raise ValueError(f"expected as many of each, found {len(ranked)}, {len(scores)}, {len(right)}, {len(values)}")
    hits, misses = np.flatnonzero(right), np.flatnonzero(~np.asarray(right, bool))
    known: dict[str, Any] = {"hidden": hidden_share(_landmarks(catalogue, query))}
    known["spread"] = float(np.std(scores)) if len(scores) > 1 else None
    if len(misses):
        known["wrong_score"] = float(scores[misses[0]])
    if len(hits):
        if len(misses) and misses[0] < hits[0]:
            known["right_score"] = float(scores[hits[0]])
        known["right_hidden"] = hidden_share(_landmarks(catalogue, int(ranked[hits[0]])))
    for column in (name for name in VIEW_COLUMNS if name in catalogue.metadata):
        if view := _text(catalogue, column, query):
            sides = (tuple(_text(catalogue, column, int(ranked[at])) for at in side[:top]) for side in (misses, hits))
            known["view"], (known["wrong_views"], known["right_views"]) = view, sides
            break
    say = np.maximum(np.asarray(scores[:k], np.float64), 0.0)
    if say.sum() > 0:
        say = say / say.sum()
        known["own_vote"] = float(say[right[:k]].sum())
        others: dict[str, float] = {}
        for at in misses[misses < k].tolist():
            others[values[at]] = others.get(values[at], 0.0) + float(say[at])
        if others:
            known["rival"] = max(others, key=lambda value: others[value])  # the nearer one of two with the same
            known["rival_vote"] = others[known["rival"]]
            known |= _likeness(known["rival"], ranked, scores, misses, values, vectors, k)
    return Known(**known)


def hidden_share(landmarks: Array | None) -> float | None:
    """Return the share of landmarks (n, 3) that are occluded or cut off; None where none is known.

    One at 0, 0 that is said to be cut off has no position: most often the garment does not have it. It does not count.

    >>> hidden_share(np.array([[5.0, 9, 0], [7, 9, 1], [0, 0, 2]]))
    0.5
    """
    if landmarks is None or not len(landmarks):
        return None
    absent = (landmarks == (0.0, 0.0, float(CUT_OFF))).all(axis=1)
    return float((landmarks[~absent, 2] != VISIBLE).mean()) if not absent.all() else None


def _likeness(
    rival: str,
    ranked: Array,
    scores: Array,
    misses: Rows,
    values: Sequence[str],
    vectors: Callable[[Rows], Array] | None,
    k: int,
) -> dict[str, float]:
    """Return how near the query is to a value, and how near images of that value usually are to each other."""
    same = np.array([at for at in misses.tolist() if values[at] == rival], np.int64)
    if vectors is None or len(same) < 2:
        return {}
    every = np.asarray(vectors(np.asarray(ranked, np.int64)[same]))
    asked = np.arange(min(k, len(same)))
    near = nearest(every[asked], every, 1, Relevance.of_pairs(asked, asked, len(asked)))
    return {"rival_score": float(scores[same[0]]), "usual_score": float(np.median(near.cosines))}


def _landmarks(catalogue: Catalogue, row: int) -> Array | None:
    cell = catalogue.images["landmarks"][row].as_py()
    return None if not cell else np.asarray(cell, np.float64).reshape(-1, 3)


def _text(catalogue: Catalogue, column: str, row: int) -> str:
    cell = catalogue.images[column][row].as_py()
    return "" if cell is None else str(cell)
