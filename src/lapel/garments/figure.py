"""The one who wears the garment: a mannequin in the shop, a person in plain clothes in the street."""

from __future__ import annotations

import numpy as np

from lapel.garments.curves import Points, bezier, ellipse, mirror, points, smooth
from lapel.garments.pose import Stance
from lapel.garments.spec import Garment

Colour = tuple[int, int, int]
Shape = tuple[Points, Colour]

SKINS: tuple[Colour, ...] = ((244, 208, 184), (228, 182, 146), (196, 144, 106), (146, 100, 70), (98, 66, 48))
HAIRS: tuple[Colour, ...] = ((36, 28, 26), (72, 48, 34), (128, 84, 48), (196, 156, 98), (150, 150, 152))
PLAIN: tuple[Colour, ...] = (
    (58, 66, 84),
    (40, 40, 44),
    (196, 192, 186),
    (120, 124, 130),
    (236, 234, 230),
    (92, 76, 62),
)


def limb(joints: list[tuple[float, float, float]]) -> Points:
    """Return the outline of a limb through joints (x, y, half width)."""
    chain = smooth(np.array(joints), 4)
    along = np.gradient(chain[:, :2], axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    across = np.stack([along[:, 1], -along[:, 0]], axis=1) * chain[:, 2:]
    return points(chain[:, :2] + across, (chain[:, :2] - across)[::-1])


def _arm(angle: float, bend: float, sign: float, hand: bool) -> Points:
    joint = np.array([16.0, 9.0])
    elbow = joint + 28.0 * np.array([np.sin(angle), np.cos(angle)])
    down = np.array([np.sin(angle - bend), np.cos(angle - bend)])
    wrist, palm, end = elbow + 25.0 * down, elbow + 32.0 * down, elbow + 40.0 * down
    rows = [(*joint, 5.4), (*elbow, 3.9), (*wrist, 2.6)]
    if hand:
        rows += [(*palm, 3.6), (*end, 1.4)]
    outline = limb([(float(x), float(y), float(w)) for x, y, w in rows])
    return np.asarray(outline * np.array([sign, 1.0]))


def _leg(feet: float, sign: float, end: float = 150.0) -> Points:
    rows = [(9.4, 72.0, 9.0), (10.0, 92.0, 7.6), (10.5 + (feet - 10.6) * 0.45, 106.0, 5.6)]
    rows += [(10.7 + (feet - 10.6) * 0.6, 118.0, 5.4), (feet, 146.0, 3.2), (feet + 0.3, end, 3.2)]
    return np.asarray(limb(rows) * np.array([sign, 1.0]))


def _torso() -> Points:
    side = smooth(
        points((7.0, 0.4), (15.8, 4.4), (17.4, 9.0), (16.4, 24.0), (14.0, 42.0), (18.4, 63.0), (18.0, 76.0)),
        4,
    )
    return points(side, (0.0, 82.0), mirror(side))


def _neck() -> Points:
    right = bezier((5.4, -9.0), (5.0, -3.0), (6.0, -0.5), (9.5, 2.0))
    return points(right, (0.0, 8.0), mirror(right))


def mannequin(stance: Stance, colour: Colour) -> list[Shape]:
    """Return a headless shop mannequin, back to front."""
    cap = points(bezier((-5.3, -8.0), (-4.0, -10.6), (4.0, -10.6), (5.3, -8.0)))
    shapes: list[Shape] = [(_leg(stance.feet, s), colour) for s in (-1.0, 1.0)]
    shapes += [(_arm(stance.arms[i], stance.elbows[i], s, True), colour) for i, s in enumerate((-1.0, 1.0))]
    darker = (int(colour[0] * 0.8), int(colour[1] * 0.8), int(colour[2] * 0.8))
    return [*shapes, (_torso(), colour), (_neck(), colour), (points(cap, (0.0, -7.4)), darker)]


def person(g: Garment, stance: Stance, rng: np.random.Generator) -> tuple[list[Shape], list[Shape]]:
    """Return a person back to front, and the hair that falls in front of the garment."""
    skin = SKINS[int(rng.integers(len(SKINS)))]
    hair = HAIRS[int(rng.integers(len(HAIRS)))]
    plain = PLAIN[int(rng.integers(len(PLAIN)))]
    under = PLAIN[int(rng.integers(len(PLAIN)))]
    shade = (int(skin[0] * 0.86), int(skin[1] * 0.82), int(skin[2] * 0.8))
    long_hair = bool(rng.random() < 0.5)
    shapes: list[Shape] = []
    if long_hair:
        right = smooth(points((0.0, -32.0), (9.5, -29.0), (12.0, -18.0), (12.5, -4.0), (11.0, 8.0)), 4)
        shapes.append((points(right, mirror(right)), hair))
    shapes += [(_leg(stance.feet, s), skin) for s in (-1.0, 1.0)]
    shoe = PLAIN[int(rng.integers(len(PLAIN)))]
    for s in (-1.0, 1.0):
        shapes.append((ellipse(s * (stance.feet + 1.0), 152.5, 5.2, 3.6), shoe))
    shapes += [(_arm(stance.arms[i], stance.elbows[i], s, True), skin) for i, s in enumerate((-1.0, 1.0))]
    shapes.append((_torso(), skin))
    shapes += _others(g, stance, plain, under, bool(rng.random() < 0.5))
    shapes.append((_neck(), shade))
    face = points(ellipse(0.0, -18.5, 8.4, 11.4))
    shapes.append((face, skin))
    crown = smooth(points((8.9, -16.0), (9.2, -24.0), (5.0, -30.6), (0.0, -31.6)), 5)
    fringe = smooth(points((-8.9, -16.0), (-6.5, -23.0), (1.0, -25.5), (6.6, -22.5), (8.9, -16.0)), 5)
    shapes.append((points(crown, mirror(crown), fringe), hair))
    dark = (int(skin[0] * 0.45), int(skin[1] * 0.4), int(skin[2] * 0.4))
    for s in (-1.0, 1.0):
        shapes.append((ellipse(s * 3.3, -18.5, 1.2, 0.7, 12), dark))
    shapes.append((ellipse(0.0, -11.6, 2.3, 0.7, 12), (int(skin[0] * 0.8), int(skin[1] * 0.55), int(skin[2] * 0.55))))
    locks: list[Shape] = []
    if long_hair and g.category in ("skirt", "trousers"):
        for s in (-1.0, 1.0):
            lock = smooth(points((7.6, -22.0), (9.8, -12.0), (10.2, 0.0), (9.4, 14.0), (12.4, 3.0), (12.2, -14.0)), 4)
            locks.append((lock * np.array([s, 1.0]), hair))
    return shapes, locks


def _others(g: Garment, stance: Stance, plain: Colour, under: Colour, skirted: bool) -> list[Shape]:
    """The plain clothes worn with the garment: below a top, above a skirt, inside a coat."""
    shapes: list[Shape] = []
    if g.category in ("top", "coat"):
        if skirted:
            side = points((14.6, 41.0), (19.4, 62.0), (20.5, 98.0))
            shapes.append((points(side, mirror(side)), plain))
        else:
            for s in (-1.0, 1.0):
                hips = limb([(9.2, 62.0, 10.2), (10.0, 92.0, 8.8), (11.0, 110.0, 7.0), (stance.feet, 147.0, 5.4)])
                shapes.append((hips * np.array([s, 1.0]), plain))
            side = points((14.4, 41.0), (19.2, 60.0), (19.2, 74.0))
            shapes.append((points(side, (0.0, 80.0), mirror(side)), plain))
    if g.category == "coat":
        side = smooth(points((7.6, 0.6), (16.0, 5.0), (17.6, 24.0), (15.0, 42.0), (18.6, 58.0)), 4)
        neck = bezier((7.6, 0.6), (6.6, 5.6), (-6.6, 5.6), (-7.6, 0.6))
        shapes.append((points(side, mirror(side), neck[::-1]), under))
    if g.category in ("skirt", "trousers"):
        side = smooth(points((8.4, 0.6), (17.0, 5.0), (18.8, 12.0), (17.8, 24.0), (15.4, 42.0)), 4)
        neck = bezier((8.4, 0.6), (7.6, 8.6), (-7.6, 8.6), (-8.4, 0.6))
        for i, s in enumerate((-1.0, 1.0)):
            angle = stance.arms[i]
            end = np.array([16.4, 9.0]) + 16.0 * np.array([np.sin(angle), np.cos(angle)])
            sleeve = limb([(15.4, 8.0, 6.6), (float(end[0]), float(end[1]), 6.0)])
            shapes.append((sleeve * np.array([s, 1.0]), under))
        shapes.append((points(side, mirror(side), neck[::-1]), under))
    return shapes
