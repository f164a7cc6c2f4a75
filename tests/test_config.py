"""Recipes: every key has a type and a range, what is misspelt is named, and a recipe is its own record."""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from pathlib import Path
from typing import Any

import pytest
import yaml

from lapel.config import Recipe, from_dict, load_recipe, recipe_names
from lapel.errors import RecipeError

SECTIONS = {name: kind for name, kind in typing.get_type_hints(Recipe).items() if dataclasses.is_dataclass(kind)}
KEYS = {
    f"{section}.{key}": hint for section, kind in SECTIONS.items() for key, hint in typing.get_type_hints(kind).items()
}
# A value of another type than the hint's, for each kind of hint, and what the message asks for.
WRONG: dict[Any, list[tuple[Any, str]]] = {
    int: [(2.5, "a whole number"), ("3", "a whole number"), (True, "a whole number"), (None, "a whole number")],
    float: [
        ("much", "a number"),
        (True, "a number"),
        (None, "a number"),
        (float("nan"), "a number"),
        ([1], "a number"),
    ],
    bool: [(1, "true or false"), ("maybe", "true or false"), (None, "true or false")],
    str: [(5, "text"), (True, "text"), (["a"], "text")],
    tuple: [(5, "a list"), (None, "a list"), ({"a": 1}, "a list"), ([["a"]], " to be ")],
    dict: [(5, "keys with values"), ([1], "keys with values"), ({1: 2}, "keys with values")],
    typing.Literal: [("no such thing", "Known:"), (5, "Known:"), (None, "Known:"), (["fixed"], "Known:")],
}


def value_of(recipe: Recipe, name: str) -> Any:
    section, key = name.split(".")
    return getattr(getattr(recipe, section), key)


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "recipe.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [(name, *case) for name, hint in KEYS.items() for case in WRONG[typing.get_origin(hint) or hint]],
)
def test_every_key_refuses_another_type(name: str, value: Any, wanted: str) -> None:
    section, key = name.split(".")
    with pytest.raises(RecipeError) as caught:
        from_dict({section: {key: value}}, "mine.yaml")
    message = str(caught.value)
    assert message.startswith("mine.yaml: ")
    assert name in message
    assert wanted in message


@pytest.mark.parametrize("name", KEYS)
def test_every_key_misspelt_is_named_with_the_nearest(name: str) -> None:
    section, key = name.split(".")
    with pytest.raises(RecipeError) as caught:
        from_dict({section: {f"{key}x": 1}})
    assert f"unknown key '{name}x'; did you mean '{name}'?" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("data.max_failed", 1.01, "from 0 to 1"),
        ("data.max_failed", -0.1, "from 0 to 1"),
        ("data.split_seed", -1, "at least 0"),
        ("image.height", 31, "at least 32"),
        ("image.width", 0, "at least 32"),
        ("image.zoom", 0.0, "above 0 and at most 1"),
        ("image.zoom", 1.5, "above 0 and at most 1"),
        ("image.jitter", 1.0, "from 0 to below 1"),
        ("image.rotate", -1, "from 0 to 180 degrees"),
        ("image.rotate", 180.5, "from 0 to 180 degrees"),
        ("image.hue", 0.6, "from 0 to 0.5"),
        ("image.grey", 1.1, "from 0 to 1"),
        ("image.erase", -0.1, "from 0 to 1"),
        ("image.cache_gb", -1.0, "at least 0"),
        ("training.batch", 1, "at least 2"),
        ("training.triplets", 15, "at least one batch"),
        ("training.epochs", 0, "at least 1"),
        ("training.minutes", -1, "at least 0"),
        ("training.lr", 0.0, "above 0"),
        ("training.head_lr", -1e-3, "at least 0"),
        ("training.weight_decay", -0.1, "at least 0"),
        ("training.decay", 0, "above 0"),
        ("training.decay_every", 0, "at least 1"),
        ("training.warmup", 1.0, "from 0 to below 1"),
        ("training.clip", -1, "at least 0"),
        ("training.margin", -0.2, "at least 0"),
        ("training.temperature", 0, "above 0"),
        ("training.proxy_weight", -1, "at least 0"),
        ("training.proxy_temperature", 0, "above 0"),
        ("training.smoothing", 1, "from 0 to below 1"),
        ("training.class_weight", -1, "at least 0"),
        ("training.average", 1.0, "from 0 to below 1"),
        ("training.validate_every", 0, "at least 1"),
        ("training.seed", -1, "from 0 to 4294967295"),
        ("training.seed", 2**32, "from 0 to 4294967295"),
    ],
)
def test_values_no_training_can_run_with(name: str, value: float, expected: str) -> None:
    section, key = name.split(".")
    with pytest.raises(RecipeError) as caught:
        from_dict({section: {key: value}})
    assert str(caught.value) == f"recipe: expected {name} {expected}, found {value_of_type(value, KEYS[name])}"


