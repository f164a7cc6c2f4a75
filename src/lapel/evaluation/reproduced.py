"""From what the runs of a table's rows answered to the table as shown: figures, differences, claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lapel.evaluation.comparison import Answers, Comparison, compare_rows, verdict
from lapel.evaluation.metrics import Interval, few_said
from lapel.evaluation.published_table import PublishedTable
from lapel.evaluation.table_view import VERDICTS, ClaimView, RowView, TableView


@dataclass(frozen=True, eq=False)
class MeasuredRow:
    """What was measured of one row.

    Attributes:
        name: as the table calls it.
        recipe: that trained it.
        answers: of each run, in the order of ``seeds``.
        seeds: of the runs; empty where nothing is random.
        cost: ``parameters``, ``gflop``, ``embedding`` (images/s) and ``training`` (``steps``, ``images``, ``minutes``,
            each a mean over the runs); what is not known is left out.
        losses: mean margin loss of each run, for triplets.
        pointing: pointing game of each run, attribute -> (keys, scores); empty where regions are not known.
        branches: what the branches of each run predict beside, heading -> figure.
    """

    name: str
    recipe: str
    answers: Sequence[Answers]
    seeds: tuple[int, ...] = ()
    cost: Mapping[str, Any] = field(default_factory=dict)
    losses: tuple[float, ...] = ()
    pointing: Sequence[Answers] = ()
    branches: Sequence[Mapping[str, float]] = ()


def view_table(
    table: PublishedTable,
    rows: Sequence[MeasuredRow],
    *,
    catalogue: str,
    measure: str,
    chance: float,
    headings: Mapping[str, str],
    data: Mapping[str, Any],
    pointing_chance: float | None = None,
    notes: Sequence[str] = (),
    record: Mapping[str, Any] | None = None,
    headline: str = "",
    chances: Mapping[str, float] | None = None,
    samples: int = 2000,
    seed: int = 0,
) -> TableView:
    """Compare the measured rows of a table with each other and, on the paper's own data, with print.

    Args:
        table: what the paper prints.
        rows: what was measured, in the order to be shown.
        catalogue: name of the data measured.
        measure: ``MAP``, ``accuracy`` or ``Acc@K``.
        chance: of the figure that stands for a row, between 0 and 1.
        headings: attribute -> heading of its column, as far as known.
        data: the catalogue's record, which says whether it is the paper's data.
        pointing_chance: chance in the pointing game, between 0 and 1; None where regions are not known.
        notes: what else a reader must know.
        record: how all was measured.
        headline: Acc@K that stands for a row, of which differences and claims are told; empty: the mean over all
            queries of all attributes.
        chances: column -> its chance, between 0 and 1, where columns have their own.
        samples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        LapelError: the rows share no query.
        KeyError: no such headline.
        ValueError: no row, or one without a run.
    """
    found = compare_rows({row.name: row.answers for row in rows}, samples, seed)
    named = {name: headings.get(name, name) for name in found.attributes}
    said = list(notes)
    own = table.own_data(data)
    if own and (odd := table.odd_queries({named[name]: count for name, count in found.attributes.items()})):
        said.append(f"the catalogue says it is {table.dataset}, but {odd}: figures do not compare with print")
        own = False
    asked = {named[name]: count for name, count in found.attributes.items() if headline in ("", name)}
    # Under every Acc@K the same queries are asked.
    if left_out := found.left_out // (len(found.attributes) if headline else 1):
        said.append(f"{left_out:,} queries that some run did not answer are left out of every figure here")
    if few := few_said(asked):
        said.append(few)
    single = [row.name for row in rows if len(row.answers) == 1 and row.seeds]
    if single:
        said.append(
            f"one seed only: {', '.join(single)}. The interval of such a row covers the draw of queries, not the luck "
            "of a training"
        )
    main = table.main if table.main in found.means else ""
    looking = {row.name: row.pointing for row in rows if row.pointing}
    looked = compare_rows(looking, samples, seed) if looking else None
    return TableView(
        table,
        catalogue,
        measure,
        100 * chance,
        None if pointing_chance is None else 100 * pointing_chance,
        found.attributes,
        named,
        own,
        main,
        tuple(_row(row, table, found, looked, main, headline or None) for row in rows),
        tuple(_claims(table, found, headline or None)),
        tuple(said),
        record or {},
        headline,
        {named[name]: 100 * value for name, value in (chances or {}).items() if name in named},
    )


def _row(
    row: MeasuredRow,
    table: PublishedTable,
    found: Comparison,
    looked: Comparison | None,
    main: str,
    headline: str | None,
) -> RowView:
    return RowView(
        row.name,
        row.recipe,
        row.seeds,
        tuple(float(100 * value) for value in found.seeds(row.name, headline)),
        _share(found.figure(row.name, headline)),
        {name: _share(found.figure(row.name, name)) for name in found.attributes},
        table.rows.get(row.name),
        _percent(found.difference(row.name, main, headline)) if main and row.name != main else None,
        row.name in table.doubtful,
        row.cost,
        sum(row.losses) / len(row.losses) if row.losses else None,
        _share(looked.figure(row.name)) if looked and row.pointing else None,
        _mean(row.branches),
    )


def _mean(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean over the runs of each figure that all of them have."""
    names = [name for name in runs[0] if all(name in run for run in runs)] if runs else []
    return {name: sum(run[name] for run in runs) / len(runs) for name in names}


def _claims(table: PublishedTable, found: Comparison, headline: str | None) -> list[ClaimView]:
    views = []
    for claim in table.claims:
        if {claim.better, claim.worse} <= found.means.keys():
            gap = found.difference(claim.better, claim.worse, headline)
            above, below = table.printed(claim.better), table.printed(claim.worse)
            printed = None if above is None or below is None else above - below
            said = VERDICTS[verdict(gap)]
            views.append(ClaimView(claim.better, claim.worse, claim.says, _percent(gap), said, printed))
    return views


def _share(found: Interval) -> Interval:
    """In percent; widened seeds of few queries may reach beyond what a share can be."""
    return Interval(*(min(100.0, max(0.0, 100 * value)) for value in found))


def _percent(found: Interval) -> Interval:
    return Interval(*(100 * value for value in found))
