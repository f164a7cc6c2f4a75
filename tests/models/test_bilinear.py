"""Bilinear pooling against the formulas of the papers written out, and against itself at random."""

from __future__ import annotations

import math
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from torch import Tensor, nn

from lapel.models.bilinear import (
    FUSIONS,
    CompactBilinear,
    FusionKind,
    make_fusion,
    no_autocast,
    outer_product,
    resample,
    signed_root,
)
from lapel.models.trunks import parameter_count


def sketch(vector: Tensor, buckets: Tensor, signs: Tensor, size: int) -> Tensor:
    """Count sketch of one vector, channel by channel (eq 9)."""
    found = torch.zeros(size, dtype=vector.dtype)
    for channel in range(len(vector)):
        found[buckets[channel]] += signs[channel] * vector[channel]
    return found


def at_every_position(pool: CompactBilinear, first: Tensor, second: Tensor) -> Tensor:
    """The public formulation: FFT of both sketches, product, inverse FFT at every position, then the average."""
    images = []
    for one, other in zip(first, second, strict=True):
        total = torch.zeros(pool.size, dtype=one.dtype)
        for row in range(one.shape[1]):
            for column in range(one.shape[2]):
                x = sketch(one[:, row, column], pool.first_buckets, pool.first_signs, pool.size)
                y = sketch(other[:, row, column], pool.second_buckets, pool.second_signs, pool.size)
                total += torch.fft.ifft(torch.fft.fft(x) * torch.fft.fft(y)).real
        images.append(total / one[0].numel())
    return torch.stack(images)


def of_the_outer_product(pool: CompactBilinear, first: Tensor, second: Tensor) -> Tensor:
    """The sketch's definition: each product of two channels goes to its bucket with its sign."""
    outer = torch.einsum("bihw,bjhw->bij", first, second) / first[0, 0].numel()
    found = torch.zeros(len(first), pool.size, dtype=first.dtype)
    for i in range(first.shape[1]):
        for j in range(second.shape[1]):
            bucket = (pool.first_buckets[i] + pool.second_buckets[j]) % pool.size
            found[:, bucket] += pool.first_signs[i] * pool.second_signs[j] * outer[:, i, j]
    return found


def circular(x: Tensor, y: Tensor) -> Tensor:
    """Circular convolution written out."""
    size = len(x)
    return torch.stack([sum((x[k] * y[(n - k) % size] for k in range(size)), torch.zeros(())) for n in range(size)])


SIZES = st.tuples(*(st.integers(1, 7) for _ in range(5)), st.integers(1, 40), st.integers(0, 2**31))


@given(SIZES)
def test_one_sketch_of_the_average_is_the_average_of_the_sketches(sizes: tuple[int, ...]) -> None:
    batch, channels, others, height, width, size, seed = sizes
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(batch, channels, height, width, generator=generator, dtype=torch.float64)
    second = torch.randn(batch, others, height, width, generator=generator, dtype=torch.float64)
    pool = CompactBilinear(channels, others, size, seed)
    found = pool(first, second)
    assert found.shape == (batch, size)
    torch.testing.assert_close(found, at_every_position(pool, first, second))
    torch.testing.assert_close(found, of_the_outer_product(pool, first, second))


def test_a_sketch_of_an_outer_product_is_a_circular_convolution() -> None:
    pool = CompactBilinear(5, 4, 11)
    x, y = torch.randn(5, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    expected = circular(
        sketch(x, pool.first_buckets, pool.first_signs, 11), sketch(y, pool.second_buckets, pool.second_signs, 11)
    )
    torch.testing.assert_close(pool(x.view(1, 5, 1, 1), y.view(1, 4, 1, 1))[0], expected)


def test_at_the_papers_size_it_agrees_with_the_fft_in_single_precision() -> None:
    torch.manual_seed(0)
    pool = CompactBilinear(1536, 256)
    first, second = torch.rand(1, 1536, 2, 2), torch.rand(1, 256, 2, 2)
    expected = at_every_position(pool, first.double(), second.double()).float()
    found = pool(first, second)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 1e-6 * expected.abs().max()


def test_inner_products_of_sketches_estimate_the_bilinear_kernel_without_bias() -> None:
    """Over 600 draws the mean lies within four standard errors of sum over pairs of positions <x, x'> <y, y'> / n n'.

    Larger sketches spread less: the variance falls as 1 / size.
    """
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 6, 2, 2, generator=generator), torch.randn(2, 5, 2, 2, generator=generator)
    x, y = first.flatten(2), second.flatten(2)
    kernel = ((x[0].T @ x[1]) * (y[0].T @ y[1])).mean().item()
    outer = outer_product(first, second).flatten(1)
    assert math.isclose(kernel, (outer[0] @ outer[1]).item(), rel_tol=1e-4)
    spread = {}
    for size in (8, 64):
        estimates = []
        for seed in range(600):
            sketches = CompactBilinear(6, 5, size, seed)(first, second)
            estimates.append((sketches[0] @ sketches[1]).item())
        found = torch.tensor(estimates, dtype=torch.float64)
        assert abs(found.mean().item() - kernel) < 4 * found.std().item() / math.sqrt(600)
        spread[size] = found.var().item()
    assert 4 < spread[8] / spread[64] < 16


