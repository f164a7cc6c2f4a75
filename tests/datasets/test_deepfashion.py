from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lapel.datasets.deepfashion import (
    CLOTHES,
    Marks,
    distinct_images,
    match_images,
    names_of,
    parse_landmarks,
    read_boxes,
    read_landmarks,
    right_box,
    vocabulary,
)
from lapel.datasets.lists import Row
from lapel.datasets.source import Source
from lapel.errors import DatasetError

ABSENT = [0.0, 0.0, 2.0]

# The quoted beginning of an upper-body row, and three landmarks more.
UPPER = (
    "img/Sheer_Pleated-Front_Blouse/img_00000001.jpg 1"
    "  0 146 102  0 173 095  0 094 242  1 205 255  0 136 229  2 000 000"
)
UPPER_EIGHT = [146, 102, 0, 173, 95, 0, 94, 242, 0, 205, 255, 1, *ABSENT, *ABSENT, 136, 229, 0, 0, 0, 2]


def row(text: str) -> Row:
    return Row(3, text.split())


def strict(folder: Path) -> Source:
    return Source(folder)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (UPPER, Marks(1, None, UPPER_EIGHT)),
        (UPPER.replace(".jpg 1", ".jpg 1 5"), Marks(1, 5, UPPER_EIGHT)),
        (
            "a.jpg 2 4  0 11 12  1 21 22  0 31 32  2 0 0",
            Marks(2, 4, [*ABSENT * 4, 11, 12, 0, 21, 22, 1, 31, 32, 0, 0, 0, 2]),
        ),
        (
            "a.jpg 3 " + " ".join(f"0 {n} {n + 1}" for n in range(8)),
            Marks(3, None, [float(x) for n in range(8) for x in (n, n + 1, 0)]),
        ),
        ("a.jpg 1 2", Marks(1, 2, None)),
        ("a.jpg 3", Marks(3, None, None)),
    ],
)
def test_ragged_landmarks(tmp_path: Path, text: str, expected: Marks) -> None:
    assert parse_landmarks(strict(tmp_path), "list.txt", row(text)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (UPPER[:-4], r"list.txt line 3: expected 1 or 2 types and then visibility x y for each landmark, found 18"),
        (UPPER[:-11], r"expected clothes type .*, found type 1 with 5"),
        (UPPER.replace(".jpg 1", ".jpg 2"), r"2 \(lower, 4\) or 3 \(full, 8\), found type 2 with 6"),
        (UPPER.replace(".jpg 1", ".jpg 7"), r"found type 7 with 6"),
        ("a.jpg 9", r"found type 9 with 0"),
        (UPPER.replace("1 205", "3 205"), r"expected visibility 0 \(visible\), 1 .*, found 3"),
        (UPPER.replace("146", "x"), r"expected whole numbers, found '1 0 x 102"),
    ],
)
def test_ragged_landmarks_that_are_damaged(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        parse_landmarks(strict(tmp_path), "list.txt", row(text))


@pytest.mark.parametrize("box", [[10, 20, 10, 40], [10, 20, 5, 40], [10, 20, 30, 20], [0, 0, 0, 0], [-9, 0, -2, 8]])
def test_boxes_without_area_are_none(box: list[float]) -> None:
    assert right_box(box) is None


def test_a_good_box_stays() -> None:
    assert right_box([-3, 0, 1, 1]) == [-3, 0, 1, 1]


INDEX = {"img/a.jpg": 0, "img/b.jpg": 1, "img/c.jpg": 2}


def test_reads_boxes_with_type_numbers_and_notes_flat_ones(tmp_path: Path) -> None:
    text = "3\nimage_name clothes_type source_type x_1 y_1 x_2 y_2\n"
    text += "img/c.jpg  3 2 065  045  233  252\nimg/a.jpg 1 1 010 010 010 020\nimg/b.jpg 2 1 001 002 003 004\n"
    (tmp_path / "boxes.txt").write_text(text)
    source = strict(tmp_path)
    columns = ("image_name", "clothes_type", "source_type", "x_1", "y_1", "x_2", "y_2")
    boxes, types = read_boxes(source, "boxes.txt", columns, INDEX, "partition.txt")
    assert boxes.to_pylist() == [None, [1, 2, 3, 4], [65, 45, 233, 252]]
    assert types.tolist() == [[1, 1], [2, 1], [3, 2]]
    assert source.notes == ["boxes.txt: 1 boxes have no area, those images count as without a box"]


def test_images_without_a_row_are_noted(tmp_path: Path) -> None:
    (tmp_path / "marks.txt").write_text("2\nimage_name clothes_type ...\nimg/c.jpg 3\nimg/a.jpg 2 4 " + "0 5 6 " * 4)
    source = strict(tmp_path)
    points, types, second = read_landmarks(source, "marks.txt", INDEX, "partition.txt")
    assert points.to_pylist() == [[*ABSENT * 4, *[5, 6, 0] * 4], None, None]
    assert (types.tolist(), second.tolist()) == ([2, 0, 3], [4, 0, 0])
    assert source.notes == ["marks.txt has no row for 1 images of partition.txt, the first img/b.jpg"]


def test_matching_images_reports_each_fault(tmp_path: Path) -> None:
    source = Source(tmp_path, strict=False)
    rows = [Row(3, ["img/b.jpg"]), Row(4, ["img/x.jpg"]), Row(5, ["072"]), Row(6, ["img/b.jpg"]), Row(7, ["img/a.jpg"])]
    assert match_images(source, "f.txt", rows, INDEX, "p.txt").tolist() == [1, -1, -1, -1, 0]
    assert [str(fault) for fault in source.faults] == [
        "f.txt line 4: unknown image 'img/x.jpg': p.txt does not list it",
        "f.txt line 5: expected the path of an image in column 1, found '072'",
        "f.txt line 6: img/b.jpg is listed twice: line 3 has it too",
    ]


def test_distinct_images_names_both_lines(tmp_path: Path) -> None:
    source = Source(tmp_path, strict=False)
    rows = [Row(3, ["a.jpg", "train"]), Row(4, ["a.jpg", "test"]), Row(5, ["train", "b.jpg"])]
    assert distinct_images(source, "p.txt", rows) == rows[:1]
    assert [str(fault) for fault in source.faults] == [
        "p.txt line 4: a.jpg is listed twice: line 3 has it too",
        "p.txt line 5: expected the path of an image in column 1, found 'train'",
    ]


def test_vocabulary_takes_the_last_word_as_the_type(tmp_path: Path) -> None:
    text = "2\nattribute_name  attribute_type\na-line                       3\nabstract chevron print       1\n"
    (tmp_path / "names.txt").write_text(text)
    found = vocabulary(strict(tmp_path), "names.txt", ("attribute_name", "attribute_type"), ["1", "3"])
    assert found == [("a-line", 3), ("abstract chevron print", 1)]


def test_a_vocabulary_must_be_whole_even_where_faults_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("2\nname type\na-line\nlace 2\n")
    with pytest.raises(DatasetError, match=r"names.txt line 3: expected name type \.\.\., found 'a-line'\. Without it"):
        vocabulary(Source(tmp_path, strict=False), "names.txt", ("name", "type"), ["2", "3"])


def test_names_of_types() -> None:
    assert names_of(np.array([3, 0, 9, 1]), CLOTHES).to_pylist() == ["full", None, "9", "upper"]
