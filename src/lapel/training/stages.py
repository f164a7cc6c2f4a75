"""Training in stages: each starts from the best weights of the one before, with some settings of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lapel.config import Recipe
from lapel.errors import RunError
from lapel.runs import CONFIG
from lapel.training.checkpoint import begun, check_folder

Train = Callable[[Recipe, Path, bool], object]


def train_stages(recipe: Recipe, run: Path, resume: bool, train: Train) -> Path:
    """Train the stages of a recipe: the last one in ``run``, those before in ``run/stage1``, ``run/stage2``, ...

    It may be stopped at any point, between two stages too, and resumed: a stage that was finished is not trained again.

    Args:
        recipe: with stages.
        run: the folder.
        resume: go on with what has begun there.
        train: trains one stage: its recipe, its folder, whether to resume.

    Returns:
        ``run``.

    Raises:
        RunError: a run is already there (without ``resume``), none is (with it), or the folder holds something else.
        RecipeError: what is there was trained with other settings.
    """
    stages = layout(recipe, run)
    # Asked before anything is written, so that all processes of one training find the same.
    there = [(folder / CONFIG).exists() for _, folder in stages]
    if not begun(run):
        check_folder(run, stages[0][0], resume)
    elif not resume:
        raise RunError(f"{run} already holds a run: continue it with --resume, or give another folder with --to")
    for exists, (stage, folder) in zip(there, stages, strict=True):
        if exists:
            check_folder(folder, stage, resume=True)
    for number, (stage, folder) in enumerate(stages):
        # A stage begins when the one before has ended.
        if not any(there[number + 1 :]):
            train(stage, folder, there[number])
    return run


def layout(recipe: Recipe, run: Path) -> list[tuple[Recipe, Path]]:
    """Return each stage's recipe and folder, in order; a recipe without stages is its only one, in ``run``."""
    found = recipe.resolved()
    folders = [*(run / f"stage{number}" for number in range(1, len(found))), run]
    for number, before in enumerate(folders[:-1], 1):
        stage = found[number]
        found[number] = replace(stage, model=replace(stage.model, init=str(before.resolve())))
    return list(zip(found, folders, strict=True))
