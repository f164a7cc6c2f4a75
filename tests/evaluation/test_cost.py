"""GFLOP against counts by hand, parameters against the parts that embedding skips, speeds against a clock we hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lapel.errors import LapelError
from lapel.evaluation.cost import embedding_speed, gflop, measure, parameters, step_speed
from lapel.models import build
from lapel.models.trunks import Trunk, parameter_count, pooled


class Tiny(nn.Module):
    """A convolution, a batch norm, a linear layer per attribute, and a branch that embedding does not use."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes = 2
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.heads = nn.Parameter(torch.randn(2, 8, 5))
        self.unused = nn.Linear(8, 4)
        self.seen: list[tuple[int, ...]] = []

    def features(self, images: Tensor) -> Tensor:
        self.seen.append(tuple(images.shape))
        return pooled(self.norm(self.conv(images)))

    def embed(self, features: Tensor, attributes: Tensor) -> Tensor:
        return F.normalize(torch.einsum("bc,acd->bad", features, self.heads[attributes]), dim=-1, eps=1e-8)


class Classifier(nn.Module):
    """ResNet-50 with its 1000 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes = 1
        self.trunk = Trunk("resnet50")
        self.fc = nn.Linear(2048, 1000)

    def features(self, images: Tensor) -> Tensor:
        return pooled(self.trunk.tail(self.trunk(images)[1]))

    def embed(self, features: Tensor, attributes: Tensor) -> Tensor:
        return self.fc(features)[:, None]


def convolution(inputs: int, outputs: int, kernel: int, side: int) -> int:
    """Operations of a convolution that gives ``side`` x ``side``, two per multiply-add."""
    return 2 * inputs * outputs * kernel**2 * side**2


def resnet50(stages: int) -> int:
    """Operations of ResNet-50's convolutions at 224 pixels: the stem and the first of its four stages."""
    found = convolution(3, 64, 7, 112)
    inputs, side = 64, 56
    for stage, blocks in zip(range(stages), (3, 4, 6, 3), strict=False):
        width = 64 * 2**stage
        for block in range(blocks):
            smaller = side // 2 if stage and not block else side
            found += convolution(inputs, width, 1, side)
            found += convolution(width, width, 3, smaller)  # the stride is here, as in timm and torchvision
            found += convolution(width, 4 * width, 1, smaller)
            found += convolution(inputs, 4 * width, 1, smaller) if not block else 0
            inputs, side = 4 * width, smaller
    return found


def test_a_tiny_network_by_hand() -> None:
    model = Tiny()
    expected = convolution(3, 8, 3, 8) + 2 * 2 * 8 * 5
    assert gflop(model, 16, 16) == pytest.approx(expected / 1e9, rel=1e-12)
    one = convolution(3, 8, 3, 8) + 2 * 8 * 5
    assert gflop(model, 16, 16, [1]) == pytest.approx(one / 1e9, rel=1e-12)
    assert model.seen == [(1, 3, 16, 16)] * 2


def test_resnet50_by_hand() -> None:
    expected = resnet50(4) + 2 * 2048 * 1000
    assert expected / 1e9 == pytest.approx(8.2, abs=0.05), "4.1 billion multiply-adds, as everyone says"
    with torch.device("meta"):
        model = Classifier()
    assert gflop(model, 224, 224) == pytest.approx(expected / 1e9, rel=1e-12)


def test_agman_by_hand() -> None:
    attributes, width, cells = 8, 512, 14 * 14
    trunk = resnet50(3) + convolution(512, 1024, 1, 14) + convolution(2048, width, 1, 14)
    asa = 2 * width**2 + 2 * width * cells
    sa = convolution(2, 1, 7, 14)
    pooling = 2 * cells * width
    aca = 2 * width**2 + 2 * 2 * width**2 + 2 * width**2
    expected = trunk + attributes * (asa + sa + pooling + aca)
    with torch.device("meta"):
        model = build("agman", attributes)
    assert gflop(model, 224, 224) == pytest.approx(expected / 1e9, rel=1e-12)
    alone = trunk + asa + sa + pooling + aca
    assert gflop(model, 224, 224, [3]) == pytest.approx(alone / 1e9, rel=1e-12), "the trunk runs once"


def test_attention_is_counted_on_every_device() -> None:
    class Attends(Tiny):
        def features(self, images: Tensor) -> Tensor:
            tokens = images.flatten(2).transpose(1, 2).contiguous()
            return F.scaled_dot_product_attention(tokens, tokens, tokens).mean(1)

        def embed(self, features: Tensor, attributes: Tensor) -> Tensor:
            return features[:, None]

    assert gflop(Attends(), 4, 6) == pytest.approx(2 * 2 * 24 * 24 * 3 / 1e9, rel=1e-12)


