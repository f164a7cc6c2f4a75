"""Figures 5, 6, 8 and 9 show what the vectors say, right and wrong as the labels have it, on any picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from lapel.evaluation import judged
from lapel.evaluation.overlays import open_picture
from lapel.evaluation.sheets import Pictures, draw_lines, failure, same_ten, slug, top_lines

from .report_world import COLOURS, board_of, catalogue_of, items_of, vectors_of


def colour_of(picture: object) -> str:
    pixel = np.asarray(open_picture(picture))[20, 20].astype(int)  # type: ignore[arg-type]
    return min(COLOURS, key=lambda name: np.abs(pixel - COLOURS[name]).sum())


def test_the_ten_best_are_framed_by_their_true_value(tmp_path: Path) -> None:
    catalogue = catalogue_of(tmp_path, 60)
    board = board_of(catalogue, vectors_of(catalogue, 0.8))
    lines = top_lines(board, Pictures(catalogue), seed=3)
    assert [line.title.partition(":")[0] for line in lines] == ["well answered", "middling", "badly answered"]
    for line in lines:
        assert len(line.hits) == 10
        assert colour_of(line.query.image) == line.query.value
        for hit in line.hits:
            assert hit.right == (hit.value == line.query.value)
            assert colour_of(hit.image) == hit.value
        scores = [hit.score for hit in line.hits]
        assert scores == sorted(scores, reverse=True)  # type: ignore[type-var]
        assert line.facts[0] == f"{sum(bool(hit.right) for hit in line.hits)} of the first 10 right"
    assert top_lines(board, Pictures(catalogue), seed=3) == lines


def test_each_picture_is_read_once_small_and_cropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = catalogue_of(tmp_path, 3, broken=(2,))
    Image.new("RGB", (900, 600), "navy").save(tmp_path / "00.png")
    boxes = pa.array([[0.0, 0.0, 450.0, 600.0], None, None], pa.list_(pa.float64()))
    place = catalogue.images.column_names.index("box")
    object.__setattr__(catalogue, "images", catalogue.images.set_column(place, "box", boxes))
    pictures = Pictures(catalogue)
    first = pictures[0]
    assert open_picture(first).size == (255, 340)
    (tmp_path / "00.png").unlink()
    assert pictures[0] is first
    assert pictures[2] == tmp_path.resolve() / "02.png"  # which says why when it is opened
    assert Pictures(catalogue, boxes=False).box(0) is None


def test_every_model_ranks_the_same_ten(tmp_path: Path) -> None:
    catalogue = catalogue_of(tmp_path, 90)
    board = board_of(catalogue, vectors_of(catalogue, 0.8))
    perfect, upside = vectors_of(catalogue)[:, 0], vectors_of(catalogue)[:, 0]
    upside[board.queries] *= -1
    asked: list[str | None] = []

    def told(vectors: np.ndarray):
        def give(rows: np.ndarray, attribute: str | None) -> np.ndarray:
            asked.append(attribute)
            return vectors[rows]

        return give

    lines = same_ten(board, Pictures(catalogue), {"good": told(perfect), "bad": told(upside)}, seed=1)
    assert asked == ["main_colour"] * 2
    good, bad = ([hit.right for hit in line.hits] for line in lines)
    assert good == [True] * 5 + [False] * 5
    assert bad == [False] * 5 + [True] * 5
    assert sorted(hit.caption for hit in lines[0].hits) == sorted(hit.caption for hit in lines[1].hits)
    assert [line.title for line in lines] == ["good", "bad"]
    assert lines[0].facts == ("AP of these 10: 100 %",)
    assert lines[1].facts == ("AP of these 10: 35 %",)  # (1/6 + 2/7 + 3/8 + 4/9 + 5/10) / 5
    assert lines[0].query.caption not in {hit.caption for hit in lines[0].hits}


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_each_item_is_shown_once_by_its_best_image_with_that_rank(tmp_path: Path, distance: str) -> None:
    catalogue = catalogue_of(tmp_path, 60)
    board = items_of(catalogue, vectors_of(catalogue, 0.8), distance)
    for line in top_lines(board, Pictures(catalogue), seed=1, top=6):
        number = board.asked.index(line.query.value)
        row = next(n for n in (number, number + 1) if f"{board.queries[n]:02}.png" == line.query.caption)
        ranking = board.ranking(row)
        given = [board.given[position] for position in ranking.order]
        expected: list[tuple[str, int]] = []
        for place, item in enumerate(given):
            if item not in [name for name, _ in expected]:
                expected.append((item, place))
            if len(expected) == 7:
                break
        last, shown = expected[-1][1], expected[:6]
        for hit, (item, place) in zip(line.hits, shown, strict=True):
            others = given[:last].count(item) - 1
            assert hit.value == (f"{item} (+{others})" if others else item)
            assert (hit.tag, hit.caption) == (f"{place + 1}", f"{board.candidates[ranking.order[place]]:02}.png")
            assert hit.right == (item == line.query.value)
            assert hit.score == pytest.approx(abs(ranking.scores[place]))
        assert line.facts[0] == f"first right one at rank {ranking.first} of 59"
        scores = [hit.score for hit in line.hits]
        assert scores == sorted(scores, reverse=distance == "cosine")  # type: ignore[type-var]


def test_models_of_other_distances_rank_the_same_ten_by_their_own(tmp_path: Path) -> None:
    catalogue = catalogue_of(tmp_path, 60)
    vectors = vectors_of(catalogue, 0.3)[:, 0] * np.arange(1, 61)[:, None]
    board = items_of(catalogue, vectors[:, None], "euclidean")
    models = {"near": lambda rows, _: vectors[rows], "alike": lambda rows, _: vectors[rows]}
    near, alike = same_ten(board, Pictures(catalogue), models, seed=2, euclidean=("near",))
    row = int(near.query.caption[:2])
    gaps = [float(np.linalg.norm(vectors[int(hit.caption[:2])] - vectors[row])) for hit in near.hits]
    assert [hit.score for hit in near.hits] == pytest.approx(gaps)
    assert gaps == sorted(gaps)
    assert max(hit.score or 0 for hit in alike.hits) <= 1.0
    assert sorted(hit.caption for hit in near.hits) == sorted(hit.caption for hit in alike.hits)
    assert [hit.caption for hit in near.hits] != [hit.caption for hit in alike.hits]


def test_a_failure_shows_the_first_wrong_ones_the_best_right_one_and_a_reason(tmp_path: Path) -> None:
    catalogue = catalogue_of(tmp_path, 60)
    board = board_of(catalogue, -vectors_of(catalogue, 0.05))
    vectors = vectors_of(catalogue, 0.05)
    vectors[board.queries] *= -1  # a query is far from its like
    board = board_of(catalogue, vectors)
    line = failure(board, 0, catalogue, Pictures(catalogue))
    assert [hit.right for hit in line.hits] == [False] * 5 + [True]
    assert [hit.tag for hit in line.hits[:5]] == [f"rank {rank}" for rank in range(1, 6)]
    first = board.ranking(0).first
    assert first > 5
    assert line.hits[5].tag == f"rank {first}"
    assert line.facts[0] == f"first right one at rank {first} of {len(board.candidates)}"
    assert line.note.startswith("Likely reason: ")


def test_lines_become_a_picture_even_of_broken_ones(tmp_path: Path) -> None:
    catalogue = catalogue_of(tmp_path / "data", 30, broken=tuple(range(0, 30, 4)))
    board = board_of(catalogue, vectors_of(catalogue, 0.8))
    path = draw_lines(top_lines(board, Pictures(catalogue)), tmp_path / "out" / "figure.png", "title")
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.width > 1500
        assert picture.height > 700


@pytest.mark.parametrize(
    ("name", "expected"),
    [("sleeve_length",) * 2, ("../../etc", "etc"), ("<b>ä</b>", "b-b"), ("???", "attribute"), ("x" * 99, "x" * 60)],
)
def test_file_names_are_tame(name: str, expected: str) -> None:
    assert slug(name) == expected


def test_drawn_triplets_are_of_the_labels(tmp_path: Path) -> None:
    catalogue = catalogue_of(tmp_path)
    rows = judged.drawn_triplets(catalogue, "main_colour", seed=0, count=200)
    assert len(rows) == 200
    value = np.arange(30) % 3
    assert (value[rows[:, 0]] == value[rows[:, 1]]).all()
    assert (value[rows[:, 0]] != value[rows[:, 2]]).all()
    assert (rows[:, 0] != rows[:, 1]).all()
    few = judged.drawn_triplets(catalogue.take(np.arange(4)), "main_colour", seed=0, count=200)
    assert sorted(few.tolist()) == [[0, 3, 1], [0, 3, 2], [3, 0, 1], [3, 0, 2]], "there are no more; none comes twice"
    assert len(judged.drawn_triplets(catalogue.take(np.arange(0, 30, 3)), "main_colour", 0)) == 0  # one value only


def test_given_triplets_are_those_of_the_attribute_that_the_catalogue_has(tmp_path: Path) -> None:
    catalogue = catalogue_of(tmp_path, 6)
    cells = [("main_colour", 0, 3, 1), ("main_colour", 2, 5, 9), ("other", 1, 4, 2)]
    names = ("attribute", "anchor", "positive", "negative")
    table = pa.table(
        {name: [str(row[n]) if n == 0 else f"{row[n]:02}.png" for row in cells] for n, name in enumerate(names)}
    )
    assert judged.given_triplets(table, catalogue, "main_colour", 0).tolist() == [[0, 3, 1]]


def test_triplets_are_judged_by_their_similarities(tmp_path: Path) -> None:
    catalogue = catalogue_of(tmp_path)
    vectors = vectors_of(catalogue, 0.6)[:, 0]
    rows = judged.drawn_triplets(catalogue, "main_colour", 0)
    found = judged.judge(rows, lambda some: vectors[some], catalogue, "main_colour", Pictures(catalogue), shown=4)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    right = (unit[rows[:, 0]] * unit[rows[:, 1]]).sum(1) > (unit[rows[:, 0]] * unit[rows[:, 2]]).sum(1)
    assert (found.right, found.judged) == (right.sum(), len(rows))
    assert [each.right for each in found.shown] == [True, True, False, False]
    for each in found.shown:
        assert each.right == (each.similarity[0] > each.similarity[1])
        assert each.anchor.value == each.close.value != each.far.value
        assert (each.close.right, each.far.right, each.anchor.right) == (each.right, each.right, None)
    path = judged.draw_judged([found], tmp_path / "figure8.png")
    with Image.open(path) as picture:
        assert picture.width > 1000


def test_where_all_are_right_only_right_ones_are_shown(tmp_path: Path) -> None:
    catalogue = catalogue_of(tmp_path)
    vectors = vectors_of(catalogue)[:, 0]
    rows = judged.drawn_triplets(catalogue, "main_colour", 0, 20)
    found = judged.judge(rows, lambda some: vectors[some], catalogue, "main_colour", Pictures(catalogue), shown=4)
    assert [each.right for each in found.shown] == [True] * 4
    opposite = judged.judge(
        rows[:, [0, 2, 1]], lambda some: vectors[some], catalogue, "main_colour", Pictures(catalogue), shown=4
    )
    assert [each.right for each in opposite.shown] == [False] * 4
