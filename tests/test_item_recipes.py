"""Every recipe of an instance model says what decides it, builds at its full size and trains on drawn garments."""

from __future__ import annotations

import inspect
import json
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from lapel.catalogue import Catalogue
from lapel.config import load_recipe, recipe_names
from lapel.evaluation.published_items import AHBN, ITEM_RECIPES
from lapel.models import ITEM_MODELS, build_item
from lapel.models.base import ItemNetwork
from lapel.models.trunks import parameter_count
from lapel.retrieval.embedder import load
from lapel.training import train

NAMES = [name for name in recipe_names() if load_recipe(name).training.batching == "images"]
ROWS = [*ITEM_RECIPES.values()]
PEERS = ("fastap", "fashionnet", "grnet_style")
OURS = ("simclr", "vicreg", "items", "items-laptop")


def text_of(name: str) -> str:
    return files("lapel.recipes").joinpath(f"{name}.yaml").read_text(encoding="utf-8")


def test_every_row_has_a_recipe_of_its_own() -> None:
    assert len(AHBN.rows) == len(set(ROWS)) == 17
    assert {*ROWS, *PEERS, *OURS} == set(NAMES)
    assert {load_recipe(name).model.name for name in NAMES} == set(ITEM_MODELS)
    texts = {json.dumps([load_recipe(name).to_dict()]) for name in ROWS}
    assert len(texts) == 17, "no two rows are the same training"


def test_a_row_says_its_number_and_no_figure() -> None:
    for number, name in enumerate(ROWS, 1):
        assert f"Row {number} of AHBN's table I" in text_of(name)


def shown(said: dict[str, Any], options: dict[str, Any]) -> set[str]:
    """The options that decide a model with these, by what they say of its branches."""
    branches, hourglass = options["branches"], options.get("localisation") == "hourglass"
    found = {"dim", "branches", "signed_root", "normalise", "dropout"}
    if branches != "landmark":
        found |= {"spatial_attention"}
    if branches != "appearance":
        found |= {"localisation", "points", "width"}
        found |= {"stacks", "landmark_size", "intermediate"} if hourglass else set()
    if branches == "both":
        found |= {"landmark_input", "attention", "common", "fusion"}
        found |= set() if options["attention"] == "none" else {"hidden"}
        found |= {"sketch", "sketch_seed"} if options["fusion"] == "compact" else set()
        found |= {"joint"} if options["fusion"] in ("product", "sum") else set()
    return found


@pytest.mark.parametrize("name", ROWS)
def test_a_row_says_every_setting_that_decides_it(name: str) -> None:
    """A person who opens the file sees them all, and for each whose it is."""
    said = yaml.safe_load(text_of(name))
    known = set(inspect.signature(ITEM_MODELS["ahbn"]).parameters)
    assert set(said["model"]["options"]) == shown(said, said["model"]["options"])
    assert set(said["model"]["options"]) <= known
    assert {"height", "width", "resize", "flip", "rotate"} <= set(said["image"])
    keys = "batching per_item id_scale batch epochs optimiser lr schedule decay decay_every"
    assert set(keys.split()) <= set(said["training"])
    lines = re.split(r"\n(?:image|model|training):.*\n", text_of(name))
    for line in "\n".join(lines[1:]).splitlines():
        if not re.match(
            r"\s+(width: 299|name: ahbn|weights: hub|options:)$|\s+(- )?training\.losses:$|\s+losses:$", line
        ):
            assert re.search(r"# (paper|follows|ours|not used|this row|a row of its own)", line), line


