"""Evaluate a run on a catalogue: the protocol, by default the catalogue's own, the embeddings, the result file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from lapel.catalogue import Catalogue
from lapel.errors import CatalogueError, LapelError, unknown
from lapel.evaluation.instances import ItemResult, instance_retrieval
from lapel.evaluation.protocols import RetrievalResult, attribute_retrieval
from lapel.evaluation.queries import QueryLists
from lapel.evaluation.record import protocol_record, write_result
from lapel.evaluation.triplets import TripletsResult, triplet_prediction
from lapel.parts import attribute_part, item_part, triplet_part
from lapel.progress import bar
from lapel.protocol import (
    CHOICES,
    TASKS,
    AttributeProtocol,
    ItemProtocol,
    Protocol,
    Side,
    TripletProtocol,
    from_dict,
    to_dict,
)
from lapel.retrieval.embedder import Embedder, Vectors, load
from lapel.runs import read_config

Result = RetrievalResult | TripletsResult | ItemResult
Rows = npt.NDArray[np.int64]


def catalogue_of(run: Path | str, catalogue: Path | str | None = None) -> Catalogue:
    """Read the catalogue that a run is evaluated on: by default the one it was trained on.

    Raises:
        RunError: not a run.
        CatalogueError: it cannot be read, or is no longer where it was.
    """
    config = read_config(Path(run))
    path = config.recipe.data.catalogue if catalogue is None else str(catalogue)
    if catalogue is None and not Path(path).exists():
        raise CatalogueError(
            f"the catalogue that {run} was trained on is no longer at {path}: name it with --catalogue"
        )
    return Catalogue.read(path, also=tuple(config.attributes))


def resolve_protocol(catalogue: Catalogue, task: str | None = None, **changes: Any) -> Protocol:
    """Return how a catalogue is scored: as its record says, else attribute-specific retrieval on its test split.

    Args:
        catalogue: whose record is asked.
        task: ``attributes``, ``triplets`` or ``items``; another one than the record's starts from that task's defaults.
        **changes: settings to change, by their name in the protocol; None leaves one as it is. A side (``query``,
            ``gallery``) may be given by its splits alone and keeps its domain.

    Raises:
        CatalogueError: the record holds a protocol of a newer Lapel.
        LapelError: an unknown task or setting, or a setting out of range.
    """
    recorded = catalogue.record.get("protocol")
    found = AttributeProtocol() if recorded is None else from_dict(recorded, f"catalogue {catalogue.name!r}")
    if task is not None and task != found.task:
        if task not in TASKS:
            raise LapelError(unknown("task", task, TASKS))
        found = TASKS[task]()
        if isinstance(found, ItemProtocol) and not {"query", "gallery"} <= set(catalogue.splits()):
            # Each test image against the others.
            found = replace(found, query=Side(("test",)), gallery=Side(("test",)))
    kinds = {each.name: str(each.type) for each in fields(found) if each.name != "task"}
    given = {name: value for name, value in changes.items() if value is not None}
    for name, value in given.items():
        if name not in kinds:
            raise LapelError(unknown(f"setting of the protocol for {found.task}", name, kinds))
        if kinds[name].startswith("tuple"):
            given[name] = (value,) if isinstance(value, str | int) else tuple(value)
        if kinds[name] == "Side" and not isinstance(value, Side):
            splits = (value,) if isinstance(value, str) else tuple(value)
            given[name] = replace(getattr(found, name), splits=splits)
        if name in CHOICES and value not in CHOICES[name]:
            raise LapelError(unknown(f"setting {name}", value, CHOICES[name]))
    changed = cast(Protocol, replace(cast(Any, found), **given))
    return _with_ks(changed, "headline" in given) if isinstance(changed, ItemProtocol) else changed


def _with_ks(protocol: ItemProtocol, asked: bool) -> ItemProtocol:
    """Return it with ascending ks and a headline among them: the nearest one, unless another was asked for."""
    ks = tuple(sorted(set(protocol.ks)))
    if not ks or ks[0] < 1:
        raise LapelError(f"ks is {protocol.ks}: expected at least one K, each 1 or more")
    if asked and protocol.headline not in ks:
        raise LapelError(f"headline is {protocol.headline}: expected one of the ks, {', '.join(map(str, ks))}")
    return replace(protocol, ks=ks, headline=min(ks, key=lambda k: abs(k - protocol.headline)))


def evaluate(
    run: Path | str,
    catalogue: Catalogue | Path | str | None = None,
    split: str | None = None,
    json: Path | str | None = None,
    share: float = 0.2,
    seed: int = 0,
    quiet: bool = False,
    queries: QueryLists | Path | str | None = None,
    *,
    protocol: Protocol | None = None,
    boxes: bool = True,
    distractors: Sequence[int] = (),
    embedder: Embedder | None = None,
) -> Result:
    """Measure a run by a protocol: attribute-specific retrieval, triplet prediction or instance retrieval.

    Only the images that the protocol needs are embedded. For instance retrieval an image's vector is that of all its
    attributes together, each of length one.

    Args:
        run: run folder.
        catalogue: a catalogue, its file or its folder; by default the one the run was trained on.
        split: in place of the protocol's split (attributes and triplets).
        json: where to write the result with its protocol record.
        share: share of each attribute's labelled images that become queries, where they are drawn.
        seed: of the query draw and the intervals.
        quiet: no progress bar.
        queries: given query and candidate rows of the split, or a file of them (see ``QueryLists.read``), instead of
            those the protocol names or ``share`` and ``seed`` draw.
        protocol: by default the catalogue's (``resolve_protocol``).
        boxes: crop each image by its box, where it has one; else take whole pictures.
        distractors: sizes of the distractor curve (instance retrieval).
        embedder: of that run, where it is loaded already.

    Raises:
        RunError: not a run, or altered weights.
        CatalogueError: unreadable catalogue, empty split, none of the run's attributes in it, or lists, triplets or
            pairs that do not fit it.
        ImageError: too many images cannot be read.
        LapelError: nothing to evaluate, an argument that the protocol's task does not have, or a negative number of
            distractors.
    """
    if any(size < 0 for size in distractors):
        raise LapelError(f"distractors is {min(distractors)}: expected how many wrong images there are, 0 or more")
    embedder = load(run) if embedder is None else embedder
    whole = catalogue if isinstance(catalogue, Catalogue) else catalogue_of(run, catalogue)
    asked = resolve_protocol(whole) if protocol is None else protocol
    job, further = _Job(embedder, whole, seed, quiet, boxes), {}
    task: str = asked.task
    if isinstance(asked, ItemProtocol):
        _refuse(task, split=split, queries=queries)
        result: Result = _items(job, asked, distractors)
        source = "the protocol's sides"
        further = {"vectors": f"those of {len(embedder.attributes)} attributes, each of length one, end to end"}
    else:
        asked = asked if split is None else replace(asked, split=split)
        split = asked.split
        _refuse(task, distractors=tuple(distractors) or None)
        if isinstance(asked, TripletProtocol):
            _refuse(task, queries=queries)
            result, task = _triplets(job, asked)
            source = result.source
        else:
            if queries is not None:
                asked = replace(asked, relation="")  # which is not looked at, and the record must not name it
            result, task = _attributes(job, asked, queries, share)
            source = result.query_source
    if json is not None:
        record = protocol_record(
            split=split,
            preprocessing=embedder.preprocessing.to_dict(),
            query_source=source,
            weights=embedder.fingerprint,
            seed=seed,
            catalogue=whole.name,
            task=task,
            protocol=to_dict(asked),
            data={name: whole.record.get(name) for name in ("format", "title", "variant", "left_out", "absent")},
            boxes=boxes,
            run=str(Path(run)),
            images=job.images,
            **further,
            skipped=[{"image": str(failure.path), "reason": failure.reason} for failure in embedder.failures],
        )
        write_result(json, result.to_dict(), record)
    return result


@dataclass
class _Job:
    """What the tasks have in common; ``images`` counts those embedded."""

    embedder: Embedder
    whole: Catalogue
    seed: int
    quiet: bool
    boxes: bool
    images: int = field(default=0, init=False)

    def embed(self, catalogue: Catalogue, raw: bool = False) -> tuple[Vectors, npt.NDArray[np.bool_]]:
        self.images = len(catalogue)
        share = self.embedder.config.recipe.data.max_failed
        return embed_catalogue(self.embedder, catalogue, share, self.quiet, self.boxes, raw)


def _attributes(
    job: _Job, protocol: AttributeProtocol, queries: QueryLists | Path | str | None, share: float
) -> tuple[RetrievalResult, str]:
    """Return the result, and whose definitions hold (``record.DEFINITIONS``)."""
    ours = job.embedder.attributes
    part = attribute_part(job.whole, protocol, job.embedder.config.recipe, queries)
    lists, rows = part.lists, part.rows
    known = part.images.attributes if lists is None else lists.attributes
    attributes = [name for name in ours if name in known]
    if not attributes:
        where = f"catalogue {job.whole.name!r} has" if lists is None else f"{lists.source}: the lists have"
        raise CatalogueError(
            f"{where} none of the run's attributes ({', '.join(ours)}); found: {', '.join(known) or 'no attribute'}"
        )
    headed = [name for name, _ in protocol.headings if name in attributes]
    attributes = [*headed, *(name for name in attributes if name not in headed)]
    vectors, missing = job.embed(part.images)
    result = attribute_retrieval(
        lambda name: vectors[:, ours.index(name)],  # by name, which copies one attribute's vectors at a time
        part.images,
        attributes,
        lists,
        share=share,
        seed=job.seed,
        missing=missing,
        beside=[name for name in attributes if headed and name not in headed],
    )
    reason = "not in this catalogue" if lists is None else "no queries of it are listed"
    absent = {name: reason for name in ours if name not in attributes}
    both = [tuple(replace(row, rows=rows[row.rows]) for row in side) for side in (result.attributes, result.beside)]
    result = replace(result, attributes=both[0], beside=both[1], not_evaluated={**result.not_evaluated, **absent})
    if lists is None:
        return result, protocol.task
    return result, "listed values" if lists.values else "listed images"


def _triplets(job: _Job, protocol: TripletProtocol) -> tuple[TripletsResult, str]:
    """Return the result, and whose definitions hold: those of the distance that the model's paper has."""
    ours, distance = job.embedder.attributes, job.embedder.distance
    part = triplet_part(job.whole, protocol, ours)
    vectors, missing = job.embed(part.images, raw=True)
    result = triplet_prediction(
        vectors,
        ours,
        part.images,
        part.triplets,
        protocol.split,
        distance=distance,
        missing=missing,
        source=part.source,
        seed=job.seed,
    )
    return result, "euclidean triplets" if distance == "euclidean" else protocol.task


