"""A table of a paper as shown: rows, differences to the main row, and which of the claimed orderings hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lapel.evaluation.comparison import FORMULA, verdict
from lapel.evaluation.metrics import LEVEL, Interval
from lapel.evaluation.published_table import PublishedTable

FORMAT = "lapel table 1"
VERDICTS = {"above": "holds", "below": "reversed", "within noise": "within noise"}
"""What a comparison is called where a claim is asked of it."""


@dataclass(frozen=True)
class RowView:
    """One row as shown; figures in percent.

    Attributes:
        runs: the figure of each run that stands for it: over all queries, or under the table's headline.
        figure: their mean with its interval.
        attributes: attribute (or Acc@K) -> the same.
        published: the row's figures in print, in the order of the table's columns, none where they are not known; None
            for a row of one's own.
        difference: to the main row; None for that row.
        doubtful: a printed figure of the row does not fit the others.
        cost: as measured.
        loss: mean margin loss over the runs, for triplets.
        pointing: pointing game of the row's attention, where regions are known.
        branches: what the model's branches predict beside, heading -> mean figure over the runs.
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
    branches: Mapping[str, float] = field(default_factory=dict)

    @property
    def spread(self) -> tuple[float, float] | None:
        """Lowest and highest run; None for a single one."""
        return (min(self.runs), max(self.runs)) if len(self.runs) > 1 else None


@dataclass(frozen=True)
class ClaimView:
    """One ordering that the paper claims: ``verdict`` is holds, reversed or within noise.

    ``printed`` is the difference of the printed figures, where they are known.
    """

    better: str
    worse: str
    says: str
    difference: Interval
    verdict: str
    printed: float | None


@dataclass(frozen=True)
class TableView:
    """A whole table as shown.

    Attributes:
        table: what the paper prints.
        catalogue: name of the data measured.
        measure: ``MAP``, ``accuracy`` or ``Acc@K``.
        chance: of the figure that stands for a row, in percent.
        pointing_chance: of the pointing game, in percent; None where regions are not known.
        queries: attribute (or Acc@K) -> how many were asked.
        headings: attribute -> its column's heading.
        own: the data are the paper's, so that printed and measured figures compare.
        main: the row that the others are compared with; empty where it was not measured.
        rows: in the paper's order, then one's own.
        claims: whose two rows were both measured.
        notes: what else a reader must know.
        record: how all was measured.
        headline: the column that stands for a row, where it is not the mean over all of them: Acc@K.
        chances: column -> its chance in percent, where columns have their own.
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
    headline: str = ""
    chances: Mapping[str, float] = field(default_factory=dict)

    @property
    def asked(self) -> int:
        """How many queries or triplets were asked."""
        return self.queries[self.headline] if self.headline else sum(self.queries.values())

    @property
    def unit(self) -> str:
        """What is asked."""
        return "triplets" if self.measure == "accuracy" else "queries"

    @property
    def branches(self) -> list[str]:
        """Headings of what some row's branches predict."""
        return list(dict.fromkeys(name for row in self.rows for name in row.branches))

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON: figures in percent with 4 decimals, intervals as [mean, low, high]."""
        rows = {row.name: _row_dict(row, self) for row in self.rows}
        claims = [
            {"better": one.better, "worse": one.worse, "says": one.says, "verdict": one.verdict}
            | {"difference": _rounded(one.difference)}
            | {"printed_difference": None if one.printed is None else round(one.printed, 4)}
            for one in self.claims
        ]
        return {
            "format": FORMAT,
            "paper": self.table.paper,
            "table": self.table.number,
            "title": self.table.title,
            "measure": self.measure,
            "unit": "percent",
            "interval": LEVEL,
            "formula": FORMULA,
            "catalogue": self.catalogue,
            "published_on": self.table.dataset,
            "published_known": self.table.known,
            "published_compares": self.own,
            "faults_in_print": list(self.table.faults),
            "queries": dict(self.queries),
            "headings": dict(self.headings),
            "chance": round(self.chance, 4),
            **({"headline": self.headline} if self.headline else {}),
            **({"chances": {name: round(value, 4) for name, value in self.chances.items()}} if self.chances else {}),
            "pointing_chance": None if self.pointing_chance is None else round(self.pointing_chance, 4),
            "main": self.main,
            "rows": rows,
            "claims": claims,
            "notes": list(self.notes),
            "record": dict(self.record),
        }


def ordering(view: TableView) -> str:
    """Say in one sentence whether the paper's ordering holds."""
    if not view.claims:
        return "None of the paper's orderings was measured: it takes both of their rows."
    counts = {word: sum(one.verdict == word for one in view.claims) for word in VERDICTS.values()}
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
    if not view.table.known:
        return "published"
    kind = "" if view.measure == _kind(view.table) else f" {_kind(view.table)}"
    return "published" if view.own else f"published{kind}, on {view.table.dataset}"


def _kind(table: PublishedTable) -> str:
    return "MAP" if table.columns[-1] == "MAP" else "accuracy"


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
    if row.branches:
        data["branches"] = {name: round(value, 4) for name, value in row.branches.items()}
    if row.published == ():
        data["published"] = "not known"
    elif row.published is not None:
        data["published"] = dict(zip(view.table.columns, row.published, strict=True))
        if view.own:
            data["measured_minus_published"] = round(row.figure.mean - row.published[-1], 4)
    return data | {"cost": dict(row.cost)} | ({"pointing_game": _rounded(row.pointing)} if row.pointing else {})
