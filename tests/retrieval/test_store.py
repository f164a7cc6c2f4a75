"""What every store must do, on every engine: LanceDB in a folder, Milvus on a real server."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lapel.retrieval.filter_tree import Column
from lapel.retrieval.filters import parse
from lapel.retrieval.lance_store import LanceStore
from lapel.retrieval.milvus_store import MilvusStore
from lapel.retrieval.store import Store

WIDTH = 4
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("hash", pa.string()),
        ("meta_n", pa.int64()),
        ("meta_x", pa.float64()),
        ("meta_yes", pa.bool_()),
        ("meta_size%2Eeu", pa.string()),
        ("label_größe", pa.list_(pa.string())),
        ("vector", pa.list_(pa.float16(), WIDTH)),
    ]
)
N, C = Column("n", "meta_n", "integer"), Column("c", "label_größe", "labels")
TEXT = Column("t", "meta_size%2Eeu", "text")


def rows(*numbers: int, tag: str = "a", **columns: list[Any]) -> pa.Table:
    """Row ``n`` points into direction n mod 4 and is n long."""
    vectors = np.zeros((len(numbers), WIDTH), np.float16)
    vectors[np.arange(len(numbers)), np.array(numbers) % WIDTH] = numbers
    found: dict[str, Any] = {
        "id": [f"it's {n}" for n in numbers],
        "hash": [f"h{n}" for n in numbers],
        "meta_n": numbers,
        "meta_x": [n / 2 for n in numbers],
        "meta_yes": [n % 2 == 0 for n in numbers],
        "meta_size%2Eeu": [f"size {n}" for n in numbers],
        "label_größe": [[tag, f"v{n % 2}"] for n in numbers],
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), WIDTH),
        **columns,
    }
    return pa.table([pa.array(found[field.name], field.type) for field in SCHEMA], SCHEMA)


Make = Callable[[pa.Schema], Store]


@pytest.fixture(params=["lance", pytest.param("milvus", marks=pytest.mark.milvus)])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes an empty store, or opens the one there is."""
    if request.param == "lance":
        yield lambda schema: LanceStore.create(tmp_path, schema)
        return
    uri = request.getfixturevalue("milvus").uri
    yield lambda schema: MilvusStore.create(uri, "conformance", schema)
    # Making a collection takes a second or two: the next test has this one, unless its columns are others now.
    used = MilvusStore.open(uri, "conformance")
    used.delete(used.read(["id"])["id"].to_pylist()) if used.schema.equals(SCHEMA) else used.drop()


@pytest.fixture
def store(make: Make) -> Store:
    return make(SCHEMA)


def numbers(table: pa.Table | pa.RecordBatch) -> list[int]:
    return [int(name.split()[1]) for name in table["id"].to_pylist()]


def test_empty(store: Store) -> None:
    assert len(store) == store.count() == store.count(parse("n > 0", [N])) == 0
    assert store.schema.equals(SCHEMA)
    assert store.read(["id", "vector"]).num_rows == store.read(["id"], ["it's 1"]).num_rows == 0
    assert sum(batch.num_rows for batch in store.batches(["id"])) == 0
    assert store.nearest(np.ones(WIDTH, np.float32), 3).num_rows == 0
    store.delete(["it's 1"])
    store.delete([])


def test_changes_and_what_is_read_then(make: Make, store: Store) -> None:
    seen = [store.version]
    store.upsert(rows(1, 2, 3))
    seen.append(store.version)
    store.upsert(rows(3, 4, tag="b"))
    seen.append(store.version)
    assert sorted(numbers(store.read(["id"]))) == [1, 2, 3, 4]
    assert store.read(["label_größe"], ["it's 3"]).to_pylist() == [{"label_größe": ["b", "v1"]}]
    assert store.version == seen[-1]
    store.delete(["it's 1", "unknown"])
    seen.append(store.version)
    assert len(store) == 3
    assert store.count(parse("n >= 3", [N])) == 2
    assert store.count(parse("c LIKE '%1'", [C])) == 1
    assert len(set(seen)) == 4
    again = make(SCHEMA)  # what is there stays
    assert (len(again), again.version) == (3, seen[-1])
    again.upsert(rows(9))
    assert store.version != seen[-1]


def test_every_value_comes_back(store: Store) -> None:
    texts = [None, "", "\x01", "\x00\x01", 'a "b" \\n \' `c`', "日本\n\t𝄞", "a" * 60_000]
    wholes = [None, 0, -1, 2**63 - 1, -(2**63), 2**53 + 1, 7]
    decimals = [None, 0.0, -2.5, 1e300, 5e-324, 1 / 3, -0.0]
    labels = [None, [], [""], ["", "\x01"], ["日本", "it's"], ["a"] * 9, [f"v{n}" for n in range(500)]]
    written = rows(
        *range(7),
        **{"meta_size%2Eeu": texts, "meta_n": wholes, "meta_x": decimals, "label_größe": labels},
        meta_yes=[None, True, False] * 2 + [None],
    )
    store.upsert(written)
    assert store.read(SCHEMA.names).sort_by("id").equals(written)
    names = [f"it's {n}" for n in range(7)]
    assert store.read(SCHEMA.names, names[2:4]).sort_by("id").equals(written.slice(2, 2))
    assert numbers(store.read(["id"], where=parse("t >= '' AND t < 'a'", [TEXT]))) in ([1, 2, 3], [3, 2, 1], [2, 1, 3])
    nearest = store.nearest(np.array([0, 1, 0, 0], np.float32), 1)
    assert nearest.select(SCHEMA.names).equals(written.slice(5, 1))


