"""Measured figures as a picture of horizontal bars, in one panel or several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lapel.evaluation.figures import shortened
from lapel.files import atomic_path

TEAL, INK, MUTED, PAPER, NOTCH = "#74a9ab", "#1d1b18", "#66615a", "#faf9f7", "#c62828"


class Bar(NamedTuple):
    """One bar.

    Attributes:
        name: what it is of.
        value: its length.
        chance: where a notch stands, None without one.
        note: said in grey behind the value, such as a count.
        colour: of the bar.
    """

    name: str
    value: float
    chance: float | None = None
    note: str = ""
    colour: str = TEAL


def draw_bars(
    panels: Sequence[tuple[str, Sequence[Bar]]], path: Path, title: str = "", unit: str = "", full: float | None = None
) -> Path:
    """Write bars as one PNG; returns its path.

    Args:
        panels: (heading, bars from top to bottom), side by side, on one scale.
        path: of the PNG.
        title: a line on top.
        unit: what the axis counts.
        full: end of the axis; None: a little beyond the longest bar.
    """
    # Without pyplot, which would look for a display and keep state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    longest = max((max(bar.value, bar.chance or 0.0) for _, bars in panels for bar in bars), default=0.0)
    end = full if full is not None else 1.05 * longest or 1.0
    most = max(len(bars) for _, bars in panels)
    figure = Figure(figsize=(5.6 * len(panels), 1.3 + 0.3 * most), dpi=150, layout="constrained", facecolor=PAPER)
    FigureCanvasAgg(figure)
    figure.suptitle(title.replace("$", r"\$"), fontsize=11, x=0.02, ha="left")
    for place, (heading, bars) in enumerate(panels, 1):
        axes = figure.add_subplot(1, len(panels), place, facecolor=PAPER)
        rows = range(len(bars))
        axes.barh(rows, [bar.value for bar in bars], height=0.66, color=[bar.colour for bar in bars])
        for row, bar in zip(rows, bars, strict=True):
            if bar.chance is not None:
                axes.plot([bar.chance] * 2, [row - 0.42, row + 0.42], color=NOTCH, linewidth=2)
            said = f"{bar.value:.1f}"
            axes.annotate(
                said, (end, row), (6, 0), textcoords="offset points", va="center", fontsize=8.5, color=INK,
                annotation_clip=False,
            )  # fmt: skip
            axes.annotate(
                bar.note.replace("$", r"\$"), (end, row), (36, 0), textcoords="offset points", va="center",
                fontsize=7.5, color=MUTED, annotation_clip=False,
            )  # fmt: skip
        axes.set_yticks(rows, [shortened(bar.name, 34).replace("$", r"\$") for bar in bars], fontsize=8.5)
        axes.set_ylim(most - 0.4, -0.6)  # the first on top, and panels of fewer bars no thicker
        axes.set_xlim(0, end)
        axes.set_xlabel(unit, fontsize=8.5)
        axes.set_title(heading.replace("$", r"\$"), fontsize=9.5, loc="left")
        axes.grid(axis="x", color="#e3dfd8", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(length=0, labelsize=8.5)
        for spine in axes.spines.values():
            spine.set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
    return path
