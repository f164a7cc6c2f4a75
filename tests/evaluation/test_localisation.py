"""The two scores of a map against loops over points, and a run's attention against the regions of drawn garments."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lapel.catalogue import Catalogue
from lapel.errors import CatalogueError, LapelError, RunError
from lapel.evaluation.comparison import compare_rows
from lapel.evaluation.localisation import (
    LocalisationResult,
    centre_prior,
    localise,
    mass_inside,
    pointing_game,
    read_regions,
)
from lapel.evaluation.regions import in_frame, on_cells
from lapel.frame import Preprocessing
from lapel.retrieval.embedder import load

FINE = 12  # points along a cell's side


def slow_scores(
    attention: np.ndarray, boxes: np.ndarray, picture: tuple[int, ...], frame: tuple[int, int]
) -> tuple[float, float]:
    """Throw points at the cells and ask each whether it is in the picture and in a box."""
    height, width = attention.shape
    inside, shown = np.zeros(attention.shape), np.zeros(attention.shape)
    for row in range(height * FINE):
        for column in range(width * FINE):
            x, y = (column + 0.5) * frame[1] / width / FINE, (row + 0.5) * frame[0] / height / FINE
            cell = row // FINE, column // FINE
            if picture[0] <= x < picture[2] and picture[1] <= y < picture[3]:
                shown[cell] += 1
                inside[cell] += any(a <= x < c and b <= y < d for a, b, c, d in boxes)
    cells = [(r, c) for r in range(height) for c in range(width)]
    peak = max(attention[cell] for cell in cells)
    tied = [cell for cell in cells if attention[cell] == peak]
    chance = {cell: inside[cell] / shown[cell] if shown[cell] else 0.0 for cell in cells}
    pointing = sum(chance[cell] for cell in tied) / len(tied)
    mass = sum(attention[cell] * chance[cell] for cell in cells) / sum(attention[cell] for cell in cells)
    return pointing, mass


@pytest.mark.parametrize("resize", ["crop", "letterbox"])
@pytest.mark.parametrize("seed", range(8))
def test_scores_are_those_of_points_thrown_at_the_cells(seed: int, resize: str) -> None:
    rng = np.random.default_rng(seed)
    pre = Preprocessing(36, 48, resize)  # type: ignore[arg-type]
    grid = (3, 4)  # cells of 12 x 12 pixels: a point per pixel
    corner = rng.integers(0, 20, (int(rng.integers(1, 4)), 2))
    boxes = np.concatenate([corner, corner + rng.integers(1, 16, corner.shape)], 1).astype(np.float64)
    attention = rng.integers(0, 3, grid).astype(np.float64) + (seed % 2)  # with ties
    attention[0, 0] = max(attention[0, 0], 1)
    size = (60, 36) if resize == "crop" else (36, 36)  # not scaled: boxes stay whole-numbered
    framed = in_frame(boxes, size, pre)
    shares = on_cells(framed, pre, grid).shares
    expected = slow_scores(attention, framed.boxes, tuple(framed.picture.astype(int)), (36, 48))
    np.testing.assert_allclose([pointing_game(attention, shares), mass_inside(attention, shares)], expected)


shares_of = st.integers(0, 10**6).map(lambda seed: np.random.default_rng(seed).random((5, 3)).round(1))


@given(shares_of)
def test_a_map_that_is_even_over_the_picture_scores_chance(shares: np.ndarray) -> None:
    for height in (1e-9, 1.0, 7.0):
        flat = np.full((5, 3), height)
        assert pointing_game(flat, shares) == pytest.approx(shares.mean())
        assert mass_inside(flat, shares) == pytest.approx(shares.mean())


@pytest.mark.parametrize("resize", ["crop", "letterbox"])
@pytest.mark.parametrize("size", [(40, 90), (90, 40), (64, 64)], ids=str)
def test_chance_is_what_even_attention_scores_in_the_frame(resize: str, size: tuple[int, int]) -> None:
    pre = Preprocessing(70, 50, resize)  # type: ignore[arg-type]
    framed = in_frame(np.array([[10.0, 12.0, 30.0, 33.0], [5.0, 20.0, 15.0, 40.0]]), size, pre)
    cells = on_cells(framed, pre, (5, 4))
    even = on_cells(framed._replace(boxes=framed.picture[None]), pre, (5, 4))
    assert even.chance == pytest.approx(1)
    left, top, right, bottom = framed.picture
    down, across = np.linspace(0, 70, 6), np.linspace(0, 50, 5)
    picture = np.outer(
        np.clip(np.minimum(down[1:], bottom) - np.maximum(down[:-1], top), 0, None),
        np.clip(np.minimum(across[1:], right) - np.maximum(across[:-1], left), 0, None),
    )
    assert mass_inside(picture, cells.shares) == pytest.approx(cells.chance)
    if resize == "crop":
        assert pointing_game(picture, cells.shares) == pytest.approx(cells.chance)
    wasted = mass_inside(np.ones((5, 4)), cells.shares)
    assert wasted <= cells.chance + 1e-9, "attention on padding is lost"


@given(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 3), st.integers(1, 3)), st.integers(0, 10**6))
def test_a_map_that_is_one_inside_the_box_scores_one(place: tuple[int, ...], seed: int) -> None:
    pre = Preprocessing(96, 96)
    x, y, wide, tall = place
    box = np.array([[16.0 * x, 16 * y, 16 * (x + wide), 16 * (y + tall)]])
    cells = on_cells(in_frame(box, (96, 96), pre), pre, (6, 6))
    attention = np.zeros((6, 6))
    attention[y : y + tall, x : x + wide] = 1
    assert pointing_game(attention, cells.shares) == 1
    assert mass_inside(attention, cells.shares) == 1
    assert cells.chance == pytest.approx(wide * tall / 36)
    outside = np.where(attention > 0, 0, np.random.default_rng(seed).random((6, 6)) + 0.1)
    assert pointing_game(outside, cells.shares) == 0
    assert mass_inside(outside, cells.shares) == 0


@given(st.integers(0, 10**6))
def test_scores_do_not_depend_on_mirroring_or_scale_and_stay_below_the_best(seed: int) -> None:
    rng = np.random.default_rng(seed)
    attention, shares = rng.random((4, 5)), rng.random((4, 5))
    for score in (pointing_game, mass_inside):
        found = score(attention, shares)
        assert 0 <= found <= shares.max()
        for axis in (0, 1):
            assert score(np.flip(attention, axis), np.flip(shares, axis)) == pytest.approx(found)
        assert score(attention * 1e-3, shares) == pytest.approx(found)
        best = np.zeros((4, 5))
        best.flat[shares.argmax()] = 1
        assert score(best, shares) == shares.max()


def test_maps_are_scored_together_as_alone() -> None:
    rng = np.random.default_rng(3)
    maps, shares = rng.random((6, 2, 4, 5)), rng.random((6, 1, 4, 5))
    for score in (pointing_game, mass_inside):
        found = score(maps, shares)
        assert found.shape == (6, 2)
        for n in range(6):
            assert found[n, 1] == pytest.approx(float(score(maps[n, 1], shares[n, 0])))


def test_the_rounding_of_float32_breaks_no_tie() -> None:
    flat = np.full((8, 8), 1 / 64, np.float32)
    flat[2, 3] = np.nextafter(flat[2, 3], 1)
    shares = np.zeros((8, 8))
    shares[2, 3] = 1
    assert pointing_game(flat, shares) == pytest.approx(1 / 64)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1, 0.0])
def test_what_is_no_map_is_refused(bad: float) -> None:
    maps = np.zeros((3, 2, 2))
    maps[:2] = 1
    maps[2, 0, 0] = bad
    for score in (pointing_game, mass_inside):
        with pytest.raises(LapelError, match="1 of 3 attention maps are no maps"):
            score(maps, np.ones((2, 2)))


@pytest.mark.parametrize("grid", [(1, 1), (4, 4), (7, 4), (5, 9)], ids=str)
def test_the_centre_prior_is_symmetric_and_highest_in_the_middle(grid: tuple[int, int]) -> None:
    prior = centre_prior(*grid)
    assert np.array_equal(prior, prior[::-1])
    assert np.array_equal(prior, prior[:, ::-1])
    shares = np.zeros(grid)
    rows, columns = (slice((n - 1) // 2, n // 2 + 1) for n in grid)
    shares[rows, columns] = 1
    assert pointing_game(prior, shares) == 1, "the middle cells tie"


@dataclass
class Looking:
    """An embedder whose attention a test gives: image name -> (A, h, w)."""

    look: Callable[[str], np.ndarray]
    attributes: tuple[str, ...] = ("neckline", "length", "colour")
    preprocessing: Preprocessing = field(default_factory=lambda: Preprocessing(64, 64))

    def attention_paths(self, paths: Any, boxes: Any, batch: int, attributes: Any) -> Any:
        for name in attributes:
            if name not in self.attributes:
                raise RunError(f"unknown attribute {name!r}")
        places = [self.attributes.index(name) for name in attributes]
        for at in range(0, len(paths), batch):
            rows = [row for row in range(at, min(at + batch, len(paths))) if paths[row].is_file()]
            if rows:
                yield np.array(rows), np.stack([self.look(paths[row].name)[places] for row in rows])


LEFT, RIGHT = [0.0, 0.0, 50.0, 100.0], [50.0, 0.0, 100.0, 100.0]


def small(folder: Path) -> Catalogue:
    """Pictures of 100 x 100; a has its neckline on the left, b on the right, c too and no length; d has no regions."""
    for name in "abcd":
        Image.new("RGB", (100, 100), "white").save(folder / f"{name}.png")
    (folder / "catalogue.csv").write_text(
        "image,split,neckline,length,colour\na.png,train,round,mini,red\nb.png,test,high,maxi,blue\n"
        "c.png,test,high,,red\nd.png,test,high,,red\n"
    )
    whole = {"colour": [[0, 0, 100, 100]]}
    regions = {
        "a.png": {"neckline": [LEFT], "length": [[0, 80, 100, 100]], **whole},
        "b.png": {"neckline": [RIGHT], "length": [[0, 300, 100, 400]], **whole},
        "c.png": {"neckline": [RIGHT, [90.0, 0.0, 190.0, 100.0]], **whole},
    }
    (folder / "regions.json").write_text(json.dumps(regions))
    return Catalogue.read(folder, attributes=["neckline", "length", "colour"])


def measure(catalogue: Catalogue, look: Callable[[str], np.ndarray], **options: Any) -> LocalisationResult:
    regions = read_regions(catalogue)
    assert regions is not None
    return localise(Looking(look), catalogue, regions, **options)  # type: ignore[arg-type]


def right(_: str) -> np.ndarray:
    """All attributes look at the right half's upper cell, with a quarter left over for the lower left."""
    found = np.zeros((3, 2, 2))
    found[:, 0, 1], found[:, 1, 0] = 0.75, 0.25
    return found


