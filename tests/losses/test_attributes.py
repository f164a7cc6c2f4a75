"""Every loss equals its formula written as a loop, and gives finite gradients where it has nothing to compare."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lapel.losses.attributes import (
    Combination,
    ValueProxies,
    attribute_loss,
    labelled_attribute_loss,
    pair_loss,
    triplet_loss,
)

Labels = list[list[set[int]]]  # attribute, image -> values


def unit(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    vectors = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(vectors, dim=-1).to(dtype)


def hots(labels: Labels, values: int = 4) -> list[Tensor]:
    return [torch.tensor([[value in own for value in range(values)] for own in images]) for images in labels]


def random_labels(images: int, attributes: int, seed: int) -> Labels:
    """Draw labels: some missing, some double."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, 3, (attributes, images), generator=generator).tolist()
    return [[set(torch.randint(0, 4, (n,), generator=generator).tolist()) for n in row] for row in counts]


def slow_pair_loss(vectors: Tensor, labels: Labels, temperature: float) -> float:
    terms = []
    for number, images in enumerate(labels):
        rows = [row for row, own in enumerate(images) if own]
        for anchor in rows:
            others = [row for row in rows if row != anchor]
            positives = [row for row in others if images[row] & images[anchor]]
            if not positives or len(positives) == len(others):
                continue

            def cosine(row: int, anchor: int = anchor, number: int = number) -> float:
                return float(vectors[anchor, number] @ vectors[row, number])

            peak = max(cosine(row) for row in others)
            total = sum(math.exp((cosine(row) - peak) / temperature) for row in others)
            each = [(cosine(row) - peak) / temperature - math.log(total) for row in positives]
            terms.append(-sum(each) / len(each))
    return sum(terms) / len(terms) if terms else 0.0


def slow_cross_entropy(logit: float, target: float) -> float:
    share = 1 / (1 + math.exp(-logit))
    return -(target * math.log(share) + (1 - target) * math.log(1 - share))


def test_triplet_loss_is_its_formula() -> None:
    positive, negative = torch.linspace(-1, 1, 7), torch.linspace(1, -0.5, 7)
    pairs = zip(positive.tolist(), negative.tolist(), strict=True)
    expected = sum(max(0.0, 0.3 + n - p) for p, n in pairs) / 7
    assert triplet_loss(positive, negative, 0.3).item() == pytest.approx(expected, rel=1e-6)
    assert triplet_loss(torch.tensor([0.9]), torch.tensor([0.7])).item() == pytest.approx(0.0, abs=1e-6)


def test_triplet_loss_falls_as_the_positive_comes_closer() -> None:
    positive, negative = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    triplet_loss(positive, negative).backward()
    assert positive.grad is not None
    assert negative.grad is not None
    assert (positive.grad < 0).all()
    assert (negative.grad > 0).all()
    losses = [triplet_loss(torch.tensor(s), torch.tensor(0.5)).item() for s in (-1.0, 0.0, 0.5, 0.69, 0.71, 1.0)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] == 0.0 < losses[-3]


def test_attribute_losses_are_their_formula() -> None:
    logits = unit(5, 3) * 4
    chosen = torch.tensor([0, 2, 1, 1, 0])
    expected = [
        slow_cross_entropy(logits[row, n].item(), float(n == chosen[row])) for row in range(5) for n in range(3)
    ]
    assert attribute_loss(logits, chosen).item() == pytest.approx(sum(expected) / 15, rel=1e-12)
    labelled = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0], [0, 0, 1]], dtype=torch.bool)
    expected = [
        slow_cross_entropy(logits[row, n].item(), float(labelled[row, n])) for row in range(5) for n in range(3)
    ]
    assert labelled_attribute_loss(logits, labelled).item() == pytest.approx(sum(expected) / 15, rel=1e-12)


def test_attribute_losses_stay_finite_far_out_and_in_half_precision() -> None:
    logits = torch.tensor([[1e4, -1e4]], dtype=torch.bfloat16, requires_grad=True)
    loss = attribute_loss(logits, torch.tensor([1])) + labelled_attribute_loss(logits, torch.tensor([[False, True]]))
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0])
def test_pair_loss_equals_a_loop(seed: int, temperature: float) -> None:
    labels = random_labels(9, 3, seed)
    vectors = unit(9, 3, 6, seed=seed)
    expected = slow_pair_loss(vectors, labels, temperature)
    assert pair_loss(vectors, hots(labels), temperature).item() == pytest.approx(expected, rel=1e-9)
    assert pair_loss(vectors.float(), hots(labels), temperature).item() == pytest.approx(expected, rel=2e-4)
    as_floats = [hot.float() for hot in hots(labels)]
    assert pair_loss(vectors, as_floats, temperature).item() == pytest.approx(expected, rel=1e-9)


def test_pair_loss_by_hand() -> None:
    """Two of one value, one of another, one unlabelled: two anchors, one positive and one negative each."""
    vectors = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [1.0, 0.0]]).unsqueeze(1)
    labels = [torch.tensor([[1, 0], [1, 0], [0, 1], [0, 0]], dtype=torch.bool)]
    first = -math.log(math.exp(0.6) / (math.exp(0.6) + math.exp(0.0)))
    second = -math.log(math.exp(0.6) / (math.exp(0.6) + math.exp(0.8)))
    assert pair_loss(vectors, labels, 1.0).item() == pytest.approx((first + second) / 2, rel=1e-6)


