"""Printed tables: as the papers', at several widths, with what was left out; and several systems side by side."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from lapel.evaluation.instances import GroupResult, ItemResult
from lapel.evaluation.metrics import Interval
from lapel.evaluation.protocols import AttributeResult, RetrievalResult
from lapel.evaluation.published import AGMAN, FASHIONAI_QUERIES
from lapel.evaluation.ranking import Ranks
from lapel.evaluation.tables import print_result, print_systems, print_table
from lapel.evaluation.triplets import TripletResult, TripletsResult
from lapel.protocol import AttributeProtocol, ItemProtocol, TripletProtocol


def row(attribute: str, value: float, queries: int = 40, hopeless: int = 0, missing: int = 0) -> AttributeResult:
    aps, rows = np.full(queries, value), np.arange(queries)
    ends = (value, value - 0.05, value + 0.05)
    return AttributeResult(attribute, *ends, 0.25, queries, 160, hopeless, missing, aps, rows)


def result(value: float = 0.628788) -> RetrievalResult:
    rows = (row("neckline", value, hopeless=2), row("sleeve_length", value / 2, queries=10, missing=3))
    reasons = {"collar": "0 labelled images, needs at least 2"}
    return RetrievalResult(rows, value * 0.9, value * 0.8, value, 0.2, "drawn: share 0.2", reasons)


def printed(draw, *arguments, width=140, **options) -> list[str]:
    stream = io.StringIO()
    draw(*arguments, console=Console(file=stream, width=width), **options)
    return stream.getvalue().splitlines()


def test_table_of_one_system():
    lines = printed(print_table, result(), title="On [test]")
    text = "\n".join(lines)
    assert [word in text for word in ("Attribute", "MAP", "95 %", "chance", "queries", "candidates")] == [True] * 6
    cells = {line.split("│")[1].strip(): line.split("│")[2:-1] for line in lines if line.count("│") > 5}
    assert [cell.strip() for cell in cells["neckline"]] == ["62.88", "57.9 - 67.9", "25.00", "40", "160"]
    assert [cell.strip() for cell in cells["overall"]] == ["56.59", "50.3 - 62.9", "20.00", "50", ""]
    assert list(cells)[-1] == "overall"
    assert "collar not evaluated: 0 labelled images, needs at least 2" in lines
    assert "neckline: 2 queries have no relevant candidate and count as 0" in lines
    assert "sleeve_length: 3 images without an embedding were left out" in lines


def test_table_of_several_systems():
    fewer = result(0.5)
    fewer = RetrievalResult(fewer.attributes[:1], 0.5, 0.4, 0.6, 0.25, "drawn")
    lines = printed(print_systems, {"frozen trunk": fewer, "ours": result()})
    cells = {line.split("│")[1].strip(): line.split("│")[2:-1] for line in lines if line.count("│") > 3}
    assert [cell.strip() for cell in cells["neckline"]] == [
        "40",
        "25.00",
        "50.00 (45.0 - 55.0)",
        "62.88 (57.9 - 67.9)",
    ]
    assert [cell.strip() for cell in cells["sleeve_length"]][2:] == ["-", "31.44 (26.4 - 36.4)"]
    assert list(cells)[-1] == "overall"
    with pytest.raises(ValueError, match="no system"):
        print_systems({})


HEADINGS = tuple((f"{heading.lower()} as labelled", heading) for heading in FASHIONAI_QUERIES)
PAPER = AttributeProtocol(headings=HEADINGS)


def fashionai(**change) -> RetrievalResult:
    """The paper's own figures as a result."""
    *maps, printed = AGMAN[2].rows["AG-MAN"]
    named = zip(HEADINGS, maps, FASHIONAI_QUERIES.values(), strict=True)
    rows = tuple(row(attribute, value / 100, queries) for (attribute, _), value, queries in named)
    fine = {"attributes": rows, "map": printed / 100, "low": 0.61, "high": 0.64, "chance": 0.2, "query_source": "lists"}
    return RetrievalResult(**(fine | change))


def cells(lines: list[str], name: str) -> list[str]:
    (line,) = [line for line in lines if line.strip().startswith(name)]
    return line.strip().removeprefix(name).split()


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_papers_table_in_its_order(width):
    lines = printed(print_result, fashionai(), PAPER, width=width, name="agman")
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)
    assert lines[0].split() == [*FASHIONAI_QUERIES, "MAP"]
    assert cells(lines, "agman") == [f"{value:.2f}" for value in AGMAN[2].rows["AG-MAN"]]
    assert cells(lines, "chance") == ["25.00"] * 8 + ["20.00"]
    assert cells(lines, "queries") == [*map(str, FASHIONAI_QUERIES.values()), "3,600"]
    ends = cells(lines, "95 %")
    if width == 80:  # on two lines
        assert ends[-1] == "61.0-"
        after = lines[[line.startswith("95 %") for line in lines].index(True) + 1].split()
        assert (len(after), after[-1]) == (9, "64.0")
    else:
        assert ends[-1] == "61.0-64.0"
        assert ends[0] == "60.6-70.6"


