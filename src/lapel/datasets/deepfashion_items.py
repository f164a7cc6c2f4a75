"""What the two retrieval benchmarks of DeepFashion share: labels per item, places of images, two sizes of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lapel import columns
from lapel.datasets.deepfashion import CLOTHES, VARIATIONS, has, names_of, read_boxes, read_landmarks
from lapel.datasets.lists import Row, count_message, read_list
from lapel.datasets.matrix import read_label_matrix
from lapel.datasets.source import PICTURES, FileSpec, Source
from lapel.errors import DatasetError

BASES = ("Img", "")
SMALL, LARGE = "img", "img_highres"

Indices = NDArray[np.int64]


def annotation(name: str, purpose: str, *others: str) -> FileSpec:
    """Return a file below Anno that images and items are known without; others: names that it may have too."""
    plain = name.removeprefix("Anno/")
    nested = (f"Anno/attributes/{plain}",) if plain.startswith(("list_attr_", "list_color_")) else ()
    return FileSpec((name, *others, *nested, plain), purpose, required=False)


def read_annotations(
    source: Source, boxes: str, landmarks: str, kind: str, images: Sequence[str], listed: str
) -> tuple[dict[str, pa.Array], Indices]:
    """Read the lists of boxes and of landmarks, each where it is there.

    Args:
        source: the data set; with pictures of another size than the lists are for, both are left out.
        boxes, landmarks: the files. They may hold images that are not among ``images``.
        kind: the third column of the list of boxes.
        images: those of the catalogue, different ones.
        listed: the file that names them.

    Returns:
        columns ``box``, ``landmarks``, ``clothes_type``, ``variation`` of the catalogue, and (N,) the codes of
        ``kind``, 0 where there are none.
    """
    count = len(images)
    index = {image: place for place, image in enumerate(images)}
    nothing = np.zeros(count, np.int64)
    clothes, kinds, variations = nothing, nothing, nothing
    areas = points = pa.nulls(count, pa.list_(pa.float64()))
    if has(source, boxes, "images have no boxes, whole pictures are taken"):
        header = ("image", "clothes_type", kind, "x1", "y1", "x2", "y2")
        found, types = read_boxes(source, boxes, header, _with_others(source, boxes, index, listed), listed)
        areas, clothes, kinds = found[:count], types[:count, 0], types[:count, 1]
    if has(source, landmarks, "images have no landmarks"):
        more = _with_others(source, landmarks, index, listed)
        found, worn, varied = read_landmarks(source, landmarks, more, listed)
        points, variations = found[:count], varied[:count]
        clothes = np.where(clothes == 0, worn[:count], clothes)
    if source.variant == LARGE:
        source.note(f"boxes and landmarks are left out: they are for the small pictures ({SMALL}), not for {LARGE}")
        areas = points = pa.nulls(count, pa.list_(pa.float64()))
    told = {"box": areas, "landmarks": points}
    return told | {"clothes_type": names_of(clothes, CLOTHES), "variation": names_of(variations, VARIATIONS)}, kinds


def _with_others(source: Source, name: str, index: Mapping[str, int], listed: str) -> dict[str, int]:
    """Return the index with the further images of a file behind its own."""
    found = dict(index)
    for line, text in source.lines(name):
        image = text.split(None, 1)[0] if line > 2 and not text.isspace() and text else ""
        if image not in found and image.lower().endswith(PICTURES):
            found[image] = len(found)
    if len(found) > len(index):
        source.note(f"{name}: {len(found) - len(index):,} of its images are not in {listed}, they are left out")
    return found


def plain_rows(source: Source, name: str) -> list[tuple[int, str]]:
    """Return (line number, text) of the rows of a list whose words are not separate columns.

    Faults: a count that is not the number of rows.

    Raises:
        DatasetError: no such file, not UTF-8.
    """
    lines = source.lines(name)
    first = next(lines, (1, ""))[1].strip()
    next(lines, None)
    rows = [(line, text.strip()) for line, text in lines if text.strip()]
    if not first.isdecimal():
        source.fault(f"expected the number of rows, found {first[:60]!r}", name, 1)
    elif int(first) != len(rows):
        source.fault(count_message(int(first), len(rows)), name)
    return rows


def label_lines(source: Source, name: str) -> list[tuple[int, str]]:
    """Return (line number, text) of the names of labels.

    Raises:
        DatasetError: as ``plain_rows``, and any fault, strict or not: a name lost would move every label after it.
    """
    before = len(source.faults)
    rows = plain_rows(source, name)
    if len(source.faults) > before:
        raise DatasetError(f"{source.faults[before]}. Without it no label can be told")
    return rows


def read_items(source: Source, name: str) -> frozenset[str] | None:
    """Return the items that a data set lists, None where there is no such list."""
    if source.find(name) is None:
        return None
    return frozenset(row.tokens[0] for row in read_list(source, name, ("item",), header=1))


def known_item(source: Source, name: str, row: Row, column: int, items: frozenset[str] | None) -> bool:
    """Whether an item is one that the data set lists; a fault if not."""
    token = row.tokens[column]
    if items is None or token in items:
        return True
    source.fault(f"unknown item {token[:60]!r} (column {column + 1}): the list of items lacks it", name, row.line)
    return False


def item_labels(
    source: Source, name: str, count: int, items: Sequence[str], known: frozenset[str] | None
) -> tuple[Indices, Indices]:
    """Read the labels of items and give them to the images of each item.

    Args:
        source: the data set.
        name: the file: item, then ``count`` labels. An item that is there twice has the labels of all its rows.
        count: labels in a row.
        items: the item of each image.
        known: all items there are; None: not known.

    Returns:
        image row and label column of every positive label, images ascending, each once.

    Faults: as ``read_label_matrix``; an item that is not among ``known``.
    """
    matrix = read_label_matrix(source, name, count)
    codes: dict[str, int] = {}
    of_row = np.fromiter((codes.setdefault(item, len(codes)) for item in matrix.names), np.int64, len(matrix.names))
    if known is not None:
        for item, line in zip(matrix.names, matrix.lines, strict=True):
            if item not in known:
                source.fault(f"unknown item {item[:60]!r}: the list of items lacks it", name, line)
    keys, times = np.unique(of_row[matrix.rows] * count + matrix.columns, return_counts=True)
    owner, label = keys // count, keys % count
    rows_of = np.bincount(of_row, minlength=len(codes))
    unequal = len(np.unique(owner[times != rows_of[owner]]))
    if unequal:
        source.note(f"{name}: {unequal:,} items have rows that differ; they have the labels of all their rows")
    starts = np.searchsorted(owner, np.arange(len(codes)))
    sizes = np.searchsorted(owner, np.arange(len(codes)), "right") - starts
    of_image = np.fromiter((codes.get(item, -1) for item in items), np.int64, len(items))
    bare = int(np.count_nonzero(of_image < 0))
    if bare:
        source.note(f"{name} has no row for the items of {bare:,} of {len(items):,} images")
    images = np.flatnonzero(of_image >= 0)
    image, place = columns.spread(starts[of_image[images]], sizes[of_image[images]])
    return images[image], label[place]


def pictures(source: Source, images: Sequence[str], renamed: tuple[str, str] = ("", "")) -> list[str]:
    """Return where the pictures of the source's variant lie, for images as the lists name them (``img/...``).

    Args:
        source: the data set.
        images: as the lists name them.
        renamed: a folder of the lists, and what it may be called among the large pictures.

    Raises:
        DatasetError: there are no small pictures but large ones, which were not asked for.
    """
    large = [image.replace(f"{SMALL}/", f"{LARGE}/", 1) for image in images]
    if source.variant != LARGE:
        probes = slice(None, None, max(len(images) // 50, 1))
        small = source.locate(BASES, images[probes])[1].any() if images else True
        if not small and source.locate(BASES, large[probes])[1].any():
            raise DatasetError(f"{source.root} holds the large pictures ({LARGE}) only: give --variant {LARGE}")
        return list(images)
    there, here = renamed
    moved = {place: name.replace(there, here, 1) for place, name in enumerate(large) if there and there in name}
    if moved and source.locate(BASES, list(moved.values()))[1].any():
        large = [moved.get(place, name) for place, name in enumerate(large)]
    return large
