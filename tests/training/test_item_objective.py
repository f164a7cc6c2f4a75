"""The losses of instance models through a whole model; and the same gradients from two processes as from one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from lapel.config import TrainingConfig, from_dict
from lapel.errors import RecipeError
from lapel.heatmaps import draw_heatmaps
from lapel.losses.items import fastap_loss, heatmap_loss, item_contrast_loss, item_triplet_loss, tag_loss
from lapel.losses.views import simclr_loss, vicreg_loss
from lapel.recipe_rules import LOSSES
from lapel.training.item_objective import ItemObjective, rest_idle
from lapel.training.optimiser import make_optimiser

from ..item_tiny import Tiny, batch


def objective(losses: dict[str, float], model: Tiny | None = None, **settings: Any) -> ItemObjective:
    torch.manual_seed(0)
    config = TrainingConfig(batching="images", losses=losses, **settings)
    return ItemObjective(model or Tiny(), config, 3).double()


def test_the_losses_are_added_by_their_weights() -> None:
    weights = dict(zip(LOSSES, (1.0, 0.5, 0.25, 2.0, 3.0, 0.7, 0.3, 0.0, 0.0), strict=True))
    whole = objective(weights, margin=0.3, temperature=0.2, smoothing=0.1)
    images, targets = batch(8)
    model: Any = whole.model
    features = model.features(images)
    vectors = model.embed(features)
    maps = model.heatmaps(features)
    assert whole.proxies is not None
    assert whole.projector is None
    expected = {
        "id": whole.proxies(vectors, targets.items),
        "tags": tag_loss(model.tag_logits(features), targets.tags, targets.known),
        "landmarks": heatmap_loss(maps, draw_heatmaps(targets.points, 16, 16, 4, 4), targets.weights),
        "triplet": item_triplet_loss(vectors, targets.items, 0.3),
        "fastap": fastap_loss(vectors, targets.items),
        "contrast": item_contrast_loss(vectors, targets.items, 0.2),
    }
    matches, others = [], []  # every pair of known items: a batch of 8 has fewer than the candidates asked
    regions = model.regions(features)
    for i in range(7):
        for j in range(7):
            score = model.pair_scores(regions[i : i + 1], regions[None, j : j + 1])[0, 0]
            if i != j:
                same = bool(targets.items[i] == targets.items[j])
                (matches if same else others).append(F.softplus(-score if same else score))
    expected["pairs"] = (torch.stack(matches).mean() + torch.stack(others).mean()) / 2
    total = sum(weights[name] * loss for name, loss in expected.items())
    torch.testing.assert_close(whole(images, targets), total, check_dtype=False, atol=1e-5, rtol=1e-5)


def test_two_views_go_through_the_model_once_and_are_told_apart() -> None:
    whole = objective({"simclr": 1.0, "vicreg": 0.5, "tags": 2.0}, temperature=0.3)
    images, targets = batch(6, views=2)
    model: Any = whole.model
    features = model.features(images.flatten(0, 1))
    assert whole.projector is not None
    first, second = whole.projector(model.embed(features)).chunk(2)
    expected = simclr_loss(first, second, 0.3) + 0.5 * vicreg_loss(first, second)
    expected = expected + 2.0 * tag_loss(model.tag_logits(features), targets.tags, targets.known)
    torch.testing.assert_close(whole(images, targets), expected, check_dtype=False)


PARTS = {"id": {"project"}, "tags": {"tag_head"}, "landmarks": {"draw"}, "pairs": {"score"}, "simclr": {"project"}}


@pytest.mark.parametrize("losses", [{name: 1.0} for name in LOSSES] + [{"id": 1.0, "tags": 1.0, "landmarks": 0.0}])
def test_what_no_loss_reaches_rests(losses: dict[str, float]) -> None:
    """Stage 1 of AHBN leaves fusion and embedding alone; the optimiser and DDP must not wait for them."""
    whole = objective(losses).float()
    before = {name: tensor.clone() for name, tensor in whole.state_dict().items()}
    state = torch.get_rng_state()
    rest_idle(whole, 16, 16)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(tensor, before[name]) for name, tensor in whole.state_dict().items())
    assert all(parameter.grad is None for parameter in whole.parameters())
    trained = {name.split(".")[1] for name, p in whole.named_parameters() if p.requires_grad and "model" in name}
    on = [name for name, weight in losses.items() if weight]
    assert trained == {"trunk"}.union(*(PARTS.get(name, {"project"}) for name in on))
    images, targets = batch(6, views=2 if {"simclr", "vicreg"} & {*on} else 1)
    whole(images.float(), targets).backward()
    assert [n for n, p in whole.named_parameters() if p.requires_grad != (p.grad is not None)] == []
    listed = [p for group in make_optimiser(whole, whole.config).param_groups for p in group["params"]]
    assert {id(p) for p in listed} == {id(p) for p in whole.parameters() if p.requires_grad}


def test_the_trial_step_asks_nothing_of_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is on the CPU, where the processes of a GPU training cannot exchange anything."""
    monkeypatch.setattr("lapel.training.objective._shared", lambda: True)
    whole = objective({"triplet": 1.0, "fastap": 1.0, "contrast": 1.0, "simclr": 1.0}).float()
    rest_idle(whole, 16, 16)
    with pytest.raises((RuntimeError, ValueError), match="process group"):
        whole(batch(4, views=2)[0].float(), batch(4, views=2)[1])


