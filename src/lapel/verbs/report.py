"""``lapel report``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from lapel.errors import LapelError
from lapel.shell import say
from lapel.verbs.options import hint


@dataclass(frozen=True)
class Report:
    """Show what a run is worth on one page: its figures, its curves, what it finds, where it looks and where it fails.

    The page is one file that opens anywhere; its figures lie beside it as PNG files too.
    """

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """The run folder that training left."""
    catalogue: Annotated[Path | None, hint("CATALOGUE: without it: the one the run was trained on")] = None
    """Report on another catalogue."""
    to: Annotated[Path | None, hint("DIR: without it: RUN/report")] = None
    """The folder for report.html, figures/ and result.json."""
    against: Annotated[UseAppendAction[tuple[Path, ...]], arg(metavar="RUN")] = ()
    """A further run that ranks the same ten candidates beside this one; beside an attribute run, one of the same
    attributes."""
    seed: int = 0
    """Draws the queries, the intervals and what is shown."""
    quiet: bool = False
    """Show no progress."""

    def execute(self) -> int:
        """Write the report, and print where it is."""
        if self.seed < 0:
            raise LapelError(f"--seed is {self.seed}; it must be 0 or more")
        from lapel.runs import read_config, stored_fingerprint

        # Cheap checks before the seconds that torch takes to load.
        for run in (self.run, *self.against):
            read_config(run)
            stored_fingerprint(run)
        from lapel.report.build import report

        page = report(self.run, self.catalogue, self.to, self.against, self.seed, self.quiet)
        print(page)
        say(f"its figures are in {page.parent / 'figures'}")
        return 0
