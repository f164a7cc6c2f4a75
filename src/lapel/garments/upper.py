"""The cut of tops, dresses and coats: body, neckline, sleeves, seams."""

from __future__ import annotations

import numpy as np

from lapel.garments import collars
from lapel.garments.curves import (
    Drawing,
    Mark,
    Part,
    Points,
    bezier,
    ellipse,
    mirror,
    moved,
    points,
    rectangle,
    smooth,
)
from lapel.garments.pose import Stance
from lapel.garments.spec import Garment

HEM = {"cropped": 37.0, "hip": 65.0, "mini": 84.0, "knee": 107.0, "midi": 129.0, "maxi": 149.0}
SLEEVE = {"sleeveless": 0.0, "short": 18.0, "three_quarter": 41.0, "long": 57.0}
"""Length from the shoulder joint, cm; the elbow is at 28, the wrist at 54."""

ELBOW = 28.0


def shoulder(x: float) -> float:
    """Height of the shoulder line at ``x``."""
    return 0.42 * (abs(x) - 7.0)


def neck_curve(g: Garment) -> Points:
    """Return the right half of the front neckline, from the middle to the shoulder line."""
    if g.category == "coat":
        if g.lapel not in (None, "none"):
            low = collars.break_point(g)
            return bezier((0.0, low), (3.0, low * 0.62), (6.4, low * 0.3), (7.0, 0.0))
        wide, low = (8.0, 9.0) if g.collar == "none" else (7.4, 7.0)
        return bezier((0.0, low), (wide * 0.62, low), (wide, low * 0.6), (wide, shoulder(wide)))
    if g.neckline is None:
        low = 12.0 if g.collar == "hood" else 7.0
        return bezier((0.0, low), (4.2, low * 0.85), (7.0, low * 0.5), (7.0, 0.0))
    if g.neckline == "v_neck":
        low = 20.0 + 6.0 * g.depth
        return bezier((0.0, low), (2.9, low * 0.6), (6.4, low * 0.3), (8.2, shoulder(8.2)))
    if g.neckline == "square":
        wide, low = 10.5 + g.depth, 12.0 + 3.0 * g.depth
        return points((0.0, low), (wide - 0.6, low), (wide + 0.4, shoulder(wide)))
    if g.neckline == "boat":
        wide, low = 14.6 + 0.6 * g.depth, 5.6
        return bezier((0.0, low), (wide * 0.55, low), (wide * 0.9, low * 0.85), (wide, shoulder(wide)))
    if g.neckline == "high":
        return bezier((0.0, 4.0), (4.0, 4.0), (6.6, 2.4), (6.8, 0.0))
    wide, low = 8.6 + g.depth, 9.5 + 3.0 * g.depth
    return bezier((0.0, low), (wide * 0.62, low), (wide, low * 0.62), (wide, shoulder(wide)))


def side_profile(g: Garment, hem: float) -> Points:
    """Return (y, half width) from the armpit to the hem."""
    fit, flare = g.fit, g.flare
    if g.category == "top":
        knots = [
            (24.0, 20.0 + 3.5 * fit),
            (42.0, 17.5 + 5.5 * fit),
            (64.0, 20.0 + 3.5 * fit),
            (90.0, 21.0 + 4 * fit),
        ]
    elif g.category == "dress":
        hip = 20.5 + 1.5 * fit + 6.0 * flare
        knots = [(24.0, 20.0 + 2.0 * fit), (42.0, 15.8 + 2.5 * fit), (62.0, hip)]
        knots.append((150.0, hip + 4.0 + 20.0 * flare))
    else:
        chest, waist, hip = 23.5 + 2.5 * fit, 20.5 + 3.5 * fit, 24.5 + 3.0 * fit
        knots = [(24.0, chest), (42.0, waist), (64.0, hip), (150.0, hip + 3.0 + 8.0 * flare)]
    curve = smooth(np.array(knots), 8)
    y = np.linspace(24.0, hem, 16)
    return np.stack([y, np.interp(y, curve[:, 0], curve[:, 1])], axis=1)


