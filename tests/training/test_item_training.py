"""Training items: it leaves a run like any other; stopped anywhere and resumed it ends as if uninterrupted."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from lapel.config import Recipe, from_dict
from lapel.errors import RunError
from lapel.garments import draw_catalogue
from lapel.reproduction.pace import images_per_step
from lapel.runs import CONFIG, WEIGHTS, note, read_config
from lapel.training import item_work, train
from lapel.training.item_objective import ItemObjective

from ..training_world import assert_same_run, at_step, ctrl_c, last, lines, stop

STAGES: tuple[dict[str, Any], ...] = (
    {"training.losses": {"tags": 1.0, "landmarks": 0.01}, "training.epochs": 1},
    {"training.losses": {"id": 1.0, "tags": 1.0, "landmarks": 0.01}},
)
STEPS = 4  # of an epoch: 38 images, 8 a step


def recipe(catalogue: Path | str, stages: tuple[dict[str, Any], ...] = STAGES, **settings: Any) -> Recipe:
    """Everything random is on."""
    found = {"batching": "images", "batch": 8, "epochs": 2, "optimiser": "adamw", "lr": 3e-3, "schedule": "cosine"}
    found |= {"clip": 5.0, "average": 0.9, "precision": "fp32", "smoothing": 0.1}
    options = {"dim": 8, "localisation": "light", "width": 8, "sketch": 32, "common": 2, "dropout": 0.1}
    image = {"height": 48, "width": 32, "resize": "letterbox", "zoom": 0.9, "rotate": 10.0, "jitter": 0.1}
    return from_dict(
        {
            "data": {"catalogue": str(catalogue), "tags": 9, "max_failed": 0.2},
            "image": image | {"hue": 0.02, "grey": 0.1, "erase": 0.1},
            "model": {"name": "ahbn", "trunk": "test_resnet.r160_in1k", "weights": "none", "options": options},
            "training": found | settings,
            "stages": list(stages),
        }
    )


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "garments"
    draw_catalogue(folder, items=16, views=3, size=64, domains=("shop", "consumer"), quiet=True)
    return folder / "catalogue.csv"


@pytest.fixture(scope="module")
def whole(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both stages, uninterrupted."""
    return train(recipe(catalogue), tmp_path_factory.mktemp("whole") / "run", quiet=True)


def names(path: Path) -> set[str]:
    with safe_open(path, "pt") as stored:
        return {*stored.keys()}


def test_it_describes_itself(whole: Path) -> None:
    config = read_config(whole)
    assert config.task == "items"
    assert dict(config.attributes) == {}
    assert len(config.tags) == 9
    assert config.model["tags"] == [list(tag) for tag in config.tags]
    assert config.protocol["items"] * 3 == config.protocol["train"]
    assert images_per_step(config) == 8
    assert [line["step"] for line in lines(whole) if "epoch" in line] == [STEPS, 2 * STEPS]
    first = lines(whole / "stage1")[0]
    assert next(key for key in first if key.startswith("val_")) == "val_branches"
    assert {"val_tags", "val_landmarks"} < first.keys()
    later = lines(whole)[0]
    assert next(key for key in later if key.startswith("val_")) == "val_acc@1"
    best = max(line["val_acc@1"] for line in lines(whole) if "epoch" in line)
    assert note(whole)["acc@1"] == pytest.approx(best, abs=1e-3)
    assert last(whole)["state"]["measure"] == "acc@1"


def test_the_classifier_is_for_training_only(whole: Path) -> None:
    assert not any("proxies" in name for name in names(whole / WEIGHTS))
    assert "objective.proxies.weight" in names(whole / "last.safetensors")
    assert not any("proxies" in name for name in names(whole / "stage1" / "last.safetensors"))


STOPS: dict[str, tuple[Any, str, int, Callable[[], None]]] = {
    # A trial step comes before the steps of each stage.
    "in stage 1": (ItemObjective, "forward", 3, ctrl_c),
    "between stages": (item_work, "start_items_from", 1, stop),
    "in stage 2": (ItemObjective, "forward", 1 + STEPS + 1 + 6, ctrl_c),
    "while validating stage 2": (item_work, "validate_items", 2, stop),
}


@pytest.mark.parametrize("name", STOPS)
def test_interrupted_and_resumed_equals_uninterrupted(name: str, whole: Path, catalogue: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, *STOPS[name])
        with pytest.raises(KeyboardInterrupt):
            train(recipe(catalogue), run, quiet=True)
    train(recipe(catalogue), run, resume=True, quiet=True)
    for folder in ("stage1", "."):
        assert_same_run(run / folder, whole / folder)


