"""FashionAI's lists: the published lines, either folder alone, archives, and what damage does."""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel import archives
from lapel.catalogue import Catalogue
from lapel.datasets.fashionai import FOLDERS, FORMAT, LIST, PARTS
from lapel.datasets.fashionai_values import HEADINGS, VALUES
from lapel.datasets.importing import Imported, import_dataset
from lapel.datasets.source import Source
from lapel.errors import DatasetError
from lapel.standins import draw_standin

from .conftest import Standins
from .roundtrip import assert_same

# As they stand in the published lists.
LINES = """\
Images/sleeve_length_labels/98cc08e67650d76f9f526c381d357f11.jpg,sleeve_length_labels,nnnnynnnn
Images/pant_length_labels/616878cf3b61cdafe83c2f3df432a4dd.jpg,pant_length_labels,nnnynn
Images/sleeve_length_labels/0e11eb580e63161c4b62849e122df313.jpg,sleeve_length_labels,nnnnnnymm
"""
OTHER = "Images/neck_design_labels/00000000000000000000000000000000.jpg,neck_design_labels,ynnnn\n"


def lay_out(root: Path, lists: dict[str, str]) -> Path:
    """Write the list of each part, and an empty file for each picture that it names."""
    for part, text in lists.items():
        folder = root / part
        for line in text.splitlines():
            image = folder / line.split(",")[0]
            image.parent.mkdir(parents=True, exist_ok=True)
            image.touch()
        (folder / LIST).parent.mkdir(parents=True, exist_ok=True)
        (folder / LIST).write_text(text)
    return root


def take(root: Path, to: Path, skip_faulty: bool = False) -> Imported:
    return import_dataset("fashionai", root, to, skip_faulty=skip_faulty)


def test_published_lines(tmp_path: Path) -> None:
    lay_out(tmp_path / "data", {PARTS[0]: LINES, PARTS[1]: OTHER})
    imported = take(tmp_path / "data", tmp_path / "to")
    catalogue = imported.catalogue
    assert catalogue.images["image"].to_pylist() == [
        "fashionAI_attributes_train1/Images/sleeve_length_labels/98cc08e67650d76f9f526c381d357f11.jpg",
        "fashionAI_attributes_train1/Images/pant_length_labels/616878cf3b61cdafe83c2f3df432a4dd.jpg",
        "fashionAI_attributes_train1/Images/sleeve_length_labels/0e11eb580e63161c4b62849e122df313.jpg",
        "fashionAI_attributes_train2/Images/neck_design_labels/00000000000000000000000000000000.jpg",
    ]
    assert [catalogue.values_of(row) for row in range(4)] == [
        {"sleeve_length": ("Elbow Sleeves",)},
        {"pant_length": ("3/4 Length",)},
        {"sleeve_length": ("Wrist Length",)},
        {"neck_design": ("Invisible",)},
    ]
    assert catalogue.images["maybe"].to_pylist() == [None, None, ["Long Sleeves", "Extra Long Sleeves"], None]
    assert catalogue.attributes == tuple(VALUES)
    assert catalogue.splits() == ()
    assert imported.notes == ()
    assert dict(catalogue.record["protocol"]["headings"]) == dict(HEADINGS)
    assert all(path.is_file() for path in catalogue.paths())


def test_attributes_are_the_papers() -> None:
    assert [len(values) for values in VALUES.values()] == [6, 9, 8, 6, 5, 5, 10, 5]
    assert [attribute for attribute, _ in HEADINGS] == list(VALUES)
    assert all(values[0] == "Invisible" and len(set(values)) == len(values) for values in VALUES.values())


def test_standin_comes_back(standins: Standins, tmp_path: Path) -> None:
    folder, drawn = standins("fashionai")
    imported = take(folder, tmp_path)
    assert_same(imported.catalogue, drawn)
    assert imported.notes == ()
    assert imported.faults == ()
    assert sum(row["maybe"] is not None for row in drawn.rows) >= 1
    assert all(path.stat().st_size for path in imported.catalogue.paths())
    held = {attribute: imported.catalogue.multi_hot(attribute).sum(0) for attribute in imported.catalogue.attributes}
    assert sum(int(np.count_nonzero(counts >= 2)) >= 2 for counts in held.values()) >= 5
    assert all(imported.catalogue.with_splits().split(split).labels.num_rows for split in ("train", "val", "test"))


def test_standin_of_few_items_and_another_seed(tmp_path: Path) -> None:
    for seed in range(3):
        drawn = draw_standin("fashionai", tmp_path / f"{seed}", items=4, seed=seed, size=32, quiet=True)
        assert_same(take(tmp_path / f"{seed}", tmp_path / "to").catalogue, drawn)


