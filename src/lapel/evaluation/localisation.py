"""Attention measured: does the map of an attribute lie where the attribute shows?

Two scores of a map against the boxes of its region, on the cells of the map:

- pointing game (Zhang et al., "Top-down neural attention by excitation backprop", ECCV 2016): is the map's maximum in
  the region? A maximum is as large as a cell, so the score is the chance that a point drawn evenly from the maximal
  cell, from what it shows of the picture, lies in a box. Several maximal cells count alike (``TIE``).
- mass inside: the share of the attention that lies in the region; a cell's attention is spread evenly over what the
  cell shows of the picture.

Letterbox padding is no place to look: attention on it is outside every region, and chance does not count its area. So
a map that is even over the picture scores chance under both, and no map scores more than ``best``, which is below 1
for a region smaller than a cell.

The frame is divided evenly into the map's cells, as the overlays draw them. (A convolution with symmetric padding is
centred up to half a cell above and left of there; that is not corrected, so figures and pictures agree.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lapel.decoding import upright_size
from lapel.errors import CatalogueError, LapelError, unknown
from lapel.evaluation.metrics import LEVEL, Interval, mean_interval, paired_difference
from lapel.evaluation.regions import Cells, Regions, in_frame, on_cells, read_regions

if TYPE_CHECKING:
    from lapel.catalogue import Catalogue
    from lapel.retrieval.embedder import Embedder

__all__ = [
    "AttributeLocalisation", "Localisation", "LocalisationResult", "centre_prior", "localise", "mass_inside",
    "pointing_game", "read_regions",
]  # fmt: skip

Array = NDArray[Any]
Floats = NDArray[np.float64]

TIE = 1e-6
"""A cell is maximal when it is this near to the maximum, relative to it: the rounding of float32 tells nothing."""

SHOWN = 0.25
"""A region of which less is in the frame is cut off: it is counted and takes no part."""

WHOLE = 0.9
"""An attribute whose regions fill this share of the picture on average cannot be missed: measured, not in overall."""

CENTRE = 0.25
"""Standard deviation of the centre prior, in heights and widths of the frame."""

_SCORES = ("pointing", "mass", "chance", "best", "padding", "centre_pointing", "centre_mass")


def pointing_game(maps: Array, shares: Array) -> Floats:
    """Return the pointing game's score (...,) of maps (..., h, w), each against its region's shares (..., h, w).

    Args:
        maps: attention, not negative.
        shares: the share of each cell that lies in the region (``regions.on_cells``); broadcast against the maps.

    Raises:
        LapelError: a map has a number that is negative, infinite or NaN, or is zero everywhere.

    >>> pointing_game(np.array([[[0.1, 0.9], [0.0, 0.0]], [[0.5, 0.5], [0.0, 0.0]]]), np.array([[0.0, 1.0], [0, 0]]))
    array([1. , 0.5])
    """
    flat = _checked(maps)
    tied = flat >= flat.max(-1, keepdims=True) * (1 - TIE)
    inside = (tied * _flat(shares)).sum(-1)
    return np.asarray(inside / tied.sum(-1))


def mass_inside(maps: Array, shares: Array) -> Floats:
    """Return the share (...,) of the mass of maps (..., h, w) that lies in their regions; see ``pointing_game``.

    >>> mass_inside(np.array([[0.25, 0.75]]), np.array([[1.0, 0.5]])).item()
    0.625
    """
    flat = _checked(maps)
    return np.asarray((flat * _flat(shares)).sum(-1) / flat.sum(-1))


def centre_prior(height: int, width: int) -> Floats:
    """Return what knows only that garments are centred: a Gaussian (height, width) at the frame's centre.

    It is exactly symmetric, so that with an even side its maximal cells tie.
    """
    down, across = ((2 * np.arange(n) + 1 - n) / (2 * n * CENTRE) for n in (height, width))
    return np.asarray(np.exp(-0.5 * (np.square(down)[:, None] + np.square(across))))


def _flat(maps: Array) -> Floats:
    return np.asarray(maps, np.float64).reshape(*maps.shape[:-2], -1)


def _checked(maps: Array) -> Floats:
    flat = _flat(maps)
    right = np.isfinite(flat).all(-1) & (flat >= 0).all(-1) & (flat.max(-1) > 0)
    if not right.all():
        raise LapelError(
            f"{int((~right).sum())} of {right.size} attention maps are no maps: expected numbers from 0 on, not all "
            "of them 0. Look for a diverged training or a division by zero in the model"
        )
    return flat


@dataclass(frozen=True, eq=False)
class Localisation:
    """Figures of a set of maps; shares between 0 and 1, each the mean over pairs of an image and an attribute.

    Attributes:
        pointing: the pointing game.
        mass: the mass inside.
        pointing_gain, mass_gain: what that is above chance, paired: an interval above 0 says it is no luck.
        chance: of both, for attention that is even over the picture.
        best: of both, for the best of all maps.
        padding: the mass on cells that show padding alone, from which a model can read how tall a garment is.
        centre_pointing, centre_mass: of ``centre_prior``.
        images: pairs that were measured.
        cut_off: pairs left out because less than ``SHOWN`` of the region is in the frame.
        clipped: pairs measured with a region that is partly outside the frame, on the part inside.
    """

    pointing: Interval
    mass: Interval
    pointing_gain: Interval
    mass_gain: Interval
    chance: float
    best: float
    padding: float
    centre_pointing: float
    centre_mass: float
    images: int
    cut_off: int
    clipped: int

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON, in percent with 4 decimals."""
        found: dict[str, Any] = {}
        for name in (each.name for each in fields(Localisation)):
            value = getattr(self, name)
            if isinstance(value, Interval):
                found[name] = {end: round(100 * number, 4) for end, number in value._asdict().items()}
            else:
                found[name] = value if isinstance(value, int) else round(100 * value, 4)
        return found


