"""Evaluating a run: the table, the result file with its record, and what cannot be evaluated."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lapel.catalogue import Catalogue
from lapel.config import from_dict
from lapel.errors import CatalogueError, ImageError, LapelError, RunError
from lapel.evaluate import embed_catalogue, evaluate
from lapel.evaluation.protocols import attribute_retrieval
from lapel.images import Preprocessing
from lapel.models import build
from lapel.retrieval.embedder import load
from lapel.runs import RunConfig, save_weights

COLOURS = {"Red": (200, 30, 30), "Green": (30, 200, 30), "Blue": (30, 30, 200)}


def write_catalogue(folder: Path, rows: list[dict[str, str]]) -> Path:
    path = folder / "catalogue.csv"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    generator = np.random.default_rng(0)
    rows = []
    for number in range(36):
        colour = list(COLOURS)[number % 3]
        pixels = np.clip(np.array(COLOURS[colour]) + generator.integers(-25, 25, (40, 32, 3)), 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:02}.png")
        split = "test" if number < 30 else "train"
        cells = {"colour": colour, "size": "SML"[number % 2], "price": "9"}
        rows.append({"image": f"{number:02}.png", "item": f"i{number}", "split": split, **cells})
    return write_catalogue(folder, rows)


def make_run(folder: Path, attributes: tuple[str, ...], catalogue: Path | str = "") -> Path:
    torch.manual_seed(0)
    config = RunConfig(
        {"name": "agman", "trunk": "test_resnet", "dim": 16, "trunk_options": {}, "options": {"width": 16}},
        dict.fromkeys(attributes, ("a", "b")),
        Preprocessing(32, 32).to_dict(),
        from_dict({"data": {"catalogue": str(catalogue)}}),
        {},
    )
    config.write(folder)
    save_weights(folder, build("agman", len(attributes), "test_resnet", width=16).state_dict(), config, {})
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, catalogue: Path) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "run", ("size", "colour"), catalogue)


def test_it_is_the_protocol_on_the_embeddings(run: Path, catalogue: Path) -> None:
    result = evaluate(run, share=0.3, seed=5, quiet=True)
    chosen = Catalogue.read(catalogue).split("test")
    vectors = load(run).embed(chosen.paths())
    expected = attribute_retrieval(vectors, chosen, ["size", "colour"], share=0.3, seed=5)
    assert [found.attribute for found in result.attributes] == ["size", "colour"]
    assert result.map == pytest.approx(expected.map)
    for name in ("size", "colour"):
        assert result[name].map == pytest.approx(expected[name].map)
        assert result[name].queries == 9
        assert result[name].candidates == 21
        assert result[name].low <= result[name].map <= result[name].high
    assert not result.not_evaluated


def test_the_result_file_carries_its_record(run: Path, catalogue: Path, tmp_path: Path) -> None:
    result = evaluate(run, json=tmp_path / "out" / "result.json", quiet=True)
    data = json.loads((tmp_path / "out" / "result.json").read_text())
    text = json.dumps(data)
    assert json.dumps(round(100 * result.map, 4)) in text
    record = data["protocol"]
    assert record["split"] == "test"
    assert record["fingerprint"] == load(run).fingerprint
    assert record["run"] == str(run)
    assert record["images"] == 30
    assert record["skipped"] == []
    assert record["seed"] == 0
    for part in ("height", "resize", "share", "torch"):
        assert part in json.dumps(record), part


def test_the_same_twice(run: Path) -> None:
    assert evaluate(run, quiet=True).to_dict() == evaluate(run, quiet=True).to_dict()


def test_attributes_that_only_one_side_has(catalogue: Path, tmp_path: Path) -> None:
    result = evaluate(make_run(tmp_path / "run", ("neckline", "colour")), catalogue, quiet=True)
    assert [found.attribute for found in result.attributes] == ["colour"]
    assert result.not_evaluated == {"neckline": "not in this catalogue"}
    chosen = Catalogue.read(catalogue).split("test")
    vectors = load(tmp_path / "run").embed(chosen.paths(), attributes=["colour"])
    assert result.map == pytest.approx(attribute_retrieval(vectors, chosen, ["colour"]).map)


def test_images_that_cannot_be_read_are_left_out_and_listed(run: Path, catalogue: Path, tmp_path: Path) -> None:
    with catalogue.open() as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        row["image"] = str(catalogue.parent / row["image"])
    (tmp_path / "broken.jpg").write_text("<html>")
    rows[3]["image"] = str(tmp_path / "broken.jpg")
    changed = write_catalogue(tmp_path, rows)
    result = evaluate(run, changed, json=tmp_path / "result.json", quiet=True)
    assert sum(found.missing for found in result.attributes) == 2
    (skipped,) = json.loads((tmp_path / "result.json").read_text())["protocol"]["skipped"]
    assert skipped["image"] == str(tmp_path / "broken.jpg")
    assert skipped["reason"]
    vectors, missing = embed_catalogue(load(run), Catalogue.read(changed).split("test"), quiet=True)
    assert np.flatnonzero(missing).tolist() == [3]
    assert not vectors[3].any()
    for row in rows[:4]:
        row["image"] = str(tmp_path / "broken.jpg")
    rows = [{**row, "image": str(tmp_path / f"no{n}.jpg")} if n < 4 else row for n, row in enumerate(rows)]
    with pytest.raises(ImageError, match="cannot be read"):
        evaluate(run, write_catalogue(tmp_path, rows), quiet=True)


def test_what_cannot_be_evaluated_is_said(run: Path, catalogue: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run folder"):
        evaluate(tmp_path / "nowhere", quiet=True)
    with pytest.raises(CatalogueError, match="no catalogue at"):
        evaluate(run, tmp_path / "nowhere.csv", quiet=True)
    with pytest.raises(CatalogueError, match="'vall'"):
        evaluate(run, split="vall", quiet=True)
    other = make_run(tmp_path / "other", ("neckline", "sleeve"))
    with pytest.raises(CatalogueError, match=r"has none of the run's attributes \(neckline, sleeve\); found: .*colour"):
        evaluate(other, catalogue, quiet=True)
    alike = [{"image": str(catalogue.parent / f"{n:02}.png"), "split": "test", "colour": "Red"} for n in range(6)]
    with pytest.raises(LapelError, match=r"nothing to evaluate in catalogue .*colour: all 6 labelled images"):
        evaluate(run, write_catalogue(tmp_path, alike), quiet=True)