def test_each_attribute_is_measured_on_the_images_that_show_it(tmp_path: Path) -> None:
    catalogue = small(tmp_path)
    found = measure(catalogue, right)
    neckline = found["neckline"]
    assert neckline.rows.tolist() == [0, 1, 2]
    assert neckline.scores["pointing"].tolist() == [0, 1, 1]
    assert neckline.scores["mass"].tolist() == [0.25, 0.75, 0.75]
    assert neckline.scores["chance"].tolist() == [0.5, 0.5, 0.5]
    assert neckline.scores["best"].tolist() == [1, 1, 1]
    assert neckline.pointing.mean == pytest.approx(2 / 3)
    assert neckline.pointing_gain.mean == pytest.approx(2 / 3 - 1 / 2)
    assert neckline.mass.mean == pytest.approx(1.75 / 3)
    assert neckline.mass_gain.mean == pytest.approx(1.75 / 3 - 1 / 2)
    assert neckline.centre_pointing == pytest.approx(0.5)
    assert neckline.centre_mass == pytest.approx(0.5)
    assert neckline.padding == 0
    assert (neckline.images, neckline.cut_off, neckline.clipped) == (3, 0, 1)
    length = found["length"]
    assert (length.images, length.cut_off, length.clipped) == (1, 1, 0), "b's length is outside its picture"
    assert length.chance == pytest.approx(0.2)
    assert length.best == pytest.approx(0.4), "the region is half as tall as a cell"
    assert length.scores["pointing"].tolist() == [0]
    assert length.scores["mass"] == pytest.approx([0.25 * 0.4])
    assert [row.attribute for row in found.attributes] == ["neckline", "length"]
    assert [row.attribute for row in found.beside] == ["colour"], "no map can miss the whole picture"
    assert found["colour"].pointing.mean == 1
    assert found.overall.images == 4
    assert found.overall.pointing.mean == pytest.approx(2 / 4)
    assert found.overall.chance == pytest.approx((3 * 0.5 + 0.2) / 4)
    assert (found.overall.cut_off, found.overall.clipped) == (1, 1)
    assert (found.without_region, found.unread) == (1, 0)
    with pytest.raises(KeyError, match="did you mean 'neckline'"):
        found["neklin"]


