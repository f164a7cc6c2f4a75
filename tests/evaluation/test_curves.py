"""Curves are read from what training wrote, whole, cut short, resumed or in stages, and drawn to scale."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from lapel.evaluation.curves import POINTS, Curve, draw_curves, read_curves, svg, ticks


def write(folder: Path, lines: list[dict[str, object]], end: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + end)
    return folder


def test_losses_and_validations_are_read_and_the_best_is_known(tmp_path: Path) -> None:
    lines: list[dict[str, object]] = [
        {"step": 10 * n, "loss": 5.0 - n, "lr": 1e-4, "images_per_s": 9.0} for n in (1, 2, 3)
    ]
    lines += [{"step": 15, "epoch": 1, "seconds": 3.0, "val_map": 40.0, "val_collar": 90.0}]
    lines += [{"step": 30, "epoch": 2, "seconds": 7.5, "val_map": 35.0, "val_collar": 10.0}]
    found = read_curves(write(tmp_path, lines, end='{"step": 40, "lo'))
    assert found.loss is not None
    assert found.validation is not None
    assert found.loss.steps.tolist() == [10, 20, 30]
    assert found.loss.values.tolist() == [4, 3, 2]
    assert found.validation.name == "validation MAP, %"
    assert found.validation.values.tolist() == [40, 35]
    assert found.validation.best == 0
    assert (found.steps, found.seconds, found.stages) == (30, 7.5, ())


def test_a_step_written_twice_counts_as_it_was_written_last(tmp_path: Path) -> None:
    found = read_curves(
        write(tmp_path, [{"step": 10, "loss": 9.0}, {"step": 20, "loss": 8.0}, {"step": 10, "loss": 1.0}])
    )
    assert found.loss is not None
    assert found.loss.values.tolist() == [1, 8]


def test_stages_are_put_end_to_end_in_their_order(tmp_path: Path) -> None:
    for number, loss in ((1, 3.0), (2, 2.0), (10, 1.0)):
        write(
            tmp_path / f"stage{number}", [{"step": 100, "loss": loss}, {"step": 100, "seconds": 5, "val_accuracy": 50}]
        )
    found = read_curves(write(tmp_path, [{"step": 50, "loss": 0.5}, {"step": 50, "seconds": 2, "val_accuracy": 60}]))
    assert found.loss is not None
    assert found.validation is not None
    assert found.loss.steps.tolist() == [100, 200, 300, 350]
    assert found.loss.values.tolist() == [3, 2, 1, 0.5]
    assert found.stages == (100, 200, 300)
    assert found.validation.name == "validation accuracy, %"
    assert (found.steps, found.seconds) == (350, 17)


def test_a_run_without_metrics_has_no_curves(tmp_path: Path) -> None:
    found = read_curves(tmp_path)
    assert (found.loss, found.validation, found.steps) == (None, None, 0)
    assert draw_curves(found, tmp_path / "curves.png") is None
    assert not (tmp_path / "curves.png").exists()


def test_many_points_become_their_means_with_their_range(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random(5 * POINTS)
    lines: list[dict[str, object]] = [{"step": 10 * n + 10, "loss": value} for n, value in enumerate(values.tolist())]
    found = read_curves(write(tmp_path, lines)).loss
    assert found is not None
    np.testing.assert_allclose(found.values, values.reshape(POINTS, 5).mean(1))
    np.testing.assert_allclose(found.low, values.reshape(POINTS, 5).min(1))
    np.testing.assert_allclose(found.high, values.reshape(POINTS, 5).max(1))
    assert "<polygon" in svg(found)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (2.15, 4.9), (72, 83), (0, 50_000), (-3, 7), (5, 5), (1e-7, 2e-7)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    found = ticks(low, high)
    assert len(found) <= 5
    assert high == low or len(found) >= 1
    slack = 1e-9 + 1e-6 * (high - low)
    assert all(low - slack <= value <= high + slack for value in found)
    for value in found:
        digits = f"{abs(value):.12e}".partition("e")[0].rstrip("0").replace(".", "")
        assert len(digits) <= 3


def test_the_svg_is_to_scale_and_says_what_it_shows() -> None:
    steps, values = np.array([0.0, 50, 100]), np.array([10.0, 20, 15])
    drawn = svg(Curve("validation <MAP>, %", steps, values, values, values, best=1), stages=(50,))
    root = ElementTree.fromstring(drawn)
    assert root.get("aria-label") == "validation <MAP>, %: from 10 to 15 over 100 steps"
    line = root.find("polyline")
    assert line is not None
    (x0, y0), (x1, y1), (x2, y2) = (
        [float(part) for part in point.split(",")] for point in line.get("points", "").split()
    )
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y1 < y2 < y0
    assert (y0 - y1) / (y2 - y1) == pytest.approx(2, abs=0.05)
    best = root.find("circle[@class='best']")
    assert best is not None
    assert (float(best.get("cx", 0)), float(best.get("cy", 0))) == (x1, y1)
    assert "best 20.0" in "".join(root.itertext())
    assert len(root.findall("line[@class='stage']")) == 1
    assert not re.search("nan|inf", drawn)


def test_steps_are_whole() -> None:
    steps = np.array([1.0, 2.0])
    root = ElementTree.fromstring(svg(Curve("loss", steps, steps, steps, steps)))
    texts = [part.text for part in root.findall("text[@text-anchor='middle']")]
    assert texts == ["0", "1", "2", "steps"]


@pytest.mark.parametrize("values", [[0.0], [100.0], [50.0, 50.0], [-1.0, 1.0], [1e9, 1e-9]])
def test_any_values_can_be_drawn(tmp_path: Path, values: list[float]) -> None:
    lines: list[dict[str, object]] = [{"step": n, "loss": value, "val_map": value} for n, value in enumerate(values)]
    found = read_curves(write(tmp_path, lines))
    assert found.loss is not None
    assert not re.search("nan|inf", svg(found.loss))
    path = draw_curves(found, tmp_path / "curves.png", "a $title$ of <run>")
    assert path is not None
    with Image.open(path) as picture:
        assert picture.width > picture.height > 300


def test_an_item_run_has_a_curve_of_each_thing_validated_and_its_stages_are_not_mixed(tmp_path: Path) -> None:
    write(
        tmp_path / "stage1",
        [{"step": 10, "loss": 3.0}, {"step": 10, "val_branches": 60.0, "val_tags": 30.0, "val_landmarks": 90.0}],
    )
    lines: list[dict[str, object]] = [{"step": 5, "loss": 2.0}]
    lines += [{"step": 5, "val_acc@1": 40.0, "val_acc@10": 70.0, "val_tags": 35.0, "val_landmarks": 91.0}]
    found = read_curves(write(tmp_path, lines))
    assert found.validation is not None
    assert found.validation.name == "validation Acc@1, %"
    assert found.validation.steps.tolist() == [15], "not the other figure of the first stage"
    told = {curve.name: (curve.steps.tolist(), curve.values.tolist()) for curve in found.beside}
    assert told == {
        "validation Acc@10, %": ([15], [70]),
        "validation of tags, mAP, %": ([10, 15], [30, 35]),
        "validation of landmarks, 100 - error, %": ([10, 15], [90, 91]),
    }
    assert len(found.every) == 5
    path = draw_curves(found, tmp_path / "curves.png")
    assert path is not None
    with Image.open(path) as picture:
        assert picture.size == (2430, 1080)


def test_the_figure_that_chooses_the_weights_is_not_drawn_twice(tmp_path: Path) -> None:
    found = read_curves(write(tmp_path, [{"step": 5, "val_tags": 40.0, "val_landmarks": 70.0}]))
    assert [curve.name for curve in found.every] == [
        "validation of tags, mAP, %",
        "validation of landmarks, 100 - error, %",
    ]
