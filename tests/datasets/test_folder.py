"""Folders of pictures per value become a catalogue, whichever way they are laid out."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from lapel import datasets
from lapel.catalogue import Catalogue
from lapel.datasets.importing import Imported, import_dataset
from lapel.datasets.source import Source
from lapel.decoding import decode_array
from lapel.errors import DatasetError

from .pictures import pack, paint

Row = tuple[str, str | None, dict[str, tuple[str, ...]]]


def load(root: Path, to: Path, skip_faulty: bool = False) -> Imported:
    return import_dataset("folder", root, to, skip_faulty=skip_faulty, quiet=True)


def rows(catalogue: Catalogue) -> list[Row]:
    """(image, split, labels) of every row."""
    names, splits = (catalogue.images[name].to_pylist() for name in ("image", "split"))
    return [
        (name, split, catalogue.values_of(row)) for row, (name, split) in enumerate(zip(names, splits, strict=True))
    ]


LAYOUTS: dict[str, list[Row]] = {
    "values": [
        ("blue/b.jpg", None, {"label": ("blue",)}),
        ("red/a.JPG", None, {"label": ("red",)}),
    ],
    "splits around values": [
        ("test/red/a.png", "test", {"label": ("red",)}),
        ("train/blue/b.webp", "train", {"label": ("blue",)}),
        ("valid/blue/c.jpeg", "val", {"label": ("blue",)}),
    ],
    "splits in values": [
        ("blue/Train/a.jpg", "train", {"label": ("blue",)}),
        ("blue/Validation/b.jpg", "val", {"label": ("blue",)}),
        ("red/Train/c.jpg", "train", {"label": ("red",)}),
    ],
    "attributes": [
        ("colour/red/a.jpg", None, {"colour": ("red",)}),
        ("neckline/V-neck/b.jpg", None, {"neckline": ("V-neck",)}),
        ("neckline/round/c.jpg", None, {"neckline": ("round",)}),
    ],
    "splits in attributes": [
        ("colour/test/red/a.jpg", "test", {"colour": ("red",)}),
        ("colour/train/red/b.jpg", "train", {"colour": ("red",)}),
        ("neckline/train/round/c.jpg", "train", {"neckline": ("round",)}),
    ],
    "splits around attributes": [
        ("test/colour/red/a.jpg", "test", {"colour": ("red",)}),
        ("train/colour/red/b.jpg", "train", {"colour": ("red",)}),
        ("train/neckline/round/c.jpg", "train", {"neckline": ("round",)}),
    ],
    "a split without labels": [
        ("test/a.jpg", "test", {}),
        ("train/red/b.jpg", "train", {"label": ("red",)}),
    ],
    "pictures without a folder": [
        ("a.jpg", None, {}),
        ("red/b.jpg", None, {"label": ("red",)}),
    ],
    "odd names": [
        ("Ärmel/袖 1.jpg", None, {"label": ("Ärmel",)}),
        ("a|b/x.y.jpg", None, {"label": ("a|b",)}),
    ],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path: Path, layout: str) -> None:
    paint(*(tmp_path / "data" / name for name, _, _ in LAYOUTS[layout]))
    imported = load(tmp_path / "data", tmp_path / "to")
    assert sorted(rows(imported.catalogue)) == sorted(LAYOUTS[layout])
    assert not imported.faults
    for path in imported.catalogue.paths():
        decode_array(path)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_archive_is_read_in_place(tmp_path: Path, layout: str) -> None:
    paint(*(tmp_path / "data" / name for name, _, _ in LAYOUTS[layout]))
    archive = pack(tmp_path / "data", tmp_path / "data.zip")
    imported = load(archive, tmp_path / "to")
    assert sorted(rows(imported.catalogue)) == sorted(LAYOUTS[layout])
    for path in imported.catalogue.paths():
        decode_array(path)
    shutil.rmtree(tmp_path / "data")
    (tmp_path / "data").mkdir()
    archive.rename(tmp_path / "data" / "any.zip")
    assert sorted(rows(load(tmp_path / "data", tmp_path / "to").catalogue)) == sorted(LAYOUTS[layout])


def test_a_folder_in_an_archive_can_be_named(tmp_path: Path) -> None:
    paint(tmp_path / "data/colour/red/a.jpg", tmp_path / "data/neckline/V/b.jpg")
    archive = pack(tmp_path / "data", tmp_path / "data.zip", "all/of/")
    with pytest.raises(DatasetError, match=r"is .*data.zip/all the folder you mean\?"):
        load(archive, tmp_path / "to")
    catalogue = load(archive / "all/of", tmp_path / "to").catalogue
    assert [labels for _, _, labels in rows(catalogue)] == [{"colour": ("red",)}, {"neckline": ("V",)}]
    for path in catalogue.paths():
        decode_array(path)


@pytest.mark.parametrize("beneath", ["", "neckline/"])
def test_archives_count_as_folders(tmp_path: Path, beneath: str) -> None:
    paint(tmp_path / "one/V-neck/a.jpg", tmp_path / "one/round/b.jpg", tmp_path / "data/colour/red/c.jpg")
    pack(tmp_path / "one", tmp_path / "data" / "neckline.zip", beneath)
    catalogue = load(tmp_path / "data", tmp_path / "to").catalogue
    assert [(Path(name).name, labels) for name, _, labels in rows(catalogue)] == [
        ("a.jpg", {"neckline": ("V-neck",)}),
        ("b.jpg", {"neckline": ("round",)}),
        ("c.jpg", {"colour": ("red",)}),
    ]
    for path in catalogue.paths():
        decode_array(path)


def test_a_picture_under_several_attributes_is_one_row(tmp_path: Path) -> None:
    data = tmp_path / "data"
    paint(
        data / "colour/red/a.jpg", data / "colour/blue/b.jpg", data / "neckline/round/b.jpg", data / "neckline/V/c.jpg"
    )
    (data / "neckline/V").mkdir(exist_ok=True)
    shutil.copy(data / "colour/red/a.jpg", data / "neckline/V/a.jpg")
    imported = load(data, tmp_path / "to")
    assert rows(imported.catalogue) == [
        ("colour/blue/b.jpg", None, {"colour": ("blue",)}),
        ("colour/red/a.jpg", None, {"colour": ("red",), "neckline": ("V",)}),
        ("neckline/V/c.jpg", None, {"neckline": ("V",)}),
        ("neckline/round/b.jpg", None, {"neckline": ("round",)}),
    ]


def test_a_picture_under_several_values_has_them_all(tmp_path: Path) -> None:
    data = tmp_path / "data"
    paint(data / "red/a.jpg", data / "blue/b.jpg")
    shutil.copy(data / "red/a.jpg", data / "blue/a.jpg")
    imported = load(data, tmp_path / "to")
    assert rows(imported.catalogue) == [
        ("blue/a.jpg", None, {"label": ("blue", "red")}),
        ("blue/b.jpg", None, {"label": ("blue",)}),
    ]
    assert "1 pictures lie under several values of one attribute, and get them all" in imported.notes


def test_the_same_picture_in_two_splits_stays_two_rows(tmp_path: Path) -> None:
    data = tmp_path / "data"
    paint(data / "train/red/a.jpg")
    (data / "test/red").mkdir(parents=True)
    shutil.copy(data / "train/red/a.jpg", data / "test/red/a.jpg")
    assert [split for _, split, _ in rows(load(data, tmp_path / "to").catalogue)] == ["test", "train"]


def test_only_pictures_of_one_name_and_size_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    paint(data / "red/a.jpg", data / "blue/b.jpg")
    paint(data / "blue/a.jpg", side=160)
    monkeypatch.setattr("lapel.archives.sha256", lambda path: pytest.fail(f"read {path}"))
    assert len(load(data, tmp_path / "to").catalogue) == 3


def test_a_link_to_nothing_is_a_missing_picture(tmp_path: Path) -> None:
    data = tmp_path / "data"
    paint(data / "red/a.jpg", tmp_path / "b.jpg")
    (data / "red/b.jpg").symlink_to(tmp_path / "b.jpg")
    assert len(load(data, tmp_path / "to").catalogue) == 2
    (tmp_path / "b.jpg").unlink()
    with pytest.raises(DatasetError, match=r"1 of 2 images are missing, the first: .*red/b\.jpg"):
        load(data, tmp_path / "to")
    assert [str(fault) for fault in load(data, tmp_path / "to", skip_faulty=True).faults] == [
        "image missing: red/b.jpg"
    ]


def test_what_is_no_picture_is_told_and_what_is_hidden_is_not(tmp_path: Path) -> None:
    data = tmp_path / "data"
    paint(data / "red/a.jpg", data / ".cache/b.jpg", data / "red/.hidden.jpg")
    for name in ("red/Thumbs.db", "red/.DS_Store", "red/desktop.ini"):
        (data / name).touch()
    imported = load(data, tmp_path / "to")
    assert len(imported.catalogue) == 1
    assert imported.notes == ("attributes: label; splits: none",)
    (data / "labels.csv").touch()
    (data / "red/readme.txt").touch()
    assert (
        "2 other files are no pictures and were left alone, the first: labels.csv" in load(data, tmp_path / "to").notes
    )


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    data = tmp_path / "data"
    paint(data / "red/a.jpg")
    (data / "red/again").symlink_to(data)
    assert len(load(data, tmp_path / "to").catalogue) == 1


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "holds no pictures (.jpg, "),
        (
            ["red/a.jpg", "red/deep/b.jpg", "blue/c.jpg"],
            "1 pictures lie under 2 folders of labels (the first in 'red/deep'), 2",
        ),
        (["a/b/c/1.jpg", "a/b/2.jpg"], "1 pictures lie under 3 folders of labels (the first in 'a/b/c'), 1 under 2"),
        (["train/red/a.jpg", "extra/red/b.jpg"], "the folder 'extra' beside 'train' is no split"),
        (["data/colour/red/a.jpg", "data/neckline/V/b.jpg"], "data the folder you mean?"),
        (["a/b/c/1.jpg", "d/e/f/1.jpg"], "pictures lie too deep, as in 'a/b/c': expected ROOT/<value>"),
        (["item/red/a.jpg"], "a folder named 'item' cannot be an attribute: rename it"),
    ],
)
def test_what_is_refused(tmp_path: Path, names: list[str], message: str) -> None:
    (tmp_path / "data").mkdir()
    paint(*(tmp_path / "data" / name for name in names))
    with pytest.raises(DatasetError) as caught:
        load(tmp_path / "data", tmp_path / "to")
    assert message in str(caught.value)
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        (["red/a.jpg", "red/deep/b.jpg", "blue/c.jpg"], ["blue/c.jpg", "red/a.jpg"]),
        (["train/red/a.jpg", "extra/red/b.jpg"], ["train/red/a.jpg"]),
    ],
)
def test_what_is_left_out(tmp_path: Path, names: list[str], kept: list[str]) -> None:
    paint(*(tmp_path / "data" / name for name in names))
    imported = load(tmp_path / "data", tmp_path / "to", skip_faulty=True)
    assert [name for name, _, _ in rows(imported.catalogue)] == kept
    assert len(imported.faults) == 1
    assert imported.catalogue.record["left_out"] == 1


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    data = tmp_path / "data"
    paint(data / "red/a.jpg")
    os.rename(os.fsencode(data / "red/a.jpg"), os.fsencode(data / "red") + b"/\xff.jpg")  # noqa: PTH104
    paint(data / "red/b.jpg")
    with pytest.raises(DatasetError, match="expected a file name in UTF-8"):
        load(data, tmp_path / "to")
    assert [name for name, _, _ in rows(load(data, tmp_path / "to", skip_faulty=True).catalogue)] == ["red/b.jpg"]


def test_an_archive_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "all.zip").write_bytes(b"PK not really")
    with pytest.raises(DatasetError, match=r"holds no pictures .* all.zip was not read: no zip archive"):
        load(tmp_path / "data", tmp_path / "to")
    paint(tmp_path / "data/red/a.jpg")
    assert any("all.zip was not read" in note for note in load(tmp_path / "data", tmp_path / "to").notes)


def test_a_failed_import_leaves_the_catalogue(tmp_path: Path) -> None:
    data, to = tmp_path / "data", tmp_path / "to"
    paint(data / "red/a.jpg", data / "blue/b.jpg")
    load(data, to)
    before = {path: path.read_bytes() for path in to.iterdir()}
    paint(data / "red/deep/c.jpg")
    with pytest.raises(DatasetError):
        load(data, to)
    assert {path: path.read_bytes() for path in to.iterdir()} == before


def test_it_is_told_what_the_folders_are(tmp_path: Path) -> None:
    paint(tmp_path / "data/train/colour/red/a.jpg", tmp_path / "data/test/fit/slim/b.jpg")
    draft = datasets.get("folder").read(source := Source(tmp_path / "data"))
    assert draft.attributes == ("colour", "fit")
    assert source.notes == ["attributes: colour, fit; splits: train, test"]