@pytest.mark.parametrize("part", PARTS)
def test_either_folder_alone(standins: Standins, tmp_path: Path, part: str) -> None:
    folder, drawn = standins("fashionai")
    shutil.copytree(folder / part, tmp_path / "data" / part)
    above = take(tmp_path / "data", tmp_path / "above")
    inside = take(tmp_path / "data" / part, tmp_path / "inside")
    renamed = take((tmp_path / "data" / part).rename(tmp_path / "mine"), tmp_path / "renamed")
    expected = [row["image"] for row in drawn.rows if row["image"].startswith(part)]
    for imported in (above, inside):
        assert imported.catalogue.images["image"].to_pylist() == expected
        assert len(imported.notes) == 1
    assert f"only {part} is there" in above.notes[0]
    assert "only one of the data set's two folders is read" in inside.notes[0]
    names = [name.removeprefix(f"{part}/") for name in expected]
    assert renamed.catalogue.images["image"].to_pylist() == names
    assert all(path.is_file() for path in renamed.catalogue.paths())


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize(("packed", "alone"), [(PARTS[:1], True), (PARTS[:1], False), (PARTS, False)])
def test_archives_are_read_in_place(
    own: Callable[[str], Path], tmp_path: Path, packed: tuple[str, ...], alone: bool, flat: bool
) -> None:
    data = own("fashionai")
    if alone:
        shutil.rmtree(data / PARTS[1])
    before = take(data, tmp_path / "before").catalogue
    for part in packed:
        with zipfile.ZipFile(data / f"{part}.zip", "w") as archive:
            for file in sorted((data / part).rglob("*")):
                archive.write(file, file.relative_to(data / part if flat else data))
        shutil.rmtree(data / part)
    after = take(data, tmp_path / "after").catalogue
    names = [re.sub(r"(\w+)\.zip/(\1/)?", r"\1/", name) for name in after.images["image"].to_pylist()]
    assert names == before.images["image"].to_pylist()
    assert after.images["maybe"].to_pylist() == before.images["maybe"].to_pylist()
    assert after.labels.to_pylist() == before.labels.to_pylist()
    assert all(archives.entry(path) is not None for path in after.paths())


def test_all_in_one_archive(own: Callable[[str], Path], tmp_path: Path) -> None:
    data = own("fashionai")
    before = take(data, tmp_path / "before").catalogue
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for file in sorted(data.rglob("*")):
            archive.write(file, file.relative_to(data))
    after = take(tmp_path / "all.zip", tmp_path / "after").catalogue
    assert after.images.to_pylist() == before.images.to_pylist()


def test_harmless_differences(tmp_path: Path) -> None:
    text = "\ufeff" + LINES.replace(",", " , ").replace("\n", "  \r\n") + "\r\n\r\n"
    plain = take(lay_out(tmp_path / "plain", {PARTS[0]: LINES}), tmp_path / "a")
    lay_out(tmp_path / "odd", {PARTS[0]: LINES})
    (tmp_path / "odd" / PARTS[0] / LIST).write_bytes(text.encode())
    odd = take(tmp_path / "odd", tmp_path / "b")
    assert odd.catalogue.images.to_pylist() == plain.catalogue.images.to_pylist()
    assert odd.catalogue.labels.to_pylist() == plain.catalogue.labels.to_pylist()
    assert odd.notes == plain.notes


SLEEVE = "Images/sleeve_length_labels/a.jpg,sleeve_length_labels"
DAMAGE = [
    ("Images/sleeve_length_labels/a.jpg,sleeve", "expected path,attribute folder,label letters, found"),
    (f"{SLEEVE},nnnnynnnn,n", "expected path,attribute folder,label letters, found"),
    (f"{SLEEVE},nnnny", "expected 9 letters for sleeve_length_labels, found 5: 'nnnny'"),
    (f"{SLEEVE},nnnnynnnnn", "expected 9 letters for sleeve_length_labels, found 10"),
    (f"{SLEEVE},ynnnynnnn", "expected exactly one y, found 2"),
    (f"{SLEEVE},nnmnnnnnn", "expected exactly one y, found 0"),
    (f"{SLEEVE},nnnnxnnnn", "expected the letters y, m and n in column 3, found 'x'"),
    (f"{SLEEVE},", "expected 9 letters for sleeve_length_labels, found 0"),
    (
        "Images/sleeve_lenght_labels/a.jpg,sleeve_lenght_labels,nnnnynnnn",
        "unknown attribute folder 'sleeve_lenght_labels'; did you mean 'sleeve_length_labels'?",
    ),
    (
        "Images/pant_length_labels/a.jpg,sleeve_length_labels,nnnnynnnn",
        "the image lies in 'pant_length_labels', but column 2 says 'sleeve_length_labels'",
    ),
    (
        "sleeve_length_labels,Images/sleeve_length_labels/a.jpg,nnnnynnnn",
        "expected the path of an image in column 1, found 'sleeve_length_labels'",
    ),
    (
        LINES.splitlines()[0],
        "98cc08e67650d76f9f526c381d357f11.jpg is on line 1 already",
    ),
]


