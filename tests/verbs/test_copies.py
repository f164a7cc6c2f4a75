"""``lapel copies`` from end to end: the CSV, the page, what is printed, and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from lapel import cli
from lapel.catalogue import Catalogue
from lapel.verbs.copies import Copies

from ..evaluation.test_page import Reader
from ..serve.copied import COPY, SAVED, build

Shown = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def shops(garments: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The index of a shop that has copies, and that of another shop."""
    shop, rival = build(tmp_path_factory.mktemp("copied"), garments)
    return shop.folder, rival


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "copies.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("copies shop", Copies(Path("shop"))),
        (
            "copies shop --like pattern --attribute colour=-0.5 --nearness 3 --to out",
            Copies(Path("shop"), like=("pattern", "colour=-0.5"), nearness=3.0, to=Path("out")),
        ),
        (
            "copies shop --against rival --threshold 0.9 --top 5 --within-item --quiet",
            Copies(Path("shop"), Path("rival"), threshold=0.9, top=5, within_item=True, quiet=True),
        ),
    ],
)
def test_parse(line: str, expected: Copies) -> None:
    assert cli.parse(line.split()) == expected


def test_one_catalogue(shops: tuple[Path, Path], tmp_path: Path, capsys: Shown) -> None:
    to = tmp_path / "out"
    assert cli.main(["copies", str(shops[0]), "--to", str(to), "--quiet"]) == 0
    found = rows(to)
    assert [(row["kind"], COPY in (row["first"], row["second"])) for row in found[:1]] == [("file", True)]
    alike = [row for row in found if row["kind"] == "look-alike"]
    assert SAVED in (alike[0]["first"], alike[0]["second"])  # nothing is nearer than a picture saved again
    assert float(alike[0]["similarity"]) > 0.99
    assert "pattern: another | " in alike[0]["differs"] or " | another" in alike[0]["differs"]
    assert Path(alike[0]["first_image"]).is_file()
    page = Reader((to / "copies.html").read_text(encoding="utf-8"))
    assert page.text.count(SAVED) >= 1
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[-1] == str(to / "copies.html")
    assert lines[1].startswith("same file")
    assert [word for word in ("50 images compared by all attributes. 1 file in 2 places.", "at least 4 times nearer") if
            word not in shown.err] == []  # fmt: skip
    assert f"all of them are in {to / 'copies.csv'}" in shown.err


def test_two_catalogues_by_one_attribute(shops: tuple[Path, Path], tmp_path: Path, capsys: Shown) -> None:
    line = ["copies", str(shops[1]), "--against", str(shops[0]), "--like", "pattern", "--threshold", "-1", "--quiet"]
    assert cli.main([*line, "--to", str(tmp_path)]) == 0
    found = rows(tmp_path)
    assert {row["first"] for row in found if row["kind"] == "file"} == {row["first"] for row in found}
    assert len([row for row in found if row["kind"] == "look-alike"]) == 11
    assert "11 images compared with 50 images by pattern. 11 files in both." in capsys.readouterr().err


def test_nothing_found_prints_no_table(shops: tuple[Path, Path], tmp_path: Path, capsys: Shown) -> None:
    line = ["copies", str(shops[0]), "--where", "price < 1", "--quiet", "--to", str(tmp_path)]
    assert cli.main(line) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'copies.html'}\n"
    assert rows(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--threshold 2", "expected a threshold from -1 to 1, found 2.0"),
        ("--like neklin", "unknown attribute 'neklin'; did you mean 'neckline'?"),
        ("--like pattern=x", "weight 'pattern=x': expected NAME or NAME=NUMBER"),
        ("--top 0", "expected a number of pairs of at least 1, found 0"),
        ("--against nowhere", "nowhere is not an index"),
    ],
)
def test_refused(shops: tuple[Path, Path], options: str, message: str, tmp_path: Path, capsys: Shown) -> None:
    assert cli.main(["copies", str(shops[0]), *options.split(), "--to", str(tmp_path / "out")]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("lapel: ")
    assert message in shown.err
    assert not (tmp_path / "out").exists()