def test_what_a_row_changes_is_what_its_name_says() -> None:
    def options(row: str) -> dict[str, Any]:
        return load_recipe(ITEM_RECIPES[row]).model.options

    def differ(row: str, other: str) -> set[str]:
        left, right = options(row), options(other)
        return {key for key in left | right if left.get(key) != right.get(key)}

    base = "Two-Branch, features"
    assert differ("Two-Branch, heat-maps", base) == {"landmark_input"}
    for row in ("full bilinear", "concatenation", "product", "sum"):
        assert differ(row, base) - {"sketch", "sketch_seed", "joint"} == {"fusion"}
    assert differ("separate attention", base) == {"attention", "hidden"}
    assert differ("AHBN", base) == {"attention", "hidden"}
    assert differ("softmax attention", "AHBN") == {"attention"}
    assert options("smaller maps")["common"] < options("AHBN")["common"] == 8 < options("larger maps")["common"] < 64
    assert differ("AHBN + Res50", "AHBN") == set()
    assert differ("Single-Branch + Spatial Atten.", "Single-Branch") == {"spatial_attention"}
    trunks = {row: load_recipe(recipe).model.trunk for row, recipe in ITEM_RECIPES.items()}
    assert {row for row, trunk in trunks.items() if trunk.startswith("resnet50")} == {
        "Single-Branch + Res50",
        "AHBN + Res50",
    }


def test_algorithm_1_is_two_stages() -> None:
    first, last = load_recipe("ahbn").resolved()
    assert first.training.losses == {"tags": 1.0, "landmarks": 1.0}
    assert last.training.losses == {"id": 1.0, "tags": 1.0, "landmarks": 1.0}
    branch = {"Single-Branch + ATTR": "tags", "Single-Branch + LM": "landmarks"}
    for row, recipe in ITEM_RECIPES.items():
        stages = [stage.training.losses for stage in load_recipe(recipe).resolved()]
        if row in branch:
            assert stages == [{branch[row]: 1.0}, {"id": 1.0, branch[row]: 1.0}]
        elif row.startswith("Single-Branch"):
            assert stages == [{"id": 1.0}]
        else:
            assert stages == [first.training.losses, last.training.losses]
    lengths = {stage.training.epochs for name in ROWS for stage in load_recipe(name).resolved()[-1:]}
    assert len(lengths) == 1, "items are learned for as long in every row"


@cache
def built(name: str, tags: int = 100) -> ItemNetwork:
    """The model of a recipe at its full size, without weights or even memory for them."""
    spec = load_recipe(name).model
    with torch.device("meta"):
        return build_item(spec.name, tags, spec.trunk, False, trunk_options=spec.trunk_options, **spec.options)


@pytest.mark.parametrize("name", NAMES)
def test_its_model_builds_at_its_full_size(name: str) -> None:
    recipe, model = load_recipe(name), built(name)
    assert isinstance(model, ITEM_MODELS[recipe.model.name])  # type: ignore[arg-type]
    assert parameter_count(model) > 1_000_000
    for stage in recipe.resolved():
        assert stage.model.options == recipe.model.options, "its stages train one model"
        assert not stage.training.losses.get("tags") or model.tags == 100
        assert not stage.training.losses.get("landmarks") or model.points == 8


# The sizes that the networks themselves settle: of the trunks without their last layer, and of an hourglass of four
# stacks, 256 channels and 8 maps, summed by hand (a convolution that a norm follows has no bias).
TRUNKS = {"inception_resnet_v2.tf_in1k": 54_306_464, "resnet50.tv_in1k": 23_508_032}


def residual(inputs: int, outputs: int) -> int:
    half = outputs // 2
    norms = 2 * (inputs + half + half)
    convolutions = inputs * half + 9 * half * half + half * outputs + outputs
    return norms + convolutions + (inputs * outputs + outputs if inputs != outputs else 0)


def hourglass(stacks: int = 4, width: int = 256, points: int = 8) -> int:
    stem = 3 * 64 * 49 + 2 * 64 + residual(64, 128) + residual(128, 128) + residual(128, width)
    one = (3 * 4 + 1) * residual(width, width)
    after = residual(width, width) + width * width + 2 * width
    maps, back = width * points + points, (points * width + width) + (width * width + width)
    return stem + stacks * (one + after + maps) + (stacks - 1) * back


