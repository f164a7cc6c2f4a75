"""The parts of an item run's report that no other report has: the curve of Acc@K, branches, landmarks and tags."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from lapel.evaluation.accuracy_curve import AccuracyCurve, accuracy_svg
from lapel.evaluation.branch_gaze import Look, Seen
from lapel.evaluation.landmark_figures import SIDES, Guess, side_colour
from lapel.evaluation.markup import bar, image, percent, table, words
from lapel.evaluation.prediction import LandmarkResult, PredictionResult
from lapel.landmarks import LANDMARKS

SIDE = 420
"""Longest side of a picture, in pixels."""
ENDS = 10
"""Tags of each end of the list that are shown; where there are few more, all are."""


def accuracy_body(found: AccuracyCurve) -> str:
    """Return the curve of Acc@K as a card."""
    return f'<figure class="plot card accuracy">{accuracy_svg(found)}</figure>'


def looks_body(found: Sequence[Look]) -> str:
    """Return a card for each query: the query, its best right result and its first wrong one, with their maps."""
    cards = []
    for look in found:
        groups = "".join(_seen(each) for each in look.seen)
        cards.append(
            f'<article class="card"><div class="head"><h4>{escape(look.title)}</h4></div>'
            f'<div class="looks">{groups}</div></article>'
        )
    return '<div class="scale" aria-hidden="true">less<i></i>more attention</div>' + "".join(cards)


def _seen(each: Seen) -> str:
    kind, said = {True: (" right", ", ✓ right"), False: (" wrong", ", ✗ wrong"), None: ("", "")}[each.right]
    photo = image(each.photo.image, f"{each.role}{said}: {each.photo.caption}", SIDE)
    maps = "".join(
        f"<figure>{image(tile.image, f'Where the branch {tile.caption} looks on it', SIDE)}"
        f"<figcaption>{escape(tile.caption)}</figcaption></figure>"
        for tile in each.maps
    )
    return (
        f'<div class="look{kind}" style="--maps:{len(each.maps) + 1}"><figure>{photo}'
        f"<figcaption><b>{escape(each.role)}</b>{escape(said)}</figcaption></figure>{maps}</div>"
    )


def landmarks_body(guesses: Sequence[Guess], errors: LandmarkResult | None) -> str:
    """Return photographs with their landmarks and heat-maps, and the error of each landmark where it is known."""
    keys = "".join(f'<span><i class="side" style="background:{tone}"></i>{name}</span>' for name, tone in SIDES.items())
    legend = (
        f'<p class="legend">{keys}<span>disc: predicted (small: unsure)</span><span>ring: true, where known</span></p>'
    )
    cards = "".join(
        f'<article class="card judged"><div class="head"><h4>{escape(guess.title)}</h4>'
        f'<span class="tally">{escape(guess.fact)}</span></div><div class="two">'
        f"<figure>{image(guess.points.image, f'Landmarks of {guess.points.caption}', SIDE)}</figure>"
        f"<figure>{image(guess.heat.image, f'Heat-maps of {guess.points.caption}', SIDE)}</figure></div></article>"
        for guess in guesses
    )
    drawn = f'{legend}<div class="pairs">{cards}</div>' if cards else ""
    return (_errors(errors) if errors is not None else "") + drawn


def _errors(found: LandmarkResult) -> str:
    known = [
        (name, float(error), int(count), side_colour(name))
        for name, error, count in zip(LANDMARKS, found.errors, found.counts, strict=True)
        if count
    ]
    known.append(("all landmarks", found.error, int(found.counts.sum()), ""))
    most = max(error for _, error, _, _ in known) or 1.0
    heads = (
        '<th scope="col">landmark</th><th scope="col" class="num">error %</th><th scope="col" class="drawn">'
        '<span class="hidden">error as a bar</span></th><th scope="col" class="num wide">landmarks measured</th>'
    )
    rows = ""
    for name, error, count, tone in known:
        style, kind = (f' style="--fill:{tone}"', "") if tone else ("", ' class="overall"')
        rows += (
            f'<tr{kind}><th scope="row">{escape(name)}</th><td class="num strong">{percent(100 * error, 2)}</td>'
            f'<td class="drawn"{style}>{bar(96 * error / most)}</td><td class="num wide">{count:,}</td></tr>'
        )
    return table(heads, rows, "error of each landmark")


def tag_ends(found: PredictionResult) -> list[tuple[str, list[str]]]:
    """Return (heading, tags) of the tags predicted best and worst, the best first; of few tags all in one list."""
    ranked = sorted(found.attributes, key=lambda name: -found.attributes[name].ap)
    if len(ranked) <= 2 * ENDS + 4:
        return [(f"all {len(ranked)} tags" if len(ranked) > 1 else "the tag", ranked)]
    return [(f"the {ENDS} best of {len(ranked):,} tags", ranked[:ENDS]), (f"the {ENDS} worst", ranked[-ENDS:])]


def tag_name(name: str) -> str:
    """Return ``attribute=value`` as a person writes it.

    >>> tag_name("sleeve_length=three_quarter")
    'sleeve length: three quarter'
    """
    attribute, _, value = name.partition("=")
    return words(f"{attribute}: {value}" if value else attribute)


def tags_body(found: PredictionResult) -> str:
    """Return the tags predicted best and worst, as tables side by side."""
    heads = (
        '<th scope="col">tag</th><th scope="col" class="num">AP %</th><th scope="col" class="drawn">'
        '<span class="hidden">AP as a bar</span></th><th scope="col" class="num">chance %</th>'
        '<th scope="col" class="num wide">images with it</th>'
    )
    parts = []
    for heading, names in tag_ends(found):
        rows = ""
        for name in names:
            row = found.attributes[name]
            ap, chance = 100 * row.ap, 100 * row.chance
            rows += (
                f'<tr><th scope="row">{escape(tag_name(name))}</th><td class="num strong">{percent(ap)}</td>'
                f'<td class="drawn">{bar(ap, None, None, chance)}</td><td class="num">{percent(chance)}</td>'
                f'<td class="num wide">{row.positives:,} of {row.images:,}</td></tr>'
            )
        parts.append(f"<div><h3>{escape(heading)}</h3>{table(heads, rows, heading)}</div>")
    return f'<div class="ends-apart">{"".join(parts)}</div>'
