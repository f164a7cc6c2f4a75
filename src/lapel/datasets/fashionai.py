"""FashionAI's attribute images: one attribute and one value per image, and values that it may have too.

Two folders, ``fashionAI_attributes_train1`` and ``..._train2``, each with ``Images/<attribute>_labels/<name>.jpg`` and
``Annotations/label.csv``: no header, and per line the path, the attribute's folder and one letter per value, exactly
one ``y`` (the value), any number of ``m`` (maybe), the rest ``n``. It has no published split; the one that figures are
published for is in the lists that ``asen`` reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

import pyarrow as pa

from lapel import archives
from lapel.datasets.fashionai_values import HEADINGS, VALUES
from lapel.datasets.formats import Draft, Format, label_table
from lapel.datasets.lists import Row, right_choice, right_picture
from lapel.datasets.source import FileSpec, Source
from lapel.errors import DatasetError
from lapel.protocol import AttributeProtocol

PARTS = ("fashionAI_attributes_train1", "fashionAI_attributes_train2")
LIST = "Annotations/label.csv"
FOLDERS = {f"{attribute}_labels": attribute for attribute in VALUES}
"""Folder of an attribute's images -> the attribute."""


class _Part(NamedTuple):
    """A list of labels, and what stands before its paths in the catalogue."""

    name: str
    prefix: str


def _files(_: str) -> tuple[FileSpec, ...]:
    # Each is optional, for either alone can be read.
    return tuple(FileSpec((f"{part}/{LIST}",), "which values the images have", required=False) for part in PARTS)


def _read(source: Source) -> Draft:
    parts, bases = _parts(source)
    images: list[str] = []
    maybe: list[list[str] | None] = []
    values: dict[str, list[str | None]] = {attribute: [] for attribute in VALUES}
    for part in parts:
        for path, attribute, value, others in _rows(source, part.name):
            images.append(f"{part.prefix}{path}")
            maybe.append(others or None)
            for name, column in values.items():
                column.append(value if name == attribute else None)
    return Draft(
        {"image": images, "maybe": pa.array(maybe, pa.list_(pa.string()))},
        label_table(values),
        tuple(VALUES),
        AttributeProtocol(headings=HEADINGS),
        bases,
    )


def _parts(source: Source) -> tuple[list[_Part], tuple[str, ...]]:
    """Return the lists that are there, and the folders that image names may start from."""
    found = {part: path for part in PARTS if (path := source.find(f"{part}/{LIST}")) is not None}
    if not found:
        return _alone(source)
    if len(found) == 1:
        gone = next(part for part in PARTS if part not in found)
        source.note(f"only {next(iter(found))} is there; the whole data set has {gone} too")
    inside = {part: archives.split(path) for part, path in found.items()}
    together = len({None if place is None else place[0] for place in inside.values()}) == 1
    parts = []
    for part, path in found.items():
        folder = path.parent.parent
        # Parts that lie packed apart have no common base: there the names lead into each one's archive.
        plain = together and folder.name == part
        prefix = part if plain else folder.relative_to(source.root).as_posix()
        parts.append(_Part(f"{part}/{LIST}", f"{prefix}/".removeprefix("./")))
    return parts, ("",)


def _alone(source: Source) -> tuple[list[_Part], tuple[str, ...]]:
    """Return the list of a root that is one of the two folders itself."""
    if source.find(LIST) is None:
        raise DatasetError(
            f"{source.root} lacks {PARTS[0]}/{LIST} and {PARTS[1]}/{LIST}, which say which values the images have: "
            "give the folder that holds one of them or both"
        )
    name = source.root.resolve().name
    source.note("only one of the data set's two folders is read: give the folder above it to read both")
    if name in PARTS:
        return [_Part(LIST, f"{name}/")], ("..",)
    return [_Part(LIST, "")], ("",)


def _rows(source: Source, name: str) -> Iterator[tuple[str, str, str, list[str]]]:
    """Yield (path, attribute, value, values that it may have too) of a list, what is faulty left out."""
    lines: dict[str, int] = {}
    read: dict[tuple[str, str], tuple[str, list[str]]] = {}
    for number, text in source.lines(name):
        if not text.strip():
            continue
        tokens = [token.strip() for token in text.split(",")]
        if len(tokens) != 3:
            source.fault(f"expected path,attribute folder,label letters, found {text.strip()[:80]!r}", name, number)
            continue
        row = Row(number, tokens)
        path, folder, letters = tokens
        if not right_picture(source, name, row):
            continue
        if not right_choice(source, name, row, 1, tuple(FOLDERS), "attribute folder"):
            continue
        within = PurePosixPath(path).parent.name
        if within != folder:
            source.fault(f"the image lies in {within!r}, but column 2 says {folder!r}", name, number)
            continue
        if path in lines:
            source.fault(f"{path} is on line {lines[path]:,} already", name, number)
            continue
        key = (folder, letters)
        if key not in read:
            wrong = _wrong(folder, letters)
            if wrong:
                source.fault(wrong, name, number)
                continue
            names = VALUES[FOLDERS[folder]]
            others = [value for value, letter in zip(names, letters, strict=True) if letter == "m"]
            read[key] = names[letters.index("y")], others
        lines[path] = number
        yield path, FOLDERS[folder], *read[key]


def _wrong(folder: str, letters: str) -> str:
    """Return what is wrong with the letters of an image, nothing if they are right."""
    count = len(VALUES[FOLDERS[folder]])
    odd = sorted(set(letters) - set("ymn"))
    if odd:
        return f"expected the letters y, m and n in column 3, found {odd[0]!r} in {letters[:40]!r}"
    if len(letters) != count:
        return f"expected {count} letters for {folder}, found {len(letters)}: {letters[:40]!r}"
    if letters.count("y") != 1:
        return f"expected exactly one y, found {letters.count('y')} in {letters!r}"
    return ""


FORMAT = Format(
    "fashionai",
    "FashionAI attributes (train1 and train2)",
    "Alibaba, FashionAI Global Challenge 2018; search for 'FashionAI attributes recognition data set Tianchi'",
    _files,
    _read,
)
