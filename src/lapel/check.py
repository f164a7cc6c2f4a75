"""What is wrong with a catalogue, row by row, and what can be trained on it."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lapel import archives
from lapel.catalogue import SPLITS, Catalogue
from lapel.config import DataConfig
from lapel.errors import ImageError, unknown
from lapel.progress import track

Level = Literal["error", "warning"]
Counts = dict[str, dict[str, dict[str, int]]]

MAX_FAILED = DataConfig.max_failed  # share of unusable images above which training and indexing stop
_FEW_IMAGES, _FEW_SHARE = 10, 0.01
_BLANK = {"nan", "null", "n/a", "na", "-", "?", "unknown", "not labelled", "<na>"}
_SIDES = {"train": "train", "val": "val"}  # test, query and gallery are one side: what is measured on


@dataclass(frozen=True)
class Problem:
    """One finding. ``row`` is the line in the file with its header as line 1; None: the whole catalogue."""

    row: int | None
    image: str | None
    level: Level
    message: str


@dataclass(frozen=True)
class CheckReport:
    """What :func:`check` found.

    Attributes:
        images: rows of the catalogue.
        problems: errors first, then warnings, each by row.
        counts: attribute -> value -> split -> usable images.
        trainable: attributes with at least two values that have two usable training images each.
        measurable: attributes with two values in the test split, one of them twice.
        drawn: there was no split column, so ``counts`` show the 8:1:1 split that seed 0 draws.
        verdict: one line.
    """

    images: int
    problems: list[Problem]
    counts: Counts
    trainable: list[str]
    measurable: list[str]
    drawn: bool
    verdict: str

    @property
    def errors(self) -> list[Problem]:
        """What must be put right."""
        return [problem for problem in self.problems if problem.level == "error"]

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return not self.errors

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "ok": self.ok}

    def print(self, console: Console | None = None, limit: int = 50, values: int = 12) -> None:
        """Print the first ``limit`` problems, each attribute's commonest ``values``, and the verdict."""
        console = console or Console()
        if self.problems:
            table = Table("row", "image", "", "what is wrong", box=None, padding=(0, 2, 0, 0))
            for problem in self.problems[:limit]:
                style = "red" if problem.level == "error" else "yellow"
                row = "" if problem.row is None else str(problem.row)
                cells = (row, problem.image or "", Text(problem.level, style), problem.message)
                table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in cells))
            console.print(table)
            if len(self.problems) > limit:
                console.print(f"... and {len(self.problems) - limit:,} more (all of them with --json)", markup=False)
            console.print()
        if self.counts:
            console.print(self._table(values))
        if self.drawn:
            console.print("There is no split column: shown is the 8:1:1 split that seed 0 draws, by item.")
        colour = "red" if not self.trainable else "green" if self.ok else "yellow"
        console.print(Text(self.verdict, f"bold {colour}"))

    def _table(self, limit: int) -> Table:
        splits = [s for s in SPLITS if any(s in n for v in self.counts.values() for n in v.values())]
        table = Table("attribute", "value", box=None, padding=(0, 2, 0, 0))
        for split in splits:
            table.add_column(split, justify="right")
        for attribute, values in self.counts.items():
            ranked = sorted(values.items(), key=lambda pair: (-sum(pair[1].values()), pair[0]))
            table.add_row(Text(attribute, "bold"), Text(f"{len(ranked)} values", "dim"))
            for value, found in ranked[:limit]:
                table.add_row("", Text(value), *(f"{found.get(split, 0):,}" for split in splits))
            if len(ranked) > limit:
                table.add_row("", Text(f"... and {len(ranked) - limit} more", "dim"))
        return table


def check(
    catalogue_path: Path | str,
    attributes: Sequence[str] | None = None,
    decode: bool = True,
    quiet: bool = False,
) -> CheckReport:
    """Check a catalogue's rows, images, splits and labels.

    Args:
        catalogue_path: a CSV or Parquet file, or the folder that holds catalogue.csv or catalogue.parquet.
        attributes: columns to take as attributes; by default those whose values repeat.
        decode: read every image too; without it only missing and empty files are found.
        quiet: show no progress.

    Raises:
        CatalogueError: the file cannot be read as a catalogue at all, or lacks a named attribute.
    """
    catalogue = Catalogue.read(catalogue_path, attributes)
    paths = catalogue.paths()
    broken, sizes = _examine(dict.fromkeys(paths), decode, quiet)
    names = catalogue.images["image"].to_pylist()
    boxes = list(_boxes(catalogue, paths, sizes))
    failed = {row for row, path in enumerate(paths) if path in broken}
    failed |= {row for row, level, _ in boxes if level == "error"}
    found: list[tuple[int | None, Level, str]] = [*boxes]
    found += [(row, "error", broken[path]) for row, path in enumerate(paths) if path in broken]
    found += _rows_twice(catalogue, paths)
    found += _splits(catalogue)
    found += _leaks(catalogue, paths, broken)
    found += _labels(catalogue)
    usable = catalogue.with_splits().with_validation().take([row for row in range(len(catalogue)) if row not in failed])
    counts = _count(usable)
    problems = [
        Problem(None if row is None else row + 2, None if row is None else names[row], level, message)
        for row, level, message in sorted(found, key=lambda f: (f[1], -1 if f[0] is None else f[0]))
    ]
    images = {
        split: {a: [n.get(split, 0) for n in values.values()] for a, values in counts.items()}
        for split in ("train", "test")
    }
    trainable = [a for a, n in images["train"].items() if sum(k >= 2 for k in n) >= 2]
    measurable = [a for a, n in images["test"].items() if sum(k >= 1 for k in n) >= 2 and max(n) >= 2]
    task = dict(catalogue.record.get("protocol") or {}).get("task", "attributes")
    verdict = _verdict(len(catalogue), len(failed), problems, trainable, measurable if task == "attributes" else None)
    drawn = not catalogue.splits()
    return CheckReport(len(catalogue), problems, counts, trainable, measurable, drawn, verdict)


