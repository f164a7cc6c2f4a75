"""Every loss of instance models equals its formula written as a loop; nothing to compare gives zero and gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lapel.losses.items import (
    ItemClassifier,
    fastap_loss,
    heatmap_loss,
    item_contrast_loss,
    item_triplet_loss,
    pair_match_loss,
    tag_loss,
)

ITEMS = [
    [0, 0, 1, 1, 2, 2],
    [0, 0, 0, 1, 2, -1],
    [3, -1, 3, 3, 3, 7, 7, 9],
    [5, 4, 5, 4, 5, 4, -1, -1],
]


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))


def slow_cross_entropy(logit: float, target: float) -> float:
    probability = 1 / (1 + math.exp(-logit))
    return -math.log(probability if target else 1 - probability)


def test_tags_are_summed_over_the_known_and_averaged_over_images() -> None:
    logits = draw(4, 5, seed=1)
    tags = (draw(4, 5, seed=2) > 0).double()
    known = draw(4, 5, seed=3) > -0.3
    known[2] = False
    tags[~known] = math.nan
    images = [row for row in range(4) if known[row].any()]
    assert len(images) == 3
    expected = sum(
        slow_cross_entropy(float(logits[row, k]), float(tags[row, k]))
        for row in images
        for k in range(5)
        if known[row, k]
    )
    assert float(tag_loss(logits, tags, known)) == pytest.approx(expected / 3)


def test_heatmaps_are_weighed_by_visibility() -> None:
    predicted, targets = draw(3, 2, 4, 5, 6, seed=1), draw(3, 4, 5, 6, seed=2)
    weights = torch.tensor([[1, 0, 0.5, 1], [0, 0, 0, 0], [0, 1, 0, 0]], dtype=torch.float64)
    targets[weights == 0] = math.nan
    total = 0.0
    for image in (0, 2):
        for stack in range(2):
            for number in range(4):
                if weights[image, number] > 0:
                    difference = predicted[image, stack, number] - targets[image, number]
                    total += float(weights[image, number]) * sum(v**2 for v in difference.flatten().tolist())
    assert float(heatmap_loss(predicted, targets, weights)) == pytest.approx(total / (2 * 2))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("scale", [0.0, 16.0])
def test_items_are_classified(scale: float, smoothing: float) -> None:
    torch.manual_seed(0)
    classifier = ItemClassifier(5, 4, scale, smoothing).double()
    vectors, items = draw(4, 4), torch.tensor([2, -1, 0, 4])
    classifier.requires_grad_(False)
    losses = []
    for row in (0, 2, 3):
        if scale:
            logits = [scale * cosine(vectors[row], weight) for weight in classifier.weight]
        else:
            assert classifier.bias is not None
            logits = [float(vectors[row] @ w + b) for w, b in zip(classifier.weight, classifier.bias, strict=True)]
        total = math.log(sum(math.exp(logit) for logit in logits))
        targets = [smoothing / 5 + (1 - smoothing) * (number == items[row]) for number in range(5)]
        losses.append(sum(share * (total - logit) for share, logit in zip(targets, logits, strict=True)))
    assert float(classifier(vectors, items)) == pytest.approx(sum(losses) / 3)


def test_the_papers_classifier_is_a_linear_layer_with_bias() -> None:
    assert {name: tuple(value.shape) for name, value in ItemClassifier(7, 3).named_parameters()} == {
        "weight": (7, 3),
        "bias": (7,),
    }
    assert dict(ItemClassifier(7, 3, scale=16.0).named_parameters()).keys() == {"weight"}


def test_thirty_thousand_items_train() -> None:
    torch.manual_seed(0)
    classifier = ItemClassifier(33_881, 64)
    vectors, items = draw(8, 64, dtype=torch.float32).requires_grad_(), torch.arange(8) * 4_000
    loss = classifier(vectors, items)
    assert loss.item() == pytest.approx(math.log(33_881), rel=0.1)
    loss.backward()
    with torch.no_grad():
        for parameter in classifier.parameters():
            assert parameter.grad is not None
            parameter -= parameter.grad
    assert classifier(vectors, items) < loss


def slow_fastap(vectors: Tensor, items: list[int], bins: int) -> float:
    width = 4 / bins

    def histogram(query: int, rows: list[int]) -> list[float]:
        counts = [0.0] * (bins + 1)
        for row in rows:
            distance = 2 - 2 * cosine(vectors[query], vectors[row])
            for edge in range(bins + 1):
                counts[edge] += max(0.0, 1 - abs(distance - edge * width) / width)
        return counts

    losses = []
    for query, item in enumerate(items):
        others = [row for row, found in enumerate(items) if row != query and found >= 0]
        positives = [row for row in others if items[row] == item]
        if item < 0 or not positives:
            continue
        hits, every = histogram(query, positives), histogram(query, others)
        total = 0.0
        for edge in range(bins + 1):
            if sum(every[: edge + 1]) > 0:
                total += hits[edge] * sum(hits[: edge + 1]) / sum(every[: edge + 1])
        losses.append(1 - total / len(positives))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("bins", [10, 3])
@pytest.mark.parametrize("items", ITEMS, ids=str)
def test_fastap_equals_the_loop(items: list[int], bins: int) -> None:
    vectors = draw(len(items), 3, seed=4)
    found = fastap_loss(vectors, torch.tensor(items), bins)
    assert float(found) == pytest.approx(slow_fastap(vectors, items, bins))


def test_fastap_of_a_perfect_and_of_the_worst_ranking() -> None:
    """Distances of 0 and 4 fall into the first and the last bin: the precision is exact there."""
    items = torch.tensor([0, 0, 1, 1])
    one = torch.tensor([1.0, 0.0])
    assert float(fastap_loss(torch.stack([one, one, -one, -one]), items)) == pytest.approx(0, abs=1e-6)
    crossed = float(fastap_loss(torch.stack([one, -one, one, -one]), items))
    # One positive among the last two of three: H+ / H is 1/3 there.
    assert crossed == pytest.approx(1 - 1 / 3, abs=1e-6)


@pytest.mark.parametrize("items", ITEMS, ids=str)
def test_the_triplets_are_the_hardest_of_the_batch(items: list[int]) -> None:
    vectors = draw(len(items), 3, seed=5)
    losses = []
    for row, item in enumerate(items):
        others = [other for other in range(len(items)) if other != row and items[other] >= 0]
        positives = [cosine(vectors[row], vectors[other]) for other in others if items[other] == item]
        negatives = [cosine(vectors[row], vectors[other]) for other in others if items[other] != item]
        if item >= 0 and positives and negatives:
            losses.append(max(0.0, 0.3 + max(negatives) - min(positives)))
    found = item_triplet_loss(vectors, torch.tensor(items), 0.3)
    assert float(found) == pytest.approx(sum(losses) / len(losses))


@pytest.mark.parametrize("items", ITEMS, ids=str)
def test_supervised_contrast_equals_the_loop(items: list[int]) -> None:
    vectors = draw(len(items), 3, seed=6)
    losses = []
    for row, item in enumerate(items):
        others = [other for other in range(len(items)) if other != row and items[other] >= 0]
        near = {other: cosine(vectors[row], vectors[other]) / 0.2 for other in others}
        positives = [other for other in others if items[other] == item]
        if item >= 0 and 0 < len(positives) < len(others):
            total = math.log(sum(math.exp(value) for value in near.values()))
            losses.append(sum(total - near[other] for other in positives) / len(positives))
    found = item_contrast_loss(vectors, torch.tensor(items), 0.2)
    assert float(found) == pytest.approx(sum(losses) / len(losses))


@pytest.mark.parametrize("limited", [False, True])
def test_matches_and_the_others_weigh_the_same(limited: bool) -> None:
    logits, match = draw(3, 5, seed=7), draw(3, 5, seed=8) > 0.5
    counted = draw(3, 5, seed=9) > -0.5 if limited else torch.ones_like(match)
    halves = []
    for kind in (True, False):
        chosen = [(q, k) for q in range(3) for k in range(5) if counted[q, k] and bool(match[q, k]) is kind]
        assert chosen
        halves.append(sum(slow_cross_entropy(float(logits[q, k]), kind) for q, k in chosen) / len(chosen))
    found = pair_match_loss(logits, match, counted if limited else None)
    assert float(found) == pytest.approx(sum(halves) / 2)


def test_pairs_of_one_kind_weigh_all() -> None:
    logits = draw(2, 3)
    expected = F.binary_cross_entropy_with_logits(logits, torch.zeros_like(logits))
    torch.testing.assert_close(pair_match_loss(logits, torch.zeros(2, 3, dtype=torch.bool)), expected)


VECTOR_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "fastap": fastap_loss,
    "triplet": item_triplet_loss,
    "contrast": item_contrast_loss,
}


@pytest.mark.parametrize("items", [[0, 1, 2], [-1, -1, -1], [4]], ids=str)
@pytest.mark.parametrize("name", VECTOR_LOSSES)
def test_a_batch_without_any_pair_gives_a_zero_with_gradients(name: str, items: list[int]) -> None:
    vectors = draw(len(items), 4, dtype=torch.float32).requires_grad_()
    loss = VECTOR_LOSSES[name](vectors, torch.tensor(items))
    assert float(loss) == 0
    loss.backward()
    assert vectors.grad is not None
    assert not vectors.grad.any()


def test_nothing_known_gives_a_zero_with_gradients() -> None:
    none = torch.zeros(2, 3, dtype=torch.bool)
    classifier = ItemClassifier(4, 3)
    values = [draw(2, 3, dtype=torch.float32).requires_grad_() for _ in range(3)]
    maps = torch.randn(2, 1, 3, 4, 4, requires_grad=True)
    losses = [
        tag_loss(values[0], torch.zeros(2, 3), none),
        pair_match_loss(values[1], none, none),
        classifier(values[2], torch.tensor([-1, -1])),
        heatmap_loss(maps, torch.full((2, 3, 4, 4), math.nan), torch.zeros(2, 3)),
    ]
    assert [float(loss) for loss in losses] == [0.0] * 4
    torch.stack(losses).sum().backward()
    for one in (*values, maps, *classifier.parameters()):
        assert one.grad is not None
        assert not one.grad.any()


@pytest.mark.parametrize("name", VECTOR_LOSSES)
def test_equal_and_opposite_vectors_have_finite_gradients(name: str) -> None:
    one = torch.tensor([1.0, 0.0, 0.0])
    vectors = torch.stack([one, one, -one, -one, one, 0 * one]).requires_grad_()
    loss = VECTOR_LOSSES[name](vectors, torch.tensor([0, 0, 1, 1, 2, 2]))
    loss.backward()
    assert torch.isfinite(loss)
    assert vectors.grad is not None
    assert torch.isfinite(vectors.grad).all()


@pytest.mark.parametrize("name", VECTOR_LOSSES)
def test_a_step_against_the_gradient_brings_items_together(name: str) -> None:
    items = torch.tensor([0, 0, 1, 1, 2, 2])
    vectors = draw(6, 8, seed=3, dtype=torch.float32).requires_grad_()
    loss = before = VECTOR_LOSSES[name](vectors, items)
    for _ in range(20):
        (grad,) = torch.autograd.grad(loss, vectors)
        vectors = (vectors - grad).detach().requires_grad_()
        loss = VECTOR_LOSSES[name](vectors, items)
    assert loss < 0.7 * before


@pytest.mark.parametrize("name", [*VECTOR_LOSSES, "classifier"])
def test_autocast_does_not_round_them(name: str) -> None:
    loss = ItemClassifier(3, 16) if name == "classifier" else VECTOR_LOSSES[name]
    vectors, items = draw(6, 16, dtype=torch.float32), torch.tensor([0, 0, 1, 1, 2, 2])
    expected = loss(vectors, items)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(loss(vectors, items), expected)


def test_lengths_do_not_matter_where_cosines_are_compared() -> None:
    items = torch.tensor([0, 0, 1, 1])
    vectors = draw(4, 5)
    for loss in VECTOR_LOSSES.values():
        torch.testing.assert_close(
            loss(vectors * torch.tensor([[0.1], [3.0], [7.0], [1.0]]), items), loss(vectors, items)
        )