def value_of_type(value: float, hint: Any) -> Any:
    return float(value) if hint is float else value


@pytest.mark.parametrize(
    ("mean", "std"),
    [([0.5], [0.5]), ([0.5] * 3, []), ([], [0.5] * 3), ([0.5] * 3, [0.5, 0.5, 0.0]), ([0.5] * 4, [0.5] * 4)],
)
def test_normalisation_is_three_and_three_or_none(mean: list[float], std: list[float]) -> None:
    with pytest.raises(
        RecipeError, match=r"expected model\.mean and model\.std three numbers each, std above 0, or none"
    ):
        from_dict({"model": {"mean": mean, "std": std}})


@pytest.mark.parametrize(
    ("override", "name", "expected"),
    [
        ("training.lr=1e-3", "training.lr", 1e-3),
        ("training.lr=0.01", "training.lr", 0.01),
        ("training.minutes=30", "training.minutes", 30.0),
        ("training.epochs=7", "training.epochs", 7),
        ("training.batching=pairs", "training.batching", "pairs"),
        ("training.decay-every=2", "training.decay_every", 2),
        ("image.flip=false", "image.flip", False),
        ("image.flip=no", "image.flip", False),
        (" image.height =96", "image.height", 96),
        ("model.weights=none", "model.weights", "none"),
        ("model.weights=/a b/c=d.safetensors", "model.weights", "/a b/c=d.safetensors"),
        ("data.catalogue=", "data.catalogue", ""),
        ("data.catalogue=2024", "data.catalogue", "2024"),
        ("data.catalogue=no", "data.catalogue", "no"),
        ("data.catalogue=a: b #c", "data.catalogue", "a: b #c"),
        ("data.attributes=neckline", "data.attributes", ("neckline",)),
        ("data.attributes=neckline, sleeve length ,", "data.attributes", ("neckline", "sleeve length")),
        ("data.attributes=[neckline, 'fit, waist']", "data.attributes", ("neckline", "fit, waist")),
        ("data.attributes=yes,2024", "data.attributes", ("yes", "2024")),
        ("data.attributes=", "data.attributes", ()),
        ("model.options.width=128", "model.options", {"width": 128}),
        ("model.options={width: 128, pyramid: true}", "model.options", {"width": 128, "pyramid": True}),
        ("model.options.deep.down=x", "model.options", {"deep": {"down": "x"}}),
        ("model.trunk_options.num_classes=1001", "model.trunk_options", {"num_classes": 1001}),
    ],
)
def test_overrides(tmp_path: Path, override: str, name: str, expected: Any) -> None:
    recipe = load_recipe(write(tmp_path, "training: {batch: 8}"), [override])
    assert value_of(recipe, name) == expected
    assert type(value_of(recipe, name)) is type(expected)
    assert recipe.training.batch == 8


