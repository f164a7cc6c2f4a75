"""A table of a paper as measured, as one self-contained HTML page: light and dark, no script, no second file."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from lapel.evaluation import markup
from lapel.evaluation.comparison import FORMULA, verdict
from lapel.evaluation.comparison_text import (
    BRANCHES,
    branch_cell,
    cost_cells,
    detail_title,
    difference_ends,
    interval_cell,
    published_cell,
    signed,
)
from lapel.evaluation.metrics import LEVEL, Interval
from lapel.evaluation.table_view import RowView, TableView, ordering, published_heading
from lapel.files import atomic_write

_HEIGHT = 26  # of a plot, in pixels
_LEVEL = f"{100 * LEVEL:g} %"


def write_comparison(path: Path | str, view: TableView) -> Path:
    """Write the page and return its path.

    Raises:
        LapelError: it cannot be written.
    """
    template = Template((markup.TEMPLATES / "comparison.html").read_text(encoding="utf-8"))
    page = template.substitute(
        style=markup.style(),
        title=escape(f"{view.table.heading}: {view.table.title}"),
        summary=escape(_summary(view)),
        rows=_rows(view),
        claims=_claims(view),
        details=_details(view),
        costs=_costs(view),
        notes=_notes(view),
        record=markup.record(view.record),
    )
    atomic_write(path, page)
    return Path(path)


def _summary(view: TableView) -> str:
    seeds = max(len(row.seeds) for row in view.rows)
    text = f"{view.measure} in percent on {view.catalogue}, test split: {view.asked:,} {view.unit}"
    count = len(view.queries)
    text += "" if view.headline else f" over {count} attribute{'s' * (count != 1)}"
    text += f", {seeds} seed{'s' * (seeds != 1)} a row; chance gives {view.chance:.1f}."
    if not view.table.known:
        text += " What the paper prints is not known."
    elif not view.own:
        text += f" The paper printed its figures on {view.table.dataset}: they do not compare with these."
    return text


def _section(name: str, title: str, body: str, lead: str = "") -> str:
    text = f"<p>{lead}</p>" if lead else ""
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{escape(title)}</h2>{text}{body}</section>'


def _head(text: str, kind: str = "num") -> str:
    return f'<th scope="col" class="{kind}">{escape(text)}</th>'


def _rows(view: TableView) -> str:
    scale = _scale(view)
    heads = [
        _head("row", ""),
        _head(f"{view.measure} %"),
        _head(f"from {scale.low:.1f} to {scale.high:.1f}", "plotted"),
        _head("seeds"),
        _head(published_heading(view)),
    ]
    heads += [_head(f"minus {view.main}")] if view.main else []
    heads += [_head(f"pointing game %, chance {view.pointing_chance:.1f}")] if view.pointing_chance is not None else []
    lines: list[str] = []
    ours = False
    for row in view.rows:
        kinds = ["own"] if row.name == view.main else []
        if row.published is None and not ours and lines:
            kinds, ours = [*kinds, "apart"], True
        lines.append(f'<tr class="{" ".join(kinds)}">{_row(row, view, scale)}</tr>')
    lead = f"Mean over seeds; dot and line: the mean and its {_LEVEL} interval; short strokes: single seeds"
    lead += "; diamond: as printed." if view.own else "."
    lead += f" Differences are to {escape(view.main)} (dotted line), paired by query." if view.main else ""
    return _section(
        "measured", "Measured beside print", markup.table("".join(heads), "".join(lines), "Rows of the table"), lead
    )


def _scale(view: TableView) -> _Scale:
    """The paper's rows decide what a plot shows; a floor far below would press them together."""
    rows = [row for row in view.rows if row.published is not None] or view.rows
    values = [value for row in rows for value in (*row.runs, row.figure.low, row.figure.high)]
    if view.own:
        values += [row.published[-1] for row in rows if row.published]
    return _Scale(min(values), max(values))


