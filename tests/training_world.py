"""A tiny catalogue and recipe to train on, ways to stop a training, what it leaves: for the tests of training."""

from __future__ import annotations

import csv
import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors import safe_open

from lapel.catalogue import Catalogue
from lapel.config import Recipe, from_dict
from lapel.protocol import TripletProtocol, to_dict
from lapel.retrieval.embedder import load
from lapel.runs import note, stored_fingerprint
from lapel.training.checkpoint import NAME

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


def given(folder: Path, count: int = 200) -> Path:
    """The same pictures with triplets: a Parquet catalogue that is scored by them, and its path."""
    whole = Catalogue.read(draw(folder), ["colour", "shape"])
    generator = np.random.default_rng(1)
    images, splits = (np.array(whole.images[name].to_pylist()) for name in ("image", "split"))
    columns: dict[str, list[str]] = {name: [] for name in ("split", "attribute", "anchor", "positive", "negative")}
    for attribute in ("colour", "shape"):
        value = whole.multi_hot(attribute).argmax(1)
        for split in ("train", "val"):
            for anchor in generator.choice(np.flatnonzero(splits == split), count):
                near = generator.choice(np.flatnonzero((splits == split) & (value == value[anchor])))
                far = generator.choice(np.flatnonzero((splits == split) & (value != value[anchor])))
                found = (split, attribute, images[anchor], images[near], images[far])
                for name, cell in zip(columns, found, strict=True):
                    columns[name].append(str(cell))
    told = replace(whole, record={"protocol": to_dict(TripletProtocol())})
    path = folder / "catalogue.parquet"
    told.with_relations({"triplets": pa.table(columns)}).write(path)
    return path


def last(run: Path) -> dict[str, Any]:
    """Everything in the state but the time it took."""
    with safe_open(run / NAME, "pt") as stored:
        state = json.loads(stored.metadata()["state"])
        state.pop("elapsed")
        return {name: stored.get_tensor(name) for name in stored.keys()} | {"state": state}  # noqa: SIM118


def assert_same_run(run: Path, expected: Path) -> None:
    assert stored_fingerprint(run) == stored_fingerprint(expected)
    assert load(run).fingerprint == stored_fingerprint(expected)
    found, wanted = last(run), last(expected)
    assert found.keys() == wanted.keys()
    assert found.pop("state") == wanted.pop("state")
    assert [name for name in found if not torch.equal(found[name], wanted[name])] == []
    assert note(run) == note(expected)
    ours, theirs = ([line for line in lines(folder) if "epoch" in line] for folder in (run, expected))
    assert [{**line, "seconds": 0} for line in ours] == [{**line, "seconds": 0} for line in theirs]
    steps = [line["step"] for line in lines(run) if "loss" in line]
    assert steps == [line["step"] for line in lines(expected) if "loss" in line], "no line twice, none missing"


def at_step(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, step: int, action: Callable[[], None]) -> None:
    """Do ``action`` in the ``step``-th call of a function, before it."""
    original, calls = getattr(owner, name), [0]

    def hooked(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == step:
            action()
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, hooked)


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def stop() -> None:
    raise KeyboardInterrupt


def change(asked: Recipe, section: str, **values: Any) -> Recipe:
    """The recipe with other values in one section."""
    return replace(asked, **{section: replace(getattr(asked, section), **values)})