def test_attention_on_padding_is_told(tmp_path: Path) -> None:
    catalogue = small(tmp_path)
    for name in "abc":
        Image.new("RGB", (50, 100), "white").save(tmp_path / f"{name}.png")
    look = Looking(lambda _: np.array([[[4.0, 1, 1, 2]]] * 3), preprocessing=Preprocessing(64, 64, "letterbox"))
    found = localise(look, catalogue, {"a.png": {"length": np.array([[0.0, 0, 25, 100]])}})  # type: ignore[arg-type]
    assert found["length"].padding == pytest.approx(6 / 8)
    assert found["length"].mass.mean == pytest.approx(1 / 8)
    assert found["length"].pointing.mean == 0
    assert found["length"].chance == pytest.approx(1 / 2)


def test_the_json_is_in_percent_and_whole(tmp_path: Path) -> None:
    found = json.loads(json.dumps(measure(small(tmp_path), right).to_dict()))
    assert found["attributes"]["neckline"]["pointing"]["mean"] == 66.6667
    assert found["attributes"]["length"]["best"] == 40.0
    assert found["overall"]["images"] == 4
    assert found["images_without_region"] == 1
    assert set(found["not_in_overall"]) == {"colour"}


def test_a_split_some_attributes_and_images_that_cannot_be_read(tmp_path: Path) -> None:
    catalogue = small(tmp_path)
    test = measure(catalogue, right, split="test", attributes=["neckline"], batch=1)
    assert test["neckline"].rows.tolist() == [1, 2], "rows of the catalogue, not of the split"
    assert test.without_region == 1
    (tmp_path / "c.png").unlink()
    left = measure(catalogue, right, split="test")
    assert left["neckline"].rows.tolist() == [1]
    assert left.unread == 1
    assert left.not_measured["length"].startswith("no image shows its region, 1 regions are outside")


