"""The losses through a whole model, by hand; and the same gradients from two processes as from one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from lapel.config import TrainingConfig
from lapel.models import build
from lapel.models.base import AttributeNetwork, Triplets
from lapel.training.objective import Objective

VALUES = (3, 2, 2)


def objective(options: dict[str, Any] | None = None, **settings: Any) -> Objective:
    """On a trunk without batch statistics, so that a batch may be split."""
    torch.manual_seed(0)
    model = build("agman", 3, "test_convnext", **{"width": 16, **(options or {})})
    return Objective(model, TrainingConfig(**settings), VALUES).double()


def frozen_norms(model: Objective) -> Objective:
    """Train, with the batch norm of ASA on its stored statistics."""
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    return model


def batch(count: int) -> tuple[Tensor, list[Tensor]]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, 3, 32, 32, generator=generator, dtype=torch.float64)
    labels = [F.one_hot(torch.randint(values, (count,), generator=generator), values).bool() for values in VALUES]
    labels[1][0] = False  # not labelled
    labels[0][1] = True  # several values
    return images, labels


def known(attributes: Tensor) -> Triplets:
    """Triplets of these attributes."""
    return Triplets(attributes, torch.tensor([0, 0, 1]).expand(len(attributes), 3))


def test_triplets_by_hand() -> None:
    """Three forwards; the anchor's attribute only; mean over the three images of the attribute loss."""
    whole = frozen_norms(objective(margin=0.3, class_weight=0.5))
    images = torch.randn(3, 4, 3, 32, 32, dtype=torch.float64)
    attributes = torch.tensor([0, 2, 1, 2])
    model: AttributeNetwork = whole.model
    expected = torch.zeros(())
    for place in range(4):
        number = attributes[place : place + 1]
        features = [model.features(images[role, place : place + 1]) for role in range(3)]
        anchor, positive, negative = (model.embed(found, number)[0, 0] for found in features)
        expected = expected + torch.clamp(0.3 + anchor @ negative - anchor @ positive, min=0) / 4
        for found in features:
            assert found.logits is not None
            p = torch.sigmoid(found.logits[0])
            right = torch.arange(3) == number
            expected = expected - 0.5 * torch.where(right, p, 1 - p).log().mean() / 12
    torch.testing.assert_close(whole(images, known(attributes)), expected, check_dtype=False, atol=1e-5, rtol=0)


def test_a_models_own_loss_replaces_the_triplet_loss_and_is_told_all() -> None:
    """Beside it the classification loss stays."""
    whole = frozen_norms(objective(margin=0.3, class_weight=0.5))
    images, targets = torch.randn(3, 4, 3, 32, 32, dtype=torch.float64), known(torch.tensor([0, 2, 1, 2]))
    told: list[Any] = []

    def own(roles: Any, targets: Triplets, margin: float) -> Tensor:
        told.append((roles, targets, margin))
        return torch.tensor(7.0, dtype=torch.float64)

    vectors = (whole.model.embed_each(whole.model.features(role), targets.attributes) for role in images)
    anchor, positive, negative = vectors
    triplet = F.relu(0.3 + (anchor * negative).sum(-1) - (anchor * positive).sum(-1)).mean()
    usual = whole(images, targets)
    whole.model.triplet_objective = own  # type: ignore[method-assign]
    torch.testing.assert_close(whole(images, targets) - 7.0, usual - triplet, check_dtype=False)
    ((roles, seen, margin),) = told
    assert len(roles) == 3
    assert all(role.attended.shape[0] == 4 for role in roles)
    assert seen is targets
    assert margin == 0.3


def test_models_without_logits_train_in_both_modes() -> None:
    torch.manual_seed(0)
    images, labels = batch(6)
    for settings in ({"batching": "pairs"}, {"batching": "triplets"}):
        model = build("triplet", 3, "test_convnext", width=16)
        whole = Objective(model, TrainingConfig(**settings), VALUES).double().train()  # type: ignore[arg-type]
        assert whole.combine is None
        pairs = settings["batching"] == "pairs"
        loss = whole(images, labels) if pairs else whole(images.view(3, 2, 3, 32, 32), known(torch.tensor([0, 1])))
        loss.backward()
        assert all(p.grad is not None for p in whole.parameters() if p.requires_grad)


