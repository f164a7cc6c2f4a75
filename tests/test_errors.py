from __future__ import annotations

import pytest

from lapel import errors
from lapel.errors import LapelError, nearest, unknown

ATTRIBUTES = ["neckline", "colour", "sleeve_length", "sleeve_type"]


@pytest.mark.parametrize(
    ("name", "choices", "expected"),
    [
        ("neklin", ATTRIBUTES, "neckline"),
        ("NECKLINE", ATTRIBUTES, "neckline"),
        ("color", ATTRIBUTES, "colour"),
        ("sleeve_tpye", ATTRIBUTES, "sleeve_type"),
        ("V-Nek", ["V-neck", "Crew"], "V-neck"),
        ("xyz", ATTRIBUTES, None),
        ("", ATTRIBUTES, None),
        ("neckline", [], None),
    ],
)
def test_nearest(name: str, choices: list[str], expected: str | None) -> None:
    assert nearest(name, choices) == expected


@pytest.mark.parametrize(
    ("kind", "name", "choices", "message"),
    [
        (
            "attribute",
            "neklin",
            ATTRIBUTES[:2],
            "unknown attribute 'neklin'; did you mean 'neckline'? Known: neckline, colour",
        ),
        ("split", "xyz", ["train", "test"], "unknown split 'xyz'. Known: train, test"),
        ("value", 3, ["a"], "unknown value '3'. Known: a"),
        ("column", "price", [], "unknown column 'price'. Known: none"),
        ("column", "price", iter(["prices"]), "unknown column 'price'; did you mean 'prices'? Known: prices"),
    ],
)
def test_unknown_says_what_is_known_and_what_is_near(kind: str, name: object, choices: list[str], message: str) -> None:
    assert unknown(kind, name, choices) == message


def test_a_long_list_is_cut_and_counted() -> None:
    message = unknown("trunk", "resnet51", [f"resnet{n}" for n in range(100, 160)], limit=3)
    assert message.endswith("Known: resnet100, resnet101, resnet102, ... (60 in all)")


def test_every_error_is_a_lapel_error() -> None:
    found = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, Exception)]
    assert len(found) >= 6
    for error in found:
        assert issubclass(error, LapelError)
        assert error.__doc__
