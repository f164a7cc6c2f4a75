"""What the verbs read from and print to a shell."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from lapel.errors import LapelError, SearchIndexError

if TYPE_CHECKING:
    from rich.console import Console

    from lapel.retrieval.hits import Hit


def main_process() -> bool:
    """Return whether this process speaks for all: under torchrun only the first one does."""
    return os.environ.get("RANK", "0") == "0"


def say(message: str) -> None:
    """Print a message on standard error, from one process only."""
    if main_process():
        print(message, file=sys.stderr)


def fail(message: str, status: int) -> int:
    """Print on standard error why a command stopped, and return the exit status."""
    print(f"lapel: {message}", file=sys.stderr)
    return status


def message_of(error: LapelError | OSError) -> str:
    """Return what went wrong, without a traceback."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def parse_weights(attributes: Sequence[str]) -> dict[str, float]:
    """Read the ``NAME[=WEIGHT]`` of ``--attribute`` and ``--like``.

    >>> parse_weights(["neckline", "sleeve_length=0.5"])
    {'neckline': 1.0, 'sleeve_length': 0.5}

    Raises:
        SearchIndexError: a weight that is no finite number, a missing name, or a name given twice.
    """
    weights: dict[str, float] = {}
    for option in attributes:
        name, equals, number = (part.strip() for part in option.partition("="))
        try:
            weight = float(number) if equals else 1.0
        except ValueError:
            weight = math.nan
        if not name or not math.isfinite(weight):
            raise SearchIndexError(f"weight {option!r}: expected NAME or NAME=NUMBER, such as neckline=0.5")
        if name in weights:
            raise SearchIndexError(f"{name!r} is given twice; give one weight per attribute")
        weights[name] = weight
    return weights


def parse_pairs(options: Sequence[str], flag: str, form: str) -> dict[str, str]:
    """Read ``KEY=VALUE`` options; the values of a key given twice are joined by commas.

    >>> parse_pairs(["item=sku", "attribute=fit", "attribute=hem"], "--column", "ROLE=NAME")
    {'item': 'sku', 'attribute': 'fit,hem'}

    Raises:
        LapelError: an option without a key or a value.
    """
    pairs: dict[str, str] = {}
    for option in options:
        key, _, value = (part.strip() for part in option.partition("="))
        if not key or not value:
            raise LapelError(f"{flag} {option}: expected {form}")
        pairs[key] = f"{pairs[key]},{value}" if key in pairs else value
    return pairs


def parse_box(text: str | None) -> tuple[float, ...] | None:
    """Read ``--box``.

    >>> parse_box("10, 20, 110 220")
    (10.0, 20.0, 110.0, 220.0)

    Raises:
        SearchIndexError: not four numbers.
    """
    if text is None:
        return None
    try:
        box = tuple(float(part) for part in text.replace(",", " ").split())
    except ValueError:
        box = ()
    if len(box) != 4:
        raise SearchIndexError(f"--box {text!r}: expected four numbers X1 Y1 X2 Y2, in pixels of the picture")
    return box


def wide_console() -> Console:
    """Return where tables are printed: a pipe has no width, so rows are not broken for one."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 1000)


def print_hits(hits: Sequence[Hit], as_json: bool = False) -> None:
    """Print hits, best first, as JSON or as a table.

    The table's columns: rank, score, image, item, further images of it where some were grouped, cosine per attribute.
    """
    if as_json:
        rows = [
            {"rank": rank, **{f.name: getattr(hit, f.name) for f in fields(hit)}} for rank, hit in enumerate(hits, 1)
        ]
        print(json.dumps(rows, indent=2, default=str))
        return
    if not hits:
        say("nothing found")
        return
    from rich.table import Table
    from rich.text import Text

    names = list(hits[0].scores)
    grouped = any(hit.others for hit in hits)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("rank", "score"):
        table.add_column(title, justify="right", no_wrap=True)
    for title in ("image", "item"):
        table.add_column(title, overflow="fold")
    for name in ("more",) * grouped + (*names,):
        table.add_column(Text(name), justify="right")
    for rank, hit in enumerate(hits, 1):
        more = (f"+{len(hit.others)}" if hit.others else "",) * grouped
        scores = [f"{hit.scores[name]:.3f}" for name in names]
        table.add_row(str(rank), f"{hit.score:.3f}", Text(hit.image), Text(hit.item or ""), *more, *scores)
    wide_console().print(table)
