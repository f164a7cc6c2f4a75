"""Street2Shop: photos wherever they were fetched to, boxes without a size, product numbers local to a category."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lapel import datasets, protocol
from lapel.catalogue import Catalogue
from lapel.datasets.importing import Imported, import_dataset, open_source
from lapel.datasets.street2shop import AHBN_CATEGORIES, CATEGORIES, PROTOCOL
from lapel.errors import DatasetError
from lapel.standins import draw_standin

from .conftest import Standins
from .roundtrip import assert_same

QUOTED_PAIR = '{"photo": 2847, "product": 47270, "bbox": {"width": 693, "top": 307, "left": 146, "height": 993}}'
QUOTED_SHOP = '{"photo": 163478, "product": 1}'
TRAIN, TEST, SHOP = (f"meta/json/{kind}_dresses.json" for kind in ("train_pairs", "test_pairs", "retrieval"))

Own = Callable[[str], Path]


def load(root: Path, to: Path, **options: bool) -> Imported:
    return import_dataset("street2shop", root, to, quiet=True, **options)


def make(root: Path, pictures: Sequence[str], lists: dict[str, str]) -> Path:
    """Write a data set by hand: pictures, and lists as JSON text."""
    for name, text in {**dict.fromkeys(pictures, "a picture"), **lists}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def cells(catalogue: Catalogue, column: str) -> list[Any]:
    return list(catalogue.images[column].to_pylist())


def pair(photo: int, product: int, **box: int) -> str:
    return json.dumps({"photo": photo, "product": product, "bbox": box})


def test_what_was_drawn_is_found(standins: Standins, tmp_path: Path) -> None:
    folder, drawn = standins("street2shop")
    imported = load(folder, tmp_path)
    assert_same(imported.catalogue, drawn)
    assert not imported.faults
    assert imported.absent
    assert protocol.from_dict(imported.catalogue.record["protocol"]) == PROTOCOL
    assert len({row["item"].partition("/")[0] for row in drawn.rows}) >= 3


def test_what_is_drawn_has_everything_that_is_odd(standins: Standins, tmp_path: Path) -> None:
    folder, drawn = standins("street2shop")
    rows = drawn.rows
    assert {Path(row["image"]).suffix for row in rows} == {".jpg", ".jpeg", ".png"}
    street = [row for row in rows if row["domain"] == "consumer"]
    assert sum(row["box"] is None for row in street) == 1
    boxes = Counter((row["image"], row["item"]) for row in street)
    assert max(boxes.values()) == 2
    products = Counter(image for image, _ in boxes)
    assert max(products.values()) == 2
    assert {(row["split"], row["domain"]) for row in rows} == {
        ("train", "consumer"), ("test", "consumer"), ("train", "shop"), ("gallery", "shop"),
    }  # fmt: skip
    for row in street:
        if row["box"]:
            width, height = Image.open(folder / row["image"]).size
            x1, y1, x2, y2 = row["box"]
            assert 0 <= x1 < x2 <= width
            assert 0 <= y1 < y2 <= height
    # Each product that is asked has a photo in the gallery, and the same numbers occur in several categories.
    shop = {row["item"] for row in rows if row["domain"] == "shop"}
    assert {row["item"] for row in street} <= shop
    assert len({row["product"] for row in rows}) < len(shop)


@pytest.mark.parametrize(("items", "size"), [(4, 32), (60, 32)])
def test_other_sizes_are_read_too(items: int, size: int, tmp_path: Path) -> None:
    drawn = draw_standin("street2shop", tmp_path / "data", items, seed=3, size=size, quiet=True)
    assert_same(load(tmp_path / "data", tmp_path / "to").catalogue, drawn)
    if items == 60:
        assert {value for _, _, value in drawn.labels} == set(CATEGORIES)


def test_the_quoted_lines(tmp_path: Path) -> None:
    lists = {TEST: f"[{QUOTED_PAIR}]", SHOP: f"[{QUOTED_SHOP}]", "photos/photos.txt": "000000001,a link,with a comma\n"}
    pictures = ["photos/000002847.jpg", "photos/000163478.jpg"]
    imported = load(make(tmp_path / "data", pictures, lists), tmp_path / "to")
    assert imported.catalogue.images.drop(["landmarks"]).to_pylist() == [
        {
            "image": "photos/000002847.jpg", "item": "dresses/47270", "split": "test", "domain": "consumer",
            "box": [146, 307, 146 + 693, 307 + 993], "photo": 2847, "product": 47270,
        },
        {
            "image": "photos/000163478.jpg", "item": "dresses/1", "split": "gallery", "domain": "shop",
            "box": None, "photo": 163478, "product": 1,
        },
    ]  # fmt: skip
    assert imported.catalogue.values_of(1) == {"category": ("dresses",)}
    assert imported.notes == (
        "no lists of 10 of the 11 categories: bags, belts, eyewear, footwear, hats, leggings, outerwear, pants, "
        "skirts, tops",
        "meta/json/train_pairs_dresses.json is missing: dresses are incomplete",
        f"products of test pairs without a shop photo: 1, the first in {TEST} (product 47270)",
        "photos that are not in photos/photos.txt: 2, the first: 2847",
    )


def test_the_box_without_a_size(tmp_path: Path) -> None:
    lists = {TRAIN: f"[{pair(8288, 4916, top=3, left=5)}, {pair(1, 4916, top=3, left=5, width=0, height=9)}]"}
    imported = load(make(tmp_path / "data", ["photos/8288.jpg", "photos/1.jpg"], lists), tmp_path / "to")
    assert cells(imported.catalogue, "box") == [None, None]
    assert (
        "boxes without a size, or of no area: 2, the first in meta/json/train_pairs_dresses.json row 1 "
        "(photo 8288, product 4916)" in imported.notes
    )


@pytest.mark.parametrize(
    ("box", "found"),
    [
        ({"left": -4, "top": -2, "width": 10, "height": 20}, [-4, -2, 6, 18]),
        ({"left": -40, "top": -2, "width": 10, "height": 20}, None),
        ({"left": 4, "top": 2, "width": -10, "height": 20}, None),
        ({"left": 4, "top": 2, "width": 10}, None),
        ({"left": 4.5, "top": 2, "width": 10, "height": 1.25}, [4.5, 2, 14.5, 3.25]),
    ],
)
def test_boxes(box: dict[str, int], found: list[float] | None, tmp_path: Path) -> None:
    imported = load(make(tmp_path / "data", ["1.jpg"], {TRAIN: f"[{pair(1, 1, **box)}]"}), tmp_path / "to")
    assert cells(imported.catalogue, "box") == [found]


def test_products_count_within_a_category_and_shop_photos_have_their_split(tmp_path: Path) -> None:
    box = {"left": 0, "top": 0, "width": 5, "height": 5}
    lists = {
        TRAIN: f"[{pair(1, 7, **box)}, {pair(2, 8, **box)}]",
        TEST: f"[{pair(3, 8, **box)}]",
        SHOP: json.dumps([{"photo": 10 + product, "product": product} for product in (7, 8, 9)]),
        "meta/json/train_pairs_bags.json": "[]",
        "meta/json/test_pairs_bags.json": f"[{pair(4, 7, **box)}]",
        "meta/json/retrieval_bags.json": '[{"photo": 17, "product": 7}]',
    }
    pictures = [f"photos/{photo}.jpg" for photo in (1, 2, 3, 4, 17, 18, 19)]
    found = load(make(tmp_path / "data", pictures, lists), tmp_path / "to").catalogue
    # Photo 17 shows a bag and a dress.
    assert list(zip(cells(found, "item"), cells(found, "split"), cells(found, "photo"), strict=True)) == [
        ("bags/7", "test", 4),
        ("bags/7", "gallery", 17),
        ("dresses/7", "train", 1),
        ("dresses/8", "train", 2),
        ("dresses/8", "test", 3),
        ("dresses/7", "train", 17),
        ("dresses/8", "gallery", 18),
        ("dresses/9", "gallery", 19),
    ]


def test_rows_that_repeat_are_taken_once(tmp_path: Path) -> None:
    small, large = ({"left": 0, "top": 0, "width": side, "height": side} for side in (5, 9))
    lists = {
        TRAIN: f"[{pair(1, 1, **small)}, {pair(1, 1, **large)}, {pair(1, 1, **small)}, {pair(1, 2, **small)}]",
        SHOP: '[{"photo": 2, "product": 1}, {"photo": 2, "product": 1}, {"photo": 2, "product": 2}]',
    }
    imported = load(make(tmp_path / "data", ["photos/1.jpg", "photos/2.png"], lists), tmp_path / "to")
    assert cells(imported.catalogue, "product") == [1, 1, 2, 1, 2]
    assert cells(imported.catalogue, "box")[:3] == [[0, 0, 5, 5], [0, 0, 9, 9], [0, 0, 5, 5]]
    assert "rows that are there again, left out: 2, the first in meta/json/train_pairs_dresses.json row 3" in (
        imported.notes
    )


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (["photos/000000012.jpg"], "photos/000000012.jpg"),
        (["photos/12.JPEG"], "photos/12.JPEG"),
        (["images/000000012.png"], "images/000000012.png"),
        (["images/dresses/12.gif", "images/dresses/12_2.jpg"], "images/dresses/12.gif"),
        (["0012.webp"], "0012.webp"),
        (["my photos/shop/dresses/12.jpg"], "my photos/shop/dresses/12.jpg"),
        (["crops/12.jpg", "images/12.jpg", "photos/b/12.jpg", "photos/a/12.jpg"], "photos/a/12.jpg"),
        (["photos/dresses/12.jpg", "photos/12.txt", "photos/x12.jpg"], "photos/dresses/12.jpg"),
    ],
)
def test_photos_are_found_by_number(found: Sequence[str], expected: str, tmp_path: Path) -> None:
    root = make(tmp_path / "data", found, {SHOP: '[{"photo": 12, "product": 1}]'})
    catalogue = load(root, tmp_path / "to").catalogue
    assert cells(catalogue, "image") == [expected]
    assert catalogue.paths()[0].is_file()


@pytest.mark.parametrize("folder", ["json", "meta", "."])
def test_lists_may_lie_elsewhere(folder: str, own: Own, standins: Standins, tmp_path: Path) -> None:
    root = own("street2shop")
    (root / folder).mkdir(exist_ok=True)
    for path in sorted((root / "meta/json").iterdir()):
        path.rename(root / folder / path.name)
    assert_same(load(root, tmp_path / "to").catalogue, standins("street2shop")[1])


@pytest.mark.parametrize("place", ["photos.zip", "photos/all.zip"])
def test_photos_in_an_archive(place: str, own: Own, standins: Standins, tmp_path: Path) -> None:
    root = own("street2shop")
    shutil.make_archive(str(tmp_path / "made"), "zip", root, "photos")
    shutil.rmtree(root / "photos")
    (root / place).parent.mkdir(exist_ok=True)
    shutil.move(tmp_path / "made.zip", root / place)
    imported = load(root, tmp_path / "to")
    assert_same(imported.catalogue, standins("street2shop")[1])
    assert imported.catalogue.root.resolve() == (root / place).resolve()


def test_dead_links_are_counted_and_the_rest_is_kept(own: Own, standins: Standins, tmp_path: Path) -> None:
    root, drawn = own("street2shop"), standins("street2shop")[1]
    before = load(root, tmp_path / "to").absent
    gone = next(row["image"] for row in drawn.rows if row["domain"] == "consumer")
    (root / gone).unlink()
    imported = load(root, tmp_path / "to")
    assert imported.absent == before + 1
    assert not imported.faults
    assert cells(imported.catalogue, "image") == [row["image"] for row in drawn.rows if row["image"] != gone]
    assert imported.notes[-1].startswith(f"{before + 1} of ")
    assert "many are dead. Figures then do not match published ones exactly" in imported.notes[-1]
    labels = imported.catalogue.labels
    assert [cells(imported.catalogue, "item")[row].partition("/")[0] for row in labels["image"].to_pylist()] == labels[
        "value"
    ].to_pylist()


def test_no_photo_at_all(own: Own, tmp_path: Path) -> None:
    root = own("street2shop")
    shutil.rmtree(root / "photos")
    with pytest.raises(
        DatasetError, match=r"none of the \d+ images is there: expected .*photos/\d{9}.jpg and the like"
    ):
        load(root, tmp_path / "to")


def test_no_list_at_all(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"lacks meta/json/retrieval_bags.json \(or .*which shop photos show which"):
        load(make(tmp_path / "data", ["photos/1.jpg"], {}), tmp_path / "to")


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (b"000000001,x\n12\n000000012,x,y", None),
        (b"\xef\xbb\xbf000000012,x\r\n", None),
        (b"000000012,caf\xe9\n\n", None),
        (
            b"<html>\n000000012,x\n",
            "lines without a photo number before a comma: 1, the first in photos/photos.txt line 1",
        ),
        (b"000000011,x\n", "photos that are not in photos/photos.txt: 1, the first: 12"),
    ],
)
def test_photos_txt_never_stops_an_import(text: bytes, note: str | None, tmp_path: Path) -> None:
    root = make(tmp_path / "data", ["photos/12.jpg"], {SHOP: '[{"photo": 12, "product": 1}]'})
    (root / "photos/photos.txt").write_bytes(text)
    notes = [note for note in load(root, tmp_path / "to").notes if "photos.txt" in note]
    assert not notes if note is None else note in notes[0]


DAMAGE = [
    (TRAIN, lambda t: t[:-40], "meta/json/train_pairs_dresses.json is not JSON ("),
    (TRAIN, lambda t: t[:-40], "it is cut short or damaged, unpack it again"),
    (TRAIN, lambda t: "{}", 'expected a list of {"photo": 2847, "product": 47270, "bbox": {...}}, found \'{}\''),
    (SHOP, lambda t: '{"photo": 1}', 'retrieval_dresses.json: expected a list of {"photo": 2847, "product": 47270}'),
    (TRAIN, lambda t: t.replace('"photo"', '"foto"', 1), 'row 1: expected {"photo": 2847, "product": 47270, "bbox"'),
    (TRAIN, lambda t: t.replace('"product": ', '"product": "x", "p": ', 1), "row 1: expected"),
    (TRAIN, lambda t: t.replace('"bbox"', '"box"', 1), "row 1: expected"),
    (TRAIN, lambda t: t.replace('"width": ', '"width": true, "w": ', 1), "row 1: expected"),
    (TEST, lambda t: t.replace('"bbox": {', '"bbox": [{', 1).replace("}}", "}]}", 1), "row 1: expected"),
    (SHOP, lambda t: "[1, " + t[1:], "retrieval_dresses.json: row 1: expected"),
    (SHOP, lambda t: t.encode("utf-16"), "meta/json/retrieval_dresses.json: UTF-16 text, expected UTF-8"),
    (SHOP, lambda t: b"caf\xe9" + t.encode(), "meta/json/retrieval_dresses.json line 1: not UTF-8 text (byte 0xe9)"),
]


@pytest.mark.parametrize(("name", "damage", "message"), DAMAGE)
def test_damage_is_told_and_an_earlier_catalogue_stays(
    name: str, damage: Callable[[str], str | bytes], message: str, own: Own, tmp_path: Path
) -> None:
    root = own("street2shop")
    load(root, tmp_path / "to")
    before = {path.name: path.read_bytes() for path in (tmp_path / "to").iterdir()}
    damaged = damage((root / name).read_text("utf-8"))
    (root / name).write_bytes(damaged if isinstance(damaged, bytes) else damaged.encode())
    with pytest.raises(DatasetError) as error:
        load(root, tmp_path / "to")
    assert message in str(error.value)
    assert {path.name: path.read_bytes() for path in (tmp_path / "to").iterdir()} == before


def test_faulty_rows_and_lists_can_be_left_out(own: Own, standins: Standins, tmp_path: Path) -> None:
    root, drawn = own("street2shop"), standins("street2shop")[1]
    (root / SHOP).write_text((root / SHOP).read_text()[:-5])
    skirts = root / "meta/json/retrieval_skirts.json"
    skirts.write_text('["?", ' + skirts.read_text()[1:])
    imported = load(root, tmp_path / "to", skip_faulty=True)
    assert [fault.file for fault in imported.faults] == [SHOP, "meta/json/retrieval_skirts.json"]
    kept = [row["image"] for row in drawn.rows if not (row["domain"] == "shop" and row["item"].startswith("dresses/"))]
    assert cells(imported.catalogue, "image") == kept
    assert len((tmp_path / "to/left-out.txt").read_text().splitlines()) == 2


def test_the_protocol_is_that_of_the_paper() -> None:
    assert PROTOCOL.within == "category"
    assert PROTOCOL.headline == 20
    assert PROTOCOL.ks == (1, 10, 20, 30, 40, 50)
    assert PROTOCOL.query == protocol.Side(("test",), "consumer")
    assert PROTOCOL.gallery == protocol.Side((), "shop")
    assert set(AHBN_CATEGORIES) < set(CATEGORIES)
    assert len(AHBN_CATEGORIES) == 6


def test_check_names_every_file_with_its_purpose(tmp_path: Path) -> None:
    form = datasets.get("street2shop")
    specs = form.files("")
    assert len(specs) == 3 * 11 + 1
    assert all(spec.purpose and not spec.required for spec in specs)
    root = make(tmp_path / "data", ["1.jpg"], {SHOP: '[{"photo": 1, "product": 1}, {"photo": 1}]'})
    source = open_source(form, root, strict=False)
    assert len(form.read(source).images["image"]) == 1
    assert [str(fault).partition(", found")[0] for fault in source.faults] == [
        f'{SHOP}: row 2: expected {{"photo": 2847, "product": 47270}}'
    ]
