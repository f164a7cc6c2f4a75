"""An item run embeds like one of the single attribute ``item``, and says what its branches see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import lapel
from lapel.catalogue import Catalogue
from lapel.errors import RunError
from lapel.export import export_onnx
from lapel.images import decode, normalise, prepare
from lapel.retrieval.embedder import Embedder
from lapel.retrieval.encoder import QueryEncoder

from ..item_run import draw_run


@pytest.fixture(scope="module")
def run(garments: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_run(tmp_path_factory.mktemp("runs") / "items", garments)


@pytest.fixture(scope="module")
def embedder(run: Path) -> Embedder:
    return lapel.load(run, device="cpu")


@pytest.fixture(scope="module")
def batch(embedder: Embedder, garments: Catalogue) -> torch.Tensor:
    frame = embedder.preprocessing
    return normalise(torch.stack([prepare(decode(path), frame) for path in garments.paths()[:5]]), frame)


def test_it_describes_itself(embedder: Embedder, garments: Catalogue) -> None:
    assert embedder.items
    assert (embedder.attributes, embedder.dim, embedder.distance) == (("item",), 16, "euclidean")
    assert embedder.gazes == ("appearance", "landmarks")
    name = garments.attributes[0]
    assert embedder.tags[0] == (name, garments.values(name)[0])
    assert len(embedder.tags) == embedder.model.tags


def test_embeddings_are_the_model_s_at_unit_length(
    embedder: Embedder, garments: Catalogue, batch: torch.Tensor
) -> None:
    with torch.no_grad():
        expected = embedder.model.embed(embedder.model.features(batch)).numpy()
    paths = garments.paths()[:5]
    ((rows, raw),) = embedder.embed_paths(paths, raw=True)
    assert rows.tolist() == [0, 1, 2, 3, 4]
    assert raw.shape == (5, 1, 16)
    np.testing.assert_allclose(raw[:, 0], expected, atol=1e-5)
    assert np.abs(np.linalg.norm(raw, axis=2) - 1).min() > 0.01  # the paper's are of any length
    unit = embedder.embed(paths)
    np.testing.assert_allclose(unit, raw / np.linalg.norm(raw, axis=2, keepdims=True), atol=1e-5)
    ((_, files),) = embedder.embed_paths(paths)
    np.testing.assert_allclose(files, unit, atol=1e-5)
    np.testing.assert_allclose(embedder.embed(paths, ["item"]), unit, atol=1e-5)
    assert embedder.embed([]).shape == (0, 1, 16)


def test_attention_is_where_the_branches_look(embedder: Embedder, garments: Catalogue, batch: torch.Tensor) -> None:
    with torch.no_grad():
        expected = embedder.model.saliency(embedder.model.features(batch)).numpy()
    maps = embedder.attention(garments.paths()[:5])
    assert maps.shape[:2] == (5, 2)
    np.testing.assert_allclose(maps, expected, atol=1e-5)
    ((_, files),) = embedder.attention_paths(garments.paths()[:5])
    np.testing.assert_allclose(files, maps, atol=1e-5)


def test_one_branch_looks_with_one_map(garments: Catalogue, tmp_path: Path) -> None:
    bare = lapel.load(draw_run(tmp_path / "bare", garments, tags=False, branches="appearance"), device="cpu")
    assert (bare.tags, bare.gazes) == ((), ("appearance",))


def test_mistakes_are_named(embedder: Embedder, garments: Catalogue, trained: Path) -> None:
    paths = garments.paths()[:1]
    with pytest.raises(RunError, match=r"unknown attribute 'neckline'.*Known: item"):
        embedder.embed(paths, ["neckline"])
    with pytest.raises(RunError, match=r"looks with its branches \(appearance, landmarks\), not by attribute"):
        embedder.attention(paths, ["item"])
    with pytest.raises(RunError, match="not by attribute"):
        list(embedder.attention_paths(paths, attributes=["item"]))
    other = lapel.load(trained, device="cpu")
    assert not other.items
    assert other.gazes == other.attributes


def test_weights_of_another_shape_are_refused(garments: Catalogue, run: Path, tmp_path: Path) -> None:
    from lapel.retrieval.embedder import from_tensors
    from lapel.runs import load_weights, read_config

    wide = draw_run(tmp_path / "wide", garments, dim=8)
    tensors, fingerprint = load_weights(wide, read_config(wide))
    with pytest.raises(RunError, match="do not fit its ahbn model"):
        from_tensors(run, read_config(run), tensors, fingerprint)


def test_the_exported_model_agrees_with_torch(embedder: Embedder, garments: Catalogue, tmp_path: Path) -> None:
    export_onnx(embedder, tmp_path / "items.onnx")
    encoder = QueryEncoder(tmp_path / "items.onnx")
    assert (encoder.attributes, encoder.fingerprint) == (("item",), embedder.fingerprint)
    paths = garments.paths()[:3]
    found = encoder(paths)
    assert found.shape == (3, 1, 16)
    np.testing.assert_allclose((found * embedder.embed(paths)).sum(-1), 1, atol=1e-3)
