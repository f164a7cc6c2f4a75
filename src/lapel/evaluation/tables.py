"""Results as tables to read: as the papers print them where the protocol has their headings, else row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.text import Text

from lapel.evaluation.grids import (
    LEVEL_TEXT,
    ends,
    name_table,
    note,
    percent,
    print_figures,
    print_grid,
    print_rows,
)
from lapel.evaluation.instances import ItemResult
from lapel.evaluation.item_tables import print_items
from lapel.evaluation.protocols import AttributeResult, RetrievalResult
from lapel.evaluation.triplets import TripletsResult
from lapel.protocol import AttributeProtocol, ItemProtocol, Protocol


def print_result(
    result: RetrievalResult | TripletsResult | ItemResult,
    protocol: Protocol | None = None,
    console: Console | None = None,
    title: str | None = None,
    name: str = "this run",
) -> None:
    """Print a result as the paper of its protocol prints it, with intervals, chance and what was left out.

    Args:
        result: what ``evaluate`` returned.
        protocol: what it was measured by; its headings make the paper's table.
        console: where to print.
        title: above the first table.
        name: what the row of figures is called.
    """
    console = console or Console()
    if isinstance(result, RetrievalResult):
        headings = dict(protocol.headings) if isinstance(protocol, AttributeProtocol) else {}
        if any(row.attribute in headings for row in result.attributes):
            _print_headed(result, headings, console, title, name)
        else:
            print_table(result, console, title)
    elif isinstance(result, TripletsResult):
        _print_triplets(result, console, title)
    else:
        print_items(result, protocol if isinstance(protocol, ItemProtocol) else None, console, title, name)


def print_table(result: RetrievalResult, console: Console | None = None, title: str | None = None) -> None:
    """Print MAP per attribute with interval, chance and counts, overall last, and what was left out."""
    console = console or Console()
    overall = [percent(result.map), ends(result.low, result.high), percent(result.chance), str(result.queries), ""]
    _print_attributes(result.attributes, console, title, overall)
    _print_beside(result, console)
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
    table = name_table(title)
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
        table.add_row(Text(attribute), str(known[attribute].queries), percent(known[attribute].chance), *cells)
    table.add_section()
    first = next(iter(results.values()))
    cells = [_cell(result.map, result.low, result.high) for result in results.values()]
    table.add_row("overall", str(first.queries), percent(first.chance), *cells, style="bold")
    console = console or Console()
    console.print(table)
    _print_notes(list(results.values()), console)


def _print_headed(
    result: RetrievalResult, headings: Mapping[str, str], console: Console, title: str | None, name: str
) -> None:
    """Print the paper's table: one row of figures under its headings, in its order."""
    rows = {row.attribute: row for row in result.attributes}
    shown = [*(rows.get(attribute) for attribute in headings), result]

    def cells(between: str) -> dict[str, list[str]]:
        return {
            name: [percent(row.map) if row else "-" for row in shown],
            LEVEL_TEXT: [f"{100 * row.low:.1f}{between}{100 * row.high:.1f}" if row else "" for row in shown],
            "chance": [percent(row.chance) if row else "" for row in shown],
            "queries": [f"{row.queries:,}" if row else "" for row in shown],
        }

    columns = [*headings.values(), "MAP"]
    # The ends of an interval on one line, or on two.
    if not any(print_grid(cells(between), columns, console, title) for between in ("-", "-\n")):
        print_figures(cells("-"), columns, console, title)
    extra = [row for row in result.attributes if row.attribute not in headings]
    measured = sum(attribute in rows for attribute in headings)
    if measured < len(headings) or extra:
        what = f"{measured} of the table's {len(headings)} columns"
        what += f", and over {', '.join(row.attribute for row in extra)} besides" if extra else ""
        note(console, f"MAP is over {what}: it compares with no published average")
    if extra:
        _print_attributes(extra, console, "not in the paper's table, but in this MAP")
    _print_beside(result, console)
    _print_notes([result], console)


def _print_triplets(result: TripletsResult, console: Console, title: str | None) -> None:
    headings = ("Average loss", "Accuracy (%)", LEVEL_TEXT, "triplets")
    *each, overall = [
        [f"{row.loss:.4f}", percent(row.accuracy), ends(row.low, row.high), f"{row.triplets:,}"]
        for row in (*result.attributes.values(), result.overall)
    ]
    print_rows(dict(zip(result.attributes, each, strict=True)), headings, console, title, overall)
    note(console, "chance is 50 %: of two images one is the closer", style="")
    for name, reason in result.not_evaluated.items():
        note(console, f"{name} not evaluated: {reason}")
    for name, row in result.attributes.items():
        if row.missing:
            note(console, f"{name}: {row.missing} triplets name an image without an embedding and were left out")


def _print_attributes(
    rows: Sequence[AttributeResult], console: Console, title: str | None, overall: Sequence[str] = ()
) -> None:
    cells = {
        row.attribute: [
            *(percent(row.map), ends(row.low, row.high), percent(row.chance), str(row.queries), str(row.candidates))
        ]
        for row in rows
    }
    print_rows(cells, ("MAP", LEVEL_TEXT, "chance", "queries", "candidates"), console, title, overall)


def _print_beside(result: RetrievalResult, console: Console) -> None:
    if result.beside:
        _print_attributes(result.beside, console, "measured beside: not in the paper's table, not in its MAP")


def _print_notes(results: Sequence[RetrievalResult], console: Console) -> None:
    notes = {f"{name} not evaluated: {reason}" for result in results for name, reason in result.not_evaluated.items()}
    for result in results:
        for row in (*result.attributes, *result.beside):
            if row.hopeless:
                notes.add(f"{row.attribute}: {row.hopeless} queries have no relevant candidate and count as 0")
            if row.missing:
                notes.add(f"{row.attribute}: {row.missing} images without an embedding were left out")
            if row.shared:
                notes.add(
                    f"{row.attribute}: {row.shared} images are listed as query and as candidate, and find themselves"
                )
    for text in sorted(notes):
        note(console, text)


def _cell(value: float, low: float, high: float) -> str:
    return f"{percent(value)} ({ends(low, high)})"
