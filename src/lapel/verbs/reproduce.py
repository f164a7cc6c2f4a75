"""``lapel reproduce``."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from lapel.errors import RunError
from lapel.shell import say


@dataclass(frozen=True)
class Reproduce:
    """Train and measure every row of one of AG-MAN's tables, beside what the paper prints, or of AHBN's ablations.

    Rows that are trained stay as they are; a row that was stopped goes on. Leaves tableN.html and tableN.json, of AHBN
    ahbn.html and ahbn.json.
    """

    table: Annotated[Positional[str], arg(metavar="TABLE")]
    """2 to 10: the table's number in AG-MAN's paper; ahbn: table I of AHBN's, whose figures are not known."""
    catalogue: Annotated[Path, arg(metavar="CATALOGUE")] = field(kw_only=True)
    """What to train and to measure on: a CSV or Parquet file, or its folder."""
    to: Annotated[Path, arg(metavar="DIR")] = field(kw_only=True)
    """The folder for the runs, DIR/RECIPE/seedK, and for the table."""
    seeds: int = 3
    """How many times each row is trained, from seed 0 on."""
    rows: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="ROW")] = ()
    """Only these rows, by their name in the table or by their recipe; those of --also are always there."""
    also: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="RECIPE")] = ()
    """A further row: a recipe's name or YAML file, or frozen, the untouched trunk."""
    settings: Annotated[UseAppendAction[tuple[str, ...]], arg(name="set", metavar="KEY=VALUE")] = ()
    """Change one setting of every row, such as model.trunk=mobilenetv2_100."""
    minutes: float = 0.0
    """Train every row for as many steps as it makes in this time, in place of its recipe's length. Stages share it by
    their epochs."""
    quiet: bool = False
    """Show no progress."""

    def execute(self) -> int:
        """Reproduce, and print the table."""
        from lapel.evaluation.published import find_table

        table = find_table(self.table)  # before the seconds that torch takes to load
        from lapel.reproduction.reproduce import reproduce
        from lapel.reproduction.table_rows import folder_of

        try:
            view = reproduce(
                table.label,
                self.catalogue,
                self.to,
                seeds=self.seeds,
                rows=self.rows,
                also=self.also,
                settings=self.settings,
                minutes=self.minutes,
                quiet=self.quiet,
            )
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"go on with: {self.command()}") from None
        except RuntimeError as error:
            if type(error).__name__ != "OutOfMemoryError":  # torch's, named so that torch need not be imported here
                raise
            raise RunError("the GPU's memory is full: a smaller training.batch, image or trunk, with --set") from error
        say(f"the page: {self.to / f'{table.file}.html'}")
        shown = next((row for row in view.rows if row.name == view.main), view.rows[0])
        say(f"next, with pictures: {shlex.join(['lapel', 'report', str(self.to / folder_of(shown.recipe) / 'seed0')])}")
        return 0

    def command(self) -> str:
        """The command line that does the same, and goes on where this one was stopped."""
        words = ["lapel", "reproduce", self.table, "--catalogue", str(self.catalogue), "--to", str(self.to)]
        words += ["--seeds", str(self.seeds)]
        for flag, values in (("--rows", self.rows), ("--also", self.also), ("--set", self.settings)):
            words += [word for value in values for word in (flag, value)]
        words += ["--minutes", f"{self.minutes:g}"] if self.minutes else []
        return shlex.join([*words, *(["--quiet"] if self.quiet else [])])
