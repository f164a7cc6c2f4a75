"""Results as tables to read: as the papers print them where the protocol has their headings, else row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lapel.evaluation.instances import GroupResult, ItemResult
from lapel.evaluation.metrics import LEVEL, Interval
from lapel.evaluation.protocols import AttributeResult, RetrievalResult
from lapel.evaluation.triplets import TripletsResult
from lapel.protocol import AttributeProtocol, ItemProtocol, Protocol

_LEVEL = f"{100 * LEVEL:g} %"
_NAME = 12  # characters on a line that a long name gets at least


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
        _print_items(result, protocol if isinstance(protocol, ItemProtocol) else None, console, title, name)


def print_table(result: RetrievalResult, console: Console | None = None, title: str | None = None) -> None:
    """Print MAP per attribute with interval, chance and counts, overall last, and what was left out."""
    console = console or Console()
    ends = _ends(result.low, result.high)
    overall = [_share(result.map), ends, _share(result.chance), str(result.queries), ""]
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


def _print_headed(
    result: RetrievalResult, headings: Mapping[str, str], console: Console, title: str | None, name: str
) -> None:
    """Print the paper's table: one row of figures under its headings, in its order."""
    rows = {row.attribute: row for row in result.attributes}
    shown = [*(rows.get(attribute) for attribute in headings), result]

    def cells(between: str) -> dict[str, list[str]]:
        return {
            name: [_share(row.map) if row else "-" for row in shown],
            _LEVEL: [f"{100 * row.low:.1f}{between}{100 * row.high:.1f}" if row else "" for row in shown],
            "chance": [_share(row.chance) if row else "" for row in shown],
            "queries": [f"{row.queries:,}" if row else "" for row in shown],
        }

    columns = [*headings.values(), "MAP"]
    # The ends of an interval on one line, or on two.
    if not any(_print_grid(cells(between), columns, console, title) for between in ("-", "-\n")):
        _print_figures(cells("-"), columns, console, title)
    extra = [row for row in result.attributes if row.attribute not in headings]
    measured = sum(attribute in rows for attribute in headings)
    if measured < len(headings) or extra:
        what = f"{measured} of the table's {len(headings)} columns"
        what += f", and over {', '.join(row.attribute for row in extra)} besides" if extra else ""
        _note(console, f"MAP is over {what}: it compares with no published average")
    if extra:
        _print_attributes(extra, console, "not in the paper's table, but in this MAP")
    _print_beside(result, console)
    _print_notes([result], console)


def _print_grid(
    cells: Mapping[str, Sequence[str]],
    headings: Sequence[str],
    console: Console,
    title: str | None,
    strong: bool = True,
) -> bool:
    """Print rows of figures under headings without vertical lines, which cost room; False if they do not fit.

    With ``strong`` the first row is the one to read, and its name may be cut; else names may take several lines.
    """
    widths = _widths(cells, headings)
    room, names = console.width - sum(widths) - len(widths), max(map(len, [*cells][strong:]))
    if room < (names if strong else min(names, _NAME)):
        return False
    apart = 1 if room - len(widths) >= max(map(len, cells)) else 0
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 0, 0, apart))
    table.add_column(
        "", overflow="ellipsis" if strong else "fold", no_wrap=strong, max_width=room - apart * len(widths)
    )
    for heading in headings:
        table.add_column(Text(heading), justify="right", no_wrap=True)
    for number, (name, row) in enumerate(cells.items()):
        table.add_row(Text(name), *row, style="bold" if strong and number == 0 else "")
    _head(console, title)
    console.print(table)
    return True


def _print_figures(
    cells: Mapping[str, Sequence[str]],
    headings: Sequence[str],
    console: Console,
    title: str | None,
    strong: bool = True,
) -> None:
    """Print the same in any width: turned on its side where it does not fit, else some columns after the others."""
    if _print_grid(cells, headings, console, title, strong):
        return
    least = [max(len(heading) for heading in headings), *(max(map(len, row)) for row in cells.values())]
    if sum(least) + 3 * len(least) + 1 <= console.width:
        table = Table()
        table.add_column("", no_wrap=True)
        for name, width in zip(cells, least[1:], strict=True):
            table.add_column(Text(name, overflow="ellipsis" if strong else "fold"), justify="right", min_width=width)
        for heading, *row in zip(headings, *cells.values(), strict=True):
            table.add_row(Text(heading), *row)
        _head(console, title)
        console.print(table)
    elif len(headings) > 1:
        half = (len(headings) + 1) // 2
        for part in (slice(0, half), slice(half, None)):
            _print_figures({name: row[part] for name, row in cells.items()}, headings[part], console, title, strong)
            title = ""
    else:
        _head(console, title)
        for name, (figure,) in cells.items():
            _note(console, f"{name}: {headings[0]} {figure}", style="")


def _widths(cells: Mapping[str, Sequence[str]], headings: Sequence[str]) -> list[int]:
    columns = [[heading, *cell] for heading, *cell in zip(headings, *cells.values(), strict=True)]
    return [max(len(line) for cell in column for line in cell.split("\n")) for column in columns]