def _items(job: _Job, protocol: ItemProtocol, distractors: Sequence[int]) -> ItemResult:
    part = item_part(job.whole, protocol, job.embedder.config.recipe)
    vectors, missing = job.embed(part.images)
    result = instance_retrieval(
        vectors.reshape(len(part.images), -1),
        part.images,
        protocol,
        selection=part.selection,
        missing=missing,
        distractors=distractors,
        seed=job.seed,
    )
    return replace(result, rows=part.rows[result.rows])


def _refuse(task: str, **given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise LapelError(f"{name} was given, but the task {task!r} has none: leave it out, or name another task")


def embed_catalogue(
    embedder: Embedder,
    catalogue: Catalogue,
    max_failed: float = 0.05,
    quiet: bool = False,
    boxes: bool = True,
    raw: bool = False,
) -> tuple[Vectors, npt.NDArray[np.bool_]]:
    """Embed every image of a catalogue; without ``boxes`` whole pictures; ``raw`` is that of ``embed_paths``.

    Returns:
        vectors (N, A, D) float32, and (N,) bool: images that could not be read, whose vectors are zero.
    """
    vectors = np.zeros((len(catalogue), len(embedder.attributes), embedder.dim), np.float32)
    missing = np.ones(len(catalogue), bool)
    with bar("img", quiet) as progress:
        task = progress.add_task("embedding", total=len(catalogue), note="")
        crops = catalogue.boxes() if boxes else None
        found = embedder.embed_paths(catalogue.paths(), crops, max_failed=max_failed, raw=raw)
        for rows, part in found:
            vectors[rows], missing[rows] = part, False
            progress.update(task, completed=int(rows[-1]) + 1)
    return vectors, missing
