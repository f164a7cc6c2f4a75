"""Patch tokens of timm's vision transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from lapel.errors import RecipeError
from lapel.models.vit import PatchTokens

# Kinds of transformer, made small: with a class token, registers, an averaged and a mapped head, rotary positions.
KINDS: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": {"depth": 1},
    "deit3_small_patch16_224": {"depth": 1, "embed_dim": 48, "num_heads": 3},
    "vit_small_patch14_reg4_dinov2": {"depth": 1, "embed_dim": 48, "num_heads": 3},
    "vit_base_patch16_siglip_224": {"depth": 1, "embed_dim": 48, "num_heads": 3},
    "beit_base_patch16_224": {"depth": 1, "embed_dim": 48, "num_heads": 3},
    "eva02_tiny_patch14_224": {"depth": 1},
    "test_vit": {},
}


@pytest.mark.parametrize("name", KINDS)
def test_tokens_of_the_patches_only(name: str) -> None:
    patch = 14 if "patch14" in name else 16
    tokens = PatchTokens(name, size=4 * patch, options=KINDS[name])
    found = tokens(torch.randn(2, 3, 4 * patch, 4 * patch))
    assert found.shape == (2, 16, tokens.channels)
    found.square().sum().backward()
    silent = [key for key, parameter in tokens.named_parameters() if parameter.requires_grad and parameter.grad is None]
    assert not silent, "no parameter without use"


@pytest.mark.parametrize("size", [224, 64])
def test_local_weights_are_loaded_and_fitted_to_the_crops(tmp_path: Path, size: int) -> None:
    options = {"depth": 1, "embed_dim": 24, "num_heads": 3}
    torch.manual_seed(0)
    whole = timm.create_model("vit_tiny_patch16_224", **options).eval()
    path = tmp_path / "vit.safetensors"
    save_file(whole.state_dict(), path)
    tokens = PatchTokens("vit_tiny_patch16_224", path, size, options).eval()
    assert torch.equal(tokens.net.blocks[0].attn.qkv.weight, whole.blocks[0].attn.qkv.weight)
    images = torch.randn(1, 3, size, size)
    if size != 224:
        whole.set_input_size(img_size=(size, size))
    torch.testing.assert_close(tokens(images), whole.forward_features(images)[:, 1:])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet18", "'resnet18' is no vision transformer: expected a timm network of patch tokens"),
        ("swin_tiny_patch4_window7_224", "is no vision transformer"),
        ("vit_tiny_patch16_225", "did you mean 'vit_tiny_patch16_224'?"),
    ],
)
def test_others_are_refused(name: str, message: str) -> None:
    with pytest.raises(RecipeError) as error:
        PatchTokens(name)
    assert message in str(error.value)