def test_pair_loss_falls_on_the_way_down_its_gradient() -> None:
    labels = hots(random_labels(12, 2, 3))
    vectors = unit(12, 2, 8).requires_grad_()
    losses = []
    for _ in range(20):
        loss = pair_loss(F.normalize(vectors, dim=-1), labels, 0.1)
        (slope,) = torch.autograd.grad(loss, vectors)
        vectors = (vectors - 0.02 * slope).detach().requires_grad_()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)


def test_pair_loss_gradient_is_that_of_finite_differences() -> None:
    labels = hots(random_labels(5, 2, 1))
    vectors = unit(5, 2, 3).requires_grad_()
    (slope,) = torch.autograd.grad(pair_loss(vectors, labels, 0.5), vectors)
    steps = 1e-6 * torch.eye(vectors.numel(), dtype=torch.float64).view(-1, *vectors.shape)
    start = vectors.detach()
    rises = [pair_loss(start + step, labels, 0.5) - pair_loss(start - step, labels, 0.5) for step in steps]
    torch.testing.assert_close(slope.flatten(), torch.stack(rises) / 2e-6, rtol=1e-6, atol=1e-8)


NOTHING: dict[str, Labels] = {
    "nothing labelled": [[set()] * 4, [set()] * 4],
    "all of one value": [[{0}] * 4, [{1, 2}] * 4],
    "no value twice": [[{0}, {1}, {2}, {3}], [set()] * 4],
    "one image labelled": [[{0}, set(), set(), set()], [set()] * 4],
    "everyone shares a value": [[{0, 1}, {0}, {0, 2}, {0, 3}], [set()] * 4],
}


@pytest.mark.parametrize("name", NOTHING)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_batch_with_nothing_to_compare_costs_nothing(name: str, dtype: torch.dtype) -> None:
    vectors = unit(4, 2, 3, dtype=dtype).requires_grad_()
    loss = pair_loss(vectors, hots(NOTHING[name]), 0.1)
    loss.backward()
    assert loss.item() == 0.0
    assert loss.dtype == torch.float32
    assert vectors.grad is not None
    assert (vectors.grad == 0).all()


@pytest.mark.parametrize("images", [0, 1])
def test_a_batch_of_none_or_one(images: int) -> None:
    vectors = unit(images, 2, 3).requires_grad_()
    loss = pair_loss(vectors, hots([[{0}] * images, [set()] * images]) if images else [torch.zeros(0, 4).bool()] * 2)
    loss.backward()
    assert loss.item() == 0.0


