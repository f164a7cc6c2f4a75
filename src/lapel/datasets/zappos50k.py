"""UT-Zappos50K: shoes with attributes, and the triplets of Conditional Similarity Networks.

``ut-zap50k-images/<category>/<subcategory>/<brand>/100627.72.jpg`` is the shoe with CID ``100627-72`` of
``meta-data.csv``. ``filenames.json`` is, despite its name, one path per line; the triplet lists count its lines from 0.
Folders whose name ends in a full stop, and brands with an apostrophe, are called otherwise on disk than in the lists,
so names are compared by what they mean.
"""

from __future__ import annotations

import csv
import functools
import html
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lapel.datasets.formats import Draft, Format, label_table
from lapel.datasets.source import PICTURES, FileSpec, Source
from lapel.datasets.zappos_triplets import CONDITIONS, SPLITS, Triplets, read_triplets, relation, specs
from lapel.errors import DatasetError, unknown
from lapel.protocol import AttributeProtocol, TripletProtocol

VARIANTS = ("ut-zap50k-images", "ut-zap50k-images-square")
CATEGORIES = ("Shoes", "Boots", "Sandals", "Slippers")
HEEL_HEIGHTS = ("Flat", "Under 1in", "1in-1 3/4in", "2in-2 3/4in", "3in-3 3/4in", "4in-4 3/4in", "5in & over")
ATTRIBUTES = (*CONDITIONS.values(), "subcategory", "insole", "material", "toe_style")

_META = "ut-zap50k-data/meta-data.csv"
_FILENAMES = "data/filenames.json"
_COLUMNS = {
    "CID": "cid", "Category": "category", "SubCategory": "subcategory", "HeelHeight": "heel_height",
    "Insole": "insole", "Closure": "closure", "Gender": "gender", "Material": "material", "ToeStyle": "toe_style",
}  # fmt: skip
_LAYOUT = "<category>/<subcategory>/<brand>/<file>"
_CID = re.compile(r"\d+-\d+", re.ASCII)


class _Shoe(NamedTuple):
    """One image: its name on disk, and its path with every folder called what it means."""

    image: str
    path: tuple[str, ...]

    @property
    def cid(self) -> str:
        return self.path[-1].rpartition(".")[0].replace(".", "-")


class _Disk:
    """The pictures below the images folder (or in its archive), found by the names that the lists give them."""

    def __init__(self, source: Source) -> None:
        place = source.require(f"{source.variant}/")
        self.base = place.relative_to(source.root).as_posix()
        self.shoes: dict[str, _Shoe] = {}
        self._by_path: dict[tuple[str, ...], str] = {}
        self._by_file: dict[str, str | None] = {}
        self.prefix = ""
        for name in sorted(source.pictures(self.base)):
            *before, category, subcategory, brand, file = ("", "", "", *name.split("/"))
            path = _meaning((category, subcategory, brand, file))
            if path[0] not in CATEGORIES or file.startswith("."):
                continue
            self.prefix = "".join(f"{folder}/" for folder in before if folder)
            self.shoes[name] = _Shoe(name, path)
            self._by_path.setdefault(_key(path), name)
            self._by_file[path[-1]] = None if path[-1] in self._by_file else name

    def find(self, path: tuple[str, ...]) -> str | None:
        """Return the name on disk of a listed path: the same folders, or else the only picture of that file name."""
        return self._by_path.get(_key(path)) or self._by_file.get(path[-1])


def _meaning(parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(_plain, parts))


@functools.lru_cache(maxsize=1 << 14)
def _plain(name: str) -> str:
    """Return what a folder's name means: ``%2E`` is a full stop, ``&#39;`` an apostrophe."""
    return unicodedata.normalize("NFC", html.unescape(unquote(name))).strip()


def _key(path: Sequence[str]) -> tuple[str, ...]:
    """Return what stays of a path on every disk: some lose a folder's last full stop."""
    return (*(folder.rstrip(". ") for folder in path[:-1]), path[-1])


