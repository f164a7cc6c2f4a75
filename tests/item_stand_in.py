"""An instance model without a weight, for tests of what is measured: it says what colours and where bright spots are.

Its embedding is the mean colour, of its own length; its tags are how much more of one channel there is than of the
next; its heat-maps show where each of eight grey levels is.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from lapel.catalogue import Catalogue
from lapel.config import from_dict
from lapel.image_source import ImageSource
from lapel.images import Preprocessing
from lapel.models.base import ItemNetwork
from lapel.runs import RunConfig

LEVELS = tuple(20 + 30 * number for number in range(8))
"""Grey level of each landmark's dot."""


class Seen(NamedTuple):
    images: Tensor


class StandIn(ItemNetwork):
    """See the module; ``mean`` and ``std`` of the preprocessing must be 0 and 1, so that images stay in 0..1."""

    def __init__(self, tags: int = 0, points: int = 0, distance: Any = "euclidean") -> None:
        super().__init__()
        self.dim, self.tags, self.points = 3, tags, points
        self.distance = distance  # type: ignore[misc]

    def features(self, images: Tensor) -> Seen:
        return Seen(images)

    def embed(self, features: Seen) -> Tensor:
        return features.images.mean((2, 3))

    def tag_logits(self, features: Seen) -> Tensor | None:
        mean = features.images.mean((2, 3))
        return (mean - mean.roll(-1, 1))[:, : self.tags] if self.tags else None

    def heatmaps(self, features: Seen) -> Tensor | None:
        if not self.points:
            return None
        grey = features.images.mean(1, keepdim=True)
        levels = torch.tensor(LEVELS, device=grey.device).view(1, -1, 1, 1) / 255
        near = ((grey - levels).abs() < 3 / 255).float()
        return torch.stack([torch.zeros_like(near), near], 1)  # the last stack is the prediction


PRE = Preprocessing(40, 32, "crop", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
"""Images of this size, or boxes of it, reach the model as they are."""
TAGS = (("tone", "warm"), ("tone", "cold"), ("size", "L"))


def draw(folder: Path, items: int = 8, views: int = 3, seed: int = 0, split: str = "val") -> Catalogue:
    """Pale pictures of items with eight dots: boxes on a third, labels and landmarks on most; one cannot be read."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(items * views):
        item, view = divmod(number, views)
        base = np.random.default_rng([seed, item]).integers(0, 15, 2)
        colour = (255, *(250 - base + rng.integers(-2, 3, 2)))
        box = rng.integers(0, 12, 2) if number % 3 == 0 else None
        height, width = (40, 32) if box is None else (56, 45)
        pixels = np.full((height, width, 3), colour, np.uint8)
        pixels[..., 1:] += rng.integers(0, 3, (height, width, 2), np.uint8)  # else many means are the same
        corner = np.zeros(2, int) if box is None else box
        points = []
        for level, place in zip(LEVELS, rng.choice(15 * 19, 8, replace=False), strict=True):
            x, y = corner[0] + 1 + 2 * (place % 15), corner[1] + 1 + 2 * (place // 15)  # no two side by side
            pixels[y, x] = level
            away, seen = rng.integers(-4, 5, 2), rng.choice([0, 0, 0, 1, 2])
            points += [x + 0.5 + away[0], y + 0.5 + away[1], seen]
        name = f"{number:02}.png"
        Image.fromarray(pixels).save(folder / name)
        if number == 7:
            (folder / name).write_text("<html>404</html>")
        rows.append(
            {
                "image": name,
                "item": f"i{item}" if number != 5 else "",
                "split": split,
                "domain": "consumer" if view == 0 else "shop",
                "box": f"{corner[0]} {corner[1]} {corner[0] + 32} {corner[1] + 40}" if box is not None else "",
                "landmarks": " ".join(map(str, points)) if number % 5 else "",
                "tone": ["warm", "cold", ""][int(rng.integers(0, 3))],
                "size": "LS"[item % 2] if number % 4 else "",
            }
        )
    with (folder / "catalogue.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return Catalogue.read(folder, ["tone", "size"])


def config_of(losses: dict[str, float], tags: Any = TAGS) -> RunConfig:
    """What a run of the stand-in would say of itself."""
    recipe = from_dict({"training": {"batching": "images", "losses": losses}})
    model = {"name": "stand-in", "trunk": "none", "dim": 3, "task": "items", "tags": [list(tag) for tag in tags]}
    return RunConfig(model, {}, PRE.to_dict(), recipe, {})


def source_of(catalogue: Catalogue) -> ImageSource:
    return ImageSource(catalogue.paths(), PRE, catalogue.boxes(), max_failed=0.2)


def read(catalogue: Catalogue) -> list[npt.NDArray[np.float64] | None]:
    """The pictures as the model gets them, 0..1, by Pillow; None of what cannot be read."""
    found: list[npt.NDArray[np.float64] | None] = []
    for path, box in zip(catalogue.paths(), catalogue.boxes(), strict=True):
        try:
            image = Image.open(path).convert("RGB")
        except OSError:
            found.append(None)
            continue
        found.append(np.asarray(image.crop(tuple(map(int, box))) if box else image).astype(np.float64) / 255)
    return found
