"""AHBN's table I: seventeen rows, no figure, and claims of rows that there are."""

from __future__ import annotations

from lapel.config import recipe_names
from lapel.evaluation.published_items import AHBN, COLUMNS, ITEM_RECIPES


def test_seventeen_rows_and_no_figure() -> None:
    assert len(AHBN.rows) == 17
    assert not AHBN.known
    assert {AHBN.printed(row) for row in AHBN.rows} == {None}
    assert [int(column.removeprefix("Acc@")) for column in COLUMNS] == [1, 10, 20, 30, 40, 50]
    assert (AHBN.main, AHBN.heading, AHBN.label, AHBN.file) == ("AHBN", "AHBN's table I", "ahbn", "ahbn")
    assert not AHBN.own_data({"format": "deepfashion-consumer2shop"})


def test_every_row_has_a_recipe() -> None:
    assert list(AHBN.recipes) == list(AHBN.rows)
    assert set(ITEM_RECIPES.values()) <= set(recipe_names())


def test_claims_are_of_rows_and_do_not_contradict_each_other() -> None:
    known = {*AHBN.rows, *recipe_names()}
    above = {(claim.better, claim.worse) for claim in AHBN.claims}
    assert len(above) == len(AHBN.claims)
    for better, worse in above:
        assert {better, worse} <= known
        assert (worse, better) not in above


def test_the_full_model_is_claimed_to_be_the_best() -> None:
    """Of every row, straight or through rows that it is above."""
    below, waiting = set(), {"AHBN"}
    while waiting:
        row = waiting.pop()
        found = {claim.worse for claim in AHBN.claims if claim.better == row} - below
        below |= found
        waiting |= found
    assert below == set(AHBN.rows) - {"AHBN"} | {"fashionnet"}
