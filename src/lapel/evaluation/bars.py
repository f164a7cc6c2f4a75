"""Measured figures as a table on a page: each with its interval and chance, as numbers and as a bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from lapel.evaluation.markup import bar, interval, percent, table, words


@dataclass(frozen=True)
class Figure:
    """One measured figure, in percent; ``counts`` are further cells of its row."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    counts: Sequence[str] = ()

    @classmethod
    def of(cls, name: str, found: tuple[float, float, float], chance: float | None, *counts: str) -> Figure:
        """Return the figure of a share with the ends of its interval, all between 0 and 1."""
        value, low, high = (100 * share for share in found)
        return cls(name, value, low, high, None if chance is None else 100 * chance, counts)


def figures_table(
    figures: Sequence[Figure], overall: Figure, heading: str, counts: Sequence[str] = (), first: str = "attribute"
) -> str:
    """Return a table of figures with their intervals as bars; ``heading`` names the figure.

    ``overall`` stands out: where it stands if it is one of the figures, else it comes last.
    """
    heads = (
        f'<th scope="col">{escape(first)}</th><th scope="col" class="num">{escape(heading)} %</th>'
        f'<th scope="col" class="drawn"><span class="hidden">{escape(heading)} as a bar</span></th>'
        '<th scope="col" class="num">95 % interval</th><th scope="col" class="num">chance %</th>'
        + "".join(f'<th scope="col" class="num wide">{escape(count)}</th>' for count in counts)
    )
    rows = "".join(
        _figure_row(figure, len(counts), ' class="overall"' if figure is overall else "")
        for figure in (figures if any(figure is overall for figure in figures) else [*figures, overall])
    )
    return table(heads, rows, heading)


def figures_key(heading: str) -> str:
    """Return what the bars of a table of figures say."""
    return (
        f'<p class="drawn">Bar: {escape(heading)}; <span class="key span-key"></span> line: 95 % interval; '
        '<span class="key chance-key"></span> notch: chance.</p>'
    )


def _figure_row(figure: Figure, counts: int, kind: str = "") -> str:
    cells = [*figure.counts, *[""] * counts][:counts]
    return (
        f'<tr{kind}><th scope="row">{escape(words(figure.name))}</th>'
        f'<td class="num strong">{percent(figure.value)}</td>'
        f'<td class="drawn">{bar(figure.value, figure.low, figure.high, figure.chance)}</td>'
        f'<td class="num">{interval(figure.low, figure.high)}</td><td class="num">{percent(figure.chance)}</td>'
        + "".join(f'<td class="num wide">{escape(cell)}</td>' for cell in cells)
        + "</tr>"
    )
