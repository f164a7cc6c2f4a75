"""ASEN's lists, damaged: each damage is named with its file and line, and nothing else is lost."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lapel.catalogue import Catalogue
from lapel.datasets.fashionai_values import VALUES
from lapel.errors import DatasetError

from .asen_lists import lay_out, queries, small, take

DAMAGE = [
    # list, what it says, what is told; the first line of small lists stays
    ("filenames_test", "{0}test/Images/coat_length", "line 4: expected the path of an image, found 'test/Images/coat_"),
    ("filenames_test", "0 2 1\n{0}", "line 1: expected the path of an image, found '0 2 1'"),
    ("filenames_test", "{1}", "line 4: {2} is on line 1 already"),
    ("label_train", "0 2 1\n1 2 0\n2 3", "line 3: expected image number, attribute number, value number, found '2 3'"),
    (
        "label_train",
        "0 2 1 3 1\n1 2 0\n2 3 5\n",
        "line 1: expected image number, attribute number, value number, found",
    ),
    ("label_train", "0 2 1\n0 2 0\n2 3 5\n", "line 2: image number 0 is on line 1 already"),
    ("query_test", "1 2 0\n2 2", "line 2: expected image number, attribute number, value number, found '2 2'"),
    ("query_test", "1 2 0\n2 2 x\n", "line 2: expected image number, attribute number, value number, found '2 2 x'"),
    ("query_test", "1 2 0\n2 2 -1\n", "line 2: expected image number, attribute number, value number, found '2 2 -1'"),
    ("query_test", "1 2 0\n1 3 0\n", "line 2: image number 1 is on line 1 already"),
    ("query_test", "3 2 0\n", "expected an image number below 3 (the lines of filenames_test.txt, unless that is cut"),
    ("query_test", "1 8 0\n", "expected an attribute number below 8 in column 2, found 8 (counted from 0; lists made"),
    ("query_test", "1 2 8\n", "expected a value number of coat_length below 8 in column 3, found 8 (counted from 0"),
    ("query_test", "1 2 417\n", "expected a value number of coat_length below 8 in column 3, found 417"),
    ("candidate_test", "0 2 0\n9 2 0\n", "line 2: expected an image number below 3"),
]


@pytest.mark.parametrize(("name", "text", "message"), DAMAGE)
def test_damaged_list(tmp_path: Path, name: str, text: str, message: str) -> None:
    lists = small("FashionAI")
    data = lay_out(tmp_path / "data", "FashionAI", lists)
    before = take(data, tmp_path / "to")
    first = lists["filenames_test"].split("\n")[0]
    path = data / "FashionAI" / f"{name}.txt"
    path.write_text(text.replace("{0}", lists[name]).replace("{1}", f"{lists[name]}{first}\n"))
    with pytest.raises(DatasetError, match=re.escape(message.replace("{2}", first))) as caught:
        take(data, tmp_path / "to")
    assert str(caught.value).startswith(f"{name}.txt line ")
    kept = Catalogue.read(tmp_path / "to")
    assert kept.images.to_pylist() == before.catalogue.images.to_pylist()
    assert queries(kept) == queries(before.catalogue)
    rest = take(data, tmp_path / "rest", skip_faulty=True)
    assert str(caught.value) in map(str, rest.faults)
    assert len(rest.catalogue) >= 7


def test_numbers_of_a_faulty_image_are_told_not_moved(tmp_path: Path) -> None:
    lists = small("FashionAI")
    data = lay_out(tmp_path / "data", "FashionAI", lists)
    whole = queries(take(data, tmp_path / "whole").catalogue)
    names = data / "FashionAI" / "filenames_test.txt"
    names.write_text(lists["filenames_test"].replace("test1.jpg", "test1"))
    rest = take(data, tmp_path / "rest", skip_faulty=True)
    assert [str(fault) for fault in rest.faults] == [
        "filenames_test.txt line 2: expected the path of an image, found 'test/Images/coat_length_labels/test1'",
        "query_test.txt line 1: image number 1 has no usable line in filenames_test.txt",
    ]
    assert queries(rest.catalogue) == [row for row in whole if not row[4].endswith("test1.jpg")]


META_DAMAGE: list[tuple[str, str]] = [
    ('{"DARN": {}}', "meta.json: unknown data set 'FashionAI'"),
    ("[]", "meta.json: unknown data set 'FashionAI'"),
    ('{"FashionAI": {"ATTRIBUTES": ["a"]}}', "expected ATTRIBUTES (a list of names) and ATTRIBUTES_NUM"),
    ('{"FashionAI": {"ATTRIBUTES": ["a", "a"], "ATTRIBUTES_NUM": {"a": 2}}}', "expected ATTRIBUTES"),
    ('{"FashionAI": {"ATTRIBUTES": ["a"], "ATTRIBUTES_NUM": {"a": "2"}}}', "expected ATTRIBUTES"),
    ('{"FashionAI": {"ATTRIBUTES": ["a"], "ATTRIBUTES_NUM": {"b": 2}}}', "expected ATTRIBUTES"),
    ('{"FashionAI": {"ATTRIBUTES": [], "ATTRIBUTES_NUM": {}}}', "expected ATTRIBUTES"),
    ('{"FashionAI": {"ATTRIBUTES": ["a"', "meta.json is not JSON"),
]


@pytest.mark.parametrize(("text", "message"), META_DAMAGE)
def test_damaged_meta(tmp_path: Path, text: str, message: str) -> None:
    data = lay_out(tmp_path / "data", "FashionAI", small("FashionAI"))
    (data / "meta.json").write_text(text)
    with pytest.raises(DatasetError, match=re.escape(message)):
        take(data, tmp_path / "to")


def test_meta_of_one_data_set_and_of_other_numbers_of_values(tmp_path: Path) -> None:
    counts = {name: len(values) + (name == "coat_length") for name, values in VALUES.items()}
    meta = {"ATTRIBUTES": list(counts), "ATTRIBUTES_NUM": counts}
    imported = take(lay_out(tmp_path / "data", "FashionAI", small("FashionAI"), meta), tmp_path / "to")
    assert imported.catalogue.values("coat_length") == ("0", "1")
    assert imported.catalogue.values("pant_length") == ("Full Length",)
    assert "meta.json says 9 values of coat_length, not 8: they keep their numbers" in imported.notes


@pytest.mark.parametrize(
    ("name", "purpose"),
    [
        ("meta.json", "what the attributes are called"),
        ("FashionAI/filenames_test.txt", "which image each number is"),
        ("FashionAI/query_valid.txt", "which images are asked, for which attribute"),
    ],
)
def test_missing_file(own: Callable[[str], Path], tmp_path: Path, name: str, purpose: str) -> None:
    data = own("asen")
    (data / name).unlink()
    with pytest.raises(DatasetError, match=f"lacks {re.escape(name)} .*, which says {purpose}"):
        take(data, tmp_path / "to", "FashionAI")


@pytest.mark.parametrize(
    ("content", "message"),
    [("1 2 0\n".encode("utf-16"), "UTF-16 text"), (b"1 2 0\n\xff\n", "line 2: not UTF-8 text")],
)
def test_other_encoding(tmp_path: Path, content: bytes, message: str) -> None:
    data = lay_out(tmp_path / "data", "FashionAI", small("FashionAI"))
    (data / "FashionAI" / "query_test.txt").write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        take(data, tmp_path / "to")


def test_missing_image(own: Callable[[str], Path], tmp_path: Path) -> None:
    data = own("asen")
    gone = sorted((data / "FashionAI").rglob("*.jpg"))[0]
    gone.unlink()
    with pytest.raises(DatasetError, match=f"1 of 308 images are missing, the first: .*{gone.name}"):
        take(data, tmp_path / "to")
    rest = take(data, tmp_path / "rest", skip_faulty=True).catalogue
    assert len(rest) == 307
    assert not any(row[4].endswith(gone.name) for row in queries(rest))
