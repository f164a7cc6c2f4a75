"""The length of a row in steps: measured once, kept, and measured again only for another recipe or time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lapel.config import Recipe
from lapel.reproduction import pace
from lapel.reproduction.pace import NAME, paced

from ..training_world import draw, recipe


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return recipe(draw(tmp_path_factory.mktemp("data") / "shapes"))


def test_it_is_measured_by_a_trial_that_leaves_nothing(ours: Recipe, tmp_path: Path) -> None:
    found = paced(ours, "row", 0.5, tmp_path, quiet=True)
    stored = json.loads((tmp_path / NAME).read_text())["row"]
    assert found == replace(ours, training=replace(ours.training, steps=stored["steps"]))
    assert stored["steps"] == max(1, round(30 * stored["steps_per_second"])) > 1
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_it_is_kept_however_busy_the_machine_is_later(
    ours: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = iter([2.0, 7.0, 9.0, 11.0])
    monkeypatch.setattr(pace, "_steps_per_second", lambda *_: next(rates))
    steps = [paced(ours, "row", minutes, tmp_path).training.steps for minutes in (1.0, 1.0)]
    assert steps == [120, 120]
    assert paced(ours, "another", 1.0, tmp_path).training.steps == 420
    assert paced(ours, "row", 0.5, tmp_path).training.steps == 270, "another time"
    assert paced(ours, "another", 1.0, tmp_path).training.steps == 420
    (tmp_path / NAME).write_text("{")
    assert paced(ours, "row", 0.5, tmp_path).training.steps == 330, "a damaged file"


def test_a_setting_that_is_new_in_a_later_version_changes_no_pace(
    ours: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = iter([2.0, 7.0])
    monkeypatch.setattr(pace, "_steps_per_second", lambda *_: next(rates))
    older = Recipe.to_dict

    def newer(self: Recipe) -> dict[str, Any]:
        data = older(self)
        data["training"]["invented"] = 1.0
        return data

    assert paced(ours, "row", 1.0, tmp_path).training.steps == 120
    monkeypatch.setattr(Recipe, "to_dict", newer)
    assert paced(ours, "row", 1.0, tmp_path).training.steps == 120
    other = replace(ours, training=replace(ours.training, lr=0.123))
    assert paced(other, "row", 1.0, tmp_path).training.steps == 420


def test_a_recipe_with_steps_trains_exactly_those(ours: Recipe, tmp_path: Path) -> None:
    from lapel.training import train

    run = train(replace(ours, training=replace(ours.training, steps=7)), tmp_path / "run", quiet=True)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert max(line["step"] for line in lines) == 7
