"""Consumer-to-Shop: the published lines, the stand-in and its quirks, other layouts."""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from lapel import protocol
from lapel.datasets import get
from lapel.datasets.deepfashion_consumer2shop import read_names, read_types
from lapel.datasets.importing import Imported, import_dataset
from lapel.datasets.source import Source
from lapel.errors import DatasetError
from lapel.protocol import ItemProtocol, Side
from lapel.standins import draw_standin
from lapel.standins.deepfashion_consumer2shop import COUNTS, TYPES

from .conftest import Standins
from .roundtrip import assert_same

NAME = "deepfashion-consumer2shop"
PARTITION, BOXES = "Eval/list_eval_partition.txt", "Anno/list_bbox_consumer2shop.txt"
LANDMARKS, ITEMS = "Anno/list_landmarks_consumer2shop.txt", "Anno/list_item_consumer2shop.txt"
KINDS, NAMES, LABELS = "Anno/list_attr_type.txt", "Anno/list_attr_cloth.txt", "Anno/list_attr_items.txt"

# As it stands in the published list.
NAME_LINE = "常规款（51-65cm）                Regular length (51-65cm)                     1"
FOLDER = "img/CLOTHING/Summer_Wear/id_00000001"
ONE, TWO = f"{FOLDER}/comsumer_01.jpg", f"{FOLDER}/comsumer_02.jpg"
SHOP, OTHER = f"{FOLDER}/shop_01.jpg", f"{FOLDER}/shop_03.jpg"
SMALL = {
    PARTITION: "3\nimage_pair_name_1 image_pair_name_2 item_id evaluation_status\n"
    f"{ONE} {SHOP} id_00000001 test\n{ONE} {OTHER} id_00000001 test\n{TWO} {SHOP} id_00000001 test\n",
    BOXES: "4\nimage_name clothes_type source_type x_1 y_1 x_2 y_2\n"
    f"{ONE}  1  2  010  020  110  220\n{TWO}  1  2  010  020  010  220\n"
    f"{SHOP}  1  1  000  000  200  300\n{OTHER}  1  1  000  000  000  000\n",
    ITEMS: "1\nid_00000001\n",
    KINDS: "2\nattribute_type (Chinese)   attribute_type (English)\n衣长      Upper Length\n袖长      Sleeve length\n",
    NAMES: "\ufeff4\r\nattribute_name (Chinese)   attribute_name (English)   attribute_type\r\n"
    f"{NAME_LINE}\r\n常规 款     Regular length (51-65cm)     1  \r\n"
    "短 袖     Short sleeve     2\r\n长袖     Long sleeve     2\r\n",
    LABELS: "1\nitem_id attribute_labels\nid_00000001  1 1 -1 1\n",
}


def lay_out(root: Path, texts: dict[str, str], images: tuple[str, ...] = (ONE, TWO, SHOP, OTHER)) -> Path:
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode())
    for image in images:
        (root / "Img" / image).parent.mkdir(parents=True, exist_ok=True)
        (root / "Img" / image).touch()
    return root


def take(root: Path, to: Path, variant: str = "", skip_faulty: bool = False) -> Imported:
    return import_dataset(NAME, root, to, variant=variant, skip_faulty=skip_faulty, quiet=True)


def test_small_one_field_by_field(tmp_path: Path) -> None:
    imported = take(lay_out(tmp_path / "data", SMALL), tmp_path / "to")
    catalogue = imported.catalogue
    images = catalogue.images
    assert images["image"].to_pylist() == [ONE, SHOP, OTHER, TWO]  # in order of first appearance
    assert images["domain"].to_pylist() == ["consumer", "shop", "shop", "consumer"]
    assert set(images["item"].to_pylist()) == {"id_00000001"}
    assert set(images["split"].to_pylist()) == {"test"}
    assert set(images["group"].to_pylist()) == {"CLOTHING"}
    assert images["box"].to_pylist() == [[10, 20, 110, 220], [0, 0, 200, 300], None, None]
    assert catalogue.attributes == ("category", "upper length", "sleeve length")
    for row in range(4):
        assert catalogue.values_of(row) == {
            "category": ("Summer_Wear",),
            "upper length": ("Regular length (51-65cm)",),  # once, though two Chinese names have it
            "sleeve length": ("Long sleeve",),
        }
    assert catalogue.relations["pairs"].to_pylist() == [
        {"split": "test", "query": query, "gallery": shop, "item": "id_00000001"}
        for query, shop in ((ONE, SHOP), (ONE, OTHER), (TWO, SHOP))
    ]
    assert imported.notes == (
        f"{BOXES}: 2 boxes have no area, those images count as without a box",
        f"{LANDMARKS} is not there: images have no landmarks",
    )


def test_published_name(tmp_path: Path) -> None:
    for text in (NAME_LINE, f"{NAME_LINE}   ", NAME_LINE.replace("                ", "\t")):
        (tmp_path / "Anno").mkdir(exist_ok=True)
        (tmp_path / NAMES).write_bytes(f"\ufeff1\r\nhead\r\n{text}\r\n".encode())
        assert read_names(Source(tmp_path), 18) == [("Regular length (51-65cm)", 1)]


