"""What the lists of the three DeepFashion benchmarks share: rows by image, boxes, ragged landmarks, vocabularies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lapel.datasets.lists import Row, read_list, right_choice, right_picture, whole_numbers
from lapel.datasets.source import Source
from lapel.errors import DatasetError
from lapel.landmarks import FULL, LANDMARKS, LOWER, UPPER, on_eight

OWNERS = "MMLAB, Chinese University of Hong Kong; search for 'DeepFashion "

CLOTHES = {UPPER: "upper", LOWER: "lower", FULL: "full"}
"""Clothes type -> its name."""

VARIATIONS = {1: "normal pose", 2: "medium pose", 3: "large pose", 4: "medium zoom-in", 5: "large zoom-in"}
"""Variation type -> its name."""

NUMBERS = 3 * len(LANDMARKS)


class Marks(NamedTuple):
    """The landmarks of one row.

    Attributes:
        clothes_type: 1 upper body, 2 lower body, 3 full body.
        second: the second leading number (variation type or source type), None where the file has none.
        points: 24 numbers, x, y, visibility of the eight landmarks; None where the row lists none.
    """

    clothes_type: int
    second: int | None
    points: list[float] | None


def parse_landmarks(source: Source, name: str, row: Row, start: int = 1) -> Marks | None:
    """Return the landmarks of a ragged row: clothes type, perhaps a second type, then visibility, x, y 4, 6 or 8 times.

    Whether there is a second type differs between the releases, and the header cannot be trusted; the number of
    tokens tells, as landmarks come in threes.

    Args:
        source: the data set.
        name: the file.
        row: of that file.
        start: first token after the image name.

    Returns:
        the landmarks; None, and a fault, where the row is not of that form.
    """
    numbers = whole_numbers(source, name, row, start)
    if numbers is None:
        return None
    leading = len(numbers) % 3
    if leading == 0:
        found = f"{len(numbers)} numbers"
        source.fault(f"expected 1 or 2 types and then visibility x y for each landmark, found {found}", name, row.line)
        return None
    clothes_type, second = numbers[0], numbers[1] if leading == 2 else None
    if len(numbers) == leading and clothes_type in CLOTHES:
        return Marks(clothes_type, second, None)
    strange = [number for number in numbers[leading::3] if number not in (0, 1, 2)]
    if strange:
        source.fault(
            f"expected visibility 0 (visible), 1 (occluded) or 2 (cut off), found {strange[0]}", name, row.line
        )
        return None
    triples = np.array(numbers[leading:], np.float64).reshape(-1, 3)
    try:
        eight = on_eight(triples[:, (1, 2, 0)], clothes_type)
    except ValueError as error:
        source.fault(str(error), name, row.line)
        return None
    return Marks(clothes_type, second, eight.ravel().tolist())


def right_box(box: Sequence[float]) -> list[float] | None:
    """Return a box x1, y1, x2, y2 as it is, None for one without area.

    >>> right_box([72, 79, 232, 273]), right_box([10, 10, 10, 50]), right_box([9, 40, 20, 30])
    ([72, 79, 232, 273], None, None)
    """
    x1, y1, x2, y2 = box
    return list(box) if x2 > max(x1, 0) and y2 > max(y1, 0) else None


def has(source: Source, name: str, without: str) -> bool:
    """Whether an optional file is there; a note of what is lost without it if not."""
    if source.find(name) is not None:
        return True
    source.note(f"{name} is not there: {without}")
    return False


def distinct_images(source: Source, name: str, rows: Sequence[Row]) -> list[Row]:
    """Return the rows whose first column is a picture that no row before has.

    Faults: an image that is listed twice, named with both lines; column 1 is no path of a picture.
    """
    lines: dict[str, int] = {}
    kept = []
    for row in rows:
        if not right_picture(source, name, row):
            continue
        before = lines.setdefault(row.tokens[0], row.line)
        if before == row.line:
            kept.append(row)
        else:
            source.fault(f"{row.tokens[0]} is listed twice: line {before:,} has it too", name, row.line)
    return kept


def match_images(
    source: Source, name: str, rows: Iterable[Row], index: Mapping[str, int], listed: str
) -> NDArray[np.int64]:
    """Return for each row of a file the catalogue row of the image in its first column, -1 where it has none.

    Args:
        source: the data set.
        name: the file.
        rows: of that file.
        index: image -> catalogue row.
        listed: the file that the index comes from.

    Faults: column 1 is no picture, an image that ``listed`` does not have, an image for the second time. Images
    without a row are noted.
    """
    lines = np.zeros(len(index), np.int64)
    places = []
    for row in rows:
        place = index.get(row.tokens[0], -1)
        if place < 0:
            if right_picture(source, name, row):
                source.fault(f"unknown image {row.tokens[0]!r}: {listed} does not list it", name, row.line)
        elif lines[place]:
            source.fault(f"{row.tokens[0]} is listed twice: line {lines[place]:,} has it too", name, row.line)
            place = -1
        else:
            lines[place] = row.line
        places.append(place)
    gaps = np.flatnonzero(lines == 0)
    if len(gaps):
        first = next(image for image, place in index.items() if place == gaps[0])
        source.note(f"{name} has no row for {len(gaps):,} images of {listed}, the first {first}")
    return np.array(places, np.int64)


def by_image(
    source: Source, name: str, rows: Sequence[Row], index: Mapping[str, int], listed: str
) -> Iterator[tuple[int, Row]]:
    """Yield (catalogue row, row) of the rows whose first column is a known image; arguments and faults as above."""
    for place, row in zip(match_images(source, name, rows, index, listed).tolist(), rows, strict=True):
        if place >= 0:
            yield place, row


def read_boxes(
    source: Source, name: str, columns: Sequence[str], index: Mapping[str, int], listed: str
) -> tuple[pa.Array, NDArray[np.int64]]:
    """Read a box list: image, perhaps type numbers, x1 y1 x2 y2.

    Args:
        source: the data set.
        name: the file.
        columns: what each token of a row is; the last four are the box.
        index: image -> catalogue row.
        listed: the file that the index comes from.

    Returns:
        boxes, one per catalogue row, None where there is none or it has no area (noted); and (N, types) the numbers
        between image and box, 0 where there are none.
    """
    boxes = np.zeros((len(index), 4))
    types = np.zeros((len(index), len(columns) - 5), np.int64)
    given = np.zeros(len(index), bool)
    flat = 0
    for place, row in by_image(source, name, read_list(source, name, columns), index, listed):
        numbers = whole_numbers(source, name, row, 1)
        if numbers is None:
            continue
        types[place] = numbers[:-4]
        box = right_box(numbers[-4:])
        if box is None:
            flat += 1
            continue
        boxes[place], given[place] = box, True
    if flat:
        source.note(f"{name}: {flat:,} boxes have no area, those images count as without a box")
    return number_lists(boxes, given), types


def read_landmarks(
    source: Source, name: str, index: Mapping[str, int], listed: str
) -> tuple[pa.Array, NDArray[np.int64], NDArray[np.int64]]:
    """Read a landmark list.

    Args:
        source: the data set.
        name: the file.
        index: image -> catalogue row.
        listed: the file that the index comes from.

    Returns:
        landmarks, one list of 24 numbers per catalogue row or None; (N,) clothes type and (N,) second type, 0 where
        the file has none.
    """
    points = np.zeros((len(index), NUMBERS))
    given = np.zeros(len(index), bool)
    types = np.zeros((2, len(index)), np.int64)
    rows = read_list(source, name, ("image_name", "clothes_type"), more=True)
    for place, row in by_image(source, name, rows, index, listed):
        marks = parse_landmarks(source, name, row)
        if marks is not None:
            types[:, place] = marks.clothes_type, marks.second or 0
            if marks.points is not None:
                points[place], given[place] = marks.points, True
    return number_lists(points, given), types[0], types[1]


def number_lists(numbers: NDArray[np.float64], given: NDArray[np.bool_]) -> pa.Array:
    """Return (N, k) numbers as a list column, None where not given (N,)."""
    offsets = np.arange(len(numbers) + 1, dtype=np.int32) * np.int32(numbers.shape[1])
    return pa.ListArray.from_arrays(offsets, pa.array(numbers.ravel()), mask=pa.array(~given))


def names_of(codes: NDArray[np.int64], names: Mapping[int, str]) -> pa.Array:
    """Return type numbers (N,) as text: their names, the number where it has none, None for 0.

    >>> names_of(np.array([1, 0, 3]), CLOTHES).to_pylist()
    ['upper', None, 'full']
    """
    distinct, places = np.unique(codes, return_inverse=True)
    words = [names.get(code, str(code)) if code else None for code in distinct.tolist()]
    return pa.array(words, pa.string()).take(pa.array(places))


def vocabulary(source: Source, name: str, columns: Sequence[str], types: Sequence[str]) -> list[tuple[str, int]]:
    """Read the names of labels with their types: a name, spaces allowed, then the type as last word.

    Args:
        source: the data set.
        name: the file.
        columns: what its columns are called.
        types: what a type may be.

    Returns:
        (name, type) in the order of the label columns.

    Raises:
        DatasetError: any fault, strict or not: a name lost would move every label after it.
    """
    before = len(source.faults)
    rows = read_list(source, name, columns, more=True)
    kept = [row for row in rows if right_choice(source, name, row, len(row.tokens) - 1, types, "type")]
    if len(source.faults) > before:
        raise DatasetError(f"{source.faults[before]}. Without it no label can be told")
    return [(" ".join(row.tokens[:-1]), int(row.tokens[-1])) for row in kept]
