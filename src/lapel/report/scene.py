"""What a report is drawn from: a run, the images it was measured on, their vectors, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lapel.catalogue import Catalogue
from lapel.errors import LapelError
from lapel.evaluate import Result
from lapel.evaluation.boards import Board, attribute_boards, item_board
from lapel.evaluation.instances import ItemResult
from lapel.evaluation.protocols import RetrievalResult, attribute_retrieval
from lapel.evaluation.regions import Regions, read_regions
from lapel.evaluation.sheets import Pictures
from lapel.item_outputs import ItemOutputs
from lapel.parts import Part
from lapel.protocol import Protocol
from lapel.retrieval.embedder import Embedder, Vectors

SAMPLE = 4000
"""Images that figures by attribute are drawn from where the protocol asks for triplets or items, at most."""


@dataclass(frozen=True, eq=False)
class Ground:
    """Images with their vectors (N, A, D), which of them have none, and their pictures."""

    images: Catalogue
    vectors: Vectors
    missing: npt.NDArray[np.bool_]

    @cached_property
    def pictures(self) -> Pictures:
        """The pictures, each read once."""
        return Pictures(self.images)


@dataclass(frozen=True, eq=False)
class Scene:
    """What a report is drawn from.

    Attributes:
        embedder: of the run.
        protocol: by which it was measured.
        part: the images that take part.
        vectors: (N, A, D) of ``part.images``; of an item run as its model gives them, of any length.
        missing: (N,) bool, images that could not be read.
        result: what was measured.
        folder: for the PNG files.
        name: what the run is called.
        rivals: other runs by name.
        seed: of every draw.
        outputs: what an item run says of ``part.images``; None of an attribute run.
        written: PNG files so far.
    """

    embedder: Embedder
    protocol: Protocol
    part: Part
    vectors: Vectors
    missing: npt.NDArray[np.bool_]
    result: Result
    folder: Path
    name: str
    rivals: Mapping[str, Embedder]
    seed: int
    outputs: ItemOutputs | None = None
    written: list[Path] = field(default_factory=list)

    @cached_property
    def ground(self) -> Ground:
        """All images that take part."""
        return Ground(self.part.images, self.vectors, self.missing)

    @cached_property
    def sample(self) -> Ground:
        """The images that figures by attribute are drawn from."""
        if isinstance(self.result, RetrievalResult) or len(self.part.images) <= SAMPLE:
            return self.ground
        rows = np.sort(np.random.default_rng([self.seed, 4]).permutation(len(self.part.images))[:SAMPLE])
        return Ground(self.part.images.take(rows), self.vectors[rows], self.missing[rows])

    @cached_property
    def sampled(self) -> str:
        """What figures by attribute are drawn from, in words; nothing where it is all images."""
        shown, every = len(self.sample.images), len(self.part.images)
        if self.embedder.items:  # has no such figures
            return ""
        return "" if shown == every else f"{shown:,} of the {every:,} images, drawn by seed {self.seed}"

    @cached_property
    def by_attribute(self) -> list[Board]:
        """A board for each attribute of the run that the images are labelled under; an item run has none."""
        if self.embedder.items:
            return []
        ours, ground = self.embedder.attributes, self.sample
        names = [name for name in ours if name in ground.images.attributes]
        options: dict[str, Any] = {"missing": ground.missing, "seed": self.seed}
        if isinstance(self.result, RetrievalResult):
            options["lists"] = self.part.lists
            return attribute_boards(self.result, ground.images, ground.vectors, ours, **options)
        try:
            found = attribute_retrieval(
                lambda name: ground.vectors[:, ours.index(name)], ground.images, names, samples=1, **options
            )
        except LapelError:  # labelled under none of them
            return []
        return attribute_boards(found, ground.images, ground.vectors, ours, **options)

    @cached_property
    def boards(self) -> list[tuple[Board, Ground]]:
        """All boards, that of items first, each with its images."""
        found = [(board, self.sample) for board in self.by_attribute]
        if isinstance(self.result, ItemResult) and self.part.selection is not None:
            distance = self.embedder.distance if self.embedder.items else "cosine"
            given = self.part.selection, self.missing, distance
            board = item_board(self.result, self.ground.images, self.vectors, *given)
            found.insert(0, (board, self.ground))
        return found

    @cached_property
    def regions(self) -> Regions | None:
        """Where each attribute truly shows, where that is known."""
        return read_regions(self.sample.images)

    def png(self, name: str) -> Path:
        """Return the path of a figure's PNG, which is written next."""
        path = self.folder / f"{name}.png"
        while path in self.written:  # two attributes whose names differ in odd letters only
            path = path.with_stem(f"{path.stem}-2")
        self.written.append(path)
        return path
