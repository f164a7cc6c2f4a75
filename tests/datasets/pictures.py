"""Small pictures for the tests of folders and tables."""

from __future__ import annotations

import zipfile
from pathlib import Path

from PIL import Image


def paint(*paths: Path, side: int = 16) -> None:
    """Save a picture of its own at each path."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = sum(str(path).encode())
        Image.new("RGB", (side, side), (seed % 256, seed // 256 % 256, len(path.name))).save(path)


def pack(folder: Path, archive: Path, beneath: str = "") -> Path:
    """Pack the files of a folder, each name after ``beneath``."""
    with zipfile.ZipFile(archive, "w") as made:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                made.write(path, beneath + path.relative_to(folder).as_posix())
    return archive
