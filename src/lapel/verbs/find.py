"""``lapel index`` and ``lapel search``."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from lapel.errors import SearchIndexError
from lapel.shell import parse_box, parse_weights, print_hits, say
from lapel.verbs.options import hint

PICTURES = (".jpeg", ".jpg", ".png", ".webp")


@dataclass(frozen=True)
class Index:
    """Embed a catalogue into a search index. Run again, it embeds only what is new or changed.

    Several runs, such as one of attributes and one of items, give one index that is searched by all they embed.
    """

    catalogue: Annotated[Positional[Path], arg(metavar="CATALOGUE")]
    """A CSV or Parquet file, or a folder that holds catalogue.csv or catalogue.parquet."""
    run: Annotated[UseAppendAction[tuple[Path, ...]], arg(metavar="RUN", help_behavior_hint="(required)")]
    """The run folder whose model embeds the images; give it once for each run."""
    to: Annotated[Path, arg(metavar="INDEX")]
    """The index folder to make or to bring up to date."""
    max_failed: float = 0.05
    """The share of images that may be unreadable; they are listed. More than that stops the job."""
    engine: Annotated[str | None, hint("lance|milvus: without it: milvus if there is --uri, else lance")] = None
    """What is to hold the rows of a new index: LanceDB in the folder, or a Milvus server."""
    uri: Annotated[str | None, hint("URI: such as http://milvus.local:19530")] = None
    """Address of the Milvus server. It is shown what LAPEL_MILVUS_TOKEN says: a token, or user:password."""
    quiet: bool = False
    """Show no progress."""

    def execute(self) -> int:
        """Index, and print what changed."""
        if not self.run:
            raise SearchIndexError("expected --run RUN, the run folder whose model embeds the images")
        from lapel.catalogue import Catalogue
        from lapel.runs import read_config

        # Cheap checks before the seconds that torch takes to load.
        also = dict.fromkeys(name for run in self.run for name in read_config(run).attributes)
        catalogue = Catalogue.read(self.catalogue, also=tuple(also))
        from lapel.retrieval.embedder import load
        from lapel.retrieval.indexing import index_catalogue

        embedders = [load(run) for run in self.run]
        report = index_catalogue(
            catalogue,
            embedders,
            self.to,
            max_failed=self.max_failed,
            quiet=self.quiet,
            engine=self.engine,
            uri=self.uri,
        )
        names = ("added", "changed", "updated", "removed", "unchanged")
        print(", ".join(f"{name} {getattr(report, name)}" for name in names), end="")
        print(f", skipped {len(report.skipped)}")
        for failure in report.skipped:
            say(f"skipped {failure.path}: {failure.reason}")
        if report.encoder:
            say(f"searches will load the run itself, which takes seconds: {report.encoder}")
        words = (f"--{'like' if one.items else 'attribute'} {shlex.quote(one.attributes[0])}" for one in embedders)
        like = " ".join(words)
        say(f"next: lapel search {shlex.quote(str(self.to))} IMAGE {like}")
        return 0


@dataclass(frozen=True)
class Search:
    """Find the garments of an index that are most like one picture under the attributes that matter, or the same item.

    Where the item weighs, the images of one item are one result, the best of them.
    """

    index: Annotated[Positional[Path], arg(metavar="INDEX")]
    """The index folder."""
    image: Annotated[Positional[Path], arg(metavar="IMAGE")]
    """The picture to start from."""
    like: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME[=WEIGHT]", aliases=("--attribute",))] = ()
    """What must be alike (attribute or item), weight 1 unless given; below 0 less alike. Without any: all, equally."""
    where: Annotated[str | None, hint("FILTER: without it: the whole index")] = None
    """Keep only what matches, such as "colour = 'Red' and price < 50"."""
    top: int = 10
    """How many results."""
    box: Annotated[str | None, hint("'X1 Y1 X2 Y2': without it: the whole picture")] = None
    """The garment in the picture, in pixels; give it where the catalogue has boxes."""
    each: bool = False
    """Every image is a result of its own, also where the item weighs."""
    run: Annotated[UseAppendAction[tuple[Path, ...]], hint("RUN: without it: the one that made the index")] = ()
    """The run folder whose model embeds the picture; of several runs, those that moved."""
    json: bool = False
    """Print the results as JSON."""
    sheet: Annotated[Path | None, hint("OUT.png: without it: no picture")] = None
    """Draw the query beside its results into this file."""

    def execute(self) -> int:
        """Search, and print the results, best first."""
        weights = parse_weights(self.like)
        if self.top < 1:
            raise SearchIndexError(f"--top is {self.top}; it must be at least 1")
        if self.sheet is not None and self.sheet.suffix.lower() not in PICTURES:
            raise SearchIndexError(f"--sheet {self.sheet}: the name must end in one of {', '.join(PICTURES)}")
        from lapel.retrieval.index import Index as SearchIndex

        index = SearchIndex.open(self.index, self.run)
        box = parse_box(self.box)
        group = False if self.each else None
        hits = index.search(self.image, weights=weights or None, k=self.top, where=self.where, box=box, group=group)
        print_hits(hits, as_json=self.json)
        if self.sheet is not None:
            from lapel.evaluation.figures import Tile, sheet

            tiles = [Tile.of(hit, attributes=weights) for hit in hits]
            sheet(Tile(self.image, caption=", ".join(self.like) or "all attributes"), tiles, self.sheet)
            say(f"the sheet is in {self.sheet}")
        return 0
