"""Through the shell: index drawn garments by an attribute run and an item run, search by both, group by item."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lapel
from lapel import cli
from lapel.catalogue import Catalogue

from ..item_run import draw_run

Shown = pytest.CaptureFixture[str]


def run_cli(*words: object) -> int:
    return cli.main([str(word) for word in words])


@pytest.fixture(scope="module")
def items(garments: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_run(tmp_path_factory.mktemp("runs") / "items", garments)


@pytest.fixture(scope="module")
def mixed(garments: Catalogue, trained: Path, items: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("index") / "both"
    assert run_cli("index", garments.root, "--run", trained, "--run", items, "--to", to, "--quiet") == 0
    return to


def slow_scores(
    garments: Catalogue, runs: list[Path], picture: Path, weights: dict[str, float]
) -> dict[str, tuple[str, float]]:
    """Score of every image, as Python's sums of float64 cosines with the vectors rounded to float16; by its path."""
    found: dict[str, tuple[str, float]] = {}
    paths, names = garments.paths(), garments.items()
    for run in runs:
        embedder = lapel.load(run, device="cpu")
        query = embedder.embed([picture])[0].astype(float)
        ((_, vectors),) = embedder.embed_paths(paths, garments.boxes())
        for row, path in enumerate(paths):
            score = found.get(str(path), ("", 0.0))[1]
            for number, attribute in enumerate(embedder.attributes):
                theirs = vectors[row, number].astype(np.float16).astype(float)
                cosine = sum(a * b for a, b in zip(query[number], theirs, strict=True)) / np.sqrt(sum(theirs**2))
                score += weights.get(attribute, 0.0) * float(cosine)
            found[str(path)] = (str(names[row]), score)
    return found


def test_item_and_attribute_mixed_in_one_search(
    garments: Catalogue, trained: Path, items: Path, mixed: Path, capsys: Shown
) -> None:
    picture = garments.paths()[4]
    argv = ("search", mixed, picture, "--like", "item", "--attribute", "pattern=-0.5", "--top", 8)
    assert run_cli(*argv, "--json") == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    scores = slow_scores(garments, [trained, items], picture, {"item": 1.0, "pattern": -0.5})
    # ONNX and Pillow in place of torch and torchvision: pictures differ by a level here and there.
    for hit in found:
        assert hit["score"] == pytest.approx(scores[hit["image"]][1], abs=5e-3)
    best: dict[str, float] = {}
    for item, score in scores.values():
        best[item] = max(best.get(item, -9.0), score)
    expected = sorted(best.values(), reverse=True)[:8]
    np.testing.assert_allclose([hit["score"] for hit in found], expected, atol=5e-3)
    assert len({hit["item"] for hit in found}) == 8
    for hit in found:
        same = [name for name, item in zip(garments.images["image"].to_pylist(), garments.items(), strict=True)
                if item == hit["item"]]  # fmt: skip
        assert sorted([hit["id"], *hit["others"]]) == sorted(same)

    assert run_cli(*argv, "--each", "--json") == 0
    each = json.loads(capsys.readouterr().out)
    np.testing.assert_allclose(
        [hit["score"] for hit in each], sorted((score for _, score in scores.values()), reverse=True)[:8], atol=5e-3
    )
    assert all(hit["others"] == [] for hit in each)


def test_the_same_in_python_to_the_last_digits(garments: Catalogue, trained: Path, items: Path, mixed: Path) -> None:
    """With torch's own vectors in place of the stored encoders, scores are the reference's."""
    picture, weights = garments.paths()[9], {"item": 0.75, "neckline": 1.0, "colour": -0.25}
    embedders = [lapel.load(run, device="cpu") for run in (trained, items)]
    index = lapel.Index.open(mixed, encoder=[one.embed for one in embedders])
    scores = slow_scores(garments, [trained, items], picture, weights)
    hits = index.search(picture, weights, len(index), group=False)
    assert len(hits) == len(garments)
    np.testing.assert_allclose([hit.score for hit in hits], [scores[hit.image][1] for hit in hits], atol=1e-5)


def test_the_index_tells_what_to_do_next_and_keeps_both_encoders(
    garments: Catalogue, trained: Path, items: Path, mixed: Path, tmp_path: Path, capsys: Shown
) -> None:
    assert run_cli("index", garments.root, "--run", items, "--run", trained, "--to", mixed, "--quiet") == 0
    shown = capsys.readouterr()
    assert shown.out == f"added 0, changed 0, updated 0, removed 0, unchanged {len(garments)}, skipped 0\n"
    assert f"next: lapel search {mixed} IMAGE --like item --attribute category\n" in shown.err
    assert "seconds" not in shown.err
    assert {"query.onnx", "query-2.onnx"} <= {path.name for path in mixed.iterdir()}
    assert run_cli("search", mixed, garments.paths()[0], "--like", "item", "--sheet", tmp_path / "sheet.png") == 0
    head, first, *_ = capsys.readouterr().out.splitlines()
    assert head.split() == ["rank", "score", "image", "item", "more", "item"]
    assert "+1" in first.split()


def test_an_index_of_items_alone(garments: Catalogue, items: Path, tmp_path: Path, capsys: Shown) -> None:
    to = tmp_path / "items"
    assert run_cli("index", garments.root, "--run", items, "--to", to, "--quiet") == 0
    assert "IMAGE --like item\n" in capsys.readouterr().err
    path, box = garments.paths()[0], garments.boxes()[0]
    assert box is not None
    words = ("search", to, path, "--box", " ".join(map(str, box)), "--json")
    assert run_cli(*words) == 0
    (first, *_) = json.loads(capsys.readouterr().out)
    assert (first["image"], tuple(first["scores"])) == (str(path), ("item",))
    assert first["score"] == pytest.approx(1, abs=1e-2)


def test_mistakes_are_told(garments: Catalogue, trained: Path, items: Path, mixed: Path, capsys: Shown) -> None:
    assert run_cli("index", garments.root, "--run", trained, "--to", mixed, "--quiet") == 2
    assert "give --run for each" in capsys.readouterr().err
    assert run_cli("index", garments.root, "--run", items, "--run", items, "--to", mixed, "--quiet") == 2
    assert "all embed 'item'" in capsys.readouterr().err
    assert run_cli("search", mixed, garments.paths()[0], "--like", "itme") == 2
    assert "unknown attribute 'itme'; did you mean 'item'?" in capsys.readouterr().err