@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "head", [[], ["2"], ["attribute_type (Chinese)  attribute_type (English)"], ["2", "type_name_cn  type_name_en"]]
)
def test_types_with_and_without_a_head(tmp_path: Path, head: list[str], end: str, bom: str) -> None:
    (tmp_path / "Anno").mkdir()
    lines = [*head, "衣长          Upper length  ", "裙 型     Skirt/dress type", ""]
    (tmp_path / KINDS).write_bytes((bom + end.join(lines)).encode())
    assert read_types(Source(tmp_path)) == ["upper length", "skirt/dress type"]


def test_protocol_is_the_default_of_three_ways(standins: Standins, tmp_path: Path) -> None:
    catalogue = take(standins(NAME)[0], tmp_path).catalogue
    expected = ItemProtocol(
        Side(("test",), "consumer"), Side(("test",), "shop"), relation="pairs", match="item", asked="image"
    )
    assert protocol.from_dict(catalogue.record["protocol"]) == expected


def test_standin_comes_back(standins: Standins, tmp_path: Path) -> None:
    folder, drawn = standins(NAME)
    imported = take(folder, tmp_path)
    assert_same(imported.catalogue, drawn)
    assert (imported.faults, imported.absent) == ((), 0)
    flat = sum(row["box"] is None for row in drawn.rows)
    assert flat >= 2
    assert imported.notes == (f"{BOXES}: {flat} boxes have no area, those images count as without a box",)
    pairs = imported.catalogue.relations["pairs"].to_pylist()
    assert max(Counter(pair["query"] for pair in pairs).values()) == 2
    assert {Path(pair["query"]).stem[:8] for pair in pairs} == {"comsumer"}
    shops = {(pair["item"], pair["gallery"]) for pair in pairs}
    assert Counter(Counter(item for item, _ in shops).values()) == {1: 11, 2: 5}  # some come in two colour-ways
    assert imported.catalogue.splits() == ("train", "val", "test")


@pytest.mark.parametrize("seed", range(3))
def test_standin_of_few_items(tmp_path: Path, seed: int) -> None:
    drawn = draw_standin(NAME, tmp_path / "data", items=4, seed=seed, size=32, quiet=True)
    assert_same(take(tmp_path / "data", tmp_path / "to").catalogue, drawn)


def test_standin_has_the_real_quirks(standins: Standins) -> None:
    folder, _ = standins(NAME)
    names = (folder / NAMES).read_bytes()
    assert names.startswith(b"\xef\xbb\xbf303\r\n")
    lines = names.decode("utf-8-sig").split("\r\n")
    assert re.split(r" {2,}", lines[2]) == re.split(r" {2,}", NAME_LINE)
    assert sum(line.endswith(" ") for line in lines) == 4
    fields = [re.split(r"\s{2,}", line.strip()) for line in lines[2:-1]]
    assert {len(row) for row in fields} == {3}
    assert tuple(Counter(int(row[2]) for row in fields)[number] for number in range(1, 19)) == COUNTS
    assert (folder / ITEMS).read_text().split("\n")[:2] == ["16", "id_00000001"]
    head = (folder / PARTITION).read_text().split("\n")[1]
    assert head == "image_pair_name_1 image_pair_name_2 item_id evaluation_status"


def test_labels_are_not_all_zero(standins: Standins, tmp_path: Path) -> None:
    """A public loader compares text with the number 1; here every 1 of the file comes back, counted the slow way."""
    folder, drawn = standins(NAME)
    catalogue = take(folder, tmp_path).catalogue
    rows = [line.split() for line in (folder / LABELS).read_text().splitlines()[2:]]
    ones = {row[0]: row[1:].count("1") for row in rows}
    assert min(ones.values()) >= 5
    of_items = Counter(
        row
        for row, attribute in zip(*(catalogue.labels[name].to_pylist() for name in ("image", "attribute")), strict=True)
        if attribute != "category"
    )
    assert [of_items[row] for row in range(len(catalogue))] == [ones[row["item"]] for row in drawn.rows]


def test_landmarks_are_where_they_were_drawn(tmp_path: Path) -> None:
    line = f"{ONE}  2  5  0 010 011  1 020 021  0 030 031  2 000 000\n"
    texts = SMALL | {LANDMARKS: f"1\nimage_name clothes_type variation_type landmark_visibility_1\n{line}"}
    imported = take(lay_out(tmp_path / "data", texts), tmp_path / "to")
    lower = [10, 11, 0, 20, 21, 1, 30, 31, 0, 0, 0, 2]
    assert imported.catalogue.images["landmarks"].to_pylist() == [[0, 0, 2] * 4 + lower, None, None, None]
    assert imported.catalogue.images["variation"].to_pylist()[0] == "large zoom-in"
    assert f"{LANDMARKS} has no row for 3 images of {PARTITION}, the first {SHOP}" in imported.notes


