"""The curves of a training: loss, and the figure it was validated by, over steps; as SVG for a page and as a PNG.

Read from ``metrics.jsonl``, which training writes. A training in stages has one in each ``stage*`` folder: their steps
are put end to end.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapel.evaluation.markup import words
from lapel.files import atomic_path

Array = NDArray[Any]
POINTS = 240
"""Points of a drawn curve, at most; more are averaged in as many groups, with their range drawn behind."""
_SHARED = ("val_map", "val_accuracy")
TITLES = {
    "val_map": "validation MAP, %",
    "val_accuracy": "validation accuracy, %",
    "val_acc@1": "validation Acc@1, %",
    "val_acc@10": "validation Acc@10, %",
    "val_tags": "validation of tags, mAP, %",
    "val_landmarks": "validation of landmarks, 100 - error, %",
    "val_branches": "validation of the branches, mean of tags and landmarks, %",
    "val_views": "validation: own other view found first, %",
}
"""What a curve of these keys is called."""
_BESIDE = ("val_acc@10", "val_tags", "val_landmarks")


@dataclass(frozen=True, eq=False)
class Curve:
    """Something over steps.

    Attributes:
        name: what it is, with its unit.
        steps: (n,) ascending.
        values: (n,)
        low, high: (n,) the range of what each point stands for.
        best: place of the best value, None where there is no best.
    """

    name: str
    steps: Array
    values: Array
    low: Array
    high: Array
    best: int | None = None


@dataclass(frozen=True, eq=False)
class Curves:
    """The curves of one run: ``loss`` and ``validation``, each None where nothing was written yet.

    Attributes:
        loss: of the training.
        validation: what the best weights were chosen by, in the last stage where stages differ in it.
        stages: steps at which a later stage of the training began.
        steps: how many steps there are.
        seconds: of training, at the last validation; None where unknown.
        beside: what else was validated of an item run.
    """

    loss: Curve | None
    validation: Curve | None
    stages: tuple[int, ...] = ()
    steps: int = 0
    seconds: float | None = None
    beside: tuple[Curve, ...] = ()

    @property
    def every(self) -> tuple[Curve, ...]:
        """All curves that there are."""
        return tuple(curve for curve in (self.loss, self.validation, *self.beside) if curve is not None)


def read_curves(run: Path) -> Curves:
    """Read the curves of a run folder; lines that are no JSON (cut short by a crash) are passed over.

    Where a step was written twice, as by a training that was interrupted and resumed, the later line holds.
    """
    folders = sorted((folder for folder in run.glob("stage*") if folder.is_dir()), key=_number)
    losses: dict[int, float] = {}
    scores: dict[str, dict[int, float]] = {}
    stages: list[int] = []
    name, seconds, start = "", 0.0, 0
    for folder in (*folders, run):
        lines = list(_lines(folder / "metrics.jsonl"))
        if not lines:
            continue
        if start:
            stages.append(start)
        for line in lines:
            step = start + int(line["step"])
            if _finite(line.get("loss")):
                losses[step] = float(line["loss"])
            known = [key for key in (*_SHARED, *(key for key in line if key.startswith("val_"))) if key in line]
            for key in (*known[:1], *(key for key in _BESIDE if key in known[1:])):
                if _finite(line[key]):
                    name = key if key == known[0] else name
                    scores.setdefault(key, {})[step] = float(line[key])
        seconds += max((float(line["seconds"]) for line in lines if _finite(line.get("seconds"))), default=0.0)
        start += max(int(line["step"]) for line in lines)
    validation = _curve(_title(name), scores.get(name, {}), whole=True)
    found = (_curve(_title(key), scores[key], whole=True) for key in _BESIDE if key in scores and key != name)
    beside = tuple(curve for curve in found if curve is not None)
    return Curves(_curve("loss", losses), validation, tuple(stages), start, seconds or None, beside)


def _title(key: str) -> str:
    return TITLES.get(key, f"validation {words(key.removeprefix('val_'))}, %")


def _number(folder: Path) -> tuple[int, str]:
    digits = folder.name.removeprefix("stage")
    return (int(digits) if digits.isdigit() else 1 << 30, folder.name)


def _lines(path: Path) -> Iterable[Mapping[str, Any]]:
    if not path.is_file():
        return
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and _finite(line.get("step")):
            yield line


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _curve(name: str, points: Mapping[int, float], whole: bool = False) -> Curve | None:
    if not points:
        return None
    steps = np.array(sorted(points), np.float64)
    values = np.array([points[int(step)] for step in steps])
    if whole or len(steps) <= POINTS:
        return Curve(name, steps, values, values, values, int(values.argmax()) if whole else None)
    groups = np.array_split(np.arange(len(steps)), POINTS)
    low, mean, high = (np.array([pick(values[group]) for group in groups]) for pick in (np.min, np.mean, np.max))
    return Curve(name, np.array([steps[group].mean() for group in groups]), mean, low, high)


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Return round numbers (1, 2 or 5 times a power of ten apart) from ``low`` to ``high``.

    >>> ticks(0.0, 7.3)
    [0.0, 2.0, 4.0, 6.0]
    """
    span = max(high - low, 1e-12)
    power = 10.0 ** math.floor(math.log10(span / count))
    step = min((m * power for m in (1, 2, 5, 10) if span / (m * power) <= count), default=10 * power)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def _limits(curve: Curve) -> tuple[float, float]:
    low, high = float(curve.low.min()), float(curve.high.max())
    room = 0.06 * (high - low) or max(abs(high) * 0.1, 0.1)
    top = min(100.0, high + room) if curve.name.endswith("%") and low < 100 else high + room
    return max(0.0, low - room) if low >= 0 else low - room, top


