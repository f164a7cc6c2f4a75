"""The command line: each verb reads its options and calls one function of another room.

What a verb needs is imported when it runs, so ``lapel --help`` answers at once. Results go to standard
output, progress and messages to standard error. Exit status: 0 done, 1 the data has errors (``data check``),
2 a mistake a person can put right, 130 interrupted. ``LAPEL_DEBUG=1`` shows the traceback of any error.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import tyro
from tyro.conf import Positional, UseAppendAction, arg, subcommand

from lapel import __version__
from lapel.errors import LapelError, RunError, SearchIndexError, unknown
from lapel.shell import fail, main_process, message_of, parse_box, parse_weights, print_hits, say

PICTURES = (".jpeg", ".jpg", ".png", ".webp")


def hint(text: str) -> Any:
    """Return the tyro setting that names an optional value and says what happens without it."""
    name, _, without = text.partition(": ")
    return arg(metavar=name, help_behavior_hint=f"({without})")


@dataclass(frozen=True)
class Check:
    """Say what is wrong in a catalogue, row by row, what it holds, and what can be trained on it.

    Exits with status 1 when something must be put right first.
    """

    path: Annotated[Positional[Path], arg(metavar="PATH")]
    """A CSV or Parquet file, or a folder that holds catalogue.csv or catalogue.parquet."""
    json: bool = False
    """Print the findings as JSON."""
    quiet: bool = False
    """Show no progress."""

    def execute(self) -> int:
        """Check and print."""
        from lapel.check import check

        report = check(self.path, quiet=self.quiet)
        if self.json:
            print(json.dumps(report.to_dict(), indent=2))
        else:
            report.print()
        return 1 if report.errors else 0


@dataclass(frozen=True)
class Render:
    """Draw a catalogue of garments, with their attributes, items, boxes and landmarks."""

    to: Annotated[Path, arg(metavar="DIR")]
    """The folder to fill: catalogue.csv and its images/."""
    items: int = 200
    """How many garments."""
    views: int = 2
    """How many pictures of each garment."""
    size: int = 256
    """The side of a picture in pixels."""
    domain: Literal["shop", "consumer", "both"] = "shop"
    """Clean shop pictures, cluttered street ones, or both in turn."""
    seed: int = 0
    """The same seed draws the same catalogue."""
    quiet: bool = False
    """Show no progress."""

    def execute(self) -> int:
        """Draw, and print the path of the catalogue."""
        from lapel.garments import draw_catalogue

        domains = ("shop", "consumer") if self.domain == "both" else (self.domain,)
        sizes = {name: getattr(self, name) for name in ("items", "views", "seed", "size")}
        draw_catalogue(self.to, **sizes, domains=domains, quiet=self.quiet)
        print(self.to)
        say(f"next: lapel data check {shlex.quote(str(self.to))}")
        return 0


@dataclass(frozen=True)
class Data:
    """Check a catalogue, or draw one."""

    verb: Annotated[Check, subcommand("check")] | Annotated[Render, subcommand("render")]

    def execute(self) -> int:
        """Run what was asked of the data."""
        return self.verb.execute()


@dataclass(frozen=True)
class Train:
    """Train a model as a recipe says, and print the run folder it leaves."""

    recipe: Annotated[Positional[str], arg(metavar="RECIPE")]
    """A YAML file, or the name of a recipe that comes with lapel."""
    settings: Annotated[UseAppendAction[tuple[str, ...]], arg(name="set", metavar="KEY=VALUE")] = ()
    """Change one setting of the recipe, such as training.epochs=5."""
    to: Annotated[Path | None, hint("RUN: without it: runs/RECIPE-DATE-TIME")] = None
    """The run folder to leave."""
    resume: bool = False
    """Go on with the interrupted run in --to; the result is that of an uninterrupted one."""
    quiet: bool = False
    """Show no progress."""

    def execute(self) -> int:
        """Train, and print the run folder."""
        from lapel.config import load_recipe

        recipe = load_recipe(self.recipe, overrides=list(self.settings))
        to = self.to or self.default_run()
        from lapel.training import train

        try:
            run = train(recipe, to, resume=self.resume, quiet=self.quiet)
        except KeyboardInterrupt:
            settings = [word for setting in self.settings for word in ("--set", setting)]
            again = ["lapel", "train", self.recipe, *settings, "--to", str(to), "--resume"]
            raise KeyboardInterrupt(f"go on with: {shlex.join(again)}") from None
        except RuntimeError as error:
            if type(error).__name__ != "OutOfMemoryError":  # torch's, named so that torch need not be imported here
                raise
            raise RunError("the GPU's memory is full: train with a smaller training.batch, image or trunk") from error
        if main_process():
            print(run)
        if (skipped := run / "skipped.json").is_file():
            say(f"{len(json.loads(skipped.read_text('utf-8')))} images could not be read; why: {skipped}")
        say(f"next: lapel evaluate {shlex.quote(str(run))}")
        return 0

    def default_run(self) -> Path:
        """Return runs/RECIPE-DATE-TIME, where that is enough to know which run is meant."""
        if self.resume:
            raise RunError("--resume needs --to RUN, the folder of the run to go on with")
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise RunError("give --to RUN when training in several processes, so that they share one folder")
        return Path("runs") / f"{Path(self.recipe).stem}-{time.strftime('%Y%m%d-%H%M%S')}"


@dataclass(frozen=True)
class Evaluate:
    """Measure attribute-specific retrieval: MAP per attribute and overall, with 95 % intervals."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """The run folder that training left."""
    catalogue: Annotated[Path | None, hint("CATALOGUE: without it: the one the run was trained on")] = None
    """Measure on another catalogue."""
    split: str = "test"
    """The split that gives queries and candidates."""
    json: Annotated[Path | None, hint("FILE: without it: only the table")] = None
    """Write the figures and the record of the protocol to this file."""
    share: float = 0.2
    """The share of each attribute's labelled images that are queries; the others are candidates."""
    seed: int = 0
    """Draws the queries and the intervals."""
    quiet: bool = False
    """Show no progress."""

    def execute(self) -> int:
        """Measure, and print the table."""
        if not 0 < self.share < 1:
            raise LapelError(f"--share is {self.share:g}; it must lie between 0 and 1")
        from lapel.evaluate import evaluate
        from lapel.evaluation.record import print_table

        result = evaluate(
            self.run,
            catalogue=self.catalogue,
            split=self.split,
            json=self.json,
            share=self.share,
            seed=self.seed,
            quiet=self.quiet,
        )
        print_table(result)
        return 0


