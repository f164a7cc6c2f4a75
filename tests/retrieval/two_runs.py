"""An attribute run and an item run of fakes, and the index they make together: for the tests of several runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from lapel import Index

NAMES = ("neckline", "pattern", "colour", "item")
DIMS = (8, 8, 8, 16)


def runs(world: Any, **changes: Any) -> list[Any]:
    """An attribute run and an item run."""
    return [
        world.embedder(**changes),
        world.embedder("items", fingerprint="1" * 64, attributes=("item",), dim=16, **changes),
    ]


def index(world: Any, embedders: list[Any] | None = None, **options: Any) -> Any:
    return world.index(embedders or runs(world), **options)


def opened(world: Any, **options: Any) -> Index:
    options.setdefault("encoder", [one.embed for one in runs(world)])
    return Index.open(world.index_path, **options)


def stored(world: Any) -> dict[str, list[np.ndarray]]:
    """Unit vectors that the index should hold, per attribute, rounded to float16; by image."""
    found: dict[str, list[np.ndarray]] = {}
    for name in world.rows:
        parts = [one.vectors((world.photos / name).read_bytes()) for one in runs(world)]
        rounded = [vector.astype(np.float16).astype(float) for part in parts for vector in part]
        found[name] = [vector / np.linalg.norm(vector) for vector in rounded]
    return found


def told(hits: list[Any]) -> list[tuple[str, tuple[str, ...]]]:
    return [(hit.id, hit.others) for hit in hits]