def test_image_of_two_items_and_two_splits(tmp_path: Path) -> None:
    more = f"{ONE} {FOLDER.replace('1', '2')}/shop_01.jpg id_00000002 train\n"
    texts = SMALL | {
        PARTITION: SMALL[PARTITION].replace("3\n", "4\n", 1) + more,
        ITEMS: "2\nid_00000001\nid_00000002\n",
    }
    root = lay_out(tmp_path / "data", texts, (ONE, TWO, SHOP, OTHER, f"{FOLDER.replace('1', '2')}/shop_01.jpg"))
    imported = take(root, tmp_path / "to")
    first = imported.catalogue.images.to_pylist()[0]
    assert (first["image"], first["item"], first["split"]) == (ONE, "id_00000001", "test")
    assert imported.catalogue.relations["pairs"].num_rows == 4
    assert any("1 images are in pairs of more than one item or split" in note for note in imported.notes)
    assert any(f"{LABELS} has no row for the items of 1 of 5 images" in note for note in imported.notes)


def test_other_images_of_the_lists_and_other_source_types(tmp_path: Path) -> None:
    boxes = SMALL[BOXES].replace("4\n", "5\n", 1).replace(f"{ONE}  1  2", f"{ONE}  1  1")
    texts = SMALL | {BOXES: f"{boxes}{FOLDER}/shop_09.jpg  1  1  001  002  003  004\n"}
    imported = take(lay_out(tmp_path / "data", texts), tmp_path / "to")
    assert f"{BOXES}: 1 of its images are not in {PARTITION}, they are left out" in imported.notes
    assert f"{BOXES}: the source type of 1 images is not what {PARTITION} says, which is kept" in imported.notes
    assert imported.catalogue.images["domain"].to_pylist()[0] == "consumer"
    assert len(imported.catalogue) == 4


def test_other_names_and_archives(own: Callable[[str], Path], standins: Standins, tmp_path: Path) -> None:
    data, drawn = own(NAME), standins(NAME)[1]
    (data / ITEMS).rename(data / "Anno" / "list_items_consumer2shop.txt")
    (data / PARTITION).write_bytes((data / PARTITION).read_bytes().replace(b"\n", b"  \r\n"))
    with zipfile.ZipFile(data / "Img" / "img.zip", "w") as archive:
        for path in sorted((data / "Img" / "img").rglob("*.jpg")):
            archive.write(path, path.relative_to(data / "Img"))
            path.unlink()
    assert_same(take(data, tmp_path / "to").catalogue, drawn)


@pytest.mark.parametrize("folder", ["Summer_Suit", "Summer_Wear"])
def test_large_pictures(own: Callable[[str], Path], standins: Standins, tmp_path: Path, folder: str) -> None:
    """Among the large pictures Summer_Wear is called Summer_Suit; some people rename it."""
    data, drawn = own(NAME), standins(NAME)[1]
    large = (data / "Img" / "img").rename(data / "Img" / "img_highres")
    (large / "CLOTHING" / "Summer_Wear").rename(large / "CLOTHING" / folder)
    with pytest.raises(DatasetError, match="give --variant img_highres"):
        take(data, tmp_path / "to")
    imported = take(data, tmp_path / "to", variant="img_highres")

    def moved(image: str) -> str:
        return image.replace("img/", "img_highres/", 1).replace("/Summer_Wear/", f"/{folder}/")

    for row in drawn.rows:
        row |= {"image": moved(row["image"]), "box": None, "landmarks": None}
    for pair in drawn.relations["pairs"]:
        pair |= {"query": moved(pair["query"]), "gallery": moved(pair["gallery"])}
    assert_same(imported.catalogue, drawn)
    assert "Summer_Wear" in imported.catalogue.values("category")
    assert any("boxes and landmarks are left out" in note for note in imported.notes)


def test_pairs_of_missing_images_go_with_them(own: Callable[[str], Path], standins: Standins, tmp_path: Path) -> None:
    data, drawn = own(NAME), standins(NAME)[1]
    gone = drawn.relations["pairs"][0]["gallery"]
    (data / "Img" / gone).unlink()
    imported = take(data, tmp_path / "to", skip_faulty=True)
    assert [str(fault) for fault in imported.faults] == [f"image missing: {gone}"]
    expected = [pair for pair in drawn.relations["pairs"] if pair["gallery"] != gone]
    assert imported.catalogue.relations["pairs"].to_pylist() == expected
    assert len(imported.catalogue) == len(drawn.rows) - 1


def test_format_says_what_it_needs() -> None:
    form = get(NAME)
    assert [spec.names[0] for spec in form.files("img") if spec.required] == [PARTITION]
    assert "Consumer-to-shop Clothes Retrieval Benchmark" in form.owners
    assert len(TYPES) == len(COUNTS) == 18
    assert sum(COUNTS) == 303
