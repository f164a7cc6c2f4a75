"""A table of a paper as measured, printed in a shell of 80 columns or more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lapel.evaluation.comparison import verdict
from lapel.evaluation.metrics import LEVEL, Interval
from lapel.evaluation.table_view import RowView, TableView, ordering, published_heading

BRANCHES = "what the branches predict, on the test images"
_LEVEL = f"{100 * LEVEL:g} %"
_NAME = 14  # characters that a row's name gets at least before it takes a second line


def print_comparison(view: TableView, console: Console | None = None) -> None:
    """Print the measured rows beside print, each column's figures, the cost, and whether the paper's ordering holds."""
    console = console or Console()
    _head(console, f"{view.table.heading}: {view.table.title}; {view.measure} in percent on {view.catalogue}")
    console.print(_main(view))
    chance = f"chance {view.chance:.2f}; {view.asked:,} test {view.unit}; {_LEVEL}: intervals"
    chance += "; seeds spread: highest run minus lowest"
    if any(row.doubtful for row in view.rows):
        chance += "; * doubtful in print"
    _say(console, chance)
    _head(console, detail_title(view))
    _details(view, console)
    if view.pointing_chance is not None:
        _say(console, f"pointing: pointing game of the attention in percent; chance {view.pointing_chance:.1f}")
    _head(console, "what it costs")
    console.print(_costs(view))
    _head(console, "what the paper claims, and what was measured")
    for claim in view.claims:
        gap = f"{signed(claim.difference.mean)} ({difference_ends(claim.difference)})"
        style = {"holds": "green", "reversed": "red"}.get(claim.verdict, "yellow")
        printed = "" if claim.printed is None else f"; in print {signed(claim.printed)}"
        line = Text(f"  {claim.says}: ").append(claim.verdict, style).append(f", {gap}{printed}")
        console.print(line, highlight=False)
    _say(console, ordering(view))
    for note in (*(f"in print: {fault}" for fault in view.table.faults), *view.notes):
        _say(console, note, "yellow")


def detail_title(view: TableView) -> str:
    """Return the title of the figures column by column."""
    return "accuracy at K" if view.headline else f"{view.measure} by attribute"


def cost_cells(view: TableView) -> list[tuple[str, list[str]]]:
    """Return (heading, cells of all rows) of the costs; what no row knows is left out."""
    costs = [row.cost for row in view.rows]
    trained = [cost.get("training", {}) for cost in costs]
    found = [
        ("parameters", [_short(cost.get("parameters")) for cost in costs]),
        ("to embed", [_short(cost.get("parameters_to_embed")) for cost in costs]),
        ("GFLOP an image", [_number(cost.get("gflop"), 2) for cost in costs]),
        ("images/s embedded", [_number(cost.get("embedding"), 0) for cost in costs]),
        ("images/s trained", [_speed(found) for found in trained]),
        ("steps", [_short(found.get("steps")) for found in trained]),
        ("images seen", [_short(found.get("images")) for found in trained]),
        ("minutes", [_number(found.get("minutes"), 1) for found in trained]),
    ]
    return [(heading, cells) for heading, cells in found if any(cell != "–" for cell in cells)]


def branch_cell(row: RowView, name: str) -> str:
    """Return what a row's branches predict, under one heading."""
    return f"{row.branches[name]:.2f}" if name in row.branches else "–"


def interval_cell(found: Interval) -> str:
    """Return the ends of an interval."""
    return f"{found.low:.1f}–{found.high:.1f}"


def published_cell(row: RowView) -> str:
    """Return the printed figure that stands for a row."""
    if row.published is None:
        return "–"
    if not row.published:
        return "not known"
    return f"{row.published[-1]:.2f}{'*' if row.doubtful else ''}"


def signed(value: float, digits: int = 2) -> str:
    """Return a difference with its sign, minus as a minus."""
    return f"{value:+.{digits}f}".replace("-", "−")


def difference_ends(gap: Interval) -> str:
    """Return the ends of a difference's interval."""
    digits = 2 if max(abs(gap.low), abs(gap.high)) < 10 else 1
    return f"{signed(gap.low, digits)} to {signed(gap.high, digits)}"


