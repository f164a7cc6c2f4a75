"""Bars are as long as their values, in their colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lapel.evaluation.bar_chart import Bar, draw_bars


def length(path: Path, colour: tuple[int, int, int]) -> int:
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    return int((np.abs(pixels - colour).sum(axis=2) < 6).sum(axis=1).max())


def test_bars_are_to_scale(tmp_path: Path) -> None:
    bars = [Bar("long", 80.0, 20.0, "12", "#ff0000"), Bar("short $name", 40.0, None, "3", "#0000ff")]
    path = draw_bars([("", bars)], tmp_path / "bars.png", "title", "percent", 100.0)
    red, blue = length(path, (255, 0, 0)), length(path, (0, 0, 255))
    assert abs((red + 8) / blue - 2) < 0.05  # the notch of chance covers some of the longer one


def test_panels_stand_side_by_side(tmp_path: Path) -> None:
    one, two = ([("a", [Bar("x", 1.0)])] * count for count in (1, 2))
    sizes = [Image.open(draw_bars(panels, tmp_path / f"{len(panels)}.png")).size for panels in (one, two)]
    assert sizes[1][0] == 2 * sizes[0][0]
    assert Image.open(draw_bars([("nothing", [Bar("none", 0.0)])], tmp_path / "0.png")).format == "PNG"
