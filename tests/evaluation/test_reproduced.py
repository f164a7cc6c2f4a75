"""A measured table: what it says of its rows, on the paper's data and on others, printed and as a page."""

from __future__ import annotations

import io
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from lapel.evaluation.comparison_page import write_comparison
from lapel.evaluation.comparison_text import print_comparison
from lapel.evaluation.published import AGMAN, FASHIONAI_QUERIES
from lapel.evaluation.published_items import AHBN, ITEM_RECIPES
from lapel.evaluation.published_table import PublishedTable
from lapel.evaluation.reproduced import MeasuredRow, view_table
from lapel.evaluation.table_view import TableView, ordering, published_heading

PAPERS = {"format": "asen", "variant": "FashionAI"}
COST = {
    "parameters": 26_420_909,
    "parameters_to_embed": 12_000_000,
    "gflop": 8.2,
    "embedding": 312.0,
    "training": {"steps": 1234.0, "images": 59_232.0, "minutes": 10.0},
}


def row(name: str, level: float, sizes: dict[str, int], seeds: int = 3, recipe: str = "", **more: Any) -> MeasuredRow:
    """A row whose runs lie around a level; queries are as hard for every row."""
    runs = []
    for seed in range(max(seeds, 1)):
        luck = np.random.default_rng([seed, len(name)]).normal(0, 0.002)
        runs.append(
            {
                attribute: (np.arange(n), np.clip(level + luck + np.linspace(-0.2, 0.2, n), 0, 1))
                for attribute, n in sizes.items()
            }
        )
    return MeasuredRow(name, recipe or name.lower(), runs, tuple(range(seeds)), COST, **more)


def view(
    table: PublishedTable, levels: dict[str, float], sizes: dict[str, int] = FASHIONAI_QUERIES, **options: Any
) -> TableView:
    seeds = options.pop("seeds", 3)
    rows = [row(name, level, sizes, seeds) for name, level in levels.items()]
    settings: dict[str, Any] = {"catalogue": "photos", "measure": "MAP", "chance": 0.3, "headings": {}, "data": {}}
    return view_table(table, rows, **(settings | {"samples": 200} | options))


LEVELS = {"CSN": 0.51, "ASENet_V2": 0.61, "AttnFashion": 0.55, "AG-MAN": 0.63}
SMALL = {"neck": 40, "hem": 20}


def test_the_paper_s_own_data_compare_with_print():
    found = view(AGMAN[2], LEVELS, data=PAPERS)
    assert found.own
    assert published_heading(found) == "published"
    data = found.to_dict()
    for name, level in LEVELS.items():
        assert data["rows"][name]["measured"][0] == pytest.approx(100 * level, abs=0.5)
        expected = data["rows"][name]["measured"][0] - AGMAN[2].rows[name][-1]
        assert data["rows"][name]["measured_minus_published"] == pytest.approx(expected, abs=1e-3)
    assert json.loads(json.dumps(data)) == data
    assert data["published_compares"] is True


@pytest.mark.parametrize(
    ("record", "sizes", "note"),
    [
        ({}, FASHIONAI_QUERIES, None),
        ({"format": "asen", "variant": "DeepFashion"}, FASHIONAI_QUERIES, None),
        ({"format": "fashionai"}, FASHIONAI_QUERIES, None),
        (PAPERS, SMALL, "the catalogue says it is FashionAI, but it asks 60 test queries, the paper 3,600"),
    ],
)
def test_other_data_do_not(record, sizes, note):
    found = view(AGMAN[2], LEVELS, sizes, data=record)
    assert not found.own
    assert published_heading(found) == "published, on FashionAI"
    assert "measured_minus_published" not in found.to_dict()["rows"]["CSN"]
    assert any(note in each for each in found.notes) if note else not found.notes


def test_another_measure_than_the_paper_s_is_named():
    found = view(AGMAN[4], {"CSN": 0.5, "AG-MAN": 0.6}, SMALL)
    assert published_heading(found) == "published accuracy, on Zappos50k"
    assert published_heading(view(AGMAN[2], LEVELS, SMALL, measure="accuracy")) == "published MAP, on FashionAI"


