"""Padded lists with a row count: read as they are, and whatever is wrong in a row is told at its line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.datasets.lists import Row, read_list, right_choice, right_picture, whole_numbers
from lapel.datasets.source import Source
from lapel.errors import DatasetError

COLUMNS = ("image", "item", "split")
TEXT = "2\nimage_name item_id evaluation_status\nimg/a.jpg   1  train\nimg/b.jpg\t2 query   \n"


def source(folder: Path, text: str | bytes, strict: bool = True) -> Source:
    (folder / "list.txt").write_bytes(text.encode() if isinstance(text, str) else text)
    return Source(folder, strict=strict)


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT.rstrip(),
        TEXT.replace("\n", "\r\n"),
        TEXT.encode("utf-8-sig"),
        TEXT.replace("2\n", "  2  \n", 1),
        TEXT + "\n\n",
    ],
)
def test_rows_with_their_lines(tmp_path: Path, text: str | bytes) -> None:
    assert read_list(source(tmp_path, text), "list.txt", COLUMNS) == [
        Row(3, ["img/a.jpg", "1", "train"]),
        Row(4, ["img/b.jpg", "2", "query"]),
    ]


def test_one_header_line_and_more_tokens(tmp_path: Path) -> None:
    assert read_list(source(tmp_path, "1\nid_1\n"), "list.txt", ("item",), header=1) == [Row(2, ["id_1"])]
    rows = read_list(source(tmp_path, "1\nh\na.jpg 1 2 3\n"), "list.txt", ("image",), more=True)
    assert rows == [Row(3, ["a.jpg", "1", "2", "3"])]


@pytest.mark.parametrize(
    ("change", "message", "left"),
    [
        (lambda t: t.replace("  train", ""), "line 3: expected image item split, found 'img/a.jpg   1'", 1),
        (
            lambda t: t.replace("train", "train x"),
            "line 3: expected image item split, found 'img/a.jpg   1  train x'",
            1,
        ),
        (lambda t: t.replace("2", "3", 1), "its first line says 3 rows, it holds 2: the file is cut short", 2),
        (
            lambda t: t.replace("2", "1", 1),
            "its first line says 1 rows, it holds 2: the count or the rows were changed",
            2,
        ),
        (lambda t: t.replace("2", "two", 1), "line 1: expected the number of rows, found 'two'", 2),
        (lambda t: "", "line 1: expected the number of rows, found ''", 0),
        (lambda t: "2\n", "its first line says 2 rows, it holds 0", 0),
    ],
)
def test_faults(tmp_path: Path, change: Callable[[str], str], message: str, left: int) -> None:
    with pytest.raises(DatasetError) as caught:
        read_list(source(tmp_path, change(TEXT)), "list.txt", COLUMNS)
    assert str(caught.value).startswith("list.txt")
    assert message in str(caught.value)
    lenient = source(tmp_path, change(TEXT), strict=False)
    assert len(read_list(lenient, "list.txt", COLUMNS)) == left
    assert [message in str(fault) for fault in lenient.faults] == [True]


def test_more_tokens_are_said_to_be_possible(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"expected image item \.\.\., found 'a.jpg'"):
        read_list(source(tmp_path, "1\nh\na.jpg\n"), "list.txt", ("image", "item"), more=True)


def test_what_single_tokens_must_be(tmp_path: Path) -> None:
    lenient = source(tmp_path, TEXT, strict=False)
    row = Row(7, ["img/a.JPG", "12", "trian", "-4"])
    assert right_picture(lenient, "list.txt", row)
    assert right_choice(lenient, "list.txt", row, 1, ("12", "13"), "item")
    assert whole_numbers(lenient, "list.txt", row, 3) == [-4]
    assert whole_numbers(lenient, "list.txt", row, 1, 2) == [12]
    assert not lenient.faults
    assert not right_picture(lenient, "list.txt", row, 1)
    assert not right_choice(lenient, "list.txt", row, 2, ("train", "query"), "split")
    assert whole_numbers(lenient, "list.txt", row, 1) is None
    assert list(map(str, lenient.faults)) == [
        "list.txt line 7: expected the path of an image in column 2, found '12'",
        "list.txt line 7: unknown split 'trian'; did you mean 'train'? Known: train, query (column 3)",
        "list.txt line 7: expected whole numbers, found '12 trian -4'",
    ]


@given(st.binary(max_size=200))
def test_any_bytes_give_rows_or_a_message(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    lenient = source(tmp_path_factory.mktemp("list"), data, strict=False)
    try:
        rows = read_list(lenient, "list.txt", COLUMNS)
    except DatasetError:
        return
    assert all(len(row.tokens) == 3 for row in rows)
