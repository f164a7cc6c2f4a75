"""A snapshot with changes beside it shows what the table shows, after any sequence of changes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lapel.retrieval import changes, snapshot
from lapel.retrieval.lance_store import LanceStore, state
from lapel.retrieval.layout import IndexRecord

from .picture_world import PictureWorld


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> PictureWorld:
    world = PictureWorld(tmp_path_factory.mktemp("changes")).fill(40)
    world.index()
    return world


@pytest.fixture
def folder(made: PictureWorld, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.index_path, tmp_path / "index"))


def shows(folder: Path) -> snapshot.Snapshot:
    record = IndexRecord.read(folder)
    shown = snapshot.Snapshot.open(folder, record)
    engine = snapshot.Snapshot.load(LanceStore.open(folder), record)
    assert shown is not None
    order = np.argsort(np.array(shown.rows["id"].to_pylist(), object))
    assert shown.rows.take(order).select(engine.rows.column_names).to_pylist() == engine.rows.to_pylist()
    for found, wanted in zip(shown.vectors, engine.vectors, strict=True):
        np.testing.assert_array_equal(found[order], wanted)
    return shown


def like(store: LanceStore, names: list[str], sources: list[str]) -> pa.Table:
    """Rows of these ids with what others have."""
    rows = store.read(store.schema.names, sources).slice(0, len(names))
    return rows.set_column(rows.column_names.index("id"), "id", pa.array(names))


@pytest.mark.parametrize("seed", range(3))
def test_any_sequence(folder: Path, seed: int) -> None:
    store, random = LanceStore.open(folder), np.random.default_rng(seed)
    ids = store.read(["id"])["id"].to_pylist()
    for step in range(5):
        before = state(folder)
        chosen = list(random.permutation(ids))
        replaced, gone = chosen[: random.integers(0, 4)], chosen[5 : 5 + random.integers(0, 6)]
        added = [f"new {step} {n}" for n in range(random.integers(0, 4))]
        names = [*replaced, *added]
        rows = like(store, names, list(random.permutation(ids))[: len(names)]) if names else None
        if rows is not None:
            store.upsert(rows)
        store.delete(gone)
        used = snapshot.note(folder, before, rows, gone)
        assert used is not None
        assert 0 <= used <= 1
        shown = shows(folder)
        ids = shown.rows["id"].to_pylist()
        assert set(added) <= set(ids)
        assert not set(gone) & set(ids)
    before = state(folder)
    store.tidy(approximate=False)
    assert snapshot.Snapshot.open(folder, IndexRecord.read(folder)) is None  # of the version before
    assert snapshot.note(folder, before) is not None
    shows(folder)
    snapshot.write(folder, store, IndexRecord.read(folder))
    shows(folder)
    assert len(list(folder.glob("snapshot-*"))) == 2


def test_every_row_goes(folder: Path) -> None:
    store, before = LanceStore.open(folder), state(folder)
    ids = store.read(["id"])["id"].to_pylist()
    row = like(store, ["last"], ids[:1])
    store.delete(ids)
    snapshot.note(folder, before, gone=ids)
    assert shows(folder).rows.num_rows == 0
    before = state(folder)
    store.upsert(row)
    snapshot.note(folder, before, row)
    assert shows(folder).rows["id"].to_pylist() == ["last"]


def test_a_column_that_is_new(folder: Path) -> None:
    store, before = LanceStore.open(folder), state(folder)
    store.reshape(pa.schema([*store.schema, pa.field("meta_fit", pa.string())]))
    rows = like(store, ["a"], ["000.jpg"])
    rows = rows.set_column(rows.column_names.index("meta_fit"), "meta_fit", pa.array(["slim"]))
    store.upsert(rows)
    snapshot.note(folder, before, rows)
    assert shows(folder).rows["meta_fit"].drop_null().to_pylist() == ["slim"]


def test_a_reader_keeps_what_it_opened(folder: Path) -> None:
    store, before = LanceStore.open(folder), state(folder)
    first = shows(folder)
    held = first.vectors[0].copy()
    rows = like(store, ["000.jpg"], ["001.jpg"])
    store.upsert(rows)
    snapshot.note(folder, before, rows)
    second = shows(folder)
    store.delete(["001.jpg"])
    snapshot.write(folder, store, IndexRecord.read(folder))
    np.testing.assert_array_equal(first.vectors[0], held)
    assert not np.array_equal(second.vectors[0][0], held[0])
    assert (first.rows.num_rows, second.rows.num_rows) == (40, 40)


def test_no_room_or_another_version(folder: Path) -> None:
    store, before = LanceStore.open(folder), state(folder)
    room = snapshot.ROOM_LEAST + 40 // snapshot.ROOM_SHARE
    assert snapshot.note(folder, before, gone=[str(n) for n in range(room + 1)]) is None
    assert snapshot.note(folder, before, gone=[str(n) for n in range(room)]) == 1.0
    assert snapshot.note(folder, before, gone=["one more"]) is None
    shows(folder)
    store.delete(["000.jpg"])
    store.delete(["001.jpg"])
    assert snapshot.note(folder, str(int(before or 0) + 1), gone=["001.jpg"]) is None
    snapshot.remove(folder)
    assert snapshot.note(folder, state(folder)) is None


def test_what_a_killed_writer_left_behind_the_log_is_cut_off(folder: Path) -> None:
    store, before = LanceStore.open(folder), state(folder)
    store.delete(["000.jpg"])
    snapshot.note(folder, before, gone=["000.jpg"])
    (log,) = folder.glob("*.changes")
    whole = log.read_bytes()
    log.write_bytes(whole + b"half of an Arrow stream")
    shows(folder)
    before = state(folder)
    store.delete(["001.jpg"])
    snapshot.note(folder, before, gone=["001.jpg"])
    assert shows(folder).rows.num_rows == 38
    assert log.read_bytes().startswith(whole)


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"\xff" * len(data), lambda data: b""])
def test_a_damaged_log_is_no_snapshot(folder: Path, damage: object) -> None:
    store, before = LanceStore.open(folder), state(folder)
    store.delete(["000.jpg"])
    snapshot.note(folder, before, gone=["000.jpg"])
    (log,) = folder.glob("*.changes")
    log.write_bytes(damage(log.read_bytes()))  # type: ignore[operator]
    assert snapshot.Snapshot.open(folder, IndexRecord.read(folder)) is None


def test_the_last_word_counts(tmp_path: Path) -> None:
    log = tmp_path / "log"
    vector = pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2.0], pa.float16()), 2)
    size = changes.append(log, 0, None, ["a", "b"])
    size = changes.append(log, size, pa.table({"id": ["a"], "item": ["i"], "vector": vector}), ["c"])
    size = changes.append(log, size, None, ["c", "d"])
    found = changes.read(log, size)
    assert {row["id"]: (row["item"], row["vector"]) for row in found.to_pylist()} == {
        "a": ("i", [1.0, 2.0]),
        "b": (None, None),
        "c": (None, None),
        "d": (None, None),
    }
    assert found.num_rows == 4


def test_snapshots_of_earlier_versions_are_read(folder: Path) -> None:
    """The first version had no room for changes: it is written anew when there is one."""
    import json

    record = IndexRecord.read(folder)
    pointer = json.loads((folder / "snapshot.json").read_text())
    count, room = pointer["count"], pointer["room"]
    flat = np.load(folder / pointer["vectors"])
    tight = np.concatenate([block[:count].ravel() for block in snapshot.blocks(flat, room, record.dims)])
    np.save(folder / pointer["vectors"], tight)
    old = {name: pointer[name] for name in ("state", "vectors", "rows")}
    (folder / "snapshot.json").write_text(json.dumps({"format": "lapel-snapshot-1", **old}))
    shows(folder)
    store, before = LanceStore.open(folder), state(folder)
    store.delete(["000.jpg"])
    assert snapshot.note(folder, before, gone=["000.jpg"]) is None
