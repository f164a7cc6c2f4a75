"""Where stand-ins are drawn: the folder, the pictures, and the account of what was drawn."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image

from lapel.errors import DatasetError
from lapel.files import atomic_write, disk_error
from lapel.garments import Garment, Rendered, item_garment, render
from lapel.progress import track

MARK = ".drawn-by-lapel.json"
QUALITY = 92


@dataclass(frozen=True)
class View:
    """One picture to draw.

    Attributes:
        path: where it goes, relative to the stand-in's folder.
        item: number of the garment, 0 to items - 1.
        view: number of the view; another number, another pose, light and background.
        domain: ``shop`` or ``consumer``.
    """

    path: str
    item: int
    view: int
    domain: str = "shop"


@dataclass(frozen=True, eq=False)
class Drawn:
    """What a stand-in shows, as the importer of its format must find it.

    Attributes:
        rows: one per row of the catalogue, in its order: ``image`` (as the files name it), and where the format tells
            them ``item``, ``split``, ``domain``, ``box`` [x1, y1, x2, y2], ``landmarks`` (24 numbers: x, y, visibility
            of the eight in order) and metadata, all as they were written (whole pixels).
        labels: (image row, attribute, value) of every label.
        attributes: attribute names in order.
        relations: name -> rows as dictionaries.
    """

    rows: list[dict[str, Any]]
    labels: set[tuple[int, str, str]]
    attributes: tuple[str, ...]
    relations: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


class Studio:
    """Draws pictures and writes files below one folder, and marks it as drawn.

    Used as a context; the mark is written when the body ends well. Pictures of an interrupted drawing that are already
    right are kept.

    Args:
        to: the folder.
        name: which stand-in.
        items, seed, size, quiet: as ``draw_standin``.

    Raises:
        DatasetError: the folder holds files that were not drawn here; a number too small.
    """

    def __init__(self, to: Path, name: str, items: int, seed: int, size: int, quiet: bool) -> None:
        for what, found, least in (("items", items, 4), ("seed", seed, 0), ("size", size, 32)):
            if found < least:
                raise DatasetError(f"{what} is {found}: it must be at least {least}")
        self.to, self.name, self.items, self.seed, self.size, self.quiet = to, name, items, seed, size, quiet
        self.rng = np.random.default_rng([seed, 77])

    def __enter__(self) -> Studio:
        mark = self.to / MARK
        if self.to.exists() and not self.to.is_dir():
            raise DatasetError(f"{self.to} is a file: give an empty folder")
        if self.to.exists() and not mark.is_file() and any(self.to.iterdir()):
            raise DatasetError(f"{self.to} holds files that were not drawn by Lapel: give an empty folder")
        found = mark.read_text("utf-8", "replace").strip() if mark.is_file() else None
        if found is not None and found not in [json.dumps(self._order(done)) for done in (False, True)]:
            raise DatasetError(f"{self.to} holds another drawing ({found}): give an empty folder, or remove it first")
        atomic_write(mark, json.dumps(self._order(done=False)) + "\n")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            atomic_write(self.to / MARK, json.dumps(self._order(done=True)) + "\n")

    def garment(self, item: int) -> Garment:
        """Return the garment that is item number ``item``."""
        return item_garment(self.seed, item)

    def draw(self, views: Sequence[View]) -> Iterator[tuple[View, Rendered]]:
        """Draw and save pictures as JPEG, and yield each with its truth (box, landmarks, labels; pixels)."""
        for view in track(views, f"drawing {self.name}", quiet=self.quiet):
            domain = 0 if view.domain == "shop" else 1
            seed = (self.seed * 1_000_003 + view.item * 1009 + view.view) * 2 + domain
            picture = render(self.garment(view.item), seed, view.domain, self.size)
            self._save(self.to / view.path, picture)
            yield view, picture

    def write(self, name: str, text: str | bytes) -> None:
        """Write a file of the stand-in, text as UTF-8, line ends as they are."""
        atomic_write(self.to / name, text if isinstance(text, bytes) else text.encode("utf-8"))

    def write_list(
        self,
        name: str,
        columns: str | None,
        lines: Sequence[str],
        count: int | None = None,
        end: str = "\n",
        bom: bool = False,
    ) -> None:
        """Write a DeepFashion list: the row count, the column names (None: no such line), the rows."""
        head = [str(len(lines) if count is None else count), *([] if columns is None else [columns])]
        text = end.join([*head, *lines]) + end
        self.write(name, ("\ufeff" if bom else "") + text)

    def _order(self, done: bool) -> dict[str, Any]:
        order = {"standin": self.name, "items": self.items, "seed": self.seed, "size": self.size}
        return order | {"done": done}

    def _save(self, path: Path, picture: Rendered) -> None:
        stream = io.BytesIO()
        Image.fromarray(picture.image).save(stream, "JPEG", quality=QUALITY)
        data = stream.getvalue()
        try:
            if path.is_file() and path.read_bytes() == data:
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(path.name + ".part")
            partial.write_bytes(data)
            partial.replace(path)
        except OSError as error:
            raise disk_error(path, error) from error
