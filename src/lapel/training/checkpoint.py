"""What training resumes from: its state, as one safetensors file written in one step; and what may be resumed."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from lapel.config import Recipe
from lapel.errors import RecipeError, RunError
from lapel.runs import CONFIG, RunConfig, load_weights, read_config, write_tensors
from lapel.shell import say

NAME = "last.safetensors"
TAG_HEAD = "tag_head."
"""What the names of the layer begin with that predicts tags, in every instance model."""


@dataclass
class State:
    """How far a training has come.

    Attributes:
        step: optimiser steps done.
        elapsed: seconds of training so far, over all sittings.
        best: best validation figure so far, in percent.
        measure: what that figure is: ``map``, ``accuracy``.
        done: the time limit was reached.
        validated: step of the last validation.
        processes: how many processes train; it decides what a step reads.
    """

    step: int = 0
    elapsed: float = 0.0
    best: float = -math.inf
    measure: str = "map"
    done: bool = False
    validated: int = 0
    processes: int = field(default_factory=lambda: int(os.environ.get("WORLD_SIZE", "1")))


def save_state(run: Path, objective: nn.Module, optimiser: Any, average: nn.Module | None, state: State) -> None:
    """Write ``run/last.safetensors``: weights, running average, optimiser moments, progress."""
    tensors = {f"objective.{name}": tensor for name, tensor in objective.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in average.state_dict().items()}
    for number, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{name}": tensor for name, tensor in moments.items()}
    progress = asdict(state) | {"best": None if math.isinf(state.best) else state.best}
    write_tensors(run / NAME, tensors, {"state": json.dumps(progress)})


def load_state(run: Path, objective: nn.Module, optimiser: Any, average: nn.Module | None) -> State:
    """Restore what ``save_state`` wrote.

    Raises:
        RunError: the file is damaged or belongs to another model, or other processes wrote it.
    """
    path = run / NAME
    try:
        with safe_open(path, "pt") as stored:
            progress = json.loads(stored.metadata()["state"])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        objective.load_state_dict(_under(tensors, "objective."))
        if average is not None:
            average.load_state_dict(_under(tensors, "average."))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under(tensors, "optimiser.").items():
            number, key = name.split(".", 1)
            moments.setdefault(int(number), {})[key] = tensor
        whole = optimiser.state_dict()
        optimiser.load_state_dict({"state": moments, "param_groups": whole["param_groups"]})
        for parameter, found in optimiser.state.items():
            # In the parameter's own memory layout, as in an uninterrupted training.
            found |= {key: torch.empty_like(parameter).copy_(old) for key, old in found.items() if old.ndim}
        state = State(**progress)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise RunError(
            f"cannot resume from {path}: {' '.join(str(error).split())[:200]}. Train again into another folder"
        ) from error
    if state.processes != (now := State().processes):
        raise RunError(f"{run} was trained by {state.processes} processes, now there are {now}: start as many")
    state.best = -math.inf if progress["best"] is None else progress["best"]
    return state


def start_from(model: nn.Module, run: Path | str, attributes: Sequence[str]) -> None:
    """Fill a model from another run: every tensor that the run has by the same name; the others stay as they are.

    Args:
        model: to be filled.
        run: where from.
        attributes: names of the model's attributes.

    Raises:
        RunError: no such run, or damaged weights.
        RecipeError: no tensor in common, one of another shape, or other attributes.
    """
    config = read_config(run)
    if [*config.attributes] != [*attributes]:
        # A model has rows of its own for each attribute: in another order they would go to the wrong one.
        raise RecipeError(
            f"model.init: {run} was trained on the attributes {', '.join(config.attributes)}, this training has "
            f"{', '.join(attributes)}: take the same with --set data.attributes=... and a catalogue in that order"
        )
    _fill(model, load_weights(Path(run), config)[0], run, config)


def start_items_from(model: nn.Module, run: Path | str, tags: Sequence[tuple[str, str]]) -> None:
    """Fill an instance model from another run, of whatever kind: every tensor that the run has by the same name.

    The tag head is taken only from a run of the same tags, and what has another shape here (the layer after a fusion
    that the other model does not have) is not taken, but for the trunk; those parts start anew, which is said. So a
    catalogue whose tags are others, or that has none, borrows the branches (AHBN's Street2Shop from Consumer-to-Shop),
    and an appearance branch that was trained without labels goes into any model.

    Args:
        model: to be filled.
        run: where from.
        tags: the model's.

    Raises:
        RunError: no such run, or damaged weights.
        RecipeError: no tensor in common, or one of the trunk's of another shape.
    """
    config = read_config(run)
    tensors, _ = load_weights(Path(run), config)
    own = model.state_dict()
    anew = {
        name
        for name, tensor in tensors.items()
        if (name.startswith(TAG_HEAD) and config.tags != tuple(tags))
        or (name in own and tensor.shape != own[name].shape and not name.startswith("trunk."))
    }
    # A layer is its weight and its bias: the bias, of the same shape still, belongs to what is not taken.
    layers = {name.rpartition(".")[0] for name in anew & own.keys()}
    if "project" in layers:
        layers.add("fuse")  # a sketch of another size has other buckets, of the same shape
    anew |= {name for name in tensors if name.rpartition(".")[0] in layers}
    if parts := sorted({name.split(".")[0] for name in anew & own.keys()}):
        why = "of other tags or sizes than in this training"
        say(f"model.init: {', '.join(parts)} of {run} is {why}, and starts anew")
    _fill(model, {name: tensor for name, tensor in tensors.items() if name not in anew}, run, config)


def _fill(model: nn.Module, tensors: Mapping[str, Tensor], run: Path | str, config: RunConfig) -> None:
    """Set those of a model's tensors that are given; there must be one, and each of the model's shape."""
    own = model.state_dict()
    shared = {name: tensor for name, tensor in tensors.items() if name in own}
    if not shared:
        raise RecipeError(
            f"model.init: the {config.model['name']} of {run} has no tensor of this model; it has "
            f"{', '.join(sorted({name.split('.')[0] for name in tensors}))}, this one "
            f"{', '.join(sorted({name.split('.')[0] for name in own}))}"
        )
    for name, tensor in shared.items():
        if tensor.shape != own[name].shape:
            raise RecipeError(
                f"model.init: {name} is {tuple(tensor.shape)} in {run} and {tuple(own[name].shape)} here: take the "
                "trunk and options of that run"
            )
    model.load_state_dict(shared, strict=False)


def begun(run: Path) -> bool:
    """Whether a training has begun in this folder, or one of its stages has."""
    return (run / CONFIG).exists() or any(run.glob(f"stage*/{CONFIG}"))


def _under(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def check_folder(run: Path, recipe: Recipe, resume: bool) -> None:
    """Refuse to overwrite a run, or to resume one of another recipe.

    Raises:
        RunError, RecipeError: which of the two, and what to do.
    """
    if not (run / CONFIG).exists():
        if resume:
            raise RunError(f"nothing to resume at {run}: no {CONFIG} there. Leave out --resume to start")
        last_stage = Path(recipe.model.init).parent == run.resolve()  # the stages before lie in its folder
        known = "stage*" if last_stage else ""
        if run.exists() and not all(fnmatch(entry.name, known) for entry in run.iterdir()):
            raise RunError(f"{run} is not empty and is no run folder: give another folder with --to")
        return
    if not resume:
        raise RunError(f"{run} already holds a run: continue it with --resume, or give another folder with --to")
    before, now = _flat(read_config(run).recipe.to_dict()), _flat(recipe.to_dict())
    for key in before | now:
        moved = key == "model.init" and Path(str(before.get(key))).name == Path(str(now.get(key))).name
        if before.get(key) != now.get(key) and key != "data.catalogue" and not moved:
            raise RecipeError(
                f"{run} was trained with {key} = {before.get(key)!r}, asked to resume with {now.get(key)!r}: "
                "resume with the same recipe and settings, or start another run with --to"
            )


def check_catalogue(run: Path, config: RunConfig) -> None:
    """Refuse to resume on a catalogue that has changed since.

    Raises:
        RunError: what has changed.
    """
    before = read_config(run)
    pairs = {
        "attributes and values": (dict(before.attributes), dict(config.attributes)),
        "tags": (before.tags, config.tags),
        "training images": (before.protocol.get("train"), config.protocol["train"]),
        "validation images": (before.protocol.get("val"), config.protocol["val"]),
        "preprocessing": (dict(before.preprocessing), dict(config.preprocessing)),
        "order, boxes or labels of the images": (before.protocol.get("digest"), config.protocol["digest"]),
    }
    for what, (old, new) in pairs.items():
        if json.dumps(old) != json.dumps(new):
            raise RunError(
                f"the {what} of {run} are no longer what they were: {str(old)[:200]} became {str(new)[:200]}. "
                "Resume on the same catalogue, or start another run with --to"
            )


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in data.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found
