"""``lapel data``: check, import and draw catalogues and data sets."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg, subcommand

from lapel.errors import DatasetError, unknown
from lapel.shell import parse_pairs, say, wide_console
from lapel.standins import STANDINS
from lapel.verbs.options import hint

if TYPE_CHECKING:
    from lapel.catalogue import Catalogue
    from lapel.check import CheckReport
    from lapel.datasets.checking import DatasetReport


@dataclass(frozen=True)
class Check:
    """Say what is wrong in a catalogue row by row, what it holds, and what can be trained on it.

    With --format it looks at a public data set as it was unpacked: which files are there, which are missing or odd.
    Exits with status 1 when something must be put right first.
    """

    path: Annotated[Positional[Path], arg(metavar="PATH")]
    """A CSV or Parquet file, or a folder that holds catalogue.csv or catalogue.parquet; with --format the data set."""
    format: Annotated[str | None, hint("FORMAT: without it: a catalogue of Lapel's")] = None
    """The public format of the data set in PATH."""
    variant: Annotated[str, hint("NAME: without it: the first that is there")] = ""
    """Which release or image size of the format."""
    column: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="ROLE=NAME")] = ()
    """For csv: which column is the image, item, split, domain or box, an attribute or metadata."""
    json: bool = False
    """Print the findings as JSON."""
    quiet: bool = False
    """Show no progress."""

    def execute(self) -> int:
        """Check and print."""
        if self.format is None:
            if self.variant or self.column:
                raise DatasetError("--variant and --column are for a public data set: say which with --format")
            from lapel.check import check

            report: CheckReport | DatasetReport = check(self.path, quiet=self.quiet)
        else:
            from lapel.datasets.checking import check_dataset

            options = parse_pairs(self.column, "--column", "ROLE=NAME")
            report = check_dataset(self.format, self.path, self.variant, quiet=self.quiet, options=options)
        if self.json:
            print(json.dumps(report.to_dict(), indent=2))
        else:
            report.print(wide_console())
        return 1 if report.errors else 0


@dataclass(frozen=True)
class Import:
    """Read a public data set where it lies and write its catalogue, with its splits and its protocol.

    No picture is copied.
    """

    format: Annotated[Positional[str], arg(metavar="FORMAT")]
    """fashionai, asen, deepfashion-attributes, deepfashion-inshop, deepfashion-consumer2shop, zappos50k, street2shop,
    folder or csv."""
    root: Annotated[Positional[Path], arg(metavar="ROOT")]
    """The data set's folder, as it was unpacked; for csv the file."""
    to: Annotated[Path, arg(metavar="DIR")]
    """The folder to leave catalogue.parquet in."""
    variant: Annotated[str, hint("NAME: without it: the first that is there")] = ""
    """Which release or image size of the format."""
    column: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="ROLE=NAME")] = ()
    """For csv: which column is the image, item, split, domain or box, an attribute or metadata."""
    skip_faulty: bool = False
    """Leave out faulty rows and missing pictures, listed in DIR/left-out.txt, instead of stopping at the first."""
    quiet: bool = False
    """Show no progress."""

    def execute(self) -> int:
        """Import, and print the path of the catalogue."""
        from lapel.datasets.importing import import_dataset

        options = parse_pairs(self.column, "--column", "ROLE=NAME")
        found = import_dataset(
            self.format, self.root, self.to, self.variant, self.skip_faulty, quiet=self.quiet, options=options
        )
        for note in found.notes:
            say(f"note: {note}")
        if found.faults:
            say(f"left out {len(found.faults):,} faulty rows or pictures; why: {self.to / 'left-out.txt'}")
        print(self.to / "catalogue.parquet")
        splits = ", ".join(found.catalogue.splits()) or "none"
        attributes = ", ".join(found.catalogue.attributes) or "none"
        say(f"{len(found.catalogue):,} rows; splits: {splits}; attributes: {attributes}")
        say(f"next: lapel train {suggested(found.catalogue)} --set data.catalogue={shlex.quote(str(self.to))}")
        return 0


def suggested(catalogue: Catalogue) -> str:
    """Return the recipe to start with: the paper's where the catalogue is a paper's data set, else ours for a shop."""
    protocol = catalogue.record.get("protocol")
    if protocol is not None:
        return {"attributes": "agman", "triplets": "agman-zappos", "items": "ahbn"}[protocol["task"]]
    return "shop" if catalogue.attributes else "items"


@dataclass(frozen=True)
class Render:
    """Draw a catalogue of garments, or a public data set's stand-in in its exact files and layout."""

    format: Annotated[Positional[str], arg(metavar="FORMAT")] = "catalogue"
    """Lapel's own catalogue, or the public format to stand in for: see lapel data import --help."""
    to: Annotated[Path, arg(metavar="DIR")] = field(kw_only=True)
    """The folder to fill."""
    items: int = 200
    """How many garments."""
    views: int = 2
    """How many pictures of each garment; a stand-in has as many as its format asks for."""
    size: int = 256
    """The side of a picture in pixels."""
    domain: Literal["shop", "consumer", "both"] = "shop"
    """Clean shop pictures, cluttered street ones, or both in turn; a stand-in has its format's."""
    seed: int = 0
    """The same seed draws the same pictures."""
    quiet: bool = False
    """Show no progress."""

    def execute(self) -> int:
        """Draw, and print the path."""
        if self.format not in ("catalogue", *STANDINS):
            raise DatasetError(unknown("stand-in", self.format, ("catalogue", *STANDINS)))
        if self.format != "catalogue":
            from lapel.standins import draw_standin

            draw_standin(self.format, self.to, self.items, self.seed, self.size, self.quiet)
            print(self.to)
            name = f"{self.to.resolve().name}-catalogue"
            say(f"next: lapel data import {self.format} {shlex.quote(str(self.to))} --to {shlex.quote(name)}")
            return 0
        from lapel.garments import draw_catalogue

        domains = ("shop", "consumer") if self.domain == "both" else (self.domain,)
        sizes = {name: getattr(self, name) for name in ("items", "views", "seed", "size")}
        draw_catalogue(self.to, **sizes, domains=domains, quiet=self.quiet)
        print(self.to)
        say(f"next: lapel data check {shlex.quote(str(self.to))}")
        return 0


@dataclass(frozen=True)
class Data:
    """Check a catalogue or a data set, import a data set, or draw one."""

    verb: (
        Annotated[Check, subcommand("check")]
        | Annotated[Import, subcommand("import")]
        | Annotated[Render, subcommand("render")]
    )

    def execute(self) -> int:
        """Run what was asked of the data."""
        return self.verb.execute()


VERBS = ("check", "import", "render")