def test_overrides_of_a_pair_the_last_one_wins_and_a_built_in_stays_itself() -> None:
    changed = load_recipe("laptop", ["model.mean=0.5,0.5,0.5", "model.std=[0.5, 0.5, 0.5]", "model.options.width=64"])
    assert changed.model.mean == changed.model.std == (0.5, 0.5, 0.5)
    assert changed.model.options == {**load_recipe("laptop").model.options, "width": 64}
    assert load_recipe("laptop", ["training.seed=1", "training.seed=2"]).training.seed == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epochs", "--set 'training.epochs': expected section.key=value, for example training.epochs=5"),
        ("epochs=5", "expected section.key=value"),
        ("=5", "expected section.key=value"),
        ("training.=5", "expected section.key=value"),
        (".epochs=5", "expected section.key=value"),
        ("training.batch.size=5", "'batch' holds a value, not a section"),
        ("training.epochs=[1", "--set 'training.epochs=[1': the value is not YAML"),
        ("training.epochs={a: 1, a: 2}", "the value is not YAML"),
        ("training.epochs=", "expected training.epochs to be a whole number, found ''"),
        ("training.epoch=5", "unknown key 'training.epoch'; did you mean 'training.epochs'?"),
        ("trainnig.epochs=5", "unknown key 'trainnig'; did you mean 'training'?"),
        ("image.resize=letterbx", "unknown value of image.resize 'letterbx'; did you mean 'letterbox'?"),
        ("model.options=8", "expected model.options to be keys with values, found 8"),
        ("model.mean=a,b,c", "expected model.mean to be a number, found 'a'"),
    ],
)
def test_bad_overrides(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(tmp_path, "training: {batch: 8}"), [override])
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "{}", "training:\nimage:\n", "training: {}"])
def test_an_empty_file_or_section_is_the_defaults(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    assert load_recipe(path) == Recipe()
    assert load_recipe(str(path), ["training.epochs=3"]).training.epochs == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "expected a recipe to hold sections or keys, found [1, 2]"),
        ("[]", "expected a recipe to hold sections or keys, found []"),
        ("words", "expected a recipe to hold sections or keys, found 'words'"),
        ("0", "expected a recipe to hold sections or keys, found 0"),
        ("training: 5", "expected training to hold sections or keys, found 5"),
        ("training: [lr, 5]", "expected training to hold sections or keys, found ['lr', 5]"),
        ("training: {lr: 1", "is not YAML"),
        ("a: b: c", "is not YAML"),
        ("training: {lr: 1, lr: 2}", "'lr' is there twice"),
        ("training: {lr: 1}\nimage: {}\ntraining: {lr: 2}", "'training' is there twice"),
        ("1: 2", "unknown key '1'"),
        ("modle: {}", "unknown key 'modle'; did you mean 'model'?"),
        ("!!python/object/apply:os.getcwd []", "is not YAML"),
        (b"data: {catalogue: \xe4}", "is not YAML"),
        (b"\x00\x01", "is not YAML"),
    ],
)
def test_bad_files(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, ["data.max_failed=0.1"])
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_no_such_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"unknown recipe 'agmann'; did you mean 'agman'\? .*; or give a \.yaml file"):
        load_recipe("agmann")
    with pytest.raises(RecipeError, match=r"no recipe at .*mine\.yaml; the built-in ones are agman, "):
        load_recipe(tmp_path / "mine.yaml")


def test_numbers_that_yaml_reads_as_text_are_numbers(tmp_path: Path) -> None:
    recipe = load_recipe(
        write(tmp_path, "training: {lr: 1e-4, minutes: 5}\nmodel: {weights: null, mean: [0, 0.5, 1e0], std: [1, 1, 1]}")
    )
    assert recipe.training.lr == 1e-4
    assert recipe.model.weights == "none"
    assert recipe.model.mean == (0.0, 0.5, 1.0)


def test_a_recipe_cannot_be_changed_and_shares_nothing() -> None:
    recipe = Recipe()
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.training = recipe.training  # type: ignore[misc]
    for section in SECTIONS:
        kept = getattr(recipe, section)
        for field in dataclasses.fields(kept):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(kept, field.name, None)
    recipe.model.options["width"] = 1
    assert Recipe().model.options == {}


