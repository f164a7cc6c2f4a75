"""What a training of items reads: tags, splits, labels; and what it refuses, before anything is written."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapel.catalogue import Catalogue
from lapel.config import Recipe, from_dict
from lapel.errors import CatalogueError, LapelError, RecipeError
from lapel.training import train
from lapel.training.item_work import ItemWork, frequent_tags
from lapel.training.work import work_of

Row = dict[str, str]
POINTS = " ".join(["10 20 0"] * 8)


def rows(items: int = 12, views: int = 3, split: str | None = None) -> list[Row]:
    """Images of so many items in two colours and three cuts, with landmarks; the last image of each has no colour."""
    return [
        {
            "image": f"{item:02}-{view}.png",
            "item": f"item{item:02}",
            "split": split or "",
            "colour": "" if view == views - 1 else ("red", "blue")[item % 2],
            "cut": ("slim", "wide", "long")[item % 3],
            "landmarks": POINTS,
        }
        for item in range(items)
        for view in range(views)
    ]


def write(folder: Path, found: list[Row]) -> Path:
    with (folder / "catalogue.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(found[0]))
        writer.writeheader()
        writer.writerows(found)
    return folder / "catalogue.csv"


def recipe(catalogue: Path | str, data: dict[str, Any] | None = None, model: str = "ahbn", **training: Any) -> Recipe:
    settings = {"batching": "images", "batch": 4, "losses": {"id": 1, "tags": 1, "landmarks": 1}} | training
    return from_dict(
        {
            "data": {"catalogue": str(catalogue)} | (data or {}),
            "image": {"height": 32, "width": 32},
            "model": {"name": model, "trunk": "test_resnet.r160_in1k", "weights": "none"},
            "training": settings,
        }
    )


def test_what_is_known_of_each_image(tmp_path: Path) -> None:
    found = rows()
    found[3]["item"] = ""
    work = ItemWork(recipe(write(tmp_path, found)))
    assert work.values == {}
    assert work.tags == (("colour", "blue"), ("colour", "red"), ("cut", "long"), ("cut", "slim"), ("cut", "wide"))
    assert set(work.catalogue.splits()) == {"train", "val", "test"}
    training = work.training
    assert work.items == sorted({item for item in training.items() if item})
    labels = work._labels(training)
    for row in range(len(training)):
        values, item = training.values_of(row), training.items()[row]
        assert labels.items[row] == (-1 if item is None else work.items.index(item))
        for place, (attribute, value) in enumerate(work.tags):
            assert labels.tags[row, place] == (value in values.get(attribute, ()))
            assert labels.known[row, place] == (attribute in values), "not labelled is not no"
    assert labels.landmarks.shape == (len(training), 8, 3)
    assert ItemWork(recipe(tmp_path, losses={"id": 1})).tags == (), "no head for what no loss teaches"


def test_benchmarks_are_validated_on_items_of_the_training_split(tmp_path: Path) -> None:
    found = rows(18, split="train") + [
        {**row, "image": f"t{row['image']}", "item": f"t{row['item']}", "split": ("query", "gallery")[number % 2]}
        for number, row in enumerate(rows(4))
    ]
    work = ItemWork(recipe(write(tmp_path, found)))
    assert work.catalogue.splits() == ("train", "val", "query", "gallery")
    train, val = ({*part.items()} for part in (work.training, work.validation))
    assert len(val) == 2
    assert not train & val
    assert len(train | val) == 18
    assert len(work.items) == 16, "the classifier knows the training items only"


@settings(max_examples=40, deadline=None)
@given(
    cells=st.lists(st.tuples(st.sampled_from(["", "a", "b", "c"]), st.sampled_from(["", "x", "y", "x|y"])), min_size=3),
    count=st.integers(0, 6),
)
def test_the_most_frequent_tags(
    cells: list[tuple[str, str]], count: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("tags")
    found = [{"image": f"{number}.png", "one": one, "two": two} for number, (one, two) in enumerate(cells)]
    catalogue = Catalogue.read(write(folder, found), ["one", "two"])
    sizes: Counter[tuple[str, str]] = Counter()
    labelled: Counter[str] = Counter()
    for row in found:
        for attribute in ("one", "two"):
            for value in filter(None, row[attribute].split("|")):
                sizes[attribute, value] += 1
            labelled[attribute] += bool(row[attribute])
    able = {tag: size for tag, size in sizes.items() if 2 <= size < labelled[tag[0]]}
    chosen = frequent_tags(catalogue, ("one", "two"), count)
    assert list(chosen) == sorted(chosen), "in the order of attributes and values"
    assert len(chosen) == (min(count, len(able)) if count else len(able))
    left = [able[tag] for tag in able if tag not in chosen]
    assert all(able[tag] >= max(left, default=0) for tag in chosen)
    assert {attribute for attribute, _ in frequent_tags(catalogue, ("two",), count)} <= {"two"}


def test_attributes_restrict_the_tags_and_nothing_else(tmp_path: Path) -> None:
    path = write(tmp_path, rows())
    work = ItemWork(recipe(path, {"attributes": ["cut"], "tags": 0}, within="colour"))
    assert work.tags == (("cut", "long"), ("cut", "slim"), ("cut", "wide"))
    assert "colour" in work.training.attributes


def blank(found: list[Row], *names: str) -> list[Row]:
    return [{**row, **dict.fromkeys(names, "")} for row in found]


SINGLE = rows(12, 1, "train") + rows(12, 1, "val")
MISTAKES: list[tuple[str, list[Row], dict[str, Any], type[LapelError], str]] = [
    ("no items", blank(rows(), "item"), {}, CatalogueError, "has 0 items among its training images"),
    ("no items, what then", blank(rows(), "item"), {}, CatalogueError, "or train without items: training.losses={simc"),
    ("one image each", SINGLE, {"losses": {"triplet": 1}}, CatalogueError, "of which 0 have two images: training.loss"),
    ("one image each in val", SINGLE, {"losses": {"id": 1}}, CatalogueError, "no item of its split 'val' has two imag"),
    ("no tags", blank(rows(), "colour", "cut"), {}, CatalogueError, "has no tags to learn"),
    ("no landmarks", blank(rows(), "landmarks"), {}, CatalogueError, "leave landmarks out of training.losses"),
    (
        "nothing to validate landmarks on",
        rows(4, split="train") + blank(rows(4, split="val"), "landmarks"),
        {"losses": {"landmarks": 1}},
        CatalogueError,
        "its split 'val' has none of landmarks",
    ),
    ("unknown within", rows(), {"within": "color"}, CatalogueError, "training.within 'color'; did you mean 'colour'?"),
    ("no training", rows(split="val"), {}, CatalogueError, "'train'"),
    (
        "triplets",
        rows(),
        {"batching": "triplets", "losses": {}},
        RecipeError,
        "model 'ahbn' embeds items: set training",
    ),
    ("pairs", rows(), {"batching": "pairs", "losses": {}}, RecipeError, "found training.batching=pairs"),
    ("an attribute model", rows(), {"model": "agman"}, RecipeError, "set training.batching=triplets or pairs, and lea"),
    ("no such model", rows(), {"model": "ahbm"}, RecipeError, "unknown model 'ahbm'; did you mean 'ahbn'?"),
    ("not predicted", rows(), {"model": "pooled"}, RecipeError, "this PooledItem predicts no landmarks: leave landmar"),
]


@pytest.mark.parametrize(
    ("found", "changes", "kind", "message"), [row[1:] for row in MISTAKES], ids=[row[0] for row in MISTAKES]
)
def test_mistakes_are_named_before_anything_is_written(
    found: list[Row], changes: dict[str, Any], kind: type[LapelError], message: str, tmp_path: Path
) -> None:
    asked = recipe(write(tmp_path, found), **changes)
    with pytest.raises(kind) as error:
        train(asked, tmp_path / "run", quiet=True)
    assert message in str(error.value)
    assert not (tmp_path / "run").exists()


def test_no_catalogue_named() -> None:
    with pytest.raises(RecipeError, match=r"names no catalogue: --set data\.catalogue="):
        work_of(recipe(""))


def test_without_items_tags_or_landmarks_views_are_left(tmp_path: Path) -> None:
    """A shop with plain photos."""
    path = write(tmp_path, blank(rows(), "item", "colour", "cut", "landmarks"))
    work = work_of(recipe(path, model="pooled", losses={"simclr": 1}))
    assert isinstance(work, ItemWork)
    assert (work.items, work.tags) == ([], ())
    assert np.isnan(work._labels(work.training).landmarks).all()