def draw_upper(g: Garment, stance: Stance) -> Drawing:
    """Lay out a top, a dress or a coat."""
    hem = HEM[g.length] + (2.0 if g.category == "coat" and g.length in ("cropped", "hip") else 0.0)
    profile = side_profile(g, hem)
    neck = neck_curve(g)
    sleeved = g.sleeve_length != "sleeveless"
    bulk = 1.5 if g.category == "coat" else 0.0
    tip_x = (19.0 + g.fit + bulk) if sleeved else max(16.6, neck[-1, 0] + 2.2)
    tip = np.array([tip_x, shoulder(min(tip_x, 19.0)) + (0.4 if sleeved else 0.0)])
    chest = float(profile[0, 1])
    inset = 0.8 if sleeved else 3.4
    armhole = bezier(tip, (tip_x - inset, 12.0), (tip_x - inset, 20.0), (chest, 24.0))
    side = np.stack([profile[:, 1], profile[:, 0]], axis=1)
    right = points(neck, armhole, side[1:])
    half = float(profile[-1, 1])
    sag = (1.0 + 3.0 * g.flare) if g.category == "dress" else 0.8
    bottom = bezier((half, hem), (half * 0.4, hem + sag * 1.33), (-half * 0.4, hem + sag * 1.33), (-half, hem))
    if g.collar == "shirt" and g.category == "top" and g.length == "hip":  # shirt tails
        bottom = bezier((half, hem - 5), (half * 0.55, hem + 4), (-half * 0.55, hem + 4), (-half, hem - 5))
        right[-1, 1] = hem - 5
    body = Part("body", points(right, bottom[1:-1], mirror(right)), lift=1.2)

    hem_line = bottom * np.array([0.985, 1.0]) - np.array([0.0, 2.2])
    body.marks.append(Mark(hem_line, 0.35, "seam"))
    if sleeved:
        body.marks += [Mark(curve, 0.45, "seam") for curve in (armhole, mirror(armhole))]
    else:
        inner = armhole - np.array([1.4, 0.0])
        body.marks += [Mark(curve, 0.35, "seam") for curve in (inner, mirror(inner))]
    if g.category == "dress":
        body.marks += _waist(g, profile)
    behind, front, region = collars.around_neck(g, neck, stance, hem)
    if g.category == "coat":
        front = collars.coat_front(g, hem, profile) + front
        if g.belt and g.length in ("knee", "midi"):
            front.insert(0, _belt(profile, 45.0))

    parts = list(behind)
    landmarks: dict[str, tuple[float, float]] = {}
    ends: list[Points] = []
    for name, sign, arm, elbow in (
        ("left", -1.0, stance.arms[0], stance.elbows[0]),
        ("right", 1.0, stance.arms[1], stance.elbows[1]),
    ):
        flip = np.array([sign, 1.0])
        if sleeved:
            part, cuff = _sleeve(g, tip, chest, arm, elbow, f"{name} sleeve")
            part.outline = part.outline * flip
            part.angle *= sign
            part.marks = [Mark(m.path * flip, m.width, m.tone, m.filled) for m in part.marks]
            parts.append(part)
            end = cuff.mean(0)
            ends.append(part.outline)
        else:
            end = points(armhole[6])[0]
            ends.append(points(armhole + np.array([1.5, 0.0]), armhole - np.array([4.0, 0.0])) * flip)
        landmarks[f"{name} sleeve"] = (float(end[0] * sign), float(end[1]))
        landmarks[f"{name} collar"] = (float(neck[-1, 0] * sign), float(neck[-1, 1]))
        waist = float(np.interp(42.0, profile[:, 0], profile[:, 1]))
        landmarks[f"{name} waistline"] = (sign * waist, min(42.0, hem))
        landmarks[f"{name} hem"] = (sign * half, float(right[-1, 1]))
    parts += [body, *front]
    regions = {"sleeve_length": ends, "length": [rectangle(-half, hem - 9.0, half, hem + sag + 1)]}
    regions[_neck_attribute(g)] = [region]
    for absent in ("collar", "lapel"):  # "none" shows where the thing would be
        regions.setdefault(absent, [region])
    deep = {"top": 0.25, "coat": 0.45, "dress": 0.5 + 0.6 * g.flare}[g.category]
    start = {"top": 26.0, "coat": 40.0, "dress": 44.0}[g.category]
    count = 5.0 if g.category == "dress" else 3.0
    return Drawing(parts, landmarks, regions, profile, (start, max(hem, start + 30), deep, count))


