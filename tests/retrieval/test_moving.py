"""An index copied to another folder and engine: every row as it was, whatever happens on the way."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lapel import Index
from lapel.errors import LapelError, SearchIndexError
from lapel.retrieval import moving
from lapel.retrieval.engines import open_store
from lapel.retrieval.lance_store import LanceStore
from lapel.retrieval.layout import IndexRecord
from lapel.retrieval.locking import IndexBusy, only_writer
from lapel.retrieval.milvus_store import MilvusStore
from lapel.retrieval.moving import move
from lapel.verbs.move import Move

from ..milvus_server import MilvusServer
from .picture_world import PictureWorld, new


def table(folder: Path) -> pa.Table:
    """All rows of an index, by id, columns by name."""
    store = open_store(folder, consistency="Strong")
    return store.read(sorted(store.schema.names)).sort_by("id").combine_chunks()


def answers(world: Any, folder: Path) -> list[tuple[str, float]]:
    index = Index.open(folder, encoder=world.embedder().embed)
    hits = index.search_vector(np.eye(3, 8), {"neckline": 1, "colour": -2}, 20, "colour = 'Red' OR price IS NULL")
    return [(hit.id, round(hit.score, 6)) for hit in hits]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several commits per copy."""
    monkeypatch.setattr(moving, "PORTION", 1)
    whole = LanceStore.batches

    def batches(self: LanceStore, columns: Sequence[str]) -> Any:
        for batch in whole(self, columns):
            yield from (batch.slice(start, 7) for start in range(0, batch.num_rows, 7))

    monkeypatch.setattr(LanceStore, "batches", batches)


def test_a_copy(world: Any, small: None) -> None:
    world.fill(30).index()
    (world.index_path / "query.onnx").write_bytes(b"a model")
    target = world.root / "copy"
    record = move(world.index_path, target, quiet=True)
    assert record == IndexRecord.read(target) == IndexRecord.read(world.index_path)
    assert table(target).equals(table(world.index_path))
    assert (target / "query.onnx").read_bytes() == b"a model"
    assert answers(world, target) == answers(world, world.index_path)
    assert Index.open(target).exact
    assert world.index().unchanged == 30
    with pytest.raises(SearchIndexError, match="copy holds something else"):
        move(world.index_path, target, quiet=True)


def test_kept_images_come_along(tmp_path: Path) -> None:
    world = PictureWorld(tmp_path).fill(3)
    world.index()
    world.writer().upsert([new("mine")])
    move(world.index_path, tmp_path / "copy", quiet=True)
    shutil.rmtree(world.index_path)
    assert Path(Index.open(tmp_path / "copy").get("mine").image).read_bytes() == new("mine").image


