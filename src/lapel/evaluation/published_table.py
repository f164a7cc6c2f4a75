"""What a table of a paper is: rows, columns, figures where they are known, claims, and the recipe of each row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Claim:
    """One ordering that a paper claims: row ``better`` is above row ``worse``, which ``says`` in words."""

    better: str
    worse: str
    says: str


@dataclass(frozen=True)
class PublishedTable:
    """One table of a paper.

    Attributes:
        number: of the table in the paper.
        title: what it shows, in our words.
        dataset: on which data.
        columns: headings of the figures, in the paper's order.
        rows: name of the row -> its figures as printed; percent, but for "Average loss". None where they are not known.
            The last figure stands for the row, and the last row is the one that the others are compared with.
        faults: what is known to be wrong or odd in print.
        doubtful: rows with a figure that does not fit the others.
        claims: orderings of rows that the paper claims with this table.
        paper: the paper's model.
        items: it is measured by finding items, not by attributes.
    """

    number: int
    title: str
    dataset: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[float, ...]]
    faults: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = field(default=(), repr=False)
    paper: str = "AG-MAN"
    items: bool = False

    @property
    def main(self) -> str:
        """The row that the table is about."""
        return [*self.rows][-1]

    @property
    def known(self) -> bool:
        """Whether its figures are known."""
        return any(self.rows.values())

    @property
    def label(self) -> str:
        """What a person calls it, and what the command line takes."""
        return str(self.number) if self.paper == "AG-MAN" else self.paper.lower()

    @property
    def heading(self) -> str:
        """The table's number, with its paper where that is not AG-MAN."""
        return f"Table {self.number}" if self.paper == "AG-MAN" else f"{self.paper}'s table {'I' * self.number}"

    @property
    def file(self) -> str:
        """Name of the files that a reproduction leaves, without ending."""
        return f"table{self.number}" if self.paper == "AG-MAN" else self.label

    @property
    def recipes(self) -> dict[str, str]:
        """Row -> the recipe that trains it."""
        raise NotImplementedError

    def printed(self, row: str) -> float | None:
        """Return the figure in print that stands for a row; None where it is not known."""
        figures = self.rows.get(row)
        return figures[-1] if figures else None

    def own_data(self, record: Mapping[str, Any]) -> bool:
        """Whether a catalogue with this record says that it is the data set of the table."""
        raise NotImplementedError

    def odd_queries(self, queries: Mapping[str, int]) -> str:  # noqa: ARG002
        """What the numbers of test queries under each heading say against the paper's data; nothing if they fit."""
        return ""
