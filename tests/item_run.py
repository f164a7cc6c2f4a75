"""An item run that nobody trained: a tiny model with weights drawn by a seed, as training would leave it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from lapel.catalogue import Catalogue
from lapel.config import from_dict
from lapel.images import Preprocessing
from lapel.models import build_item
from lapel.runs import RunConfig, save_weights

OPTIONS = {
    "localisation": "light", "dim": 16, "width": 16, "sketch": 64, "common": 2,
}  # fmt: skip


def draw_run(
    run: Path, catalogue: Catalogue, tags: bool = True, seed: int = 0, name: str = "ahbn", **options: Any
) -> Path:
    """Write an item run for this catalogue into ``run``; ``options`` are the model's.

    Args:
        run: folder.
        catalogue: whose values are the tags.
        tags: whether the model predicts them.
        seed: of the weights.
        name: of the model.
        options: of the model; for ``ahbn`` in place of tiny ones.
    """
    named = [[name, value] for name in catalogue.attributes for value in catalogue.values(name)] if tags else []
    chosen = OPTIONS | options if name == "ahbn" else options
    spec: dict[str, Any] = {"name": name, "trunk": "test_resnet", "trunk_options": {}, "options": chosen}
    torch.manual_seed(seed)
    model = build_item(name, len(named), spec["trunk"], False, **spec["options"])
    losses = {"id": 1.0, "landmarks": 1.0} | ({"tags": 1.0} if tags else {})
    data = {"catalogue": str(catalogue.root), "max_failed": 0.2}
    recipe = from_dict({"data": data, "training": {"batching": "images", "losses": losses}})
    pre = Preprocessing(height=64, width=48, resize="letterbox")
    config = RunConfig(spec | {"task": "items", "tags": named}, {}, pre.to_dict(), recipe, {"catalogue": "drawn"})
    run.mkdir(parents=True)
    config.write(run)
    save_weights(run, model.state_dict(), config, {"epoch": 2, "acc@1": 12.5})
    lines = [{"step": 10 * n, "loss": 9.0 - n, "lr": 1e-4} for n in range(1, 5)]
    lines += [
        {"step": 20 * n, "epoch": n, "seconds": 5.0 * n, "val_acc@1": 5.0 * n, "val_acc@10": 9.0 * n, "val_tags": 20.0}
        for n in (1, 2)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run
