"""The lists of ASEN, for FashionAI, DeepFashion and DARN: the split of every published FashionAI figure.

The root is the lists' own ``data`` folder (``meta.json`` beside a folder per data set) or one of those folders. Per
split an image is known by its line in ``filenames_<split>.txt``, counted from 0; ``label_train.txt`` has an image and
then pairs of attribute and value, ``query_<split>.txt`` and ``candidate_<split>.txt`` an image, an attribute and a
value. Attributes and values are numbers from 0, within ``meta.json`` and within the attribute.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lapel.datasets.fashionai_values import HEADINGS, VALUES
from lapel.datasets.formats import Draft, Format, label_rows
from lapel.datasets.source import PICTURES, FileSpec, Source
from lapel.errors import DatasetError, unknown
from lapel.protocol import AttributeProtocol

VARIANTS = ("FashionAI", "DeepFashion", "DARN")
SPLITS = {"train": "train", "valid": "val", "test": "test"}
"""A split in the file names -> in the catalogue."""

PUBLISHED = (3600, 14400)
"""Queries and candidates of FashionAI's validation and of its test, as published figures have them."""

_STYLES = ("texture", "fabric", "shape", "part", "style")
_TITLES: dict[str, tuple[tuple[str, str], ...]] = {
    "FashionAI": HEADINGS,
    "DeepFashion": tuple((f"{name}-related", name.capitalize()) for name in _STYLES),
}
_GONE = {"DARN": "each is downloaded from an address of its own, and some of those are gone"}
_EARLY = "counted from 0; lists made before the release count otherwise: take the released ones"

Codes = NDArray[np.int32]


@dataclass(frozen=True)
class _Meta:
    """The attributes of a data set in their order, and the names of each one's values."""

    attributes: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]


def _files(variant: str) -> tuple[FileSpec, ...]:
    def spec(name: str, purpose: str) -> FileSpec:
        return FileSpec((f"{variant}/{name}", name), purpose)

    found = [FileSpec(("meta.json", "../meta.json", f"{variant}/meta.json"), "what the attributes are called")]
    for split in SPLITS:
        found.append(spec(f"filenames_{split}.txt", "which image each number is"))
    found.append(spec("label_train.txt", "which values the images for training have"))
    for split in ("valid", "test"):
        found.append(spec(f"query_{split}.txt", "which images are asked, for which attribute"))
        found.append(spec(f"candidate_{split}.txt", "which images are ranked, for which attribute"))
    return tuple(found)


def _read(source: Source) -> Draft:
    _check_folder(source)
    meta = _meta(source)
    images: list[str] = []
    splits: list[str] = []
    labels: list[Codes] = []  # (n, 3) row of the catalogue, attribute, value
    relation: list[pa.Table] = []
    for split, ours in SPLITS.items():
        rows = _images(source, f"filenames_{split}.txt", images)
        splits += [ours] * (len(images) - len(splits))
        roles = ("label",) if split == "train" else ("query", "candidate")
        lists = [_rows(source, f"{role}_{split}.txt", f"filenames_{split}.txt", meta, rows) for role in roles]
        labels += lists
        if split == "train":
            _note_unlabelled(source, "label_train.txt gives no value for", rows, lists)
            continue
        relation += [_queries(ours, role, codes, meta) for role, codes in zip(roles, lists, strict=True)]
        _note_unlabelled(source, f"neither a query nor a candidate list of {split} names", rows, lists)
        _note_lists(source, split, *lists)
    twice = len(images) - len(set(images))
    if twice:
        source.note(f"{twice:,} images are in more than one split: figures on them are too high")
    table = pa.concat_tables(relation)
    paths = pa.array(images, pa.string()).take(table["row"].combine_chunks())
    draft = {"image": images, "split": splits}
    bases = (source.variant, "", "..") if _nested(source) else ("", "..")
    return Draft(
        draft,
        _label_table(np.concatenate(labels), meta),
        meta.attributes,
        AttributeProtocol(relation="queries", headings=_headings(source.variant, meta)),
        bases,
        {"queries": table.drop_columns("row").append_column("image", paths)},
        _GONE.get(source.variant, ""),
    )