def test_the_papers_table_turned_on_its_side_where_it_does_not_fit():
    lines = printed(print_result, fashionai(), PAPER, width=60, name="agman")
    rows = {line.split("│")[1].strip(): line.split("│")[2:-1] for line in lines if "│" in line}
    assert list(rows) == [*FASHIONAI_QUERIES, "MAP"]
    assert [cell.strip() for cell in rows["MAP"]] == ["62.88", "61.0-64.0", "20.00", "3,600"]


def test_attributes_beside_the_paper_are_told_apart():
    lines = printed(print_result, fashionai(beside=(row("hem", 0.5),)), PAPER)
    at = lines.index("measured beside: not in the paper's table, not in its MAP")
    assert "hem" not in " ".join(lines[:at])
    assert any("hem" in line and "50.00" in line for line in lines[at:])
    lines = printed(print_result, fashionai(attributes=(*fashionai().attributes[1:], row("hem", 0.5))), PAPER)
    assert cells(lines, "this run")[0] == "-"
    assert (
        "MAP is over 7 of the table's 8 columns, and over hem besides: it compares with no published average" in lines
    )
    assert "not in the paper's table, but in this MAP" in lines


def test_a_result_without_the_papers_attributes_is_a_plain_table():
    assert printed(print_result, result(), PAPER) == printed(print_table, result())
    assert printed(print_result, result()) == printed(print_table, result())


def test_long_names_give_way():
    (line,) = [line for line in printed(print_result, fashionai(), PAPER, width=80, name="run" * 30) if "run" in line]
    assert line.split()[0].endswith("…")
    assert len(line.split()) == 10


def test_listed_on_both_sides_is_noted():
    shared = AttributeResult("hem", 0.5, 0.4, 0.6, 0.2, 3, 4, 0, 0, np.zeros(3), np.arange(3), 2)
    lines = printed(print_table, RetrievalResult((shared,), 0.5, 0.4, 0.6, 0.2, "lists"))
    assert "hem: 2 images are listed as query and as candidate, and find themselves" in lines


def test_triplets_as_table_4():
    each = {
        "heel [in]": TripletResult(0.9, 0.85, 0.95, 0.05, 400, 3),
        "closure": TripletResult(0.8, 0.7, 0.9, 0.1, 1600),
    }
    overall = TripletResult(0.82, 0.8, 0.84, 0.09, 2000, 3)
    found = TripletsResult(each, overall, 0.2, "triplets", {"toe": "no triplets of it in split 'test'"})
    lines = printed(print_result, found, TripletProtocol(), width=80)
    rows = {
        line.split("│")[1].strip(): [cell.strip() for cell in line.split("│")[2:-1]] for line in lines if "│" in line
    }
    assert rows["heel [in]"] == ["0.0500", "90.00", "85.0 - 95.0", "400"]
    assert list(rows) == ["heel [in]", "closure", "overall"]
    assert rows["overall"] == ["0.0900", "82.00", "80.0 - 84.0", "2,000"]
    heads = [line for line in lines if "Average loss" in line]
    assert heads[0].index("Average loss") < heads[0].index("Accuracy (%)")
    assert "toe not evaluated: no triplets of it in split 'test'" in lines
    assert "heel [in]: 3 triplets name an image without an embedding and were left out" in lines


KS = (1, 10, 20, 30, 40, 50)


def group(start: float, queries: int, gallery: int = 12612) -> GroupResult:
    accuracy = tuple(
        Interval(start + 0.05 * step, start + 0.05 * step - 0.01, start + 0.05 * step + 0.01) for step in range(6)
    )
    return GroupResult(queries, gallery, 2, accuracy, tuple(k / 1000 for k in KS))


def items(**change) -> ItemResult:
    ranks, every = Ranks(*(np.ones(3, np.int64) for _ in range(3))), group(0.6, 14218)
    fine = {"ks": KS, "accuracy": every.accuracy, "chance": every.chance, "queries": 14218, "gallery": 12612}
    return ItemResult(**(fine | {"hopeless": 0, "missing": 0, "ranks": ranks, "rows": np.arange(3)} | change))


