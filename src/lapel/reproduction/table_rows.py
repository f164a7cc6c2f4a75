"""Which rows a table's reproduction trains: those of the paper, one's own, each with its recipe and its length."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lapel.config import Recipe, load_recipe, recipe_names
from lapel.errors import LapelError, RecipeError, unknown
from lapel.evaluation.published_table import PublishedTable
from lapel.reproduction.pace import paced
from lapel.reproduction.row_runs import RowRun


@dataclass(frozen=True)
class Row:
    """A row to reproduce: its name in the table, the recipe's name (its folder's too), and the recipe."""

    name: str
    source: str
    recipe: Recipe

    @property
    def folder(self) -> str:
        """Name of the folder of its runs."""
        return folder_of(self.source)

    def run(self, to: Path, seed: int, data: str) -> RowRun:
        """The run with one seed."""
        recipe = replace(self.recipe, training=replace(self.recipe.training, seed=seed))
        return RowRun(to / self.folder / f"seed{seed}", recipe, data)

    @property
    def untrained(self) -> bool:
        """Whether nothing of it is trained, so that one run is all there is."""
        return self.recipe.model.name == "frozen"

    @property
    def items(self) -> bool:
        """Whether its model embeds items, not attributes."""
        return self.recipe.training.batching == "images"

    def in_time(self, minutes: float, to: Path, quiet: bool = False) -> Row:
        """Return the row with its length: the recipe's own, or as much as fits into the minutes; see ``pace``."""
        if not minutes or self.untrained:
            return self
        return replace(self, recipe=paced(self.recipe, self.folder, minutes, to, quiet))


def plan(
    table: PublishedTable,
    rows: Sequence[str] = (),
    also: Sequence[str] = (),
    settings: Sequence[str] = (),
) -> list[Row]:
    """Return the rows to train in the table's order, then further ones; see ``reproduce``.

    Args:
        table: of the paper.
        rows: names of rows or recipes, those that ``also`` brings too; all of the table without any.
        also: further recipes, by name or YAML file, which are always among the rows.
        settings: ``section.key=value`` for every row.

    Raises:
        LapelError: no such row or recipe, or a setting that a recipe does not have; a row of items in a table of
            attributes.
    """
    recipes = table.recipes
    names = {name: name for name in recipes} | {recipe: name for name, recipe in recipes.items()}
    brought = {name for source in also for name in (source, folder_of(source))}
    for asked in rows:
        if asked not in names and asked not in brought:
            raise LapelError(f"table {table.label}: {unknown('row', asked, [*names, *brought])}")
    wanted = {names[asked] for asked in rows if asked in names} if rows else set(recipes)
    chosen = [Row(name, recipe, load_recipe(recipe, settings)) for name, recipe in recipes.items() if name in wanted]
    for source in also:
        if source in {row.source for row in chosen}:
            continue
        if source in recipe_names() or Path(source).is_file():
            chosen.append(Row(folder_of(source), source, load_recipe(source, settings)))
        else:
            raise RecipeError(f"--also: {unknown('recipe', source, recipe_names())}; or give a .yaml file")
    for row in chosen:
        if sum(other.folder == row.folder or other.name == row.name for other in chosen) > 1:
            raise RecipeError(
                f"two rows are called {row.name!r} or have a folder {row.folder!r}: rename your recipe's file"
            )
        if row.items and not table.items:
            raise RecipeError(
                f"row {row.name!r} embeds items, and {table.heading} is measured by attributes, which it does not "
                "embed: leave it out, or add it to lapel reproduce ahbn"
            )
    return chosen


def check_models(rows: Sequence[Row]) -> None:
    """Build what is to be trained, so that a mistake of the last row shows before the first is trained.

    Raises:
        RecipeError: no weights file; an option or a trunk that the model does not take.
    """
    from lapel.models import ITEM_MODELS, build, build_item

    built = set()
    for row in rows:
        for recipe in row.recipe.resolved():
            spec = recipe.model
            if spec.weights not in ("hub", "none") and not Path(spec.weights).is_file():
                raise RecipeError(f"row {row.name!r}: no weights file at {spec.weights}, which model.weights names")
            options = {"trunk_options": spec.trunk_options, **spec.options}
            if (key := json.dumps([spec.name, spec.trunk, options], sort_keys=True)) in built:
                continue
            try:
                (build_item if spec.name in ITEM_MODELS else build)(spec.name, 2, spec.trunk, False, **options)
            except RecipeError as error:
                raise RecipeError(f"row {row.name!r}, recipe {row.source}: {error}") from error
            built.add(key)


def folder_of(source: str) -> str:
    """Return the name of the folder of a recipe's runs, from its name or file."""
    return Path(source).stem if source.endswith((".yaml", ".yml")) else source
