"""Query draws, and given lists: from a relation or a file, with values or without."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapel.catalogue import Catalogue
from lapel.errors import CatalogueError
from lapel.evaluation.queries import QueryLists, draw_queries, rows_of


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(0, 500), min_size=2), st.floats(0.01, 0.99), st.integers(0, 5))
def test_draw_splits_the_rows(rows, share, seed):
    queries, candidates = draw_queries(np.array(sorted(rows)), share, seed, "neckline")
    assert sorted([*queries, *candidates]) == sorted(rows)
    assert len(queries) == min(max(1, round(share * len(rows))), len(rows) - 1)
    assert (np.diff(queries) > 0).all()
    assert (np.diff(candidates) > 0).all()


def test_draw_depends_on_seed_attribute_and_names_only():
    rows = np.arange(200)
    names = [f"{row}.jpg" for row in rows]
    queries, _ = draw_queries(rows, 0.2, 0, "neckline", names)
    assert len(queries) == 40
    order = np.random.default_rng(0).permutation(200)
    again, _ = draw_queries(rows[order], 0.2, 0, "neckline", [names[row] for row in order])
    np.testing.assert_array_equal(again, queries)
    for other in (draw_queries(rows, 0.2, 1, "neckline", names), draw_queries(rows, 0.2, 0, "colour", names)):
        assert set(other[0]) != set(queries)
    # Ten images more at the front of the file: nearly all queries are the same photographs as before.
    grown, _ = draw_queries(np.arange(210), 0.2, 0, "neckline", [f"new{i}" for i in range(10)] + names)
    assert len({row - 10 for row in grown} & set(queries)) >= 35


def test_draw_is_the_same_in_another_process():
    code = (
        "import numpy; from lapel.evaluation.queries import draw_queries;"
        "print(draw_queries(numpy.arange(30), 0.2, 3, 'hem')[0])"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True)
        for seed in ("1", "2")
    ]
    here = str(draw_queries(np.arange(30), 0.2, 3, "hem")[0])
    assert [run.stdout.strip() for run in runs] == [here, here]


@pytest.mark.parametrize(("rows", "share"), [([3], 0.2), ([], 0.2), ([1, 2], 0.0), ([1, 2], 1.0)])
def test_draw_needs_two_rows_and_a_share(rows, share):
    with pytest.raises(ValueError, match="at least 2 rows and a share between 0 and 1"):
        draw_queries(np.array(rows), share)


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    lines = ["image,split,hem"] + [f"{n}.jpg,test,{'long' if n % 2 else 'short'}" for n in range(8)]
    (tmp_path / "catalogue.csv").write_text("\n".join(lines) + "\n")
    return Catalogue.read(tmp_path, attributes=["hem"])


ROWS = [
    ("test", "query", "hem", "1", "3.jpg"),
    ("test", "candidate", "hem", "0", "5.jpg"),
    ("val", "query", "hem", "1", "elsewhere.jpg"),
    ("test", "candidate", "hem", "1", "3.jpg"),
    ("test", "query", "hem", "2", "3.jpg"),
    ("test", "candidate", "hem", "1", "0.jpg"),
    ("test", "query", "cuff", "1", "7.jpg"),
]
NAMES = ("split", "role", "attribute", "value", "image")


def table(rows=ROWS) -> pa.Table:
    return pa.table({name: [row[place] for row in rows] for place, name in enumerate(NAMES)})


def test_a_relation_is_followed_row_by_row(catalogue):
    lists = QueryLists.of_relation(table(), catalogue, "test", "the lists")
    assert lists.attributes == ("hem", "cuff")
    queries, candidates = lists.lists["hem"]
    assert (queries.tolist(), candidates.tolist()) == ([3, 3], [5, 3, 0])
    assert [side.tolist() for side in lists.values["hem"]] == [["1", "2"], ["0", "1", "1"]]
    assert lists.rows(8).tolist() == [0, 3, 5, 7]
    sides = lists.sides("hem", catalogue.multi_hot("hem"))
    relevant = sides.query_labels.astype(int) @ sides.candidate_labels.T.astype(int)
    assert relevant.tolist() == [[0, 1, 1], [0, 0, 0]]
    assert sides.shared() == 1
    assert sides.without(np.arange(8) == 3).candidates.tolist() == [5, 0]
    part = lists.on(lists.rows(8))
    assert [side.tolist() for side in part.lists["hem"]] == [[1, 1], [2, 1, 0]]
    assert part.values is lists.values


def test_without_values_the_labels_decide(catalogue):
    rows = [row for row in ROWS if row[4] != "3.jpg" and row[2] == "hem"] + [("test", "query", "hem", "", "3.jpg")]
    for bare in (table(rows).drop_columns(["value"]), table([(*row[:3], None, row[4]) for row in rows])):
        lists = QueryLists.of_relation(bare, catalogue, "test", "the lists")
        assert not lists.values
        sides = lists.sides("hem", catalogue.multi_hot("hem"))
        assert (sides.query_labels @ sides.candidate_labels.T).tolist() == [[True, False]]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_of_lists(catalogue, tmp_path, kind):
    path = tmp_path / f"lists.{kind}"
    if kind == "csv":
        rows = [row for row in ROWS if row[0] == "test"]
        cells = ["image;role;attribute;value"] + [f"{row[4]};{row[1]};{row[2]};{row[3]}" for row in rows]
        path.write_text("\n".join(cells) + "\n")  # no column of splits: all of it is meant
    else:
        pa.parquet.write_table(table(), path)
    lists = QueryLists.read(path, catalogue, "test")
    expected = QueryLists.of_relation(table(), catalogue, "test", "")
    for name in ("hem", "cuff"):
        for side in (0, 1):
            assert lists.lists[name][side].tolist() == expected.lists[name][side].tolist()
            assert lists.values[name][side].tolist() == expected.values[name][side].tolist()
    assert lists.source.startswith(f"{path}, SHA-256 ")
    assert len(lists.source.rsplit(" ", 1)[1]) == 16


@pytest.mark.parametrize(
    ("rows", "split", "message"),
    [
        (ROWS, "train", "lists: unknown split 'train'.*Known: test, val"),
        ([("test", "queries", "hem", "1", "3.jpg")], "test", "unknown role 'queries'; did you mean 'query'"),
        ([*ROWS, ("test", "query", "hem", "", "3.jpg")], "test", "lists: row 8 has no value; 1 such rows"),
        ([*ROWS, ("test", "query", None, "1", "3.jpg")], "test", "lists: row 8 has no attribute"),
        ([("test", "query", "hem", "1", f"{n}.png") for n in range(3)], "test", "3 of 3 named images .*first: '0.png'"),
    ],
)
def test_lists_that_cannot_be_followed(catalogue, rows, split, message):
    with pytest.raises(CatalogueError, match=message):
        QueryLists.of_relation(table(rows), catalogue, split, "lists")


def test_files_that_cannot_be_followed(catalogue, tmp_path):
    for name, text, message in (
        ("gone.csv", None, "no query lists at"),
        ("short.csv", "image,role\n3.jpg,query\n", "expected columns role, attribute, value and image, found image"),
        ("other.csv", "picture,role\n3.jpg,query\n", "no column 'image'"),
        ("text.txt", "image,role\n", "cannot read .*expected a .csv or .parquet file"),
    ):
        if text is not None:
            (tmp_path / name).write_text(text)
        with pytest.raises(CatalogueError, match=message):
            QueryLists.read(tmp_path / name, catalogue, "test")


def test_one_value_per_listed_row(catalogue):
    lists = QueryLists({"hem": (np.array([1]), np.array([2, 3]))}, "lists", {"hem": (["a"], ["a"])})
    with pytest.raises(CatalogueError, match="expected one value per listed row"):
        lists.sides("hem", catalogue.multi_hot("hem"))
    with pytest.raises(CatalogueError, match="rows 1 to 3, the catalogue has 3 images"):
        lists.rows(3)


def test_an_image_that_is_there_twice_is_its_first_row(catalogue):
    twice = catalogue.take([4, 2, 4, 1])
    assert rows_of(pa.array(["1.jpg", "4.jpg", "2.jpg"]), twice, "lists").tolist() == [3, 0, 1]
