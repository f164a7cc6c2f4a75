"""A data set on disk: where its files lie, in folders or zip archives, and what is odd about them."""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
        names: where it may lie, relative to the root; the usual place first.
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
        root: its folder (for ``csv``: the file).
        specs: the files it may have.
        variant: which of the format's variants.
        options: settings of a format that has some (the columns of ``csv``).
        strict: raise at the first fault (``import``); otherwise note it and leave out what is faulty (``check``).
        quiet: no progress bars.

    Attributes:
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
        self.root = Path(root)
        self.specs = tuple(specs)
        self.variant = variant
        self.options = dict(options or {})
        self.strict = strict
        self.quiet = quiet
        self.faults: list[Fault] = []
        self.notes: list[str] = []
        if not self.root.exists():
            raise DatasetError(f"nothing at {self.root}: expected the data set's own folder, as it was unpacked")

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
            if path.is_file():
                return path
        for candidate in names:
            for archive, prefix in self._archives():
                for inner in (f"{prefix}{candidate}", candidate, Path(candidate).name):
                    # Anno.zip may hold Anno/list.txt or list.txt itself.
                    if inner in archives.members(archive):
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
        raise DatasetError(f"{self.root} lacks {spec.names[0]}{also}{purpose}")

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

    def pictures(self, base: str) -> Iterator[str]:
        """Yield the picture files below a folder or archive of the root, relative to it, in no order."""
        top = self.root / base
        if top.suffix.lower() == ".zip" and top.is_file():
            names = archives.members(top)
            yield from (name for name in names if Path(name).suffix.lower() in PICTURES)
            return
        folders = [""]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(top / folder) as entries:
                    for item in entries:
                        name = f"{folder}{item.name}"
                        if item.is_dir():
                            folders.append(name + "/")
                        elif Path(item.name).suffix.lower() in PICTURES:
                            yield name
            except (FileNotFoundError, NotADirectoryError):
                return

    def locate(self, bases: Sequence[str], names: Sequence[str]) -> tuple[Path, NDArray[np.bool_]]:
        """Return the folder or archive that image names start from, and which of the images are there.

        Args:
            bases: folders that the names may start from, relative to the root, the usual one first. Zip archives that
                lie in them count too.
            names: image paths as the data set's files name them.

        Returns:
            the folder, and (N,) bool. Where nothing is found it is the first base.
        """
        tops = [self.root / base for base in bases]
        tops += [path for top in tops if top.is_dir() for path in sorted(top.glob("*.zip"))]
        probes = [names[place] for place in np.linspace(0, len(names) - 1, min(_PROBES, len(names))).astype(int)]
        hits = [sum(_there(top, probe) for probe in probes) for top in tops]
        best = tops[int(np.argmax(hits))] if max(hits, default=0) else tops[0]
        present = _present(best, names)
        return best, np.fromiter((name in present for name in names), bool, len(names))

    def _archives(self) -> list[tuple[Path, str]]:
        """Return the archives near the root, and what stands before their members' names in the unpacked layout."""
        found = [(path, f"{path.stem}/") for path in sorted(self.root.glob("*.zip"))]
        for path in sorted(self.root.glob("*/*.zip")):
            found.append((path, ""))
        return found


def _there(top: Path, name: str) -> bool:
    try:
        return archives.entry(top / name) is not None
    except (OSError, ValueError):
        return False


def _present(top: Path, names: Sequence[str]) -> set[str]:
    """Return the names that exist, listing each folder once."""
    if top.suffix.lower() == ".zip" and top.is_file():
        return set(archives.members(top)) & set(names)
    found: set[str] = set()
    for folder in {os.path.dirname(name) for name in names}:  # noqa: PTH120  - fast: a name each
        try:
            with os.scandir(top / folder) as entries:
                prefix = f"{folder}/" if folder else ""
                found.update(prefix + entry.name for entry in entries if entry.is_file())
        except (OSError, ValueError):
            continue
    return found
