"""Every public format from the shell on its stand-in: drawn, checked, imported, trained on for an epoch, scored."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from lapel import cli
from lapel.catalogue import Catalogue

from .pictures import paint

SMALL = " ".join(
    f"--set {setting}"
    for setting in (
        "training.epochs=1",
        "training.batch=16",
        "training.min_steps=0",
        "image.height=48",
        "image.width=48",
        "model.options.width=16",
    )
)

# format -> the task that its protocol asks for, and what the printed table must hold
FORMATS = {
    "fashionai": ("attribute-specific retrieval", ("Skirt-l", "Neckline", "MAP")),
    "asen": ("attribute-specific retrieval", ("Skirt-l", "Neckline", "MAP")),
    "deepfashion-attributes": ("attribute-specific retrieval", ("Texture", "Style", "MAP")),
    "deepfashion-inshop": ("instance retrieval", ("Acc@1", "Acc@50", "pose", "category")),
    "deepfashion-consumer2shop": ("instance retrieval", ("Acc@1", "Acc@50")),
    "zappos50k": ("triplet prediction", ("Average loss", "Accuracy (%)")),
    "street2shop": ("instance retrieval", ("Acc@20", "dresses")),
}
RECIPES = {
    "attribute-specific retrieval": "agman",
    "triplet prediction": "agman-zappos",
    "instance retrieval": "ahbn",
}


def lapel(line: str) -> int:
    return cli.main([*shlex.split(line)])


@pytest.mark.parametrize("name", FORMATS)
def test_drawn_checked_imported_trained_scored(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    task, headings = FORMATS[name]
    items = 40 if name == "street2shop" else 16  # its one attribute is validated on a ninth of the items
    assert lapel(f"data render {name} --to data --items {items} --size 64 --quiet") == 0
    assert lapel(f"data check data --format {name} --quiet") == 0
    assert "ready to import" in capsys.readouterr().out
    root = "data/FashionAI" if name == "asen" else "data"
    assert lapel(f"data import {name} {root} --to catalogue --quiet") == 0
    assert f"next: lapel train {RECIPES[task]} --set data.catalogue=catalogue\n" in capsys.readouterr().err
    assert lapel("data check catalogue --quiet") in (0, 1)  # some public data sets do have leaks
    assert lapel(f"train demo --set data.catalogue=catalogue {SMALL} --to run --quiet") == 0
    capsys.readouterr()
    assert lapel("evaluate run --json result.json --quiet") == 0
    shown = capsys.readouterr().out
    assert [heading for heading in headings if heading not in shown] == []
    result = json.loads(Path("result.json").read_text())
    assert result["result"]["task"] == task
    assert result["protocol"]["protocol"]["task"] in ("attributes", "triplets", "items")
    assert result["protocol"]["data"]["format"] == name


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("check catalogue --variant fine", "--variant and --column are for a public data set: say which with --format"),
        ("check catalogue --column image=a", "--variant and --column are for a public data set"),
        ("check catalogue --format asen --column image=a", "asen takes no --column: that is for csv"),
        ("import fashionai catalogue --to to --variant x", "fashionai: unknown variant 'x'. Known: none"),
        ("import asen catalogue --to to --variant darn", "asen: unknown variant 'darn'; did you mean 'DARN'?"),
        ("import asn catalogue --to to", "unknown format 'asn'; did you mean 'asen'?"),
        ("import folder catalogue/a.jpg --to to", "catalogue/a.jpg is a file: expected a folder, or a zip archive"),
        ("render asn --to to", "unknown stand-in 'asn'; did you mean 'asen'?"),
        ("render asen --to catalogue", "catalogue holds files that were not drawn by Lapel: give an empty folder"),
    ],
)
def test_options_that_mean_nothing_are_told(
    line: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paint(tmp_path / "catalogue/a.jpg")
    assert lapel(f"data {line}") == 2
    assert message in capsys.readouterr().err
    assert not Path("to").exists()


def test_what_to_do_next_is_a_command_wherever_it_was_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a ü").mkdir()
    monkeypatch.chdir(tmp_path / "a ü")
    assert lapel("data render street2shop --to . --items 4 --size 32 --quiet") == 0
    told = capsys.readouterr().err.strip()
    assert told == "next: lapel data import street2shop . --to 'a ü-catalogue'"
    assert lapel(f"{told.removeprefix('next: lapel ')} --quiet") == 0
    assert len(Catalogue.read("a ü-catalogue")) > 0


def test_a_failed_import_leaves_the_catalogue_that_was_there(
    own: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, to = own("deepfashion-inshop"), tmp_path / "catalogue"
    assert lapel(f"data import deepfashion-inshop {data} --to {to} --quiet") == 0
    before = {path.name: path.read_bytes() for path in to.iterdir()}
    partition = data / "Eval" / "list_eval_partition.txt"
    partition.write_bytes(partition.read_bytes()[:-9])
    capsys.readouterr()
    assert lapel(f"data import deepfashion-inshop {data} --to {to} --quiet") == 2
    assert "list_eval_partition.txt" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in to.iterdir()} == before
    assert lapel(f"data import deepfashion-inshop {data} --to {to} --quiet --skip-faulty") == 0
    assert "left out 1" in capsys.readouterr().err
    assert "list_eval_partition.txt" in (to / "left-out.txt").read_text()
    assert len(Catalogue.read(to)) > 0