def _files(variant: str) -> tuple[FileSpec, ...]:
    variant = variant or VARIANTS[0]
    pictures = (f"{variant}/", f"data/{variant}/", f"{variant}.zip", f"data/{variant}.zip")
    beside = ("filenames.json", "ut-zap50k-data/filenames.json", "data/filenames.txt", "filenames.txt")
    return (
        FileSpec(pictures, "what each shoe looks like, and its category, subcategory and brand"),
        FileSpec(
            (_META, "meta-data.csv", f"data/{_META}", "data/meta-data.csv"), "what attributes each shoe has", False
        ),
        FileSpec((_FILENAMES, *beside), "which image each number of the triplet lists is", False),
        *specs(),
    )


def _read(source: Source) -> Draft:
    disk = _Disk(source)
    shoes, numbered = _list_shoes(source, disk)
    lists = _triplets(source, numbered)
    names = pa.array([None if row < 0 else shoes[row].image for row in numbered], pa.string())
    return Draft(
        images={
            "image": [shoe.image for shoe in shoes],
            "split": _splits(source, lists, numbered, len(shoes)),
            "cid": [shoe.cid for shoe in shoes],
            "brand": [shoe.path[2] for shoe in shoes],
        },
        labels=_labels(source, shoes),
        attributes=ATTRIBUTES,
        protocol=TripletProtocol() if lists else AttributeProtocol(),
        bases=(disk.base,),
        relations={"triplets": relation(lists, names)} if lists else {},
    )


def _list_shoes(source: Source, disk: _Disk) -> tuple[list[_Shoe], NDArray[np.int64]]:
    """Return the shoes, those of filenames.json first, and for each of its lines the shoe's row, -1 for none."""
    if source.find(_FILENAMES) is None:
        source.note(f"no {_FILENAMES}: the images are those on disk, without splits and triplets")
        return list(disk.shoes.values()), np.zeros(0, np.int64)
    shoes: list[_Shoe] = []
    numbered: list[int] = []
    first: dict[str, int] = {}
    for line, text in source.lines(_FILENAMES):
        # A line that names nothing has a number all the same.
        shoe = _listed(source, disk, line, text.strip()) if text.strip() else None
        if shoe is None:
            numbered.append(-1)
        elif shoe.image in first:
            source.fault(f"{text.strip()} again, as in line {first[shoe.image]:,}", _FILENAMES, line)
            numbered.append(numbered[first[shoe.image] - 1])
        else:
            first[shoe.image] = line
            numbered.append(len(shoes))
            shoes.append(shoe)
    further = [shoe for name, shoe in disk.shoes.items() if name not in first]
    if further:
        source.note(f"images that are not in filenames.json: {len(further):,}, the first: {further[0].image}")
    return shoes + further, np.array(numbered, np.int64)


def _listed(source: Source, disk: _Disk, line: int, text: str) -> _Shoe | None:
    """Return the shoe of a line of filenames.json; a fault and None where it names none."""
    if not text.lower().endswith(PICTURES):
        source.fault(f"expected the path of an image, found {text[:80]!r}", _FILENAMES, line)
        return None
    parts = text.split("/")[-4:]
    path = _meaning(parts)
    if len(parts) < 4:
        source.fault(f"expected {_LAYOUT}, found {text[:80]!r}", _FILENAMES, line)
    elif path[0] not in CATEGORIES:
        source.fault(unknown("category", path[0], CATEGORIES), _FILENAMES, line)
    else:
        return _Shoe(disk.find(path) or disk.prefix + "/".join(parts), path)
    return None


def _triplets(source: Source, numbered: NDArray[np.int64]) -> list[Triplets]:
    if len(numbered):
        lists = read_triplets(source, numbered >= 0)
        if not lists:
            source.note("no triplet lists: images have no split, and retrieval by attribute is scored instead")
        return lists
    if any(source.find(spec.names[0]) is not None for spec in specs()):
        source.note("the triplet lists are left out: without filenames.json their numbers mean nothing")
    return []


def _splits(source: Source, lists: Sequence[Triplets], numbered: NDArray[np.int64], count: int) -> list[str | None]:
    """Return the split of each image: that of the triplets it occurs in, the first of train, val, test."""
    member = np.zeros((len(SPLITS), count), bool)
    for found in lists:
        member[SPLITS.index(found.split), numbered[found.images.ravel()]] = True
    several = int((member.sum(axis=0) > 1).sum())
    if several:
        source.note(
            f"images in the triplets of several splits: {several:,}; they count to the first of train, val, test"
        )
    names = np.array([*SPLITS, None], object)
    return list(names[np.where(member.any(axis=0), member.argmax(axis=0), len(SPLITS))])


