"""Figures 5, 6 and 9 of AG-MAN on any board: ten best, the same ten by several models, worst failures.

Each gives lines (a query and its results), which a page shows and ``draw_lines`` puts into a picture file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lapel.decoding import decode_array
from lapel.errors import ImageError
from lapel.evaluation import metrics
from lapel.evaluation.boards import Board, Ranking, three_queries
from lapel.evaluation.figures import Tile, sheet, shortened
from lapel.evaluation.likely import evidence, likely_reasons
from lapel.evaluation.markup import encode, words
from lapel.evaluation.overlays import Picture

if TYPE_CHECKING:
    from lapel.catalogue import Catalogue

Array = NDArray[Any]
Vectors = Callable[[Array, str | None], Array]
"""Rows of the catalogue (n,) and an attribute, None for all of them -> (n, D)."""
SIDE = 340
"""Longest side of a picture in a figure, in pixels."""


@dataclass(frozen=True)
class Line:
    """A query and its results, with what a page says above and below them."""

    query: Tile
    hits: Sequence[Tile]
    title: str = ""
    note: str = ""
    facts: Sequence[str] = field(default_factory=tuple)


class Pictures:
    """The catalogue's pictures as the model saw them, cropped by their boxes, small, and each read once.

    Args:
        catalogue: whose rows are asked for.
        boxes: crop by the boxes; else whole pictures.
    """

    def __init__(self, catalogue: Catalogue, boxes: bool = True) -> None:
        self._paths = catalogue.paths()
        self._boxes = catalogue.boxes() if boxes else [None] * len(catalogue)
        self._names = catalogue.images["image"].to_pylist()
        self._read: dict[int, bytes] = {}

    def __getitem__(self, row: int) -> Picture:
        """Return a JPEG in bytes, or the path of a picture that cannot be read, which then says why."""
        row = int(row)
        if row not in self._read:
            try:
                picture = Image.fromarray(np.ascontiguousarray(decode_array(self._paths[row], self._boxes[row])))
            except ImageError:
                return self._paths[row]
            picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
            self._read[row] = encode(picture)
        return self._read[row]

    def path(self, row: int) -> Path:
        """Return where the picture of a row lies."""
        return self._paths[int(row)]

    def box(self, row: int) -> tuple[float, float, float, float] | None:
        """Return the crop of a row in pixels of the original, or None."""
        return self._boxes[int(row)]

    def name(self, row: int) -> str:
        """Return the name of a row's picture."""
        return Path(self._names[int(row)]).name


def top_lines(board: Board, pictures: Pictures, seed: int = 0, top: int = 10) -> list[Line]:
    """Figure 5: the best results of a well, a middling and a badly answered query, drawn by the seed.

    Results are framed right or wrong, with their true value under each. Of items each is shown once, by its best image,
    with the rank of that image and how many more images of it were passed on the way to the last one shown.
    """
    lines = []
    for which, number in three_queries(board, seed):
        ranking = board.ranking(number)
        title = f"{which}: {_shown(board.asked[number])}"
        if board.attribute:
            hits = [_hit(board, pictures, ranking, place) for place in range(min(top, len(ranking.order)))]
            found = f"{int(ranking.right[:top].sum())} of the first {len(hits)} right"
        else:
            hits, found = _grouped(board, pictures, ranking, top), _first(ranking)
        lines.append(Line(_query(board, pictures, number), hits, title, facts=(found, *_facts(board, number, ranking))))
    return lines


def _grouped(board: Board, pictures: Pictures, ranking: Ranking, top: int) -> list[Tile]:
    """Return the first ``top`` items, best image first."""
    places: dict[str, list[int]] = {}
    for place, position in enumerate(ranking.order.tolist()):
        own = places.setdefault(board.given[position], [])
        if len(places) > top:
            places.popitem()
            break
        own.append(place)
    hits = []
    for first, *others in places.values():
        hit = _hit(board, pictures, ranking, first, tag=f"{first + 1:,}")
        hits.append(replace(hit, value=f"{hit.value} (+{len(others)})") if others else hit)
    return hits


def _first(ranking: Ranking) -> str:
    place = f"at rank {ranking.first:,}" if ranking.first else "nowhere"
    return f"first right one {place} of {len(ranking.order):,}"


