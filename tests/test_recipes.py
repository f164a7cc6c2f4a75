"""Every recipe that comes with Lapel loads, is its own record, builds its model and trains on drawn garments."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml

from lapel import cli
from lapel.catalogue import Catalogue
from lapel.config import Recipe, from_dict, load_recipe, recipe_names
from lapel.evaluation.published import AGMAN
from lapel.models import MODELS, build
from lapel.models.base import AttributeNetwork
from lapel.models.trunks import parameter_count
from lapel.protocol import TripletProtocol, to_dict
from lapel.retrieval.embedder import load
from lapel.training import train

NAMES = recipe_names()
# Those of items are built and trained in test_item_recipes.py.
OF_ATTRIBUTES = [name for name in NAMES if load_recipe(name).training.batching != "images"]


def text_of(name: str) -> str:
    return files("lapel.recipes").joinpath(f"{name}.yaml").read_text(encoding="utf-8")


ABLATIONS = ("agman", "agman-aga-only", "agman-hierarchical-only", "agman-classification-only")
PARTS = ("agman", "agman-without-asa", "agman-without-sa", "agman-without-aca", "agman-without-ca")
PEERS = ("csn", "asenet_v2", "attnfashion_style", "agman")
TABLES: dict[int, tuple[str, ...]] = {
    2: PEERS,
    3: PEERS,
    4: tuple(f"{name}-zappos" for name in PEERS),
    5: ABLATIONS,
    6: ABLATIONS,
    7: PARTS,
    8: PARTS,
    9: ("asenet_v2", "attnfashion_style", "agman-aga-only"),
    10: ("asenet_v2", "attnfashion_style", "agman-aga-only"),
}
OTHERS = ("csn_original", "asenet", "asenpp", "rpf", "triplet", "frozen", "demo", "laptop", "shop")


def test_every_row_of_the_papers_tables_has_a_recipe() -> None:
    assert {number: len(rows) for number, rows in TABLES.items()} == {n: len(t.rows) for n, t in AGMAN.items()}
    assert {name for rows in TABLES.values() for name in rows} | set(OTHERS) <= set(NAMES)
    assert {load_recipe(name).model.name for name in OF_ATTRIBUTES} == set(MODELS)


def settings_of(data: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and value of everything that a file says."""
    for key, value in data.items():
        if isinstance(value, dict):
            yield from settings_of(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


@pytest.mark.parametrize("name", NAMES)
def test_it_loads_and_is_its_own_record(name: str) -> None:
    recipe = load_recipe(name)
    assert isinstance(recipe, Recipe)
    assert from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert json.loads(json.dumps(recipe.to_dict())) == recipe.to_dict()


@pytest.mark.parametrize("name", NAMES)
def test_what_the_file_says_is_what_is_loaded(name: str) -> None:
    """No key of the file is lost or changed on the way."""
    said, loaded = yaml.safe_load(text_of(name)), load_recipe(name).to_dict()
    assert said.pop("stages", []) == loaded["stages"]
    known = dict(settings_of(loaded))
    for key, value in settings_of(said):
        assert known[key] == value, key


@pytest.mark.parametrize("name", NAMES)
def test_the_command_in_its_head_works(name: str) -> None:
    head = [line for line in text_of(name).splitlines() if line.startswith("#")]
    assert head, "a recipe begins with a comment: what it is, and how it is run"
    commands = [m[1] for line in head if (m := re.match(r"#\s+(lapel .*)", line))]
    assert commands
    for command in commands:
        verb = cli.parse(shlex.split(command)[1:])
        assert isinstance(verb, cli.Train)
        assert verb.recipe == name
        assert load_recipe(name, verb.settings).data.catalogue
    for change in re.findall(r"--set (\S+)", "\n".join(head)):
        load_recipe(name, [change])


@pytest.mark.parametrize("name", sorted({name for rows in TABLES.values() for name in rows}))
def test_a_row_says_every_setting_that_decides_it(name: str) -> None:
    """A person who opens the file sees them all, and for each whose it is."""
    said = yaml.safe_load(text_of(name))
    shown = {key for key, _ in settings_of(said)}
    options = {f"model.options.{key}" for key in options_of(said["model"]["name"])}
    assert options - {"model.options.pyramid", "model.options.dropout"} <= shown, "ours, and off in the paper"
    assert {f"image.{key}" for key in ("height", "width", "resize", "flip")} <= shown
    keys = "batching sampler batch triplets epochs optimiser lr schedule decay decay_every margin class_weight"
    assert {f"training.{key}" for key in keys.split()} <= shown
    for line in text_of(name).split("training:\n")[1].splitlines():
        assert re.search(r"# (paper|code|ours|no |it has no)", line), line


def options_of(model: str) -> set[str]:
    import inspect

    return set(inspect.signature(MODELS[model]).parameters) - {"attributes", "trunk", "pretrained", "trunk_options"}


def built(recipe: Recipe, attributes: int) -> AttributeNetwork:
    """The model of a recipe at its full size, without weights or even memory for them."""
    spec = recipe.model
    with torch.device("meta"):
        return build(spec.name, attributes, spec.trunk, False, trunk_options=spec.trunk_options, **spec.options)


@pytest.mark.parametrize("name", OF_ATTRIBUTES)
def test_its_model_builds_at_its_full_size(name: str) -> None:
    for stage in load_recipe(name).resolved():
        model = built(stage, 3)
        assert isinstance(model, MODELS[stage.model.name])  # type: ignore[arg-type]
        assert model.attributes == 3
        assert parameter_count(model) > 500_000 or name == "frozen"


AGMAN_COUNTS = {8: 26_420_909, 5: 26_411_690, 4: 26_408_617}
COUNTS: dict[str, dict[int, int]] = {
    "agman": AGMAN_COUNTS,
    "agman-zappos": AGMAN_COUNTS,
    "asenet_v2": (v2 := {8: 10_910_784, 5: 10_909_248, 4: 10_908_736}),
    "asenet_v2-zappos": v2,
    "asenet": {8: 11_704_897, 5: 11_700_289, 4: 11_698_753},
    "csn": (csn := {8: 9_601_088, 5: 9_598_016, 4: 9_596_992}),
    "csn-zappos": csn,
}


@pytest.mark.parametrize("name", COUNTS)
def test_its_model_has_as_many_parameters_as_the_official_one(name: str) -> None:
    recipe = load_recipe(name)
    assert {count: parameter_count(built(recipe, count)) for count in COUNTS[name]} == COUNTS[name]


def test_an_ablation_is_the_whole_without_one_part() -> None:
    whole = parameter_count(built(load_recipe("agman"), 8))
    width, third, last = 512, 1024, 23_508_032 - 8_543_296
    without = {name: whole - parameter_count(built(load_recipe(name), 8)) for name in (*ABLATIONS, *PARTS)}
    hierarchical = (width * third + third) + third * width  # F2's projection; half of the map's
    classification = last + 2048 * 8 + 8
    assert without == {
        "agman": 0,
        "agman-aga-only": hierarchical + classification,
        "agman-hierarchical-only": classification,
        "agman-classification-only": hierarchical,
        "agman-without-asa": 2 * width + (width * width + width) + 1,
        "agman-without-sa": 2 * 7 * 7,
        "agman-without-aca": 2 * (width * width + width) + (2 * width * width + width) + 1,
        "agman-without-ca": 8 * width,
    }


@pytest.fixture(scope="session")
def drawn(garments: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """The drawn garments as they are, and with triplets by which they are scored."""
    generator, rows = np.random.default_rng(0), []
    images, splits = (np.array(garments.images[name].to_pylist()) for name in ("image", "split"))
    for attribute in ("colour", "pattern"):
        labels = garments.multi_hot(attribute)
        value = np.where(labels.any(1), labels.argmax(1), -1)
        for split in ("train", "val"):
            inside = (splits == split) & (value >= 0)
            for anchor in generator.choice(np.flatnonzero(inside), 30):
                near = generator.choice(np.flatnonzero(inside & (value == value[anchor])))
                far = generator.choice(np.flatnonzero(inside & (value != value[anchor])))
                rows.append((split, attribute, images[anchor], images[near], images[far]))
    names = ("split", "attribute", "anchor", "positive", "negative")
    columns = {name: list(map(str, cells)) for name, cells in zip(names, zip(*rows, strict=True), strict=True)}
    told = replace(garments, record={"protocol": to_dict(TripletProtocol())})
    path = tmp_path_factory.mktemp("triplets") / "catalogue.parquet"
    told.with_relations({"triplets": pa.table(columns)}).write(path)
    return {False: garments.root, True: path}


TINY = (
    *("image.height=32", "image.width=32", "model.trunk=test_resnet", "model.weights=none"),
    *("data.attributes=colour,pattern", "training.batch=4", "training.triplets=8", "training.epochs=1"),
    *("training.min_steps=0", "training.precision=fp32"),
)
SECOND = {
    "asenpp": ("model.options.local_trunk=test_resnet", "model.options.global_size=0", "model.options.local_size=32"),
    "rpf": (
        *("model.options.patch_trunk=test_vit", "model.options.global_size=0", "model.options.local_size=32"),
        "model.options.patch_options={img_size: 32}",
    ),
}


@pytest.mark.parametrize("name", OF_ATTRIBUTES)
def test_it_trains_for_two_steps_and_its_run_embeds(name: str, drawn: dict[bool, Path], tmp_path: Path) -> None:
    """On a tiny trunk and tiny pictures; every stage, if it has several."""
    whole = load_recipe(name)
    given = whole.training.sampler == "given"
    short = [f"stages.{number}.training.epochs=1" for number in range(1, len(whole.stages) + 1)]
    pairs = ["training.batch=16", "training.triplets=16"] if whole.training.batching == "pairs" else []
    catalogue = f"data.catalogue={drawn[given]}"
    recipe = load_recipe(name, [catalogue, *TINY, *SECOND.get(name, ()), *short, *pairs])
    run = train(recipe, tmp_path / "run", quiet=True)
    for folder in (*(run / f"stage{number}" for number in range(1, len(short))), run):
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert lines[-1]["step"] == (0 if name == "frozen" else 2), "two batches of four triplets, or of sixteen images"
        assert ("val_accuracy" if given else "val_map") in lines[-1]
    vectors = load(run).embed_paths(Catalogue.read(drawn[False]).paths()[:3])
    embedded = np.concatenate([found for _, found in vectors])
    assert embedded.shape == (3, 2, load(run).dim)
    np.testing.assert_allclose(np.linalg.norm(embedded, axis=-1), 1, atol=1e-5)
