"""RPF against a slow writing of its description, one image and one attribute at a time."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lapel.errors import RecipeError
from lapel.models import Triplets, build
from lapel.models.rpf import RPF, ResidualNorm
from lapel.models.trunks import parameter_count

from ..losses.test_regions import slow_contrast
from .contract import ATTRIBUTES, AttributeModelContract
from .test_asenpp import assert_boxes_differ, awake, traced_equals
from .test_regions import slow_box, slow_crop

TRUNK = "test_resnet"
VIT = "vit_tiny_patch16_224"
EVERY = torch.arange(ATTRIBUTES)
TINY: dict[str, Any] = {
    "attribute_width": 16,
    "patch_trunk": VIT,
    "patch_options": {"depth": 2, "embed_dim": 24, "num_heads": 3},
    "local_size": 48,
}


def tiny(**options: Any) -> RPF:
    model = build("rpf", ATTRIBUTES, TRUNK, **{**TINY, **options})
    assert isinstance(model, RPF)
    return model


class TestBothBranches(AttributeModelContract):
    own_loss = True

    def build(self) -> RPF:
        return tiny(threshold=0.9)

    def test_each_image_under_its_own_attribute(self, model: Any) -> None:
        """In training, dropout is drawn anew."""
        super().test_each_image_under_its_own_attribute(model, False)

    def test_bfloat16_autocast_still_gives_float32_unit_vectors(self, model: Any) -> None:
        """A box on noise may follow the rounding to another cell; here it is the whole frame."""
        model.threshold = 0.0
        super().test_bfloat16_autocast_still_gives_float32_unit_vectors(model)


class TestFirstStage(AttributeModelContract):
    def build(self) -> RPF:
        return tiny(local=False)

    def test_each_image_under_its_own_attribute(self, model: Any) -> None:
        """In training, dropout is drawn anew."""
        super().test_each_image_under_its_own_attribute(model, False)


def slow_norm(vector: Tensor, norm: torch.nn.LayerNorm) -> Tensor:
    centred = vector - vector.mean()
    return centred / torch.sqrt((centred**2).mean() + norm.eps) * norm.weight + norm.bias


def slow_last(last: ResidualNorm, vector: Tensor, activation: Any) -> Tensor:
    """Pre-norm residual MLP, LayerNorm, L2."""
    norm, enter, _, _, leave = last.mlp
    hidden = activation(enter.weight @ slow_norm(vector, norm) + enter.bias)
    vector = slow_norm(vector + leave.weight @ hidden + leave.bias, last.norm)
    return vector / vector.norm()


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def slow_region(model: RPF, image: Tensor, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Attention (h, w), region vector and background vector of one image."""
    head = model.head
    maps = model.trunk(image[None])[1][0]
    channels, height, width = maps.shape
    normed = torch.stack(
        [slow_norm(maps[:, y, x], head.map_norm) for y in range(height) for x in range(width)], 1
    ).view(channels, height, width)
    asked = slow_norm(model.embedding.weight[number], head.query_norm)
    query = torch.tanh(head.query.weight @ asked + head.query.bias)
    score = torch.zeros(height, width, dtype=maps.dtype)
    for y in range(height):
        for x in range(width):
            key = torch.tanh(head.key.weight[:, :, 0, 0] @ normed[:, y, x] + head.key.bias)
            score[y, x] = (key * query).sum() / math.sqrt(len(query))
    attention = torch.exp(score) / torch.exp(score).sum()
    complement = (1 - attention) / (1 - attention).sum()
    region, behind = (
        sum((weights[y, x] * normed[:, y, x] for y in range(height) for x in range(width)), torch.zeros(channels))
        for weights in (attention, complement)
    )
    return (
        attention,
        slow_last(head.last, head.out.weight @ region + head.out.bias, torch.relu),
        slow_last(head.last, behind, torch.relu),
    )


