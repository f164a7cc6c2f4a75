from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lapel.catalogue import Catalogue
from lapel.datasets.importing import Imported, import_dataset
from lapel.errors import DatasetError
from lapel.standins.deepfashion_attributes import CATEGORIES, VIEWS

from .conftest import ITEMS, Standins
from .roundtrip import account_of, assert_same

NAME = "deepfashion-attributes"
Own = Callable[[str], Path]


def bring(root: Path, to: Path, variant: str = "", skip: bool = False) -> Imported:
    return import_dataset(NAME, root, to, variant=variant, skip_faulty=skip, quiet=True)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


def test_coarse_round_trip(standins: Standins, tmp_path: Path) -> None:
    folder, drawn = standins(NAME)
    found = bring(folder, tmp_path)
    assert_same(found.catalogue, drawn)
    assert found.catalogue.record["variant"] == "coarse"
    assert found.notes == found.faults == ()


def test_the_protocol_is_that_of_the_papers_table(standins: Standins, tmp_path: Path) -> None:
    catalogue = bring(standins(NAME)[0], tmp_path).catalogue
    protocol = catalogue.record["protocol"]
    assert protocol["task"] == "attributes"
    assert protocol["split"] == "test"
    assert [heading for _, heading in protocol["headings"]] == ["Texture", "Fabric", "Shape", "Part", "Style"]
    assert catalogue.attributes == ("texture", "fabric", "shape", "part", "style", "category")


def test_every_split_can_be_trained_and_scored(standins: Standins, tmp_path: Path) -> None:
    for variant in ("coarse", "fine"):
        catalogue = bring(standins(NAME)[0], tmp_path / variant, variant).catalogue
        for split in ("train", "test"):
            part = catalogue.split(split)
            for attribute in part.attributes:
                counts = part.multi_hot(attribute).sum(0)
                assert (counts >= 2).sum() >= (2 if split == "train" else 1), (variant, split, attribute)


LINES = {
    "Eval/list_eval_partition.txt": "image_name evaluation_status\n{} train\nimg/B/img_00000001.jpg val\n",
    "Anno_coarse/list_attr_cloth.txt": "attribute_name  attribute_type\na-line                       3\n"
    "abstract chevron print       1\n",
    "Anno_coarse/list_attr_img.txt": "image_name attribute_labels\n{} -1  1\nimg/B/img_00000001.jpg  1 0\n",
    "Anno_coarse/list_category_cloth.txt": "category_name  category_type\nAnorak 1\nBlazer 1\nBlouse 1\n",
    "Anno_coarse/list_category_img.txt": "image_name  category_label\n{}  3\nimg/B/img_00000001.jpg 1\n",
    "Anno_coarse/list_bbox.txt": "image_name  x_1  y_1  x_2  y_2\n{} 072 079 232 273\nimg/B/img_00000001.jpg 0 0 0 0\n",
    "Anno_coarse/list_landmarks.txt": "image_name  clothes_type  landmark_visibility_1 ...\n"
    "{} 1  0 146 102  0 173 095  0 094 242  0 205 255  1 136 229  2 000 000\n"
    "img/B/img_00000001.jpg 2 4  0 1 2  0 3 4  0 5 6  0 7 8\n",
}


def quoted(root: Path, anno: str = "Anno_coarse", end: str = "\n", bom: str = "") -> Path:
    """Write a data set of two images with the lines that are published as examples."""
    for name, text in LINES.items():
        path = root / name.replace("Anno_coarse", anno)
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = text.format("img/Sheer_Pleated-Front_Blouse/img_00000001.jpg")
        data = f"{bom}{rows.count(chr(10)) - 1}\n{rows}".replace("\n", end)
        path.write_bytes(data.encode("utf-8"))
    for image in ("Sheer_Pleated-Front_Blouse", "B"):
        (root / f"Img/img/{image}").mkdir(parents=True, exist_ok=True)
        (root / f"Img/img/{image}/img_00000001.jpg").write_bytes(b"jpeg")
    return root


