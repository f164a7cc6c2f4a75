"""Every recipe that comes with Lapel loads, is its own record, and builds a model that embeds."""

from __future__ import annotations

import json
import re
import shlex
from importlib.resources import files

import pytest
import yaml

from lapel import cli
from lapel.config import Recipe, from_dict, load_recipe, recipe_names

NAMES = recipe_names()


def text_of(name: str) -> str:
    return files("lapel.recipes").joinpath(f"{name}.yaml").read_text(encoding="utf-8")


def test_there_are_recipes() -> None:
    assert "agman" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_it_loads_and_is_its_own_record(name: str) -> None:
    recipe = load_recipe(name)
    assert isinstance(recipe, Recipe)
    assert from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@pytest.mark.parametrize("name", NAMES)
def test_what_the_file_says_is_what_is_loaded(name: str) -> None:
    """No key of the file is lost or changed on the way."""
    loaded = load_recipe(name).to_dict()
    for section, settings in yaml.safe_load(text_of(name)).items():
        for key, value in settings.items():
            assert loaded[section][key] == value, f"{section}.{key}"


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


@pytest.mark.parametrize("name", NAMES)
def test_its_model_builds_and_embeds(name: str) -> None:
    import torch

    from lapel.models import build

    spec, image = load_recipe(name).model, load_recipe(name).image
    model = build(spec.name, 3, spec.trunk, False, trunk_options=spec.trunk_options, **spec.options).eval()
    batch = torch.zeros(2, 3, image.height, image.width)
    with torch.inference_mode():
        embedded = model.embed(model.features(batch), torch.arange(3))
    assert embedded.shape == (2, 3, model.dim)
    torch.testing.assert_close(embedded.norm(dim=-1), torch.ones(2, 3))
