"""Learning rates: each module its own, and how they fall."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest

from lapel.config import from_dict
from lapel.errors import RecipeError
from lapel.objective import Objective
from lapel.optimiser import make_optimiser, set_rate
from lapel.training import build_model

from .training_world import recipe


def test_modules_have_rates_of_their_own() -> None:
    """The longest beginning of a name wins; whole names only."""
    settings = recipe("", lr=1.0, head_lr=2.0, rates={"trunk.stages.1": 4.0, "trunk": 3.0, "map_scale": 5.0})
    objective = Objective(build_model(settings, 2, True), settings.training, [3, 2])
    optimiser = make_optimiser(objective, settings.training)
    rates = {id(found): group["lr"] for group in optimiser.param_groups for found in group["params"]}
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad:
            own = name.removeprefix("model.")
            inner = 4.0 if own.startswith("trunk.stages.1.") else 3.0
            expected = inner if own.startswith("trunk.") else 5.0 if own == "map_scale" else 2.0
            assert rates[id(parameter)] == expected, name
    for prefix in ("trnk", "map", "trunk.stages.9"):
        with pytest.raises(RecipeError, match=rf"unknown module in training\.rates '{prefix}'.*map_scale.*trunk"):
            make_optimiser(objective, dataclasses.replace(settings.training, rates={prefix: 1.0}))


@pytest.mark.parametrize(("epoch", "rate"), [(0, 1.0), (1, 1.0), (2, 0.5), (9, 0.5**4)])
def test_the_rate_falls_in_steps(epoch: int, rate: float) -> None:
    settings = from_dict({"training": {"decay": 0.5, "decay_every": 2}}).training
    group = {"base": 1.0, "lr": 0.0}
    set_rate(SimpleNamespace(param_groups=[group]), settings, 0.0, epoch)
    assert group["lr"] == rate
