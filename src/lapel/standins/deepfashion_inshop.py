"""Drawn garments as the DeepFashion In-Shop benchmark: lists below Anno and Eval, pictures below Img/img."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

from lapel.datasets.deepfashion import CLOTHES as CLOTHES_NAMES
from lapel.datasets.deepfashion import VARIATIONS
from lapel.garments import Garment
from lapel.garments.spec import VALUES
from lapel.landmarks import FULL, LOWER, UPPER
from lapel.standins.deepfashion import MARKS, box_text, landmark_text
from lapel.standins.studio import Drawn, Studio, View

ATTRIBUTES = ("category", "gender", "attribute", "colour")
CLOTHES = {"top": UPPER, "coat": UPPER, "skirt": LOWER, "trousers": LOWER, "dress": FULL}

# View in the file name -> pose in the list of boxes.
VIEWS = (
    ("1_front", 1, "front"),
    ("2_side", 2, "side"),
    ("3_back", 3, "back"),
    ("4_full", 4, "zoom-out"),
    ("7_additional", 5, "zoom-in"),
    ("6_flat", 6, "stand-alone"),
)


def draw(studio: Studio) -> Drawn:
    """Draw every item in four views; half of the items are for training, the others' views in turn asked and ranked."""
    names = label_names()
    views: list[View] = []
    rows: list[dict[str, Any]] = []
    labels: set[tuple[int, str, str]] = set()
    partition, boxes, landmarks, matrix, descriptions = [], [], [], [], []
    for item in range(studio.items):
        garment, code = studio.garment(item), f"id_{item + 1:08d}"
        gender = "WOMEN" if garment.category in ("dress", "skirt") or studio.rng.random() < 0.5 else "MEN"
        category, variant = category_of(garment, gender), f"{studio.rng.integers(1, 3):02d}"
        of_item = labels_of(garment)
        others = studio.rng.choice([-1, -1, -1, 0], len(names)).tolist()
        cells = ["1" if name in of_item else str(other) for name, other in zip(names, others, strict=True)]
        # Rows of the real file can repeat.
        matrix += [f"{code} {' '.join(cells)}"] * (2 if item == 1 else 1)
        colour = garment.colour.capitalize()
        words = [f"A {garment.colour} {garment.category}.", f"{garment.pattern.capitalize()} cloth, {garment.length}"]
        if item != 2:  # not every item is described
            descriptions.append({"item": code, "color": colour, "description": words})
        first = int(studio.rng.integers(len(VIEWS)))
        for view in range(4):
            file, pose, pose_name = VIEWS[(first + view) % len(VIEWS)]
            split = "train" if item % 2 == 0 else ("query", "gallery")[view % 2]
            image = f"img/{gender}/{category}/{code}/{variant}_{file}.jpg"
            variation = int(studio.rng.integers(1, 6))
            partition.append(f"{image:<72}{code:<12}{split:<8}")
            boxes.append(f"{image:<72}{{clothes}}  {pose}  {{box}}")
            landmarks.append(f"{image:<72}{{clothes}}  {variation}  {{points}}")
            row: dict[str, Any] = {"image": image, "item": code, "split": split, "domain": "shop"}
            row |= {"view": file[2:], "variant": variant}
            row |= {"pose": pose_name, "variation": VARIATIONS[variation]}
            row |= {"description": None if item == 2 else " ".join(words)}
            labels |= {(len(rows), "category", category), (len(rows), "gender", gender)}
            labels |= {(len(rows), "attribute", name) for name in of_item}
            labels |= set() if item == 2 else {(len(rows), "colour", colour)}
            rows.append(row)
            views.append(View(f"Img/{image}", item, view))
    for place, (drawn, picture) in enumerate(studio.draw(views)):
        clothes = CLOTHES[studio.garment(drawn.item).category]
        box, told = box_text(picture.box)
        points, eight = landmark_text(picture.landmarks.tolist(), clothes)
        rows[place] |= {"clothes_type": CLOTHES_NAMES[clothes], "box": told, "landmarks": eight}
        boxes[place] = boxes[place].format(clothes=clothes, box=box)
        landmarks[place] = landmarks[place].format(clothes=clothes, points=points)
    studio.write_list("Eval/list_eval_partition.txt", "image_name item_id evaluation_status", partition)
    studio.write_list("Anno/list_bbox_inshop.txt", "image_name clothes_type pose_type x_1 y_1 x_2 y_2", boxes)
    studio.write_list("Anno/list_landmarks_inshop.txt", f"image_name clothes_type variation_type {MARKS}", landmarks)
    studio.write_list("Anno/list_item_inshop.txt", None, [f"id_{item + 1:08d}" for item in range(studio.items)])
    studio.write_list("Anno/list_attr_cloth.txt", "attribute_name", names)
    studio.write_list("Anno/list_attr_items.txt", "item_id attribute_labels", matrix)
    studio.write("Anno/list_description_inshop.json", json.dumps(descriptions))
    return Drawn(rows, labels, ATTRIBUTES)


def category_of(garment: Garment, gender: str) -> str:
    """Return the folder of a garment."""
    men = gender == "MEN"
    if garment.category == "dress":
        return "Dresses"
    if garment.category == "skirt":
        return "Skirts"
    if garment.category == "trousers":
        return "Shorts" if garment.length == "shorts" else "Pants"
    if garment.category == "coat":
        return "Jackets_Vests" if men else "Jackets_Coats"
    if garment.collar == "hood":
        return "Sweatshirts_Hoodies"
    if garment.collar in ("shirt", "polo"):
        return "Shirts_Polos" if men else "Blouses_Shirts"
    return "Tees_Tanks"


def labels_of(garment: Garment) -> set[str]:
    """Return the attribute names of a garment."""
    found = {garment.pattern, f"{garment.colour} {garment.pattern}", "heather grey" if garment.colour == "grey" else ""}
    found |= {f"{value} {name}" for name, value in _shape(garment).items() if value not in (None, "none")}
    traits = {
        "pleated": garment.pleats,
        "belted": garment.belt,
        "pocket": garment.pocket,
        "lightweight": garment.fit > 0.5,
    }
    return {name.replace("_", " ") for name in found if name} | {name for name, there in traits.items() if there}


def label_names(count: int = 463) -> list[str]:
    """Return as many attribute names as the real list has; the first can be a garment's."""
    names = ["lightweight", "heather grey", "pleated", "belted", "pocket", *VALUES["pattern"]]
    names += [f"{value} {name}" for name in _SHAPES for value in VALUES[name] if value != "none"]
    names += [f"{colour} {pattern}" for colour, pattern in product(VALUES["colour"], VALUES["pattern"])]
    names += [" ".join(words) for words in product(VALUES["colour"], VALUES["pattern"], VALUES["category"])]
    names += [f"trim {number}" for number in range(count)]
    return [name.replace("_", " ") for name in names[:count]]


_SHAPES = ("neckline", "collar", "lapel", "sleeve_length", "length")


def _shape(garment: Garment) -> dict[str, str | None]:
    return {name: getattr(garment, name) for name in _SHAPES}