@pytest.mark.parametrize(("anno", "end", "bom"), [("Anno_coarse", "\n", ""), ("Anno", "  \r\n", "\ufeff")])
def test_the_published_lines(tmp_path: Path, anno: str, end: str, bom: str) -> None:
    found = bring(quoted(tmp_path / "data", anno, end, bom), tmp_path / "to")
    first, second = account_of(found.catalogue).rows
    assert first == {
        "image": "img/Sheer_Pleated-Front_Blouse/img_00000001.jpg",
        "split": "train",
        "box": [72, 79, 232, 273],
        "landmarks": [146, 102, 0, 173, 95, 0, 94, 242, 0, 205, 255, 0, 0, 0, 2, 0, 0, 2, 136, 229, 1, 0, 0, 2],
        "clothes_type": "upper",
        "variation": None,
    }
    assert (second["box"], second["clothes_type"], second["variation"]) == (None, "lower", "medium zoom-in")
    assert account_of(found.catalogue).labels == {
        (0, "texture", "abstract chevron print"), (1, "shape", "a-line"),
        (0, "category", "Blouse"), (1, "category", "Anorak"),
    }  # fmt: skip
    assert found.notes == ("Anno_coarse/list_bbox.txt: 1 boxes have no area, those images count as without a box",)


def test_a_name_listed_twice_is_one_value(tmp_path: Path) -> None:
    root = quoted(tmp_path / "data")
    edit(root / "Anno_coarse/list_attr_cloth.txt", "2\n", "3\n")
    edit(root / "Anno_coarse/list_attr_cloth.txt", "abstract", "a-line 3\nabstract")
    edit(root / "Anno_coarse/list_attr_img.txt", "-1  1", "1 1 0")
    edit(root / "Anno_coarse/list_attr_img.txt", "img/B/img_00000001.jpg  1 0\n", "img/B/img_00000001.jpg 0 1 0\n")
    found = bring(root, tmp_path / "to")
    assert {label for label in account_of(found.catalogue).labels if label[1] == "shape"} == {
        (0, "shape", "a-line"), (1, "shape", "a-line"),
    }  # fmt: skip
    assert "listed more than once, taken as one value each: a-line (shape)" in found.notes[0]


@pytest.mark.parametrize(
    ("file", "note"),
    [
        ("list_bbox.txt", "list_bbox.txt is not there: no boxes, whole pictures are used"),
        ("list_landmarks.txt", "list_landmarks.txt is not there: no landmarks"),
        ("list_category_img.txt", "list_category_img.txt is not there: no categories"),
        ("list_category_cloth.txt", "list_category_cloth.txt is not there: no categories"),
    ],
)
def test_what_is_optional_is_noted_and_the_rest_is_read(
    own: Own, standins: Standins, tmp_path: Path, file: str, note: str
) -> None:
    root = own(NAME)
    (root / "Anno_coarse" / file).unlink()
    found = bring(root, tmp_path / "to")
    assert len(found.notes) == 1
    assert note in found.notes[0]
    drawn = standins(NAME)[1]
    assert {label for label in drawn.labels if label[1] != "category"} <= account_of(found.catalogue).labels
    assert [row["clothes_type"] for row in account_of(found.catalogue).rows] == [
        row["clothes_type"] for row in drawn.rows
    ]


def test_archives_with_the_files_alone_are_told_apart_by_their_names(
    own: Own, standins: Standins, tmp_path: Path
) -> None:
    root = own(NAME)
    whole = account_of(bring(root, tmp_path / "whole", "fine").catalogue)
    for folder in ("Anno_coarse", "Anno_fine", "Eval"):
        with zipfile.ZipFile(root / f"{folder}.zip", "w") as archive:
            for path in (root / folder).iterdir():
                archive.write(path, path.name)
        shutil.rmtree(root / folder)
    assert_same(bring(root, tmp_path / "coarse").catalogue, standins(NAME)[1])
    assert_same(bring(root, tmp_path / "fine", "fine").catalogue, whole)


