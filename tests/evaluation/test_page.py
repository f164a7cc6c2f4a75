"""The page is one whole, escaped, accessible file that shows what it was given."""

from __future__ import annotations

import base64
import io
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from lapel.errors import LapelError
from lapel.evaluation.page import HitView, QueryView, write_page

VOID = {"meta", "img", "br", "link", "input", "hr"}
PHOTO = Image.new("RGB", (300, 400), "teal")
EVIL = "<script>alert('\"&')</script>"
RESULT = {
    "attributes": {
        "sleeve_length": {
            "map": 62.34,
            "low": 60.0,
            "high": 64.5,
            "queries": 1200,
            "candidates": 4800,
            "chance": 20,
        },
        "collar": {"map": 100.0, "low": None, "high": None, "queries": 3, "candidates": 9, "chance": None},
    },
    "overall": {"map": 70.04, "low": 68.1, "high": 72.2, "queries": 1203, "candidates": None, "chance": 25.5},
}


class Reader(HTMLParser):
    """Checks that tags nest, and collects what the tests ask about."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page(tmp_path: Path, **changes: object) -> tuple[str, Reader]:
    hits = [
        HitView(PHOTO, 0.91, "long", True, "item 7", {"sleeve_length": 0.91}),
        HitView(PHOTO, 0.84, "short", False),
        HitView(tmp_path / "nowhere.jpg", -0.2),
    ]
    given = {
        "title": "Lapel demo",
        "result": RESULT,
        "queries": [QueryView(PHOTO, "sleeve_length", "long", PHOTO, hits), QueryView(PHOTO, "collar")],
        "record": {"split": "test", "seed": 0, "versions": {"torch": "2.15"}, "attributes": ["a", "b"]},
        "next_steps": ["# Check your photographs:", "lapel data check photos/\nlapel train mine.yaml"],
        **changes,
    }
    path = write_page(tmp_path / "page.html", **given)  # type: ignore[arg-type]
    text = path.read_text(encoding="utf-8")
    return text, Reader(text)


def test_it_needs_nothing_but_itself(tmp_path: Path) -> None:
    text, read = page(tmp_path)
    assert not re.search(r"https?://|<script|<link|@import|url\(", text)
    sources = [image["src"] or "" for image in read.all("img")]
    assert len(sources) == 5
    for source in sources:
        head, _, data = source.partition(",")
        assert head == "data:image/jpeg;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).format == "JPEG"


def test_it_is_accessible(tmp_path: Path) -> None:
    _, read = page(tmp_path)
    assert read.all("html")[0]["lang"] == "en"
    for landmark in ("header", "main", "footer", "h1", "caption"):
        assert len(read.all(landmark)) == 1
    assert all(image["alt"] for image in read.all("img"))
    assert all("scope" in head for head in read.all("th"))
    names = {attributes["id"] for _, attributes in read.tags if "id" in attributes}
    assert all(a["aria-labelledby"] in names for _, a in read.tags if "aria-labelledby" in a)


def test_it_shows_the_table(tmp_path: Path) -> None:
    text, read = page(tmp_path)
    for shown in (
        "sleeve length",
        "62.3",
        "60.0–64.5",
        "1,200",
        "4,800",
        "collar",
        "100.0",
        "overall",
        "25.5",
    ):
        assert shown in read.text
    assert "Overall MAP 70.0 % (95 % interval 68.1 to 72.2), where chance gives 25.5 %" in read.text
    assert 'class="fill" style="width:62.34%"' in text
    assert 'class="span" style="left:60.00%;width:4.50%"' in text


def test_it_ranks_and_frames_the_results(tmp_path: Path) -> None:
    text, read = page(tmp_path)
    hits = [item for item in read.all("li") if (item.get("class") or "").startswith("hit")]
    assert [item["class"] for item in hits] == ["hit right", "hit wrong", "hit unknown"]
    assert hits[0]["title"] == "rank 1, right, score 0.9100, long, item 7, sleeve length 0.910"
    assert "1 of 2 right" in read.text
    assert "no picture: no such file" in read.text
    assert "Where it looks for sleeve length" in read.text
    assert "Where it looks for collar" not in read.text
    assert "No result." in read.text
    assert text.index(">1<") < text.index(">2<")


def test_steps_and_record(tmp_path: Path) -> None:
    text, read = page(tmp_path)
    assert "<p>Check your photographs:</p>" in text
    assert "<code>lapel data check photos/\nlapel train mine.yaml</code>" in text
    for shown in ("split", "test", "versions.torch", "2.15", "a, b"):
        assert shown in read.text


def test_everything_is_escaped(tmp_path: Path) -> None:
    hit = HitView(tmp_path / EVIL, 0.5, EVIL, None, EVIL, {EVIL: 0.1})
    result = {"attributes": {EVIL: RESULT["overall"]}, "overall": RESULT["overall"]}
    text, read = page(
        tmp_path,
        title=EVIL + " $title",
        result=result,
        queries=[QueryView(PHOTO, EVIL, EVIL, PHOTO, [hit])],
        record={EVIL: EVIL},
        next_steps=["# " + EVIL, EVIL],
        summary=EVIL,
    )
    assert "<script" not in text
    assert read.text.count(EVIL) >= 9
    assert "$title" in read.text


def test_it_goes_without_table_queries_steps_and_record(tmp_path: Path) -> None:
    _, read = page(tmp_path, result=None, queries=[], record={}, next_steps=[], summary="Nothing yet.")
    assert read.all("table") == []
    assert read.all("article") == []
    assert "Nothing yet." in read.text


def test_a_missing_number_is_a_dash(tmp_path: Path) -> None:
    entry = {"map": math.nan}
    text, read = page(tmp_path, result={"attributes": {"collar": entry}, "overall": entry})
    assert "nan" not in read.text
    assert "width:0.00%" in text


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LapelError, match="cannot write"):
        write_page(tmp_path / "file" / "page.html", "t", None, [])
