"""A small format of the tests' own: ``list.txt`` of image, item and split, ``colours.txt`` of image and colour."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from lapel.datasets.formats import Draft, Format, label_table
from lapel.datasets.lists import read_list, right_choice, right_picture
from lapel.datasets.source import FileSpec, Source
from lapel.protocol import ItemProtocol

from .pictures import paint

SPLITS = ("train", "query", "gallery")
ROWS = (
    ("img/a.jpg", "1", "train"),
    ("img/b.jpg", "1", "train"),
    ("img/sub/c.jpg", "2", "query"),
    ("img/sub/d.jpg", "2", "gallery"),
    ("img/e.jpg", "3", "gallery"),
)
COLOURS = (("img/a.jpg", "red"), ("img/sub/c.jpg", "blue"), ("img/e.jpg", "red"))
PAIRS = (("img/sub/c.jpg", "img/sub/d.jpg"), ("img/sub/c.jpg", "img/e.jpg"))


def files(variant: str) -> tuple[FileSpec, ...]:
    lists = ("big_list.txt",) if variant == "big" else ("Eval/list.txt", "list.txt")
    return (
        FileSpec(lists, "which image is for what"),
        FileSpec(("Anno/colours.txt",), "which colour an image shows"),
        FileSpec(("Anno/boxes.txt",), "where the garment is", required=False),
    )


def make(missing: str = "") -> Format:
    """Return the format; ``missing`` is why its pictures are usually missing."""

    def read(source: Source) -> Draft:
        name = "big_list.txt" if source.variant == "big" else "Eval/list.txt"
        rows = [
            row
            for row in read_list(source, name, ("image", "item", "split"))
            if right_picture(source, name, row) and right_choice(source, name, row, 2, SPLITS, "split")
        ]
        colours = {row.tokens[0]: row.tokens[1] for row in read_list(source, "Anno/colours.txt", ("image", "colour"))}
        if source.find("Anno/boxes.txt") is None:
            source.note("no boxes")
        images = [row.tokens[0] for row in rows]
        return Draft(
            {"image": images, "item": [r.tokens[1] for r in rows], "split": [r.tokens[2] for r in rows]},
            label_table({"colour": [colours.get(image) for image in images]}),
            ("colour",),
            ItemProtocol(),
            bases=("Img", ""),
            relations={
                "pairs": pa.table(
                    {"split": ["query"] * len(PAIRS)}
                    | {k: [p[i] for p in PAIRS] for i, k in enumerate(("query", "gallery"))}
                )
            },
            missing=missing,
        )

    owners = "Nobody; search for 'a fake of our own'"
    return Format("fake", "A fake", owners, files, read, variants=("small", "big"))


def list_text(rows: Sequence[Sequence[str]], header: str) -> str:
    return "\n".join([str(len(rows)), header, *("   ".join(row) for row in rows)]) + "\n"


def write(root: Path) -> Path:
    """Write a whole one."""
    for folder in ("Eval", "Anno"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "Eval/list.txt").write_text(list_text(ROWS, "image item split"))
    (root / "Anno/colours.txt").write_text(list_text(COLOURS, "image colour"))
    paint(*(root / "Img" / image for image, _, _ in ROWS))
    return root
