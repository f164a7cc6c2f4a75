"""A run and images in, unit vectors and attention maps out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import lapel
from lapel.config import Recipe
from lapel.errors import ImageError, RunError
from lapel.images import Preprocessing, decode, normalise, prepare
from lapel.models import build
from lapel.retrieval.embedder import Embedder
from lapel.runs import RunConfig, save_weights

NAMES = ("neckline", "colour", "pattern")
FRAME = Preprocessing(64, 48, "letterbox", (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    torch.manual_seed(0)
    model = build("agman", 3, "test_resnet", width=16)
    config = RunConfig(
        {"name": "agman", "trunk": "test_resnet", "dim": 16, "trunk_options": {}, "options": {"width": 16}},
        dict.fromkeys(NAMES, ("a", "b")),
        FRAME.to_dict(),
        Recipe(),
        {},
    )
    config.write(folder)
    save_weights(folder, model.state_dict(), config, {})
    return folder


@pytest.fixture(scope="module")
def embedder(run: Path) -> Embedder:
    return lapel.load(run, device="cpu")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    paths = []
    for number, size in enumerate([(60, 90), (120, 40), (33, 33), (200, 100), (64, 48)]):
        pixels = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
        paths.append(folder / f"{number}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def test_it_describes_itself(embedder: Embedder, run: Path) -> None:
    assert embedder.attributes == NAMES
    assert embedder.dim == 16
    assert embedder.preprocessing == FRAME
    assert embedder.run == run
    assert len(embedder.fingerprint) == 64
    assert not embedder.model.training  # type: ignore[attr-defined]


def test_it_is_the_model_on_the_prepared_images(embedder: Embedder, photos: list[Path]) -> None:
    batch = normalise(torch.stack([prepare(decode(path), FRAME) for path in photos]), FRAME)
    with torch.no_grad():
        expected = embedder.model.embed(embedder.model.features(batch), torch.arange(3))
    found = embedder.embed(photos)
    assert found.shape == (5, 3, 16)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, atol=1e-5)


def test_every_kind_of_image_gives_the_same(embedder: Embedder, photos: list[Path]) -> None:
    with Image.open(photos[0]) as picture:
        array = np.asarray(picture.convert("RGB"))
        kinds = [
            str(photos[0]),
            photos[0].read_bytes(),
            picture.copy(),
            array,
            torch.from_numpy(array.copy()).permute(2, 0, 1),
        ]
    found = embedder.embed(kinds)
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2, 5, 64])
def test_the_batch_size_changes_nothing(batch: int, embedder: Embedder, photos: list[Path]) -> None:
    np.testing.assert_allclose(embedder.embed(photos, batch=batch), embedder.embed(photos), atol=1e-5)


@pytest.mark.parametrize("asked", [["pattern"], ["pattern", "neckline"], ["colour", "colour"], []], ids=str)
def test_attributes_come_as_asked_for(asked: list[str], embedder: Embedder, photos: list[Path]) -> None:
    places = [NAMES.index(name) for name in asked]
    found = embedder.embed(photos[:2], attributes=asked)
    assert found.shape == (2, len(asked), 16)
    np.testing.assert_allclose(found, embedder.embed(photos[:2])[:, places], atol=1e-5)
    maps = embedder.attention(photos[:2], attributes=asked)
    np.testing.assert_allclose(maps, embedder.attention(photos[:2])[:, places], atol=1e-5)


def test_attention_sums_to_one_at_stride_16(embedder: Embedder, photos: list[Path]) -> None:
    maps = embedder.attention(photos)
    assert maps.shape == (5, 3, 4, 3)
    assert maps.dtype == np.float32
    assert maps.min() >= 0
    np.testing.assert_allclose(maps.sum((2, 3)), 1, atol=1e-5)


def test_no_images_give_no_vectors(embedder: Embedder) -> None:
    assert embedder.embed([]).shape == (0, 3, 16)
    assert embedder.embed([], attributes=["colour"]).shape == (0, 1, 16)
    assert embedder.attention([]).shape[:2] == (0, 3)
    assert list(embedder.embed_paths([])) == []


def test_embed_paths_gives_rows_and_lists_what_it_left_out(
    embedder: Embedder, photos: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_text("<html>")
    paths = [photos[0], broken, *photos[1:]]
    pieces = list(embedder.embed_paths(paths, batch_size=2, max_failed=0.5))
    rows = np.concatenate([found for found, _ in pieces])
    assert rows.tolist() == [0, 2, 3, 4, 5]
    np.testing.assert_allclose(np.concatenate([found for _, found in pieces]), embedder.embed(photos), atol=1e-5)
    assert [failure.path for failure in embedder.failures] == [broken]
    assert embedder.failures[0].reason
    list(embedder.embed_paths(photos))
    assert embedder.failures == []


def test_embed_paths_crops_by_box(embedder: Embedder, photos: list[Path]) -> None:
    boxes = [(10.0, 20.0, 50.0, 60.0), None]
    ((_, found),) = embedder.embed_paths(photos[:2], boxes)
    with Image.open(photos[0]) as picture:
        crop = picture.crop((10, 20, 50, 60))
    np.testing.assert_allclose(found, embedder.embed([crop, photos[1]]), atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_attention_of_files_is_that_of_their_images(
    batch_size: int, embedder: Embedder, photos: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_text("<html>")
    paths, boxes = [photos[0], broken, *photos[1:]], [(10.0, 20.0, 50.0, 60.0), *[None] * 5]
    options = {"batch_size": batch_size, "max_failed": 0.5}
    pieces = list(embedder.attention_paths(paths, boxes, **options, attributes=["pattern", "neckline"]))
    assert np.concatenate([rows for rows, _ in pieces]).tolist() == [0, 2, 3, 4, 5]
    found = np.concatenate([maps for _, maps in pieces])
    with Image.open(photos[0]) as picture:
        crop = picture.crop((10, 20, 50, 60))
    expected = embedder.attention([crop, *photos[1:]], ["pattern", "neckline"])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert [failure.path for failure in embedder.failures] == [broken]
    assert next(iter(embedder.attention_paths(photos)))[1].shape[1] == 3
    assert list(embedder.attention_paths([])) == []


def test_mistakes_are_named(embedder: Embedder, photos: list[Path], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="run run: unknown attribute 'neklin'; did you mean 'neckline'"):
        embedder.embed(photos, attributes=["neklin"])
    with pytest.raises(RunError, match="unknown attribute 'color'; did you mean 'colour'"):
        embedder.attention(photos, attributes=["color"])
    with pytest.raises(RunError, match="unknown attribute 'color'; did you mean 'colour'"):
        list(embedder.attention_paths(photos, attributes=["color"]))
    with pytest.raises(ImageError):
        embedder.embed([tmp_path / "nowhere.jpg"])
    with pytest.raises(ImageError, match="cannot be read"):
        list(embedder.embed_paths([photos[0], tmp_path / "a.jpg", tmp_path / "b.jpg"]))


@pytest.mark.parametrize("one", ["a.jpg", Path("a.jpg"), b"bytes", np.zeros((4, 4, 3), np.uint8)], ids=str)
def test_one_image_in_place_of_a_list_is_named(one: object, embedder: Embedder) -> None:
    for ask in (embedder.embed, embedder.attention):
        with pytest.raises(ImageError, match=r"expected a list of images"):
            ask(one)  # type: ignore[arg-type]


def test_loading_twice_gives_the_same(embedder: Embedder, run: Path, photos: list[Path]) -> None:
    again = lapel.load(run, device="cpu")
    assert again.fingerprint == embedder.fingerprint
    assert np.array_equal(again.embed(photos), embedder.embed(photos))
