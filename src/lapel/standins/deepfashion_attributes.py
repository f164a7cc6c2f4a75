"""Drawn garments as DeepFashion Category and Attribute Prediction: the coarse and the fine release below one root."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from lapel.datasets.deepfashion import CLOTHES
from lapel.garments import Garment
from lapel.landmarks import CUT_OFF, FULL, LANDMARKS, LOWER, PLACES, UPPER, VISIBLE
from lapel.standins.deepfashion import MARKS, box_text, landmark_text
from lapel.standins.studio import Drawn, Studio, View

VIEWS = 4
SPLITS = ("train", "train", "val", "test")
CATEGORIES = {
    "Anorak": UPPER, "Blazer": UPPER, "Blouse": UPPER, "Hoodie": UPPER, "Tee": UPPER,
    "Jeans": LOWER, "Shorts": LOWER, "Skirt": LOWER, "Coat": FULL, "Dress": FULL,
}  # fmt: skip

TYPES = ("texture", "fabric", "shape", "part", "style")
# In the order of the file, which is that of the alphabet, not of the types.
NAMES = {
    "a-line": 3, "abstract chevron print": 1, "belted": 4, "boat neck": 4, "boho": 5, "boxy": 3, "checked": 1,
    "classic": 5, "collar": 4, "cotton": 2, "crew neck": 4, "cropped": 3, "denim": 2, "faux leather": 2,
    "floral print": 1, "hooded": 4, "knit": 2, "long sleeve": 4, "maxi": 3, "midi": 3, "mini": 3, "minimal": 5,
    "pocket": 4, "polka dot": 1, "satin": 2, "short sleeve": 4, "skinny": 3, "sleeveless": 4, "sporty": 5,
    "square neck": 4, "striped": 1, "v-neck": 4,
}  # fmt: skip

FINE_TYPES = ("texture", "sleeve", "length", "neckline", "fabric", "fit")
FINE_NAMES = {
    "floral": 1, "graphic": 1, "striped": 1, "embroidered": 1, "pleated": 1, "solid": 1, "lattice": 1,
    "long_sleeve": 2, "short_sleeve": 2, "sleeveless": 2, "maxi_length": 3, "mini_length": 3, "no_dress": 3,
    "crew_neckline": 4, "v_neckline": 4, "square_neckline": 4, "no_neckline": 4, "denim": 5, "chiffon": 5,
    "cotton": 5, "leather": 5, "faux": 5, "knit": 5, "tight": 6, "loose": 6, "conventional": 6,
}  # fmt: skip

_PATTERN = {"stripe": "striped", "check": "checked", "dot": "polka dot", "floral": "floral print"}
_LENGTH = {"cropped": "cropped", "mini": "mini", "knee": "midi", "midi": "midi", "maxi": "maxi"}
_NECK = {"round": "crew neck", "v_neck": "v-neck", "square": "square neck", "boat": "boat neck"}
_SLEEVE = {"long": "long sleeve", "three_quarter": "long sleeve", "short": "short sleeve", "sleeveless": "sleeveless"}
_FABRIC = {"blue": "denim", "navy": "denim", "black": "faux leather", "brown": "faux leather", "white": "cotton",
           "beige": "cotton", "grey": "knit", "green": "knit"}  # fmt: skip


def draw(studio: Studio) -> Drawn:
    """Draw every item in four views and write both releases; return the account of the coarse one."""
    garments = [studio.garment(item) for item in range(studio.items)]
    views = [View(f"Img/{image}", place // VIEWS, place % VIEWS) for place, image in enumerate(_paths(garments))]
    rows: list[dict[str, Any]] = []
    labels: set[tuple[int, str, str]] = set()
    lists: dict[str, list[str]] = {name: [] for name in ("partition", "attributes", "categories", "boxes", "landmarks")}
    for place, (view, picture) in enumerate(studio.draw(views)):
        garment, image = garments[view.item], view.path.removeprefix("Img/")
        category, found = category_of(garment), coarse_labels(garment)
        kind = CATEGORIES[category]
        box, told = box_text(picture.box, " ")
        points, eight = landmark_text(picture.landmarks.tolist(), kind)
        split = SPLITS[view.item % len(SPLITS)]
        row = {"image": image, "split": split, "box": told, "landmarks": eight}
        rows.append(row | {"clothes_type": CLOTHES[kind]})
        labels |= {(place, TYPES[NAMES[name] - 1], name) for name in found} | {(place, "category", category)}
        # What is not labelled is a no, now and then unknown.
        cells = ["1" if name in found else str(studio.rng.choice([-1, -1, -1, 0])) for name in NAMES]
        lists["partition"].append(f"{image:<70}{split:<5}")
        lists["attributes"].append(f"{image:<70}" + " ".join(f"{cell:>2}" for cell in cells))
        lists["categories"].append(f"{image:<70}{list(CATEGORIES).index(category) + 1}")
        lists["boxes"].append(f"{image:<70}{box}")
        lists["landmarks"].append(f"{image:<70}{kind}  {points}")
    drawn = Drawn(rows, labels, (*TYPES, "category"))
    _write_coarse(studio, lists)
    _write_fine(studio, fine_account(drawn, garments))
    return drawn


def fine_account(drawn: Drawn, garments: Sequence[Garment]) -> Drawn:
    """Return what the importer must find in the fine release, whose images are the first three views of each item.

    Args:
        drawn: the account of the coarse release.
        garments: the items.
    """
    rows: list[dict[str, Any]] = []
    labels: set[tuple[int, str, str]] = set()
    for split in ("train", "val", "test"):
        for place, row in enumerate(drawn.rows):
            if row["split"] != split or place % VIEWS == VIEWS - 1:
                continue
            garment = garments[place // VIEWS]
            marks = [tuple(row["landmarks"][at : at + 2]) for at in range(0, 3 * len(LANDMARKS), 3)]
            seen = [(x, y, VISIBLE if x or y else CUT_OFF) for x, y in marks]
            labels |= {(len(rows), FINE_TYPES[FINE_NAMES[name] - 1], name) for name in fine_labels(garment)}
            labels.add((len(rows), "category", category_of(garment)))
            rows.append(row | {"landmarks": [number for point in seen for number in point]})
    return Drawn(rows, labels, (*FINE_TYPES, "category"))


def category_of(garment: Garment) -> str:
    """Return the category of a garment."""
    if garment.category == "top":
        return {"hood": "Hoodie", "shirt": "Blouse"}.get(garment.collar or "", "Tee")
    if garment.category == "coat":
        return "Blazer" if garment.collar is None else {"hood": "Anorak"}.get(garment.collar, "Coat")
    return "Dress" if garment.category == "dress" else _lower(garment)


def coarse_labels(garment: Garment) -> set[str]:
    """Return the attribute labels of a garment."""
    classic = garment.lapel in ("notched", "peak") or garment.collar == "shirt"
    found = {
        _PATTERN.get(garment.pattern),
        _FABRIC.get(garment.colour, "satin"),
        _LENGTH.get(garment.length),
        "a-line" if garment.flare > 0.7 else "skinny" if garment.fit < 0.25 else "boxy" if garment.fit > 0.75 else None,
        _NECK.get(garment.neckline or ""),
        _SLEEVE.get(garment.sleeve_length or ""),
        {"hood": "hooded", "none": None, None: None}.get(garment.collar, "collar"),
        "pocket" if garment.pocket else None,
        "belted" if garment.belt else None,
        "classic" if classic else {"floral": "boho", "solid": "minimal"}.get(garment.pattern, "sporty"),
    }
    return {name for name in found if name is not None}


def fine_labels(garment: Garment) -> set[str]:
    """Return the labels of a garment in the fine release: one of each type."""
    textures = {"stripe": "striped", "check": "lattice", "dot": "graphic"}
    necks = {"round": "crew_neckline", "v_neck": "v_neckline", "square": "square_neckline"}
    fabric = _FABRIC.get(garment.colour, "chiffon")
    long = garment.length in ("midi", "maxi")
    return {
        textures.get(garment.pattern, garment.pattern),
        _SLEEVE.get(garment.sleeve_length or "", "sleeveless").replace(" ", "_"),
        "no_dress" if garment.category != "dress" else "maxi_length" if long else "mini_length",
        necks.get(garment.neckline or "", "no_neckline"),
        "faux" if fabric == "faux leather" else fabric,
        "tight" if garment.fit < 0.33 else "loose" if garment.fit > 0.66 else "conventional",
    }


def _lower(garment: Garment) -> str:
    return "Skirt" if garment.category == "skirt" else "Shorts" if garment.length == "shorts" else "Jeans"


def _paths(garments: Sequence[Garment]) -> list[str]:
    """Return the image paths, all views of an item after each other; a folder is a product name, as in the original."""
    numbers: Counter[str] = Counter()
    paths = []
    for garment in garments:
        words = f"{garment.colour} {garment.pattern}-{garment.length} {category_of(garment)}"
        folder = words.replace("_", "-").replace(" ", "_").title()
        for _ in range(VIEWS):
            numbers[folder] += 1
            paths.append(f"img/{folder}/img_{numbers[folder]:08d}.jpg")
    return paths


def _write_coarse(studio: Studio, lists: dict[str, list[str]]) -> None:
    anno = "Anno_coarse/list_"
    names = [f"{name:<29}{kind}" for name, kind in NAMES.items()]
    categories = [f"{name} {kind}" for name, kind in CATEGORIES.items()]
    studio.write_list("Eval/list_eval_partition.txt", "image_name  evaluation_status", lists["partition"])
    studio.write_list(f"{anno}attr_cloth.txt", "attribute_name  attribute_type", names)
    studio.write_list(f"{anno}attr_img.txt", "image_name  attribute_labels", lists["attributes"])
    studio.write_list(f"{anno}category_cloth.txt", "category_name  category_type", categories)
    studio.write_list(f"{anno}category_img.txt", "image_name  category_label", lists["categories"])
    studio.write_list(f"{anno}bbox.txt", "image_name  x_1  y_1  x_2  y_2", lists["boxes"])
    studio.write_list(f"{anno}landmarks.txt", f"image_name  clothes_type  {MARKS}", lists["landmarks"])


def _write_fine(studio: Studio, drawn: Drawn) -> None:
    """Write the row-aligned files of the fine release; its landmarks are x y without visibility, zeros at the end."""
    names = [f"{name} {kind}" for name, kind in FINE_NAMES.items()]
    studio.write_list("Anno_fine/list_attr_cloth.txt", "attribute_name  attribute_type", names)
    categories = [f"{name} {kind}" for name, kind in CATEGORIES.items()]
    studio.write_list("Anno_fine/list_category_cloth.txt", "category_name  category_type", categories)
    for split in ("train", "val", "test"):
        lines: dict[str, list[str]] = {name: [] for name in ("", "_attr", "_cate", "_bbox", "_landmarks")}
        for place, row in enumerate(drawn.rows):
            if row["split"] != split:
                continue
            found = {value for at, _, value in drawn.labels if at == place}
            category = next(iter(found & set(CATEGORIES)))
            marks = [row["landmarks"][3 * at : 3 * at + 2] for at in PLACES[CATEGORIES[category]]]
            marks += [[0, 0]] * (len(LANDMARKS) - len(marks))
            lines[""].append(row["image"])
            lines["_attr"].append(" ".join(str(int(name in found)) for name in FINE_NAMES) + " ")
            lines["_cate"].append(str(list(CATEGORIES).index(category) + 1))
            lines["_bbox"].append(" ".join(f"{number:03d}" for number in row["box"] or [0, 0, 0, 0]))
            lines["_landmarks"].append(" ".join(f"{number:03d}" for point in marks for number in point))
        for name, text in lines.items():
            studio.write(f"Anno_fine/{split}{name}.txt", "".join(f"{line}\n" for line in text))
