"""What written rows hold survives a catalogue whose columns come, go and change their types, and any interruption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lapel.errors import LapelError
from lapel.retrieval import apart
from lapel.retrieval.lance_store import LanceStore

from .picture_world import PictureWorld, new


@pytest.fixture
def world(tmp_path: Path) -> PictureWorld:
    world = PictureWorld(tmp_path)
    for number in range(6):
        world.add(f"{number}.jpg", colour=("Red", "Blue")[number % 2], price=number, name=f"name {number}")
    world.index()
    world.writer().upsert(
        [
            new("mine", labels={"colour": "Red", "fit": ["slim"]}, metadata={"price": 40, "name": "n", "weight": 2.5}),
            new("on", metadata={"sale": True, "weight": 3}),
        ]
    )
    return world


def cells(world: PictureWorld, name: str) -> dict[str, Any]:
    entry = world.open().get(name)
    return {**{k: v for k, v in entry.metadata.items() if v is not None}, **entry.labels}


MINE = {"price": 40, "name": "n", "weight": 2.5, "colour": ("Red",), "fit": ("slim",)}


def test_columns_of_the_catalogue_go(world: PictureWorld) -> None:
    for row in world.rows.values():
        del row["price"], row["name"]
    assert world.index().updated == 6
    assert cells(world, "mine") == MINE
    assert cells(world, "0.jpg") == {"colour": ("Red",)}
    assert cells(world, "on") == {"sale": True, "weight": 3.0}


def test_columns_change_their_type(world: PictureWorld) -> None:
    """Whole numbers become numbers, and anything else text, in the rows of both."""
    for number, row in enumerate(world.rows.values()):
        row["price"] = f"{number}.5"
        row["weight"] = f"about {number}"
        row["sale"] = "x y"[number % 3 : number % 3 + 1].strip() or None
    assert world.index().updated == 6
    assert world.open().columns["price"] == "number"
    assert world.open().columns["weight"] == "text"
    assert cells(world, "mine") == {**MINE, "price": 40.0, "weight": "2.5"}
    assert cells(world, "on") == {"sale": "true", "weight": "3"}
    assert cells(world, "1.jpg")["price"] == 1.5
    embedder = world.embedder()
    assert world.index(embedder).unchanged == 6
    said = {"labels": {"colour": "Red", "fit": ["slim"]}, "metadata": {"price": 40, "name": "n", "weight": "2.5"}}
    assert world.writer(embedder).upsert([new("mine", **said)]) == ["unchanged"]
    assert embedder.embedded == []
    for row in world.rows.values():  # and back: what came by the API keeps the wider type
        row["price"], row["weight"] = 7, 7
    world.index()
    assert (cells(world, "mine")["price"], cells(world, "mine")["weight"]) == (40.0, "2.5")
    assert (cells(world, "1.jpg")["price"], cells(world, "1.jpg")["weight"]) == (7.0, "7")


@pytest.mark.parametrize("stop", ["before", "dropped", "reshaped", "half", "done"])
def test_interrupted_anywhere(world: PictureWorld, monkeypatch: pytest.MonkeyPatch, stop: str) -> None:
    for number, row in enumerate(world.rows.values()):
        row["price"], row["weight"] = f"{number}.5", f"about {number}"
    plain = LanceStore.reshape

    def reshape(store: LanceStore, schema: Any) -> None:
        if stop == "before":
            raise KeyboardInterrupt
        if stop == "dropped":
            store.table.drop_columns(["meta_price", "meta_weight"])
        else:
            plain(store, schema)
        if stop in ("dropped", "reshaped"):
            raise KeyboardInterrupt

    def upsert(store: LanceStore, rows: Any) -> None:
        if stop == "half":
            upserted(store, rows.slice(0, 1))
        else:
            upserted(store, rows)
        raise KeyboardInterrupt

    upserted = LanceStore.upsert
    with monkeypatch.context() as patch:
        patch.setattr(LanceStore, "reshape", reshape)
        patch.setattr(LanceStore, "upsert", upsert)
        with pytest.raises(KeyboardInterrupt):
            world.index()
    assert (world.index_path / apart.CARRIED).is_file()
    assert world.writer().delete(["nobody"]) == 0  # a writer takes it up, as indexing does
    assert not (world.index_path / apart.CARRIED).exists()
    number = 40 if stop == "before" else 40.0
    assert cells(world, "mine") == {**MINE, "price": number, "weight": 2.5 if stop == "before" else "2.5"}
    world.index()
    assert cells(world, "mine") == {**MINE, "price": 40.0, "weight": "2.5"}
    assert cells(world, "on") == {"sale": True, "weight": "3"}
    assert cells(world, "2.jpg") == {"price": 2.5, "weight": "about 2", "name": "name 2", "colour": ("Red",)}


def test_no_room_to_carry(world: PictureWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    for row in world.rows.values():
        row["price"] = 0.5

    def full(*_: Any) -> Any:
        raise LapelError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(apart, "atomic_path", full)
        with pytest.raises(LapelError, match="disk full"):
            world.index()
    assert cells(world, "mine") == MINE  # nothing was changed yet
    world.index()
    assert cells(world, "mine") == MINE
