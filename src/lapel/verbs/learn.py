"""``lapel train`` and ``lapel evaluate``."""

from __future__ import annotations

import json
import os
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg

from lapel.errors import LapelError, RunError
from lapel.shell import main_process, say
from lapel.verbs.options import hint

if TYPE_CHECKING:
    from lapel.protocol import Protocol


@dataclass(frozen=True)
class Train:
    """Train a model as a recipe says, and print the run folder it leaves."""

    recipe: Annotated[Positional[str], arg(metavar="RECIPE")]
    """A YAML file, or the name of a recipe that comes with lapel."""
    settings: Annotated[UseAppendAction[tuple[str, ...]], arg(name="set", metavar="KEY=VALUE")] = ()
    """Change one setting of the recipe, such as training.epochs=5. Where the recipe has stages, what a stage sets
    stays; stages.2.training.epochs=5 changes that of the second."""
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
    """Measure a run as its catalogue's protocol says: MAP per attribute, triplets told right, or Acc@K of items.

    Every figure of retrieval comes with its 95 % interval and with chance. A run of an item model is measured by items,
    and shows beside them how well it predicts attributes and landmarks, where the catalogue knows these.
    """

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """The run folder that training left."""
    catalogue: Annotated[Path | None, hint("CATALOGUE: without it: the one the run was trained on")] = None
    """Measure on another catalogue."""
    task: Annotated[str | None, hint("TASK: without it: the catalogue's own, or what the run can")] = None
    """attributes, triplets or items."""
    split: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="SPLIT")] = ()
    """The split that is asked, in place of the protocol's, as a rule test; several where the task is items. Items of
    another split than the protocol's are sought there too, where the protocol's gallery is some splits and not all."""
    queries: Annotated[Path | None, hint("FILE: without it: the catalogue's lists, or a draw")] = None
    """A CSV or Parquet with the columns role (query or candidate), attribute, image and, if you like, value."""
    gallery: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="SPLIT")] = ()
    """Items: the splits that are ranked."""
    match: Annotated[str | None, hint("item|image: without it: the protocol's")] = None
    """Items: found is any image of the item, or the very image that a pair lists."""
    asked: Annotated[str | None, hint("image|pair: without it: the protocol's")] = None
    """Items: ask each image once, or once for each of its pairs."""
    alone: Annotated[str | None, hint("miss|skip: without it: the protocol's")] = None
    """Items: a query whose item has no image in the gallery is a miss, or is not asked."""
    within: Annotated[str | None, hint("COLUMN: without it: the protocol's")] = None
    """Items: rank only what has the query's value in this column, such as the category."""
    only: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="VALUE")] = ()
    """Items: ask only queries with these values of --within."""
    groups: Annotated[UseAppendAction[tuple[str, ...]], arg(name="by", metavar="COLUMN")] = ()
    """Items: break the figures down by these columns."""
    ks: Annotated[UseAppendAction[tuple[int, ...]], arg(name="at", metavar="K")] = ()
    """Items: the K of Acc@K."""
    distractors: Annotated[UseAppendAction[tuple[int, ...]], arg(metavar="N")] = ()
    """Items: also the accuracy to expect among N wrong images: what a figure owes to a small gallery."""
    rerank: Annotated[int, arg(metavar="K")] = 0
    """Items: look at the first K results again, where the run's model compares pairs of images (grnet_style)."""
    boxes: bool = True
    """Take whole pictures instead of their boxes."""
    json: Annotated[Path | None, hint("FILE: without it: only the table")] = None
    """Write the figures and the record of the protocol to this file."""
    share: float = 0.2
    """The share of each attribute's labelled images that are queries, where they are drawn."""
    seed: int = 0
    """Draws the queries and the intervals."""
    quiet: bool = False
    """Show no progress."""

    def execute(self) -> int:
        """Measure, and print the table."""
        if not 0 < self.share < 1:
            raise LapelError(f"--share is {self.share:g}; it must lie between 0 and 1")
        if self.seed < 0:
            raise LapelError(f"--seed is {self.seed}; it must be 0 or more")
        from lapel.evaluate import catalogue_of, evaluate, resolve_protocol
        from lapel.evaluation.tables import print_result

        catalogue = catalogue_of(self.run, self.catalogue)
        own = resolve_protocol(catalogue, self.task, run=self.run)
        protocol = resolve_protocol(catalogue, self.task, run=self.run, **self._changes(own))
        result = evaluate(
            self.run,
            catalogue,
            json=self.json,
            share=self.share,
            seed=self.seed,
            quiet=self.quiet,
            queries=self.queries,
            protocol=protocol,
            boxes=self.boxes,
            distractors=self.distractors,
            rerank=self.rerank,
        )
        print_result(result, protocol, name=self.run.name)
        where = [] if self.catalogue is None else ["--catalogue", str(self.catalogue)]
        say(f"next, with pictures: {shlex.join(['lapel', 'report', str(self.run), *where])}")
        return 0

    def _changes(self, own: Protocol) -> dict[str, Any]:
        """Return what the options change in a protocol; what was not given stays."""
        options = {name: name for name in ("gallery", "match", "asked", "alone", "within", "only")}
        options |= {"groups": "by", "ks": "at"}
        changes = {name: getattr(self, name) for name in options if getattr(self, name)}
        if own.task != "items":
            if changes:
                flags = ", ".join(f"--{options[name]}" for name in changes)
                raise LapelError(f"{flags}: for items, but the task is {own.task}; leave it out, or add --task items")
            if len(self.split) > 1:
                splits = ", ".join(self.split)
                raise LapelError(
                    f"--split names {splits}: {own.task} are measured on one split; items can be on several"
                )
            return {"split": self.split[0]} if self.split else {}
        if not self.split:
            return changes
        moved = own.gallery.splits and not set(self.split) <= set(own.query.splits)
        return {"query": self.split} | ({"gallery": self.split} if moved else {}) | changes