def test_rates_are_numbers_by_module(tmp_path: Path) -> None:
    path = write(tmp_path, "training: {rates: {trunk: 1e-5, head.attend: 2}}")
    assert load_recipe(path).training.rates == {"trunk": 1e-5, "head.attend": 2.0}
    assert load_recipe(path, ["training.rates.trunk=1e-3"]).training.rates == {"trunk": 1e-3, "head.attend": 2.0}
    for rates, message in [
        ({"trunk": "much"}, "expected training.rates.trunk to be a number, found 'much'"),
        ({"trunk": {"stages": 1e-4}}, "expected training.rates.trunk to be a number"),
        ({"trunk": 0}, "expected training.rates above 0 each"),
    ]:
        with pytest.raises(RecipeError, match=re.escape(message)):
            from_dict({"training": {"rates": rates}})


def test_pairs_draw_no_triplets() -> None:
    assert from_dict({"training": {"sampler": "balanced"}}).training.sampler == "balanced"
    with pytest.raises(RecipeError, match=r"expected training\.sampler asen with training\.batching=pairs"):
        from_dict({"training": {"sampler": "given", "batching": "pairs"}})


STAGES = """
model: {options: {width: 8}}
training: {epochs: 7, lr: 1e-3, minutes: 10}
stages:
  - {training.epochs: 3, model.options.local: false}
  - {training.epochs: 1, training.rates: {trunk: 1e-5}, image.flip: false}
"""


def test_a_stage_changes_what_it_says_and_nothing_else(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, STAGES))
    assert Recipe().resolved() == [Recipe()]
    first, second = recipe.resolved()
    assert first.stages == second.stages == ()
    assert (first.training.epochs, second.training.epochs) == (3, 1)
    assert (first.training.lr, second.training.lr) == (1e-3, 1e-3)
    assert first.model.options == {"width": 8, "local": False}
    assert second.model.options == {"width": 8}
    assert (first.training.rates, second.training.rates) == ({}, {"trunk": 1e-5})
    assert (first.image.flip, second.image.flip) == (True, False)
    assert (recipe.training.epochs, recipe.model.options) == (7, {"width": 8}), "the recipe itself stays"
    assert from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_a_time_limit_is_that_of_all_stages(tmp_path: Path) -> None:
    path = write(tmp_path, STAGES)
    assert [stage.training.minutes for stage in load_recipe(path).resolved()] == [7.5, 2.5]
    own = load_recipe(path, ["stages.1.training.minutes=4"])
    assert [stage.training.minutes for stage in own.resolved()] == [4.0, 2.5]


