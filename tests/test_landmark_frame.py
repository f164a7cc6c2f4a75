"""Landmarks in the model's frame: where the picture has them, and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lapel.catalogue import Catalogue
from lapel.frame import Preprocessing
from lapel.image_source import ImageSource
from lapel.images import decode, prepare
from lapel.landmark_frame import frame_landmarks, unframe_landmarks
from lapel.landmarks import CUT_OFF, OCCLUDED, VISIBLE

FRAMES = st.builds(Preprocessing, st.integers(32, 120), st.integers(32, 120), st.sampled_from(["crop", "letterbox"]))
SIDES = st.integers(16, 300)


@st.composite
def placed(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Landmarks (n, 8, 3) in images of any size, boxes (n, 4) that may stand over or be NaN, sizes of what they cut."""
    count = draw(st.integers(0, 4))
    landmarks, boxes, sizes = np.zeros((count, 8, 3)), np.full((count, 4), np.nan), np.zeros((count, 2), int)
    for n in range(count):
        height, width = draw(SIDES), draw(SIDES)
        landmarks[n, :, 0] = draw(st.lists(st.floats(-5, width + 5), min_size=8, max_size=8))
        landmarks[n, :, 1] = draw(st.lists(st.floats(-5, height + 5), min_size=8, max_size=8))
        landmarks[n, :, 2] = draw(st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=8, max_size=8))
        sizes[n] = height, width
        if draw(st.booleans()):
            left, top = draw(st.floats(-9, width - 10)), draw(st.floats(-9, height - 10))
            boxes[n] = (
                left,
                top,
                draw(st.floats(max(left, 0) + 9, width + 9)),
                draw(st.floats(max(top, 0) + 9, height + 9)),
            )
            sizes[n] = decode(np.zeros((height, width, 3), np.uint8), tuple(boxes[n])).shape[1:]
    return landmarks, boxes, sizes


@given(placed(), FRAMES)
def test_there_and_back(images: tuple[np.ndarray, np.ndarray, np.ndarray], pre: Preprocessing) -> None:
    landmarks, boxes, sizes = images
    points, weights = frame_landmarks(landmarks, boxes, sizes, pre)
    assert (points.shape, weights.shape) == ((len(landmarks), 8, 2), (len(landmarks), 8))
    assert points.dtype == weights.dtype == np.float32
    back = unframe_landmarks(points, boxes, sizes, pre)
    np.testing.assert_allclose(back, landmarks[..., :2], atol=2e-3)
    again, _ = frame_landmarks(np.concatenate([back, landmarks[..., 2:]], axis=2), boxes, sizes, pre)
    np.testing.assert_allclose(again, points, atol=2e-3)


@given(placed(), FRAMES, st.sampled_from([0.0, 0.5, 1.0]))
def test_points_and_weights_one_by_one(
    images: tuple[np.ndarray, np.ndarray, np.ndarray], pre: Preprocessing, occluded: float
) -> None:
    landmarks, boxes, sizes = images
    points, weights = frame_landmarks(landmarks, boxes, sizes, pre, occluded)
    for n, (height, width) in enumerate(sizes.tolist()):
        rows, columns, top, left = pre.placed(height, width)
        cut = [0.0, 0.0] if np.isnan(boxes[n]).any() else [max(0, int(np.floor(edge))) for edge in boxes[n, :2]]
        for k, (x, y, visibility) in enumerate(landmarks[n]):
            x, y = x - cut[0], y - cut[1]
            inside = 0 <= x <= width and 0 <= y <= height
            x, y = x * columns / width + left, y * rows / height + top
            np.testing.assert_allclose(points[n, k], (x, y), atol=1e-3)
            inside = inside and 0 <= x <= pre.width and 0 <= y <= pre.height
            expected = {VISIBLE: 1.0, OCCLUDED: occluded, CUT_OFF: 0.0}[int(visibility)]
            assert weights[n, k] == (expected if inside else 0.0)