OTHERS: dict[str, dict[str, Any]] = {
    "balanced": {"losses": {"triplet": 1.0, "contrast": 0.5, "id": 0.5}, "per_item": 2, "id_scale": 16.0},
    "two values": {"losses": {"fastap": 1.0}, "per_item": 2, "within": "category"},
    "two views": {"losses": {"simclr": 1.0, "vicreg": 0.1}},
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_losses_and_batches_resume_too(name: str, catalogue: Path, tmp_path: Path) -> None:
    asked = recipe(catalogue, (), **OTHERS[name] | {"epochs": 1})
    asked = replace(asked, model=replace(asked.model, name="pooled", options={"dim": 8}))
    run = train(asked, tmp_path / "run", quiet=True)
    assert images_per_step(read_config(run)) == (16 if name == "two views" else 8)
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, ItemObjective, "forward", 4, ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            train(asked, tmp_path / "again", quiet=True)
    train(asked, tmp_path / "again", resume=True, quiet=True)
    assert_same_run(tmp_path / "again", run)


def test_unreadable_images_are_skipped_and_do_not_move_a_step(catalogue: Path, tmp_path: Path) -> None:
    broken = tmp_path / "data"
    draw_catalogue(broken, items=16, views=3, size=64, domains=("shop", "consumer"), quiet=True)
    with (broken / "catalogue.csv").open() as stream:
        chosen = [row["image"] for row in csv.DictReader(stream) if row["split"] == "train"][:3]
    for name in chosen:
        (broken / name).write_text("<html>404</html>")
    run = train(recipe(broken / "catalogue.csv", epochs=1), tmp_path / "run", quiet=True)
    assert {Path(row["image"]).name for row in json.loads((run / "skipped.json").read_text())} == {
        Path(name).name for name in chosen
    }
    assert last(run)["state"]["step"] == STEPS


def test_a_changed_catalogue_does_not_resume(catalogue: Path, tmp_path: Path) -> None:
    """Items and landmarks belong to it as much as labels do."""
    moved = tmp_path / "catalogue.csv"
    with catalogue.open() as stream:
        found = list(csv.DictReader(stream))
    at = next(place for place, row in enumerate(found) if row["split"] == "train")
    for row in found:
        row["image"] = str(catalogue.parent / row["image"])

    def write(changed: dict[str, str]) -> Path:
        with moved.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(found[0]))
            writer.writeheader()
            writer.writerows([{**row, **(changed if place == at else {})} for place, row in enumerate(found)])
        return moved

    asked = recipe(write({}), STAGES[:1])
    run = train(asked, tmp_path / "run", quiet=True)
    numbers = found[at]["landmarks"].split()
    for changed in ({"item": found[at + 3]["item"]}, {"landmarks": " ".join(["1", *numbers[1:]])}):
        write(changed)
        with pytest.raises(RunError, match="order, boxes or labels of the images"):
            train(asked, run, resume=True, quiet=True)


PROGRAM = """
import os, socket, sys
from pathlib import Path
sys.path.insert(0, {root!r})
import torch
import torch.utils.tensorboard  # once, before the forks
from tests.training.test_item_training import recipe
from lapel.training import loop as training

torch.set_num_threads(1)
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
            training.train(recipe({catalogue!r}, batch=4), Path({folder!r}) / "two", quiet=True)
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
        os._exit(1)
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
"""


def test_two_processes_train_one_run(catalogue: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    root = str(Path(__file__).parents[2])
    program.write_text(PROGRAM.format(root=root, catalogue=str(catalogue), folder=str(tmp_path)))
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "two"
    assert [line["step"] for line in lines(run) if "epoch" in line] == [STEPS, 2 * STEPS]
    assert last(run)["state"]["processes"] == 2
    assert (run / "stage1" / CONFIG).exists()


def test_a_stage_starts_from_the_best_weights_of_the_one_before(catalogue: Path, tmp_path: Path) -> None:
    slow = (STAGES[0], {**STAGES[1], "training.lr": 1e-9, "training.epochs": 1})
    asked = recipe(catalogue, slow, average=0.0)
    run = train(asked, tmp_path / "run", quiet=True)
    with safe_open(run / "stage1" / WEIGHTS, "pt") as one, safe_open(run / WEIGHTS, "pt") as two:
        assert {*one.keys()} == {*two.keys()}
        for name in one.keys():  # noqa: SIM118
            if "running" not in name and "num_batches" not in name:
                before, after = one.get_tensor(name).float(), two.get_tensor(name).float()
                assert (before - after).abs().max() < 1e-6, name
