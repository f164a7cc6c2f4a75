"""Learning rates: each module its own, and how they fall."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import pytest
import torch

from lapel.config import from_dict
from lapel.errors import RecipeError
from lapel.training.attribute_work import build_model
from lapel.training.objective import Objective
from lapel.training.optimiser import make_optimiser, moving, set_rate

from ..training_world import recipe


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


@pytest.mark.parametrize(
    ("share", "factor"),
    [
        (0.0, 0.01),  # a first step of nothing would be none
        (0.05, 0.25),
        (0.2, 1.0),
        (0.4, 0.5 * (1 + math.cos(math.pi / 4))),
        (0.6, 0.5),
        (1.0, 0.0),
    ],
)
def test_the_rate_warms_up_and_falls_as_a_cosine(share: float, factor: float) -> None:
    """Whatever the epoch; every group from its own full rate."""
    settings = from_dict({"training": {"schedule": "cosine", "warmup": 0.2, "decay": 0.5}}).training
    groups = [{"base": base, "lr": 0.0} for base in (1.0, 3.0)]
    set_rate(SimpleNamespace(param_groups=groups), settings, share, 7)
    assert [group["lr"] for group in groups] == pytest.approx([factor, 3 * factor], abs=1e-12)


def test_no_warm_up_starts_at_the_full_rate() -> None:
    group = {"base": 2.0, "lr": 0.0}
    settings = from_dict({"training": {"schedule": "cosine", "warmup": 0.0}}).training
    set_rate(SimpleNamespace(param_groups=[group]), settings, 0.0, 0)
    assert group["lr"] == 2.0


@pytest.mark.parametrize(("optimiser", "decay"), [("adamw", 0.3), ("adam", 0.0)])
@pytest.mark.parametrize(("own", "expected"), [(0.0, 2.0), (5.0, 5.0)])
def test_matrices_decay_under_adamw_and_proxies_have_their_rate(
    optimiser: str, decay: float, own: float, expected: float
) -> None:
    settings = recipe("", lr=1.0, head_lr=2.0, proxy_lr=own, optimiser=optimiser, weight_decay=0.3)
    settings = dataclasses.replace(
        settings, training=dataclasses.replace(settings.training, batching="pairs", proxy_weight=1.0)
    )
    objective = Objective(build_model(settings, 2, True), settings.training, [3, 2])
    made = make_optimiser(objective, settings.training)
    assert type(made) is {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[optimiser]
    groups = {id(found): group for group in made.param_groups for found in group["params"]}
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad:
            assert groups[id(parameter)]["weight_decay"] == (decay if parameter.ndim > 1 else 0.0), name
    assert objective.proxies is not None
    assert groups[id(objective.proxies.proxies)]["lr"] == expected


def test_the_average_forgets_its_start_and_then_follows_its_decay() -> None:
    mean = moving(from_dict({"training": {"average": 0.9}}).training)
    old, new = torch.tensor([1.0]), torch.tensor([0.0])
    for count, kept in ((0, 0.1), (8, 0.5), (10_000, 0.9)):
        assert mean(old, new, count).item() == pytest.approx(kept)
    assert mean(torch.tensor([3]), torch.tensor([4]), 10_000).item() == 4, "counters are taken as they are"
