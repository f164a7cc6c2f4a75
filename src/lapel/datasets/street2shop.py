"""Street2Shop ("Where to Buy It"): street photos with boxes, and the shops' photos of the very products in them.

Product numbers count within a category, photo numbers over all. The data set gives links, not photos: what people have
depends on when and how they fetched them, so photos are found by their number, whatever the folder, the padding and the
kind of file.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from lapel import archives
from lapel.datasets.formats import Draft, Format, label_rows
from lapel.datasets.source import FileSpec, Source
from lapel.errors import DatasetError
from lapel.protocol import ItemProtocol, Side

CATEGORIES = (
    "bags", "belts", "dresses", "eyewear", "footwear", "hats", "leggings", "outerwear", "pants", "skirts", "tops",
)  # fmt: skip
AHBN_CATEGORIES = ("dresses", "leggings", "outerwear", "pants", "skirts", "tops")
"""The six that published tables have, AHBN's too as far as is known; ``ItemProtocol.only`` takes them."""

PROTOCOL = ItemProtocol(query=Side(("test",), "consumer"), gallery=Side((), "shop"), within="category", headline=20)

Box = tuple[float, float, float, float]

_PHOTOS = "photos/photos.txt"
_FOLDERS = ("photos/", "images/")
_LISTS = {
    "train_pairs": "which products are in which street photo, for training",
    "test_pairs": "which products are in which street photo, for testing",
    "retrieval": "which shop photos show which product",
}
_MISSING = (
    "the data set gives links, and many are dead. Figures then do not match published ones exactly, as those were "
    "taken with other photos missing"
)


class _Row(NamedTuple):
    """One object of a list."""

    photo: int
    product: int
    box: Box | None = None


class _Odd:
    """What is odd but harmless: counted, and noted once with its first place."""

    def __init__(self) -> None:
        self._found: dict[str, list[Any]] = {}

    def add(self, what: str, place: str) -> None:
        self._found.setdefault(what, [0, place])[0] += 1

    def note(self, source: Source) -> None:
        for what, (count, place) in self._found.items():
            source.note(f"{what}: {count:,}, the first in {place}")


def list_name(kind: str, category: str) -> str:
    """Return the name of a list (``train_pairs``, ``test_pairs``, ``retrieval``) at its usual place."""
    return f"meta/json/{kind}_{category}.json"


def _files(_: str) -> tuple[FileSpec, ...]:
    lists = tuple(
        FileSpec(
            tuple(f"{folder}{kind}_{category}.json" for folder in ("meta/json/", "json/", "meta/", "")),
            f"{purpose} ({category})",
            required=False,
        )
        for category in CATEGORIES
        for kind, purpose in _LISTS.items()
    )
    photos = FileSpec((_PHOTOS, "photos.txt", "images/photos.txt"), "which photos there are", required=False)
    return (*lists, photos)


def _read(source: Source) -> Draft:
    present = _present(source)
    odd = _Odd()
    rows: list[_Row] = []
    categories: list[str] = []
    splits: list[str] = []
    domains: list[str] = []
    for category in present:
        train = _read_list(source, "train_pairs", category, odd)
        test = _read_list(source, "test_pairs", category, odd)
        shop = _read_list(source, "retrieval", category, odd)
        tested = {row.product for row in test}
        trained = {row.product for row in train} - tested
        splits += ["train"] * len(train) + ["test"] * len(test)
        splits += ["train" if row.product in trained else "gallery" for row in shop]
        domains += ["consumer"] * (len(train) + len(test)) + ["shop"] * len(shop)
        categories += [category] * (len(train) + len(test) + len(shop))
        rows += [*train, *test, *shop]
        for product in sorted(tested - {row.product for row in shop}) if shop else ():
            odd.add(
                "products of test pairs without a shop photo",
                f"{list_name('test_pairs', category)} (product {product})",
            )
    odd.note(source)
    base, found = _pictures(source)
    usual = "" if base else _FOLDERS[0]
    _check_photos(source, {row.photo for row in rows})
    images = [found.get(row.photo) or f"{usual}{row.photo:09d}.jpg" for row in rows]
    products = [row.product for row in rows]
    return Draft(
        images={
            "image": images,
            "item": [f"{category}/{product}" for category, product in zip(categories, products, strict=True)],
            "split": splits,
            "domain": domains,
            "box": [row.box for row in rows],
            "photo": pa.array([row.photo for row in rows], pa.int64()),
            "product": pa.array(products, pa.int64()),
        },
        labels=label_rows({"category": (np.arange(len(rows)), pa.array(categories, pa.string()))}),
        attributes=("category",),
        protocol=PROTOCOL,
        bases=(base,),
        missing=_MISSING,
    )


