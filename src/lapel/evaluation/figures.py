"""Result sheets: a query beside its ranked results, framed right or wrong, for people to look at.

Only Pillow and numpy are needed, no display and no font files. The attention overlays are re-exported from
:mod:`lapel.evaluation.overlays`.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps

from lapel.errors import ImageError
from lapel.evaluation.overlays import Picture, attention_to_image, colours, open_picture, overlay
from lapel.files import atomic_path

__all__ = [
    "Picture", "Tile", "attention_to_image", "colours", "ellipsis", "grid", "open_picture", "overlay", "sheet",
    "shortened",
]  # fmt: skip

_PAPER, _INK, _MUTED, _LINE = "#faf9f7", "#1d1b18", "#66615a", "#dedad3"
_FRAMES = {True: "#1a7f37", False: "#c62828", None: "#9a958d"}
_EDGE, _PAD, _LEADING = 5, 18, 1.3


@dataclass(frozen=True)
class Tile:
    """One picture of a sheet. ``right`` is None where nobody knows; scores and labels are per attribute.

    ``tag`` stands in the corner in place of the rank.
    """

    image: Picture
    caption: str = ""
    value: str = ""
    score: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    right: bool | None = None
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    tag: str = ""

    @classmethod
    def of(cls, hit: Any, value: str = "", right: bool | None = None, attributes: Iterable[str] = ()) -> Tile:
        """Make a tile of a search hit: anything with image, item, score, scores and labels.

        ``attributes`` are those searched by; the tile shows them alone.
        """
        caption = str(hit.item) if hit.item else Path(hit.image).name
        scores = {name: hit.scores[name] for name in attributes} or hit.scores
        if not value and len(scores) == 1:
            value = ", ".join(hit.labels.get(next(iter(scores)), ())) or "not labelled"
        return cls(hit.image, caption, value, hit.score, scores, right, hit.labels)


def _as_tile(source: Any) -> Tile:
    if isinstance(source, Tile):
        return source
    return Tile(source) if isinstance(source, Image.Image | Path | str | bytes) else Tile.of(source)


@functools.cache
def _font(size: int, plain: bool = True) -> Any:
    """Return Pillow's own font, which knows little more than ASCII, or matplotlib's DejaVu Sans."""
    spec = None if plain else importlib.util.find_spec("matplotlib")  # finds it without importing it
    if spec is not None and spec.origin is not None:
        file = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if file.is_file():
            return ImageFont.truetype(file, round(size * 0.93))
    return ImageFont.load_default(size=size)


def _font_for(text: str, size: int) -> Any:
    return _font(size, all(c.isascii() or c in "…·" for c in text))


def _write(
    draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, size: int, colour: str, room: float
) -> None:
    """Write one line from its left edge and top, ellipsised to ``room`` pixels."""
    font = _font_for(text, size)
    draw.text((place[0], place[1] + size), ellipsis(text, room, font), colour, font, anchor="ls")


def ellipsis(text: str, width: float, font: Any) -> str:
    """Return ``text`` on one line, cut with an ellipsis so that it fits ``width`` pixels."""
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        fits = font.getlength(text[:middle].rstrip() + "…") <= width
        low, high = (middle, high) if fits else (low, middle - 1)
    return text[:low].rstrip() + "…"


def shortened(text: str, longest: int) -> str:
    """Return a text of at most so many letters, cut with an ellipsis."""
    return text if len(text) <= longest else text[: longest - 1].rstrip(" ,") + "…"


def _mark(right: bool | None, size: int) -> Image.Image:
    """Return a round badge with a tick, a cross or a bar, for those who cannot tell green from red."""
    big = size * 4
    badge = Image.new("RGBA", (big, big), (0, 0, 0, 0))
    draw = ImageDraw.Draw(badge)
    draw.ellipse((0, 0, big - 1, big - 1), fill=_FRAMES[right], outline="white", width=big // 14)
    strokes = {
        True: [[(0.27, 0.52), (0.44, 0.69), (0.74, 0.34)]],
        False: [[(0.32, 0.32), (0.68, 0.68)], [(0.68, 0.32), (0.32, 0.68)]],
        None: [[(0.3, 0.5), (0.7, 0.5)]],
    }[right]
    for stroke in strokes:
        draw.line([(x * big, y * big) for x, y in stroke], fill="white", width=big // 9, joint="curve")
    return badge.resize((size, size), Image.Resampling.LANCZOS)


def _lines(tile: Tile, attributes: int = 3) -> list[tuple[str, int, str]]:
    """Return a tile's caption lines as (text, font size, colour)."""
    head = " · ".join(filter(None, [f"{tile.score:.3f}" if tile.score is not None else "", tile.value]))
    lines = [(head, 15, _INK), (tile.caption, 13, _MUTED)]
    if len(tile.scores) > 1:  # with one attribute its score is the total
        named = sorted(tile.scores.items(), key=lambda pair: -abs(pair[1]))
        for name, score in named[:attributes]:
            lines.append((f"{name} {score:.2f} {', '.join(tile.labels.get(name, ()))}".strip(), 12, _MUTED))
    return [line for line in lines if line[0]]


