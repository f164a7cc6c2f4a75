"""One writer of an index at a time, among all processes of a machine."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from lapel.errors import SearchIndexError
from lapel.files import disk_error
from lapel.retrieval.layout import LOCK

# A server that writes holds an index for a fraction of a second: what meets it need not fail.
PATIENCE = 1.0
_PAUSE = 0.01


class IndexBusy(SearchIndexError):
    """Another process writes to the index."""


@contextlib.contextmanager
def only_writer(folder: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the index for writing; the lock goes with the process, however it ends.

    Args:
        folder: of the index.
        patience: seconds to wait for another writer.

    Raises:
        IndexBusy: another process, or another thread of this one, still writes then.
        LapelError: the folder is gone or cannot be written.
    """
    handle = _locked(folder / LOCK, time.monotonic() + patience)
    try:
        yield
    finally:
        os.close(handle)


def _locked(path: Path, give_up: float) -> int:
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        except OSError as error:
            raise disk_error(path, error) from error
        if _taken(handle, path):
            return handle
        os.close(handle)
        if time.monotonic() >= give_up:
            raise IndexBusy(f"another process is indexing into {path.parent}: wait until it ends")
        time.sleep(_PAUSE)


def _taken(handle: int, path: Path) -> bool:
    """Lock an open file, if nobody has; whoever replaced the index folder meanwhile has made another lock."""
    try:
        import fcntl
    except ImportError:  # Windows: one writer is then up to the user
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False
