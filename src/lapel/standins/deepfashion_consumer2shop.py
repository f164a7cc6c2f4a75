"""Drawn garments as the DeepFashion Consumer-to-Shop benchmark, with its misspelt names, BOM, CRLF and empty boxes."""

from __future__ import annotations

from typing import Any

from lapel.datasets.deepfashion import CLOTHES as CLOTHES_NAMES
from lapel.datasets.deepfashion import VARIATIONS
from lapel.garments import Garment
from lapel.garments.spec import VALUES
from lapel.standins.deepfashion import MARKS, box_text, landmark_text
from lapel.standins.deepfashion_inshop import CLOTHES
from lapel.standins.studio import Drawn, Studio, View

TYPES = (
    "upper length", "trouser type", "details", "buttons", "trouser length", "style", "fabric", "waistline",
    "texture elements", "graphics", "dress length", "dress design", "sleeve length", "fit", "collar",
    "skirt/dress type", "thickness", "sleeve type",
)  # fmt: skip
COUNTS = (14, 9, 77, 7, 8, 26, 21, 7, 15, 39, 12, 10, 9, 8, 11, 12, 7, 11)
ATTRIBUTES = ("category", *TYPES)

_CHINESE = (
    "衣长", "裤型", "细节", "扣子", "裤长", "风格", "面料", "腰线", "纹理",
    "图案", "裙长", "裙款", "袖长", "版型", "领子", "裙型", "厚薄", "袖型",
)  # fmt: skip
# The first line that the facts of the data set quote; the others are named by their type and number.
_FIRST = ("常规款（51-65cm）", "Regular length (51-65cm)")
_REPEATED = ("buttons", 5, "Buttons 2")  # two Chinese names of one English name, as the real list has


def draw(studio: Studio) -> Drawn:
    """Draw two consumer images and one or two shop images of every item, half of the items for training."""
    names = label_names()
    views: list[View] = []
    rows: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    labels: set[tuple[int, str, str]] = set()
    partition, matrix = [], []
    for item in range(studio.items):
        garment, code = studio.garment(item), f"id_{item + 1:08d}"
        split = ("train", "test", "train", "val")[item % 4]
        group, category = folder_of(garment)
        folder = f"img/{group}/{category}/{code}"
        chosen = {(name, place % COUNTS[TYPES.index(name)]) for name, place in places_of(garment, studio).items()}
        others = studio.rng.choice([-1, -1, -1, 0], len(names)).tolist()
        cells = ["1" if key in chosen else str(other) for key, other in zip(names, others, strict=True)]
        matrix.append(f"{code}   {' '.join(cells)}")
        shops = [f"{folder}/shop_01.jpg"] + ([f"{folder}/shop_03.jpg"] if item % 3 == 1 else [])
        consumers = [f"{folder}/comsumer_{number:02d}.jpg" for number in (1, 2)]
        listed: dict[str, int] = {}
        for number, consumer in enumerate(consumers):
            # The first is listed with every colour-way, the second with the first only.
            for shop in shops[: None if number == 0 else 1]:
                partition.append(f"{consumer:<64}{shop:<64}{code} {split}")
                pairs.append({"split": split, "query": consumer, "gallery": shop, "item": code})
                listed |= {name: 0 for name in (consumer, shop) if name not in listed}
        for view, image in enumerate(listed):
            domain = "shop" if image in shops else "consumer"
            labels |= {(len(rows), "category", category)}
            labels |= {(len(rows), name, names[name, place]) for name, place in chosen}
            rows.append({"image": image, "item": code, "split": split, "domain": domain, "group": group})
            views.append(View(f"Img/{image}", item, view, domain))
    boxes, landmarks = [], []
    for place, (drawn, picture) in enumerate(studio.draw(views)):
        row, variation = rows[place], int(studio.rng.integers(1, 6))
        clothes = CLOTHES[studio.garment(drawn.item).category]
        x1, y1, x2, y2 = picture.box
        # Some boxes of the real list have no size.
        box, told = box_text((x1, y1, x1 if place % 11 == 5 else x2, y2))
        points, eight = landmark_text(picture.landmarks.tolist(), clothes)
        row |= {"clothes_type": CLOTHES_NAMES[clothes], "variation": VARIATIONS[variation]}
        row |= {"box": told, "landmarks": eight}
        boxes.append(f"{row['image']:<64}{clothes}  {1 if row['domain'] == 'shop' else 2}  {box}")
        landmarks.append(f"{row['image']:<64}{clothes}  {variation}  {points}")
    header = "image_pair_name_1 image_pair_name_2 item_id evaluation_status"
    studio.write_list("Eval/list_eval_partition.txt", header, partition)
    header = "image_name clothes_type source_type x_1 y_1 x_2 y_2"
    studio.write_list("Anno/list_bbox_consumer2shop.txt", header, boxes)
    header = f"image_name clothes_type variation_type {MARKS}"
    studio.write_list("Anno/list_landmarks_consumer2shop.txt", header, landmarks)
    codes = [f"id_{item + 1:08d}" for item in range(studio.items)]
    studio.write_list("Anno/list_item_consumer2shop.txt", None, codes)
    studio.write_list("Anno/list_attr_items.txt", "item_id attribute_labels", matrix)
    header = f"{'attribute_type (Chinese)':<30}attribute_type (English)"
    types = [f"{chinese:<28}{name}" for chinese, name in zip(_CHINESE, TYPES, strict=True)]
    studio.write_list("Anno/list_attr_type.txt", header, types)
    header = f"{'attribute_name (Chinese)':<33}{'attribute_name (English)':<45}attribute_type"
    lines = cloth_lines(names)
    studio.write_list("Anno/list_attr_cloth.txt", header, lines, end="\r\n", bom=True)
    return Drawn(rows, labels, ATTRIBUTES, {"pairs": pairs})


