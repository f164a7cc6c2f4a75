"""The report of a run as one self-contained HTML page: no network, no script, no second file.

The page is sections in order; each function here makes one of them from what other modules measured or drew. All text
that comes from data is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from lapel.evaluation.bars import Figure
from lapel.evaluation.confusion import Confusion
from lapel.evaluation.curves import Curves, svg
from lapel.evaluation.figures import Tile
from lapel.evaluation.gaze import Gaze
from lapel.evaluation.judged import JudgedAttribute
from lapel.evaluation.markup import TEMPLATES, VERDICTS, bar, image, interval, percent, record, style, words
from lapel.evaluation.sheets import SIDE, Line
from lapel.files import atomic_write

OPEN = 2
"""Attributes of figure 5 and of the confusion that are open when the page is; the others open by a click."""
HEAT = 14
"""Values of an attribute whose confusion is a table, at most; of more only the pairs confused most are listed."""


@dataclass(frozen=True)
class Section:
    """A part of the page: ``body`` is HTML, the rest is text."""

    anchor: str
    title: str
    body: str
    text: str = ""
    short: str = ""


def write_report(
    path: Path,
    title: str,
    subtitle: str,
    headline: Figure,
    facts: Mapping[str, str],
    sections: Sequence[Section],
    entries: Mapping[str, Any],
) -> Path:
    """Write the page and return its path.

    Args:
        path: the HTML file.
        title: the page's heading, such as the run's name.
        subtitle: a line under it.
        headline: the one figure that stands for the run.
        facts: what a person wants to know first, name -> text.
        sections: in order.
        entries: the protocol record, for the footnote.

    Raises:
        LapelError: the page cannot be written.
    """
    links = "".join(f'<a href="#{part.anchor}">{escape(part.short or part.title)}</a>' for part in sections)
    page = Template((TEMPLATES / "report.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        subtitle=escape(subtitle),
        style=style(),
        headline=_headline(headline),
        facts="".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in facts.items()),
        links=links,
        sections="".join(_section(part) for part in sections),
        record=record(entries),
    )
    atomic_write(path, page)
    return path


def _headline(figure: Figure) -> str:
    parts = []
    if figure.low is not None:
        parts.append(f"95 % interval {interval(figure.low, figure.high)}")
    if figure.chance is not None:
        parts.append(f"chance {percent(figure.chance)}")
    drawn = bar(figure.value, figure.low, figure.high, figure.chance)
    return (
        f'<p class="name">{escape(figure.name)}</p><p class="value">{percent(figure.value)}<small> %</small></p>'
        f'{drawn}<p class="ends">{escape("; ".join(parts))}</p>'
    )


def _section(part: Section) -> str:
    text = f"<p>{escape(part.text)}</p>" if part.text else ""
    return (
        f'<section id="{part.anchor}" aria-labelledby="{part.anchor}-title"><h2 id="{part.anchor}-title">'
        f"{escape(part.title)}</h2>{text}{part.body}</section>"
    )


def curves_body(found: Curves) -> str:
    """Return the curves side by side."""
    parts = [
        f'<figure class="plot"><figcaption>{escape(curve.name)}</figcaption>{svg(curve, found.stages)}</figure>'
        for curve in found.every
    ]
    return f'<div class="plots card">{"".join(parts)}</div>'


def notes(lines: Sequence[str]) -> str:
    """Return remarks as a list, empty without any."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="notes">{items}</ul>' if items else ""


def _legend(under: str) -> str:
    return (
        '<p class="legend"><span class="right">✓ right</span><span class="wrong">✗ wrong</span>'
        f"<span>under each {escape(under)}</span></p>"
    )


UNDER = "its true value and its similarity to the query"
"""What stands under each result of a figure."""


def top_body(groups: Sequence[tuple[str, str, Sequence[Line]]], under: str = UNDER) -> str:
    """Figure 5: (name, remark, lines) of each attribute, the first ones open."""
    parts = []
    for place, (name, remark, lines) in enumerate(groups):
        state = " open" if place < OPEN else ""
        rows = "".join(_line(line) for line in lines)
        parts.append(
            f'<details class="card group"{state}><summary><h3>{escape(words(name))}</h3>'
            f"<span>{escape(remark)}</span></summary>{rows}</details>"
        )
    return _legend(under) + "".join(parts)


def same_body(groups: Sequence[tuple[str, Sequence[Line]]], under: str = UNDER) -> str:
    """Figure 6: (name, a line per model) of each attribute; the query is shown once."""
    parts = []
    for name, lines in groups:
        rows = "".join(
            f'<div class="model"><p><b>{escape(line.title)}</b> {escape("; ".join(line.facts))}</p>'
            f"{_hits(line.hits)}</div>"
            for line in lines
        )
        query = lines[0].query
        asked = (
            f"{_photo(query.image, f'Query photograph, {query.value}')}"
            f"<figcaption>query: {escape(query.value)}</figcaption>"
        )
        parts.append(
            f'<article class="card"><div class="head"><h3>{escape(words(name))}</h3></div><div class="line">'
            f'<figure class="asked-one">{asked}</figure><div>{rows}</div></div></article>'
        )
    return _legend(under) + "".join(parts)


def _line(line: Line) -> str:
    facts = "".join(f"<span>{escape(fact)}</span>" for fact in line.facts)
    query, note = line.query, f'<p class="reason">{escape(line.note)}</p>' if line.note else ""
    return (
        f'<article class="row"><div class="head"><h4>{escape(line.title)}</h4>{facts}</div>{note}'
        f'<div class="line"><figure class="asked-one">{_photo(query.image, f"Query photograph, {query.value}")}'
        f"<figcaption>query: {escape(query.value)}</figcaption></figure>{_hits(line.hits)}</div></article>"
    )


