"""How many steps a recipe makes in a time on this machine, measured once, so that later load changes no result."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lapel.config import Recipe
from lapel.errors import LapelError
from lapel.files import atomic_write
from lapel.runs import RunConfig, read_config
from lapel.training import train
from lapel.training.journal import EVERY

NAME = "paces.json"
_TRIAL = 2 * EVERY  # steps; the first half warms up


def paced(recipe: Recipe, name: str, minutes: float, to: Path, quiet: bool = False) -> Recipe:
    """Return the recipe with as many steps as it makes in ``minutes`` of training, the final validation not counted.

    The pace is measured by a short trial the first time and kept in ``to/paces.json``: the same call later, on a busier
    machine or after an interruption, gives the same number of steps. That a row was trained while other work went on
    then costs time, never a fair comparison.

    The stages of a recipe share the minutes as their epochs are to each other, and each has a pace of its own: a stage
    that trains more of the model makes fewer steps in its share.

    Args:
        recipe: with stages or without.
        name: of the row in the file.
        minutes: of training, all stages together.
        to: folder of the file.
        quiet: no progress bar.

    Raises:
        LapelError: what ``lapel.training.train`` raises; the file cannot be written.
    """
    key = hashlib.sha256(json.dumps([_changed(recipe), minutes], sort_keys=True).encode()).hexdigest()
    known = _read(to / NAME)
    found = known.get(name)
    if not isinstance(found, Mapping) or found.get("recipe") != key:
        stages = recipe.resolved()
        epochs = sum(stage.training.epochs for stage in stages)
        lengths = [_length(stage, minutes * stage.training.epochs / epochs, to, quiet) for stage in stages]
        found = {"recipe": key, **({"minutes": minutes, "stages": lengths} if recipe.stages else lengths[0])}
        atomic_write(to / NAME, json.dumps({**known, name: found}, indent=2) + "\n")
    if not recipe.stages:
        return replace(recipe, training=replace(recipe.training, steps=int(found["steps"]), minutes=0.0))
    # Steps say how long a stage is; a limit by the clock, the recipe's own or a stage's, would cut it short.
    ours = [{key: value for key, value in changes.items() if key != "training.minutes"} for changes in recipe.stages]
    stages_ = [
        changes | {"training.steps": int(length["steps"])}
        for changes, length in zip(ours, found["stages"], strict=True)
    ]
    return replace(recipe, training=replace(recipe.training, minutes=0.0), stages=tuple(stages_))


def _changed(recipe: Recipe) -> dict[str, Any]:
    """Return the settings that differ from their defaults, so that a later Lapel with further ones knows it again."""
    found = {}
    usual = Recipe().to_dict()
    for section, settings in recipe.to_dict().items():
        if isinstance(settings, dict):
            settings = {name: value for name, value in settings.items() if value != usual[section][name]}
        found[section] = settings
    return found


def _length(recipe: Recipe, minutes: float, to: Path, quiet: bool) -> dict[str, float]:
    """Return how many steps a recipe without stages makes in this time, and what that follows from."""
    rate = _steps_per_second(recipe, to, quiet)
    return {"minutes": minutes, "steps_per_second": rate, "steps": max(1, round(60 * minutes * rate))}


def _steps_per_second(recipe: Recipe, to: Path, quiet: bool) -> float:
    """Train for a moment in a folder that is then removed."""
    to.mkdir(parents=True, exist_ok=True)
    settings = replace(recipe.training, steps=_TRIAL, minutes=0.0, validate_every=1_000_000)
    trial = replace(recipe, training=settings)
    with tempfile.TemporaryDirectory(prefix=".pace-", dir=to) as folder:
        run = train(trial, Path(folder) / "run", quiet=quiet)
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
        images = images_per_step(read_config(run))
    speeds = {line["step"]: float(line["images_per_s"]) for line in lines if "loss" in line}
    if not speeds.get(_TRIAL):
        raise LapelError(f"the trial that measures the pace ended after {max(speeds, default=0)} of {_TRIAL} steps")
    return speeds[_TRIAL] / images


def images_per_step(config: RunConfig) -> int:
    """Return how many images one step of one process of a run reads, each as often as it is seen."""
    settings = config.recipe.training
    if "images_per_step" in config.protocol:  # of an item run
        return int(config.protocol["images_per_step"])
    if settings.batching == "pairs":
        return min(settings.batch, int(config.protocol["train"]))
    return 3 * settings.batch


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}  # none yet, or none that can be read: measured anew
