"""Evaluate a run on a catalogue: the protocol, by default the catalogue's own, the embeddings, the result file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lapel.catalogue import Catalogue
from lapel.errors import CatalogueError, LapelError, unknown
from lapel.evaluate_job import Job, embed_catalogue
from lapel.evaluation.instances import ItemResult
from lapel.evaluation.protocols import RetrievalResult, attribute_retrieval
from lapel.evaluation.queries import QueryLists
from lapel.evaluation.record import protocol_record, write_result
from lapel.evaluation.triplets import TripletsResult, triplet_prediction
from lapel.parts import attribute_part, triplet_part
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
from lapel.retrieval.embedder import Embedder, is_item_run, load
from lapel.runs import read_config

if TYPE_CHECKING:
    from lapel.item_outputs import ItemOutputs

__all__ = ["Result", "catalogue_of", "embed_catalogue", "evaluate", "resolve_protocol"]

Result = RetrievalResult | TripletsResult | ItemResult


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


def resolve_protocol(
    catalogue: Catalogue, task: str | None = None, *, run: Path | str | None = None, **changes: Any
) -> Protocol:
    """Return how a catalogue is scored: as its record says, else attribute-specific retrieval on its test split.

    The default of ``items`` is each test image against the others, without those whose item has no other image; or the
    splits ``query`` and ``gallery`` where there are both.

    Args:
        catalogue: whose record is asked.
        task: ``attributes``, ``triplets`` or ``items``; another one than the record's starts from that task's defaults.
        run: to be scored; an item run is scored by items, whatever the record says.
        **changes: settings to change, by their name in the protocol; None leaves one as it is. A side (``query``,
            ``gallery``) may be given by its splits alone and keeps its domain.

    Raises:
        CatalogueError: the record holds a protocol of a newer Lapel.
        RunError: ``run`` is not a run.
        LapelError: an unknown task or setting, or a setting out of range.
    """
    if task is None and run is not None and is_item_run(read_config(run)):
        task = "items"
    recorded = catalogue.record.get("protocol")
    found = AttributeProtocol() if recorded is None else from_dict(recorded, f"catalogue {catalogue.name!r}")
    default = task is not None and task != found.task
    if default:
        if task not in TASKS:
            raise LapelError(unknown("task", task, TASKS))
        found = TASKS[str(task)]()
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
    if default and isinstance(changed, ItemProtocol) and changed.query == changed.gallery and "alone" not in given:
        changed = replace(changed, alone="skip")
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
    rerank: int = 0,
    embedder: Embedder | None = None,
    outputs: ItemOutputs | None = None,
) -> Result:
    """Measure a run by a protocol: attribute-specific retrieval, triplet prediction or instance retrieval.

    Only the images that the protocol needs are embedded. For instance retrieval an attribute run's vector of an image
    is that of all its attributes together, each of length one; an item run ranks by the distance of its model's paper,
    and the attributes and landmarks that it predicts are measured beside, where the catalogue knows them.

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
        protocol: by default the catalogue's (``resolve_protocol``); of an item run one of items.
        boxes: crop each image by its box, where it has one; else take whole pictures.
        distractors: sizes of the distractor curve (instance retrieval).
        rerank: how many first results a re-ranking model looks at again (instance retrieval); 0: none.
        embedder: of that run, where it is loaded already.
        outputs: of an item run and the images of ``parts.item_part``, where they are at hand.

    Raises:
        RunError: not a run, or altered weights.
        CatalogueError: unreadable catalogue, empty split, none of the run's attributes in it, or lists, triplets or
            pairs that do not fit it.
        ImageError: too many images cannot be read.
        LapelError: nothing to evaluate, an argument that the protocol's task does not have, a task that the run cannot
            do, or a negative number of distractors.
    """
    if any(size < 0 for size in distractors):
        raise LapelError(f"distractors is {min(distractors)}: expected how many wrong images there are, 0 or more")
    embedder = load(run) if embedder is None else embedder
    whole = catalogue if isinstance(catalogue, Catalogue) else catalogue_of(run, catalogue)
    asked = resolve_protocol(whole, run=run) if protocol is None else protocol
    job = Job(embedder, whole, seed, quiet, boxes)
    further: dict[str, Any] = {}
    task: str = asked.task
    if isinstance(asked, ItemProtocol):
        _refuse(task, split=split, queries=queries)
        from lapel.evaluate_items import evaluate_items

        found, task, further = evaluate_items(job, asked, distractors, rerank, outputs)
        result: Result = found
        source = "the protocol's sides"
    else:
        _check_task(embedder, task)
        asked = asked if split is None else replace(asked, split=split)
        split = asked.split
        _refuse(task, distractors=tuple(distractors) or None, rerank=rerank or None)
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


def _attributes(
    job: Job, protocol: AttributeProtocol, queries: QueryLists | Path | str | None, share: float
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


def _triplets(job: Job, protocol: TripletProtocol) -> tuple[TripletsResult, str]:
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


def _check_task(embedder: Embedder, task: str) -> None:
    """Refuse to ask a run of items about attributes."""
    if embedder.items:
        raise LapelError(
            f"run {embedder.run} has one embedding of the item for each image and none of its attributes: it cannot be "
            f"measured by {task}. Measure it by items (--task items, which is its default); the attributes that its "
            "model predicts are measured beside. For retrieval by attribute, train an attribute model such as agman"
        )


def _refuse(task: str, **given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise LapelError(f"{name} was given, but the task {task!r} has none: leave it out, or name another task")
