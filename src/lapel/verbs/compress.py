"""``lapel compress``."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from lapel.shell import say, wide_console

if TYPE_CHECKING:
    from lapel.retrieval.compressing import Compression
    from lapel.retrieval.map_lost import Lost


@dataclass(frozen=True)
class Compress:
    """Make an index with shorter vectors from another, and print what that costs: MAP before and after.

    Each attribute keeps the directions that keep its dot products best. The index stays. Photographs that are searched
    with, or indexed into the new one later, are shortened in the same way. Interrupted, nothing is left behind.
    """

    index: Annotated[Positional[Path], arg(metavar="INDEX")]
    """The index folder."""
    to: Annotated[Path, arg(metavar="INDEX2")]
    """The folder to make. It is LanceDB's; to have it on a server: lapel move."""
    dim: Annotated[int, arg(metavar="D")]
    """Numbers per vector, a multiple of 8. A run with no more than that keeps its own."""
    queries: Annotated[int, arg(metavar="N")] = 500
    """Labelled rows per attribute that MAP is measured with, each against all others."""
    quiet: bool = False
    """Show no progress."""

    def execute(self) -> int:
        """Compress, and print what it costs."""
        from lapel.retrieval.compressing import REPORT, compress

        done = compress(self.index, self.to, self.dim, self.queries, quiet=self.quiet)
        _print(done)
        say(f"the same is in {self.to / REPORT}")
        say(f"{self.index} is still there. next: lapel search {shlex.quote(str(self.to))} IMAGE")
        return 0


def _print(done: Compression) -> None:
    """Print a row per attribute, the sum of all, and the sizes."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("attribute")
    for title in ("numbers", "kept %", "queries", "MAP before", "after", "difference", "95 % interval"):
        table.add_column(title, justify="right", no_wrap=True)
    for each in done.attributes:
        numbers = f"{each.dim_before} -> {each.dim_after}"
        table.add_row(Text(each.attribute), numbers, f"{100 * each.kept:.2f}", *_cells(each.lost))
    if done.overall is not None:
        table.add_row("all queries", "", "", *_cells(done.overall), style="bold")
    wide_console().print(table)
    before, after = done.bytes_before, done.bytes_after
    print(f"vectors, float16: {before:,} -> {after:,} bytes a row, {_gb(before)} -> {_gb(after)} GB a million rows")
    if done.sampled < done.rows:
        say(f"directions found and MAP measured in {done.sampled:,} rows drawn from {done.rows:,}")
    if done.overall is None:
        say("no two rows have a label in common, so there is no MAP to tell what is lost")


def _cells(lost: Lost | None) -> tuple[str, ...]:
    if lost is None:
        return ("-",) * 5
    mean, low, high = (f"{round(100 * value, 2) + 0.0:+.2f}" for value in lost.difference)  # no -0.00
    return str(lost.queries), f"{100 * lost.before:.2f}", f"{100 * lost.after:.2f}", mean, f"{low} to {high}"


def _gb(size: int) -> str:
    """Gigabytes of a million rows of ``size`` bytes."""
    return f"{size / 1000:.2f}"
