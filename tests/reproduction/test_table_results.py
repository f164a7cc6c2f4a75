"""What the record of a table says of the machine it was made on: nothing of its folders."""

from __future__ import annotations

import pytest

from lapel.reproduction.table_results import _named


@pytest.mark.parametrize(
    ("word", "kept"),
    [
        ("reproduce", "reproduce"),
        ("--catalogue", "--catalogue"),
        ("/srv/shops/hm", "hm"),
        ("~/shop.csv", "shop.csv"),
        ("model.weights=/data/trunk.safetensors", "model.weights=trunk.safetensors"),
        ("model.trunk_options={pad_type: same}", "model.trunk_options={pad_type: same}"),
        ("training.triplets=1600", "training.triplets=1600"),
        ("data.attributes=", "data.attributes="),
    ],
)
def test_folders_stay_at_home(word: str, kept: str) -> None:
    assert _named([word]) == [kept]
