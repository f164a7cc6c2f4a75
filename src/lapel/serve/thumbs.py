"""Photographs made small for a screen, kept in bounded memory."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from pathlib import Path

import numpy as np
from PIL import Image

from lapel import archives
from lapel.decoding import MAX_BYTES, MAX_PIXELS, DecodeError, Source, decode_array

SIDES = (160, 320, 640, 1280)
QUALITY = 85


class Thumbs:
    """JPEGs by file and size; the least recently used go first.

    Args:
        limit: bytes of all together.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.held, self.hits, self.misses = limit, 0, 0, 0
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def tag(self, path: Path, side: int) -> str:
        """Name what a picture of this file looks like now: it changes when the file does. Reads no pixels.

        Raises:
            DecodeError: there is no such file.
        """
        try:
            found = archives.entry(path)
        except (OSError, ValueError) as error:
            raise DecodeError(getattr(error, "strerror", None) or "it cannot be reached", path) from error
        if found is None:
            raise DecodeError("no such file", path)
        told = f"{path}\0{found.size}\0{found.stamp}\0{side}\0{QUALITY}"
        return hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()[:32]

    def get(self, path: Path, side: int) -> tuple[bytes, str]:
        """Return a JPEG of which the longest side has at most ``side`` pixels, and its tag.

        Raises:
            DecodeError: the file is gone, or is no image.
        """
        tag = self.tag(path, side)
        with self._lock:
            kept = self._kept.get(tag)
            if kept is not None:
                self._kept.move_to_end(tag)
                self.hits += 1
                return kept, tag
            self.misses += 1
        made = shrink(_opened(path, side), side)
        with self._lock:
            if tag not in self._kept and len(made) <= self.limit:
                self._kept[tag] = made
                self.held += len(made)
            while self.held > self.limit:
                self.held -= len(self._kept.popitem(last=False)[1])
        return made, tag


def shrink(source: Source, side: int) -> bytes:
    """Return a picture, upright, as a JPEG of which the longest side has at most ``side`` pixels.

    Raises:
        DecodeError: it cannot be read.
    """
    image = Image.fromarray(np.ascontiguousarray(decode_array(source)))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=QUALITY)
    return sink.getvalue()


def _opened(path: Path, side: int) -> Source:
    """The file for decoding: of a JPEG only as many pixels as the thumbnail needs, which takes a tenth of the time."""
    try:
        data = archives.read_bytes(path)
    except OSError as error:
        raise DecodeError(error.strerror or "it cannot be read", path) from error
    if len(data) > MAX_BYTES or not data.startswith(b"\xff\xd8\xff"):
        return path  # decoding it says what is wrong, if anything
    try:
        image = Image.open(io.BytesIO(data), formats=("JPEG", "MPO"))
        if image.width * image.height > MAX_PIXELS:
            return path
        image.draft("RGB", (2 * side, 2 * side))
    except Exception:  # Pillow raises a dozen types on damaged headers
        return path
    return image
