"""Images that come one by one, with what is said of them: checked, and brought to the columns of an index."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import unquote

import pyarrow as pa

from lapel.catalogue import RESERVED
from lapel.decoding import Box
from lapel.errors import SearchIndexError
from lapel.retrieval.layout import BOX, LABEL, META, encode, kind_of, write_box

Cell: TypeAlias = str | int | float | bool | list[str]
Kinds: TypeAlias = Mapping[str, pa.DataType]

MAX_ID = 512  # bytes of UTF-8: an id is a key, and part of an address
MAX_NAME, MAX_TEXT, MAX_VALUE = 100, 10_000, 200  # characters of a column's name, of a cell, of a label
MAX_CELLS, MAX_VALUES, MAX_COLUMNS = 200, 100, 1000  # columns of one image, labels of one attribute, columns in all
EXACT = 2**53  # up to here every whole number is a float64
KINDS = {"text": "text", "integer": "whole numbers", "number": "numbers", "truth": "true or false", "labels": "labels"}
NEW = {bool: pa.bool_(), int: pa.float64(), float: pa.float64(), str: pa.string()}


class EntryError(SearchIndexError):
    """An image, or what is said of it, cannot go into the index."""


@dataclass(frozen=True)
class NewImage:
    """An image for an index, with all that is to be known of it: what an earlier one of the same id had is gone.

    Attributes:
        id: its key in the index.
        image: the bytes of its file.
        item: the product it shows.
        labels: attribute -> its values.
        metadata: column -> text, number, or true or false; None is missing.
        split: of the catalogue's splits.
        domain: ``shop`` or ``consumer``.
        box: x1, y1, x2, y2 of the garment in pixels of the upright image.
    """

    id: str
    image: bytes
    item: str | None = None
    labels: Mapping[str, Sequence[str] | str] = field(default_factory=dict)
    metadata: Mapping[str, object] = field(default_factory=dict)
    split: str | None = None
    domain: str | None = None
    box: Box | None = None


def check_id(name: object) -> str:
    """Return an id that can be a key: the same wherever it is written down and read again.

    Raises:
        EntryError: empty, too long, with spaces around it, control characters, or no Unicode text.
    """
    found = _text("id", name, MAX_ID)
    if len(found.encode()) > MAX_ID:
        raise EntryError(f"id {found[:40]!r}... is {len(found.encode())} bytes long; expected {MAX_ID} at most")
    if not found or found != found.strip():
        raise EntryError(f"expected an id without spaces around it and not empty, found {found!r}")
    _no_control("id", found)
    return found


def cells_of(image: NewImage) -> dict[str, Cell]:
    """Return what is said of an image: field of the table -> cell, those that are missing left out.

    Raises:
        EntryError: a name or a cell that no index can hold; it says what was expected.
    """
    cells: dict[str, Cell | None] = {
        name: None if value is None else _text(name, value).strip()
        for name, value in (("item", image.item), ("split", image.split), ("domain", image.domain))
    }
    cells[BOX] = write_box(_box(image.box))
    for kind, given in (("metadata", image.metadata), ("labels", image.labels)):
        if not isinstance(given, Mapping) or len(given) > MAX_CELLS:
            raise EntryError(f"expected {kind} as at most {MAX_CELLS} names with what they hold, found {given!r:.80}")
    for name, value in image.metadata.items():
        cells[META + encode(_name("metadata", name))] = _cell(name, value)
    for name, values in image.labels.items():
        if name in image.metadata:
            raise EntryError(f"{name!r} is given as an attribute and as metadata: give it as one of them")
        cells[LABEL + encode(_name("attribute", name))] = _labels(name, values)
    return {name: cell for name, cell in cells.items() if cell is not None and cell not in ("", [])}


def fitted(cells: Mapping[str, Cell], kinds: Kinds) -> tuple[dict[str, Cell], dict[str, pa.DataType]]:
    """Bring cells to the types that columns have; return them, and the columns that are new.

    Numbers of a new column are float64, so that 40 and 39.9 may follow each other.

    Raises:
        EntryError: a cell of another kind than its column; a new column's name is taken, or is one by another spelling;
            too many columns.
    """
    fresh: dict[str, pa.DataType] = {}
    found: dict[str, Cell] = {}
    for name, cell in cells.items():
        if name not in kinds:
            _check_new(name, kinds)
            fresh[name] = pa.list_(pa.string()) if isinstance(cell, list) else NEW[type(cell)]
        found[name] = _fit(name, cell, kinds[name] if name in kinds else fresh[name])
    if fresh and len(kinds) + len(fresh) > MAX_COLUMNS:
        raise EntryError(f"the index would have {len(kinds) + len(fresh)} columns, more than {MAX_COLUMNS}")
    return found, fresh


def _fit(field: str, cell: Cell, kind: pa.DataType) -> Cell:
    wanted = kind_of(kind)
    if isinstance(cell, bool):
        if wanted == "truth":
            return cell
    elif isinstance(cell, str | list):
        if (wanted == "labels") == isinstance(cell, list) and wanted in ("labels", "text"):
            return cell
    elif wanted == "number":
        return float(cell)
    elif wanted == "integer" and float(cell).is_integer():
        return int(cell)
    raise EntryError(f"{_told(field)} holds {KINDS[wanted]} in this index, found {cell!r:.80}")


def _check_new(field: str, kinds: Kinds) -> None:
    """Raise if a new column would be known by a name that is taken, but for its case."""
    name = _public(field)
    for other in kinds:
        if not other.startswith((META, LABEL)) or _public(other).casefold() != name.casefold():
            continue
        if other.startswith(META) == field.startswith(META):
            raise EntryError(f"unknown {_told(field)}; did you mean {_public(other)!r}? Names differ in more than case")
        place = "metadata" if other.startswith(META) else "labels"
        raise EntryError(f"{_public(other)!r} is in the {place} of this index: send it in {place}")


def _name(what: str, name: object) -> str:
    found = _text(f"name of {what}", name, MAX_NAME)
    if not found or found != found.strip() or found.casefold() in (*RESERVED, "id", "hash", "row_hash", "vector"):
        taken = ", ".join((*RESERVED, "id"))
        raise EntryError(
            f"expected a name of {what} that is not empty, has no spaces around it and is none of {taken}, "
            f"found {found!r}"
        )
    _no_control(f"name of {what}", found)
    return found


def _cell(name: str, value: object) -> Cell | None:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(f"metadata {name!r}", value).strip()
    if not isinstance(value, int | float):
        raise EntryError(f"metadata {name!r} takes text, a number, or true or false, found {value!r:.80}")
    if abs(value) > EXACT if isinstance(value, int) else not math.isfinite(value):
        raise EntryError(f"metadata {name!r} takes numbers of up to 2^53, found {value!r:.40}: send a code as text")
    return value


def _labels(name: str, values: object) -> list[str]:
    given = [values] if isinstance(values, str) else values
    if not isinstance(given, Iterable) or isinstance(given, Mapping | bytes):
        raise EntryError(f"attribute {name!r} takes a list of values, found {values!r:.80}")
    found = [_text(f"a value of {name!r}", value, MAX_VALUE).strip() for value in given]
    if len(found) > MAX_VALUES:
        raise EntryError(f"attribute {name!r} takes at most {MAX_VALUES} values, found {len(found)}")
    return [*dict.fromkeys(value for value in found if value)]


def _box(box: object) -> tuple[float, ...] | None:
    if box is None:
        return None
    numbers = tuple(box) if isinstance(box, Sequence) and not isinstance(box, str | bytes) else ()
    if len(numbers) != 4 or not all(isinstance(n, int | float) and abs(n) < 1e9 for n in numbers):
        raise EntryError(f"expected box as four numbers x1, y1, x2, y2 in pixels, found {box!r:.80}")
    return tuple(map(float, numbers))


def _text(what: str, value: object, most: int = MAX_TEXT) -> str:
    if not isinstance(value, str):
        raise EntryError(f"expected {what} as text, found {value!r:.80}")
    if len(value) > most:
        raise EntryError(f"{what} is {len(value)} characters long; expected {most} at most")
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        raise EntryError(f"{what} is no Unicode text: {value!r:.80}") from None
    if "\0" in value:
        raise EntryError(f"{what} has a NUL character in it: {value!r:.80}")
    return value


def _no_control(what: str, value: str) -> None:
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in value):
        raise EntryError(f"{what} has a control character in it: {value!r:.80}")


def _public(field: str) -> str:
    return unquote(field.partition("_")[2])


def _told(field: str) -> str:
    if not field.startswith((META, LABEL)):
        return repr(field)
    return f"{'metadata' if field.startswith(META) else 'attribute'} {_public(field)!r}"