def _examine(paths: Iterable[Path], decode: bool, quiet: bool) -> tuple[dict[Path, str], dict[Path, tuple[int, int]]]:
    """Return path -> reason of what cannot be used, and path -> (width, height) of what was decoded."""
    broken: dict[Path, str] = {}
    present: list[Path] = []
    for path in paths:
        try:
            found = archives.entry(path)
            if found is None:
                broken[path] = "not a file" if path.exists() else f"no such file: {path}"
            elif found.size == 0:
                broken[path] = "empty file"
            else:
                present.append(path)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, archives.ArchiveError) else "no such file"
            broken[path] = f"{reason}: {path}"
    sizes: dict[Path, tuple[int, int]] = {}
    if not (decode and present):
        return broken, sizes
    from lapel.images import decode as read

    def look(path: Path) -> tuple[int, int] | str:
        try:
            height, width = read(path).shape[1:]
        except ImageError as error:
            return str(getattr(error, "reason", error))
        return int(width), int(height)

    pool = ThreadPoolExecutor(os.cpu_count() or 1)
    try:
        results = pool.map(look, present)
        progress = track(results, "reading images", len(present), quiet=quiet)
        for path, result in zip(present, progress, strict=True):
            if isinstance(result, str):
                broken[path] = result
            else:
                sizes[path] = result
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the rest
    return broken, sizes


def _boxes(
    catalogue: Catalogue, paths: list[Path], sizes: dict[Path, tuple[int, int]]
) -> Iterator[tuple[int, Level, str]]:
    for row, box in enumerate(catalogue.boxes()):
        if box is None:
            continue
        x1, y1, x2, y2 = box
        shown = "box " + " ".join(f"{edge:g}" for edge in box)
        if x2 <= x1 or y2 <= y1:
            yield row, "error", f"{shown} is empty: expected x1 y1 x2 y2 with x2 > x1 and y2 > y1"
        elif paths[row] in sizes:
            width, height = sizes[paths[row]]
            frame = f"the image of {width} x {height} pixels"
            if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0:
                yield row, "error", f"{shown} lies outside {frame}"
            elif x1 < 0 or y1 < 0 or x2 > width or y2 > height:
                yield row, "warning", f"{shown} reaches outside {frame}: it will be cut to it"


def _rows_twice(catalogue: Catalogue, paths: list[Path]) -> Iterator[tuple[int, Level, str]]:
    first: dict[tuple[Any, ...], int] = {}
    items = catalogue.items()
    for row, key in enumerate(zip(paths, catalogue.boxes(), strict=True)):  # one image may show two garments
        other = first.setdefault(key, row)
        if other != row and items[other] == items[row]:
            yield row, "error", f"the same image as in row {other + 2}: keep one row per image"
        elif other != row:
            yield row, "warning", f"the same image as in row {other + 2}, of another item: boxes would tell them apart"


def _splits(catalogue: Catalogue) -> Iterator[tuple[int | None, Level, str]]:
    names = catalogue.images["split"].to_pylist()
    present = {name for name in names if name is not None}
    if not present:
        return
    for row, name in enumerate(names):
        if name is not None and name not in SPLITS:
            yield row, "error", unknown("split", name, SPLITS)
    without = [row for row, name in enumerate(names) if name is None]
    if without:
        yield without[0], "warning", f"no split; {len(without):,} such rows in all, which are used nowhere"
    if "train" not in present:
        yield None, "warning", "no image is in the split 'train': there is nothing to train on"


