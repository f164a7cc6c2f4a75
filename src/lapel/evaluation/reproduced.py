"""A table of a paper as measured: rows, differences to the main row, and which of the claimed orderings hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lapel.evaluation.comparison import FORMULA, Answers, Comparison, compare_rows, verdict
from lapel.evaluation.metrics import LEVEL, Interval, few_said
from lapel.evaluation.published import PublishedTable

FORMAT = "lapel table 1"
# What a comparison is called where a claim is asked of it.
_OF_CLAIM = {"above": "holds", "below": "reversed", "within noise": "within noise"}


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
    """

    name: str
    recipe: str
    answers: Sequence[Answers]
    seeds: tuple[int, ...] = ()
    cost: Mapping[str, Any] = field(default_factory=dict)
    losses: tuple[float, ...] = ()
    pointing: Sequence[Answers] = ()


@dataclass(frozen=True)
class RowView:
    """One row as shown; figures in percent.

    Attributes:
        runs: overall figure of each run.
        figure: their mean with its interval.
        attributes: attribute -> the same.
        published: the row's figures in print, in the order of the table's columns; None for a row of one's own.
        difference: to the main row; None for that row.
        doubtful: a printed figure of the row does not fit the others.
        cost: as measured.
        loss: mean margin loss over the runs, for triplets.
        pointing: pointing game of the row's attention, where regions are known.
    """

    name: str
    recipe: str
    seeds: tuple[int, ...]
    runs: tuple[float, ...]
    figure: Interval
    attributes: Mapping[str, Interval]
    published: tuple[float, ...] | None
    difference: Interval | None
    doubtful: bool
    cost: Mapping[str, Any]
    loss: float | None
    pointing: Interval | None

    @property
    def spread(self) -> tuple[float, float] | None:
        """Lowest and highest run; None for a single one."""
        return (min(self.runs), max(self.runs)) if len(self.runs) > 1 else None


@dataclass(frozen=True)
class ClaimView:
    """One ordering that the paper claims: ``verdict`` is holds, reversed or within noise.

    ``printed`` is the difference of the printed figures.
    """

    better: str
    worse: str
    says: str
    difference: Interval
    verdict: str
    printed: float


