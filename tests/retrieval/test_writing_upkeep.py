"""A writer beside others, and in time: locks, full disks, snapshots laid out anew, tidying, images that go."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lapel.errors import LapelError, SearchIndexError
from lapel.retrieval import kept, snapshot, writing
from lapel.retrieval.lance_store import LanceStore
from lapel.retrieval.locking import IndexBusy, only_writer
from lapel.retrieval.writing import Removal, Writer

from .picture_world import PictureWorld, expected, kept_files, new, picture, whole


@pytest.fixture
def world(tmp_path: Path) -> PictureWorld:
    world = PictureWorld(tmp_path).fill(12)
    world.index()
    return world


def test_one_writer_at_a_time(world: PictureWorld) -> None:
    writer = world.writer(patience=0.05)
    with only_writer(world.index_path):
        with pytest.raises(IndexBusy, match="another process is indexing"):
            writer.upsert([new("a")])
        with pytest.raises(IndexBusy):
            writer.delete(["000.jpg"])
    assert writer.upsert([new("a")]) == ["added"]
    with only_writer(world.index_path):  # and nothing to write needs no waiting
        assert not writer.rest()


def test_two_writers_take_turns(world: PictureWorld) -> None:
    """Each sees what the other wrote between its looking and its writing."""
    first, second = world.writer(), world.writer()
    plain = writing.only_writer

    def late(folder: Path, patience: float) -> Any:
        if patience != 7.0:
            return plain(folder, patience)
        second.write([new("a", "theirs"), Removal(["000.jpg"]), new("b", metadata={"fit": "slim"})])
        return plain(folder, patience)

    first.patience = 7.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "only_writer", late)
        outcomes = first.write([new("a", "mine"), new("000.jpg"), new("b", metadata={"fit": "wide"})])
    assert outcomes == ["changed", "added", "updated"]
    index = whole(world)
    np.testing.assert_allclose(index.vectors("a"), expected("mine"), atol=1e-6)
    np.testing.assert_allclose(index.vectors("000.jpg"), expected("000.jpg"), atol=1e-6)
    assert index.get("b").metadata["fit"] == "wide"


def test_an_index_of_other_runs_in_its_place(world: PictureWorld, tmp_path: Path) -> None:
    writer = world.writer()
    writer.upsert([new("a")])
    world.index_path.rename(tmp_path / "old")
    world.index(world.embedder(fingerprint="0" * 64))
    with pytest.raises(IndexBusy, match="replaced by one of other runs"):
        writer.upsert([new("a")])
    assert writer.delete(["000.jpg"]) == 1  # needs no vectors
    assert len(whole(world)) == 11


def test_an_index_that_is_gone(world: PictureWorld, tmp_path: Path) -> None:
    writer = world.writer()
    world.index_path.rename(tmp_path / "old")
    with pytest.raises(SearchIndexError, match="is not an index"):
        writer.upsert([new("a")])
    with pytest.raises(SearchIndexError, match="is not an index"):
        Writer(world.index_path)
    assert not world.index_path.exists()


def test_a_disk_that_is_full(world: PictureWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise LapelError("disk full")

    writer = world.writer()
    with monkeypatch.context() as patch:
        patch.setattr(LanceStore, "upsert", full)
        with pytest.raises(LapelError, match="disk full"):
            writer.upsert([new("a")])
        outcomes = writer.write([new("a"), new("000.jpg", **{"item": "i0"}), Removal(["nobody"])])
        assert [isinstance(outcome, LapelError) for outcome in outcomes] == [True, True, False]
    assert len(whole(world)) == 12
    assert writer.upsert([new("a")]) == ["added"]


def test_a_snapshot_that_cannot_be_written_is_made_up_for(world: PictureWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    writer = world.writer()
    with monkeypatch.context() as patch:
        patch.setattr(snapshot.changes, "append", full)
        assert writer.upsert([new("a")]) == ["added"]  # the table has it
    index = world.open()
    assert (len(index), index._store is None) == (13, False)  # asked from the engine
    assert writer.upsert([new("b")]) == ["added"]
    assert len(whole(world)) == 14


def test_the_snapshot_is_laid_out_anew_in_time(world: PictureWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[object] = []
    plain = snapshot.write
    monkeypatch.setattr(snapshot, "write", lambda *args: (writes.append(args), plain(*args)))
    writer = world.writer()
    room = snapshot.ROOM_LEAST + 12 // snapshot.ROOM_SHARE
    assert writer.upsert([new(f"a{n}") for n in range(room // 2)]) == ["added"] * (room // 2)
    assert not writer.rest()
    writer.upsert([new("b")])
    assert len(whole(world)) == 12 + room // 2 + 1
    assert writes == []
    assert writer.rest()  # more than half is used, and nothing waits
    assert len(writes) == 1
    assert not writer.rest()
    room = snapshot.ROOM_LEAST + len(whole(world)) // snapshot.ROOM_SHARE
    writer.upsert([new(f"c{n}") for n in range(room + 1)])  # does not fit: at once
    assert len(writes) == 2
    assert len(whole(world)) == 12 + 32 + 1 + room + 1


def test_tidying_in_time(world: PictureWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "TIDY_COMMITS", 4)
    monkeypatch.setattr(writing, "TIDY_EVERY_S", 0.0)
    writer, plain = world.writer(), time.monotonic()
    for number in range(4):
        assert not writer.rest()
        writer.upsert([new(f"a{number}")])
    writer.delete(["a0"])
    for path in kept_files(world):
        os.utime(path, (time.time() - 4000,) * 2)
    store = LanceStore.open(world.index_path)
    assert store.table.stats()["fragment_stats"]["num_fragments"] >= 4
    assert writer.rest()
    assert LanceStore.open(world.index_path).table.stats()["fragment_stats"]["num_fragments"] == 1
    assert len(kept_files(world)) == 3
    assert len(whole(world)) == 15
    assert not writer.rest()
    writer.delete(["a1"])  # its picture waits an hour
    monkeypatch.setattr(writing.time, "monotonic", lambda: plain + 4000)
    assert writer.rest()
    assert len(kept_files(world)) == 3
    for path in kept_files(world):
        os.utime(path, (time.time() - 4000,) * 2)
    assert not writer.rest()
    monkeypatch.setattr(writing.time, "monotonic", lambda: plain + 8000)
    assert writer.rest()
    assert len(kept_files(world)) == 2
    monkeypatch.setattr(writing.time, "monotonic", lambda: plain + 12000)
    assert not writer.rest()  # nothing happened since


def test_indexing_collects(world: PictureWorld) -> None:
    writer = world.writer()
    writer.upsert([new("a"), new("b", "a"), new("c")])
    assert len(kept_files(world)) == 2  # one picture, two rows
    writer.delete(["a", "c"])
    for path in kept_files(world):
        os.utime(path, (time.time() - 4000,) * 2)
    world.add("new.jpg")
    world.index()
    assert [path.name for path in kept_files(world)] == [kept.name_of(picture("a")).rpartition("/")[2]]


def test_an_index_that_outgrows_comparing_every_row(tmp_path: Path) -> None:
    world = PictureWorld(tmp_path).fill(20)
    world.index(exact_below=22)
    writer = world.writer()
    writer.upsert([new("a"), new("b")])
    assert world.open().exact
    writer.upsert([new("c")])
    index = world.open()
    assert (index.exact, len(index)) == (False, 23)
    assert not list(world.index_path.glob("snapshot*"))
    assert [hit.id for hit in index.search_vector(expected("c"), k=1)] == ["c"]
    assert writer.rest()  # makes the approximate index
    index = world.open()
    assert LanceStore.open(index.folder).table.list_indices()
    assert [hit.id for hit in index.search_vector(expected("c"), k=1)] == ["c"]
    assert not writer.rest()
    writer.upsert([new("d")])
    assert [hit.id for hit in world.open().search_vector(expected("d"), k=1)] == ["d"]
    writer.delete(["a", "b", "c"])
    assert whole(world).exact  # and back
    assert [hit.id for hit in world.open().search_vector(expected("d"), k=1)] == ["d"]