def test_every_pair_by_hand() -> None:
    whole = frozen_norms(
        objective(batching="pairs", temperature=0.2, proxy_weight=0.7, proxy_temperature=0.3, class_weight=0.5)
    )
    images, labels = batch(6)
    features = whole.model.features(images)
    vectors = whole.model.embed(features, torch.arange(3))
    terms: list[Tensor] = []
    for a, hot in enumerate(labels):
        labelled = [i for i in range(6) if hot[i].any()]
        for i in labelled:
            rest = [j for j in labelled if j != i]
            alike = [j for j in rest if (hot[i] & hot[j]).any()]
            if alike and len(alike) < len(rest):
                scores = {j: torch.exp(vectors[i, a] @ vectors[j, a] / 0.2) for j in rest}
                total = torch.stack(list(scores.values())).sum()
                terms.append(-torch.stack([(scores[j] / total).log() for j in alike]).mean())
    pairs = torch.stack(terms).mean()
    assert whole.proxies is not None
    table = F.normalize(whole.proxies.proxies.float(), dim=-1).split(VALUES)
    entropies = [
        -(hot[i] / hot[i].sum() * torch.log_softmax(vectors[i, a] @ table[a].T / 0.3, 0)).sum()
        for a, hot in enumerate(labels)
        for i in range(6)
        if hot[i].any()
    ]
    assert features.logits is not None
    target = torch.stack([hot.any(1) for hot in labels], 1).float()
    p = torch.sigmoid(features.logits)
    classes = -(target * p.log() + (1 - target) * (1 - p).log()).mean()
    expected = pairs + 0.7 * torch.stack(entropies).mean() + 0.5 * classes
    torch.testing.assert_close(whole(images, labels), expected, check_dtype=False, atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", ["fixed", "learned", "printed"])
@pytest.mark.parametrize("batching", ["triplets", "pairs"])
@pytest.mark.parametrize("class_weight", [0.0, 1.0])
@pytest.mark.parametrize("pyramid", [False, True])
def test_every_trainable_parameter_gets_a_gradient(
    mode: Any, batching: Any, class_weight: float, pyramid: bool
) -> None:
    """Distributed processes wait for each of them, whatever the settings."""
    whole = objective(
        {"pyramid": pyramid}, batching=batching, combine=mode, class_weight=class_weight, proxy_weight=0.5
    ).train()
    images, labels = batch(6)
    if batching == "pairs":
        whole(images, labels).backward()
    else:
        whole(images.view(3, 2, 3, 32, 32), known(torch.tensor([0, 1]))).backward()
    idle = [name for name, p in whole.named_parameters() if p.requires_grad and p.grad is None]
    assert idle == []
    assert (whole.combine is not None) == (class_weight > 0)
    assert (whole.proxies is not None) == (batching == "pairs")
    assert all(p.grad is None for p in whole.parameters() if not p.requires_grad)


def test_a_batch_without_any_label_teaches_nothing_and_breaks_nothing() -> None:
    whole = objective(batching="pairs", proxy_weight=1.0, class_weight=0.0).train()
    images, labels = batch(4)
    loss = whole(images, [torch.zeros_like(hot) for hot in labels])
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is not None and not p.grad.any() for p in whole.parameters() if p.requires_grad)


PROGRAM = """
import sys
import torch
from safetensors.torch import save_file
sys.path.insert(0, {tests!r})
from test_objective import batch, frozen_norms, known, objective

def main(rank, world, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{{folder}}/meeting", rank=rank, world_size=world)
    found = {{}}
    for name, settings in {cases!r}.items():
        whole = frozen_norms(objective(**settings))
        parallel = torch.nn.parallel.DistributedDataParallel(whole)
        if settings["batching"] == "pairs":
            images, labels = batch(6)
            mine = slice(3 * rank, 3 * rank + 3)
            loss = parallel(images[mine], [hot[mine] for hot in labels])
        else:
            images = batch(12)[0].view(3, 4, 3, 32, 32)
            mine = slice(2 * rank, 2 * rank + 2)
            loss = parallel(images[:, mine], known(torch.tensor([0, 2, 1, 2])[mine]))
        loss.backward()
        found |= {{f"{{name}}/{{key}}": p.grad for key, p in whole.named_parameters() if p.requires_grad}}
    if rank == 0:
        save_file(found, f"{{folder}}/gradients.safetensors")

if __name__ == "__main__":
    # Forked after the imports, which take longer than all else.
    torch.multiprocessing.start_processes(main, (2, sys.argv[1]), nprocs=2, start_method="fork")
"""

CASES: dict[str, dict[str, Any]] = {
    "pairs": {"batching": "pairs", "proxy_weight": 0.5, "class_weight": 0.7, "smoothing": 0.1},
    "learned": {"batching": "pairs", "combine": "learned"},
    "pairs alone": {"batching": "pairs", "class_weight": 0.0},
    "triplets": {"batching": "triplets"},
}


def test_two_processes_have_the_gradients_of_one_with_the_whole_batch(tmp_path: Path) -> None:
    """Gloo; the processes have different numbers of labels, and half of the pairs lie across them."""
    program = tmp_path / "two.py"
    program.write_text(PROGRAM.format(tests=str(Path(__file__).parent), cases=CASES))
    done = subprocess.run([sys.executable, str(program), str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = load_file(tmp_path / "gradients.safetensors")
    for name, settings in CASES.items():
        whole = frozen_norms(objective(**settings))
        if settings["batching"] == "pairs":
            whole(*batch(6)).backward()
        else:
            whole(batch(12)[0].view(3, 4, 3, 32, 32), known(torch.tensor([0, 2, 1, 2]))).backward()
        largest = 0.0
        for key, parameter in whole.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None
                torch.testing.assert_close(found.pop(f"{name}/{key}"), parameter.grad, atol=1e-9, rtol=1e-9, msg=key)
                largest = max(largest, parameter.grad.abs().max().item())
        assert largest > 1e-2
    assert not found
