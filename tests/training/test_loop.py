"""Training: it learns; stopped anywhere and resumed it ends as if uninterrupted; it refuses what it must."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from lapel.config import from_dict
from lapel.errors import CatalogueError, ImageError, LapelError, RecipeError, RunError
from lapel.evaluate import evaluate
from lapel.runs import CONFIG, WEIGHTS, note, read_config, stored_fingerprint
from lapel.training import attribute_work, loop, train
from lapel.training.checkpoint import NAME
from lapel.training.journal import Journal
from lapel.training.objective import Objective

from ..training_world import assert_same_run, at_step, change, ctrl_c, draw, last, lines, recipe, stop

MODES: dict[str, dict[str, Any]] = {
    "pairs": {},
    "triplets": {"batching": "triplets", "optimiser": "adam", "schedule": "step", "combine": "learned"},
}
STEPS = 5  # of an epoch, in every mode


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("data") / "shapes")


@pytest.fixture(scope="module")
def whole(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One uninterrupted run of each mode."""
    folder = tmp_path_factory.mktemp("whole")
    return {mode: train(recipe(catalogue, **changes), folder / mode, quiet=True) for mode, changes in MODES.items()}


def test_it_learns_and_describes_itself(catalogue: Path, tmp_path: Path) -> None:
    run = train(recipe(catalogue, epochs=10, average=0.0), tmp_path / "run", quiet=True)
    result = evaluate(run, split="val", quiet=True)
    assert result.map > result.chance + 0.3
    assert note(run)["map"] == pytest.approx(100 * result.map, abs=1e-3)
    config = read_config(run)
    assert dict(config.attributes) == {"colour": ("Blue", "Green", "Red"), "shape": ("bar", "disc")}
    assert config.protocol["train"] == 40
    assert config.protocol["val"] == 20
    best = max(line["val_map"] for line in lines(run) if "epoch" in line)
    assert note(run)["map"] == pytest.approx(best, abs=1e-3)
    assert list((run / "tensorboard").iterdir())
    assert not (run / "skipped.json").exists()


def test_a_small_catalogue_gets_more_passes(catalogue: Path, tmp_path: Path) -> None:
    run = train(recipe(catalogue, epochs=1, min_steps=8), tmp_path / "run", quiet=True)
    assert [line["step"] for line in lines(run) if "epoch" in line] == [5, 10]


@pytest.mark.parametrize("mode", MODES)
def test_the_same_twice(mode: str, whole: dict[str, Path], catalogue: Path, tmp_path: Path) -> None:
    assert_same_run(train(recipe(catalogue, **MODES[mode]), tmp_path / "run", quiet=True), whole[mode])
    assert [line["step"] for line in lines(whole[mode])] == [5, 10, 10, 15]
    assert {"loss", "lr", "images_per_s"} < lines(whole[mode])[1].keys()
    assert {"val_map", "val_colour", "val_shape", "seconds"} < lines(whole[mode])[0].keys()


STOPS: dict[str, tuple[Any, str, int, Callable[[], None], int]] = {
    # owner, function, call, what happens, step of the state that is left
    "ctrl-c inside step 8": (Objective, "forward", 8, ctrl_c, 8),
    "ctrl-c inside the last step of an epoch": (Objective, "forward", 10, ctrl_c, 10),
    "ctrl-c inside the last step": (Objective, "forward", 15, ctrl_c, 15),
    "between steps": (Journal, "step", 3, stop, 3),
    "while validating": (attribute_work, "validate", 2, stop, 10),
    "while writing the best weights": (loop, "save_weights", 1, stop, 5),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", STOPS)
def test_interrupted_and_resumed_equals_uninterrupted(
    name: str, mode: str, whole: dict[str, Path], catalogue: Path, tmp_path: Path
) -> None:
    owner, function, call, action, step = STOPS[name]
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, owner, function, call, action)
        with pytest.raises(KeyboardInterrupt):
            train(recipe(catalogue, **MODES[mode]), tmp_path / "run", quiet=True)
    assert last(tmp_path / "run")["state"]["step"] == step
    train(recipe(catalogue, **MODES[mode]), tmp_path / "run", resume=True, quiet=True)
    assert_same_run(tmp_path / "run", whole[mode])