def _leaks(catalogue: Catalogue, paths: list[Path], broken: dict[Path, str]) -> Iterator[tuple[int, Level, str]]:
    """Find items and identical files on two sides of a split: what is measured would have been trained on."""
    names = catalogue.images["split"].to_pylist()
    sides = [_SIDES.get(name, "test") if name in SPLITS else None for name in names]
    groups: dict[str, dict[str, list[int]]] = {"item": defaultdict(list), "file": defaultdict(list)}
    for row, item in enumerate(catalogue.items()):
        if item is not None and sides[row] is not None:
            groups["item"][item].append(row)
    by_size: dict[int, list[int]] = defaultdict(list)
    for row, path in enumerate(paths):
        known = None if sides[row] is None or path in broken else archives.entry(path)
        if known is not None:
            by_size[known.size].append(row)
    for rows in by_size.values():
        if len({sides[row] for row in rows}) > 1:  # only files of one size on two sides need reading
            for row in rows:
                groups["file"][archives.sha256(paths[row])].append(row)
    for kind, found in groups.items():
        for key, rows in found.items():
            other = next((row for row in rows if sides[row] != sides[rows[0]]), None)
            if other is not None:
                there, here = f"row {rows[0] + 2} ({names[rows[0]]!r})", repr(names[other])
                what = f"item {key!r} is also in" if kind == "item" else "the same picture as"
                yield other, "error", f"leak: {what} {there}, here in {here}"


def _count(catalogue: Catalogue) -> Counts:
    """Return attribute -> value -> split -> images, in the catalogue's order of attributes."""
    labels = catalogue.labels
    split = pc.fill_null(catalogue.images["split"].take(labels["image"]), "none")
    table = pa.table({"attribute": labels["attribute"], "value": labels["value"], "split": split})
    counts: Counts = {attribute: {} for attribute in catalogue.attributes}
    keys = ["attribute", "value", "split"]
    grouped = table.group_by(keys).aggregate([([], "count_all")])
    for attribute, value, name, count in zip(*(grouped[k].to_pylist() for k in (*keys, "count_all")), strict=True):
        counts[attribute].setdefault(value, {})[name] = count
    return {attribute: dict(sorted(values.items())) for attribute, values in counts.items()}


def _labels(catalogue: Catalogue) -> Iterator[tuple[int | None, Level, str]]:
    if not catalogue.attributes:
        columns = ", ".join(catalogue.metadata) or "none beside the reserved ones"
        yield None, "error", f"no column is an attribute, because no column's values repeat; columns: {columns}"
    cells = (catalogue.labels[key].to_pylist() for key in ("image", "attribute", "value"))
    rows: dict[str, dict[str, list[int]]] = {attribute: {} for attribute in catalogue.attributes}
    for row, attribute, label in zip(*cells, strict=True):
        rows[attribute].setdefault(label, []).append(row)
    for attribute, values in rows.items():
        spelled: dict[str, list[str]] = defaultdict(list)
        for label in values:
            spelled[re.sub(r"[\s_-]+", "", label).casefold()].append(label)
        for same in spelled.values():
            if len(same) > 1:
                same.sort(key=lambda label: -len(values[label]))
                shown = ", ".join(f"{label!r} ({len(values[label]):,})" for label in same)
                text = f"{attribute}: {shown} differ only by case, space or hyphen: use one spelling"
                yield values[same[-1]][0], "warning", text
        blank = [label for label in values if label.casefold() in _BLANK]
        if blank:
            text = f"{attribute}: {blank[0]!r} counts as a value; if it means 'not labelled', leave the cell empty"
            yield values[blank[0]][0], "warning", text
        if len(values) < 2:
            only = f"the one value {next(iter(values))!r}" if values else "no value at all"
            yield None, "warning", f"{attribute} has {only}: there is nothing to tell apart"
            continue
        labelled = len(set().union(*values.values()))
        if labelled < max(_FEW_IMAGES, _FEW_SHARE * len(catalogue)):
            share = 100 * labelled / len(catalogue)
            yield None, "warning", f"{attribute} is nearly empty: {labelled:,} images labelled ({share:.1f} %)"
        lone = sorted(label for label, owners in values.items() if len(owners) == 1)
        if lone:
            shown = ", ".join(lone[:5]) + (", ..." if len(lone) > 5 else "")
            text = f"{attribute}: {len(lone)} of {len(values)} values have a single image, so nothing matches it"
            yield None, "warning", f"{text}: {shown}"


def _verdict(
    images: int, failed: int, problems: list[Problem], trainable: list[str], measurable: list[str] | None
) -> str:
    """Return the one line; ``measurable`` is None where attributes are not what is measured."""
    errors = sum(problem.level == "error" for problem in problems)
    warnings = len(problems) - errors
    found = f"{images:,} images, {errors:,} errors, {warnings:,} warnings. "
    if failed == images:
        return found + "No image can be used: are the paths relative to the catalogue's own folder?"
    if failed > max(1, MAX_FAILED * images):  # one always may
        return found + f"{failed:,} images cannot be used: a job stops above {MAX_FAILED:.0%} of them."
    if not trainable:
        return found + "Nothing can be trained: no attribute has two values on two training images each."
    unmeasured = [] if measurable is None else [attribute for attribute in trainable if attribute not in measurable]
    note = f" Too few test images to measure {', '.join(unmeasured)}." if unmeasured else ""
    return found + f"Can be trained: {', '.join(trainable)}.{note}"
