"""The query encoders of an index: one for each run that gave it vectors, loaded when a search first needs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lapel.errors import SearchIndexError
from lapel.retrieval.encoder import QueryEncoder
from lapel.retrieval.layout import IndexRecord, Source, encoder_path

Floats: TypeAlias = npt.NDArray[np.float32]
Encoder: TypeAlias = Callable[[Sequence[Any]], Floats]


class Encoders:
    """Embeds query images for an index.

    Args:
        folder: of the index.
        record: of the index.
        runs: where runs are now, if no longer where they were at indexing; each is known by its weights.
        encoders: in place of the runs, one for each in the record's order: images to (N, A, D) unit vectors.

    Raises:
        SearchIndexError: a run of ``runs`` is not there or is none of the index's; another number of encoders.
        RunError: a run of ``runs`` has no weights.
    """

    def __init__(
        self, folder: Path, record: IndexRecord, runs: Sequence[Path] = (), encoders: Sequence[Encoder] = ()
    ) -> None:
        self.folder, self.record, self.runs = folder, record, tuple(runs)
        if encoders and len(encoders) != len(record.sources):
            raise SearchIndexError(
                f"index {folder} has vectors of {len(record.sources)} runs, each with an encoder of its own; found "
                f"{len(encoders)}"
            )
        self._loaded: dict[int, Encoder] = dict(enumerate(encoders))
        self._moved: Mapping[int, Path] = {self._known(run): run for run in runs}

    def reopened(self, record: IndexRecord) -> Encoders:
        """Return the encoders of the index as it is now, with what is loaded as long as the runs are the same."""
        if [one.fingerprint for one in record.sources] != [one.fingerprint for one in self.record.sources]:
            return type(self)(self.folder, record, self.runs)
        self.record = record
        return self

    def __call__(self, image: Any, weighing: npt.NDArray[np.float64]) -> list[Floats | None]:
        """Embed one image: per attribute (D,), a unit vector; None where no attribute of its run weighs.

        Raises:
            SearchIndexError: a run is gone, has other weights than the index was built with, or gives other shapes.
            ImageError: the image cannot be read.
        """
        vectors: list[Floats | None] = []
        for number, source in enumerate(self.record.sources):
            count = len(source.attributes)
            if not weighing[len(vectors) : len(vectors) + count].any():
                vectors += [None] * count
                continue
            if number not in self._loaded:
                self._loaded[number] = self._load(number)
            found, wanted = np.asarray(self._loaded[number]([image]), np.float32), (1, count, source.dim)
            if found.shape != wanted:
                raise SearchIndexError(f"the encoder gave shape {found.shape}, the index needs {wanted}")
            vectors += list(found[0])
        return vectors

    def _load(self, number: int) -> Encoder:
        source, light = self.record.sources[number], encoder_path(self.folder, number)
        run = self._moved.get(number, Path(source.run))
        if run.is_dir() or not light.is_file():
            self._known(run, source)  # from the file's header, before loading for seconds
        if light.is_file():
            encoder = QueryEncoder(light)
            if encoder.fingerprint == source.fingerprint:
                return encoder
        from lapel.retrieval.embedder import load

        return load(run).embed

    def _known(self, run: Path, source: Source | None = None) -> int:
        """Return which of the index's runs ``run`` is; raise unless it is there and is one (or ``source``)."""
        expected = self.record.sources if source is None else (source,)
        if not run.is_dir():
            raise SearchIndexError(
                f"index {self.folder} was built with {_runs(expected)}; expected it at {run}, which is not there. "
                "Say where the run is now: Index.open(path, run=FOLDER), or --run FOLDER"
            )
        from lapel.runs import stored_fingerprint  # not needed to search by id

        found = stored_fingerprint(run)
        if all(one.fingerprint != found for one in expected):
            raise SearchIndexError(mismatch(self.folder, expected, run, found))
        return [one.fingerprint for one in self.record.sources].index(found)


def mismatch(folder: Path, expected: Sequence[Source], run: Path | str, fingerprint: str) -> str:
    """Message for a run whose weights are not those of the index."""
    told = ", ".join(f"{one.run} (weights {one.fingerprint[:12]})" for one in expected)
    return (
        f"index {folder} was built with run{'s' * (len(expected) > 1)} {told}, but run {run} "
        f"has other weights ({fingerprint[:12]}), and their vectors cannot be compared: use the "
        f"run{'s' * (len(expected) > 1)} of the index, or index into another folder"
    )


def _runs(sources: Sequence[Source]) -> str:
    return f"run{'s' * (len(sources) > 1)} {', '.join(source.run for source in sources)}"
