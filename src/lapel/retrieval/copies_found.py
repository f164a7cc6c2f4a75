"""What a search for copies gives back, and its CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lapel.retrieval.hits import Entry

ORDINALS = {1: "st", 2: "nd", 3: "rd"}


@dataclass(frozen=True)
class Pair:
    """Two images that look alike.

    Attributes:
        first: of the catalogue; the one whose id comes first, or that of the first catalogue.
        second: of the same catalogue, or of the other.
        similarity: weighted mean of the cosines, -1 to 1.
        nearness: times nearer to each other than either is to its 20th nearest.
        cosines: of every attribute that compares, also of those that do not weigh.
        same_file: whether both show another part of one file: cut out by other boxes.
    """

    first: Entry
    second: Entry
    similarity: float
    nearness: float
    cosines: Mapping[str, float]
    same_file: bool = False

    @property
    def same_item(self) -> bool:
        """Whether both are known to show one product."""
        return self.first.item is not None and self.first.item == self.second.item

    @property
    def differs(self) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
        """Attributes that both have labels of, and other ones: attribute -> values of the first, of the second."""
        ours, theirs = self.first.labels, self.second.labels
        return {n: (ours[n], theirs[n]) for n in ours if n in theirs and set(ours[n]) != set(theirs[n])}


@dataclass(frozen=True)
class Group:
    """Images that belong together.

    Attributes:
        first: of the catalogue, in order of id.
        second: of the other catalogue, if there is one.
        pairs: that made it, best first; none where all are copies of one file.
    """

    first: tuple[Entry, ...]
    second: tuple[Entry, ...] = ()
    pairs: tuple[Pair, ...] = ()


@dataclass(frozen=True)
class Copies:
    """What was found, and how.

    Attributes:
        folder: of the index.
        against: of the other index, if there is one.
        images: that took part, of each.
        weights: attribute -> weight, of all attributes that compare.
        threshold: least similarity, if any.
        nearness: least nearness, if any.
        neighbours: which nearest image a pair is measured against.
        within_item: whether images of one item were compared.
        exact: the same file, cut out by the same box, under several names.
        pairs: look-alikes, those that stand out most first.
        groups: the same pairs, each in one group; every two images of a group are a pair, images of one item, or copies
            of one file. Between two catalogues: all that look like one image of the second.
        total: look-alikes that there are, of which ``pairs`` may be only those that stand out most; None where not all
            were looked for.
    """

    folder: Path
    against: Path | None
    images: tuple[int, int | None]
    weights: Mapping[str, float]
    threshold: float | None
    nearness: float | None
    neighbours: int
    within_item: bool
    exact: list[Group]
    pairs: list[Pair]
    groups: list[Group]
    total: int | None

    @property
    def rule(self) -> str:
        """Say in a sentence what counts as a look-alike."""
        last = f"{self.neighbours}{ORDINALS.get(self.neighbours, 'th')} nearest"
        wanted = []
        if self.nearness is not None:
            wanted.append(f"at least {self.nearness:g} times nearer to each other than either is to its {last}")
        if self.threshold is not None:
            wanted.append(f"at least {self.threshold:g} alike")
        if self.against is None and not wanted:
            wanted.append(f"one among the {self.neighbours} nearest of the other")
        whole = self.total == len(self.pairs)
        kept = "" if whole else f"; here are the {len(self.pairs):,} that stand out most"
        who = "pairs of images" if self.against is None else "each image with its nearest of the other catalogue"
        return f"Look-alikes are {', '.join([who, ' and '.join(wanted)] if wanted else [who])}{kept}."


def table(copies: Copies, paths: bool = True) -> str:
    """Return what was found as CSV, a line per pair.

    Columns: ``kind`` (``file`` or ``look-alike``), ``group`` (a number), ``nearness``, ``similarity``, then ``first``
    and ``second`` (ids), their items, ``same_file`` (``yes`` for a look-alike cut out of the same file by another box),
    ``differs`` (labels), ``cosine_NAME`` for each attribute, and the files. Of a file in n copies there are n - 1
    lines, the first with each other. Copies of a file have no figures: they were not measured.

    Args:
        copies: what was found.
        paths: with the files' paths.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    files = ("first_image", "second_image") if paths else ()
    figures = [f"cosine_{name}" for name in copies.weights]
    plain = ("kind", "group", "nearness", "similarity", "first", "second", "first_item", "second_item", "same_file")
    writer.writerow([*plain, "differs", *figures, *files])
    for number, group in enumerate(copies.exact, 1):
        for first, second in _lines(group):
            ids = [first.id, second.id, first.item or "", second.item or "", "yes", "", *([""] * len(figures))]
            writer.writerow(["file", number, "", "", *ids, *([first.image, second.image] if paths else [])])
    for number, group in enumerate(copies.groups, len(copies.exact) + 1):
        for pair in group.pairs:
            first, second = pair.first, pair.second
            row = ["look-alike", number, f"{pair.nearness:.3f}", f"{pair.similarity:.6f}", first.id, second.id]
            row += [first.item or "", second.item or "", "yes" if pair.same_file else "", differences(pair)]
            row += [f"{pair.cosines[name]:.6f}" for name in copies.weights]
            writer.writerow([*row, *([first.image, second.image] if paths else [])])
    return stream.getvalue()


def differences(pair: Pair) -> str:
    """Return the labels in which a pair differs, as text."""
    parts = (f"{name}: {', '.join(ours)} | {', '.join(theirs)}" for name, (ours, theirs) in pair.differs.items())
    return "; ".join(parts)


def _lines(group: Group) -> Iterator[tuple[Entry, Entry]]:
    """The first of a group with each other; of two catalogues each of the first with the first of the second, too."""
    first, *others = group.first
    if not group.second:
        yield from ((first, other) for other in others)
        return
    yield from ((first, other) for other in group.second)
    yield from ((other, group.second[0]) for other in others)
