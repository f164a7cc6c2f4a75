"""UT-Zappos50K: names that differ on disk, the triplet lists, and what damage to either says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from lapel import datasets, protocol
from lapel.catalogue import Catalogue
from lapel.datasets.importing import Imported, import_dataset
from lapel.datasets.zappos50k import HEEL_HEIGHTS
from lapel.errors import DatasetError
from lapel.standins import draw_standin

from .conftest import Standins
from .roundtrip import assert_same

HEADER = "CID,Category,SubCategory,HeelHeight,Insole,Closure,Gender,Material,ToeStyle"
QUOTED = "Shoes/Oxfords/Bostonian/100627.72.jpg"
CLASS_TRAIN = "data/tripletlists/class_tripletlist_train.txt"
FILENAMES, META, PICTURES = "data/filenames.json", "ut-zap50k-data/meta-data.csv", "ut-zap50k-images"

Own = Callable[[str], Path]


def load(root: Path, to: Path, **options: bool | str) -> Imported:
    return import_dataset("zappos50k", root, to, quiet=True, **options)  # type: ignore[arg-type]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def make(
    root: Path,
    disk: Sequence[str],
    listed: Sequence[str] | None = None,
    meta: str = "",
    lists: dict[str, str] | None = None,
) -> Path:
    """Write a data set by hand: pictures, and the files that are given."""
    for name in disk:
        write(root / PICTURES / name, "a picture")
    if listed is not None:
        write(root / FILENAMES, "".join(f"{name}\n" for name in listed))
    if meta:
        write(root / META, f"{HEADER}\n{meta}\n")
    for name, text in (lists or {}).items():
        write(root / f"data/tripletlists/{name}.txt", text)
    return root


def numbered(count: int) -> list[str]:
    return [f"Shoes/Oxfords/Bostonian/{100627 + number}.72.jpg" for number in range(count)]


def cells(catalogue: Catalogue, column: str) -> list[object]:
    return list(catalogue.images[column].to_pylist())


def test_what_was_drawn_is_found(standins: Standins, tmp_path: Path) -> None:
    folder, drawn = standins("zappos50k")
    imported = load(folder, tmp_path)
    assert_same(imported.catalogue, drawn)
    assert not imported.notes
    assert not imported.faults
    assert protocol.from_dict(imported.catalogue.record["protocol"]) == protocol.TripletProtocol()


def test_the_drawn_triplets_are_true_and_each_list_has_some(standins: Standins) -> None:
    _, drawn = standins("zappos50k")
    values: dict[tuple[str, str], set[str]] = {}
    for row, attribute, value in drawn.labels:
        values.setdefault((drawn.rows[row]["image"], attribute), set()).add(value)
    triplets = drawn.relations["triplets"]
    assert {(row["split"], row["attribute"]) for row in triplets} == {
        (split, attribute)
        for split in ("train", "val", "test")
        for attribute in ("category", "closure", "gender", "heel_height")
    }
    for row in triplets:
        anchor, positive, negative = (
            values[row[role], row["attribute"]] for role in ("anchor", "positive", "negative")
        )
        assert anchor & positive
        assert not anchor & negative


@pytest.mark.parametrize(("items", "size"), [(4, 32), (9, 40)])
def test_a_small_drawing_is_read_too(items: int, size: int, tmp_path: Path) -> None:
    drawn = draw_standin("zappos50k", tmp_path / "data", items, seed=3, size=size, quiet=True)
    assert_same(load(tmp_path / "data", tmp_path / "to").catalogue, drawn)


def test_the_quoted_example(tmp_path: Path) -> None:
    meta = "100627-72,Shoes,Oxfords,Under 1in,,Lace up;Buckle,Men,Leather,"
    imported = load(make(tmp_path / "data", [QUOTED], [QUOTED], meta), tmp_path / "to")
    assert cells(imported.catalogue, "image") == [QUOTED]
    assert cells(imported.catalogue, "cid") == ["100627-72"]
    assert cells(imported.catalogue, "brand") == ["Bostonian"]
    assert imported.catalogue.values_of(0) == {
        "category": ("Shoes",),
        "closure": ("Lace up", "Buckle"),
        "gender": ("Men",),
        "heel_height": ("Under 1in",),
        "subcategory": ("Oxfords",),
        "material": ("Leather",),
    }
    assert imported.catalogue.attributes == (
        "category", "closure", "gender", "heel_height", "subcategory", "insole", "material", "toe_style",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("listed", "disk", "brand"),
    [
        ("L.A.M.B.", "L.A.M.B%2E", "L.A.M.B."),
        ("L.A.M.B.", "L.A.M.B", "L.A.M.B."),
        ("L.A.M.B%2E", "L.A.M.B.", "L.A.M.B."),
        ("Levi's", "Levi&#39;s", "Levi's"),
        ("Levi&#39;s", "Levi's", "Levi's"),
        ("Levi's", "Levi&apos;s", "Levi's"),
        ("Børn", "Børn", "Børn"),
        ("Hervé", "Herve\u0301", "Hervé"),
        ("A brand", "quite another spelling", "A brand"),
    ],
)
def test_names_differ_on_disk(listed: str, disk: str, brand: str, tmp_path: Path) -> None:
    there, said = (f"Boots/Ankle/{name}/7.8.jpg" for name in (disk, listed))
    other = "Boots/Ankle/Z/9.9.jpg"
    lists = {"heel_tripletlist_test": "0 1 0\n"}
    found = load(make(tmp_path / "data", [there, other], [said, other], lists=lists), tmp_path / "to").catalogue
    assert cells(found, "image") == [there, other]
    assert cells(found, "brand") == [brand, "Z"]
    # The relation calls images what the catalogue calls them.
    assert found.relations["triplets"].to_pylist() == [
        {"split": "test", "attribute": "heel_height", "anchor": there, "positive": there, "negative": other}
    ]
    assert all(path.is_file() for path in found.paths())


def test_order_of_a_line_is_anchor_far_close(tmp_path: Path) -> None:
    names = numbered(3)
    lists = {f"{name}_tripletlist_val": "2 0 1\n" for name in ("class", "closure", "gender", "heel")}
    found = load(make(tmp_path / "data", names, names, lists=lists), tmp_path / "to").catalogue
    assert found.relations["triplets"].to_pylist() == [
        {"split": "val", "attribute": attribute, "anchor": names[2], "negative": names[0], "positive": names[1]}
        for attribute in ("category", "closure", "gender", "heel_height")
    ]


def test_an_image_has_the_split_of_its_triplets(tmp_path: Path) -> None:
    names = numbered(6)
    lists = {
        "gender_tripletlist_test": "3 4 2\n",
        "heel_tripletlist_val": "2 2 3",
        "class_tripletlist_train": "0 1 2\n",
    }
    imported = load(make(tmp_path / "data", names, names, lists=lists), tmp_path / "to")
    assert cells(imported.catalogue, "split") == ["train", "train", "train", "val", "test", None]
    assert "images in the triplets of several splits: 2; they count to the first of train, val, test" in imported.notes


@pytest.mark.parametrize(
    ("written", "read"),
    [
        *((height, height) for height in HEEL_HEIGHTS),
        ("1in - 1 3/4in", "1in-1 3/4in"),
        ("5in &amp; over", "5in & over"),
        ("under 1in", "Under 1in"),
    ],
)
def test_heel_heights(written: str, read: str, tmp_path: Path) -> None:
    meta = f"100627-72,Shoes,Oxfords,{written},,,,,"
    imported = load(make(tmp_path / "data", [QUOTED], meta=meta), tmp_path / "to")
    assert imported.catalogue.values("heel_height") == (read,)


def test_a_strange_heel_height_is_kept_and_noted(tmp_path: Path) -> None:
    imported = load(make(tmp_path / "data", [QUOTED], meta="100627-72,Shoes,Oxfords,9in,,,,,"), tmp_path / "to")
    assert imported.catalogue.values("heel_height") == ("9in",)
    assert "meta-data.csv has heel heights that are not among the seven: 9in" in imported.notes


@pytest.mark.parametrize(
    "moves",
    [
        [("data/filenames.json", "filenames.json"), ("data/tripletlists", "tripletlists")],
        [("data/tripletlists", "ut-zap50k-data/tripletlists")],
        [("ut-zap50k-images", "data/ut-zap50k-images"), ("ut-zap50k-data", "data/ut-zap50k-data")],
        [(f"data/tripletlists/{c}_tripletlist_train.txt", f"{c}_tripletlist_train.txt") for c in ("class", "heel")],
        [("ut-zap50k-images", "twice"), ("twice", "ut-zap50k-images/ut-zap50k-images")],
    ],
)
def test_places(moves: Sequence[tuple[str, str]], own: Own, standins: Standins, tmp_path: Path) -> None:
    root = own("zappos50k")
    for old, new in moves:
        (root / new).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(root / old, root / new)
    found = load(root, tmp_path / "to").catalogue
    assert all(path.is_file() for path in found.paths())
    drawn = standins("zappos50k")[1]
    assert cells(found, "split") == [row["split"] for row in drawn.rows]
    assert found.relations["triplets"].num_rows == len(drawn.relations["triplets"])


def test_the_square_pictures_are_a_variant(own: Own, standins: Standins, tmp_path: Path) -> None:
    root = own("zappos50k")
    with pytest.raises(DatasetError, match="lacks ut-zap50k-images-square/"):
        load(root, tmp_path / "to", variant="ut-zap50k-images-square")
    (root / PICTURES).rename(root / "ut-zap50k-images-square")
    # The first that is there.
    imported = load(root, tmp_path / "to")
    assert_same(imported.catalogue, standins("zappos50k")[1])
    assert imported.catalogue.record["variant"] == "ut-zap50k-images-square"
    with pytest.raises(DatasetError, match=r"lacks ut-zap50k-images/ \(or .*\), which says what each shoe looks like"):
        load(root, tmp_path / "to", variant="ut-zap50k-images")


@pytest.mark.parametrize("inside", ["ut-zap50k-images", "."])
def test_pictures_in_an_archive(inside: str, own: Own, standins: Standins, tmp_path: Path) -> None:
    root = own("zappos50k")
    base = root if inside != "." else root / PICTURES
    shutil.make_archive(str(tmp_path / "ut-zap50k-images"), "zip", base, inside)
    shutil.rmtree(root / PICTURES)
    shutil.move(tmp_path / "ut-zap50k-images.zip", root / "ut-zap50k-images.zip")
    imported = load(root, tmp_path / "to")
    prefix = "" if inside == "." else f"{inside}/"
    assert cells(imported.catalogue, "image") == [prefix + row["image"] for row in standins("zappos50k")[1].rows]
    assert not imported.notes


def test_without_the_triplets_files(own: Own, standins: Standins, tmp_path: Path) -> None:
    root = own("zappos50k")
    shutil.rmtree(root / "data/tripletlists")
    found = load(root, tmp_path / "to")
    assert found.notes == ("no triplet lists: images have no split, and retrieval by attribute is scored instead",)
    assert found.catalogue.splits() == ()
    assert not found.catalogue.relations
    assert protocol.from_dict(found.catalogue.record["protocol"]) == protocol.AttributeProtocol()
    (root / FILENAMES).unlink()
    found = load(root, tmp_path / "to")
    assert found.notes == ("no data/filenames.json: the images are those on disk, without splits and triplets",)
    assert sorted(map(str, cells(found.catalogue, "image"))) == sorted(
        row["image"] for row in standins("zappos50k")[1].rows
    )
    assert "L.A.M.B." in cells(found.catalogue, "brand")


def test_lists_without_their_file_names_are_left_out(own: Own, tmp_path: Path) -> None:
    root = own("zappos50k")
    (root / FILENAMES).unlink()
    found = load(root, tmp_path / "to")
    assert "the triplet lists are left out: without filenames.json their numbers mean nothing" in found.notes
    assert not found.catalogue.relations


def test_missing_lists_are_named(own: Own, tmp_path: Path) -> None:
    root = own("zappos50k")
    for name in ("heel_tripletlist_val", "gender_tripletlist_test"):
        (root / f"data/tripletlists/{name}.txt").unlink()
    found = load(root, tmp_path / "to")
    assert found.notes == ("2 of 12 triplet lists missing: gender_tripletlist_test.txt, heel_tripletlist_val.txt",)
    assert protocol.from_dict(found.catalogue.record["protocol"]) == protocol.TripletProtocol()


def test_without_the_table_the_folders_tell(own: Own, tmp_path: Path) -> None:
    root = own("zappos50k")
    (root / META).unlink()
    found = load(root, tmp_path / "to")
    assert len(found.notes) == 1
    assert "no ut-zap50k-data/meta-data.csv" in found.notes[0]
    assert set(found.catalogue.labels["attribute"].to_pylist()) == {"category", "subcategory"}
    assert len(found.catalogue.labels) == 2 * len(found.catalogue)


def test_the_table_and_the_pictures_may_differ(tmp_path: Path) -> None:
    names = numbered(3)
    meta = "100627-72,Shoes,Oxfords,,,,,,\n999-1,Boots,Ankle,,,,,,"
    found = load(make(tmp_path / "data", names, names[:2], meta), tmp_path / "to")
    assert found.notes == (
        f"images that are not in filenames.json: 1, the first: {names[2]}",
        "no triplet lists: images have no split, and retrieval by attribute is scored instead",
        "images that are not in meta-data.csv: 2; they have a category, a subcategory and a brand",
        "shoes of meta-data.csv without an image: 1, the first: 999-1",
    )
    assert len(found.catalogue) == 3


def test_marks_and_line_ends_of_other_systems_do_no_harm(own: Own, standins: Standins, tmp_path: Path) -> None:
    root = own("zappos50k")
    for path in (root / FILENAMES, root / META, root / CLASS_TRAIN):
        lines = path.read_text("utf-8").splitlines()
        ends = "  \r\n" if path != root / META else "\r\n"
        path.write_bytes(b"\xef\xbb\xbf" + (ends.join(lines) + "\r\n\r\n").encode())
    imported = load(root, tmp_path / "to")
    assert_same(imported.catalogue, standins("zappos50k")[1])
    assert not imported.notes


def test_check_names_every_file_with_its_purpose() -> None:
    for variant in datasets.get("zappos50k").variants:
        specs = datasets.get("zappos50k").files(variant)
        assert len(specs) == 15
        assert all(spec.purpose for spec in specs)
        assert [spec.names[0] for spec in specs if spec.required] == [f"{variant}/"]


def test_drawing_again_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        draw_standin("zappos50k", tmp_path / name, 4, seed=5, size=32, quiet=True)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)
    assert json.loads((tmp_path / "a/.drawn-by-lapel.json").read_text())["done"]
    assert np.loadtxt(tmp_path / "a" / CLASS_TRAIN, dtype=int).shape[1] == 3
