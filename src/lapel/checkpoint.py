"""The state that training resumes from, as one safetensors file written in one step."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lapel.errors import RunError
from lapel.files import atomic_path

NAME = "last.safetensors"


@dataclass
class State:
    """How far a training has come.

    Attributes:
        step: optimiser steps done.
        elapsed: seconds of training so far, over all sittings.
        best: best validation MAP so far, in percent.
        done: the time limit was reached.
    """

    step: int = 0
    elapsed: float = 0.0
    best: float = -math.inf
    done: bool = False


def save_state(run: Path, objective: nn.Module, optimiser: Any, average: nn.Module | None, state: State) -> None:
    """Write ``run/last.safetensors``: weights, running average, optimiser moments, progress."""
    tensors = {f"objective.{name}": tensor for name, tensor in objective.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in average.state_dict().items()}
    for number, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{name}": tensor for name, tensor in moments.items()}
    progress = asdict(state) | {"best": None if math.isinf(state.best) else state.best}
    with atomic_path(run / NAME) as temporary:
        # Cloned, because parameters shared or strided in memory cannot be written as they are.
        plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        save_file(plain, temporary, {"state": json.dumps(progress)})


def load_state(run: Path, objective: nn.Module, optimiser: Any, average: nn.Module | None) -> State:
    """Restore what ``save_state`` wrote.

    Raises:
        RunError: the file is damaged or belongs to another model.
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
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise RunError(
            f"cannot resume from {path}: {' '.join(str(error).split())[:200]}. Train again into another folder"
        ) from error
    state = State(**progress)
    state.best = -math.inf if progress["best"] is None else progress["best"]
    return state


def _under(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
