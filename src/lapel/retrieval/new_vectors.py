"""Vectors of images that come one by one, embedded with the runs of their index."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lapel.decoding import Pixels, decode_array
from lapel.errors import LapelError
from lapel.retrieval.bulk import column
from lapel.retrieval.layout import IndexRecord
from lapel.retrieval.locking import IndexBusy
from lapel.retrieval.new_images import EntryError
from lapel.retrieval.plan import Known, Plan, Put

Vectors: TypeAlias = npt.NDArray[np.float32]
# Images, and bytes of pixels, per pass of a model: a search that comes in between waits for no more than these.
PASS, PASS_BYTES = 8, 128 << 20


class Embeds(Protocol):
    """What embeds for an index: an ``Index``."""

    @property
    def record(self) -> IndexRecord:
        """The runs it embeds with."""

    def encode_many(self, images: Sequence[Any]) -> Sequence[Sequence[Vectors]]:
        """Return for each image the unit vectors of all attributes."""


class OwnIndex:
    """Opens an index for its encoders when they are first needed, and again when its runs are others."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._index: Embeds | None = None

    def __call__(self) -> Embeds:
        """Return the open index."""
        from lapel.retrieval.index import Index

        made_by = _made_by(IndexRecord.read(self.folder))
        if self._index is None or _made_by(self._index.record) != made_by:
            self._index = Index.open(self.folder)
        return self._index


class NewVectors:
    """Vectors by the hash of what they depend on beside the runs.

    Args:
        index: gives the open index that embeds.
    """

    def __init__(self, index: Callable[[], Embeds]) -> None:
        self._index = index
        self._made_by: list[str] = []
        self._found: dict[str, Vectors] = {}

    def embed(self, record: IndexRecord, puts: Mapping[int, Put], known: Mapping[str, Known]) -> dict[int, LapelError]:
        """Embed what is new or has another hash than its row.

        Args:
            record: of the index as it is now.
            puts: images by number.
            known: rows of their ids.

        Returns:
            Why some cannot be embedded, by number.

        Raises:
            IndexBusy: the open index is not the one in the folder any more.
        """
        if self._made_by != _made_by(record):
            self._found.clear()
        self._made_by = _made_by(record)
        wanted: dict[str, list[int]] = {}
        for number, put in puts.items():
            row = known.get(put.id)
            if put.hash not in self._found and (row is None or row.hash != put.hash):
                wanted.setdefault(put.hash, []).append(number)
        failed: dict[str, LapelError] = {}
        waiting: dict[str, Pixels] = {}
        for each, numbers in wanted.items():
            put = puts[numbers[0]]
            try:
                waiting[each] = np.ascontiguousarray(decode_array(put.data, put.box))  # of a crop no more than the crop
            except LapelError as error:
                failed[each] = error
            if len(waiting) >= PASS or sum(pixels.nbytes for pixels in waiting.values()) >= PASS_BYTES:
                failed |= self._pass(waiting)
                waiting = {}
        failed |= self._pass(waiting)
        return {number: error for each, error in failed.items() for number in wanted[each]}

    def beside(self, plan: Plan, stored: pa.Table, dims: Sequence[int]) -> pa.Table:
        """Return a plan's rows with their vectors: those of ``stored`` where they are there, else those embedded."""
        table, rows = plan.table(), plan.rows
        kept = set(stored["id"].to_pylist())
        fresh = pa.chunked_array([pa.array([name for name in rows if name not in kept], pa.string())])
        every = stored
        if len(fresh):
            found = np.stack([self._found[rows[name].hash] for name in fresh.to_pylist()])
            added = pa.table({"id": fresh, "vector": column(found, fresh, dims)})
            every = pa.concat_tables([added, stored.select(added.column_names).cast(added.schema)])
        order = pc.index_in(table["id"].combine_chunks(), value_set=every["id"].combine_chunks())
        return table.append_column("vector", every["vector"].combine_chunks().take(order))

    def _pass(self, images: Mapping[str, Pixels]) -> dict[str, LapelError]:
        if not images:
            return {}
        index = self._index()
        if _made_by(index.record) != self._made_by:
            raise IndexBusy("the index was replaced by one of other runs just now: try again")
        try:
            encoded = index.encode_many(list(images.values()))
        except LapelError as error:
            return dict.fromkeys(images, error)
        failed: dict[str, LapelError] = {}
        for each, parts in zip(images, encoded, strict=True):
            if all(np.isfinite(part).all() and part.any() for part in parts):
                self._found[each] = np.concatenate([np.asarray(part, np.float32) for part in parts])
            else:
                failed[each] = EntryError("the model gives no vector for this image: NaN, infinity or length 0")
        return failed


def _made_by(record: IndexRecord) -> list[str]:
    return [source.made_by for source in record.sources]