@dataclass(frozen=True)
class Index:
    """Embed a catalogue into a search index. Run again, it embeds only what is new or changed."""

    catalogue: Annotated[Positional[Path], arg(metavar="CATALOGUE")]
    """A CSV or Parquet file, or a folder that holds catalogue.csv or catalogue.parquet."""
    run: Annotated[Path, arg(metavar="RUN")]
    """The run folder whose model embeds the images."""
    to: Annotated[Path, arg(metavar="INDEX")]
    """The index folder to make or to bring up to date."""
    max_failed: float = 0.05
    """The share of images that may be unreadable; they are listed. More than that stops the job."""
    quiet: bool = False
    """Show no progress."""

    def execute(self) -> int:
        """Index, and print what changed."""
        from lapel.catalogue import Catalogue
        from lapel.runs import read_config

        # Cheap checks before the seconds that torch takes to load.
        catalogue = Catalogue.read(self.catalogue, also=tuple(read_config(self.run).attributes))
        from lapel.retrieval.embedder import load
        from lapel.retrieval.indexing import index_catalogue

        embedder = load(self.run)
        report = index_catalogue(catalogue, embedder, self.to, max_failed=self.max_failed, quiet=self.quiet)
        names = ("added", "changed", "updated", "removed", "unchanged")
        print(", ".join(f"{name} {getattr(report, name)}" for name in names), end="")
        print(f", skipped {len(report.skipped)}")
        for failure in report.skipped:
            say(f"skipped {failure.path}: {failure.reason}")
        if report.encoder:
            say(f"searches will load the run itself, which takes seconds: {report.encoder}")
        say(f"next: lapel search {shlex.quote(str(self.to))} IMAGE --attribute {embedder.attributes[0]}")
        return 0


