"""Writing the files of the public data sets: padded lists, label matrices, boxes, landmarks, empty pictures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

POINTS = {1: 6, 2: 4, 3: 8}  # clothes type -> landmarks
VARIED = 997  # different boxes and landmark rows; each row takes one of them


class Writer:
    """Writes one data set below a folder.

    Args:
        to: the folder.
        share: of the full size.
        seed: of what is made up.
    """

    def __init__(self, to: Path, share: float = 1.0, seed: int = 0) -> None:
        self.to, self.share, self.rng = to, share, np.random.default_rng(seed)

    def count(self, full: int) -> int:
        """How many of what the data set has ``full``."""
        return max(8, round(full * self.share))

    def text(self, name: str, lines: Iterable[str], end: str = "\n", start: str = "") -> None:
        """Write a text file line by line."""
        path = self.to / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((start + end.join(lines) + end).encode())

    def list(self, name: str, columns: str, rows: Sequence[str]) -> None:
        """Write a list as DeepFashion does: the count, the names of the columns, the rows."""
        self.text(name, [str(len(rows)), *([columns] if columns else []), *rows])

    def matrix(self, name: str, columns: str, names: Sequence[str], labels: int, positives: float, pad: int) -> None:
        """Write names followed by 1 / -1 / 0 labels, ``positives`` of them 1 in a row on average.

        A label takes two places and a space, as in the data sets' own files; one in a thousand is 0.
        """
        path = self.to / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:
            stream.write(f"{len(names)}\n{columns}\n".encode())
            for at in range(0, len(names), 4096):
                block = names[at : at + 4096]
                first = np.frombuffer("".join(f"{own:<{pad}}" for own in block).encode(), np.uint8).reshape(-1, pad)
                drawn = self.rng.random((len(block), labels), np.float32)
                cells = np.empty((len(block), labels, 3), np.uint8)
                cells[:] = np.frombuffer(b"-1 ", np.uint8)
                cells[drawn < positives / labels] = np.frombuffer(b" 1 ", np.uint8)
                cells[drawn > 0.999] = np.frombuffer(b" 0 ", np.uint8)
                cells[:, -1, 2] = ord("\n")
                np.concatenate([first, cells.reshape(len(block), -1)], axis=1).tofile(stream)

    def boxes(self) -> list[str]:
        """Different boxes inside 300 x 300 pixels: x1 y1 x2 y2, with leading zeros."""
        low, size = self.rng.integers(0, 120, (VARIED, 2)), self.rng.integers(60, 170, (VARIED, 2))
        return [" ".join(f"{number:03d}" for number in box) for box in np.concatenate([low, low + size], 1).tolist()]

    def landmarks(self, kind: int) -> list[str]:
        """Different rows of landmarks of a clothes type: visibility x y, as many as it has."""
        numbers = self.rng.integers(0, 300, (VARIED, POINTS[kind], 3))
        numbers[..., 0] = self.rng.choice(3, numbers.shape[:2], p=(0.8, 0.15, 0.05))
        return ["  ".join(f"{seen} {x:03d} {y:03d}" for seen, x, y in row) for row in numbers.tolist()]

    def annotate(self, name: str, images: Sequence[str], kinds: Sequence[int], codes: Sequence[str], pad: int) -> None:
        """Write ``list_bbox`` and ``list_landmarks`` files.

        Args:
            name: file name with a gap, ``Anno/list_{}.txt``.
            images: paths.
            kinds: clothes type of each.
            codes: what stands between image and box: types and poses; empty strings for none.
            pad: width of the image column.
        """
        boxes, points = self.boxes(), {kind: self.landmarks(kind) for kind in POINTS}
        place = self.rng.integers(0, VARIED, len(images)).tolist()
        rows = zip(images, kinds, codes, place, strict=True)
        boxed = [f"{image:<{pad}} {code}{boxes[at]}" for image, _, code, at in rows]
        self.list(name.format("bbox"), "image_name  clothes_type  x_1  y_1  x_2  y_2", boxed)
        # The variation type is there in two of the three data sets: those that have a code before the box.
        rows = zip(images, kinds, codes, place, strict=True)
        marked = [f"{image:<{pad}} {kind}  {'1  ' if code else ''}{points[kind][at]}" for image, kind, code, at in rows]
        self.list(
            name.format("landmarks"),
            "image_name  clothes_type  landmark_visibility_1  landmark_location_x_1 ...",
            marked,
        )

    def pictures(self, names: Iterable[str]) -> None:
        """Make empty files."""
        known: set[str] = set()
        for name in names:
            folder, _, _ = name.rpartition("/")
            if folder not in known:
                known.add(folder)
                (self.to / folder).mkdir(parents=True, exist_ok=True)
            os.close(os.open(self.to / name, os.O_CREAT | os.O_WRONLY))

    def split(self, counts: dict[str, int], total: int) -> NDArray[np.object_]:
        """Deal names out to rows, in random order, in the proportions of ``counts``."""
        bounds = np.cumsum([*counts.values()]) / sum(counts.values())
        names = np.asarray(list(counts), object)
        return names[np.searchsorted(bounds, self.rng.permutation((np.arange(total) + 0.5) / total))]
