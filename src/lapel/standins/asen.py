"""Drawn garments as ASEN's lists of FashionAI, DeepFashion and DARN: one folder of pictures and lists for each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lapel.datasets.asen import SPLITS
from lapel.datasets.fashionai import PARTS
from lapel.datasets.fashionai_values import VALUES as NAMED
from lapel.garments import ATTRIBUTES, Garment
from lapel.garments.spec import VALUES
from lapel.standins.fashionai import image_name, values_of
from lapel.standins.studio import Drawn, Studio, View

META: dict[str, dict[str, int]] = {
    "FashionAI": {attribute: len(values) for attribute, values in NAMED.items()},
    "DARN": {
        "clothes category": 20,
        "clothes button": 13,
        "clothes color": 55,
        "clothes length": 7,
        "clothes pattern": 28,
        "clothes shape": 11,
        "collar shape": 26,
        "sleeve length": 8,
        "sleeve shape": 17,
    },
    "DeepFashion": {
        "texture-related": 156,
        "fabric-related": 218,
        "shape-related": 180,
        "part-related": 216,
        "style-related": 230,
    },
}
"""Data set -> attribute -> number of values, as in ``meta.json``."""

VIEWS = ("train", "train", "train", "valid", "valid", "test", "test")
"""Split of each picture of an item (in FashionAI: of an item for an attribute); of two, one is a query."""


@dataclass(frozen=True)
class _Image:
    """A picture of a data set: its path there, and its values."""

    path: str
    view: View
    split: str
    query: bool
    values: tuple[tuple[int, int], ...]


@dataclass
class Lists:
    """What is written of one data set, and what its importer must find."""

    files: dict[str, list[str]] = field(default_factory=dict)
    pictures: dict[str, View] = field(default_factory=dict)
    drawn: Drawn = field(default_factory=lambda: Drawn([], set(), ()))


def draw(studio: Studio) -> Drawn:
    """Draw all three data sets, each picture once, and return what FashionAI's shows."""
    lists = {variant: lists_of(studio, variant) for variant in META}
    meta = {name: {"ATTRIBUTES": list(counts), "ATTRIBUTES_NUM": counts} for name, counts in META.items()}
    studio.write("meta.json", json.dumps(meta, indent="\t"))
    views = {view.path: view for found in lists.values() for view in found.pictures.values()}
    for _ in studio.draw(list(views.values())):
        pass
    for variant, found in lists.items():
        for name, lines in found.files.items():
            studio.write(f"{variant}/{name}.txt", "".join(f"{line}\n" for line in lines))
        for path, view in found.pictures.items():
            if path != view.path:
                studio.write(path, (studio.to / view.path).read_bytes())
    return lists["FashionAI"].drawn


def draw_variant(studio: Studio, variant: str) -> Drawn:
    """Return what ``draw`` shows of one data set, drawing nothing: items and seed of the studio decide.

    Raises:
        KeyError: no such data set.
    """
    return lists_of(studio, variant).drawn


def lists_of(studio: Studio, variant: str) -> Lists:
    """Return the lists of one data set; the studio's own randomness is left alone, so that they can be asked again."""
    images = [image for item in range(studio.items) for image in _IMAGES[variant](studio, item)]
    rng = np.random.default_rng([studio.seed, len(variant)])
    images = [images[place] for place in rng.permutation(len(images))]
    names = list(META[variant])
    found = Lists(drawn=Drawn([], set(), tuple(names), {"queries": []}))
    for split, ours in SPLITS.items():
        own = [image for image in images if image.split == split]
        found.files[f"filenames_{split}"] = [image.path for image in own]
        for image in own:
            row = len(found.drawn.rows)
            found.drawn.rows.append({"image": image.path, "split": ours})
            found.drawn.labels.update((row, names[a], _value(variant, names[a], v)) for a, v in image.values)
            found.pictures[f"{variant}/{image.path}"] = image.view
        if split == "train":
            pairs = (" ".join(f"{a} {v}" for a, v in image.values) for image in own)
            found.files["label_train"] = [f"{number} {text}".strip() for number, text in enumerate(pairs)]
            continue
        for role in ("query", "candidate"):
            lines = found.files[f"{role}_{split}"] = []
            for number, image in enumerate(own):
                for a, v in image.values if image.query == (role == "query") else ():
                    lines.append(f"{number} {a} {v}")
                    entry = {"split": ours, "role": role, "attribute": names[a]}
                    entry |= {"value": _value(variant, names[a], v), "image": image.path}
                    found.drawn.relations["queries"].append(entry)
    return found


