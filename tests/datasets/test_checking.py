"""A data set on disk is checked as a whole: files, rows, images, counts, and where it might be instead."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from lapel import datasets
from lapel.datasets.checking import DatasetReport, check_dataset
from lapel.datasets.formats import Format
from lapel.datasets.importing import import_dataset
from lapel.errors import DatasetError

from . import fake
from .pictures import pack, paint
from .test_importing import DAMAGES

Use = Callable[[Format], None]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    known = datasets.get

    def replace(form: Format) -> None:
        monkeypatch.setattr(datasets, "get", lambda name: form if name == "fake" else known(name))

    return replace


@pytest.fixture
def data(tmp_path: Path, use: Use) -> Path:
    use(fake.make())
    return fake.write(tmp_path / "data")


def check(root: Path, name: str = "fake", **options: str) -> DatasetReport:
    return check_dataset(name, root, quiet=True, options=options)


def printed(report: DatasetReport, width: int = 120) -> str:
    stream = io.StringIO()
    report.print(Console(file=stream, width=width))
    return stream.getvalue()


def test_a_whole_data_set(data: Path) -> None:
    report = check(data)
    assert report.ok
    assert report.errors == []
    assert report.verdict == (
        "fake: ready to import: 5 images (train 2, query 1, gallery 2), 3 items, 1 attribute. "
        "Images were found, not decoded"
    )
    assert report.counts == {
        "train": {"images": 2, "items": 1},
        "query": {"images": 1, "items": 1},
        "gallery": {"images": 2, "items": 2},
    }
    assert report.labels == {"colour": {"values": 2, "train": 1, "query": 1, "gallery": 1}}
    assert report.relations == {"pairs": {"query": 2}}
    assert report.scored == {"queries": 1, "gallery images": 2}
    assert [(file.name, file.required, file.place) for file in report.files] == [
        ("Eval/list.txt", True, "Eval/list.txt"),
        ("Anno/colours.txt", True, "Anno/colours.txt"),
        ("Anno/boxes.txt", False, None),
    ]
    assert json.loads(json.dumps(report.to_dict()))["ok"] is True


def test_what_is_printed(data: Path) -> None:
    lines = printed(check(data)).splitlines()
    assert lines[0] == f"A fake (small): {data}"
    assert [" ".join(line.split()) for line in lines[1:]] == [
        "file what it says",
        "Eval/list.txt found which image is for what",
        "Anno/colours.txt found which colour an image shows",
        "Anno/boxes.txt not there, optional where the garment is",
        "note: no boxes",
        "split images items",
        "train 2 1",
        "query 1 1",
        "gallery 2 2",
        "attribute values train query gallery",
        "colour 2 1 1 1",
        "pairs: query 2 rows",
        "scored: 1 queries, 2 gallery images",
        check(data).verdict,
    ]
    assert printed(check(data), width=40).splitlines()[-1] == check(data).verdict


def test_all_missing_files_are_named_at_once(data: Path) -> None:
    shutil.rmtree(data / "Eval")
    shutil.rmtree(data / "Anno")
    report = check(data)
    assert not report.ok
    assert report.verdict == "fake: cannot be imported: 2 files missing: Eval/list.txt, Anno/colours.txt"
    assert report.errors == [
        "missing: Eval/list.txt, which says which image is for what",
        "missing: Anno/colours.txt, which says which colour an image shows",
    ]
    shown = printed(report)
    assert "Anno/colours.txt  MISSING" in shown
    assert "It is published by: Nobody; search for 'a fake of our own'" in shown


@pytest.mark.parametrize(("damage", "message", "left"), DAMAGES)
def test_it_is_ready_when_an_import_works(
    data: Path, tmp_path: Path, damage: Callable[[Path], None], message: str, left: int
) -> None:
    damage(data)
    report = check(data)
    assert not report.ok
    assert report.verdict.startswith("fake: cannot be imported: " if left < 0 else "fake: 1 ")
    if left >= 0:
        assert "or import the rest with --skip-faulty: " in report.verdict
    with pytest.raises(DatasetError):
        import_dataset("fake", data, tmp_path / "to", quiet=True)
    if not message.startswith("1 of 5 images are missing"):
        assert message.removeprefix("lacks ").split(": expected ")[0] in "\n".join([*report.errors, *report.notes])
    assert printed(report).splitlines()[-1] == report.verdict


def test_faults_are_shown_by_file_the_first_of_each(data: Path) -> None:
    rows = [(f"img/{number}.jpg", "1", "tarin") for number in range(8)]
    text = fake.list_text([*fake.ROWS, *rows], "image item split")
    (data / "Eval/list.txt").write_text(text)
    (data / "Anno/colours.txt").write_text(fake.list_text([*fake.COLOURS, ("x.jpg",)], "image colour"))
    report = check(data)
    assert len(report.faults) == 9
    assert report.verdict.startswith(
        "fake: 9 faulty rows; repair them, or import the rest with --skip-faulty: 5 images"
    )
    shown = printed(report)
    assert shown.count("unknown split 'tarin'") == 5
    assert "... and 3 more (all of them with --json)" in shown
    assert "Anno/colours.txt line 6: expected image colour, found 'x.jpg'" in shown


def test_missing_and_empty_images(data: Path) -> None:
    (data / "Img/img/e.jpg").unlink()
    (data / "Img/img/a.jpg").write_bytes(b"")
    report = check(data)
    assert (report.missing, report.empty) == (["img/e.jpg"], ["img/a.jpg"])
    assert report.verdict.startswith("fake: 1 missing image, 1 empty image; repair them, or import the rest")
    shown = printed(report)
    assert "image missing: img/e.jpg" in shown
    assert "empty file: img/a.jpg" in shown
    assert "published by" in shown


def test_empty_images_alone_are_not_what_an_import_leaves_out(data: Path, tmp_path: Path) -> None:
    (data / "Img/img/a.jpg").write_bytes(b"")
    report = check(data)
    assert not report.ok
    assert report.verdict.startswith("fake: 1 empty image; fetch them again; an import takes them, and training passes")
    assert len(import_dataset("fake", data, tmp_path / "to", quiet=True).catalogue) == 5


def test_images_that_are_usually_missing(data: Path, use: Use) -> None:
    use(fake.make("many links are dead"))
    (data / "Img/img/e.jpg").unlink()
    report = check(data)
    assert report.ok
    assert report.absent == 1
    assert "1 of 5 images are not there: many links are dead" in report.notes


@pytest.mark.parametrize("beneath", ["", "data/"])
def test_archives_are_looked_into(data: Path, tmp_path: Path, beneath: str) -> None:
    whole = check(data)
    packed = check(pack(data, tmp_path / "data.zip", beneath))
    assert packed.ok
    assert packed.counts == whole.counts
    assert packed.files[0].place == f"{beneath}Eval/list.txt"


@pytest.mark.parametrize("given", ["", "data/Anno", "data/Img/img", "data/Eval/list.txt"])
def test_where_it_seems_to_be(data: Path, tmp_path: Path, given: str) -> None:
    (tmp_path / "other").mkdir()
    report = check(tmp_path / given)
    assert f"the data set seems to be in {data}: give that folder" in report.problems
    assert f"the data set seems to be in {data}" in printed(report)


@pytest.mark.usefixtures("data")
def test_another_data_set_is_recognised(standins: Callable[[str], tuple[Path, object]], tmp_path: Path) -> None:
    report = check(standins("deepfashion-inshop")[0])
    assert report.problems[-1].startswith("these are the files of deepfashion-inshop: ")
    (tmp_path / "far/from/all").mkdir(parents=True)
    assert all(problem.startswith("missing: ") for problem in check(tmp_path / "far/from/all").problems)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nothing at"):
        check_dataset("folder", tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="unknown format"):
        check_dataset("foldr", tmp_path)


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    paint(tmp_path / "train/red/a.jpg", tmp_path / "train/blue/b.jpg", tmp_path / "test/red/c.jpg")
    report = check(tmp_path, "folder")
    assert report.verdict == (
        "folder: ready to import: 3 images (train 2, test 1), 1 attribute. Images were found, not decoded"
    )
    assert "published" not in printed(report)
    shutil.rmtree(tmp_path / "train")
    shutil.rmtree(tmp_path / "test")
    report = check(tmp_path, "folder")
    assert "folder: cannot be imported: " in report.verdict
    assert "holds no pictures" in report.verdict
    assert "published" not in printed(report)


def test_a_table(tmp_path: Path) -> None:
    paint(tmp_path / "a.jpg", tmp_path / "b.jpg")
    (tmp_path / "t.csv").write_text("photo,code,fit\na.jpg,7,slim\nb.jpg,7\nc.jpg,8,slim\n")
    report = check(tmp_path / "t.csv", "csv", item="code")
    assert report.faults == [
        "t.csv: row 3: expected 3 cells as in the first line, found 2: 'b.jpg,7'. "
        "A cell with a comma in it needs quotes"
    ]
    assert report.missing == ["c.jpg"]
    assert report.counts == {"none": {"images": 2, "items": 2}}
    assert any("item: column 'code'" in note for note in report.notes)


@pytest.mark.parametrize("name", ["deepfashion-inshop", "deepfashion-consumer2shop", "zappos50k", "fashionai"])
def test_stand_ins_are_ready(standins: Callable[[str], tuple[Path, object]], name: str) -> None:
    report = check(standins(name)[0], name)
    assert report.errors == []
    assert "ready to import" in report.verdict
    if name != "fashionai":
        assert all(report.scored.values())
        assert report.scored
