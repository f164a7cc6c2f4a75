"""A tiny catalogue and recipe to train on, shared by the tests of training and the processes they start."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from lapel.config import Recipe, from_dict

COLOURS = {"Red": (210, 40, 40), "Green": (40, 190, 40), "Blue": (40, 40, 210)}
SHAPES = ("disc", "bar")


def draw(folder: Path, count: int = 60, broken: tuple[int, ...] = ()) -> Path:
    """Discs and bars in three colours, 40 for training, and the path of their catalogue."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    rows = []
    for number in range(count):
        colour, shape = list(COLOURS)[number % 3], SHAPES[number // 3 % 2]
        noise = generator.integers(150, 255, (40, 40, 3), dtype=np.uint8)
        picture = Image.fromarray(noise)
        x, y = generator.integers(8, 16, 2).tolist()
        box = (x, y, x + 18, y + 18) if shape == "disc" else (x, y + 6, x + 22, y + 12)
        (ImageDraw.Draw(picture).ellipse if shape == "disc" else ImageDraw.Draw(picture).rectangle)(
            box, COLOURS[colour]
        )
        if number in broken:
            (folder / f"{number:02}.png").write_text("<html>404</html>")
        else:
            picture.save(folder / f"{number:02}.png")
        split = "train" if number < 2 * count // 3 else "val"
        rows.append({"image": f"{number:02}.png", "split": split, "colour": colour, "shape": shape, "brand": "Lapel"})
    with (folder / "catalogue.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "catalogue.csv"


def recipe(catalogue: Path | str, **settings: Any) -> Recipe:
    """Everything random is on: dropout, zoom, flip, jitter; settings are of ``training``."""
    training = {
        "batching": "pairs",
        "batch": 8,
        "triplets": 40,
        "epochs": 3,
        "optimiser": "adamw",
        "lr": 3e-3,
        "schedule": "cosine",
        "clip": 5.0,
        "proxy_weight": 0.5,
        "average": 0.9,
        "precision": "fp32",
    }
    return from_dict(
        {
            "data": {"catalogue": str(catalogue), "attributes": ["colour", "shape"], "max_failed": 0.2},
            "image": {"height": 32, "width": 32, "zoom": 0.8, "jitter": 0.2},
            "model": {"trunk": "test_resnet", "weights": "none", "options": {"width": 16, "dropout": 0.1}},
            "training": training | settings,
        }
    )


def lines(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
