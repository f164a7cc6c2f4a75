"""A small catalogue with pictures, vectors that a test chooses, and boards on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from lapel.catalogue import Catalogue
from lapel.evaluation.boards import Board, attribute_boards, item_board
from lapel.evaluation.instances import instance_retrieval
from lapel.evaluation.protocols import attribute_retrieval
from lapel.evaluation.selection import select
from lapel.protocol import ItemProtocol, Side

COLOURS = {"red": (200, 40, 40), "green": (40, 160, 60), "blue": (40, 60, 200)}


def catalogue_of(
    folder: Path, count: int = 30, broken: tuple[int, ...] = (), values: tuple[str, ...] = ()
) -> Catalogue:
    """Plain pictures with one attribute of three values; two images are one item; ``broken`` are no pictures."""
    names = values or tuple(COLOURS)
    folder.mkdir(parents=True, exist_ok=True)
    images = [f"{number:02}.png" for number in range(count)]
    for number, image in enumerate(images):
        if number in broken:
            (folder / image).write_text("<html>")
        else:
            Image.new("RGB", (40, 50), list(COLOURS.values())[number % 3]).save(folder / image)
    text = {"image": images, "item": [f"item {number // 2}" for number in range(count)]}
    columns = {name: pa.array(cells, pa.string()) for name, cells in text.items()}
    columns |= {name: pa.nulls(count, pa.string()) for name in ("split", "domain")}
    columns |= {name: pa.nulls(count, pa.list_(pa.float64())) for name in ("box", "landmarks")}
    labels = pa.table(
        {
            "image": pa.array(range(count), pa.int32()),
            "attribute": pa.array(["main_colour"] * count, pa.string()),
            "value": pa.array([names[number % 3] for number in range(count)], pa.string()),
        }
    )
    return Catalogue(folder, pa.table(columns), labels, ("main_colour",), "tiny")


def vectors_of(catalogue: Catalogue, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """(N, 1, 3): one-hot by value, with noise; without any the ranking is perfect."""
    rng = np.random.default_rng(seed)
    plain = np.eye(3)[np.arange(len(catalogue)) % 3] + noise * rng.standard_normal((len(catalogue), 3))
    return plain[:, None].astype(np.float32)


def board_of(catalogue: Catalogue, vectors: np.ndarray, missing: np.ndarray | None = None) -> Board:
    absent = np.zeros(len(catalogue), bool) if missing is None else missing
    result = attribute_retrieval(vectors, catalogue, missing=absent, samples=1)
    (board,) = attribute_boards(result, catalogue, vectors, catalogue.attributes, missing=absent)
    return board


def items_of(catalogue: Catalogue, vectors: np.ndarray, distance: str = "cosine") -> Board:
    """The board of items: each image is asked for the other one of its item, among all."""
    protocol, missing = ItemProtocol(query=Side(), gallery=Side(), ks=(1, 5)), np.zeros(len(catalogue), bool)
    chosen, flat = select(catalogue, protocol), vectors.reshape(len(vectors), -1)
    result = instance_retrieval(flat, catalogue, protocol, selection=chosen, distance=distance, samples=1)
    return item_board(result, catalogue, vectors, chosen, missing, distance)
