"""What makes a figure comparable: the protocol record, the result file, the table."""

from __future__ import annotations

import datetime
import json
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lapel.errors import LapelError
from lapel.evaluation.metrics import AP_DEFINITION, LEVEL, SCORE, TIE_RULE
from lapel.evaluation.protocols import RetrievalResult
from lapel.files import atomic_write

PACKAGES = ("lapel", "numpy", "torch", "torchvision", "timm")
FORMAT = "lapel result 1"


def protocol_record(
    *,
    split: str,
    preprocessing: Mapping[str, Any] | None,
    query_source: str,
    weights: str | None,
    seed: int,
    catalogue: str | None = None,
    metric: str = AP_DEFINITION,
    command: Sequence[str] | None = None,
    **further: Any,
) -> dict[str, Any]:
    """Return everything another person needs to know before comparing a figure with theirs.

    Args:
        split: the catalogue's split that was measured.
        preprocessing: crop, resize, size, mean and std (``Preprocessing.to_dict()``); None without images.
        query_source: ``RetrievalResult.query_source``, or the file the lists come from.
        weights: fingerprint of the run (SHA-256 over its tensors and settings, not over the file's bytes); None for a
            system without one.
        seed: of the query draw and the bootstrap.
        catalogue: name of the catalogue.
        metric: definition of the metric in words.
        command: the command line, by default this process's.
        **further: anything else worth knowing, as JSON values.
    """
    return {
        "catalogue": catalogue,
        "split": split,
        "preprocessing": None if preprocessing is None else dict(preprocessing),
        "metric": metric,
        "score": SCORE,
        "tie_rule": TIE_RULE,
        "queries": query_source,
        "fingerprint": weights,
        "seed": seed,
        **further,
        "versions": versions(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]] if command is None else command),
    }


def versions() -> dict[str, str | None]:
    """Return the versions of Python and the packages behind a figure, without importing them."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def write_result(path: Path | str, result: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    """Write a result (``RetrievalResult.to_dict()`` or several by name) with its record as JSON, in one step.

    Raises:
        LapelError: a figure is NaN or infinite or not a JSON value; the disk is full.
    """
    try:
        text = json.dumps(
            {"format": FORMAT, "protocol": record, "result": result},
            indent=2,
            ensure_ascii=False,
            allow_nan=False,
        )
    except (TypeError, ValueError) as error:
        raise LapelError(f"cannot write {path}: {error}; results hold numbers, texts, lists and tables only") from error
    atomic_write(path, text + "\n")


def read_result(path: Path | str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (result, record) of a file that ``write_result`` left.

    Raises:
        LapelError: no such file, no JSON, or JSON of another kind.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise LapelError(f"cannot read result file {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise LapelError(f"{path} is no result file: not JSON ({error})") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        found = data.get("format") if isinstance(data, dict) else type(data).__name__
        raise LapelError(f"{path} is no result file: expected format {FORMAT!r}, found {found!r}")
    return data["result"], data["protocol"]


def print_table(result: RetrievalResult, console: Console | None = None, title: str | None = None) -> None:
    """Print MAP per attribute with interval, chance and counts, overall last, and what was left out."""
    table = _table(title)
    for name in ("MAP", f"{100 * LEVEL:g} %", "chance", "queries", "candidates"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in result.attributes:
        counts = (str(row.queries), str(row.candidates))
        # As text: in "length [cm]" rich would read a style.
        table.add_row(Text(row.attribute), _share(row.map), _ends(row.low, row.high), _share(row.chance), *counts)
    table.add_section()
    ends = _ends(result.low, result.high)
    table.add_row("overall", _share(result.map), ends, _share(result.chance), str(result.queries), "", style="bold")
    console = console or Console()
    console.print(table)
    _print_notes([result], console)


def print_systems(
    results: Mapping[str, RetrievalResult], console: Console | None = None, title: str | None = None
) -> None:
    """Print several systems measured on the same queries side by side: MAP and interval each, after chance.

    Raises:
        ValueError: no system.
    """
    if not results:
        raise ValueError("no system to print")
    table = _table(title)
    table.add_column("queries", justify="right")
    table.add_column("chance", justify="right")
    for name in results:
        table.add_column(name, justify="right", no_wrap=True)
    known = {row.attribute: row for result in reversed([*results.values()]) for row in result.attributes}
    for attribute in dict.fromkeys(row.attribute for result in results.values() for row in result.attributes):
        cells = []
        for result in results.values():
            found = {row.attribute: _cell(row.map, row.low, row.high) for row in result.attributes}
            cells.append(found.get(attribute, "-"))
        table.add_row(Text(attribute), str(known[attribute].queries), _share(known[attribute].chance), *cells)
    table.add_section()
    first = next(iter(results.values()))
    cells = [_cell(result.map, result.low, result.high) for result in results.values()]
    table.add_row("overall", str(first.queries), _share(first.chance), *cells, style="bold")
    console = console or Console()
    console.print(table)
    _print_notes(list(results.values()), console)


def _table(title: str | None) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("Attribute", no_wrap=True)
    return table


def _print_notes(results: Sequence[RetrievalResult], console: Console) -> None:
    notes = {f"{name} not evaluated: {reason}" for result in results for name, reason in result.not_evaluated.items()}
    for result in results:
        for row in result.attributes:
            if row.hopeless:
                notes.add(f"{row.attribute}: {row.hopeless} queries have no relevant candidate and count as 0")
            if row.missing:
                notes.add(f"{row.attribute}: {row.missing} images without an embedding were left out")
    for note in sorted(notes):
        console.print(note, style="yellow", markup=False, highlight=False)


def _share(value: float) -> str:
    return f"{100 * value:.2f}"


def _ends(low: float, high: float) -> str:
    return f"{100 * low:.1f} - {100 * high:.1f}"


def _cell(value: float, low: float, high: float) -> str:
    return f"{_share(value)} ({_ends(low, high)})"
