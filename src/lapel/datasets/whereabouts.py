"""Where a data set seems to be that is not at the folder one gave."""

from __future__ import annotations

import os
from pathlib import Path

from lapel import datasets
from lapel.datasets.formats import Format
from lapel.datasets.source import Source

_LOOKED = 300  # folders in which a data set is looked for


def elsewhere(form: Format, source: Source) -> list[str]:
    """Say where the data set seems to be, if not at the root: a folder above or below; or which other one this is."""

    def held(folder: Path, other: Format = form) -> int:
        variants = other.variants or ("",)
        return max(sum(any(_lies(folder, n) for n in s.names) for s in other.files(v)) for v in variants)

    here = held(source.root)
    top = source.root.resolve()
    below = [Path(folder) for folder in _folders(top)]
    best = max([*top.parents[:2], *below], key=held, default=top)
    if held(best) > here:
        return [f"the data set seems to be in {best}: give that folder"]
    # Several data sets have lists of one name: what counts is whose files there are most of.
    likeliest = max(map(datasets.get, datasets.FORMATS), key=lambda other: held(top, other))
    if likeliest.name != form.name and held(top, likeliest) > here:
        return [f"these are the files of {likeliest.name}: {likeliest.title}"]
    return []


def _lies(folder: Path, name: str) -> bool:
    path = folder / name
    return path.is_dir() if name.endswith("/") else path.is_file()


def _folders(top: Path) -> list[str]:
    """Return the folders up to two levels below, not more than a few hundred."""
    found: list[str] = []
    for depth in range(2):
        for folder in [os.fspath(top)] if depth == 0 else found[:]:
            try:
                with os.scandir(folder) as entries:
                    inside = sorted(entry.path for entry in entries if entry.is_dir())
            except OSError:
                continue
            found += inside[: _LOOKED - len(found)]
    return found
