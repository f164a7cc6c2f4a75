"""The cut of skirts and trousers."""

from __future__ import annotations

import numpy as np

from lapel.garments.curves import (
    Drawing,
    Mark,
    Part,
    Points,
    bezier,
    ellipse,
    mirror,
    points,
    rectangle,
    smooth,
)
from lapel.garments.pose import Stance
from lapel.garments.spec import Garment

SKIRT = {"mini": 79.0, "knee": 104.0, "midi": 127.0, "maxi": 149.0}
TROUSERS = {"shorts": 86.0, "knee": 107.0, "ankle": 146.0}
WAIST = 41.0


def draw_skirt(g: Garment) -> Drawing:
    """Lay out a skirt: a waistband, and a body from pencil to circle."""
    hem = SKIRT[g.length]
    waist, hip = 15.6, 20.5 + 5.0 * g.flare
    grow = -1.5 + 24.0 * g.flare
    knots = [(WAIST, waist), (61.0, hip), (105.0, hip + grow * 0.5), (150.0, hip + grow)]
    curve = smooth(np.array(knots), 8)
    y = np.linspace(WAIST, hem, 18)
    profile = np.stack([y, np.interp(y, curve[:, 0], curve[:, 1])], axis=1)
    half = float(profile[-1, 1])
    side = profile[:, ::-1]
    sag = 1.0 + 4.5 * g.flare
    x = np.linspace(half, -half, 40)
    wave = 0.9 * g.flare * np.cos(x / half * np.pi * (4.0 + 2.0 * g.flare))
    bottom = np.stack([x, hem + sag * (1 - (x / half) ** 2) + wave - wave[0]], axis=1)
    body = Part("body", points(side, bottom[1:-1], mirror(side)))
    body.marks.append(Mark(bottom * [0.985, 1.0] - [0.0, 2.2], 0.35, "faint"))
    if g.pleats:
        for share in np.linspace(-0.78, 0.78, 8):
            body.marks.append(
                Mark(points((share * waist, WAIST + 4), (share * half, hem + sag * (1 - share**2))), 0.45)
            )
    elif g.closure == "button" and g.pocket:
        body.marks.append(Mark(points((0.0, WAIST + 4), (0.0, hem + sag)), 0.5))
        for row in np.arange(WAIST + 9, hem - 3, 8.5):
            body.marks.append(Mark(ellipse(1.6, row, 1.0, 1.0, 16), 0.45, "trim", True))
    elif g.flare < 0.4:
        for s in (-1.0, 1.0):  # darts
            body.marks.append(Mark(points((s * 8.0, WAIST + 4), (s * 8.6, WAIST + 15)), 0.4))
    landmarks = {}
    for name, sign in (("left", -1.0), ("right", 1.0)):
        landmarks[f"{name} waistline"] = (sign * waist, WAIST + 0.6)
        landmarks[f"{name} hem"] = (sign * half, hem)
    regions = {"length": [rectangle(-half, hem - 9.0, half, hem + sag + 1)]}
    drape = (WAIST + 6.0, hem, 0.35 + 0.9 * g.flare, 4.0 + 3.0 * g.flare)
    return Drawing([_lining(waist), body, _band(g, waist)], landmarks, regions, profile, drape)


