"""Draw a whole catalogue: pictures, labels, boxes, landmarks, items and splits in one folder."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from lapel.errors import CatalogueError, unknown
from lapel.files import atomic_write, disk_error
from lapel.garments.render import DOMAINS, Rendered, render
from lapel.garments.spec import ATTRIBUTES, Garment, draw_garment
from lapel.progress import track

if TYPE_CHECKING:
    from lapel.catalogue import Catalogue

RENDERER = 1
"""Raised whenever the same seed gives other pictures than before."""

QUALITY = 92


@dataclass(frozen=True)
class _Order:
    """What was asked for: kept beside the pictures, so that asking again draws nothing."""

    items: int
    views: int
    seed: int
    size: int
    domains: tuple[str, ...]
    shares: tuple[float, float, float]
    renderer: int = RENDERER
    quality: int = QUALITY


def draw_catalogue(
    to: Path | str,
    items: int = 120,
    views: int = 2,
    seed: int = 0,
    size: int = 256,
    domains: Sequence[str] = ("shop",),
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1),
    quiet: bool = False,
) -> Catalogue:
    """Draw ``items`` garments, ``views`` pictures of each, into ``to``; same arguments, same bytes.

    Leaves ``images/*.jpg``, ``catalogue.csv`` (image, item, split, domain, box, landmarks, then the
    attributes), ``regions.json`` (image -> attribute -> boxes where it shows, pixels) and ``drawn.json``
    (these arguments). The catalogue is written last: one that is there is whole. Drawing it again returns it
    at once; after an interruption every picture already there is kept if it is the right one, byte for byte.

    Args:
        to: the folder to fill.
        items: how many garments.
        views: pictures of each garment.
        seed: of everything.
        size: side of a picture in pixels.
        domains: ``shop``, ``consumer`` or both; the views of an item take them in turn.
        shares: of the items that go to train, val and test.
        quiet: show no progress.

    Raises:
        CatalogueError: a number below 1, an unknown domain, shares that do not sum to 1, or a catalogue that is
            already in ``to`` and was not drawn.
        LapelError: the disk is full or the folder cannot be written.
    """
    from lapel.catalogue import Catalogue

    to = Path(to)
    order = _Order(items, views, seed, size, _checked(domains), shares)
    _check(order)
    record = json.dumps(asdict(order), indent=2) + "\n"
    table, drawn = to / "catalogue.csv", to / "drawn.json"
    if table.is_file() and drawn.is_file() and drawn.read_text() == record:
        found = Catalogue.read(table, attributes=_present(table))
        if all(path.is_file() for path in found.paths()):
            return found
    if table.exists() and not drawn.exists():
        raise CatalogueError(f"{table} was not drawn by Lapel and would be overwritten: give another folder")
    table.unlink(missing_ok=True)
    splits = _splits(order)
    rows: list[dict[str, str]] = []
    regions: dict[str, dict[str, list[list[float]]]] = {}
    jobs = [(item, view) for item in range(items) for view in range(views)]
    for item, view in track(jobs, "drawing garments", quiet=quiet):
        garment = item_garment(seed, item)
        domain = order.domains[view % len(order.domains)]
        picture = render(garment, seed * 1_000_003 + item * 1009 + view, domain, size)
        name = f"images/{item:06d}-{view}.jpg"
        _save(to / name, picture)
        rows.append({"image": name, "item": f"{item:06d}", "split": splits[item], "domain": domain, **_cells(picture)})
        regions[name] = {
            attribute: [[round(v, 1) for v in box] for box in boxes] for attribute, boxes in picture.regions.items()
        }
    atomic_write(to / "regions.json", json.dumps(regions) + "\n")
    atomic_write(drawn, record)
    text = io.StringIO()
    columns = ["image", "item", "split", "domain", "box", "landmarks", *ATTRIBUTES]
    columns = [name for name in columns if any(row.get(name) for row in rows)]
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    atomic_write(table, text.getvalue())
    return Catalogue.read(table, attributes=_present(table))


def item_garment(seed: int, item: int) -> Garment:
    """Return the garment that is item number ``item`` of the catalogue of ``seed``."""
    garment = draw_garment(np.random.default_rng([seed, item]))
    return replace(garment, texture=garment.texture ^ item)


def _checked(domains: Sequence[str]) -> tuple[str, ...]:
    names = (domains,) if isinstance(domains, str) else tuple(domains)
    for name in names:
        if name not in DOMAINS:
            raise CatalogueError(unknown("domain", name, DOMAINS))
    if not names:
        raise CatalogueError(f"no domain was given: expected one or both of {', '.join(DOMAINS)}")
    return names


def _check(order: _Order) -> None:
    for name, least in (("items", 1), ("views", 1), ("seed", 0), ("size", 32)):
        if getattr(order, name) < least:
            raise CatalogueError(f"{name} is {getattr(order, name)}: it must be at least {least}")
    if min(order.shares) < 0 or abs(sum(order.shares) - 1.0) > 1e-6:
        raise CatalogueError(f"the shares of train, val and test must sum to 1, found {order.shares}")


def _splits(order: _Order) -> list[str]:
    """Return the split of each item: the shares rounded, in an order drawn by the seed."""
    train = round(order.shares[0] * order.items)
    val = round((order.shares[0] + order.shares[1]) * order.items)
    names = ["train"] * train + ["val"] * (val - train) + ["test"] * (order.items - val)
    places = np.random.default_rng([order.seed, 8]).permutation(order.items)
    return [names[place] for place in places]


def _cells(picture: Rendered) -> dict[str, str]:
    box = " ".join(f"{value:g}" for value in picture.box)
    landmarks = " ".join(f"{x:.1f} {y:.1f} {int(visibility)}" for x, y, visibility in picture.landmarks.tolist())
    return {"box": box, "landmarks": landmarks, **picture.labels}


def _save(path: Path, picture: Rendered) -> None:
    """Write a JPEG whole or not at all; one that is there with the same bytes stays as it is."""
    stream = io.BytesIO()
    Image.fromarray(picture.image).save(stream, "JPEG", quality=QUALITY)
    data = stream.getvalue()
    if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data:
        return
    # No fsync per picture: a picture lost in a power cut is drawn again, and the catalogue comes last.
    partial = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        raise disk_error(path, error) from error


def _present(table: Path) -> list[str]:
    with table.open(newline="") as stream:
        header = next(csv.reader(stream))
    return [name for name in ATTRIBUTES if name in header]