def _present(source: Source) -> list[str]:
    """Return the categories of which there is any list; what is missing is noted."""
    lacks = {
        category: [name for kind in _LISTS if source.find(name := list_name(kind, category)) is None]
        for category in CATEGORIES
    }
    present = [category for category, missing in lacks.items() if len(missing) < len(_LISTS)]
    if not present:
        source.require(list_name("retrieval", CATEGORIES[0]))
    if len(present) < len(CATEGORIES):
        absent = [category for category in CATEGORIES if category not in present]
        source.note(f"no lists of {len(absent)} of the {len(CATEGORIES)} categories: {', '.join(absent)}")
    for category in present:
        for name in lacks[category]:
            source.note(f"{name} is missing: {category} are incomplete")
    return present


def _read_list(source: Source, kind: str, category: str, odd: _Odd) -> list[_Row]:
    """Read one list, each (photo, product, box) once; [] where there is none.

    Faults: not JSON, not a list of objects with the numbers of a photo and a product.
    """
    name = list_name(kind, category)
    if source.find(name) is None:
        return []
    try:
        objects = source.json(name)
    except DatasetError as error:
        if source.strict:
            raise
        source.fault(str(error).removeprefix(name).lstrip(": "), name)  # the other lists are read all the same
        return []
    boxed = kind != "retrieval"
    example = '{"photo": 2847, "product": 47270' + (', "bbox": {...}}' if boxed else "}")
    if not isinstance(objects, list):
        source.fault(f"expected a list of {example}, found {str(objects)[:80]!r}", name)
        return []
    rows: dict[_Row, None] = {}
    for number, entry in enumerate(objects, 1):
        row = _row(entry, boxed)
        if row is None:
            source.fault(f"row {number:,}: expected {example}, found {str(entry)[:100]!r}", name)
            continue
        if boxed and row.box is None:
            what = "boxes without a size, or of no area"
            odd.add(what, f"{name} row {number:,} (photo {row.photo}, product {row.product})")
        if row in rows:
            odd.add("rows that are there again, left out", f"{name} row {number:,}")
        rows[row] = None
    return list(rows)


def _row(entry: Any, boxed: bool) -> _Row | None:
    """Return an object of a list; None where it is not as published."""
    try:
        photo, product = entry["photo"], entry["product"]
        if type(photo) is not int or type(product) is not int:
            return None
        return _Row(photo, product, _box(entry["bbox"])) if boxed else _Row(photo, product)
    except (KeyError, TypeError):
        return None


def _box(given: Any) -> Box | None:
    """Return x1, y1, x2, y2 of a box, None for one without a size (one such is known) or without an area.

    Raises:
        TypeError: not a box.
    """
    if not isinstance(given, dict):
        raise TypeError
    sides = [given.get(side) for side in ("left", "top", "width", "height")]
    if any(type(side) not in (int, float, type(None)) for side in sides):
        raise TypeError
    left, top, width, height = sides
    if left is None or top is None or not width or not height:
        return None
    x2, y2 = left + width, top + height
    return (left, top, x2, y2) if min(width, height, x2, y2) > 0 else None


def _pictures(source: Source) -> tuple[str, dict[int, str]]:
    """Return the folder or archive of the pictures, and photo number -> picture, in whatever folder it is."""
    found = _by_number(source.pictures(""))
    if found:
        return "", found
    bases = [path.relative_to(source.root).as_posix() for path in sorted(source.root.glob("*.zip"))]
    bases += [path.relative_to(source.root).as_posix() for path in sorted(source.root.glob("*/*.zip"))]
    for base in bases:
        found = _by_number(source.pictures(base))
        if found:
            return base, found
    return "", {}


def _by_number(names: Iterable[str]) -> dict[int, str]:
    """Return photo number -> the picture whose name is that number; of several the one at the most usual place."""
    found: dict[int, str] = {}
    for name in names:
        stem = name.rpartition("/")[2].rpartition(".")[0]
        if not (stem.isascii() and stem.isdigit()):
            continue
        photo = int(stem)
        other = found.get(photo)
        if other is None or _rank(name) < _rank(other):
            found[photo] = name
    return found


def _rank(name: str) -> tuple[bool, bool, str]:
    return not name.startswith(_FOLDERS[0]), not name.startswith(_FOLDERS[1]), name


def _check_photos(source: Source, photos: set[int]) -> None:
    """Note photos that photos.txt does not know. Only the numbers before the links matter, so nothing here stops."""
    path = source.find(_PHOTOS)
    if path is None:
        return
    known: set[int] = set()
    odd = _Odd()
    with archives.open_binary(path) as stream:
        for number, line in enumerate(stream, 1):
            head = line.removeprefix(codecs.BOM_UTF8).partition(b",")[0].strip()
            if head.isdigit():
                known.add(int(head))
            elif line.strip():
                odd.add("lines without a photo number before a comma", f"{_PHOTOS} line {number:,}")
    odd.note(source)
    strange = photos - known
    if strange:
        source.note(f"photos that are not in {_PHOTOS}: {len(strange):,}, the first: {min(strange)}")


FORMAT = Format(
    name="street2shop",
    title="Street2Shop (Where to Buy It)",
    owners=(
        "University of North Carolina at Chapel Hill (Kiapour, Han, Lazebnik, Berg and Berg); search for 'Where to "
        "Buy It: Matching Street Clothing Photos in Online Shops'"
    ),
    files=_files,
    read=_read,
)