def _row(row: RowView, view: TableView, scale: _Scale) -> str:
    spread = f"{row.spread[0]:.2f}–{row.spread[1]:.2f}" if row.spread else ""
    cells = [
        f'<th scope="row">{escape(row.name)}{_small(row.recipe)}</th>',
        _cell(f"{row.figure.mean:.2f}{_small(interval_cell(row.figure))}"),
        f'<td class="plotted">{_plot(row, view, scale)}</td>',
        _cell(f"{len(row.seeds) or '–'}{_small(spread)}"),
        _cell(escape(published_cell(row))),
    ]
    if view.main:
        gap = row.difference
        noise = "within noise" if gap is not None and verdict(gap) == "within noise" else ""
        cells.append(_cell("" if gap is None else signed(gap.mean) + _small(difference_ends(gap)) + _small(noise)))
    if view.pointing_chance is not None:
        found = row.pointing
        cells.append(_cell("–" if found is None else f"{found.mean:.1f}{_small(interval_cell(found))}"))
    return "".join(cells)


class _Scale:
    """From values to percent of a plot's width, with a little room at both ends."""

    def __init__(self, low: float, high: float) -> None:
        room = max(high - low, 1e-6) * 0.04
        self.low, self.high = low - room, high + room

    def __call__(self, value: float) -> str:
        """Place of a value; what lies outside stays at the edge."""
        return f"{min(100.0, max(0.0, 2 + 96 * (value - self.low) / (self.high - self.low))):.2f}%"

    def beyond(self, value: float) -> str:
        """An arrow where a value lies outside."""
        return "←" if value < self.low else "→" if value > self.high else ""


def _plot(row: RowView, view: TableView, scale: _Scale) -> str:
    main = next((other.figure.mean for other in view.rows if other.name == view.main), None)
    parts = []
    if main is not None and row.name != view.main:
        parts.append(_line("zero", scale(main), 0, scale(main), _HEIGHT))
    if len(row.runs) > 1:
        parts += [_line("seed", scale(value), 3, scale(value), 8) for value in row.runs]
    if arrow := scale.beyond(row.figure.mean):
        end = "start" if arrow == "←" else "end"
        parts = [f'<text class="beyond" x="{scale(row.figure.mean)}" y="18" text-anchor="{end}">{arrow}</text>']
    else:
        parts += _interval(row.figure, scale)
    if view.own and row.published:
        x = scale(row.published[-1])
        parts.append(f'<svg x="{x}" y="{_HEIGHT - 4}"><path class="print" d="M0 -4l4 4l-4 4l-4 -4z"/></svg>')
    return _svg("plot", parts)


def _gap_plot(gap: Interval, scale: _Scale, noise: bool) -> str:
    zero = _line("zero", scale(0), 0, scale(0), _HEIGHT)
    return _svg("plot noise" if noise else "plot", [zero, *_interval(gap, scale)])


def _interval(found: Interval, scale: _Scale) -> list[str]:
    middle = _HEIGHT / 2
    dot = f'<circle class="dot" cx="{scale(found.mean)}" cy="{middle:g}" r="4"/>'
    return [_line("span", scale(found.low), middle, scale(found.high), middle), dot]


def _line(kind: str, x1: str, y1: float, x2: str, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1}" y1="{y1:g}" x2="{x2}" y2="{y2:g}"/>'


def _svg(kind: str, parts: Sequence[str]) -> str:
    # The numbers stand beside it.
    return f'<svg class="{kind}" aria-hidden="true">{"".join(parts)}</svg>'


def _claims(view: TableView) -> str:
    gaps = [end for claim in view.claims for end in (claim.difference.low, claim.difference.high, 0.0)]
    if not gaps:
        return _section("claims", "Does the paper's ordering hold?", _lead(view))
    scale = _Scale(min(gaps), max(gaps))
    lines = []
    for claim in view.claims:
        noise = claim.verdict == "within noise"
        kind = "noise-word" if noise else claim.verdict
        gap, pair = claim.difference, f"{claim.better} minus {claim.worse}"
        printed = "" if claim.printed is None else _cell(signed(claim.printed))
        lines.append(
            f'<tr class="claim"><th scope="row">{escape(claim.says)}{_small(pair)}</th>'
            f'<td class="verdict {kind}">{claim.verdict}</td>{_cell(signed(gap.mean) + _small(difference_ends(gap)))}'
            f'<td class="plotted">{_gap_plot(gap, scale, noise)}</td>{printed}</tr>'
        )
    heads = [
        _head("the paper's claim", ""),
        _head("here", ""),
        _head("measured difference"),
        _head(f"from {signed(scale.low, 1)} to {signed(scale.high, 1)}", "plotted"),
    ]
    if view.table.known:
        heads.append(_head("in print" if view.own else f"in print, on {view.table.dataset}"))
    return _section(
        "claims",
        "Does the paper's ordering hold?",
        _lead(view) + markup.table("".join(heads), "".join(lines), "The claims"),
    )


