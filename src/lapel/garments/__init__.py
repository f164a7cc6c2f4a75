"""Rendered garments: drawn images with known attributes, landmarks, regions and item identity.

Every test, the demonstration and the README run on them; they need no download.
"""

from lapel.garments.catalogue import draw_catalogue, item_garment
from lapel.garments.render import DOMAINS, Rendered, render
from lapel.garments.sheet import contact_sheet
from lapel.garments.spec import ALLOWED, ATTRIBUTES, PALETTE, VALUES, Garment, draw_garment
from lapel.landmarks import LANDMARKS

__all__ = [
    "ALLOWED",
    "ATTRIBUTES",
    "DOMAINS",
    "LANDMARKS",
    "PALETTE",
    "VALUES",
    "Garment",
    "Rendered",
    "contact_sheet",
    "draw_catalogue",
    "draw_garment",
    "item_garment",
    "render",
]