def _main(view: TableView) -> Table:
    table = _grid()
    heading = published_heading(view).replace(", ", ",\n").replace("published accuracy", "published\naccuracy")
    heads = [view.measure, _LEVEL, "seeds\nspread", heading]
    heads += [f"minus\n{view.main}", _LEVEL] if view.main else []
    for each in heads:
        table.add_column(Text(each), justify="right", no_wrap=True)
    for row in view.rows:
        spread = f"{row.spread[1] - row.spread[0]:.2f}" if row.spread else "–"
        cells = [f"{row.figure.mean:.2f}", interval_cell(row.figure), spread, published_cell(row)]
        if view.main:
            gap = row.difference
            noise = gap is not None and verdict(gap) == "within noise"
            cells += (
                ["", ""]
                if gap is None
                else [signed(gap.mean), difference_ends(gap) + ("\nwithin noise" if noise else "")]
            )
        table.add_row(Text(row.name), *cells, style="bold" if row.name == view.main else "")
    return table


def _details(view: TableView, console: Console) -> None:
    """Print every row's figure under each column; turned on its side where that is too wide."""
    headings = [*view.headings.values()]
    lines = {row.name: [f"{row.attributes[name].mean:.2f}" for name in view.headings] for row in view.rows}
    if view.headline:
        spans = {row.name: [interval_cell(row.attributes[name]) for name in view.headings] for row in view.rows}
        both = {
            name: [f"{line}\n{span}" for line, span in zip(lines[name], spans[name], strict=True)] for name in lines
        }
        lines = both if _width(headings, both) <= console.width else lines
    if view.chances:
        lines["chance"] = [f"{view.chances[heading]:.2f}" for heading in headings]
    further = [
        ("average loss", [None if row.loss is None else f"{row.loss:.4f}" for row in view.rows]),
        ("pointing", [None if row.pointing is None else f"{row.pointing.mean:.1f}" for row in view.rows]),
    ]
    for heading, cells in further:
        if any(cell is not None for cell in cells):
            headings.append(heading)
            for row, cell in zip(view.rows, cells, strict=True):
                lines[row.name].append("–" if cell is None else cell)
    _figures(headings, lines, console)
    if view.branches:
        _head(console, BRANCHES)
        _figures(
            view.branches, {row.name: [branch_cell(row, name) for name in view.branches] for row in view.rows}, console
        )


def _figures(headings: Sequence[str], lines: Mapping[str, Sequence[str]], console: Console) -> None:
    if _width(headings, lines) <= console.width:
        table = _grid(apart=0)
        for heading in headings:
            table.add_column(Text(heading), justify="right", no_wrap=True)
        for name, line in lines.items():
            table.add_row(Text(name), *line)
    else:
        table = _grid()
        for name in lines:
            table.add_column(Text(name), justify="right")
        for number, heading in enumerate(headings):
            table.add_row(Text(heading), *(line[number] for line in lines.values()))
    console.print(table)


def _width(headings: Sequence[str], lines: Mapping[str, Sequence[str]]) -> int:
    """How wide figures are at least, the names of the rows in two or more lines."""
    columns = [[heading, *cells] for heading, *cells in zip(headings, *lines.values(), strict=False)]
    widest = [max(5, *(len(part) for cell in column for part in cell.split("\n"))) for column in columns]
    return sum(width + 1 for width in widest) + min(_NAME, max(map(len, lines)))


def _costs(view: TableView) -> Table:
    table = _grid(apart=0)
    columns = cost_cells(view)
    for heading, _ in columns:
        narrow = "para-\nmeters" if heading == "parameters" else heading.replace(" ", "\n", 1)
        table.add_column(narrow, justify="right", no_wrap=True)
    for number, row in enumerate(view.rows):
        table.add_row(Text(row.name), *(cells[number] for _, cells in columns))
    return table


def _grid(apart: int = 1) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 0, 0, apart))
    table.add_column("", min_width=_NAME)
    return table


def _short(value: Any) -> str:
    """A count in five characters or so."""
    if value is None:
        return "–"
    return f"{value / 1e6:.2f} M" if value >= 1e5 else f"{round(value):,}"


def _number(value: Any, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _speed(training: Any) -> str:
    minutes, images = training.get("minutes"), training.get("images")
    return f"{images / minutes / 60:,.0f}" if minutes and images else "–"


def _head(console: Console, title: str) -> None:
    console.print(Text(f"\n{title}", style="italic"))


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(text, style=style, markup=False, highlight=False)
