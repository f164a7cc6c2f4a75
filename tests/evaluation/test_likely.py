"""Each rule at and beside its threshold, and the evidence gathered from a small catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lapel.catalogue import Catalogue
from lapel.evaluation.likely import (
    HIDDEN,
    OWN_VOTE,
    REASONS,
    RIVAL_VOTE,
    TINY,
    TINY_COSINE,
    VIEW_RIGHT,
    VIEW_WRONG,
    Known,
    evidence,
    hidden_share,
    likely_reasons,
)

DOUBT = {"own_vote": OWN_VOTE, "rival": "v_neck", "rival_vote": RIVAL_VOTE}
SEEN = {"view": "front", "wrong_views": ("front", "back"), "right_views": ("back", "side", "side", "front")}
LITTLE = 1e-6


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({}, ["not known"]),
        ({"wrong_score": 0.9, "right_score": 0.9 - TINY_COSINE + LITTLE}, ["tiny difference"]),
        ({"wrong_score": 0.9, "right_score": 0.9 - TINY_COSINE - LITTLE}, ["not known"]),
        ({"wrong_score": 0.9, "right_score": 0.89, "spread": 0.01 / TINY + LITTLE}, ["tiny difference"]),
        ({"wrong_score": 0.9, "right_score": 0.89, "spread": 0.01 / TINY - LITTLE}, ["not known"]),
        ({"wrong_score": 0.9}, ["not known"]),
        ({"right_score": 0.9}, ["not known"]),
        ({"wrong_score": 0.2, "right_score": 0.9}, ["not known"]),
        ({"wrong_score": 0.9 - LITTLE, "right_score": 0.9}, ["not known"]),
        ({"wrong_score": 0.9, "right_score": 0.9}, ["tiny difference"]),
        ({"hidden": HIDDEN}, ["occlusion"]),
        ({"hidden": HIDDEN - LITTLE}, ["not known"]),
        ({"hidden": 0.0, "right_hidden": 1.0}, ["occlusion"]),
        (SEEN, ["viewpoint"]),
        ({**SEEN, "view": ""}, ["not known"]),
        ({**SEEN, "view": "back"}, ["viewpoint"]),
        ({**SEEN, "view": "side"}, ["not known"]),
        ({**SEEN, "wrong_views": ("front", "back", "back")}, ["not known"]),
        ({**SEEN, "wrong_views": ("front", "", "")}, ["viewpoint"]),
        ({**SEEN, "wrong_views": ()}, ["not known"]),
        ({**SEEN, "right_views": ("", "")}, ["not known"]),
        ({**SEEN, "right_views": ("front", "back", "side")}, ["not known"]),
        (DOUBT, ["label doubtful"]),
        ({**DOUBT, "own_vote": OWN_VOTE + LITTLE}, ["not known"]),
        ({**DOUBT, "rival_vote": RIVAL_VOTE - LITTLE}, ["not known"]),
        ({**DOUBT, "rival_score": 0.8, "usual_score": 0.8}, ["label doubtful"]),
        ({**DOUBT, "rival_score": 0.79, "usual_score": 0.8}, ["not known"]),
        ({**DOUBT, "own_vote": None}, ["not known"]),
        ({**DOUBT, **SEEN, "hidden": 1.0, "wrong_score": 0.9, "right_score": 0.9}, list(REASONS[:-1])),
    ],
    ids=str,
)
def test_reasons(known: dict[str, Any], expected: Sequence[str]) -> None:
    assert (VIEW_WRONG, VIEW_RIGHT) == (0.5, 0.25), "the cases above are made for these"
    found = likely_reasons(Known(**known))
    assert [reason.name for reason in found] == expected
    assert set(expected) <= set(REASONS)
    assert all(bool(reason.detail) == (reason.name != "not known") for reason in found)


def test_reasons_say_what_speaks_for_them() -> None:
    everything = likely_reasons(Known(**DOUBT, **SEEN, right_hidden=0.5, wrong_score=0.912, right_score=0.9))
    assert [reason.detail for reason in everything] == [
        "50 % of the best right image's landmarks are hidden or cut off",
        "seen as 'front' like the wrong ones; the right ones as 'side'",
        "the best right image is 0.012 behind the best wrong one",
        "its neighbours say 'v_neck' (80 % of the vote, 10 % for its own label)",
    ]


def test_a_tiny_difference_is_never_nothing_less() -> None:
    equal = likely_reasons(Known(wrong_score=0.9, right_score=0.9))
    assert equal[0].detail == "the best right image is as good as level with the best wrong one"


def test_what_comes_first_was_not_hard_to_tell(catalogue: Catalogue) -> None:
    right = np.array([True, False])
    found = evidence(catalogue, 0, np.array([3, 1]), np.array([0.9, 0.9]), right, ["round", "v_neck"])
    assert (found.wrong_score, found.right_score, found.right_hidden) == (0.9, None, 1.0)
    assert "tiny difference" not in [reason.name for reason in likely_reasons(found)]
    behind = evidence(catalogue, 0, np.array([1, 3]), np.array([0.9, 0.9]), ~right, ["v_neck", "round"])
    assert behind.right_score == 0.9


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (None, None),
        ([], None),
        ([[0, 0, 2], [0, 0, 2]], None),
        ([[1, 2, 0], [3, 4, 0]], 0.0),
        ([[1, 2, 0], [3, 4, 1], [5, 6, 2], [0, 0, 2]], 2 / 3),
        ([[0, 0, 0], [0, 0, 1]], 0.5),
    ],
    ids=str,
)
def test_hidden_share(points: list[list[float]] | None, expected: float | None) -> None:
    found = hidden_share(None if points is None else np.array(points, float).reshape(-1, 3))
    assert found == (None if expected is None else pytest.approx(expected))


CSV = """image,neckline,view,landmarks
q.jpg,round,front,1 1 0 2 2 1
a.jpg,v_neck,front,
b.jpg,v_neck,front,
c.jpg,round,back,3 3 1 4 4 1
d.jpg,boat,,
e.jpg,round,back,
"""
ANGLES = np.radians([0.0, 5, 10, 30, -60, 110])
VECTORS = np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1)


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    (tmp_path / "catalogue.csv").write_text(CSV)
    return Catalogue.read(tmp_path, attributes=["neckline"])


def gathered(catalogue: Catalogue, **options: Any) -> Known:
    values = catalogue.images["image"].to_pylist() and [catalogue.values_of(row)["neckline"][0] for row in range(6)]
    scores = VECTORS[1:] @ VECTORS[0]
    order = np.argsort(-scores)
    ranked = order + 1
    texts = [values[row] for row in ranked]
    right = np.array([text == "round" for text in texts])
    return evidence(catalogue, 0, ranked, scores[order], right, texts, **options)


def test_evidence_is_gathered_from_the_catalogue_and_the_scores(catalogue: Catalogue) -> None:
    found = gathered(catalogue, vectors=lambda rows: VECTORS[rows])
    cosines = np.cos(ANGLES[1:])
    assert found.wrong_score == pytest.approx(np.cos(ANGLES[1]))
    assert found.right_score == pytest.approx(np.cos(ANGLES[3]))
    assert found.spread == pytest.approx(cosines.std())
    assert found.view == "front"
    assert found.wrong_views == ("front", "front", "")
    assert found.right_views == ("back", "back")
    assert found.hidden == 0.5
    assert found.right_hidden == 1.0
    total = cosines[:4].sum()  # the last one is negative
    assert found.own_vote == pytest.approx(cosines[2] / total)
    assert found.rival == "v_neck"
    assert found.rival_vote == pytest.approx((cosines[0] + cosines[1]) / total)
    assert found.rival_score == pytest.approx(np.cos(ANGLES[1]))
    assert found.usual_score == pytest.approx(np.cos(ANGLES[2] - ANGLES[1]), abs=1e-6)
    assert [reason.name for reason in likely_reasons(found)][:2] == ["occlusion", "viewpoint"]


def test_fewer_neighbours_and_no_vectors(catalogue: Catalogue) -> None:
    found = gathered(catalogue, k=2, top=1)
    assert (found.own_vote, found.rival_vote) == (0, 1)
    assert (found.rival_score, found.usual_score) == (None, None)
    assert found.wrong_views == ("front",)
    assert "label doubtful" in [reason.name for reason in likely_reasons(found)]


def test_a_query_with_nothing_around_it(catalogue: Catalogue) -> None:
    nobody = np.zeros(0, np.int64)
    found = evidence(catalogue, 1, nobody, nobody.astype(float), nobody.astype(bool), [])
    assert found == Known(view="front")
    alone = evidence(catalogue, 4, np.array([2]), np.array([-0.5]), np.array([False]), ["v_neck"])
    assert alone == Known(wrong_score=-0.5)
    assert likely_reasons(alone)[0].name == "not known"
    with pytest.raises(ValueError, match="as many of each, found 1, 1, 1, 0"):
        evidence(catalogue, 4, np.array([2]), np.array([-0.5]), np.array([False]), [])


def test_drawn_garments_have_landmarks_to_judge_by(garments: Catalogue) -> None:
    rows = np.arange(1, 6)
    found = evidence(garments, 0, rows, np.linspace(0.9, 0.5, 5), rows > 3, ["x"] * 5)
    assert found.hidden is not None
    assert found.right_hidden is not None
    assert found.view == ""
