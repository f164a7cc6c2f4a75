"""The report's page is one whole, escaped, accessible file; attention and confusion are drawn as they are."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lapel.evaluation import report_page as page
from lapel.evaluation.bars import Figure, figures_key, figures_table
from lapel.evaluation.confusion import confusion
from lapel.evaluation.curves import Curve, Curves
from lapel.evaluation.figures import Tile
from lapel.evaluation.gaze import Gaze, draw_gazes, gazes
from lapel.evaluation.heat import draw_heat
from lapel.evaluation.judged import Judged, JudgedAttribute
from lapel.evaluation.report_page import Section
from lapel.evaluation.sheets import Line, Pictures
from lapel.frame import Preprocessing

from .report_world import catalogue_of
from .test_page import EVIL, Reader

PHOTO = Image.new("RGB", (60, 80), "teal")


def tile(right: bool | None = True, **changes: object) -> Tile:
    given = {"image": PHOTO, "caption": EVIL, "value": EVIL, "score": 0.5, "right": right} | changes
    return Tile(**given)  # type: ignore[arg-type]


def labels(numbers: list[int], count: int) -> np.ndarray:
    return np.eye(count, dtype=bool)[numbers]


def whole_page(tmp_path: Path) -> tuple[str, Reader]:
    """Return a page that shows hostile text wherever text can stand."""
    found = confusion(np.eye(3), np.eye(3)[[1, 0, 2]], np.eye(3) > 0, np.eye(3) > 0, [EVIL, "b", "c"], k=1)
    values = np.array([1.0, 2.0])
    line = Line(tile(None), [tile(), tile(False), tile(None, image=tmp_path / EVIL)], EVIL, EVIL, (EVIL,))
    judged = Judged(EVIL, tile(None, score=None), tile(), tile(), True, (0.5, 0.4))
    curve = Curve(EVIL, values, values, values, values, 1)
    row = Figure(EVIL, 60.0, 50.0, 70.0, 20.0, (EVIL,))
    bodies = (
        figures_key(EVIL) + figures_table([row], Figure("overall", 60.0), EVIL, (EVIL,), EVIL),
        page.curves_body(Curves(curve, curve)),
        page.top_body([(EVIL, EVIL, [line])]),
        page.same_body([(EVIL, [line, line])]),
        page.gaze_body([Gaze(tile(None), [tile(None), tile(None)], False)]),
        page.judged_body([JudgedAttribute(EVIL, 3, 4, [judged])]),
        page.failures_body([line]),
        page.confusion_body({EVIL: found}),
        page.notes([EVIL]),
    )
    sections = [Section(f"part{number}", EVIL, body, EVIL, EVIL) for number, body in enumerate(bodies)]
    headline = Figure(EVIL, 62.5, 60.0, 65.0, 20.0)
    path = page.write_report(
        tmp_path / "out" / "report.html", EVIL + " $title", EVIL, headline, {EVIL: EVIL}, sections, {EVIL: EVIL}
    )
    text = path.read_text(encoding="utf-8")
    return text, Reader(text)


def test_it_is_one_file_and_everything_is_escaped(tmp_path: Path) -> None:
    text, read = whole_page(tmp_path)
    assert not re.search(r"http|<script|<link|@import|url\(|src=\"(?!data:)", text)
    assert read.text.count(EVIL) > 40
    assert "$title" in read.text
    assert "no picture: " in read.text


def test_it_is_accessible(tmp_path: Path) -> None:
    _, read = whole_page(tmp_path)
    for landmark in ("header", "nav", "main", "footer", "h1"):
        assert len(read.all(landmark)) == 1
    assert all(image["alt"] for image in read.all("img"))
    assert all(head.get("scope") for head in read.all("th"))
    names = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(names) == len(set(names))
    assert all((link["href"] or "")[1:] in names for link in read.all("a"))
    assert all(a["aria-labelledby"] in names for _, a in read.tags if "aria-labelledby" in a)


def test_figures_stand_with_their_bars(tmp_path: Path) -> None:
    figure = Figure.of("sleeve_length", (0.625, 0.6, 0.65), 0.2, "1,200")
    assert (figure.value, figure.low, figure.high, figure.chance) == (62.5, 60.0, 65.0, 20.0)
    text = figures_table([figure], Figure("overall", 50.0), "MAP", ("queries",))
    for part in ("sleeve length", "62.5", "60.0–65.0", "20.0", "1,200", 'class="fill" style="width:62.50%"', "–</td>"):
        assert part in text


def test_hits_show_verdict_rank_value_and_score() -> None:
    text = page.failures_body([Line(tile(None), [tile(False, tag="rank 3", value="long"), tile(value="short")])])
    read = Reader(f"<main>{text}</main>")
    hits = [item for item in read.all("li") if (item.get("class") or "").startswith("hit")]
    assert [hit["class"] for hit in hits] == ["hit wrong", "hit right"]
    assert (hits[0]["title"] or "").startswith("rank 3, wrong, long")
    assert (hits[1]["title"] or "").startswith("rank 2, right, short")
    assert "long 0.50" in read.text


def test_only_the_first_attributes_are_open() -> None:
    line = Line(tile(None), [tile()])
    text = page.top_body([(f"a{number}", "", [line]) for number in range(5)])
    assert len(re.findall(r"<details[^>]* open>", text)) == page.OPEN
    assert text.count("<details") == 5


def test_the_confusion_is_a_table_of_shares_and_a_list_of_mistakes() -> None:
    query, values = np.eye(3)[[0, 0, 0, 1, 2]], ["v_neck", "round", "boat"]
    found = confusion(query, np.eye(3), labels([0, 0, 1, 1, 2], 3), labels([0, 1, 2], 3), values, k=1)
    text = page.confusion_body({"neck_line": found})
    read = Reader(f"<main>{text}</main>")
    assert "round taken for v neck: 1 of 2 (50 %)" in read.text
    assert "80 % named right" in read.text
    shares = [re.sub(r"\D", "", cell.get("style") or "") for cell in read.all("td") if cell.get("style")]
    assert shares == ["100", "0", "0", "50", "50", "0", "0", "0", "100"]
    assert text.count('class="own"') == 3


def test_hundreds_of_values_are_a_list_alone() -> None:
    count = page.HEAT + 1
    rows = np.eye(count)
    found = confusion(rows, np.roll(rows, 1, axis=0), rows > 0, rows > 0, [f"v{n}" for n in range(count)], k=1)
    text = page.confusion_body({"style": found})
    assert "<table" not in text
    assert text.count("<li>") == count


def test_a_confusion_becomes_a_picture(tmp_path: Path) -> None:
    found = confusion(np.eye(3), np.eye(3)[[1, 0, 2]], np.eye(3) > 0, np.eye(3) > 0, ["$a$", EVIL, "c_d"], k=1)
    with Image.open(draw_heat(found, tmp_path / "heat.png", "a $title$")) as picture:
        assert picture.format == "PNG"
        assert picture.width > 400


class Looking:
    """An embedder whose attention is one cell, for each attribute another; or even."""

    preprocessing = Preprocessing(32, 32, "letterbox")

    def __init__(self, even: bool = False) -> None:
        self.even = even
        self.sizes: list[tuple[int, int]] = []

    def attention(self, images: list[Image.Image], attributes: list[str]) -> np.ndarray:
        self.sizes += [image.size for image in images]
        maps = np.full((1, len(attributes), 4, 4), 1 / 16 if self.even else 0.0, np.float32)
        for number in range(len(attributes)):
            maps[0, number, number, 0] += 0.0 if self.even else 1.0
        return maps


@pytest.mark.parametrize("even", [False, True])
def test_attention_is_shown_on_photographs_of_different_items(tmp_path: Path, even: bool) -> None:
    catalogue = catalogue_of(tmp_path, 12, broken=(0, 5))
    missing = np.isin(np.arange(12), (0, 5))
    regions = {f"{number:02}.png": {"main_colour": np.array([[2.0, 2, 30, 40]])} for number in range(12)}
    looking = Looking(even)
    found = gazes(looking, catalogue, Pictures(catalogue), ["main_colour"], missing=missing, regions=regions)  # type: ignore[arg-type]
    assert len(found) == 4
    assert len({int(gaze.photo.caption[:2]) // 2 for gaze in found}) == 4
    assert not {"00.png", "05.png"} & {gaze.photo.caption for gaze in found}
    assert [gaze.flat for gaze in found] == [even] * 4
    assert all(gaze.maps[0].value in ("red", "green", "blue") for gaze in found)
    assert looking.sizes == [(40, 50)] * 4
    with Image.open(draw_gazes(found, tmp_path / "out.png", "title")) as picture:
        assert picture.height > 800


def test_attention_on_large_photographs_is_drawn_small_with_its_crop(tmp_path: Path) -> None:
    catalogue = catalogue_of(tmp_path, 2)
    for name in ("00.png", "01.png"):
        Image.new("RGB", (1600, 800), "white").save(tmp_path / name)
    pictures = Pictures(catalogue)
    pictures.box = lambda row: (400.0, 0.0, 1200.0, 800.0)  # type: ignore[method-assign]
    looking = Looking()
    found = gazes(looking, catalogue, pictures, ["main_colour"], missing=np.zeros(2, bool), count=1)  # type: ignore[arg-type]
    assert looking.sizes == [(210, 210)]
    assert len(found) == 1


def test_what_stands_for_the_whole_stands_out_where_it_is_or_comes_last() -> None:
    rows = [Figure("Acc@1", 10.0), Figure("Acc@10", 40.0)]
    inside, after = (figures_table(rows, stands, "accuracy") for stands in (rows[0], Figure("overall", 30.0)))
    assert re.findall(r'<tr( class="overall")?><th scope="row">([^<]+)', inside) == [
        (' class="overall"', "Acc@1"),
        ("", "Acc@10"),
    ]
    assert [name for _, name in re.findall(r'<tr( class="overall")?><th scope="row">([^<]+)', after)][-1] == "overall"
