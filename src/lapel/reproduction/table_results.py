"""The runs of a table's rows put together: figures, costs, and the record of how all was measured."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lapel.catalogue import Catalogue
from lapel.config import Recipe
from lapel.evaluation.cost import FLOP_DEFINITION, SPEED_DEFINITION, device_name
from lapel.evaluation.published_table import PublishedTable
from lapel.evaluation.record import protocol_record
from lapel.evaluation.reproduced import MeasuredRow, view_table
from lapel.evaluation.table_view import TableView
from lapel.protocol import AttributeProtocol, ItemProtocol, Protocol, to_dict
from lapel.reproduction.row_costs import embedding_costs, row_cost
from lapel.reproduction.row_runs import RowRun
from lapel.reproduction.table_rows import Row


def view_runs(
    table: PublishedTable,
    rows: Sequence[Row],
    runs: Mapping[str, Sequence[RowRun]],
    catalogue: Catalogue,
    protocol: Protocol,
    settings: Sequence[str],
    minutes: float,
    to: Path,
) -> TableView:
    """Read what every run answered and return the table.

    Args:
        table: of the paper.
        rows: those that were trained.
        runs: row -> its runs, measured.
        catalogue: the data.
        protocol: they were measured by.
        settings: changed for every row.
        minutes: that each was trained for; 0 for its recipe's own length.
        to: folder of the table, where the costs are kept.

    Raises:
        LapelError: a run was not measured; the rows share no query.
    """
    measured, chances, looking = [], [], []
    columns: dict[str, float] = {}
    costs = embedding_costs({row.name: runs[row.name][0].folder for row in rows}, to)
    for row in rows:
        found = [run.read() for run in runs[row.name]]
        chances += [each["chance"] for each in found]
        columns |= found[0].get("chances", {})
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
                [each["branches"] for each in found if "branches" in each],
            )
        )
    headline = f"Acc@{protocol.headline}" if isinstance(protocol, ItemProtocol) else ""
    attributes = isinstance(protocol, AttributeProtocol)
    return view_table(
        table,
        measured,
        catalogue=catalogue.name,
        measure=headline or ("MAP" if attributes else "accuracy"),
        chance=chances[0],
        headings=dict(protocol.headings) if isinstance(protocol, AttributeProtocol) else {},
        data=catalogue.record,
        pointing_chance=looking[0] if looking else None,
        notes=_notes(table, settings, minutes),
        headline=headline,
        chances=columns,
        record=protocol_record(
            split=getattr(protocol, "split", None),
            preprocessing=None,
            query_source=_query_source(protocol),
            weights=None,
            seed=0,
            catalogue=catalogue.name,
            task=protocol.task,
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


def _query_source(protocol: Protocol) -> str:
    if isinstance(protocol, ItemProtocol):
        return "the protocol's sides"
    return protocol.relation or "drawn: share 0.2 per attribute, seed 0"


def _notes(table: PublishedTable, settings: Sequence[str], minutes: float) -> list[str]:
    notes = []
    if not table.known:
        notes.append(
            f"no figure of {table.heading} is known to us: its rows are trained as its text describes them, and only "
            "the orderings that the text claims can be asked about. Sizes that it does not give are ours; each recipe "
            "says which"
        )
    if table.items:
        notes.append(
            "tag mAP and landmark error are in percent, the error of the image's size; a stage's number says that "
            "they were measured before the last stage"
        )
    if minutes:
        notes.append(
            f"every row was trained for as many steps as it makes in {minutes:g} minutes on this machine (measured "
            "before; stages share them by their epochs), not as long as its paper says"
        )
    if settings:
        notes.append(f"changed for every row: {', '.join(_named(settings))}")
    return notes


def _named(words: Sequence[str]) -> list[str]:
    """Settings, or the words of a command, without the folders of this machine."""
    found = []
    for word in words:
        key, equals, value = word.rpartition("=") if "={" not in word else ("", "", word)
        found.append(f"{key}{equals}{Path(value).name if value.startswith(('/', '~')) else value}")
    return found


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
