"""Where an index keeps its rows: the small ``Store`` contract that every engine keeps.

Rows have the columns of ``layout.py``; ``id`` is the key and ``vector`` a fixed-size list compared by dot
product. A filter means the same on every engine. ``engines.py`` says which one an index has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lapel.errors import SearchIndexError
from lapel.retrieval.filter_tree import Filter

Vector: TypeAlias = npt.NDArray[np.float32]


class EngineUnavailable(SearchIndexError):
    """The engine does not answer now; the same call may succeed once it is back."""


class Store(Protocol):
    """Rows by id, filtered and by nearest vector. What a method that changes rows has returned from stays."""

    @property
    def schema(self) -> pa.Schema:
        """Columns and their types."""

    @property
    def version(self) -> str | None:
        """Name of the rows as they are: another one after every change, the same as long as there is none."""

    def __len__(self) -> int: ...

    def count(self, where: Filter | None = None) -> int:
        """Return how many rows pass."""

    def upsert(self, rows: pa.Table) -> None:
        """Add rows; a row whose ``id`` is there replaces it."""

    def delete(self, ids: Sequence[str]) -> None:
        """Remove rows; unknown ids are left out."""

    def reshape(self, schema: pa.Schema) -> None:
        """Add the columns that are missing (empty) and drop those that are not in ``schema``."""

    def read(self, columns: Sequence[str], ids: Sequence[str] | None = None, where: Filter | None = None) -> pa.Table:
        """Return some columns of all rows, of the given ids or of those that pass, in any order."""

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Go through all rows in bounded memory."""

    def nearest(self, vector: Vector, limit: int, where: Filter | None = None) -> pa.Table:
        """Return the rows (all columns) with the largest dot product among those that pass, best first."""

    def tidy(self, approximate: bool) -> None:
        """Merge small files, bring the approximate index (if wanted) up to date, drop old versions."""
