"""The page of copies: whole, escaped, files apart from look-alikes, and honest about what is left out."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lapel.errors import LapelError
from lapel.report.copies_page import IN_GROUP, summary, write_copies
from lapel.retrieval.copies_found import Copies, Group, Pair
from lapel.retrieval.hits import Entry

from ..evaluation.test_page import Reader

EVIL = "<script>alert('\"&')</script>"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    picture = Image.new("RGB", (60, 80), "teal")
    picture.paste("red", (0, 0, 30, 80))
    for name in "abcd":
        picture.save(folder / f"{name}.png")
    return folder


def entry(photos: Path, file: str, item: str | None = None, **metadata: object) -> Entry:
    return Entry(f"{file}.png", str(photos / f"{file}.png"), item, metadata, {"colour": ("Red",), "fit": (file,)})


def found(photos: Path, **changes: Any) -> Copies:
    a, b = entry(photos, "a", "A1", name="A dress", price=19.5, text="long " * 30), entry(photos, "b", "B1", name="Two")
    c, d = entry(photos, "c"), entry(photos, "d", "A1")
    one = Pair(a, b, 0.987, 9.87, {"pattern": 0.995, "sleeve_length": 0.92, "item": 0.4})
    ways = ((a, c, 0.97), (b, c, 0.96))
    others = tuple(Pair(x, y, s, 5.0, {"pattern": s, "sleeve_length": s, "item": s}) for x, y, s in ways)
    plain = Copies(
        folder=photos / "shop",
        against=None,
        images=(1234, None),
        weights={"pattern": 1.0, "sleeve_length": 1.0, "item": 0.0},
        threshold=None,
        nearness=4.0,
        neighbours=20,
        within_item=False,
        exact=[Group((c, d))],
        pairs=[one, *others],
        groups=[Group((a, b), pairs=(one,)), Group((a, b, c), pairs=others)],
        total=3,
    )
    return replace(plain, **changes)


def page(tmp_path: Path, copies: Copies, **options: Any) -> tuple[str, Reader]:
    path = write_copies(tmp_path / "out" / "copies.html", copies, quiet=True, **options)
    text = path.read_text(encoding="utf-8")
    return text, Reader(text)


def test_one_whole_file(photos: Path, tmp_path: Path) -> None:
    text, seen = page(tmp_path, found(photos))
    assert not seen.all("script")
    assert not seen.all("link")
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", text)
    assert all(picture["alt"] for picture in seen.all("img"))
    assert len(seen.all("img")) == 1 + 2 + 3  # a file once, however many names it has
    headings = [number for tag, _ in seen.tags if (number := tag) in ("h1", "h2", "h3")]
    assert headings == ["h1", "h2", "h2", "h3", "h3"]


def test_what_it_says(photos: Path, tmp_path: Path) -> None:
    _, seen = page(tmp_path, found(photos))
    for said in (
        "Copies in shop",
        "1,234 images compared by pattern, sleeve length. 1 file in 2 places. 3 pairs of look-alikes.",
        "at least 4 times nearer to each other than either is to its 20th nearest",
        "9.9 times nearer",
        "5.0 times nearer",
        "similarity 0.987",
        "similarity 0.960–0.970",
        "3 images",
        "A dress",
        "19.5 · A1",
        "a.png",
        "fit: a | b",
        "sleeve length",
        "(does not count)",
        "cosines from 0.35 to 1",
    ):
        assert said in seen.text, said
    assert "long long" not in seen.text  # a description is no name
    least = [row for row in seen.all("tr") if row.get("class") == "least"]
    assert len(least) == 2  # one in each group


def test_whatever_comes_from_the_catalogue_is_escaped(photos: Path, tmp_path: Path) -> None:
    evil = Entry(EVIL, str(photos / "a.png"), EVIL, {"name": EVIL}, {EVIL: (EVIL,)})
    other = replace(evil, id=f"{EVIL}2", labels={EVIL: ("x",)})
    pair = Pair(evil, other, 0.9, 5.0, {EVIL: 0.9})
    group = Group((evil, other), pairs=(pair,))
    copies = found(photos, exact=[Group((evil, other))], groups=[group], pairs=[pair], weights={EVIL: 1.0}, total=1)
    text, seen = page(tmp_path, replace(copies, folder=photos / EVIL.replace("/", "")))
    assert "<script" not in text
    assert EVIL in seen.text


def test_two_catalogues(photos: Path, tmp_path: Path) -> None:
    first, second = entry(photos, "a", "A1"), entry(photos, "b", "B1")
    pair = Pair(first, second, 0.9, 5.0, {"pattern": 0.9})
    copies = found(
        photos,
        against=photos / "rival",
        images=(7, 1),
        weights={"pattern": 1.0},
        groups=[Group((first,), (second,), (pair,))],
        exact=[Group((first,), (second,))],
        pairs=[pair],
        total=1,
    )
    _, seen = page(tmp_path, copies)
    for said in ("Copies of shop in rival", "7 images compared with 1 image by pattern. 1 file in both.", "in rival"):
        assert said in seen.text, said
    assert not [row for row in seen.all("tr") if row.get("class") == "least"]  # one attribute has no least


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"exact": []}, "No file is there twice."),
        ({"weights": {"pattern": 1.0, "item": 1.0}}, "compared by all attributes."),
        ({"weights": {"pattern": 2.0, "item": -0.5}}, "compared by pattern × 2, item × -0.5."),
        ({"total": 99}, "99 pairs of look-alikes. Look-alikes are pairs of images, at least 4 times nearer to each "
            "other than either is to its 20th nearest; here are the 3 that stand out most."),
        ({"total": None}, "3 pairs of look-alikes."),
    ],
)  # fmt: skip
def test_summary(photos: Path, changes: dict[str, Any], said: str) -> None:
    assert said in summary(found(photos, **changes))


def test_nothing_found(photos: Path, tmp_path: Path) -> None:
    _, seen = page(tmp_path, found(photos, exact=[], pairs=[], groups=[], total=0))
    assert "None. Look-alikes are" in seen.text
    assert not seen.all("img")


def test_what_is_left_out_is_told(photos: Path, tmp_path: Path) -> None:
    _, seen = page(tmp_path, found(photos), shown=1)
    assert "The first 1 of 2 are shown; the CSV has them all." in seen.text
    many = [entry(photos, name) for name in "abcd" * 3]
    pair = Pair(many[0], many[1], 0.9, 5.0, {"pattern": 0.9, "sleeve_length": 0.9, "item": 0.9})
    _, seen = page(tmp_path, found(photos, exact=[], groups=[Group(tuple(many), pairs=(pair,))]))
    assert len(seen.all("img")) == IN_GROUP
    assert f"and {12 - IN_GROUP} more" in seen.text


def test_pictures_that_are_gone_and_parts_of_pictures(photos: Path, tmp_path: Path) -> None:
    gone = entry(photos, "nowhere")
    whole = str(photos / "a.png")
    left, right = (Entry(f"a.png#{box}", whole, None, {}, {}) for box in ("0,0,30,80", "30,0,60,80"))
    odd = Entry("a.png#1,2", whole, None, {}, {})  # a name that looks like a box and is none
    pair = Pair(left, right, 0.9, 5.0, {"pattern": 0.9, "sleeve_length": 0.9, "item": 0.9}, same_file=True)
    _, seen = page(tmp_path, found(photos, exact=[], groups=[Group((left, right, gone, odd), pairs=(pair,))]))
    sizes = [(picture["width"], picture["height"]) for picture in seen.all("img")]
    assert sizes == [("30", "80"), ("30", "80"), ("60", "80")]
    assert "no picture: no such file" in seen.text
    assert "the same file, cut out by another box" in seen.text


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_is_told(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(LapelError, match="disk full"):
        write_copies(tmp_path / "copies.html", found(photos), quiet=True)
