"""DeepFashion Consumer-to-Shop: 195,540 pairs of a consumer's and a shop's image of the same item.

Below ``Anno``, ``Eval`` and ``Img`` as it was unpacked. A consumer image is called ``comsumer_01.jpg``: the misspelling
is in the data.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from lapel.datasets.deepfashion import OWNERS
from lapel.datasets.deepfashion_items import (
    BASES,
    LARGE,
    SMALL,
    annotation,
    item_labels,
    known_item,
    label_lines,
    pictures,
    read_annotations,
    read_items,
)
from lapel.datasets.formats import Draft, Format, label_rows, label_table
from lapel.datasets.lists import Row, read_list, right_choice, right_picture
from lapel.datasets.source import FileSpec, Source
from lapel.errors import DatasetError
from lapel.protocol import ItemProtocol, Side

PARTITION = "Eval/list_eval_partition.txt"
BOXES = "Anno/list_bbox_consumer2shop.txt"
LANDMARKS = "Anno/list_landmarks_consumer2shop.txt"
ITEMS = "Anno/list_item_consumer2shop.txt"
TYPES = "Anno/list_attr_type.txt"
LABEL_NAMES = "Anno/list_attr_cloth.txt"
LABELS = "Anno/list_attr_items.txt"

DOMAINS = ("consumer", "shop")
RENAMED = ("CLOTHING/Summer_Wear/", "CLOTHING/Summer_Suit/")
_SHOP = 1  # source type in the list of boxes; 2 is consumer
_GAP = re.compile(r"\s{2,}|\t")


def files(_variant: str) -> tuple[FileSpec, ...]:
    """Return the files of the benchmark; the same whichever pictures are taken."""

    return (
        FileSpec((PARTITION, "list_eval_partition.txt"), "which images are pairs, for training, validation or test"),
        annotation(BOXES, "where the garment is in each image"),
        annotation(LANDMARKS, "where the landmarks are in each image"),
        annotation(ITEMS, "which items there are", "Anno/list_items_consumer2shop.txt"),
        annotation(TYPES, "what the 18 types of attributes are called"),
        annotation(LABEL_NAMES, "what the 303 attributes are called, and the type of each"),
        annotation(LABELS, "which attributes each item has"),
    )


@dataclass(frozen=True)
class _Pairs:
    """The pairs, and their images in order of first appearance, each with what its first pair says."""

    pairs: dict[str, list[str]] = field(default_factory=lambda: {"split": [], "query": [], "gallery": [], "item": []})
    index: dict[str, int] = field(default_factory=dict)
    items: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    domains: list[str] = field(default_factory=list)


def read(source: Source) -> Draft:
    """Read the benchmark: what each file adds, where it is there.

    Raises:
        DatasetError: no partition; a file that is not in its published format.
    """
    known = read_items(source, ITEMS)
    table = _read_partition(source, known)
    images = list(table.index)
    told, sources = read_annotations(source, BOXES, LANDMARKS, "source_type", images, PARTITION)
    shop = np.array([domain == "shop" for domain in table.domains], bool)
    other = int(np.count_nonzero((sources != 0) & ((sources == _SHOP) != shop)))
    if other:
        source.note(f"{BOXES}: the source type of {other:,} images is not what {PARTITION} says, which is kept")
    folders = [image.split("/") for image in images]
    names = pictures(source, images, RENAMED)
    columns: dict[str, Sequence[Any] | pa.Array] = {
        "image": names,
        "item": table.items,
        "split": table.splits,
        "domain": table.domains,
        **told,
        "group": [parts[1] for parts in folders],
    }
    attributes, labels = _read_labels(source, table.items, known)
    labels = pa.concat_tables([label_table({"category": [parts[2] for parts in folders]}), labels])
    moved = dict(zip(images, names, strict=True))
    pairs = {name: [moved.get(cell, cell) for cell in cells] for name, cells in table.pairs.items()}
    relation = pa.table({name: pa.array(cells, pa.string()) for name, cells in pairs.items()})
    protocol = ItemProtocol(
        query=Side(("test",), "consumer"),
        gallery=Side(("test",), "shop"),
        relation="pairs",
        match="item",
        asked="image",
    )
    return Draft(columns, labels, ("category", *attributes), protocol, BASES, {"pairs": relation})


FORMAT = Format(
    name="deepfashion-consumer2shop",
    title="DeepFashion Consumer-to-shop Clothes Retrieval",
    owners=f"{OWNERS}Consumer-to-shop Clothes Retrieval Benchmark'",
    files=files,
    read=read,
    variants=(SMALL, LARGE),
)


def _read_partition(source: Source, known: frozenset[str] | None) -> _Pairs:
    table = _Pairs()
    unlike: set[str] = set()
    for row in read_list(source, PARTITION, ("consumer_image", "shop_image", "item", "status")):
        sides = all(_right_side(source, row, column) for column in (0, 1))
        if not (sides and known_item(source, PARTITION, row, 2, known)):
            continue
        if not right_choice(source, PARTITION, row, 3, ("train", "val", "test"), "evaluation status"):
            continue
        consumer, shop, item, split = row.tokens
        for name, cell in (("split", split), ("query", consumer), ("gallery", shop), ("item", item)):
            table.pairs[name].append(cell)
        for image, domain in ((consumer, "consumer"), (shop, "shop")):
            place = table.index.setdefault(image, len(table.items))
            if place == len(table.items):
                table.items.append(item)
                table.splits.append(split)
                table.domains.append(domain)
            elif (table.items[place], table.splits[place], table.domains[place]) != (item, split, domain):
                unlike.add(image)
    if unlike:
        source.note(
            f"{PARTITION}: {len(unlike):,} images are in pairs of more than one item or split; the catalogue's columns "
            "have the first, scoring goes by the pairs"
        )
    return table


def _right_side(source: Source, row: Row, column: int) -> bool:
    """Whether a token is an image of its column's domain: names begin with shop, or comsumer."""
    if not right_picture(source, PARTITION, row, column):
        return False
    image = row.tokens[column]
    if image.count("/") < 4 or not image.startswith(f"{SMALL}/"):
        expected = "expected an image as img/GROUP/CATEGORY/ITEM/FILE"
        source.fault(f"{expected}, found {image[:80]!r}", PARTITION, row.line)
        return False
    name = image.rpartition("/")[2]
    says = "shop" if name.startswith("shop") else "consumer" if name.startswith(("comsumer", "consumer")) else None
    if says in (None, DOMAINS[column]):
        return True
    source.fault(
        f"expected a {DOMAINS[column]} image in column {column + 1}, found {image[:80]!r}", PARTITION, row.line
    )
    return False