@pytest.mark.parametrize("resize", ["crop", "letterbox"])
@pytest.mark.parametrize("box", [None, (13.5, -4.0, 150.2, 170.9)])
@pytest.mark.parametrize(("height", "width"), [(200, 160), (160, 240)])
def test_dots_of_a_photograph_come_to_lie_there(
    tmp_path: Path, height: int, width: int, box: tuple[float, float, float, float] | None, resize: str
) -> None:
    """Through the source of a training: decoded, cut, resized; the centre of each dot is where its landmark is."""
    pre = Preprocessing(96, 64, resize, fill=0)  # type: ignore[arg-type]
    centres = np.random.default_rng(0).uniform((20, 20), (min(width, 140), min(height, 160)), (8, 2))
    across, down = np.arange(width) + 0.5, np.arange(height) + 0.5
    for n, (x, y) in enumerate(centres):
        levels = 255 * np.exp(-((across - x) ** 2 + (down[:, None] - y) ** 2) / 50)
        Image.fromarray(levels.round().astype(np.uint8)).save(tmp_path / f"{n}.png")
    source = ImageSource([tmp_path / f"{n}.png" for n in range(8)], pre, [box] * 8)
    assert (source.sizes == -1).all()
    rows, images = source.batch(range(8))
    assert rows.tolist() == list(range(8))
    assert len(np.unique(source.sizes, axis=0)) == 1
    landmarks = np.concatenate([centres, np.zeros((8, 1))], axis=1)[None].repeat(8, axis=0)
    points, weights = frame_landmarks(landmarks, source.boxes, source.sizes, pre)
    seen = 0
    for n in range(8):
        x, y = points[n, n]
        if weights[n, n] and 8 < x < 56 and 8 < y < 88:
            light = images[n, 0].double()
            light = light / light.sum()
            found = (light.sum(0) * (torch.arange(64) + 0.5)).sum(), (light.sum(1) * (torch.arange(96) + 0.5)).sum()
            np.testing.assert_allclose(found, (x, y), atol=0.3)
            seen += 1
    assert seen >= 3


def test_what_does_not_count(tmp_path: Path) -> None:
    landmarks = np.full((2, 8, 3), np.nan)
    landmarks[0] = 0, 0, CUT_OFF
    landmarks[0, :4] = [(50, 50, VISIBLE), (52, 50, OCCLUDED), (5, 50, VISIBLE), (50, 99, VISIBLE)]
    boxes = [(20.0, 10.0, 80.0, 90.0), None]
    sizes = np.array([[80, 60], [100, 100]])
    pre = Preprocessing(80, 80, "letterbox")
    points, weights = frame_landmarks(landmarks, boxes, sizes, pre)
    assert weights[0].tolist() == [1, 0, 0, 0, 0, 0, 0, 0]  # the third would lie in the padding: its pixels are cut off
    assert points[0, 0].tolist() == [40, 40]
    assert not weights[1].any()
    assert not points[1].any(), "no NaN reaches a heat-map, where a weight of 0 would not undo it"
    assert frame_landmarks(landmarks, boxes, sizes, pre, occluded=0.25)[1][0, 1] == 0.25


@pytest.mark.parametrize(
    ("landmarks", "boxes", "sizes", "message"),
    [
        ((2, 8, 2), None, [[9, 9]] * 2, r"expected landmarks \(N, 8, 3\) and sizes \(N, 2\), found \(2, 8, 2\)"),
        ((2, 6, 3), None, [[9, 9]] * 2, r"found \(2, 6, 3\)"),
        ((2, 8, 3), None, [[9, 9]], r"found \(2, 8, 3\) and \(1, 2\)"),
        ((2, 8, 3), None, [[9, 9], [-1, -1]], r"images that were read, found the size \[-1, -1\] at place 1"),
        ((2, 8, 3), [None], [[9, 9]] * 2, r"a box for each of 2 images, found \(1, 4\)"),
        ((2, 8, 3), np.zeros((2, 5)), [[9, 9]] * 2, r"a box for each of 2 images, found \(2, 5\)"),
    ],
)
def test_what_does_not_fit_is_refused(landmarks: tuple[int, ...], boxes: object, sizes: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frame_landmarks(np.zeros(landmarks), boxes, np.array(sizes), Preprocessing())  # type: ignore[arg-type]


def test_landmarks_of_a_catalogue_through_its_source_and_back(garments: Catalogue) -> None:
    pre = Preprocessing(64, 48, "letterbox")
    source = ImageSource(garments.paths(), pre, garments.boxes())
    rows, images = source.batch(np.arange(len(garments)))
    points, weights = frame_landmarks(garments.landmarks()[rows], source.boxes, source.sizes[rows], pre)
    assert 2 < weights.sum(1).mean() <= 8
    assert torch.equal(images[0], prepare(decode(source.paths[0], garments.boxes()[0]), pre))
    whole = unframe_landmarks(points, source.boxes, source.sizes, pre)
    np.testing.assert_allclose(whole[weights > 0], garments.landmarks()[..., :2][weights > 0], atol=1e-2)
