"""Many images embedded by one run or several, in portions to commit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lapel.catalogue import Catalogue
from lapel.errors import ImageError, SearchIndexError
from lapel.progress import bar

if TYPE_CHECKING:
    from lapel.image_source import Failure
    from lapel.retrieval.embedder import Embedder

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Limits:
    """How an indexing goes about it.

    Attributes:
        allowed: images that may be unreadable.
        commit_rows: images per commit.
        quiet: no progress bars.
    """

    allowed: int
    commit_rows: int
    quiet: bool


def embedded(
    catalogue: Catalogue, places: Sequence[int], embedders: Sequence[Embedder], limits: Limits
) -> Iterator[tuple[list[int], Vectors, list[Failure]]]:
    """Embed the given rows: yields (places, (n, width) vectors of all runs, failures so far), a commit at a time."""
    if not places:
        return
    paths, boxes = catalogue.paths(), catalogue.boxes()
    wanted = [paths[p] for p in places], [boxes[p] for p in places]
    done: list[int] = []
    vectors: list[Vectors] = []
    failures: list[Failure] = []
    with bar("img", limits.quiet) as progress:
        task = progress.add_task("embedding", total=len(places), note="")
        try:
            for rows, found in _together([one.embed_paths(*wanted, max_failed=1.0) for one in embedders]):
                done += [places[int(row)] for row in rows]
                vectors.append(found)
                failures = _failures(embedders)
                progress.update(task, advance=len(rows), note=f"{len(failures)} skipped" if failures else "")
                _refuse_many(failures, limits.allowed, len(paths))
                if len(done) >= limits.commit_rows:
                    yield done, np.concatenate(vectors), failures
                    done, vectors = [], []
        except KeyboardInterrupt:
            if done:  # what is embedded need not be embedded again
                yield done, np.concatenate(vectors), failures
            raise
    failures = _failures(embedders)
    _refuse_many(failures, limits.allowed, len(paths))
    yield done, np.concatenate(vectors) if done else np.zeros((0, 1), np.float32), failures


def _together(
    streams: Sequence[Iterator[tuple[npt.NDArray[np.int64], Vectors]]],
) -> Iterator[tuple[list[int], Vectors]]:
    """Go through the batches of all runs in step: yields (rows that every run has read, (n, width) vectors)."""
    waiting: list[dict[int, Vectors]] = [{} for _ in streams]
    for batches in zip_longest(*streams):
        for held, batch in zip(waiting, batches, strict=True):
            if batch is not None:
                held.update(zip(batch[0].tolist(), batch[1], strict=True))
        ready = [row for row in waiting[0] if all(row in held for held in waiting)]
        if ready:
            parts = [np.stack([held.pop(row) for row in ready]).reshape(len(ready), -1) for held in waiting]
            yield ready, np.concatenate(parts, axis=1)


def _failures(embedders: Sequence[Embedder]) -> list[Failure]:
    """What any run could not read, each image once, in the order it was met."""
    return [*{failure.path: failure for one in embedders for failure in one.failures}.values()]


def column(vectors: Vectors, images: pa.ChunkedArray, dims: Sequence[int]) -> pa.Array:
    """(N, sum of dims) vectors as the table's column.

    Raises:
        SearchIndexError: one is not finite, or of length 0; it says of which image.
    """
    # The sum over each attribute's numbers: NaN and infinity stay what they are.
    squares = np.add.reduceat(np.square(vectors, dtype=np.float64), np.cumsum([0, *dims])[:-1], axis=1)
    for wrong, what in ((~np.isfinite(squares), "NaN or infinity"), (squares == 0, "a vector of length 0")):
        if wrong.any():
            image = images[int(np.flatnonzero(wrong.any(1))[0])].as_py()
            raise SearchIndexError(f"the model gives {what} for {image}; nothing of this batch was written")
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float16).ravel()), vectors.shape[1])


def _refuse_many(failures: Sequence[Failure], allowed: int, total: int) -> None:
    if len(failures) > allowed:
        listed = "".join(f"\n  {failure.path}: {failure.reason}" for failure in failures[:5])
        raise ImageError(
            f"{len(failures)} of {total} images cannot be read, more than the {allowed} allowed (max_failed)."
            f" The first:{listed}"
        )