def _read_labels(
    source: Source, items: Sequence[str], known: frozenset[str] | None
) -> tuple[tuple[str, ...], pa.Table]:
    """Return the names of the 18 types, and the labels that each image has from its item."""
    if source.find(LABELS) is None and source.find(LABEL_NAMES) is None:
        source.note(f"there are no {LABEL_NAMES} and {LABELS}: images have no attributes but their folders'")
        return (), label_rows({})
    types = read_types(source)
    names = read_names(source, len(types))
    images, places = item_labels(source, LABELS, len(names), items, known)
    # Several of the 303 have one English name: a value, given once.
    values = list(dict.fromkeys((kind, name) for name, kind in names))
    number = {value: place for place, value in enumerate(values)}
    of_column = np.array([number[kind, name] for name, kind in names], np.int64)
    keys = np.unique(images * len(values) + of_column[places])
    images, places = keys // len(values), keys % len(values)
    kinds = np.array([kind for kind, _ in values], np.int64)[places]
    words = pa.array([name for _, name in values], pa.string())
    found = {}
    for kind, name in enumerate(types, 1):
        chosen = kinds == kind
        found[name] = (images[chosen], words.take(pa.array(places[chosen])))
    return tuple(types), label_rows(found)


def read_types(source: Source) -> list[str]:
    """Return the English names of the types, in lower case, in the order of their numbers from 1.

    A row is "Chinese   English"; a row count and column names may stand before the rows.

    Raises:
        DatasetError: no such file; no rows, a row with another number of columns, or a count that is not theirs.
    """
    names: list[str] = []
    said = None
    for line, text in source.lines(TYPES):
        cells = _GAP.split(text.strip())
        if line == 1 and text.strip().isdecimal():
            said = int(text)
        elif cells == [""] or text.strip().isascii():
            # Rows have Chinese characters, column names do not.
            continue
        elif len(cells) == 2:
            names.append(cells[1].lower())
        else:
            raise DatasetError(f"{TYPES} line {line:,}: expected Chinese name, English name, found {text.strip()!r}")
    if not names:
        raise DatasetError(f"{TYPES}: expected rows of a Chinese and an English name, found none: unpack it again")
    if said not in (None, len(names)):
        raise DatasetError(f"{TYPES}: its first line says {said} types, it holds {len(names)}: unpack it again")
    return names


def read_names(source: Source, types: int) -> list[tuple[str, int]]:
    """Return (English name, number of its type from 1) of every label column.

    A row is "Chinese name   English name   type"; names hold spaces, so that two or more of them part the columns.

    Raises:
        DatasetError: no such file; a faulty row, strict or not, since every label after it would move.
    """
    names = []
    for line, text in label_lines(source, LABEL_NAMES):
        cells = _GAP.split(text)
        if len(cells) != 3 or not cells[2].isdecimal() or not 1 <= int(cells[2]) <= types:
            expected = f"expected Chinese name, English name, type (1 to {types})"
            raise DatasetError(f"{LABEL_NAMES} line {line:,}: {expected}, found {text[:80]!r}")
        names.append((cells[1], int(cells[2])))
    return names
