"""An imported catalogue against what was drawn."""

from __future__ import annotations

from typing import Any

from lapel.catalogue import Catalogue
from lapel.standins.studio import Drawn


def account_of(catalogue: Catalogue) -> Drawn:
    """Return a catalogue in the terms of what was drawn; fields that are missing everywhere are left out."""
    table = catalogue.images
    names = [name for name in table.column_names if table[name].null_count < table.num_rows]
    rows = table.select(names).to_pylist()
    labels = set(zip(*(catalogue.labels[name].to_pylist() for name in ("image", "attribute", "value")), strict=True))
    relations = {name: relation.to_pylist() for name, relation in catalogue.relations.items()}
    return Drawn(rows, labels, catalogue.attributes, relations)


def assert_same(catalogue: Catalogue, drawn: Drawn) -> None:
    """Compare an imported catalogue with what was drawn, field by field."""

    def filled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        names = sorted({name for row in rows for name, cell in row.items() if cell is not None})
        return [{name: row.get(name) for name in names} for row in rows]

    found = account_of(catalogue)
    assert filled(found.rows) == filled(drawn.rows)
    assert found.attributes == drawn.attributes
    assert found.labels == drawn.labels
    assert found.relations == drawn.relations
