"""Learning rates: which parameter has which, and how they fall."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lapel.config import TrainingConfig
from lapel.errors import RecipeError, unknown
from lapel.training.item_objective import ItemObjective
from lapel.training.objective import Objective


def make_optimiser(objective: Objective | ItemObjective, settings: TrainingConfig) -> torch.optim.Optimizer:
    """Adam or AdamW; trunk, head and proxies (of values, of items) have their own rates. Norms, biases and scalars do
    not decay.

    Raises:
        RecipeError: a module in ``training.rates`` that the model does not have.
    """
    trunk = {id(parameter) for parameter in objective.model.trunk.parameters()}
    proxies = {id(parameter) for parameter in objective.proxies.parameters()} if objective.proxies is not None else ()
    own = _own_rates(objective, settings.rates)
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for parameter in objective.parameters():
        if parameter.requires_grad:
            rate = settings.lr if id(parameter) in trunk else settings.head_lr or settings.lr
            if id(parameter) in proxies:
                rate = settings.proxy_lr or rate
            rate = own.get(id(parameter), rate)
            decay = settings.weight_decay if settings.optimiser == "adamw" and parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    listed = [
        {"params": found, "lr": rate, "base": rate, "weight_decay": decay} for (rate, decay), found in groups.items()
    ]
    kind = torch.optim.AdamW if settings.optimiser == "adamw" else torch.optim.Adam
    return kind(listed or [{"params": [], "base": settings.lr}])


def _own_rates(objective: Objective | ItemObjective, rates: Mapping[str, float]) -> dict[int, float]:
    """Return the rate of each parameter that ``training.rates`` names, by its id."""
    names = dict(objective.model.named_parameters())
    found: dict[int, float] = {}
    for prefix in sorted(rates, key=len):  # the longest last
        chosen = [parameter for name, parameter in names.items() if f"{name}.".startswith(f"{prefix}.")]
        if not chosen:
            raise RecipeError(unknown("module in training.rates", prefix, sorted({n.split(".")[0] for n in names})))
        found |= {id(parameter): rates[prefix] for parameter in chosen}
    return found


def moving(settings: TrainingConfig) -> Any:
    """The rule of the running average of weights, for ``AveragedModel``."""

    def mean(old: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
        # Short memory at first, or the random start would stay in the average for long.
        decay = min(settings.average, (1 + int(count)) / (10 + int(count)))
        return torch.lerp(new, old, decay) if old.is_floating_point() else new

    return mean


def set_rate(optimiser: Any, settings: TrainingConfig, share: float, epoch: int) -> None:
    """Set the learning rates of a step.

    Args:
        optimiser: whose groups have their full rate under ``base``.
        settings: the schedule.
        share: of the training that is done, 0 to 1.
        epoch: from 0.
    """
    if settings.schedule == "step":
        factor = settings.decay ** (epoch // settings.decay_every)
    elif share < settings.warmup:
        factor = max(share / settings.warmup, 0.01)
    else:
        factor = 0.5 * (1 + math.cos(math.pi * (share - settings.warmup) / (1 - settings.warmup)))
    for group in optimiser.param_groups:
        group["lr"] = group["base"] * factor
