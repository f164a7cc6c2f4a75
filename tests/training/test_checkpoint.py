"""A training may start from the weights of another run, and says what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lapel.config import Recipe
from lapel.errors import RecipeError, RunError
from lapel.models import build_item
from lapel.models.base import ItemNetwork
from lapel.runs import WEIGHTS, RunConfig, read_config, save_weights
from lapel.training import train
from lapel.training.checkpoint import start_from, start_items_from
from lapel.training.objective import Objective

from ..training_world import assert_same_run, at_step, change, ctrl_c, draw, recipe


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("data") / "shapes")


@pytest.fixture(scope="module")
def whole(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(recipe(catalogue), tmp_path_factory.mktemp("whole") / "run", quiet=True)


def test_a_training_may_start_from_another_run(whole: Path, catalogue: Path, tmp_path: Path) -> None:
    """What the other run has it takes; what it lacks starts as always."""
    asked = change(recipe(catalogue, lr=1e-9, epochs=1, average=0.0), "model", init=str(whole))
    with_more = {"width": 16, "dropout": 0.1, "pyramid": False, "ca": "squeeze"}
    run = train(change(asked, "model", options=with_more), tmp_path / "run", quiet=True)
    found, start = load_file(run / WEIGHTS), load_file(whole / WEIGHTS)
    shared = [name for name in found if name in start and found[name].is_floating_point() and "running" not in name]
    assert len(shared) > 20
    for name in shared:
        torch.testing.assert_close(found[name], start[name], atol=1e-6, rtol=0)
    assert {name.split(".")[0] for name in found if name not in start} == {"squeeze"}
    assert read_config(run).recipe.model.init == str(whole)
    for options, message in [
        ({"width": 8}, r"model\.init: .* is \(.*\) in .* and \(.*\) here"),
        ({"width": 16, "dropout": 0.1, "nothing": 1}, "unknown option 'nothing'"),
    ]:
        with pytest.raises(RecipeError, match=message):
            train(change(asked, "model", options=options), tmp_path / "other", quiet=True)
    with pytest.raises(RunError, match="no run folder at"):
        train(change(asked, "model", init=str(tmp_path / "nowhere")), tmp_path / "other", quiet=True)
    assert not (tmp_path / "other").exists()


def test_a_run_without_one_tensor_in_common_is_no_start(whole: Path) -> None:
    with pytest.raises(RecipeError, match=r"has no tensor of this model; it has .*trunk.*, this one weight"):
        start_from(torch.nn.Linear(2, 2, bias=False), whole, [*read_config(whole).attributes])


def test_a_run_with_other_attributes_is_no_start(whole: Path) -> None:
    """Rows of embeddings and masks would go to the wrong attribute without a word."""
    names = [*read_config(whole).attributes]
    for others in (names[::-1], names[:-1], ["hem", *names[1:]]):
        with pytest.raises(RecipeError, match=f"on the attributes {', '.join(names)}, this training has {others[0]}"):
            start_from(torch.nn.Linear(2, 2), whole, others)


def test_resuming_needs_the_start_only_before_the_first_state(catalogue: Path, tmp_path: Path) -> None:
    train(recipe(catalogue, epochs=1), tmp_path / "first", quiet=True)
    asked = change(recipe(catalogue, epochs=2), "model", init=str(tmp_path / "first"))
    expected = train(asked, tmp_path / "whole", quiet=True)
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, Objective, "forward", 8, ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            train(asked, tmp_path / "run", quiet=True)
    (tmp_path / "first").rename(tmp_path / "gone")
    train(asked, tmp_path / "run", resume=True, quiet=True)
    assert_same_run(tmp_path / "run", expected)
    with pytest.raises(RecipeError, match=r"model\.init"):
        train(change(asked, "model", init=str(tmp_path / "gone")), tmp_path / "run", resume=True, quiet=True)


TAGS = (("colour", "red"), ("cut", "slim"))


def item_model(tags: int = 2, name: str = "pooled", seed: int = 0, **options: Any) -> ItemNetwork:
    torch.manual_seed(seed)
    return build_item(name, tags, "test_resnet.r160_in1k", dim=8, **options)


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of items, of two tags."""
    run = tmp_path_factory.mktemp("items")
    model = {"name": "pooled", "trunk": "test_resnet.r160_in1k", "task": "items", "tags": [list(tag) for tag in TAGS]}
    config = RunConfig(model, {}, {}, Recipe(), {})
    config.write(run)
    save_weights(run, item_model(seed=1).state_dict(), config, {})
    return run


