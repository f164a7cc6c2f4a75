"""What the tasks of an evaluation have in common: the run, the catalogue, and the embedding of its images."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lapel.catalogue import Catalogue
from lapel.progress import bar
from lapel.retrieval.embedder import Embedder, Vectors


@dataclass
class Job:
    """A run to measure on a catalogue.

    Attributes:
        embedder: of the run.
        whole: the catalogue.
        seed: of draws and intervals.
        quiet: no progress bar.
        boxes: crop images by their boxes.
        images: how many were embedded.
    """

    embedder: Embedder
    whole: Catalogue
    seed: int
    quiet: bool
    boxes: bool
    images: int = field(default=0, init=False)

    @property
    def max_failed(self) -> float:
        """Share of unreadable images above which the evaluation stops."""
        return self.embedder.config.recipe.data.max_failed

    def embed(self, catalogue: Catalogue, raw: bool = False) -> tuple[Vectors, npt.NDArray[np.bool_]]:
        """Embed every image of a part of the catalogue; see ``embed_catalogue``."""
        self.images = len(catalogue)
        return embed_catalogue(self.embedder, catalogue, self.max_failed, self.quiet, self.boxes, raw)


def embed_catalogue(
    embedder: Embedder,
    catalogue: Catalogue,
    max_failed: float = 0.05,
    quiet: bool = False,
    boxes: bool = True,
    raw: bool = False,
) -> tuple[Vectors, npt.NDArray[np.bool_]]:
    """Embed every image of a catalogue; without ``boxes`` whole pictures; ``raw`` is that of ``embed_paths``.

    Returns:
        vectors (N, A, D) float32, and (N,) bool: images that could not be read, whose vectors are zero.
    """
    vectors = np.zeros((len(catalogue), len(embedder.attributes), embedder.dim), np.float32)
    missing = np.ones(len(catalogue), bool)
    with bar("img", quiet) as progress:
        task = progress.add_task("embedding", total=len(catalogue), note="")
        crops = catalogue.boxes() if boxes else None
        found = embedder.embed_paths(catalogue.paths(), crops, max_failed=max_failed, raw=raw)
        for rows, part in found:
            vectors[rows], missing[rows] = part, False
            progress.update(task, completed=int(rows[-1]) + 1)
    return vectors, missing
