"""DeepFashion Category and Attribute Prediction: the coarse release (289,222 images, 1,000 labels) and the fine one.

The coarse release has lists of all images, joined by the image's path, and its own partition. What the fine one has is
told in ``deepfashion_fine``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lapel.datasets.deepfashion import (
    CLOTHES,
    OWNERS,
    VARIATIONS,
    by_image,
    distinct_images,
    has,
    match_images,
    names_of,
    read_boxes,
    read_landmarks,
    vocabulary,
)
from lapel.datasets.deepfashion_fine import fine_files, read_fine
from lapel.datasets.formats import Draft, Format, label_rows
from lapel.datasets.lists import Row, read_list, right_choice, whole_numbers
from lapel.datasets.matrix import read_label_matrix
from lapel.datasets.source import FileSpec, Source
from lapel.protocol import AttributeProtocol

TYPES = {1: "texture", 2: "fabric", 3: "shape", 4: "part", 5: "style"}
"""Attribute type -> its name; the papers' order."""

BASES = ("Img", "", "img", "Img/img")
SPLITS = ("train", "val", "test")

PARTITION = "Eval/list_eval_partition.txt"
NAMES, LABELS = "Anno_coarse/list_attr_cloth.txt", "Anno_coarse/list_attr_img.txt"
CATEGORIES, CATEGORY = "Anno_coarse/list_category_cloth.txt", "Anno_coarse/list_category_img.txt"
BOXES, LANDMARKS = "Anno_coarse/list_bbox.txt", "Anno_coarse/list_landmarks.txt"

Labels = tuple[NDArray[np.int32], pa.Array]


def _files(variant: str) -> tuple[FileSpec, ...]:
    if variant == "fine":
        return fine_files()

    def anno(name: str, purpose: str, required: bool = True) -> FileSpec:
        return FileSpec((name, name.replace("Anno_coarse/", "Anno/")), purpose, required)

    return (
        FileSpec((PARTITION, "Anno_coarse/list_eval_partition.txt", "list_eval_partition.txt"),
                 "which image is for training, validation or testing"),
        anno(NAMES, "what the 1,000 attribute labels are called and of which type they are"),
        anno(LABELS, "which attribute labels each image has"),
        anno(CATEGORIES, "what the 50 categories are called", False),
        anno(CATEGORY, "the category of each image", False),
        anno(BOXES, "where in each image the garment is", False),
        anno(LANDMARKS, "the clothes type of each image and where its landmarks are", False),
    )  # fmt: skip


def _read(source: Source) -> Draft:
    return read_fine(source, BASES) if source.variant == "fine" else _coarse(source)


def _coarse(source: Source) -> Draft:
    listed = distinct_images(source, PARTITION, read_list(source, PARTITION, ("image_name", "evaluation_status")))
    rows = [row for row in listed if right_choice(source, PARTITION, row, 1, SPLITS, "split")]
    index = {row.tokens[0]: place for place, row in enumerate(rows)}
    images: dict[str, Sequence[object] | pa.Array] = {
        "image": pa.array(list(index), pa.string()),
        "split": pa.array([row.tokens[1] for row in rows], pa.string()),
    }
    found = _attributes(source, index)
    types = np.zeros(len(index), np.int64)
    if has(source, CATEGORIES, "no categories") and has(source, CATEGORY, "no categories"):
        found["category"], types = _categories(source, index)
    if has(source, BOXES, "no boxes, whole pictures are used"):
        images["box"] = read_boxes(source, BOXES, ("image_name", "x_1", "y_1", "x_2", "y_2"), index, PARTITION)[0]
    if has(source, LANDMARKS, "no landmarks; clothes types are those of the categories"):
        images["landmarks"], told, variations = read_landmarks(source, LANDMARKS, index, PARTITION)
        types = np.where(told > 0, told, types)
        if variations.any():
            images["variation"] = names_of(variations, VARIATIONS)
    images["clothes_type"] = names_of(types, CLOTHES)
    headings = tuple((name, name.capitalize()) for name in TYPES.values())
    return Draft(images, label_rows(found), tuple(found), AttributeProtocol(headings=headings), BASES)


def _attributes(source: Source, index: Mapping[str, int]) -> dict[str, Labels]:
    """Return type -> (catalogue rows, names) of the positive labels."""
    names = vocabulary(source, NAMES, ("attribute_name", "attribute_type"), [str(code) for code in TYPES])
    repeated = [f"{name} ({TYPES[kind]})" for (name, kind), count in Counter(names).items() if count > 1]
    if repeated:
        source.note(f"{NAMES}: listed more than once, taken as one value each: {', '.join(repeated)}")
    matrix = read_label_matrix(source, LABELS, len(names))
    rows = (Row(line, [image]) for image, line in zip(matrix.names, matrix.lines, strict=True))
    places = match_images(source, LABELS, rows, index, PARTITION)
    at = places[matrix.rows]
    known = at >= 0
    return {TYPES[kind]: _of_type(at[known], matrix.columns[known], names, kind) for kind in TYPES}


def _of_type(
    places: NDArray[np.int64], columns: NDArray[np.int32], names: Sequence[tuple[str, int]], kind: int
) -> Labels:
    """Return the labels of one type, by image and then by column; those of columns with the same name once."""
    values = list(dict.fromkeys(name for name, of in names if of == kind))
    codes = np.array([values.index(name) if of == kind else -1 for name, of in names], np.int64)[columns]
    mine = codes >= 0
    both = np.unique(places[mine] * len(values) + codes[mine])
    rows, chosen = np.divmod(both, max(len(values), 1))
    return rows.astype(np.int32), pa.array(values, pa.string()).take(pa.array(chosen))


def _categories(source: Source, index: Mapping[str, int]) -> tuple[Labels, NDArray[np.int64]]:
    """Return the categories (catalogue rows, names), and the clothes type (N,) of each image's category, 0 for none."""
    names = vocabulary(source, CATEGORIES, ("category_name", "category_type"), [str(code) for code in CLOTHES])
    codes = np.zeros(len(index), np.int64)
    rows = read_list(source, CATEGORY, ("image_name", "category_label"))
    for place, row in by_image(source, CATEGORY, rows, index, PARTITION):
        numbers = whole_numbers(source, CATEGORY, row, 1)
        if numbers is None:
            continue
        if 1 <= numbers[0] <= len(names):
            codes[place] = numbers[0]
        else:
            source.fault(f"expected a category from 1 to {len(names)}, found {numbers[0]}", CATEGORY, row.line)
    given = np.flatnonzero(codes).astype(np.int32)
    values = pa.array([name for name, _ in names], pa.string()).take(pa.array(codes[given] - 1))
    return (given, values), np.array([0, *(kind for _, kind in names)])[codes]


FORMAT = Format(
    "deepfashion-attributes",
    "DeepFashion Category and Attribute Prediction",
    f"{OWNERS}Category and Attribute Prediction Benchmark'",
    _files,
    _read,
    ("coarse", "fine"),
)