def same(model: ItemNetwork, run: Path) -> set[str]:
    """Modules whose tensors are all those of the run."""
    tensors, own = load_file(run / WEIGHTS), model.state_dict()
    equal = {name: name in tensors and torch.equal(tensors[name], own[name]) for name in own}
    return {name.split(".")[0] for name in own} - {name.split(".")[0] for name, found in equal.items() if not found}


@pytest.mark.parametrize(
    ("tags", "taken", "said"),
    [
        (TAGS, {"trunk", "project", "tag_head"}, ""),
        (
            (TAGS[1], TAGS[0]),
            {"trunk", "project"},
            "tag_head of ",
        ),
        (
            (*TAGS, ("cut", "wide")),
            {"trunk", "project"},
            "is of other tags or sizes than in this training, and starts anew",
        ),
        ((), {"trunk", "project"}, ""),
    ],
)
def test_a_tag_head_is_taken_from_the_same_tags_only(
    tags: Any, taken: set[str], said: str, items: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So a catalogue with other attributes, or none, borrows the branches."""
    model = item_model(len(tags))
    start_items_from(model, items, tags)
    assert same(model, items) == taken
    shown = capsys.readouterr().err
    assert said in shown
    assert bool(said) == bool(shown)


def test_another_model_of_items_takes_what_it_shares(items: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The appearance branch alone, pretrained without labels, say; a wrong trunk is a mistake."""
    model = item_model(0, "ahbn", localisation="light", width=8, sketch=32, common=2)
    start_items_from(model, items, ())
    assert same(model, items) == {"trunk"}
    assert not model.state_dict()["project.bias"].any(), "of the same shape, and of a layer that starts anew"
    assert "model.init: project of" in capsys.readouterr().err
    with pytest.raises(RecipeError, match=r"model\.init: trunk\..* is .* in .* and .* here: take the trunk"):
        start_items_from(build_item("pooled", 0, "resnet18", dim=8), items, ())


def test_a_sketch_of_another_size_keeps_its_own_buckets(tmp_path: Path) -> None:
    """They have the same shape, but lie within the other size."""
    options = {"localisation": "light", "width": 8, "common": 2}
    small, large = (item_model(0, "ahbn", sketch=size, **options) for size in (16, 512))
    model = {"name": "ahbn", "trunk": "test_resnet.r160_in1k", "task": "items", "tags": []}
    config = RunConfig(model, {}, {}, Recipe(), {})
    config.write(tmp_path)
    save_weights(tmp_path, small.state_dict(), config, {})
    drawn = large.state_dict()["fuse.first_buckets"].clone()
    start_items_from(large, tmp_path, ())
    assert same(large, tmp_path) >= {"trunk"}
    assert torch.equal(large.state_dict()["fuse.first_buckets"], drawn)


def test_an_attribute_run_lends_its_trunk(whole: Path) -> None:
    model = build_item("pooled", 0, "test_resnet", dim=8)
    start_items_from(model, whole, ())
    tensors, own = load_file(whole / WEIGHTS), model.state_dict()
    shared = [name for name in own if name in tensors and name.startswith("trunk.")]
    assert len(shared) > 20
    assert all(torch.equal(own[name], tensors[name]) for name in shared)
