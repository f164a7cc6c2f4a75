"""Label matrices: a row per image or item, a label per attribute, hundreds of megabytes of " -1 -1 1 0".

Split into Python strings, the largest (289,222 x 1,000) would take minutes and tens of gigabytes. Here it is read in
blocks, the blocks are worked on as arrays of bytes, and only the positive labels are kept.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lapel import archives
from lapel.datasets.lists import count_message
from lapel.datasets.source import Source
from lapel.errors import DatasetError
from lapel.progress import bar

BLOCK = 1 << 20
_TOKEN = re.compile(rb"\S+")
_LF, _MINUS, _ZERO, _ONE = b"\n-01"

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LabelMatrix:
    """The positive labels of a matrix file.

    Attributes:
        names: the first token of each row: the image or the item.
        lines: the line of each row, from 1.
        rows: (P,) int32 row of each positive label, ascending.
        columns: (P,) int32 its column, ascending within a row.
    """

    names: list[str]
    lines: list[int]
    rows: NDArray[np.int32]
    columns: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class _Block:
    """Whole lines of the file, looked at as bytes.

    Attributes:
        held: lines that are not blank, faulty or not.
        names, lines: of the good rows; lines counted from 0 within the block.
        rows, columns: of their positive labels.
        faults: (line, message), ascending.
    """

    held: int
    names: list[bytes]
    lines: Indices
    rows: Indices
    columns: Indices
    faults: list[tuple[int, str]]


def read_label_matrix(source: Source, name: str, columns: int, header: int = 2, block: int = BLOCK) -> LabelMatrix:
    """Read a file of rows "name label label ...", labels 1 (yes), -1 (no) or 0 (not known), and keep the 1s.

    Memory is some fifteen times ``block``, the names and the positive labels; the file's length does not matter.

    Args:
        source: the data set.
        name: the file.
        columns: labels in a row.
        header: lines before the rows, the row count included.
        block: bytes that are read at once; a longer line is read whole.

    Faults: a row with another number of labels, or another word among them; a count that is not the number of rows.

    Raises:
        DatasetError: no such file, cannot be read, not UTF-8, no count; any fault where the source is strict.
    """
    path = source.require(name)
    first = _first_line(source, name)
    if not first.isdecimal():
        source.fault(f"expected the number of rows, found {first[:60]!r}", name, 1)
    names: list[str] = []
    lines: list[int] = []
    kept: list[tuple[NDArray[np.int32], NDArray[np.int32]]] = []
    held, line = 0, header + 1
    for text in _whole_lines(path, name, header, block, source.quiet):
        found = _labels(text, columns)
        for place, message in found.faults:
            source.fault(message, name, line + place)
        rows = (found.rows + len(names)).astype(np.int32)
        kept.append((rows, found.columns.astype(np.int32)))
        names += [_text(token, name, line + int(at)) for token, at in zip(found.names, found.lines, strict=True)]
        lines += (found.lines + line).tolist()
        held += found.held
        line += text.count(b"\n")
    if first.isdecimal() and held != int(first):
        source.fault(count_message(int(first), held), name)
    nothing = np.zeros(0, np.int32)
    return LabelMatrix(
        names,
        lines,
        np.concatenate([nothing, *(rows for rows, _ in kept)]),
        np.concatenate([nothing, *(places for _, places in kept)]),
    )


def _first_line(source: Source, name: str) -> str:
    with _readable(source.require(name)):
        return next(source.lines(name), (1, ""))[1].strip()


def _whole_lines(path: Path, name: str, header: int, block: int, quiet: bool) -> Iterator[bytes]:
    """Yield the file after its header in pieces that end with a line."""
    with _readable(path):
        known = archives.entry(path)
        with archives.open_binary(path) as stream, bar("MB", quiet) as progress:
            task = progress.add_task(f"reading {Path(name).name}", total=known and known.size / 1e6, note="")
            progress.advance(task, sum(len(stream.readline()) for _ in range(header)) / 1e6)
            begun: list[bytes] = []
            while piece := stream.read(block):
                progress.advance(task, len(piece) / 1e6)
                end = piece.rfind(b"\n") + 1
                if end:
                    yield b"".join((*begun, piece[:end]))
                    begun = []
                begun.append(piece[end:])
            if rest := b"".join(begun):
                yield rest + b"\n"


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise DatasetError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def _labels(text: bytes, columns: int) -> _Block:
    """Take whole lines apart."""
    # Padded, so that every byte has one before it and two after it.
    data = np.frombuffer(b"".join((b"\n", text, b"  ")), np.uint8)
    space = (data == 32) | (data - np.uint8(9) < 5)  # blank, \t \n \v \f \r: what bytes.split() splits at
    byte, last = data[1:-2], space[2:-1]
    start = space[:-3] > space[1:-2]
    one = byte == _ONE
    positive = start & one & last
    right = positive | (start & (byte == _ZERO) & last)
    right |= start & (byte == _MINUS) & (data[2:-1] == _ONE) & space[3:]
    tokens = np.flatnonzero(start)
    ends = np.flatnonzero(byte == _LF)
    bounds = np.concatenate([[0], np.searchsorted(tokens, ends)])
    counts = np.diff(bounds)
    filled = np.flatnonzero(counts)
    heads = tokens[bounds[filled]]
    positive[heads] = False
    right[heads] = True
    wrong = np.flatnonzero(start > right)
    fits = counts == columns + 1
    good = fits.copy()
    good[np.searchsorted(ends, wrong)] = False
    faults = _wrong_labels(text, tokens, wrong, ends, bounds)
    for place in filled[~fits[filled]].tolist():
        found = int(counts[place]) - 1
        row = text[int(tokens[bounds[place]]) : int(ends[place])][:60].decode("utf-8", "replace").strip()
        faults[place] = f"expected a name and {columns:,} labels, found {found:,} labels: {row!r}"
    marks = np.flatnonzero(positive)
    at_line = np.searchsorted(ends, marks)
    marks, at_line = marks[good[at_line]], at_line[good[at_line]]
    kept = np.flatnonzero(good)
    names = [_TOKEN.match(text, begin)[0] for begin in tokens[bounds[kept]].tolist()]  # type: ignore[index]
    places = np.searchsorted(tokens, marks) - bounds[at_line] - 1
    return _Block(len(filled), names, kept, np.searchsorted(kept, at_line), places, sorted(faults.items()))


def _wrong_labels(text: bytes, tokens: Indices, wrong: Indices, ends: Indices, bounds: Indices) -> dict[int, str]:
    """Return line -> message for the first token of each line that is no label."""
    places, firsts = np.unique(np.searchsorted(ends, wrong), return_index=True)
    found = {}
    for place, at in zip(places.tolist(), wrong[firsts].tolist(), strict=True):
        label = int(np.searchsorted(tokens, at) - bounds[place])
        token = text[at : at + 240].split(None, 1)[0].decode("utf-8", "replace")
        found[place] = f"expected labels 1, -1 or 0, found {token[:60]!r} as label {label:,}"
    return found


def _text(token: bytes, name: str, line: int) -> str:
    try:
        return token.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = token[error.start]
        raise DatasetError(
            f"{name} line {line:,}: not UTF-8 text (byte 0x{byte:02x}): unpack it again, unchanged"
        ) from error
