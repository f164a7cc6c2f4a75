"""The fine release of DeepFashion's attributes: 20,000 images, 26 labels of six types.

For each split there is a list of images and beside it files with a row for each of them, in the same order and without
names: labels 0 or 1, category, box, landmarks. The list_attr_img.txt that lies there too names other pictures
(img_highres_subset) and is not used.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lapel.datasets.deepfashion import (
    CLOTHES,
    distinct_images,
    has,
    names_of,
    right_box,
    vocabulary,
)
from lapel.datasets.formats import Draft, label_table
from lapel.datasets.lists import Row
from lapel.datasets.source import FileSpec, Source
from lapel.landmarks import CUT_OFF, LANDMARKS, PLACES, VISIBLE, on_eight
from lapel.protocol import AttributeProtocol

TYPES = {1: "texture", 2: "sleeve", 3: "length", 4: "neckline", 5: "fabric", 6: "fit"}
"""Attribute type -> its name."""

SPLITS = ("train", "val", "test")
NAMES, CATEGORIES = "Anno_fine/list_attr_cloth.txt", "Anno_fine/list_category_cloth.txt"

_INTEGER = re.compile(r"-?\d+", re.ASCII)


def fine_files() -> tuple[FileSpec, ...]:
    """Return the files of the fine release."""
    files = [
        FileSpec((NAMES,), "what the 26 attribute labels are called and of which type they are"),
        FileSpec((CATEGORIES, "Anno_coarse/list_category_cloth.txt", "Anno/list_category_cloth.txt"),
                 "what the 50 categories are called", False),
    ]  # fmt: skip
    for split in SPLITS:
        base = f"Anno_fine/{split}"
        files += [
            FileSpec((f"{base}.txt",), f"which images are in the split {split}"),
            FileSpec((f"{base}_attr.txt",), f"which attribute labels each image of {split}.txt has"),
            FileSpec((f"{base}_cate.txt",), f"the category of each image of {split}.txt", False),
            FileSpec((f"{base}_bbox.txt",), f"where in each image of {split}.txt the garment is", False),
            # The second is how some copies spell it.
            FileSpec((f"{base}_landmarks.txt", f"{base}_landmards.txt"),
                     f"where the landmarks of each image of {split}.txt are", False),
        ]  # fmt: skip
    return tuple(files)


def read_fine(source: Source, bases: tuple[str, ...]) -> Draft:
    """Read the fine release.

    Its landmarks come without visibility: those at 0, 0 count as cut off, the others as visible. An image's clothes
    type is that of its category.
    """
    names = vocabulary(source, NAMES, ("attribute_name", "attribute_type"), [str(code) for code in TYPES])
    categories: list[tuple[str, int]] = []
    if has(source, CATEGORIES, "no categories and no clothes types"):
        categories = vocabulary(source, CATEGORIES, ("category_name", "category_type"), [str(code) for code in CLOTHES])
    found: dict[str, _Image] = {}
    for split in SPLITS:
        for row in _read_split(source, split, len(names), len(categories)):
            other = found.setdefault(row.image, row).split
            if other != split:
                source.fault(f"{row.image} is listed in {other}.txt too", f"Anno_fine/{split}.txt", row.line)
    rows = list(found.values())
    flat = sum(row.box is not None and right_box(row.box) is None for row in rows)
    if flat:
        source.note(f"{flat:,} boxes have no area, those images count as without a box")
    types = [categories[row.category - 1][1] if row.category else 0 for row in rows]
    images = {
        "image": [row.image for row in rows],
        "split": [row.split for row in rows],
        "box": [row.box and right_box(row.box) for row in rows],
        "landmarks": [row.points and _on_eight(row.points, kind) for row, kind in zip(rows, types, strict=True)],
        "clothes_type": names_of(np.array(types, np.int64), CLOTHES),
    }
    values: dict[str, list[list[str] | None]] = {kind: [] for kind in TYPES.values()}
    for row in rows:
        for code, kind in TYPES.items():
            told = zip(names, row.labels or [], strict=False)
            values[kind].append([name for (name, of), label in told if of == code and label == "1"])
    if any(row.category for row in rows):
        values["category"] = [[categories[row.category - 1][0]] if row.category else None for row in rows]
    return Draft(images, label_table(values), tuple(values), AttributeProtocol(), bases)


@dataclass(frozen=True)
class _Image:
    """One image with its rows in the aligned files, None where there is none or it is faulty."""

    image: str
    line: int
    split: str
    labels: list[str] | None
    category: int | None
    box: list[int] | None
    points: list[int] | None


def _read_split(source: Source, split: str, names: int, categories: int) -> list[_Image]:
    base = f"Anno_fine/{split}"
    listed = f"{base}.txt"
    rows = _rows(source, listed)
    labels = _aligned(source, f"{base}_attr.txt", listed, rows, f"{names} labels 0 or 1", names, ("0", "1", "-1"))
    codes: list[list[str] | None] = [None] * len(rows)
    if categories and has(source, f"{base}_cate.txt", f"no categories in the split {split}"):
        known = [str(code + 1) for code in range(categories)]
        codes = _aligned(source, f"{base}_cate.txt", listed, rows, f"a category from 1 to {categories}", 1, known)
    boxes: list[list[str] | None] = [None] * len(rows)
    if has(source, f"{base}_bbox.txt", f"no boxes in the split {split}, whole pictures are used"):
        boxes = _aligned(source, f"{base}_bbox.txt", listed, rows, "x_1 y_1 x_2 y_2", 4)
    points: list[list[str] | None] = [None] * len(rows)
    if has(source, f"{base}_landmarks.txt", f"no landmarks in the split {split}"):
        points = _aligned(source, f"{base}_landmarks.txt", listed, rows, "x and y of 8 landmarks", 2 * len(LANDMARKS))
    single = [row for row in rows if len(row.tokens) == 1]
    for row in rows:
        if len(row.tokens) != 1:
            source.fault(f"expected image_name, found {' '.join(row.tokens)[:80]!r}", listed, row.line)
    kept = {row.line for row in distinct_images(source, listed, single)}
    return [
        _Image(row.tokens[0], row.line, split, label, int(code[0]) if code else None, _whole(box), _whole(point))
        for row, label, code, box, point in zip(rows, labels, codes, boxes, points, strict=True)
        if row.line in kept
    ]


def _rows(source: Source, name: str) -> list[Row]:
    """Return all rows of a file without header; only blank lines at its end are left out."""
    rows = [Row(line, text.split()) for line, text in source.lines(name)]
    while rows and not rows[-1].tokens:
        rows.pop()
    return rows


def _aligned(
    source: Source, name: str, listed: str, images: Sequence[Row], columns: str, count: int, words: Sequence[str] = ()
) -> list[list[str] | None]:
    """Return a file's tokens for each row of the file that lists the images, None where a row is faulty.

    Args:
        source: the data set.
        name: the file.
        listed: the file that lists the images.
        images: its rows.
        columns: what a row is, for messages.
        count: tokens in a row.
        words: what a token may be; none: a whole number.

    Faults: another number of rows, then nothing of the file is used; a row with other tokens.
    """
    rows = _rows(source, name)
    if len(rows) != len(images):
        source.fault(
            f"expected a row for each of the {len(images):,} rows of {listed}, found {len(rows):,}: unpack both again",
            name,
        )
        return [None] * len(images)
    found: list[list[str] | None] = []
    for row in rows:
        right = len(row.tokens) == count and all(
            token in words if words else _INTEGER.fullmatch(token) for token in row.tokens
        )
        if not right:
            source.fault(f"expected {columns}, found {' '.join(row.tokens)[:80]!r}", name, row.line)
        found.append(row.tokens if right else None)
    return found


def _whole(tokens: list[str] | None) -> list[int] | None:
    return None if tokens is None else [int(token) for token in tokens]


def _on_eight(numbers: list[int], clothes_type: int) -> list[float]:
    """Return x, y, visibility of the eight landmarks from their x and y as the file has them.

    The landmarks of a garment with 4 or 6 stand first in the row and zeros fill it up; where more than that is told,
    or the type is not known, the row is taken as it stands.
    """
    points = np.zeros((len(LANDMARKS), 3))
    points[:, :2] = np.array(numbers, np.float64).reshape(-1, 2)
    points[:, 2] = np.where(points[:, :2].any(axis=1), VISIBLE, CUT_OFF)
    count = len(PLACES.get(clothes_type, LANDMARKS))
    if count < len(LANDMARKS) and not points[count:, :2].any():
        points = on_eight(points[:count], clothes_type)
    return [float(number) for number in points.ravel()]
