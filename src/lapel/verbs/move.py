"""``lapel move``."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from lapel.shell import say
from lapel.verbs.options import hint


@dataclass(frozen=True)
class Move:
    """Copy an index, its rows onto another engine, and check every row of the copy.

    The index stays and can be searched meanwhile. Interrupted, the same command takes up where it was.
    """

    index: Annotated[Positional[Path], arg(metavar="INDEX")]
    """The index folder."""
    to: Annotated[Path, arg(metavar="INDEX2")]
    """The folder of the copy. Of an index on a server it holds all but the rows."""
    engine: Annotated[str | None, hint("lance|milvus: without it: milvus if there is --uri, else lance")] = None
    """What is to hold the rows: LanceDB in the folder, or a Milvus server."""
    uri: Annotated[str | None, hint("URI: such as http://milvus.local:19530")] = None
    """Address of the Milvus server. It is shown what LAPEL_MILVUS_TOKEN says: a token, or user:password."""
    quiet: bool = False
    """Show no progress."""

    def execute(self) -> int:
        """Copy and check, and print what there is now."""
        from lapel.retrieval.moving import move

        record = move(self.index, self.to, self.engine, self.uri, quiet=self.quiet)
        where = f"{record.engine} at {record.uri}, collection {record.collection}" if record.uri else record.engine
        print(f"{record.count} rows are in {where}; each is as it was")
        say(f"{self.index} is still there. next: lapel search {shlex.quote(str(self.to))} IMAGE")
        return 0
