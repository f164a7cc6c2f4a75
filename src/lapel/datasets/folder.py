"""A folder of pictures per value: ``ROOT/<value>/a.jpg``, with folders for splits and attributes around it or not."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lapel import archives
from lapel.catalogue import RESERVED
from lapel.datasets.formats import Draft, Format, label_table
from lapel.datasets.source import PICTURES, FileSpec, Source
from lapel.errors import DatasetError
from lapel.protocol import AttributeProtocol

ATTRIBUTE = "label"
"""The attribute of a folder that has one only."""

SPLITS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Name of a folder, in lower case -> split."""

_LAYOUTS = "ROOT/<value>/*.jpg or ROOT/<attribute>/<value>/*.jpg, with a folder train, val or test around or not"
_JUNK = ("thumbs.db", "desktop.ini")
_DEEPEST = 2

Folder = tuple[str, ...]


class _Picture(NamedTuple):
    """A picture: its path, its name, its split, and the folders that label it: (), (value,) or (attribute, value)."""

    path: str
    name: str
    split: str | None
    labels: Folder


def files(_: str) -> tuple[FileSpec, ...]:
    """Return no files: the pictures are all there is."""
    return ()


def read(source: Source) -> Draft:
    """Read a folder of pictures, or a zip archive of one; archives in it count as folders of their name.

    A picture that lies under several attributes or values (the same name and the same bytes) is one row with several
    labels.

    Faults: pictures at another depth than the others; a folder beside those of the splits that is no split.

    Raises:
        DatasetError: no pictures; all of them too deep; an attribute that has a name of the catalogue's own.
    """
    base = _only_archive(source)
    found = list(_pictures(source, base))
    if not found:
        suffixes = ", ".join(PICTURES)
        raise DatasetError(f"{source.root} holds no pictures ({suffixes}): expected {_LAYOUTS}{source.unread()}")
    pictures = _places(source, found)
    rows = _merged(source, base, pictures)
    attributes = tuple(sorted({label[0] for row in rows for label in _labels(row)}))
    for name in attributes:
        if name in RESERVED:
            raise DatasetError(f"{source.root}: a folder named {name!r} cannot be an attribute: rename it")
    values: dict[str, list[list[str] | None]] = {name: [None] * len(rows) for name in attributes}
    several = 0
    for place, row in enumerate(rows):
        of_row: dict[str, list[str]] = {}
        for attribute, value in _labels(row):
            of_row.setdefault(attribute, []).append(value)
        several += any(len(given) > 1 for given in of_row.values())
        for attribute, given in of_row.items():
            values[attribute][place] = given
    if several:
        source.note(f"{several:,} pictures lie under several values of one attribute, and get them all")
    bare = sum(not row[0].labels for row in rows)
    if bare:
        source.note(f"{bare:,} pictures lie in no folder of a value, and get no label")
    splits = [row[0].split for row in rows]
    there = ", ".join(name for name in ("train", "val", "test") if name in splits)
    source.note(f"attributes: {', '.join(attributes) or 'none'}; splits: {there or 'none'}")
    images = {"image": [row[0].path for row in rows], "split": splits}
    return Draft(images, label_table(values), attributes, AttributeProtocol(), bases=(base,))


def _only_archive(source: Source) -> str:
    """Return the name of the archive that is all a folder holds, else nothing."""
    if archives.below(source.root) is not None:
        return ""
    names = [name for name in source.walk() if name.lower().endswith((".zip", *PICTURES))]
    return names[0] if len(names) == 1 and names[0].lower().endswith(".zip") else ""


def _pictures(source: Source, base: str) -> Iterator[tuple[str, Folder]]:
    """Yield (path, its folders) of every picture; an archive counts as the folder that it would be unpacked to."""
    others = []
    for path in source.walk(base):
        *folders, name = path.split("/")
        lowered = name.lower()
        if lowered.endswith(".zip"):
            inner = list(source.pictures(f"{base}/{path}".lstrip("/")))
            stem = name[: -len(".zip")]
            top = () if inner and all(other.startswith(f"{stem}/") for other in inner) else (stem,)
            yield from ((f"{path}/{other}", (*folders, *top, *other.split("/")[:-1])) for other in inner)
            others += [] if inner else [path]
        elif not lowered.endswith(PICTURES):
            others += [path] if lowered not in _JUNK else []
        elif path.encode("utf-8", "replace").decode("utf-8") == path:
            yield path, tuple(folders)
        else:
            source.fault(f"expected a file name in UTF-8, found {path!r}: rename it")
    if others:
        source.note(f"{len(others):,} other files are no pictures and were left alone, the first: {others[0]}")


