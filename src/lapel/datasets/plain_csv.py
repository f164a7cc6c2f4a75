"""Any table of images: a CSV whose columns have other names than a catalogue's.

What each column is comes from its name and its cells; ``--column ROLE=NAME`` says otherwise. What was decided is told
in the notes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from lapel import columns, coordinates, delimited
from lapel.catalogue import RESERVED
from lapel.datasets.csv_columns import DOMAINS, ROLES, SPLITS, Roles, tell_roles
from lapel.datasets.formats import Draft, Format
from lapel.datasets.source import PICTURES, FileSpec, Source
from lapel.errors import CatalogueError, DatasetError, unknown
from lapel.protocol import AttributeProtocol, ItemProtocol, Protocol, Side

SUFFIXES = (".csv", ".tsv")
_FOLDERS = ("images", "image", "imgs", "img", "photos", "pictures", "data")

Cells = list[str | None]
Read = TypeVar("Read")


def files(_: str) -> tuple[FileSpec, ...]:
    """Return no files: the table has any name."""
    return ()


def read(source: Source) -> Draft:
    """Read a table of images; ``source.options`` maps roles (image, item, split, domain, box, attribute, metadata) to
    column names, several separated by commas.

    Pictures lie beside the table, in a folder or zip archive there, or where an absolute path says. A name is also
    looked for in all folders beside the table, with any suffix of pictures if it has none.

    Faults: a row with more or fewer cells than the header or without an image; an image (and box) listed twice; a box
    that is not four numbers; a split or domain that is none, in a column so named.

    Raises:
        DatasetError: no such table; no column of images; an unknown role or column.
    """
    path = find_table(source)
    table, lines = _load(source, path)
    roles = tell_roles(table, source.options, lambda: set(_by_stem(_beside(source))))
    names = _images(source, table[roles.image].to_pylist())
    faulty = _Faulty(source, path, lines)
    for row, name in enumerate(names):
        if name is None:
            faulty.add(row, f"the cell {roles.image!r} is empty")
    split = _mapped(faulty, table, roles.split, SPLITS)
    domain = _mapped(faulty, table, roles.domain, DOMAINS)
    boxes = _boxes(source, faulty, table, roles)
    first: dict[tuple[str | None, str], int] = {}
    for row, key in enumerate(zip(names, map(str, boxes), strict=True)):
        if row not in faulty.rows and first.setdefault(key, row) != row:
            faulty.add(row, f"the same image as in row {lines[first[key]]}: {key[0]}")
    kept = np.array([row for row in range(table.num_rows) if row not in faulty.rows], np.int64)
    table = table.take(pa.array(kept))

    def keep(cells: Sequence[Read]) -> list[Read]:
        return [cells[row] for row in kept]

    base, places = _resolve(source, [name or "" for name in keep(names)])
    images: dict[str, Any] = {"image": places, "box": keep(boxes)}
    images |= {"split": keep(split)} if roles.split else {}
    images |= {"domain": keep(domain)} if roles.domain else {}
    images |= {"item": columns.text(table[roles.item])} if roles.item else {}
    if roles.landmarks:
        images["landmarks"] = _landmarks(table, path)
    for name in roles.metadata:
        images[_free(source, name)] = columns.metadata(table[name])
    labels = columns.long_labels({_free(source, name): table[name] for name in roles.attributes})
    source.note(roles.told())
    attributes = tuple(_free(None, name) for name in roles.attributes)
    return Draft(images, labels, attributes, _protocol(images, attributes), bases=(base,))


def find_table(source: Source) -> Path:
    """Return the table: what was given, or the only one of a folder.

    Raises:
        DatasetError: there is none, or several.
    """
    if source.given.is_file():
        return source.given
    found = sorted(path for path in source.root.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if len(found) == 1:
        return found[0]
    if not found:
        raise DatasetError(f"{source.root} holds no .csv or .tsv file: give the table, or its folder")
    raise DatasetError(
        f"{source.root} holds {len(found)} tables ({', '.join(p.name for p in found[:9])}): name the file"
    )


def _load(source: Source, path: Path) -> tuple[pa.Table, list[int]]:
    """Return the table, and for each row its number in the file (the header is 1)."""
    wrong: dict[int, str] = {}
    try:
        table = delimited.read_csv(path, "", None if source.strict else wrong.__setitem__)
    except CatalogueError as error:
        raise DatasetError(str(error)) from error
    for row, message in sorted(wrong.items()):
        source.fault(f"row {row}: {message}", path.name)
    if any(name.lower().endswith(PICTURES) for name in table.column_names):
        raise DatasetError(f"{path} has no line of column names: write one, such as image,neckline,colour")
    if not table.num_rows:
        raise DatasetError(f"{path} has no rows: expected one row per image")
    return table, [row for row in range(2, table.num_rows + len(wrong) + 2) if row not in wrong]


class _Faulty:
    """The rows to leave out, and why."""

    def __init__(self, source: Source, path: Path, lines: Sequence[int]) -> None:
        self.rows: set[int] = set()
        self._source, self._path, self._lines = source, path, lines

    def add(self, row: int, message: str) -> None:
        if row not in self.rows:
            self.rows.add(row)
            self._source.fault(f"row {self._lines[row]}: {message}", self._path.name)


def _mapped(faulty: _Faulty, table: pa.Table, name: str, choices: Mapping[str, str]) -> Cells:
    """Return a column of splits or domains in the catalogue's words."""
    if not name:
        return [None] * int(table.num_rows)
    cells: Cells = columns.text(table[name]).to_pylist()
    found = [None if cell is None else choices.get(cell.lower()) for cell in cells]
    for row, (cell, right) in enumerate(zip(cells, found, strict=True)):
        if cell is not None and right is None:
            faulty.add(row, unknown(name, cell, choices))
    return found


