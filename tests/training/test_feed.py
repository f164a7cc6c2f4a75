"""What a training is fed: triplets that the catalogue gives, and balanced ones; both resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from lapel.catalogue import Catalogue
from lapel.errors import CatalogueError, RunError
from lapel.evaluate import evaluate
from lapel.runs import note, read_config
from lapel.training import train
from lapel.training.objective import Objective

from ..training_world import assert_same_run, at_step, change, ctrl_c, draw, given, last, lines, recipe

TRIPLETS: dict[str, Any] = {"batching": "triplets", "optimiser": "adam", "schedule": "step"}


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("data") / "shapes")


def test_given_triplets_are_trained_and_validated_by_accuracy(tmp_path: Path) -> None:
    asked = recipe(given(tmp_path / "data"), **TRIPLETS | {"sampler": "given", "triplets": 80, "epochs": 6})
    run = train(asked, tmp_path / "run", quiet=True)
    validations = [line for line in lines(run) if "epoch" in line]
    assert [line["step"] for line in validations] == [10, 20, 30, 40, 50, 60], "80 of 400 triplets, 8 a step"
    assert all({"val_accuracy", "val_colour", "val_shape"} < line.keys() for line in validations)
    assert "val_map" not in validations[0]
    best = max(line["val_accuracy"] for line in validations)
    assert note(run)["accuracy"] == pytest.approx(best, abs=1e-3)
    state = last(run)["state"]
    assert (state["measure"], state["best"]) == ("accuracy", pytest.approx(best, abs=1e-3))
    assert evaluate(run, split="val", quiet=True).overall.accuracy == pytest.approx(best / 100, abs=1e-5)
    assert best > 60
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, Objective, "forward", 33, ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            train(asked, tmp_path / "again", quiet=True)
    train(asked, tmp_path / "again", resume=True, quiet=True)
    assert_same_run(tmp_path / "again", run)


def test_balanced_triplets_resume_too(catalogue: Path, tmp_path: Path) -> None:
    asked = recipe(catalogue, **TRIPLETS | {"sampler": "balanced", "epochs": 2, "rates": {"trunk": 1e-3}})
    run = train(asked, tmp_path / "run", quiet=True)
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, Objective, "forward", 7, ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            train(asked, tmp_path / "again", quiet=True)
    train(asked, tmp_path / "again", resume=True, quiet=True)
    assert_same_run(tmp_path / "again", run)


def test_other_given_triplets_are_another_catalogue(tmp_path: Path) -> None:
    asked = recipe(given(tmp_path / "data"), **TRIPLETS | {"sampler": "given", "epochs": 1})
    train(asked, tmp_path / "run", quiet=True)
    given(tmp_path / "data", 199)
    with pytest.raises(RunError, match="order, boxes or labels of the images"):
        train(asked, tmp_path / "run", resume=True, quiet=True)


def test_given_triplets_that_are_not_there(catalogue: Path, tmp_path: Path) -> None:
    settings = TRIPLETS | {"sampler": "given", "epochs": 1}
    with pytest.raises(CatalogueError, match=r"no relation 'triplets'.*set training\.sampler=asen"):
        train(recipe(catalogue, **settings), tmp_path / "run", quiet=True)
    path = given(tmp_path / "data")
    whole = Catalogue.read(path)
    table = whole.relations["triplets"]
    colours = table.filter(pc.equal(table["attribute"], "colour"))
    whole.with_relations({"triplets": colours}).write(path)
    with pytest.raises(CatalogueError, match=r"attribute 'shape' cannot be trained: .* only of colour"):
        train(recipe(path, **settings), tmp_path / "run", quiet=True)
    free = change(recipe(path, **settings), "data", attributes=())
    assert dict(read_config(train(free, tmp_path / "run", quiet=True)).attributes).keys() == {"colour"}
    whole.with_relations({"triplets": colours.filter(pc.equal(colours["split"], "val"))}).write(path)
    with pytest.raises(CatalogueError, match=r"unknown split 'train'"):
        train(free, tmp_path / "other", quiet=True)
    shapes = table.filter(pc.and_(pc.equal(table["attribute"], "shape"), pc.equal(table["split"], "val")))
    trained = colours.filter(pc.equal(colours["split"], "train"))
    whole.with_relations({"triplets": pa.concat_tables([trained, shapes])}).write(path)
    with pytest.raises(CatalogueError, match=r"its triplets of split 'val' are of shape, to train are colour"):
        train(free, tmp_path / "other", quiet=True)
    assert not (tmp_path / "other").exists()
