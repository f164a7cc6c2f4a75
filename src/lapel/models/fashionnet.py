"""FashionNet (Liu et al., CVPR 2016) in its runnable form: the whole image, and what lies at its landmarks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lapel.heatmaps import read_heatmaps
from lapel.models.base import ItemNetwork, check_option
from lapel.models.pooled import shares
from lapel.models.trunks import Trunk
from lapel.precision import single


class FashionNetFeatures(NamedTuple):
    """What its branches know of an image.

    Attributes:
        map: the trunk's last map (B, C, h, w).
        landmarks: heat-maps of the landmarks at stride 16, (B, P, H, W).
        visible: how far each landmark counts, (B, P), 0 to 1.
        joined: both paths, joined (B, hidden): what tags are predicted from and the embedding is made of.
    """

    map: Tensor
    landmarks: Tensor
    visible: Tensor
    joined: Tensor


class FashionNet(ItemNetwork):
    """A global path and a local path over the trunk's last map (the form that mmfashion's retrievers make runnable).

    Global: the map as a grid, two linear layers with ReLU and dropout. Local: a glimpse of 2 x 2 bilinear samples, one
    cell apart, around each landmark, the largest of the four kept; each landmark's vector times its visibility; one
    linear layer with ReLU and dropout. Both are joined by a linear layer; another makes the embedding, which is
    compared by cosine, as the triplet loss is.

    In the paper the landmarks are the network's own prediction, which that form takes as given. Here they are predicted
    (ours): three convolutions on the trunk's stride-16 map give a heat-map each, trained by AHBN's eq 2. A landmark
    stands where its map is highest, and how visible it is follows from how high that is, by a learned logistic curve
    that begins with one half at half the height of a target's peak. Through it, not through the position, the other
    losses reach the heat-maps; so without landmark labels the maps become detectors of whatever tells items apart.

    Args:
        tags: number K of tags to predict from the joined paths; 0 leaves that layer out.
        trunk: timm name of the trunk; the paper's is VGG-16, whose last map is 512 x 7 x 7 at 224 pixels.
        pretrained: see ``Trunk``.
        trunk_options: further arguments of ``timm.create_model``.
        dim: size of the embedding.
        hidden: size of the linear layers between.
        grid: rows and columns of the global path's grid; a map of another size is averaged into it.
        points: number P of landmarks.
        width: channels of the landmark head (ours).
        dropout: probability; 0.5 is VGG's own.

    Raises:
        RecipeError: an option out of range.
    """

    distance: ClassVar[Literal["cosine", "euclidean"]] = "cosine"
    gazes = ("appearance", "landmarks")

    def __init__(
        self,
        tags: int,
        trunk: str = "vgg16",
        pretrained: bool | Path | str = False,
        trunk_options: Mapping[str, Any] | None = None,
        *,
        dim: int = 256,
        hidden: int = 4096,
        grid: int = 7,
        points: int = 8,
        width: int = 256,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        sizes = {"dim": dim, "hidden": hidden, "grid": grid, "points": points, "width": width}
        for key, value in sizes.items():
            check_option("fashionnet", key, value >= 1, "at least 1", value)
        check_option("fashionnet", "dropout", 0 <= dropout < 1, "from 0 to below 1", dropout)
        self.tags = tags
        self.dim = dim
        self.points = points
        self.grid = grid
        self.trunk = Trunk(trunk, pretrained, trunk_options)
        _, middle, last = self.trunk.channels
        self.landmarks = nn.Sequential(
            nn.Conv2d(middle, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, points, 1),
        )
        self.slope = nn.Parameter(torch.full((points,), 8.0))
        self.offset = nn.Parameter(torch.full((points,), -4.0))
        self.whole = nn.Sequential(*_layer(last * grid**2, hidden, dropout), *_layer(hidden, hidden, dropout))
        self.local = nn.Sequential(*_layer(last * points, hidden, dropout))
        self.join = nn.Linear(2 * hidden, hidden)
        self.project = nn.Linear(hidden, dim)
        self.tag_head = nn.Linear(hidden, tags) if tags else None

    def features(self, images: Tensor) -> FashionNetFeatures:
        """Run the trunk once: images (B, 3, H, W) -> ``FashionNetFeatures``."""
        stride16 = self.trunk(images)[1]
        last = self.trunk.tail(stride16)
        maps = single(self.landmarks(stride16))
        visible = torch.sigmoid(self.slope * maps.flatten(2).amax(-1) + self.offset)
        seen = glimpses(last, read_heatmaps(maps, 1, 1)[..., :2]) * visible.unsqueeze(-1)
        whole = self.whole(F.adaptive_avg_pool2d(last, self.grid).flatten(1))
        joined = self.join(torch.cat([whole, self.local(seen.flatten(1))], 1))
        return FashionNetFeatures(last, maps, visible, joined)

    def embed(self, features: FashionNetFeatures) -> Tensor:
        """Embeddings (B, D), float32, of any length."""
        vectors: Tensor = self.project(features.joined)
        return vectors.float()

    def tag_logits(self, features: FashionNetFeatures) -> Tensor | None:
        """Logits (B, K); None without tags."""
        return None if self.tag_head is None else self.tag_head(features.joined)

    def heatmaps(self, features: FashionNetFeatures) -> Tensor:
        """Heat-maps of the landmarks (B, 1, P, H, W) at stride 16."""
        return features.landmarks.unsqueeze(1)

    def saliency(self, features: FashionNetFeatures) -> Tensor:
        """Where each path looks -> (B, 2, H, W), non-negative, each summing to 1 over positions.

        The global path's: squared activations of the last map, summed over channels. The local path's: the heat-maps
        above 0, or their highest position where nothing is, each as shares of its sum, weighed by visibility.
        """
        energy = single(features.map).square().sum(1, keepdim=True)
        size = features.landmarks.shape[-2:]
        energy = F.interpolate(energy, size, mode="bilinear", align_corners=False)
        peak = features.landmarks.amax((2, 3), keepdim=True)
        found = torch.where(peak > 0, features.landmarks, (features.landmarks == peak).to(peak.dtype))
        places = (shares(found) * features.visible[..., None, None]).sum(1, keepdim=True)
        return shares(torch.cat([energy, places.to(energy.dtype)], 1))


def _layer(inputs: int, outputs: int, dropout: float) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), nn.ReLU(inplace=True), nn.Dropout(dropout)]


def glimpses(features: Tensor, places: Tensor) -> Tensor:
    """Look at maps (B, C, h, w) around places (B, P, 2), x and y as shares of the frame -> (B, P, C).

    Four bilinear samples half a cell left or right of, and above or below each place; per channel the largest.
    """
    features = single(features)  # grid_sample has no half precision everywhere
    height, width = features.shape[-2:]
    aside = torch.tensor([[-1, -1], [1, -1], [-1, 1], [1, 1]], device=features.device, dtype=features.dtype)
    aside = aside * 0.5 / torch.tensor([width, height], device=features.device, dtype=features.dtype)
    grid = 2 * (places.to(features.dtype).unsqueeze(2) + aside) - 1
    with torch.autocast(features.device.type, enabled=False):
        found = F.grid_sample(features, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return found.amax(-1).transpose(1, 2)
