"""What a garment is: its attribute values and the design that makes it one item."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from lapel.errors import LapelError, unknown

PALETTE: dict[str, tuple[int, int, int]] = {
    "white": (243, 242, 239),
    "black": (34, 33, 36),
    "grey": (139, 140, 144),
    "red": (198, 34, 42),
    "orange": (238, 124, 34),
    "yellow": (246, 210, 62),
    "green": (50, 136, 76),
    "blue": (56, 118, 210),
    "navy": (32, 42, 92),
    "purple": (122, 66, 156),
    "pink": (242, 154, 182),
    "brown": (112, 70, 44),
    "beige": (214, 190, 154),
}
"""Named colours, sRGB. The ground colour of a garment is one of them, moved a little from item to item."""

VALUES: dict[str, tuple[str, ...]] = {
    "category": ("top", "dress", "skirt", "trousers", "coat"),
    "neckline": ("round", "v_neck", "square", "boat", "high"),
    "collar": ("none", "shirt", "polo", "mandarin", "hood"),
    "lapel": ("none", "notched", "peak", "shawl"),
    "sleeve_length": ("sleeveless", "short", "three_quarter", "long"),
    "length": ("cropped", "hip", "shorts", "mini", "knee", "midi", "maxi", "ankle"),
    "colour": tuple(PALETTE),
    "pattern": ("solid", "stripe", "check", "dot", "floral"),
}
"""Every attribute with its values, in the order of the catalogue's columns."""

ATTRIBUTES = tuple(VALUES)

_SLEEVES = VALUES["sleeve_length"]
ALLOWED: dict[str, dict[str, tuple[str, ...]]] = {
    "top": {
        "neckline": VALUES["neckline"],
        "collar": VALUES["collar"],
        "sleeve_length": _SLEEVES,
        "length": ("cropped", "hip"),
    },
    "dress": {
        "neckline": VALUES["neckline"],
        "collar": ("none", "shirt", "polo", "mandarin"),
        "sleeve_length": _SLEEVES,
        "length": ("mini", "knee", "midi", "maxi"),
    },
    "skirt": {"length": ("mini", "knee", "midi", "maxi")},
    "trousers": {"length": ("shorts", "knee", "ankle")},
    "coat": {
        "collar": ("none", "shirt", "mandarin", "hood"),
        "lapel": VALUES["lapel"],
        "sleeve_length": ("three_quarter", "long"),
        "length": ("cropped", "hip", "knee", "midi"),
    },
}
"""The attributes each category can have, with their values. What is not here is missing, never "no"."""


@dataclass(frozen=True)
class Garment:
    """One item: attribute values (None where it has no such attribute) and the design around them.

    A garment with a collar has no neckline label, one with a real lapel no collar label: there one part of
    the cloth decides both. The other fields are the item's identity: two views of an item share all of them.

    Raises:
        LapelError: a value is unknown, or its category cannot have it.
    """

    category: str
    length: str
    colour: str
    pattern: str
    neckline: str | None = None
    collar: str | None = None
    lapel: str | None = None
    sleeve_length: str | None = None
    second_colour: str = "white"
    fit: float = 0.5
    flare: float = 0.5
    depth: float = 0.5
    period: float = 6.0
    upright: bool = False
    closure: str = "button"
    pocket: bool = False
    belt: bool = False
    pleats: bool = False
    tint: tuple[float, float, float] = (0.0, 0.0, 0.0)
    texture: int = 0

    def __post_init__(self) -> None:
        for attribute in ATTRIBUTES:
            value = getattr(self, attribute)
            if value is not None and value not in VALUES[attribute]:
                raise LapelError(unknown(f"{attribute} of a garment", value, VALUES[attribute]))
        allowed = ALLOWED[self.category]
        for attribute in ("neckline", "collar", "lapel", "sleeve_length", "length"):
            value = getattr(self, attribute)
            if value is not None and value not in allowed.get(attribute, ()):
                known = ", ".join(allowed.get(attribute, ())) or "none at all"
                raise LapelError(f"a {self.category} cannot have {attribute}={value!r}; it may have: {known}")
        if self.lapel not in (None, "none") and self.collar is not None:
            raise LapelError(f"a coat with lapel={self.lapel!r} has no collar label, found {self.collar!r}")
        if self.collar not in (None, "none") and self.neckline is not None:
            raise LapelError(f"a garment with collar={self.collar!r} has no neckline, found {self.neckline!r}")
        if self.category in ("top", "dress") and self.collar == "none" and self.neckline is None:
            raise LapelError(f"a {self.category} without a collar needs a neckline")

    @property
    def labels(self) -> dict[str, str]:
        """The attribute values this garment has, in the order of :data:`VALUES`."""
        return {name: getattr(self, name) for name in ATTRIBUTES if getattr(self, name) is not None}

    @classmethod
    def random(cls, seed: int, **fixed: str) -> Garment:
        """Draw the garment of a seed; ``fixed`` sets attribute values (see :func:`draw_garment`)."""
        return draw_garment(np.random.default_rng(seed), **fixed)


