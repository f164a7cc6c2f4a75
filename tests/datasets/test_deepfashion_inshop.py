"""In-Shop: the published lines, the stand-in and its quirks, other layouts."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel import protocol
from lapel.datasets import get
from lapel.datasets.deepfashion_items import item_labels
from lapel.datasets.importing import Imported, import_dataset
from lapel.datasets.source import Source
from lapel.errors import DatasetError
from lapel.protocol import ItemProtocol, Side
from lapel.standins import draw_standin

from .conftest import Standins
from .roundtrip import assert_same

NAME = "deepfashion-inshop"
PARTITION, BOXES = "Eval/list_eval_partition.txt", "Anno/list_bbox_inshop.txt"
LANDMARKS, ITEMS = "Anno/list_landmarks_inshop.txt", "Anno/list_item_inshop.txt"
NAMES, LABELS = "Anno/list_attr_cloth.txt", "Anno/list_attr_items.txt"
DESCRIPTIONS = "Anno/list_description_inshop.json"
COLOURS = "Anno/list_color_cloth.txt"

# As they stand in the published lists.
PARTITION_LINE = "img/WOMEN/Dresses/id_00000002/02_1_front.jpg   id_00000002 train"
BOX_LINE = "img/WOMEN/Dresses/id_00000002/02_1_front.jpg  3  1  065  045  233  252"
PUBLISHED = {
    PARTITION: f"1\nimage_name item_id evaluation_status\n{PARTITION_LINE}\n",
    BOXES: f"1\nimage_name clothes_type pose_type x_1 y_1 x_2 y_2\n{BOX_LINE}\n",
    ITEMS: "2\nid_00000001\nid_00000002\n",
    NAMES: "2\nattribute_name\nlightweight\nheather grey\n",
    LABELS: "2\nitem_id attribute_labels\nid_00000001 1 0\nid_00000002 -1 1\n",
}
IMAGE = "img/WOMEN/Dresses/id_00000002/02_1_front.jpg"


def lay_out(root: Path, texts: dict[str, str], images: tuple[str, ...] = (f"Img/{IMAGE}",)) -> Path:
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode())
    for image in images:
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        (root / image).touch()
    return root


def take(root: Path, to: Path, variant: str = "", skip_faulty: bool = False) -> Imported:
    return import_dataset(NAME, root, to, variant=variant, skip_faulty=skip_faulty, quiet=True)


def test_published_lines(tmp_path: Path) -> None:
    imported = take(lay_out(tmp_path / "data", PUBLISHED), tmp_path / "to")
    catalogue = imported.catalogue
    row = catalogue.images.to_pylist()[0]
    assert row == {
        "image": IMAGE,
        "item": "id_00000002",
        "split": "train",
        "domain": "shop",
        "box": [65, 45, 233, 252],
        "landmarks": None,
        "clothes_type": "full",
        "variation": None,
        "pose": "front",
        "view": "front",
        "variant": "02",
        "description": None,
    }
    assert catalogue.values_of(0) == {"category": ("Dresses",), "gender": ("WOMEN",), "attribute": ("heather grey",)}
    assert imported.notes == (f"{LANDMARKS} is not there: images have no landmarks",)
    assert catalogue.paths()[0].is_file()


def test_protocol_is_the_papers(standins: Standins, tmp_path: Path) -> None:
    catalogue = take(standins(NAME)[0], tmp_path).catalogue
    expected = ItemProtocol(Side(("query",)), Side(("gallery",)), groups=("pose", "category"))
    assert protocol.from_dict(catalogue.record["protocol"]) == expected
    assert expected.ks == (1, 10, 20, 30, 40, 50)


def test_standin_comes_back(standins: Standins, tmp_path: Path) -> None:
    folder, drawn = standins(NAME)
    imported = take(folder, tmp_path)
    assert_same(imported.catalogue, drawn)
    assert (imported.notes, imported.faults, imported.absent) == ((), (), 0)
    images = imported.catalogue.images
    items = {split: set() for split in ("train", "query", "gallery")}
    for item, split in zip(images["item"].to_pylist(), images["split"].to_pylist(), strict=True):
        items[split].add(item)
    assert items["query"] == items["gallery"]
    assert not items["train"] & items["query"]
    assert set(images["domain"].to_pylist()) == {"shop"}
    assert set(images["pose"].to_pylist()) == {"front", "side", "back", "zoom-out", "zoom-in", "stand-alone"}
    assert set(images["clothes_type"].to_pylist()) == {"upper", "lower", "full"}


@pytest.mark.parametrize("seed", range(3))
def test_standin_of_few_items(tmp_path: Path, seed: int) -> None:
    drawn = draw_standin(NAME, tmp_path / "data", items=4, seed=seed, size=32, quiet=True)
    assert_same(take(tmp_path / "data", tmp_path / "to").catalogue, drawn)


def test_standin_has_the_real_heads_and_widths(standins: Standins) -> None:
    folder, drawn = standins(NAME)
    assert (folder / PARTITION).read_text().split("\n")[:2] == [
        str(len(drawn.rows)),
        "image_name item_id evaluation_status",
    ]
    assert (folder / ITEMS).read_text().split("\n")[:2] == ["16", "id_00000001"]
    names = (folder / NAMES).read_text().split("\n")
    assert names[:4] == ["463", "attribute_name", "lightweight", "heather grey"]
    assert len(set(names[2:-1])) == 463
    assert re.search(r"  [1-3]  [1-6]  \d{3}  \d{3}  \d{3}  \d{3}$", (folder / BOXES).read_text().split("\n")[2])
    matrix = [line.split() for line in (folder / LABELS).read_text().splitlines()[2:]]
    assert len(matrix) == 17  # the row of one item is there twice, as in the real file
    assert {label for row in matrix for label in row[1:]} == {"1", "-1", "0"}


def test_landmarks_are_where_they_were_drawn(tmp_path: Path) -> None:
    """A public loader reads them three columns early."""
    line = f"{IMAGE}  1  4  0 010 011  1 020 021  0 030 031  2 000 000  0 050 051  0 060 061\n"
    head = "1\nimage_name clothes_type variation_type landmark_visibility_1 landmark_location_x_1\n"
    catalogue = take(lay_out(tmp_path / "data", PUBLISHED | {LANDMARKS: head + line}), tmp_path / "to").catalogue
    found = np.array(catalogue.images["landmarks"].to_pylist()[0]).reshape(8, 3).tolist()
    upper = [[10, 11, 0], [20, 21, 1], [30, 31, 0], [0, 0, 2]]
    assert found == [*upper, [0, 0, 2], [0, 0, 2], [50, 51, 0], [60, 61, 0]]
    assert catalogue.images["variation"].to_pylist() == ["medium zoom-in"]
    assert catalogue.images["clothes_type"].to_pylist() == ["full"]  # of the list of boxes


def test_other_places_line_ends_and_archives(own: Callable[[str], Path], standins: Standins, tmp_path: Path) -> None:
    data, drawn = own(NAME), standins(NAME)[1]
    (data / "Anno" / "attributes").mkdir()
    for name in ("list_attr_cloth.txt", "list_attr_items.txt"):
        (data / "Anno" / name).rename(data / "Anno" / "attributes" / name)
    (data / PARTITION).rename(data / "list_eval_partition.txt")
    for file in (data / ITEMS, data / BOXES, data / "Anno/attributes/list_attr_items.txt"):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"   \r\n"))
    with zipfile.ZipFile(data / "Img" / "img.zip", "w") as archive:
        for path in sorted((data / "Img" / "img").rglob("*.jpg")):
            archive.write(path, path.relative_to(data / "Img"))
            path.unlink()
    imported = take(data, tmp_path / "to")
    assert_same(imported.catalogue, drawn)
    assert imported.notes == ()


def test_rows_of_an_item_that_differ_are_joined(tmp_path: Path) -> None:
    labels = "3\nitem_id attribute_labels\nid_00000002 -1 1\nid_00000001 1 0\nid_00000002 1 -1\n"
    imported = take(lay_out(tmp_path / "data", PUBLISHED | {LABELS: labels}), tmp_path / "to")
    assert imported.catalogue.values_of(0)["attribute"] == ("lightweight", "heather grey")
    assert f"{LABELS}: 1 items have rows that differ; they have the labels of all their rows" in imported.notes


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 4), st.lists(st.sampled_from((1, -1, 0)), min_size=3, max_size=3)), min_size=1
    ),
    images=st.lists(st.integers(0, 6), min_size=1, max_size=12),
)
def test_labels_of_items_go_to_their_images(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, list[int]]], images: list[int]
) -> None:
    root = tmp_path_factory.mktemp("labels")
    lines = [f"item{item}  {' '.join(map(str, labels))}" for item, labels in rows]
    (root / "labels.txt").write_text("\n".join([str(len(rows)), "head", *lines]) + "\n")
    found = item_labels(Source(root), "labels.txt", 3, [f"item{image}" for image in images], None)
    expected = {
        (place, column)
        for place, image in enumerate(images)
        for item, labels in rows
        for column, label in enumerate(labels)
        if item == image and label == 1
    }
    pairs = list(zip(*(part.tolist() for part in found), strict=True))
    assert pairs == sorted(expected)


def test_colour_and_description(tmp_path: Path) -> None:
    texts = [
        {"item": "id_00000002", "color": "Heather grey", "description": ["A dress.", " With sleeves. "]},
        {"item": "id_00000002", "color": "Ivory", "description": "Another."},
        {"item": "id_00000001", "color": None},
    ]
    root = lay_out(tmp_path / "data", PUBLISHED | {DESCRIPTIONS: json.dumps(texts)})
    catalogue = take(root, tmp_path / "to").catalogue
    assert catalogue.values_of(0)["colour"] == ("Heather grey", "Ivory")
    assert catalogue.images["description"].to_pylist() == ["A dress. With sleeves."]
    # Some copies have the colour of each image, which is nearer than its item's.
    lay_out(root, {COLOURS: f"1\nimage_name clothes_color\n{IMAGE}   Light blue  \n"})
    assert take(root, tmp_path / "to").catalogue.values_of(0)["colour"] == ("Light blue",)


@pytest.mark.parametrize(
    ("file", "note"),
    [
        (BOXES, "images have no boxes, whole pictures are taken"),
        (LANDMARKS, "images have no landmarks"),
        (ITEMS, None),
        (DESCRIPTIONS, None),
    ],
)
def test_what_is_read_without_a_file(own: Callable[[str], Path], tmp_path: Path, file: str, note: str | None) -> None:
    data = own(NAME)
    (data / file).unlink()
    imported = take(data, tmp_path / "to")
    assert imported.notes == (() if note is None else (f"{file} is not there: {note}",))
    assert ("colour" in imported.catalogue.attributes) == (file != DESCRIPTIONS)


def test_without_attributes(own: Callable[[str], Path], tmp_path: Path) -> None:
    data = own(NAME)
    (data / NAMES).unlink()
    with pytest.raises(DatasetError, match=r"lacks Anno/list_attr_cloth.txt .*what the 463 attributes are called"):
        take(data, tmp_path / "to")
    (data / LABELS).unlink()
    imported = take(data, tmp_path / "to")
    assert imported.catalogue.attributes == ("category", "gender", "colour")
    assert "images have no attributes but their folders'" in imported.notes[0]


def test_large_pictures(own: Callable[[str], Path], standins: Standins, tmp_path: Path) -> None:
    data, drawn = own(NAME), standins(NAME)[1]
    (data / "Img" / "img").rename(data / "Img" / "img_highres")
    with pytest.raises(DatasetError, match=r"large pictures .* only: give --variant img_highres"):
        take(data, tmp_path / "to")
    imported = take(data, tmp_path / "to", variant="img_highres")
    for row in drawn.rows:
        row |= {"image": row["image"].replace("img/", "img_highres/"), "box": None, "landmarks": None}
    assert_same(imported.catalogue, drawn)
    assert imported.notes == (
        "boxes and landmarks are left out: they are for the small pictures (img), not for img_highres",
    )
    assert all(path.is_file() for path in imported.catalogue.paths())


def test_unknown_variant(standins: Standins, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="unknown variant 'highres'; did you mean 'img_highres'"):
        take(standins(NAME)[0], tmp_path, variant="highres")


def test_format_says_what_it_needs() -> None:
    form = get(NAME)
    specs = form.files("img")
    assert [spec.names[0] for spec in specs if spec.required] == [PARTITION]
    assert "Anno/attributes/list_attr_items.txt" in next(spec.names for spec in specs if spec.names[0] == LABELS)
    assert "In-shop Clothes Retrieval Benchmark" in form.owners
