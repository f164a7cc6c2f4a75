"""Landmarks over the photograph (AHBN's figure 5): predicted points, the true ones where known, and the heat-maps.

Left is orange and right is blue everywhere, in the image's own sense of left: two colours that no common kind of colour
blindness takes for each other. Lines join the landmarks of a side, so that a swapped pair shows as a crossed garment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from lapel.evaluation.bar_chart import Bar, draw_bars
from lapel.evaluation.figures import Tile, grid
from lapel.evaluation.overlays import attention_to_image
from lapel.evaluation.prediction import LandmarkResult
from lapel.frame import Preprocessing
from lapel.landmarks import CUT_OFF, LANDMARKS, VISIBLE

Array = NDArray[Any]
SIDES = {"left": "#f58518", "right": "#2f8fd8"}
"""Colour of each side's landmarks."""
FAINT = 0.5
"""A predicted landmark whose score is below this share of the photograph's best is a small dot, out of the lines."""
_CHAINS = ((0, 2), (0, 4, 6), (1, 3), (1, 5, 7))


@dataclass(frozen=True)
class Guess:
    """One photograph with its landmarks.

    Attributes:
        points: the photograph with predicted landmarks, and the true ones as rings.
        heat: the photograph under its heat-maps.
        title: which photograph of the figure it is.
        fact: how far off it is.
    """

    points: Tile
    heat: Tile
    title: str
    fact: str = ""


def side_colour(landmark: str) -> str:
    """Return the colour of a landmark by its side."""
    return SIDES[landmark.partition(" ")[0]]


def mark_points(photo: Image.Image, predicted: Array, truth: Array | None = None) -> Image.Image:
    """Draw landmarks on a copy of a photograph.

    A line leads from each predicted landmark to the true one, a ring. Where the truth is known, landmarks that the
    garment does not show are not drawn.

    Args:
        photo: RGB.
        predicted: (8, 3) x, y in the photograph's pixels, and a score.
        truth: (8, 3) x, y, visibility; None where it is not known.
    """
    scale = 2  # drawn twice as large: Pillow's circles have steps
    canvas = photo.resize((photo.width * scale, photo.height * scale), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(canvas)
    unit = scale * max(1.0, min(photo.size) / 240)
    there = np.ones(len(LANDMARKS), bool) if truth is None else truth[:, 2] < CUT_OFF
    sure = there & (predicted[:, 2] >= FAINT * max(float(predicted[there, 2].max(initial=0.0)), 1e-12))
    spots = [(float(x) * scale, float(y) * scale) for x, y in predicted[:, :2]]
    for chain in _CHAINS:
        line = [spots[place] for place in chain if sure[place]]
        for width, tone in ((3.2, "#1d1b18"), (1.8, side_colour(LANDMARKS[chain[0]]))) if len(line) > 1 else ():
            draw.line(line, fill=tone, width=round(width * unit), joint="curve")
    for place, name in enumerate(LANDMARKS):
        if not there[place]:
            continue
        colour, spot = side_colour(name), spots[place]
        if truth is not None:
            real = (float(truth[place, 0]) * scale, float(truth[place, 1]) * scale)
            for width, tone in ((2.6, "#1d1b18"), (1.2, "white")):
                draw.line([spot, real], fill=tone, width=round(width * unit))
            thin = 1.0 if truth[place, 2] == VISIBLE else 0.5  # occluded: where it would be
            for width, tone, reach in ((3.4, "#1d1b18", 6.6), (2.2, "white", 6.0), (1.6, colour, 5.7)):
                draw.ellipse(_round(real, reach * unit), outline=tone, width=max(1, round(width * thin * unit)))
    for place, name in enumerate(LANDMARKS):
        if there[place]:
            reach = (4.4 if sure[place] else 2.2) * unit
            draw.ellipse(_round(spots[place], reach), "white", "#1d1b18", max(1, round(0.6 * unit)))
            draw.ellipse(_round(spots[place], 0.68 * reach), side_colour(name))
    return canvas.resize(photo.size, Image.Resampling.LANCZOS)


def _round(centre: tuple[float, float], radius: float) -> tuple[float, float, float, float]:
    return centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius


def lay_heatmaps(
    photo: Image.Image, maps: Array, preprocessing: Preprocessing | None = None, box: Sequence[float] | None = None
) -> Image.Image:
    """Lay the heat-maps of a photograph over a grey copy of it, the left ones in one colour, the right ones in another.

    The strongest map of the photograph is at full colour; one that peaks at half of its height is half as strong.

    Args:
        photo: RGB, of any scale.
        maps: (8, h, w), over the model's input frame; below zero counts as zero.
        preprocessing: how the photograph came into the frame; None: the maps cover it.
        box: the crop that was taken before, in the photograph's pixels.
    """
    grey = np.asarray(ImageOps.grayscale(photo), np.float32)[..., None]
    mixed = np.repeat(0.72 * grey + 50.0, 3, axis=2)
    found = np.stack([attention_to_image(np.maximum(one, 0.0), photo.size, preprocessing, box) for one in maps])
    unseen = np.isnan(found[0])
    strength = np.nan_to_num(found) / max(float(np.nanmax(found, initial=0.0)), 1e-12)
    for side, colour in SIDES.items():
        mine = strength[[place for place, name in enumerate(LANDMARKS) if name.startswith(side)]].max(axis=0)
        alpha = (0.95 * mine**0.75)[..., None]
        mixed = mixed * (1 - alpha) + np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) * alpha
    mixed = np.where(unseen[..., None], 0.5 * mixed + 100.0, mixed)
    return Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8))


def draw_guesses(found: Sequence[Guess], path: Path, title: str = "", side: int = 250) -> Path:
    """Write photographs with their landmarks as one picture, two photographs in a row; returns its path."""
    tiles = [tile for guess in found for tile in (guess.points, guess.heat)]
    rows = [tiles[at : at + 4] for at in range(0, len(tiles), 4)]
    foot = ((SIDES["left"], "left"), (SIDES["right"], "right"), ("#ffffff", "disc: predicted; ring: true, where known"))
    grid(rows, path, title=title, side=side, foot=foot)
    return path


def draw_landmark_errors(found: LandmarkResult, path: Path, title: str = "") -> Path:
    """Write the error of each landmark as bars; returns their path."""
    bars = [
        Bar(name, 100 * float(error), note=f"{count:,}", colour=side_colour(name))
        for name, error, count in zip(LANDMARKS, found.errors, found.counts, strict=True)
        if count
    ]
    overall = Bar("all landmarks", 100 * found.error, note=f"{int(found.counts.sum()):,}", colour="#9a958d")
    unit = "mean error in percent of the picture's sides; in grey: how many were measured"
    return draw_bars([("", [*bars, overall])], path, title, unit)