@pytest.mark.parametrize(("line", "message"), DAMAGE)
def test_damaged_line(tmp_path: Path, line: str, message: str) -> None:
    data = lay_out(tmp_path / "data", {PARTS[0]: LINES, PARTS[1]: OTHER})
    before = take(data, tmp_path / "to")
    with (data / PARTS[0] / LIST).open("a") as stream:
        stream.write(line)
    with pytest.raises(DatasetError, match=re.escape(message)) as caught:
        take(data, tmp_path / "to")
    assert str(caught.value).startswith(f"{PARTS[0]}/{LIST} line 4: ")
    # What was imported before is still whole, and without the line everything else comes.
    assert_catalogues_equal(Catalogue.read(tmp_path / "to"), before.catalogue)
    rest = take(data, tmp_path / "rest", skip_faulty=True)
    assert_catalogues_equal(rest.catalogue, before.catalogue)
    assert [str(fault) for fault in rest.faults] == [str(caught.value)]


def assert_catalogues_equal(found: Catalogue, expected: Catalogue) -> None:
    assert found.images.to_pylist() == expected.images.to_pylist()
    assert found.labels.to_pylist() == expected.labels.to_pylist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LINES.encode("utf-16"), "UTF-16 text, expected UTF-8"),
        (b"Images/sleeve_length_labels/\xe9.jpg,sleeve_length_labels,nnnnynnnn\n", "line 1: not UTF-8 text"),
        (b"", "no images are listed"),
    ],
)
def test_other_content(tmp_path: Path, content: bytes, message: str) -> None:
    data = lay_out(tmp_path / "data", {PARTS[0]: LINES})
    (data / PARTS[0] / LIST).write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        take(data, tmp_path / "to")


def test_missing_list_and_missing_image(own: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=f"lacks {PARTS[0]}/{LIST} and {PARTS[1]}/{LIST}, which say which values"):
        take(tmp_path / "empty", tmp_path / "to")
    data = own("fashionai")
    count = len(take(data, tmp_path / "to").catalogue)
    gone = sorted((data / PARTS[1] / "Images").rglob("*.jpg"))[0]
    gone.unlink()
    with pytest.raises(DatasetError, match=f"1 of {count} images are missing, the first: .*{gone.name}"):
        take(data, tmp_path / "to")
    rest = take(data, tmp_path / "rest", skip_faulty=True)
    assert len(rest.catalogue) == count - 1
    assert [fault.message for fault in rest.faults] == [f"image missing: {gone.relative_to(data).as_posix()}"]


@given(st.lists(st.tuples(st.sampled_from(sorted(FOLDERS)), st.data()), max_size=8))
def test_any_letters(tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[str, st.DataObject]]) -> None:
    root = tmp_path_factory.mktemp("data")
    lines, expected = [], []
    for number, (folder, data) in enumerate(drawn):
        values = VALUES[FOLDERS[folder]]
        letters = data.draw(st.text("ymn", min_size=len(values) - 1, max_size=len(values) + 1))
        lines.append(f"Images/{folder}/{number}.jpg,{folder},{letters}\n")
        if len(letters) == len(values) and letters.count("y") == 1:
            value = next(value for value, letter in zip(values, letters, strict=True) if letter == "y")
            others = [value for value, letter in zip(values, letters, strict=True) if letter == "m"]
            expected.append((f"{PARTS[0]}/Images/{folder}/{number}.jpg", FOLDERS[folder], value, others or None))
    lay_out(root, {PARTS[0]: "".join(lines)})
    source = Source(root, FORMAT.files(""), strict=False)
    draft = FORMAT.read(source)
    rows = draft.labels.to_pylist()
    by_image = {row["image"]: (row["attribute"], row["value"]) for row in rows}
    images, maybe = list(draft.images["image"]), draft.images["maybe"].to_pylist()  # type: ignore[union-attr]
    assert [(image, *by_image[row], maybe[row]) for row, image in enumerate(images)] == expected
    assert len(source.faults) == len(drawn) - len(expected)
