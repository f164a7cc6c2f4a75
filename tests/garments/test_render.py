from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapel.errors import LapelError
from lapel.garments import DOMAINS, LANDMARKS, PALETTE, VALUES, Garment, render
from lapel.garments.pose import Pose

SIZE = 160


def means(colour: str, domain: str, seed: int) -> np.ndarray:
    view = render(Garment.random(seed, colour=colour, pattern="solid"), seed, domain, SIZE)
    return view.image[view.silhouette].mean(0)


@pytest.mark.parametrize("domain", DOMAINS)
def test_same_arguments_same_bytes_other_seed_other_picture(domain):
    garment = Garment.random(5)
    first, again, other = (render(garment, seed, domain, SIZE) for seed in (1, 1, 2))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.landmarks, again.landmarks)
    assert first.box == again.box
    assert first.regions == again.regions
    assert np.abs(first.image.astype(int) - other.image).mean() > 2
    assert first.labels == other.labels == garment.labels


def test_domains_differ_and_the_street_is_busier():
    def busy(domain):
        views = [render(Garment.random(seed), seed, domain, SIZE) for seed in range(8)]
        return np.mean([v.image[~v.silhouette].astype(float).std() for v in views])

    assert busy("consumer") > 1.5 * busy("shop")


@pytest.mark.parametrize(("attribute", "value"), [(a, v) for a, values in VALUES.items() for v in values])
def test_every_value_renders(attribute, value):
    garment = Garment.random(11, **{attribute: value})
    view = render(garment, 0, "shop", SIZE)
    assert view.image.shape == (SIZE, SIZE, 3)
    assert view.image.dtype == np.uint8
    assert view.labels[attribute] == value
    assert 0.02 < view.silhouette.mean() < 0.9
    assert view.regions[attribute]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(DOMAINS), st.sampled_from([64, 129, 256]))
def test_box_landmarks_and_regions_agree_with_the_silhouette(seed, domain, size):
    garment = Garment.random(seed)
    view = render(garment, seed, domain, size)
    rows, columns = np.nonzero(view.silhouette)
    assert view.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    x1, y1, x2, y2 = view.box
    assert 0 <= x1 < x2 <= size
    assert 0 <= y1 < y2 <= size
    slack = 2.0 * size / 256 + 1.0
    has_neck = garment.category in ("top", "dress", "coat")
    for name, (x, y, visibility) in zip(LANDMARKS, view.landmarks, strict=True):
        if not has_neck and name.split()[1] in ("collar", "sleeve"):
            assert (x, y, visibility) == (0, 0, 2)
        elif visibility < 2:
            assert x1 - slack <= x <= x2 + slack
            assert y1 - slack <= y <= y2 + slack
            assert 0 <= x < size
            assert 0 <= y < size
    if has_neck:
        assert view.landmarks[0, 0] < view.landmarks[1, 0]
    assert set(view.regions) == set(view.labels)
    for boxes in view.regions.values():
        for a, b, c, d in boxes:
            assert 0 <= a < c <= size
            assert 0 <= b < d <= size


def test_a_hidden_landmark_is_marked_occluded_and_one_outside_cut_off():
    seen = set()
    for seed in range(150):
        view = render(Garment.random(seed, category="dress"), seed, "consumer", 64)
        seen |= set(view.landmarks[:, 2].astype(int).tolist())
    assert seen == {0, 1, 2}


@pytest.mark.parametrize("colour", PALETTE)
def test_a_solid_garment_in_the_shop_is_nearest_to_its_named_colour(colour):
    names, palette = list(PALETTE), np.array(list(PALETTE.values()), float)
    for seed in range(4):
        distance = np.linalg.norm(palette - means(colour, "shop", seed), axis=1)
        assert names[int(distance.argmin())] == colour


def test_colours_survive_the_street():
    names, palette = list(PALETTE), np.array(list(PALETTE.values()), float)
    palette -= palette.mean(1, keepdims=True) * 0.5  # street light changes brightness more than hue
    right = 0
    for colour in names:
        for seed in range(3):
            mean = means(colour, "consumer", seed)
            distance = np.linalg.norm(palette - (mean - mean.mean() * 0.5), axis=1)
            right += names[int(distance.argmin())] == colour
    assert right >= 0.85 * 3 * len(names)


def test_patterns_differ_the_way_they_should():
    """Stripes change along one axis, solids along none, checks along both."""

    def changes(pattern, upright):
        base = Garment.random(4, category="skirt", length="midi", colour="red", pattern=pattern)
        garment = replace(base, second_colour="white", upright=upright, pleats=False, belt=False, flare=0.1)
        view = render(garment, 3, "shop", SIZE)
        inner = view.silhouette.copy()
        for _ in range(6):
            inner[1:-1, 1:-1] &= inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
        green = view.image[..., 1].astype(float)
        down, across = np.gradient(green)
        return np.abs(down)[inner].mean(), np.abs(across)[inner].mean()

    solid = changes("solid", False)
    level, upright, check = changes("stripe", False), changes("stripe", True), changes("check", False)
    assert level[0] > 3 * level[1]
    assert upright[1] > 3 * upright[0]
    assert level[0] > 5 * max(solid)
    assert upright[1] > 5 * max(solid)
    assert min(check) > 3 * max(solid)
    for pattern in ("dot", "floral"):
        assert min(changes(pattern, False)) > 3 * max(solid)


def test_length_and_sleeves_show_in_the_silhouette():
    def tall(length):
        view = render(replace(Garment.random(2, category="skirt", length=length), flare=0.3), 0, "shop", SIZE)
        return (view.box[3] - view.box[1]) / (view.box[2] - view.box[0])

    assert tall("mini") < tall("knee") < tall("midi") < tall("maxi")

    def reach(sleeve):
        base = Garment.random(2, category="top", neckline="round", length="hip", sleeve_length=sleeve)
        marks = render(replace(base, fit=0.5, depth=0.5), 0, "shop", SIZE).landmarks
        return np.linalg.norm(marks[2, :2] - marks[0, :2]) / np.linalg.norm(marks[0, :2] - marks[6, :2])

    assert reach("sleeveless") < reach("short") < reach("three_quarter") < reach("long")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_pose_inverse_undoes_forward(seed):
    rng = np.random.default_rng(seed)
    pose = Pose(
        scale=rng.uniform(0.5, 4),
        angle=rng.uniform(-0.3, 0.3),
        shear=rng.uniform(-0.2, 0.2),
        turn=rng.uniform(-0.2, 0.2),
        perspective=rng.uniform(-0.001, 0.001),
        sway=rng.uniform(-2, 2),
        shift=(rng.uniform(0, 64), rng.uniform(0, 64)),
    )
    x, y = pose.inverse(64)
    where = np.stack([x.ravel(), y.ravel()], axis=1).astype(float)
    rows, columns = np.mgrid[:64, :64] + 0.5
    expected = np.stack([columns.ravel(), rows.ravel()], axis=1)
    np.testing.assert_allclose(pose.forward(where), expected, atol=2e-3)


@pytest.mark.parametrize(
    ("domain", "size", "message"),
    [
        ("street", 64, "unknown domain 'street'"),
        ("shp", 64, "did you mean 'shop'"),
        ("shop", 8, "32 or more"),
    ],
)
def test_bad_view(domain, size, message):
    with pytest.raises(LapelError, match=message):
        render(Garment.random(0), 0, domain, size)