def slow_patch(model: RPF, image: Tensor, attention: Tensor, number: int) -> Tensor:
    """The patch vector: the attribute attends the crop's patches, head by head."""
    branch: Any = model.local
    box, _ = slow_box(attention, *image.shape[1:], model.threshold)
    crop = torch.from_numpy(slow_crop(image, box, model.local_size))
    tokens = branch.tokens.net.forward_features(branch.renormalise(crop)[None])[0][1:]  # without the class token
    assert len(tokens) == (model.local_size // 16) ** 2
    kind = branch.types.weight
    asked = branch.lift.weight @ model.embedding.weight[number] + branch.lift.bias + kind[0]
    query = branch.query.weight @ asked + branch.query.bias
    width = tokens.shape[1]
    both = [branch.key_value.weight @ (token + kind[1]) + branch.key_value.bias for token in tokens]
    found, size = torch.zeros(width, dtype=tokens.dtype), width // 3
    for head in range(3):
        own = slice(head * size, (head + 1) * size)
        scores = torch.stack([(query[own] * pair[:width][own]).sum() / math.sqrt(size) for pair in both])
        shares = torch.exp(scores) / torch.exp(scores).sum()
        found[own] = sum(
            (share * pair[width:][own] for share, pair in zip(shares, both, strict=True)), torch.zeros(size)
        )
    joined = branch.join.weight @ found + branch.join.bias
    return slow_last(branch.last, branch.out.weight @ joined + branch.out.bias, gelu)


@pytest.fixture
def model() -> RPF:
    torch.manual_seed(0)
    return awake(tiny(threshold=0.9, alpha=5.0, contrast_weight=0.3, patch_weight=0.2)).double().eval()  # type: ignore[no-any-return]


@pytest.mark.parametrize("size", [(64, 64), (48, 80)], ids=str)
@torch.no_grad()
def test_it_equals_its_description_image_by_image(model: RPF, size: tuple[int, int]) -> None:
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    features = model.features(images)
    found, looked = model.embed(features, EVERY), model.attention(features, EVERY)
    assert_boxes_differ(looked, size, 0.9)
    assert model.dim == 2 * model.trunk.channels[1]
    for image in range(2):
        for number in range(ATTRIBUTES):
            attention, region, _ = slow_region(model, images[image], number)
            torch.testing.assert_close(looked[image, number], attention, atol=1e-6, rtol=0, check_dtype=False)
            patch = slow_patch(model, images[image], attention, number)
            joined = torch.cat([math.sqrt(0.7) * region, math.sqrt(0.3) * patch]).float()
            torch.testing.assert_close(found[image, number], joined, atol=2e-4, rtol=0)


@torch.no_grad()
def test_the_objective_is_its_formula(model: RPF) -> None:
    roles = torch.randn(3, 2, 3, 64, 64, dtype=torch.float64)
    attributes, values = torch.tensor([2, 0]), torch.tensor([[0, 0, 1], [3, 3, 2]])
    found = model.triplet_objective([model.features(images) for images in roles], Triplets(attributes, values), 0.5)
    regions, patches, behind, labels = [], [], [], []
    for role in range(3):
        for row in range(2):
            number = int(attributes[row])
            attention, region, back = slow_region(model, roles[role, row], number)
            regions.append(region)
            behind.append(back)
            patches.append(slow_patch(model, roles[role, row], attention, number))
            labels.append((number, int(values[row, role])))
    expected = 0.3 * slow_contrast(*(torch.stack(part) for part in (regions, patches, behind)), labels, 5.0, 0.07)
    for vectors, weight in ((regions, 1.0), (patches, 0.2)):
        for row in range(2):
            a, p, n = (vectors[role * 2 + row] for role in range(3))
            expected += weight * max(0.0, 0.5 + float(a @ n) - float(a @ p)) / 2
    assert found is not None
    assert float(found) == pytest.approx(expected, rel=1e-3)


def test_the_first_stage_has_the_cosine_triplet_loss() -> None:
    model = tiny(local=False)
    features = model.features(torch.randn(2, 3, 64, 64))
    targets = Triplets(torch.tensor([0, 1]), torch.zeros(2, 3, dtype=torch.int64))
    assert model.triplet_objective([features] * 3, targets, 0.2) is None


def test_the_objective_trains_every_part(model: RPF) -> None:
    model = model.float().train()
    targets = Triplets(torch.tensor([0, 1, 2]), torch.tensor([[0, 0, 1]] * 3))
    roles = [model.features(torch.randn(3, 3, 64, 64)) for _ in range(3)]
    loss = model.triplet_objective(roles, targets, 2.0)
    assert loss is not None
    loss.backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert not silent


def test_the_second_stage_starts_from_the_first_by_name() -> None:
    first, second = tiny(local=False), tiny()
    stored = first.state_dict()
    assert {key.split(".")[0] for key in set(second.state_dict()) - set(stored)} == {"local"}
    assert not second.load_state_dict(stored, strict=False).unexpected_keys


def test_of_the_background_nothing_is_attended() -> None:
    """With all attention on one cell, the background is the mean of the others."""
    model = tiny().eval()
    maps = torch.randn(1, model.width, 2, 3)
    attention = torch.zeros(1, 1, 2, 3)
    attention[0, 0, 1, 1] = 1.0
    with torch.no_grad():
        found = model.head.background(maps, attention)[0, 0]
        others = (maps.sum((2, 3))[0] - maps[0, :, 1, 1]) / 5
        torch.testing.assert_close(found, slow_last(model.head.last, others, torch.relu), atol=1e-5, rtol=0)


def test_one_position_leaves_no_background_and_no_nan() -> None:
    model = tiny().eval()
    found = model.head.background(torch.randn(1, model.width, 1, 1), torch.ones(1, 1, 1, 1))
    assert torch.isfinite(found).all()


def linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def test_parameter_counts() -> None:
    """No published count is known; this is the arithmetic of the sizes, with ViT-B/16 of 85,798,656."""
    norm, mlp = 2 * 1024, linear(1024, 512) + linear(512, 1024)
    region = 8_543_296 + 8 * 512 + norm + 2 * 512 + linear(1024, 512) + linear(512, 512)
    region += linear(1024, 1024) + norm + mlp + norm
    patch = 85_798_656 + linear(512, 768) + 2 * 768 + 4 * linear(768, 768) + linear(768, 1024) + norm + mlp + norm
    # Sizes only: 100 million random numbers are not needed for them.
    with torch.device("meta"):
        first, both = build("rpf", 8, local=False), build("rpf", 8)
    assert parameter_count(first) == region == 11_441_728
    assert parameter_count(both) == region + patch == 101_839_936


MISTAKES = [
    ({"beta": 1.2}, "expected option beta to be from 0 to 1, found 1.2"),
    ({"threshold": -0.1}, "expected option threshold to be from 0 to below 1, found -0.1"),
    ({"temperature": 0.0}, "expected option temperature to be above 0, found 0.0"),
    ({"alpha": -1.0}, "expected option alpha to be at least 0, found -1.0"),
    ({"contrast_weight": -1.0}, "expected option contrast_weight to be at least 0, found -1.0"),
    ({"patch_options": 3}, "expected option patch_options to be keys with values, found 3"),
    ({"patch_trunk": "vit_tini_patch16_224"}, "did you mean 'vit_tiny_patch16_224'?"),
    ({"patch_trunk": "resnet18", "patch_options": None}, "'resnet18' is no vision transformer"),
    ({"patch_options": {"depht": 2}}, "cannot build trunk 'vit_tiny_patch16_224' with options {'depht': 2}"),
]


@pytest.mark.parametrize(("change", "message"), MISTAKES, ids=[str(change) for change, _ in MISTAKES])
def test_mistakes_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as error:
        tiny(**change)
    assert message in str(error.value)


def test_single_steps_of_training_follow_the_papers_objective() -> None:
    """A few steps on four images of two values lower the loss."""
    torch.manual_seed(0)
    model = tiny().train()
    images = torch.randn(2, 3, 64, 64).repeat_interleave(2, 0) + 0.3 * torch.randn(4, 3, 64, 64)
    roles = [images[[0, 2]], images[[1, 3]], images[[2, 0]]]
    targets = Triplets(torch.tensor([0, 0]), torch.tensor([[0, 0, 1], [1, 1, 0]]))
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for _ in range(12):
        loss = model.triplet_objective([model.features(role) for role in roles], targets, 0.2)
        assert loss is not None
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])


def test_normalised_output_of_the_last_layer() -> None:
    vectors = ResidualNorm(8, torch.nn.ReLU()).eval()(torch.randn(5, 8))
    torch.testing.assert_close(vectors, F.normalize(vectors, dim=-1))


def test_it_can_be_traced_for_any_number_of_images() -> None:
    traced_equals(awake(tiny(threshold=0.9)).eval())
