"""A shop with copies: a file under two names, a picture saved again, and a second shop that has one of its pictures."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from lapel.catalogue import Catalogue
from lapel.garments.spec import ATTRIBUTES as VALUES

from .shop import Seer, Shop, stock

if TYPE_CHECKING:
    from lapel.retrieval.indexing import IndexReport

COPY, SAVED = "copy of 0.png", "saved again.jpg"


def build(root: Path, garments: Catalogue) -> tuple[Shop, Path]:
    """Return the shop, and the folder of the index of a second shop by the same run."""
    stock(garments, root / "photos")
    listed = root / "photos/catalogue.csv"
    with listed.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    photos = listed.parent
    shutil.copy(photos / rows[0]["image"], photos / COPY)
    Image.open(photos / rows[4]["image"]).convert("RGB").save(photos / SAVED, quality=70)
    rows.append({**rows[0], "image": COPY, "item": "copied"})
    rows.append({**rows[4], "image": SAVED, "item": "saved", "pattern": "another"})
    _write(listed, rows)
    seer = Seer(root / "looks")
    seer.write()
    shop = Shop(root, Catalogue.read(photos, attributes=list(VALUES)), [seer])
    shop.reindex()
    rival = root / "rival"
    _write(photos / "rival.csv", [{**rows[4], "image": SAVED, "item": "r1"}, *rows[10:30:2]])
    other: IndexReport = shop.reindex(Catalogue.read(photos / "rival.csv", attributes=list(VALUES)), rival)
    assert other.added == 11
    return shop, rival


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