def test_buckets_and_signs_are_even_frozen_saved_and_of_the_seed() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    pool = CompactBilinear(20_000, 9, 16, seed=1)
    assert torch.equal(torch.get_rng_state(), before), "torch's own generator is left alone"
    counts = pool.first_buckets.bincount(minlength=16).double()
    assert ((counts - 1250).square() / 1250).sum() < 37.7, "chi square, 15 degrees of freedom, one in a thousand"
    assert abs(pool.first_signs.mean().item()) < 4 / math.sqrt(20_000)
    assert set(pool.first_signs.tolist()) == {-1.0, 1.0}
    assert parameter_count(pool) == 0
    names = {"first_buckets", "first_signs", "second_buckets", "second_signs"}
    assert set(pool.state_dict()) == names
    for seed, same in ((1, True), (2, False)):
        other = CompactBilinear(20_000, 9, 16, seed)
        assert all(torch.equal(pool.state_dict()[name], other.state_dict()[name]) for name in names) == same
    pair = torch.randn(1, 20_000, 1, 1), torch.randn(1, 9, 1, 1)
    assert not torch.equal(other(*pair), pool(*pair))
    other.load_state_dict(pool.state_dict())
    assert torch.equal(other(*pair), pool(*pair)), "the sketch comes with the weights, whatever the seed"


@pytest.mark.parametrize("kind", FUSIONS)
def test_gradients_are_those_of_finite_differences(kind: FusionKind) -> None:
    torch.manual_seed(0)
    fuse = make_fusion(kind, 3, 2, 7, 5, 0).double()
    first = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    second = torch.randn(2, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(fuse, (first, second))


def test_what_it_is_compared_with_is_what_it_says() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, 3, 4, 5), torch.randn(2, 2, 4, 5)
    fusions: dict[str, Any] = {kind: make_fusion(kind, 3, 2, 16, 6, 0) for kind in FUSIONS}
    assert {kind: fuse.size for kind, fuse in fusions.items()} == {
        "compact": 16, "bilinear": 6, "concatenation": 5, "product": 6, "sum": 6,
    }  # fmt: skip
    found = {kind: fuse(first, second) for kind, fuse in fusions.items()}
    assert all(found[kind].shape == (2, fusions[kind].size) for kind in FUSIONS)
    full = torch.zeros(2, 3, 2)
    for row in range(4):
        for column in range(5):
            full += first[:, :, None, row, column] * second[:, None, :, row, column] / 20
    torch.testing.assert_close(found["bilinear"], full.flatten(1))
    torch.testing.assert_close(found["concatenation"], torch.cat([first.mean((2, 3)), second.mean((2, 3))], 1))
    for kind in ("product", "sum"):
        a, b = (
            torch.einsum("bchw,dc->bdhw", x, conv.weight[:, :, 0, 0]) + conv.bias.view(-1, 1, 1)
            for x, conv in ((first, fusions[kind].first), (second, fusions[kind].second))
        )
        torch.testing.assert_close(found[kind], (a * b if kind == "product" else a + b).mean((2, 3)))


def test_half_precision_maps_and_autocast_are_computed_in_single() -> None:
    pool = CompactBilinear(64, 32, 128)
    first, second = torch.randn(2, 64, 4, 4).bfloat16(), torch.randn(2, 32, 4, 4).bfloat16()
    expected = pool(first.float(), second.float())
    with torch.autocast("cpu", torch.bfloat16):
        for found in (pool(first, second), pool(first.float(), second.float())):
            assert found.dtype == torch.float32
            assert torch.equal(found, expected)
        with no_autocast(torch.device("cpu")):
            assert nn.Linear(2, 2)(torch.zeros(1, 2)).dtype == torch.float32


@pytest.mark.parametrize(
    ("size", "side"), [((64, 64), 8), ((8, 8), 8), ((8, 8), 16), ((35, 35), 8), ((4, 20), 8), ((20, 4), 8), ((1, 1), 4)]
)
def test_maps_are_pooled_where_larger_and_upsampled_where_smaller(size: tuple[int, int], side: int) -> None:
    x = torch.randn(2, 3, *size)
    found = resample(x, side)
    assert found.shape == (2, 3, side, side)
    if size == (side, side):
        assert found is x
    elif min(size) >= side:
        torch.testing.assert_close(found, F.adaptive_avg_pool2d(x, side))
    elif max(size) <= side:
        torch.testing.assert_close(found, F.interpolate(x, (side, side), mode="bilinear"))
    torch.testing.assert_close(resample(torch.ones(1, 1, *size), side), torch.ones(1, 1, side, side))


def test_the_average_of_evenly_pooled_maps_is_that_of_the_maps() -> None:
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(resample(x, 8).mean((2, 3)), x.mean((2, 3)), atol=1e-6, rtol=1e-5)


def test_the_signed_root_is_one_and_has_a_finite_gradient_at_zero() -> None:
    x = torch.tensor([-4.0, -0.25, -1e-4, 0.0, 1e-4, 0.25, 4.0], requires_grad=True)
    found = signed_root(x)
    expected = x.detach().sign() * x.detach().abs().sqrt()
    torch.testing.assert_close(found, expected, rtol=0.01, atol=0)
    found.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert x.grad[3] == x.grad.max() == pytest.approx(1000)
    torch.testing.assert_close(x.grad[[0, 6]], torch.tensor([0.25, 0.25]))
    values = torch.linspace(-1, 1, 2001)
    assert (signed_root(values).diff() > 0).all(), "it keeps the order"
