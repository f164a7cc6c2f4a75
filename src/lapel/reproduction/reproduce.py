"""A table of a paper on a catalogue: every row trained with several seeds, measured, and shown beside print.

Work goes seed by seed, so that a table can be read after the first; whatever was stopped goes on where it was.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from lapel.catalogue import Catalogue
from lapel.catalogue_file import find
from lapel.errors import LapelError, RunError
from lapel.evaluate import catalogue_of, resolve_protocol
from lapel.evaluation.comparison_page import write_comparison
from lapel.evaluation.comparison_text import print_comparison
from lapel.evaluation.published import find_table
from lapel.evaluation.table_view import TableView
from lapel.files import atomic_write, sha256
from lapel.protocol import ItemProtocol, Protocol
from lapel.reproduction.row_runs import RowRun
from lapel.reproduction.table_results import view_runs
from lapel.reproduction.table_rows import Row, check_models, plan
from lapel.runs import read_config
from lapel.shell import say


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

    Of AHBN's table the files are ``ahbn.html`` and ``ahbn.json``.

    Args:
        table: its number, such as ``5`` or ``table5``; ``ahbn``, which is measured by items.
        catalogue: any catalogue; printed figures only compare on the paper's own data.
        to: folder of the runs, ``to/RECIPE/seedK``, and of the table.
        seeds: runs per row, with seeds from 0 on.
        rows: names of rows or of their recipes, those of ``also`` too; all of the table without any.
        also: further recipes, by name or YAML file, such as ``frozen``, the untouched trunk.
        settings: ``section.key=value`` for every row.
        minutes: of training for each run: as many steps as the row makes in this time, measured before its first run
            (``pace``), so that work beside it costs time and no fairness; the stages of a row share it by their epochs.
            0 leaves the recipes' own lengths.
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
    check_models([row for row in chosen if not (to / row.folder).exists()])
    chosen = [row.in_time(minutes, to, quiet) for row in chosen]
    data = sha256(find(Path(catalogue)))
    runs = {row.name: [row.run(to, seed, data) for seed in range(1 if row.untrained else seeds)] for row in chosen}
    for found in runs.values():
        for run in found:
            run.check()
    check_models([row for row in chosen if not all(run.trained for run in runs[row.name])])
    read = _reader(Path(catalogue), asked.items)
    _work(chosen, runs, read, say if not quiet else lambda _: None, quiet)
    view = view_runs(asked, chosen, runs, *read(runs[chosen[0].name][0]), settings, minutes, to)
    name = to / asked.file
    atomic_write(name.with_suffix(".json"), json.dumps(view.to_dict(), indent=2, ensure_ascii=False) + "\n")
    write_comparison(name.with_suffix(".html"), view)
    print_comparison(view, console)
    return view


def _sets(key: str, settings: Sequence[str]) -> bool:
    return any(setting.partition("=")[0].strip().replace("-", "_") == key for setting in settings)


def _reader(path: Path, items: bool) -> Callable[[RowRun], tuple[Catalogue, Protocol]]:
    """Return what reads the catalogue as a run needs it, with its protocol; read once for each set of attributes."""
    known: dict[tuple[str, ...], tuple[Catalogue, Protocol]] = {}

    def read(run: RowRun) -> tuple[Catalogue, Protocol]:
        attributes = tuple(read_config(run.folder).attributes)
        if attributes not in known:
            found = catalogue_of(run.folder, path)
            protocol = resolve_protocol(found, "items" if items else None)
            if isinstance(protocol, ItemProtocol) and not items:
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
