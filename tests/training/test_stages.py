"""Training in stages: each starts where the one before ended; stopped anywhere and resumed it ends as uninterrupted."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lapel.config import Recipe
from lapel.errors import CatalogueError, LapelError, RecipeError, RunError
from lapel.evaluate import evaluate
from lapel.runs import CONFIG, WEIGHTS, read_config
from lapel.training import attribute_work, loop, train
from lapel.training.checkpoint import begun
from lapel.training.objective import Objective

from ..training_world import assert_same_run, at_step, ctrl_c, draw, last, lines, recipe, stop

# Five steps an epoch: 5 in the first stage, 10 in the second, 5 in the third.
STAGES: tuple[dict[str, Any], ...] = (
    {"training.epochs": 1, "model.options.sa": False},
    {"training.epochs": 2, "image.flip": False, "training.rates": {"trunk": 1e-3}},
    {"training.epochs": 1, "training.lr": 1e-3},
)


def staged(catalogue: Path, **settings: Any) -> Recipe:
    return replace(recipe(catalogue, **settings), stages=STAGES)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("data") / "shapes")


@pytest.fixture(scope="module")
def whole(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All stages, uninterrupted."""
    return train(staged(catalogue), tmp_path_factory.mktemp("whole") / "run", quiet=True)


def assert_same(run: Path, expected: Path) -> None:
    for folder in ("stage1", "stage2", "."):
        assert_same_run(run / folder, expected / folder)
    assert {path.name for path in run.iterdir()} == {path.name for path in expected.iterdir()}


def test_every_stage_is_a_run_and_the_last_one_is_the_run(whole: Path, catalogue: Path) -> None:
    assert {path.name for path in whole.iterdir() if path.is_dir()} == {"stage1", "stage2", "tensorboard"}
    recipes = [read_config(whole / folder).recipe for folder in ("stage1", "stage2", ".")]
    assert [found.training.epochs for found in recipes] == [1, 2, 1]
    assert [found.training.lr for found in recipes] == [3e-3, 3e-3, 1e-3]
    assert [found.image.flip for found in recipes] == [True, False, True]
    assert [found.stages for found in recipes] == [(), (), ()]
    starts = [str((whole / folder).resolve()) for folder in ("stage1", "stage2")]
    assert [found.model.init for found in recipes] == ["", *starts]
    assert [max(line["step"] for line in lines(whole / folder)) for folder in ("stage1", "stage2", ".")] == [5, 10, 5]
    assert evaluate(whole, split="val", quiet=True).map > 0
    assert begun(whole)


def test_a_stage_starts_from_the_best_weights_of_the_one_before(catalogue: Path, tmp_path: Path) -> None:
    """At a rate of next to nothing it ends where it started; what the first lacked is new."""
    slow = ({"training.epochs": 1, "model.options.sa": False}, {"training.epochs": 1, "training.lr": 1e-9})
    run = train(replace(recipe(catalogue, average=0.0), stages=slow), tmp_path / "run", quiet=True)
    first, second = load_file(run / "stage1" / WEIGHTS), load_file(run / WEIGHTS)
    assert {name.split(".")[0] for name in second.keys() - first.keys()} == {"sa"}
    for name, parameter in first.items():
        if parameter.is_floating_point() and "running" not in name:
            torch.testing.assert_close(second[name], parameter, atol=1e-6, rtol=0)


def test_one_stage_is_a_recipe_with_other_settings(catalogue: Path, tmp_path: Path) -> None:
    one = replace(recipe(catalogue), stages=({"training.epochs": 1},))
    run = train(one, tmp_path / "run", quiet=True)
    assert_same_run(run, train(recipe(catalogue, epochs=1), tmp_path / "plain", quiet=True))


STOPS: dict[str, tuple[Any, str, int, Callable[[], None], list[str]]] = {
    # owner, function, call, what happens, folders that have begun
    "in stage 1": (Objective, "forward", 3, ctrl_c, ["stage1"]),
    "after the last step of stage 1": (attribute_work, "validate", 1, stop, ["stage1"]),
    "between stages": (attribute_work, "held_out", 2, stop, ["stage1"]),
    "in stage 2 before its first state": (loop, "Journal", 2, stop, ["stage1", "stage2"]),
    "in stage 2": (Objective, "forward", 12, ctrl_c, ["stage1", "stage2"]),
    "between stages 2 and 3": (attribute_work, "start_from", 2, stop, ["stage1", "stage2"]),
    "in stage 3": (Objective, "forward", 18, ctrl_c, ["stage1", "stage2", "."]),
}


@pytest.mark.parametrize("name", STOPS)
def test_interrupted_and_resumed_equals_uninterrupted(name: str, whole: Path, catalogue: Path, tmp_path: Path) -> None:
    owner, function, call, action, there = STOPS[name]
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, owner, function, call, action)
        with pytest.raises(KeyboardInterrupt):
            train(staged(catalogue), run, quiet=True)
    assert [folder for folder in ("stage1", "stage2", ".") if (run / folder / CONFIG).exists()] == there
    assert begun(run)
    with pytest.raises(RunError, match="already holds a run: continue it with --resume"):
        train(staged(catalogue), run, quiet=True)
    with pytest.MonkeyPatch.context() as patch:
        trained: list[Path] = []
        original = loop.check_folder
        patch.setattr(loop, "check_folder", lambda run, *rest: (trained.append(run), original(run, *rest)))
        train(staged(catalogue), run, resume=True, quiet=True)
    assert len(trained) == 4 - len(there), "the stage that was stopped and those after it"
    assert_same(run, whole)