def _tall(side: int) -> int:
    return side * 5 // 4  # most garment photographs are upright


def _height(tile: Tile, side: int) -> int:
    return _tall(side) + 8 + sum(int(size * _LEADING) for _, size, _ in _lines(tile))


def _draw(canvas: Image.Image, tile: Tile, place: tuple[int, int], side: int, rank: int | None, mark: bool) -> None:
    """Draw one tile, ``side`` pixels wide, with its frame, tag, mark and caption; rank None is the query."""
    left, top = place
    draw = ImageDraw.Draw(canvas)
    frame = _FRAMES[tile.right] if rank is not None else _INK
    tall = _tall(side)
    draw.rectangle((left, top, left + side - 1, top + tall - 1), fill="white", outline=frame, width=_EDGE)
    inner = (side - 2 * _EDGE, tall - 2 * _EDGE)
    try:
        photo = ImageOps.contain(open_picture(tile.image, tall * 2), inner, Image.Resampling.LANCZOS)
        canvas.paste(photo, (left + (side - photo.width) // 2, top + (tall - photo.height) // 2))
    except ImageError as error:
        name = Path(tile.image).name if isinstance(tile.image, str | Path) else ""
        for step, text in enumerate(filter(None, ("no picture", str(error), name))):
            _write(draw, (left + 14, top + tall / 2 + 20 * (step - 1.5)), text, 13, _MUTED, side - 28)
    label = tile.tag or ("query" if rank is None else str(rank))
    wide = max(24, int(_font(14).getlength(label)) + 14)
    draw.rectangle((left, top, left + wide, top + 24), fill=frame)
    draw.text((left + wide / 2, top + 12), label, "white", _font(14), anchor="mm")
    if mark:
        badge = _mark(tile.right, 26)
        canvas.paste(badge, (left + side - 32, top + 6), badge)
    y = top + tall + 8
    for text, size, colour in _lines(tile):
        _write(draw, (left, y), text, size, colour, side)
        y += int(size * _LEADING)


def sheet(
    query: Any = None,
    hits: Iterable[Any] = (),
    path: Path | str | None = None,
    *,
    rows: Sequence[tuple[Any, Sequence[Any]]] | None = None,
    title: str = "",
    headings: Sequence[str] = (),
    columns: int = 5,
    side: int = 200,
) -> Image.Image:
    """Draw a query beside its ranked results, framed green (right), red (wrong) or grey (not known).

    Args:
        query: a :class:`Tile`, a search hit, or a picture. Its caption tells what was searched.
        hits: the results, best first, likewise.
        path: where to write the sheet, as the suffix says (PNG, JPEG, WebP); None to only return it.
        rows: several (query, hits) in one sheet, in place of ``query`` and ``hits``.
        title: a line on top.
        headings: a line above each of ``rows``.
        columns: results side by side; more results wrap under the first ones.
        side: width of a result in pixels; the query is half as large again.

    A picture that cannot be opened becomes a tile with the reason.
    """
    pairs = [(_as_tile(q), [_as_tile(h) for h in found]) for q, found in (rows or [(query, list(hits))])]
    columns = max(1, min(columns, max(len(found) for _, found in pairs)))
    large = side * 3 // 2
    start_x = 2 * _PAD + large
    width = start_x + (columns * (side + _PAD) if any(found for _, found in pairs) else 0)
    top = _PAD + (34 if title else 0)
    plan: list[tuple[Tile, tuple[int, int], int, int | None, bool]] = []
    rules: list[int] = []
    said: list[tuple[int, str]] = []
    for number, (asked, found) in enumerate(pairs):
        if number:
            rules.append(top)
            top += _PAD
        if headings:
            said.append((top - 4, headings[number]))
            top += 26
        plan.append((asked, (_PAD, top), large, None, False))
        judged = any(tile.right is not None for tile in found)  # no marks where there is nothing to tell
        y = top
        for start in range(0, len(found), columns):
            line = found[start : start + columns]
            for column, tile in enumerate(line):
                place = (start_x + column * (side + _PAD), y)
                plan.append((tile, place, side, start + column + 1, judged))
            y += max(_height(tile, side) for tile in line) + _PAD
        top = max(y, top + _height(asked, large) + _PAD)
    canvas = Image.new("RGB", (width, top), _PAPER)
    draw = ImageDraw.Draw(canvas)
    if title:
        _write(draw, (_PAD, _PAD - 4), title, 22, _INK, width - 2 * _PAD)
    for y, text in said:
        _write(draw, (_PAD, y), text, 16, _INK, width - 2 * _PAD)
    for y in rules:
        draw.line((_PAD, y, width - _PAD, y), fill=_LINE, width=1)
    for part in plan:
        _draw(canvas, *part)
    if path is not None:
        with atomic_path(path) as temporary:
            canvas.save(temporary)
    return canvas


def grid(
    rows: Sequence[Sequence[Tile]],
    path: Path | None = None,
    *,
    title: str = "",
    headings: Sequence[str] = (),
    side: int = 200,
    foot: Sequence[tuple[str, str]] = (),
) -> Image.Image:
    """Draw tiles of one size in rows; a tile is framed and marked where it is known to be right or wrong.

    Args:
        rows: from left to right.
        path: where to write it; None to only return it.
        title: a line on top.
        headings: a line above each row.
        side: width of a tile in pixels.
        foot: (colour, what it stands for), a legend below.
    """
    width = _PAD + max((len(row) for row in rows), default=0) * (side + _PAD)
    top = _PAD + (34 if title else 0)
    plan: list[tuple[Tile, tuple[int, int]]] = []
    said: list[tuple[int, str]] = []
    for number, row in enumerate(rows):
        if headings:
            said.append((top - 4, headings[number]))
            top += 26
        plan += [(tile, (_PAD + column * (side + _PAD), top)) for column, tile in enumerate(row)]
        top += max((_height(tile, side) for tile in row), default=0) + _PAD
    canvas = Image.new("RGB", (width, top + (30 if foot else 0)), _PAPER)
    draw = ImageDraw.Draw(canvas)
    if title:
        _write(draw, (_PAD, _PAD - 4), title, 22, _INK, width - 2 * _PAD)
    for y, text in said:
        _write(draw, (_PAD, y), text, 16, _INK, width - 2 * _PAD)
    for tile, place in plan:
        _draw(canvas, tile, place, side, 0, tile.right is not None)
    left = float(_PAD)
    for colour, text in foot:
        draw.ellipse((left, top + 3, left + 12, top + 15), fill=colour, outline=_MUTED)
        _write(draw, (left + 20, top - 1), text, 14, _MUTED, width - left - 20 - _PAD)
        left += 48 + _font_for(text, 14).getlength(text)
    if path is not None:
        with atomic_path(path) as temporary:
            canvas.save(temporary)
    return canvas
