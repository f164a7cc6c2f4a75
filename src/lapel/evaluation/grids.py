"""Figures in rows and columns, on any width of the terminal: what the tables of all tasks are printed with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lapel.evaluation.metrics import LEVEL, Interval

LEVEL_TEXT = f"{100 * LEVEL:g} %"
_NAME = 12  # characters on a line that a long name gets at least


def print_grid(
    cells: Mapping[str, Sequence[str]],
    headings: Sequence[str],
    console: Console,
    title: str | None,
    strong: bool = True,
) -> bool:
    """Print rows of figures under headings without vertical lines, which cost room; False if they do not fit.

    With ``strong`` the first row is the one to read, and its name may be cut; else names may take several lines.
    """
    wide = widths(cells, headings)
    room, names = console.width - sum(wide) - len(wide), max(map(len, [*cells][strong:]))
    if room < (names if strong else min(names, _NAME)):
        return False
    apart = 1 if room - len(wide) >= max(map(len, cells)) else 0
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 0, 0, apart))
    table.add_column("", overflow="ellipsis" if strong else "fold", no_wrap=strong, max_width=room - apart * len(wide))
    for heading in headings:
        table.add_column(Text(heading), justify="right", no_wrap=True)
    for number, (name, row) in enumerate(cells.items()):
        table.add_row(Text(name), *row, style="bold" if strong and number == 0 else "")
    print_head(console, title)
    console.print(table)
    return True


def print_figures(
    cells: Mapping[str, Sequence[str]],
    headings: Sequence[str],
    console: Console,
    title: str | None,
    strong: bool = True,
) -> None:
    """Print the same in any width: turned on its side where it does not fit, else some columns after the others."""
    if print_grid(cells, headings, console, title, strong):
        return
    least = [max(len(heading) for heading in headings), *(max(map(len, row)) for row in cells.values())]
    if sum(least) + 3 * len(least) + 1 <= console.width:
        table = Table()
        table.add_column("", no_wrap=True)
        for name, width in zip(cells, least[1:], strict=True):
            table.add_column(Text(name, overflow="ellipsis" if strong else "fold"), justify="right", min_width=width)
        for heading, *row in zip(headings, *cells.values(), strict=True):
            table.add_row(Text(heading), *row)
        print_head(console, title)
        console.print(table)
    elif len(headings) > 1:
        half = (len(headings) + 1) // 2
        for part in (slice(0, half), slice(half, None)):
            print_figures({name: row[part] for name, row in cells.items()}, headings[part], console, title, strong)
            title = ""
    else:
        print_head(console, title)
        for name, (figure,) in cells.items():
            note(console, f"{name}: {headings[0]} {figure}", style="")


def print_rows(
    cells: Mapping[str, Sequence[str]],
    headings: Sequence[str],
    console: Console,
    title: str | None,
    overall: Sequence[str] = (),
) -> None:
    """Print a row of figures for each attribute, and at the end what they come to."""
    every = {**cells, "overall" if "overall" not in cells else "all together": overall} if overall else cells
    wide = widths(every, headings)
    if console.width - sum(wide) - 3 * len(wide) - 4 < min(max(map(len, every)), _NAME):
        print_figures(every, headings, console, title, strong=False)
        return
    table = name_table(None)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for number, (name, row) in enumerate(every.items(), start=1):
        last = bool(overall) and number == len(every)
        if last:
            table.add_section()
        # As text: in "length [cm]" rich would read a style.
        table.add_row(Text(name), *row, style="bold" if last else "")
    print_head(console, title)
    console.print(table)


def name_table(title: str | None) -> Table:
    """Return a table with a column for names."""
    table = Table(title=title, title_justify="left")
    # Only names give way where the figures leave them too little room.
    table.add_column("Attribute", overflow="fold")
    return table


def widths(cells: Mapping[str, Sequence[str]], headings: Sequence[str]) -> list[int]:
    """Return how wide each column of figures is."""
    columns = [[heading, *cell] for heading, *cell in zip(headings, *cells.values(), strict=True)]
    return [max(len(line) for cell in column for line in cell.split("\n")) for column in columns]


def print_head(console: Console, title: str | None) -> None:
    """Print the title of a table in the whole width, after an empty line; an empty title is that line alone."""
    if title is not None:
        console.print(Text(f"\n{title}" if title else "", style="italic"))


def note(console: Console, text: str, style: str = "yellow") -> None:
    """Print a line of text as it is."""
    console.print(text, style=style, markup=False, highlight=False)


def percent(value: float) -> str:
    """Return a share as percent."""
    return f"{100 * value:.2f}"


def span(found: Interval) -> str:
    """Return the two ends of an interval of shares, close together."""
    return f"{100 * found.low:.1f}-{100 * found.high:.1f}"


def ends(low: float, high: float) -> str:
    """Return the two ends of an interval of shares."""
    return f"{100 * low:.1f} - {100 * high:.1f}"
