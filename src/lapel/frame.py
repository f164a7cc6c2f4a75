"""The model's input frame: how pixels become a network's input. Needs neither torch nor torchvision.

``lapel.images`` does the same on torch tensors, with pixels that differ by a level at most; this module alone is enough
to prepare one query image without waiting for torch to load.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from lapel.errors import RecipeError, unknown


@dataclass(frozen=True)
class Preprocessing:
    """How pixels become a network's input; recorded in the run.

    Args:
        height: input height in pixels.
        width: input width in pixels.
        resize: "crop" is the papers' (short side to the frame, centre crop; AG-MAN's code: Resize(224),
            CenterCrop(224)) and cuts the ends of tall garments; "letterbox" keeps the whole garment and pads.
        mean: per channel, of pixels in 0..1.
        std: per channel, of pixels in 0..1.
        fill: level 0..255 of the letterbox's padding; white, as most product photographs are.

    Raises:
        RecipeError: a setting is out of range.
    """

    height: int = 224
    width: int = 224
    resize: Literal["crop", "letterbox"] = "crop"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    fill: int = 255

    def __post_init__(self) -> None:
        if self.resize not in ("crop", "letterbox"):
            raise RecipeError(unknown("resize mode", self.resize, ("crop", "letterbox")))
        for name in ("height", "width"):
            side = getattr(self, name)
            if not isinstance(side, int) or side < 1:
                raise RecipeError(f"preprocessing {name} must be a whole number of pixels, got {side!r}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise RecipeError(
                f"preprocessing mean and std must be 3 numbers each, std above 0; got {self.mean} and {self.std}"
            )
        if not 0 <= self.fill <= 255:
            raise RecipeError(f"preprocessing fill must be a level from 0 to 255, got {self.fill!r}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """Build from ``to_dict``'s values; an unknown key is an error naming the nearest known one."""
        known = [field.name for field in fields(cls)]
        for key in values:
            if key not in known:
                raise RecipeError(unknown("preprocessing setting", key, known))
        plain: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return cls(**plain)

    def placed(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Where an image of ``height`` x ``width`` comes to lie: (height, width, top, left) in the frame's pixels.

        "letterbox" scales until all of it fits; "crop" until the frame is covered, with ``top`` and ``left`` negative
        where it stands over. Truncation and rounding are those of torchvision's Resize and CenterCrop.
        """
        if self.resize == "letterbox":
            scale = min(self.height / height, self.width / width)
            rows = min(self.height, max(1, round(height * scale)))
            columns = min(self.width, max(1, round(width * scale)))
            return rows, columns, (self.height - rows) // 2, (self.width - columns) // 2
        if self.height * width >= self.width * height:
            rows, columns = self.height, max(self.width, self.height * width // height)
        else:
            rows, columns = max(self.height, self.width * height // width), self.width
        return rows, columns, -round((rows - self.height) / 2), -round((columns - self.width) / 2)


def prepare_array(image: npt.NDArray[np.uint8], pre: Preprocessing) -> npt.NDArray[np.float32]:
    """Bring an (H, W, 3) uint8 image to the network's input: (3, height, width) float32, normalised."""
    rows, columns, top, left = pre.placed(*image.shape[:2])
    resized = np.asarray(Image.fromarray(image).resize((columns, rows), Image.Resampling.BILINEAR))
    if pre.resize == "letterbox":
        frame = np.full((pre.height, pre.width, 3), pre.fill, np.uint8)
        frame[top : top + rows, left : left + columns] = resized
    else:
        frame = resized[-top : -top + pre.height, -left : -left + pre.width]
    mean, std = np.asarray(pre.mean, np.float32), np.asarray(pre.std, np.float32)
    values = (frame.astype(np.float32) / 255 - mean) / std
    return np.ascontiguousarray(values.transpose(2, 0, 1))