@pytest.mark.parametrize("width", [80, 120])
def test_accuracy_at_every_k(width):
    groups = {
        "pose": {"front": group(0.5, 2865), "side": group(0.6, 2466)},
        "category": {"WOMEN Blouses_Shirts": group(0.7, 9)},
    }
    found = items(
        groups=groups,
        distractors={100000: (0.5,) * 6, 100: (0.9,) * 6},
        hopeless=3,
        missing=1,
        notes={"queries_without_item": 4},
    )
    lines = printed(print_result, found, ItemProtocol(groups=("pose", "category")), width=width, name="ahbn")
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)
    assert lines[0].split() == [f"Acc@{k}" for k in KS]
    assert cells(lines, "ahbn") == ["60.00", "65.00", "70.00", "75.00", "80.00", "85.00"]
    assert cells(lines, "95 %")[0] == "59.0-61.0"
    assert cells(lines, "chance") == ["0.10", "1.00", "2.00", "3.00", "4.00", "5.00"]
    assert "14,218 queries, a gallery of 12,612" in lines
    at = lines.index("by pose of the query")
    assert lines[at + 1].split() == [
        "queries",
        "Acc@1",
        "Acc@10",
        "Acc@20*",
        "Acc@30",
        "Acc@40",
        "Acc@50",
        "95",
        "%",
        "*",
    ]
    assert cells(lines, "front") == ["2,865", "50.00", "55.00", "60.00", "65.00", "70.00", "75.00", "59.0-61.0"]
    assert cells(lines, "WOMEN Blouses_Shirts")[0] == "9"
    assert "* at K = 20, the figure that stands for the whole" in lines
    at = lines.index("expected accuracy with so many distractors drawn into the gallery")
    assert [line.split()[0] for line in lines[at + 3 : at + 5]] == ["100", "100,000"]
    assert "3 queries have no relevant image in the gallery and count as misses" in lines
    assert "1 images without an embedding were left out" in lines
    assert "left out: 4 queries without item" in lines


def test_a_row_per_category_against_its_own_gallery():
    within = {"dresses": group(0.4, 3292, 169733), "tops": group(0.3, 763, 68418)}
    protocol = ItemProtocol(within="category", headline=50)
    lines = printed(print_result, items(within=within), protocol, width=80)
    assert "14,218 queries, a gallery of 12,612, each against its own category's" in lines
    at = lines.index("by category, each against its own gallery")
    assert lines[at + 1].split()[:3] == ["queries", "gallery", "Acc@1"]
    assert "Acc@50*" in lines[at + 1]
    assert cells(lines, "dresses")[:3] == ["3,292", "169,733", "40.00"]
    assert cells(lines, "tops")[-1] == "54.0-56.0"


def test_accuracy_on_its_side_where_it_does_not_fit():
    lines = printed(print_result, items(), width=50, name="ahbn")
    rows = {
        line.split("│")[1].strip(): [cell.strip() for cell in line.split("│")[2:-1]] for line in lines if "│" in line
    }
    assert list(rows) == [f"Acc@{k}" for k in KS]
    assert rows["Acc@20"] == ["70.00", "69.0-71.0", "2.00"]


LONG = "an attribute with a very long name, of the garment's lower back (inside)"


@pytest.mark.parametrize("width", [50, 60, 80, 100, 200])
def test_names_give_way_and_never_figures(width):
    """Whatever the names and however many columns: every figure is there, whole, and so is every name."""
    rows = tuple(row(f"{LONG} {number}", 0.1 + number / 10, 12345) for number in range(5))
    many = RetrievalResult(rows, 0.4321, 0.4, 0.5, 0.2, "drawn")
    triplets = {rows[0].attribute: TripletResult(0.9, 0.85, 0.95, 0.05, 40000)}
    told = TripletsResult(triplets, TripletResult(0.8765, 0.85, 0.95, 0.06, 40000), 0.2, "triplets")
    groups = {"pose": {f"{LONG} {number}": group(number / 100, 1000 + number) for number in range(23)}}
    ks = tuple(range(1, 31))
    every = tuple(Interval(k / 100, 0.1, 0.9) for k in ks)
    split = {"part": {str(number): GroupResult(number, 9, 0, every, (0.0,) * 30) for number in range(100, 130)}}
    wide = ItemResult(ks, every, (0.0,) * 30, 3, 9, 0, 0, items().ranks, np.arange(3), {}, split)
    expected = [
        (many, ["43.21", "12345", *(f"{10 + 10 * number}.00" for number in range(5))]),
        (told, ["87.65", "0.0600", "90.00", "40,000"]),
        (items(groups=groups), [f"1,0{number:02}" for number in range(23)] + ["26.00", "47.00"]),
        (wide, [*map(str, range(100, 130)), "95 % *", *(f"{k}.00" for k in ks), *(f"Acc@{k}" for k in ks)]),
    ]
    for found, figures in expected:
        lines = printed(print_result, found, width=width)
        assert max(map(len, lines)) <= width
        text = "\n".join(lines)
        assert "…" not in text
        assert [figure for figure in figures if figure not in text] == []
    assert text.count("30.00") == 31  # once for all, once for each group


def test_an_attribute_called_overall_is_told_from_the_average():
    lines = printed(print_table, RetrievalResult((row("overall", 0.5),), 0.25, 0.2, 0.3, 0.2, "drawn"))
    assert any("overall" in line and "50.00" in line for line in lines)
    assert any("all together" in line and "25.00" in line for line in lines)
