"""A contact sheet: garments with their labels written beneath, to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lapel.files import atomic_path
from lapel.garments.render import Rendered, render
from lapel.garments.spec import Garment

if TYPE_CHECKING:
    from lapel.catalogue import Catalogue


def contact_sheet(
    what: Catalogue | Sequence[Garment | Rendered],
    path: Path | str,
    domain: str = "shop",
    size: int = 256,
    columns: int = 6,
    limit: int = 24,
    seed: int = 0,
) -> Path:
    """Write a PNG of the first ``limit`` garments of a catalogue, or of a list, with their labels beneath.

    Args:
        what: a catalogue, or garments (each drawn once with view ``seed``), or views already drawn.
        path: the PNG to write.
        domain: in which garments are drawn.
        size: side of each picture.
        columns: pictures in a row.
        limit: most pictures shown.
        seed: of the views.

    Returns:
        ``path``.
    """
    cells = _cells(what, domain, size, limit, seed)
    font = ImageFont.load_default(size=max(9, size // 20))
    line = max(11, size // 17)
    foot = line * 5 + 6
    rows = (len(cells) + columns - 1) // columns
    sheet = Image.new("RGB", (columns * (size + 4), max(1, rows) * (size + foot)), "white")
    pen = ImageDraw.Draw(sheet)
    for place, (picture, labels) in enumerate(cells):
        x, y = place % columns * (size + 4), place // columns * (size + foot)
        sheet.paste(picture.resize((size, size)), (x, y))
        words = [f"{name}: {value}" for name, value in labels.items()]
        lines = [", ".join(words[i : i + 2]) for i in range(0, len(words), 2)]
        for number, text in enumerate(lines[:5]):
            pen.text((x + 3, y + size + 2 + number * line), text, fill="black", font=font)
    path = Path(path)
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")
    return path


def _cells(
    what: Catalogue | Sequence[Garment | Rendered], domain: str, size: int, limit: int, seed: int
) -> list[tuple[Image.Image, dict[str, str]]]:
    cells: list[tuple[Image.Image, dict[str, str]]] = []
    if isinstance(what, Sequence):
        for one in what[:limit]:
            view = render(one, seed, domain, size) if isinstance(one, Garment) else one
            cells.append((Image.fromarray(np.asarray(view.image)), view.labels))
        return cells
    for row, file in enumerate(what.paths()[:limit]):
        with Image.open(file) as opened:
            picture = opened.convert("RGB")
        cells.append((picture, {name: "|".join(values) for name, values in what.values_of(row).items()}))
    return cells
