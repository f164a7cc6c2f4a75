"""Any table of images becomes a catalogue: columns are told by name and cells, or as one says."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from lapel.catalogue import Catalogue
from lapel.datasets.csv_columns import tell_roles
from lapel.datasets.importing import Imported, import_dataset
from lapel.datasets.plain_csv import floats
from lapel.errors import DatasetError
from lapel.protocol import AttributeProtocol, ItemProtocol, Side, from_dict

from .pictures import pack, paint

TABLE = """photo_path,sku,subset,shop_name,Neckline,price,source
a.jpg,11,train,Nord,V-neck,39.90,shop
b.jpg,11,train,Nord,round,19.90,street
c.jpg,12,valid,Süd,V-neck,29.90,shop
d.jpg,13,test,Süd,round,5,street
"""


def write(folder: Path, text: str | bytes, name: str = "table.csv", pictures: str = "abcd") -> Path:
    folder.mkdir(exist_ok=True)
    paint(*(folder / f"{letter}.jpg" for letter in pictures))
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def load(root: Path, to: Path, skip_faulty: bool = False, **options: str) -> Imported:
    return import_dataset("csv", root, to, skip_faulty=skip_faulty, quiet=True, options=options)


def column(catalogue: Catalogue, name: str) -> list[Any]:
    return list(catalogue.images[name].to_pylist())


def labels(catalogue: Catalogue, attribute: str) -> list[tuple[str, ...]]:
    return [catalogue.values_of(row).get(attribute, ()) for row in range(len(catalogue))]


@pytest.mark.parametrize("root", ["table.csv", ""])
def test_columns_are_told_by_name(tmp_path: Path, root: str) -> None:
    write(tmp_path / "data", TABLE)
    imported = load(tmp_path / "data" / root, tmp_path / "to")
    found = imported.catalogue
    assert column(found, "image") == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert column(found, "item") == ["11", "11", "12", "13"]
    assert column(found, "split") == ["train", "train", "val", "test"]
    assert column(found, "domain") == ["shop", "consumer", "shop", "consumer"]
    assert column(found, "price") == [39.9, 19.9, 29.9, 5.0]
    assert found.attributes == ("shop_name", "Neckline")
    assert labels(found, "Neckline") == [("V-neck",), ("round",), ("V-neck",), ("round",)]
    assert imported.notes == (
        "image: column 'photo_path'; item: column 'sku'; split: column 'subset'; domain: column 'source'; "
        "attributes: shop_name, Neckline; metadata: price",
    )
    assert all(path.is_file() for path in found.paths())
    assert found.name == "to"
    assert from_dict(found.record["protocol"]) == AttributeProtocol()


@pytest.mark.parametrize(
    "text",
    [
        TABLE.replace("\n", "\r\n").encode("utf-8-sig"),
        TABLE.replace(",", ";"),
        TABLE.replace(",", "\t"),
        "\n" + TABLE + "\n\n",
        TABLE.replace("photo_path", " Photo Path ").replace("sku", "productId"),
    ],
)
def test_many_ways_to_write_it(tmp_path: Path, text: str | bytes) -> None:
    write(tmp_path / "data", text, "table.TSV")
    found = load(tmp_path / "data", tmp_path / "to").catalogue
    assert column(found, "image") == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert column(found, "item") == ["11", "11", "12", "13"]
    assert labels(found, "shop_name") == [("Nord",), ("Nord",), ("Süd",), ("Süd",)]


ROLES: list[tuple[str, dict[str, str], dict[str, Any]]] = [
    # a picture suffix says more than a name
    ("path,photo\nx/y,a.jpg\nx/z,b.jpg\n", {}, {"image": "photo"}),
    ("what,ever\na.jpg,1\nb.png,2\n", {}, {"image": "what"}),
    ("file,cover_image\na.jpg,a.jpg\nb.jpg,b.jpg\n", {}, {"image": "file", "metadata": ["cover_image"]}),
    ("id,name\na,dress\nb,skirt\n", {}, {"image": "id"}),
    # item
    ("image,style\na.jpg,casual\nb.jpg,casual\n", {}, {"item": "", "attributes": ["style"]}),
    ("image,style\na.jpg,S12\nb.jpg,S12\n", {}, {"item": "style"}),
    ("image,style,item_id\na.jpg,S12,1\nb.jpg,S12,1\n", {}, {"item": "item_id", "attributes": ["style"]}),
    # split and domain
    ("image,set\na.jpg,bridal\nb.jpg,bridal\n", {}, {"split": "", "attributes": ["set"]}),
    ("image,set\na.jpg,Train\nb.jpg,dev\n", {}, {"split": "set"}),
    ("image,evaluation_status\na.jpg,query\nb.jpg,gallery\n", {}, {"split": "evaluation_status"}),
    ("image,source\na.jpg,web\nb.jpg,web\n", {}, {"domain": "", "attributes": ["source"]}),
    ("image,domain\na.jpg,Street\nb.jpg,store\n", {}, {"domain": "domain"}),
    # box
    ("image,x1,y1,x2,y2\na.jpg,1,2,3,4\n", {}, {"box": ("x1", "y1", "x2", "y2"), "sized": False}),
    ("image,X,Y,Width,Height\na.jpg,1,2,3,4\n", {}, {"box": ("X", "Y", "Width", "Height"), "sized": True}),
    ("image,bbox_x,bbox_y,bbox_w,bbox_h\na.jpg,1,2,3,4\n", {}, {"sized": True}),
    ("image,left,top,right,bottom\na.jpg,1,2,3,4\n", {}, {"box": ("left", "top", "right", "bottom")}),
    ("image,bbox\na.jpg,1 2 3 4\n", {}, {"box": ("bbox",)}),
    ("image,x,y\na.jpg,1,2\n", {}, {"box": (), "metadata": ["x", "y"]}),
    # as one says
    ("image,photo\na.jpg,b.jpg\n", {"image": "photo"}, {"image": "photo", "metadata": ["image"]}),
    ("image,sku,code\na.jpg,1,2\n", {"item": "code"}, {"item": "code", "metadata": ["sku"]}),
    ("image,a,b\na.jpg,1.5,p\n", {"attribute": "a, b"}, {"attributes": ["a", "b"]}),
    ('image,"a, b"\na.jpg,p\n', {"attribute": "a, b"}, {"attributes": ["a, b"]}),
    ("image,fit\na.jpg,slim\nb.jpg,slim\n", {"metadata": "fit"}, {"attributes": [], "metadata": ["fit"]}),
    ("image,p,q,r,s\na.jpg,1,2,3,4\n", {"box": "p,q,r,s"}, {"box": ("p", "q", "r", "s"), "sized": False}),
    ("image,x,y,w,h\na.jpg,1,2,3,4\n", {"box": "x,y,w,h"}, {"sized": True}),
    ("image,sku\na.jpg,1\nb.jpg,1\n", {"metadata": "sku"}, {"item": "", "metadata": ["sku"]}),
]


@pytest.mark.parametrize(("text", "options", "expected"), ROLES)
def test_roles(tmp_path: Path, text: str, options: dict[str, str], expected: dict[str, Any]) -> None:
    from lapel.delimited import read_csv

    roles = tell_roles(read_csv(write(tmp_path, text), ""), options, lambda: {"a", "b"})
    assert {name: getattr(roles, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (
            "colour,fit\nred,slim\n",
            {},
            "no column holds images; columns: colour, fit. Say which one does: --column image=",
        ),
        ("front,back\na.jpg,b.jpg\n", {}, "several columns hold names of pictures (front, back)"),
        (TABLE, {"imgae": "photo_path"}, "--column: unknown role 'imgae'; did you mean 'image'?"),
        (TABLE, {"item": "skuu"}, "--column item: unknown column 'skuu'; did you mean 'sku'?"),
        (TABLE, {"item": "sku,price"}, "--column item: expected one column, found 2: sku, price"),
        (TABLE, {"box": "sku,price"}, "--column box: expected one column, or four, found 2"),
        ("a.jpg,red\nb.jpg,blue\n", {}, "has no line of column names: write one"),
        ("image,fit\n", {}, "has no rows: expected one row per image"),
        ("", {}, "is empty: expected a header line"),
        (TABLE.encode("utf-16"), {}, "is UTF-16 text, expected UTF-8"),
        (TABLE.encode("latin-1"), {}, "line 4 is not UTF-8 text (byte 0xfc)"),
        (
            TABLE.replace("train", "tarin", 1).replace("subset", "split"),
            {},
            "row 2: unknown split 'tarin'; did you mean",
        ),
        (
            TABLE.replace("street", "strete", 1),
            {"domain": "source"},
            "row 3: unknown source 'strete'; did you mean 'street'",
        ),
        (TABLE.replace("c.jpg", ""), {}, "row 4: the cell 'photo_path' is empty"),
        (TABLE.replace("c.jpg", "a.jpg"), {}, "row 4: the same image as in row 2: a.jpg"),
        (TABLE[:-30], {}, "row 5: expected 7 cells as in the first line, found 1: "),
        (TABLE.replace("Nord,", ""), {}, "row 2: expected 7 cells as in the first line, found 6: 'a.jpg,11,train"),
        ("image,box\na.jpg,1 2 3\n", {}, "table.csv: row 2: expected a box of four numbers in box, found '1 2 3'"),
        ("image,landmarks\na.jpg,1 2\n", {}, "landmarks"),
        (TABLE.replace("d.jpg", "e.jpg"), {}, "1 of 4 images are missing, the first: "),
        (TABLE.replace(".jpg", ".png"), {}, "none of the 4 images is there: expected "),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str | bytes, options: dict[str, str], message: str) -> None:
    write(tmp_path / "data", text, pictures="abcd" if "," in str(text) else "")
    with pytest.raises(DatasetError) as caught:
        load(tmp_path / "data", tmp_path / "to", **options)
    assert message in str(caught.value)
    assert not (tmp_path / "to").exists()


def test_faulty_rows_are_left_out_and_listed(tmp_path: Path) -> None:
    text = "image,split,fit\n\na.jpg,train,slim\nb.jpg\nc.jpg,tset,wide\nd.jpg,test,slim\n"
    text += ",test,wide\nx.jpg,test,wide\na.jpg,,\n"
    write(tmp_path / "data", text)
    imported = load(tmp_path / "data", tmp_path / "to", skip_faulty=True)
    assert column(imported.catalogue, "image") == ["a.jpg", "d.jpg"]
    assert (tmp_path / "to" / "left-out.txt").read_text().splitlines() == [
        "table.csv: row 3: expected 3 cells as in the first line, found 1: 'b.jpg'. "
        "A cell with a comma in it needs quotes",
        "table.csv: row 6: the cell 'image' is empty",
        "table.csv: row 4: unknown split 'tset'; did you mean 'test'? Known: train, training, val, valid, validation, "
        "dev, test, testing, query, gallery",
        "table.csv: row 8: the same image as in row 2: a.jpg",
        "image missing: x.jpg",
    ]


def test_a_table_must_be_the_only_one(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(DatasetError, match=r"holds no \.csv or \.tsv file: give the table"):
        load(tmp_path / "data", tmp_path / "to")
    write(tmp_path / "data", TABLE)
    write(tmp_path / "data", TABLE, "other.tsv")
    with pytest.raises(DatasetError, match=r"holds 2 tables \(other.tsv, table.csv\): name the file"):
        load(tmp_path / "data", tmp_path / "to")


BOXES = [
    ("box\n1 2 3 4\n5 6 7 8\n9 10 11 12\n0 0 5 5\n", [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12], [0, 0, 5, 5]], ""),
    ("bbox\n'[1, 2, 3, 4]'\n\n'(5,6,7,8)'\n1;2;3;4\n", [[1, 2, 3, 4], None, [5, 6, 7, 8], [1, 2, 3, 4]], ""),
    ("x,y,w,h\n1,2,3,4\n5,6,7,8\n,,,\n0,0,5,0\n", [[1, 2, 4, 6], [5, 6, 12, 14], None, None], "1 boxes have no size"),
    ("bbox\n9 8 3 4\n5 6 7 8\n\n1 2 2 2\n", [[9, 8, 12, 12], [5, 6, 12, 14], None, [1, 2, 3, 4]], "is read as x, y"),
    ("x1,y1,x2,y2\n1,2,3,4\n5,6,4,8\n-9,0,-2,5\n-2,0,5,5\n", [[1, 2, 3, 4], None, None, [-2, 0, 5, 5]], "2 boxes"),
    ("bbox\n.1 .1 .5 .9\n0 0 1 1\n\n.2 .2 .9 .9\n", [None] * 4, "boxes are shares of the picture, not pixels"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "boxes", "note"), BOXES)
def test_boxes(tmp_path: Path, text: str, boxes: list[Any], note: str) -> None:
    header, *cells = text.rstrip("\n").replace("'", '"').split("\n")
    pictures = [f"{letter}.jpg,{cell}" for letter, cell in zip("abcd", cells, strict=True)]
    write(tmp_path / "data", "\n".join([f"image,{header}", *pictures]) + "\n")
    imported = load(tmp_path / "data", tmp_path / "to")
    assert column(imported.catalogue, "box") == boxes
    assert note in "; ".join(imported.notes)
    assert note or len(imported.notes) == 1


@pytest.mark.parametrize("text", ["1 2", "[1,2]", " 1 ; 2 ", "(1.0, 2e0)"])
def test_floats(text: str) -> None:
    assert floats(text) == [1.0, 2.0]


@pytest.mark.parametrize("text", ["1 two", "nan", "inf 1"])
def test_no_floats(text: str) -> None:
    assert floats(text) is None


@pytest.mark.parametrize(
    ("cells", "places"),
    [
        (["a.jpg", "b.jpg"], ["images/a.jpg", "images/b.jpg"]),
        (["sub/a.jpg", "sub/b.jpg"], ["sub/a.jpg", "sub/b.jpg"]),
        (["./a.jpg", "./b.jpg"], ["a.jpg", "b.jpg"]),
        (["sub\\a.jpg", "sub\\b.jpg"], ["sub/a.jpg", "sub/b.jpg"]),
        (["a", "b"], ["deep/in/a.jpg", "deep/out/b.jpg"]),
        (["a.jpg", "b.jpg"], ["one/a.jpg", "two/b.jpg"]),
        (["elsewhere/a.jpg", "elsewhere/b.jpg"], ["one/a.jpg", "two/b.jpg"]),
        (["protocol://x/y/a.jpg?size=2", "protocol://x/z/b.jpg"], ["photos/a.jpg", "photos/b.jpg"]),
    ],
)
def test_where_pictures_lie(tmp_path: Path, cells: list[str], places: list[str]) -> None:
    data = tmp_path / "data"
    write(data, "image\n" + "\n".join(cells) + "\n", pictures="")
    paint(*(data / place for place in places))
    imported = load(data, tmp_path / "to")
    assert [path.resolve() for path in imported.catalogue.paths()] == [(data / place).resolve() for place in places]


def test_absolute_paths(tmp_path: Path) -> None:
    paint(tmp_path / "far/a.jpg", tmp_path / "data/b.jpg")
    write(tmp_path / "data", f"image\n{tmp_path}/far/a.jpg\nb.jpg\n", pictures="")
    found = load(tmp_path / "data", tmp_path / "to").catalogue
    assert found.paths() == [tmp_path / "far/a.jpg", tmp_path / "data/b.jpg"]
    assert all(path.is_file() for path in found.paths())


def test_a_missing_picture_is_not_taken_from_another_folder(tmp_path: Path) -> None:
    data = tmp_path / "data"
    paint(data / "one/a.jpg", data / "two/b.jpg")
    write(data, "image\none/a.jpg\none/b.jpg\n", pictures="")
    with pytest.raises(DatasetError, match=r"1 of 2 images are missing, the first: .*one/b.jpg"):
        load(data, tmp_path / "to")


@pytest.mark.parametrize("beneath", ["", "photos/", "any/thing/"])
def test_pictures_in_an_archive(tmp_path: Path, beneath: str) -> None:
    from lapel.decoding import decode_array

    data = tmp_path / "data"
    paint(*(tmp_path / "pictures" / f"{letter}.jpg" for letter in "abcd"))
    write(data, TABLE, pictures="")
    pack(tmp_path / "pictures", data / "photos.zip", beneath)
    found = load(data, tmp_path / "to").catalogue
    assert len(found) == 4
    for path in found.paths():
        decode_array(path)


def test_several_values_in_a_cell(tmp_path: Path) -> None:
    write(tmp_path / "data", "image,colour\na.jpg,red|blue\nb.jpg,blue\nc.jpg,\nd.jpg,red\n")
    found = load(tmp_path / "data", tmp_path / "to").catalogue
    assert labels(found, "colour") == [("red", "blue"), ("blue",), (), ("red",)]


def test_names_that_the_catalogue_has_for_itself(tmp_path: Path) -> None:
    write(tmp_path / "data", "image,photo,item,sku\na.jpg,b.jpg,dress,1\nb.jpg,a.jpg,dress,2\n")
    imported = load(tmp_path / "data", tmp_path / "to", image="photo", item="sku")
    assert column(imported.catalogue, "image") == ["b.jpg", "a.jpg"]
    assert column(imported.catalogue, "image (given)") == ["a.jpg", "b.jpg"]
    assert imported.catalogue.attributes == ("item (given)",)
    assert "column 'item' is kept as 'item (given)'" in imported.notes


def test_a_catalogue_of_our_own_is_a_table_too(tmp_path: Path, garments: Catalogue) -> None:
    found = load(garments.root, tmp_path / "to").catalogue
    assert found.labels.equals(garments.labels)
    assert found.attributes == garments.attributes
    assert {name: column(found, name) for name in ("item", "split", "domain", "box", "landmarks")} == {
        name: column(garments, name) for name in ("item", "split", "domain", "box", "landmarks")
    }
    assert [path.resolve() for path in found.paths()] == garments.paths()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image,item,split\na.jpg,1,query\nb.jpg,1,gallery\n", ItemProtocol()),
        ("image,split\na.jpg,query\nb.jpg,gallery\n", AttributeProtocol()),
        (
            "image,item,domain\na.jpg,1,shop\nb.jpg,1,street\n",
            ItemProtocol(query=Side((), "consumer"), gallery=Side((), "shop")),
        ),
        (
            "image,item,domain,split\na.jpg,1,shop,test\nb.jpg,1,street,test\nc.jpg,2,shop,train\n",
            ItemProtocol(query=Side(("test",), "consumer"), gallery=Side(("test",), "shop")),
        ),
    ],
)
def test_how_it_is_scored(tmp_path: Path, text: str, expected: object) -> None:
    write(tmp_path / "data", text)
    assert from_dict(load(tmp_path / "data", tmp_path / "to").catalogue.record["protocol"]) == expected


def test_a_failed_import_leaves_the_catalogue(tmp_path: Path) -> None:
    path = write(tmp_path / "data", TABLE)
    load(path, tmp_path / "to")
    before = {file: file.read_bytes() for file in (tmp_path / "to").iterdir()}
    path.write_text(TABLE + "e.jpg\n")
    with pytest.raises(DatasetError):
        load(path, tmp_path / "to")
    shutil.rmtree(tmp_path / "data")
    with pytest.raises(DatasetError, match="nothing at"):
        load(path, tmp_path / "to")
    assert {file: file.read_bytes() for file in (tmp_path / "to").iterdir()} == before
