"""The images of an index as a comparison of all with all needs them: their rows, and their vectors by row number."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lapel.errors import SearchIndexError
from lapel.files import disk_error
from lapel.retrieval.gallery import Gallery, MemoryGallery
from lapel.retrieval.hits import Entry
from lapel.retrieval.index import Index
from lapel.retrieval.layout import IndexRecord, Source
from lapel.retrieval.rendering import mask
from lapel.retrieval.snapshot import Blocks

Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Side:
    """The images of one index that take part, in order of id.

    Attributes:
        index: where they are from.
        rows: (N) every column but ``vector``.
    """

    index: Index
    rows: pa.Table
    _blocks: Blocks | None  # per attribute, of all rows of the index
    _chosen: Places  # rows of ``_blocks`` that take part
    _spooled: npt.NDArray[np.float16] | None  # (N, all numbers of a row), where the index is not in memory

    @classmethod
    def of(cls, index: Index, where: str | None = None) -> Side:
        """Take the images of an index.

        Vectors that lie in memory or in a mapped file stay there. Those of a larger index are copied into a temporary
        file, 2 bytes per number, which goes away with this object.

        Args:
            index: as opened.
            where: only the images that pass this filter.

        Raises:
            SearchIndexError: a bad filter; the index is damaged, or was written to meanwhile.
            LapelError: the disk of the temporary file is full.
        """
        tree, gallery = index.filter(where), index.gallery
        rows = pa.concat_tables(gallery.tables([name for name in gallery.schema.names if name != "vector"]))
        chosen = np.arange(rows.num_rows) if tree is None else np.flatnonzero(mask(tree, rows))
        ids = np.array(rows["id"].to_pylist(), object)
        chosen = chosen[np.argsort(ids[chosen], kind="stable")]
        rows = rows.take(pa.array(chosen)).combine_chunks()
        if isinstance(gallery, MemoryGallery):
            return cls(index, rows, gallery.snapshot.vectors, chosen, None)
        return cls(index, rows, None, chosen, _spool(gallery, ids[chosen].tolist(), index.record.width))

    @property
    def record(self) -> IndexRecord:
        """Of the index."""
        return self.index.record

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    def vectors(self, places: Places, names: Sequence[str]) -> Blocks:
        """Return the unit vectors of some rows, per attribute (n, D) float32."""
        wanted = [self.record.attributes.index(name) for name in names]
        if self._blocks is not None:
            return tuple(self._blocks[number][self._chosen[places]] for number in wanted)
        assert self._spooled is not None
        flat = self._spooled[places].astype(np.float32)
        parts = np.split(flat, np.cumsum(self.record.dims)[:-1], axis=1)
        return tuple(parts[n] / np.linalg.norm(parts[n], axis=1, keepdims=True) for n in wanted)

    def entries(self, places: Sequence[int]) -> list[Entry]:
        """Return some rows as a person knows them."""
        return self.index.entries(self.rows.take(pa.array(places, pa.int64())))


def shared(left: IndexRecord, right: IndexRecord) -> tuple[str, ...]:
    """Return the attributes that the same run embedded in both indexes: only those vectors compare.

    Raises:
        SearchIndexError: there are none.
    """
    spaces = [_space(source) for source in right.sources]
    names = tuple(name for source in left.sources if _space(source) in spaces for name in source.attributes)
    if not names:
        if {source.fingerprint for source in left.sources} & {source.fingerprint for source in right.sources}:
            raise SearchIndexError(
                "the two indexes have vectors of the same run, but not shortened in the same way (lapel compress), and "
                "those do not compare: compare the indexes that they were made from"
            )
        runs = " and ".join(", ".join(source.run for source in record.sources) for record in (left, right))
        raise SearchIndexError(
            f"the two indexes have no vectors of the same run (found {runs}), and those of different runs do not "
            "compare: index the second catalogue with a run of the first, lapel index CATALOGUE --run RUN --to INDEX"
        )
    return names


def _space(source: Source) -> dict[str, Any]:
    """All that decides what a run's vectors in an index mean: not where the run lies."""
    return {name: value for name, value in vars(source).items() if name != "run"}


def _spool(gallery: Gallery, ids: Sequence[str], width: int) -> npt.NDArray[np.float16]:
    """Copy the vectors of ``ids`` into a temporary file, (n, width), mapped."""
    order = {name: place for place, name in enumerate(ids)}
    if not order:
        return np.empty((0, width), np.float16)
    folder = Path(tempfile.gettempdir())
    try:
        with tempfile.TemporaryFile(prefix="lapel-copies-") as stream:
            # Claimed first: writing to a mapped file that the full disk cannot hold would kill the process.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(stream.fileno(), 0, 2 * len(ids) * width)
            flat: npt.NDArray[np.float16] = np.memmap(stream, np.float16, "r+", shape=(len(ids), width))
    except OSError as error:
        raise disk_error(folder / "lapel-copies", error) from error
    filled = np.zeros(len(ids), bool)
    for part in gallery.tables(["id", "vector"]):
        names = part["id"].to_pylist()
        known = [number for number, name in enumerate(names) if name in order]
        found = part["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(len(names), width)
        places = [order[names[number]] for number in known]
        flat[places], filled[places] = found[known], True
    if not filled.all():
        raise SearchIndexError("the index was written to while its vectors were read: run the same command again")
    return flat
