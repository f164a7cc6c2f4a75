"""Figure 7 of AG-MAN: where each attribute looks, over the photograph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lapel.errors import ImageError
from lapel.evaluation.boards import value_texts
from lapel.evaluation.figures import Tile, sheet
from lapel.evaluation.markup import encode, words
from lapel.evaluation.overlays import colours, open_picture, overlay
from lapel.evaluation.sheets import Pictures
from lapel.files import atomic_path

if TYPE_CHECKING:
    from lapel.catalogue import Catalogue
    from lapel.evaluation.regions import Regions
    from lapel.retrieval.embedder import Embedder

Array = NDArray[Any]
SIDE = 420
"""Longest side of an overlay in pixels."""
FLAT = 1e-3
"""A map whose largest and least value differ by less than this share of the largest looks everywhere alike."""


@dataclass(frozen=True)
class Gaze:
    """One photograph, and where each attribute looks on it.

    Attributes:
        photo: the whole photograph.
        maps: a tile per attribute: the overlay, the attribute as caption, the photograph's value of it.
        flat: the model looks everywhere alike: it has no spatial attention.
    """

    photo: Tile
    maps: Sequence[Tile]
    flat: bool


def gazes(
    embedder: Embedder,
    catalogue: Catalogue,
    pictures: Pictures,
    attributes: Sequence[str],
    *,
    missing: Array,
    regions: Regions | None = None,
    seed: int = 0,
    count: int = 4,
) -> list[Gaze]:
    """Draw the attention of some photographs under each attribute, with a frame around the true region where known.

    The photographs are drawn by the seed from those labelled under most attributes, one of each item.

    Args:
        embedder: whose attention.
        catalogue: of the photographs.
        pictures: of the catalogue, which know the crops.
        attributes: columns of the figure.
        missing: (N,) bool, photographs that cannot be read.
        regions: image -> attribute -> boxes in pixels (``regions.read_regions``).
        seed: of the draw.
        count: how many photographs.
    """
    texts = {name: value_texts(catalogue, name) for name in attributes}
    labelled = np.zeros(len(catalogue), np.int64)
    for found in texts.values():
        labelled[list(found)] += 1
    labelled[np.asarray(missing, bool)] = -1
    tie = np.random.default_rng([seed, 7]).random(len(catalogue))
    names = catalogue.images["image"].to_pylist()
    items = [item or f"image {row}" for row, item in enumerate(catalogue.items())]
    shown: set[str] = set()
    rows: list[Gaze] = []
    for row in np.lexsort((tie, -labelled)).tolist():
        if labelled[row] < 0 or len(rows) == count:
            break
        if items[row] in shown:  # another view of the same garment
            continue
        shown.add(items[row])
        photo, crop, box, scale = open_photo(pictures, row)
        try:
            maps = embedder.attention([crop], attributes)[0]
        except ImageError:  # a crop of a few pixels
            continue
        tiles = []
        for name, found in zip(attributes, maps, strict=True):
            over = overlay(photo, found, preprocessing=embedder.preprocessing, box=box)
            known = () if regions is None else regions.get(names[row], {}).get(name, ())
            _frame(over, [[edge * scale for edge in region] for region in known])
            value = words(texts[name].get(row, "not labelled"))
            tiles.append(Tile(encode(over), words(name), value))
        flat = bool((np.ptp(maps, axis=(1, 2)) <= FLAT * maps.max(axis=(1, 2))).all())
        rows.append(Gaze(Tile(encode(photo), pictures.name(row)), tiles, flat))
    return rows


def open_photo(
    pictures: Pictures, row: int
) -> tuple[Image.Image, Image.Image, tuple[float, float, float, float] | None, float]:
    """Return a photograph shrunk for the figure, what its box shows of that, the box in its pixels, and the scale."""
    photo = open_picture(pictures.path(row))
    scale = min(1.0, SIDE / max(photo.size))
    if scale < 1:
        photo = photo.resize(
            (max(1, round(photo.width * scale)), max(1, round(photo.height * scale))), Image.Resampling.LANCZOS
        )
    box = pictures.box(row)
    if box is None:
        return photo, photo, None, scale
    x1, y1, x2, y2 = (edge * scale for edge in box)
    return photo, photo.crop((round(x1), round(y1), round(x2), round(y2))), (x1, y1, x2, y2), scale


def _frame(picture: Image.Image, boxes: Sequence[Sequence[float]]) -> None:
    """Draw the frames of true regions in a colour that neither the scale nor its line has."""
    draw = ImageDraw.Draw(picture)
    for box in boxes:
        x1, y1, x2, y2 = (round(edge) for edge in box)
        draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline="black", width=4)
        draw.rectangle((x1, y1, x2, y2), outline="#00e5ff", width=2)


def draw_gazes(found: Sequence[Gaze], path: Path, title: str = "", side: int = 170) -> Path:
    """Write the figure as one picture with its colour scale below; returns its path."""
    rows = [
        (replace(gaze.photo, tag="photo"), [replace(tile, tag=tile.caption, caption="") for tile in gaze.maps])
        for gaze in found
    ]
    columns = max((len(gaze.maps) for gaze in found), default=1)
    # Beyond a dozen a line is too wide to look at.
    canvas = sheet(rows=rows, title=title, columns=min(columns, 12), side=side)
    whole = Image.new("RGB", (canvas.width, canvas.height + 44), canvas.getpixel((0, 0)))
    whole.paste(canvas)
    bar = Image.fromarray(np.tile(colours(np.linspace(0, 1, 240, dtype=np.float32))[None], (12, 1, 1)))
    left, top = 60, canvas.height + 8
    whole.paste(bar, (left, top))
    draw = ImageDraw.Draw(whole)
    draw.text((left - 8, top + 6), "less", "#66615a", anchor="rm", font_size=14)
    draw.text(
        (left + 248, top + 6),
        "more attention, from each map's least to its greatest",
        "#66615a",
        anchor="lm",
        font_size=14,
    )
    with atomic_path(path) as temporary:
        whole.save(temporary)
    return path
