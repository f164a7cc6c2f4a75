"""One self-contained HTML page: the MAP table, and queries with their results and attention.

No network, no script, no second file: style is inline and pictures are embedded as JPEG.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from PIL import Image

from lapel.errors import ImageError
from lapel.evaluation.figures import Picture, colours, open_picture
from lapel.files import atomic_write

_TEMPLATE = Path(__file__).parent / "templates" / "page.html"
_VERDICTS = {True: ("right", "✓"), False: ("wrong", "✗"), None: ("unknown", "–")}


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
    page = Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(title),
        summary=escape(summary or _summary(result)),
        scale=_scale(),
        table=_table(result) if result else "",
        queries=_queries(queries),
        steps=_steps(next_steps),
        record=_record(record or {}),
    )
    atomic_write(path, page)
    return path


def _percent(value: Any, digits: int = 1) -> str:
    return "–" if value is None or value != value else f"{float(value):.{digits}f}"


def _summary(result: Mapping[str, Any] | None) -> str:
    if not result:
        return ""
    overall = result["overall"]
    text = f"Overall MAP {_percent(overall['map'])} %"
    if overall.get("low") is not None:
        text += f" (95 % interval {_percent(overall['low'])} to {_percent(overall['high'])})"
    if overall.get("chance") is not None:
        text += f", where chance gives {_percent(overall['chance'])} %"
    if overall.get("queries"):
        text += f"; {overall['queries']:,} queries over {len(result['attributes'])} attributes"
    return text + "."


def _bar(entry: Mapping[str, Any]) -> str:
    """Draw one row's figures; the numbers stand beside it, so screen readers are spared it."""
    parts = [f'<i class="fill" style="width:{_clip(entry["map"]):.2f}%"></i>']
    if entry.get("low") is not None and entry.get("high") is not None:
        low, high = _clip(entry["low"]), _clip(entry["high"])
        parts.append(f'<i class="span" style="left:{low:.2f}%;width:{max(high - low, 0.4):.2f}%"></i>')
    if entry.get("chance") is not None:
        parts.append(f'<i class="chance" style="left:{_clip(entry["chance"]):.2f}%"></i>')
    return f'<span class="bar" aria-hidden="true">{"".join(parts)}</span>'


def _clip(value: Any) -> float:
    number = float(value) if value is not None else 0.0
    return min(100.0, max(0.0, number)) if number == number else 0.0


def _row(name: str, entry: Mapping[str, Any], kind: str = "") -> str:
    interval = (
        f"{_percent(entry['low'])}–{_percent(entry['high'])}"
        if entry.get("low") is not None and entry.get("high") is not None
        else "–"
    )
    counts = [f"{entry[key]:,}" if entry.get(key) is not None else "–" for key in ("queries", "candidates")]
    return (
        f'<tr{kind}><th scope="row">{escape(_words(name))}</th>'
        f'<td class="num strong">{_percent(entry["map"])}</td>'
        f'<td class="drawn">{_bar(entry)}</td><td class="num">{interval}</td>'
        f'<td class="num">{_percent(entry.get("chance"))}</td>'
        f'<td class="num wide">{counts[0]}</td><td class="num wide">{counts[1]}</td></tr>'
    )


def _table(result: Mapping[str, Any]) -> str:
    rows = [_row(name, entry) for name, entry in result["attributes"].items()]
    rows.append(_row("overall", result["overall"], ' class="overall"'))
    heads = (
        '<th scope="col">attribute</th><th scope="col" class="num">MAP %</th>'
        '<th scope="col" class="drawn"><span class="hidden">MAP as a bar</span></th>'
        '<th scope="col" class="num">95 % interval</th><th scope="col" class="num">chance %</th>'
        '<th scope="col" class="num wide">queries</th><th scope="col" class="num wide">candidates</th>'
    )
    return (
        '<section aria-labelledby="measured"><h2 id="measured">How well it retrieves</h2>'
        "<p>Mean average precision: how early the results with the query's own value come. "
        '<span class="drawn">Bar: MAP; <span class="key span-key"></span> line: 95 % interval; '
        '<span class="key chance-key"></span> notch: what a random order would give.</span></p>'
        '<div class="scroll" tabindex="0"><table><caption class="hidden">MAP per attribute</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _words(name: str) -> str:
    return name.replace("_", " ")


def _picture(source: Picture, alt: str, side: int) -> str:
    """Return an <img> with the picture embedded, or a tile with the reason why there is none."""
    try:
        image = open_picture(source, side)
    except ImageError as error:
        reason = escape(str(error))
        return f'<span class="missing" role="img" aria-label="{escape(alt)}">no picture: {reason}</span>'
    return (
        f'<img src="{_embed(image)}" alt="{escape(alt)}" width="{image.width}" height="{image.height}" '
        'loading="lazy" decoding="async">'
    )


def _embed(image: Image.Image) -> str:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def _scale() -> str:
    """Return the attention colours as the stops of a CSS gradient."""
    return ", ".join(f"rgb({r} {g} {b})" for r, g, b in colours(np.linspace(0.0, 1.0, 9)).tolist())


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
    attribute, value = _words(query.attribute), query.value
    alt = f"Query photograph, {attribute} {value}".rstrip()
    caption = f"Query: {value}" if value else "Query"
    asked = f"<figure>{_picture(query.image, alt, 520)}<figcaption>{escape(caption)}</figcaption></figure>"
    if query.overlay is not None:
        asked += (
            f"<figure>{_picture(query.overlay, f'Where the model looks for {attribute}', 520)}"
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
    verdict, mark = _VERDICTS[hit.right]
    words = {"right": "right", "wrong": "wrong", "unknown": "not labelled"}[verdict]
    scores = "; ".join(f"{_words(name)} {score:.3f}" for name, score in hit.scores.items())
    facts = [f"rank {rank}", words, f"score {hit.score:.4f}", hit.value, hit.caption, scores]
    tip = ", ".join(filter(None, facts))
    alt = f"Result {rank}, {words}: {hit.value or hit.caption or _words(query.attribute)}"
    value = f" {escape(hit.value)}" if hit.value else ""
    caption = f'<span class="caption">{escape(hit.caption)}</span>' if hit.caption else ""
    return (
        f'<li class="hit {verdict}" title="{escape(tip)}"><div class="frame">{_picture(hit.image, alt, 260)}'
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


def _record(record: Mapping[str, Any]) -> str:
    """Return the protocol record as a footnote; nested records are named ``outer.inner``."""
    entries = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in _flat(record))
    if not entries:
        return ""
    title = "Protocol record: what exactly was measured"
    return f"<details><summary>{title}</summary><dl>{entries}</dl></details>"


def _flat(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in record.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            found.append((f"{prefix}{name}", ", ".join(map(str, value)) or "none"))
        else:
            found.append((f"{prefix}{name}", "none" if value is None else str(value)))
    return found
