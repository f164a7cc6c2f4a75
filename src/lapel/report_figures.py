"""The figures of a report: what each shows, from one embedding of the images, as sections of the page and PNG files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lapel.catalogue import Catalogue
from lapel.decoding import decode_array
from lapel.errors import LapelError
from lapel.evaluate import Result
from lapel.evaluation import report_page as page
from lapel.evaluation.boards import Board, attribute_boards, item_board, worst_queries
from lapel.evaluation.confusion import confusions
from lapel.evaluation.gaze import draw_gazes, gazes
from lapel.evaluation.heat import draw_heat
from lapel.evaluation.instances import ItemResult
from lapel.evaluation.judged import JudgedAttribute, draw_judged, drawn_triplets, given_triplets, judge
from lapel.evaluation.localisation import Localisation, localise
from lapel.evaluation.markup import words
from lapel.evaluation.protocols import RetrievalResult, attribute_retrieval
from lapel.evaluation.regions import Regions, read_regions
from lapel.evaluation.report_page import Figure, Section
from lapel.evaluation.sheets import Line, Pictures, draw_lines, failure, same_ten, slug, top_lines
from lapel.evaluation.sheets import Vectors as VectorsOf
from lapel.evaluation.triplets import triplets_of
from lapel.parts import Part
from lapel.protocol import Protocol, TripletProtocol
from lapel.retrieval.embedder import Embedder, Vectors

Rows = npt.NDArray[np.int64]
SAMPLE = 4000
"""Images that figures by attribute are drawn from where the protocol asks for triplets or items, at most."""
SAME = 8
"""Attributes of figure 6, at most."""


@dataclass(frozen=True, eq=False)
class Ground:
    """Images with their vectors (N, A, D), which of them have none, and their pictures."""

    images: Catalogue
    vectors: Vectors
    missing: npt.NDArray[np.bool_]

    @cached_property
    def pictures(self) -> Pictures:
        """The pictures, each read once."""
        return Pictures(self.images)


@dataclass(frozen=True, eq=False)
class Scene:
    """What a report is drawn from.

    Attributes:
        embedder: of the run.
        protocol: by which it was measured.
        part: the images that take part.
        vectors: (N, A, D) of ``part.images``.
        missing: (N,) bool, images that could not be read.
        result: what was measured.
        folder: for the PNG files.
        rivals: other runs by name.
        seed: of every draw.
        written: PNG files so far.
    """

    embedder: Embedder
    protocol: Protocol
    part: Part
    vectors: Vectors
    missing: npt.NDArray[np.bool_]
    result: Result
    folder: Path
    rivals: Mapping[str, Embedder]
    seed: int
    written: list[Path] = field(default_factory=list)

    @cached_property
    def ground(self) -> Ground:
        """All images that take part."""
        return Ground(self.part.images, self.vectors, self.missing)

    @cached_property
    def sample(self) -> Ground:
        """The images that figures by attribute are drawn from."""
        if isinstance(self.result, RetrievalResult) or len(self.part.images) <= SAMPLE:
            return self.ground
        rows = np.sort(np.random.default_rng([self.seed, 4]).permutation(len(self.part.images))[:SAMPLE])
        return Ground(self.part.images.take(rows), self.vectors[rows], self.missing[rows])

    @cached_property
    def by_attribute(self) -> list[Board]:
        """A board for each attribute of the run that the images are labelled under."""
        ours, ground = self.embedder.attributes, self.sample
        names = [name for name in ours if name in ground.images.attributes]
        options: dict[str, Any] = {"missing": ground.missing, "seed": self.seed}
        if isinstance(self.result, RetrievalResult):
            options["lists"] = self.part.lists
            return attribute_boards(self.result, ground.images, ground.vectors, ours, **options)
        try:
            found = attribute_retrieval(
                lambda name: ground.vectors[:, ours.index(name)], ground.images, names, samples=1, **options
            )
        except LapelError:  # labelled under none of them
            return []
        return attribute_boards(found, ground.images, ground.vectors, ours, **options)

    @cached_property
    def boards(self) -> list[tuple[Board, Ground]]:
        """All boards, that of items first, each with its images."""
        found = [(board, self.sample) for board in self.by_attribute]
        if isinstance(self.result, ItemResult) and self.part.selection is not None:
            board = item_board(self.result, self.ground.images, self.vectors, self.part.selection, self.missing)
            found.insert(0, (board, self.ground))
        return found

    @cached_property
    def regions(self) -> Regions | None:
        """Where each attribute truly shows, where that is known."""
        return read_regions(self.sample.images)

    def png(self, name: str) -> Path:
        """Return the path of a figure's PNG, which is written next."""
        path = self.folder / f"{name}.png"
        while path in self.written:  # two attributes whose names differ in odd letters only
            path = path.with_stem(f"{path.stem}-2")
        self.written.append(path)
        return path