def test_the_classifier_has_a_rate_of_its_own() -> None:
    whole = objective({"id": 1.0}, lr=1.0, head_lr=2.0, proxy_lr=3.0)
    rates = {id(p): group["lr"] for group in make_optimiser(whole, whole.config).param_groups for p in group["params"]}
    assert {rates[id(p)] for p in whole.model.trunk.parameters()} == {1.0}
    assert {rates[id(p)] for p in whole.model.project.parameters()} == {2.0}
    assert whole.proxies is not None
    assert {rates[id(p)] for p in whole.proxies.parameters()} == {3.0}


def test_a_batch_of_nothing_known_teaches_nothing_and_breaks_nothing() -> None:
    whole = objective({name: 1.0 for name in LOSSES if name not in ("simclr", "vicreg")})
    images, targets = batch(4)
    targets = targets._replace(
        items=torch.full((4,), -1), known=torch.zeros_like(targets.known), weights=torch.zeros_like(targets.weights)
    )
    loss = whole(images, targets)
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is not None and not p.grad.any() for p in whole.parameters())


@pytest.mark.parametrize(
    ("loss", "model", "message"),
    [
        ("tags", {"tags": 0}, r"training\.losses\.tags: this Tiny predicts no tags: leave tags out"),
        ("landmarks", {"points": 0}, r"landmarks: this Tiny predicts no landmarks: leave landmarks out"),
        ("landmarks", {"points": 5}, "predicts 5 landmarks: .*; landmarks are 8"),
        ("pairs", {"scores": False}, "this Tiny predicts no scores of pairs"),
    ],
)
def test_losses_of_what_a_model_does_not_predict(loss: str, model: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        objective({loss: 1.0}, Tiny(**model))
    objective({loss: 0.0, "id": 1.0}, Tiny(**model))


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({}, "needs training.losses, the weight of each loss"),
        ({"losses": {"id": 0}}, "needs training.losses"),
        ({"losses": {"ids": 1}}, "unknown loss in training.losses 'ids'; did you mean 'id'?"),
        ({"losses": {"id": -1}}, "expected training.losses.id at least 0, found -1"),
        ({"losses": {"id": 1}, "per_item": 1}, "training.per_item 0, or from 2 to half of training.batch = 16"),
        ({"losses": {"id": 1}, "per_item": 9}, "training.per_item 0, or from 2 to half"),
        ({"losses": {"id": 1}, "per_item": 3}, "a divisor of it, found 3"),
        ({"losses": {"id": 1}, "id_scale": -1}, "training.id_scale at least 0"),
        ({"losses": {"id": 1}, "sampler": "balanced"}, "asen with training.batching=images, which draws no triplets"),
        ({"batching": "pairs", "losses": {"id": 1}}, "training.losses is for training.batching=images, found pairs"),
        ({"batching": "triplets", "per_item": 2}, "training.per_item is for training.batching=images"),
        ({"batching": "triplets", "within": "colour"}, "leave training.within out"),
    ],
)
def test_settings_that_do_not_fit(training: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as error:
        from_dict({"training": {"batching": "images"} | training})
    assert message in str(error.value)


PROGRAM = """
import sys
import torch
from safetensors.torch import save_file
sys.path.insert(0, {root!r})
from tests.item_tiny import batch
from tests.training.test_item_objective import CASES, objective, part

def main(rank, world, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{{folder}}/meeting", rank=rank, world_size=world)
    found = {{}}
    for name, (views, settings) in CASES.items():
        whole = objective(**settings).eval()
        parallel = torch.nn.parallel.DistributedDataParallel(whole, find_unused_parameters=True)
        parallel(*part(batch(8, views), views, 4 * rank)).backward()
        found |= {{f"{{name}}/{{key}}": p.grad for key, p in whole.named_parameters() if p.grad is not None}}
    if rank == 0:
        save_file(found, f"{{folder}}/gradients.safetensors")

if __name__ == "__main__":
    torch.multiprocessing.start_processes(main, (2, sys.argv[1]), nprocs=2, start_method="fork")
"""

CASES: dict[str, tuple[int, dict[str, Any]]] = {
    "items": (1, {"losses": {"triplet": 1.0, "fastap": 0.5, "contrast": 2.0}}),
    "views": (2, {"losses": {"simclr": 1.0, "vicreg": 0.5}}),
}


def part(whole: Any, views: int, start: int) -> Any:
    """Four images of a batch of eight, in both views."""
    images, targets = whole
    rows = torch.cat([torch.arange(start, start + 4) + 8 * view for view in range(views)])
    mine = images[start : start + 4] if views == 1 else images[:, start : start + 4]
    return mine, type(targets)(*(each[rows] for each in targets))


def test_two_processes_have_the_gradients_of_one_with_the_whole_batch(tmp_path: Path) -> None:
    """Gloo; half of the pairs lie across the processes."""
    program = tmp_path / "two.py"
    program.write_text(PROGRAM.format(root=str(Path(__file__).parents[2])))
    done = subprocess.run([sys.executable, str(program), str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = load_file(tmp_path / "gradients.safetensors")
    for name, (views, settings) in CASES.items():
        whole = objective(**settings).eval()
        whole(*batch(8, views)).backward()
        for key, parameter in whole.named_parameters():
            if parameter.grad is not None and parameter.grad.any():
                torch.testing.assert_close(found[f"{name}/{key}"], parameter.grad, atol=1e-9, rtol=1e-9, msg=key)
        assert max(p.grad.abs().max().item() for p in whole.parameters() if p.grad is not None) > 1e-3