def _labels(source: Source, shoes: Sequence[_Shoe]) -> pa.Table:
    found = _metadata(source)
    told = bool(found)
    values: dict[str, list[str | tuple[str, ...] | None]] = {name: [] for name in ATTRIBUTES}
    without = 0
    for shoe in shoes:
        known = found.pop(shoe.cid, {})
        without += not known
        for name, cells in values.items():
            cells.append(known.get(name))
        # Where the table says nothing the folders do.
        values["category"][-1] = values["category"][-1] or shoe.path[0]
        values["subcategory"][-1] = values["subcategory"][-1] or shoe.path[1]
    if told and without:
        source.note(
            f"images that are not in meta-data.csv: {without:,}; they have a category, a subcategory and a brand"
        )
    if found:
        source.note(f"shoes of meta-data.csv without an image: {len(found):,}, the first: {next(iter(found))}")
    return label_table(values)


def _metadata(source: Source) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return CID -> attribute -> values."""
    if source.find(_META) is None:
        source.note(f"no {_META}: images have a category, a subcategory and a brand, from their folders")
        return {}
    lines = source.lines(_META)
    _, first = next(lines, (1, ""))
    header = [_COLUMNS_BY_NAME.get(cell.strip().lower(), cell.strip()) for cell in _cells(first)]
    if "cid" not in header or len(set(header)) < len(header):
        raise DatasetError(f"{_META} line 1: expected {','.join(_COLUMNS)}, found {first[:80]!r}")
    lacking = [name for name, column in _COLUMNS.items() if column not in header]
    if lacking:
        source.note(f"meta-data.csv lacks {', '.join(lacking)}")
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    where: dict[str, int] = {}
    for line, text in lines:
        if not text.strip():
            continue
        cells = _cells(text)
        if len(cells) != len(header):
            source.fault(f"expected {first.strip()}, found {text[:80]!r}", _META, line)
            continue
        row = {name: _values(name, cell) for name, cell in zip(header, cells, strict=True) if name in _KNOWN}
        cid = cells[header.index("cid")].strip()
        if not _CID.fullmatch(cid):
            column = header.index("cid") + 1
            source.fault(f"expected a CID such as 100627-72 in column {column}, found {cid[:60]!r}", _META, line)
        elif strange := [value for value in row.get("category", ()) if value not in CATEGORIES]:
            source.fault(unknown("category", strange[0], CATEGORIES), _META, line)
        elif cid in found:
            source.fault(f"{cid} again, as in line {where[cid]:,}", _META, line)
        else:
            found[cid] = {name: values for name, values in row.items() if name != "cid" and values}
            where[cid] = line
    heels = {value for row in found.values() for value in row.get("heel_height", ())} - set(HEEL_HEIGHTS)
    if heels:
        source.note(f"meta-data.csv has heel heights that are not among the seven: {', '.join(sorted(heels))}")
    return found


_COLUMNS_BY_NAME = {name.lower(): column for name, column in _COLUMNS.items()}
_KNOWN = frozenset(ATTRIBUTES)
_HEELS = {re.sub(r"\s", "", name).lower(): name for name in HEEL_HEIGHTS}


def _cells(text: str) -> list[str]:
    return next(csv.reader([text]), [])


@functools.lru_cache(maxsize=1 << 14)
def _values(attribute: str, cell: str) -> tuple[str, ...]:
    """Return the values of a cell, which ``;`` separates; entities first, as they end in one too."""
    values = [value.strip() for value in html.unescape(cell).split(";")]
    if attribute == "heel_height":
        # "1in - 1 3/4in" in some copies.
        values = [_HEELS.get(re.sub(r"\s", "", value).lower(), value) for value in values]
    return tuple(dict.fromkeys(value for value in values if value))


FORMAT = Format(
    name="zappos50k",
    title="UT-Zappos50K",
    owners=(
        "University of Texas at Austin (Yu and Grauman); search for 'UT Zappos50K'. The triplet lists: search for "
        "'conditional similarity networks' (Veit, Belongie, Karaletsos)"
    ),
    files=_files,
    read=_read,
    variants=VARIANTS,
)
