"""A data set on disk: where its files lie, in folders or zip archives, and what is odd about them."""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapel import archives
from lapel.errors import DatasetError

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
_PROBES = 200  # image names tried to tell where the pictures lie


@dataclass(frozen=True)
class FileSpec:
    """A file of a data set.

    Attributes:
        names: where it may lie, relative to the root; the usual place first. A folder's name ends in a slash.
        purpose: what it is for, in a few words.
        required: whether nothing works without it.
    """

    names: tuple[str, ...]
    purpose: str
    required: bool = True


@dataclass(frozen=True)
class Fault:
    """Something wrong in a data set: the file, its line (from 1), and what was expected and found."""

    file: str
    line: int | None
    message: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file} line {self.line:,}"
        return f"{where}: {self.message}" if where else self.message


class Source:
    """The files of one data set, by name.

    Args:
        root: its folder, a zip archive of it, or one of its files (for ``csv``).
        specs: the files it may have.
        variant: which of the format's variants.
        options: settings of a format that has some (the columns of ``csv``).
        strict: raise at the first fault (``import``); otherwise note it and leave out what is faulty (``check``).
        quiet: no progress bars.

    Attributes:
        given: the root as it was given.
        root: the folder or archive.
        faults: what was found wrong; with ``strict`` the first raises instead.
        notes: what is odd but harmless, for the reader to know.

    Raises:
        DatasetError: there is nothing at ``root``.
    """

    def __init__(
        self,
        root: Path | str,
        specs: Sequence[FileSpec] = (),
        variant: str = "",
        strict: bool = True,
        quiet: bool = True,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.given = Path(root)
        self.specs = tuple(specs)
        self.variant = variant
        self.options = dict(options or {})
        self.strict = strict
        self.quiet = quiet
        self.faults: list[Fault] = []
        self.notes: list[str] = []
        self._looked: dict[Path, Mapping[str, archives.Member]] = {}
        self._unread: dict[Path, str] = {}
        packed = archives.below(self.given) is not None
        if not packed and not self.given.exists():
            raise DatasetError(f"nothing at {self.given}: expected the data set's own folder, as it was unpacked")
        self.root = self.given.parent if self.given.is_file() and not packed else self.given

    def fault(self, message: str, file: str = "", line: int | None = None) -> None:
        """Raise (strict) or note that something is wrong.

        Raises:
            DatasetError: with ``strict``.
        """
        found = Fault(file, line, message)
        if self.strict:
            raise DatasetError(str(found))
        self.faults.append(found)

    def note(self, message: str) -> None:
        """Note something odd that does no harm."""
        self.notes.append(message)

    def find(self, name: str) -> Path | None:
        """Return where a file lies: at any of its spec's names, on disk or in a zip archive; None if nowhere.

        Args:
            name: any of the spec's names, or a plain path below the root.
        """
        names = next((spec.names for spec in self.specs if name in spec.names), (name,))
        for candidate in names:
            path = self.root / candidate
            if path.is_dir() if candidate.endswith("/") else path.is_file():
                return path
        for candidate in names:
            # Where Anno_coarse.zip and Anno_fine.zip both hold list.txt itself, the archive's name tells.
            for archive in sorted(self._archives, key=lambda archive: archive.stem != Path(candidate).parts[0]):
                for inner in self._inside(archive, candidate):
                    if self._holds(archive, inner):
                        return archive / inner
        return None

    def require(self, name: str) -> Path:
        """Return where a file lies.

        Raises:
            DatasetError: it is nowhere, strict or not; says what it is for.
        """
        found = self.find(name)
        if found is not None:
            return found
        spec = next((spec for spec in self.specs if name in spec.names), FileSpec((name,), ""))
        purpose = f", which says {spec.purpose}" if spec.purpose else ""
        also = f" (or {', '.join(spec.names[1:])})" if len(spec.names) > 1 else ""
        raise DatasetError(f"{self.root} lacks {spec.names[0]}{also}{purpose}{self.unread()}")

    def unread(self) -> str:
        """Return what is to be said of archives that could not be looked into, as the end of a message; or nothing."""
        return "".join(f". {path.name} was not read: {reason}" for path, reason in self._unread.items())

    def lines(self, name: str) -> Iterator[tuple[int, str]]:
        """Yield (line number from 1, text without its end) of a file: UTF-8, with or without a byte-order mark.

        Raises:
            DatasetError: there is no such file, it cannot be read, or it is not UTF-8.
        """
        path = self.require(name)
        try:
            with archives.open_binary(path) as stream:
                for number, line in enumerate(stream, 1):
                    if number == 1:
                        if line[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                            raise DatasetError(f"{name}: UTF-16 text, expected UTF-8: unpack it again, unchanged")
                        line = line.removeprefix(codecs.BOM_UTF8)
                    try:
                        yield number, line.rstrip(b"\r\n").decode("utf-8")
                    except UnicodeDecodeError as error:
                        byte = line[error.start]
                        raise DatasetError(
                            f"{name} line {number:,}: not UTF-8 text (byte 0x{byte:02x}): unpack it again, unchanged"
                        ) from error
        except OSError as error:
            raise DatasetError(f"cannot read {path}: {error.strerror or error}") from error

    def json(self, name: str) -> Any:
        """Return the content of a JSON file.

        Raises:
            DatasetError: there is no such file, or it is not JSON.
        """
        text = "\n".join(line for _, line in self.lines(name))
        try:
            return json.loads(text)
        except ValueError as error:
            raise DatasetError(f"{name} is not JSON ({error}): it is cut short or damaged, unpack it again") from error

    def pictures(self, base: str = "") -> Iterator[str]:
        """Yield the picture files below a folder or archive of the root, relative to it, in no order.

        Raises:
            DatasetError: a folder that cannot be read.
        """
        return (name for name in self.walk(base) if name.lower().endswith(PICTURES))

    def walk(self, base: str = "") -> Iterator[str]:
        """Yield the files below a folder or archive of the root, relative to it; those of a folder in order.

        What is hidden is left out, and a folder that links lead to again. A link to nothing counts as a file, so that
        it is missed.

        Raises:
            DatasetError: a folder that cannot be read.
        """
        top = self.root / base
        inside = archives.below(top)
        if inside is not None:
            archive, prefix = inside
            names = (name.removeprefix(prefix) for name in sorted(self._look(archive)) if name.startswith(prefix))
            yield from (name for name in names if not any(part.startswith(".") for part in name.split("/")))
            return
        folders, seen = [""], set()
        while folders:
            folder = folders.pop()
            try:
                status = (top / folder).stat()
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
                with os.scandir(top / folder) as entries:
                    listed = sorted((item for item in entries if not item.name.startswith(".")), key=lambda i: i.name)
                folders += [f"{folder}{item.name}/" for item in reversed(listed) if item.is_dir()]
                files = (item for item in listed if item.is_file() or (item.is_symlink() and not item.is_dir()))
                yield from (f"{folder}{item.name}" for item in files)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise DatasetError(f"cannot read {top / folder}: {error.strerror or error}") from error

    def locate(self, bases: Sequence[str], names: Sequence[str]) -> tuple[Path, NDArray[np.bool_]]:
        """Return the folder or archive that image names start from, and which of the images are there.

        Args:
            bases: folders that the names may start from, relative to the root, the usual one first. Zip archives that
                lie in them count too, and the folder that an archive would be unpacked to.
            names: image paths as the data set's files name them.

        Returns:
            the folder, and (N,) bool. Where nothing is found it is the first base.
        """
        tops = [self.root / base for base in bases]
        packed = [path for top in tops if top.is_dir() for path in sorted(top.glob("*.zip"))]
        packed += [self.root] if archives.below(self.root) is not None else []
        for path in packed:
            tops += [path / folder / base for folder in ("", path.stem, self._top(path)) for base in ("", *bases)]
        probes = [names[place] for place in np.linspace(0, len(names) - 1, min(_PROBES, len(names))).astype(int)]
        best, most = tops[0], 0
        for top in dict.fromkeys(tops):
            hits = sum(self._there(top, probe) for probe in probes)
            if hits > most:
                best, most = top, hits
            if hits == len(probes):
                break
        present = self._present(best, names)
        return best, np.fromiter((name in present for name in names), bool, len(names))

    @cached_property
    def _archives(self) -> list[Path]:
        """The archives near the root."""
        if archives.below(self.root) is not None:
            return [self.root]
        return [*sorted(self.root.glob("*.zip")), *sorted(self.root.glob("*/*.zip"))]

    def _look(self, archive: Path) -> Mapping[str, archives.Member]:
        """Return what can be read of an archive; remember why not, where it cannot."""
        if archive not in self._looked:
            readable: Mapping[str, archives.Member] = {}
            try:
                found = archives.members(archive)
                readable = {name: member for name, member in found.items() if not member.encrypted}
                if len(readable) < len(found):
                    self._unread[archive] = "it is encrypted, unpack it with the password that its owners give"
            except OSError as error:
                self._unread[archive] = error.strerror or str(error)
            self._looked[archive] = readable
        return self._looked[archive]

    def _holds(self, archive: Path, name: str) -> bool:
        if name.endswith("/"):
            return any(other.startswith(name) for other in self._look(archive))
        return name in self._look(archive)

    def _top(self, archive: Path) -> str:
        """Return the one folder that all of an archive lies in, empty if there is none."""
        tops = {name.split("/", 1)[0] if "/" in name else "" for name in self._look(archive)}
        return tops.pop() if len(tops) == 1 else ""

    def _inside(self, archive: Path, name: str) -> Iterator[str]:
        """Yield what a file may be called in an archive: Anno.zip may hold Anno/list.txt or list.txt itself."""
        where = "" if archive == self.root else archive.parent.relative_to(self.root).as_posix().removeprefix(".")
        for folder in (where, f"{where}/{archive.stem}".lstrip("/")):
            if folder and name.startswith(f"{folder}/"):
                yield name.removeprefix(f"{folder}/")
        yield from (f"{archive.stem}/{name}", f"{self._top(archive)}/{name}".lstrip("/"), name)
        if not name.endswith("/"):
            yield Path(name).name

    def _there(self, top: Path, name: str) -> bool:
        try:
            inside = archives.split(top / name)
            return archives.entry(top / name) is not None if inside is None else inside[1] in self._look(inside[0])
        except (OSError, ValueError):
            return False

    def _present(self, top: Path, names: Sequence[str]) -> set[str]:
        """Return the names that exist, listing each folder once."""
        folders: dict[str, list[str]] = {}
        for name in names:
            folders.setdefault(os.path.dirname(name), []).append(name)  # noqa: PTH120  - fast: a name each
        found: set[str] = set()
        for folder, within in folders.items():
            try:
                inside = archives.below(top / folder)
                if inside is not None:
                    members = self._look(inside[0])
                    found.update(name for name in within if f"{inside[1]}{os.path.basename(name)}" in members)  # noqa: PTH119
                    continue
                with os.scandir(top / folder) as entries:
                    listed = {entry.name for entry in entries if entry.is_file()}
                found.update(name for name in within if os.path.basename(name) in listed)  # noqa: PTH119
            except (OSError, ValueError):
                continue
        return found
