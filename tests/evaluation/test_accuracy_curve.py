"""The curve of Acc@K is that of the table, at every K."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from lapel.evaluation.accuracy_curve import accuracy_curve, accuracy_svg, draw_accuracy
from lapel.evaluation.instances import ItemResult, instance_retrieval
from lapel.protocol import ItemProtocol, Side

from .item_world import random_world


def result_of(seed: int = 0, ks: tuple[int, ...] = (1, 3, 7)) -> ItemResult:
    catalogue, _, vectors = random_world(seed)
    protocol = ItemProtocol(query=Side(domain="consumer"), gallery=Side(domain="shop"), ks=ks)
    return instance_retrieval(vectors, catalogue, protocol, seed=seed)


def test_it_goes_through_the_figures_of_the_table() -> None:
    result = result_of()
    found = accuracy_curve(result)
    assert found.ks.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert found.marked == (1, 3, 7)
    for k, interval, chance in zip(result.ks, result.accuracy, result.chance, strict=True):
        place = k - 1
        assert [found.values[place], found.low[place], found.high[place]] == pytest.approx([100 * v for v in interval])
        assert found.chance[place] == pytest.approx(100 * chance)
    ranks = result.ranks.rank
    slow = [100 * float(np.mean([0 < rank <= k for rank in ranks])) for k in range(1, 8)]
    assert found.values.tolist() == pytest.approx(slow)


def test_its_svg_is_to_scale_and_says_what_it_shows() -> None:
    found = accuracy_curve(result_of(1))
    root = ElementTree.fromstring(accuracy_svg(found))
    said = root.attrib["aria-label"]
    assert f"{found.values[2]:.1f} % at 3" in said
    lines = {line.attrib["class"]: line.attrib["points"] for line in root.iter("polyline")}
    heights = [float(point.split(",")[1]) for point in lines["curve"].split()]
    grid = {text.text: float(text.attrib["y"]) - 4 for text in root.iter("text") if (text.text or "").isdigit()}
    for height, value in zip(heights, found.values, strict=True):
        assert height == pytest.approx(grid["0"] + (grid["100"] - grid["0"]) * value / 100, abs=0.11)
    assert lines["chance"] != lines["curve"]
    assert len([*root.iter("circle")]) == 3


@pytest.mark.parametrize("ks", [(1,), (1, 10, 20, 30, 40, 50), (1, 2, 3, 50), (20,)], ids=str)
def test_any_choice_of_k_can_be_drawn(ks: tuple[int, ...], tmp_path: Path) -> None:
    found = accuracy_curve(result_of(2, ks))
    labels = re.findall(r'text-anchor="middle">(\d+)<', accuracy_svg(found))
    assert "1" in labels or ks == (20,)
    assert len(labels) == len(set(labels))
    with Image.open(draw_accuracy(found, tmp_path / "accuracy.png", "$x$")) as picture:
        assert (picture.format, picture.size) == ("PNG", (1110, 600))
