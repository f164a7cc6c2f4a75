"""Files that may lie inside a zip archive: ``photos.zip/img/a.jpg`` is read in place, nothing is unpacked.

An archive's directory is parsed once. Members are then read by their place in the file, so any number of threads, and
processes after a fork, read one archive without waiting for each other.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import io
import os
import stat
import struct
import threading
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NamedTuple

_CHUNK = 1 << 18
_MOST = 1100  # times that anything can shrink when packed; a header that says more is wrong
_HEADER = struct.Struct("<4s22xHH")  # of a member: its mark, and the lengths of its name and of the extra field
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGED = (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, EOFError, RuntimeError, struct.error)


class ArchiveError(OSError):
    """An archive, or a file in it, cannot be read; ``strerror`` is short and free of the path."""

    def __init__(self, reason: str, path: Path | str) -> None:
        super().__init__(errno.EIO, reason, os.fspath(path))


class Entry(NamedTuple):
    """What is known of a file without reading it: bytes, and a number that changes when it is written anew."""

    size: int
    stamp: int


class Member(NamedTuple):
    """A file in an archive: bytes unpacked and packed, checksum, place of its header, method, whether encrypted."""

    size: int
    packed: int
    crc: int
    place: int
    method: int
    encrypted: bool


class _Archive(NamedTuple):
    file: IO[bytes]
    size: int
    members: Mapping[str, Member]


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


def below(path: Path) -> tuple[Path, str] | None:
    """Return (archive, what its members' names begin with) of an archive or a folder in one, None for any other.

    >>> below(Path("folder")) is None
    True
    """
    if path.suffix.lower() == ".zip" and path.is_file():
        return path, ""
    inside = split(path)
    return None if inside is None else (inside[0], inside[1] + "/")


def members(archive: Path) -> Mapping[str, Member]:
    """Return name -> member of the files in an archive; folders, and what macOS adds, are left out.

    Raises:
        OSError: it cannot be opened, or is no zip file.
    """
    return _open(archive).members


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a file, on disk or in an archive.

    Raises:
        OSError: there is no such file, or it cannot be read: no permission, a damaged or encrypted archive.
    """
    inside = split(path)
    if inside is None:
        return path.read_bytes()
    archive, member = _member(*inside, path)
    packed = os.pread(archive.file.fileno(), member.packed, _start(archive, member, path))
    try:
        # No further than it says it is long: a bomb stays small.
        data = packed if member.method == zipfile.ZIP_STORED else _inflater().decompress(packed, member.size + 1)
    except zlib.error as error:
        raise ArchiveError(f"damaged in the archive ({error})", path) from error
    if len(data) != member.size or zlib.crc32(data) != member.crc:
        raise ArchiveError("damaged in the archive (wrong checksum)", path)
    return data


def open_binary(path: Path) -> IO[bytes]:
    """Open a file for reading from its start to its end, on disk or in an archive.

    Raises:
        OSError: as ``read_bytes``; damage shows when the reading comes to it.
    """
    inside = split(path)
    if inside is None:
        return path.open("rb")
    archive, member = _member(*inside, path)
    return io.BufferedReader(_Stream(archive, member, path), _CHUNK)


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
    member = members(inside[0]).get(inside[1])
    return None if member is None else Entry(member.size, member.crc)


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes, on disk or in an archive.

    Raises:
        OSError: it cannot be read.
    """
    with open_binary(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]  # it has readinto


class _Stream(io.RawIOBase):
    """A member unpacked as it is read."""

    def __init__(self, archive: _Archive, member: Member, path: Path) -> None:
        self._archive, self._known, self._path = archive, member, path
        self._at = _start(archive, member, path)
        self._end = self._at + member.packed
        self._inflater = None if member.method == zipfile.ZIP_STORED else _inflater()
        self._crc = self._size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._next(len(buffer))
        buffer[: len(data)] = data
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        if not data and (self._size, self._crc) != (self._known.size, self._known.crc):
            raise ArchiveError("damaged in the archive (wrong checksum)", self._path)
        return len(data)

    def _next(self, most: int) -> bytes:
        most = min(most, self._known.size + 1 - self._size)
        if self._inflater is None:
            return self._packed(most)
        data = b""
        try:
            while not data and most and not self._inflater.eof:
                packed = self._inflater.unconsumed_tail or self._packed(_CHUNK)
                data = self._inflater.decompress(packed, most)
                if not packed:
                    break
        except zlib.error as error:
            raise ArchiveError(f"damaged in the archive ({error})", self._path) from error
        return data

    def _packed(self, most: int) -> bytes:
        most = min(most, self._end - self._at)
        data = os.pread(self._archive.file.fileno(), most, self._at)
        self._at += len(data)
        return data


def _inflater() -> zlib._Decompress:
    return zlib.decompressobj(-zlib.MAX_WBITS)


def _member(archive: Path, name: str, path: Path) -> tuple[_Archive, Member]:
    opened = _open(archive)
    member = opened.members.get(name)
    if member is None:
        raise FileNotFoundError(errno.ENOENT, "no such file in the archive", str(path))
    if member.encrypted:
        raise ArchiveError("encrypted: unpack the archive with the password that its owners give", path)
    if member.method not in _METHODS:
        raise ArchiveError(f"packed by method {member.method}, which is not read in place: unpack the archive", path)
    return opened, member


def _start(archive: _Archive, member: Member, path: Path) -> int:
    """Return where a member's data begin: behind its own header, whose length only itself tells."""
    header = os.pread(archive.file.fileno(), _HEADER.size, max(0, member.place))
    if len(header) < _HEADER.size or header[:4] != b"PK\3\4":
        raise ArchiveError("damaged in the archive (no header)", path)
    _, name, extra = _HEADER.unpack(header)
    start = member.place + _HEADER.size + int(name) + int(extra)
    if start + member.packed > archive.size or member.size > _MOST * member.packed:
        raise ArchiveError("damaged in the archive (wrong size)", path)
    return start


def _open(archive: Path) -> _Archive:
    status = archive.stat()
    with _gate:  # a directory of 300,000 names is worth parsing once
        return _opened(str(archive), status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=32)
def _opened(name: str, size: int, _: int) -> _Archive:
    file = open(name, "rb", buffering=0)  # noqa: SIM115, PTH123  - closed when nobody holds it any more
    try:
        with zipfile.ZipFile(name) as archive:
            listed = archive.infolist()
        return _Archive(file, size, {_name(info): _as_member(info) for info in listed if _is_file(info)})
    except _DAMAGED as error:
        file.close()
        raise ArchiveError(f"no zip archive, or one cut short: unpack or fetch it again ({error})", name) from error


def _is_file(info: zipfile.ZipInfo) -> bool:
    return not info.filename.endswith(("/", "\\")) and not info.filename.startswith("__MACOSX/")


def _name(info: zipfile.ZipInfo) -> str:
    """Return a member's name as a path has it."""
    name = info.filename
    if not name.isascii() and not info.flag_bits & 0x800:
        # macOS writes UTF-8 and does not say so.
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/").removeprefix("./")


def _as_member(info: zipfile.ZipInfo) -> Member:
    encrypted = bool(info.flag_bits & 1)
    return Member(info.file_size, info.compress_size, info.CRC, info.header_offset, info.compress_type, encrypted)


_gate = threading.Lock()


def _renew() -> None:
    global _gate
    _gate = threading.Lock()  # another thread may have held it when this process was forked


os.register_at_fork(after_in_child=_renew)
