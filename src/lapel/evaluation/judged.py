"""Figure 8 of AG-MAN: triplets judged, the close and the far one, with the similarity of both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from lapel.evaluation.boards import value_texts
from lapel.evaluation.figures import Tile, sheet
from lapel.evaluation.markup import words
from lapel.evaluation.sheets import Pictures
from lapel.evaluation.triplets import ROLES, similarities
from lapel.files import atomic_path

if TYPE_CHECKING:
    from lapel.catalogue import Catalogue

Rows = NDArray[np.int64]
Array = NDArray[Any]
ASKED = 400
"""Triplets of each attribute that are judged for the figure, at most."""


@dataclass(frozen=True)
class Judged:
    """One triplet: its pictures, and which of the two others the model finds the closer.

    Attributes:
        attribute: under which it was asked.
        anchor, close, far: pictures with their values; ``close`` shares the anchor's.
        right: whether the model finds ``close`` the closer.
        similarity: of the anchor to the close and to the far one: cosines, or Euclidean distances below zero.
    """

    attribute: str
    anchor: Tile
    close: Tile
    far: Tile
    right: bool
    similarity: tuple[float, float]


@dataclass(frozen=True)
class JudgedAttribute:
    """The triplets shown of one attribute, and how many of those judged were right."""

    attribute: str
    right: int
    judged: int
    shown: Sequence[Judged]


def given_triplets(table: pa.Table, catalogue: Catalogue, attribute: str, seed: int, count: int = ASKED) -> Rows:
    """Return some triplets (n, 3) of a relation ``attribute, anchor, positive, negative`` as rows, drawn by the seed.

    Those that name an image which the catalogue lacks are left out.
    """
    text = table.filter(pc.equal(table["attribute"].cast(pa.string()), attribute))
    names = catalogue.images["image"].combine_chunks()
    sides = [pc.fill_null(pc.index_in(text[role].cast(pa.string()), value_set=names), -1) for role in ROLES]
    rows = np.stack([side.to_numpy().astype(np.int64) for side in sides], axis=1)
    rows = rows[(rows >= 0).all(axis=1)]
    return np.asarray(np.random.default_rng([seed, 8]).permutation(rows)[:count])


def drawn_triplets(catalogue: Catalogue, attribute: str, seed: int, count: int = ASKED) -> Rows:
    """Draw triplets (n, 3) of rows from labels: two images that share a value, and one that shares none with the first.

    A value is drawn first, evenly, then its images: rare values are asked as often as common ones, as long as they have
    triplets; none is drawn twice.
    """
    labels = catalogue.multi_hot(attribute)
    labelled = np.flatnonzero(labels.any(axis=1))
    values = np.flatnonzero(labels.sum(axis=0) >= 2)
    generator = np.random.default_rng([seed, 9])
    found: dict[tuple[int, int, int], None] = {}
    for value in generator.choice(values, 2 * count) if len(values) else ():
        anchor, close = generator.choice(np.flatnonzero(labels[:, value]), 2, replace=False)
        # A few throws find a far one, unless nearly all share the anchor's values.
        throws = generator.choice(labelled, 8)
        far = throws[~(labels[throws] & labels[anchor]).any(axis=1)]
        if len(far) and len(found) < count:
            found[int(anchor), int(close), int(far[0])] = None
    return np.array([*found], np.int64).reshape(-1, 3)


def judge(
    rows: Rows,
    vectors: Callable[[Rows], Array],
    catalogue: Catalogue,
    attribute: str,
    pictures: Pictures,
    seed: int = 0,
    shown: int = 2,
    distance: str = "cosine",
) -> JudgedAttribute:
    """Judge triplets (n, 3), n at least 1, and choose some to show: half of them wrong, as far as there are so many.

    Args:
        rows: anchor, close and far, as rows of the catalogue.
        vectors: rows -> (n, D) under this attribute.
        catalogue: whose rows.
        attribute: its name.
        pictures: of the catalogue.
        seed: chooses what is shown.
        shown: how many.
        distance: ``cosine`` or ``euclidean``, as in triplet prediction.
    """
    anchor, close, far = (vectors(rows[:, side]) for side in range(3))
    similar = np.stack([similarities(anchor, other, distance) for other in (close, far)], axis=1)
    right = similar[:, 0] > similar[:, 1]
    texts = value_texts(catalogue, attribute)
    order = np.random.default_rng([seed, 10]).permutation(len(rows))
    wrong = [n for n in order if not right[n]][: shown // 2]
    good = [n for n in order if right[n]][: shown - len(wrong)]
    more = [n for n in order if not right[n]][len(wrong) : shown - len(good)]
    found = []
    for number in [*good, *wrong, *more]:
        verdict = bool(right[number])
        anchor_tile, close_tile, far_tile = (
            Tile(
                pictures[row],
                pictures.name(row),
                words(texts.get(int(row), "not labelled")),
                None if side is None else float(similar[number, side]),
                right=None if side is None else verdict,
                tag=tag,
            )
            for row, side, tag in zip(rows[number], (None, 0, 1), ("anchor", "close", "far"), strict=True)
        )
        scores = float(similar[number, 0]), float(similar[number, 1])
        found.append(Judged(attribute, anchor_tile, close_tile, far_tile, verdict, scores))
    return JudgedAttribute(attribute, int(right.sum()), len(rows), found)


def draw_judged(found: Sequence[JudgedAttribute], path: Path, side: int = 140, columns: int = 3) -> Path:
    """Write judged triplets as one picture, some side by side; returns its path."""
    cells = []
    for attribute in found:
        for each in attribute.shown:
            heading = f"{words(each.attribute)}: told {'right' if each.right else 'wrong'}"
            cells.append(sheet(each.anchor, (each.close, each.far), title=heading, columns=2, side=side))
    wide, tall = max(cell.width for cell in cells), max(cell.height for cell in cells)
    columns = min(columns, len(cells))
    whole = Image.new("RGB", (wide * columns, tall * -(-len(cells) // columns)), cells[0].getpixel((0, 0)))
    for place, cell in enumerate(cells):
        whole.paste(cell, (wide * (place % columns), tall * (place // columns)))
    with atomic_path(path) as temporary:
        whole.save(temporary)
    return path
