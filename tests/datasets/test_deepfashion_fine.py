from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lapel.datasets.importing import Imported, import_dataset
from lapel.errors import DatasetError
from lapel.garments import item_garment
from lapel.standins.deepfashion_attributes import FINE_NAMES, fine_account

from .conftest import ITEMS, Standins
from .roundtrip import account_of, assert_same

NAME = "deepfashion-attributes"
Own = Callable[[str], Path]


def bring(root: Path, to: Path, skip: bool = False) -> Imported:
    return import_dataset(NAME, root, to, variant="fine", skip_faulty=skip, quiet=True)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


def test_fine_round_trip(standins: Standins, tmp_path: Path) -> None:
    folder, drawn = standins(NAME)
    found = bring(folder, tmp_path)
    assert_same(found.catalogue, fine_account(drawn, [item_garment(0, item) for item in range(ITEMS)]))
    assert found.catalogue.record["variant"] == "fine"
    assert len(found.catalogue) < len(drawn.rows)
    assert len(FINE_NAMES) == 26


FINE = [
    ("test.txt", "img_00000001.jpg\n", "img_00000001.jpg\n\n", r"test_attr.txt: expected a row for each of the 13 rows "
     r"of Anno_fine/test.txt, found 12"),
    ("val_bbox.txt", "\n", "", r"val_bbox.txt: expected a row for each of the 12 rows of Anno_fine/val.txt, found 11"),
    ("train_landmarks.txt", "\n", "\n0 0\n", r"of the 24 rows of Anno_fine/train.txt, found 25"),
    ("train.txt", "img_00000002", "img_00000001", r"train.txt line 2: .* is listed twice: line 1 has it too"),
    ("train.txt", ".jpg", ".txt", r"train.txt line 1: expected the path of an image in column 1"),
    ("train.txt", ".jpg\n", ".jpg train\n", r"train.txt line 1: expected image_name, found '.* train'"),
    ("train_attr.txt", " 0 \n", " \n", r"train_attr.txt line 1: expected 26 labels 0 or 1, found '0 0"),
    ("train_attr.txt", "0 ", "2 ", r"line 1: expected 26 labels 0 or 1, found '2"),
    ("test_cate.txt", "8", "11", r"test_cate.txt line 1: expected a category from 1 to 10, found '11'"),
    ("val_bbox.txt", " ", " x", r"val_bbox.txt line 1: expected x_1 y_1 x_2 y_2, found"),
    ("test_landmarks.txt", "\n", " 1\n", r"line 1: expected x and y of 8 landmarks, found"),
    ("list_attr_cloth.txt", "floral 1", "floral 7", r"unknown type '7'"),
    ("list_attr_cloth.txt", "26\n", "27\n", r"says 27 rows, it holds 26"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "message"), FINE)
def test_damage_to_the_fine_release_is_told(
    own: Own, tmp_path: Path, file: str, old: str, new: str, message: str
) -> None:
    root = own(NAME)
    edit(root / "Anno_fine" / file, old, new)
    with pytest.raises(DatasetError, match=message):
        bring(root, tmp_path / "to")


def test_an_image_in_two_splits_of_the_fine_release_is_told(own: Own, tmp_path: Path) -> None:
    root = own(NAME)
    first = (root / "Anno_fine/train.txt").read_text().split()[0]
    path = root / "Anno_fine/test.txt"
    path.write_text("\n".join([first, *path.read_text().split()[1:]]))
    with pytest.raises(DatasetError, match=rf"test.txt line 1: {first} is listed in train.txt too"):
        bring(root, tmp_path / "to")


def test_files_of_other_length_are_not_used(own: Own, standins: Standins, tmp_path: Path) -> None:
    root = own(NAME)
    drawn = fine_account(standins(NAME)[1], [item_garment(0, item) for item in range(ITEMS)])
    edit(root / "Anno_fine/val_bbox.txt", "\n", "")
    found = bring(root, tmp_path / "to", skip=True)
    assert len(found.faults) == 1
    rows = account_of(found.catalogue).rows
    assert [row["box"] for row in rows] == [None if row["split"] == "val" else row["box"] for row in drawn.rows]
    assert account_of(found.catalogue).labels == drawn.labels


def test_the_other_spelling_of_the_landmark_files(own: Own, standins: Standins, tmp_path: Path) -> None:
    root = own(NAME)
    for split in ("train", "val", "test"):
        (root / f"Anno_fine/{split}_landmarks.txt").rename(root / f"Anno_fine/{split}_landmards.txt")
    found = bring(root, tmp_path / "to")
    assert found.notes == ()
    assert None not in [row["landmarks"] for row in account_of(found.catalogue).rows]


def test_the_fine_release_without_its_optional_files(own: Own, tmp_path: Path) -> None:
    root = own(NAME)
    for path in [*(root / "Anno_fine").glob("*_*.txt"), *root.glob("Anno_coarse/*")]:
        if not path.stem.endswith("_attr") and path.name != "list_attr_cloth.txt":
            path.unlink()
    found = bring(root, tmp_path / "to")
    assert "category" not in found.catalogue.attributes
    assert any("no boxes in the split val" in note for note in found.notes)
    assert set(account_of(found.catalogue).rows[0]) == {"image", "split"}


def test_landmarks_that_stand_in_their_places_stay_there(own: Own, standins: Standins, tmp_path: Path) -> None:
    root = own(NAME)
    before = account_of(bring(root, tmp_path / "packed").catalogue).rows
    for split in ("train", "val", "test"):
        points = [np.array(row["landmarks"]).reshape(8, 3)[:, :2] for row in before if row["split"] == split]
        text = "".join(" ".join(f"{number:.0f}" for number in point.ravel()) + "\n" for point in points)
        (root / f"Anno_fine/{split}_landmarks.txt").write_text(text)
    assert account_of(bring(root, tmp_path / "placed").catalogue).rows == before
