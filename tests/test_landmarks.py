"""The eight landmarks: what a mirror does to them, and where those of lesser garments stand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.landmarks import CUT_OFF, FULL, LANDMARKS, LOWER, OCCLUDED, PLACES, UPPER, VISIBLE, flip_landmarks, on_eight

# Whole and half pixels, which a mirror keeps to the last bit, as the data sets have them.
pixels = st.integers(0, 1000).map(lambda number: number / 2)


@st.composite
def landmark(draw):
    visibility = draw(st.sampled_from([VISIBLE, OCCLUDED, CUT_OFF]))
    return (0.0, 0.0, CUT_OFF) if visibility == CUT_OFF else (draw(pixels), draw(pixels), visibility)


garments = st.lists(landmark(), min_size=8, max_size=8).map(lambda rows: np.array(rows, float))


@given(garments, st.integers(1, 500))
def test_two_mirrors_are_none(garment, width):
    np.testing.assert_array_equal(flip_landmarks(flip_landmarks(garment, width), width), garment)


@given(garments, st.integers(1, 500))
def test_a_mirror_by_hand(garment, width):
    flipped = flip_landmarks(garment, width)
    for name, (x, y, visibility) in zip(LANDMARKS, garment, strict=True):
        side, place = name.split()
        other = LANDMARKS.index(f"{'right' if side == 'left' else 'left'} {place}")
        assert flipped[other].tolist() == [0 if visibility == CUT_OFF else width - x, y, visibility]


def test_a_cut_off_landmark_with_a_position_moves():
    garment = np.zeros((8, 3))
    garment[:, 2] = CUT_OFF
    garment[4] = (-3, 12, CUT_OFF)
    flipped = flip_landmarks(garment, 50)
    assert flipped[5].tolist() == [53, 12, CUT_OFF]
    assert flipped[4].tolist() == [0, 0, CUT_OFF]


def test_a_batch_is_flipped_like_its_members():
    batch = np.random.default_rng(0).integers(0, 90, (2, 3, 8, 3)).astype(float)
    before = batch.copy()
    flipped = flip_landmarks(batch, 90)
    for place in np.ndindex(2, 3):
        np.testing.assert_array_equal(flipped[place], flip_landmarks(batch[place], 90))
    np.testing.assert_array_equal(batch, before)
    assert flip_landmarks(batch.astype(np.int32), 90).dtype == np.float64


@pytest.mark.parametrize("shape", [(8, 2), (6, 3), (24,)])
def test_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"landmarks \(..., 8, 3\)"):
        flip_landmarks(np.zeros(shape), 10)


NAMES = {
    UPPER: ("left collar", "right collar", "left sleeve", "right sleeve", "left hem", "right hem"),
    LOWER: ("left waistline", "right waistline", "left hem", "right hem"),
    FULL: LANDMARKS,
}


@pytest.mark.parametrize("clothes_type", [UPPER, LOWER, FULL])
def test_landmarks_of_a_type_on_the_eight(clothes_type):
    names = NAMES[clothes_type]
    points = np.array([[10.0 * n + 1, 10.0 * n + 2, n % 2] for n in range(len(names))])
    eight = on_eight(points, clothes_type)
    for place, name in enumerate(LANDMARKS):
        expected = points[names.index(name)].tolist() if name in names else [0, 0, CUT_OFF]
        assert eight[place].tolist() == expected


@pytest.mark.parametrize("clothes_type", [UPPER, LOWER, FULL])
def test_a_mirrored_garment_stays_of_its_type(clothes_type):
    eight = on_eight(np.full((len(PLACES[clothes_type]), 3), 7.0), clothes_type)
    absent = (flip_landmarks(eight, 90) == (0, 0, CUT_OFF)).all(axis=1)
    assert np.flatnonzero(~absent).tolist() == list(PLACES[clothes_type])


@pytest.mark.parametrize(("clothes_type", "count"), [(UPPER, 4), (LOWER, 6), (FULL, 6), (0, 8), (4, 8)])
def test_another_number_of_landmarks_is_refused(clothes_type, count):
    with pytest.raises(ValueError, match=rf"found type {clothes_type} with {count}"):
        on_eight(np.zeros((count, 3)), clothes_type)
