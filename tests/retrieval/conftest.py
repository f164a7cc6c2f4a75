"""A catalogue of tiny files and an embedder that makes vectors of their bytes."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lapel.catalogue import Catalogue
from lapel.errors import LapelError
from lapel.retrieval.index import Index
from lapel.retrieval.indexing import IndexReport, index_catalogue

ATTRIBUTES, DIM = ("neckline", "pattern", "colour"), 8


@dataclass(frozen=True)
class Failure:
    path: Path
    reason: str


def vectors_of(data: bytes, attributes: int = len(ATTRIBUTES), dim: int = DIM) -> np.ndarray:
    """(A, D) unit vectors that depend on every byte."""
    seed = int.from_bytes(hashlib.sha256(data).digest()[:8], "big")
    found = np.random.default_rng(seed).normal(size=(attributes, dim))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@dataclass
class FakeEmbedder:
    """Files that begin with ``bad``, are ``refused`` or missing cannot be read; ``crash_after`` batches it stops."""

    run: Path
    fingerprint: str = "f" * 64
    attributes: tuple[str, ...] = ATTRIBUTES
    dim: int = DIM
    crash_after: int | None = None
    error: type[BaseException] = RuntimeError
    refused: tuple[bytes, ...] = ()
    embedded: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def vectors(self, data: bytes) -> np.ndarray:
        return vectors_of(data, len(self.attributes), self.dim)

    def embed(self, images: Any) -> np.ndarray:
        return np.stack([self.vectors(Path(image).read_bytes()) for image in images])

    def export(self, path: Path) -> None:
        raise LapelError("a fake cannot be exported")

    def embed_paths(self, paths: Any, boxes: Any = None, batch_size: int = 4, max_failed: float = 0.05) -> Any:
        self.failures = []
        for number, start in enumerate(range(0, len(paths), batch_size)):
            if number == self.crash_after:
                raise self.error("stopped in the middle")
            rows, vectors = [], []
            for row in range(start, min(start + batch_size, len(paths))):
                data = paths[row].read_bytes() if paths[row].is_file() else b"bad: no such file"
                if data.startswith(b"bad") or data in self.refused:
                    self.failures.append(Failure(paths[row], data.decode()))
                else:
                    box = b"" if boxes is None or boxes[row] is None else repr(tuple(boxes[row])).encode()
                    rows.append(row)
                    vectors.append(self.vectors(data + box))
                    self.embedded.append(paths[row].name)
            if rows:
                yield np.array(rows), np.stack(vectors)


@dataclass
class World:
    """A folder of photos with its CSV, and an index beside it."""

    root: Path
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def index_path(self) -> Path:
        return self.root / "index"

    @property
    def photos(self) -> Path:
        return self.root / "photos"

    def add(self, name: str, content: str | None = None, /, **cells: Any) -> None:
        self.photos.mkdir(exist_ok=True)
        (self.photos / name).write_text(name if content is None else content)
        self.rows[name] = cells

    def fill(self, count: int, start: int = 0) -> World:
        for n in range(start, start + count):
            colour = ("Red", "Blue", "Red|Blue", None)[n % 4]
            self.add(f"{n:03}.jpg", item=f"i{n // 2}", colour=colour, price=n % 7 or None, name=f"name {n}")
        return self

    def catalogue(self) -> Catalogue:
        names = ["image", *dict.fromkeys(name for cells in self.rows.values() for name in cells)]
        path = self.photos / "catalogue.csv"
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, names)
            writer.writeheader()
            writer.writerows({"image": name, **cells} for name, cells in self.rows.items())
        return Catalogue.read(path, attributes=[name for name in ("colour",) if name in names])

    def embedder(self, name: str = "run", **changes: Any) -> FakeEmbedder:
        run = self.root / name
        run.mkdir(exist_ok=True)
        embedder = FakeEmbedder(run, **changes)
        header = json.dumps({"__metadata__": {"fingerprint": embedder.fingerprint}}).encode()
        (run / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
        return embedder

    def index(self, embedder: FakeEmbedder | list[FakeEmbedder] | None = None, **options: Any) -> IndexReport:
        options = {"quiet": True, "commit_rows": 8, **options}
        chosen = self.embedder() if embedder is None else embedder
        return index_catalogue(self.catalogue(), chosen, self.index_path, **options)

    def open(self, **options: Any) -> Index:
        options.setdefault("encoder", self.embedder().embed)
        return Index.open(self.index_path, **options)

    def expected(self) -> dict[str, np.ndarray]:
        """Unit vectors that the index should hold: rounded to float16."""
        stored = {n: vectors_of((self.photos / n).read_bytes()).astype(np.float16).astype(float) for n in self.rows}
        return {n: v / np.linalg.norm(v, axis=1, keepdims=True) for n, v in stored.items()}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture(scope="module")
def lasting_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One for a whole file of tests, none of which may change it."""
    return World(tmp_path_factory.mktemp("world"))
