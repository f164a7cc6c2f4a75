"""Writing that never leaves half a file behind."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lapel.errors import LapelError


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it replaces ``path`` in one step.

    If the body fails, ``path`` keeps what it held before and the temporary file is removed.

    Raises:
        LapelError: the disk is full or the folder cannot be written.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise disk_error(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def disk_error(path: Path, error: OSError) -> LapelError:
    """Turn an OSError met while writing ``path`` into a message a person can act on."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return LapelError(
            f"disk full while writing {path}: free some space and run the same command again; "
            "the file that was there before is unchanged"
        )
    return LapelError(f"cannot write {path}: {error.strerror or error}")


def atomic_write(path: Path | str, data: bytes | str) -> None:
    """Write ``data`` to ``path`` in one step; on failure the old file stays whole."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def sha256(path: Path | str) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
