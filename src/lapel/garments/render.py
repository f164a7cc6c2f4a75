"""Draw a garment: layout, pose, cloth, light, scene. Pillow rasterises the outlines, numpy does the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lapel.errors import LapelError, unknown
from lapel.garments import figure, occluders, scene
from lapel.garments.brush import Brush
from lapel.garments.curves import Drawing, points
from lapel.garments.fabric import Field
from lapel.garments.lower import draw_skirt, draw_trousers
from lapel.garments.pose import Pose, Stance, place
from lapel.garments.spec import Garment
from lapel.garments.upper import draw_upper
from lapel.landmarks import LANDMARKS

DOMAINS = ("shop", "consumer")

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Rendered:
    """One view of a garment.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        box: x1, y1, x2, y2 of the garment's silhouette within the image, pixels.
        landmarks: (8, 3): x, y in pixels and visibility, 0 visible, 1 occluded, 2 cut off. A landmark that
            the garment does not have (the collar of a skirt) is 0, 0, 2.
        regions: for each attribute the boxes where it shows, within the image.
        labels: attribute -> value; an attribute the garment lacks is not there.
        silhouette: (H, W) bool, the garment's own pixels before anything stands in front of it.
    """

    image: NDArray[np.uint8]
    box: Box
    landmarks: NDArray[np.float32]
    regions: dict[str, tuple[Box, ...]]
    labels: dict[str, str]
    silhouette: NDArray[np.bool_]


def lay_out(g: Garment, stance: Stance) -> Drawing:
    """Return the parts, landmarks and regions of a garment in a stance."""
    if g.category == "skirt":
        return draw_skirt(g)
    if g.category == "trousers":
        return draw_trousers(g, stance)
    return draw_upper(g, stance)


def render(garment: Garment, seed: int, domain: str = "shop", size: int = 256) -> Rendered:
    """Draw one view of a garment.

    The garment fixes everything about the item; ``seed`` and ``domain`` fix pose, light, background and what
    stands in the way. The same arguments give the same bytes.

    Args:
        garment: the item.
        seed: of the view, not negative.
        domain: ``shop`` (clean, bare or on a mannequin) or ``consumer`` (a person in a street).
        size: side of the square image in pixels, 32 or more.

    Raises:
        LapelError: unknown domain or a size below 32.
    """
    if domain not in DOMAINS:
        raise LapelError(unknown("domain", domain, DOMAINS))
    if size < 32:
        raise LapelError(f"a garment cannot be drawn on {size} pixels: give a size of 32 or more")
    rng = np.random.default_rng([seed, DOMAINS.index(domain), garment.texture])
    street = domain == "consumer"
    figured = street or bool(rng.random() < 0.5)
    stance = Stance.draw(rng, figured, 0.06 if garment.category == "coat" else 0.0)
    drawing = lay_out(garment, stance)
    everything = points(*[part.outline for part in drawing.parts])
    pose = place(everything, size, rng, street)
    canvas = (scene.street if street else scene.shop)(size, rng)
    brush = Brush(garment, drawing, pose, size, rng)
    locks: list[figure.Shape] = []
    shapes: list[figure.Shape] = []
    if street:
        shapes, locks = figure.person(garment, stance, rng)
    elif figured:
        tone = int(rng.uniform(172, 206))
        shapes = figure.mannequin(stance, (tone, tone - 4, tone - 10))
    cloth = np.zeros((size, size), np.float32)
    if not street:
        scene.cast_shadow(canvas, drawing.parts, pose, size)
    for part in drawing.parts:
        if part.behind:
            brush.draw(canvas, cloth, part)
    if shapes:
        cover = scene.draw_shapes(canvas, shapes, pose, size)
        cloth *= 1 - cover
    for part in drawing.parts:
        if not part.behind:
            brush.draw(canvas, cloth, part)
    hidden = np.zeros((size, size), np.float32)
    if street:
        scene.draw_shapes(canvas, locks, pose, size) if locks else None
        things = occluders.draw(garment, drawing, rng)
        if things:
            hidden = scene.draw_shapes(canvas, things, pose, size)
        scene.develop(canvas, size, rng)
    image = np.clip(canvas, 0, 255).astype(np.uint8)
    silhouette = cloth > 0.5
    box = _box_of(silhouette)
    marks = _landmarks(drawing, pose, size, hidden)
    return Rendered(image, box, marks, _regions(garment, drawing, pose, size, box), garment.labels, silhouette)


def _box_of(silhouette: NDArray[np.bool_]) -> Box:
    rows, columns = np.flatnonzero(silhouette.any(1)), np.flatnonzero(silhouette.any(0))
    if not len(rows):
        return 0.0, 0.0, 0.0, 0.0
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _landmarks(drawing: Drawing, pose: Pose, size: int, hidden: Field) -> NDArray[np.float32]:
    out = np.zeros((len(LANDMARKS), 3), np.float32)
    out[:, 2] = 2.0
    for row, name in enumerate(LANDMARKS):
        if name in drawing.landmarks:
            x, y = pose.forward(np.array([drawing.landmarks[name]]))[0]
            inside = 0 <= x < size and 0 <= y < size
            out[row] = (x, y, 2.0 if not inside else float(hidden[int(y), int(x)] > 0.5))
    return out


def _regions(g: Garment, drawing: Drawing, pose: Pose, size: int, box: Box) -> dict[str, tuple[Box, ...]]:
    """Return for each attribute of the garment the boxes of its region, cut at the border of the image."""
    found: dict[str, tuple[Box, ...]] = {}
    for attribute in g.labels:
        if attribute not in drawing.regions:
            found[attribute] = (box,)
            continue
        boxes = []
        for area in drawing.regions[attribute]:
            where = pose.forward(area)
            x1, y1 = np.clip(where.min(0), 0, size)
            x2, y2 = np.clip(where.max(0), 0, size)
            if x2 > x1 and y2 > y1:
                boxes.append((float(x1), float(y1), float(x2), float(y2)))
        found[attribute] = tuple(boxes)
    return found