def test_claims_hold_are_reversed_or_within_noise():
    found = view(AGMAN[2], LEVELS, SMALL)
    assert [(one.better, one.worse, one.verdict) for one in found.claims] == [
        ("AG-MAN", "ASENet_V2", "holds"),
        ("ASENet_V2", "AttnFashion", "holds"),
        ("AttnFashion", "CSN", "holds"),
    ]
    assert ordering(found) == "The paper's ordering holds: all 3 of 3 comparisons."
    assert found.claims[0].printed == pytest.approx(62.8788 - 60.7551)
    turned = view(AGMAN[2], LEVELS | {"AG-MAN": 0.53, "CSN": 0.5505}, SMALL)
    assert [one.verdict for one in turned.claims] == ["reversed", "holds", "within noise"]
    assert ordering(turned) == (
        "The paper's ordering is not borne out as a whole: of 3 comparisons 1 holds, 1 is reversed, 1 is within noise."
    )


def test_orderings_in_words():
    one = view(AGMAN[2], {"CSN": 0.5, "AttnFashion": 0.6}, SMALL)
    assert ordering(one) == "Of the paper's orderings one was measured: it holds."
    other = view(AGMAN[2], {"CSN": 0.6, "AttnFashion": 0.5}, SMALL)
    assert ordering(other) == "Of the paper's orderings one was measured: it is reversed."
    none = view(AGMAN[2], {"CSN": 0.5, "AG-MAN": 0.6}, SMALL)
    assert "takes both of their rows" in ordering(none)
    assert view(AGMAN[2], {"CSN": 0.5}, SMALL).main == ""


def test_seeds_are_told():
    found = view(AGMAN[2], LEVELS, SMALL)
    assert all(len(each.runs) == 3 and each.spread == (min(each.runs), max(each.runs)) for each in found.rows)
    single = view(AGMAN[2], LEVELS, SMALL, seeds=1)
    assert all(each.spread is None for each in single.rows)
    assert any(note.startswith("one seed only: CSN, ASENet_V2, AttnFashion, AG-MAN.") for note in single.notes)
    floor = view_table(
        AGMAN[2], [row("frozen", 0.3, SMALL, 0)], catalogue="c", measure="MAP", chance=0.3, headings={}, data={}
    )
    assert not floor.notes, "where nothing is trained no seed is missed"


def test_an_interval_stays_among_shares():
    """Two seeds far apart: what the formula adds to their spread must not give more than all."""
    sure = [{"neck": (np.arange(4), np.full(4, level))} for level in (1.0, 0.9)]
    settings: dict[str, Any] = {"catalogue": "c", "measure": "MAP", "chance": 0.3, "headings": {}, "data": {}}
    found = view_table(AGMAN[2], [MeasuredRow("CSN", "csn", sure, (0, 1))], **settings)
    assert found.rows[0].figure.high == 100.0
    assert found.rows[0].figure.low == pytest.approx(100 * (0.95 - 0.05 * 2**0.5))


def test_queries_that_a_run_lacks_are_told():
    whole = row("CSN", 0.5, SMALL, 1)
    short = row("AG-MAN", 0.6, SMALL | {"hem": 15}, 1)
    settings: dict[str, Any] = {"catalogue": "c", "measure": "MAP", "chance": 0.3, "headings": {}, "data": {}}
    found = view_table(AGMAN[2], [whole, short], **settings)
    assert found.queries == {"neck": 40, "hem": 15}
    assert any("5 queries that some run did not answer" in note for note in found.notes)


