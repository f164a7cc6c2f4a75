"""The public data sets: each module turns one format on disk into the columns of a catalogue."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from lapel.errors import DatasetError, unknown

if TYPE_CHECKING:
    from lapel.datasets.formats import Format

FORMATS = {
    "fashionai": "fashionai",
    "asen": "asen",
    "deepfashion-attributes": "deepfashion_attributes",
    "deepfashion-inshop": "deepfashion_inshop",
    "deepfashion-consumer2shop": "deepfashion_consumer2shop",
    "zappos50k": "zappos50k",
    "street2shop": "street2shop",
    "folder": "folder",
    "csv": "plain_csv",
}
"""Format -> the module that reads it."""


def get(name: str) -> Format:
    """Return a format by name.

    Raises:
        DatasetError: no such format; names the nearest.
    """
    if name not in FORMATS:
        raise DatasetError(unknown("format", name, FORMATS))
    return cast("Format", import_module(f"lapel.datasets.{FORMATS[name]}").FORMAT)
