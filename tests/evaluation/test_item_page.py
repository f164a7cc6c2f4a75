"""What only an item run's page has: branches that look, landmarks, tags; hostile text does no harm."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from lapel.evaluation.branch_gaze import Look, Seen, draw_looks, looks
from lapel.evaluation.figures import Tile
from lapel.evaluation.item_page import landmarks_body, looks_body, tag_ends, tag_name, tags_body
from lapel.evaluation.landmark_figures import Guess
from lapel.evaluation.prediction import AttributePrecision, LandmarkResult, PredictionResult
from lapel.evaluation.sheets import Pictures
from lapel.frame import Preprocessing

from .report_world import catalogue_of, items_of, vectors_of
from .test_page import EVIL, Reader

PHOTO = Image.new("RGB", (60, 80), "teal")


def predicted(count: int) -> PredictionResult:
    rows = {f"tag_{n}=v_{n}": AttributePrecision((n + 0.5) / count, 0.1, n + 1, 50) for n in range(count)}
    return PredictionResult(rows, 0.5, 0.1)


@pytest.mark.parametrize(("count", "lists"), [(1, [1]), (24, [24]), (25, [10, 10]), (300, [10, 10])])
def test_the_best_and_the_worst_tags_are_shown_or_all(count: int, lists: list[int]) -> None:
    ends = tag_ends(predicted(count))
    assert [len(names) for _, names in ends] == lists
    assert ends[0][1][0] == f"tag_{count - 1}=v_{count - 1}"
    assert ends[-1][1][-1] == "tag_0=v_0"
    read = Reader(tags_body(predicted(count)))
    assert "tag 0: v 0" in read.text
    assert f"{count} of 50" in read.text or count > 50


@pytest.mark.parametrize(
    ("name", "said"), [("sleeve_length=long", "sleeve length: long"), ("a=b=c", "a: b=c"), ("floral", "floral")]
)
def test_a_tag_is_written_in_words(name: str, said: str) -> None:
    assert tag_name(name) == said


def test_landmarks_that_were_measured_are_listed_longest_bar_first_scaled() -> None:
    errors = np.array([0.02, 0.04, np.nan, 0.01, 0.01, 0.01, 0.01, 0.01])
    found = LandmarkResult(0.015, errors, np.array([3, 3, 0, 1200, 3, 3, 3, 3]), 0)
    guess = Guess(Tile(PHOTO, EVIL), Tile(PHOTO), EVIL, EVIL)
    page = landmarks_body([guess], found)
    read = Reader(page)
    assert "left sleeve" not in read.text
    assert "1,200" in read.text
    assert "2.00" in read.text
    assert 'style="width:96.00%"' in page, "the greatest error"
    assert 'style="width:48.00%"' in page
    assert EVIL in read.text
    assert "<script" not in page
    assert landmarks_body([], None) == ""
    assert "<table" not in landmarks_body([guess], None)


class Looker:
    """Two branches: one looks at the upper left, the other everywhere alike."""

    gazes = ("appearance", "landmarks")
    preprocessing = Preprocessing(height=32, width=32, resize="letterbox")

    def __init__(self, flat: bool = False) -> None:
        self.seen: list[tuple[int, int]] = []
        self.flat = flat

    def attention(self, images: list[Image.Image]) -> np.ndarray:
        self.seen += [image.size for image in images]
        maps = np.full((1, 2, 4, 4), 1 / 16, np.float32)
        if not self.flat:
            maps[0, 0] = 0
            maps[0, 0, 0, 0] = 1
        return maps


def test_branches_look_at_the_query_its_best_right_and_its_first_wrong_result(tmp_path: Path) -> None:
    catalogue = catalogue_of(tmp_path / "data", 60, broken=())
    board = items_of(catalogue, vectors_of(catalogue, 0.8), "euclidean")
    found = looks(Looker(), board, Pictures(catalogue), seed=3)  # type: ignore[arg-type]
    assert [look.title.partition(":")[0] for look in found] == ["well answered", "middling", "badly answered"]
    for look in found:
        query, *results = look.seen
        assert (query.role, query.right) == ("query", None)
        assert sorted(each.right for each in results) == [False, True]  # type: ignore[type-var]
        ranks = [int(each.role.removeprefix("rank ")) for each in results]
        assert min(ranks) == 1
        assert ranks == sorted(ranks)
        for each in look.seen:
            assert [tile.caption for tile in each.maps] == ["appearance", "landmarks"]
            assert not each.flat
    with Image.open(draw_looks(found, tmp_path / "branches.png", "title")) as picture:
        assert picture.width > 9 * 150
    flat = looks(Looker(flat=True), board, Pictures(catalogue), seed=3)  # type: ignore[arg-type]
    assert all(each.flat for look in flat for each in look.seen)


def test_looks_are_escaped_and_say_what_is_right() -> None:
    seen = [Seen(EVIL, Tile(PHOTO, EVIL), [Tile(PHOTO, EVIL)], right) for right in (None, True, False)]
    page = looks_body([Look(EVIL, seen)])
    read = Reader(page)
    assert "<script" not in page
    assert "✓ right" in read.text
    assert "✗ wrong" in read.text
    assert page.count('class="look right"') == page.count('class="look wrong"') == 1
    alts = [image["alt"] or "" for image in read.all("img")]
    assert sum(alt.startswith("Where the branch") for alt in alts) == 3


def test_a_crop_too_small_to_look_at_is_left_out(tmp_path: Path) -> None:
    from lapel.errors import ImageError

    def refuse(images: object) -> np.ndarray:
        raise ImageError("too small")

    catalogue = catalogue_of(tmp_path, 30)
    board = items_of(catalogue, vectors_of(catalogue, 0.5))
    looker = SimpleNamespace(gazes=("appearance",), attention=refuse, preprocessing=None)
    assert looks(looker, board, Pictures(catalogue)) == []  # type: ignore[arg-type]
