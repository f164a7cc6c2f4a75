"""The figures of an item run's report: what it finds, where its branches look, what they predict, where it fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from lapel.errors import ImageError
from lapel.evaluate_items import trained_branches
from lapel.evaluation import item_page, report_page
from lapel.evaluation.bar_chart import Bar, draw_bars
from lapel.evaluation.boards import worst_queries
from lapel.evaluation.branch_gaze import draw_looks, looks
from lapel.evaluation.figures import Tile
from lapel.evaluation.gaze import open_photo
from lapel.evaluation.instances import ItemResult
from lapel.evaluation.landmark_figures import Guess, draw_guesses, draw_landmark_errors, lay_heatmaps, mark_points
from lapel.evaluation.markup import encode, words
from lapel.evaluation.prediction import landmark_error
from lapel.evaluation.report_page import Section
from lapel.evaluation.sheets import Vectors as VectorsOf
from lapel.evaluation.sheets import draw_lines, failure, same_ten, top_lines
from lapel.item_outputs import whole_sizes
from lapel.landmark_frame import unframe_landmarks
from lapel.landmarks import LANDMARKS, VISIBLE
from lapel.report.scene import Ground, Scene
from lapel.retrieval.embedder import Embedder, Vectors

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
FAILURES = 8
"""Failures that are shown, at most."""
THIRDS = ("among the best", "middling", "among the worst")


def _measure(scene: Scene) -> str:
    return "distance" if scene.embedder.distance == "euclidean" else "similarity"


def _top(scene: Scene) -> Section | None:
    groups = []
    for board, ground in scene.boards:
        lines = top_lines(board, ground.pictures, scene.seed)
        if lines:
            draw_lines(lines, scene.png("found"), "The ten items found first")
            groups.append((board.name, f"{len(board.queries):,} queries", lines))
    if not groups:
        return None
    text = (
        "The ten items found first for three queries: one drawn from the best answered tenth, one from the middle, one "
        "from the worst. Each item is shown once, by its best image; the number in the corner is the rank of that "
        "image, as Acc@K counts it, and (+2) says that two more images of the item came before the last one shown."
    )
    body = report_page.top_body(groups, f"its item and its {_measure(scene)} to the query")
    return Section("found", "What it finds", body, text, "Found")


def _same(scene: Scene) -> Section | None:
    if not scene.rivals:
        return None
    groups = []
    for board, ground in scene.boards:
        runs = {scene.name: scene.embedder, **scene.rivals}
        models: dict[str, VectorsOf] = {scene.name: _own(ground)}
        models |= {name: embedding(other, ground) for name, other in scene.rivals.items()}
        far = {name for name, run in runs.items() if run.items and run.distance == "euclidean"}
        lines = same_ten(board, ground.pictures, models, scene.seed, euclidean=far)
        if lines:
            groups.append((board.name, lines))
            draw_lines(lines, scene.png("same"), "The same ten images, ranked by each run")
    if not groups:
        return None
    text = (
        "One query and the same ten images, drawn at random, those of its item among them: each run puts them in its "
        "own order, by the distance of its own model. Ten are a picture, no measurement."
    )
    under = "its item, and its distance or similarity to the query"
    return Section("same", "Several runs, the same ten", report_page.same_body(groups, under), text, "Same ten")


def _own(ground: Ground) -> VectorsOf:
    return lambda rows, _: np.asarray(ground.vectors[rows].reshape(len(rows), -1))


def embedding(other: Embedder, ground: Ground) -> VectorsOf:
    """Return how another run embeds images of the ground: an item run as its model gives them, unscaled."""

    def vectors(rows: Rows, _: str | None) -> Vectors:
        pictures = ground.pictures
        paths, boxes = [pictures.path(row) for row in rows], [pictures.box(row) for row in rows]
        found = [part for _, part in other.embed_paths(paths, boxes, max_failed=0.0, raw=other.items)]
        return np.concatenate(found).reshape(len(rows), -1)

    return vectors


def _failures(scene: Scene) -> Section | None:
    title = "The worst failures first"
    found = [
        failure(board, number, ground.images, ground.pictures)
        for board, ground in scene.boards
        for _, number in worst_queries([board], FAILURES, FAILURES)
    ]
    if not found:
        said = report_page.notes(["no query ranked an image of another item above its own"])
        return Section("failures", title, said, short="Failures") if scene.boards else None
    draw_lines(found, scene.png("failures"), title, columns=6)
    text = (
        "The queries whose item came latest, worst first, one of each item: the first wrong results beside the "
        "best-ranked right one. A likely reason is a circumstance that scores, views or landmarks show; nobody looked "
        "at the pictures."
    )
    body = report_page.failures_body(found, f"its item and its {_measure(scene)} to the query")
    return Section("failures", title, body, text, "Failures")


def _gaze(scene: Scene) -> Section | None:
    found = [
        look for board, ground in scene.boards for look in looks(scene.embedder, board, ground.pictures, scene.seed)
    ]
    if not found or not found[0].seen[0].maps:
        return None
    draw_looks(found, scene.png("branches"), "Where the branches look")
    text = (
        "The three queries from above, each with its best right result and its first wrong one. Every map runs from "
        "its own least to its own greatest value; the line encloses what is above half."
    )
    if all(each.flat for look in found for each in look.seen):
        text = "This model looks at every place alike: its maps are even."
    return Section("branches", "Where its branches look", item_page.looks_body(found), text, "Branches")


def _landmarks(scene: Scene) -> Section | None:
    assert isinstance(scene.result, ItemResult)
    errors = scene.result.landmarks
    if errors is not None:
        draw_landmark_errors(errors, scene.png("landmark-errors"), "Error of predicted landmarks")
    found = _guesses(scene)
    if found:
        draw_guesses(found, scene.png("landmarks"), "Predicted landmarks and their heat-maps")
    elif errors is None:
        return None
    text = "Left and right are those of the picture. "
    if errors is None:
        text += "The catalogue knows no landmarks of these images, so that nothing can be measured."
    else:
        text += (
            "An error is the distance to the true landmark, each coordinate as a share of its side of the picture; "
            "only visible landmarks count, and a left one taken for a right one is an error of both. The pictures are "
            "drawn from the best, the middling and the worst predicted ones."
        )
    return Section("landmarks", "Landmarks", item_page.landmarks_body(found, errors), text)


def _guesses(scene: Scene) -> list[Guess]:
    """Return two photographs each of those whose landmarks are predicted best, middling and worst."""
    outputs, ground, embedder = scene.outputs, scene.ground, scene.embedder
    if outputs is None or outputs.points is None or outputs.points.shape[1] != len(LANDMARKS):
        return []
    if "landmarks" not in trained_branches(embedder):  # or the picture would show what nothing was trained to be
        return []
    truth = ground.images.landmarks()
    rows = np.flatnonzero(~outputs.missing)
    boxes = ground.images.boxes()
    points = np.full((len(truth), len(LANDMARKS), 3), np.nan)
    points[rows, :, 2] = outputs.points[rows, :, 2]
    points[rows, :, :2] = unframe_landmarks(
        outputs.points[rows, :, :2], [boxes[row] for row in rows], outputs.sizes[rows], embedder.preprocessing
    )
    items = [item or f"image {row}" for row, item in enumerate(ground.images.items())]
    found = []
    sizes = np.ones((len(truth), 2), np.int64)
    shown = rows[(truth[rows, :, 2] == VISIBLE).any(axis=1)]
    sizes[shown] = whole_sizes(outputs, ground.images, shown)
    for title, row in pick_guesses(mean_errors(points, truth, sizes), rows, items, scene.seed):
        photo, crop, box, scale = open_photo(ground.pictures, row)
        try:
            maps = embedder.heatmaps([crop])
        except ImageError:  # a crop of a few pixels
            continue
        assert maps is not None  # of which the points were read
        known = None if np.isnan(truth[row]).any() else truth[row]
        fact = ""
        if known is not None and (known[:, 2] == VISIBLE).any():
            off = landmark_error(points[row : row + 1], known[None], sizes[row : row + 1]).error
            fact = f"off by {100 * off:.1f} %"
        scaled = [scale, scale, 1.0]
        marked = mark_points(photo, points[row] * scaled, None if known is None else known * scaled)
        heat = lay_heatmaps(photo, maps[0], embedder.preprocessing, box)
        name = ground.pictures.name(row)
        said = " · ".join(filter(None, (title, fact)))
        tiles = Tile(encode(marked), name, said, tag="landmarks"), Tile(encode(heat), tag="heat-maps")
        found.append(Guess(*tiles, title, fact))
    return found


def mean_errors(points: Floats, truth: Floats, sizes: npt.NDArray[np.int64]) -> Floats:
    """Return each image's mean error over its visible landmarks (N,), as a share of its size; NaN where none counts.

    Args:
        points: (N, 8, 3) x, y in pixels, NaN where there is no prediction.
        truth: (N, 8, 3) x, y, visibility; NaN where there is none.
        sizes: (N, 2) width and height of the whole images, box or no box, as ``landmark_error`` takes them.
    """
    gaps = (points[..., :2] - truth[..., :2]) / sizes[:, None]
    counted = (truth[..., 2] == VISIBLE) & np.isfinite(gaps).all(axis=2)
    lengths = np.where(counted, np.linalg.norm(np.where(counted[..., None], gaps, 0.0), axis=2), 0.0)
    many = counted.sum(axis=1)
    return np.where(many > 0, lengths.sum(axis=1) / np.maximum(many, 1), np.nan)


def pick_guesses(errors: Floats, rows: Rows, items: Sequence[str], seed: int, each: int = 2) -> list[tuple[str, int]]:
    """Draw photographs to show, of different items: from the tenth predicted best, the middle tenth and the worst.

    Args:
        errors: (N,) of all images, NaN where none is known; where none is known at all, images are drawn evenly.
        rows: (n,) those that were read.
        items: (N,) what each shows.
        seed: of the draw.
        each: how many of each.

    Returns:
        (which, row); ``which`` is empty where no error is known.
    """
    generator = np.random.default_rng([seed, 8])
    known = rows[np.isfinite(errors[rows])]
    if len(known) < len(THIRDS) * each:
        pools, names = [np.asarray(rows)] * len(THIRDS), [""] * len(THIRDS)
    else:
        order = known[np.argsort(errors[known], kind="stable")]
        width = max(each, len(order) // 10)
        starts = (0, (len(order) - width) // 2, len(order) - width)
        pools, names = [order[start : start + width] for start in starts], list(THIRDS)
    shown: set[str] = set()
    found: list[tuple[str, int]] = []
    for name, pool in zip(names, pools, strict=True):
        left = each
        for row in generator.permutation(pool).tolist():
            if left and items[row] not in shown:
                shown.add(items[row])
                found.append((name, row))
                left -= 1
    return found


def _tags(scene: Scene) -> Section | None:
    assert isinstance(scene.result, ItemResult)
    found = scene.result.tags
    if found is None:
        return None
    panels = []
    for heading, names in item_page.tag_ends(found):
        rows = [(name, found.attributes[name]) for name in names]
        bars = [Bar(item_page.tag_name(n), 100 * r.ap, 100 * r.chance, f"{r.positives:,}") for n, r in rows]
        panels.append((heading, bars))
    unit = "AP in percent; notch: chance; in grey: images with the tag"
    draw_bars(panels, scene.png("tags"), f"Tags: mAP {100 * found.map:.1f} %", unit, 100.0)
    text = (
        f"Mean average precision over {len(found.attributes):,} tags: {100 * found.map:.1f} %; a random order would "
        f"score {100 * found.chance:.1f} %. Of each tag, images are ranked by the branch's score for it: AP says how "
        "early those come that have it. Images of which it is not known do not count."
    )
    out = [f"{words(item_page.tag_name(name))} not measured: {why}" for name, why in found.not_evaluated.items()]
    remarks = out[:5] + ([f"{len(out) - 5} more tags are not measured"] if len(out) > 5 else [])
    return Section("tags", "Tags it predicts", item_page.tags_body(found) + report_page.notes(remarks), text, "Tags")


ITEM_FIGURES: tuple[Callable[[Scene], Section | None], ...] = (_top, _same, _gaze, _landmarks, _tags, _failures)
"""What makes the sections of an item run's page, in order; each gives None where it has nothing to show."""