def _lead(view: TableView) -> str:
    return f'<p class="lead">{escape(ordering(view))}</p>'


def _details(view: TableView) -> str:
    losses = any(row.loss is not None for row in view.rows)
    heads = [_head("row", ""), *(_head(markup.words(text)) for text in view.headings.values())]
    heads += [_head("average loss")] if losses else []
    heads += [_head(heading) for heading in view.branches]
    lines = []
    for row in view.rows:
        printed = dict(zip(view.table.columns, row.published, strict=True)) if view.own and row.published else {}
        cells = []
        for name, heading in view.headings.items():
            found = row.attributes[name]
            beside = f"printed {printed[heading]:.2f}" if heading in printed else ""
            cells.append(_cell(f"{found.mean:.2f}{_small(interval_cell(found))}{_small(beside)}"))
        if losses:
            loss = "–" if row.loss is None else f"{row.loss:.4f}"
            beside = f"printed {printed['Average loss']:.4f}" if "Average loss" in printed else ""
            cells.append(_cell(loss + _small(beside)))
        cells += [_cell(branch_cell(row, heading)) for heading in view.branches]
        own = ' class="own"' if row.name == view.main else ""
        lines.append(f'<tr{own}><th scope="row">{escape(row.name)}</th>{"".join(cells)}</tr>')
    if view.chances:
        lines.append(_apart("chance", [f"{view.chances[text]:.2f}" for text in view.headings.values()], len(heads)))
    if not view.headline:
        lines.append(_apart(view.unit, [f"{count:,}" for count in view.queries.values()], len(heads)))
    lead = f"The last columns: {escape(BRANCHES)}." if view.branches else ""
    body = markup.table("".join(heads), "".join(lines), "Figures by column")
    return _section("attributes", f"{detail_title(view)[:1].upper()}{detail_title(view)[1:]}", body, lead)


def _apart(name: str, cells: Sequence[str], width: int) -> str:
    """A last line, of something that is no row of the table, filled up to as many cells as there are headings."""
    filled = [*cells, *([""] * (width - 1 - len(cells)))]
    return f'<tr class="apart"><th scope="row">{name}</th>{"".join(_cell(cell) for cell in filled)}</tr>'


def _costs(view: TableView) -> str:
    columns = cost_cells(view)
    if not columns:
        return ""
    heads = [_head("row", ""), *(_head(heading) for heading, _ in columns)]
    lines = [
        f'<tr><th scope="row">{escape(row.name)}</th>{"".join(_cell(cells[number]) for _, cells in columns)}</tr>'
        for number, row in enumerate(view.rows)
    ]
    lead = (
        "Of training: means over the runs. Speeds are those of the machine that the record below names; images are "
        "embedded under all attributes. What only the training needs is not part of “to embed”."
    )
    return _section("cost", "What it costs", markup.table("".join(heads), "".join(lines), "Cost of each row"), lead)


def _notes(view: TableView) -> str:
    notes = [f"In print: {fault}." for fault in view.table.faults]
    if any(row.doubtful for row in view.rows):
        notes.append("* A printed figure of this row does not fit the others.")
    notes += [f"{note[:1].upper()}{note[1:]}." for note in view.notes]
    notes.append(f"Intervals: {FORMULA}.")
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return _section("notes", "What else to know", f'<ul class="notes">{items}</ul>')


def _cell(html: str) -> str:
    return f'<td class="num">{html}</td>'


def _small(text: str) -> str:
    """A second line in a cell, small."""
    return f'<span class="ends">{escape(text)}</span>' if text else ""