def test_a_second_ctrl_c_stops_inside_the_step_and_keeps_the_state_before(
    whole: dict[str, Path], catalogue: Path, tmp_path: Path
) -> None:
    """Half a step changes weights, moments and batch statistics: saving it would not be the same training."""
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, torch.optim.AdamW, "step", 8, lambda: (ctrl_c(), ctrl_c())[0])
        with pytest.raises(KeyboardInterrupt):
            train(recipe(catalogue), tmp_path / "run", quiet=True)
    assert last(tmp_path / "run")["state"]["step"] == 5
    train(recipe(catalogue), tmp_path / "run", resume=True, quiet=True)
    assert_same_run(tmp_path / "run", whole["pairs"])


def test_resuming_what_is_finished_changes_nothing(whole: dict[str, Path], catalogue: Path) -> None:
    before = (whole["pairs"] / WEIGHTS).read_bytes(), (whole["pairs"] / "metrics.jsonl").read_bytes()
    train(recipe(catalogue), whole["pairs"], resume=True, quiet=True)
    assert before == ((whole["pairs"] / WEIGHTS).read_bytes(), (whole["pairs"] / "metrics.jsonl").read_bytes())


PROGRAM = """
import os, signal, socket, sys
from pathlib import Path
import torch
import torch.utils.tensorboard  # once, before the forks
from lapel.training import attribute_work, loop
from lapel.training.objective import Objective
from lapel.training.optimiser import make_optimiser, set_rate
sys.path.insert(0, {tests!r})
from training_world import recipe

catalogue, folder, modes = {catalogue!r}, Path({folder!r}), {modes!r}

def killed(mode, place, number, to):
    # kill -9 in the number-th call of a function, before it; the state is saved after every step
    loop.SAVE_SECONDS = -1.0
    owner, name = {{"forward": (Objective, "forward"), "validate": (attribute_work, "validate"),
                   "weights": (loop, "save_weights"), "state": (loop, "save_state")}}[place]
    original, calls = getattr(owner, name), [0]
    def hooked(*arguments, **options):
        calls[0] += 1
        if calls[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)
    setattr(owner, name, hooked)
    loop.train(recipe(catalogue, **modes[mode]), to, quiet=True)

def two(rank, port, to, mode):
    os.environ |= {{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
                   "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test"}}
    loop.train(recipe(catalogue, **modes[mode] | {{"batch": 4}}), to, quiet=True)

def forked(*work):
    children = []
    for function, *arguments in work:
        child = os.fork()
        if child == 0:
            try:
                function(*arguments)
                os._exit(0)
            except BaseException:
                import traceback
                traceback.print_exc()
            os._exit(1)
        children.append(child)
    return [os.waitpid(child, 0)[1] for child in children]

torch.set_num_threads(1)
for mode, place, number in {kills!r}:
    (status,) = forked((killed, mode, place, number, folder / f"{{mode}}-{{place}}-{{number}}"))
    assert status == signal.SIGKILL, (mode, place, number, status)
for mode in modes:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    to = folder / f"two-{{mode}}"
    assert forked((two, 0, port, to, mode), (two, 1, port, to, mode)) == [0, 0]
"""

# Step 8 is in the middle of an epoch; before the 6th forward the state of step 5 was just validated; the 5th save of a
# state is that after the first validation (the 5th step of an epoch leaves it to the validation).
KILLS = [
    ("pairs", "forward", 8),
    ("pairs", "forward", 6),
    ("pairs", "validate", 2),
    ("pairs", "weights", 1),
    ("pairs", "state", 5),
    ("pairs", "state", 6),
    ("triplets", "forward", 13),
]


