"""What a person gets wrong, through the command line: (what was done, what is said). No traceback, exit status 2."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from lapel import cli
from lapel.catalogue import Catalogue


@dataclass(frozen=True)
class Desk:
    """What the cases have at hand; ``own`` is a fresh folder."""

    own: Path
    garments: Path
    run: Path
    index: Path
    picture: Path

    def table(self, text: str) -> Path:
        path = self.own / "catalogue.csv"
        path.write_text(text)
        return path

    def changed(self, old: str, new: str) -> Path:
        """A copy of the drawn catalogue's table with something replaced in it, its pictures named absolutely."""
        text = (self.garments / "catalogue.csv").read_text().replace("images/", f"{self.garments}/images/")
        assert old in text
        return self.table(text.replace(old, new))

    def copy(self, of: Path) -> Path:
        shutil.copytree(of, self.own / "copy")
        return self.own / "copy"

    def train(self, catalogue: Path, *settings: str) -> list[str]:
        words = ["train", "demo", "--quiet", "--to", str(self.own / "new"), "--set", f"data.catalogue={catalogue}"]
        small = ("training.epochs=1", "image.height=64", "image.width=48", *settings)
        return words + [word for setting in small for word in ("--set", setting)]


def tampered(run: Path) -> Path:
    path = run / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    return run


def without_images(desk: Desk) -> Path:
    rows = "\n".join(f"gone{number}.jpg,{'train' if number < 8 else 'val'},{'ab'[number % 2]}" for number in range(16))
    return desk.table(f"image,split,fit\n{rows}\n")


CASES: list[tuple[str, Callable[[Desk], list[str]], str]] = [
    (
        "missing column",
        lambda d: d.train(d.table("photo,fit\na.jpg,slim\n")),
        "has no column 'image'; found: photo, fit",
    ),
    ("missing file", lambda d: d.train(d.own / "nowhere.csv"), "no catalogue at"),
    ("unreadable images", lambda d: d.train(without_images(d)), "cannot be read, more than the 5.0% allowed"),
    ("unknown attribute", lambda d: d.train(d.garments, "data.attributes=neklin"), "did you mean 'neckline'?"),
    (
        "unknown attribute in a search",
        lambda d: ["search", str(d.index), str(d.picture), "--attribute", "colur"],
        "did you mean 'colour'?",
    ),
    (
        "one-valued attribute",
        lambda d: d.train(
            d.table("image,split,fit\n" + "a.jpg,train,slim\n" * 4 + "b.jpg,val,slim\n"), "data.attributes=fit"
        ),
        "attribute 'fit' cannot be trained",
    ),
    ("empty split", lambda d: ["evaluate", str(d.run), "--split", "tset", "--quiet"], "did you mean 'test'?"),
    ("empty training split", lambda d: d.train(d.changed(",train,", ",test,")), "empty split 'train'"),
    ("wrong recipe key", lambda d: d.train(d.garments, "training.epoch=3"), "did you mean 'training.epochs'?"),
    (
        "wrong recipe value",
        lambda d: d.train(d.garments, "training.epochs=many"),
        "expected training.epochs to be a whole number",
    ),
    ("no such recipe", lambda d: ["train", "lapotp"], "did you mean 'laptop'?"),
    ("not a run folder", lambda d: ["evaluate", str(d.garments), "--quiet"], "is not a run folder"),
    ("tampered weights", lambda d: ["evaluate", str(tampered(d.copy(d.run))), "--quiet"], "altered after training"),
    ("not an index", lambda d: ["search", str(d.run), str(d.picture)], "is not an index"),
    ("query is no image", lambda d: ["search", str(d.index), str(d.garments / "catalogue.csv")], "not an image"),
    ("query is missing", lambda d: ["search", str(d.index), "nowhere.jpg"], "no such file"),
    (
        "unknown filter column",
        lambda d: ["search", str(d.index), str(d.picture), "--where", "color = 'red'"],
        "did you mean 'colour'?",
    ),
    (
        "bad filter",
        lambda d: ["search", str(d.index), str(d.picture), "--where", "colour = = 'red'"],
        "^",
    ),
    (
        "index into another folder's files",
        lambda d: ["index", str(d.garments), "--run", str(d.run), "--to", str(d.run), "--quiet"],
        "is not an index and holds other files",
    ),
]


@pytest.fixture
def desk(garments: Catalogue, trained: Path, indexed: Path, tmp_path: Path) -> Desk:
    return Desk(tmp_path, garments.root, trained, indexed, garments.paths()[0])


@pytest.mark.parametrize(("words", "message"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_bad_input_is_told(
    desk: Desk, capsys: pytest.CaptureFixture[str], words: Callable[[Desk], list[str]], message: str
) -> None:
    assert cli.main(words(desk)) == 2
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told


def test_a_full_disk_is_told_and_the_old_result_stays(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = desk.own / "result.json"
    result.write_text("old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert cli.main(["evaluate", str(desk.run), "--split", "train", "--json", str(result), "--quiet"]) == 2
    assert "disk full" in capsys.readouterr().err
    assert result.read_text() == "old"
    assert [path.name for path in desk.own.iterdir()] == ["result.json"]