def test_overrides_change_what_stages_share_or_one_stage(tmp_path: Path) -> None:
    path = write(tmp_path, STAGES)
    shared = load_recipe(path, ["training.epochs=9", "training.lr=0.5", "model.options.width=4"]).resolved()
    assert [stage.training.epochs for stage in shared] == [3, 1], "a stage's own value wins"
    assert [stage.training.lr for stage in shared] == [0.5, 0.5]
    assert [stage.model.options["width"] for stage in shared] == [4, 4]
    one = load_recipe(path, ["stages.2.training.epochs=5", "stages.2.image.height=64", "stages.1.data.attributes=a,b"])
    assert [stage.training.epochs for stage in one.resolved()] == [3, 5]
    assert [stage.image.height for stage in one.resolved()] == [224, 64]
    assert one.resolved()[0].data.attributes == ("a", "b")


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([{"training.epoch": 5}], "stage 1: unknown key 'training.epoch'; did you mean 'training.epochs'?"),
        ([{}, {"trainig.epochs": 5}], "stage 2: unknown key 'trainig'; did you mean 'training'?"),
        ([{"training.epochs": "5"}], "stage 1: expected training.epochs to be a whole number, found '5'"),
        ([{"training.epochs": 0}], "stage 1: expected training.epochs at least 1, found 0"),
        ([{"training.sampler": "balancd"}], "did you mean 'balanced'?"),
        ([{"training": {"epochs": 5}}], "'training' cannot be changed: expected a setting such as training.epochs"),
        ([{"training.epochs.more": 5}], "'epochs' holds a value, not a section"),
        ([{"data.catalogue": "x"}], "'data.catalogue' cannot be changed"),
        ([{"model.init": "x"}], "a stage starts from the one before"),
        ([5], "expected stages to be keys with values, found 5"),
        ({"training.epochs": 5}, "expected stages to be a list"),
        ("once", "expected stages to be keys with values"),
    ],
)
def test_stages_that_cannot_be_are_named_when_the_recipe_is_loaded(stages: Any, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, yaml.safe_dump({"stages": stages}))
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "override", ["stages.3.training.epochs=1", "stages.0.training.epochs=1", "stages.epochs=1", "stages.2.epochs=1"]
)
def test_overrides_of_stages_that_are_not_there(override: str, tmp_path: Path) -> None:
    expected = re.escape(f"--set {override!r}: expected stages.N.section.key=value, N from 1 to 2")
    with pytest.raises(RecipeError, match=expected):
        load_recipe(write(tmp_path, STAGES), [override])
    with pytest.raises(RecipeError, match=r"the recipe has no stages"):
        load_recipe(write(tmp_path, "training: {}"), [override])


@pytest.mark.parametrize("name", recipe_names())
def test_records_give_the_recipe_back(name: str) -> None:
    recipe = load_recipe(name, ["data.catalogue=a: b", "data.attributes=x,y", "model.options.sizes=[1, 2]"])
    record = recipe.to_dict()
    assert from_dict(record) == recipe
    assert from_dict(json.loads(json.dumps(record))) == recipe
    assert from_dict(yaml.safe_load(yaml.safe_dump(record))) == recipe
    record["model"]["options"]["sizes"].append(3)
    assert recipe.model.options["sizes"] == [1, 2]


def test_the_record_holds_every_key() -> None:
    record = Recipe().to_dict()
    assert record.pop("stages") == []
    assert {f"{section}.{key}" for section, keys in record.items() for key in keys} == set(KEYS)
    assert from_dict(record) == Recipe()


def test_the_defaults_are_the_papers() -> None:
    """AG-MAN's printed settings and, where it is silent, its code's."""
    recipe = Recipe()
    training = recipe.training
    assert (training.batch, training.lr, training.decay, training.decay_every) == (16, 1e-4, 0.9, 3)
    assert (training.epochs, training.triplets, training.margin) == (50, 100_000, 0.2)
    assert (training.optimiser, training.schedule, training.combine) == ("adam", "step", "fixed")
    assert (recipe.image.height, recipe.image.width, recipe.image.resize, recipe.image.flip) == (224, 224, "crop", True)
    assert (recipe.image.zoom, recipe.image.jitter, training.proxy_weight, training.average) == (1.0, 0.0, 0.0, 0.0)


def test_a_stages_weight_of_one_loss_changes_that_stage_alone(tmp_path: Path) -> None:
    """As for a catalogue without landmarks; the recipe as written stays what it is."""
    path = tmp_path / "items.yaml"
    path.write_text(
        "training: {batching: images}\n"
        "stages: [{training.losses: {tags: 1, landmarks: 1}}, {training.losses: {id: 1, landmarks: 1}}]\n"
    )
    recipe = load_recipe(path, ["stages.1.training.losses.landmarks=0"])
    for _ in range(2):
        found = [stage.training.losses for stage in recipe.resolved()]
        assert found == [{"tags": 1, "landmarks": 0}, {"id": 1, "landmarks": 1}]
    assert recipe.stages[0]["training.losses"] == {"tags": 1, "landmarks": 1}
    with pytest.raises(RecipeError, match=r"stage 1: training\.batching=images needs training\.losses"):
        load_recipe(path, [f"stages.1.training.losses.{name}=0" for name in ("tags", "landmarks")])