def _boxes(source: Source, faulty: _Faulty, table: pa.Table, roles: Roles) -> list[list[float] | None]:
    """Return the boxes as x1, y1, x2, y2; those without a size become None, with a note."""
    if not roles.box:
        return [None] * int(table.num_rows)
    cells = list(zip(*(columns.text(table[name]).to_pylist() for name in roles.box), strict=True))
    boxes: list[list[float] | None] = []
    for row, parts in enumerate(cells):
        text = " ".join(part or "" for part in parts)
        values = floats(text)
        if values is None or len(values) not in (0, 4):
            faulty.add(row, f"expected a box of four numbers in {' '.join(roles.box)}, found {text.strip()[:60]!r}")
        boxes.append(values if values and len(values) == 4 else None)
    given = np.array([box for box in boxes if box], np.float64).reshape(-1, 4)
    if len(given) and given.max() <= 1:
        source.note("boxes are shares of the picture, not pixels: whole pictures are used")
        return [None] * len(boxes)
    if roles.sized or (len(roles.box) == 1 and ((given[:, 2:] <= given[:, :2]).any(1)).mean() > 0.1):
        source.note(f"box: {' '.join(roles.box)} is read as x, y, width, height")
        boxes = [box and [box[0], box[1], box[0] + box[2], box[1] + box[3]] for box in boxes]
    odd = 0
    for row, box in enumerate(boxes):
        if box and not (box[0] < box[2] > 0 and box[1] < box[3] > 0):
            boxes[row] = None
            odd += 1
    if odd:
        source.note(f"{odd:,} boxes have no size: whole pictures are used")
    return boxes


def floats(text: str) -> list[float] | None:
    """Return the numbers of a cell such as ``1 2 3 4`` or ``[1, 2, 3, 4]``, None if it holds something else.

    >>> floats("(1, 2.5)"), floats("one")
    ([1.0, 2.5], None)
    """
    for mark in "[](),;":
        text = text.replace(mark, " ")
    try:
        values = [float(part) for part in text.split()]
    except ValueError:
        return None
    return values if np.isfinite(values).all() else None


