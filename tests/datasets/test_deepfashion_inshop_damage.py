"""In-Shop: what each kind of damage is called, and that nothing is lost by it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lapel.errors import DatasetError

from .conftest import Standins
from .test_deepfashion_inshop import BOXES, COLOURS, DESCRIPTIONS, LABELS, LANDMARKS, NAME, NAMES, PARTITION, take


def change(file: Path, line: int, to: str | Callable[[str], str]) -> None:
    """Change one line (from 1) of a file."""
    lines = file.read_text("utf-8").split("\n")
    lines[line - 1] = to if isinstance(to, str) else to(lines[line - 1])
    file.write_text("\n".join(lines), "utf-8")


def _cut(data: Path, name: str, count: int) -> None:
    (data / name).write_bytes((data / name).read_bytes()[:-count])


def _swap(line: str) -> str:
    image, item, status = line.split()
    return f"{item} {image} {status}"


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "last line cut": (
        lambda data: _cut(data, PARTITION, 12),
        r"list_eval_partition.txt line 66: expected image item status, found 'img/.*id_00000016/",
    ),
    "last word cut": (
        lambda data: _cut(data, PARTITION, 5),
        r"line 66: unknown evaluation status 'gall'; did you mean 'gallery'\?",
    ),
    "lines lost": (
        lambda data: (data / PARTITION).write_text("\n".join((data / PARTITION).read_text().split("\n")[:60]) + "\n"),
        r"list_eval_partition.txt: its first line says 64 rows, it holds 58: the file is cut short",
    ),
    "wrong count": (lambda data: change(data / PARTITION, 1, "63"), "says 63 rows, it holds 64: the count or the rows"),
    "no count": (
        lambda data: change(data / PARTITION, 1, "image"),
        "line 1: expected the number of rows, found 'image'",
    ),
    "no partition": (
        lambda data: (data / PARTITION).unlink(),
        r"lacks Eval/list_eval_partition.txt \(or list_eval_partition.txt\), which says which image is for training",
    ),
    "no image": (
        lambda data: next((data / "Img").rglob("01_*.jpg")).unlink(),
        r"1 of 64 images are missing, the first: .*01_.*\.jpg",
    ),
    "no images": (
        lambda data: (data / "Img").rename(data / "Pictures"),
        r"none of the 64 images is there: expected .*Img/img/",
    ),
    "unknown status": (
        lambda data: change(data / PARTITION, 3, lambda line: line.replace("train", "valid")),
        r"line 3: unknown evaluation status 'valid'.*\(column 3\)",
    ),
    "unknown item": (
        lambda data: change(data / PARTITION, 3, lambda line: line.replace(" id_00000001", " id_00000777")),
        r"line 3: unknown item 'id_00000777' \(column 2\): the list of items lacks it",
    ),
    "unknown item with labels": (
        lambda data: change(data / LABELS, 3, lambda line: line.replace("id_00000001", "id_00000777")),
        r"list_attr_items.txt line 3: unknown item 'id_00000777'",
    ),
    "swapped columns": (
        lambda data: change(data / PARTITION, 3, _swap),
        r"line 3: expected the path of an image in column 1, found 'id_00000001'",
    ),
    "another folder": (
        lambda data: change(data / PARTITION, 3, lambda line: line.replace("img/", "")),
        r"line 3: expected an image as img/GENDER/CATEGORY/ITEM/FILE",
    ),
    "repeated image": (
        lambda data: change(data / PARTITION, 4, (data / PARTITION).read_text().split("\n")[2]),
        r"line 4: img/.*jpg is listed twice: line 3 has it too",
    ),
    "repeated box": (
        lambda data: change(data / BOXES, 4, (data / BOXES).read_text().split("\n")[2]),
        r"list_bbox_inshop.txt line 4: img/.*jpg is listed twice: line 3 has it too",
    ),
    "box of words": (
        lambda data: change(data / BOXES, 3, lambda line: line[:-3] + "abc"),
        r"list_bbox_inshop.txt line 3: expected whole numbers, found '.* abc'",
    ),
    "box cut": (
        lambda data: change(data / BOXES, 3, lambda line: line[:-5]),
        r"list_bbox_inshop.txt line 3: expected image clothes_type pose_type x1 y1 x2 y2, found",
    ),
    "landmark lost": (
        lambda data: change(data / LANDMARKS, 3, lambda line: line[:-8]),
        r"list_landmarks_inshop.txt line 3: expected 1 or 2 types and then visibility x y",
    ),
    "label lost": (
        lambda data: change(data / LABELS, 3, lambda line: line.rsplit(" ", 1)[0]),
        r"list_attr_items.txt line 3: expected a name and 463 labels, found 462",
    ),
    "another label": (
        lambda data: change(data / LABELS, 3, lambda line: line.rsplit(" ", 1)[0] + " 2"),
        r"list_attr_items.txt line 3: expected labels 1, -1 or 0, found '2'",
    ),
    "name lost": (
        lambda data: change(data / NAMES, 5, ""),
        r"list_attr_cloth.txt: its first line says 463 rows, it holds 462",
    ),
    "UTF-16": (
        lambda data: (data / PARTITION).write_text((data / PARTITION).read_text(), "utf-16"),
        "list_eval_partition.txt: UTF-16 text, expected UTF-8",
    ),
    "Latin-1": (
        lambda data: (
            change(data / NAMES, 5, "caf\N{LATIN SMALL LETTER E WITH ACUTE}")
            or (data / NAMES).write_bytes((data / NAMES).read_text("utf-8").encode("latin-1"))
        ),
        r"list_attr_cloth.txt line 5: not UTF-8 text \(byte 0xe9\)",
    ),
    "JSON cut": (lambda data: _cut(data, DESCRIPTIONS, 9), r"list_description_inshop.json is not JSON \("),
    "JSON of another form": (
        lambda data: (data / DESCRIPTIONS).write_text('[["id_00000001"]]'),
        r"list_description_inshop.json: expected \{item, color, description\} as entry 1",
    ),
    "JSON of one object": (
        lambda data: (data / DESCRIPTIONS).write_text('{"item": "id_00000001"}'),
        r"list_description_inshop.json: expected a list of \{item, color, description\}",
    ),
    "colour lost": (
        lambda data: (data / COLOURS).write_text("1\nimage_name clothes_color\nimg/a.jpg\n"),
        r"list_color_cloth.txt line 3: expected image colour, found 'img/a.jpg'",
    ),
}
# Nothing is left to import.
FATAL = ("no partition", "no images", "name lost", "UTF-16", "Latin-1", "JSON cut")


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_told_and_loses_nothing(
    own: Callable[[str], Path], standins: Standins, tmp_path: Path, damage: str
) -> None:
    data, drawn = own(NAME), standins(NAME)[1]
    do, message = DAMAGE[damage]
    to = tmp_path / "to"
    to.mkdir()
    (to / "catalogue.parquet").write_text("the one before")
    do(data)
    with pytest.raises(DatasetError, match=message):
        take(data, to)
    assert {path.name: path.read_text() for path in to.iterdir()} == {"catalogue.parquet": "the one before"}
    if damage in FATAL:
        with pytest.raises(DatasetError, match=message):
            take(data, to, skip_faulty=True)
        return
    imported = take(data, to, skip_faulty=True)
    assert 1 <= len(imported.faults) <= 3
    missing = damage == "no image"
    assert any(
        "image missing: img/" in str(fault) if missing else re.search(message, str(fault)) for fault in imported.faults
    )
    kept = {row["image"] for row in imported.catalogue.images.to_pylist()}
    assert kept <= {row["image"] for row in drawn.rows}
    assert len(kept) >= (58 if damage == "lines lost" else 63)
    assert (to / "left-out.txt").read_text().splitlines() == [str(fault) for fault in imported.faults]
