"""What was measured, as the first section of a report: a table of the protocol's figures."""

from __future__ import annotations

from html import escape

from lapel.evaluate import Result
from lapel.evaluation.accuracy_curve import AccuracyCurve
from lapel.evaluation.bars import Figure, figures_key, figures_table
from lapel.evaluation.instances import ItemResult
from lapel.evaluation.item_page import accuracy_body
from lapel.evaluation.markup import words
from lapel.evaluation.metrics import few_said
from lapel.evaluation.protocols import RetrievalResult
from lapel.evaluation.report_page import Section, notes
from lapel.evaluation.triplets import TripletsResult
from lapel.protocol import AttributeProtocol, ItemProtocol, Protocol


def protocol_words(protocol: Protocol, result: Result) -> str:
    """Return in a sentence what was measured."""
    if isinstance(protocol, ItemProtocol) and isinstance(result, ItemResult):
        within = f", each within its {words(protocol.within)}" if protocol.within else ""
        return f"{result.queries:,} queries for their item among {result.gallery:,} images{within}"
    if isinstance(result, TripletsResult):
        return f"{result.overall.triplets:,} triplets told right or wrong, {result.source}"
    assert isinstance(protocol, AttributeProtocol)
    assert isinstance(result, RetrievalResult)
    count = len(result.attributes)
    return (
        f"retrieval under {count} {'attribute' if count == 1 else 'attributes'} on split {protocol.split!r}, "
        f"{result.queries:,} queries {result.query_source}"
    )


def headline(result: Result, protocol: Protocol) -> Figure:
    """Return the one figure that stands for the run."""
    if isinstance(result, RetrievalResult):
        return Figure.of("overall MAP", (result.map, result.low, result.high), result.chance)
    if isinstance(result, TripletsResult):
        overall = result.overall
        return Figure.of("triplets told right", (overall.accuracy, overall.low, overall.high), 0.5)
    return _at_k(result)[_place(result, protocol)]


def metrics(result: Result, protocol: Protocol, curve: AccuracyCurve | None = None) -> Section:
    """Return the tables of the protocol; ``curve`` is that of Acc@K."""
    if isinstance(result, RetrievalResult):
        title, figure = "How well it retrieves", "MAP"
        text = "Mean average precision: how early the results with the query's own value come."
        body, remarks = _retrieval(result)
    elif isinstance(result, TripletsResult):
        title, figure = "How many triplets it tells right", "accuracy"
        text = "A triplet is right when the close image is more similar to the anchor than the far one."
        body, remarks = _triplets(result)
    else:
        title, figure = "How often it finds the item", "accuracy"
        text = "Acc@K: the share of queries with an image of their item among the first K results."
        body, remarks = _items(result, protocol, curve)
    return Section("metrics", title, figures_key(figure) + body + notes(remarks), text, "Metrics")


def _retrieval(result: RetrievalResult) -> tuple[str, list[str]]:
    shown = (*result.attributes, *result.beside)
    rows = [
        Figure.of(r.attribute, (r.map, r.low, r.high), r.chance, f"{r.queries:,}", f"{r.candidates:,}") for r in shown
    ]
    overall = Figure.of("overall", (result.map, result.low, result.high), result.chance, f"{result.queries:,}")
    remarks: list[str] = []
    for row in shown:
        if row.hopeless:
            remarks.append(f"{words(row.attribute)}: {row.hopeless} queries have no relevant candidate, count as 0")
        if row.missing:
            remarks.append(f"{words(row.attribute)}: {row.missing} images could not be read and are left out")
    if few := few_said({words(row.attribute): row.queries for row in shown}):
        remarks.append(few)
    remarks += [f"{words(row.attribute)} is not in the overall figure" for row in result.beside]
    remarks += [f"{words(name)} not evaluated: {reason}" for name, reason in result.not_evaluated.items()]
    return figures_table(rows, overall, "MAP", ("queries", "candidates")), remarks


def _triplets(result: TripletsResult) -> tuple[str, list[str]]:
    named = [*result.attributes.items(), ("overall", result.overall)]
    rows = [Figure.of(name, (r.accuracy, r.low, r.high), 0.5, f"{r.loss:.4f}", f"{r.triplets:,}") for name, r in named]
    remarks = [f"{words(name)} not evaluated: {reason}" for name, reason in result.not_evaluated.items()]
    return figures_table(rows[:-1], rows[-1], "accuracy", ("average loss", "triplets")), remarks


def _items(result: ItemResult, protocol: Protocol, curve: AccuracyCurve | None) -> tuple[str, list[str]]:
    rows, place = _at_k(result), _place(result, protocol)
    stands = rows[place]
    body = figures_table(rows, stands, "accuracy", first="among the first")
    if curve is not None:
        body += accuracy_body(curve)
    within = words(protocol.within) if isinstance(protocol, ItemProtocol) else ""
    for name, groups in ({f"{within}, each in its own gallery": result.within} | dict(result.groups)).items():
        if groups:
            each = [
                Figure.of(value, group.accuracy[place], group.chance[place], f"{group.queries:,}")
                for value, group in groups.items()
            ]
            body += f"<h3>{escape(f'{stands.name} by {words(name)}')}</h3>" + figures_table(
                each, stands, stands.name, ("queries",), first=words(name.partition(",")[0])
            )
    remarks: list[str] = []
    if result.hopeless:
        remarks.append(f"{result.hopeless} queries have no relevant image in the gallery and count as misses")
    if result.missing:
        remarks.append(f"{result.missing} images could not be read and are left out")
    remarks += [f"left out: {count} {words(reason)}" for reason, count in result.notes.items()]
    return body, remarks


def _at_k(result: ItemResult) -> list[Figure]:
    rows = zip(result.ks, result.accuracy, result.chance, strict=True)
    return [Figure.of(f"Acc@{k}", found, chance) for k, found, chance in rows]


def _place(result: ItemResult, protocol: Protocol) -> int:
    stands = protocol.headline if isinstance(protocol, ItemProtocol) else result.ks[-1]
    return result.ks.index(stands) if stands in result.ks else len(result.ks) - 1