@dataclass(frozen=True)
class Search:
    """Find the garments of an index that are most like one picture under the attributes that matter."""

    index: Annotated[Positional[Path], arg(metavar="INDEX")]
    """The index folder."""
    image: Annotated[Positional[Path], arg(metavar="IMAGE")]
    """The picture to start from."""
    attribute: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME[=WEIGHT]")] = ()
    """What must be alike, weight 1 unless given; below 0 means less alike. Without any: all, equally."""
    where: Annotated[str | None, hint("FILTER: without it: the whole index")] = None
    """Keep only what matches, such as "colour = 'Red' and price < 50"."""
    top: int = 10
    """How many results."""
    box: Annotated[str | None, hint("'X1 Y1 X2 Y2': without it: the whole picture")] = None
    """The garment in the picture, in pixels; give it where the catalogue has boxes."""
    run: Annotated[Path | None, hint("RUN: without it: the one that made the index")] = None
    """The run folder whose model embeds the picture."""
    json: bool = False
    """Print the results as JSON."""
    sheet: Annotated[Path | None, hint("OUT.png: without it: no picture")] = None
    """Draw the query beside its results into this file."""

    def execute(self) -> int:
        """Search, and print the results, best first."""
        weights = parse_weights(self.attribute)
        if self.top < 1:
            raise SearchIndexError(f"--top is {self.top}; it must be at least 1")
        if self.sheet is not None and self.sheet.suffix.lower() not in PICTURES:
            raise SearchIndexError(f"--sheet {self.sheet}: the name must end in one of {', '.join(PICTURES)}")
        from lapel.retrieval.index import Index as SearchIndex

        index = SearchIndex.open(self.index, self.run)
        box = parse_box(self.box)
        hits = index.search(self.image, weights=weights or None, k=self.top, where=self.where, box=box)
        print_hits(hits, as_json=self.json)
        if self.sheet is not None:
            from lapel.evaluation.figures import Tile, sheet

            tiles = [Tile.of(hit, attributes=weights) for hit in hits]
            sheet(Tile(self.image, caption=", ".join(self.attribute) or "all attributes"), tiles, self.sheet)
            say(f"the sheet is in {self.sheet}")
        return 0


@dataclass(frozen=True)
class Demo:
    """Do the whole job on drawn garments, offline: train, measure, index, search, and leave a page."""

    to: Annotated[Path, arg(metavar="DIR")] = Path("lapel-demo")
    """The folder for all that the demo makes."""
    quiet: bool = False
    """Show no progress."""

    def execute(self) -> int:
        """Run the demo."""
        from lapel.demo import demo

        demo(self.to, quiet=self.quiet)
        return 0


Verb = (
    Annotated[Data, subcommand("data")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Index, subcommand("index")]
    | Annotated[Search, subcommand("search")]
    | Annotated[Demo, subcommand("demo")]
)
VERBS = ("data", "train", "evaluate", "index", "search", "demo")


def parse(argv: list[str]) -> Data | Train | Evaluate | Index | Search | Demo:
    """Return the verb that a command line asks for, without running it.

    Raises:
        LapelError: no such verb; the message names the nearest.
        SystemExit: help was asked for (0), or an option is wrong (2) and tyro has said so, with the nearest.
    """
    options = (tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes, tyro.conf.FlagCreatePairsOff)
    before, known = ("data ", ("check", "render")) if argv[:1] == ["data"] else ("", VERBS)
    asked = argv[1 if before else 0 :][:1]
    if asked and not asked[0].startswith("-") and asked[0] not in known:
        raise LapelError(unknown(f"{before}verb", asked[0], known))
    description = "Find garments by attribute: train, measure, index and search."
    verb = tyro.cli(cast(Any, Verb), prog="lapel", description=description, args=argv, config=options)
    return cast("Data | Train | Evaluate | Index | Search | Demo", verb)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] in (["--version"], ["-V"]):
        print(f"lapel {__version__}")
        return 0
    try:
        status = parse(words or ["--help"]).execute()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt as interrupt:
        return fail(f"interrupted; {str(interrupt) or 'run the same command again'}", 130)
    except (LapelError, OSError) as error:
        if os.environ.get("LAPEL_DEBUG", "0") not in ("", "0"):
            raise
        return fail(message_of(error), 2)
    return status


if __name__ == "__main__":
    sys.exit(main())
