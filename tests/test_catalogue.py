"""Catalogues are read, written, cut and split without losing or moving a label; what is wrong is said."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.catalogue import Catalogue
from lapel.catalogue_file import find
from lapel.errors import CatalogueError, LapelError
from lapel.landmarks import FULL, LOWER, UPPER, on_eight

TEXT = st.text(st.sampled_from("ab|\\,;\"'\n\t é袖👗0.-#"), max_size=6).map(str.strip).filter(bool)
VALUES = st.none() | st.lists(TEXT, min_size=1, max_size=3, unique=True)
NUMBERS = st.floats(-1e6, 1e6, allow_nan=False).map(lambda v: round(v, 3))


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    """One image: its cells, and the values of two attributes."""
    return {
        "image": draw(TEXT),
        "item": draw(st.none() | TEXT),
        "split": draw(st.sampled_from([None, "train", "val", "test"])),
        "domain": draw(st.sampled_from([None, "shop"])),
        "box": draw(st.none() | st.lists(NUMBERS, min_size=4, max_size=4)),
        "landmarks": draw(st.none() | st.lists(NUMBERS, min_size=3, max_size=3)),
        "name": draw(st.none() | TEXT.map(lambda v: f"x{v}")),
        "code": draw(st.sampled_from([None, "007", "12"])),
        "fit": draw(VALUES),
        "hem": draw(VALUES),
    }


ROWS = st.lists(rows(), min_size=1, max_size=7)
TYPES = {"box": pa.list_(pa.float64()), "landmarks": pa.list_(pa.float64())}


def build(content: list[dict[str, Any]]) -> Catalogue:
    """Make a catalogue directly, by loops."""
    names = [name for name in content[0] if name not in ("fit", "hem")]
    images = pa.table({n: pa.array([row[n] for row in content], TYPES.get(n, pa.string())) for n in names})
    found = [
        (number, name, value)
        for name in ("fit", "hem")
        for number, row in enumerate(content)
        for value in row[name] or ()
    ]
    columns = zip(("image", "attribute", "value"), (pa.int32(), pa.string(), pa.string()), range(3), strict=True)
    labels = pa.table({name: pa.array([label[place] for label in found], kind) for name, kind, place in columns})
    return Catalogue(Path(), images, labels, ("fit", "hem"), "drawn")


def content_of(catalogue: Catalogue) -> list[dict[str, Any]]:
    """Return every row with its values: the inverse of ``build``, by ``values_of``."""
    found = []
    for number, row in enumerate(catalogue.images.to_pylist()):
        values = catalogue.values_of(number)
        found.append(row | {name: list(values[name]) if name in values else None for name in catalogue.attributes})
    return found


def write(folder: Path, text: str, name: str = "catalogue.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@given(ROWS, st.sampled_from(["catalogue.csv", "catalogue.parquet", "C.CSV"]))
def test_what_is_written_is_read(content: list[dict[str, Any]], name: str) -> None:
    catalogue = build(content)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        catalogue.write(path)
        found = Catalogue.read(path, ["fit", "hem"])
        assert found.attributes == catalogue.attributes
        assert found.metadata == catalogue.metadata
        expected = content_of(catalogue)
        if name != "catalogue.parquet" and not any(row["code"] == "007" for row in content):
            # In CSV a column of digits is numbers, unless one begins with a zero.
            expected = [row | {"code": row["code"] and int(row["code"])} for row in expected]
        assert content_of(found) == expected
        # A CSV's images lie beside it; Parquet notes where they are.
        images = catalogue.root if name.endswith(".parquet") else Path(folder)
        assert found.paths() == [(images.resolve() / row["image"]) for row in content]
        again = Path(folder) / f"again{path.suffix}"
        found.write(again)
        assert content_of(Catalogue.read(again, ["fit", "hem"])) == expected


def test_parquet_knows_its_attributes_and_csv_tells_them_by_their_values(tmp_path: Path) -> None:
    text = "image,fit,hem,size,note\na,slim,,1,x\nb,wide,mini,1,y\n"
    catalogue = Catalogue.read(write(tmp_path, text), ["hem", "fit"])
    assert catalogue.attributes == ("fit", "hem")
    assert catalogue.metadata == ("size", "note")
    catalogue.write(tmp_path / "catalogue.parquet")
    assert Catalogue.read(tmp_path / "catalogue.parquet").attributes == ("fit", "hem")
    assert Catalogue.read(tmp_path / "catalogue.parquet", ["note"]).attributes == ("note",)
    assert Catalogue.read(tmp_path).attributes == ("fit", "hem"), "in a folder the Parquet goes first"
    assert Catalogue.read(tmp_path / "catalogue.csv").attributes == ("size",)
    assert Catalogue.read(tmp_path / "catalogue.csv", also=["fit", "sleeve"]).attributes == ("fit", "size")
    assert Catalogue.read(tmp_path / "catalogue.parquet", also=["note"]).attributes == ("note", "fit", "hem")
    assert Catalogue.read(tmp_path / "catalogue.csv", []).attributes == ()
    assert Catalogue.read(tmp_path / "catalogue.csv", "fit").attributes == ("fit",)


def test_a_csv_of_a_shop(tmp_path: Path) -> None:
    """Semicolons, a byte-order mark, boxes, codes and prices: every part lands in its place."""
    text = (
        "\ufeffimage;item;colour;price;sku;box;description\r\n"
        "a/1.jpg;77;Red|Blue;12.50;0042;1 2 30 40;A dress, long\r\n"
        'a/2.jpg;77;Red;9;0043;;"Two\r\nlines"\r\n'
        "/b/3.jpg;;Blue;;0044;;\r\n"
    )
    path = tmp_path / "shop.csv"
    path.write_bytes(text.encode())
    catalogue = Catalogue.read(path)
    assert len(catalogue) == 3
    assert catalogue.attributes == ("colour",)
    assert catalogue.metadata == ("price", "sku", "description")
    assert catalogue.images["price"].to_pylist() == [12.5, 9.0, None]
    assert catalogue.images["sku"].to_pylist() == ["0042", "0043", "0044"]
    assert catalogue.images["description"].to_pylist() == ["A dress, long", "Two\r\nlines", None]
    assert catalogue.items() == ["77", "77", None]
    assert catalogue.boxes() == [(1.0, 2.0, 30.0, 40.0), None, None]
    assert catalogue.paths() == [tmp_path.resolve() / "a/1.jpg", tmp_path.resolve() / "a/2.jpg", Path("/b/3.jpg")]
    assert catalogue.values_of(0) == {"colour": ("Red", "Blue")}
    assert catalogue.values("colour") == ("Blue", "Red")
    assert catalogue.splits() == ()
    assert catalogue.name == tmp_path.name


def test_parquet_of_another_program(tmp_path: Path) -> None:
    """What pandas, polars and Hugging Face write: categories, true/false, lists, row numbers, vectors."""
    table = pa.table(
        {
            "image": pa.array(["a", "b", "c", "d"]).dictionary_encode(),
            "item": [1, 1, 2, None],
            "split": pa.array(["train", "train", "test", "test"], pa.large_string()),
            "box": pa.array([[1, 2, 3, 4]] * 4, pa.list_(pa.int16(), 4)),
            "fit": pa.array(["slim", "wide", "slim", "wide"]).dictionary_encode(),
            "colours": [["red"], ["red", None, "blue"], [], ["blue"]],
            "is_new": [True, False, True, False],
            "vector": pa.array([[0.5, 0.5]] * 4, pa.list_(pa.float32())),
            "price": [1.0, float("nan"), 2.0, 2.0],
            "empty": pa.nulls(4),
            " spaced ": ["p", "q", "r", "s"],
            "__index_level_0__": [0, 1, 2, 3],
        }
    )
    pq.write_table(table, tmp_path / "catalogue.parquet")
    catalogue = Catalogue.read(tmp_path)
    assert catalogue.attributes == ("fit", "colours")
    assert catalogue.metadata == ("is_new", "vector", "price", "empty", "spaced")
    assert catalogue.items() == ["1", "1", "2", None]
    assert catalogue.boxes() == [(1.0, 2.0, 3.0, 4.0)] * 4
    assert catalogue.values_of(1) == {"fit": ("wide",), "colours": ("red", "blue")}
    assert catalogue.images["price"].to_pylist() == [1.0, None, 2.0, 2.0]
    assert catalogue.images["is_new"].type == pa.bool_()
    named = Catalogue.read(tmp_path, ["is_new"])
    assert named.values("is_new") == ("false", "true")
    catalogue.write(tmp_path / "out.csv")
    found = Catalogue.read(tmp_path / "out.csv", catalogue.attributes)
    assert found.images["is_new"].to_pylist() == ["true", "false", "true", "false"]
    assert found.images["vector"].to_pylist() == ["0.5"] * 4 or found.images["vector"].to_pylist() == ["0.5|0.5"] * 4
    assert found.labels.equals(catalogue.labels)


HEAD = "image,item,split,box,landmarks,fit,hem\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (HEAD, "has no rows: expected one row per image"),
        (HEAD.rstrip(), "has no rows: expected one row per image"),
        (
            "picture,fit\na,b\n",
            "has no column 'image'; found: picture, fit. Name the column with the image paths 'image'",
        ),
        (HEAD + "a,,,,,,\n,1,train,,,slim,\n", "row 3: the cell 'image' is empty; 1 such rows in all"),
        (HEAD + 'a,,,"1,2,3",,,\n', "row 2: expected box as four numbers x1 y1 x2 y2, found '1,2,3'"),
        (HEAD + "a,,,,,,\nb,,,,1 2 x,,\n", "row 3: expected landmarks as triples x y visibility, found '1 2 x'"),
        (HEAD + "a,,,,,,\nb,c\n", "row 3: expected 7 cells as in the first line, found 2: 'b,c'"),
        (HEAD + 'a,,,,,slim,"open\nb,,,,,,\n', "row 2: a quote is opened and never closed"),
        ("image,fit,fit\na,b,c\n", "has two columns named 'fit'"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(CatalogueError) as caught:
        Catalogue.read(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"picture": ["a"]}, "has no column 'image'; found: picture"),
        ({"image": pa.array([], pa.string())}, "has no rows"),
        ({"image": ["a", None]}, "row 3: the cell 'image' is empty"),
        ({"image": [{"bytes": b"", "path": "a"}]}, "expected column 'image' to hold text, found struct<bytes"),
        ({"image": [b"\xff"]}, "expected column 'image' to hold text, found binary"),
        ({"image": ["a"], "item": [["b"]]}, "expected column 'item' to hold text, found list"),
        ({"image": ["a"], "box": [[1.0, None, 2.0, 3.0]]}, "row 2: expected box as four numbers"),
        ({"image": ["a"], " image ": ["b"]}, "has two columns named 'image'"),
    ],
)
def test_bad_parquet(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "catalogue.parquet")
    with pytest.raises(CatalogueError) as caught:
        Catalogue.read(tmp_path)
    assert message in str(caught.value)


def test_parquet_that_is_none_or_has_a_foreign_record(tmp_path: Path) -> None:
    path = write(tmp_path, "not parquet at all", "catalogue.parquet")
    with pytest.raises(CatalogueError, match=r"cannot read .*catalogue\.parquet: "):
        Catalogue.read(path)
    for record in (b"{", b"[]", json.dumps({"attributes": 5}).encode(), b"{}"):
        table = pa.table({"image": ["a"]}).replace_schema_metadata({b"lapel.catalogue": record})
        pq.write_table(table, path)
        with pytest.raises(CatalogueError, match=r"cannot read .*catalogue\.parquet: "):
            Catalogue.read(path)


def test_asking_for_what_is_not_there(tmp_path: Path) -> None:
    path = write(tmp_path, "image,split,neckline,structure\na,Train,V,x\nb,Validation,round,y\n")
    with pytest.raises(
        CatalogueError, match=r"unknown attribute 'neklin'; did you mean 'neckline'\? Known: neckline, str"
    ):
        Catalogue.read(path, ["neckline", "neklin"])
    catalogue = Catalogue.read(path, ["neckline"])
    for ask in (catalogue.values, catalogue.multi_hot, lambda name: catalogue.multi_hot(name, ["V"])):
        with pytest.raises(CatalogueError, match="unknown attribute 'necklin'; did you mean 'neckline'"):
            ask("necklin")
    with pytest.raises(
        CatalogueError, match=r"split 'train'; did you mean 'Train'\? Known: Train, Validation\. The col"
    ):
        catalogue.split("train")
    with pytest.raises(
        CatalogueError, match=r"split 'val'.* The column 'split' takes train, val, test, query, gallery"
    ):
        catalogue.split("val")
    nested = pa.table({"image": ["a"], "fit": [{"x": 1}]})
    pq.write_table(nested, tmp_path / "nested.parquet")
    with pytest.raises(CatalogueError, match="expected column 'fit' to hold text, found struct"):
        Catalogue.read(tmp_path / "nested.parquet", ["fit"])
    with pytest.raises(CatalogueError, match=r"cannot write column 'fit' of struct.*: give a name ending in \.parquet"):
        Catalogue.read(tmp_path / "nested.parquet").write(tmp_path / "nested.csv")


def test_finding_the_file(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"holds neither catalogue\.csv nor catalogue\.parquet"):
        find(tmp_path)
    with pytest.raises(CatalogueError, match=r"no catalogue at .*nowhere"):
        find(tmp_path / "nowhere")
    with pytest.raises(CatalogueError, match=r"is no catalogue: expected a \.csv or \.parquet file, found '\.xlsx'"):
        find(write(tmp_path, "x", "shop.xlsx"))
    with pytest.raises(CatalogueError, match="found 'shop'"):
        find(write(tmp_path, "x", "shop"))
    path = write(tmp_path, "image\na\n")
    assert find(tmp_path) == path == find(path)
    with pytest.raises(CatalogueError, match=r"expected a name ending in \.csv or \.parquet"):
        Catalogue.read(path).write(tmp_path / "out.json")


def test_a_catalogue_beside_is_named_after_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "image\na\n")
    monkeypatch.chdir(tmp_path)
    assert Catalogue.read("catalogue.csv").name == Catalogue.read(tmp_path).name == tmp_path.name
    assert Catalogue.read("catalogue.csv").paths() == [tmp_path.resolve() / "a"]


@given(ROWS, st.data())
def test_taking_rows_equals_a_loop(content: list[dict[str, Any]], data: st.DataObject) -> None:
    catalogue = build(content)
    chosen = data.draw(st.lists(st.integers(0, len(content) - 1), max_size=9))
    expected = [content_of(catalogue)[row] for row in chosen]
    taken = catalogue.take(chosen)
    assert content_of(taken) == expected
    assert taken.labels.schema == catalogue.labels.schema
    mask = np.isin(np.arange(len(content)), chosen)
    assert content_of(catalogue.take(mask)) == [content_of(catalogue)[row] for row in sorted(set(chosen))]
    again = data.draw(st.lists(st.integers(0, len(chosen) - 1), max_size=5)) if chosen else []
    assert content_of(taken.take(again)) == [expected[row] for row in again]


@given(ROWS)
def test_a_split_holds_its_rows_and_their_labels(content: list[dict[str, Any]]) -> None:
    catalogue = build(content)
    rows_of = defaultdict(list)
    for row in content_of(catalogue):
        rows_of[row["split"]].append(row)
    assert catalogue.splits() == tuple(name for name in ("train", "val", "test") if name in rows_of)
    for name in catalogue.splits():
        assert content_of(catalogue.split(name)) == rows_of[name]


@given(ROWS, st.lists(TEXT, max_size=4, unique=True))
def test_multi_hot_equals_a_loop(content: list[dict[str, Any]], more: list[str]) -> None:
    catalogue = build(content)
    for name in ("fit", "hem"):
        values = catalogue.values(name)
        assert values == tuple(sorted({value for row in content for value in row[name] or ()}))
        expected = np.array([[value in (row[name] or ()) for value in values] for row in content], bool)
        np.testing.assert_array_equal(catalogue.multi_hot(name), expected.reshape(len(content), len(values)))
        order = [*more, *(value for value in reversed(values) if value not in more)]
        expected = np.array([[value in (row[name] or ()) for value in order] for row in content], bool)
        found = catalogue.multi_hot(name, order)
        np.testing.assert_array_equal(found, expected.reshape(len(content), len(order)))
        assert found.dtype == bool


def plain(items: list[str | None]) -> Catalogue:
    row = dict.fromkeys(("split", "domain", "box", "landmarks", "fit", "hem"))
    return build([row | {"image": f"{number}.jpg", "item": item} for number, item in enumerate(items)])


def sides(catalogue: Catalogue) -> dict[str, str]:
    images, split = (catalogue.images[name].to_pylist() for name in ("image", "split"))
    return dict(zip(images, split, strict=True))


@given(st.lists(st.none() | st.integers(0, 30).map(str), min_size=3, max_size=90), st.integers(0, 5))
def test_drawn_splits_keep_items_together_and_ignore_the_order(items: list[str | None], seed: int) -> None:
    catalogue = plain(items)
    drawn = catalogue.with_splits(seed)
    found = sides(drawn)
    by_item = defaultdict(set)
    for image, item in zip(catalogue.images["image"].to_pylist(), items, strict=True):
        by_item[item or image].add(found[image])
    assert all(len(names) == 1 for names in by_item.values())
    count = len(by_item)
    shares = [sum(names == {name} for names in by_item.values()) for name in ("train", "val", "test")]
    assert sum(shares) == count
    if count >= 3:
        assert shares[1] == shares[2] == max(1, round(0.1 * count))
    order = np.random.default_rng(1).permutation(len(items))
    assert sides(catalogue.take(order).with_splits(seed)) == found
    assert sides(catalogue.with_splits(seed)) == found
    assert drawn.with_splits(seed + 1).images.equals(drawn.images)


def test_another_seed_draws_another_split() -> None:
    catalogue = plain([None] * 100)
    assert len({tuple(sides(catalogue.with_splits(seed)).values()) for seed in range(5)}) == 5
    counts = [len(catalogue.with_splits(0).split(name)) for name in ("train", "val", "test")]
    assert counts == [80, 10, 10]
    assert plain([None] * 20).with_splits(0, (1.0, 0.0, 0.0)).splits() == ("train",)


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (1, ["train"]),
        (2, ["train", "val"]),
        (3, ["test", "train", "val"]),
        (4, ["test", "train", "train", "val"]),
    ],
)
def test_tiny_catalogues_train_first(items: int, expected: list[str]) -> None:
    for seed in range(4):
        found = sides(plain([str(number) for number in range(items)]).with_splits(seed))
        assert sorted(found.values()) == expected
    assert set(sides(plain(["one"] * 5).with_splits()).values()) == {"train"}


def test_given_splits_stay_and_rows_without_one_belong_to_none(tmp_path: Path) -> None:
    path = write(tmp_path, "image,split\na,train\nb,\nc, test \nd,gallery\ne,odd\n")
    catalogue = Catalogue.read(path).with_splits()
    assert catalogue.splits() == ("train", "test", "gallery", "odd")
    assert sides(catalogue) == {"a": "train", "b": None, "c": "test", "d": "gallery", "e": "odd"}
    assert len(catalogue.split("train")) == 1
    empty = Catalogue.read(write(tmp_path, "image,split\na,\nb,\nc,\n"))
    assert empty.with_splits().splits() == ("train", "val", "test")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, full_disk: None) -> None:
    path = tmp_path / "catalogue.csv"
    with path.open("w") as stream:
        stream.write("image\nold\n")
    with pytest.raises(LapelError, match=r"disk full while writing .*: free some space"):
        plain([None]).write(path)
    assert path.read_text() == "image\nold\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["catalogue.csv"]


def test_validation_is_drawn_from_the_training_items_where_it_is_missing(tmp_path: Path) -> None:
    rows = [
        f"{item}{view}.jpg,i{item},{'test' if item < 3 else 'train'},{item % 2}x" for item in range(21) for view in "ab"
    ]
    (tmp_path / "catalogue.csv").write_text("image,item,split,fit\n" + "\n".join(rows) + "\n")
    given = Catalogue.read(tmp_path)
    drawn = given.with_validation(0)
    assert [len(drawn.split(name)) for name in ("train", "val", "test")] == [32, 4, 6]
    assert not set(drawn.split("val").items()) & set(drawn.split("train").items())
    assert drawn.split("test").images.equals(given.split("test").images)
    assert drawn.with_validation(1) is drawn
    assert given.with_validation(0).images.equals(drawn.images)
    assert not given.with_validation(1).images.equals(drawn.images)


def triples(count: int, start: float = 1.0) -> list[float]:
    return [number for n in range(count) for number in (start + 10 * n, start + 10 * n + 0.5, n % 3)]


def with_landmarks(cells: list[list[float] | None]) -> Catalogue:
    content = [
        {"image": f"{n}.jpg", "item": None, "landmarks": cell, "fit": None, "hem": None} for n, cell in enumerate(cells)
    ]
    return build(content)


CELLS = st.none() | st.sampled_from([4, 6, 8]).flatmap(
    lambda count: st.integers(0, 99).map(lambda start: triples(count, start))
)


@given(st.lists(CELLS, max_size=6), st.data())
def test_landmarks_stand_on_the_eight_places(cells: list[list[float] | None], data: st.DataObject) -> None:
    if not cells:
        cells = [None]
    catalogue = with_landmarks(cells)
    order = data.draw(st.permutations(range(len(cells))))
    found = catalogue.take(order).landmarks()
    assert found.shape == (len(cells), 8, 3)
    for row, place in enumerate(order):
        cell = cells[place]
        if cell is None:
            assert np.isnan(found[row]).all()
        else:
            kind = {6: UPPER, 4: LOWER, 8: FULL}[len(cell) // 3]
            assert found[row].tolist() == on_eight(np.array(cell).reshape(-1, 3), kind).tolist()
    cut = Catalogue(catalogue.root, catalogue.images[1:], catalogue.labels, catalogue.attributes, "cut")
    np.testing.assert_array_equal(cut.landmarks(), catalogue.landmarks()[1:])


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        (triples(5), "[1.0, 1.5, 0.0, 11.0,"),
        (triples(17), "[1.0, 1.5, 0.0, 11.0,"),
        ([*triples(8)[:-1], 3], "71.0, 71.5, 3.0]"),
        ([*triples(4)[:-1], 0.5], "31.0, 31.5, 0.5]"),
        ([*triples(4)[:-1], -1], "31.0, 31.5, -1.0]"),
    ],
)
def test_landmarks_of_no_known_garment_are_refused(cell: list[float], shown: str) -> None:
    with pytest.raises(CatalogueError) as caught:
        with_landmarks([None, triples(8), cell]).landmarks()
    message = str(caught.value)
    assert message.startswith("catalogue 'drawn': expected the landmarks of 2.jpg as triples x y visibility, 8 as ")
    assert shown in message


def test_landmarks_survive_both_kinds_of_file(tmp_path: Path) -> None:
    catalogue = with_landmarks([triples(8), None, triples(4)])
    for name in ("catalogue.csv", "catalogue.parquet"):
        catalogue.write(tmp_path / name)
        np.testing.assert_array_equal(Catalogue.read(tmp_path / name).landmarks(), catalogue.landmarks())