@dataclass(frozen=True, eq=False)
class AttributeLocalisation(Localisation):
    """Figures of one attribute.

    Attributes:
        attribute: its name.
        rows: (images,) rows of the catalogue.
        scores: each image's ``pointing``, ``mass``, ``chance``, ``best``, ``padding``, ``centre_pointing`` and
            ``centre_mass``.
    """

    attribute: str
    rows: NDArray[np.int64]
    scores: Mapping[str, Floats]


@dataclass(frozen=True, eq=False)
class LocalisationResult:
    """Attention against true regions.

    Attributes:
        attributes: what the overall figures are made of.
        overall: over all their images; its intervals keep each attribute's share fixed. Two views of an item and two
            attributes of an image are taken as independent.
        beside: attributes whose regions fill the picture (``WHOLE``).
        not_measured: attribute -> why it has no figure.
        without_region: images that the regions do not name.
        unread: images that could not be read.
    """

    attributes: tuple[AttributeLocalisation, ...]
    overall: Localisation
    beside: tuple[AttributeLocalisation, ...]
    not_measured: Mapping[str, str]
    without_region: int
    unread: int

    def __getitem__(self, attribute: str) -> AttributeLocalisation:
        measured = (*self.attributes, *self.beside)
        for row in measured:
            if row.attribute == attribute:
                return row
        raise KeyError(unknown("attribute", attribute, [row.attribute for row in measured]))

    def answers(self, score: str = "pointing") -> dict[str, tuple[NDArray[np.int64], Floats]]:
        """Return attribute -> (rows, that score of each), which ``comparison.compare_rows`` pairs with other runs'."""
        if score not in _SCORES:
            raise KeyError(unknown("score", score, _SCORES))
        return {row.attribute: (row.rows, row.scores[score]) for row in self.attributes}

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON, in percent."""
        return {
            "task": "attention against true regions",
            "unit": "percent",
            "interval": LEVEL,
            "attributes": {row.attribute: row.to_dict() for row in self.attributes},
            "overall": self.overall.to_dict(),
            "not_in_overall": {row.attribute: row.to_dict() for row in self.beside},
            "not_measured": dict(self.not_measured),
            "images_without_region": self.without_region,
            "images_unread": self.unread,
        }


def localise(
    embedder: Embedder,
    catalogue: Catalogue,
    regions: Regions,
    attributes: Sequence[str] | None = None,
    split: str | None = None,
    batch: int = 64,
    seed: int = 0,
    samples: int = 2000,
    boxes: bool = True,
) -> LocalisationResult:
    """Measure where a model looks for each attribute, on images whose regions are known.

    Args:
        embedder: whose attention it is; a model without spatial attention gives chance.
        catalogue: images, cropped by their box where they have one.
        regions: what ``read_regions`` gives.
        attributes: by default those of the run that have regions.
        split: measure this split alone; by default all images.
        batch: images per forward pass; bounds memory.
        seed: of the bootstrap.
        samples: of the bootstrap.
        boxes: crop by the boxes; else take whole pictures.

    Raises:
        CatalogueError: no such split; an attribute that has no region.
        RunError: an attribute that the run does not know.
        ImageError: too many images cannot be read.
        LapelError: nothing to measure; attention that is no map.
    """
    if split is not None:
        catalogue.split(split)  # says what is wrong with it
    splits = catalogue.images["split"].to_pylist()
    images = catalogue.images["image"].to_pylist()
    chosen = [row for row in range(len(catalogue)) if split is None or splits[row] == split]
    rows = np.array([row for row in chosen if images[row] in regions], np.int64)
    known = {name for row in rows.tolist() for name in regions[images[row]]}
    for name in attributes or ():
        if name in embedder.attributes and name not in known:
            raise CatalogueError(f"catalogue {catalogue.name!r}: {unknown('attribute with regions', name, known)}")
    names = [name for name in embedder.attributes if name in known] if attributes is None else list(attributes)
    part = catalogue.take(rows)
    crops = part.boxes() if boxes else [None] * len(part)
    paths = part.paths()
    tables = {name: _Table() for name in names}
    read = 0
    for places, maps in embedder.attention_paths(paths, crops, batch, attributes=names) if names else ():
        prior = centre_prior(*maps.shape[-2:])
        read += len(places)
        for place, looked in zip(places.tolist(), maps, strict=True):
            size = upright_size(paths[place])
            for name, found in zip(names, looked, strict=True):
                region = regions[images[rows[place]]].get(name)
                if region is None:
                    continue
                framed = in_frame(region, size, embedder.preprocessing, crops[place])
                if framed.shown < SHOWN:
                    tables[name].cut_off += 1
                    continue
                tables[name].clipped += framed.shown < 1 - 1e-9
                cells = on_cells(framed, embedder.preprocessing, (found.shape[0], found.shape[1]))
                tables[name].add(int(rows[place]), found, cells, prior)
    return _result(tables, samples, seed, len(chosen) - len(rows), len(rows) - read)


class _Table:
    """Scores of one attribute as they come."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.scores: list[tuple[float, ...]] = []
        self.cut_off = self.clipped = 0

    def add(self, row: int, found: Array, cells: Cells, prior: Floats) -> None:
        """Score one map (h, w)."""
        pair = np.stack([found.astype(np.float64), prior])
        pointing, mass = pointing_game(pair, cells.shares), mass_inside(pair, cells.shares)
        best, padding = float(cells.shares.max()), float(mass_inside(found, cells.blank))
        self.rows.append(row)
        self.scores.append((pointing[0], mass[0], cells.chance, best, padding, pointing[1], mass[1]))