def _nested(source: Source) -> bool:
    """Whether the root is the folder above the data set's own."""
    return not any((source.root / f"filenames_{split}.txt").is_file() for split in SPLITS)


def _check_folder(source: Source) -> None:
    """Refuse to read one data set's folder as another's: without a variant named, the first is taken.

    Raises:
        DatasetError: names the variant.
    """
    own = {name.lower(): name for name in VARIANTS}.get(source.root.resolve().name.lower())
    if own is not None and own != source.variant and _nested(source) is False:
        raise DatasetError(f"{source.root} holds the lists of {own}, not of {source.variant}: give --variant {own}")


def _meta(source: Source) -> _Meta:
    """Return what meta.json says of the data set.

    Raises:
        DatasetError: it says nothing of it, or not in its form.
    """
    data = source.json("meta.json")
    own = data.get(source.variant, data if "ATTRIBUTES" in data else None) if isinstance(data, dict) else None
    if own is None:
        known = data if isinstance(data, dict) else {}
        raise DatasetError(f"meta.json: {unknown('data set', source.variant, known)}")
    names, counts = (own.get(key) if isinstance(own, dict) else None for key in ("ATTRIBUTES", "ATTRIBUTES_NUM"))
    if not (isinstance(names, list) and isinstance(counts, dict) and _well_formed(names, counts)):
        raise DatasetError(
            f"meta.json: expected ATTRIBUTES (a list of names) and ATTRIBUTES_NUM (name -> number of values) for "
            f"{source.variant}, found {str(own)[:80]}: unpack it again"
        )
    values: list[tuple[str, ...]] = []
    for name in names:
        numbers = tuple(str(value) for value in range(counts[name]))
        named = VALUES.get(name, numbers) if source.variant == "FashionAI" else numbers
        if len(named) != len(numbers):
            source.note(f"meta.json says {counts[name]} values of {name}, not {len(named)}: they keep their numbers")
        values.append(named if len(named) == len(numbers) else numbers)
    return _Meta(tuple(names), tuple(values))


def _well_formed(names: list[Any], counts: dict[Any, Any]) -> bool:
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        return False
    return all(type(counts.get(name)) is int and counts[name] > 0 for name in names)


def _images(source: Source, name: str, images: list[str]) -> Codes:
    """Append a split's images to those of the catalogue; return the row of each of its numbers, -1 where faulty."""
    rows = array("i")
    lines: dict[str, int] = {}
    texts = [(number, text.strip()) for number, text in source.lines(name)]
    while texts and not texts[-1][1]:
        texts.pop()
    for number, path in texts:
        right = not _numbers(path) if source.variant == "DARN" else path.lower().endswith(PICTURES)
        if not right or not path:
            source.fault(f"expected the path of an image, found {path[:60]!r}", name, number)
        elif path in lines:
            source.fault(f"{path} is on line {lines[path]:,} already", name, number)
        else:
            lines[path] = number
            rows.append(len(images))
            images.append(path)
            continue
        rows.append(-1)
    return np.array(rows, np.int32)


def _numbers(text: str) -> bool:
    return all(token.isdecimal() for token in text.split())


def _rows(source: Source, name: str, names: str, meta: _Meta, rows: Codes) -> Codes:
    """Return (row of the catalogue, attribute, value) of every entry of a list, in its order, faulty lines left out."""
    found = array("i")
    seen: dict[Any, int] = {}
    listed = name != "label_train.txt"
    # FashionAI has one attribute and one value per image.
    single = listed or source.variant == "FashionAI"
    repeats = 0
    for number, text in source.lines(name):
        tokens = text.split()
        if not tokens:
            continue
        codes = _whole(tokens)
        if codes is None or (len(codes) != 3 if single else len(codes) % 2 == 0):
            pairs = "" if single else ", and more such pairs"
            expected = f"image number, attribute number, value number{pairs}"
            source.fault(f"expected {expected}, found {text.strip()[:80]!r}", name, number)
            continue
        wrong = _out_of_range(codes, names, meta, rows)
        if wrong:
            source.fault(wrong, name, number)
            continue
        key = tuple(codes) if listed and source.variant != "FashionAI" else codes[0]
        if key not in seen:
            seen[key] = number
        elif isinstance(key, tuple):
            repeats += 1
        else:
            source.fault(f"image number {key:,} is on line {seen[key]:,} already", name, number)
            continue
        for place in range(1, len(codes), 2):
            found.extend((rows[codes[0]], codes[place], codes[place + 1]))
    if repeats:
        source.note(f"{name} repeats {repeats:,} of its lines: they count as often as they stand there")
    return np.array(found, np.int32).reshape(-1, 3)


