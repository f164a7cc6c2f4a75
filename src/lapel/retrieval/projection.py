"""Shorter vectors: per attribute a projection onto the directions that keep the dot products of an index best.

With the n unit vectors of an attribute as the rows of X, their dot products are G = X X^T. Of all matrices of rank d,
X V V^T X^T is the nearest to G in the Frobenius norm where the columns of V (D, d) are the eigenvectors of the second
moment M = X^T X / n with the d largest eigenvalues (Eckart and Young 1936): principal components without taking the
mean away, which would change what a dot product is. V is orthonormal, so (V^T x, V^T y) is that approximation of
(x, y), and the share of M's trace that the d eigenvalues have is the mean of |V^T x|^2: what is kept of a vector. A
projected vector is brought to length one again, so that scores stay cosines. Projecting twice is one projection, by the
product of the two matrices, as lengths play no part.

An index folder has one file per run whose vectors it holds projected, ``projection.safetensors`` (of a second run
``projection-2.safetensors``, and so on) with ``matrices`` (A, D, d) float32; its SHA-256 is in the index's record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from lapel.errors import SearchIndexError
from lapel.files import atomic_write
from lapel.retrieval.layout import IndexRecord

if TYPE_CHECKING:
    from lapel.image_source import Failure
    from lapel.retrieval.embedder import Embedder

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

TENSOR = "matrices"
NOTHING = 1e-5  # a unit vector of which less is left has nothing but rounding in the directions that are kept


@dataclass(frozen=True)
class Projection:
    """Of the vectors of one run.

    Attributes:
        matrices: (A, D, d) float32, orthonormal columns.
        digest: SHA-256 of the file; "" before it is written.
    """

    matrices: Floats
    digest: str = ""

    def __call__(self, vectors: Floats) -> Floats:
        """Project (N, A, D) unit vectors: (N, A, d) unit vectors; one of which nothing is left is zero."""
        parts = [vectors[:, number] @ matrix for number, matrix in enumerate(self.matrices)]
        found = np.stack(parts, axis=1).astype(np.float32)
        length = np.linalg.norm(found, axis=2, keepdims=True)
        empty = length < NOTHING
        return cast(Floats, np.where(empty, np.float32(0), found / np.where(empty, np.float32(1), length)))

    def after(self, first: Projection | None) -> Projection:
        """Return the one projection that does what ``first`` and then this one do."""
        if first is None:
            return self
        return Projection(np.matmul(first.matrices.astype(np.float64), self.matrices).astype(np.float32))

    def write(self, folder: Path, number: int) -> str:
        """Write the file of the run ``number``, from 0, and return its SHA-256.

        Raises:
            LapelError: the disk is full.
        """
        from safetensors.numpy import save

        data: bytes = save({TENSOR: np.ascontiguousarray(self.matrices)})
        atomic_write(projection_path(folder, number), data)
        return hashlib.sha256(data).hexdigest()


class ShortRun:
    """A run as an index with shorter vectors embeds by it: an ``Embedder`` as far as indexing needs one."""

    def __init__(self, embedder: Embedder, projection: Projection) -> None:
        self._embedder, self._projection = embedder, projection
        self.run, self.fingerprint, self.attributes = embedder.run, embedder.fingerprint, embedder.attributes
        self.dim = projection.matrices.shape[2]

    @property
    def failures(self) -> list[Failure]:
        """Images that ``embed_paths`` could not read."""
        return self._embedder.failures

    def embed_paths(self, *args: Any, **options: Any) -> Iterator[tuple[npt.NDArray[np.int64], Floats]]:
        """Embed as the run does, and project."""
        for rows, vectors in self._embedder.embed_paths(*args, **options):
            yield rows, self._projection(vectors)

    def export(self, path: Path | str) -> None:
        """Write the run alone as ONNX: a search projects what it gives."""
        self._embedder.export(path)


def short_runs(embedders: Sequence[Embedder], folder: Path, record: IndexRecord) -> list[Embedder]:
    """Return the runs of an index, in its record's order, as they make its vectors."""
    pairs = zip(embedders, load(folder, record), strict=True)
    return [one if projection is None else cast("Embedder", ShortRun(one, projection)) for one, projection in pairs]


def given_dims(folder: Path, record: IndexRecord) -> list[int]:
    """Return how many numbers each run of an index gives a vector, before any projection."""
    pairs = zip(record.sources, load(folder, record), strict=True)
    return [source.dim if found is None else found.matrices.shape[1] for source, found in pairs]


def projection_path(folder: Path, number: int) -> Path:
    """Where an index keeps the projection of its run ``number``, from 0."""
    return folder / ("projection.safetensors" if number == 0 else f"projection-{number + 1}.safetensors")


def load(folder: Path, record: IndexRecord) -> list[Projection | None]:
    """Read the projections of an index: one for each run, None where its vectors are whole.

    Raises:
        SearchIndexError: a file is missing, or not the one that the vectors were projected with.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as read

    found: list[Projection | None] = []
    for number, source in enumerate(record.sources):
        path = projection_path(folder, number)
        if not source.projection:
            found.append(None)
            continue
        advice = "restore it, or make the index again with lapel compress"
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise SearchIndexError(
                f"{path} is missing: the vectors of index {folder} are {source.dim} numbers long by it, and a "
                f"photograph's cannot be compared with them without it; {advice}"
            ) from None
        except OSError as error:
            raise SearchIndexError(f"{path} cannot be read ({error.strerror or error}); {advice}") from error
        digest = hashlib.sha256(data).hexdigest()
        if digest != source.projection:
            raise SearchIndexError(
                f"{path} is not the projection that index {folder} was made with: SHA-256 {digest[:12]}, expected "
                f"{source.projection[:12]}; {advice}"
            )
        try:
            matrices = read(data)[TENSOR]
        except (SafetensorError, KeyError) as error:
            raise SearchIndexError(f"{path} is no projection of Lapel ({error}); {advice}") from error
        if matrices.ndim != 3 or (len(matrices), matrices.shape[2]) != (len(source.attributes), source.dim):
            raise SearchIndexError(
                f"{path} has shape {matrices.shape}, expected ({len(source.attributes)}, ..., {source.dim}); {advice}"
            )
        found.append(Projection(matrices, digest))
    return found


def principal(moment: Doubles, dim: int) -> tuple[Doubles, float]:
    """Return the directions that keep dot products best, and the share of the vectors' squared length they keep.

    Args:
        moment: (D, D), X^T X of the unit vectors, of any scale.
        dim: d, at most D.

    Returns:
        (D, d) orthonormal columns, those that keep most first, each with its largest number positive; the share.
    """
    values, directions = np.linalg.eigh(moment)
    chosen = directions[:, ::-1][:, :dim]
    largest = chosen[np.abs(chosen).argmax(axis=0), np.arange(chosen.shape[1])]
    kept = float(values[::-1][:dim].sum() / values.sum())
    return chosen * np.where(largest < 0, -1.0, 1.0), min(1.0, kept)