@pytest.fixture(scope="module")
def others(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that other processes left: killed ones, and those of two processes each."""
    folder = tmp_path_factory.mktemp("others")
    tests = str(Path(__file__).parents[1])
    program = folder / "program.py"
    program.write_text(
        PROGRAM.format(tests=tests, catalogue=str(catalogue), folder=str(folder), modes=MODES, kills=KILLS)
    )
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    (folder / "stderr").write_text(done.stderr)
    return folder


@pytest.mark.parametrize(("mode", "place", "number"), KILLS)
def test_killed_and_resumed_equals_uninterrupted(
    mode: str, place: str, number: int, others: Path, whole: dict[str, Path], catalogue: Path
) -> None:
    run = others / f"{mode}-{place}-{number}"
    assert not (run / WEIGHTS).exists() or stored_fingerprint(run)
    train(recipe(catalogue, **MODES[mode]), run, resume=True, quiet=True)
    assert_same_run(run, whole[mode])


@pytest.mark.parametrize("mode", MODES)
def test_two_processes_train_one_run(mode: str, others: Path, catalogue: Path) -> None:
    run = others / f"two-{mode}"
    assert [line["step"] for line in lines(run)] == [5, 10, 10, 15]
    assert last(run)["state"]["processes"] == 2
    assert evaluate(run, split="val", quiet=True).map > 0
    with pytest.raises(RunError, match="was trained by 2 processes, now there are 1: start as many"):
        train(recipe(catalogue, **MODES[mode] | {"batch": 4}), run, resume=True, quiet=True)


def test_no_library_speaks_to_the_user(others: Path, catalogue: Path, tmp_path: Path, capfd: Any, caplog: Any) -> None:
    """Neither banners nor warnings, in one process or two."""
    assert (others / "stderr").read_text() == ""
    train(recipe(catalogue, epochs=1, precision="bf16"), tmp_path / "run", quiet=True)
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.parametrize("precision", ["fp32", "bf16", "auto"])
def test_every_precision_leaves_float32_weights(precision: str, catalogue: Path, tmp_path: Path) -> None:
    run = train(recipe(catalogue, epochs=1, precision=precision), tmp_path / "run", quiet=True)
    with safe_open(run / WEIGHTS, "pt") as stored:
        kinds = {stored.get_tensor(name).dtype for name in stored.keys()}  # noqa: SIM118
    assert kinds <= {torch.float32, torch.int64}


def test_the_time_limit_stops_and_keeps_a_whole_run(catalogue: Path, tmp_path: Path) -> None:
    run = train(recipe(catalogue, epochs=10_000, minutes=0.01), tmp_path / "run", quiet=True)
    state = last(run)["state"]
    assert state["done"]
    assert 0 < state["step"] == state["validated"] < 50_000
    assert lines(run)[-1]["epoch"] == -(-state["step"] // STEPS)
    assert evaluate(run, split="val", quiet=True).map > 0
    before = (run / WEIGHTS).read_bytes()
    train(recipe(catalogue, epochs=10_000, minutes=0.01), run, resume=True, quiet=True)
    assert (run / WEIGHTS).read_bytes() == before


def test_fewer_validations_always_end_with_one(catalogue: Path, tmp_path: Path) -> None:
    run = train(recipe(catalogue, epochs=3, validate_every=2), tmp_path / "run", quiet=True)
    assert [line["epoch"] for line in lines(run) if "epoch" in line] == [2, 3]


@pytest.mark.parametrize("mode", MODES)
def test_unreadable_images_are_skipped_listed_and_do_not_move_a_step(mode: str, tmp_path: Path) -> None:
    catalogue = draw(tmp_path / "data", broken=(3, 11, 45))
    smaller = {"batch": 4, "epochs": 3} if mode == "triplets" else {}
    asked = recipe(catalogue, **MODES[mode] | smaller)
    run = train(asked, tmp_path / "run", quiet=True)
    listed = json.loads((run / "skipped.json").read_text())
    assert {Path(row["image"]).name for row in listed} == {"03.png", "11.png", "45.png"}
    assert all(row["reason"] for row in listed)
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, Objective, "forward", 8, ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            train(asked, tmp_path / "again", quiet=True)
    train(asked, tmp_path / "again", resume=True, quiet=True)
    assert_same_run(tmp_path / "again", run)
    assert {row["image"] for row in json.loads((tmp_path / "again" / "skipped.json").read_text())} == {
        row["image"] for row in listed
    }


def test_a_batch_that_cannot_be_read_at_all_is_still_a_step(tmp_path: Path) -> None:
    """With batches of two there are batches of nothing."""
    catalogue = draw(tmp_path / "data", broken=tuple(range(0, 40, 2)))
    for mode, changes in MODES.items():
        asked = recipe(catalogue, **changes | {"batch": 2, "epochs": 1})
        asked = dataclasses.replace(asked, data=dataclasses.replace(asked.data, max_failed=1.0))
        run = train(asked, tmp_path / mode, quiet=True)
        assert last(run)["state"]["step"] == 20


def test_too_many_unreadable_images_stop_the_training(tmp_path: Path) -> None:
    catalogue = draw(tmp_path / "data", broken=tuple(range(20)))
    with pytest.raises(ImageError, match=r"cannot be read, more than the 20.0% allowed"):
        train(recipe(catalogue), tmp_path / "run", quiet=True)


def test_a_loss_that_is_not_finite_stops_the_training(catalogue: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Objective, "forward", lambda self, *_: sum(p.sum() for p in self.parameters()) * float("nan"))
        with pytest.raises(LapelError, match=r"the loss is no longer finite at step 5: lower training\.lr"):
            train(recipe(catalogue), tmp_path / "run", quiet=True)


def test_what_has_nothing_to_train_is_measured_and_kept(catalogue: Path, tmp_path: Path) -> None:
    asked = change(recipe(catalogue, **MODES["triplets"]), "model", name="frozen", options={})
    run = train(asked, tmp_path / "run", quiet=True)
    assert [(line["step"], line["epoch"]) for line in lines(run)] == [(0, 0)]
    assert evaluate(run, split="val", quiet=True).map == pytest.approx(note(run)["map"] / 100, abs=1e-5)
    before = (run / WEIGHTS).read_bytes()
    train(asked, run, resume=True, quiet=True)
    assert (run / WEIGHTS).read_bytes() == before


def test_another_recipe_cannot_resume(whole: dict[str, Path], catalogue: Path) -> None:
    asked = recipe(catalogue)
    others = [
        (change(asked, "training", lr=0.1), "was trained with training.lr = 0.003, asked to resume with 0.1"),
        (change(asked, "training", seed=1), "training.seed = 0, asked to resume with 1"),
        (change(asked, "data", attributes=("colour",)), "data.attributes"),
        (change(asked, "model", options={"width": 16}), "model.options.dropout = 0.1, asked to resume with None"),
        (change(asked, "model", options={"width": 16, "dropout": 0.1, "sa": False}), "model.options.sa = None"),
    ]
    for other, message in others:
        with pytest.raises(RecipeError) as error:
            train(other, whole["pairs"], resume=True, quiet=True)
        assert message in str(error.value)
        assert "start another run with --to" in str(error.value)


def test_a_moved_catalogue_resumes_and_a_changed_one_does_not(catalogue: Path, tmp_path: Path) -> None:
    moved = draw(tmp_path / "moved")
    train(recipe(catalogue, epochs=1), tmp_path / "run", quiet=True)
    train(recipe(moved, epochs=1), tmp_path / "run", resume=True, quiet=True)
    with moved.open() as stream:
        rows = list(csv.reader(stream))
    for kept, message in [(rows[:-1], "the validation images of"), (rows[:1] + rows[2:], "the training images of")]:
        with moved.open("w", newline="") as stream:
            csv.writer(stream).writerows(kept)
        with pytest.raises(RunError, match=message):
            train(recipe(moved, epochs=1), tmp_path / "run", resume=True, quiet=True)
    renamed = [[cell.replace("Green", "Lime") for cell in row] for row in rows]
    with moved.open("w", newline="") as stream:
        csv.writer(stream).writerows(renamed)
    with pytest.raises(RunError, match=r"the attributes and values of .*Lime"):
        train(recipe(moved, epochs=1), tmp_path / "run", resume=True, quiet=True)


def test_a_damaged_state_is_refused(whole: dict[str, Path], catalogue: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / CONFIG).write_bytes((whole["pairs"] / CONFIG).read_bytes())
    state = (whole["pairs"] / NAME).read_bytes()
    for data in (state[:-100], b"", (whole["pairs"] / WEIGHTS).read_bytes(), (whole["triplets"] / NAME).read_bytes()):
        (run / NAME).write_bytes(data)
        with pytest.raises(RunError, match=r"cannot resume from .*last\.safetensors"):
            train(recipe(catalogue), run, resume=True, quiet=True)


def rows_of(*cells: tuple[str, str, str]) -> list[dict[str, str]]:
    return [{"image": "00.png", "split": split, "colour": colour, "shape": shape} for split, colour, shape in cells]


GOOD = rows_of(*[("train", c, s) for c in ("R", "B") for s in ("d", "b")] * 2, ("val", "R", "d"), ("val", "B", "b"))
MISTAKES: list[tuple[str, list[dict[str, str]], dict[str, Any], type[LapelError], str]] = [
    ("no catalogue named", GOOD, {"data.catalogue": ""}, RecipeError, "names no catalogue: --set data.catalogue="),
    ("no such catalogue", GOOD, {"data.catalogue": "nowhere.csv"}, CatalogueError, "no catalogue at nowhere.csv"),
    ("unknown attribute", GOOD, {"data.attributes": ["shap"]}, CatalogueError, "did you mean 'shape'"),
    (
        "one value",
        [{**row, "shape": "d"} for row in GOOD],
        {"data.attributes": ["shape"]},
        CatalogueError,
        "attribute 'shape' cannot be trained: 1 of its 1 values have two or more training images",
    ),
    (
        "all unique",
        rows_of(("train", "R", "d"), ("train", "B", "b"), *[("val", "R", "d")] * 2),
        {},
        CatalogueError,
        "nothing to train",
    ),
    ("no validation", [row for row in GOOD if row["split"] == "train"], {}, CatalogueError, "'val'"),
    ("no training", [{**row, "split": "val"} for row in GOOD], {}, CatalogueError, "'train'"),
    ("validation of one value", [*GOOD[:8], GOOD[8], GOOD[8]], {}, CatalogueError, "has nothing to validate on"),
    ("no such weights", GOOD, {"model.weights": "/nowhere.safetensors"}, RecipeError, "no weights file at /nowhere"),
    ("unknown option", GOOD, {"model.options": {"widht": 8}}, RecipeError, "did you mean 'width'?"),
    (
        "a trunk of another size",
        GOOD,
        {"model.trunk": "swin_tiny_patch4_window7_224"},
        RecipeError,
        "cannot take images of 32 x 32",
    ),
]


@pytest.mark.parametrize(
    ("rows", "settings", "kind", "message"), [row[1:] for row in MISTAKES], ids=[row[0] for row in MISTAKES]
)
def test_mistakes_are_named_before_anything_is_written(
    rows: list[dict[str, str]], settings: dict[str, Any], kind: type[LapelError], message: str, tmp_path: Path
) -> None:
    with (tmp_path / "catalogue.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "image": f"{number}.png"} for number, row in enumerate(rows))
    sections: dict[str, dict[str, Any]] = {
        "data": {"catalogue": str(tmp_path / "catalogue.csv")},
        "image": {"height": 32, "width": 32},
        "model": {"trunk": "test_resnet", "weights": "none"},
    }
    for key, value in settings.items():
        section, name = key.split(".")
        sections[section][name] = value
    with pytest.raises(kind) as error:
        train(from_dict(sections), tmp_path / "run", quiet=True)
    assert message in str(error.value)
    assert not (tmp_path / "run").exists()


def test_folders_that_are_not_to_be_written_in(whole: dict[str, Path], catalogue: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="already holds a run: continue it with --resume"):
        train(recipe(catalogue), whole["pairs"], quiet=True)
    with pytest.raises(RunError, match=r"nothing to resume at .*: no config\.json there"):
        train(recipe(catalogue), tmp_path / "nowhere", resume=True, quiet=True)
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(RunError, match="is not empty and is no run folder"):
        train(recipe(catalogue), tmp_path, quiet=True)


def test_an_empty_folder_may_be_filled(catalogue: Path, tmp_path: Path) -> None:
    assert train(recipe(catalogue, epochs=1), tmp_path, quiet=True) == tmp_path
    assert (tmp_path / WEIGHTS).exists()
