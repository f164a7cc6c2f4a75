"""Drawn garments as FashionAI's attribute images: two folders of pictures and lists of y, m and n."""

from __future__ import annotations

import hashlib
from typing import Any

from lapel.datasets.fashionai import LIST, PARTS
from lapel.datasets.fashionai_values import VALUES
from lapel.garments import Garment
from lapel.standins.studio import Drawn, Studio, View

VIEWS = 6
"""Pictures of each garment for each attribute it has."""

# What is drawn -> what FashionAI calls it, or what comes nearest.
_SKIRTS = {"mini": "Short Length", "knee": "Knee Length", "midi": "Midi Length", "maxi": "Floor Length"}
_PANTS = {"shorts": "Short Pant", "knee": "Mid Length", "ankle": "Full Length"}
_COATS = {"cropped": "High Waist Length", "hip": "Regular Length", "knee": "Knee Length", "midi": "Midi Length"}
_SLEEVES = {
    "sleeveless": "Sleeveless",
    "short": "Short Sleeves",
    "three_quarter": "3/4 Sleeves",
    "long": "Long Sleeves",
}
_COLLARS = {"none": "Invisible", "shirt": "Shirt Collar", "polo": "Rib Collar"}
_LAPELS = {"none": "Collarless", "notched": "Notched", "peak": "Plus Size Shawl", "shawl": "Shawl Collar"}
_NECKLINES = {
    "round": "Round Neckline",
    "v_neck": "V Neckline",
    "square": "Square Neckline",
    "boat": "Straight Neck",
    "high": "Invisible",
}
_NECKS = {"mandarin": "Low Turtle Neck", "hood": "Draped Collar"}


def values_of(garment: Garment) -> dict[str, str]:
    """Return FashionAI's value of every attribute that a garment has, in FashionAI's order."""
    kind, length = garment.category, garment.length
    found: dict[str, str | None] = {
        "skirt_length": _SKIRTS[length] if kind in ("skirt", "dress") else None,
        "sleeve_length": _SLEEVES.get(garment.sleeve_length or ""),
        "coat_length": _COATS[length] if kind in ("top", "coat") else None,
        "pant_length": _PANTS[length] if kind == "trousers" else None,
        "collar_design": _COLLARS.get(garment.collar or ""),
        "lapel_design": "Invisible" if kind == "top" else _LAPELS.get(garment.lapel or ""),
        "neckline_design": _neckline(garment),
        "neck_design": _neck(garment),
    }
    return {attribute: value for attribute, value in found.items() if value is not None}


def _neckline(garment: Garment) -> str | None:
    if garment.category not in ("top", "dress"):
        return None
    if garment.neckline == "v_neck" and garment.depth > 0.6:
        return "Deep V Neckline"
    return _NECKLINES.get(garment.neckline or "", "Invisible")


def _neck(garment: Garment) -> str | None:
    if garment.category in ("skirt", "trousers"):
        return None
    return "Turtle Neck" if garment.neckline == "high" else _NECKS.get(garment.collar or "", "Invisible")


def image_name(seed: int, item: int, view: int, part: str, attribute: str) -> str:
    """Return where a picture goes: 32 hexadecimal digits below its attribute's folder, as there."""
    digits = hashlib.md5(f"{seed} {item} {view}".encode(), usedforsecurity=False).hexdigest()
    return f"{part}/Images/{attribute}_labels/{digits}.jpg"


def draw(studio: Studio) -> Drawn:
    """Draw each garment ``VIEWS`` times for each attribute it has, in no order, half the pictures in either folder."""
    shown = []
    for item in range(studio.items):
        values = values_of(studio.garment(item)).items()
        shown += [(item, *pair) for pair in values for _ in range(VIEWS)]
    order = [shown[place] for place in studio.rng.permutation(len(shown))]
    rows: list[dict[str, Any]] = []
    labels: set[tuple[int, str, str]] = set()
    views: list[View] = []
    count = 0
    for number, part in enumerate(PARTS):
        lines = []
        for item, attribute, value in order[number * len(order) // 2 : (number + 1) * len(order) // 2]:
            image = image_name(studio.seed, item, count, part, attribute)
            views.append(View(image, item, count))
            letters = ["n"] * len(VALUES[attribute])
            place = VALUES[attribute].index(value)
            letters[place] = "y"
            # A tenth of the images may have a neighbouring value too, the first of all in any case.
            if not count or studio.rng.random() < 0.1:
                letters[place - 1 if place else 1] = "m"
            others = [name for name, letter in zip(VALUES[attribute], letters, strict=True) if letter == "m"]
            labels.add((len(rows), attribute, value))
            rows.append({"image": image, "maybe": others or None})
            lines.append(f"{image.removeprefix(part + '/')},{attribute}_labels,{''.join(letters)}\n")
            count += 1
        studio.write(f"{part}/{LIST}", "".join(lines))
    for _ in studio.draw(views):
        pass
    return Drawn(rows, labels, tuple(VALUES))
