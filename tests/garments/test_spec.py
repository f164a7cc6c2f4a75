from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapel.errors import LapelError
from lapel.garments import ALLOWED, ATTRIBUTES, VALUES, Garment, draw_garment


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_drawn_garment_has_labels_its_category_allows(seed):
    garment = Garment.random(seed)
    labels = garment.labels
    assert list(labels) == [name for name in ATTRIBUTES if name in labels]
    for attribute, value in labels.items():
        assert value in VALUES[attribute]
        if attribute not in ("category", "colour", "pattern"):
            assert value in ALLOWED[garment.category][attribute]
    assert ("neckline" in labels) == (garment.category in ("top", "dress") and labels["collar"] == "none")
    assert ("lapel" in labels) == (garment.category == "coat")
    if garment.category in ("skirt", "trousers"):
        assert not {"neckline", "collar", "lapel", "sleeve_length"} & set(labels)
    assert Garment.random(seed) == garment


def test_different_seeds_give_different_garments():
    assert len({Garment.random(seed) for seed in range(50)}) == 50


@pytest.mark.parametrize(("attribute", "value"), [(a, v) for a, values in VALUES.items() for v in values])
def test_every_value_can_be_asked_for(attribute, value):
    assert Garment.random(3, **{attribute: value}).labels[attribute] == value


def test_every_value_is_drawn_and_none_rules():
    rng = np.random.default_rng(0)
    drawn = [draw_garment(rng).labels for _ in range(1500)]
    for attribute, values in VALUES.items():
        counts = [sum(labels.get(attribute) == value for labels in drawn) for value in values]
        assert min(counts) >= 15, (attribute, counts)


def test_pattern_shows_against_its_ground():
    for seed in range(60):
        assert Garment.random(seed).second_colour != Garment.random(seed).colour


@pytest.mark.parametrize(
    ("fixed", "message"),
    [
        ({"neklin": "round"}, "did you mean 'neckline'"),
        ({"neckline": "roun"}, "did you mean 'round'"),
        ({"category": "skirt", "neckline": "round"}, "no garment has category='skirt', neckline='round'"),
        ({"lapel": "peak", "collar": "shirt"}, "no garment has"),
        ({"neckline": "boat", "collar": "polo"}, "no garment has"),
    ],
)
def test_bad_wish(fixed, message):
    with pytest.raises(LapelError, match=message):
        Garment.random(0, **fixed)


BASE = {"length": "hip", "colour": "red", "pattern": "solid"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"category": "hat"}, "unknown category of a garment 'hat'"),
        ({"category": "top", "colour": "redd"}, "did you mean 'red'"),
        (
            {"category": "skirt", "length": "mini", "neckline": "round"},
            "a skirt cannot have neckline='round'",
        ),
        ({"category": "trousers", "length": "maxi"}, "it may have: shorts, knee, ankle"),
        ({"category": "coat", "lapel": "peak", "collar": "shirt"}, "has no collar label"),
        ({"category": "top", "collar": "polo", "neckline": "round"}, "has no neckline"),
        ({"category": "top", "collar": "none"}, "needs a neckline"),
    ],
)
def test_bad_garment(fields, message):
    with pytest.raises(LapelError, match=message):
        Garment(**{**BASE, **fields})
