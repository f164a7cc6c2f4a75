"""Acc@K over every K, with its interval and chance: as SVG for a page and as a PNG."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapel.evaluation.curves import ticks
from lapel.evaluation.instances import ItemResult
from lapel.evaluation.ranking import accuracy_at, chance_accuracy, share_interval
from lapel.files import atomic_path

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class AccuracyCurve:
    """Acc@K for K from 1 to the protocol's greatest, in percent.

    Attributes:
        ks: (n,) 1, 2, 3, ...
        values, low, high: (n,) the figure and its 95 % interval.
        chance: (n,) of a random order.
        marked: the K of the protocol.
    """

    ks: Array
    values: Array
    low: Array
    high: Array
    chance: Array
    marked: tuple[int, ...]


def accuracy_curve(result: ItemResult, seed: int = 0, samples: int = 2000) -> AccuracyCurve:
    """Return the curve of a result, each point with the interval that its table has."""
    ks = np.arange(1, max(result.ks) + 1)
    hits = accuracy_at(result.ranks, ks.tolist())
    found = 100 * np.array([share_interval(hit, samples, seed) for hit in hits])
    chance = 100 * chance_accuracy(result.ranks, ks.tolist()).mean(axis=1)
    return AccuracyCurve(ks, found[:, 0], found[:, 1], found[:, 2], chance, tuple(sorted(result.ks)))


def accuracy_svg(found: AccuracyCurve, width: int = 760, height: int = 300) -> str:
    """Draw the curve as SVG whose colours are the page's; it says in words what it shows."""
    left, right, top, bottom = 46, 84, 12, 38
    first, last = int(found.ks[0]), max(int(found.ks[-1]), int(found.ks[0]) + 1)

    def x(k: float) -> float:
        return round(left + (k - first) / (last - first) * (width - left - right), 1)

    def y(value: float) -> float:
        return round(top + (100 - value) / 100 * (height - top - bottom), 1)

    marked = {k: float(found.values[k - first]) for k in found.marked}
    said = ", ".join(f"{value:.1f} % at {k}" for k, value in marked.items())
    parts = [f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="Accuracy at K: {said}">']
    for value in (0, 25, 50, 75, 100):
        parts.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y(value)}" y2="{y(value)}"/>')
        parts.append(f'<text x="{left - 8}" y="{y(value) + 4}" text-anchor="end">{value}</text>')
    for k in _places(found):
        parts.append(f'<text x="{x(k)}" y="{height - 20}" text-anchor="middle">{k}</text>')
    parts.append(f'<text x="{(left + width - right) / 2}" y="{height - 4}" text-anchor="middle">first K results</text>')
    band = [f"{x(k)},{y(v)}" for k, v in zip(found.ks, found.high, strict=True)]
    band += [f"{x(k)},{y(v)}" for k, v in zip(found.ks[::-1], found.low[::-1], strict=True)]
    parts.append(f'<polygon class="band" points="{" ".join(band)}"/>')
    for kind, values in (("chance", found.chance), ("curve", found.values)):
        points = " ".join(f"{x(k)},{y(v)}" for k, v in zip(found.ks, values, strict=True))
        parts.append(f'<polyline class="{kind}" points="{points}"/>')
    parts += [f'<circle class="dot" cx="{x(k)}" cy="{y(value)}" r="3.5"/>' for k, value in marked.items()]
    above = max(float(found.values[-1]), 7.0)
    for name, share in (("Acc@K", above), ("chance", min(float(found.chance[-1]), above - 7))):
        parts.append(f'<text class="end" x="{width - right + 8}" y="{y(share) + 4}">{name}</text>')
    return "".join([*parts, "</svg>"])


def _places(found: AccuracyCurve) -> list[int]:
    """Return the K under the axis: the protocol's where they are far enough apart, else round ones."""
    span = max(int(found.ks[-1]) - 1, 1)
    gaps = np.diff(found.marked)
    if len(found.marked) > 1 and gaps.min() / span >= 0.06:
        return list(found.marked)
    return [1, *(round(k) for k in ticks(1, float(found.ks[-1]), 6) if k == round(k) and k > 1)]


def draw_accuracy(found: AccuracyCurve, path: Path, title: str = "") -> Path:
    """Write the curve as one PNG; returns its path."""
    # Without pyplot, which would look for a display and keep state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.4, 4.0), dpi=150, layout="constrained", facecolor="#faf9f7")
    FigureCanvasAgg(figure)
    figure.suptitle(title.replace("$", r"\$"), fontsize=11, x=0.02, ha="left")
    axes = figure.add_subplot(facecolor="#ffffff")
    axes.fill_between(found.ks, found.low, found.high, color="#74a9ab", alpha=0.35, linewidth=0)
    axes.plot(found.ks, found.values, color="#2f6f73", linewidth=1.8, label="Acc@K with its 95 % interval")
    for k in found.marked:
        value = found.values[k - 1]
        axes.plot(k, value, "o", color="#2f6f73", markersize=4)
        shift, side = ((0, 8 if value < 92 else -14), "center") if k > 1 else ((9, -8), "left")
        axes.annotate(f"{value:.1f}", (k, value), shift, textcoords="offset points", fontsize=8, ha=side)
    axes.plot(found.ks, found.chance, color="#c62828", linewidth=1.2, linestyle="--", label="chance")
    axes.set_ylim(0, 100)
    axes.set_xlim(1 - 0.02 * len(found.ks), int(found.ks[-1]) + 0.02 * len(found.ks))
    axes.set_xticks(_places(found))
    axes.set_xlabel("first K results", fontsize=9)
    axes.set_ylabel("Acc@K, %", fontsize=9)
    axes.grid(color="#e3dfd8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=8.5, frameon=False, loc="best")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
    return path