def test_reads_archives_and_pictures_in_place(own: Own, standins: Standins, tmp_path: Path) -> None:
    root = own(NAME)
    for folder, inside in (("Anno_coarse", "Anno_coarse/"), ("Img/img", "img/")):
        with zipfile.ZipFile(f"{root / folder}.zip", "w") as archive:
            for path in sorted((root / folder).rglob("*.*")):
                archive.write(path, inside + path.relative_to(root / folder).as_posix())
        shutil.rmtree(root / folder)
    assert_same(bring(root, tmp_path / "to").catalogue, standins(NAME)[1])


COARSE = [
    ("Eval/list_eval_partition.txt", "test", "tset", r"line \d+: unknown split 'tset'; did you mean 'test'\?"),
    ("Eval/list_eval_partition.txt", "64\nimage_name  evaluation_status\n", "65\nname status\ntrain img/a.jpg\n",
     r"line 3: expected the path of an image in column 1, found 'train'"),
    ("Eval/list_eval_partition.txt", "64\n", "65\n", r"its first line says 65 rows, it holds 64: .* cut short"),
    ("Anno_coarse/list_attr_cloth.txt", "a-line                       3", "a-line 6", r"unknown type '6'"),
    ("Anno_coarse/list_attr_cloth.txt", "32\n", "33\n", r"says 33 rows, it holds 32"),
    ("Anno_coarse/list_attr_img.txt", "64\n", "63\n", r"says 63 rows, it holds 64"),
    ("Anno_coarse/list_attr_img.txt", " 1 -1", " 1", r"line 3: expected a name and 32 labels, found 31 labels"),
    ("Anno_coarse/list_attr_img.txt", " 1 -1", " 1 yes", r"expected labels 1, -1 or 0, found 'yes'"),
    ("Anno_coarse/list_attr_img.txt", "img_00000001", "img_99999999", r"line 3: unknown image '.*99.jpg': Eval/list"),
    ("Anno_coarse/list_attr_img.txt", "img_00000002", "img_00000001", r"line 4: .* is listed twice: line 3 has it"),
    ("Anno_coarse/list_category_img.txt", "jpg  ", "jpg 99 ", r"line 3: expected image_name category_label, found"),
    ("Anno_coarse/list_category_cloth.txt", "10\n", "9\n", r"says 9 rows, it holds 10"),
    ("Anno_coarse/list_bbox.txt", "img_00000001", "img_99999999", r"list_bbox.txt line 3: unknown image"),
    ("Anno_coarse/list_bbox.txt", "jpg ", "jpg x", r"list_bbox.txt line 3: expected"),
    ("Anno_coarse/list_landmarks.txt", " 0 0", " 7 0", r"list_landmarks.txt line 3: expected visibility 0"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "message"), COARSE)
def test_damage_to_the_coarse_release_is_told(
    own: Own, tmp_path: Path, file: str, old: str, new: str, message: str
) -> None:
    root = own(NAME)
    edit(root / file, old, new)
    with pytest.raises(DatasetError, match=message):
        bring(root, tmp_path / "to", "coarse")
    with pytest.raises(DatasetError, match=file):
        bring(root, tmp_path / "to", "coarse")


@pytest.mark.parametrize("file", ["list_eval_partition", "list_category_img", "list_bbox", "list_landmarks"])
def test_a_truncated_last_line_is_told(own: Own, tmp_path: Path, file: str) -> None:
    root = own(NAME)
    path = next(root.glob(f"*/{file}.txt"))
    text = path.read_text().rstrip()
    path.write_text(text[: text.rindex(" ")].rstrip())
    with pytest.raises(DatasetError, match=rf"{file}.txt line 66: expected .*, found"):
        bring(root, tmp_path / "to", "coarse")


def test_swapped_columns_are_told(own: Own, tmp_path: Path) -> None:
    root = own(NAME)
    path = root / "Anno_coarse/list_bbox.txt"
    count, head, *rows = path.read_text().splitlines()
    swapped = [" ".join([*row.split()[1:], row.split()[0]]) for row in rows]
    path.write_text("\n".join([count, head, *swapped]))
    with pytest.raises(DatasetError, match=r"list_bbox.txt line 3: expected the path of an image in column 1, found"):
        bring(root, tmp_path / "to")