@dataclass(frozen=True)
class TableView:
    """A whole table as shown.

    Attributes:
        table: what the paper prints.
        catalogue: name of the data measured.
        measure: ``MAP`` or ``accuracy``.
        chance: of the overall figure, in percent.
        pointing_chance: of the pointing game, in percent; None where regions are not known.
        queries: attribute -> how many were asked.
        headings: attribute -> its column's heading.
        own: the data are the paper's, so that printed and measured figures compare.
        main: the row that the others are compared with; empty where it was not measured.
        rows: in the paper's order, then one's own.
        claims: whose two rows were both measured.
        notes: what else a reader must know.
        record: how all was measured.
    """

    table: PublishedTable
    catalogue: str
    measure: str
    chance: float
    pointing_chance: float | None
    queries: Mapping[str, int]
    headings: Mapping[str, str]
    own: bool
    main: str
    rows: tuple[RowView, ...]
    claims: tuple[ClaimView, ...]
    notes: tuple[str, ...]
    record: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON: figures in percent with 4 decimals, intervals as [mean, low, high]."""
        rows = {row.name: _row_dict(row, self) for row in self.rows}
        claims = [
            {"better": one.better, "worse": one.worse, "says": one.says, "verdict": one.verdict}
            | {"difference": _rounded(one.difference), "printed_difference": round(one.printed, 4)}
            for one in self.claims
        ]
        return {
            "format": FORMAT,
            "table": self.table.number,
            "title": self.table.title,
            "measure": self.measure,
            "unit": "percent",
            "interval": LEVEL,
            "formula": FORMULA,
            "catalogue": self.catalogue,
            "published_on": self.table.dataset,
            "published_compares": self.own,
            "faults_in_print": list(self.table.faults),
            "queries": dict(self.queries),
            "headings": dict(self.headings),
            "chance": round(self.chance, 4),
            "pointing_chance": None if self.pointing_chance is None else round(self.pointing_chance, 4),
            "main": self.main,
            "rows": rows,
            "claims": claims,
            "notes": list(self.notes),
            "record": dict(self.record),
        }


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
    samples: int = 2000,
    seed: int = 0,
) -> TableView:
    """Compare the measured rows of a table with each other and, on the paper's own data, with print.

    Args:
        table: what the paper prints.
        rows: what was measured, in the order to be shown.
        catalogue: name of the data measured.
        measure: ``MAP`` or ``accuracy``.
        chance: overall, between 0 and 1.
        headings: attribute -> heading of its column, as far as known.
        data: the catalogue's record, which says whether it is the paper's data.
        pointing_chance: chance in the pointing game, between 0 and 1; None where regions are not known.
        notes: what else a reader must know.
        record: how all was measured.
        samples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        LapelError: the rows share no query.
        ValueError: no row, or one without a run.
    """
    found = compare_rows({row.name: row.answers for row in rows}, samples, seed)
    named = {name: headings.get(name, name) for name in found.attributes}
    said = list(notes)
    own = table.own_data(data)
    if own and (odd := table.odd_queries({named[name]: count for name, count in found.attributes.items()})):
        said.append(f"the catalogue says it is {table.dataset}, but {odd}: figures do not compare with print")
        own = False
    if found.left_out:
        said.append(f"{found.left_out:,} queries that some run did not answer are left out of every figure here")
    if few := few_said({named[name]: count for name, count in found.attributes.items()}):
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
        tuple(_row(row, table, found, looked, main) for row in rows),
        tuple(_claims(table, found)),
        tuple(said),
        record or {},
    )


def _row(row: MeasuredRow, table: PublishedTable, found: Comparison, looked: Comparison | None, main: str) -> RowView:
    return RowView(
        row.name,
        row.recipe,
        row.seeds,
        tuple(float(100 * value) for value in found.seeds(row.name)),
        _share(found.figure(row.name)),
        {name: _share(found.figure(row.name, name)) for name in found.attributes},
        table.rows.get(row.name),
        _percent(found.difference(row.name, main)) if main and row.name != main else None,
        row.name in table.doubtful,
        row.cost,
        sum(row.losses) / len(row.losses) if row.losses else None,
        _share(looked.figure(row.name)) if looked and row.pointing else None,
    )


def _claims(table: PublishedTable, found: Comparison) -> list[ClaimView]:
    views = []
    for claim in table.claims:
        if {claim.better, claim.worse} <= found.means.keys():
            gap = found.difference(claim.better, claim.worse)
            printed = table.rows[claim.better][-1] - table.rows[claim.worse][-1]
            said = _OF_CLAIM[verdict(gap)]
            views.append(ClaimView(claim.better, claim.worse, claim.says, _percent(gap), said, printed))
    return views


def ordering(view: TableView) -> str:
    """Say in one sentence whether the paper's ordering holds."""
    if not view.claims:
        return "None of the paper's orderings was measured: it takes both of their rows."
    counts = {word: sum(one.verdict == word for one in view.claims) for word in _OF_CLAIM.values()}
    total = len(view.claims)
    if total == 1:
        return f"Of the paper's orderings one was measured: it {'is ' * (not counts['holds'])}{view.claims[0].verdict}."
    if counts["holds"] == total:
        return f"The paper's ordering holds: all {total} of {total} comparisons."
    parts = [
        f"{count} {'is' if count == 1 else 'are'} {word}" for word, count in counts.items() if count and word != "holds"
    ]
    held = f"{counts['holds'] or 'none'} {'hold' if counts['holds'] > 1 else 'holds'}"
    return f"The paper's ordering is not borne out as a whole: of {total} comparisons {held}, {', '.join(parts)}."


def published_heading(view: TableView) -> str:
    """Heading of the column of printed figures, which says on what data they were measured."""
    kind = "" if view.measure == _kind(view.table) else f" {_kind(view.table)}"
    return "published" if view.own else f"published{kind}, on {view.table.dataset}"


def _kind(table: PublishedTable) -> str:
    return "MAP" if table.columns[-1] == "MAP" else "accuracy"


def _share(found: Interval) -> Interval:
    """In percent; widened seeds of few queries may reach beyond what a share can be."""
    return Interval(*(min(100.0, max(0.0, 100 * value)) for value in found))


def _percent(found: Interval) -> Interval:
    return Interval(*(100 * value for value in found))


def _rounded(found: Interval) -> list[float]:
    return [round(value, 4) for value in found]


def _row_dict(row: RowView, view: TableView) -> dict[str, Any]:
    data: dict[str, Any] = {
        "recipe": row.recipe,
        "seeds": list(row.seeds),
        "runs": [round(value, 4) for value in row.runs],
        "measured": _rounded(row.figure),
        "attributes": {name: _rounded(found) for name, found in row.attributes.items()},
    }
    if row.loss is not None:
        data["average_loss"] = round(row.loss, 6)
    if row.difference is not None:
        data |= {"difference": _rounded(row.difference), "verdict": verdict(row.difference)}
    if row.published is not None:
        data["published"] = dict(zip(view.table.columns, row.published, strict=True))
        if view.own:
            data["measured_minus_published"] = round(row.figure.mean - row.published[-1], 4)
    return data | {"cost": dict(row.cost)} | ({"pointing_game": _rounded(row.pointing)} if row.pointing else {})
