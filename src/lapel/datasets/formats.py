"""What a public format is to the rest of Lapel: its files, how it is read, and what reading it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from lapel import columns
from lapel.datasets.source import FileSpec, Source
from lapel.protocol import Protocol


@dataclass(frozen=True, eq=False)
class Draft:
    """A data set that was read, before its pictures are looked for.

    Attributes:
        images: columns of equal length, one entry per row of the catalogue: ``image`` (the path as the data set names
            it), and any of ``item``, ``split``, ``domain``, ``box`` (x1, y1, x2, y2), ``landmarks`` (24 numbers) and
            free metadata.
        labels: (image row int32, attribute, value), as ``label_table`` gives it.
        attributes: attribute names in the papers' order.
        protocol: how the data set is scored.
        bases: folders below the root that image paths may start from, the usual one first.
        relations: tables that name images by path.
        missing: why pictures are usually missing from every copy of this data set; empty: they should all be there.
    """

    images: Mapping[str, Sequence[Any] | pa.Array]
    labels: pa.Table
    attributes: tuple[str, ...]
    protocol: Protocol
    bases: tuple[str, ...] = ("",)
    relations: Mapping[str, pa.Table] = field(default_factory=dict)
    missing: str = ""


@dataclass(frozen=True)
class Format:
    """One public format.

    Attributes:
        name: as the command line takes it.
        title: the data set's own name.
        owners: who publishes it and what to search for, never a link, which dies.
        files: the files of a variant, as FileSpecs.
        read: a source to a draft.
        variants: names of what may lie in one root (releases, image sizes), the default first.
        options: settings that it takes (the roles of columns); with any, the root may be a single file.
    """

    name: str
    title: str
    owners: str
    files: Callable[[str], tuple[FileSpec, ...]]
    read: Callable[[Source], Draft]
    variants: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def label_table(values: Mapping[str, Sequence[str | Sequence[str] | None]]) -> pa.Table:
    """Return the label table of attribute -> one entry per image: a value, several, or None.

    >>> label_table({"fit": ["slim", None, ["wide", "long"]]})["value"].to_pylist()
    ['slim', 'wide', 'long']
    """
    kind = pa.list_(pa.string())
    lists = {
        name: pa.chunked_array([pa.array([[cell] if isinstance(cell, str) else cell for cell in cells], kind)])
        for name, cells in values.items()
    }
    return columns.long_labels(lists)


def label_rows(found: Mapping[str, tuple[np.ndarray, pa.Array]]) -> pa.Table:
    """Return the label table of attribute -> (image rows (n,), values (n,)), for label sets too large for lists."""
    return pa.table(
        {
            "image": np.concatenate([np.zeros(0, np.int32), *(rows.astype(np.int32) for rows, _ in found.values())]),
            "attribute": pa.chunked_array(
                [pa.repeat(name, len(rows)) for name, (rows, _) in found.items()], pa.string()
            ),
            "value": pa.chunked_array([values.cast(pa.string()) for _, values in found.values()], pa.string()),
        }
    )
