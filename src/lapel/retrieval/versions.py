"""Which version of its rows an index has. LanceDB's is told from file names and times alone: asking it takes seconds to
import it."""

from __future__ import annotations

import time
import zlib
from pathlib import Path

from lapel.retrieval import lance_store
from lapel.retrieval.engines import lies, state
from lapel.retrieval.lance_store import TABLE


def mark(folder: Path) -> str:
    """Name the newest version of an index's rows: its number, and when it was written.

    The time tells apart versions of the same number, of an index and of another one put in its place. "" where there
    are no rows.
    """
    number = state(folder)
    if number is None:
        return ""
    if lies(folder).engine != "lance":  # a server's versions are told apart as they are
        return number
    written = _written(folder, number)
    return number if written is None else f"{number}-{zlib.crc32(str(written).encode()):08x}"


def age(folder: Path) -> float:
    """Return the seconds since LanceDB's rows were last written to; infinity where that cannot be told."""
    number = lance_store.state(folder)
    written = None if number is None else _written(folder, number)
    return float("inf") if written is None else abs(time.time() - written / 1e9)


def place(folder: Path) -> tuple[int, int] | None:
    """Identify the table that lies in a folder: the same through all writes, another one where it was replaced."""
    held = lies(folder)
    if held.engine != "lance":
        return zlib.crc32(held.uri.encode()), zlib.crc32(held.collection.encode())
    try:
        found = (folder / f"{TABLE}.lance").stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _written(folder: Path, number: str) -> int | None:
    """When a version of LanceDB's table was written, in nanoseconds."""
    versions = folder / f"{TABLE}.lance" / "_versions"
    for name in (number, f"{2**64 - 1 - int(number):020d}"):
        try:
            return (versions / f"{name}.manifest").stat().st_mtime_ns
        except OSError:  # the other way of naming it, or removed meanwhile
            continue
    return None
