"""The annotation files of the public data sets at their full sizes, with made-up content: what ``parsing.py`` reads.

Names, headers, paddings and counts are those of the data sets (share=1). Pictures are empty files: an import only looks
whether they are there. Lapel's own stand-ins have real pictures and few items; these have all rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from list_writer import Writer


def fashionai(write: Writer) -> None:
    """FashionAI attributes: 180,335 images in two folders, one label string each."""
    for folder, full in (("train1", 90_168), ("train2", 90_167)):
        rows = _fashionai(write, write.count(full), folder)
        base = f"fashionAI_attributes_{folder}"
        write.text(f"{base}/Annotations/label.csv", (",".join(row) for row in rows))
        write.pictures(f"{base}/{row[0]}" for row in rows)


ATTRIBUTES = {
    "skirt_length": 6,
    "sleeve_length": 9,
    "coat_length": 8,
    "pant_length": 6,
    "collar_design": 5,
    "lapel_design": 5,
    "neckline_design": 10,
    "neck_design": 5,
}
# Validation and test images of each attribute: queries, then candidates.
QUERIES = {"valid": (439, 596, 515, 419, 356, 330, 668, 277), "test": (422, 623, 535, 422, 341, 289, 703, 265)}
CANDIDATES = {
    "valid": (1786, 2436, 2073, 1701, 1393, 1240, 2649, 1122),
    "test": (1703, 2383, 2088, 1722, 1401, 1269, 2734, 1100),
}


def _fashionai(write: Writer, count: int, folder: str) -> list[tuple[str, str, str]]:
    """Rows of label.csv: path, attribute folder, one letter per value."""
    rows = []
    names = list(ATTRIBUTES)
    drawn = write.rng.integers(0, 2520, (count, 3)).tolist()
    for number, (attribute, value, maybe) in enumerate(drawn):
        name = names[attribute % len(names)]
        letters = ["n"] * ATTRIBUTES[name]
        if maybe % 20 == 0:
            letters[maybe % len(letters)] = "m"
        letters[value % len(letters)] = "y"
        rows.append((f"Images/{name}_labels/{folder[-1]}{number:031x}.jpg", f"{name}_labels", "".join(letters)))
    return rows


def asen(write: Writer) -> None:
    """The ASEN lists for FashionAI: 144,335 training images, 18,000 each to validate and test."""
    numbers = {"ATTRIBUTES": list(ATTRIBUTES), "ATTRIBUTES_NUM": ATTRIBUTES}
    write.text("meta.json", [json.dumps({"FashionAI": numbers})])
    base, sizes = "FashionAI", list(ATTRIBUTES.values())
    names = [f"{name}_labels" for name in ATTRIBUTES]

    def images(split: str, owners: Sequence[int]) -> None:
        parts = ("fashionAI_attributes_train1", "fashionAI_attributes_train2")
        paths = [
            f"{parts[row % 2]}/Images/{names[owner]}/{split[:2].encode().hex()}{row:028x}.jpg"
            for row, owner in enumerate(owners)
        ]
        write.text(f"{base}/filenames_{split}.txt", paths)
        write.pictures(f"{base}/{path}" for path in paths)

    owners = write.rng.integers(0, len(names), write.count(144_335)).tolist()
    images("train", owners)
    values = write.rng.integers(0, 2520, len(owners)).tolist()
    labelled = zip(owners, values, strict=True)
    write.text(f"{base}/label_train.txt", (f"{row} {o} {v % sizes[o]}" for row, (o, v) in enumerate(labelled)))
    for split in ("valid", "test"):
        counts = [[write.count(full) for full in lists[split]] for lists in (QUERIES, CANDIDATES)]
        owners = np.concatenate([np.repeat(np.arange(8), own) for own in counts]).tolist()
        images(split, owners)
        values = write.rng.integers(0, 2520, len(owners)).tolist()
        rows = [f"{row} {o} {v % sizes[o]}" for row, (o, v) in enumerate(zip(owners, values, strict=True))]
        asked = sum(counts[0])
        write.text(f"{base}/query_{split}.txt", rows[:asked])
        write.text(f"{base}/candidate_{split}.txt", rows[asked:])


def deepfashion_attributes(write: Writer) -> None:
    """Category and attribute prediction: 289,222 images, 1,000 attributes, 3.3 positives an image."""
    count, pad = write.count(289_222), 70
    images = [f"img/Printed_Garment_{row // 50}/img_{row % 50 + 1:08d}.jpg" for row in range(count)]
    categories = write.rng.integers(1, 51, count).tolist()
    kinds = [1 if category <= 20 else 2 if category <= 36 else 3 for category in categories]
    types = np.repeat(np.arange(1, 6), (156, 218, 180, 216, 230)).tolist()
    named = [f"{f'made up attribute {number}':<31}{kind}" for number, kind in enumerate(types)]
    write.list("Anno/list_attr_cloth.txt", "attribute_name  attribute_type", named)
    write.matrix("Anno/list_attr_img.txt", "image_name  attribute_labels", images, len(types), 3.32, pad)
    named = [f"{f'Category{number}':<16}{1 if number <= 20 else 2 if number <= 36 else 3}" for number in range(1, 51)]
    write.list("Anno/list_category_cloth.txt", "category_name  category_type", named)
    rows = [f"{image:<{pad}} {category:2d}" for image, category in zip(images, categories, strict=True)]
    write.list("Anno/list_category_img.txt", "image_name  category_label", rows)
    write.annotate("Anno/list_{}.txt", images, kinds, [""] * count, pad)
    splits = write.split({"train": 209_222, "val": 40_000, "test": 40_000}, count)
    rows = [f"{image:<{pad}} {split}" for image, split in zip(images, splits, strict=True)]
    write.list("Eval/list_eval_partition.txt", "image_name  evaluation_status", rows)
    write.pictures(f"Img/{image}" for image in images)


INSHOP_VIEWS = ("1_front", "2_side", "3_back", "4_full", "7_additional")


def deepfashion_inshop(write: Writer) -> None:
    """In-Shop: 52,712 images of 7,982 items, 463 attributes."""
    items, pad = write.count(7_982), 68
    trained = round(items * 3_997 / 7_982)
    counts = {"train": write.count(25_882), "query": write.count(14_218), "gallery": write.count(12_612)}
    images, owners, splits = [], [], []
    for split, count in counts.items():
        base, size = (0, trained) if split == "train" else (trained, items - trained)
        for number in range(count):
            # Query and gallery share their items: they differ in the first number of the file name.
            item, view = base + number % size + 1, number // size
            variant = {"train": 1, "query": 2, "gallery": 3}[split]
            folder = "WOMEN/Dresses" if item % 3 else "MEN/Denim"
            name = f"{variant}{view // 5}_{INSHOP_VIEWS[view % 5]}.jpg"
            images.append(f"img/{folder}/id_{item:08d}/{name}")
            owners.append(f"id_{item:08d}")
            splits.append(split)
    rows = [f"{i:<{pad}} {owner} {split}" for i, owner, split in zip(images, owners, splits, strict=True)]
    write.list("Eval/list_eval_partition.txt", "image_name item_id evaluation_status", rows)
    named = [f"id_{item:08d}" for item in range(1, items + 1)]
    write.list("Anno/list_item_inshop.txt", "", named)
    kinds = write.rng.integers(1, 4, len(images)).tolist()
    codes = [f"{kind}  {pose}  " for kind, pose in zip(kinds, write.rng.integers(1, 7, len(images)), strict=True)]
    write.annotate("Anno/list_{}_inshop.txt", images, kinds, codes, pad)
    write.list("Anno/list_attr_cloth.txt", "attribute_name", [f"made up attribute {row}" for row in range(463)])
    write.matrix("Anno/list_attr_items.txt", "item_id  attribute_labels", named, 463, 6.0, 12)
    told = [{"item": name, "color": "Blue", "description": ["Made up.", "As long as few are."]} for name in named]
    write.text("Anno/list_description_inshop.json", [json.dumps(told)])
    write.pictures(f"Img/{image}" for image in images)


C2S_TYPES = (14, 9, 77, 7, 8, 26, 21, 7, 15, 39, 12, 10, 9, 8, 11, 12, 7, 11)


def deepfashion_consumer2shop(write: Writer) -> None:
    """Consumer-to-Shop: 239,557 images, 195,540 pairs, 33,881 items, 303 attributes of 18 types."""
    items, pairs, pad = write.count(33_881), write.count(195_540), 80
    shops = max(items, write.count(239_557) - pairs)
    places = [f"img/{g}/{s}" for g, s in (("CLOTHING", "Blouse"), ("DRESSES", "Dress"), ("TOPS", "T_Shirt"))]
    shop: list[list[str]] = [[] for _ in range(items)]
    for number in range(shops):
        item = number % items
        shop[item].append(f"{places[item % 3]}/id_{item + 1:08d}/shop_{number // items + 1:02d}.jpg")
    deal = write.split({"train": 6, "val": 1, "test": 2}, items)
    rows, consumer = [], []
    for number in range(pairs):
        item = number % items
        # The misspelling is the data set's.
        image = f"{places[item % 3]}/id_{item + 1:08d}/comsumer_{number // items + 1:02d}.jpg"
        consumer.append(image)
        there = shop[item][number // items % len(shop[item])]
        rows.append(f"{image:<{pad}} {there:<{pad}} id_{item + 1:08d} {deal[item]}")
    write.list("Eval/list_eval_partition.txt", "image_pair_name_1 image_pair_name_2 item_id evaluation_status", rows)
    images = [*consumer, *(image for own in shop for image in own)]
    kinds = write.rng.integers(1, 4, len(images)).tolist()
    codes = [f"{kind}  {2 if row < pairs else 1}  " for row, kind in enumerate(kinds)]
    write.annotate("Anno/list_{}_consumer2shop.txt", images, kinds, codes, pad)
    named = [f"id_{item:08d}" for item in range(1, items + 1)]
    write.list("Anno/list_item_consumer2shop.txt", "", named)
    types = np.repeat(np.arange(1, 19), C2S_TYPES).tolist()
    told = [f"款式{row}（厘米）          Made up style ({row} cm)          {kind}" for row, kind in enumerate(types)]
    head = [str(len(told)), "attribute_name_chinese  attribute_name_english  attribute_type_id"]
    write.text("Anno/list_attr_cloth.txt", [*head, *told], "\r\n", "\ufeff")
    told = [f"类型{number}          made up type {number}" for number in range(1, 19)]
    write.text("Anno/list_attr_type.txt", [str(len(told)), "type_chinese  type_english", *told], "\r\n", "\ufeff")
    write.matrix("Anno/list_attr_items.txt", "item_id  attribute_labels", named, 303, 6.0, 12)
    write.pictures(f"Img/{image}" for image in images)


# Triplets of one condition, and which share of the images they are of.
TRIPLETS = (("train", 200_000, (0, 0.7)), ("val", 20_000, (0.7, 0.8)), ("test", 40_000, (0.8, 1)))


def zappos50k(write: Writer) -> None:
    """UT-Zappos50K: 50,025 shoes, four lists of 260,000 triplets."""
    count = write.count(50_025)
    kinds = (("Shoes", "Oxfords"), ("Boots", "Ankle"), ("Sandals", "Flat"), ("Slippers", "Slipper Flats"))
    closures = ("Lace up", "Slip-On", "Zipper", "Buckle;Ankle Strap")
    heels = ("Flat", "Under 1in", "1in-1 3/4in", "5in & over")
    genders = ("Men", "Women", "Boys", "Girls")
    paths, rows = [], []
    for row, (kind, closure, heel, gender) in enumerate(write.rng.integers(0, 4, (count, 4)).tolist()):
        category, below = kinds[kind]
        paths.append(f"{category}/{below}/Brand {row % 300}/{100_000 + row // 9}.{row % 9 + 1}.jpg")
        code = f"{100_000 + row // 9}-{row % 9 + 1}"
        cells = (code, category, below, heels[heel], "", closures[closure], genders[gender], "Leather", "Round Toe")
        rows.append(",".join(cells))
    names = "CID,Category,SubCategory,HeelHeight,Insole,Closure,Gender,Material,ToeStyle"
    write.text("ut-zap50k-data/meta-data.csv", [names, *rows])
    write.text("data/filenames.json", paths)
    for name in ("class", "closure", "gender", "heel"):
        for split, full, ends in TRIPLETS:
            low, high = (round(end * count) for end in ends)
            drawn = write.rng.integers(low, high, (write.count(full), 3)).tolist()
            lines = (f"{anchor} {far} {close}" for anchor, far, close in drawn)
            write.text(f"data/tripletlists/{name}_tripletlist_{split}.txt", lines)
    write.pictures(f"ut-zap50k-images/{path}" for path in paths)


# Rows of the pair files: train, test.
STREET = {
    "bags": (579, 174),
    "belts": (235, 89),
    "dresses": (12_875, 3_292),
    "eyewear": (358, 138),
    "footwear": (6_486, 2_178),
    "hats": (400, 86),
    "leggings": (1_641, 517),
    "outerwear": (1_945, 666),
    "pants": (600, 130),
    "skirts": (3_337, 604),
    "tops": (2_173, 763),
}
ENDINGS = ("jpg", "jpg", "jpg", "png", "JPG", "jpeg")


def street2shop(write: Writer) -> None:
    """Street2Shop: 404,683 shop photos and 39,266 street rows in eleven categories."""
    shops = write.count(404_683)
    photo = 1
    per = np.maximum(8, np.asarray([sum(own) for own in STREET.values()]) * shops // 39_266)
    per[0] += max(0, shops - per.sum())
    for (category, counts), size in zip(STREET.items(), per.tolist(), strict=True):
        products = max(2, size // 2)
        found = [{"photo": photo + row, "product": row % products + 1} for row in range(size)]
        write.text(f"meta/json/retrieval_{category}.json", [json.dumps(found)])
        photo += size
        for split, full in zip(("train", "test"), counts, strict=True):
            rows = []
            for row in range(write.count(full)):
                width, top, left, height = write.rng.integers(1, 600, 4).tolist()
                box = {"width": width, "top": top, "left": left, "height": height}
                rows.append({"photo": photo + row // 2, "product": row // 2 % products + 1, "bbox": box})
            photo += len(rows) // 2 + 1
            write.text(f"meta/json/{split}_pairs_{category}.json", [json.dumps(rows)])
    names = [f"{number:09d}.{ENDINGS[number % len(ENDINGS)]}" for number in range(1, photo)]
    write.text("photos/photos.txt", (f"{name[:9]},shop.invalid/{name}?a=1,2" for name in names))
    write.pictures(f"photos/{name}" for name in names)


GENERATORS: dict[str, Callable[[Writer], None]] = {
    "fashionai": fashionai,
    "asen": asen,
    "deepfashion-attributes": deepfashion_attributes,
    "deepfashion-inshop": deepfashion_inshop,
    "deepfashion-consumer2shop": deepfashion_consumer2shop,
    "zappos50k": zappos50k,
    "street2shop": street2shop,
}


def generate(name: str, to: Path, share: float, seed: int) -> None:
    """Write the files of one data set."""
    GENERATORS[name](Writer(to, share, seed))