def test_mistakes_are_named(tmp_path: Path) -> None:
    catalogue = small(tmp_path)
    with pytest.raises(RunError, match="unknown attribute 'sole'"):
        measure(catalogue, right, attributes=["sole"])
    with pytest.raises(CatalogueError, match="unknown attribute with regions 'length'"):
        measure(catalogue.take([2]), right, attributes=["length"])
    with pytest.raises(CatalogueError, match="split"):
        measure(catalogue, right, split="tset")
    with pytest.raises(LapelError, match="colour: its regions fill the picture"):
        measure(catalogue, right, attributes=["colour"])
    with pytest.raises(LapelError, match="the run has none of the attributes"):
        localise(Looking(right, ("sole",)), catalogue, read_regions(catalogue) or {})  # type: ignore[arg-type]


def test_attention_on_the_region_beats_chance_beyond_the_interval(tmp_path: Path) -> None:
    catalogue = small(tmp_path)
    good = {"a.png": 0, "b.png": 1, "c.png": 1}

    def look(name: str) -> np.ndarray:
        found = np.full((3, 2, 2), 0.01)
        found[:, :, good[name]] = 1
        return found

    found = measure(catalogue, look, attributes=["neckline"])
    assert found["neckline"].pointing == (1, 1, 1)
    assert found["neckline"].pointing_gain.low > 0
    other = measure(catalogue, right, attributes=["neckline"])
    gap = compare_rows({"good": [found.answers()], "right": [other.answers()]}).difference("good", "right")
    assert gap.mean == pytest.approx(1 / 3)
    assert list(found.answers("mass")) == ["neckline"]
    with pytest.raises(KeyError, match="unknown score"):
        found.answers("charm")


def test_a_trained_run_on_drawn_garments(garments: Catalogue, trained: Path) -> None:
    embedder = load(trained, device="cpu")
    regions = read_regions(garments)
    assert regions is not None
    found = localise(embedder, garments, regions, split="test", batch=5, samples=100)
    assert {"colour", "pattern"} & {row.attribute for row in found.beside}
    name, row = "length", int(found["length"].rows[0])
    path, box = garments.paths()[row], garments.boxes()[row]
    with Image.open(path) as picture:
        crop = picture.crop(tuple(int(v) for v in box or ()))
        size = picture.size
    (looked,) = embedder.attention([crop], [name])[0]
    framed = in_frame(regions[garments.images["image"][row].as_py()][name], size, embedder.preprocessing, box)
    cells = on_cells(framed, embedder.preprocessing, looked.shape)
    assert found[name].scores["pointing"][0] == pytest.approx(float(pointing_game(looked, cells.shares)), abs=1e-4)
    assert found[name].scores["mass"][0] == pytest.approx(float(mass_inside(looked, cells.shares)), abs=1e-4)
    again = localise(embedder, garments, regions, split="test", batch=64, samples=100)
    for one, other in zip(found.attributes, again.attributes, strict=True):
        np.testing.assert_allclose(one.scores["mass"], other.scores["mass"], atol=1e-5)
        assert one.images + one.cut_off == sum(
            one.attribute in regions[image] for image in garments.split("test").images["image"].to_pylist()
        )