def _print_triplets(result: TripletsResult, console: Console, title: str | None) -> None:
    headings = ("Average loss", "Accuracy (%)", _LEVEL, "triplets")
    *each, overall = [
        [f"{row.loss:.4f}", _share(row.accuracy), _ends(row.low, row.high), f"{row.triplets:,}"]
        for row in (*result.attributes.values(), result.overall)
    ]
    _print_rows(dict(zip(result.attributes, each, strict=True)), headings, console, title, overall)
    _note(console, "chance is 50 %: of two images one is the closer", style="")
    for name, reason in result.not_evaluated.items():
        _note(console, f"{name} not evaluated: {reason}")
    for name, row in result.attributes.items():
        if row.missing:
            _note(console, f"{name}: {row.missing} triplets name an image without an embedding and were left out")


def _print_items(
    result: ItemResult, protocol: ItemProtocol | None, console: Console, title: str | None, name: str
) -> None:
    headings = [f"Acc@{k}" for k in result.ks]
    cells = {
        name: [_share(found.mean) for found in result.accuracy],
        _LEVEL: [_span(found) for found in result.accuracy],
        "chance": [_share(value) for value in result.chance],
    }
    _print_figures(cells, headings, console, title)
    within = protocol.within if protocol and protocol.within else "group"
    own = f", each against its own {within}'s" if result.within else ""
    _note(console, f"{result.queries:,} queries, a gallery of {result.gallery:,}{own}", style="")
    headline = protocol.headline if protocol else result.ks[-1]
    place = result.ks.index(headline) if headline in result.ks else len(result.ks) - 1
    if result.within:
        _print_groups(result.within, f"by {within}, each against its own gallery", result.ks, place, console)
    for column, groups in result.groups.items():
        _print_groups(groups, f"by {column} of the query", result.ks, place, console)
    if result.within or result.groups:
        _note(console, f"* at K = {result.ks[place]}, the figure that stands for the whole", style="")
    if result.distractors:
        curve = {f"{size:,}": [*map(_share, found)] for size, found in sorted(result.distractors.items())}
        title = "expected accuracy with so many distractors drawn into the gallery"
        _print_figures(curve, headings, console, title, strong=False)
    if result.hopeless:
        _note(console, f"{result.hopeless} queries have no relevant image in the gallery and count as misses")
    if result.missing:
        _note(console, f"{result.missing} images without an embedding were left out")
    for reason, count in result.notes.items():
        _note(console, f"left out: {count} {reason.replace('_', ' ')}")


def _print_groups(
    groups: Mapping[str, GroupResult], title: str, ks: Sequence[int], place: int, console: Console
) -> None:
    """Print a row per group at every K, with the interval at the K that stands for the whole (marked)."""
    marked = [f"Acc@{k}" + "*" * (number == place) for number, k in enumerate(ks)]
    own = len({row.gallery for row in groups.values()}) > 1
    cells = {
        value: [
            f"{row.queries:,}",
            *([f"{row.gallery:,}"] if own else []),
            *(_share(found.mean) for found in row.accuracy),
            _span(row.accuracy[place]),
        ]
        for value, row in groups.items()
    }
    headings = ["queries", *(["gallery"] if own else []), *marked, f"{_LEVEL} *"]
    _print_figures(cells, headings, console, title, strong=False)


def _print_attributes(
    rows: Sequence[AttributeResult], console: Console, title: str | None, overall: Sequence[str] = ()
) -> None:
    cells = {
        row.attribute: [
            *(_share(row.map), _ends(row.low, row.high), _share(row.chance), str(row.queries), str(row.candidates))
        ]
        for row in rows
    }
    _print_rows(cells, ("MAP", _LEVEL, "chance", "queries", "candidates"), console, title, overall)


def _print_rows(
    cells: Mapping[str, Sequence[str]],
    headings: Sequence[str],
    console: Console,
    title: str | None,
    overall: Sequence[str] = (),
) -> None:
    """Print a row of figures for each attribute, and at the end what they come to."""
    every = {**cells, "overall" if "overall" not in cells else "all together": overall} if overall else cells
    widths = _widths(every, headings)
    if console.width - sum(widths) - 3 * len(widths) - 4 < min(max(map(len, every)), _NAME):
        _print_figures(every, headings, console, title, strong=False)
        return
    table = _table(None)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for number, (name, row) in enumerate(every.items(), start=1):
        last = bool(overall) and number == len(every)
        if last:
            table.add_section()
        # As text: in "length [cm]" rich would read a style.
        table.add_row(Text(name), *row, style="bold" if last else "")
    _head(console, title)
    console.print(table)


def _table(title: str | None) -> Table:
    table = Table(title=title, title_justify="left")
    # Only names give way where the figures leave them too little room.
    table.add_column("Attribute", overflow="fold")
    return table


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
    for note in sorted(notes):
        _note(console, note)


def _head(console: Console, title: str | None) -> None:
    """Print the title of a table in the whole width, after an empty line; an empty title is that line alone."""
    if title is not None:
        console.print(Text(f"\n{title}" if title else "", style="italic"))


def _note(console: Console, text: str, style: str = "yellow") -> None:
    console.print(text, style=style, markup=False, highlight=False)


def _share(value: float) -> str:
    return f"{100 * value:.2f}"


def _span(found: Interval) -> str:
    return f"{100 * found.low:.1f}-{100 * found.high:.1f}"


def _ends(low: float, high: float) -> str:
    return f"{100 * low:.1f} - {100 * high:.1f}"


def _cell(value: float, low: float, high: float) -> str:
    return f"{_share(value)} ({_ends(low, high)})"