def draw_garment(rng: np.random.Generator, **fixed: str) -> Garment:
    """Draw a garment, every choice uniform among what goes with the choices before it.

    Args:
        rng: source of randomness.
        fixed: attribute values to keep, such as ``category="coat", lapel="peak"``. Without a category, one
            that can have all of them is drawn.

    Raises:
        LapelError: an unknown attribute or value, or values that no garment has together.
    """
    for attribute, value in fixed.items():
        if attribute not in VALUES:
            raise LapelError(unknown("attribute of a garment", attribute, ATTRIBUTES))
        if value not in VALUES[attribute]:
            raise LapelError(unknown(f"{attribute} of a garment", value, VALUES[attribute]))
    able = [name for name in VALUES["category"] if _can(name, fixed)]
    if not able:
        raise LapelError(f"no garment has {', '.join(f'{k}={v!r}' for k, v in fixed.items())} together")
    category = _pick(rng, able)
    chosen: dict[str, str | None] = {"category": category}
    for attribute, values in ALLOWED[category].items():
        chosen[attribute] = fixed.get(attribute) or _pick(rng, values)
    _agree(chosen, fixed, rng)
    for attribute in ("colour", "pattern"):
        chosen[attribute] = fixed.get(attribute) or _pick(rng, VALUES[attribute])
    colour = str(chosen["colour"])
    design = {
        "second_colour": _pick(rng, _contrasting(colour)),
        "fit": float(rng.uniform()),
        "flare": float(rng.uniform()),
        "depth": float(rng.uniform()),
        "period": float(rng.uniform(4.5, 8.0)),
        "upright": bool(rng.random() < 0.4),
        "closure": _pick(rng, ("button", "zip", "double")),
        "pocket": bool(rng.random() < 0.5),
        "belt": bool(rng.random() < 0.3),
        "pleats": bool(rng.random() < 0.35),
        "tint": tuple(float(x) for x in rng.uniform(-7, 7, 3)),
        "texture": int(rng.integers(1 << 30)),
    }
    known = {field.name for field in fields(Garment)}
    return Garment(**{k: v for k, v in {**chosen, **design}.items() if k in known})  # type: ignore[arg-type]


def _can(category: str, fixed: dict[str, str]) -> bool:
    """Say whether a garment of this category can have all the fixed values at once."""
    if fixed.get("category", category) != category:
        return False
    shape = {k: v for k, v in fixed.items() if k not in ("category", "colour", "pattern")}
    if any(value not in ALLOWED[category].get(name, ()) for name, value in shape.items()):
        return False
    if "neckline" in shape and shape.get("collar", "none") != "none":
        return False
    return not (shape.get("lapel", "none") != "none" and "collar" in shape)


def _agree(chosen: dict[str, str | None], fixed: dict[str, str], rng: np.random.Generator) -> None:
    """Make the drawn values fit each other; fixed ones win, otherwise half the tops keep a bare neckline."""
    if "neckline" in chosen:
        if "neckline" in fixed or ("collar" not in fixed and rng.random() < 0.5):
            chosen["collar"] = "none"
        if chosen["collar"] != "none":
            chosen["neckline"] = None
    if "lapel" in chosen:
        if "collar" in fixed or ("lapel" not in fixed and rng.random() < 0.25):
            chosen["lapel"] = "none"
        if chosen["lapel"] != "none":
            chosen["collar"] = None


def _contrasting(colour: str) -> list[str]:
    """Return the colours that a second colour must be among to show on ``colour``."""
    ground = np.array(PALETTE[colour], float)
    weights = np.array([0.5, 1.0, 0.4])
    return [name for name, rgb in PALETTE.items() if float(np.abs(ground - rgb) @ weights) > 130.0]


def _pick(rng: np.random.Generator, values: list[str] | tuple[str, ...]) -> str:
    return values[int(rng.integers(len(values)))]
