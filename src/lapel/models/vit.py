"""Any vision transformer of timm as a source of patch tokens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lapel.errors import RecipeError
from lapel.models.trunks import whole


class PatchTokens(nn.Module):
    """A vision transformer without its head and without its class token.

    Args:
        name: a timm name, for example ``vit_base_patch16_224.augreg_in21k``.
        pretrained: True (hub), a local ``.safetensors`` file in timm's naming, or False.
        size: height and width of its input in pixels; the position embeddings of the weights are resized to it.
        options: further arguments of ``timm.create_model``.

    Attributes:
        channels: size of a token.
        heads: attention heads of its blocks.

    Raises:
        RecipeError: unknown name, no vision transformer, a size it cannot take, weights missing or of another network.
    """

    def __init__(
        self, name: str, pretrained: bool | Path = False, size: int = 224, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        net: Any = whole(name, pretrained, options)
        if not (hasattr(net, "num_prefix_tokens") and hasattr(net, "patch_embed") and hasattr(net, "blocks")):
            raise RecipeError(
                f"{name!r} is no vision transformer: expected a timm network of patch tokens, "
                "such as vit_base_patch16_224, vit_small_patch14_dinov2 or deit3_small_patch16_224"
            )
        self.name = name
        self.channels = int(net.embed_dim)
        self.heads = int(getattr(net.blocks[0].attn, "num_heads", 8))
        try:
            if tuple(net.patch_embed.img_size or ()) != (size, size):
                net.set_input_size(img_size=(size, size))
        except (AttributeError, AssertionError, ValueError) as error:
            raise RecipeError(
                f"{name!r} cannot take crops of {size} x {size} ({error}): set its options to {{img_size: {size}}}"
            ) from error
        # The rest of a head that only the class token or the mean would pass.
        net.attn_pool = None
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, size, size) -> the normalised tokens of their patches (N, T, channels)."""
        tokens: Tensor = self.net.forward_features(images)[:, self.net.num_prefix_tokens :]
        # Networks that average their tokens have their last norm after it; here it comes before.
        return self.net.fc_norm(tokens) if isinstance(getattr(self.net, "fc_norm", None), nn.Module) else tokens