def _result(
    tables: Mapping[str, _Table], samples: int, seed: int, without_region: int, unread: int
) -> LocalisationResult:
    measured: list[AttributeLocalisation] = []
    reasons: dict[str, str] = {}
    for name, table in tables.items():
        if not table.rows:
            reasons[name] = f"no image shows its region, {table.cut_off} regions are outside the frame"
            continue
        scores = dict(zip(_SCORES, np.array(table.scores, np.float64).T, strict=True))
        figures = _figures([scores], samples, seed) | {"cut_off": table.cut_off, "clipped": table.clipped}
        rows = np.array(table.rows, np.int64)
        measured.append(AttributeLocalisation(**figures, attribute=name, rows=rows, scores=scores))
    counted = tuple(row for row in measured if row.chance < WHOLE)
    beside = tuple(row for row in measured if row.chance >= WHOLE)
    if not counted:
        why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        why = why or "; ".join(f"{row.attribute}: its regions fill the picture" for row in beside)
        raise LapelError(f"no attention to measure: {why or 'the run has none of the attributes that have regions'}")
    figures = _figures([row.scores for row in counted], samples, seed)
    figures |= {name: sum(getattr(row, name) for row in counted) for name in ("cut_off", "clipped")}
    return LocalisationResult(counted, Localisation(**figures), beside, reasons, without_region, unread)


def _figures(groups: Sequence[Mapping[str, Floats]], samples: int, seed: int) -> dict[str, Any]:
    of = {name: [group[name] for group in groups] for name in _SCORES}
    found: dict[str, Any] = {name: float(np.concatenate(of[name]).mean()) for name in _SCORES[2:]}
    for name in ("pointing", "mass"):
        found[name] = mean_interval(of[name], samples, seed)
        found[f"{name}_gain"] = paired_difference(of[name], of["chance"], samples, seed)
    return found | {"images": sum(len(values) for values in of["chance"])}
