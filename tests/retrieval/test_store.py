"""What any store must do; run here on LanceDB."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lapel.errors import LapelError, SearchIndexError
from lapel.retrieval.filter_tree import Column
from lapel.retrieval.filters import parse
from lapel.retrieval.store import LanceStore, Store, _trouble, state

WIDTH = 4
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("meta_n", pa.int64()),
        ("label_c", pa.list_(pa.string())),
        ("vector", pa.list_(pa.float16(), WIDTH)),
    ]
)
N, C = Column("n", "meta_n", "integer"), Column("c", "label_c", "labels")


def rows(*numbers: int, tag: str = "a") -> pa.Table:
    vectors = np.eye(WIDTH, dtype=np.float16)[[n % WIDTH for n in numbers]] * np.array(
        [[n] for n in numbers], np.float16
    )
    columns = {
        "id": pa.array([f"it's {n}" for n in numbers]),
        "meta_n": pa.array(numbers, pa.int64()),
        "label_c": pa.array([[tag, f"v{n % 2}"] for n in numbers], pa.list_(pa.string())),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), WIDTH),
    }
    return pa.table(columns, SCHEMA)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return LanceStore.create(tmp_path, SCHEMA)


def ids(table: pa.Table) -> list[int]:
    return [int(name.split()[1]) for name in table["id"].to_pylist()]


def test_empty(store: Store) -> None:
    assert len(store) == 0
    assert store.read(["id"]).num_rows == 0
    assert list(store.batches(["id"])) == [] or sum(batch.num_rows for batch in store.batches(["id"])) == 0
    assert store.nearest(np.ones(WIDTH, np.float32), 3).num_rows == 0


def test_upsert_replaces_and_delete_removes(store: Store) -> None:
    store.upsert(rows(1, 2, 3))
    store.upsert(rows(3, 4, tag="b"))
    assert sorted(ids(store.read(["id"]))) == [1, 2, 3, 4]
    assert store.read(["label_c"], ["it's 3"]).to_pylist() == [{"label_c": ["b", "v1"]}]
    store.delete(["it's 1", "unknown"])
    store.delete([])
    assert len(store) == 3


def test_read_by_id_filter_and_batch(store: Store) -> None:
    store.upsert(rows(*range(2500)))
    assert ids(store.read(["id"], [])) == []
    wanted = [f"it's {n}" for n in range(0, 2400, 2)]
    assert sorted(ids(store.read(["id"], wanted))) == list(range(0, 2400, 2))
    assert sorted(ids(store.read(["id"], where=parse("n >= 2498 AND c LIKE '%0'", [N, C])))) == [2498]
    assert sum(batch.num_rows for batch in store.batches(["id", "vector"])) == 2500


def test_nearest_by_dot_product_with_a_filter(store: Store) -> None:
    store.upsert(rows(*range(1, 13)))
    query = np.array([0, 1, 0, 0], np.float32)
    assert ids(store.nearest(query, 3)) == [9, 5, 1]
    assert ids(store.nearest(query, 2, parse("n < 9", [N]))) == [5, 1]
    assert store.nearest(query, 3).schema.names == SCHEMA.names


def test_reshape(store: Store) -> None:
    store.upsert(rows(1, 2))
    changed = SCHEMA.remove(1).append(pa.field("meta_new", pa.string())).append(pa.field("meta_n", pa.float64()))
    store.reshape(changed)
    assert set(store.schema.names) == set(changed.names)
    assert store.read(["id", "meta_n", "meta_new"], ["it's 1"]).to_pylist() == [
        {"id": "it's 1", "meta_n": None, "meta_new": None}
    ]


def test_state_names_the_newest_version(tmp_path: Path) -> None:
    assert state(tmp_path) is None
    store = LanceStore.create(tmp_path, SCHEMA)
    seen = [state(tmp_path)]
    for change in (
        lambda: store.upsert(rows(1)),
        lambda: store.delete(["it's 1"]),
        lambda: store.tidy(False),
    ):
        change()
        seen.append(state(tmp_path))
    numbers = [int(name or 0) for name in seen]
    assert numbers == sorted(numbers)
    assert numbers[0] < numbers[1] < numbers[2]
    assert seen[-1] == str(store.table.version)
    assert state(tmp_path) == seen[-1]


def test_opening(tmp_path: Path) -> None:
    with pytest.raises(SearchIndexError, match="has no rows yet"):
        LanceStore.open(tmp_path)
    LanceStore.create(tmp_path, SCHEMA).upsert(rows(1))
    assert len(LanceStore.create(tmp_path, SCHEMA)) == 1  # what is there stays
    for path in (tmp_path / "images.lance" / "data").iterdir():
        path.write_bytes(b"not lance")
    with pytest.raises(SearchIndexError, match="cannot read index"):
        LanceStore.open(tmp_path).read(["id"])


def test_a_creation_that_was_interrupted(tmp_path: Path) -> None:
    (tmp_path / "images.lance" / "data").mkdir(parents=True)
    assert len(LanceStore.create(tmp_path, SCHEMA)) == 0


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk full while writing"),
        (
            RuntimeError("lance error: LanceError(IO): No space left on device (os error 28)"),
            "disk full while writing",
        ),
        (
            RuntimeError("lance error: broken\nmore"),
            r"cannot write index .*: lance error: broken \(the rows written",
        ),
    ],
)
def test_trouble_becomes_advice(tmp_path: Path, error: Exception, message: str) -> None:
    with pytest.raises(LapelError, match=message), _trouble(tmp_path, "write"):
        raise error
