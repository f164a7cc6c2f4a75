"""Where an attribute truly shows: regions of original pictures, brought to the cells of an attention map.

Drawn catalogues know them (``lapel.garments`` leaves ``regions.json`` beside ``catalogue.csv``); whoever has boxes of
their own writes the same file: image -> attribute -> boxes ``[x1, y1, x2, y2]`` in pixels of the upright original.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lapel.errors import CatalogueError, unknown
from lapel.evaluation.overlays import whole_box
from lapel.frame import Preprocessing

if TYPE_CHECKING:
    from lapel.catalogue import Catalogue

Floats = NDArray[np.float64]
Regions = Mapping[str, Mapping[str, Floats]]
"""Image, as the catalogue names it -> attribute -> (K, 4) boxes x1, y1, x2, y2 in pixels; K is 0 where it is off."""

FILE = "regions.json"


def read_regions(catalogue: Catalogue) -> Regions | None:
    """Read ``regions.json`` beside a catalogue; None where there is no such file.

    Only images of the catalogue (it may be a split of a larger one) and its attributes are kept.

    Raises:
        CatalogueError: not JSON of this form; no image or no attribute in common with the catalogue.
    """
    path = catalogue.root / FILE
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CatalogueError(f"cannot read {path}: expected JSON, image -> attribute -> boxes ({error})") from error
    if not isinstance(found, dict):
        raise CatalogueError(f"{path}: expected an object, image -> attribute -> boxes, found {type(found).__name__}")
    names = set(catalogue.images["image"].to_pylist())
    kept = {image: _of_image(path.name, image, entry) for image, entry in found.items() if image in names}
    if not kept:
        first = next(iter(found), "none at all")
        raise CatalogueError(
            f"{path} names none of the {len(names)} images of catalogue {catalogue.name!r}, its first is {first!r}: "
            "name images as the catalogue's column 'image' does"
        )
    known = {attribute for entry in kept.values() for attribute in entry}
    if not known & set(catalogue.attributes):
        first = min(known, default="")
        raise CatalogueError(f"{path}: {unknown('attribute', first, catalogue.attributes)}")
    return {
        image: {attribute: boxes for attribute, boxes in entry.items() if attribute in catalogue.attributes}
        for image, entry in kept.items()
    }


def _of_image(file: str, image: str, entry: Any) -> dict[str, Floats]:
    if not isinstance(entry, dict):
        raise CatalogueError(f"{file}, {image}: expected attribute -> boxes, found {type(entry).__name__}")
    found = {}
    for attribute, boxes in entry.items():
        try:
            made = np.asarray(boxes, np.float64).reshape(-1, 4) if len(boxes) else np.zeros((0, 4))
            right = len(made) == len(boxes) and bool(np.isfinite(made).all())
            right = right and bool((made[:, :2] < made[:, 2:]).all())
        except (TypeError, ValueError):
            right = False
        if not right:
            raise CatalogueError(
                f"{file}, {image}, {attribute}: expected a list of boxes [x1, y1, x2, y2] in pixels with x1 < x2 and "
                f"y1 < y2, found {json.dumps(boxes)[:80]}"
            )
        found[attribute] = made
    return found


class Framed(NamedTuple):
    """A region as the model's input shows it.

    Attributes:
        boxes: (K, 4) in the frame's pixels, cut where the picture ends; boxes that lie outside are left out.
        picture: (4,) the part of the frame that shows picture, not padding.
        shown: share of the region's area (each point once, however many boxes it lies in) that is in the frame.
    """

    boxes: Floats
    picture: Floats
    shown: float


def in_frame(boxes: Floats, size: tuple[int, int], pre: Preprocessing, box: Sequence[float] | None = None) -> Framed:
    """Bring boxes (K, 4) in pixels of the original to the model's input frame.

    Args:
        boxes: x1, y1, x2, y2 in pixels of the upright original.
        size: (width, height) of the upright original.
        pre: how the input is prepared.
        box: the crop that is taken before, pixels of the original; rounded outward, as decoding does.

    Raises:
        ImageError: the crop lies outside the picture.
    """
    x1, y1, x2, y2 = whole_box(box, *size)
    rows, columns, top, left = pre.placed(y2 - y1, x2 - x1)
    scale = np.tile([columns / (x2 - x1), rows / (y2 - y1)], 2)
    moved = (boxes - [x1, y1, x1, y1]) * scale + [left, top, left, top]
    ends = max(left, 0), max(top, 0), min(left + columns, pre.width), min(top + rows, pre.height)
    picture = np.array(ends, np.float64)
    cut = np.concatenate([np.maximum(moved[:, :2], picture[:2]), np.minimum(moved[:, 2:], picture[2:])], 1)
    cut = cut[(cut[:, :2] < cut[:, 2:]).all(1)]
    whole = _area(moved)
    return Framed(cut, picture, min(1.0, _area(cut) / whole) if whole else 0.0)


class Cells(NamedTuple):
    """A region on the cells of a map.

    Attributes:
        shares: (h, w), the share of what a cell shows of the picture that lies in the region; 0 where it shows none.
        blank: (h, w), 1 where a cell shows no picture at all, padding alone; else 0.
        chance: the region's share of the picture in the frame.
    """

    shares: Floats
    blank: Floats
    chance: float


def on_cells(region: Framed, pre: Preprocessing, grid: tuple[int, int]) -> Cells:
    """Divide the frame evenly into ``grid`` (h, w) cells, as the overlays do, and measure the region in each."""
    down, across = np.linspace(0, pre.height, grid[0] + 1), np.linspace(0, pre.width, grid[1] + 1)
    inside, valid = cover(region.boxes, down, across), cover(region.picture[None], down, across)
    shares = np.minimum(inside / np.where(valid > 0, valid, 1.0), 1.0)
    return Cells(shares, np.where(valid > 0, 0.0, 1.0), min(1.0, float(inside.sum() / valid.sum())))


def cover(boxes: Floats, down: Floats, across: Floats) -> Floats:
    """Return the area (h, w) of each cell of a grid that lies in at least one of the boxes (K, 4).

    Args:
        boxes: x1, y1, x2, y2; they may overlap.
        down: (h + 1,) ascending edges of the rows.
        across: (w + 1,) ascending edges of the columns.

    >>> cover(np.array([[0.0, 0, 3, 1], [1, 0, 3, 1]]), np.array([0.0, 2]), np.array([0.0, 2, 4]))
    array([[2., 1.]])
    """
    # Between the edges of boxes and cells together, a point is in a box or not.
    ys = np.unique(np.concatenate([down, np.clip(boxes[:, 1::2].ravel(), down[0], down[-1])]))
    xs = np.unique(np.concatenate([across, np.clip(boxes[:, ::2].ravel(), across[0], across[-1])]))
    rows = (boxes[:, 1, None] <= ys[:-1]) & (ys[1:] <= boxes[:, 3, None])
    columns = (boxes[:, 0, None] <= xs[:-1]) & (xs[1:] <= boxes[:, 2, None])
    inside = (rows[:, :, None] & columns[:, None, :]).any(0)
    areas = np.where(inside, np.outer(np.diff(ys), np.diff(xs)), 0.0)
    areas = np.add.reduceat(areas, np.searchsorted(ys, down[:-1]), axis=0)
    return np.asarray(np.add.reduceat(areas, np.searchsorted(xs, across[:-1]), axis=1))


def _area(boxes: Floats) -> float:
    if not len(boxes):
        return 0.0
    low, high = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    return float(cover(boxes, np.array([low[1], high[1]]), np.array([low[0], high[0]]))[0, 0])
