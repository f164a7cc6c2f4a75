"""Landmarks are drawn where they are, left and right in their colours, and heat-maps over what the model saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from lapel.evaluation.figures import Tile
from lapel.evaluation.landmark_figures import (
    SIDES,
    Guess,
    draw_guesses,
    draw_landmark_errors,
    lay_heatmaps,
    mark_points,
    side_colour,
)
from lapel.evaluation.prediction import landmark_error
from lapel.frame import Preprocessing
from lapel.landmarks import LANDMARKS

SPOTS = np.array([[60, 30], [140, 30], [30, 90], [170, 90], [60, 120], [140, 120], [50, 180], [150, 180]], float)
PLAIN = Image.new("RGB", (200, 220), "#808080")


def near(picture: Image.Image, spot: np.ndarray, colour: str, reach: int = 3) -> bool:
    """Whether a pixel near a spot has about this colour."""
    x, y = spot.astype(int)
    part = np.asarray(picture)[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1].astype(int)
    return bool((np.abs(part - ImageColor.getrgb(colour)).sum(axis=2) < 60).any())


def predicted(scores: float = 1.0) -> np.ndarray:
    return np.concatenate([SPOTS, np.full((8, 1), scores)], axis=1)


def test_each_side_has_its_colour() -> None:
    assert [side_colour(name) for name in LANDMARKS] == [SIDES["left"], SIDES["right"]] * 4
    marked = mark_points(PLAIN, predicted())
    assert marked.size == PLAIN.size
    for place, spot in enumerate(SPOTS):
        sides = [SIDES["left"], SIDES["right"]] if place % 2 == 0 else [SIDES["right"], SIDES["left"]]
        assert near(marked, spot, sides[0])
        assert not near(marked, spot, sides[1])


def test_truth_is_drawn_apart_and_what_the_garment_lacks_is_not_drawn() -> None:
    truth = np.concatenate([SPOTS + np.array([0, 14]), np.zeros((8, 1))], axis=1)
    truth[[2, 3]] = (0, 0, 2)  # no sleeves
    truth[7, 2] = 1  # occluded: its position is known
    marked = mark_points(PLAIN, predicted(), truth)
    for place in (0, 1, 4, 5, 6, 7):
        assert near(marked, truth[place, :2] + (6, 0), side_colour(LANDMARKS[place]))
    for place in (2, 3):
        assert not near(marked, SPOTS[place], side_colour(LANDMARKS[place]), 8)


def test_an_unsure_landmark_is_a_small_dot() -> None:
    given = predicted()
    given[0, 2] = 0.1
    size = [
        (np.abs(np.asarray(mark_points(PLAIN, each))[22:39, 52:69].astype(int) - 128).sum(axis=2) > 60).sum()
        for each in (predicted(), given)
    ]
    assert size[1] < size[0] / 2


def test_points_beyond_the_picture_do_no_harm() -> None:
    given = predicted()
    given[3, :2] = (900, -50)
    assert mark_points(PLAIN, given, np.zeros((8, 3))).size == PLAIN.size


@pytest.mark.parametrize("place", range(8))
def test_heat_lies_where_the_map_is_high(place: int) -> None:
    maps = np.zeros((8, 22, 20), np.float32)
    x, y = (SPOTS[place] / 10).astype(int)
    maps[place, y, x] = 1.0
    maps[0, 0, 0] = -5.0  # a heat-map may be below zero
    heated = lay_heatmaps(PLAIN, maps)
    assert near(heated, SPOTS[place] + 5, side_colour(LANDMARKS[place]))
    other = np.asarray(heated)[110, 100].astype(int)
    assert np.ptp(other) < 6  # grey elsewhere


def test_heat_is_of_the_box_and_the_rest_is_veiled() -> None:
    maps = np.zeros((8, 10, 10), np.float32)
    maps[0, 5, 5] = 1.0
    pre = Preprocessing(height=50, width=50, resize="letterbox")
    heated = lay_heatmaps(PLAIN, maps, pre, (100.0, 100.0, 200.0, 200.0))
    assert near(heated, np.array([155, 155]), SIDES["left"])
    outside = np.asarray(heated)[20, 20].astype(int)
    inside = np.asarray(heated)[110, 190].astype(int)
    assert outside[0] > inside[0]
    flat = np.asarray(lay_heatmaps(PLAIN, np.zeros((8, 4, 4), np.float32)))
    assert np.ptp(flat) == 0


def test_figures_are_written(tmp_path: Path) -> None:
    guesses = [Guess(Tile(PLAIN, "a", tag="landmarks"), Tile(PLAIN, tag="heat-maps"), "middling", "3 %")] * 3
    with Image.open(draw_guesses(guesses, tmp_path / "landmarks.png", "title")) as picture:
        assert picture.width > 1000
    truth = np.concatenate([np.repeat(SPOTS[None], 2, axis=0), np.zeros((2, 8, 1))], axis=2)
    truth[:, 2:4, 2] = 2  # of two landmarks nothing is known
    found = landmark_error(truth + np.array([3.0, 0, 0]), truth, np.full((2, 2), 200))
    with Image.open(draw_landmark_errors(found, tmp_path / "errors.png")) as picture:
        assert picture.format == "PNG"