def test_interrupted_and_taken_up(world: Any, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are there are not written again; those that the index has no longer go."""
    world.fill(30).index()
    target, written = world.root / "copy", []
    whole = LanceStore.upsert

    def upsert(self: LanceStore, rows: pa.Table) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(rows.num_rows)
        whole(self, rows)

    monkeypatch.setattr(LanceStore, "upsert", upsert)
    with pytest.raises(KeyboardInterrupt):
        move(world.index_path, target, quiet=True)
    monkeypatch.setattr(LanceStore, "upsert", whole)
    assert not IndexRecord.read(target).complete
    first = open_store(target).read(["id"])["id"].to_pylist()
    assert len(first) == 14
    del world.rows[first[0]]
    world.rows[first[1]]["colour"] = "Green"
    world.index()
    monkeypatch.setattr(LanceStore, "upsert", upsert)
    written[:] = [0, 0, 0]
    move(world.index_path, target, quiet=True)
    assert sum(written[3:]) == 30 - 14 + 1
    assert table(target).equals(table(world.index_path))
    assert IndexRecord.read(target).complete


def broken(rows: pa.Table, name: str, cell: Any) -> pa.Table:
    """The same rows, the first with another cell."""
    cells = [cell, *rows[name].to_pylist()[1:]]
    return rows.set_column(
        rows.schema.get_field_index(name), rows.schema.field(name), [pa.array(cells, rows[name].type)]
    )


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("hash", "other"),
        ("item", None),
        ("meta_price", 99),
        ("label_colour", ["Red", "Blue", "Green"]),
        ("vector", [1.0] + [0.0] * 23),
    ],
)
def test_every_row_is_looked_at(world: Any, monkeypatch: pytest.MonkeyPatch, name: str, cell: Any) -> None:
    """A copy that is not what it should be is told, and cannot be searched as if it were whole."""
    world.fill(9).index()
    whole = LanceStore.upsert
    monkeypatch.setattr(LanceStore, "upsert", lambda self, rows: whole(self, broken(rows, name, cell)))
    with pytest.raises(SearchIndexError, match=rf"row '00\d.jpg' of the copy is not as it was: {name} was .* and is "):
        move(world.index_path, world.root / "copy", quiet=True)
    assert not IndexRecord.read(world.root / "copy").complete


def test_a_row_is_missing(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world.fill(9).index()
    whole = LanceStore.upsert
    monkeypatch.setattr(LanceStore, "upsert", lambda self, rows: whole(self, rows.slice(1)))
    with pytest.raises(SearchIndexError, match="the copy has 8 rows, the index 9"):
        move(world.index_path, world.root / "copy", quiet=True)


def test_written_to_meanwhile(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By another machine, which the lock does not hold: to a row that had been copied."""
    world.fill(9).index()
    check = moving._check

    def checked(*args: Any) -> None:
        check(*args)
        LanceStore.open(world.index_path).delete(["003.jpg"])

    monkeypatch.setattr(moving, "_check", checked)
    with pytest.raises(SearchIndexError, match="was written to meanwhile: move it again"):
        move(world.index_path, world.root / "copy", quiet=True)
    monkeypatch.setattr(moving, "_check", check)
    assert move(world.index_path, world.root / "copy", quiet=True).count == 8


def test_what_cannot_be_moved(world: Any, tmp_path: Path) -> None:
    world.fill(3).index()
    index = world.index_path
    (tmp_path / "file").write_text("")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").write_text("")
    for source, target, options, message in (
        (tmp_path / "nothing", "copy", {}, "is not an index"),
        (index, "file", {}, "file is a file; expected a folder"),
        (index, "other", {}, r"other holds something else \(x\): give an empty or new folder"),
        (index, index.name, {}, "is the index itself or inside it"),
        (index, f"{index.name}/copy", {}, "is the index itself or inside it"),
        (index, "copy", {"engine": "milvus"}, "needs the server's address"),
        (index, "copy", {"uri": "http://127.0.0.1:9"}, "does not answer"),
    ):
        with pytest.raises(SearchIndexError, match=message):
            move(source, tmp_path / target, quiet=True, **options)
    with only_writer(index), pytest.raises(IndexBusy):
        move(index, tmp_path / "copy2", quiet=True)
    replace(IndexRecord.read(index), complete=False).write(index)
    with pytest.raises(SearchIndexError, match="is not finished: run lapel index again"):
        move(index, tmp_path / "copy3", quiet=True)


def test_disk_full(world: Any, request: pytest.FixtureRequest) -> None:
    world.fill(3).index()
    request.getfixturevalue("full_disk")
    with pytest.raises(LapelError, match="disk full while writing"):
        move(world.index_path, world.root / "copy", quiet=True)


@pytest.mark.milvus
def test_to_milvus_and_back(world: Any, milvus: MilvusServer, capsys: pytest.CaptureFixture[str]) -> None:
    world.fill(60)
    for name, cells in world.rows.items():
        cells |= {
            "weight": len(name) / 3,
            "sold": name > "020",
            "note": ("it's", 'a "b" \\ %_', "日本", None)[hash(name) % 4],
        }
    world.index()
    there, back = world.root / "there", world.root / "back"
    assert Move(world.index_path, there, uri=milvus.uri, quiet=True).execute() == 0
    record = IndexRecord.read(there)
    where = f"milvus at {milvus.uri}, collection {record.collection}"
    assert capsys.readouterr().out == f"60 rows are in {where}; each is as it was\n"
    assert table(there).equals(table(world.index_path))
    assert answers(world, there) == answers(world, world.index_path)
    assert (record.count, record.complete, Index.open(there).exact) == (60, True, False)
    assert move(there, back, "lance", quiet=True) == IndexRecord.read(world.index_path)
    assert table(back).equals(table(world.index_path))
    assert answers(world, back) == answers(world, world.index_path)
    MilvusStore.open(milvus.uri, record.collection).drop()
