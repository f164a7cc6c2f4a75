"""The triplet lists of Conditional Similarity Networks: three image numbers per line, anchor, far, close."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lapel import archives
from lapel.datasets.lists import Row, whole_numbers
from lapel.datasets.source import FileSpec, Source

CONDITIONS = {"class": "category", "closure": "closure", "gender": "gender", "heel": "heel_height"}
"""Condition, as the files are called, in the order of the conditions' numbers -> the attribute it is about."""

SPLITS = ("train", "val", "test")

Ints = NDArray[np.int64]

_DIGIT, _BLANK = 1, 2
_KINDS = np.zeros(256, np.uint8)
_KINDS[list(b"0123456789")] = _DIGIT
_KINDS[list(b" \t\r\n")] = _BLANK


class Triplets(NamedTuple):
    """One list: (T, 3) image numbers from 0: anchor, far, close."""

    attribute: str
    split: str
    images: Ints


def list_name(condition: str, split: str) -> str:
    """Return the name of a list at its usual place."""
    return f"data/tripletlists/{condition}_tripletlist_{split}.txt"


def specs() -> tuple[FileSpec, ...]:
    """Return the twelve lists with the places where people keep them."""
    places = ("data/tripletlists", "tripletlists", "data", "ut-zap50k-data/tripletlists", "ut-zap50k-data", "")
    return tuple(
        FileSpec(
            tuple(f"{place}/{condition}_tripletlist_{split}.txt".lstrip("/") for place in places),
            f"which of two images is nearer to a third by {attribute}, for {split}",
            required=False,
        )
        for condition, attribute in CONDITIONS.items()
        for split in SPLITS
    )


def read_triplets(source: Source, named: NDArray[np.bool_]) -> list[Triplets]:
    """Read the lists that are there, about a million lines in a second; what is missing is noted.

    Args:
        source: the data set.
        named: (M,) which lines of filenames.json name an image.

    Faults: a line that is not three numbers of images.

    Raises:
        DatasetError: a list is not UTF-8 text; any fault where the source is strict.
    """
    found, missing = [], []
    for condition, attribute in CONDITIONS.items():
        for split in SPLITS:
            name = list_name(condition, split)
            if source.find(name) is None:
                missing.append(name.rpartition("/")[2])
                continue
            lines, images = _parse_fast(source, name) or _parse_line_by_line(source, name)
            right = _right(source, name, lines, images, named)
            found.append(Triplets(attribute, split, images[right]))
    if found and missing:
        source.note(f"{len(missing)} of {len(CONDITIONS) * len(SPLITS)} triplet lists missing: {', '.join(missing)}")
    return found


def _right(source: Source, name: str, lines: Ints, images: Ints, named: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which triplets have images; one fault for the others of a list, as there may be a hundred thousand."""
    known = np.append(named, False)[np.where((images < 0) | (images >= len(named)), len(named), images)]
    right = known.all(axis=1)
    wrong = np.flatnonzero(~right)
    if len(wrong):
        expected = f"the numbers, 0 to {len(named) - 1:,}, of lines of filenames.json that name an image"
        numbers = " ".join(map(str, images[wrong[0]]))
        more = f" ({len(wrong):,} such lines in all)" if len(wrong) > 1 else ""
        source.fault(f"expected {expected}, found {numbers!r}{more}", name, int(lines[wrong[0]]))
    return np.asarray(right)


def relation(lists: Sequence[Triplets], names: pa.Array) -> pa.Table:
    """Return the catalogue's relation ``triplets``: split, attribute, anchor, positive (close), negative (far).

    Args:
        lists: the triplets; lists of the same attribute and split follow in the order given.
        names: the image of each number.
    """
    # One chunk per list: three million names are more than one array of text should hold.
    columns: dict[str, list[pa.Array]] = {n: [] for n in ("split", "attribute", "anchor", "positive", "negative")}
    for found in lists:
        columns["split"].append(pa.repeat(found.split, len(found.images)))
        columns["attribute"].append(pa.repeat(found.attribute, len(found.images)))
        for column, name in enumerate(("anchor", "negative", "positive")):
            columns[name].append(names.take(pa.array(found.images[:, column])))
    return pa.table({name: pa.chunked_array(chunks, pa.string()) for name, chunks in columns.items()})


def _parse_fast(source: Source, name: str) -> tuple[Ints, Ints] | None:
    """Return (line numbers, triplets) of a list without a fault, None for any other."""
    try:
        data = archives.read_bytes(source.require(name)).removeprefix(codecs.BOM_UTF8)
    except OSError:
        return None  # the slow way says why
    codes = np.frombuffer(data, np.uint8)
    kinds = _KINDS[codes]
    if not kinds.all():
        return None
    digits = kinds == _DIGIT
    starts = np.flatnonzero(digits & ~np.concatenate([[False], digits])[:-1])
    lines = np.searchsorted(np.flatnonzero(codes == ord("\n")), starts)
    if len(starts) % 3 or not len(starts):
        return None
    first, last = lines[0::3], lines[2::3]
    # Three numbers to a line: each triple stays on one, and each starts a new one.
    if (first != last).any() or (first[1:] == last[:-1]).any():
        return None
    numbers = np.fromstring(data.decode("ascii"), np.int64, sep=" ")
    return first + 1, numbers.reshape(-1, 3)


def _parse_line_by_line(source: Source, name: str) -> tuple[Ints, Ints]:
    lines: list[int] = []
    triplets: list[list[int]] = []
    for number, text in source.lines(name):
        tokens = text.split()
        if not tokens:
            continue
        if len(tokens) != 3:
            source.fault(f"expected anchor far close, found {text.strip()[:80]!r}", name, number)
            continue
        numbers = whole_numbers(source, name, Row(number, tokens), 0)
        if numbers is not None:
            lines.append(number)
            triplets.append([max(-1, min(value, 1 << 62)) for value in numbers])
    return np.array(lines, np.int64), np.array(triplets, np.int64).reshape(-1, 3)
