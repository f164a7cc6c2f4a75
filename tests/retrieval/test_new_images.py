"""What is said of an image that comes alone: taken as a catalogue takes it, or refused with what was expected."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from lapel.retrieval.new_images import EntryError, NewImage, cells_of, check_id, fitted

KINDS = {
    "id": pa.string(),
    "image": pa.string(),
    "item": pa.string(),
    "box": pa.string(),
    "meta_price": pa.float64(),
    "meta_year": pa.int64(),
    "meta_name": pa.string(),
    "meta_sale": pa.bool_(),
    "label_colour": pa.list_(pa.string()),
}


def image(**said: Any) -> NewImage:
    return NewImage("a", b"bytes", **said)


def test_cells_are_those_of_a_catalogue() -> None:
    said = image(
        item=" i1 ",
        split="",
        domain="shop",
        labels={"colour": ["Red", " Blue ", "Red", ""], "fit": "slim", "sleeve": []},
        metadata={"size.eu": "42", "price": 40, "sale": False, "name": "  ", "none": None},
        box=[0, 1.5, 10, 20],
    )
    assert cells_of(said) == {
        "item": "i1",
        "domain": "shop",
        "box": "0 1.5 10 20",
        "meta_size%2Eeu": "42",
        "meta_price": 40,
        "meta_sale": False,
        "label_colour": ["Red", "Blue"],
        "label_fit": ["slim"],
    }


def test_cells_take_the_type_of_their_column() -> None:
    cells = {"item": "i", "meta_price": 40, "meta_year": 2024.0, "meta_new": 7, "meta_on": True, "label_fit": ["slim"]}
    found, fresh = fitted(cells, KINDS)
    assert found == {
        "item": "i",
        "meta_price": 40.0,
        "meta_year": 2024,
        "meta_new": 7.0,
        "meta_on": True,
        "label_fit": ["slim"],
    }
    assert {type(found[name]) for name in ("meta_price", "meta_new")} == {float}
    assert type(found["meta_year"]) is int
    assert fresh == {"meta_new": pa.float64(), "meta_on": pa.bool_(), "label_fit": pa.list_(pa.string())}


@pytest.mark.parametrize("name", ["a", "photos/a b.jpg", "Größe/π.png", "a#0,0,5,5", "x" * 512, "../a", "kept://x"])
def test_ids(name: str) -> None:
    assert check_id(name) == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "without spaces around it and not empty, found ''"),
        (" a", "without spaces around it"),
        ("a\n", "without spaces around it"),
        ("a\tb", "a control character"),
        ("a\x7fb", "a control character"),
        ("a\u2028b", "a control character"),
        ("a\0b", "a NUL character"),
        ("\ud800", "no Unicode text"),
        ("x" * 513, "is 513 characters long; expected 512 at most"),
        ("ü" * 300, "is 600 bytes long; expected 512 at most"),
        (7, "expected id as text, found 7"),
        (None, "expected id as text"),
    ],
)
def test_bad_ids(name: Any, message: str) -> None:
    with pytest.raises(EntryError, match=message):
        check_id(name)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"item": 7}, "expected item as text, found 7"),
        ({"item": "x" * 10_001}, "item is 10001 characters long"),
        ({"split": "\ud83d"}, "split is no Unicode text"),
        ({"labels": ["Red"]}, "expected labels as at most 200 names"),
        ({"labels": {"colour": 7}}, "attribute 'colour' takes a list of values, found 7"),
        ({"labels": {"colour": {"Red": 1}}}, "attribute 'colour' takes a list of values"),
        ({"labels": {"colour": [7]}}, "expected a value of 'colour' as text, found 7"),
        ({"labels": {"colour": ["x" * 201]}}, "a value of 'colour' is 201 characters long"),
        ({"labels": {"colour": [str(n) for n in range(101)]}}, "takes at most 100 values, found 101"),
        ({"labels": {"item": ["x"]}}, "a name of attribute that is not empty"),
        ({"metadata": {"": 1}}, "a name of metadata that is not empty"),
        ({"metadata": {" a": 1}}, "has no spaces around it"),
        ({"metadata": {"Vector": 1}}, "none of image, item"),
        ({"metadata": {"a\x1fb": 1}}, "a control character"),
        ({"metadata": {"x" * 101: 1}}, "name of metadata is 101 characters long"),
        ({"metadata": {7: 1}}, "expected name of metadata as text"),
        ({"metadata": {"a": [1]}}, r"metadata 'a' takes text, a number, or true or false, found \[1\]"),
        ({"metadata": {"a": float("nan")}}, "takes numbers of up to 2.53, found nan"),
        ({"metadata": {"a": float("inf")}}, "takes numbers of up to 2.53, found inf"),
        ({"metadata": {"a": 10**400}}, "found 1000.*: send a code as text"),
        ({"metadata": {"a": "b\0"}}, "metadata 'a' has a NUL character"),
        ({"metadata": {str(n): n for n in range(201)}}, "expected metadata as at most 200 names"),
        ({"metadata": {"a": 1}, "labels": {"a": ["b"]}}, "'a' is given as an attribute and as metadata"),
        ({"box": [1, 2, 3]}, "expected box as four numbers"),
        ({"box": "1 2 3 4"}, "expected box as four numbers"),
        ({"box": [0, 0, 10**400, 5]}, "expected box as four numbers"),
        ({"box": [0, 0, float("nan"), 5]}, "expected box as four numbers"),
    ],
)
def test_what_no_index_can_hold(said: dict[str, Any], message: str) -> None:
    with pytest.raises(EntryError, match=message):
        cells_of(image(**said))


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"meta_price": "cheap"}, "metadata 'price' holds numbers in this index, found 'cheap'"),
        ({"meta_price": True}, "metadata 'price' holds numbers in this index, found True"),
        ({"meta_year": 20.5}, "metadata 'year' holds whole numbers in this index, found 20.5"),
        ({"meta_name": 7}, "metadata 'name' holds text in this index, found 7"),
        ({"meta_sale": "yes"}, "metadata 'sale' holds true or false in this index, found 'yes'"),
        ({"meta_colour": "Red"}, "'colour' is in the labels of this index: send it in labels"),
        ({"label_price": ["7"]}, "'price' is in the metadata of this index: send it in metadata"),
        ({"label_Colour": ["Red"]}, "unknown attribute 'Colour'; did you mean 'colour'"),
        ({"meta_PRICE": 7}, "unknown metadata 'PRICE'; did you mean 'price'"),
    ],
)
def test_what_this_index_cannot_hold(cells: dict[str, Any], message: str) -> None:
    with pytest.raises(EntryError, match=message):
        fitted(cells, KINDS)


def test_columns_are_bounded() -> None:
    kinds = {f"meta_{n}": pa.string() for n in range(999)}
    assert fitted({"meta_a": "b"}, kinds)[1] == {"meta_a": pa.string()}
    with pytest.raises(EntryError, match="1001 columns, more than 1000"):
        fitted({"meta_a": "b", "meta_c": "d"}, kinds)
