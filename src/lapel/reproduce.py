"""A table of a paper on a catalogue: every row trained with several seeds, measured, and shown beside print.

Work goes seed by seed, so that a table can be read after the first; whatever was stopped goes on where it was.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from lapel.catalogue import Catalogue
from lapel.catalogue_file import find
from lapel.config import Recipe, load_recipe, recipe_names
from lapel.errors import LapelError, RecipeError, RunError, unknown
from lapel.evaluate import catalogue_of, resolve_protocol
from lapel.evaluation.comparison_page import write_comparison
from lapel.evaluation.comparison_text import print_comparison
from lapel.evaluation.cost import FLOP_DEFINITION, SPEED_DEFINITION, device_name
from lapel.evaluation.published import PublishedTable, find_table
from lapel.evaluation.record import protocol_record
from lapel.evaluation.reproduced import MeasuredRow, TableView, view_table
from lapel.files import atomic_write, sha256
from lapel.pace import paced
from lapel.protocol import AttributeProtocol, ItemProtocol, Protocol, to_dict
from lapel.row_costs import embedding_costs, row_cost
from lapel.row_runs import RowRun
from lapel.runs import read_config
from lapel.shell import say


@dataclass(frozen=True)
class Row:
    """A row to reproduce: its name in the table, the recipe's name (its folder's too), and the recipe."""

    name: str
    source: str
    recipe: Recipe

    @property
    def folder(self) -> str:
        """Name of the folder of its runs."""
        return Path(self.source).stem if self.source.endswith((".yaml", ".yml")) else self.source

    def run(self, to: Path, seed: int, data: str) -> RowRun:
        """The run with one seed."""
        recipe = replace(self.recipe, training=replace(self.recipe.training, seed=seed))
        return RowRun(to / self.folder / f"seed{seed}", recipe, data)

    @property
    def untrained(self) -> bool:
        """Whether nothing of it is trained, so that one run is all there is."""
        return self.recipe.model.name == "frozen"


def reproduce(
    table: str | int,
    catalogue: Path | str,
    to: Path | str,
    *,
    seeds: int = 3,
    rows: Sequence[str] = (),
    also: Sequence[str] = (),
    settings: Sequence[str] = (),
    minutes: float = 0.0,
    quiet: bool = False,
    console: Console | None = None,
) -> TableView:
    """Reproduce a table: train what is missing, measure, print, leave ``tableN.html`` and ``tableN.json`` in ``to``.

    Args:
        table: its number, such as ``5`` or ``table5``.
        catalogue: any catalogue; printed figures only compare on the paper's own data.
        to: folder of the runs, ``to/RECIPE/seedK``, and of the table.
        seeds: runs per row, with seeds from 0 on.
        rows: names of rows or of their recipes; all without any.
        also: further recipes, by name or YAML file, such as ``frozen``, the untouched trunk.
        settings: ``section.key=value`` for every row.
        minutes: of training for each run: as many steps as the row makes in this time, measured before its first run
            (``lapel.pace``), so that work beside it costs time and no fairness. 0 leaves the recipes' own lengths.
        quiet: no progress.
        console: where to print the table.

    Raises:
        LapelError: no such table, row or recipe; a folder of another training; and whatever training and evaluation
            raise.
        KeyboardInterrupt: stopped; the same call goes on where it was.
    """
    if seeds < 1 or minutes < 0:
        raise LapelError(f"seeds is {seeds} and minutes {minutes:g}: expected at least 1 seed, and minutes from 0 on")
    if _sets("training.seed", settings):
        raise LapelError(
            "training.seed is what tells a row's runs apart, from 0 on: leave it out, and say how many seeds"
        )
    if minutes and (_sets("training.epochs", settings) or _sets("training.steps", settings)):
        raise LapelError("minutes and training.epochs or training.steps both say how long a row is trained: give one")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RunError("a table is reproduced by one process, run after run: start it without torchrun")
    asked, to = find_table(table), Path(to)
    chosen = plan(asked, rows, also, [f"data.catalogue={catalogue}", *settings])
    _check_models([row for row in chosen if not (to / row.folder).exists()])
    chosen = [_in_time(row, minutes, to, quiet) for row in chosen]
    data = sha256(find(Path(catalogue)))
    runs = {row.name: [row.run(to, seed, data) for seed in range(1 if row.untrained else seeds)] for row in chosen}
    for found in runs.values():
        for run in found:
            run.check()
    _check_models([row for row in chosen if not all(run.trained for run in runs[row.name])])
    read = _reader(Path(catalogue))
    _work(chosen, runs, read, say if not quiet else lambda _: None, quiet)
    view = _view(asked, chosen, runs, read, settings, minutes, to)
    name = to / f"table{asked.number}"
    atomic_write(name.with_suffix(".json"), json.dumps(view.to_dict(), indent=2, ensure_ascii=False) + "\n")
    write_comparison(name.with_suffix(".html"), view)
    print_comparison(view, console)
    return view


def plan(
    table: PublishedTable,
    rows: Sequence[str] = (),
    also: Sequence[str] = (),
    settings: Sequence[str] = (),
) -> list[Row]:
    """Return the rows to train in the table's order, then further ones; see ``reproduce``.

    Raises:
        LapelError: no such row or recipe, or a setting that a recipe does not have.
    """
    recipes = table.recipes
    names = {name: name for name in recipes} | {recipe: name for name, recipe in recipes.items()}
    for asked in rows:
        if asked not in names:
            raise LapelError(f"table {table.number}: {unknown('row', asked, names)}")
    wanted = {names[asked] for asked in rows} or set(recipes)
    chosen = [Row(name, recipe, load_recipe(recipe, settings)) for name, recipe in recipes.items() if name in wanted]
    for source in also:
        if source in {row.source for row in chosen}:
            continue
        if source in recipe_names() or Path(source).is_file():
            chosen.append(Row(Path(source).stem, source, load_recipe(source, settings)))
        else:
            raise RecipeError(f"--also: {unknown('recipe', source, recipe_names())}; or give a .yaml file")
    for row in chosen:
        if sum(other.folder == row.folder or other.name == row.name for other in chosen) > 1:
            raise RecipeError(
                f"two rows are called {row.name!r} or have a folder {row.folder!r}: rename your recipe's file"
            )
    return chosen


def _in_time(row: Row, minutes: float, to: Path, quiet: bool) -> Row:
    """Return the row with its length: the recipe's own, or as much as fits into the minutes."""
    if not minutes or row.untrained:
        return row
    recipe = row.recipe
    if recipe.stages:
        # Stages share a limit by the clock, as their lengths in passes are to each other.
        return replace(row, recipe=replace(recipe, training=replace(recipe.training, minutes=minutes)))
    return replace(row, recipe=paced(recipe, row.folder, minutes, to, quiet))


