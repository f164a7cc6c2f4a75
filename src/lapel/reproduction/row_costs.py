"""What the rows of a table cost, measured one after another on one machine, so that their speeds compare."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lapel.evaluation.cost import device_name, measure
from lapel.files import atomic_write
from lapel.retrieval.embedder import load
from lapel.runs import read_config

NAME = "costs.json"
BATCH, REPEATS = 16, 5


def embedding_costs(runs: Mapping[str, Path], to: Path) -> dict[str, dict[str, Any]]:
    """Return name -> parameters, GFLOP and speed of embedding all attributes (``evaluation.cost``), kept in ``to``.

    All are measured again when one is new or has changed, or on another machine: speeds of two sessions do not compare.

    Args:
        runs: name -> a run folder.
        to: where the file lies.

    Raises:
        RunError: no run, or altered weights.
        LapelError: the file cannot be written.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    machine = {"device": device_name(device), "threads": torch.get_num_threads(), "batch": BATCH}
    settings = {name: read_config(run).settings() for name, run in runs.items()}
    try:
        stored = json.loads((to / NAME).read_text(encoding="utf-8"))
        known: dict[str, dict[str, Any]] = stored["costs"]
        if stored["machine"] == machine and all(stored["settings"].get(name) == own for name, own in settings.items()):
            return {name: known[name] for name in runs}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # none yet, or none that can be read: measured anew
    found = {}
    for name, run in runs.items():
        embedder = load(run)
        frame = embedder.preprocessing
        found[name] = measure(embedder.model, frame.height, frame.width, BATCH, REPEATS).to_dict()
    data = {"machine": machine, "settings": settings, "costs": found}
    atomic_write(to / NAME, json.dumps(data, indent=2) + "\n")
    return found


def row_cost(embedding: Mapping[str, Any], trained: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the costs of a row for ``MeasuredRow``; the training's figures are means over its runs.

    Args:
        embedding: of ``embedding_costs``.
        trained: what each run's training took: ``steps``, ``images``, ``seconds``.
    """
    found: dict[str, Any] = {
        "parameters": embedding["parameters"]["total"],
        "parameters_to_embed": embedding["parameters"]["embedding"],
        "gflop": embedding["gflop"],
        "embedding": embedding["embedding"]["median"],
        "embedding_slowest": embedding["embedding"]["slowest"],
        "embedding_fastest": embedding["embedding"]["fastest"],
    }
    if trained and all(each.get("steps") for each in trained):
        count = len(trained)
        mean = {key: sum(each[key] for each in trained) / count for key in ("steps", "images", "seconds")}
        found["training"] = {"steps": mean["steps"], "images": mean["images"], "minutes": mean["seconds"] / 60}
    return found
