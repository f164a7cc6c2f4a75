"""The query encoders of an index: one for each run that gave it vectors, loaded when a search first needs it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lapel.errors import LapelError, SearchIndexError
from lapel.retrieval.encoder import QueryEncoder
from lapel.retrieval.layout import IndexRecord, Source, encoder_path
from lapel.retrieval.projection import load as load_projections

Floats: TypeAlias = npt.NDArray[np.float32]
Encoder: TypeAlias = Callable[[Sequence[Any]], Floats]


class Encoders:
    """Embeds query images for an index.

    Args:
        folder: of the index.
        record: of the index.
        runs: where runs are now, if no longer where they were at indexing; each is known by its weights.
        encoders: in place of the runs, one for each in the record's order: images to (N, A, D) unit vectors, which are
            then projected where the index's are.

    Raises:
        SearchIndexError: a run of ``runs`` is not there or is none of the index's; another number of encoders; a file
            that the vectors were made shorter with is missing or another one.
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
        self._projections = load_projections(folder, record)
        self._lock = threading.Lock()  # so that threads that search at once load a run once
        self._loaded: dict[int, Encoder] = dict(enumerate(encoders))
        self._moved: Mapping[int, Path] = {self._known(run): run for run in runs}

    def reopened(self, record: IndexRecord) -> Encoders:
        """Return the encoders of the index as it is now, with what is loaded as long as the runs are the same."""
        if [one.made_by for one in record.sources] == [one.made_by for one in self.record.sources]:
            self.record = record
            return self
        runs = []  # of those said to have moved, what is a run of the new index
        for run in self.runs:
            with contextlib.suppress(LapelError):
                self._known(run, *record.sources)
                runs.append(run)
        return type(self)(self.folder, record, runs)

    def __call__(self, image: Any, weighing: npt.NDArray[np.float64]) -> list[Floats | None]:
        """Embed one image: per attribute (D,), a unit vector; None where no attribute of its run weighs.

        Raises:
            SearchIndexError: a run is gone, has other weights than the index was built with, or gives other shapes.
            ImageError: the image cannot be read.
        """
        vectors: list[Floats | None] = []
        for number, source in enumerate(self.record.sources):
            count = len(source.attributes)
            if weighing[len(vectors) : len(vectors) + count].any():
                vectors += list(self._embed(number, [image])[0])
            else:
                vectors += [None] * count
        return vectors

    def many(self, images: Sequence[Any]) -> list[tuple[Floats, ...]]:
        """Embed images, each run all of them in one pass: per image and attribute (D,), unit vectors.

        Raises:
            SearchIndexError: a run is gone, has other weights than the index was built with, or gives other shapes.
            ImageError: an image cannot be read.
        """
        if not images:
            return []
        found = [self._embed(number, images) for number in range(len(self.record.sources))]
        return [tuple(vector for part in parts for vector in part) for parts in zip(*found, strict=True)]

    def _embed(self, number: int, images: Sequence[Any]) -> Floats:
        """Embed by one run, loading it where it is not yet: (N, A, D)."""
        source, projection = self.record.sources[number], self._projections[number]
        with self._lock:
            if number not in self._loaded:
                self._loaded[number] = self._load(number)
            encoder = self._loaded[number]
        dim = source.dim if projection is None else projection.matrices.shape[1]
        found, wanted = np.asarray(encoder(images), np.float32), (len(images), len(source.attributes), dim)
        if found.shape != wanted:
            raise SearchIndexError(f"the encoder gave shape {found.shape}, the index needs {wanted}")
        return found if projection is None else projection(found)

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

    def _known(self, run: Path, *sources: Source) -> int:
        """Return which of ``sources`` the run is, by default of the index's; raise unless it is there and is one."""
        expected = sources or self.record.sources
        if not run.is_dir():
            raise SearchIndexError(
                f"index {self.folder} was built with {_runs(expected)}; expected it at {run}, which is not there. "
                "Say where the run is now: Index.open(path, run=FOLDER), or --run FOLDER"
            )
        from lapel.runs import stored_fingerprint  # not needed to search by id

        found = stored_fingerprint(run)
        if all(one.fingerprint != found for one in expected):
            raise SearchIndexError(mismatch(self.folder, expected, run, found))
        return [one.fingerprint for one in expected].index(found)


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
