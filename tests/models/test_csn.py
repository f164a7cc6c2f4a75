"""CSN, as the tables measure it and as its paper has it, against slow writings with loops over attributes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from lapel.errors import RecipeError
from lapel.models import Triplets, build
from lapel.models.csn import CSN, OriginalCSN
from lapel.models.plain import PooledFeatures
from lapel.models.trunks import parameter_count

from .contract import ATTRIBUTES, AttributeModelContract, alive

TRUNK = "test_resnet"
KINDS = ("disjoint", "learned", "initialised")


def original(**options: Any) -> OriginalCSN:
    return build("csn_original", ATTRIBUTES, TRUNK, **{"width": 24, **options})


class TestTables(AttributeModelContract):
    located = False

    def build(self) -> CSN:
        return build("csn", ATTRIBUTES, TRUNK, width=24)


class TestDisjoint(AttributeModelContract):
    located = False
    own_loss = True

    def build(self) -> OriginalCSN:
        return original()


class TestLearned(AttributeModelContract):
    located = False
    own_loss = True

    def build(self) -> OriginalCSN:
        return original(masks="learned")


class TestInitialised(AttributeModelContract):
    located = False
    own_loss = True

    def build(self) -> OriginalCSN:
        return original(masks="initialised")


def literal(model: Any, images: Tensor, number: int) -> Tensor:
    """One attribute, step by step: (B, D), not normalised."""
    conv8, conv16 = model.trunk.stages
    vectors = conv16(conv8(images)).mean((2, 3)) @ model.project.weight.T + model.project.bias
    masked: Tensor = vectors * model.mask.mask.weight[number].clamp(min=0)
    return masked


@pytest.mark.parametrize("kind", ["csn", *KINDS])
def test_it_equals_the_papers_path(kind: str) -> None:
    torch.manual_seed(0)
    model: Any = build("csn", ATTRIBUTES, TRUNK, width=24) if kind == "csn" else original(masks=kind)
    model = alive(model).double()
    images = torch.randn(3, 3, 80, 112, dtype=torch.float64)
    features = model.features(images)
    raw, vectors = (method(features, torch.arange(ATTRIBUTES)) for method in (model.raw, model.embed))
    for number in range(ATTRIBUTES):
        expected = literal(model, images, number)
        torch.testing.assert_close(raw[:, number], expected)
        expected = expected / expected.pow(2).sum(1, keepdim=True).sqrt()
        torch.testing.assert_close(vectors[:, number], expected.float(), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("attributes", "count"), [(8, 9_601_088), (5, 9_598_016), (4, 9_596_992)])
def test_parameter_counts_with_resnet50_are_those_of_the_official_code(attributes: int, count: int) -> None:
    assert parameter_count(build("csn", attributes)) == count


@pytest.mark.parametrize(("kind", "learned"), [("disjoint", 0), ("learned", 4 * 64), ("initialised", 4 * 64)])
def test_the_original_is_resnet18_to_block_3_and_64_dimensions(kind: str, learned: int) -> None:
    model = build("csn_original", 4, masks=kind).eval()
    assert model.trunk.name == "resnet18"
    assert model.dim == 64
    assert model.distance == "euclidean"
    assert parameter_count(model) == parameter_count(model.trunk) + 256 * 64 + 64 + learned
    with torch.no_grad():
        features = model.features(torch.zeros(1, 3, 112, 112))
    assert features.map.shape == (1, 256, 7, 7)


def test_the_masks_start_as_the_paper_has_them() -> None:
    disjoint, learned, initialised = (original(masks=kind).mask.mask.weight for kind in KINDS)
    blocks = torch.zeros(3, 24)
    blocks[0, 0:8] = blocks[1, 8:16] = blocks[2, 16:24] = 1.0
    assert torch.equal(disjoint, blocks)
    assert not disjoint.requires_grad
    assert torch.equal(initialised, blocks * 0.9 + 0.1)
    assert learned.requires_grad
    assert initialised.requires_grad
    torch.manual_seed(0)
    many = build("csn_original", 200, TRUNK, masks="learned", width=500).mask.mask.weight
    assert abs(many.mean().item() - 0.9) < 0.01
    assert abs(many.std().item() - 0.7) < 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_by_hand(kind: str) -> None:
    torch.manual_seed(0)
    model = original(masks=kind, embedding_penalty=0.03, mask_penalty=0.002).double()
    count, margin = 5, 0.4
    roles = [PooledFeatures(torch.zeros(count, 1, 1, 1), torch.randn(count, 24).double()) for _ in range(3)]
    attributes = torch.tensor([0, 2, 1, 1, 2])
    table = model.mask.mask.weight

    triplets, lengths, masks = 0.0, [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
    for place in range(count):
        vectors = []
        for role in range(3):
            vector = roles[role].vector[place].tolist()
            mask = [max(0.0, weight) for weight in table[attributes[place]].tolist()]
            lengths[role] += sum(x * x for x in vector)
            masks[role] += sum(abs(m) for m in mask)
            vectors.append([x * m for x, m in zip(vector, mask, strict=True)])
        near, far = (
            math.sqrt(sum((x - y + 1e-6) ** 2 for x, y in zip(vectors[0], other, strict=True))) for other in vectors[1:]
        )
        triplets += max(0.0, near - far + margin) / count
    penalty = sum(math.sqrt(length) for length in lengths) / 3 / math.sqrt(count)
    expected = triplets + 0.03 * penalty + 0.002 * sum(masks) / 3 / count

    found = model.triplet_objective(roles, Triplets(attributes, torch.zeros(count, 3, dtype=torch.int64)), margin)
    assert found.item() == pytest.approx(expected, abs=1e-9)


def test_the_penalty_is_of_the_unmasked_embedding() -> None:
    model = original(embedding_penalty=1.0, mask_penalty=0.0)
    vector = torch.zeros(1, 24)
    vector[0, 8:] = 3.0  # outside of the first attribute's block
    features = PooledFeatures(torch.zeros(1, 1, 1, 1), vector)
    targets = Triplets(torch.tensor([0]), torch.zeros(1, 3, dtype=torch.int64))
    found = model.triplet_objective([features] * 3, targets, 0.0)
    assert found.item() == pytest.approx(3.0 * 4.0)


def test_equal_embeddings_have_a_finite_gradient() -> None:
    model = original(masks="learned").train()
    features = model.features(torch.randn(2, 3, 64, 64))
    targets = Triplets(torch.tensor([0, 1]), torch.zeros(2, 3, dtype=torch.int64))
    model.triplet_objective([features] * 3, targets, 0.2).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


MISTAKES = [
    ("csn", {"width": 0}, "model 'csn': expected option width to be at least 1, found 0"),
    ("csn_original", {"masks": "fixed"}, "expected option masks to be disjoint, learned or initialised, found 'fixed'"),
    ("csn_original", {"width": 2}, "model 'csn_original': expected option width to be at least 3, found 2"),
    ("csn_original", {"mask_penalty": -1.0}, "expected option mask_penalty to be at least 0, found -1.0"),
    ("csn_original", {"penalty": 1.0}, "unknown option 'penalty'; did you mean 'mask_penalty'?"),
]


@pytest.mark.parametrize(("name", "options", "message"), MISTAKES)
def test_mistakes_are_named(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as error:
        build(name, ATTRIBUTES, TRUNK, **options)
    assert message in str(error.value)
