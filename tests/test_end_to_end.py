"""Every verb from its command line to its result, on drawn garments."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import lapel
from lapel import cli
from lapel.catalogue import Catalogue


def run_cli(*argv: object) -> int:
    return cli.main([str(word) for word in argv])


def test_data_check_tells_what_can_be_trained(garments: Catalogue, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("data", "check", garments.root, "--quiet", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {"colour", "category"} <= set(found["trainable"])


def test_evaluate_prints_the_table_and_writes_the_record(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli("evaluate", trained, "--split", "train", "--json", tmp_path / "result.json", "--quiet") == 0
    assert "overall" in capsys.readouterr().out
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["result"]["overall"]["map"] > written["result"]["overall"]["chance"]
    assert written["protocol"]["split"] == "train"
    assert written["protocol"]["fingerprint"] == lapel.load(trained).fingerprint


def test_search_prints_hits_draws_a_sheet_and_agrees_with_python(
    garments: Catalogue, indexed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = garments.paths()[0]
    argv = ("search", indexed, picture, "--attribute", "colour", "--attribute", "pattern=-0.5", "--top", 5)
    assert run_cli(*argv, "--where", "category != 'skirt'", "--json", "--sheet", tmp_path / "sheet.png") == 0
    printed = json.loads(capsys.readouterr().out)
    hits = lapel.Index.open(indexed).search(
        picture, weights={"colour": 1, "pattern": -0.5}, k=5, where="category != 'skirt'"
    )
    assert [hit["image"] for hit in printed] == [hit.image for hit in hits]
    for hit in hits:
        assert hit.score == pytest.approx(hit.scores["colour"] - 0.5 * hit.scores["pattern"], abs=1e-5)
        assert hit.labels["category"] != ("skirt",)
    assert Image.open(tmp_path / "sheet.png").width > 200


def test_the_query_encoder_agrees_with_torch(garments: Catalogue, trained: Path, indexed: Path) -> None:
    paths = garments.paths()[:6]
    embedder = lapel.load(trained)
    exact = embedder.embed(paths)
    index = lapel.Index.open(indexed)
    light = np.stack([index.encode(path) for path in paths])
    assert (indexed / "query.onnx").is_file()
    assert (exact * light).sum(-1).min() > 0.999
    place = embedder.attributes.index("pattern")
    np.testing.assert_allclose(embedder.embed(paths[:2], ["pattern"])[:, 0], exact[:2, place], atol=1e-5)
    # The indexed vectors are the embedder's: an image finds itself, and nothing that is nearer.
    scores = {hit.image: hit.score for hit in index.search(paths[0], k=len(index))}
    assert scores[str(paths[0])] == pytest.approx(len(embedder.attributes), abs=3e-2)
    assert max(scores.values()) <= scores[str(paths[0])] + 3e-2


def test_an_index_of_another_run_is_refused_by_name(
    garments: Catalogue,
    trained: Path,
    indexed: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tiny: tuple[str, ...],
) -> None:
    from lapel.config import load_recipe
    from lapel.training import train

    other = train(
        load_recipe("demo", [f"data.catalogue={garments.root}", *tiny, "training.epochs=1", "training.seed=7"]),
        tmp_path / "other",
        quiet=True,
    )
    picture = garments.paths()[0]
    assert run_cli("search", indexed, picture, "--run", other) == 2
    message = capsys.readouterr().err
    assert str(other) in message
    assert str(trained) in message
    assert run_cli("index", garments.root, "--run", other, "--to", indexed, "--quiet") == 2
    assert str(other) in capsys.readouterr().err


def test_train_resumes_and_refuses_to_overwrite(
    garments: Catalogue, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny: tuple[str, ...]
) -> None:
    settings = [word for setting in (f"data.catalogue={garments.root}", *tiny) for word in ("--set", setting)]
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    assert run_cli("train", "demo", *settings, "--to", run, "--quiet") == 2
    assert "--resume" in capsys.readouterr().err
    before = lapel.load(run).fingerprint
    assert run_cli("train", "demo", *settings, "--to", run, "--resume", "--quiet") == 0
    assert lapel.load(run).fingerprint == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run: (run / "config.json").unlink(), "is not a run folder"),
        (lambda run: shutil.rmtree(run), "no run folder at"),
        (lambda run: flip_a_byte(run / "model.safetensors"), "altered after training"),
        (lambda run: (run / "model.safetensors").write_bytes(b"x" * 100), "is not a safetensors file"),
        (lambda run: (run / "model.safetensors").unlink(), "has no model.safetensors"),
        (lambda run: (run / "config.json").write_text("{"), "is damaged"),
        (lambda run: edit(run / "config.json", '"letterbox"', '"crop"'), "altered after training"),
    ],
)
def test_damaged_runs_are_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any, message: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    change(run)
    assert run_cli("evaluate", run, "--quiet") == 2
    assert message in capsys.readouterr().err


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_demonstration_leaves_a_page_and_goes_on_where_it_was(tmp_path: Path, tiny: tuple[str, ...]) -> None:
    from lapel.demo import demo

    page = demo(tmp_path / "demo", quiet=True, items=24, settings=(*tiny, "training.epochs=1"))
    text = page.read_text()
    assert text.count("data:image/jpeg;base64") >= 12  # a query, its attention and ten results
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "lapel train laptop" in text
    weights = (tmp_path / "demo" / "run" / "model.safetensors").read_bytes()
    assert demo(tmp_path / "demo", quiet=True, items=24, settings=(*tiny, "training.epochs=1")) == page
    assert (tmp_path / "demo" / "run" / "model.safetensors").read_bytes() == weights


def test_a_box_crops_the_query(garments: Catalogue, indexed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, box = garments.paths()[0], garments.boxes()[0]
    assert box is not None
    index = lapel.Index.open(indexed)
    inside = index.encode(path, box)
    # The catalogue has boxes, so its vectors are those of the cropped garment.
    stored = index.vectors(garments.images["image"][0].as_py())
    assert (inside * stored).sum(-1).min() > 0.999
    assert not np.allclose(index.encode(path), inside, atol=1e-3)
    argv = ("search", indexed, path, "--box", " ".join(map(str, box)), "--json", "--top", 3)
    assert run_cli(*argv) == 0
    hits = json.loads(capsys.readouterr().out)
    assert [hit["image"] for hit in hits] == [hit.image for hit in index.search(path, k=3, box=box)]
    assert run_cli("search", indexed, path, "--box", "1 2 3") == 2
    assert "expected four numbers X1 Y1 X2 Y2" in capsys.readouterr().err
    assert run_cli("search", indexed, path, "--box", "9 9 5 5") == 2
    assert "box [9, 9, 5, 5] is empty" in capsys.readouterr().err