def label_names() -> dict[tuple[str, int], str]:
    """Return (type, number within it) -> English name, in the order of the list."""
    names = {
        (kind, number): f"{kind.capitalize()} {number + 1}"
        for kind, count in zip(TYPES, COUNTS, strict=True)
        for number in range(count)
    }
    kind, number, name = _REPEATED
    return names | {(TYPES[0], 0): _FIRST[1], (kind, number): name}


def cloth_lines(names: dict[tuple[str, int], str]) -> list[str]:
    """Return the rows of list_attr_cloth.txt: Chinese name, English name, type from 1; four with trailing blanks."""
    lines = []
    for place, ((kind, number), english) in enumerate(names.items()):
        chinese = f"{_CHINESE[TYPES.index(kind)]} {number + 1}" if place else _FIRST[0]
        blanks = "  " if place in (26, 40, 128, 177) else ""
        lines.append(f"{chinese:<27}{english:<44}{TYPES.index(kind) + 1}{blanks}")
    return lines


def folder_of(garment: Garment) -> tuple[str, str]:
    """Return the two folders of a garment."""
    if garment.category == "dress":
        return "DRESSES", "Dress"
    if garment.category == "skirt":
        return "DRESSES", "Skirt"
    if garment.category == "trousers":
        return "TROUSERS", "Pants"
    if garment.category == "coat":
        return "CLOTHING", "Coat"
    if garment.sleeve_length in ("sleeveless", "short"):
        return "CLOTHING", "Summer_Wear"
    return "TOPS", "T_Shirt"


def places_of(garment: Garment, studio: Studio) -> dict[str, int]:
    """Return type -> number of the value that a garment shows; what it cannot have is left out."""
    length, pattern = VALUES["length"].index(garment.length), VALUES["pattern"].index(garment.pattern)
    found = {"texture elements": pattern, "graphics": pattern, "style": garment.texture % 3}
    found |= {"fabric": garment.texture % 5, "thickness": int(garment.fit * 3), "fit": int(garment.fit * 4)}
    found |= {"details": 2 * garment.pleats + garment.belt}
    if garment.category in ("top", "coat"):
        # The fifth of the buttons has the English name of the second.
        place = ("button", "zip", "double").index(garment.closure)
        found |= {"upper length": length, "buttons": 5 if place == 1 and studio.rng.random() < 0.5 else place}
    if garment.category == "trousers":
        found |= {"trouser type": int(garment.flare * 3), "trouser length": length, "waistline": int(garment.depth * 3)}
    if garment.category in ("dress", "skirt"):
        found |= {"dress length": length, "dress design": int(garment.flare * 3)}
        found |= {"skirt/dress type": int(garment.flare * 2), "waistline": int(garment.depth * 3)}
    if garment.sleeve_length is not None:
        place = VALUES["sleeve_length"].index(garment.sleeve_length)
        found |= {"sleeve length": place, "sleeve type": place // 2}
    if garment.collar is not None:
        found |= {"collar": VALUES["collar"].index(garment.collar)}
    return found
