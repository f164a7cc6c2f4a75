"""A catalogue of designs and their imitations, for the tests of copies: a file says which design it shows, how well."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

ATTRIBUTES, DIM = ("neckline", "pattern", "colour"), 8


def vectors_of(data: bytes) -> np.ndarray:
    """(A, D) unit vectors of ``DESIGN SPREAD SEED``: of the design, moved by SPREAD into a direction of SEED's own."""
    design, spread, seed = data.split(b"(")[0].split()
    base = np.random.default_rng(int(design)).normal(size=(len(ATTRIBUTES), DIM))
    moved = base + float(spread) * np.random.default_rng(int(seed) + 1000).normal(size=base.shape)
    return (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)


def embedder(world: Any, name: str = "run", **changes: Any) -> Any:
    """A run that sees designs."""
    made = world.embedder(name, **changes)
    made.vectors = vectors_of
    return made


def fill(world: Any, prefix: str = "", start: int = 0) -> Any:
    """49 images: designs, each in one to three variants, imitations of some by other items, and copies of files."""
    counter = itertools.count(start)
    for design in range(18):
        for variant in range(1 + design % 3):
            colour = ("Red", "Blue", None)[variant]
            name = f"{prefix}{design:02}-{variant}.jpg"
            world.add(name, f"{design} 0.1 {next(counter)}", item=f"{prefix}i{design}", colour=colour, price=design)
    for design in range(0, 18, 2):  # imitations, ever worse
        item = None if design == 4 else f"{prefix}o{design}"
        name = f"{prefix}x{design:02}.jpg"
        world.add(name, f"{design} {0.03 * design:.2f} {next(counter)}", item=item, colour="Red", price=90)
    for name, same in (("y0", "03-0"), ("y1", "03-0"), ("y2", "x06"), ("y3", "01-0")):
        content = (world.photos / f"{prefix}{same}.jpg").read_text()
        item = f"{prefix}i1" if name == "y3" else f"{prefix}{name}"
        world.add(f"{prefix}{name}.jpg", content, item=item, colour="Red", price=99)
    return world


def stored(world: Any) -> dict[str, np.ndarray]:
    """Unit vectors as the index has them: rounded to float16, in float32; by id."""
    found = {}
    for name in world.rows:
        vectors = vectors_of((world.photos / name).read_bytes()).astype(np.float16).astype(np.float32)
        found[name] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(float)
    return found
