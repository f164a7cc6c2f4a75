"""The figures of a report: what each shows, from one embedding of the images, as sections of the page and PNG files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lapel.decoding import decode_array
from lapel.errors import LapelError
from lapel.evaluation import report_page as page
from lapel.evaluation.bars import Figure, figures_key, figures_table
from lapel.evaluation.boards import worst_queries
from lapel.evaluation.confusion import confusions
from lapel.evaluation.gaze import draw_gazes, gazes
from lapel.evaluation.heat import draw_heat
from lapel.evaluation.judged import ASKED, JudgedAttribute, draw_judged, drawn_triplets, given_triplets, judge
from lapel.evaluation.localisation import Localisation, localise
from lapel.evaluation.markup import words
from lapel.evaluation.protocols import RetrievalResult
from lapel.evaluation.report_page import Section
from lapel.evaluation.sheets import Line, draw_lines, failure, same_ten, slug, top_lines
from lapel.evaluation.sheets import Vectors as VectorsOf
from lapel.evaluation.triplets import triplets_of
from lapel.protocol import TripletProtocol
from lapel.report.items import embedding
from lapel.report.scene import Ground, Scene
from lapel.retrieval.embedder import Embedder, Vectors

Rows = npt.NDArray[np.int64]
SAME = 8
"""Attributes of figure 6, at most."""


def _drawn(scene: Scene) -> str:
    """Return a sentence that says what figures by attribute are drawn from, where that is not all images."""
    return f" By attribute: {scene.sampled}." if scene.sampled else ""


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
    ) + _drawn(scene)
    return Section("figure5", "Figure 5: the ten best results", page.top_body(groups), text, "Top ten")


def _same(scene: Scene) -> Section | None:
    if not scene.rivals:
        return None
    groups: list[tuple[str, Sequence[Line]]] = []
    for board, ground in scene.boards[:SAME]:
        models: dict[str, VectorsOf] = {scene.name: _own(scene, ground)}
        models |= {
            name: embedding(other, ground) if other.items else _embedding(other, ground)
            for name, other in scene.rivals.items()
        }
        far = [name for name, run in scene.rivals.items() if run.items and run.distance == "euclidean"]
        lines = same_ten(board, ground.pictures, models, scene.seed, euclidean=far)
        if lines:
            groups.append((board.name, lines))
            title = f"Figure 6: the same ten, alike in {words(board.name)}"
            draw_lines(lines, scene.png(f"figure6-{slug(board.name)}"), title)
    if not groups:
        return None
    text = (
        "One query of each attribute and the same ten candidates, drawn at random, half of them right: each model puts "
        "them in its own order. Ten are a picture, no measurement; the tables say which model is better."
    ) + _drawn(scene)
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
    ground, distance = (scene.ground, scene.embedder.distance) if given else (scene.sample, "cosine")
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
            found.append(judge(rows, vectors, ground.images, name, ground.pictures, scene.seed, distance=distance))
    if not found:
        return None
    draw_judged(found, scene.png("figure8"))
    text = (
        "Is the close image more similar to the anchor than the far one? Of each attribute one triplet told right and "
        "one told wrong, where there is one; "
    )
    source = "the catalogue's triplets" if given else "triplets drawn from the labels, every value alike"
    text += f"the counts are of at most {ASKED} of {source}." + ("" if given else _drawn(scene))
    return Section("figure8", "Figure 8: triplets judged", page.judged_body(found), text, "Triplets")


def _split(scene: Scene) -> pa.Table:
    """Return the triplets of the protocol's split."""
    assert isinstance(scene.protocol, TripletProtocol)
    assert scene.part.triplets is not None
    return triplets_of(scene.part.triplets, scene.protocol.split, scene.part.source)


def _under(vectors: Vectors, place: int) -> Any:
    return lambda rows: vectors[rows, place]


def _failures(scene: Scene) -> Section | None:
    if not scene.boards:
        return None
    title = "Figure 9: the worst failures first"
    grounds = {id(board): ground for board, ground in scene.boards}
    found: list[Line] = []
    for board, number in worst_queries([board for board, _ in scene.boards]):
        ground = grounds[id(board)]
        found.append(failure(board, number, ground.images, ground.pictures))
    if not found:
        return Section(
            "figure9", title, page.notes(["no query ranked a wrong image above a right one"]), short="Failures"
        )
    draw_lines(found, scene.png("figure9"), title, columns=6)
    text = (
        "The queries that gained least over a random order, worst first, at most two of each attribute: the first "
        "wrong results beside the best-ranked right one. A likely reason is a circumstance that scores, votes, views "
        "or landmarks show; nobody looked at the pictures."
    ) + _drawn(scene)
    return Section("figure9", title, page.failures_body(found), text, "Failures")


def _localisation(scene: Scene) -> Section | None:
    if scene.regions is None:
        return None
    try:
        found = localise(scene.embedder, scene.sample.images, scene.regions, seed=scene.seed)
    except LapelError as error:
        return Section("pointing", "Attention, measured", page.notes([str(error)]), short="Pointing")
    counts = ("mass inside %", "centre of the picture %", "images")
    figures = [_pointing(row.attribute, row) for row in found.attributes]
    body = figures_table(figures, _pointing("overall", found.overall), "pointing game", counts)
    remarks = [f"{words(name)} not measured: {reason}" for name, reason in found.not_measured.items()]
    remarks += [
        f"{words(row.attribute)}: its regions fill the picture; not in the overall figure" for row in found.beside
    ]
    if found.overall.cut_off:
        remarks.append(f"{found.overall.cut_off:,} regions lie outside the model's frame and are left out")
    if found.unread:
        remarks.append(f"{found.unread:,} images could not be read and are left out")
    text = (
        "Is the maximum of the map inside the region where the attribute truly shows? Chance is attention spread "
        "evenly; the centre column is what looking at the middle of the picture would score."
    ) + _drawn(scene)
    return Section(
        "pointing",
        "Attention, measured",
        figures_key("pointing game") + body + page.notes(remarks),
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
        "An embedding names no value, so each query is given the value that its nearest candidates, ten at most, vote "
        "for: what are the values of an attribute taken for?"
    ) + _drawn(scene)
    return Section("confusion", "Which values are confused", page.confusion_body(found), text, "Confusion")


FIGURES: tuple[Callable[[Scene], Section | None], ...] = (
    _top, _same, _gaze, _judged, _failures, _confusion, _localisation,
)  # fmt: skip
"""What makes the sections of the page, in order; each gives None where it has nothing to show."""
