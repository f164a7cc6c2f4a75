"""Images that did not come from a catalogue: kept inside the index folder, by their content.

``INDEX/kept/ab/ab12....jpg`` holds the bytes as they were received; the ``image`` of a row says
``kept://ab/ab12....jpg``, which no catalogue may, and so tells rows that came by the API from those of the catalogue.
The folder can move as a whole. A file that no row names any more stays for an hour, as the table's old versions do,
for readers that opened the index before.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Iterable
from pathlib import Path

from lapel.errors import SearchIndexError
from lapel.files import atomic_write
from lapel.retrieval.filter_tree import Column, Like
from lapel.retrieval.store import Store

SCHEME = "kept://"
FOLDER = "kept"
GRACE = 3600.0  # seconds
OURS = Like(Column("image", "image", "text"), f"{SCHEME}%")  # the rows that came by the API
_NAME = re.compile(r"([0-9a-f]{2})/\1[0-9a-f]{62}\.[a-z]{3,4}", re.ASCII)
_SUFFIXES = (
    (b"\xff\xd8", "jpg"),
    (b"\x89PNG", "png"),
    (b"GIF8", "gif"),
    (b"BM", "bmp"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
)


def is_kept(image: str) -> bool:
    """Whether a row's ``image`` names a kept file, rather than one of the catalogue."""
    return image.startswith(SCHEME)


def path_of(folder: Path, root: Path | str, image: str) -> Path:
    """Where the picture of a row is: in the index ``folder``, or below the catalogue's ``root``.

    Raises:
        SearchIndexError: it begins like a kept one and is none.
    """
    if not is_kept(image):
        return Path(root) / image
    name = image.removeprefix(SCHEME)
    if not _NAME.fullmatch(name):
        raise SearchIndexError(f"{image!r} is no kept image (expected {SCHEME}ab/ab... with a SHA-256): altered row")
    return folder / FOLDER / name


def name_of(data: bytes) -> str:
    """Return what a row says as ``image`` whose picture has these bytes."""
    digest = hashlib.sha256(data).hexdigest()
    return f"{SCHEME}{digest[:2]}/{digest}.{_suffix(data)}"


def keep(folder: Path, data: bytes) -> str:
    """Store an image file's bytes in an index folder, once; return what its row says as ``image``.

    Raises:
        LapelError: the disk is full.
    """
    name = name_of(data)
    path = path_of(folder, "", name)
    # The same bytes twice are one file; its hour begins anew, so that it is not collected before its row is written.
    if not (_size(path) == len(data) and _touched(path)):
        atomic_write(path, data)
    return name


def release(folder: Path, images: Iterable[str]) -> None:
    """Say, before rows change, that some may no longer need their kept images: those files' hour begins."""
    for image in images:
        if is_kept(image):
            _touched(path_of(folder, "", image))


def collect(folder: Path, store: Store, grace: float = GRACE) -> int:
    """Remove the kept files that no row names and none has named for ``grace`` seconds; return how many are left so.

    Only for the one writer of an index.
    """
    kept = folder / FOLDER
    if not kept.is_dir():
        return 0
    used = {path_of(folder, "", image) for image in store.read(["image"], where=OURS)["image"].to_pylist()}
    waiting = 0
    for path in [path for path in kept.rglob("*") if path.is_file() and path not in used]:
        with contextlib.suppress(OSError):
            # A file from the future is no reason to keep it for ever.
            if abs(time.time() - path.stat().st_mtime) < grace:
                waiting += 1
            else:
                path.unlink()
    return waiting


def _suffix(data: bytes) -> str:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((suffix for start, suffix in _SUFFIXES if data.startswith(start)), "img")


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _touched(path: Path) -> bool:
    try:
        os.utime(path)
    except OSError:
        return False
    return True
