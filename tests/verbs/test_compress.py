"""``lapel compress``: what it accepts, what it prints, and that its index can be searched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lapel import Index, cli
from lapel.verbs.compress import Compress

from ..retrieval.conftest import World

Shown = pytest.CaptureFixture[str]
DIM = 16


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> World:
    """An index of 40 images, 3 attributes of 16 numbers, of which one is labelled."""
    world = World(tmp_path_factory.mktemp("shop")).fill(40)
    world.index(world.embedder(dim=DIM))
    return world


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("compress shop --to small --dim 128", Compress(Path("shop"), Path("small"), 128)),
        (
            "compress shop --to small --dim 64 --queries 50 --quiet",
            Compress(Path("shop"), Path("small"), 64, queries=50, quiet=True),
        ),
    ],
)
def test_parse(line: str, expected: Compress) -> None:
    assert cli.parse(line.split()) == expected


@pytest.mark.parametrize(
    "line", ["compress shop --to small", "compress shop --dim 8", "compress shop --to x --dim ten"]
)
def test_parse_refuses(line: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.parse(line.split())
    assert stopped.value.code == 2


def test_what_it_prints(shop: World, tmp_path: Path, capsys: Shown) -> None:
    to = tmp_path / "small"
    assert (
        cli.main(["compress", str(shop.index_path), "--to", str(to), "--dim", "8", "--queries", "20", "--quiet"]) == 0
    )
    shown = capsys.readouterr()
    heading, neckline, pattern, colour, every, sizes = shown.out.splitlines()
    assert " ".join(heading.split()) == "attribute numbers kept % queries MAP before after difference 95 % interval"
    assert neckline.split()[:4] == ["neckline", "16", "->", "8"]
    assert neckline.split()[5:] == pattern.split()[5:] == ["-"] * 5
    done = json.loads((to / "compression.json").read_text())["attributes"][2]
    lost = done["lost"]
    figures = [f"{100 * value:.2f}" for value in (done["kept"], lost["before"], lost["after"])]
    mean, low, high = (f"{100 * value:+.2f}" for value in lost["difference"])
    assert colour.split()[4:] == [figures[0], "20", *figures[1:], mean, low, "to", high]
    assert every.split() == ["all", "queries", *colour.split()[5:]]
    assert sizes == "vectors, float16: 96 -> 48 bytes a row, 0.10 -> 0.05 GB a million rows"
    assert f"the same is in {to / 'compression.json'}" in shown.err
    assert f"next: lapel search {to} IMAGE" in shown.err
    index = Index.open(to, encoder=shop.embedder(dim=DIM).embed)
    assert index.search(shop.photos / "005.jpg", k=1)[0].id == "005.jpg"


def test_nothing_is_labelled(tmp_path: Path, capsys: Shown) -> None:
    world = World(tmp_path)
    for n in range(12):
        world.add(f"{n}.jpg")
    world.index(world.embedder(dim=DIM))
    line = ["compress", str(world.index_path), "--to", str(world.root / "small"), "--dim", "8", "--quiet"]
    assert cli.main(line) == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 5
    assert "no two rows have a label in common, so there is no MAP" in shown.err


@pytest.mark.parametrize(
    ("index", "options", "message"),
    [
        ("index", "--dim 12", "expected a dim of 8, 16, 24 and so on, found 12"),
        ("index", "--dim 16", "have 16 numbers: expected a dim below that, found 16"),
        ("index", "--dim 8 --queries 0", "expected at least 1 query per attribute, found 0"),
        ("nowhere", "--dim 8", "is not an index: there is no such folder"),
    ],
)
def test_refused(shop: World, tmp_path: Path, index: str, options: str, message: str, capsys: Shown) -> None:
    line: list[Any] = ["compress", str(shop.root / index), "--to", str(tmp_path / "small"), *options.split()]
    assert cli.main(line) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("lapel: ")
    assert message in shown.err
    assert not (tmp_path / "small").exists()