def _neck_attribute(g: Garment) -> str:
    if g.neckline is not None:
        return "neckline"
    return "lapel" if g.lapel not in (None, "none") else "collar"


def _waist(g: Garment, profile: Points) -> list[Mark]:
    """The waist seam of a dress, with its belt where the design has one."""
    half = float(np.interp(42.0, profile[:, 0], profile[:, 1]))
    line = bezier((-half, 42.0), (-half * 0.4, 43.2), (half * 0.4, 43.2), (half, 42.0))
    if g.belt:
        return [Mark(line, 3.4, "trim"), Mark(moved(line, 0.0, -1.8), 0.4), Mark(moved(line, 0.0, 1.8), 0.4)]
    return [Mark(line, 0.6), Mark(moved(line, 0.0, 1.6), 0.3, "faint")]


def _belt(profile: Points, y: float) -> Part:
    """The tied belt of a long coat."""
    half = float(np.interp(y, profile[:, 0], profile[:, 1])) + 0.3
    top = bezier((-half, y - 2), (-half * 0.4, y - 0.6), (half * 0.4, y - 0.6), (half, y - 2))
    belt = Part("belt", points(top, moved(top[::-1], 0.0, 4.2)), lift=1.0)
    belt.marks.append(Mark(rectangle(-4.0, y - 1.6, 0.5, y + 4.0), 0.5, "trim"))
    return belt


def _spot(centre: Points, radius: float) -> Points:
    return ellipse(float(centre[0]), float(centre[1]), radius, radius, 16)


def _sleeve(g: Garment, tip: Points, chest: float, arm: float, elbow: float, name: str) -> tuple[Part, Points]:
    """Return the right sleeve and its cuff (2, 2): outer and inner end."""
    length = SLEEVE[str(g.sleeve_length)]
    bulk = 1.2 if g.category == "coat" else 0.0
    joint = np.array([17.0 + bulk * 0.6, 9.0])
    down = np.array([np.sin(arm), np.cos(arm)])
    out = np.array([np.cos(arm), -np.sin(arm)])
    bent = arm - elbow
    down2 = np.array([np.sin(bent), np.cos(bent)])
    out2 = np.array([np.cos(bent), -np.sin(bent)])
    bend = joint + ELBOW * down

    def at(t: float) -> tuple[Points, Points]:
        return (joint + t * down, out) if t <= ELBOW else (bend + (t - ELBOW) * down2, out2)

    def half(t: float) -> float:
        slim = np.interp(t, [0, 14, 28, 56], [5.6, 7.0, 6.0, 4.5]) + bulk
        return float(slim + g.fit * (1.6 if length < 25 else 1.0))

    stops = [t for t in (9.0, 14.0, 20.0, 25.0, 31.0, 38.0, 46.0) if t < length - 3.0] + [length]
    outer = points(*[at(t)[0] + at(t)[1] * half(t) for t in stops])
    inner = points(*[at(t)[0] - at(t)[1] * half(t) for t in stops if t > 15.0])
    edge = smooth(points(tip - [0.6, 0.1], outer), 4)
    under = smooth(points((chest - 1.0, 25.0), inner), 4)
    outline = points((tip[0] - 5.0, tip[1] + 1.0), edge, under[::-1], (tip[0] - 6.0, 18.0))
    part = Part(name, outline, angle=arm, lift=0.8)

    def across(t: float) -> Points:
        centre, side = at(t)
        return points(centre + side * half(t), centre - side * half(t))

    cuffed = g.collar in ("shirt", "mandarin") and g.category != "coat" and length > 50
    band = 5.0 if cuffed else (1.8 if length < 50 or g.category == "coat" else 3.0)
    part.marks.append(Mark(across(length - band), 0.5, "seam"))
    centre, side = at(length - 2.6)
    if cuffed:
        part.marks.append(Mark(_spot(centre + side * 2.5, 0.8), 0.4, "trim", True))
    if g.category == "coat" and g.lapel not in (None, "none") and length > 50:
        for step in (3.5, 6.0, 8.5):
            centre, side = at(length - step)
            part.marks.append(Mark(_spot(centre + side * (half(length) - 2.0), 0.7), 0.4, "trim", True))
    return part, across(length)
