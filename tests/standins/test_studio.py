"""The studio: which folders it draws in, that drawing again changes nothing, and what it writes as text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lapel.datasets.deepfashion import parse_landmarks, right_box
from lapel.datasets.lists import Row
from lapel.datasets.source import Source
from lapel.errors import DatasetError
from lapel.landmarks import FULL, LOWER, UPPER
from lapel.standins import STANDINS, draw_standin
from lapel.standins.deepfashion import MARKS, box_text, landmark_text
from lapel.standins.studio import MARK, Studio, View


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def draw(to: Path, **changes: int) -> None:
    draw_standin("street2shop", to, **({"items": 4, "seed": 1, "size": 32} | changes), quiet=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"items": 3}, "items is 3: it must be at least 4"),
        ({"seed": -1}, "seed is -1: it must be at least 0"),
        ({"size": 31}, "size is 31: it must be at least 32"),
    ],
)
def test_numbers_that_are_too_small(tmp_path: Path, changes: dict[str, int], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        draw(tmp_path / "to", **changes)
    assert not (tmp_path / "to").exists()


def test_an_unknown_one(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="unknown stand-in 'zappos'; did you mean 'zappos50k'"):
        draw_standin("zappos", tmp_path)
    assert "folder" not in STANDINS


def test_folders_that_hold_something_else_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DatasetError, match="file is a file: give an empty folder"):
        draw(tmp_path / "file")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").write_text("mine")
    with pytest.raises(DatasetError, match="holds files that were not drawn by Lapel: give an empty folder"):
        draw(tmp_path / "full")
    assert files(tmp_path) == {"file": b"mine", "full/mine": b"mine"}
    (tmp_path / "empty").mkdir()
    draw(tmp_path / "empty")
    before = files(tmp_path / "empty")
    for changes in ({"items": 5}, {"seed": 2}, {"size": 33}):
        with pytest.raises(DatasetError, match=r"holds another drawing .*: give an empty folder, or remove it first"):
            draw(tmp_path / "empty", **changes)
    assert files(tmp_path / "empty") == before


@pytest.mark.parametrize("mark", [b"", b"{", b"[]", b"\xff\xfe", b'{"standin": "asen"}'])
def test_a_mark_that_is_damaged_is_another_drawing(tmp_path: Path, mark: bytes) -> None:
    (tmp_path / MARK).write_bytes(mark)
    with pytest.raises(DatasetError, match="holds another drawing"):
        draw(tmp_path)
    assert files(tmp_path) == {MARK: mark}


def interrupted(to: Path) -> None:
    with Studio(to, "street2shop", 4, 1, 32, True) as studio:
        for count, _ in enumerate(studio.draw([View(f"photos/{n}.jpg", 0, n) for n in range(4)]), 1):
            if count == 2:
                raise KeyboardInterrupt


def test_an_interrupted_drawing_is_gone_on_with(tmp_path: Path) -> None:
    draw(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / "to")
    assert json.loads((tmp_path / "to" / MARK).read_text())["done"] is False
    assert len(files(tmp_path / "to")) == 3
    for path in (tmp_path / "to/photos").iterdir():
        path.unlink()
    draw(tmp_path / "to")
    draw(tmp_path / "to")
    assert files(tmp_path / "to") == files(tmp_path / "whole")


@pytest.mark.parametrize(
    ("box", "gap", "text", "told"),
    [
        ((65, 45, 233, 252), "  ", "065  045  233  252", [65, 45, 233, 252]),
        ((72.4, 78.6, 232, 273), " ", "072 079 232 273", [72, 79, 232, 273]),
        ((10, 20, 10, 40), " ", "010 020 010 040", None),
        ((10.1, 20, 10.4, 40), " ", "010 020 010 040", None),
    ],
)
def test_boxes_as_text(box: tuple[float, ...], gap: str, text: str, told: list[int] | None) -> None:
    assert box_text(box, gap) == (text, told)
    assert right_box([int(side) for side in text.split()]) == told


@pytest.mark.parametrize(("clothes", "count"), [(UPPER, 6), (LOWER, 4), (FULL, 8)])
def test_landmarks_as_text_are_read_as_told(tmp_path: Path, clothes: int, count: int) -> None:
    eight = [[10.4 * n, 7.6 * n, n % 3] for n in range(1, 9)]
    text, told = landmark_text(eight, clothes)
    assert len(text.split()) == 3 * count
    marks = parse_landmarks(Source(tmp_path), "list.txt", Row(3, ["a.jpg", str(clothes), *text.split()]))
    assert marks is not None
    assert marks.points == told
    assert len(MARKS.split()) == 24
