"""lapel.check: every kind of fault is found at its row, and what can be trained is told."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from lapel.catalogue import Catalogue
from lapel.check import CheckReport, check
from lapel.errors import CatalogueError
from lapel.protocol import AttributeProtocol, ItemProtocol, to_dict

HEADER = "image,item,split,box,neckline,sleeve"
GOOD = [
    f"{number}.png,{number},{split},,{neckline},{sleeve}"
    for number, (split, neckline, sleeve) in enumerate(
        [
            *[("train", n, s) for n in ("V-neck", "round") for s in ("long", "short")] * 2,
            *[("test", n, "long") for n in ("V-neck", "round")] * 2,
        ]
    )
]


def write(folder: Path, rows: list[str], header: str = HEADER) -> Path:
    """Write a catalogue, and a picture of its own for each row that names a number."""
    for row in rows:
        name = row.split(",")[0]
        path = folder / name
        if path.stem.isdigit() and not path.exists():
            Image.new("RGB", (40, 60), (int(path.stem) % 256, 90, 120)).save(path)
    path = folder / "catalogue.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def found(report: CheckReport, text: str) -> list[tuple[int | None, str]]:
    return [(problem.row, problem.level) for problem in report.problems if text in problem.message]


def test_a_good_catalogue_has_no_problem(tmp_path: Path) -> None:
    report = check(write(tmp_path, GOOD), quiet=True)
    assert report.problems == []
    assert report.ok
    assert report.trainable == ["neckline", "sleeve"]
    assert report.measurable == ["neckline"]  # in test every sleeve is long
    assert report.counts["neckline"]["V-neck"] == {"train": 4, "test": 2}
    assert "Too few test images to measure sleeve" in report.verdict
    assert not report.drawn


def test_attributes_of_a_catalogue_that_is_scored_by_items_need_no_test_split(tmp_path: Path) -> None:
    catalogue = Catalogue.read(write(tmp_path, GOOD))
    for protocol, told in ((ItemProtocol(), False), (AttributeProtocol(), True)):
        replace(catalogue, record={"protocol": to_dict(protocol)}).write(tmp_path / "catalogue.parquet")
        verdict = check(tmp_path / "catalogue.parquet", quiet=True).verdict
        assert "Can be trained: neckline, sleeve." in verdict
        assert ("Too few test images to measure sleeve" in verdict) == told


def test_an_image_of_two_items_is_odd_and_a_row_twice_is_wrong(tmp_path: Path) -> None:
    report = check(write(tmp_path, [*GOOD, "0.png,0,train,,V-neck,long", "1.png,77,train,,V-neck,short"]), quiet=True)
    assert found(report, "the same image as in row 2: keep one row per image") == [(14, "error")]
    assert found(report, "the same image as in row 3, of another item") == [(15, "warning")]


@pytest.mark.parametrize(
    ("row", "level", "message"),
    [
        ("nowhere.png,90,train,,round,long", "error", "no such file"),
        ("page.jpg,90,train,,round,long", "error", "HTML page"),
        ("empty.jpg,90,train,,round,long", "error", "empty file"),
        ("folder.jpg,90,train,,round,long", "error", "not a file"),
        ("0.png,0,train,,round,long", "error", "the same image as in row 2"),
        ("90.png,90,tets,,round,long", "error", "did you mean 'test'"),
        ("90.png,0,test,,round,long", "error", "item '0' is also in row 2 ('train'), here in 'test'"),
        ("copy.png,90,test,,round,long", "error", "the same picture as row 2 ('train'), here in 'test'"),
        ("90.png,90,train,5 5 5 9,round,long", "error", "is empty: expected x1 y1 x2 y2"),
        ("90.png,90,train,50 5 60 9,round,long", "error", "outside the image of 40 x 60 pixels"),
        ("90.png,90,train,-4 5 30 50,round,long", "warning", "reaches outside"),
        ("90.png,90,,,round,long", "warning", "no split; 1 such rows"),
        ("90.png,90,train,,V neck,long", "warning", "'V-neck' (6), 'V neck' (1) differ only by case"),
        ("90.png,90,train,,v-Neck,long", "warning", "'V-neck' (6), 'v-Neck' (1) differ only by case"),
    ],
)
def test_each_fault_is_found_at_its_row(tmp_path: Path, row: str, level: str, message: str) -> None:
    write(tmp_path, GOOD)
    (tmp_path / "page.jpg").write_text("<!doctype html><html><body>Not found</body></html>")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "copy.png").write_bytes((tmp_path / "0.png").read_bytes())
    report = check(write(tmp_path, [*GOOD, row]), quiet=True)
    assert found(report, message) == [(len(GOOD) + 2, level)]
    assert report.ok == (level == "warning")
    problem = next(problem for problem in report.problems if message in problem.message)
    assert problem.image == row.split(",")[0]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (["linen"] * 12, "fabric has the one value 'linen'"),
        ([""] * 12, "fabric has no value at all"),
        (["linen", "silk", *[""] * 10], "fabric is nearly empty: 2 images labelled (16.7 %)"),
        (["linen", *["silk"] * 11], "1 of 2 values have a single image, so nothing matches it: linen"),
    ],
)
def test_attributes_that_cannot_be_used_are_warned_of(tmp_path: Path, column: list[str], message: str) -> None:
    rows = [f"{row},{value}" for row, value in zip(GOOD, column, strict=True)]
    path = write(tmp_path, rows, HEADER + ",fabric")
    report = check(path, ["neckline", "fabric"], decode=False, quiet=True)
    assert found(report, message) == [(None, "warning")]
    assert "fabric" not in report.trainable
    assert "neckline" in report.trainable


def test_query_and_gallery_are_one_side_and_boxes_tell_garments_apart(tmp_path: Path) -> None:
    rows = ["0.png,a,query,,round,long", "1.png,a,gallery,,V-neck,long"]
    rows += ["2.png,b,train,0 0 20 60,round,long", "2.png,b,train,20 0 40 60,round,short"]
    report = check(write(tmp_path, rows), quiet=True)
    assert report.ok, report.errors


def test_unusable_images_do_not_count(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    for number in (0, 1):
        (tmp_path / f"{number}.png").unlink()
    report = check(path, quiet=True)
    assert report.counts["neckline"]["V-neck"]["train"] == 2
    assert "2 images cannot be used: a job stops above 5%" in report.verdict
    for number in range(2, 12):
        (tmp_path / f"{number}.png").unlink()
    report = check(path, quiet=True)
    assert report.trainable == []
    assert "No image can be used: are the paths relative" in report.verdict


def test_without_splits_the_drawn_one_is_shown(tmp_path: Path) -> None:
    rows = [f"{n}.png,{'round' if n % 2 else 'V-neck'}" for n in range(40)]
    report = check(write(tmp_path, rows, "image,neckline"), decode=False, quiet=True)
    assert report.drawn
    assert sum(report.counts["neckline"]["round"].values()) == 20
    assert report.trainable == ["neckline"]
    assert "split column" in printed(report)


def test_no_attribute_at_all_is_an_error(tmp_path: Path) -> None:
    rows = [f"{n}.png,a text of its own {n}" for n in range(6)]
    report = check(write(tmp_path, rows, "image,description"), decode=False, quiet=True)
    assert found(report, "no column is an attribute") == [(None, "error")]
    assert "Nothing can be trained" in report.verdict
    printed(report)


def test_faults_of_the_file_itself_are_raised(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="no column 'image'"):
        check(write(tmp_path, ["1.png,a"], "picture,neckline"))
    with pytest.raises(CatalogueError, match="did you mean 'neckline'"):
        check(write(tmp_path, GOOD), ["neklin"])


def printed(report: CheckReport) -> str:
    console = Console(file=io.StringIO(), width=160)
    report.print(console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def test_the_first_fifty_problems_are_printed_errors_first(tmp_path: Path) -> None:
    rows = [f"gone{n}[b].png,{n},train,-1 0 5 5,round,long" for n in range(60)]
    report = check(write(tmp_path, [*rows, *GOOD[:1]]), quiet=True)
    text = printed(report)
    assert text.count("no such file") == 50
    assert "gone3[b].png" in text
    assert f"... and {len(report.problems) - 50} more" in text
    assert [p.row for p in report.errors] == list(range(2, 62))
    assert report.verdict in " ".join(text.split())


def test_the_report_goes_into_json(tmp_path: Path) -> None:
    report = check(write(tmp_path, [*GOOD, "gone.png,9,train,,round,long"]), decode=False, quiet=True)
    values = json.loads(json.dumps(report.to_dict()))
    assert values["ok"] is False
    assert values["problems"][0]["row"] == len(GOOD) + 2
    assert values["counts"]["sleeve"]["long"]["test"] == 4


def test_images_in_an_archive(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    (tmp_path / "copy.png").write_bytes((tmp_path / "0.png").read_bytes())
    (tmp_path / "empty.png").touch()
    with zipfile.ZipFile(tmp_path / "img.zip", "w") as archive:
        for path in sorted(tmp_path.glob("*.png")):
            archive.write(path, path.name)
    for path in tmp_path.glob("*.png"):
        path.unlink()
    rows = [f"img.zip/{row}" for row in GOOD]
    table = tmp_path / "catalogue.csv"
    table.write_text("\n".join([HEADER, *rows]) + "\n")
    assert check(table, quiet=True).problems == []
    bad = [f"img.zip/{name}.png,{name},test,,round,long" for name in ("copy", "empty", "nowhere")]
    table.write_text("\n".join([HEADER, *rows, *bad]) + "\n")
    for decode in (True, False):
        report = check(table, decode=decode, quiet=True)
        assert found(report, "the same picture as row 2 ('train'), here in 'test'") == [(14, "error")]
        assert found(report, "empty file") == [(15, "error")]
        assert found(report, "no such file") == [(16, "error")]
    (tmp_path / "img.zip").write_bytes(b"PK")
    report = check(table, quiet=True)
    assert len(found(report, "no zip archive, or one cut short")) == len(rows) + len(bad)
