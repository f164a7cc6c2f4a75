"""AHBN: attentional heterogeneous bilinear network, to find exactly this item.

An appearance branch and a localisation branch look at an image; co-attention weighs the channels of both maps, compact
bilinear pooling joins them. Sizes that the paper does not give are options, and their defaults ours: see ``AHBN``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lapel.models.attention import SpatialAttention
from lapel.models.base import ItemNetwork, check_option
from lapel.models.bilinear import FUSIONS, FusionKind, make_fusion, no_autocast, resample, signed_root
from lapel.models.coattention import ATTENTIONS, AttentionKind, CoAttention
from lapel.models.hourglass import LEAST, LightLocalisation, Located, StackedHourglass
from lapel.models.trunks import Trunk, pooled
from lapel.precision import single


class ItemFeatures(NamedTuple):
    """What the branches give once per image; None of a branch that the model does not have.

    Attributes:
        appearance: A, the trunk's last map (B, C, h, w).
        located: L, the map just before the heat-maps, or the last heat-maps themselves (B, C', h', w').
        heatmaps: of the supervised stacks (B, S, P, h', w').
    """

    appearance: Tensor | None
    located: Tensor | None
    heatmaps: Tensor | None


class NoTrunk(nn.Module):
    """Stands where a model has no trunk: nothing but the input normalisation of the one it is named after.

    Args:
        name: timm name.
        options: further arguments of ``timm.create_model``.

    Raises:
        RecipeError: as of ``Trunk``.
    """

    def __init__(self, name: str, options: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        with torch.device("meta"):
            named = Trunk(name, False, options)
        self.name, self.mean, self.std = name, named.mean, named.std


class AHBN(ItemNetwork):
    """Attentional heterogeneous bilinear network.

    The embedding is not of unit length, since its last layer comes after the L2 norm; the paper compares by Euclidean
    distance. That layer starts as a random projection that keeps lengths about as they are, which is ours.

    A model of one branch (Table I, rows 1 to 5) pools its map, and what follows the pooling is the same; attention,
    fusion and the common size are then not used. The part that an option leaves out does not exist.

    Args:
        tags: attribute values K that the appearance branch predicts (eq 1); 0 leaves the head out, and without an
            appearance branch there is none either.
        trunk: timm name of the appearance branch's trunk; the paper's is Inception-ResNet-v2 at 299 pixels, ResNet-50
            in the ablation.
        pretrained: see ``Trunk``; not used by a model without a trunk.
        trunk_options: further arguments of ``timm.create_model``.
        dim: D of the embedding. The paper does not give it; 512 is ours.
        branches: both, or one of them. ``landmark`` with the hourglass has no trunk: its name only says how the input
            is normalised.
        localisation: ``hourglass``, or ``light``, ours for laptops: a few convolutions on the trunk's own maps at
            strides 8 and 16, so that the trunk serves both branches.
        stacks: hourglasses, four in the paper.
        width: channels of the localisation branch; 256 in the hourglass's own code.
        landmark_size: side that the hourglass's input is resampled to, whatever the image's shape; the paper does not
            give it, 256 is the hourglass's own.
        landmark_input: what goes to the fusion, the map before the heat-maps or the heat-maps (Table I, row 6).
        points: landmarks P.
        fusion: ``compact``, or Table I's ``bilinear``, ``concatenation``, ``product`` and ``sum``.
        sketch: size of the compact fusion's sketch; unknown in the paper, 8,192 is customary.
        joint: channels that ``product`` and ``sum`` bring both branches to, ours.
        common: height and width that both maps are resampled to after the attention. The paper's is read to be 8.
        attention: ``co``, or Table I's ``co-softmax``, ``separate`` and ``none``.
        hidden: of the attention's networks, unknown in the paper; 0, ours: a sixteenth of what comes in.
        spatial_attention: gates on the positions of A, of the mean and maximum over channels by a 7 x 7 convolution
            (Table I, row 3; the paper does not say which it took).
        signed_root: signed square root and L2 norm before the last layer, as in the paper; False is ours.
        normalise: ours, off in the paper: embeddings of unit length.
        intermediate: supervise the heat-maps of all stacks, not only of the last; the paper does not say.
        sketch_seed: of the sketch's buckets and signs.
        dropout: ours, 0 in the paper: of the descriptor before the last layer.

    Raises:
        RecipeError: a value that is none of these, spatial attention without an appearance branch.
    """

    def __init__(
        self,
        tags: int,
        trunk: str = "inception_resnet_v2",
        pretrained: bool | Path | str = False,
        trunk_options: Mapping[str, Any] | None = None,
        *,
        dim: int = 512,
        branches: Literal["both", "appearance", "landmark"] = "both",
        localisation: Literal["hourglass", "light"] = "hourglass",
        stacks: int = 4,
        width: int = 256,
        landmark_size: int = 256,
        landmark_input: Literal["features", "heatmaps"] = "features",
        points: int = 8,
        fusion: FusionKind = "compact",
        sketch: int = 8192,
        joint: int = 512,
        common: int = 8,
        attention: AttentionKind = "co",
        hidden: int = 0,
        spatial_attention: bool = False,
        signed_root: bool = True,
        normalise: bool = False,
        intermediate: bool = True,
        sketch_seed: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        _check_names("branches", branches, ("both", "appearance", "landmark"))
        _check_names("localisation", localisation, ("hourglass", "light"))
        _check_names("landmark_input", landmark_input, ("features", "heatmaps"))
        _check_names("fusion", fusion, FUSIONS)
        _check_names("attention", attention, ATTENTIONS)
        counts = {"dim": dim, "stacks": stacks, "points": points, "sketch": sketch, "joint": joint, "common": common}
        for key, found in counts.items():
            check_option("ahbn", key, found >= 1, "at least 1", found)
        check_option("ahbn", "hidden", hidden >= 0, "at least 0", hidden)
        check_option("ahbn", "sketch_seed", sketch_seed >= 0, "at least 0", sketch_seed)
        check_option("ahbn", "width", width >= 4 and width % 4 == 0, "a multiple of 4", width)
        right = landmark_size >= LEAST and landmark_size % LEAST == 0
        check_option("ahbn", "landmark_size", right, f"a multiple of {LEAST}", landmark_size)
        check_option("ahbn", "dropout", 0 <= dropout < 1, "from 0 to below 1", dropout)
        looks, locates = branches != "landmark", branches != "appearance"
        wanted = "false without an appearance branch"
        check_option("ahbn", "spatial_attention", looks or not spatial_attention, wanted, spatial_attention)

        self.dim, self.common, self.landmark_size = dim, common, landmark_size
        self.tags = tags if looks else 0
        self.points = points if locates else 0
        self.signed_root, self.normalise = signed_root, normalise
        self.landmark_input = landmark_input
        self.gazes = ("appearance",) * looks + ("landmarks",) * locates

        light = locates and localisation == "light"
        self.trunk = _make_trunk(looks or light, trunk, pretrained, trunk_options)
        if light and not looks:
            self.trunk.drop_tail()
        self.hourglass = StackedHourglass(points, stacks, width, intermediate) if locates and not light else None
        self.light: LightLocalisation | None = None
        if light:
            self.light = LightLocalisation(self.trunk.channels[0], self.trunk.channels[1], points, width)
        # The channels of A and of L, as far as there are such.
        sizes = ([self.trunk.channels[2]] if looks else []) + [
            points if landmark_input == "heatmaps" else width
        ] * locates
        self.tag_head = nn.Linear(sizes[0], tags) if self.tags else None
        self.spatial = SpatialAttention() if spatial_attention else None
        joined = looks and locates
        self.attend = CoAttention(sizes[0], sizes[1], hidden, attention) if joined and attention != "none" else None
        self.fuse = make_fusion(fusion, sizes[0], sizes[1], sketch, joint, sketch_seed) if joined else None
        self.drop = nn.Dropout(dropout)
        self.project = nn.Linear(sizes[0] if self.fuse is None else self.fuse.size, dim)
        nn.init.normal_(self.project.weight, 0.0, dim**-0.5)
        nn.init.zeros_(self.project.bias)

    def features(self, images: Tensor) -> ItemFeatures:
        """Run the branches once: images (B, 3, H, W) -> ``ItemFeatures``."""
        appearance, found = None, None
        if isinstance(self.trunk, Trunk):
            stride8, stride16 = self.trunk(images)
            if "appearance" in self.gazes:
                appearance = self.trunk.tail(stride16)
            if self.light is not None:
                found = self.light(stride8, stride16)
        if self.hourglass is not None:
            found = self.hourglass(self._resized(images))
        if found is None:
            return ItemFeatures(appearance, None, None)
        return ItemFeatures(appearance, self._to_fuse(found), found.heatmaps)

    def _resized(self, images: Tensor) -> Tensor:
        size = (self.landmark_size, self.landmark_size)
        if images.shape[-2:] == size:
            return images
        return F.interpolate(images, size, mode="bilinear", align_corners=False)

    def _to_fuse(self, found: Located) -> Tensor:
        return found.features if self.landmark_input == "features" else found.heatmaps[:, -1]

    def attended(self, features: ItemFeatures) -> list[Tensor]:
        """The maps of the branches, A before L, with the attention's weights on them: (B, C, h, w) each, float32."""
        maps = [single(one) for one in (features.appearance, features.located) if one is not None]
        if self.spatial is not None:
            maps[0] = maps[0] * self.spatial(maps[0], torch.ones_like(maps[0][:, :1]))
        if self.attend is not None:
            weights = self.attend(pooled(maps[0]), pooled(maps[1]))
            maps = [one * weight[:, :, None, None] for one, weight in zip(maps, weights, strict=True)]
        return maps

    def embed(self, features: ItemFeatures) -> Tensor:
        """Embeddings (B, D), float32: attention, common size, fusion, signed root, L2 norm, linear layer."""
        # In full precision, under autocast too: it is little beside the branches, and roots and sums lose much in half.
        with no_autocast(self.project.weight.device):
            maps = self.attended(features)
            if self.fuse is None:
                descriptor = pooled(maps[0])
            else:
                descriptor = self.fuse(*(resample(one, self.common) for one in maps))
            if self.signed_root:
                descriptor = F.normalize(signed_root(descriptor), dim=1, eps=1e-4)
            vectors: Tensor = self.project(self.drop(descriptor))
            return F.normalize(vectors, dim=1, eps=1e-8) if self.normalise else vectors

    def tag_logits(self, features: ItemFeatures) -> Tensor | None:
        """Logits of the attribute head (B, K), from A averaged over positions; None without one."""
        if self.tag_head is None or features.appearance is None:
            return None
        logits: Tensor = self.tag_head(pooled(features.appearance))
        return logits

    def heatmaps(self, features: ItemFeatures) -> Tensor | None:
        """Heat-maps of the supervised stacks (B, S, P, h, w), the last the prediction; None without the branch."""
        return features.heatmaps

    def saliency(self, features: ItemFeatures) -> Tensor:
        """Where each branch's attended channels are active -> (B, M, H, W), each map summing to 1 over positions.

        The energy of the map after attention, which weighs its channels: at each position the sum over channels of
        squares. It is what the position adds to the descriptor's self-products, not a gradient; H and W are those of
        the finest branch's map, to which others are upsampled.
        """
        with no_autocast(self.project.weight.device):
            energies = [one.square().sum(1, keepdim=True) for one in self.attended(features)]
            size = max((one.shape[-2:] for one in energies), key=lambda shape: shape[0] * shape[1])
            raised = [
                one if one.shape[-2:] == size else F.interpolate(one, size, mode="bilinear", align_corners=False)
                for one in energies
            ]
            flat = torch.cat(raised, 1).flatten(2)
            # A map without any activity looks everywhere alike.
            flat = flat + torch.finfo(flat.dtype).tiny
            return torch.unflatten(flat / flat.sum(-1, keepdim=True), -1, size)


def _make_trunk(
    needed: bool, name: str, pretrained: bool | Path | str, options: Mapping[str, Any] | None
) -> Any:  # what a module holds is more than mypy follows
    return Trunk(name, pretrained, options) if needed else NoTrunk(name, options)


def _check_names(key: str, found: str, names: tuple[str, ...]) -> None:
    check_option("ahbn", key, found in names, f"{', '.join(names[:-1])} or {names[-1]}", found)
