"""Consumer-to-Shop: what each kind of damage is called, and that nothing is lost by it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lapel.errors import DatasetError

from .conftest import Standins
from .test_deepfashion_consumer2shop import BOXES, KINDS, LABELS, LANDMARKS, NAME, NAMES, PARTITION, take


def change(file: Path, line: int, to: str | Callable[[str], str]) -> None:
    """Change one line (from 1) of a file."""
    lines = file.read_bytes().decode("utf-8").split("\n")
    lines[line - 1] = to if isinstance(to, str) else to(lines[line - 1])
    file.write_bytes("\n".join(lines).encode())


def _swap(line: str) -> str:
    consumer, shop, item, status = line.split()
    return f"{shop} {consumer} {item} {status}"


def _turn(line: str) -> str:
    consumer, shop, item, status = line.split()
    return f"{item} {consumer} {shop} {status}"


def _cut(data: Path, name: str, count: int) -> None:
    (data / name).write_bytes((data / name).read_bytes()[:-count])


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "last line cut": (
        lambda data: _cut(data, PARTITION, 18),
        r"list_eval_partition.txt line 39: expected consumer_image shop_image item status, found 'img/",
    ),
    "last word cut": (lambda data: _cut(data, PARTITION, 2), r"line 39: unknown evaluation status 'va'.*\(column 4\)"),
    "wrong count": (lambda data: change(data / PARTITION, 1, "36"), "says 36 rows, it holds 37: the count or the rows"),
    "no partition": (
        lambda data: (data / PARTITION).unlink(),
        r"lacks Eval/list_eval_partition.txt \(or list_eval_partition.txt\), which says which images are pairs",
    ),
    "no image": (
        lambda data: next((data / "Img").rglob("comsumer_02.jpg")).unlink(),
        r"1 of 53 images are missing, the first: .*comsumer_02\.jpg",
    ),
    "no images": (
        lambda data: (data / "Img").rename(data / "Pictures"),
        r"none of the 53 images is there: expected .*Img/img/.*comsumer_01\.jpg",
    ),
    "swapped sides": (
        lambda data: change(data / PARTITION, 3, _swap),
        r"line 3: expected a consumer image in column 1, found 'img/.*shop_01\.jpg'",
    ),
    "turned columns": (
        lambda data: change(data / PARTITION, 3, _turn),
        r"line 3: expected the path of an image in column 1, found 'id_00000001'",
    ),
    "shop twice": (
        lambda data: change(data / PARTITION, 3, lambda line: line.replace("shop_01", "comsumer_02")),
        r"line 3: expected a shop image in column 2, found 'img/.*comsumer_02\.jpg'",
    ),
    "another folder": (
        lambda data: change(data / PARTITION, 3, lambda line: line.replace("img/", "Img/")),
        r"line 3: expected an image as img/GROUP/CATEGORY/ITEM/FILE",
    ),
    "unknown status": (
        lambda data: change(data / PARTITION, 3, lambda line: line.replace(" train", " trian")),
        r"line 3: unknown evaluation status 'trian'; did you mean 'train'\?",
    ),
    "unknown item": (
        lambda data: change(data / PARTITION, 3, lambda line: line.replace(" id_00000001", " id_00000777")),
        r"line 3: unknown item 'id_00000777' \(column 3\): the list of items lacks it",
    ),
    "unknown item with labels": (
        lambda data: change(data / LABELS, 3, lambda line: line.replace("id_00000001", "id_00000777")),
        r"list_attr_items.txt line 3: unknown item 'id_00000777'",
    ),
    "repeated box": (
        lambda data: change(data / BOXES, 4, (data / BOXES).read_text().split("\n")[2]),
        r"list_bbox_consumer2shop.txt line 4: img/.*jpg is listed twice: line 3 has it too",
    ),
    "landmarks of another garment": (
        lambda data: change(data / LANDMARKS, 3, lambda line: line.replace(".jpg", ".jpg 4", 1)),
        r"list_landmarks_consumer2shop.txt line 3: expected ",
    ),
    "label lost": (
        lambda data: change(data / LABELS, 3, lambda line: line.rsplit(" ", 1)[0]),
        r"list_attr_items.txt line 3: expected a name and 303 labels, found 302",
    ),
    "no types": (
        lambda data: (data / KINDS).unlink(),
        r"lacks Anno/list_attr_type.txt .*, which says what the 18 types of attributes are called",
    ),
    "type lost": (
        lambda data: change(data / KINDS, 5, ""),
        r"list_attr_type.txt: its first line says 18 types, it holds 17",
    ),
    "type of one column": (
        lambda data: change(data / KINDS, 5, "裤型"),
        r"list_attr_type.txt line 5: expected Chinese name, English name, found '裤型'",
    ),
    "types without Chinese": (
        lambda data: (data / KINDS).write_text("18\nchinese english\n" + "????   sleeve type\n" * 18),
        r"list_attr_type.txt: expected rows of a Chinese and an English name, found none: unpack it again",
    ),
    "name of two columns": (
        lambda data: change(data / NAMES, 5, "短款 Short 1\r"),
        r"list_attr_cloth.txt line 5: expected Chinese name, English name, type \(1 to 18\), found '短款 Short 1'",
    ),
    "name of type 19": (
        lambda data: change(data / NAMES, 5, "短款    Short    19\r"),
        r"list_attr_cloth.txt line 5: expected Chinese name, English name, type \(1 to 18\)",
    ),
    "names cut": (
        lambda data: _cut(data, NAMES, 90),
        r"list_attr_cloth.txt(: its first line says 303 rows, it holds 30| line 304: expected Chinese name)",
    ),
    "GBK": (
        lambda data: (data / NAMES).write_bytes((data / NAMES).read_bytes().decode("utf-8-sig").encode("gbk")),
        r"list_attr_cloth.txt line 3: not UTF-8 text",
    ),
    "UTF-16": (
        lambda data: (data / PARTITION).write_text((data / PARTITION).read_text(), "utf-16"),
        "list_eval_partition.txt: UTF-16 text, expected UTF-8",
    ),
}
# Nothing is left to import, or no label can be told.
FATAL = {"no partition", "no images", "UTF-16", "GBK"} | {
    "no types",
    "type lost",
    "type of one column",
    "types without Chinese",
}
FATAL |= {"name of two columns", "name of type 19", "names cut"}


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
    assert len(imported.faults) == 1
    kept = {row["image"] for row in imported.catalogue.images.to_pylist()}
    assert kept <= {row["image"] for row in drawn.rows}
    assert len(kept) >= 51
    pairs = imported.catalogue.relations["pairs"].to_pylist()
    assert len(pairs) >= len(drawn.relations["pairs"]) - 2
    assert all(pair in drawn.relations["pairs"] for pair in pairs)
    assert (to / "left-out.txt").read_text().splitlines() == [str(fault) for fault in imported.faults]
