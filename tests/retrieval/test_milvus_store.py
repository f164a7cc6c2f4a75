"""What is Milvus' own: where columns lie, what its errors mean, and a server that goes away and comes back.

``test_store.py`` has what all engines do.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lapel.errors import SearchIndexError
from lapel.retrieval.filters import parse
from lapel.retrieval.layout import columns_of
from lapel.retrieval.milvus_client import address, connect, trouble
from lapel.retrieval.milvus_rows import Field, fields_in, fields_of, loose, name_of, to_rows, to_table, write_loose
from lapel.retrieval.milvus_store import MilvusStore, state
from lapel.retrieval.store import EngineUnavailable

from ..milvus_server import MilvusServer
from .test_store import SCHEMA, numbers, rows

QUERY = np.array([0, 1, 0, 0], np.float32)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://milvus", "http://milvus:19530"),
        (" https://Milvus.local:443/shop/ ", "https://milvus.local:443/shop"),
        ("http://[::1]:19530", "http://[::1]:19530"),
        ("milvus:19530", "is no address of a Milvus server: expected one like http"),
        ("./milvus.db", "is no address"),
        ("http://milvus:port", "is no address"),
        ("http://:19530", "is no address"),
        ("", "is no address"),
        ("http://root:secret@milvus:19530", "has no password in it: set LAPEL_MILVUS_TOKEN to user:password"),
    ],
)
def test_address(uri: str, expected: str) -> None:
    if expected.startswith("http"):
        assert address(uri) == expected
        return
    with pytest.raises(SearchIndexError, match=expected) as caught:
        address(uri)
    assert "secret" not in str(caught.value)


class MilvusLike(Exception):
    __module__ = "pymilvus.exceptions"

    def __init__(self, message: str) -> None:
        super().__init__(f"<MilvusException: (code=1, message={message})>")
        self.message = message


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (MilvusLike("Fail connecting to server on h:1"), EngineUnavailable, "at http://h does not answer: start it"),
        (MilvusLike("Retry timeout: 30s, UNAVAILABLE"), EngineUnavailable, "does not answer"),
        (MilvusLike("failed: collection not loaded"), EngineUnavailable, "is loading shop: try again soon"),
        (MilvusLike("auth check failure"), SearchIndexError, "refuses: set LAPEL_MILVUS_TOKEN"),
        (MilvusLike("collection not found[name=x]"), SearchIndexError, "has no collection 'shop' now"),
        (MilvusLike("the length of\n meta_a exceeds"), SearchIndexError, "cannot write shop at http://h: the length"),
        (ValueError("surrogates not allowed"), SearchIndexError, "surrogates not allowed"),
        (KeyError("ours"), KeyError, "ours"),
    ],
)  # fmt: skip
def test_trouble_becomes_advice(error: Exception, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as caught, trouble("http://h", "shop", "write"):
        raise error
    assert type(caught.value) is kind


def test_nobody_there() -> None:
    started = time.monotonic()
    with pytest.raises(EngineUnavailable, match="does not answer"):
        connect("http://127.0.0.1:9")
    assert time.monotonic() - started < 30


def described(fields: list[Field], float16: bool) -> dict[str, Any]:
    """What Milvus says of a collection made of these fields."""
    found = []
    for field in fields:
        for name, kind, options in [] if field.key else field.settings(float16):
            params = {key: options[key] for key in ("dim",) if key in options}
            found.append({"name": name, "type": SimpleNamespace(name=kind), "params": params, **options})
    return {"fields": [*found, {"name": "more", "type": SimpleNamespace(name="JSON"), "description": ""}]}


@pytest.mark.parametrize("float16", [False, True])
def test_columns_there_and_back(float16: bool) -> None:
    """Every column by its fields, or loose; 16-bit vectors as the bytes that a newer server gives."""
    table = rows(1, 2, **{"meta_size%2Eeu": ["", None], "meta_n": [None, 0], "label_größe": [[], None]})
    own = fields_of(SCHEMA)
    assert [field.key for field in own] == [""] * len(SCHEMA)
    late = [loose(field, 3) if field.column not in ("id", "vector") else field for field in own]
    for fields in (own, late):
        assert sorted(map(str, fields_in(described(fields, float16), write_loose(fields)))) == sorted(map(str, fields))
        stored = to_rows(table, fields, float16)
        assert {row["vector"].dtype for row in stored} == {np.dtype(np.float16 if float16 else np.float32)}
        given = [{**row, "vector": [row["vector"].tobytes()] if float16 else row["vector"].tolist()} for row in stored]
        assert to_table(given, fields).equals(table)
    with pytest.raises(SearchIndexError, match="'meta_n' has the value inf, which a column added later cannot hold"):
        loose(Field("meta_n", pa.float64()), 1).write(pa.chunked_array([[float("inf")]]), [{"more": {}}], False)
    with pytest.raises(SearchIndexError, match="'x' has type date32"):
        fields_of(pa.schema([("x", pa.date32())]))


def test_names() -> None:
    names = ["meta_a.b", "meta_a_b", "meta_größe", "meta_grösse", "x" * 300, "x" * 301]
    found = [name_of(name) for name in names]
    assert len(set(found)) == len(names)
    assert all(name.isascii() and name.isidentifier() and len(name) < 255 for name in found)


def test_more_columns_than_milvus_has_fields() -> None:
    wide = pa.schema([*SCHEMA, *((f"meta_{n}", pa.int64()) for n in range(40))])
    fields = fields_of(wide)
    assert sum(len(field.names) for field in fields if not field.key) + 1 <= 64
    assert [field.column for field in fields if field.key] == [f"meta_{n}" for n in range(26, 40)]


@pytest.mark.milvus
def test_columns_come_at_once_and_go_by_a_copy(milvus: MilvusServer) -> None:
    store = MilvusStore.create(milvus.uri, "columns", SCHEMA)
    store.upsert(rows(1, 2, 3))
    wide = pa.schema([*SCHEMA, *((f"meta_{n}", pa.string()) for n in range(70)), ("label_late", pa.list_(pa.string()))])
    store.reshape(wide)
    assert store.name == "columns_1"
    assert store.schema.names == wide.names
    late = {name: pa.array(["x", None, ""]) for name in wide.names if name not in SCHEMA.names}
    late["label_late"] = pa.array([["u", "v"], [], None], pa.list_(pa.string()))
    full = pa.table({**{name: rows(1, 2, 3)[name] for name in SCHEMA.names}, **late}, wide)
    store.upsert(full)
    assert store.read(wide.names).sort_by("id").equals(full)
    tree = parse("late = 'v' OR \"69\" = ''", columns_of(wide).values())
    assert sorted(numbers(store.read(["id"], where=tree))) == [1, 3]
    reader = MilvusStore.open(milvus.uri, "columns", "Session")
    # A loose column that goes and comes again is empty.
    store.reshape(pa.schema([field for field in wide if field.name != "meta_5"]))
    store.reshape(wide)
    assert (store.name, store.read(["meta_5"])["meta_5"].null_count) == ("columns_1", 3)
    narrow = wide.remove(wide.get_field_index("meta_x"))
    before = store.version
    store.reshape(narrow)
    assert (store.name, store.version != before) == ("columns_2", True)
    again = MilvusStore.open(milvus.uri, "columns")
    assert (
        again.read(["id", "meta_69", "label_late", "vector"])
        .sort_by("id")
        .equals(full.select(["id", "meta_69", "label_late", "vector"]))
    )
    assert len(reader) == 3  # on the old one still
    assert state(milvus.uri, "columns") == again.version
    store.tidy(False)
    with pytest.raises(SearchIndexError, match="has no collection 'columns' now"):
        len(reader)
    store.drop()
    assert state(milvus.uri, "columns") is None


@pytest.mark.milvus
def test_creating(milvus: MilvusServer) -> None:
    with pytest.raises(SearchIndexError, match="has no collection 'nothing' now"):
        MilvusStore.open(milvus.uri, "nothing")
    store = MilvusStore.create(milvus.uri, "made", SCHEMA)
    store.client.drop_alias("made")
    store = MilvusStore.create(milvus.uri, "made", SCHEMA)  # a creation that was interrupted
    store.upsert(rows(1))
    store.client.drop_alias("made")
    with pytest.raises(SearchIndexError, match="'made_1' holds rows that no index names"):
        MilvusStore.create(milvus.uri, "made", SCHEMA)
    with pytest.raises(SearchIndexError, match="exceeds max length"):
        store.upsert(rows(2, hash=["x" * 70_000]))
    other = store.client.create_schema()
    other.add_field("id", 21, is_primary=True, max_length=9)
    other.add_field("vector", 101, dim=2)
    store.client.create_collection("foreign", schema=other)
    with pytest.raises(SearchIndexError, match="'foreign' was not made by Lapel"):
        MilvusStore.open(milvus.uri, "foreign")


@pytest.mark.milvus
def test_readers_see_what_was_acknowledged_when_they_opened(milvus: MilvusServer) -> None:
    writer = MilvusStore.create(milvus.uri, "seen", SCHEMA)
    for turn in range(5):
        writer.upsert(rows(*range(20 * turn, 20 * turn + 20)))
        writer.delete([f"it's {20 * turn}"])
        reader = MilvusStore.open(milvus.uri, "seen", "Session")
        assert len(reader) == 19 * (turn + 1)
        assert numbers(reader.nearest(QUERY, 1)) == [20 * turn + 17]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: numbers(reader.nearest(QUERY, 3)), range(40)))
    assert found == [[97, 93, 89]] * 40


@pytest.mark.milvus
def test_few_pass_before_there_is_an_index(milvus: MilvusServer) -> None:
    """What the server makes do with then looks at some of the rows only, whichever pass."""
    store = MilvusStore.create(milvus.uri, "makeshift", SCHEMA)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(12_000, 4)).astype(np.float16)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 4)
    store.upsert(rows(*range(12_000)).set_column(SCHEMA.get_field_index("vector"), "vector", column))
    tree = parse("n < 30", columns_of(SCHEMA).values())
    for query in rng.normal(size=(5, 4)).astype(np.float32):
        expected = list(np.argsort(-(vectors[:30].astype(np.float32) @ query), kind="stable"))
        assert numbers(store.nearest(query, 40, tree)) == expected
    store.drop()


@pytest.mark.milvus
def test_server_gone_and_back(milvus: MilvusServer) -> None:
    """Killed with rows that it had acknowledged and nothing written out: none is lost, and who had it open goes on."""
    store = MilvusStore.create(milvus.uri, "kept", SCHEMA)
    for turn in range(5):
        store.upsert(rows(*range(100 * turn, 100 * turn + 100)))
    store.delete(["it's 7"])
    reader, version = MilvusStore.open(milvus.uri, "kept", "Session"), store.version
    milvus.kill()
    calls = (lambda: reader.nearest(QUERY, 3), lambda: reader.version, lambda: store.upsert(rows(1)), reader.count)
    for call in calls:
        with pytest.raises(EngineUnavailable, match="does not answer: start it"):
            call()
    milvus.start()
    deadline = time.monotonic() + 60
    while True:
        try:
            count = len(reader)
            break
        except EngineUnavailable:
            assert time.monotonic() < deadline
            time.sleep(0.5)
    assert count == 499
    assert numbers(reader.nearest(QUERY, 2)) == [497, 493]
    store.upsert(rows(501))
    assert (len(store), store.version != version) == (500, True)
