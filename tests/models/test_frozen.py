"""The untouched trunk: pooled as timm pools it, the same under every attribute, nothing to train."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from lapel.errors import RecipeError
from lapel.models import build
from lapel.models.frozen import FrozenTrunk

from .contract import ATTRIBUTES, AttributeModelContract


class TestFrozen(AttributeModelContract):
    conditioned = False
    located = False
    trained = False

    def build(self) -> FrozenTrunk:
        return FrozenTrunk(ATTRIBUTES, "test_resnet")


@pytest.mark.parametrize("trunk", ["test_resnet", "mobilenetv3_small_050"])
@torch.no_grad()
def test_it_is_the_pooled_network(trunk: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = timm.create_model(trunk).eval()
    save_file(whole.state_dict(), tmp_path / "trunk.safetensors")
    model = build("frozen", 3, trunk, tmp_path / "trunk.safetensors").eval()
    images = torch.randn(2, 3, 97, 64)
    pooled = whole.forward_head(whole.forward_features(images), pre_logits=True)
    vectors = model.embed(model.features(images), torch.tensor([2, 0]))
    assert vectors.shape == (2, 2, model.dim)
    for number in range(2):
        torch.testing.assert_close(vectors[:, number], torch.nn.functional.normalize(pooled, dim=-1))
    maps = model.attention(model.features(images), torch.arange(3))
    torch.testing.assert_close(maps, torch.full((2, 3, 7, 4), 1 / 28))


def test_nothing_of_it_is_trained() -> None:
    model = FrozenTrunk(4, "test_resnet")
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert (model.attributes, model.dim) == (4, 96)
    assert len(model.trunk.mean) == len(model.trunk.std) == 3


@pytest.mark.parametrize(
    ("trunk", "weights", "message"),
    [
        ("resnett18", False, "did you mean 'resnet18'"),
        ("test_resnet", "gone.safetensors", "no weights file at gone.safetensors"),
    ],
)
def test_mistakes(trunk: str, weights: bool | str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        build("frozen", 2, trunk, weights)