def _value(variant: str, attribute: str, number: int) -> str:
    return NAMED[attribute][number] if variant == "FashionAI" else str(number)


def _fashionai(studio: Studio, item: int) -> list[_Image]:
    """Return the pictures of an item: several for each attribute, each with that attribute alone."""
    found: list[_Image] = []
    order = list(NAMED)
    for attribute, value in values_of(studio.garment(item)).items():
        pair = (order.index(attribute), NAMED[attribute].index(value))
        for number, split in enumerate(VIEWS):
            view = len(found)
            name = image_name(studio.seed, item, view, PARTS[view % 2], attribute)
            found.append(_image(name, studio, item, view, split, number, [pair]))
    return found


def _deepfashion(studio: Studio, item: int) -> list[_Image]:
    """Return the pictures of an item, with several values of an attribute; some items have none of any."""
    garment = studio.garment(item)
    name = f"img/Drawn_{garment.pattern.capitalize()}_{garment.category.capitalize()}_{item}"
    # The released files have no names for their numbers: these stand for what is drawn.
    part = [_number(garment, attribute, 216) for attribute in ("neckline", "collar", "lapel", "sleeve_length")]
    style = [3 * place for place, has in enumerate((garment.pleats, garment.belt, garment.pocket)) if has]
    values = [
        (0, _number(garment, "pattern", 156)),
        (1, _number(garment, "colour", 218)),
        (2, _number(garment, "category", 180)),
        (2, _number(garment, "length", 180)),
        *((3, number) for number in part),
        *((4, number) for number in style),
    ]
    pairs = [(attribute, number) for attribute, number in values if number is not None and item % 8 != 7]
    return [
        _image(f"{name}/img_{number + 1:08d}.jpg", studio, item, number, split, number, pairs)
        for number, split in enumerate(VIEWS)
    ]


def _darn(studio: Studio, item: int) -> list[_Image]:
    """Return the pictures of an item, with one value of each attribute that can be told."""
    garment = studio.garment(item)
    given: list[tuple[str, int | None]] = [
        ("clothes category", _number(garment, "category", 20)),
        ("clothes button", ("button", "zip", "double").index(garment.closure)),
        ("clothes color", _number(garment, "colour", 55)),
        ("clothes length", min(6, VALUES["length"].index(garment.length))),
        ("clothes pattern", _number(garment, "pattern", 28)),
        ("clothes shape", int(garment.fit * 3)),
        ("collar shape", _number(garment, "collar", 26)),
        ("sleeve length", _number(garment, "sleeve_length", 8)),
    ]
    order = list(META["DARN"])
    pairs = [(order.index(name), number) for name, number in given if number is not None]
    return [
        _image(f"pic/{item:05d}_{number}.jpg", studio, item, number, split, number, pairs)
        for number, split in enumerate(VIEWS)
    ]


_IMAGES = {"FashionAI": _fashionai, "DARN": _darn, "DeepFashion": _deepfashion}


def _number(garment: Garment, attribute: str, below: int) -> int | None:
    """Return a number for a garment's value, other numbers for other attributes where there is room."""
    value = garment.labels.get(attribute)
    if value is None:
        return None
    start = 8 * ATTRIBUTES.index(attribute) if below > 8 * len(ATTRIBUTES) + 8 else 0
    return start + VALUES[attribute].index(value)


def _image(
    path: str, studio: Studio, item: int, view: int, split: str, number: int, pairs: Sequence[tuple[int, int]]
) -> _Image:
    """Return a picture; every data set shows the pictures that FashionAI's has of the item."""
    attribute = list(values_of(studio.garment(item)))[view // len(VIEWS)]
    kept = image_name(studio.seed, item, view, PARTS[view % 2], attribute)
    domain = "consumer" if view % 3 == 2 else "shop"
    return _Image(path, View(f"FashionAI/{kept}", item, view, domain), split, number % 2 == 0, tuple(pairs))
