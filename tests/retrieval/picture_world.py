"""A world of real, tiny pictures, whose vectors depend on their pixels: for images that are written one by one."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lapel import Index
from lapel.decoding import DecodeError, decode_array
from lapel.retrieval import snapshot
from lapel.retrieval.lance_store import LanceStore
from lapel.retrieval.new_images import NewImage
from lapel.retrieval.writing import Writer

from .conftest import Failure, FakeEmbedder, World, vectors_of


def picture(seed: object, kind: str = "PNG", size: tuple[int, int] = (12, 16)) -> bytes:
    """The bytes of an image file, other ones for another seed."""
    number = int.from_bytes(hashlib.sha256(repr(seed).encode()).digest()[:8], "big")
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


@dataclass
class PictureEmbedder(FakeEmbedder):
    """Embeds pixels, and counts what it embeds."""

    def embed(self, images: Any) -> np.ndarray:
        self.embedded += ["pixels"] * len(images)
        return np.stack([self.vectors(decode_array(image).tobytes()) for image in images])

    def embed_paths(self, paths: Any, boxes: Any = None, batch_size: int = 4, max_failed: float = 0.05) -> Any:
        self.failures = []
        for start in range(0, len(paths), batch_size):
            rows, vectors = [], []
            for row in range(start, min(start + batch_size, len(paths))):
                try:
                    pixels = decode_array(paths[row], None if boxes is None else boxes[row])
                except DecodeError as error:
                    self.failures.append(Failure(paths[row], error.reason))
                    continue
                rows.append(row)
                vectors.append(self.vectors(pixels.tobytes()))
                self.embedded.append(paths[row].name)
            if rows:
                yield np.array(rows), np.stack(vectors)


@dataclass
class PictureWorld(World):
    """Photos that can be decoded."""

    def add(self, name: str, content: str | None = None, /, **cells: Any) -> None:
        self.photos.mkdir(exist_ok=True, parents=True)
        (self.photos / name).write_bytes(picture(name if content is None else content))
        self.rows[name] = cells

    def embedder(self, name: str = "run", **changes: Any) -> PictureEmbedder:
        plain = super().embedder(name, **changes)
        return PictureEmbedder(plain.run, **{"fingerprint": plain.fingerprint, **changes})

    def writer(self, embedder: PictureEmbedder | None = None, **options: Any) -> Writer:
        """A writer whose images this embedder embeds."""
        index = Index.open(self.index_path, encoder=(embedder or self.embedder()).embed)
        return Writer(self.index_path, lambda: index, **options)

    def photo(self, name: str) -> bytes:
        return (self.photos / name).read_bytes()


def new(name: str, seed: object = None, **said: Any) -> NewImage:
    """An image with this id."""
    return NewImage(name, picture(name if seed is None else seed), **said)


def expected(seed: object, attributes: int = 3, dim: int = 8) -> np.ndarray:
    """Unit vectors that a row with this picture holds: rounded to float16."""
    stored = vectors_of(decode_array(picture(seed)).tobytes(), attributes, dim).astype(np.float16).astype(float)
    return np.asarray(stored / np.linalg.norm(stored, axis=1, keepdims=True))


def kept_files(world: World) -> list[Path]:
    return sorted(path for path in (world.index_path / "kept").rglob("*") if path.is_file())


def whole(world: PictureWorld) -> Index:
    """The index, after checking that it is answered from the snapshot and that this shows what the table has."""
    index = world.open()
    shown, engine = index.gallery.snapshot, snapshot.Snapshot.load(LanceStore.open(world.index_path), index.record)
    assert index._store is None
    order = np.argsort(np.array(shown.rows["id"].to_pylist(), object))
    assert shown.rows.take(order).select(engine.rows.column_names).to_pylist() == engine.rows.to_pylist()
    for found, wanted in zip(shown.vectors, engine.vectors, strict=True):
        np.testing.assert_array_equal(found[order], wanted)
    return index
