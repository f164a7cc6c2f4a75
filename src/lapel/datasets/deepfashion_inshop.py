"""DeepFashion In-Shop: 52,712 shop images of 7,982 items, the queries and the gallery of instance retrieval.

Below ``Anno``, ``Eval`` and ``Img`` as it was unpacked: lists with padded columns, a row of labels per item, and
descriptions of the items in JSON.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from lapel.datasets.deepfashion import OWNERS, names_of
from lapel.datasets.deepfashion_items import (
    BASES,
    LARGE,
    SMALL,
    annotation,
    item_labels,
    known_item,
    label_lines,
    pictures,
    plain_rows,
    read_annotations,
    read_items,
)
from lapel.datasets.formats import Draft, Format, label_rows, label_table
from lapel.datasets.lists import read_list, right_choice, right_picture
from lapel.datasets.source import FileSpec, Source
from lapel.protocol import ItemProtocol, Side

PARTITION = "Eval/list_eval_partition.txt"
BOXES = "Anno/list_bbox_inshop.txt"
LANDMARKS = "Anno/list_landmarks_inshop.txt"
ITEMS = "Anno/list_item_inshop.txt"
LABEL_NAMES = "Anno/list_attr_cloth.txt"
LABELS = "Anno/list_attr_items.txt"
COLOURS = "Anno/list_color_cloth.txt"
DESCRIPTIONS = "Anno/list_description_inshop.json"
POSES = {1: "front", 2: "side", 3: "back", 4: "zoom-out", 5: "zoom-in", 6: "stand-alone"}

_FILE = re.compile(r"(?P<variant>\w+?)_\d_(?P<view>\w+)\.\w+", re.ASCII)


def files(_variant: str) -> tuple[FileSpec, ...]:
    """Return the files of the benchmark; the same whichever pictures are taken."""

    return (
        FileSpec((PARTITION, "list_eval_partition.txt"), "which image is for training, query or gallery"),
        annotation(BOXES, "where the garment is in each image"),
        annotation(LANDMARKS, "where the landmarks are in each image"),
        annotation(ITEMS, "which items there are"),
        annotation(LABEL_NAMES, "what the 463 attributes are called"),
        annotation(LABELS, "which attributes each item has"),
        annotation(COLOURS, "what colour each image shows (not every copy has it)"),
        annotation(DESCRIPTIONS, "what colour each item has, and its description"),
    )


def read(source: Source) -> Draft:
    """Read the benchmark: what each file adds, where it is there.

    Raises:
        DatasetError: no partition; a file that is not in its published format.
    """
    known = read_items(source, ITEMS)
    table = _read_partition(source, known)
    images, items = table["image"], table["item"]
    told, poses = read_annotations(source, BOXES, LANDMARKS, "pose_type", images, PARTITION)
    described = _read_descriptions(source)
    folders = [image.split("/") for image in images]
    matched = [_FILE.fullmatch(parts[-1]) for parts in folders]
    columns: dict[str, Sequence[Any] | pa.Array] = {
        "image": pictures(source, images),
        "item": items,
        "split": table["split"],
        "domain": ["shop"] * len(images),
        **told,
        "pose": names_of(poses, POSES),
        "view": [match and match["view"] for match in matched],
        "variant": [match and match["variant"] for match in matched],
        "description": [described[item][1] if item in described else None for item in items],
    }
    colours: list[list[str] | None] | None = _read_colours(source, images)
    if colours is None:
        colours = [described[item][0] if item in described else None for item in items]
    labels = {
        "category": label_table({"category": [parts[2] for parts in folders]}),
        "gender": label_table({"gender": [parts[1] for parts in folders]}),
        "attribute": _read_labels(source, items, known),
        "colour": label_table({"colour": colours}),
    }
    attributes = tuple(name for name, part in labels.items() if part.num_rows)
    protocol = ItemProtocol(query=Side(("query",)), gallery=Side(("gallery",)), groups=("pose", "category"))
    return Draft(columns, pa.concat_tables(labels.values()), attributes, protocol, BASES)


FORMAT = Format(
    name="deepfashion-inshop",
    title="DeepFashion In-shop Clothes Retrieval",
    owners=f"{OWNERS}In-shop Clothes Retrieval Benchmark'",
    files=files,
    read=read,
    variants=(SMALL, LARGE),
)


def _read_partition(source: Source, known: frozenset[str] | None) -> dict[str, list[str]]:
    table: dict[str, list[str]] = {"image": [], "item": [], "split": []}
    lines: dict[str, int] = {}
    for row in read_list(source, PARTITION, ("image", "item", "status")):
        image, item, status = row.tokens
        if not right_picture(source, PARTITION, row):
            continue
        if image.count("/") < 4 or not image.startswith(f"{SMALL}/"):
            expected = "expected an image as img/GENDER/CATEGORY/ITEM/FILE"
            source.fault(f"{expected}, found {image[:80]!r}", PARTITION, row.line)
        elif image in lines:
            source.fault(f"{image} is listed twice: line {lines[image]:,} has it too", PARTITION, row.line)
        elif known_item(source, PARTITION, row, 1, known) and right_choice(
            source, PARTITION, row, 2, ("train", "query", "gallery"), "evaluation status"
        ):
            lines[image] = row.line
            for name, token in zip(table, (image, item, status), strict=True):
                table[name].append(token)
    return table


def _read_labels(source: Source, items: Sequence[str], known: frozenset[str] | None) -> pa.Table:
    """Return the labels of the attribute ``attribute``: the names among the 463 that an image's item has."""
    if source.find(LABELS) is None and source.find(LABEL_NAMES) is None:
        source.note(f"there are no {LABEL_NAMES} and {LABELS}: images have no attributes but their folders'")
        return label_rows({})
    names = [text for _, text in label_lines(source, LABEL_NAMES)]
    images, places = item_labels(source, LABELS, len(names), items, known)
    values = pa.array(names, pa.string()).take(pa.array(places))
    return label_rows({"attribute": (images, values)})


def _read_colours(source: Source, images: Sequence[str]) -> list[list[str] | None] | None:
    """Return the colour of each image, None where the list is not there (not every copy has it)."""
    if source.find(COLOURS) is None:
        return None
    found = {}
    for line, text in plain_rows(source, COLOURS):
        image, _, colour = text.partition(" ")
        if not colour.strip():
            source.fault(f"expected image colour, found {text[:80]!r}", COLOURS, line)
        found[image] = [colour.strip()]
    return [found.get(image) for image in images]


def _read_descriptions(source: Source) -> dict[str, tuple[list[str], str | None]]:
    """Return item -> its colours, and its description in one line."""
    if source.find(DESCRIPTIONS) is None:
        return {}
    content = source.json(DESCRIPTIONS)
    if not isinstance(content, list):
        source.fault("expected a list of {item, color, description}", DESCRIPTIONS)
        return {}
    found: dict[str, tuple[list[str], str | None]] = {}
    for place, entry in enumerate(content):
        if not isinstance(entry, dict) or not isinstance(entry.get("item"), str):
            message = f"expected {{item, color, description}} as entry {place + 1:,}, found {str(entry)[:80]}"
            source.fault(message, DESCRIPTIONS)
            continue
        text = entry.get("description")
        pieces = [text] if isinstance(text, str) else text if isinstance(text, list) else []
        words = " ".join(str(piece).strip() for piece in pieces).strip()
        colours, earlier = found.get(entry["item"], ([], None))
        colour = str(entry.get("color") or "").strip()
        more = [colour] if colour and colour not in colours else []
        found[entry["item"]] = (colours + more, earlier or words or None)
    return found