def _label(number: float) -> str:
    if abs(number) >= 10_000 and number % 1000 == 0:
        return f"{number / 1000:g}k"
    return f"{number:g}"


def svg(curve: Curve, stages: Sequence[int] = (), width: int = 520, height: int = 250) -> str:
    """Draw one curve as SVG whose colours are the page's; it says in words what it shows."""
    left, right, top, bottom = 52, 14, 14, 36
    low, high = _limits(curve)
    first, last = 0.0, max(float(curve.steps[-1]), 1.0)

    def x(step: float) -> float:
        return round(left + (step - first) / (last - first) * (width - left - right), 1)

    def y(value: float) -> float:
        return round(top + (high - value) / (high - low) * (height - top - bottom), 1)

    said = f"{curve.name}: from {curve.values[0]:.4g} to {curve.values[-1]:.4g} over {int(last):,} steps"
    parts = [f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(said)}">']
    for value in ticks(low, high):
        parts.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y(value)}" y2="{y(value)}"/>')
        parts.append(f'<text x="{left - 8}" y="{y(value) + 4}" text-anchor="end">{_label(value)}</text>')
    for step in (tick for tick in ticks(first, last, 5) if tick == round(tick)):
        parts.append(f'<text x="{x(step)}" y="{height - 18}" text-anchor="middle">{_label(step)}</text>')
    parts.append(f'<text x="{(left + width - right) / 2}" y="{height - 3}" text-anchor="middle">steps</text>')
    for step in stages:
        parts.append(f'<line class="stage" x1="{x(step)}" x2="{x(step)}" y1="{top}" y2="{height - bottom}"/>')
    points = [f"{x(step)},{y(value)}" for step, value in zip(curve.steps, curve.values, strict=True)]
    if (curve.low != curve.high).any():
        there = [f"{x(step)},{y(value)}" for step, value in zip(curve.steps, curve.high, strict=True)]
        back = [f"{x(step)},{y(value)}" for step, value in zip(curve.steps[::-1], curve.low[::-1], strict=True)]
        parts.append(f'<polygon class="band" points="{" ".join(there + back)}"/>')
    parts.append(f'<polyline class="curve" points="{" ".join(points)}"/>')
    if len(points) <= 40:
        parts += [
            f'<circle class="dot" cx="{x(step)}" cy="{y(value)}" r="3"/>'
            for step, value in zip(curve.steps, curve.values, strict=True)
        ]
    if curve.best is not None:
        across, down = x(curve.steps[curve.best]), y(curve.values[curve.best])
        side, shift = ("end", -9) if across > width / 2 else ("start", 9)
        below = 18 if down < top + 24 else -8
        parts.append(f'<circle class="best" cx="{across}" cy="{down}" r="5"/>')
        parts.append(
            f'<text class="best" x="{across + shift}" y="{down + below}" text-anchor="{side}">'
            f"best {curve.values[curve.best]:.1f}</text>"
        )
    return "".join([*parts, "</svg>"])


def draw_curves(found: Curves, path: Path, title: str = "") -> Path | None:
    """Write the curves as one PNG; returns its path, or None where there is nothing to draw."""
    curves = found.every
    if not curves:
        return None
    # Without pyplot, which would look for a display and keep state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(len(curves), 3)
    rows = math.ceil(len(curves) / columns)
    figure = Figure(figsize=(5.4 * columns, 3.6 * rows), dpi=150, layout="constrained", facecolor="#faf9f7")
    FigureCanvasAgg(figure)
    figure.suptitle(title.replace("$", r"\$"), fontsize=11, x=0.02, ha="left")
    for place, curve in enumerate(curves, 1):
        axes = figure.add_subplot(rows, columns, place, facecolor="#ffffff")
        axes.plot(
            curve.steps, curve.values, color="#2f6f73", linewidth=1.6, marker="o" if len(curve.steps) <= 40 else ""
        )
        axes.fill_between(curve.steps, curve.low, curve.high, color="#74a9ab", alpha=0.35, linewidth=0)
        for step in found.stages:
            axes.axvline(step, color="#9a958d", linestyle=":", linewidth=1)
        if curve.best is not None:
            best = curve.steps[curve.best], curve.values[curve.best]
            axes.plot(*best, marker="o", markersize=9, markerfacecolor="none", color="#1d1b18")
            axes.set_title(f"best {best[1]:.1f} at step {best[0]:,.0f}", fontsize=9, loc="right")
        low, high = _limits(curve)
        axes.set_ylim(low, high + 0.02 * (high - low))  # a dot at 100 % is not cut in half
        axes.set_xlim(left=0)
        axes.set_xlabel("steps", fontsize=9)
        axes.set_ylabel(curve.name.replace("$", r"\$"), fontsize=9)
        axes.grid(color="#e3dfd8", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
    return path
