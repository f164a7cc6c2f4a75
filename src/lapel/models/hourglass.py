"""The localisation branch of AHBN: a stacked hourglass (Newell, Yang and Deng, ECCV 2016), and a light one of ours.

The structure is that of ``princeton-vl/pytorch_stacked_hourglass`` with AHBN's four stacks and eight heat-maps. A
convolution has a bias only where no norm follows; the papers do not say.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DEPTH = 4  # halvings inside an hourglass
STRIDE = 4  # of the stem
LEAST = STRIDE * 2**DEPTH  # the input's sides are multiples of it


class Located(NamedTuple):
    """What a localisation branch gives.

    Attributes:
        features: the map just before the last heat-maps (B, width, h, w): AHBN's L.
        heatmaps: of the supervised stacks (B, S, P, h, w), the last the prediction.
    """

    features: Tensor
    heatmaps: Tensor


class StackedHourglass(nn.Module):
    """The stem and a number of hourglasses, each with heat-maps of its own that the next one sees.

    AHBN says "an initial convolution and four hourglasses"; 256 channels are the hourglass's own default.

    Args:
        points: heat-maps P.
        stacks: hourglasses.
        width: channels, a multiple of 4.
        intermediate: give the heat-maps of every stack, as the original supervises them; otherwise those of the last.
            AHBN does not say which it does.
    """

    def __init__(self, points: int = 8, stacks: int = 4, width: int = 256, intermediate: bool = True) -> None:
        super().__init__()
        self.intermediate = intermediate
        quarter, half = width // 4, width // 2
        self.stem = nn.Sequential(
            nn.Conv2d(3, quarter, 7, 2, 3, bias=False),
            nn.BatchNorm2d(quarter),
            nn.ReLU(),
            Residual(quarter, half),
            nn.MaxPool2d(2),
            Residual(half, half),
            Residual(half, width),
        )
        self.stacks = nn.ModuleList(nn.Sequential(Hourglass(DEPTH, width), _merge(width)) for _ in range(stacks))
        self.maps = nn.ModuleList(nn.Conv2d(width, points, 1) for _ in range(stacks))
        self.back_maps = nn.ModuleList(nn.Conv2d(points, width, 1) for _ in range(stacks - 1))
        self.back_features = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(stacks - 1))

    def forward(self, images: Tensor) -> Located:
        """Images (B, 3, H, W), sides multiples of 64 -> maps at a quarter of their size."""
        x = self.stem(images)
        found = []
        for number, (stack, to_maps) in enumerate(zip(self.stacks, self.maps, strict=True)):
            features = stack(x)
            found.append(to_maps(features))
            if number < len(self.back_maps):
                x = x + self.back_maps[number](found[-1]) + self.back_features[number](features)
        return Located(features, torch.stack(found if self.intermediate else found[-1:], 1))


class Hourglass(nn.Module):
    """One hourglass: down to a ``2 ** depth``-th of the size and up again, with a residual on each skip.

    Args:
        depth: halvings.
        width: channels.
    """

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        self.skip = Residual(width, width)
        self.before = Residual(width, width)
        self.inner = Hourglass(depth - 1, width) if depth > 1 else Residual(width, width)
        self.after = Residual(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, width, h, w) -> the same shape; h and w are multiples of ``2 ** depth``."""
        low = self.after(self.inner(self.before(F.max_pool2d(x, 2))))
        high: Tensor = self.skip(x)
        return high + F.interpolate(low, scale_factor=2.0, mode="nearest")


class Residual(nn.Module):
    """Pre-activation bottleneck: three times norm, ReLU and convolution (1x1 to half, 3x3, 1x1), and the input again.

    Args:
        inputs: channels that come in; a 1x1 convolution brings them to ``outputs`` where they differ.
        outputs: channels that go out.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.steps = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
            nn.Conv2d(inputs, half, 1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(),
            nn.Conv2d(half, half, 3, padding=1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(),
            nn.Conv2d(half, outputs, 1),
        )
        self.widen = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, inputs, h, w) -> (B, outputs, h, w)."""
        added: Tensor = self.widen(x) + self.steps(x)
        return added


def _merge(width: int) -> nn.Sequential:
    """What follows an hourglass and gives its features: a residual, a 1x1 convolution, norm and ReLU."""
    return nn.Sequential(
        Residual(width, width), nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
    )


class LightLocalisation(nn.Module):
    """Ours, for laptops: heat-maps from the trunk's own maps at strides 8 and 16, by a few convolutions.

    Each map is brought to ``width`` channels, the coarser one upsampled and added to the finer; two residuals follow.

    Args:
        stride8: channels of the trunk's map at stride 8.
        stride16: channels of that at stride 16.
        points: heat-maps P.
        width: channels of the features.
    """

    def __init__(self, stride8: int, stride16: int, points: int = 8, width: int = 256) -> None:
        super().__init__()
        self.fine = nn.Conv2d(stride8, width, 1)
        self.coarse = nn.Conv2d(stride16, width, 1)
        self.refine = nn.Sequential(Residual(width, width), _merge(width))
        self.maps = nn.Conv2d(width, points, 1)

    def forward(self, stride8: Tensor, stride16: Tensor) -> Located:
        """Maps at stride 8 (B, C8, h, w) and 16 (B, C16, h/2, w/2) -> features and heat-maps (B, 1, P, h, w)."""
        coarse = F.interpolate(self.coarse(stride16), stride8.shape[-2:], mode="bilinear", align_corners=False)
        features = self.refine(self.fine(stride8) + coarse)
        return Located(features, self.maps(features).unsqueeze(1))
