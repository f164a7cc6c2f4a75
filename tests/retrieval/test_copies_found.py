"""What was found, as CSV and in words."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lapel.retrieval.copies_found import Copies, Group, Pair, differences, table
from lapel.retrieval.hits import Entry


def entry(name: str, item: str | None = None, **labels: tuple[str, ...]) -> Entry:
    return Entry(name, f"photos/{name}", item, {"price": 1}, labels)


A, B = entry("a, 1.jpg", "A", colour=("Red",), fit=("Slim", "Long")), entry("b.jpg", "B", colour=("Blue",))
C, D = entry("c.jpg", None, colour=("Red",), fit=("Long", "Slim")), entry("d.jpg", "A")
ONE = Pair(A, B, 0.987654321, 5.43219, {"pattern": 0.99, "colour": 0.5})
TWO = Pair(A, C, 0.9, 4.0, {"pattern": 0.9, "colour": 0.8}, same_file=True)


def found(**changes: Any) -> Copies:
    plain = Copies(
        folder=Path("shop"),
        against=None,
        images=(4, None),
        weights={"pattern": 1.0, "colour": 0.0},
        threshold=None,
        nearness=4.0,
        neighbours=20,
        within_item=False,
        exact=[Group((A, C, D))],
        pairs=[ONE, TWO],
        groups=[Group((A, B), pairs=(ONE,)), Group((A, C), pairs=(TWO,))],
        total=2,
    )
    return replace(plain, **changes)


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_line_per_pair() -> None:
    rows = read(table(found()))
    assert [(row["kind"], row["group"], row["first"], row["second"]) for row in rows] == [
        ("file", "1", "a, 1.jpg", "c.jpg"),
        ("file", "1", "a, 1.jpg", "d.jpg"),
        ("look-alike", "2", "a, 1.jpg", "b.jpg"),
        ("look-alike", "3", "a, 1.jpg", "c.jpg"),
    ]
    assert rows[2] == {
        "kind": "look-alike",
        "group": "2",
        "nearness": "5.432",
        "similarity": "0.987654",
        "first": "a, 1.jpg",
        "second": "b.jpg",
        "first_item": "A",
        "second_item": "B",
        "same_file": "",
        "differs": "colour: Red | Blue",
        "cosine_pattern": "0.990000",
        "cosine_colour": "0.500000",
        "first_image": "photos/a, 1.jpg",
        "second_image": "photos/b.jpg",
    }
    assert [row["same_file"] for row in rows] == ["yes", "yes", "", "yes"]
    assert rows[0]["similarity"] == rows[0]["cosine_pattern"] == ""
    assert rows[0]["second_item"] == ""


def test_paths_can_be_left_out() -> None:
    assert "photos/" not in table(found(), paths=False)
    assert [list(row)[-1] for row in read(table(found(), paths=False))] == ["cosine_colour"] * 4


def test_every_copy_in_two_catalogues_has_a_line() -> None:
    rows = read(table(found(against=Path("other"), exact=[Group((A, B), (C, D))], groups=[])))
    assert [(row["first"], row["second"]) for row in rows] == [
        ("a, 1.jpg", "c.jpg"),
        ("a, 1.jpg", "d.jpg"),
        ("b.jpg", "c.jpg"),
    ]


def test_labels_differ_as_sets() -> None:
    assert differences(TWO) == ""
    assert ONE.differs == {"colour": (("Red",), ("Blue",))}
    assert [pair.same_item for pair in (ONE, Pair(A, D, 1, 1, {}), Pair(C, C, 1, 1, {}))] == [False, True, False]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        (
            {},
            "pairs of images, at least 4 times nearer to each other than either is to its 20th nearest.",
        ),
        (
            {"neighbours": 2, "threshold": 0.9},
            "pairs of images, at least 4 times nearer to each other than either is to its 2nd nearest and at least 0.9 "
            "alike.",
        ),
        ({"nearness": None, "threshold": 0.25}, "pairs of images, at least 0.25 alike."),
        (
            {"nearness": None, "total": None},
            "pairs of images, one among the 20 nearest of the other; here are the 2 that stand out most.",
        ),
        ({"threshold": 0.5, "nearness": None, "total": 7}, "pairs of images, at least 0.5 alike; here are the 2 that "
            "stand out most."),
        ({"nearness": None, "against": Path("x")}, "each image with its nearest of the other catalogue."),
    ],
)  # fmt: skip
def test_the_rule_in_words(changes: dict[str, Any], rule: str) -> None:
    assert found(**changes).rule == f"Look-alikes are {rule}"
