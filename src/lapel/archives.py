"""Files that may lie inside a zip archive: ``photos.zip/img/a.jpg`` is read in place, nothing is unpacked."""

from __future__ import annotations

import errno
import functools
import hashlib
import io
import os
import stat
import zipfile
from pathlib import Path
from typing import IO, NamedTuple


class Entry(NamedTuple):
    """What is known of a file without reading it: bytes, and a number that changes when it is written anew."""

    size: int
    stamp: int


def split(path: Path | str) -> tuple[Path, str] | None:
    """Return (archive, member) of a path that leads into a zip file, None for any other.

    >>> split("folder/photo.jpg") is None
    True
    """
    text = os.fspath(path)
    if ".zip" not in text.lower():
        return None
    path = Path(path)
    for parent in (path, *path.parents):
        if parent.suffix.lower() == ".zip" and parent.is_file():
            return None if parent == path else (parent, path.relative_to(parent).as_posix())
    return None


def members(archive: Path) -> dict[str, zipfile.ZipInfo]:
    """Return name -> entry of the files in an archive; folders, and what macOS adds, are left out.

    Raises:
        OSError: it cannot be opened, or is no zip file.
    """
    return _open(archive)[1]


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a file, on disk or in an archive.

    Raises:
        OSError: there is no such file, or it cannot be read: no permission, a damaged or encrypted archive.
    """
    inside = split(path)
    if inside is None:
        return path.read_bytes()
    archive, found = _open(inside[0])
    info = found.get(inside[1])
    if info is None:
        raise FileNotFoundError(errno.ENOENT, "no such file in the archive", str(path))
    if info.flag_bits & 1:
        raise PermissionError(errno.EACCES, "encrypted: unpack it with the password its owners give", str(path))
    try:
        return archive.read(info)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise OSError(errno.EIO, f"damaged in the archive ({error})", str(path)) from error


def open_binary(path: Path) -> IO[bytes]:
    """Open a file for reading, on disk or in an archive.

    Raises:
        OSError: as ``read_bytes``.
    """
    inside = split(path)
    if inside is None:
        return path.open("rb")
    archive, found = _open(inside[0])
    info = found.get(inside[1])
    if info is None or info.flag_bits & 1:
        return io.BytesIO(read_bytes(path))  # which says why not
    return archive.open(info)


def entry(path: Path) -> Entry | None:
    """Return what is known of a regular file, on disk or in an archive; None where there is none.

    Raises:
        OSError: the folder or the archive cannot be read.
        ValueError: a NUL in the name.
    """
    inside = split(path)
    if inside is None:
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Entry(status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None
    info = members(inside[0]).get(inside[1])
    return None if info is None else Entry(info.file_size, info.CRC)


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes, on disk or in an archive.

    Raises:
        OSError: it cannot be read.
    """
    if split(path) is not None:
        return hashlib.sha256(read_bytes(path)).hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _open(archive: Path) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    status = archive.stat()
    # The process is part of the key: after a fork two processes must not share one place in the file.
    return _opened(str(archive), status.st_mtime_ns, status.st_size, os.getpid())


@functools.lru_cache(maxsize=8)
def _opened(name: str, *_: int) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    try:
        archive = zipfile.ZipFile(name)
    except zipfile.BadZipFile as error:
        raise OSError(errno.EIO, f"no zip file, or one cut short ({error})", name) from error
    found = {
        info.filename: info
        for info in archive.infolist()
        if not info.is_dir() and not info.filename.startswith("__MACOSX/")
    }
    return archive, found
