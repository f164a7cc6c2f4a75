"""What changes to an index come to: told one after the other as they were asked for, done at once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import pyarrow as pa

from lapel.decoding import Box
from lapel.errors import ImageError
from lapel.retrieval import kept
from lapel.retrieval.new_images import Cell, NewImage, cells_of, check_id, fitted
from lapel.retrieval.rows import content_hash, row_hash

Change: TypeAlias = Literal["added", "changed", "updated", "unchanged"]


@dataclass(frozen=True)
class Known:
    """A row, as far as it tells whether a change changes it."""

    hash: str
    row_hash: str
    image: str


@dataclass(frozen=True)
class Put:
    """An image that may go into an index.

    Attributes:
        id: of the row.
        cells: of the row.
        data: the bytes of the file.
        box: of it.
        hash: of what its vectors depend on.
    """

    id: str
    cells: Mapping[str, Cell]
    data: bytes
    box: Box | None
    hash: str


@dataclass(frozen=True)
class Row(Known):
    """A row to be written, and the file it comes from."""

    cells: Mapping[str, Cell]
    data: bytes


def checked(image: NewImage) -> Put:
    """Check what is said of an image, and hash it; whether it can be decoded is not looked at.

    Raises:
        EntryError: it does not fit into any index.
        ImageError: there are no bytes.
    """
    name, cells = check_id(image.id), cells_of(image)
    if not isinstance(image.image, bytes) or not image.image:
        raise ImageError(f"expected the bytes of an image file, found {type(image.image).__name__} {image.image!r:.20}")
    box = None if image.box is None else tuple(map(float, image.box))
    return Put(name, cells, image.image, box, content_hash(hashlib.sha256(image.image).hexdigest(), box))


class Plan:
    """Several changes of the rows of a table.

    Args:
        schema: of the table.
        known: rows as they are, of all ids that come up.

    Attributes:
        fresh: columns that the table lacks.
    """

    def __init__(self, schema: pa.Schema, known: Mapping[str, Known]) -> None:
        self.kinds = {field.name: field.type for field in schema}
        self.fresh: dict[str, pa.DataType] = {}
        self._known = known
        self._now: dict[str, Row | None] = {}

    @property
    def rows(self) -> dict[str, Row]:
        """Rows to be written, by id."""
        return {name: row for name, row in self._now.items() if row is not None}

    @property
    def gone(self) -> list[str]:
        """Rows to be deleted."""
        return [name for name, row in self._now.items() if row is None and name in self._known]

    @property
    def released(self) -> list[str]:
        """Images that rows named before and do not name afterwards."""
        before = {name: self._known[name].image for name in self._now if name in self._known}
        rows = self.rows
        return [image for name, image in before.items() if name not in rows or rows[name].image != image]

    def put(self, put: Put) -> Change:
        """Add an image, or replace the one of this id.

        Raises:
            EntryError: what is said of it does not fit the columns.
        """
        said, fresh = fitted(put.cells, self.kinds)
        before = self._now.get(put.id, self._known.get(put.id))
        same = before is not None and before.hash == put.hash
        image = before.image if before is not None and same else kept.name_of(put.data)
        cells = {"image": image, **said}
        row = Row(put.hash, row_hash(cells), image, cells, put.data)
        if before is not None and same and before.row_hash == row.row_hash:
            return "unchanged"
        self.kinds |= fresh
        self.fresh |= fresh
        self._now[put.id] = row
        return "added" if before is None else "updated" if same else "changed"

    def remove(self, ids: Sequence[str]) -> int:
        """Delete rows, and return how many there were."""
        there = [name for name in dict.fromkeys(ids) if self._now.get(name, self._known.get(name)) is not None]
        self._now |= dict.fromkeys(there)
        return len(there)

    def table(self) -> pa.Table:
        """Return the rows to be written with all columns but ``vector``."""
        rows = self.rows
        cells = [{"id": name, "hash": row.hash, "row_hash": row.row_hash, **row.cells} for name, row in rows.items()]
        kinds = {name: kind for name, kind in self.kinds.items() if name != "vector"}
        return pa.table({name: pa.array([each.get(name) for each in cells], kind) for name, kind in kinds.items()})
