from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest

from lapel.errors import LapelError, SearchIndexError
from lapel.shell import fail, main_process, message_of, parse_weights, print_hits, say

Shown = pytest.CaptureFixture[str]


@dataclass(frozen=True)
class Hit:
    image: str
    item: str | None
    score: float
    scores: dict[str, float]
    metadata: dict[str, object] = field(default_factory=dict)
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    others: tuple[str, ...] = ()


HITS = [
    Hit(
        "photos/[red] 1.jpg",
        "A1",
        0.91,
        {"neckline": 0.95, "pattern": 0.87},
        {"price": 9.5},
        {"pattern": ("dot",)},
    ),
    Hit("photos/2.jpg", None, -0.5, {"neckline": -0.5, "pattern": -0.5}),
]


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ([], {}),
        (["neckline"], {"neckline": 1.0}),
        (["neckline=0.5", "pattern=-2", "colour=0"], {"neckline": 0.5, "pattern": -2.0, "colour": 0.0}),
        (["sleeve length = 1e-1"], {"sleeve length": 0.1}),
    ],
)
def test_weights(options: list[str], weights: dict[str, float]) -> None:
    assert parse_weights(options) == weights


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["neckline=much"], "weight 'neckline=much': expected NAME or NAME=NUMBER, such as neckline=0.5"),
        (["neckline="], "weight 'neckline=': expected NAME or NAME=NUMBER"),
        (["neckline=1=2"], "weight 'neckline=1=2': expected NAME or NAME=NUMBER"),
        (["=2"], "weight '=2': expected NAME or NAME=NUMBER"),
        ([""], "expected NAME or NAME=NUMBER"),
        (["neckline=nan"], "weight 'neckline=nan': expected NAME or NAME=NUMBER"),
        (["neckline=-inf"], "weight 'neckline=-inf': expected NAME or NAME=NUMBER"),
        (["a", "b", "a=2"], "'a' is given twice; give one weight per attribute"),
    ],
)
def test_wrong_weights(options: list[str], message: str) -> None:
    with pytest.raises(SearchIndexError) as error:
        parse_weights(options)
    assert message in str(error.value)


def test_hits_as_a_table(capsys: Shown) -> None:
    print_hits(HITS)
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["rank", "score", "image", "item", "neckline", "pattern"]
    assert first.split() == ["1", "0.910", "photos/[red]", "1.jpg", "A1", "0.950", "0.870"]
    assert second.split() == ["2", "-0.500", "photos/2.jpg", "-0.500", "-0.500"]


def test_grouped_hits_say_how_many_more_there_are(capsys: Shown) -> None:
    hits = [Hit("1.jpg", "A1", 0.9, {"item": 0.9}, others=("2.jpg", "3.jpg")), Hit("4.jpg", "B2", 0.5, {"item": 0.5})]
    print_hits(hits)
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["rank", "score", "image", "item", "more", "item"]
    assert first.split() == ["1", "0.900", "1.jpg", "A1", "+2", "0.900"]
    assert second.split() == ["2", "0.500", "4.jpg", "B2", "0.500"]
    print_hits(hits, as_json=True)
    assert [row["others"] for row in json.loads(capsys.readouterr().out)] == [["2.jpg", "3.jpg"], []]


def test_a_long_path_is_not_broken_in_a_pipe(capsys: Shown) -> None:
    path = "/".join(["folder"] * 40) + "/1.jpg"
    print_hits([Hit(path, None, 1.0, {"neckline": 1.0})])
    assert path in capsys.readouterr().out


def test_hits_as_json(capsys: Shown) -> None:
    print_hits(HITS, as_json=True)
    first, second = json.loads(capsys.readouterr().out)
    assert first == {
        "rank": 1,
        "image": "photos/[red] 1.jpg",
        "item": "A1",
        "score": 0.91,
        "scores": {"neckline": 0.95, "pattern": 0.87},
        "metadata": {"price": 9.5},
        "labels": {"pattern": ["dot"]},
        "others": [],
    }
    assert (second["rank"], second["item"]) == (2, None)


def test_no_hits(capsys: Shown) -> None:
    print_hits([])
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "nothing found\n")
    print_hits([], as_json=True)
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize(("rank", "speaks"), [(None, True), ("0", True), ("1", False)])
def test_one_process_speaks(rank: str | None, speaks: bool, monkeypatch: pytest.MonkeyPatch, capsys: Shown) -> None:
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    assert main_process() is speaks
    say("done")
    assert capsys.readouterr().err == ("done\n" if speaks else "")


def test_every_process_may_fail_aloud(monkeypatch: pytest.MonkeyPatch, capsys: Shown) -> None:
    monkeypatch.setenv("RANK", "1")
    assert fail("no such file", 2) == 2
    assert capsys.readouterr().err == "lapel: no such file\n"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (LapelError("expected this"), "expected this"),
        (FileNotFoundError(2, "No such file or directory", "x.csv"), "x.csv: No such file or directory"),
        (OSError("bare"), "bare"),
    ],
)
def test_message(error: LapelError | OSError, message: str) -> None:
    assert message_of(error) == message
