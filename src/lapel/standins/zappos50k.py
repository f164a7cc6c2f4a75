"""A stand-in for UT-Zappos50K with the triplet lists: garments for shoes, their values put in the shoes' words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lapel.datasets.zappos50k import ATTRIBUTES, HEEL_HEIGHTS
from lapel.datasets.zappos_triplets import CONDITIONS, SPLITS, list_name
from lapel.garments import VALUES, Garment
from lapel.standins.studio import Drawn, Studio, View

VIEWS = {"train": 3, "val": 1, "test": 2}
"""How many views of each item a split has."""

PER_ANCHOR = 3

_HEADER = "CID,Category,SubCategory,HeelHeight,Insole,Closure,Gender,Material,ToeStyle"
_BRANDS = {
    "Bostonian": "Bostonian",
    "L.A.M.B.": "L.A.M.B%2E",
    "Levi's": "Levi&#39;s",
    "Garment Co.": "Garment Co",
}
"""A brand in the lists -> on disk, where a last full stop is escaped or lost."""

_CATEGORIES = {"top": "Shoes", "dress": "Boots", "skirt": "Sandals", "trousers": "Slippers", "coat": "Boots"}
_SUBCATEGORIES = {
    "Shoes": ("Oxfords", "Loafers", "Heels"),
    "Boots": ("Ankle", "Mid-Calf", "Knee High"),
    "Sandals": ("Flat", "Heel"),
    "Slippers": ("Slipper Flats", "Slipper Heels"),
}
_CLOSURES = {"button": "Lace up", "zip": "Zipper", "double": "Buckle"}
_GENDERS = {"solid": "Women", "stripe": "Men", "check": "Men;Women", "dot": "Girls", "floral": "Boys"}
_MATERIALS = ("Leather", "Suede", "Canvas", "Rubber", "Satin")
_TOES = {"round": "Round Toe", "v_neck": "Pointed Toe", "square": "Square Toe", "boat": "Open Toe", "high": "Peep Toe"}


@dataclass(frozen=True)
class _Picture:
    listed: str
    disk: str
    item: int
    view: int
    split: str


def draw(studio: Studio) -> Drawn:
    """Draw the stand-in: six views of each item, all in the triplets of one split, and one in no triplets."""
    pictures = sorted(_pictures(studio), key=lambda picture: picture.listed)
    for _ in studio.draw([View(f"ut-zap50k-images/{one.disk}", one.item, one.view) for one in pictures]):
        pass
    cells = [_cells(studio.garment(item)) for item in range(studio.items)]
    values = [_values(row) for row in cells]
    studio.write("data/filenames.json", "".join(f"{one.listed}\n" for one in pictures))
    table = [",".join([_cid(one), *cells[one.item].values()]) for one in sorted(pictures, key=_cid)]
    studio.write("ut-zap50k-data/meta-data.csv", "\n".join([_HEADER, *table]) + "\n")
    relation, member = [], [""] * len(pictures)
    for condition, attribute in CONDITIONS.items():
        of_image = [set(values[one.item].get(attribute, ())) for one in pictures]
        for split in SPLITS:
            triplets = _triplets(studio.rng, of_image, [one.split == split for one in pictures])
            studio.write(list_name(condition, split), "".join(f"{a} {far} {close}\n" for a, far, close in triplets))
            for anchor, far, close in triplets:
                names = {"anchor": anchor, "positive": close, "negative": far}
                images = {role: pictures[number].disk for role, number in names.items()}
                relation.append({"split": split, "attribute": attribute} | images)
                for number in names.values():
                    member[number] = split
    rows = [
        {"image": one.disk, "split": split or None, "cid": _cid(one), "brand": one.listed.split("/")[2]}
        for one, split in zip(pictures, member, strict=True)
    ]
    labels = {
        (row, attribute, value)
        for row, one in enumerate(pictures)
        for attribute, found in values[one.item].items()
        for value in found
    }
    return Drawn(rows, labels, ATTRIBUTES, {"triplets": relation})


def _pictures(studio: Studio) -> list[_Picture]:
    found = []
    brands = list(_BRANDS)
    splits = [split for split, count in VIEWS.items() for _ in range(count)]
    for item in range(studio.items):
        cells = _cells(studio.garment(item))
        brand = brands[item % len(brands)]
        for view, split in enumerate([*splits, ""] if item % 8 == 0 else splits):
            file = f"{100627 + 13 * item}.{72 + view}.jpg"
            folder = f"{cells['category']}/{cells['subcategory']}"
            found.append(_Picture(f"{folder}/{brand}/{file}", f"{folder}/{_BRANDS[brand]}/{file}", item, view, split))
    return found


def _cid(picture: _Picture) -> str:
    return picture.listed.rpartition("/")[2].removesuffix(".jpg").replace(".", "-")


def _cells(garment: Garment) -> dict[str, str]:
    """Return a garment as a row of meta-data.csv, in the order of its columns."""
    category = _CATEGORIES[garment.category]
    length = VALUES["length"].index(garment.length)
    closures = [_CLOSURES[garment.closure], *(["Ankle Strap"] if garment.belt else [])]
    # The table has blanks round the dash; the eighth length has no heel.
    heel = HEEL_HEIGHTS[length].replace("-", " - ") if length < len(HEEL_HEIGHTS) else ""
    return {
        "category": category,
        "subcategory": _SUBCATEGORIES[category][length % len(_SUBCATEGORIES[category])],
        "heel_height": heel,
        "insole": "Padded" if garment.pocket else "Removable" if garment.pleats else "",
        "closure": ";".join(closures),
        "gender": _GENDERS[garment.pattern],
        "material": _MATERIALS[VALUES["colour"].index(garment.colour) % len(_MATERIALS)],
        "toe_style": _TOES.get(garment.neckline or "", ""),
    }


def _values(cells: Mapping[str, str]) -> dict[str, list[str]]:
    """Return attribute -> values of a row, as they are to be read."""
    return {name: cell.replace(" - ", "-").split(";") for name, cell in cells.items() if cell}


def _triplets(rng: np.random.Generator, values: list[set[str]], among: list[bool]) -> list[tuple[int, int, int]]:
    """Return anchor, far, close: close has a value of the anchor's, far has others only."""
    able = [row for row, inside in enumerate(among) if inside and values[row]]
    found = []
    for anchor in able:
        close = [row for row in able if row != anchor and values[row] & values[anchor]]
        far = [row for row in able if not values[row] & values[anchor]]
        if close and far:
            for _ in range(PER_ANCHOR):
                found.append((anchor, int(rng.choice(far)), int(rng.choice(close))))
    return found
