"""A table of a paper as measured, printed in a shell of 80 columns or more."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lapel.evaluation.comparison import verdict
from lapel.evaluation.metrics import LEVEL, Interval
from lapel.evaluation.reproduced import RowView, TableView, ordering, published_heading

_LEVEL = f"{100 * LEVEL:g} %"
_NAME = 14  # characters that a row's name gets at least before it takes a second line


def print_comparison(view: TableView, console: Console | None = None) -> None:
    """Print the measured rows beside print, each column's figures, the cost, and whether the paper's ordering holds."""
    console = console or Console()
    _head(console, f"Table {view.table.number}: {view.table.title}; {view.measure} in percent on {view.catalogue}")
    console.print(_main(view))
    chance = f"chance {view.chance:.2f}; {sum(view.queries.values()):,} test {_asked(view)}; {_LEVEL}: intervals"
    chance += "; seeds spread: highest run minus lowest"
    if any(row.doubtful for row in view.rows):
        chance += "; * doubtful in print"
    _say(console, chance)
    _head(console, f"{view.measure} by attribute")
    _details(view, console)
    if view.pointing_chance is not None:
        _say(console, f"pointing: pointing game of the attention in percent; chance {view.pointing_chance:.1f}")
    _head(console, "what it costs")
    console.print(_costs(view))
    _head(console, "what the paper claims, and what was measured")
    for claim in view.claims:
        gap = f"{signed(claim.difference.mean)} ({difference_ends(claim.difference)})"
        style = {"holds": "green", "reversed": "red"}.get(claim.verdict, "yellow")
        line = (
            Text(f"  {claim.says}: ").append(claim.verdict, style).append(f", {gap}; in print {signed(claim.printed)}")
        )
        console.print(line, highlight=False)
    _say(console, ordering(view))
    for note in (*(f"in print: {fault}" for fault in view.table.faults), *view.notes):
        _say(console, note, "yellow")


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


def interval_cell(found: Interval) -> str:
    """Return the ends of an interval."""
    return f"{found.low:.1f}–{found.high:.1f}"


def published_cell(row: RowView) -> str:
    """Return the printed figure that stands for a row."""
    if row.published is None:
        return "–"
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
    """Print every row's figure under each attribute; turned on its side where that is too wide."""
    headings = [*view.headings.values()]
    cells = [[f"{row.attributes[name].mean:.2f}" for name in view.headings] for row in view.rows]
    names = [row.name for row in view.rows]
    if any(row.loss is not None for row in view.rows):
        headings.append("average loss")
        cells = [
            [*line, "–" if row.loss is None else f"{row.loss:.4f}"] for line, row in zip(cells, view.rows, strict=True)
        ]
    if view.pointing_chance is not None:
        headings.append("pointing")
        cells = [
            [*line, "–" if row.pointing is None else f"{row.pointing.mean:.1f}"]
            for line, row in zip(cells, view.rows, strict=True)
        ]
    width = sum(max(len(heading), 5) + 1 for heading in headings) + min(_NAME, max(map(len, names)))
    if width <= console.width:
        table = _grid(apart=0)
        for heading in headings:
            table.add_column(Text(heading), justify="right", no_wrap=True)
        for name, line in zip(names, cells, strict=True):
            table.add_row(Text(name), *line)
    else:
        table = _grid()
        for name in names:
            table.add_column(Text(name), justify="right")
        for number, heading in enumerate(headings):
            table.add_row(Text(heading), *(line[number] for line in cells))
    console.print(table)


def _costs(view: TableView) -> Table:
    table = _grid(apart=0)
    columns = cost_cells(view)
    for heading, _ in columns:
        table.add_column(heading.replace(" ", "\n", 1), justify="right", no_wrap=True)
    for number, row in enumerate(view.rows):
        table.add_row(Text(row.name), *(cells[number] for _, cells in columns))
    return table


def _grid(apart: int = 1) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 0, 0, apart))
    table.add_column("", min_width=_NAME)
    return table


def _asked(view: TableView) -> str:
    return "triplets" if view.measure == "accuracy" else "queries"


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