@pytest.mark.parametrize("file", ["Anno_coarse/list_attr_img.txt", "Eval/list_eval_partition.txt"])
def test_other_encodings_are_told(own: Own, tmp_path: Path, file: str) -> None:
    root = own(NAME)
    path = root / file
    text = path.read_text()
    path.write_bytes(text.encode("utf-16"))
    with pytest.raises(DatasetError, match=rf"{file}: UTF-16 text"):
        bring(root, tmp_path / "to")
    path.write_bytes(text.replace("img_00000001", "im\xe9_1", 1).encode("latin-1"))
    with pytest.raises(DatasetError, match=rf"{file} line 3: not UTF-8 text \(byte 0xe9\)"):
        bring(root, tmp_path / "to")


@pytest.mark.parametrize(
    ("variant", "file", "purpose"),
    [
        ("coarse", "Anno_coarse/list_attr_img.txt", "which attribute labels each image has"),
        ("coarse", "Eval/list_eval_partition.txt", "which image is for training, validation or testing"),
        ("fine", "Anno_fine/list_attr_cloth.txt", "what the 26 attribute labels are called"),
        ("fine", "Anno_fine/val.txt", "which images are in the split val"),
        ("fine", "Anno_fine/test_attr.txt", "which attribute labels each image of test.txt has"),
    ],
)
def test_a_missing_file_is_told(own: Own, tmp_path: Path, variant: str, file: str, purpose: str) -> None:
    root = own(NAME)
    (root / file).unlink()
    with pytest.raises(DatasetError, match=rf"lacks {file}.*, which says {purpose}"):
        bring(root, tmp_path / "to", variant)


def test_the_fine_release_is_taken_where_it_is_alone(own: Own, tmp_path: Path) -> None:
    root = own(NAME)
    shutil.rmtree(root / "Anno_coarse")
    assert bring(root, tmp_path / "to").catalogue.record["variant"] == "fine"


@pytest.mark.parametrize("variant", ["coarse", "fine"])
def test_a_missing_image_is_told_or_left_out(own: Own, tmp_path: Path, variant: str) -> None:
    root = own(NAME)
    whole = bring(root, tmp_path / "to", variant)
    gone = whole.catalogue.images["image"][5].as_py()
    (root / "Img" / gone).unlink()
    with pytest.raises(DatasetError, match=r"1 of \d+ images are missing, the first"):
        bring(root, tmp_path / "to", variant)
    # What was imported before stays.
    assert_same(Catalogue.read(tmp_path / "to"), account_of(whole.catalogue))
    found = bring(root, tmp_path / "less", variant, skip=True)
    assert [str(fault) for fault in found.faults] == [f"image missing: {gone}"]
    rows = account_of(whole.catalogue).rows
    assert account_of(found.catalogue).rows == rows[:5] + rows[6:]


def test_faulty_rows_can_be_left_out_and_the_rest_stays_as_it_is(own: Own, standins: Standins, tmp_path: Path) -> None:
    root, drawn = own(NAME), standins(NAME)[1]
    edit(root / "Anno_coarse/list_attr_img.txt", " 1 -1", " 1 y")
    edit(root / "Anno_coarse/list_bbox.txt", "jpg ", "jpg x")
    found = bring(root, tmp_path / "to", skip=True)
    assert [fault.line for fault in found.faults] == [3, 3]
    account = account_of(found.catalogue)
    assert account.labels == {label for label in drawn.labels if label[0] != 0 or label[1] == "category"}
    assert account.rows[0]["box"] is None
    assert account.rows[1:] == drawn.rows[1:]


def test_the_stand_in_has_the_published_lines(standins: Standins) -> None:
    folder, drawn = standins(NAME)
    assert len(drawn.rows) == ITEMS * VIEWS
    text = (folder / "Anno_coarse/list_attr_cloth.txt").read_text()
    assert "a-line                       3\nabstract chevron print       1\n" in text
    assert list(CATEGORIES)[:3] == ["Anorak", "Blazer", "Blouse"]
