"""Results of instance retrieval as tables to read, and what the model's branches predict beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console

from lapel.evaluation.grids import LEVEL_TEXT, note, percent, print_figures, print_head, span
from lapel.evaluation.instances import GroupResult, ItemResult
from lapel.evaluation.prediction import LandmarkResult, PredictionResult
from lapel.landmarks import LANDMARKS
from lapel.protocol import ItemProtocol

_SHOWN = 3  # best and worst tags


def print_items(
    result: ItemResult, protocol: ItemProtocol | None, console: Console, title: str | None, name: str
) -> None:
    """Print Acc@K with interval and chance, group by group where the protocol asks for it, and what lies beside.

    Args:
        result: what ``evaluate`` returned.
        protocol: what it was measured by.
        console: where to print.
        title: above the first table.
        name: what the row of figures is called.
    """
    headings = [f"Acc@{k}" for k in result.ks]
    cells = {
        name: [percent(found.mean) for found in result.accuracy],
        LEVEL_TEXT: [span(found) for found in result.accuracy],
        "chance": [percent(value) for value in result.chance],
    }
    print_figures(cells, headings, console, title)
    within = protocol.within if protocol and protocol.within else "group"
    own = f", each against its own {within}'s" if result.within else ""
    note(console, f"{result.queries:,} queries, a gallery of {result.gallery:,}{own}", style="")
    headline = protocol.headline if protocol else result.ks[-1]
    place = result.ks.index(headline) if headline in result.ks else len(result.ks) - 1
    if result.within:
        _print_groups(result.within, f"by {within}, each against its own gallery", result.ks, place, console)
    for column, groups in result.groups.items():
        _print_groups(groups, f"by {column} of the query", result.ks, place, console)
    if result.within or result.groups:
        note(console, f"* at K = {result.ks[place]}, the figure that stands for the whole", style="")
    if result.distractors:
        curve = {f"{size:,}": [*map(percent, found)] for size, found in sorted(result.distractors.items())}
        title = "expected accuracy with so many distractors drawn into the gallery"
        print_figures(curve, headings, console, title, strong=False)
    if result.hopeless:
        note(console, f"{result.hopeless} queries have no relevant image in the gallery and count as misses")
    if result.missing:
        note(console, f"{result.missing} images without an embedding were left out")
    for reason, count in result.notes.items():
        note(console, f"left out: {count} {reason.replace('_', ' ')}")
    if result.tags is not None:
        _print_tags(result.tags, console)
    if result.landmarks is not None:
        _print_landmarks(result.landmarks, console)


def _print_groups(
    groups: Mapping[str, GroupResult], title: str, ks: Sequence[int], place: int, console: Console
) -> None:
    """Print a row per group at every K, with the interval at the K that stands for the whole (marked)."""
    marked = [f"Acc@{k}" + "*" * (number == place) for number, k in enumerate(ks)]
    own = len({row.gallery for row in groups.values()}) > 1
    cells = {
        value: [
            f"{row.queries:,}",
            *([f"{row.gallery:,}"] if own else []),
            *(percent(found.mean) for found in row.accuracy),
            span(row.accuracy[place]),
        ]
        for value, row in groups.items()
    }
    headings = ["queries", *(["gallery"] if own else []), *marked, f"{LEVEL_TEXT} *"]
    print_figures(cells, headings, console, title, strong=False)


def _print_tags(found: PredictionResult, console: Console) -> None:
    """Print the attribute branch's mean AP in a line, and which tags it tells best and worst."""
    print_head(console, "beside the ranking: attributes that the model predicts")
    out = f", {len(found.not_evaluated)} more have no image here" if found.not_evaluated else ""
    count = f"{len(found.attributes):,} {'tag' if len(found.attributes) == 1 else 'tags'}{out}"
    note(console, f"mAP {percent(found.map)}, chance {percent(found.chance)}, over {count}", style="")
    ranked = sorted(found.attributes, key=lambda name: -found.attributes[name].ap)
    ends = {"best": ranked[:_SHOWN], "worst": ranked[_SHOWN:][-_SHOWN:]}
    for which, names in ends.items():
        if names:
            each = ", ".join(f"{name} {percent(found.attributes[name].ap)}" for name in names)
            note(console, f"{which}: {each}", style="")


def _print_landmarks(found: LandmarkResult, console: Console) -> None:
    """Print the localisation branch's error, landmark by landmark."""
    rows = [*zip(LANDMARKS, found.errors.tolist(), found.counts.tolist(), strict=True)]
    cells = {name: [f"{error:.4f}" if count else "-", f"{count:,}"] for name, error, count in rows}
    cells["all visible ones"] = [f"{found.error:.4f}", f"{int(found.counts.sum()):,}"]
    title = "beside the ranking: error of predicted landmarks, as a share of the image's size"
    print_figures(cells, ["error", "landmarks"], console, title, strong=False)
