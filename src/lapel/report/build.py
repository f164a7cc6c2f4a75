"""The report of a run: metrics, curves and the figures of its paper's kind, in one page and as picture files."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lapel.catalogue import Catalogue
from lapel.errors import RunError
from lapel.evaluate import catalogue_of, embed_catalogue, evaluate, resolve_protocol
from lapel.evaluate_items import outputs_of
from lapel.evaluation.accuracy_curve import accuracy_curve, draw_accuracy
from lapel.evaluation.curves import Curves, draw_curves, read_curves
from lapel.evaluation.instances import ItemResult
from lapel.evaluation.record import read_result, write_result
from lapel.evaluation.report_page import Section, curves_body, write_report
from lapel.item_outputs import ItemOutputs
from lapel.parts import Part, attribute_part, item_part, triplet_part
from lapel.progress import bar
from lapel.protocol import AttributeProtocol, Protocol, TripletProtocol
from lapel.report.figures import FIGURES
from lapel.report.items import ITEM_FIGURES
from lapel.report.metrics import headline, metrics, protocol_words
from lapel.report.scene import Scene
from lapel.retrieval.embedder import Embedder, Vectors, load
from lapel.runs import note

OWN = (
    "figure[5-9]*.png", "confusion*.png", "curves.png", "accuracy.png", "found.png", "same.png", "branches.png",
    "landmarks.png", "landmark-errors.png", "tags.png", "failures.png",
)  # fmt: skip
"""Figures that a report may leave, by their names."""


def report(
    run: Path | str,
    catalogue: Catalogue | Path | str | None = None,
    to: Path | str | None = None,
    against: Sequence[Path | str] = (),
    seed: int = 0,
    quiet: bool = False,
) -> Path:
    """Write what a run is worth, with pictures: ``to/report.html``, ``to/figures/*.png`` and ``to/result.json``.

    The images of the catalogue's protocol are embedded once, for the figures and the pictures alike. The same run,
    catalogue and seed show the same queries.

    Args:
        run: run folder.
        catalogue: by default the one the run was trained on.
        to: folder, by default ``run/report``.
        against: further runs that rank the same ten candidates beside this one (figure 6). Beside an item run any run.
        seed: draws the queries, the intervals and what is shown.
        quiet: no progress bars.

    Returns:
        the page.

    Raises:
        RunError: not a run, altered weights, or a run to compare with that lacks attributes of this one.
        CatalogueError: unreadable catalogue, or one that does not fit the run.
        ImageError: too many images cannot be read.
        LapelError: nothing to evaluate, or the folder cannot be written.

    Memory: the embeddings of these images twice while the figures are measured, once afterwards.
    """
    run = Path(run)
    to = run / "report" if to is None else Path(to)
    whole = catalogue if isinstance(catalogue, Catalogue) else catalogue_of(run, catalogue)
    protocol = resolve_protocol(whole, run=run)
    embedder = load(run)
    part = _part(embedder, whole, protocol)
    names = names_of([run, *against])
    rivals = _rivals(dict(zip(names[1:], against, strict=True)), embedder, part.images)
    failed = embedder.config.recipe.data.max_failed
    outputs: ItemOutputs | None = None
    known: Embedder = embedder
    if embedder.items:
        outputs = outputs_of(embedder, part.images, failed, quiet)
        vectors, missing = outputs.vectors[:, None], outputs.missing
    else:
        raw = isinstance(protocol, TripletProtocol)  # as ``evaluate`` asks for them; figures of cosines scale them
        vectors, missing = embed_catalogue(embedder, part.images, failed, quiet, raw=raw)
        known = _Known(embedder, part.images, vectors, missing, raw)
    result = evaluate(
        run, whole, json=to / "result.json", seed=seed, quiet=True, protocol=protocol, embedder=known, outputs=outputs
    )
    curves = read_curves(run)
    shown = (embedder, protocol, part, vectors, missing, result)
    scene = Scene(*shown, to / "figures", names[0], rivals, seed, outputs)
    if scene.sampled:  # the file says what the page does
        found, record = read_result(to / "result.json")
        write_result(to / "result.json", found, record | {"figures_by_attribute": scene.sampled})
    sections = [_metrics(scene), *_curves(curves, scene)]
    figures = ITEM_FIGURES if embedder.items else FIGURES
    with bar("figure", quiet) as progress:
        task = progress.add_task("drawing", total=len(figures), note="")
        for build in figures:
            section = build(scene)
            sections += [] if section is None else [section]
            progress.advance(task)
    _forget_old(scene)
    return write_report(
        to / "report.html",
        names[0],
        f"{embedder.config.model['name']} on {embedder.config.model['trunk']}, measured on {whole.name}: "
        f"{protocol_words(protocol, result)}.",
        headline(result, protocol),
        _facts(embedder, whole, part, curves),
        sections,
        read_result(to / "result.json")[1],
    )


def _metrics(scene: Scene) -> Section:
    if not isinstance(scene.result, ItemResult):
        return metrics(scene.result, scene.protocol)
    curve = accuracy_curve(scene.result, scene.seed)
    draw_accuracy(curve, scene.png("accuracy"), f"{scene.name}: Acc@K")
    return metrics(scene.result, scene.protocol, curve)


class _Known(Embedder):
    """An embedder that has the vectors of some images at hand and embeds none of them twice."""

    def __init__(
        self,
        other: Embedder,
        catalogue: Catalogue,
        vectors: Vectors,
        missing: npt.NDArray[np.bool_],
        raw: bool = False,
    ) -> None:
        super().__init__(other.model, other.config, other.run, other.fingerprint, other.device)
        self.failures = other.failures
        self._vectors, self._missing, self._raw = vectors, missing, raw
        keys = zip(catalogue.paths(), catalogue.boxes(), strict=True)
        self._rows = {key: row for row, key in enumerate(keys)}

    def embed_paths(
        self,
        paths: Sequence[Path],
        boxes: Any = None,
        batch_size: int = 64,
        max_failed: float = 0.05,
        raw: bool = False,
    ) -> Iterator[tuple[npt.NDArray[np.int64], Vectors]]:
        """Yield the vectors at hand; of images that are not, embed all that was asked for."""
        crops = [None] * len(paths) if boxes is None else boxes
        keys = list(zip(paths, crops, strict=True))
        if raw != self._raw or not all(key in self._rows for key in keys):
            yield from super().embed_paths(paths, boxes, batch_size, max_failed, raw)
            return
        rows = np.array([self._rows[key] for key in keys], np.int64)
        for start in range(0, len(rows), 4096):
            chunk = rows[start : start + 4096]
            read = ~self._missing[chunk]
            yield start + np.flatnonzero(read), self._vectors[chunk[read]]


def _part(embedder: Embedder, whole: Catalogue, protocol: Protocol) -> Part:
    recipe = embedder.config.recipe
    if isinstance(protocol, AttributeProtocol):
        return attribute_part(whole, protocol, recipe)
    if isinstance(protocol, TripletProtocol):
        return triplet_part(whole, protocol, embedder.attributes)
    return item_part(whole, protocol, recipe)


def names_of(runs: Sequence[Path | str]) -> list[str]:
    """Return what runs are called: by their folders, with as many of those above as tell them apart.

    A folder ``seedK`` is one of several runs of the folder above, as ``lapel reproduce`` leaves them.

    >>> names_of(["runs/agman/seed0", "runs/agman-without-asa/seed0", "other/mine"])
    ['agman/seed0', 'agman-without-asa/seed0', 'mine']
    """
    parts = [Path(run).resolve().parts for run in runs]
    lengths = [2 if re.fullmatch(r"seed\d+", own[-1]) else 1 for own in parts]
    while True:
        names = ["/".join(own[-length:]) for own, length in zip(parts, lengths, strict=True)]
        known = dict(zip(parts, names, strict=True))  # a run that is named twice is one
        again = [
            length + 1 if [*known.values()].count(name) > 1 and length < len(own) else length
            for own, name, length in zip(parts, names, lengths, strict=True)
        ]
        if again == lengths:
            return names
        lengths = again


def _rivals(against: Mapping[str, Path | str], own: Embedder, images: Catalogue) -> dict[str, Embedder]:
    """Load the runs to compare with.

    Raises:
        RunError: one lacks attributes that this run shows on this catalogue.
    """
    shown = [name for name in own.attributes if name in images.attributes]
    found: dict[str, Embedder] = {}
    for name, path in against.items():
        other = load(path)
        if lacking := [each for each in shown if each not in other.attributes]:
            raise RunError(
                f"run {path} cannot rank beside {own.run}: it does not know {', '.join(lacking)} of catalogue "
                f"{images.name!r}, only {', '.join(other.attributes)}. Compare runs trained on the same attributes"
            )
        found[name] = other
    return found


def _curves(found: Curves, scene: Scene) -> list[Section]:
    path = draw_curves(found, scene.folder / "curves.png", "training")
    if path is None:
        return []
    scene.written.append(path)
    text = f"{found.steps:,} optimiser steps"
    if found.seconds:
        text += f" in {_duration(found.seconds)}"
    text += ". The weights of the best validation are the ones that were kept."
    if found.stages:
        text += " Dashed lines: a later stage of the training begins."
    return [Section("curves", "How it was trained", curves_body(found), text, "Curves")]


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if seconds >= 90 else f"{seconds:.0f} s"


def _facts(embedder: Embedder, whole: Catalogue, part: Part, curves: Curves) -> dict[str, str]:
    model, pre = embedder.config.model, embedder.preprocessing
    parameters = sum(each.numel() for each in embedder.model.parameters())
    kept = note(embedder.run)
    trained = f"{curves.steps:,} steps" if curves.steps else "unknown"
    if curves.seconds:
        trained += f", {_duration(curves.seconds)}"
    if "epoch" in kept:
        trained += f"; kept epoch {kept['epoch']}"
    title = whole.record.get("title")
    return {
        "model": str(model["name"]),
        "trunk": str(model["trunk"]),
        "parameters": f"{parameters:,}",
        "embedding": _embedding_words(embedder),
        "input": f"{pre.height} × {pre.width} pixels, {pre.resize}",
        "catalogue": f"{title or whole.name}: {len(part.images):,} of {len(whole):,} images take part",
        "trained": trained,
        "fingerprint": embedder.fingerprint[:16],
        "reported": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _embedding_words(embedder: Embedder) -> str:
    if not embedder.items:
        return f"{embedder.dim} numbers for each of {len(embedder.attributes)} attributes"
    words = (
        f"{embedder.dim} numbers, ranked by {'Euclidean distance' if embedder.distance == 'euclidean' else 'cosine'}"
    )
    beside = [
        f"{count:,} {what}"
        for count, what in ((len(embedder.tags), "tags"), (embedder.model.points, "landmarks"))
        if count
    ]
    return words + (f"; predicts {' and '.join(beside)}" if beside else "")


def _forget_old(scene: Scene) -> None:
    """Remove figures of an earlier report in the same folder that this one does not have."""
    names: Callable[[str], Iterator[Path]] = scene.folder.glob
    for pattern in OWN:
        for path in names(pattern):
            if path not in scene.written:
                path.unlink()