def test_resuming_what_is_finished_changes_nothing(whole: Path, catalogue: Path) -> None:
    before = [(whole / folder / WEIGHTS).read_bytes() for folder in ("stage1", "stage2", ".")]
    train(staged(catalogue), whole, resume=True, quiet=True)
    assert [(whole / folder / WEIGHTS).read_bytes() for folder in ("stage1", "stage2", ".")] == before


def test_a_run_that_was_moved_resumes(whole: Path, catalogue: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, Objective, "forward", 12, ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            train(staged(catalogue), tmp_path / "run", quiet=True)
    (tmp_path / "run").rename(tmp_path / "moved")
    train(staged(catalogue), tmp_path / "moved", resume=True, quiet=True)
    assert_same(tmp_path / "moved", whole)


PROGRAM = """
import os, signal, socket, sys
from dataclasses import replace
from pathlib import Path
import torch
import torch.utils.tensorboard  # once, before the forks
from lapel.training import attribute_work, loop
from lapel.training.objective import Objective
sys.path.insert(0, {tests!r})
from training_world import recipe

torch.set_num_threads(1)
for place, number in {kills!r}:
    child = os.fork()
    if child == 0:
        loop.SAVE_SECONDS = -1.0  # the state is saved after every step
        owner, name = {{"forward": (Objective, "forward"), "weights": (loop, "save_weights"),
                       "start": (attribute_work, "start_from")}}[place]
        original, calls = getattr(owner, name), [0]
        def hooked(*arguments, **options):
            calls[0] += 1
            if calls[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)
        setattr(owner, name, hooked)
        try:
            asked = replace(recipe({catalogue!r}), stages={stages!r})
            loop.train(asked, Path({folder!r}) / f"{{place}}-{{number}}", quiet=True)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, (place, number)

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
children = []
for rank in range(2):
    child = os.fork()
    if child == 0:
        os.environ |= {{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
                       "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test"}}
        try:
            asked = replace(recipe({catalogue!r}, batch=4), stages={stages!r})
            loop.train(asked, Path({folder!r}) / "two", quiet=True)
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
        os._exit(1)
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
"""
# In stage 1; as stage 1 writes its weights; between stages 1 and 2; in stage 2; in stage 3.
KILLS = [("forward", 4), ("weights", 1), ("start", 1), ("forward", 9), ("forward", 19)]


@pytest.fixture(scope="module")
def killed(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trainings that kill -9 ended, and one of two processes."""
    folder = tmp_path_factory.mktemp("killed")
    places = {"tests": str(Path(__file__).parents[1]), "catalogue": str(catalogue), "folder": str(folder)}
    program = folder / "program.py"
    program.write_text(PROGRAM.format(**places, kills=KILLS, stages=STAGES))
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(("place", "number"), KILLS)
def test_killed_and_resumed_equals_uninterrupted(
    place: str, number: int, killed: Path, whole: Path, catalogue: Path
) -> None:
    run = killed / f"{place}-{number}"
    train(staged(catalogue), run, resume=True, quiet=True)
    assert_same(run, whole)


def test_two_processes_train_all_stages(killed: Path) -> None:
    run = killed / "two"
    assert [max(line["step"] for line in lines(run / folder)) for folder in ("stage1", "stage2", ".")] == [5, 10, 5]
    assert last(run)["state"]["processes"] == 2
    assert evaluate(run, split="val", quiet=True).map > 0


def test_another_recipe_cannot_resume_not_even_a_stage_that_is_done(
    whole: Path, catalogue: Path, tmp_path: Path
) -> None:
    first = ({**STAGES[0], "training.lr": 0.5}, *STAGES[1:])
    for asked, message in [
        (replace(staged(catalogue), stages=first), r"stage1 was trained with training\.lr = 0\.003"),
        (staged(catalogue, seed=1), r"training\.seed = 0, asked to resume with 1"),
        (recipe(catalogue), "was trained with"),
    ]:
        with pytest.raises(RecipeError, match=message):
            train(asked, whole, resume=True, quiet=True)


def test_folders_that_are_not_to_be_written_in(whole: Path, catalogue: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nothing to resume at"):
        train(staged(catalogue), tmp_path / "nowhere", resume=True, quiet=True)
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(RunError, match="is not empty and is no run folder"):
        train(staged(catalogue), tmp_path, quiet=True)
    half = tmp_path / "half"
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, Objective, "forward", 3, ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            train(staged(catalogue), half, quiet=True)
    with pytest.raises(RunError, match="is not empty and is no run folder"):
        train(recipe(catalogue), half, quiet=True)


@pytest.mark.parametrize(
    ("stages", "kind", "message"),
    [
        (({}, {"model.options.width": 8}), RecipeError, r"model\.init: .* is \(.*\) in .* and \(.*\) here"),
        (({}, {"data.attributes": ["nothing"]}), CatalogueError, "unknown attribute 'nothing'"),
    ],
)
def test_a_stage_that_does_not_fit_the_one_before(
    stages: Any, kind: type[LapelError], message: str, catalogue: Path, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=message):
        train(replace(recipe(catalogue, epochs=1), stages=stages), tmp_path / "run", quiet=True)
    assert last(tmp_path / "run" / "stage1")["state"]["step"] == 5
    assert not (tmp_path / "run" / CONFIG).exists()