def _whole(tokens: Sequence[str]) -> list[int] | None:
    return [int(token) for token in tokens] if all(token.isdecimal() for token in tokens) else None


def _out_of_range(codes: Sequence[int], names: str, meta: _Meta, rows: Codes) -> str:
    """Return which number of a line is none of the data set's, nothing if all are."""
    if codes[0] >= len(rows):
        limit = f"{len(rows):,} (the lines of {names}, unless that is cut short)"
        return f"expected an image number below {limit} in column 1, found {codes[0]:,}"
    if rows[codes[0]] < 0:
        return f"image number {codes[0]:,} has no usable line in {names}"
    for place in range(1, len(codes), 2):
        attribute, value = codes[place], codes[place + 1]
        if attribute >= len(meta.attributes):
            what = f"an attribute number below {len(meta.attributes)} in column {place + 1}"
            return f"expected {what}, found {attribute:,} ({_EARLY})"
        if value >= len(meta.values[attribute]):
            what = f"a value number of {meta.attributes[attribute]} below {len(meta.values[attribute])}"
            return f"expected {what} in column {place + 2}, found {value:,} ({_EARLY})"
    return ""


def _queries(split: str, role: str, codes: Codes, meta: _Meta) -> pa.Table:
    count = len(codes)
    values = [pa.array(names, pa.string()) for names in meta.values]
    starts = np.cumsum([0, *map(len, values)])[:-1]
    return pa.table(
        {
            "split": pa.repeat(split, count),
            "role": pa.repeat(role, count),
            "attribute": pa.array(meta.attributes, pa.string()).take(pa.array(codes[:, 1])),
            "value": pa.concat_arrays(values).take(pa.array(starts[codes[:, 1]] + codes[:, 2])),
            "row": pa.array(codes[:, 0]),
        }
    )


def _label_table(codes: Codes, meta: _Meta) -> pa.Table:
    """Return the labels, each once: an image may be listed for one value in several places."""
    found: dict[str, tuple[NDArray[Any], pa.Array]] = {}
    for number, attribute in enumerate(meta.attributes):
        own = np.unique(codes[codes[:, 1] == number][:, (0, 2)], axis=0)
        found[attribute] = own[:, 0], pa.array(meta.values[number], pa.string()).take(pa.array(own[:, 1]))
    return label_rows(found)


def _headings(variant: str, meta: _Meta) -> tuple[tuple[str, str], ...]:
    """Return the headings of the papers' tables; DARN's are its attributes' names without the word "clothes"."""
    known: Mapping[str, str] = dict(_TITLES.get(variant, ()))
    return tuple((name, known.get(name, name.removeprefix("clothes ").capitalize())) for name in meta.attributes)


def _note_unlabelled(source: Source, what: str, rows: Codes, lists: Sequence[Codes]) -> None:
    count = len(set(rows[rows >= 0].tolist()) - set(np.concatenate(lists)[:, 0].tolist()))
    if count:
        source.note(f"{what} {count:,} images")


def _note_lists(source: Source, split: str, queries: Codes, candidates: Codes) -> None:
    both = set(map(tuple, queries[:, :2].tolist())) & set(map(tuple, candidates[:, :2].tolist()))
    if both:
        source.note(f"{len(both):,} images of {split} are queries and candidates of one attribute")
    found = (len(queries), len(candidates))
    if source.variant == "FashionAI" and found != PUBLISHED:
        source.note(
            f"{split} has {found[0]:,} queries and {found[1]:,} candidates, the published lists {PUBLISHED[0]:,} and "
            f"{PUBLISHED[1]:,}: figures do not compare with published ones"
        )


FORMAT = Format(
    "asen",
    "the ASEN split of FashionAI, DeepFashion and DARN",
    "the authors of ASEN (Ma, Dong and others, AAAI 2020); search for 'ASEN fashion similarity data split'",
    _files,
    _read,
    VARIANTS,
)
