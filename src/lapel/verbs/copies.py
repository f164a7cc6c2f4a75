"""``lapel copies``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, UseAppendAction, arg

from lapel.shell import parse_weights, say, wide_console
from lapel.verbs.options import hint

if TYPE_CHECKING:
    from lapel.retrieval.copies_found import Copies as Found

LINES = 10  # of the table


@dataclass(frozen=True)
class Copies:
    """Find near-duplicate designs in an index, or those of one index in another; copies of a file are told apart.

    What is found is in a CSV and, with pictures side by side, on a page.
    """

    index: Annotated[Positional[Path], arg(metavar="INDEX")]
    """The index folder."""
    against: Annotated[Path | None, hint("INDEX: without it: the index is compared with itself")] = None
    """Another index, made by the same run: find for each image of the first its nearest of this one."""
    like: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME[=WEIGHT]", aliases=("--attribute",))] = ()
    """What must be alike (attribute or item), weight 1 unless given; below 0 less alike. Without any: all, equally."""
    nearness: Annotated[float | None, hint("TIMES: without it, --threshold and --top: 4")] = None
    """Two images must be this many times nearer to each other than either is to its 20th nearest."""
    threshold: Annotated[float | None, hint("SIMILARITY: without it: no limit")] = None
    """Two images must be this alike: the weighted mean of their cosines, at most 1."""
    top: Annotated[int | None, hint("N: without it: 10000")] = None
    """How many pairs, those that stand out most."""
    within_item: bool = False
    """Also compare images of one item, such as its colours."""
    where: Annotated[str | None, hint("FILTER: without it: the whole index")] = None
    """Only images of INDEX that match, such as "category = 'Dress'"."""
    to: Annotated[Path, arg(metavar="DIR")] = Path("copies")
    """The folder for copies.csv and copies.html."""
    quiet: bool = False
    """Show no progress."""

    def execute(self) -> int:
        """Find copies, write them down, and print the first."""
        weights = parse_weights(self.like)
        from lapel.files import atomic_write
        from lapel.report.copies_page import summary, write_copies
        from lapel.retrieval.copies import find_copies
        from lapel.retrieval.copies_found import table

        found = find_copies(
            self.index,
            self.against,
            weights=weights or None,
            threshold=self.threshold,
            nearness=self.nearness,
            top=self.top,
            within_item=self.within_item,
            where=self.where,
            quiet=self.quiet,
        )
        atomic_write(self.to / "copies.csv", table(found))
        page = write_copies(self.to / "copies.html", found, quiet=self.quiet)
        say(summary(found))
        _print(found)
        print(page)
        say(f"all of them are in {self.to / 'copies.csv'}")
        return 0


def _print(found: Found) -> None:
    """Print the first files and pairs, if there are any."""
    from rich.table import Table
    from rich.text import Text

    from lapel.retrieval.copies_found import differences

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("nearer", "similarity"):
        table.add_column(title, justify="right", no_wrap=True)
    for title in ("first", "second", "labels that differ"):
        table.add_column(title, overflow="fold")
    for group in found.exact[:LINES]:
        first, *others = [*group.first, *group.second]
        shown = Text(", ".join(entry.id for entry in others))
        table.add_row("same file", "", Text(first.id), shown, "")
    for pair in found.pairs[:LINES]:
        figures = (f"{pair.nearness:.1f}", f"{pair.similarity:.3f}")
        table.add_row(*figures, Text(pair.first.id), Text(pair.second.id), Text(differences(pair)))
    if table.row_count:
        wide_console().print(table)
