"""Stand-ins: drawn garments in the exact layout and file formats of the public data sets.

People cannot always get the research data sets. A stand-in has their files, names and quirks with drawn pictures, so
that every importer, protocol and recipe can be run, and tested, without them.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from lapel.errors import DatasetError, unknown

if TYPE_CHECKING:
    from lapel.standins.studio import Drawn

STANDINS = {
    "fashionai": "fashionai",
    "asen": "asen",
    "deepfashion-attributes": "deepfashion_attributes",
    "deepfashion-inshop": "deepfashion_inshop",
    "deepfashion-consumer2shop": "deepfashion_consumer2shop",
    "zappos50k": "zappos50k",
    "street2shop": "street2shop",
}
"""Format -> the module that draws it."""


def draw_standin(
    name: str, to: Path | str, items: int = 60, seed: int = 0, size: int = 256, quiet: bool = False
) -> Drawn:
    """Draw the stand-in of a public format into the folder ``to``; same arguments, same bytes.

    Args:
        name: one of ``STANDINS``.
        to: the folder to fill: empty, or drawn before (then it is drawn anew).
        items: how many garments.
        seed: of everything.
        size: longer side of a picture in pixels.
        quiet: show no progress.

    Returns:
        what was drawn, as the importer of that format must find it.

    Raises:
        DatasetError: no such stand-in; a number too small; a folder that holds other files.
        LapelError: the disk is full or the folder cannot be written.
    """
    if name not in STANDINS:
        raise DatasetError(unknown("stand-in", name, STANDINS))
    from lapel.standins.studio import Studio

    draw = import_module(f"lapel.standins.{STANDINS[name]}").draw
    with Studio(Path(to), name, items, seed, size, quiet) as studio:
        drawn: Drawn = draw(studio)
    return drawn
