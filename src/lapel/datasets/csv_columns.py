"""What the columns of any table of images are: image, item, split, domain, box, attributes, metadata."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from lapel import columns
from lapel.datasets.source import PICTURES
from lapel.errors import DatasetError, unknown

ROLES = ("image", "item", "split", "domain", "box", "attribute", "metadata")

SPLITS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test", "query": "query", "gallery": "gallery",
}  # fmt: skip
"""Cell, in lower case -> split."""

DOMAINS = {"shop": "shop", "store": "shop", "consumer": "consumer", "customer": "consumer", "street": "consumer"}
"""Cell, in lower case -> domain."""

_IMAGE = (
    "image", "image_path", "img_path", "image_file", "image_name", "img_name", "image_filename", "img", "filename",
    "file_name", "filepath", "file_path", "file", "path", "photo", "photo_path", "photo_file", "picture",
    "picture_path", "picture_file", "image_id", "image_url", "img_url", "photo_url", "url",
)  # fmt: skip
_ITEM = (
    "item", "item_id", "product_id", "productid", "sku", "article_id", "article_number", "style_id", "asin",
    "product", "article", "style",
)  # fmt: skip
_WORDS = ("product", "article", "style")  # may be a word of the garment too: an item if its cells are codes
_SPLIT = ("split", "set", "partition", "subset", "evaluation_status")
_DOMAIN = ("domain", "source")
_BOX = ("box", "bbox", "bounding_box")
_CORNERS = (
    ("x1", "y1", "x2", "y2"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("left", "top", "right", "bottom"),
)
_SIZED = (
    ("x", "y", "w", "h"),
    ("x", "y", "width", "height"),
    ("left", "top", "width", "height"),
    ("xmin", "ymin", "width", "height"),
)
_PREFIXES = ("", "box_", "bbox_", "bounding_box_")
_SAMPLE = 1000
_SHARE = 0.9


@dataclass
class Roles:
    """Which column is what; empty: none.

    Attributes:
        box: one column of four numbers, or four columns.
        sized: the box is x, y, width, height instead of two corners.
    """

    image: str
    item: str = ""
    split: str = ""
    domain: str = ""
    box: tuple[str, ...] = ()
    sized: bool = False
    landmarks: str = ""
    attributes: list[str] = field(default_factory=list)
    metadata: list[str] = field(default_factory=list)

    def told(self) -> str:
        """Return one line that says it."""
        single = {name: getattr(self, name) for name in ("image", "item", "split", "domain", "landmarks")}
        parts = [f"{role}: column {name!r}" for role, name in single.items() if name]
        parts += [f"box: {', '.join(self.box)}"] if self.box else []
        parts += [f"attributes: {', '.join(self.attributes) or 'none'}"]
        parts += [f"metadata: {', '.join(self.metadata)}"] if self.metadata else []
        return "; ".join(parts)


def tell_roles(table: pa.Table, options: Mapping[str, str], stems: Callable[[], set[str]]) -> Roles:
    """Tell what each column is, by what was said, by its name, by its cells.

    Args:
        table: the table, all text.
        options: role -> column names, separated by commas.
        stems: gives the names of the pictures on disk without their suffixes; asked only where no column is the image
            by its name or its cells.

    Raises:
        DatasetError: an unknown role or column; no column of images.
    """
    said = _said(table, options)
    taken = {name for given in said.values() for name in given}
    names: dict[str, str] = {}
    for name in table.column_names:
        if name not in taken:
            names.setdefault(_plain(name), name)

    def choose(role: str, usual: Sequence[str], fits: Callable[[str], bool]) -> str:
        if role in said:
            return said[role][0]
        return next((names[name] for name in usual if name in names and fits(name)), "")

    roles = Roles(said["image"][0] if "image" in said else _image(table, names, stems))
    names = {plain: name for plain, name in names.items() if name != roles.image}
    roles.item = choose("item", _ITEM, lambda name: _is_item(table, names, name))
    roles.split = choose("split", _SPLIT, lambda name: _fits(table, names[name], SPLITS, name == "split"))
    roles.domain = choose("domain", _DOMAIN, lambda name: _fits(table, names[name], DOMAINS, name == "domain"))
    roles.box, roles.sized = _box(names) if "box" not in said else _said_box(said["box"])
    roles.landmarks = "landmarks" if "landmarks" in table.column_names and "landmarks" not in taken else ""
    used = {roles.image, roles.item, roles.split, roles.domain, *roles.box, roles.landmarks}
    for name in table.column_names:
        if name in said.get("attribute", ()):
            roles.attributes.append(name)
        elif name in said.get("metadata", ()):
            roles.metadata.append(name)
        elif name not in used:
            (roles.attributes if columns.is_attribute(table[name]) else roles.metadata).append(name)
    return roles


def _said(table: pa.Table, options: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for role, given in options.items():
        if role not in ROLES:
            raise DatasetError(f"--column: {unknown('role', role, ROLES)}")
        # A name may hold a comma itself.
        names = [given] if given in table.column_names else [name.strip() for name in given.split(",")]
        for name in names:
            if name not in table.column_names:
                raise DatasetError(f"--column {role}: {unknown('column', name, table.column_names)}")
        most = {"box": 4, "attribute": len(names), "metadata": len(names)}.get(role, 1)
        if len(names) > most or (role == "box" and len(names) not in (1, 4)):
            expected = "one column, or four" if role == "box" else "one column"
            raise DatasetError(f"--column {role}: expected {expected}, found {len(names)}: {', '.join(names)}")
        found[role] = names
    return found


def _plain(name: str) -> str:
    """Return a column's name in lower case, words joined by ``_``.

    >>> _plain("Product ID"), _plain("imagePath")
    ('product_id', 'image_path')
    """
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
    return re.sub(r"[^0-9a-z]+", "_", name.lower()).strip("_")


def _image(table: pa.Table, names: Mapping[str, str], stems: Callable[[], set[str]]) -> str:
    """Return the column of images: by name and cells, by cells alone, by name alone, by what lies on disk."""
    named = [names[name] for name in _IMAGE if name in names]
    pictured = [name for name in names.values() if _is_pictures(table[name])]
    both = [name for name in named if name in pictured]
    if both or len(pictured) == 1:
        return (both or pictured)[0]
    if not pictured:
        on_disk = pa.array(sorted(stems()), pa.string())
        for name in dict.fromkeys([*named, *names.values()]):
            cells = columns.text(table[name].slice(0, _SAMPLE))
            if pc.sum(pc.is_in(cells, on_disk)).as_py() >= _SHARE * len(cells):
                return name
    if named:
        return named[0]
    what = f"several columns hold names of pictures ({', '.join(pictured)})" if pictured else "no column holds images"
    raise DatasetError(f"{what}; columns: {', '.join(names.values())}. Say which one does: --column image=NAME")


def _is_pictures(column: pa.ChunkedArray) -> bool:
    """Whether the cells of a column end as picture files do."""
    cells = [cell.lower().split("?")[0] for cell in columns.text(column.slice(0, _SAMPLE)).drop_null().to_pylist()]
    return bool(cells) and sum(cell.endswith(PICTURES) for cell in cells) >= _SHARE * len(cells)


def _is_item(table: pa.Table, names: Mapping[str, str], name: str) -> bool:
    if name not in _WORDS:
        return True
    cells = pc.unique(columns.text(table[names[name]])).drop_null().to_pylist()
    return all(any(mark.isdigit() for mark in cell) for cell in cells)


def _fits(table: pa.Table, name: str, choices: Mapping[str, str], plainly: bool) -> bool:
    """Whether a column holds splits (or domains): all its values are, or it is so named and some of them are."""
    cells = [cell.lower() for cell in pc.unique(columns.text(table[name])).drop_null().to_pylist()]
    known = sum(cell in choices for cell in cells)
    return bool(known) and (plainly or known == len(cells))


def _box(names: Mapping[str, str]) -> tuple[tuple[str, ...], bool]:
    """Return the columns of the box, and whether they are x, y, width, height."""
    for prefix in _PREFIXES:
        for quartets, sized in ((_CORNERS, False), (_SIZED, True)):
            for quartet in quartets:
                if all(prefix + name in names for name in quartet):
                    return tuple(names[prefix + name] for name in quartet), sized
    return next((((names[name],), False) for name in _BOX if name in names), ((), False))


def _said_box(given: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    last = _plain(given[-1])
    return tuple(given), len(given) == 4 and last.endswith(("h", "height"))