def test_its_model_has_as_many_parameters_as_its_layers_add_up_to() -> None:
    a, located, dim, tags = 1536, 256, 512, 100
    trunk, places, heads = TRUNKS["inception_resnet_v2.tf_in1k"], hourglass(), 1536 * 100 + 100
    hidden = (a + located) // 16
    expected = {
        "ahbn-single-attributes": trunk + heads + a * dim + dim,
        "ahbn-single-landmarks": places + located * dim + dim,
        "ahbn-features": trunk + places + heads + 8192 * dim + dim,
        "ahbn-bilinear": trunk + places + heads + a * located * dim + dim,
        "ahbn-concatenation": trunk + places + heads + (a + located) * dim + dim,
        "ahbn": trunk + places + heads + 8192 * dim + dim + 3 * (a + located) * hidden + 2 * hidden + a + located,
        "fastap": TRUNKS["resnet50.tv_in1k"] + 2048 * (dim + tags) + dim + tags,
    }
    assert {name: parameter_count(built(name)) for name in expected} == expected


TINY = (
    *("image.height=64", "image.width=64", "model.trunk=test_resnet", "model.weights=none"),
    *("training.batch=16", "training.steps=2", "training.min_steps=0", "training.precision=fp32"),
    *("model.options.dim=16",),
)
SMALL = {
    "ahbn": {"stacks": 1, "width": 16, "landmark_size": 64, "sketch": 64, "joint": 16},
    "fashionnet": {"hidden": 32, "width": 16, "grid": 2},
    "grnet_style": {"scales": 2, "region_dim": 8, "node_dim": 8},
    "pooled": {},
}


@pytest.mark.parametrize("name", NAMES)
def test_it_trains_for_two_steps_and_its_run_embeds(name: str, garments: Catalogue, tmp_path: Path) -> None:
    """On a tiny trunk and tiny pictures; every stage, if it has several."""
    whole = load_recipe(name)
    stages = [f"stages.{number}.training.steps=2" for number in range(1, len(whole.stages) + 1)]
    small = [
        f"model.options.{key}={value}" for key, value in SMALL[whole.model.name].items() if key in whole.model.options
    ]
    recipe = load_recipe(name, [f"data.catalogue={garments.root}", *TINY, *stages, *small])
    run = train(recipe, tmp_path / "run", quiet=True)
    for number, stage in enumerate(recipe.resolved(), 1):
        folder = run if number == max(1, len(stages)) else run / f"stage{number}"
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert lines[-1]["step"] == 2
        losses = {key for key, value in stage.training.losses.items() if value}
        expected = "val_branches" if losses <= {"tags", "landmarks"} else "val_acc@1"
        assert expected in lines[-1]
        assert ("val_tags" in lines[-1], "val_landmarks" in lines[-1]) == ("tags" in losses, "landmarks" in losses)
    vectors = np.concatenate([found for _, found in load(run).embed_paths(garments.paths()[:3])])
    assert vectors.shape == (3, 1, 16)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, atol=1e-5)


def test_pictures_alone_prepare_the_appearance_branch(garments: Catalogue, tmp_path: Path) -> None:
    """SimCLR's run gives AHBN its trunk, tensor by tensor."""
    tiny = [f"data.catalogue={garments.root}", *TINY]
    before = train(load_recipe("simclr", tiny), tmp_path / "before", quiet=True)
    small = [f"model.options.{key}={value}" for key, value in SMALL["ahbn"].items()]
    still = ["training.lr=1e-30", "stages.1.training.steps=1", "stages.2.training.steps=1", f"model.init={before}"]
    run = train(load_recipe("ahbn", [*tiny, *small, *still]), tmp_path / "run", quiet=True)
    theirs, ours = (load(folder).model.state_dict() for folder in (before, run))
    names = [name for name in theirs if name.startswith("trunk.") and not re.search("running|tracked", name)]
    assert names
    for name in names:
        torch.testing.assert_close(ours[name], theirs[name])