@pytest.mark.parametrize("temperature", [0.01, 0.1])
def test_gradients_are_finite_where_some_anchors_have_nothing(temperature: float) -> None:
    """An unlabelled attribute, an unlabelled image, a value of one image, duplicates and opposites."""
    labels: Labels = [[set()] * 6, [{0}, {0}, {1}, set(), {2, 0}, {3}], [{0}] * 6]
    vectors = unit(6, 3, 4, dtype=torch.float32)
    vectors[1] = vectors[0]
    vectors[2] = -vectors[0]
    vectors.requires_grad_()
    loss = pair_loss(vectors, hots(labels), temperature)
    loss.backward()
    assert loss.isfinite()
    assert loss.item() == pytest.approx(slow_pair_loss(vectors.detach().double(), labels, temperature), rel=1e-4)
    assert vectors.grad is not None
    assert vectors.grad.isfinite().all()
    # Only the second attribute has anything to tell apart, and the unlabelled image no part in it.
    assert (vectors.grad[:, [0, 2]] == 0).all()
    assert (vectors.grad[3] == 0).all()
    assert (vectors.grad[[0, 1, 2, 4, 5], 1].abs().sum(-1) > 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_single(dtype: torch.dtype) -> None:
    labels = random_labels(32, 3, 5)
    vectors = unit(32, 3, 64, dtype=dtype)
    expected = slow_pair_loss(vectors.double(), labels, 0.05)
    loss = pair_loss(vectors, hots(labels), 0.05)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_autocast_leaves_the_similarities_in_single() -> None:
    labels = random_labels(32, 3, 5)
    vectors = unit(32, 3, 64, dtype=torch.float32)
    proxies = ValueProxies([4, 4, 4], 64)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = pair_loss(vectors, hots(labels), 0.01), proxies(vectors, hots(labels))
    assert mixed[0].item() == pytest.approx(slow_pair_loss(vectors.double(), labels, 0.01), rel=1e-5)
    assert mixed[1].item() == pytest.approx(proxies(vectors, hots(labels)).item(), rel=1e-6)


def test_a_large_batch_at_a_low_temperature_is_finite() -> None:
    vectors = unit(256, 2, 16, dtype=torch.float32).requires_grad_()
    loss = pair_loss(vectors, hots(random_labels(256, 2, 0)), 0.01)
    loss.backward()
    assert loss.isfinite()
    assert vectors.grad is not None
    assert vectors.grad.isfinite().all()


def test_fixed_combination_is_the_sum() -> None:
    combine = Combination(2)
    assert combine([torch.tensor(1.5), torch.tensor(0.25)]).item() == 1.75
    assert not combine.weights.requires_grad


@pytest.mark.parametrize("loss", [0.01, 0.7, 30.0])
def test_learned_combination_has_its_minimum_where_e_to_the_w_is_the_loss(loss: float) -> None:
    combine = Combination(2, "learned")
    losses = [torch.tensor(loss), torch.tensor(1.0)]

    def at(weight: float) -> float:
        with torch.no_grad():
            combine.weights[0] = weight
        return combine(losses).item()

    best = math.log(loss)
    assert at(best) == pytest.approx(0.5 + 0.5 * best + 0.5, rel=1e-5, abs=1e-6)
    assert at(best) < min(at(best - 0.5), at(best + 0.5), at(best - 20), at(best + 20))
    at(best)
    combine(losses).backward()
    assert combine.weights.grad is not None
    assert combine.weights.grad.tolist() == pytest.approx([0.0, 0.0], abs=1e-6)


def test_printed_combination_has_no_minimum() -> None:
    """d/dw (0.5 e^w L + w) = 0.5 e^w L + 1 > 0 for every loss of at least 0 (papers' equation 9)."""
    for weight in (-20.0, -1.0, 0.0, 3.0):
        for loss in (0.0, 1e-3, 5.0):
            combine = Combination(1, "printed")
            with torch.no_grad():
                combine.weights.fill_(weight)
            total = combine([torch.tensor(loss)])
            total.backward()
            assert total.item() == pytest.approx(0.5 * math.exp(weight) * loss + weight, rel=1e-6)
            assert combine.weights.grad is not None
            assert combine.weights.grad.item() == pytest.approx(0.5 * math.exp(weight) * loss + 1, rel=1e-6)
            assert combine.weights.grad.item() > 0


@pytest.mark.parametrize("mode", ["fixed", "learned", "printed"])
def test_combinations_pass_the_gradient_on(mode: str) -> None:
    combine = Combination(2, mode)  # type: ignore[arg-type]
    losses = torch.tensor([0.5, 2.0], requires_grad=True)
    combine(list(losses.to(torch.bfloat16))).backward()
    assert losses.grad is not None
    assert losses.grad.tolist() == pytest.approx([1.0, 1.0] if mode == "fixed" else [0.5, 0.5])


def slow_proxy_loss(module: ValueProxies, vectors: Tensor, labels: Labels) -> float:
    terms, first = [], 0
    for number, (images, count) in enumerate(zip(labels, module.counts, strict=True)):
        proxies = F.normalize(module.proxies[first : first + count].detach().double(), dim=-1)
        first += count
        for row, own in enumerate(images):
            if not own or count < 2:
                continue
            logits = [float(vectors[row, number] @ proxy) / module.temperature for proxy in proxies]
            total = math.log(sum(math.exp(logit) for logit in logits))
            even = module.smoothing / count
            target = [(1 - module.smoothing) * (value in own) / len(own) + even for value in range(count)]
            terms.append(-sum(share * (logit - total) for share, logit in zip(target, logits, strict=True)))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("seed", range(3))
def test_proxy_loss_equals_a_loop(seed: int, smoothing: float) -> None:
    torch.manual_seed(seed)
    module = ValueProxies([4, 4, 4], 6, temperature=0.2, smoothing=smoothing)
    labels, vectors = random_labels(9, 3, seed), unit(9, 3, 6, seed=seed)
    expected = slow_proxy_loss(module, vectors, labels)
    assert module(vectors, hots(labels)).item() == pytest.approx(expected, rel=1e-9)
    assert module(vectors.bfloat16(), hots(labels)).item() == pytest.approx(expected, rel=0.05)


def test_proxies_of_an_attribute_with_one_value_or_no_label_are_left_alone() -> None:
    module = ValueProxies([1, 3, 2], 4)
    labels = [torch.ones(5, 1).bool(), torch.eye(5, 3).bool(), torch.zeros(5, 2).bool()]
    vectors = unit(5, 3, 4, dtype=torch.float32).requires_grad_()
    module(vectors, labels).backward()
    assert module.proxies.grad is not None
    assert vectors.grad is not None
    touched = module.proxies.grad.abs().sum(1) > 0
    assert touched.tolist() == [False, True, True, True, False, False]
    assert (vectors.grad[:, [0, 2]] == 0).all()
    assert (vectors.grad[3:] == 0).all()


def test_proxies_without_any_label_cost_nothing_and_still_have_a_gradient() -> None:
    module = ValueProxies([3], 4)
    vectors = unit(5, 1, 4, dtype=torch.float32).requires_grad_()
    loss = module(vectors, [torch.zeros(5, 3).bool()])
    loss.backward()
    assert loss.item() == 0.0
    assert module.proxies.grad is not None
    assert (module.proxies.grad == 0).all()
