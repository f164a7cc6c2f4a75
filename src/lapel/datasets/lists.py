"""Text lists as the DeepFashion benchmarks write them: a row count, a line of column names, then padded columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lapel.datasets.source import PICTURES, Source
from lapel.errors import unknown


class Row(NamedTuple):
    """One row: its line number from 1, and its tokens."""

    line: int
    tokens: list[str]


def read_list(source: Source, name: str, columns: Sequence[str], header: int = 2, more: bool = False) -> list[Row]:
    """Read a list file: columns padded with any number of spaces, the row count in its first line.

    Args:
        source: the data set.
        name: the file.
        columns: what each token of a row is, for messages.
        header: lines before the rows, the count included (2 everywhere but in the item lists, which have 1).
        more: further tokens may follow (labels, landmarks).

    Faults: a row with another number of tokens; a count that is not the number of rows (a file cut short).

    Raises:
        DatasetError: no such file, not UTF-8, no count; any fault where the source is strict.
    """
    lines = source.lines(name)
    first = next(lines, (1, ""))[1].strip()
    if not first.isdecimal():
        source.fault(f"expected the number of rows, found {first[:60]!r}", name, 1)
    for _ in range(header - 1):
        next(lines, None)
    rows: list[Row] = []
    held = 0
    for number, text in lines:
        tokens = text.split()
        if not tokens:
            continue
        held += 1
        if len(tokens) == len(columns) or (more and len(tokens) > len(columns)):
            rows.append(Row(number, tokens))
        else:
            expected = " ".join(columns) + (" ..." if more else "")
            source.fault(f"expected {expected}, found {text.strip()[:80]!r}", name, number)
    if first.isdecimal() and held != int(first):
        source.fault(count_message(int(first), held), name)
    return rows


def count_message(said: int, held: int) -> str:
    """Return the message for a file whose first line gives another number of rows than it holds."""
    hint = "the file is cut short, unpack it again" if held < said else "the count or the rows were changed"
    return f"its first line says {said:,} rows, it holds {held:,}: {hint}"


def right_picture(source: Source, name: str, row: Row, column: int = 0) -> bool:
    """Whether a token is the path of a picture; a fault if not (columns that were swapped)."""
    token = row.tokens[column]
    if token.lower().endswith(PICTURES):
        return True
    source.fault(f"expected the path of an image in column {column + 1}, found {token[:60]!r}", name, row.line)
    return False


def right_choice(source: Source, name: str, row: Row, column: int, choices: Sequence[str], kind: str) -> bool:
    """Whether a token is one of the choices; a fault if not, naming the nearest."""
    token = row.tokens[column]
    if token in choices:
        return True
    source.fault(f"{unknown(kind, token, choices)} (column {column + 1})", name, row.line)
    return False


def whole_numbers(source: Source, name: str, row: Row, start: int, stop: int | None = None) -> list[int] | None:
    """Return the tokens ``start`` to ``stop`` as whole numbers, None and a fault if one is none."""
    try:
        return [int(token) for token in row.tokens[start:stop]]
    except ValueError:
        found = " ".join(row.tokens[start:stop])
        source.fault(f"expected whole numbers, found {found[:60]!r}", name, row.line)
        return None
