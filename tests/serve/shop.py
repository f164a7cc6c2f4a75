"""A small shop to serve: drawn garments, indexed by fakes that see colours in places, without torch."""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI
from PIL import Image

from lapel.catalogue import Catalogue
from lapel.decoding import decode_array
from lapel.errors import LapelError
from lapel.garments.spec import ATTRIBUTES as VALUES
from lapel.retrieval.index import Index
from lapel.retrieval.indexing import IndexReport, index_catalogue
from lapel.serve.app import create_app
from lapel.serve.settings import ServeSettings
from lapel.serve.shutdown import Server, configuration

ATTRIBUTES = ("neckline", "pattern", "colour")
DIM, ITEM_DIM, GRID = 16, 24, 8
BOXED = 44
TOKEN = "a-token-of-the-tests"
HOSTILE = "<script>document.title = 'owned'</script>\"><img src=x onerror=alert(1)>"
ODD = ("a/b/50% off? #1, ä.jpg", "..sleeves..jpg", "gone.jpg")


@dataclass
class Seer:
    """Embeds a picture by its colours on a coarse grid, seen through a matrix for each attribute."""

    run: Path
    attributes: tuple[str, ...] = ATTRIBUTES
    dim: int = DIM
    fingerprint: str = "a" * 64
    seed: int = 0
    failures: list[Any] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)

    def embed(self, images: Sequence[Any], boxes: Sequence[Any] | None = None) -> np.ndarray:
        """(N, A, D) unit vectors."""
        self.calls.append(len(images))
        small = []
        for image, box in zip(images, boxes or [None] * len(images), strict=True):
            picture = Image.fromarray(np.ascontiguousarray(decode_array(image, box)))
            small.append(np.asarray(picture.resize((GRID, GRID), Image.Resampling.BOX), np.float64).ravel() / 255 - 0.5)
        through = np.random.default_rng(self.seed).normal(size=(len(self.attributes), GRID * GRID * 3, self.dim))
        found = np.einsum("np,apd->nad", np.stack(small), through)
        return (found / np.linalg.norm(found, axis=2, keepdims=True)).astype(np.float32)

    def embed_paths(self, paths: Sequence[Path], boxes: Any = None, batch_size: int = 64, max_failed: float = 0) -> Any:
        yield np.arange(len(paths)), self.embed(paths, boxes)

    def export(self, path: Path) -> None:
        raise LapelError("a fake cannot be exported")

    def write(self) -> None:
        """Leave what tells a run's fingerprint."""
        self.run.mkdir(parents=True, exist_ok=True)
        header = json.dumps({"__metadata__": {"fingerprint": self.fingerprint}}).encode()
        (self.run / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)


@dataclass
class Shop:
    """An index and all that tests of the server want of it."""

    root: Path
    catalogue: Catalogue
    seers: list[Seer]

    @classmethod
    def build(cls, root: Path, garments: Catalogue, items: bool = True) -> Shop:
        """Index drawn garments, given prices and names, with an attribute run and, if wanted, an item run."""
        catalogue = stock(garments, root / "photos")
        seers = [Seer(root / "looks")]
        if items:
            seers.append(Seer(root / "garments", ("item",), ITEM_DIM, "b" * 64, seed=1))
        for seer in seers:
            seer.write()
        shop = cls(root, catalogue, seers)
        shop.reindex()
        return shop

    @classmethod
    def odd(cls, root: Path, garments: Catalogue) -> Shop:
        """A few pictures under odd names, one listed with two boxes, one that is gone when it is asked for."""
        first, *others = garments.paths()[:4]
        photos = root / "photos"
        (photos / "a/b").mkdir(parents=True)
        rows = [("two.png", "0 0 48 96"), ("two.png", "48 0 96 96")]
        Image.open(first).save(photos / "two.png")
        for name, path in zip(ODD, others, strict=True):
            shutil.copy(path, photos / name)
            rows.append((name, ""))
        with (photos / "catalogue.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([("image", "box"), *rows])
        shop = cls(root, Catalogue.read(photos, attributes=[]), [Seer(root / "looks")])
        shop.seers[0].write()
        shop.reindex()
        (photos / ODD[-1]).unlink()
        return shop

    @property
    def folder(self) -> Path:
        return self.root / "shop"

    @property
    def images(self) -> list[str]:
        """Ids, in the catalogue's order."""
        return list(self.catalogue.images["image"].to_pylist())

    def photo(self, number: int = 0) -> Path:
        return self.catalogue.paths()[number]

    def reindex(self, catalogue: Catalogue | None = None, to: Path | None = None) -> IndexReport:
        return index_catalogue(catalogue or self.catalogue, self.seers, to or self.folder, quiet=True)

    def read(self, folder: Path) -> Index:
        """Open an index with the fakes as its encoders."""
        return Index.open(folder, encoder=[seer.embed for seer in self.seers])

    def settings(self, **changes: Any) -> ServeSettings:
        plain = ServeSettings((("shop", self.folder),), token=TOKEN, threads=2, watch_s=0.05)
        return replace(plain, **changes)

    def app(self, **changes: Any) -> FastAPI:
        return create_app(self.settings(**changes), reader=self.read)


def stock(garments: Catalogue, to: Path) -> Catalogue:
    """Copy drawn garments and give them prices, names and brands, of which one is hostile.

    Only the pictures from ``BOXED`` on keep their boxes: the others are found by their whole pictures.
    """
    shutil.copytree(garments.root, to)
    with (garments.root / "catalogue.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for number, row in enumerate(rows):
        row["name"] = HOSTILE if number == 0 else f"{row['colour']} {row['category']}".title()
        row["box"] = row["box"] if number >= BOXED else ""
        row["price"] = "" if number % 9 == 8 else f"{9.5 + 5 * (number // 2):g}"
        row["stock"] = str(number % 4)
        row["brand"] = ("Ida & Co", "Müller", "北", "Plain")[number % 4]
    with (to / "catalogue.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return Catalogue.read(to, attributes=list(VALUES))


def ready(client: Any) -> Any:
    """Wait until a client's server is ready, and return the client."""
    until = time.monotonic() + 20
    while client.get("/v1/ready").status_code != 200:
        if time.monotonic() > until:
            raise RuntimeError(f"the server is not ready: {client.get('/v1/ready').text}")
        time.sleep(0.01)
    return client


@contextlib.contextmanager
def running(app: FastAPI, port: int = 0) -> Iterator[str]:
    """Serve an application in a thread, on a free port unless one is given.

    Yields:
        Its address, such as ``http://127.0.0.1:41234``, once it is ready.
    """
    app.state.lapel.served.open()
    server = Server(configuration(app, "127.0.0.1", port, shutdown_s=5), app.state.lapel.stop)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError("the server did not start")
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.stop()
        thread.join(20)
