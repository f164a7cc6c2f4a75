"""``lapel report`` on attribute, triplet and item catalogues, from the shell."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from lapel import cli
from lapel.catalogue import Catalogue
from lapel.errors import RunError
from lapel.evaluate import evaluate
from lapel.report.build import names_of, report
from lapel.retrieval.embedder import Embedder
from lapel.verbs.report import Report

from ..evaluation.test_page import Reader


def run_cli(*argv: object) -> int:
    return cli.main([str(word) for word in argv])


def other_run(trained: Path, to: Path) -> Path:
    shutil.copytree(trained, to)
    return to


@pytest.fixture(scope="module")
def reported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of ``trained`` beside a copy of itself, written once for this module by the command line."""
    folder = tmp_path_factory.mktemp("report")
    other = other_run(trained, folder / "other <run>")
    assert run_cli("report", trained, "--to", folder / "to", "--against", other, "--quiet") == 0
    return folder / "to"


def test_it_holds_every_section_and_needs_nothing_else(reported: Path) -> None:
    text = (reported / "report.html").read_text(encoding="utf-8")
    read = Reader(text)
    assert "http" not in text
    assert "<script" not in text
    ids = {section["id"] for section in read.all("section")}
    assert ids >= {"metrics", "curves", "figure5", "figure6", "figure7", "figure8", "figure9", "confusion", "pointing"}
    assert all((image["src"] or "").startswith("data:image/jpeg;base64,") for image in read.all("img"))
    for shown in ("overall MAP", "95 % interval", "chance", "parameters", "fingerprint", "other <run>"):
        assert shown in read.text
    assert len(text) < 8_000_000


def test_its_figures_are_pictures(reported: Path) -> None:
    names = {path.name for path in (reported / "figures").iterdir()}
    assert names >= {
        "curves.png",
        "figure7.png",
        "figure8.png",
        "figure5-colour.png",
        "figure6-colour.png",
    }
    for path in (reported / "figures").iterdir():
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert 200 < picture.width < 3000
            assert 200 < picture.height < 6000


def test_its_figures_are_those_of_evaluate(reported: Path, trained: Path) -> None:
    written = json.loads((reported / "result.json").read_text())
    result = evaluate(trained, quiet=True)
    assert written["result"] == result.to_dict()
    assert written["protocol"]["catalogue"] in (reported / "report.html").read_text()
    overall = written["result"]["overall"]["map"]
    assert f"{overall:.1f}" in Reader((reported / "report.html").read_text()).text


def test_the_same_seed_shows_the_same(trained: Path, reported: Path, tmp_path: Path) -> None:
    report(trained, to=tmp_path / "again", quiet=True)
    for name in ("figure5-colour.png", "figure7.png", "figure8.png"):
        assert (tmp_path / "again" / "figures" / name).read_bytes() == (reported / "figures" / name).read_bytes()