def _landmarks(table: pa.Table, path: Path) -> pa.Array | pa.ChunkedArray:
    try:
        return coordinates.numbers(table, "landmarks", path)
    except CatalogueError as error:
        raise DatasetError(str(error)) from error


def _images(source: Source, cells: Cells) -> Cells:
    """Return image names with slashes; of a web address the last part."""
    names: Cells = []
    addresses = 0
    for cell in cells:
        name = (cell or "").strip().replace("\\", "/")
        if "://" in name:
            addresses += 1
            name = name.split("?")[0].split("#")[0].rstrip("/").rsplit("/", 1)[-1]
        names.append(name or None)
    if addresses:
        source.note(f"{addresses:,} images are given by web addresses: files of the same names are taken")
    return names


def _resolve(source: Source, names: list[str]) -> tuple[str, list[str]]:
    """Return the folder or archive (from the table's folder) that image names start from, and the names.

    Where some are not there, all start from the table's folder; one that is nowhere stays as it is.
    """
    if not names:
        return "", names
    top, present = source.locate(("", *_FOLDERS), names)
    base = "" if top == source.root else top.relative_to(source.root).as_posix()
    if present.all():
        return base, names
    paths = [f"{base}/{name}" if base and not name.startswith("/") else name for name in names]
    beside = _beside(source)
    by_name, by_stem = _unique(beside, os.path.basename), _by_stem(beside)
    used = {path for path, there in zip(paths, present, strict=True) if there}
    found = 0
    for row in np.flatnonzero(~present):
        # A folder that is named and lacks the picture is no reason to take another folder's, unless all have moved.
        name = names[row] if "/" in names[row] and present.any() else names[row].rsplit("/", 1)[-1]
        place = by_name.get(name) or (None if name.lower().endswith(PICTURES) else by_stem.get(name))
        if place is not None and place not in used:
            paths[row] = place
            used.add(place)
            found += 1
    if found:
        source.note(f"{found:,} images were found by their file names, in other folders or with another suffix")
    return "", paths


def _beside(source: Source) -> list[str]:
    """Return the pictures below the table's folder, also those in archives."""
    found = []
    for name in source.walk():
        if name.lower().endswith(PICTURES):
            found.append(name)
        elif name.lower().endswith(".zip"):
            found += [f"{name}/{inner}" for inner in source.pictures(name)]
    return found


def _by_stem(paths: Sequence[str]) -> dict[str, str]:
    return _unique(paths, lambda path: os.path.splitext(os.path.basename(path))[0])  # noqa: PTH119, PTH122  - fast


def _unique(paths: Sequence[str], key: Callable[[str], str]) -> dict[str, str]:
    """Return key -> path of the keys that only one path has."""
    found: dict[str, str] = {}
    twice = set()
    for path in paths:
        if found.setdefault(key(path), path) != path:
            twice.add(key(path))
    return {name: path for name, path in found.items() if name not in twice}


def _free(source: Source | None, name: str) -> str:
    """Return the name of a column that is an attribute or metadata, another where the catalogue has its own of it."""
    if name not in RESERVED:
        return name
    if source is not None:
        source.note(f"column {name!r} is kept as {name + ' (given)'!r}")
    return f"{name} (given)"


def _protocol(images: Mapping[str, Any], attributes: Sequence[str]) -> Protocol:
    """Return how such a table is scored: by items where queries and a gallery are told apart, else by attributes."""
    splits, domains = set(images.get("split", ())), set(images.get("domain", ()))
    if "item" in images and {"query", "gallery"} <= splits:
        return ItemProtocol()
    if "item" in images and not attributes and {"shop", "consumer"} <= domains:
        held = ("test",) if "test" in splits else ()
        return ItemProtocol(query=Side(held, "consumer"), gallery=Side(held, "shop"))
    return AttributeProtocol()


FORMAT = Format(
    name="csv",
    title="A table of images",
    owners="yourself",
    files=files,
    read=read,
    options=ROLES,
)
