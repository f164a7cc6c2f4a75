"""What the two-branch systems share: a global branch that looks, and a local one that sees the attended square.

The trunk of the global branch runs once per image. The local branch runs once per (image, attribute), which is its
nature: each attribute has a crop of its own. Embedding under A attributes costs A local passes an image.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lapel.errors import RecipeError
from lapel.models.attention import over_positions
from lapel.models.base import AttributeNetwork, check_option
from lapel.models.regions import attended_boxes, crop_regions
from lapel.models.trunks import Trunk
from lapel.precision import single

# Crops in one pass of the local branch: bounds its memory where many images are embedded under many attributes.
CROPS = 128


class BranchFeatures(NamedTuple):
    """What every attribute shares.

    Attributes:
        images: the prepared images (B, 3, H, W), of which the local branch takes its crops.
        size: height and width of the global branch's input.
        attended: the map that is pooled under the attention, (B, C, h, w).
        keys: the image side of the attention's score, (B, c, h, w).
    """

    images: Tensor
    size: tuple[int, int]
    attended: Tensor
    keys: Tensor


class TwoBranches(AttributeNetwork):
    """A global and a local branch under one table of attribute embeddings.

    The papers cut the crop out of the *original* image. Here it is cut out of the prepared one, which may be larger
    than what the global branch sees: with ``image.height: 448``, ``image.width: 448`` and ``global_size: 224`` the
    local branch gets the papers' gain in resolution.

    The embedding is ``concat(sqrt(1 - share) g, sqrt(share) l)`` of the branches' unit vectors, itself a unit vector:
    its cosine is ``(1 - share) cos_g + share cos_l``. Without the local branch (``local=False``, the papers' first
    stage) it is g; the local modules are then not built, and a second stage that starts from the first's weights takes
    every tensor of the global branch by name.

    A subclass sets ``local`` and gives ``features``, ``first`` and ``looked``.

    Args:
        attributes, trunk, pretrained, trunk_options: as every model's; the trunk is cut after stride 16.
        width: size of each branch's vector; None: the channels of the trunk's stride-16 map.
        attribute_width: size of the attribute embeddings.
        global_size: longer side of the global branch's input in pixels; 0: the prepared images as they are.
        local_size: height and width of the crops in pixels.
        threshold: of the normalised attention, see ``attended_boxes``.
        share: weight of the local branch's cosine.
        with_local: whether there is a local branch.

    Raises:
        RecipeError: a value that is none of these.
    """

    local: nn.Module | None

    def __init__(
        self,
        attributes: int,
        trunk: str,
        pretrained: bool | Path | str,
        trunk_options: Mapping[str, Any] | None,
        *,
        width: int | None,
        attribute_width: int,
        global_size: int,
        local_size: int,
        threshold: float,
        share: float,
        with_local: bool,
    ) -> None:
        super().__init__()
        self.attributes = attributes
        self.global_size = global_size
        self.local_size = local_size
        self.threshold = threshold
        self.share = share
        self.trunk = Trunk(trunk, pretrained, trunk_options)
        self.trunk.drop_tail()
        self.width: int = width or self.trunk.channels[1]
        self.dim = 2 * self.width if with_local else self.width
        self.embedding = nn.Embedding(attributes, attribute_width)

    def first(self, features: BranchFeatures, attention: Tensor, queries: Tensor) -> Tensor:
        """The global branch: attention (B, A, h, w) and queries (B, A, e) -> unit vectors (B, A, width), float32."""
        raise NotImplementedError

    def looked(self, features: BranchFeatures, queries: Tensor) -> Tensor:
        """The global branch's attention under queries (B, A, e) -> (B, A, h, w), summing to 1 over positions."""
        raise NotImplementedError

    def shrunk(self, images: Tensor) -> Tensor:
        """The global branch's input: images (B, 3, H, W) -> the same, its longer side at most ``global_size``."""
        longer = max(images.shape[-2:])
        if not self.global_size or longer <= self.global_size:
            return images
        height, width = (max(1, round(side * self.global_size / longer)) for side in images.shape[-2:])
        return F.interpolate(images, (height, width), mode="bilinear", align_corners=False, antialias=True)

    def second(self, features: BranchFeatures, attention: Tensor, queries: Tensor) -> Tensor:
        """The local branch on every attended square: (B, A, h, w), (B, A, e) -> unit vectors (B, A, width), float32.

        Memory: at most ``CROPS`` crops at a time (or one attribute's, if that is more), and what training keeps.
        """
        assert self.local is not None
        batch, count = attention.shape[:2]
        # The number of images is not known while exporting.
        per = count if torch.compiler.is_exporting() else max(1, CROPS // max(1, batch))
        parts = []
        for start in range(0, count, per):
            maps, asked = attention[:, start : start + per], queries[:, start : start + per]
            boxes = attended_boxes(maps, features.size, self.threshold)
            crops = crop_regions(features.images, boxes, self.local_size)
            vectors = self.local(crops.flatten(0, 1), asked.flatten(0, 1))
            parts.append(vectors.view(batch, maps.shape[1], self.width))
        return torch.cat(parts, 1)

    def attention(self, features: BranchFeatures, attributes: Tensor) -> Tensor:
        """Where the global branch looks -> (B, A, h, w) at stride 16 of its input, summing to 1."""
        return self.looked(features, self._queries(features, attributes))

    def embed(self, features: BranchFeatures, attributes: Tensor) -> Tensor:
        """Embeddings under attributes (A,) -> (B, A, D), float32, L2-normalised. See ``second`` for the memory."""
        return self._embed(features, self._queries(features, attributes))

    def embed_each(self, features: BranchFeatures, attributes: Tensor) -> Tensor:
        """Embeddings of each image under its own attribute (B,) -> (B, D): one local pass an image.

        While training, the local branch's batch statistics are of these crops alone, not of every attribute's.
        """
        return self._embed(features, self.embedding(attributes).unsqueeze(1)).squeeze(1)

    def _queries(self, features: BranchFeatures, attributes: Tensor) -> Tensor:
        queries: Tensor = self.embedding(attributes)
        return queries.expand(features.images.shape[0], -1, -1)

    def _embed(self, features: BranchFeatures, queries: Tensor) -> Tensor:
        attention = self.looked(features, queries)
        whole = self.first(features, attention, queries)
        if self.local is None:
            return whole
        part = self.second(features, attention, queries)
        return torch.cat([(1 - self.share) ** 0.5 * whole, self.share**0.5 * part], -1)


class Renormalise(nn.Module):
    """From the input normalisation of one trunk to that of another, (N, 3, H, W) -> the same shape.

    The crops come normalised for the global trunk; pretrained weights of another network may expect something else.
    (A recipe that sets ``model.mean`` and ``model.std`` by hand shifts both alike.)
    """

    def __init__(self, trunk: Trunk, other: str) -> None:
        super().__init__()
        config: Any = timm.get_pretrained_cfg(other)
        mean, std = torch.tensor(config.mean), torch.tensor(config.std)
        self.scale: Tensor
        self.shift: Tensor
        self.register_buffer("scale", (torch.tensor(trunk.std) / std).view(3, 1, 1), persistent=False)
        self.register_buffer("shift", ((torch.tensor(trunk.mean) - mean) / std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised for one -> normalised for the other."""
        return images * self.scale + self.shift


def branch_weights(pretrained: bool | Path | str, weights: str) -> bool | Path:
    """Which weights a second trunk takes: ``hub``, ``none`` or a local ``.safetensors`` file.

    It takes them only where the first trunk takes some: a run is loaded, and a training resumed, without either.
    """
    if pretrained is False or weights == "none":
        return False
    return True if weights == "hub" else Path(weights)


@contextlib.contextmanager
def named(option: str) -> Iterator[None]:
    """Let an error about a second trunk's weights name the option that decides them."""
    try:
        yield
    except RecipeError as error:
        raise RecipeError(str(error).replace("model.weights", f"model.options.{option}")) from error


def compared(keys: Tensor, queries: Tensor) -> Tensor:
    """Softmax over positions of <key, query> / sqrt(c): (B, c, h, w) and (B, A, c) -> (B, A, h, w)."""
    score = torch.bmm(queries.to(keys.dtype), keys.flatten(2)).unflatten(2, keys.shape[2:])
    return over_positions(single(score) / keys.shape[1] ** 0.5)


def check_common(
    name: str, attribute_width: int, global_size: int, local_size: int, threshold: float, share: tuple[str, float]
) -> None:
    """Refuse wrong values of the options that both systems have; ``share`` comes with its option's name.

    Raises:
        RecipeError: what was expected.
    """
    check_option(name, "attribute_width", attribute_width >= 1, "at least 1", attribute_width)
    check_option(name, "global_size", global_size == 0 or global_size >= 32, "0 or at least 32", global_size)
    check_option(name, "local_size", local_size >= 32, "at least 32", local_size)
    check_option(name, "threshold", 0 <= threshold < 1, "from 0 to below 1", threshold)
    check_option(name, share[0], 0 <= share[1] <= 1, "from 0 to 1", share[1])