def shown(found: TableView, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    print_comparison(found, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def full(number: int, **options: Any) -> TableView:
    table = AGMAN[number]
    levels = {name: figures[-1] / 100 for name, figures in table.rows.items()}
    rows = [row(name, level, SMALL, 3, losses=(0.04, 0.05, 0.06)) for name, level in levels.items()]
    looking = [{"neck": (np.arange(9), np.linspace(0, 1, 9))}]
    rows.append(row("frozen <b>", 0.2, SMALL, 0, pointing=looking))
    settings: dict[str, Any] = {"catalogue": "my & photos", "measure": "MAP", "chance": 0.3, "data": {}, "headings": {}}
    settings |= {"samples": 200, "pointing_chance": 0.11, "notes": ["ten minutes each"], "record": {"split": "test"}}
    return view_table(table, rows, **(settings | options))


@pytest.mark.parametrize("number", [2, 3, 4, 5, 7, 9])
@pytest.mark.parametrize("width", [80, 120])
def test_print_fits_and_says_all(number, width):
    found = full(number)
    text = shown(found, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    flat = " ".join(text.split())
    assert f"Table {number}: " in flat
    for each in found.rows:
        assert f"{each.figure.mean:.2f}" in flat
        assert each.published is None or f"{each.published[-1]:.2f}" in flat
    for fault in found.table.faults:
        assert " ".join(fault.split()) in flat
    assert ordering(found) in flat
    assert "26.42 M" in flat
    assert "ten minutes each" in flat


def test_noise_is_said_where_it_is():
    text = shown(view(AGMAN[2], LEVELS | {"ASENet_V2": 0.63}, SMALL), 80)
    assert text.count("within noise") == 3, "at the row, at the claim, in the summary"
    assert "doubtful" not in text
    assert "60.76" in text


def test_doubtful_figures_are_marked():
    text = shown(full(3), 80)
    assert "6.81*" in text
    assert "* doubtful in print" in text


class _Page:
    """A page as a browser would see it: well-formed, and nothing from elsewhere."""

    def __init__(self, path: Path) -> None:
        self.text = path.read_text(encoding="utf-8")
        body = self.text[self.text.index("<body>") :].replace("</html>", "")
        self.tree = ET.fromstring(re.sub(r"<(meta|br|img)([^>]*)>", r"<\1\2/>", body))

    def words(self) -> str:
        return " ".join("".join(self.tree.itertext()).split())


@pytest.mark.parametrize("number", [2, 3, 4, 5, 8, 10])
def test_the_page_is_whole(number, tmp_path):
    found = full(number)
    page = _Page(write_comparison(tmp_path / "table.html", found))
    words = page.words()
    assert f"Table {number}: {found.table.title}" in words
    for each in found.rows:
        assert f"{each.figure.mean:.2f}" in words
        assert each.recipe in words
    assert "my & photos" in words
    assert "frozen <b>" in words
    assert ordering(found) in words
    assert f"published{' accuracy' if number == 4 else ''}, on {found.table.dataset}" in words
    for fault in found.table.faults:
        assert fault in words
    assert not re.search(r"(src|href|url)\s*[=(]\s*[\"']?(http|//)", page.text)
    assert "<script" not in page.text
    assert "prefers-color-scheme: dark" in page.text
    plots = page.tree.findall(".//svg[@class]")
    assert len(plots) == len(found.rows) + len(found.claims)
    assert all(plot.get("aria-hidden") == "true" for plot in plots)
    for place in re.findall(r"(?:x|cx|x1|x2)=\"([\d.]+)%\"", page.text):
        assert 0 <= float(place) <= 100


def test_print_beside_measured_on_the_paper_s_data(tmp_path):
    heads = {name: name for name in FASHIONAI_QUERIES}
    found = view(AGMAN[2], LEVELS, data=PAPERS, headings=heads)
    page = _Page(write_comparison(tmp_path / "table.html", found))
    assert "printed 59.59" in page.words()
    assert "diamond: as printed" in page.words()
    assert page.text.count('class="print"') == 4


def items(
    seeds: int = 2, names: tuple[str, ...] = ("Single-Branch", "Single-Branch + Spatial Atten.", "AHBN")
) -> TableView:
    """A table of items: 300 queries, of which the K decides how many are found; the last row finds the most."""
    rows = []
    for place, name in enumerate(names):
        runs = []
        for seed in range(seeds):
            rank = np.random.default_rng([seed, place]).permutation(300) // (place + 2)
            runs.append({f"Acc@{k}": (np.arange(300), rank < k) for k in AT})
        branches = [{"tag mAP": 60.0 + seed, "landmark error": 5.0} for seed in range(seeds)] if name == "AHBN" else []
        rows.append(MeasuredRow(name, ITEM_RECIPES[name], runs, tuple(range(seeds)), COST, branches=branches))
    chances = {f"Acc@{k}": k / 300 for k in AT}
    settings: dict[str, Any] = {"measure": "Acc@20", "chance": 20 / 300, "headings": {}, "data": {}, "samples": 200}
    return view_table(AHBN, rows, catalogue="shop", headline="Acc@20", chances=chances, **settings)


AT = (1, 10, 20, 30, 40, 50)


def test_items_are_told_at_the_headline():
    found = items()
    assert (found.asked, found.unit, found.main) == (300, "queries", "AHBN")
    first, _, main = found.rows
    for place, each in enumerate(found.rows):
        expected = [100 * k * (place + 2) / 300 for k in AT]
        assert [each.attributes[f"Acc@{k}"].mean for k in AT] == pytest.approx(expected)
        assert each.figure == each.attributes["Acc@20"]
        assert each.runs == pytest.approx((expected[2], expected[2]))
    assert first.difference is not None
    assert first.difference.mean == pytest.approx(100 * (40 - 80) / 300)
    assert first.difference.high < 0
    assert main.branches == {"tag mAP": 60.5, "landmark error": 5.0}
    verdicts = {(one.better, one.worse): (one.verdict, one.printed) for one in found.claims}
    assert verdicts == {
        ("Single-Branch", "Single-Branch + Spatial Atten."): ("reversed", None),
        ("AHBN", "Single-Branch"): ("holds", None),
    }
    assert "fewer than" not in "".join(found.notes)


@pytest.mark.parametrize("width", [80, 120])
def test_items_print_every_k_and_nothing_of_print(width):
    found = items()
    text = shown(found, width)
    assert max(map(len, text.splitlines())) <= width
    flat = " ".join(text.split())
    assert "AHBN's table I: parts of AHBN; Acc@20 in percent on shop" in flat
    assert "300 test queries" in flat
    assert flat.count("not known") == 3
    assert "in print" not in flat
    for each in found.rows:
        for figure in each.attributes.values():
            assert f"{figure.mean:.2f}" in flat
            assert f"{figure.low:.1f}–{figure.high:.1f}" in flat
    assert "60.50" in flat
    assert len(re.findall(r" 10\.0 *$", text, re.MULTILINE)) == len(found.rows), "the last cost is not cut off"


def test_the_page_of_items_is_whole(tmp_path):
    found = items()
    page = _Page(write_comparison(tmp_path / "ahbn.html", found))
    words = page.words()
    for text in ("AHBN's table I: parts of AHBN", "What the paper prints is not known", "Accuracy at K", "tag mAP"):
        assert text in words
    assert words.count("not known") == 4, "of each row, and once above"
    assert "in print" not in words
    for line in page.tree.findall(".//table"):
        rows = line.findall(".//tr")
        assert len({len(row) for row in rows}) == 1, "every line has a cell under every heading"
    data = found.to_dict()
    assert json.loads(json.dumps(data)) == data
    assert {row["published"] for row in data["rows"].values()} == {"not known"}
    assert data["chances"]["Acc@30"] == 10.0
    assert data["claims"][0]["printed_difference"] is None


def test_queries_that_a_run_of_items_lacks_count_once():
    whole = MeasuredRow("AHBN", "ahbn", [{f"Acc@{k}": (np.arange(40), np.arange(40) < k) for k in AT}], (0,))
    short = MeasuredRow("sum", "ahbn-sum", [{f"Acc@{k}": (np.arange(35), np.arange(35) < k) for k in AT}], (0,))
    settings: dict[str, Any] = {"catalogue": "c", "measure": "Acc@20", "chance": 0.3, "headings": {}, "data": {}}
    found = view_table(AHBN, [whole, short], headline="Acc@20", **settings)
    assert any(note.startswith("5 queries that some run did not answer") for note in found.notes)
