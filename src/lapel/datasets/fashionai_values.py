"""FashionAI's attributes and values, in the order of its label strings: the same names in every list of its images."""

from __future__ import annotations

VALUES: dict[str, tuple[str, ...]] = {
    "skirt_length": ("Invisible", "Short Length", "Knee Length", "Midi Length", "Ankle Length", "Floor Length"),
    "sleeve_length": (
        "Invisible", "Sleeveless", "Cup Sleeves", "Short Sleeves", "Elbow Sleeves", "3/4 Sleeves", "Wrist Length",
        "Long Sleeves", "Extra Long Sleeves",
    ),
    "coat_length": (
        "Invisible", "High Waist Length", "Regular Length", "Long Length", "Micro Length", "Knee Length",
        "Midi Length", "Ankle&Floor Length",
    ),
    "pant_length": ("Invisible", "Short Pant", "Mid Length", "3/4 Length", "Cropped Pant", "Full Length"),
    "collar_design": ("Invisible", "Shirt Collar", "Peter Pan", "Puritan Collar", "Rib Collar"),
    "lapel_design": ("Invisible", "Notched", "Collarless", "Shawl Collar", "Plus Size Shawl"),
    "neckline_design": (
        "Invisible", "Strapless Neck", "Deep V Neckline", "Straight Neck", "V Neckline", "Square Neckline",
        "Off Shoulder", "Round Neckline", "Sweat Heart Neck", "One Shoulder Neckline",
    ),
    "neck_design": ("Invisible", "Turtle Neck", "Ruffle Semi-High Collar", "Low Turtle Neck", "Draped Collar"),
}  # fmt: skip
"""Attribute -> its values, spelt as their owners spell them; ``Invisible`` means that it cannot be told.

The paper's table of the data says that neckline_design has 11 values; the label strings and the split files have 10.
"""

HEADINGS = (
    ("skirt_length", "Skirt-l"),
    ("sleeve_length", "Sleeve-l"),
    ("coat_length", "Coat-l"),
    ("pant_length", "Pant-l"),
    ("collar_design", "Collar"),
    ("lapel_design", "Lapel"),
    ("neckline_design", "Neckline"),
    ("neck_design", "Neck"),
)
"""Attribute and how the paper's tables head its column."""
