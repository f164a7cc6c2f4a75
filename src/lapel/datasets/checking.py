"""What is wrong with a data set on disk, and what it holds: everything at once, where an import stops at the first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lapel import archives, datasets
from lapel.catalogue import SPLITS
from lapel.datasets.formats import Draft
from lapel.datasets.importing import open_source
from lapel.datasets.source import Source
from lapel.datasets.whereabouts import elsewhere
from lapel.errors import LapelError
from lapel.progress import track
from lapel.protocol import ItemProtocol, Side

_SHOWN = 5
NONE = "none"
"""What counts call the split of rows that are in none."""

Counts = dict[str, dict[str, int]]


@dataclass(frozen=True)
class FileFound:
    """A file that a format has: its usual name, what it says, whether nothing works without it, where it lies."""

    name: str
    purpose: str
    required: bool
    place: str | None


@dataclass
class DatasetReport:
    """What :func:`check_dataset` found.

    Attributes:
        format, title, variant, root: what was looked at.
        owners: who publishes it, and what to search for.
        files: the files of the format.
        problems: what keeps it from being imported as a whole.
        faults: what is wrong in single rows.
        missing: images that should be there and are not.
        absent: how many images are missing that copies of this data set usually lack.
        empty: images without a byte.
        notes: what is odd but harmless.
        images: how many rows it has.
        counts: split -> images, items, and images of each domain.
        labels: attribute -> its values, and the labelled images of each split.
        scored: what its protocol asks: queries, gallery, candidates, triplets.
        relations: relation -> split -> rows.
        verdict: one line.
    """

    format: str
    title: str
    variant: str
    root: str
    owners: str
    files: list[FileFound]
    problems: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    absent: int = 0
    empty: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    images: int = 0
    counts: Counts = field(default_factory=dict)
    labels: Counts = field(default_factory=dict)
    scored: dict[str, int] = field(default_factory=dict)
    relations: Counts = field(default_factory=dict)
    verdict: str = ""

    @property
    def errors(self) -> list[str]:
        """What must be put right."""
        missing = [f"image missing: {name}" for name in self.missing]
        return [*self.problems, *self.faults, *missing, *(f"empty file: {name}" for name in self.empty)]

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return not self.errors

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "ok": self.ok}

    def print(self, console: Console | None = None) -> None:
        """Print the files, what is wrong (the first of each kind), what it holds, and the verdict."""
        console = console or Console()
        title = f"{self.title} ({self.variant})" if self.variant else self.title
        console.print(Text(f"{title}: {self.root}", "bold"))
        if self.files:
            console.print(self._files())
        for problem in self.problems:
            console.print(Text(problem, "red"), soft_wrap=True)
        by_file: dict[str, list[str]] = defaultdict(list)
        for fault in self.faults:
            by_file[fault.split(" line ")[0].split(": ")[0]].append(fault)
        kinds = [*by_file.values(), [f"image missing: {name}" for name in self.missing]]
        for found in (*kinds, [f"empty file: {name}" for name in self.empty]):
            for line in found[:_SHOWN]:
                console.print(Text(line, "red"))
            if len(found) > _SHOWN:
                console.print(Text(f"... and {len(found) - _SHOWN:,} more (all of them with --json)"))
        for note in self.notes:
            console.print(Text(f"note: {note}", "yellow"))
        for table in (self._counts("split", self.counts), self._counts("attribute", self.labels)):
            if table is not None:
                console.print(table)
        for name, of_split in self.relations.items():
            sizes = ", ".join(f"{split} {rows:,}" for split, rows in of_split.items())
            console.print(Text(f"{name}: {sizes} rows"))
        if self.scored:
            console.print(Text("scored: " + ", ".join(f"{count:,} {name}" for name, count in self.scored.items())))
        if self.files and (self.problems or self.missing):
            console.print(Text(f"It is published by: {self.owners}"))
        colour = "green" if self.ok else "red" if self.problems else "yellow"
        console.print(Text(self.verdict, f"bold {colour}"), soft_wrap=True)

    def _files(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0))
        table.add_column("file", overflow="fold")
        table.add_column("")
        table.add_column("what it says")
        for file in self.files:
            state = Text("MISSING", "red") if file.required else Text("not there, optional", "dim")
            moved = f" ({file.place})" if file.place and file.place != file.name.rstrip("/") else ""
            table.add_row(Text(file.name + moved), Text("found", "green") if file.place else state, Text(file.purpose))
        return table

    def _counts(self, what: str, counts: Counts) -> Table | None:
        names = list(dict.fromkeys(name for row in counts.values() for name in row))
        if not names:
            return None
        table = Table(what, box=None, padding=(0, 2, 0, 0))
        for name in names:
            table.add_column(name, justify="right")
        for key, row in counts.items():
            table.add_row(Text(key), *(f"{row.get(name, 0):,}" for name in names))
        return table


def check_dataset(
    name: str, root: Path | str, variant: str = "", quiet: bool = False, options: Mapping[str, str] | None = None
) -> DatasetReport:
    """Check a public data set on disk: its files, every row of them, whether its images are there; and count it.

    Images are not decoded.

    Args:
        name: a format of ``lapel.datasets``.
        root: the data set's folder.
        variant: which of the format's variants; empty takes the first that lacks fewest files.
        quiet: no progress bars.
        options: settings of the format.

    Raises:
        DatasetError: an unknown format or variant; nothing at ``root``.
    """
    form = datasets.get(name)
    source = open_source(form, root, variant, strict=False, quiet=quiet, options=options)
    report = DatasetReport(name, form.title, source.variant, str(source.given), form.owners, list(_files(source)))
    lacking = [file.name for file in report.files if file.required and file.place is None]
    report.problems = [
        f"missing: {file.name}, which says {file.purpose}" for file in report.files if file.name in lacking
    ]
    said = f"{_number(len(lacking), 'file')} missing: {', '.join(lacking)}"
    if not lacking:
        try:
            said = _read(report, form.read(source), source)
        except LapelError as error:
            said = str(error)
            report.problems.append(said)
    report.faults = [str(fault) for fault in source.faults]
    report.notes += [*source.notes, *([source.unread().lstrip(". ")] if source.unread() else [])]
    if report.problems:
        report.problems += elsewhere(form, source)
        report.verdict = f"{name}: cannot be imported: {said}"
    elif report.ok:
        report.verdict = f"{name}: ready to import: {said}. Images were found, not decoded"
    else:
        wrong = {"faulty row": report.faults, "missing image": report.missing, "empty image": report.empty}
        told = ", ".join(_number(len(found), what) for what, found in wrong.items() if found)
        # An import does not look into the pictures, so it takes empty ones.
        rest = "repair them, or import the rest with --skip-faulty"
        passed = "fetch them again; an import takes them, and training passes over what it cannot read"
        report.verdict = f"{name}: {told}; {rest if report.faults or report.missing else passed}: {said}"
    return report


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def _files(source: Source) -> Iterable[FileFound]:
    for spec in source.specs:
        found = source.find(spec.names[0])
        inside = found is not None and found.is_relative_to(source.root)
        place = None if found is None else (found.relative_to(source.root) if inside else found).as_posix()
        yield FileFound(spec.names[0], spec.purpose, spec.required, place)


def _read(report: DatasetReport, draft: Draft, source: Source) -> str:
    """Look for the images of a draft and count it; return what there is, or why it cannot be imported."""
    names = [str(name) for name in draft.images["image"]]
    if not names:
        report.problems.append("no images are listed")
        return report.problems[-1]
    base, present = source.locate(draft.bases, names)
    report.images = len(names)
    gone = list(dict.fromkeys(name for name, there in zip(names, present, strict=True) if not there))
    there = dict.fromkeys(name for name, here in zip(names, present, strict=True) if here)
    if not there:
        report.problems.append(f"none of the {len(names):,} images is there: expected {base / names[0]} and the like")
        return f"none of the {len(names):,} images is there"
    if draft.missing and gone:
        report.absent = len(gone)
        report.notes.append(f"{len(gone):,} of {len(set(names)):,} images are not there: {draft.missing}")
    else:
        report.missing = gone
    inside = archives.below(base)
    members = {} if inside is None else archives.members(inside[0])
    for name in track(there, "looking at images", len(there), quiet=source.quiet):
        known = archives.entry(base / name) if inside is None else members.get(inside[1] + name)
        if known is not None and not known.size:
            report.empty.append(name)
    cells = {key: _cells(draft, key, len(names)) for key in ("split", "item", "domain")}
    report.counts = _count(cells)
    report.labels = _labels(draft, cells["split"])
    report.relations = {key: _sizes(table) for key, table in draft.relations.items()}
    report.scored = _scored(draft, cells)
    shares = ", ".join(f"{split} {row['images']:,}" for split, row in report.counts.items() if split != NONE)
    items = len({item for item in cells["item"] if item is not None})
    parts = [_number(len(names), "image") + (f" ({shares})" if shares else "")]
    parts += [_number(items, "item")] if items else []
    parts += [_number(len(draft.attributes), "attribute")] if draft.attributes else []
    return ", ".join(parts)


def _cells(draft: Draft, key: str, count: int) -> list[str | None]:
    column = draft.images.get(key, [None] * count)
    return list(column.to_pylist() if isinstance(column, pa.Array | pa.ChunkedArray) else column)


def _ordered(splits: Iterable[str]) -> list[str]:
    present = set(splits)
    return [*(split for split in SPLITS if split in present), *sorted(present - set(SPLITS))]


def _count(cells: Mapping[str, Sequence[str | None]]) -> Counts:
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    items: dict[str, set[str]] = defaultdict(set)
    for split, item, domain in zip(cells["split"], cells["item"], cells["domain"], strict=True):
        row = found[split or NONE]
        row["images"] += 1
        if item is not None:
            items[split or NONE].add(item)
        if domain is not None:
            row[domain] += 1
    for split, distinct in items.items():
        found[split]["items"] = len(distinct)
    return {split: dict(found[split]) for split in _ordered(found)}


def _labels(draft: Draft, splits: Sequence[str | None]) -> Counts:
    """Return attribute -> number of values, and labelled images of each split."""
    names = _ordered({split or NONE for split in splits})
    codes = np.array([names.index(split or NONE) for split in splits])
    found: Counts = {}
    for attribute in draft.attributes:
        rows = draft.labels.filter(pc.equal(draft.labels["attribute"], attribute))
        images = np.unique(rows["image"].to_numpy())
        counts = np.bincount(codes[images], minlength=len(names))
        values = len(pc.unique(rows["value"]))
        found[attribute] = {"values": values, **{name: int(n) for name, n in zip(names, counts, strict=True) if n}}
    return found


def _sizes(table: pa.Table) -> dict[str, int]:
    splits = table["split"].to_pylist()
    return {split: splits.count(split) for split in _ordered(splits)}


def _scored(draft: Draft, cells: Mapping[str, Sequence[str | None]]) -> dict[str, int]:
    protocol = draft.protocol
    table = draft.relations.get(protocol.relation) if protocol.relation else None
    if isinstance(protocol, ItemProtocol):
        if table is None:
            sides = {"queries": protocol.query, "gallery images": protocol.gallery}
            return {name: _of_side(side, cells) for name, side in sides.items()}
        pairs = {"query": protocol.query, "gallery": protocol.gallery}
        found = {key: table.filter(pc.is_in(table["split"], pa.array(side.splits))) for key, side in pairs.items()}
        return {
            "queries": len(pc.unique(found["query"]["query"])),
            "gallery images": len(pc.unique(found["gallery"]["gallery"])),
        }
    if table is None:
        return {}
    rows = table.filter(pc.equal(table["split"], protocol.split))
    if "role" not in table.column_names:
        return {"triplets": rows.num_rows}
    roles = rows["role"].to_pylist()
    return {"queries": roles.count("query"), "candidates": roles.count("candidate")}


def _of_side(side: Side, cells: Mapping[str, Sequence[str | None]]) -> int:
    pairs = zip(cells["split"], cells["domain"], strict=True)
    return sum((not side.splits or split in side.splits) and side.domain in (None, domain) for split, domain in pairs)