def _sets(key: str, settings: Sequence[str]) -> bool:
    return any(setting.partition("=")[0].strip().replace("-", "_") == key for setting in settings)


def _check_models(rows: Sequence[Row]) -> None:
    """Build what is to be trained, so that a mistake of the last row shows before the first is trained.

    Raises:
        RecipeError: no weights file; an option or a trunk that the model does not take.
    """
    from lapel.models import build

    for row in rows:
        spec = row.recipe.model
        if spec.weights not in ("hub", "none") and not Path(spec.weights).is_file():
            raise RecipeError(f"row {row.name!r}: no weights file at {spec.weights}, which model.weights names")
        try:
            build(spec.name, 2, spec.trunk, False, trunk_options=spec.trunk_options, **spec.options)
        except RecipeError as error:
            raise RecipeError(f"row {row.name!r}, recipe {row.source}: {error}") from error


def _reader(path: Path) -> Callable[[RowRun], tuple[Catalogue, Protocol]]:
    """Return what reads the catalogue as a run needs it, with its protocol; read once for each set of attributes."""
    known: dict[tuple[str, ...], tuple[Catalogue, Protocol]] = {}

    def read(run: RowRun) -> tuple[Catalogue, Protocol]:
        attributes = tuple(read_config(run.folder).attributes)
        if attributes not in known:
            found = catalogue_of(run.folder, path)
            protocol = resolve_protocol(found)
            if isinstance(protocol, ItemProtocol):  # these tables are about attributes
                protocol = resolve_protocol(found, "attributes")
            known[attributes] = found, protocol
        return known[attributes]

    return read