def _top(scene: Scene) -> Section | None:
    groups: list[tuple[str, str, Sequence[Line]]] = []
    for board, ground in scene.boards:
        lines = top_lines(board, ground.pictures, scene.seed)
        if not lines:
            continue
        remark = f"{len(board.queries):,} {'query' if len(board.queries) == 1 else 'queries'}"
        if board.attribute:
            remark = f"MAP {100 * board.quality.mean():.1f} %, {remark}"
        groups.append((board.name, remark, lines))
        draw_lines(lines, scene.png(f"figure5-{slug(board.name)}"), f"Figure 5: alike in {words(board.name)}")
    if not groups:
        return None
    text = (
        "For each attribute the ten best results of three queries: one drawn from the best answered tenth, one from "
        "the middle, one from the worst."
    )
    return Section("figure5", "Figure 5: the ten best results", page.top_body(groups), text, "Top ten")


def _same(scene: Scene) -> Section | None:
    if not scene.rivals:
        return None
    groups: list[tuple[str, Sequence[Line]]] = []
    for board, ground in scene.boards[:SAME]:
        models: dict[str, VectorsOf] = {scene.embedder.run.resolve().name: _own(scene, ground)}
        models |= {name: _embedding(other, ground) for name, other in scene.rivals.items()}
        lines = same_ten(board, ground.pictures, models, scene.seed)
        if lines:
            groups.append((board.name, lines))
            title = f"Figure 6: the same ten, alike in {words(board.name)}"
            draw_lines(lines, scene.png(f"figure6-{slug(board.name)}"), title)
    if not groups:
        return None
    text = (
        "One query of each attribute and the same ten candidates, drawn at random, half of them right: each model puts "
        "them in its own order. Ten are a picture, no measurement; the tables say which model is better."
    )
    return Section("figure6", "Figure 6: several models, the same ten", page.same_body(groups), text, "Same ten")


def _own(scene: Scene, ground: Ground) -> VectorsOf:
    names = scene.embedder.attributes

    def vectors(rows: Rows, attribute: str | None) -> Vectors:
        if attribute is None:
            return np.asarray(ground.vectors[rows].reshape(len(rows), -1))
        return np.asarray(ground.vectors[rows, names.index(attribute)])

    return vectors


def _embedding(other: Embedder, ground: Ground) -> VectorsOf:
    pictures = ground.pictures

    def vectors(rows: Rows, attribute: str | None) -> Vectors:
        # From the files, not from the small pictures of the page.
        images = [decode_array(pictures.path(row), pictures.box(row)) for row in rows]
        asked = None if attribute is None else [attribute]
        return np.asarray(other.embed(images, asked).reshape(len(rows), -1))

    return vectors


def _gaze(scene: Scene) -> Section | None:
    ground = scene.sample
    names = [name for name in scene.embedder.attributes if name in ground.images.attributes]
    names = names or list(scene.embedder.attributes)
    found = gazes(
        scene.embedder,
        ground.images,
        ground.pictures,
        [name for name in names if name in ground.images.attributes],
        missing=ground.missing,
        regions=scene.regions,
        seed=scene.seed,
    )
    if not found or not found[0].maps:
        return None
    draw_gazes(found, scene.png("figure7"), "Figure 7: where each attribute looks")
    text = "Each map runs from its own least to its own greatest attention; the line encloses what is above half."
    if scene.regions is not None:
        text += " Cyan frames: where the attribute truly shows."
    if all(gaze.flat for gaze in found):
        text = "This model looks at every place alike: it has no spatial attention, and its maps are even."
    return Section("figure7", "Figure 7: where each attribute looks", page.gaze_body(found), text, "Attention")


