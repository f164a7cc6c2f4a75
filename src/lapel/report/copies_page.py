"""Copies as one self-contained HTML page: files listed twice apart from look-alikes, side by side with what differs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image

from lapel.decoding import decode_array
from lapel.errors import ImageError
from lapel.evaluation.markup import TEMPLATES, bar, image, record, style, words
from lapel.evaluation.overlays import Picture
from lapel.files import atomic_write
from lapel.progress import track
from lapel.retrieval.copies_found import Copies, Group, Pair
from lapel.retrieval.hits import Entry

SHOWN = 100
"""Groups of each kind on the page, by default; the CSV has them all."""
SIDE = 300
"""Longest side of a picture, in pixels."""
IN_GROUP = 8
"""Pictures of a group."""
FACTS, LONGEST = 3, 60
"""Cells of metadata under a picture, and the letters of one: more is a description, not a name."""


def write_copies(path: Path | str, copies: Copies, shown: int = SHOWN, quiet: bool = False) -> Path:
    """Write the page and return its path; a picture that cannot be read is a tile with the reason.

    Args:
        path: the HTML file.
        copies: what was found.
        shown: groups of each kind to show, the first ones.
        quiet: no progress bar.

    Raises:
        LapelError: it cannot be written.
    """
    name = copies.folder.resolve().name
    title = f"Copies in {name}"
    if copies.against is not None:
        title = f"Copies of {name} in {copies.against.resolve().name}"
    page = Template((TEMPLATES / "copies.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        summary=escape(summary(copies)),
        style=style(),
        exact=_exact(copies, shown),
        alike=_alike(copies, shown, quiet),
        record=record(_record(copies), "What exactly was compared"),
    )
    atomic_write(path, page)
    return Path(path)


def summary(copies: Copies) -> str:
    """Say in a few sentences what was compared and found."""
    ours, theirs = copies.images
    asked = {name: weight for name, weight in copies.weights.items() if weight}
    plain = set(asked.values()) == {1.0}
    by = ", ".join(words(name) if plain else f"{words(name)} × {weight:g}" for name, weight in asked.items())
    whole = len(asked) == len(copies.weights) > 1 and plain
    what = f"{_count(ours, 'image')} compared" + ("" if theirs is None else f" with {_count(theirs, 'image')}")
    text = f"{what} by {'all attributes' if whole else by}. "
    if copies.exact:
        names = sum(len(group.first) + len(group.second) for group in copies.exact)
        text += f"{_count(len(copies.exact), 'file')} in {'both' if theirs is not None else f'{names:,} places'}. "
    else:
        text += "No file is there twice. "
    total = len(copies.pairs) if copies.total is None else copies.total
    return f"{text}{_count(total, 'pair')} of look-alikes. {copies.rule}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _record(copies: Copies) -> dict[str, object]:
    return {
        "index": copies.folder.name,
        "against": None if copies.against is None else copies.against.name,
        "weights": {name: f"{weight:g}" for name, weight in copies.weights.items()},
        "least similarity": copies.threshold,
        "least nearness": copies.nearness,
        "nearness": f"distance of the nearer of both to its {copies.neighbours}. nearest over the pair's distance",
        "similarity": "weighted mean of the cosines",
        "images of one item": "compared" if copies.within_item else "not compared",
    }


def _section(name: str, title: str, text: str, body: str) -> str:
    return (
        f'<section aria-labelledby="{name}"><h2 id="{name}">{escape(title)}</h2><p>{escape(text)}</p>{body}</section>'
    )


def _left_out(whole: int, shown: int) -> str:
    return f" The first {shown:,} of {whole:,} are shown; the CSV has them all." if whole > shown else ""


def _exact(copies: Copies, shown: int) -> str:
    if not copies.exact:
        return ""
    cards = []
    for group in copies.exact[:shown]:
        names = [*_named(group.first, copies, 0), *_named(group.second, copies, 1)]
        listed = "".join(f'<li class="text">{_text(entry, where)}</li>' for entry, where in names)
        photo = _photo(group.first[0], "The file")
        cards.append(f'<li class="card"><div class="frame plain">{photo}</div><ul>{listed}</ul></li>')
    text = "These are copies byte for byte, cut out by the same box where there is one."
    body = f'<ul class="same">{"".join(cards)}</ul>'
    return _section("files", "The same file", text + _left_out(len(copies.exact), shown), body)


def _alike(copies: Copies, shown: int, quiet: bool) -> str:
    if not copies.groups:
        return _section("alike", "Look-alikes", "None. " + copies.rule, "")
    groups = copies.groups[:shown]
    least = min(cosine for group in groups for pair in group.pairs for cosine in pair.cosines.values())
    floor = max(-1.0, math.floor(20 * least - 1e-9) / 20)
    cards = [_card(copies, n, group, floor) for n, group in enumerate(track(groups, "drawing", quiet=quiet), 1)]
    text = (
        "Those that stand out most come first. What looks alike may still be two designs: the pictures tell. Bars are "
        f"cosines from {floor:g} to 1."
    )
    asked = sum(weight != 0 for weight in copies.weights.values())
    text += " Bold is the attribute in which they are least alike." if asked > 1 else ""
    text += " Pale are attributes that do not count." if asked < len(copies.weights) else ""
    body = f'<ol class="alike">{"".join(cards)}</ol>'
    return _section("alike", "Look-alikes", text + _left_out(len(copies.groups), shown), body)


def _card(copies: Copies, number: int, group: Group, floor: float) -> str:
    every = [*_named(group.first, copies, 0), *_named(group.second, copies, 1)]
    photos = "".join(
        f'<figure><div class="frame plain">{_photo(entry, f"Picture {place} of group {number}")}</div>'
        f'<figcaption class="text">{_text(entry, where)}</figcaption></figure>'
        for place, (entry, where) in enumerate(every[:IN_GROUP], 1)
    )
    more = f"<p>and {len(every) - IN_GROUP} more</p>" if len(every) > IN_GROUP else ""
    near = _range([pair.nearness for pair in group.pairs], ".1f")
    alike = _range([pair.similarity for pair in group.pairs], ".3f")
    also = "".join(f"<span>{escape(text)}</span>" for text in _remarks(group, len(every)))
    return (
        f'<li class="card"><div class="head"><h3 class="hidden">Group {number}</h3><b>{near} times nearer</b>'
        f"<span>similarity {alike}</span>{also}</div>"
        f'<div class="side"><div class="photos{" two" if len(every) == 2 else ""}">{photos}{more}</div>'
        f"<div>{_figures(copies, group.pairs, floor)}{_differs(group.pairs)}</div></div></li>"
    )


def _remarks(group: Group, images: int) -> Iterable[str]:
    if images > 2:
        yield f"{images} images"
    if any(pair.same_file for pair in group.pairs):
        yield "the same file, cut out by another box"
    if any(pair.same_item for pair in group.pairs):
        yield "one item"


def _figures(copies: Copies, pairs: Sequence[Pair], floor: float) -> str:
    """A line per attribute: the least cosine of the pairs."""
    values = {name: min(pair.cosines[name] for pair in pairs) for name in copies.weights}
    asked = [name for name, weight in copies.weights.items() if weight]
    least = min(asked, key=values.__getitem__) if len(asked) > 1 else None
    lines = []
    for name, value in values.items():
        kind = "least" if name == least else "" if copies.weights[name] else "off"
        drawn = bar(100 * (value - floor) / max(1 - floor, 1e-9))
        off = "" if copies.weights[name] else ' <span class="hidden">(does not count)</span>'
        lines.append(
            f'<tr class="{kind}"><th scope="row">{escape(words(name))}{off}</th>'
            f'<td class="num">{value:.3f}</td><td class="drawn">{drawn}</td></tr>'
        )
    caption = '<caption class="hidden">Cosine of each attribute</caption>'
    return f'<table class="figures">{caption}<tbody>{"".join(lines)}</tbody></table>'


def _differs(pairs: Sequence[Pair]) -> str:
    """The labels that differ, each of them once; of more than one pair without saying whose is whose."""
    found: dict[str, None] = {}
    for pair in pairs:
        for name, sides in pair.differs.items():
            said = [", ".join(values) for values in sides]
            found[f"{words(name)}: {' | '.join(said if len(pairs) == 1 else sorted(said))}"] = None
    if not found:
        labelled = any(set(pair.first.labels) & set(pair.second.labels) for pair in pairs)
        return '<p class="differs">All labels that both have agree.</p>' if labelled else ""
    return f'<p class="differs">Labels differ{"".join(f"<span>{escape(text)}</span>" for text in found)}</p>'


def _named(entries: Sequence[Entry], copies: Copies, side: int) -> list[tuple[Entry, str]]:
    """Entries with the index they are from, where there are two."""
    if copies.against is None:
        return [(entry, "") for entry in entries]
    where = (copies.folder, copies.against)[side].resolve().name
    return [(entry, where) for entry in entries]


def _text(entry: Entry, where: str) -> str:
    """What stands with a picture: what it is called, its item, its id, and the index it is from."""
    facts = [f"{value}" for value in entry.metadata.values() if value is not None and len(f"{value}") <= LONGEST]
    title, *others = [*facts[:FACTS], entry.item or entry.id]
    lines = [" · ".join(others) if facts else "", entry.id if title != entry.id else ""]
    small = "".join(f'<span class="caption">{escape(line)}</span>' for line in lines if line)
    return f"<b>{escape(title)}</b>{small}" + (f'<span class="where">in {escape(where)}</span>' if where else "")


def _range(values: Sequence[float], form: str) -> str:
    """The least and the greatest, or one where both are shown alike."""
    return "–".join(dict.fromkeys(format(value, form) for value in (min(values), max(values))))


def _photo(entry: Entry, alt: str) -> str:
    return image(_cut(entry), alt, SIDE)


def _cut(entry: Entry) -> Picture:
    """The picture of an image, or its part where the catalogue lists the picture with several boxes."""
    picture, mark, box = entry.id.rpartition("#")
    if not mark or not box or not entry.image.endswith(picture):
        return entry.image
    try:
        return Image.fromarray(
            np.ascontiguousarray(decode_array(entry.image, [float(each) for each in box.split(",")]))
        )
    except (ImageError, ValueError):
        return entry.image