def test_parameters_of_embedding_are_those_it_depends_on() -> None:
    model = Tiny()
    model.conv.bias.requires_grad_(False)
    found = parameters(model, 16, 16)
    assert found.total == (8 * 27 + 8) + 16 + 80 + 36
    assert found.trainable == found.total - 8
    assert found.embedding == found.total - 36


def test_agman_embeds_without_its_last_block_and_classifier() -> None:
    model = build("agman", 3, "test_resnet", width=16)
    found = parameters(model, 64, 64)
    skipped = parameter_count(model.trunk.stages[2]) + parameter_count(model.classifier)
    assert found.total == found.trainable == parameter_count(model)
    assert found.embedding == found.total - skipped
    whole = build("agman", 3, "test_resnet", width=16, pyramid=True)
    assert parameters(whole, 64, 64).embedding == parameter_count(whole) - parameter_count(whole.classifier)


def test_a_shared_tensor_counts_once() -> None:
    model = Tiny()
    model.unused.weight = nn.Parameter(torch.zeros(4, 8))
    model.again = model.unused  # type: ignore[assignment]
    assert parameters(model, 16, 16).total == 8 * 27 + 8 + 16 + 80 + 36


@pytest.mark.parametrize("training", [True, False])
def test_measuring_leaves_the_model_as_it_was(training: bool) -> None:
    model = Tiny().train(training)
    model.norm.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    measure(model, 16, 16, batch=2, repeats=1)
    assert (model.training, model.conv.training, model.norm.training) == (training, training, False)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_model_that_fails_is_left_as_it_was_too() -> None:
    model = Tiny()
    model.conv.bias.requires_grad_(False)
    model.embed = lambda *_: 1 / 0  # type: ignore[method-assign, assignment]
    for ask in (lambda: parameters(model, 16, 16), lambda: gflop(model, 16, 16)):
        with pytest.raises(ZeroDivisionError):
            ask()
    assert model.training
    assert not model.conv.bias.requires_grad
    assert model.conv.weight.requires_grad


def ticking(*seconds: float) -> Iterator[float]:
    """The readings of a clock: each timed call takes so long."""
    now = 0.0
    for length in seconds:
        yield now
        now += length
        yield now
        now += 100


def test_speed_is_the_median_after_the_warm_up() -> None:
    calls: list[int] = []
    clock = ticking(0.5, 0.1, 0.2, 4.0, 0.25)
    found = step_speed(lambda: calls.append(1), 10, repeats=5, warm_up=3, clock=lambda: next(clock))
    assert len(calls) == 8
    assert (found.median, found.slowest, found.fastest) == pytest.approx((40, 2.5, 100))
    assert (found.repeats, found.warm_up, found.batch) == (5, 3, 10)
    assert found.threads == torch.get_num_threads()
    assert found.device.startswith("cpu: ")
    assert found.device.endswith(" cores")


def test_embedding_is_timed_in_batches_without_gradients() -> None:
    model = Tiny()
    modes: list[tuple[bool, bool]] = []
    embed = model.embed
    model.embed = lambda f, a: (modes.append((torch.is_grad_enabled(), model.training)), embed(f, a))[1]  # type: ignore
    found = embedding_speed(model, 16, 24, batch=4, repeats=3, warm_up=1)
    assert model.seen == [(4, 3, 16, 24)] * 4
    assert modes == [(False, False)] * 4
    assert found.slowest <= found.median <= found.fastest


def test_a_training_step_is_timed_beside() -> None:
    model = Tiny()
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    images = torch.randn(6, 3, 16, 16)
    steps: list[int] = []

    def step() -> None:
        steps.append(1)
        optimiser.zero_grad()
        model.embed(model.features(images), torch.arange(2)).sum().backward()
        optimiser.step()

    found = measure(model, 16, 16, batch=2, repeats=2, warm_up=1, step=step, step_images=6)
    assert len(steps) == 3
    assert found.training is not None
    assert found.training.batch == 6
    told = json.loads(json.dumps(found.to_dict()))
    assert told["parameters"]["total"] == found.parameters.total
    assert told["attributes"] == 2
    assert "counted as 2" in told["definitions"]["gflop"]
    assert json.loads(json.dumps(measure(model, 16, 16, 2, 1, 0).to_dict()))["training"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": 0}, "height is 0"),
        ({"width": -1}, "width is -1"),
        ({"batch": 0}, "batch is 0"),
        ({"repeats": 0}, "repeats is 0"),
        ({"warm_up": -1}, "warm_up is -1"),
        ({"step": lambda: None}, "images is 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else ", ".join(value),
)
def test_mistakes_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(LapelError, match=message):
        measure(Tiny(), **{"height": 16, "width": 16, "batch": 1, "repeats": 1, "warm_up": 0, **options})