def test_ids_of_any_kind(store: Store) -> None:
    ids = ["a b", "it's", 'say "x"', "back\\slash", "new\nline", "日本/é.jpg#1,2", "50%_", "x" * 1000]
    written = rows(*range(8), id=ids)
    store.upsert(written)
    for name in ids:
        assert store.read(["id"], [name])["id"].to_pylist() == [name]
    assert store.read(["id"], ids).num_rows == 8
    assert sorted(name for batch in store.batches(["id"]) for name in batch["id"].to_pylist()) == sorted(ids)
    store.delete(ids[:7])
    assert store.read(["id"])["id"].to_pylist() == ids[7:]


def test_read_by_id_filter_and_batch(store: Store) -> None:
    store.upsert(rows(*range(2500)))
    assert numbers(store.read(["id"], [])) == []
    wanted = [f"it's {n}" for n in range(0, 2400, 2)]
    assert sorted(numbers(store.read(["id"], wanted))) == list(range(0, 2400, 2))
    assert sorted(numbers(store.read(["id"], where=parse("n >= 2498 AND c LIKE '%0'", [N, C])))) == [2498]
    found = [n for batch in store.batches(["id", "vector"]) for n in numbers(batch)]
    assert sorted(found) == list(range(2500))


def test_nearest_by_dot_product_with_a_filter(store: Store) -> None:
    store.upsert(rows(*range(1, 2001)))
    query = np.array([0, 1, 0, 0], np.float32)
    assert numbers(store.nearest(query, 3)) == [1997, 1993, 1989]
    assert numbers(store.nearest(query, 2, parse("n < 9", [N]))) == [5, 1]
    # Of these filters Milvus can do a part only.
    for where in ("n < 12 AND c LIKE '%1'", "NOT (n >= 12 OR c LIKE '%0')", "t LIKE 'size _' AND c LIKE '%1'"):
        assert numbers(store.nearest(query, 2, parse(where, [N, C, TEXT]))) in ([9, 5], [5, 1]), where
    assert numbers(store.nearest(query, 2, parse("t LIKE '%12__%'", [TEXT]))) == [1297, 1293]
    assert store.nearest(query, 1, parse("n > 1999 AND n < 10", [N])).num_rows == 0
    assert store.nearest(query, 3).schema.names == SCHEMA.names
    assert numbers(store.nearest(query * 1e6, 3)) == [1997, 1993, 1989]
    assert store.nearest(-query, 17_000).num_rows == 2000


def test_nearest_is_what_a_comparison_with_all_finds(store: Store) -> None:
    """Among 2,000 rows of random vectors, before and after the approximate index is made."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(2000, WIDTH)).astype(np.float16)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), WIDTH)
    store.upsert(rows(*range(2000)).set_column(SCHEMA.get_field_index("vector"), "vector", column))
    hits = 0
    for turn in range(2):
        for query in rng.normal(size=(5, WIDTH)).astype(np.float32):
            order = np.argsort(-(vectors.astype(np.float32) @ query))
            hits += len({*order[:20]} & {*numbers(store.nearest(query, 20))})
            passing = [n for n in order if n % 2][:20]
            hits += len({*passing} & {*numbers(store.nearest(query, 20, parse("c = 'v1'", [C])))})
        if not turn:
            store.tidy(True)
            assert len(store) == 2000
    assert hits >= 0.98 * 400


def test_reshape(make: Make, store: Store) -> None:
    store.upsert(rows(1, 2))
    before = store.version
    store.reshape(SCHEMA)
    assert store.version == before
    changed = SCHEMA.remove(SCHEMA.get_field_index("meta_n")).append(pa.field("meta_new", pa.string()))
    changed = changed.append(pa.field("meta_n", pa.float64()))
    store.reshape(changed)
    assert set(store.schema.names) == set(changed.names)
    assert store.schema.field("meta_n").type == pa.float64()
    assert store.version != before
    names = ["id", "hash", "meta_n", "meta_new", "label_größe"]
    row = {"id": "it's 1", "hash": "h1", "meta_n": None, "meta_new": None, "label_größe": ["a", "v1"]}
    assert store.read(names, ["it's 1"]).to_pylist() == [row]
    assert math.isclose(np.array(store.read(["vector"], ["it's 2"])["vector"].to_pylist()).sum(), 2)
    assert store.read(["id"], where=parse("n IS NULL", [Column("n", "meta_n", "number")])).num_rows == 2
    store.tidy(False)
    assert len(make(changed)) == 2