def _judged(scene: Scene) -> Section | None:
    given = isinstance(scene.protocol, TripletProtocol) and scene.part.triplets is not None
    ground = scene.ground if given else scene.sample
    found: list[JudgedAttribute] = []
    for place, name in enumerate(scene.embedder.attributes):
        if given:
            rows = given_triplets(_split(scene), ground.images, name, scene.seed)
        elif name in ground.images.attributes:
            rows = drawn_triplets(ground.images, name, scene.seed)
        else:
            continue
        rows = rows[~ground.missing[rows].any(axis=1)]
        if len(rows):
            vectors = _under(ground.vectors, place)
            found.append(judge(rows, vectors, ground.images, name, ground.pictures, scene.seed))
    if not found:
        return None
    draw_judged(found, scene.png("figure8"))
    text = (
        "Is the close image more similar to the anchor than the far one? Of each attribute one triplet told right and "
        "one told wrong, where there is one; "
    )
    source = "the catalogue's triplets" if given else "triplets drawn from the labels, every value alike"
    text += f"the counts are of at most 400 of {source}."
    return Section("figure8", "Figure 8: triplets judged", page.judged_body(found), text, "Triplets")


def _split(scene: Scene) -> pa.Table:
    """Return the triplets of the protocol's split."""
    assert isinstance(scene.protocol, TripletProtocol)
    assert scene.part.triplets is not None
    return triplets_of(scene.part.triplets, scene.protocol.split, scene.part.source)


def _under(vectors: Vectors, place: int) -> Any:
    return lambda rows: vectors[rows, place]


def _failures(scene: Scene) -> Section | None:
    grounds = {id(board): ground for board, ground in scene.boards}
    found: list[Line] = []
    for board, number in worst_queries([board for board, _ in scene.boards]):
        ground = grounds[id(board)]
        found.append(failure(board, number, ground.images, ground.pictures))
    if not found:
        return None
    draw_lines(found, scene.png("figure9"), "Figure 9: the worst failures first", columns=6)
    text = (
        "The queries that gained least over a random order, worst first, at most two of each attribute: the first "
        "wrong results beside the best-ranked right one. A likely reason is a circumstance that scores, votes, views "
        "or landmarks show; nobody looked at the pictures."
    )
    return Section("figure9", "Figure 9: the worst failures first", page.failures_body(found), text, "Failures")


def _localisation(scene: Scene) -> Section | None:
    if scene.regions is None:
        return None
    try:
        found = localise(scene.embedder, scene.sample.images, scene.regions, seed=scene.seed)
    except LapelError as error:
        return Section("pointing", "Attention, measured", page.notes([str(error)]), short="Pointing")
    counts = ("mass inside %", "centre of the picture %", "images")
    figures = [_pointing(row.attribute, row) for row in found.attributes]
    body = page.figures_table(figures, _pointing("overall", found.overall), "pointing game", counts)
    remarks = [f"{words(name)} not measured: {reason}" for name, reason in found.not_measured.items()]
    remarks += [
        f"{words(row.attribute)}: its regions fill the picture; not in the overall figure" for row in found.beside
    ]
    text = (
        "Is the maximum of the map inside the region where the attribute truly shows? Chance is attention spread "
        "evenly; the centre column is what looking at the middle of the picture would score."
    )
    return Section(
        "pointing",
        "Attention, measured",
        page.figures_key("pointing game") + body + page.notes(remarks),
        text,
        "Pointing",
    )


def _pointing(name: str, found: Localisation) -> Figure:
    cells = f"{100 * found.mass.mean:.1f}", f"{100 * found.centre_pointing:.1f}", f"{found.images:,}"
    return Figure.of(name, found.pointing, found.chance, *cells)


def _confusion(scene: Scene) -> Section | None:
    ground, ours = scene.sample, scene.embedder.attributes
    lists = scene.part.lists if isinstance(scene.result, RetrievalResult) else None
    found = confusions(
        lambda name: ground.vectors[:, ours.index(name)],
        ground.images,
        [board.name for board in scene.by_attribute],
        lists,
        seed=scene.seed,
        missing=ground.missing,
    )
    if not found:
        return None
    for name, each in found.items():
        if len(each.values) <= page.HEAT:
            draw_heat(each, scene.png(f"confusion-{slug(name)}"), words(name))
    text = (
        "An embedding names no value, so each query is given the value that its ten nearest candidates vote for: what "
        "are the values of an attribute taken for?"
    )
    return Section("confusion", "Which values are confused", page.confusion_body(found), text, "Confusion")


FIGURES: tuple[Callable[[Scene], Section | None], ...] = (
    _top, _same, _gaze, _judged, _failures, _confusion, _localisation,
)  # fmt: skip
"""What makes the sections of the page, in order; each gives None where it has nothing to show."""
