"""The command line: each verb reads its options and calls one function of another room.

What a verb needs is imported when it runs, so ``lapel --help`` answers at once. Results go to standard
output, progress and messages to standard error. Exit status: 0 done, 1 the data has errors (``data check``),
2 a mistake a person can put right, 130 interrupted. ``LAPEL_DEBUG=1`` shows the traceback of any error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol, cast

import tyro
from tyro.conf import arg, subcommand

from lapel import __version__
from lapel.errors import LapelError, unknown
from lapel.shell import fail, message_of
from lapel.verbs import data
from lapel.verbs.compress import Compress
from lapel.verbs.copies import Copies
from lapel.verbs.data import Data
from lapel.verbs.find import Index, Search
from lapel.verbs.learn import Evaluate, Train
from lapel.verbs.move import Move
from lapel.verbs.report import Report
from lapel.verbs.reproduce import Reproduce
from lapel.verbs.serve import Serve


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
    | Annotated[Report, subcommand("report")]
    | Annotated[Reproduce, subcommand("reproduce")]
    | Annotated[Index, subcommand("index")]
    | Annotated[Search, subcommand("search")]
    | Annotated[Copies, subcommand("copies")]
    | Annotated[Move, subcommand("move")]
    | Annotated[Compress, subcommand("compress")]
    | Annotated[Serve, subcommand("serve")]
    | Annotated[Demo, subcommand("demo")]
)
VERBS = (
    *("data", "train", "evaluate", "report", "reproduce"),
    *("index", "search", "copies", "move", "compress", "serve", "demo"),
)


class Executable(Protocol):
    """A verb with its options."""

    def execute(self) -> int:
        """Do it, and return the exit status."""


def parse(argv: list[str]) -> Executable:
    """Return the verb that a command line asks for, without running it.

    Raises:
        LapelError: no such verb; the message names the nearest.
        SystemExit: help was asked for (0), or an option is wrong (2) and tyro has said so, with the nearest.
    """
    options = (tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes, tyro.conf.FlagCreatePairsOff)
    before, known = ("data ", data.VERBS) if argv[:1] == ["data"] else ("", VERBS)
    asked = argv[1 if before else 0 :][:1]
    if asked and not asked[0].startswith("-") and asked[0] not in known:
        raise LapelError(unknown(f"{before}verb", asked[0], known))
    description = "Find garments by attribute: train, measure, index, search and serve."
    verb = tyro.cli(cast(Any, Verb), prog="lapel", description=description, args=argv, config=options)
    return cast(Executable, verb)


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