def _work(
    rows: Sequence[Row],
    runs: Mapping[str, Sequence[RowRun]],
    read: Callable[[RowRun], tuple[Catalogue, Protocol]],
    tell: Callable[[str], None],
    quiet: bool,
) -> None:
    """Train and measure, seed by seed."""
    most = max(map(len, runs.values()))
    jobs = [(row, seed) for seed in range(most) for row in rows if seed < len(runs[row.name])]
    left = sum(runs[row.name][seed].trained is None for row, seed in jobs)
    start = time.monotonic()
    for number, (row, seed) in enumerate(jobs, 1):
        run = runs[row.name][seed]
        where = f"[{number}/{len(jobs)}] {row.name}" + ("" if row.untrained else f", seed {seed}")
        if run.trained is None:
            left -= 1
            after = f"{left} more to train after it" if left else "the last to train"
            tell(f"{where}: training ({after}; {(time.monotonic() - start) / 60:.0f} minutes so far)")
            run.train(quiet)
        else:
            tell(f"{where}: trained before")
        run.measure(*read(run), quiet=quiet)


def _view(
    table: PublishedTable,
    rows: Sequence[Row],
    runs: Mapping[str, Sequence[RowRun]],
    read: Callable[[RowRun], tuple[Catalogue, Protocol]],
    settings: Sequence[str],
    minutes: float,
    to: Path,
) -> TableView:
    measured, chances, looking = [], [], []
    costs = embedding_costs({row.name: runs[row.name][0].folder for row in rows}, to)
    for row in rows:
        found = [run.read() for run in runs[row.name]]
        chances += [each["chance"] for each in found]
        looking += [each["pointing_chance"] for each in found if "pointing_chance" in each]
        measured.append(
            MeasuredRow(
                row.name,
                row.source,
                [each["answers"] for each in found],
                () if row.untrained else tuple(run.recipe.training.seed for run in runs[row.name]),
                row_cost(costs[row.name], [each["trained"] for each in found]),
                tuple(each["loss"] for each in found if "loss" in each),
                [each["pointing"] for each in found if "pointing" in each],
            )
        )
    first = runs[rows[0].name][0]
    catalogue, protocol = read(first)
    attributes = isinstance(protocol, AttributeProtocol)
    return view_table(
        table,
        measured,
        catalogue=catalogue.name,
        measure="MAP" if attributes else "accuracy",
        chance=chances[0],
        headings=dict(protocol.headings) if isinstance(protocol, AttributeProtocol) else {},
        data=catalogue.record,
        pointing_chance=looking[0] if looking else None,
        notes=_notes(settings, minutes),
        record=protocol_record(
            split=getattr(protocol, "split", None),
            preprocessing=None,
            query_source=getattr(protocol, "relation", "") or "drawn: share 0.2 per attribute, seed 0",
            weights=None,
            seed=0,
            catalogue=catalogue.name,
            task="attributes" if attributes else "triplets",
            protocol=to_dict(protocol),
            data={name: catalogue.record.get(name) for name in ("format", "title", "variant", "left_out", "absent")},
            settings=_named(settings),
            minutes=minutes or None,
            command=_named([Path(sys.argv[0]).name, *sys.argv[1:]]),
            machine=_machine(),
            definitions={"gflop": FLOP_DEFINITION, "speed": SPEED_DEFINITION},
            recipes={row.name: {"source": row.source, "recipe": _plain(row.recipe)} for row in rows},
        ),
    )


def _notes(settings: Sequence[str], minutes: float) -> list[str]:
    notes = []
    if minutes:
        notes.append(
            f"every row was trained for as many steps as it makes in {minutes:g} minutes on this machine (measured "
            "before; recipes with stages by the clock), not as long as its paper says"
        )
    if settings:
        notes.append(f"changed for every row: {', '.join(_named(settings))}")
    return notes


def _named(settings: Sequence[str]) -> list[str]:
    """Settings without the folders of this machine."""
    return [
        f"{key}={Path(value).name if value.startswith(('/', '~')) else value}"
        for key, _, value in (s.partition("=") for s in settings)
    ]


def _plain(recipe: Recipe) -> dict[str, Any]:
    """A recipe without the folders of this machine."""
    data = recipe.to_dict()
    data["data"]["catalogue"] = Path(data["data"]["catalogue"]).name
    data["model"]["weights"] = Path(data["model"]["weights"]).name
    del data["training"]["seed"]
    plain: dict[str, Any] = yaml.safe_load(yaml.safe_dump(data))
    return plain


def _machine() -> dict[str, Any]:
    import torch

    return {
        "device": device_name("cuda" if torch.cuda.is_available() else "cpu"),
        "threads": torch.get_num_threads(),
    }
