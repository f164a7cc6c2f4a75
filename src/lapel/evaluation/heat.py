"""The confusion of values as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lapel.evaluation.confusion import Confusion
from lapel.evaluation.markup import words
from lapel.files import atomic_path


def draw_heat(found: Confusion, path: Path, title: str = "") -> Path:
    """Write the matrix with its shares in percent of each row as one PNG; returns its path."""
    # Without pyplot, which would look for a display and keep state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    count, totals = len(found.values), found.matrix.sum(axis=1)
    shares = 100 * found.matrix / np.where(totals > 0, totals, 1)[:, None]
    names = [words(value).replace("$", r"\$") for value in found.values]
    side = 2.6 + 0.5 * count
    figure = Figure(figsize=(side + 0.8, side), dpi=150, layout="constrained", facecolor="#faf9f7")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    scale = LinearSegmentedColormap.from_list("teal", ["#efece6", "#74a9ab", "#1f5357"])
    axes.imshow(shares, cmap=scale, vmin=0, vmax=100)
    axes.set_xticks(range(count), names, rotation=40, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(count), [f"{n} ({t:,.3g})" for n, t in zip(names, totals, strict=True)], fontsize=8)
    axes.set_xlabel("taken for", fontsize=9)
    axes.set_ylabel("true value (queries)", fontsize=9)
    for row, column in np.argwhere(shares >= 0.5):
        share = shares[row, column]
        tone = "white" if share > 55 else "#1d1b18"
        axes.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize=8, color=tone)
    for edge in np.arange(count - 1) + 0.5:
        axes.axhline(edge, color="#faf9f7", linewidth=2)
        axes.axvline(edge, color="#faf9f7", linewidth=2)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    heading = f"{title}: {100 * found.accuracy:.0f} % named right".replace("$", r"\$")
    figure.suptitle(heading, fontsize=11, x=0.02, ha="left")
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
    return path
