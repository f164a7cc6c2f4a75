"""What lies around the neck and down the front: collars, lapels, plackets, buttons."""

from __future__ import annotations

import numpy as np

from lapel.garments.curves import (
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


def break_point(g: Garment) -> float:
    """Height at which the lapels of a coat meet: above the top button."""
    return (24.0 if g.length == "cropped" else 30.0) + 4.0 * g.depth


def around_neck(g: Garment, neck: Points, stance: Stance, hem: float) -> tuple[list[Part], list[Part], Points]:
    """Return parts behind the neck, parts in front of the body, and the region that shows the attribute."""
    wide, high = float(neck[-1, 0]), float(neck[-1, 1])
    back = bezier((wide, high), (wide * 0.7, high + 2.6), (-wide * 0.7, high + 2.6), (-wide, high))
    lining = Part("lining", points(mirror(neck), neck, back), "inner", behind=True)
    lining.marks.append(Mark(moved(back, 0.0, 1.0), 0.4))
    region = points(neck, mirror(neck), [(-wide - 2, high - 2), (wide + 2, high - 2)], (0.0, neck[0, 1] + 3))
    if g.category == "coat" and g.lapel not in (None, "none"):
        return [lining, *_neck_back(5.8, -4.5)], lapels(g), points((-17.0, -5.0), (17.0, break_point(g) + 2))
    if g.collar == "shirt":
        return [lining, *_neck_back(5.6, -4.2)], _shirt(g, hem), points((-11.0, -5.0), (11.0, 14.0))
    if g.collar == "polo":
        return [lining, *_neck_back(5.6, -3.4)], _polo(g), points((-10.5, -4.5), (10.5, 23.0))
    if g.collar == "mandarin":
        return [lining, *_neck_back(6.4, -3.6)], _mandarin(g, hem), points((-9.0, -4.5), (9.0, 12.0))
    if g.collar == "hood":
        behind, front = _hood(g, stance)
        low = -27.0 if stance.hood_up else -9.0
        return [lining, *behind], front, points((-15.0, low), (15.0, 16.0))
    if g.neckline == "high":
        return [lining], [_tube()], points((-8.0, -9.0), (8.0, 5.0))
    return [lining], [_binding(g, neck)], region


def _binding(g: Garment, neck: Points) -> Part:
    """The ribbed or folded band along a bare neckline."""
    width = 1.9 if g.category == "top" and g.neckline in ("round", "v_neck") else 1.1
    whole = points(mirror(neck)[:-1], neck)
    outer = whole.copy()
    outer[:, 1] += width
    outer[:, 0] *= 1.0 + width / 9.5 * np.clip(np.abs(whole[:, 0]) / np.abs(whole[:, 0]).max(), 0, 1)
    outer[[0, -1]] = whole[[0, -1]] * [1.0 + width / abs(whole[0, 0]), 1.0] + [0.0, 0.5]
    if g.neckline == "boat":
        outer = moved(whole, 0.0, width)
    return Part("binding", points(whole, outer[::-1]), "rib")


def _tube() -> Part:
    """A high neck: a tube folded over once, ribbed."""
    right = bezier((6.9, 1.2), (6.4, -2.0), (6.6, -6.0), (7.0, -8.4))
    top = bezier((7.0, -8.4), (3.0, -7.2), (-3.0, -7.2), (-7.0, -8.4))
    low = bezier((-6.9, 1.2), (-3.6, 5.0), (3.6, 5.0), (6.9, 1.2))
    tube = Part("tube", points(right, top, mirror(right), low), lift=1.0)
    fold = bezier((-6.7, -1.6), (-3.0, 0.6), (3.0, 0.6), (6.7, -1.6))
    tube.marks.append(Mark(fold, 0.6))
    for x in np.linspace(-5.4, 5.4, 7):
        tube.marks.append(Mark(points((x, -7.3), (x * 0.98, -0.4)), 0.3, "faint"))
    return tube


def _neck_back(wide: float, top: float) -> list[Part]:
    """The inside of a collar behind the neck."""
    upper = bezier((-wide, top), (-wide * 0.5, top + 1.0), (wide * 0.5, top + 1.0), (wide, top))
    return [Part("collar back", points(upper, (wide + 1.4, 1.0), (-wide - 1.4, 1.0)), "inner", behind=True)]


def _pair(
    name: str, right: Points, lift: float, marks: list[Mark], tone: str = "fabric", edge: float = 1.2
) -> list[Part]:
    """Return a part and its mirror image; the right one is drawn first."""
    flip = np.array([-1.0, 1.0])
    turned = [Mark(m.path * flip, m.width, m.tone, m.filled) for m in marks]
    return [
        Part(f"right {name}", right, tone, -0.5, marks, lift, 1.06, edge),
        Part(f"left {name}", right * flip, tone, 0.5, turned, lift, 1.06, edge),
    ]


def _buttons(x: float, ys: list[float], radius: float = 0.95) -> list[Mark]:
    return [Mark(ellipse(x, y, radius, radius, 16), 0.45, "trim", True) for y in ys]


def _placket(low: float, high: float, wide: float, buttons: list[float]) -> Part:
    part = Part("placket", rectangle(-wide, low, wide, high), lift=0.5)
    part.marks += [Mark(points((s * (wide - 0.6), low), (s * (wide - 0.6), high)), 0.25, "faint") for s in (-1, 1)]
    part.marks += _buttons(0.0, buttons)
    return part


def _shirt(g: Garment, hem: float) -> list[Part]:
    """Pointed leaves on a stand, and buttons down to the hem."""
    end = hem + 0.4
    rows = list(np.arange(11.0, end - 5, 9.5))
    parts = [_placket(6.0, end, 1.7, rows)]
    if g.pocket and hem > 50 and g.category == "top":
        parts.append(Part("pocket", points((6, 24), (15, 24), (15, 33), (10.5, 35.5), (6, 33)), lift=0.3))
        parts[-1].marks.append(Mark(points((6, 26), (15, 26)), 0.35))
    leaf = points(
        (0.5, 5.6),
        bezier((0.8, 4.9), (3.6, 2.6), (5.4, -0.6), (5.8, -4.4)),
        bezier((5.8, -4.4), (8.4, -3.4), (9.8, -0.6), (10.4, 2.4)),
        (9.0, 12.8),
    )
    inner = points((1.4, 6.2), (8.4, 11.4), (9.7, 2.6))
    return parts + _pair("collar", leaf, 1.2, [Mark(inner, 0.3, "faint")])


def _polo(g: Garment) -> list[Part]:
    """Soft short leaves lying open, and a short placket with two or three buttons."""
    rows = [9.5, 14.0, 18.5] if g.depth > 0.5 else [10.0, 16.0]
    leaf = points(
        (0.3, 6.6),
        bezier((0.3, 6.6), (4.2, 4.4), (5.6, 0.4), (5.8, -3.6)),
        bezier((5.8, -3.6), (8.6, -3.0), (9.8, -0.6), (10.2, 2.4)),
        bezier((10.2, 2.4), (10.2, 6.0), (9.0, 8.4), (7.6, 9.6)),
    )
    inner = smooth(points((1.2, 7.4), (5.0, 8.0), (7.6, 8.4), (9.2, 2.6)), 4)
    placket = _placket(6.6, 21.5, 1.7, rows)
    placket.marks.append(Mark(rectangle(-1.7, 19.8, 1.7, 21.5), 0.4))
    return [placket, *_pair("collar", leaf, 1.0, [Mark(inner, 0.3, "faint")], "plain")]


def _mandarin(g: Garment, hem: float) -> list[Part]:
    """A standing band, open by a finger in the middle, and a placket."""
    end = hem if g.category != "top" or g.fit > 0.5 else 30.0
    rows = list(np.arange(10.5, end - 3, 6.5 if end <= 30 else 9.5))
    band = points(
        (0.5, 7.4),
        bezier((0.5, 4.2), (3.4, 2.6), (6.0, 0.0), (6.4, -4.0)),
        bezier((7.4, -3.6), (8.0, -1.6), (8.2, 0.2), (8.0, 1.4)),
        bezier((8.0, 1.4), (6.6, 5.4), (3.4, 7.4), (0.5, 8.4)),
    )
    stitch = bezier((0.8, 7.6), (3.4, 6.6), (6.2, 4.6), (7.4, 1.0))
    placket = [_placket(7.4, end, 1.6, rows)] if g.category != "coat" else []
    return [*placket, *_pair("collar", band, 0.7, [Mark(stitch, 0.25, "faint")])]


def _hood(g: Garment, stance: Stance) -> tuple[list[Part], list[Part]]:
    """A hood, standing up on a bare garment and lying on the shoulders of a person."""
    if stance.hood_up:
        outer = smooth(points((12.6, 5.0), (13.4, -5.0), (11.6, -17.0), (6.0, -24.5), (0.0, -26.5)), 5)
        hole = smooth(points((5.4, 4.0), (9.0, -4.0), (8.6, -14.0), (4.6, -20.6), (0.0, -22.0)), 5)
        dome = Part("hood", points(outer, mirror(outer)), behind=True)
        inside = Part("hood opening", points((0.0, 12.0), hole, mirror(hole)), "inner", behind=True)
        dome.marks.append(Mark(points(hole, mirror(hole)) * [1.16, 1.05], 0.35, "faint"))
        behind = [dome, inside]
    else:
        outer = smooth(points((13.4, 5.0), (12.8, -3.0), (8.0, -8.5), (0.0, -10.0)), 5)
        behind = [Part("hood", points(outer, mirror(outer)), behind=True)]
        hole = smooth(points((7.4, 3.0), (7.6, -2.0), (5.0, -5.6), (0.0, -6.6)), 5)
        behind.append(Part("hood opening", points(hole, mirror(hole)), "inner", behind=True))
    flap = points(
        bezier((-0.6, 12.6), (4.0, 9.6), (6.4, 5.0), (6.9, -3.5)),
        bezier((6.9, -3.5), (11.0, -2.5), (13.6, 1.0), (13.0, 5.6)),
        bezier((13.0, 5.6), (9.6, 9.4), (5.0, 13.0), (0.4, 16.0)),
    )
    front = _pair("hood edge", flap, 1.0, [])
    strings = [Mark(points((s * 3.2, 11.4), (s * 3.6, 20.0), (s * 3.3, 28.0 - s)), 0.8, "trim") for s in (-1.0, 1.0)]
    front[-1].marks.append(Mark(bezier((1.0, 13.6), (-3.5, 10.6), (-6.6, 6.6), (-8.0, 0.0)), 0.3, "faint"))
    pouch: list[Part] = []
    if g.category == "top" and g.length == "hip":
        pouch = [Part("pouch", points((-9, 46), (9, 46), (13.5, 56), (13.5, 61), (-13.5, 61), (-13.5, 56)), lift=0.6)]
    cord = Part("strings", rectangle(-4.4, 11.0, 4.4, 29.0), "marks", marks=strings, edge=0.0)
    return behind, [*pouch, *front, cord]


def lapels(g: Garment) -> list[Part]:
    """Return the lapels of a coat with the collar above them, right under left.

    A notched lapel leaves a triangle below the tip of the collar, a peak lapel points up past it, a
    shawl is one crescent.
    """
    low = break_point(g)
    tone = "plain"  # faced with cloth of the ground colour: a lapel in pattern on pattern could not be told
    nape = (5.6, -4.6)
    if g.lapel == "shawl":
        roll = bezier((0.4, low), (2.6, low * 0.62), (5.6, low * 0.3), nape)
        outer = bezier(nape, (15.5, -1.0), (18.5, low * 0.72), (0.4, low), 20)
        return _pair("lapel", points(roll, outer), 1.5, [], tone, 1.5)
    peak = g.lapel == "peak"
    gorge, vertex = (5.2, 6.6), ((10.4, 10.2) if peak else (9.6, 10.0))
    tip = (18.4, 3.6) if peak else (17.2, 12.8)
    bulge = (17.4, 12.0) if peak else (15.6, 18.0)
    body = points(
        bezier((0.4, low), (1.8, low * 0.72), (3.8, low * 0.45), gorge),
        vertex,
        bezier(tip, bulge, (8.5, low * 0.8), (0.4, low)),
    )
    collar_tip = (12.4, 4.6) if peak else (15.0, 7.0)
    upper = points(bezier(gorge, (6.2, 3.6), (6.2, -0.6), nape), (9.4, -2.4), (11.8, 1.6), collar_tip, vertex)
    return _pair("lapel", body, 1.4, [], tone, 1.5) + _pair("lapel collar", upper, 1.0, [], tone, 1.5)


def coat_front(g: Garment, hem: float, profile: Points) -> list[Part]:
    """Return how a coat closes, and its pockets."""
    lapelled = g.lapel not in (None, "none")
    top = break_point(g) if lapelled else {"none": 9.0, "hood": 13.0}.get(str(g.collar), 7.0)
    closure = "button" if lapelled and g.closure == "zip" else g.closure
    over = 6.5 if closure == "double" else (0.4 if closure == "zip" else 2.4)
    lower = hem + 0.4
    cords = Part("front", rectangle(-9.0, top - 1.0, 9.0, lower), "marks", edge=0.0)
    edge = points((0.0, top), (-over, top + 3.0 + over * 0.4), (-over, lower))
    cords.marks.append(Mark(edge, 0.7))
    cords.marks.append(Mark(moved(edge, 1.1, 0.6), 0.25, "faint"))
    last = min(hem - 8.0, 62.0 if lapelled else 82.0)
    rows = [float(y) for y in np.arange(top + 3.2, last, 10.5)]
    if closure == "zip":
        cords.marks.append(Mark(points((0.4, top), (0.4, lower)), 1.1, "trim"))
        cords.marks.append(Mark(points((0.4, top), (0.4, lower)), 0.3))
    elif closure == "double":
        cords.marks += _buttons(-4.4, rows[:4], 1.15) + _buttons(4.4, rows[:4], 1.15)
    else:
        cords.marks += _buttons(-0.4, rows, 1.15)
    parts = [cords]
    if hem > 60:  # below the last button the fronts part and show the lining
        start = (rows[-1] if rows and closure != "zip" else last) + 3.0
        gap = 1.5 + 0.06 * (hem - start)
        parts.append(Part("vent", points((-0.4, start), (gap, lower + 0.3), (-gap - over * 0.5, lower + 0.3)), "inner"))
        y = 50.0 if hem < 80 else 58.0
        half = float(np.interp(y, profile[:, 0], profile[:, 1]))
        for sign in (-1.0, 1.0):
            flap = points((8.6, y), (half - 4.0, y - 0.8), (half - 4.0, y + 4.0), (8.6, y + 4.6)) * [
                sign,
                1.0,
            ]
            parts.append(Part("flap", flap, lift=0.6))
    return parts