def failures_body(lines: Sequence[Line], under: str = UNDER) -> str:
    """Figure 9: a card for each failure."""
    return _legend(under) + "".join(f'<div class="card alone">{_line(line)}</div>' for line in lines)


def _hits(hits: Sequence[Tile]) -> str:
    return f'<ol class="hits">{"".join(_hit(rank, tile) for rank, tile in enumerate(hits, 1))}</ol>'


def _hit(rank: int, tile: Tile) -> str:
    verdict, mark = VERDICTS[tile.right]
    said, place = "not judged" if tile.right is None else verdict, tile.tag or str(rank)
    score = f"<b>{tile.score:.2f}</b>" if tile.score is not None else ""
    tip = ", ".join(filter(None, (place if tile.tag else f"rank {rank}", said, tile.value, tile.caption)))
    return (
        f'<li class="hit {verdict}" title="{escape(tip)}"><div class="frame">'
        f"{_photo(tile.image, f'Result {place}, {said}: {tile.value}')}"
        f'<span class="rank" aria-hidden="true">{escape(place)}</span>'
        f'<span class="mark" aria-hidden="true">{mark}</span></div>'
        f'<div class="text">{escape(tile.value)} {score}</div></li>'
    )


def _photo(picture: Any, alt: str) -> str:
    return image(picture, alt, SIDE)


def gaze_body(found: Sequence[Gaze]) -> str:
    """Figure 7: a card for each photograph, its maps in a grid, the colour scale above."""
    cards = []
    for gaze in found:
        maps = "".join(
            f"<figure>{image(tile.image, f'Where it looks for {tile.caption}', 420)}"
            f"<figcaption><b>{escape(tile.caption)}</b> {escape(tile.value)}</figcaption></figure>"
            for tile in gaze.maps
        )
        photo = image(gaze.photo.image, f"Photograph {gaze.photo.caption}", 420)
        cards.append(
            f'<div class="card maps"><figure>{photo}<figcaption>{escape(gaze.photo.caption)}</figcaption></figure>'
            f"{maps}</div>"
        )
    return '<div class="scale" aria-hidden="true">less<i></i>more attention</div>' + "".join(cards)


def judged_body(found: Sequence[JudgedAttribute]) -> str:
    """Figure 8: the triplets of each attribute, each as anchor, close and far."""
    cards = []
    for attribute in found:
        for each in attribute.shown:
            tone, said = ("right", "✓ told right") if each.right else ("wrong", "✗ told wrong")
            tiles = "".join(
                f"<figure>{_photo(tile.image, f'{role}: {tile.value}')}<figcaption><b>{role}</b> {escape(tile.value)}"
                f"{'' if tile.score is None else f'<br>similarity {tile.score:.3f}'}</figcaption></figure>"
                for role, tile in (("anchor", each.anchor), ("close", each.close), ("far", each.far))
            )
            cards.append(
                f'<article class="card judged {tone}"><div class="head"><h4>{escape(words(each.attribute))}</h4>'
                f'<span class="verdict">{said}</span><span class="tally">{attribute.right:,} of '
                f'{attribute.judged:,} right</span></div><div class="three">{tiles}</div></article>'
            )
    return f'<div class="pairs">{"".join(cards)}</div>'


def confusion_body(found: Mapping[str, Confusion]) -> str:
    """The values of each attribute against what they are taken for, and the pairs confused most."""
    parts = []
    for place, (name, each) in enumerate(found.items()):
        state = " open" if place < OPEN else ""
        shown = len(each.values) <= HEAT
        remark = f"{100 * each.accuracy:.0f} % named right; always the commonest value: {100 * each.commonest:.0f} %"
        pairs = "".join(
            f"<li><b>{escape(words(pair.value))}</b> taken for <b>{escape(words(pair.taken_for))}</b>: "
            f"{pair.queries:,.3g} of {pair.queries / pair.share:,.3g} ({100 * pair.share:.0f} %)</li>"
            for pair in each.mistakes(8 if shown else 20)
        )
        listed = f"<div><h4>Confused most</h4><ol>{pairs}</ol></div>" if pairs else "<p>No value was confused.</p>"
        left = "" if shown else f"<p>{len(each.values)} values are too many for a table.</p>"
        parts.append(
            f'<details class="card group"{state}><summary><h3>{escape(words(name))}</h3><span>{remark}</span></summary>'
            f'<div class="mixed">{_heat(each) if shown else left}{listed}</div></details>'
        )
    return "".join(parts)


def _heat(found: Confusion) -> str:
    """Return the matrix as a table: a row per value, its queries as shares of 100."""
    totals = found.matrix.sum(axis=1)
    heads = "".join(f'<th scope="col">{escape(words(value))}</th>' for value in found.values)
    rows = []
    for number, value in enumerate(found.values):
        cells = []
        for other in range(len(found.values)):
            share = 100 * found.matrix[number, other] / totals[number] if totals[number] else 0.0
            own = ' class="own"' if number == other else ""
            cells.append(f'<td{own} style="--share:{share:.0f}">{f"{share:.0f}" if share >= 0.5 else ""}</td>')
        head = f"{escape(words(value))} <small>({totals[number]:,.3g})</small>"
        rows.append(f'<tr><th scope="row">{head}</th>{"".join(cells)}</tr>')
    caption = "Rows: the true value (queries); columns: what it is taken for, in percent of the row"
    return (
        f'<div class="scroll" tabindex="0"><table class="heat"><caption>{caption}</caption>'
        f"<thead><tr><td></td>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
