"""AHBN against a slow, literal writing of the paper's steps, its switches and its sizes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lapel.errors import RecipeError
from lapel.models import AHBN, ITEM_MODELS, MODELS, build, build_item
from lapel.models.ahbn import ItemFeatures
from lapel.models.coattention import ATTENTIONS, CoAttention
from lapel.models.hourglass import StackedHourglass
from lapel.models.trunks import Trunk, parameter_count

from .item_contract import TAGS, TRUNK, ItemModelContract, alive, outputs

SMALL = {"dim": 24, "stacks": 1, "width": 16, "landmark_size": 64, "sketch": 64, "joint": 12, "common": 4}


def tiny(tags: int = TAGS, **options: Any) -> AHBN:
    """A small AHBN."""
    model = build_item("ahbn", tags, TRUNK, **SMALL | options)
    assert isinstance(model, AHBN)
    return model


class TestPaper(ItemModelContract):
    points, stacks, gazes = 8, 1, ("appearance", "landmarks")

    def build(self) -> AHBN:
        return tiny()


class TestOurs(ItemModelContract):
    points, stacks, gazes, unit = 8, 1, ("appearance", "landmarks"), True

    def build(self) -> AHBN:
        return tiny(localisation="light", normalise=True, attention="separate", fusion="product", dropout=0.2)


class TestAppearanceAlone(ItemModelContract):
    def build(self) -> AHBN:
        return tiny(branches="appearance", spatial_attention=True)


class TestLandmarksAlone(ItemModelContract):
    tags, points, stacks, gazes = 0, 8, 1, ("landmarks",)

    def build(self) -> AHBN:
        return tiny(branches="landmark")


@torch.no_grad()
def literal(model: AHBN, images: Tensor) -> Tensor:
    """Eqs 3 to 11 as the paper goes: co-attention, common size, FFT at each position, average, root, norm, FC."""
    maps = model.trunk.stages[1](model.trunk.stages[0](images))
    a = model.trunk.stages[2](maps)
    assert model.hourglass is not None
    located = F.interpolate(images, (64, 64), mode="bilinear", align_corners=False)
    b = model.hourglass(located).features
    assert model.attend is not None
    joined = torch.cat([a.mean((2, 3)), b.mean((2, 3))], 1)
    weighted = []
    for x, layers in ((a, model.attend.first), (b, model.attend.second)):
        hidden = F.relu(joined @ layers[0].weight.T + layers[0].bias)
        weight = torch.sigmoid(hidden @ layers[2].weight.T + layers[2].bias)
        weighted.append(x * weight.view(*weight.shape, 1, 1))
    a, b = (F.interpolate(weighted[0], (4, 4), mode="bilinear"), F.adaptive_avg_pool2d(weighted[1], 4))
    spectra = []
    assert model.fuse is not None
    tables = (
        (a, model.fuse.first_buckets, model.fuse.first_signs),
        (b, model.fuse.second_buckets, model.fuse.second_signs),
    )
    for x, buckets, signs in tables:
        table = F.one_hot(buckets, model.fuse.size).float() * signs.unsqueeze(1)
        spectra.append(torch.fft.rfft(torch.einsum("bchw,cd->bhwd", x, table)))
    descriptor = torch.fft.irfft(spectra[0] * spectra[1], n=model.fuse.size).mean((1, 2))
    rooted = descriptor.sign() * descriptor.abs().sqrt()
    rooted = rooted / rooted.norm(dim=1, keepdim=True)
    return rooted @ model.project.weight.T + model.project.bias


def test_it_is_the_paper_step_by_step() -> None:
    torch.manual_seed(0)
    model, images = alive(tiny()), torch.randn(3, 3, 96, 96)
    with torch.no_grad():
        found = model.embed(model.features(images))
    # The root near zero is smooth in ours.
    torch.testing.assert_close(found, literal(model, images), atol=5e-3 * found.abs().max().item(), rtol=0)


def test_the_papers_sizes() -> None:
    """On the meta device: Inception-ResNet-v2 with its valid-padding stages, and everything else at its default."""
    with torch.device("meta"):
        model = build_item("ahbn", 100).to("meta")
        features = model.features(torch.empty(2, 3, 299, 299))
        assert features.appearance.shape == (2, 1536, 8, 8)
        assert features.located.shape == (2, 256, 64, 64)
        assert model.embed(features).shape == (2, 512)
        assert model.tag_logits(features).shape == (2, 100)
        assert model.heatmaps(features).shape == (2, 4, 8, 64, 64)
        assert model.saliency(features).shape == (2, 2, 64, 64)
    assert model.trunk.mean == model.trunk.std == (0.5, 0.5, 0.5)
    joined, hidden = 1536 + 256, (1536 + 256) // 16
    attention = 2 * (joined * hidden + hidden) + (hidden + 1) * joined
    sizes = {name: parameter_count(part) for name, part in model.named_children()}
    assert sizes["attend"] == attention
    assert sizes["fuse"] == 0
    assert sizes["project"] == 8192 * 512 + 512
    assert sizes["tag_head"] == 1536 * 100 + 100


PARTS: dict[str, tuple[dict[str, Any], set[str], int]] = {
    "row 1": ({"branches": "appearance"}, {"trunk", "tag_head", "project"}, 0),
    "row 3": ({"branches": "appearance", "spatial_attention": True}, {"trunk", "tag_head", "project", "spatial"}, 0),
    "row 5": ({"branches": "landmark"}, {"hourglass", "project"}, 8),
    "light alone": ({"branches": "landmark", "localisation": "light"}, {"trunk", "light", "project"}, 8),
    "row 6": (
        {"attention": "none", "landmark_input": "heatmaps"},
        {"trunk", "hourglass", "tag_head", "project"},
        8,
    ),
    "row 7": ({"attention": "none"}, {"trunk", "hourglass", "tag_head", "project"}, 8),
    "row 10": ({"attention": "none", "fusion": "product"}, {"trunk", "hourglass", "tag_head", "fuse", "project"}, 8),
    "row 17": ({}, {"trunk", "hourglass", "tag_head", "attend", "project"}, 8),
    "light": ({"localisation": "light"}, {"trunk", "light", "tag_head", "attend", "project"}, 8),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_that_is_not_used_does_not_exist(name: str) -> None:
    options, parts, points = PARTS[name]
    model = tiny(**options)
    assert {key for key, part in model.named_children() if parameter_count(part)} == parts
    assert model.points == points
    assert model.tags == (TAGS if "tag_head" in parts else 0)
    if "trunk" in parts:
        assert len(model.trunk.stages) == (3 if "tag_head" in parts else 2)
    else:
        assert model.trunk.mean == Trunk(TRUNK).mean
        assert model.trunk.name == TRUNK


@pytest.mark.parametrize("options", [{"branches": "appearance"}, {"branches": "landmark"}, {}], ids=str)
def test_without_tags_there_is_no_head(options: dict[str, Any]) -> None:
    model = tiny(0, **options)
    assert model.tags == 0
    assert model.tag_head is None
    assert model.tag_logits(model.eval().features(torch.randn(1, 3, 64, 64))) is None


FUSED = {"compact": 64, "bilinear": 64 * 16, "concatenation": 64 + 16, "product": 12, "sum": 12}


@pytest.mark.parametrize("fusion", FUSED)
def test_every_fusion_is_there_and_gives_its_own_embedding(fusion: str) -> None:
    torch.manual_seed(0)
    model = alive(tiny(fusion=fusion))
    channels = model.trunk.channels[2]
    sizes = FUSED | {"bilinear": channels * 16, "concatenation": channels + 16}
    assert model.project.in_features == sizes[fusion]
    vectors = outputs(model, torch.randn(3, 3, 96, 96))["embed"]
    assert vectors.shape == (3, 24)
    assert (vectors[0] - vectors[1]).abs().max() > 1e-3


def test_heatmaps_can_stand_for_the_features() -> None:
    torch.manual_seed(0)
    model = alive(tiny(landmark_input="heatmaps", stacks=2))
    with torch.no_grad():
        features = model.features(torch.randn(2, 3, 96, 96))
    assert features.located.shape == (2, 8, 16, 16)
    assert torch.equal(features.located, features.heatmaps[:, -1])


def test_the_last_stacks_heatmaps_alone() -> None:
    torch.manual_seed(0)
    model = alive(tiny(stacks=2))
    images = torch.randn(2, 3, 96, 96)
    every = outputs(model, images)["heatmaps"]
    assert every.shape == (2, 2, 8, 16, 16)
    assert model.hourglass is not None
    model.hourglass.intermediate = tiny(stacks=2, intermediate=False).hourglass.intermediate
    assert torch.equal(outputs(model, images)["heatmaps"], every[:, -1:])


@pytest.mark.parametrize("kind", [kind for kind in ATTENTIONS if kind != "none"])
def test_attention_kinds(kind: Any) -> None:
    torch.manual_seed(0)
    attend = CoAttention(32, 16, 0, kind)
    first, second = torch.rand(3, 32), torch.rand(3, 16)
    a, b = attend(first, second)
    assert a.shape == (3, 32)
    assert b.shape == (3, 16)
    assert min(a.min(), b.min()) >= 0
    sees_other = not torch.equal(attend(first, second.flip(0))[0], a)
    assert sees_other == (kind != "separate")
    if kind == "co-softmax":
        torch.testing.assert_close(a.mean(1), torch.ones(3))
        torch.testing.assert_close(b.mean(1), torch.ones(3))
    else:
        assert max(a.max(), b.max()) < 1


@pytest.mark.parametrize(
    ("sizes", "hidden", "expected"), [((1536, 256), 0, 112), ((32, 16), 0, 8), ((32, 16), 5, 5)], ids=str
)
def test_the_hidden_size_is_ours_or_the_recipes(sizes: tuple[int, int], hidden: int, expected: int) -> None:
    attend = CoAttention(*sizes, hidden)
    assert attend.first[0].out_features == attend.second[0].out_features == expected


def test_attention_comes_before_the_common_size_and_both_take_part() -> None:
    """Weights of one channel alone leave that channel alone in the descriptor."""
    torch.manual_seed(0)
    model = alive(tiny(fusion="bilinear"))
    channels = model.trunk.channels[2]

    class One(nn.Module):
        def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
            return F.one_hot(torch.full((len(first),), 3), channels), F.one_hot(torch.full((len(second),), 5), 16)

    seen: list[Tensor] = []
    assert model.fuse is not None
    model.fuse.register_forward_hook(lambda _, given, found: seen.append(found))
    model.attend = One()  # type: ignore[assignment]
    with torch.no_grad():
        model.embed(model.features(torch.randn(2, 3, 96, 96)))
    assert [int(place) for place in seen[0].abs().sum(0).nonzero().flatten()] == [3 * 16 + 5]


def test_saliency_is_the_energy_of_the_attended_channels() -> None:
    model = tiny(attention="none").eval()
    appearance, located = torch.zeros(1, 6, 2, 2), torch.zeros(1, 3, 4, 4)
    appearance[0, :, 1, 0] = 2.0
    located[0, 1, 3, 3], located[0, 2, 0, 0] = 3.0, -1.0
    maps = model.saliency(ItemFeatures(appearance, located, None))
    assert maps.shape == (1, 2, 4, 4)
    assert maps[0, 0].argmax() == 3 * 4, "the lower left corner, upsampled"
    torch.testing.assert_close(maps[0, 1, 3, 3], torch.tensor(0.9))
    torch.testing.assert_close(maps[0, 1, 0, 0], torch.tensor(0.1))
    nothing = model.saliency(ItemFeatures(torch.zeros(1, 6, 2, 2), torch.zeros(1, 3, 4, 4), None))
    torch.testing.assert_close(nothing, torch.full((1, 2, 4, 4), 1 / 16))


def test_the_localisation_input_is_resampled_only_where_it_must() -> None:
    torch.manual_seed(0)
    model = alive(tiny())
    seen: list[Tensor] = []
    assert isinstance(model.hourglass, StackedHourglass)
    model.hourglass.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        model.features(images)
        model.features(torch.randn(1, 3, 96, 80))
    assert seen[0] is images
    assert seen[1].shape == (1, 3, 64, 64)


def test_the_last_layer_starts_by_keeping_lengths() -> None:
    torch.manual_seed(0)
    project = tiny(dim=512, sketch=2048).project
    vectors = F.normalize(torch.randn(20, 2048), dim=1)
    assert abs(project(vectors).norm(dim=1).mean().item() - 1) < 0.05
    assert not project.bias.any()
    assert math.isclose(project.weight.std().item(), 512**-0.5, rel_tol=0.02)


def test_the_root_can_be_left_out() -> None:
    torch.manual_seed(0)
    model = alive(tiny(branches="appearance", signed_root=False))
    with torch.no_grad():
        features = model.features(torch.randn(2, 3, 96, 96))
        torch.testing.assert_close(model.embed(features), model.project(features.appearance.mean((2, 3))))


def test_dropout_is_for_training_only() -> None:
    torch.manual_seed(0)
    model = alive(tiny(dropout=0.5))
    with torch.no_grad():
        features = model.features(torch.randn(2, 3, 96, 96))
        assert torch.equal(model.embed(features), model.embed(features))
        assert not torch.equal(model.train().embed(features), model.embed(features))


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"name": "ahnb"}, "unknown model 'ahnb'; did you mean 'ahbn'?"),
    ({"name": "agman"}, "expected an instance model, found 'agman': choose one of ahbn, fashionnet"),
    ({"tags": -1}, "model 'ahbn': expected at least 0 tags, found -1"),
    ({"tags": True}, "model 'ahbn': expected at least 0 tags, found True"),
    ({"stack": 2}, "model 'ahbn': unknown option 'stack'; did you mean 'stacks'?"),
    ({"branches": "landmarks"}, "expected option branches to be both, appearance or landmark, found 'landmarks'"),
    ({"localisation": "heavy"}, "expected option localisation to be hourglass or light, found 'heavy'"),
    ({"landmark_input": "maps"}, "expected option landmark_input to be features or heatmaps, found 'maps'"),
    ({"fusion": "concat"}, "to be compact, bilinear, concatenation, product or sum, found 'concat'"),
    ({"attention": "softmax"}, "expected option attention to be co, co-softmax, separate or none, found 'softmax'"),
    ({"dim": 0}, "expected option dim to be at least 1, found 0"),
    ({"stacks": 0}, "expected option stacks to be at least 1, found 0"),
    ({"points": 0}, "expected option points to be at least 1, found 0"),
    ({"sketch": 0}, "expected option sketch to be at least 1, found 0"),
    ({"joint": -3}, "expected option joint to be at least 1, found -3"),
    ({"common": 0}, "expected option common to be at least 1, found 0"),
    ({"hidden": -1}, "expected option hidden to be at least 0, found -1"),
    ({"sketch_seed": -1}, "expected option sketch_seed to be at least 0, found -1"),
    ({"width": 18}, "expected option width to be a multiple of 4, found 18"),
    ({"landmark_size": 0}, "expected option landmark_size to be a multiple of 64, found 0"),
    ({"landmark_size": 100}, "expected option landmark_size to be a multiple of 64, found 100"),
    ({"dropout": 1.0}, "expected option dropout to be from 0 to below 1, found 1.0"),
    ({"width": 16.0}, "expected option width to be int, found 16.0"),
    ({"normalise": 1}, "expected option normalise to be bool, found 1"),
    (
        {"branches": "landmark", "spatial_attention": True},
        "expected option spatial_attention to be false without an appearance branch, found True",
    ),
    ({"branches": "landmark", "trunk": "test_resnett"}, "unknown trunk 'test_resnett'; did you mean 'test_resnet'?"),
]


@pytest.mark.parametrize(("change", "message"), MISTAKES, ids=[str(change) for change, _ in MISTAKES])
def test_mistakes_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as error:
        build_item(**{"name": "ahbn", "tags": 3, "trunk": TRUNK} | SMALL | change)
    assert message in str(error.value)


def test_the_two_kinds_of_models_do_not_mix() -> None:
    assert not MODELS.keys() & ITEM_MODELS.keys()
    with pytest.raises(RecipeError, match="expected an attribute model, found 'ahbn': choose one of agman"):
        build("ahbn", 3, TRUNK)