def same_ten(
    board: Board,
    pictures: Pictures,
    models: Mapping[str, Vectors],
    seed: int = 0,
    count: int = 10,
    euclidean: Collection[str] = (),
) -> list[Line]:
    """Figure 6: the same ten candidates of one query, ranked by each model; a line per model.

    Half of them have the query's value and half have not, as far as there are so many, all drawn by the seed: no model
    chose them. Empty where no query has a right and a wrong candidate.

    Args:
        board: whose queries and candidates.
        pictures: of its catalogue.
        models: name -> its vectors.
        seed: of the draw.
        count: how many candidates.
        euclidean: models that rank by Euclidean distance; the others rank by cosine.
    """
    generator = board.generator(seed + 1)
    for number in generator.permutation(board.answerable())[:50]:
        right = board.relevant(int(number))
        allowed = np.ones(len(right), bool) if board.allowed is None else board.allowed(int(number))
        sides = [np.flatnonzero(allowed & right), np.flatnonzero(allowed & ~right)]
        # A picture that is query and candidate would find itself under every model.
        sides = [side[board.candidates[side] != board.queries[number]] for side in sides]
        if len(sides[0]) and len(sides[1]):
            break
    else:
        return []
    half = min(len(sides[0]), max(count // 2, count - len(sides[1])))
    drawn = [generator.permutation(side)[:size] for side, size in zip(sides, (half, count - half), strict=True)]
    chosen = np.sort(np.concatenate(drawn))
    asked, ranked = board.queries[number], board.candidates[chosen]
    lines = []
    for name, vectors in models.items():
        given = vectors(np.append(ranked, asked), board.name if board.attribute else None)
        if name in euclidean:
            scores = -np.linalg.norm(given[:-1].astype(np.float64) - given[-1], axis=1)
        else:
            found = metrics.fixed_point(given)
            scores = found[:-1] @ found[-1] / 2.0**52
        order = np.argsort(-scores, kind="stable")
        ranking = Ranking(chosen[order], scores[order], right[chosen[order]], name in euclidean)
        precision = metrics.average_precision_from_scores(scores[None], right[chosen][None])[0]
        hits = [_hit(board, pictures, ranking, place) for place in range(len(order))]
        query = _query(board, pictures, int(number))
        lines.append(Line(query, hits, name, facts=(f"AP of these {len(order)}: {100 * precision:.0f} %",)))
    return lines


def failure(board: Board, number: int, catalogue: Catalogue, pictures: Pictures, wrong: int = 5) -> Line:
    """Figure 9, one query: its first wrong results beside the best-ranked right one, and the likely reason.

    Args:
        board: whose query.
        number: which (``boards.worst_queries`` knows the worst).
        catalogue: of its rows.
        pictures: of that.
        wrong: how many wrong results.
    """
    ranking = board.ranking(number)
    note = _reasons(board, number, ranking, catalogue)
    places = np.flatnonzero(~ranking.right)[:wrong].tolist()
    if ranking.first:
        places.append(ranking.first - 1)
    hits = [_hit(board, pictures, ranking, place, tag=f"rank {place + 1:,}") for place in places]
    title = f"{words(board.name)}: {_shown(board.asked[number])}"
    return Line(_query(board, pictures, number), hits, title, note, (_first(ranking), *_facts(board, number, ranking)))


def _reasons(board: Board, number: int, ranking: Ranking, catalogue: Catalogue) -> str:
    """Return what a failure can be put down to, in words."""
    query, rows = int(board.queries[number]), board.candidates[ranking.order]
    others = rows != query
    values = [board.given[place] for place in ranking.order[others]]
    known = evidence(
        catalogue, query, rows[others], ranking.scores[others], ranking.right[others], values, board.vectors
    )
    found = [f"{each.name} ({each.detail})" if each.detail else each.name for each in likely_reasons(known)]
    return f"Likely reason: {'; '.join(found)}"


def draw_lines(lines: Sequence[Line], path: Path, title: str = "", columns: int = 10, side: int = 150) -> Path:
    """Write lines as one picture; returns its path."""
    rows = [(line.query, line.hits) for line in lines]
    headings = [" · ".join(filter(None, (line.title, *line.facts, line.note))) for line in lines]
    sheet(rows=rows, path=path, title=title, headings=headings, columns=columns, side=side)
    return path


def slug(name: str) -> str:
    """Return a name that any file system takes: letters, digits, - and _.

    >>> slug("Länge / <length>")
    'L-nge-length'
    """
    return re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")[:60] or "attribute"


def _query(board: Board, pictures: Pictures, number: int) -> Tile:
    row = board.queries[number]
    return Tile(pictures[row], pictures.name(row), _shown(board.asked[number]))


def _hit(board: Board, pictures: Pictures, ranking: Ranking, place: int, tag: str = "") -> Tile:
    position = int(ranking.order[place])
    row = board.candidates[position]
    value, right = _shown(board.given[position]), bool(ranking.right[place])
    score = float(ranking.scores[place])
    score = abs(score) if ranking.euclidean else score
    return Tile(pictures[row], pictures.name(row), value, score, right=right, tag=tag)


def _facts(board: Board, number: int, ranking: Ranking) -> list[str]:
    facts = []
    if board.attribute:
        facts.append(f"AP {100 * board.quality[number]:.0f} %, chance {100 * board.chance[number]:.0f} %")
    facts.append(f"{board.counts[number]:,} right among {len(ranking.order):,}")
    return facts


def _shown(value: str, longest: int = 60) -> str:
    """Return a value as text: of a hundred values that an image may have, the first ones."""
    return shortened(words(value) or "not labelled", longest)
