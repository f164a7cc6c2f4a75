"""One self-contained HTML page: the MAP table, and queries with their results and attention.

No network, no script, no second file: style is inline and pictures are embedded as JPEG.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from PIL import Image

from lapel.evaluation.bars import Figure, figures_key, figures_table
from lapel.evaluation.markup import TEMPLATES, VERDICTS, image, percent, style, words
from lapel.evaluation.markup import record as footnote
from lapel.evaluation.overlays import Picture
from lapel.files import atomic_write


@dataclass(frozen=True)
class HitView:
    """One result as shown: ``right`` is None where nobody knows; ``scores`` are per attribute."""

    image: Picture
    score: float
    value: str = ""
    right: bool | None = None
    caption: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class QueryView:
    """One query under one attribute, with its results, best first.

    ``overlay`` is the query with its attention on top (:func:`lapel.evaluation.figures.overlay`), or None.
    """

    image: Picture
    attribute: str
    value: str = ""
    overlay: Image.Image | None = None
    hits: Sequence[HitView] = ()


def write_page(
    path: Path | str,
    title: str,
    result: Mapping[str, Any] | None,
    queries: Sequence[QueryView],
    record: Mapping[str, Any] | None = None,
    next_steps: Sequence[str] = (),
    summary: str = "",
) -> Path:
    """Write the page and return its path.

    Args:
        path: the HTML file.
        title: the page's heading.
        result: a retrieval result as a dictionary: ``attributes`` (name -> ``map``, ``low``, ``high``,
            ``chance`` in percent, ``queries``, ``candidates``) and ``overall`` (the same keys); None leaves
            the table out.
        queries: what to show, in order.
        record: the protocol record, for the footnote.
        next_steps: commands; lines that start with ``# `` are shown as text above what follows.
        summary: a sentence under the title, in place of the one made from ``result``.

    A picture that cannot be opened is shown as a tile with the reason.

    Raises:
        LapelError: the page cannot be written.
    """
    path = Path(path)
    page = Template((TEMPLATES / "page.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        summary=escape(summary or _summary(result)),
        style=style(),
        table=_table(result) if result else "",
        queries=_queries(queries),
        steps=_steps(next_steps),
        record=footnote(record or {}),
    )
    atomic_write(path, page)
    return path


def _summary(result: Mapping[str, Any] | None) -> str:
    if not result:
        return ""
    overall = result["overall"]
    text = f"Overall MAP {percent(overall['map'])} %"
    if overall.get("low") is not None:
        text += f" (95 % interval {percent(overall['low'])} to {percent(overall['high'])})"
    if overall.get("chance") is not None:
        text += f", where chance gives {percent(overall['chance'])} %"
    if overall.get("queries"):
        text += f"; {overall['queries']:,} queries over {len(result['attributes'])} attributes"
    return text + "."


def _row(name: str, entry: Mapping[str, Any]) -> Figure:
    counts = [f"{entry[key]:,}" if entry.get(key) is not None else "–" for key in ("queries", "candidates")]
    return Figure(name, entry["map"], entry.get("low"), entry.get("high"), entry.get("chance"), counts)


def _table(result: Mapping[str, Any]) -> str:
    rows = [_row(name, entry) for name, entry in result["attributes"].items()]
    drawn = figures_table(rows, _row("overall", result["overall"]), "MAP", ("queries", "candidates"))
    return (
        '<section aria-labelledby="measured"><h2 id="measured">How well it retrieves</h2>'
        "<p>Mean average precision: how early the results with the query's own value come.</p>"
        f"{figures_key('MAP')}{drawn}</section>"
    )


def _queries(queries: Sequence[QueryView]) -> str:
    if not queries:
        return ""
    cards = "".join(_query(number, query) for number, query in enumerate(queries, 1))
    return (
        '<section aria-labelledby="searched"><h2 id="searched">Searching, one attribute at a time</h2>'
        "<p>Results come best first. Green with ✓: the query's value. Red with ✗: another value. "
        "Grey with –: not labelled.</p>" + cards + "</section>"
    )


def _query(number: int, query: QueryView) -> str:
    attribute, value = words(query.attribute), query.value
    alt = f"Query photograph, {attribute} {value}".rstrip()
    caption = f"Query: {value}" if value else "Query"
    asked = f"<figure>{image(query.image, alt, 520)}<figcaption>{escape(caption)}</figcaption></figure>"
    if query.overlay is not None:
        asked += (
            f"<figure>{image(query.overlay, f'Where the model looks for {attribute}', 520)}"
            f"<figcaption>Where it looks for {escape(attribute)}</figcaption>"
            '<div class="scale" aria-hidden="true">less<i></i>more</div></figure>'
        )
    known = [hit.right for hit in query.hits if hit.right is not None]
    tally = f'<span class="tally">{sum(known)} of {len(known)} right</span>' if known else ""
    hits = "".join(_hit(rank, query, hit) for rank, hit in enumerate(query.hits, 1))
    results = f'<ol class="hits">{hits}</ol>' if hits else "<p>No result.</p>"
    return (
        f'<article class="card" aria-labelledby="query-{number}"><div class="head">'
        f'<h3 id="query-{number}">Alike in {escape(attribute)}</h3><span>{escape(value)}</span>{tally}</div>'
        f'<div class="query"><div class="asked">{asked}</div>{results}</div></article>'
    )


def _hit(rank: int, query: QueryView, hit: HitView) -> str:
    verdict, mark = VERDICTS[hit.right]
    said = {"right": "right", "wrong": "wrong", "unknown": "not labelled"}[verdict]
    scores = "; ".join(f"{words(name)} {score:.3f}" for name, score in hit.scores.items())
    facts = [f"rank {rank}", said, f"score {hit.score:.4f}", hit.value, hit.caption, scores]
    tip = ", ".join(filter(None, facts))
    alt = f"Result {rank}, {said}: {hit.value or hit.caption or words(query.attribute)}"
    value = f" {escape(hit.value)}" if hit.value else ""
    caption = f'<span class="caption">{escape(hit.caption)}</span>' if hit.caption else ""
    return (
        f'<li class="hit {verdict}" title="{escape(tip)}"><div class="frame">{image(hit.image, alt, 260)}'
        f'<span class="rank" aria-hidden="true">{rank}</span>'
        f'<span class="mark" aria-hidden="true">{mark}</span></div>'
        f'<div class="text"><b>{hit.score:.3f}</b>{value}{caption}</div></li>'
    )


def _steps(steps: Sequence[str]) -> str:
    if not steps:
        return ""
    parts: list[str] = []
    code: list[str] = []
    for line in [*(line for step in steps for line in step.splitlines()), "# "]:
        if not line.startswith("# "):
            code.append(line)
            continue
        if code:
            parts.append(f'<pre tabindex="0"><code>{escape(chr(10).join(code))}</code></pre>')
            code = []
        if line[2:].strip():
            parts.append(f"<p>{escape(line[2:])}</p>")
    return (
        '<section class="card next" aria-labelledby="next"><h2 id="next">What to do next</h2>'
        + "".join(parts)
        + "</section>"
    )
