"""Regions read, brought to the frame and to the cells of a map: against pixels drawn and counted one by one."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.catalogue import Catalogue
from lapel.errors import CatalogueError
from lapel.evaluation.regions import cover, in_frame, on_cells, read_regions
from lapel.frame import Preprocessing
from lapel.images import decode, prepare

boxes_of = st.lists(st.tuples(*[st.integers(-4, 20)] * 4), max_size=4).map(
    lambda rows: np.array(
        [(min(a, c), min(b, d), max(a, c) + 1, max(b, d) + 1) for a, b, c, d in rows], np.float64
    ).reshape(-1, 4)
)


def slow_cover(boxes: np.ndarray, down: list[int], across: list[int]) -> np.ndarray:
    """Whole-numbered boxes and cells: mark unit squares, then count them."""
    canvas = np.zeros((down[-1], across[-1]), bool)
    for x1, y1, x2, y2 in boxes.astype(int).clip(0):
        canvas[y1:y2, x1:x2] = True
    return np.array([[canvas[a:b, c:d].sum() for c, d in pairwise(across)] for a, b in pairwise(down)])


@given(boxes_of, st.integers(1, 6), st.integers(1, 6), st.integers(1, 4))
def test_cover_counts_each_point_once(boxes: np.ndarray, rows: int, columns: int, step: int) -> None:
    down, across = [i * step for i in range(rows + 1)], [i * 3 for i in range(columns + 1)]
    found = cover(boxes, np.array(down, float), np.array(across, float))
    np.testing.assert_array_equal(found, slow_cover(boxes, down, across))


@pytest.mark.parametrize("resize", ["crop", "letterbox"])
@pytest.mark.parametrize("size", [(40, 30), (30, 40), (32, 32), (57, 91), (200, 33)], ids=str)
@pytest.mark.parametrize("box", [None, (3.4, 2.0, 27.5, 29.9), (-5.0, 4.0, 400.0, 28.0)], ids=str)
def test_a_region_moves_as_its_pixels_do(resize: str, size: tuple[int, int], box: tuple[float, ...] | None) -> None:
    pre = Preprocessing(64, 48, resize)  # type: ignore[arg-type]
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    picture[9:22, 8:20] = 255
    framed = in_frame(np.array([[8.0, 9.0, 20.0, 22.0]]), size, pre, box)
    shown = np.zeros((64, 48), np.float32)
    left, top, right, bottom = framed.picture.astype(int)
    shown[top:bottom, left:right] = prepare(decode(picture, box), pre)[0, top:bottom, left:right].numpy() / 255
    if not len(framed.boxes):
        assert shown.max() < 0.5
        assert framed.shown == 0
        return
    x1, y1, x2, y2 = framed.boxes[0]
    # A resampled edge is half as bright on the edge itself, so the bright area is that of the box.
    assert abs(float(shown.sum()) - (x2 - x1) * (y2 - y1)) <= 0.1 * float(shown.sum())
    ys, xs = np.nonzero(shown > 0.5)
    np.testing.assert_allclose([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], [x1, y1, x2, y2], atol=1.01)


def test_letterbox_padding_is_no_picture() -> None:
    pre = Preprocessing(64, 64, "letterbox")
    framed = in_frame(np.array([[0.0, 0.0, 50.0, 100.0]]), (100, 200), pre)
    assert framed.picture.tolist() == [16, 0, 48, 64]
    assert framed.boxes.tolist() == [[16, 0, 32, 32]]
    cells = on_cells(framed, pre, (4, 4))
    assert cells.chance == pytest.approx(0.25)
    assert cells.shares.tolist() == [[0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert cells.blank.tolist() == [[1, 0, 0, 1]] * 4


def test_a_cell_is_measured_by_what_it_shows_of_the_picture() -> None:
    pre = Preprocessing(64, 64, "letterbox")
    framed = in_frame(np.array([[0.0, 0.0, 100.0, 25.0]]), (100, 50), pre)  # picture rows 16 to 48, region 16 to 32
    cells = on_cells(framed, pre, (3, 1))  # cells of 21.3 rows: the first shows 5.3 of picture, all of it region
    np.testing.assert_allclose(cells.shares.ravel(), [1.0, (32 - 64 / 3) / (64 / 3), 0.0])
    assert cells.chance == pytest.approx(0.5)


def test_what_is_outside_the_frame_is_told() -> None:
    pre = Preprocessing(50, 50, "crop")  # a picture of 50 x 100 shows its rows 25 to 75
    assert in_frame(np.array([[0.0, 0.0, 50.0, 25.0]]), (50, 100), pre).shown == 0
    half = in_frame(np.array([[0.0, 0.0, 50.0, 50.0]]), (50, 100), pre)
    assert half.shown == pytest.approx(0.5)
    assert half.boxes.tolist() == [[0, 0, 50, 25]]
    both = in_frame(np.array([[0.0, 0.0, 50.0, 50.0], [0.0, 25.0, 50.0, 50.0]]), (50, 100), pre)
    assert both.shown == pytest.approx(0.5), "a point in two boxes counts once"
    assert in_frame(np.zeros((0, 4)), (50, 100), pre).shown == 0
    cropped = in_frame(np.array([[10.0, 10.0, 20.0, 20.0]]), (100, 100), pre, (10.0, 10.0, 20.0, 20.0))
    assert cropped.boxes.tolist() == [[0, 0, 50, 50]]
    assert cropped.shown == 1


@given(boxes_of, st.sampled_from([(3, 5), (7, 4), (1, 1)]), st.sampled_from(["crop", "letterbox"]))
def test_mirroring_the_picture_mirrors_the_cells(boxes: np.ndarray, grid: tuple[int, int], resize: str) -> None:
    pre = Preprocessing(48, 64, resize)  # type: ignore[arg-type]
    size = (24, 36)
    mirrored = np.stack([size[0] - boxes[:, 2], boxes[:, 1], size[0] - boxes[:, 0], boxes[:, 3]], 1)
    one = on_cells(in_frame(boxes, size, pre), pre, grid)
    other = on_cells(in_frame(mirrored, size, pre), pre, grid)
    np.testing.assert_allclose(one.shares[:, ::-1], other.shares, atol=1e-9)
    assert one.chance == pytest.approx(other.chance)


@given(boxes_of, st.integers(2, 5), st.sampled_from(["crop", "letterbox"]))
def test_a_larger_picture_has_the_same_cells(boxes: np.ndarray, factor: int, resize: str) -> None:
    pre = Preprocessing(48, 64, resize)  # type: ignore[arg-type]
    one = on_cells(in_frame(boxes, (24, 32), pre), pre, (3, 4))
    other = on_cells(in_frame(boxes * factor, (24 * factor, 32 * factor), pre), pre, (3, 4))
    np.testing.assert_allclose(one.shares, other.shares, atol=1e-9)
    assert one.chance == pytest.approx(other.chance)


def catalogue_of(folder: Path, regions: object) -> Catalogue:
    folder.mkdir(exist_ok=True)
    (folder / "catalogue.csv").write_text("image,neckline,colour\na.jpg,round,red\nb.jpg,high,blue\nc.jpg,high,red\n")
    (folder / "regions.json").write_text(regions if isinstance(regions, str) else json.dumps(regions))
    return Catalogue.read(folder, attributes=["neckline", "colour"])


def test_regions_are_read_beside_the_catalogue(tmp_path: Path) -> None:
    known = {"a.jpg": {"neckline": [[1, 2, 3, 4]], "sole": [[0, 0, 1, 1]]}, "b.jpg": {"neckline": []}, "z.jpg": {}}
    catalogue = catalogue_of(tmp_path, known)
    found = read_regions(catalogue)
    assert found is not None
    assert list(found) == ["a.jpg", "b.jpg"]
    assert list(found["a.jpg"]) == ["neckline"]
    assert found["a.jpg"]["neckline"].tolist() == [[1, 2, 3, 4]]
    assert found["b.jpg"]["neckline"].shape == (0, 4)
    assert list(read_regions(catalogue.take([1])) or ()) == ["b.jpg"]
    (tmp_path / "regions.json").unlink()
    assert read_regions(catalogue) is None


def test_drawn_garments_leave_regions_of_every_image_and_label(garments: Catalogue) -> None:
    found = read_regions(garments)
    assert found is not None
    for row, image in enumerate(garments.images["image"].to_pylist()):
        assert set(found[image]) == set(garments.values_of(row))


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{", "cannot read"),
        ([], "found list"),
        ({"z.jpg": {}}, "names none of the 3 images"),
        ({}, "its first is 'none at all'"),
        ({"a.jpg": []}, "a.jpg: expected attribute -> boxes, found list"),
        ({"a.jpg": {"nekline": [[0, 0, 1, 1]]}}, "did you mean 'neckline'"),
        ({"a.jpg": {"neckline": [[0, 0, 1]]}}, "a.jpg, neckline: expected a list of boxes"),
        ({"a.jpg": {"neckline": [0, 0, 1, 1]}}, "expected a list of boxes"),
        ({"a.jpg": {"neckline": [[5, 0, 1, 1]]}}, "with x1 < x2"),
        ({"a.jpg": {"neckline": [[0, 0, 1, None]]}}, "expected a list of boxes"),
        ({"a.jpg": {"neckline": 7}}, "expected a list of boxes"),
        ('{"a.jpg": {"neckline": [[0, 0, 1, NaN]]}}', "expected a list of boxes"),
    ],
    ids=str,
)
def test_bad_regions_are_named(tmp_path: Path, written: object, message: str) -> None:
    with pytest.raises(CatalogueError, match=message):
        read_regions(catalogue_of(tmp_path, written))
