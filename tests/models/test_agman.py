"""AG-MAN against a slow, literal writing of the official code's path, its switches and its sizes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lapel.errors import RecipeError
from lapel.models import AGMAN, build
from lapel.models.trunks import parameter_count

from .contract import ATTRIBUTES, AttributeModelContract

TRUNK = "test_resnet"
EVERY = torch.arange(ATTRIBUTES)


def tiny(**options: Any) -> AGMAN:
    return build("agman", ATTRIBUTES, TRUNK, **{"width": 32, **options})


class TestOfficial(AttributeModelContract):
    def build(self) -> AGMAN:
        return tiny()


class TestPaperVariant(AttributeModelContract):
    def build(self) -> AGMAN:
        return tiny(ca="squeeze", sa_kernel=1)


class TestOurs(AttributeModelContract):
    def build(self) -> AGMAN:
        return tiny(pyramid=True, classification=False, dropout=0.2)


class TestInvertedResidualTrunk(AttributeModelContract):
    def build(self) -> AGMAN:
        return build("agman", ATTRIBUTES, "mobilenetv3_small_050", width=16, ca="none", hierarchical=False)


def awake(model: AGMAN) -> AGMAN:
    """Scalars off 1, masks partly negative, gates off one half: what a fresh model would hide."""
    with torch.no_grad():
        model.map_scale.fill_(1.3)
        if model.asa is not None:
            model.asa.scale.fill_(0.7)
            model.asa.norm.running_mean.normal_(0, 0.2)
            model.asa.norm.running_var.uniform_(0.5, 2)
        if model.aca is not None:
            model.aca.scale.fill_(1.9)
        if model.mask is not None:
            model.mask.mask.weight.normal_(0.3, 0.4)
        if model.sa is not None:
            model.sa.conv.weight.normal_()
    return model


def literal(model: AGMAN, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The official ``model.py`` step by step, one (B, A, C, H, W) tensor: embeddings, attention and logits."""
    conv8, conv16, conv32 = model.trunk.stages
    f2 = conv8(images)
    f3 = conv16(f2)  # layer3 is fed the unmodified F2
    assert model.lift is not None
    assert model.classifier is not None
    f2_ = model.lift(F.max_pool2d(f2, kernel_size=3, stride=2, padding=1))
    f23 = f2_ + f3
    logits = model.classifier(conv32(f23).mean((2, 3)))

    x = model.project(model.map_scale * torch.cat([f3, f23], dim=1))  # 1, 2
    batch, channels, height, width = x.shape
    x = x.view(batch, 1, channels, height, width)
    table = model.embedding.weight  # (A, C)

    assert model.asa is not None  # 3, 4
    norm = model.asa.norm
    if model.training:
        mean, var = x.mean((0, 1, 3, 4), keepdim=True), x.var((0, 1, 3, 4), keepdim=True, unbiased=False)
    else:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean, var = norm.running_mean.view(1, 1, -1, 1, 1), norm.running_var.view(1, 1, -1, 1, 1)
    normed = (x - mean) / torch.sqrt(var + norm.eps) * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)
    z = table @ model.asa.query.weight.T + model.asa.query.bias
    p_a = (torch.sigmoid(z) * z).view(1, -1, channels, 1, 1).expand(batch, -1, channels, height, width)
    score = (torch.tanh(normed) * p_a).sum(2) / math.sqrt(channels)
    attention = torch.exp(score) / torch.exp(score).sum((2, 3), keepdim=True)
    attended = x * model.asa.scale * attention.unsqueeze(2)

    assert model.sa is not None  # 5
    planes = torch.stack([attended.mean(2), attended.max(2).values], 2).flatten(0, 1)
    kernel = model.sa.conv.weight
    gate = torch.sigmoid(F.conv2d(planes, kernel, padding=kernel.shape[-1] // 2)).view(attention.shape)
    vectors = (attended * gate.unsqueeze(2)).sum((3, 4))  # 6

    assert model.aca is not None  # 7, 8
    z_ = table @ model.aca.query.weight.T + model.aca.query.bias
    q_a = (torch.sigmoid(z_) * z_).unsqueeze(0).expand(batch, -1, -1)
    hidden = torch.relu(model.aca.reduce(torch.cat([vectors, q_a], dim=2)))
    vectors = vectors * model.aca.scale * torch.sigmoid(model.aca.expand(hidden))

    assert model.mask is not None  # 9, 10
    vectors = vectors * torch.relu(model.mask.mask.weight)
    return vectors / vectors.pow(2).sum(-1, keepdim=True).sqrt(), attention, logits


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("kernel", [7, 1])
@pytest.mark.parametrize("size", [(96, 96), (80, 128)], ids=str)
def test_it_equals_the_official_path_step_by_step(training: bool, kernel: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = awake(tiny(sa_kernel=kernel)).double().train(training)
    images = torch.randn(4, 3, *size, dtype=torch.float64)
    expected, looked, logits = literal(model, images)
    features = model.features(images)
    torch.testing.assert_close(model.attention(features, EVERY), looked, atol=1e-5, rtol=0, check_dtype=False)
    torch.testing.assert_close(model.embed(features, EVERY), expected.float(), atol=1e-5, rtol=0)
    if training:
        torch.testing.assert_close(features.logits, logits, atol=1e-5, rtol=0)
    else:
        assert features.logits is None, "searching does not need the last block"


@pytest.mark.parametrize("scale", [-1.5, 0.4])
def test_a_scale_learned_below_zero_still_equals_the_literal_path(scale: float) -> None:
    """The largest channel of -x is not minus the largest channel of x: the scale must come before the maximum."""
    torch.manual_seed(0)
    model = awake(tiny()).double().eval()
    assert model.asa is not None
    with torch.no_grad():
        model.asa.scale.fill_(scale)
    images = torch.randn(2, 3, 96, 96, dtype=torch.float64)
    expected = literal(model, images)[0]
    torch.testing.assert_close(model.embed(model.features(images), EVERY), expected.float(), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("attributes", "count"), [(8, 26_420_909), (5, 26_411_690), (4, 26_408_617)])
def test_parameter_counts_with_resnet50_are_those_of_the_official_code(attributes: int, count: int) -> None:
    assert parameter_count(build("agman", attributes, "resnet50")) == count


def test_the_mask_starts_with_a_block_per_attribute() -> None:
    model = build("agman", 3, TRUNK, width=32)
    assert model.mask is not None
    expected = torch.full((3, 32), 0.1)
    expected[0, 0:10] = expected[1, 10:20] = expected[2, 20:30] = 1.0
    assert torch.equal(model.mask.mask.weight, expected)
    assert model.mask.mask.weight.requires_grad


def test_a_mask_of_zeros_gives_no_nan() -> None:
    """D-32: the official code divides by the length without an epsilon."""
    model = tiny()
    assert model.mask is not None
    with torch.no_grad():
        model.mask.mask.weight[1] = -1.0
    vectors = model.embed(model.features(torch.randn(2, 3, 64, 64)), EVERY)
    assert torch.equal(vectors[:, 1], torch.zeros(2, model.dim))
    vectors.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_the_lift_starts_like_the_trunk() -> None:
    """He, fan-out, for a 1x1 convolution: N(0, sqrt(2 / out))."""
    torch.manual_seed(0)
    lift = build("agman", 3, "resnet18").lift
    assert lift is not None
    assert abs(lift.weight.std().item() / math.sqrt(2 / lift.out_channels) - 1) < 0.02
    assert lift.bias is not None


SWITCHES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "H": ({"hierarchical": False}, {"lift"}),
    "C": ({"classification": False}, {"classifier"}),
    "ASA": ({"asa": False}, {"asa"}),
    "SA": ({"sa": False}, {"sa"}),
    "ACA": ({"aca": False}, {"aca"}),
    "CA": ({"ca": "none"}, {"mask"}),
    "squeeze": ({"ca": "squeeze"}, {"mask"}),
}


@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_removes_its_part_and_nothing_else(name: str) -> None:
    options, gone = SWITCHES[name]
    whole, other = (dict(model.named_children()) for model in (tiny(), tiny(**options)))
    assert set(whole) - set(other) == gone
    assert set(other) - set(whole) == ({"squeeze"} if name == "squeeze" else set())
    changed = {key for key in set(whole) & set(other) if parameter_count(whole[key]) != parameter_count(other[key])}
    # Without hierarchy half of the map is left; without classification the trunk's last block.
    assert changed == {"H": {"project"}, "C": {"trunk"}}.get(name, set())


@pytest.mark.parametrize("name", [name for name in SWITCHES if name != "H"])
def test_a_switch_leaves_the_rest_of_the_computation(name: str) -> None:
    """The part replaced by what it amounts to when off: uniform attention, gates of one, weights of one."""
    options, _ = SWITCHES[name]
    torch.manual_seed(0)
    whole, other = awake(tiny()).eval(), tiny(**options).eval()
    other.load_state_dict(whole.state_dict(), strict=False)
    images = torch.randn(2, 3, 96, 96)

    class Answer(nn.Module):
        scale = torch.ones(())

        def forward(self, *given: Tensor) -> Tensor:
            if name == "ASA":
                x = given[0]
                return torch.full((len(x), ATTRIBUTES, *x.shape[-2:]), 1 / (x.shape[-2] * x.shape[-1]))
            if name == "squeeze":
                assert other.squeeze is not None
                answer: Tensor = other.squeeze(given[0])
                return answer
            return torch.ones_like(given[1] if name == "SA" else given[0])

    part = {"ASA": "asa", "SA": "sa", "ACA": "aca", "CA": "mask", "squeeze": "mask"}.get(name)
    expected = whole.embed(whole.features(images), EVERY)
    if part is not None:
        setattr(whole, part, Answer())
        found = other.embed(other.features(images), EVERY)
        assert (found - expected).abs().max() > 1e-3, "the switch does something"
        expected = whole.embed(whole.features(images), EVERY)
    torch.testing.assert_close(other.embed(other.features(images), EVERY), expected, atol=1e-6, rtol=0)


def test_without_hierarchy_the_stride_16_map_is_attended_and_classified() -> None:
    model = tiny(hierarchical=False).train()
    images = torch.randn(2, 3, 96, 96)
    features = model.features(images)
    deep = model.trunk.stages[1](model.trunk.stages[0](images))
    torch.testing.assert_close(features.attended, model.project(deep))
    assert model.classifier is not None
    torch.testing.assert_close(features.logits, model.classifier(model.trunk.stages[2](deep).mean((2, 3))))


def test_dropout_is_for_training_only() -> None:
    model = tiny(dropout=0.5)
    images = torch.randn(2, 3, 96, 96)
    dropped = model.train().features(images).attended
    assert (dropped.flatten(2).abs().amax(-1) == 0).any(), "whole channels"
    assert not (model.eval().features(images).attended.flatten(2).abs().amax(-1) == 0).any()


def test_the_pyramid_adds_the_stride_32_map() -> None:
    plain, pyramid = tiny(), tiny(pyramid=True)
    stride32 = plain.trunk.channels[2]
    assert pyramid.project.in_channels == plain.project.in_channels + stride32
    assert pyramid.eval().features(torch.randn(1, 3, 70, 90)).attended.shape == (1, 32, 5, 6)


MISTAKES = [
    ({"name": "agmen"}, "unknown model 'agmen'; did you mean 'agman'?"),
    ({"hierarchy": False}, "model 'agman': unknown option 'hierarchy'; did you mean 'hierarchical'?"),
    ({"attributes": 0}, "needs at least one attribute, found 0"),
    ({"attributes": []}, "needs at least one attribute, found 0"),
    ({"ca": "masks"}, "expected option ca to be mask, squeeze or none, found 'masks'"),
    ({"sa_kernel": 4}, "expected option sa_kernel to be odd, found 4"),
    ({"width": 0}, "expected option width to be at least 1, found 0"),
    ({"width": 1.5}, "expected option width to be int, found 1.5"),
    ({"asa": "off"}, "expected option asa to be bool, found 'off'"),
    ({"asa": 0}, "expected option asa to be bool, found 0"),
    ({"width": True}, "expected option width to be int, found True"),
    ({"dropout": 1.5}, "expected option dropout to be from 0 to below 1, found 1.5"),
]


@pytest.mark.parametrize(("change", "message"), MISTAKES, ids=[str(change) for change, _ in MISTAKES])
def test_mistakes_are_named(change: dict[str, Any], message: str) -> None:
    arguments = {"name": "agman", "attributes": 3, "trunk": TRUNK, **change}
    with pytest.raises(RecipeError) as error:
        build(**arguments)
    assert message in str(error.value)


def test_names_count_as_attributes() -> None:
    assert build("agman", ["neckline", "colour"], TRUNK).attributes == 2