def _places(source: Source, found: Sequence[tuple[str, Folder]]) -> list[_Picture]:
    """Tell splits, attributes and values from the folders that pictures lie in."""
    counts = Counter(folders for _, folders in found)
    level = next((level for level in (0, 1) if _is_split_level(source, counts, level)), None)
    places: dict[Folder, tuple[str | None, Folder]] = {}
    for folders in counts:
        if level is None or level >= len(folders):
            places[folders] = None, folders
        else:
            split = SPLITS.get(folders[level].lower())
            places[folders] = split, (*folders[:level], *folders[level + 1 :])
            if split is None:
                places.pop(folders)
    depths: Counter[int] = Counter()
    for folders, (_, labels) in places.items():
        depths[len(labels)] += counts[folders]
    usual = max((depth for depth in depths if 0 < depth <= _DEEPEST), key=depths.__getitem__, default=0)
    if not usual and any(depths):
        _refuse(source, places)
    for depth in sorted(depths):
        if depth not in (0, usual):
            first = next("/".join(folders) for folders, (_, labels) in places.items() if len(labels) == depth)
            source.fault(
                f"{depths[depth]:,} pictures lie under {depth} folders of labels (the first in {first!r}), "
                f"{depths[usual]:,} under {usual}: expected all alike, {_LAYOUTS}"
            )
    kept = {folders: place for folders, place in places.items() if len(place[1]) in (0, usual)}
    return [_Picture(path, path.rsplit("/", 1)[-1], *kept[folders]) for path, folders in found if folders in kept]


def _is_split_level(source: Source, counts: Counter[Folder], level: int) -> bool:
    """Whether the folders of a level are splits; a fault for those that are not, beside others that are."""
    names = sorted({folders[level] for folders in counts if len(folders) > level})
    splits = [name for name in names if name.lower() in SPLITS]
    if splits and len(splits) < len(names) and level == 0:
        other = next(name for name in names if name not in splits)
        pictures = sum(count for folders, count in counts.items() if folders and folders[0] not in splits)
        source.fault(
            f"the folder {other!r} beside {splits[0]!r} is no split, so its pictures are in none "
            f"({pictures:,} such pictures): move it into a split, or out of {source.root}"
        )
        return True
    return bool(splits) and len(splits) == len(names)


def _refuse(source: Source, places: dict[Folder, tuple[str | None, Folder]]) -> None:
    first = next(folders for folders, (_, labels) in places.items() if labels)
    tops = {folders[0] for folders in places if folders}
    hint = f"; is {source.root / first[0]} the folder you mean?" if len(tops) == 1 else ""
    raise DatasetError(f"{source.root}: pictures lie too deep, as in {'/'.join(first)!r}: expected {_LAYOUTS}{hint}")


def _labels(row: Sequence[_Picture]) -> list[tuple[str, str]]:
    """Return (attribute, value) of every place that a picture lies in."""
    found = [picture.labels for picture in row if picture.labels]
    return [(ATTRIBUTE, labels[0]) if len(labels) == 1 else (labels[0], labels[1]) for labels in found]


def _merged(source: Source, base: str, pictures: Sequence[_Picture]) -> list[list[_Picture]]:
    """Return the pictures of each row: copies of one name, split and content are one row."""
    alike: dict[tuple[str | None, str], list[_Picture]] = defaultdict(list)
    for picture in pictures:
        if picture.labels:
            alike[picture.split, picture.name].append(picture)
    first: dict[_Picture, list[_Picture]] = {}
    for copies in alike.values():
        if len(copies) > 1:
            for same in _same(source, base, copies):
                first |= dict.fromkeys(same, same)
    rows = [first.get(picture, [picture]) for picture in pictures]
    return [row for row, picture in zip(rows, pictures, strict=True) if row[0] is picture]


def _same(source: Source, base: str, pictures: Sequence[_Picture]) -> Iterator[list[_Picture]]:
    """Yield the groups of pictures that hold the same bytes; only files of one size are read."""
    sizes: dict[int, list[_Picture]] = defaultdict(list)
    for picture in pictures:
        known = archives.entry(source.root / base / picture.path)
        if known is not None:
            sizes[known.size].append(picture)
    for candidates in sizes.values():
        if len(candidates) > 1:
            contents: dict[str, list[_Picture]] = defaultdict(list)
            for picture in candidates:
                contents[_content(source, base, picture)].append(picture)
            yield from contents.values()


def _content(source: Source, base: str, picture: _Picture) -> str:
    try:
        return archives.sha256(source.root / base / picture.path)
    except OSError as error:
        source.fault(f"cannot be read: {error.strerror or error}", picture.path)
        return picture.path


FORMAT = Format(
    name="folder",
    title="A folder of pictures per value",
    owners="yourself",
    files=files,
    read=read,
)