def draw_trousers(g: Garment, stance: Stance) -> Drawing:
    """Lay out trousers: two legs from one seat, waistband, fly, pockets, creases."""
    hem = TROUSERS[g.length]
    waist, hip, crotch = 16.0, 20.5 + 2.5 * g.fit, 74.0 + 2.0 * g.fit
    feet = stance.feet + 1.5 * g.fit
    knee = 8.2 + 4.2 * g.fit
    ankle = 5.6 + 3.2 * g.fit + 4.5 * g.flare

    def leg(y: Points) -> tuple[Points, Points]:
        """Return the middle and half width of the leg at a height."""
        middle = np.interp(y, [crotch, 106.0, 150.0], [10.6, 10.9 + (feet - 10.6) * 0.45, feet + 0.4])
        width = np.interp(y, [crotch, 84.0, 106.0, 148.0], [10.8 + 1.2 * g.fit, 10.2 + 1.6 * g.fit, knee, ankle])
        if g.length != "ankle":
            width = np.maximum(width, np.interp(y, [crotch, hem], [10.8 + 1.2 * g.fit, 9.6 + 3.0 * g.fit]))
        return np.asarray(middle), np.asarray(width)

    y = np.linspace(crotch + 2.0, hem, 12)
    middle, width = leg(y)
    outside = np.stack([middle + width, y], axis=1)
    inside = np.stack([np.maximum(middle - width, 0.35), y], axis=1)
    side = smooth(points((waist, WAIST), ((waist + hip) / 2 + 1.2, 52.0), (hip, 63.0), outside), 3)
    bottom = bezier(outside[-1], outside[-1] * [0.9, 1] + [0, 1.2], inside[-1] + [1.5, 1.2], inside[-1])
    right = points(side, bottom[1:-1], inside[::-1], (0.2, crotch))
    body = Part("body", points(right, mirror(right)))
    for s in (-1.0, 1.0):
        flip = np.array([s, 1.0])
        body.marks.append(Mark((bottom - [0.0, 2.6]) * flip, 0.4, "seam"))
        body.marks.append(Mark(bezier((9.2, 45.0), (11.0, 49.0), (14.0, 53.0), (18.3, 55.0)) * flip, 0.6))
        crease = points((9.4, 58.0), np.stack([middle[1:], y[1:]], axis=1)) * flip
        body.marks.append(Mark(crease, 0.35, "faint"))
    body.marks.append(Mark(points((0.0, 45.0), (0.0, crotch)), 0.6))
    fly = bezier((-3.6, 45.0), (-3.8, 53.0), (-3.4, 58.0), (0.0, 61.5))
    body.marks.append(Mark(fly, 0.45))
    tops = np.linspace(WAIST, crotch, 8)
    upper = np.stack([tops, np.interp(tops, side[:, 1], side[:, 0])], axis=1)
    profile = points(upper, (150.0, float(upper[-1, 1])))
    landmarks = {}
    for name, sign in (("left", -1.0), ("right", 1.0)):
        landmarks[f"{name} waistline"] = (sign * waist, WAIST + 0.6)
        landmarks[f"{name} hem"] = (sign * float((outside[-1, 0] + inside[-1, 0]) / 2), hem + 0.2)
    ends = [rectangle(s * float(inside[-1, 0]), hem - 9, s * float(outside[-1, 0]), hem + 1.5) for s in (-1.0, 1.0)]
    band = _band(g, waist)
    for x in (-11.5, -5.5, 5.5, 11.5):
        band.marks.append(Mark(points((x, WAIST - 0.2), (x * 1.02, WAIST + 4.4)), 0.9, "seam"))
    band.marks.append(Mark(ellipse(0.0, WAIST + 2.6, 1.15, 1.15, 16), 0.45, "trim", True))
    return Drawing([_lining(waist), body, band], landmarks, {"length": ends}, profile, (76.0, 150.0, 0.15, 2.0))


def _lining(waist: float) -> Part:
    """The inside of the back of the waist, seen over the front edge."""
    front = bezier((-waist, WAIST), (-waist * 0.5, WAIST + 1.4), (waist * 0.5, WAIST + 1.4), (waist, WAIST))
    back = bezier((waist, WAIST - 0.2), (waist * 0.5, WAIST - 1.6), (-waist * 0.5, WAIST - 1.6), (-waist, WAIST - 0.2))
    return Part("lining", points(front, back), "inner", behind=True)


def _band(g: Garment, waist: float) -> Part:
    """The waistband."""
    top = bezier((-waist, WAIST), (-waist * 0.5, WAIST + 1.4), (waist * 0.5, WAIST + 1.4), (waist, WAIST))
    low = bezier(
        (waist + 0.9, WAIST + 4),
        (waist * 0.5, WAIST + 5.4),
        (-waist * 0.5, WAIST + 5.4),
        (-waist - 0.9, WAIST + 4),
    )
    band = Part("waistband", points(top, low), lift=0.5, angle=1.5708 if g.pattern == "stripe" else 0.0)
    if g.belt:
        line = (top + low[::-1]) / 2
        band.marks.append(Mark(line, 2.4, "trim"))
        band.marks.append(Mark(rectangle(-2.0, WAIST + 0.9, 2.0, WAIST + 4.6)[[0, 1, 2, 3, 0]], 0.5))
    return band