def test_no_image_is_embedded_twice(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = Embedder._embed

    def counted(self: Embedder, images: object, *more: object) -> object:
        seen.append(len(images))  # type: ignore[arg-type]
        return real(self, images, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Embedder, "_embed", counted)
    page = report(trained, to=tmp_path / "to", quiet=True)
    assert sum(seen) == json.loads((page.parent / "result.json").read_text())["protocol"]["images"]


def test_failures_are_shown_and_a_run_without_any_says_so(
    garments: Catalogue, trained: Path, reported: Path, tmp_path: Path
) -> None:
    assert "no query ranked a wrong image above a right one" in Reader((reported / "report.html").read_text()).text
    values = garments.labels["value"].to_pylist()
    groups: dict[str, list[int]] = {}
    for row, name in enumerate(garments.labels["attribute"].to_pylist()):
        groups.setdefault(name, []).append(row)
    for rows in groups.values():  # what is labelled has nothing to do with what is seen
        for row, other in zip(rows, np.random.default_rng(0).permutation(rows), strict=True):
            values[row] = garments.labels["value"][int(other)].as_py()
    labels = garments.labels.set_column(2, "value", pa.array(values, pa.string()))
    pages = [report(trained, replace(garments, labels=labels), tmp_path / name, quiet=True) for name in ("a", "b")]
    read = Reader(pages[0].read_text(encoding="utf-8"))
    assert "Likely reason: " in read.text
    assert "0.000 behind" not in read.text
    first, second = ((page.parent / "figures" / "figure9.png").read_bytes() for page in pages)
    assert first == second


def test_figures_of_an_earlier_report_do_not_stay(trained: Path, tmp_path: Path) -> None:
    stale, own = tmp_path / "to" / "figures" / "figure6-old.png", tmp_path / "to" / "figures" / "mine.png"
    stale.parent.mkdir(parents=True)
    stale.touch()
    own.touch()
    report(trained, to=tmp_path / "to", quiet=True)
    assert not stale.exists()
    assert own.exists()


def hostile(garments: Catalogue, folder: Path) -> Path:
    """A copy of the garments whose values and file names are made to break a page, some of them no pictures."""
    shutil.copytree(garments.root, folder)
    (folder / "regions.json").unlink()
    evil = "<img src=x onerror=alert(1)>&\"'"
    values = pa.array([f"{value} {evil}" for value in garments.labels["value"].to_pylist()], pa.string())
    names = garments.images["image"].to_pylist()
    tests = [name for name, split in zip(names, garments.images["split"].to_pylist(), strict=True) if split == "test"]
    renamed = {name: f"{name[:-4]}<b>&'.jpg" for name in names}
    for name in names:
        (folder / name).rename(folder / renamed[name])
    (folder / renamed[tests[0]]).write_text("<html>not a picture</html>")
    images = garments.images.set_column(0, "image", pa.array([renamed[name] for name in names], pa.string()))
    labels = garments.labels.set_column(2, "value", values)
    made = replace(garments, root=folder, images=images, labels=labels)
    for path in folder.glob("catalogue.*"):
        path.unlink()
    made.write(folder / "catalogue.parquet")
    return folder


def test_hostile_names_and_broken_pictures_do_no_harm(garments: Catalogue, trained: Path, tmp_path: Path) -> None:
    run = other_run(trained, tmp_path / "run <b>$title")
    config = json.loads((run / "config.json").read_text())
    config["recipe"]["data"]["max_failed"] = 0.5
    (run / "config.json").write_text(json.dumps(config))
    catalogue = hostile(garments, tmp_path / "data")
    page = report(run, catalogue, tmp_path / "to", quiet=True)
    text = page.read_text(encoding="utf-8")
    read = Reader(text)
    assert "<img src=x" not in text
    assert "<b>$" not in text
    assert "onerror=alert" in read.text
    assert "run <b>$title" in read.text
    assert all(set(image) <= {"src", "alt", "width", "height", "loading", "decoding"} for image in read.all("img"))
    assert "pointing" not in {section["id"] for section in read.all("section")}


def test_triplets_are_reported(garments: Catalogue, trained: Path, tmp_path: Path) -> None:
    table = garments.images["image"].to_pylist()
    labels = garments.multi_hot("colour")
    rows = [
        ("test", "colour", table[a], table[p], table[n])
        for a in range(0, 40, 3)
        for p in range(40)
        for n in range(0, 40, 5)
        if a != p and (labels[a] & labels[p]).any() and not (labels[a] & labels[n]).any()
    ]
    names = ("split", "attribute", "anchor", "positive", "negative")
    relation = pa.table({name: list(cells) for name, cells in zip(names, zip(*rows, strict=True), strict=True)})
    record = {"protocol": {"task": "triplets", "split": "test", "relation": "triplets"}}
    catalogue = replace(garments, record=record, relations={"triplets": relation})
    page = report(trained, catalogue, tmp_path / "to", quiet=True)
    read = Reader(page.read_text(encoding="utf-8"))
    assert "triplets told right" in read.text
    assert "of at most 400 of the catalogue's triplets" in read.text
    assert {"figure5", "figure8", "figure9"} <= {section["id"] for section in read.all("section")}


def test_items_are_reported(garments: Catalogue, trained: Path, tmp_path: Path) -> None:
    sides = {"splits": ["test", "val"], "domain": None}
    record = {"protocol": {"task": "items", "query": sides, "gallery": sides, "ks": [1, 3], "headline": 3}}
    catalogue = replace(garments, record=record)
    other = other_run(trained, tmp_path / "other")
    page = report(trained, catalogue, tmp_path / "to", [other], quiet=True)
    read = Reader(page.read_text(encoding="utf-8"))
    assert "Acc@3" in read.text
    assert (page.parent / "figures" / "figure5-item.png").is_file()
    assert (page.parent / "figures" / "figure6-item.png").is_file()


def test_a_run_with_other_attributes_is_refused_by_name(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from lapel.retrieval.embedder import load
    from lapel.runs import RunConfig, read_config, save_weights

    other, config = tmp_path / "other", read_config(trained)
    other.mkdir()
    attributes = {name if name != "colour" else "hue": values for name, values in config.attributes.items()}
    changed = RunConfig(config.model, attributes, config.preprocessing, config.recipe, config.protocol)
    changed.write(other)
    save_weights(other, load(trained).model.state_dict(), changed, {})  # type: ignore[attr-defined]
    assert run_cli("report", trained, "--against", other, "--to", tmp_path / "to", "--quiet") == 2
    message = capsys.readouterr().err
    assert f"run {other} cannot rank beside {trained}" in message
    assert "it does not know colour" in message
    assert not (tmp_path / "to").exists()
    with pytest.raises(RunError, match="no run folder"):
        report(tmp_path / "nowhere", quiet=True)


def test_a_run_is_checked_before_anything_is_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("report", tmp_path / "nowhere") == 2
    assert "no run folder" in capsys.readouterr().err
    assert run_cli("report", tmp_path / "nowhere", "--seed", -1) == 2
    assert "--seed is -1; it must be 0 or more" in capsys.readouterr().err


def test_its_options_are_read() -> None:
    assert cli.parse(["report", "run"]) == Report(Path("run"))
    words = "report run --catalogue c --to d --against a --against b --seed 3 --quiet"
    given = Report(Path("run"), Path("c"), Path("d"), (Path("a"), Path("b")), 3, True)
    assert cli.parse(words.split()) == given


def test_runs_of_one_name_are_told_apart(trained: Path, tmp_path: Path) -> None:
    others = [other_run(trained, tmp_path / number / trained.name) for number in ("a", "b")]
    page = report(trained, to=tmp_path / "to", against=others, quiet=True)
    read = Reader(page.read_text(encoding="utf-8"))
    assert all(f"{number}/{trained.name}" in read.text for number in ("a", "b"))
    assert str(tmp_path) not in read.text


@pytest.mark.parametrize(
    ("runs", "names"),
    [
        (["runs/mine"], ["mine"]),
        (["runs/agman/seed0", "runs/csn/seed0"], ["agman/seed0", "csn/seed0"]),
        (["a/x/run", "b/x/run", "b/y"], ["a/x/run", "b/x/run", "y"]),
        (["a/run", "a/run", "b"], ["run", "run", "b"]),
    ],
    ids=str,
)
def test_runs_are_called_by_what_tells_them_apart(runs: list[str], names: list[str]) -> None:
    assert names_of(runs) == names


def test_figures_of_a_sample_say_so_on_the_page_and_in_the_result(
    garments: Catalogue, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = {"splits": ["test", "val", "train"], "domain": None}
    catalogue = replace(garments, record={"protocol": {"task": "items", "query": sides, "gallery": sides, "ks": [1]}})
    monkeypatch.setattr("lapel.report.scene.SAMPLE", 30)
    page = report(trained, catalogue, tmp_path / "to", quiet=True)
    said = f"30 of the {len(garments)} images, drawn by seed 0"
    assert json.loads((page.parent / "result.json").read_text())["protocol"]["figures_by_attribute"] == said
    read = Reader(page.read_text(encoding="utf-8"))
    assert read.text.count(f"By attribute: {said}.") >= 4


def test_figures_of_all_images_say_nothing_of_a_sample(reported: Path) -> None:
    assert "figures_by_attribute" not in json.loads((reported / "result.json").read_text())["protocol"]
    assert "By attribute:" not in Reader((reported / "report.html").read_text()).text


def test_the_vectors_at_hand_serve_other_orders_and_what_is_not_at_hand(garments: Catalogue, trained: Path) -> None:
    from lapel.evaluate import embed_catalogue
    from lapel.report.build import _Known
    from lapel.retrieval.embedder import load

    embedder = load(trained)
    part = garments.take(np.arange(10))
    vectors, missing = embed_catalogue(embedder, part, quiet=True)
    known = _Known(embedder, part, vectors, missing)
    order = np.array([7, 2, 2, 9])
    found, absent = embed_catalogue(known, part.take(order), quiet=True)
    np.testing.assert_array_equal(found, vectors[order])
    assert not absent.any()
    more, _ = embed_catalogue(known, garments.take(np.arange(8, 12)), quiet=True)
    np.testing.assert_allclose(more[:2], vectors[8:], atol=1e-5)
