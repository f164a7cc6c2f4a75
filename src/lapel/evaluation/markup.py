"""Pieces of HTML that every page of figures is made of: style, numbers, bars, embedded pictures, the record.

Whatever comes from a catalogue or a run is escaped here or by the caller; nothing refers to another file.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from PIL import Image

from lapel.errors import ImageError
from lapel.evaluation.overlays import Picture, colours, open_picture

TEMPLATES = Path(__file__).parent / "templates"
VERDICTS = {True: ("right", "✓"), False: ("wrong", "✗"), None: ("unknown", "–")}
_JPEG = b"\xff\xd8"


def style() -> str:
    """Return the style sheet that the pages share, light and dark."""
    stops = ", ".join(f"rgb({r} {g} {b})" for r, g, b in colours(np.linspace(0.0, 1.0, 9)).tolist())
    return Template((TEMPLATES / "style.css").read_text(encoding="utf-8")).substitute(scale=stops)


def percent(value: Any, digits: int = 1) -> str:
    """Return a number in percent as it is shown, a dash where there is none."""
    return "–" if value is None or value != value else f"{float(value):.{digits}f}"


def interval(low: Any, high: Any) -> str:
    """Return the ends of an interval in percent, a dash where there is none."""
    return f"{percent(low)}–{percent(high)}" if low is not None and high is not None else "–"


def words(name: str) -> str:
    """Return a name as a person writes it."""
    return name.replace("_", " ")


def bar(value: Any, low: Any = None, high: Any = None, chance: Any = None) -> str:
    """Draw a figure in percent; the numbers stand beside it, so screen readers are spared it."""
    parts = [f'<i class="fill" style="width:{_clip(value):.2f}%"></i>']
    if low is not None and high is not None:
        start, end = _clip(low), _clip(high)
        parts.append(f'<i class="span" style="left:{start:.2f}%;width:{max(end - start, 0.4):.2f}%"></i>')
    if chance is not None:
        parts.append(f'<i class="chance" style="left:{_clip(chance):.2f}%"></i>')
    return f'<span class="bar" aria-hidden="true">{"".join(parts)}</span>'


def _clip(value: Any) -> float:
    number = float(value) if value is not None else 0.0
    return min(100.0, max(0.0, number)) if number == number else 0.0


def table(heads: str, rows: str, caption: str) -> str:
    """Return a table that scrolls by itself where it is wider than the page.

    Args:
        heads: cells of the first line, HTML.
        rows: the lines, HTML.
        caption: what it shows, as text; heard, not seen.
    """
    return (
        f'<div class="scroll" tabindex="0"><table><caption class="hidden">{escape(caption)}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def image(source: Picture, alt: str, side: int) -> str:
    """Return an <img> with the picture embedded, or a tile with the reason why there is none.

    ``side`` bounds its longer side in pixels; a JPEG in bytes that fits is taken as it is.
    """
    try:
        data, size = _jpeg(source, side)
    except ImageError as error:
        reason = escape(str(error))
        return f'<span class="missing" role="img" aria-label="{escape(alt)}">no picture: {reason}</span>'
    return (
        f'<img src="data:image/jpeg;base64,{base64.b64encode(data).decode()}" alt="{escape(alt)}" '
        f'width="{size[0]}" height="{size[1]}" loading="lazy" decoding="async">'
    )


def _jpeg(source: Picture, side: int) -> tuple[bytes, tuple[int, int]]:
    if isinstance(source, bytes) and source.startswith(_JPEG):
        size = Image.open(io.BytesIO(source)).size
        if max(size) <= side:
            return source, size
    picture = open_picture(source, side)
    return encode(picture), picture.size


def encode(picture: Image.Image) -> bytes:
    """Return a picture as a JPEG."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=85, optimize=True)
    return stream.getvalue()


def record(entries: Mapping[str, Any], title: str = "Protocol record: what exactly was measured") -> str:
    """Return a record as a footnote that opens; nested records are named ``outer.inner``."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in _flat(entries))
    return f"<details><summary>{escape(title)}</summary><dl>{rows}</dl></details>" if rows else ""


def _flat(entries: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in entries.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            found.append((f"{prefix}{name}", ", ".join(map(str, value)) or "none"))
        else:
            found.append((f"{prefix}{name}", "none" if value is None else str(value)))
    return found
