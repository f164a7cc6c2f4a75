"""Which engine an index has, and that its answers do not depend on it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lapel import Index
from lapel.errors import SearchIndexError
from lapel.retrieval.engines import Place, lies, open_store, settled, state
from lapel.retrieval.layout import IndexRecord, Source
from lapel.retrieval.milvus_store import MilvusStore
from lapel.retrieval.parts import Part
from lapel.retrieval.store import EngineUnavailable
from lapel.retrieval.versions import mark, place

from ..milvus_server import MilvusServer
from .picture_world import PictureWorld, new

RECORD = IndexRecord((Source("run", "f" * 64, ("neckline",), 8),), "shop", "photos")
SERVED = replace(RECORD, engine="milvus", uri="http://a:19530", collection="lapel_x_1")
HERE = "the rows of index shop are in {}, not in {}; to have them there: lapel move shop --to FOLDER --engine {}"


@pytest.mark.parametrize(
    ("old", "engine", "uri", "expected"),
    [
        (None, None, None, Place()),
        (None, "lance", None, Place()),
        (None, None, "http://a", Place("milvus", "http://a:19530", "lapel_shop_")),
        (None, "milvus", "http://a", Place("milvus", "http://a:19530", "lapel_shop_")),
        (RECORD, None, None, Place()),
        (SERVED, None, None, Place("milvus", "http://a:19530", "lapel_x_1")),
        (SERVED, "milvus", "http://b:1", Place("milvus", "http://b:1", "lapel_x_1")),
        (None, "lanec", None, "unknown engine 'lanec'; did you mean 'lance'? Known: lance, milvus"),
        (None, "milvus", None, "needs the server's address: --uri http://HOST:19530"),
        (None, "milvus", "a:19530", "'a:19530' is no address of a Milvus server"),
        (None, "lance", "http://a", "--uri http://a is for an engine on a server"),
        (RECORD, None, "http://a", "--uri http://a is for an engine on a server"),
        (RECORD, "milvus", "http://a", HERE.format("lance", "milvus", "milvus --uri http://a")),
        (SERVED, "lance", None, HERE.format("milvus", "lance", "lance")),
    ],
)
def test_where_rows_go(old: IndexRecord | None, engine: str | None, uri: str | None, expected: Place | str) -> None:
    if isinstance(expected, str):
        with pytest.raises(SearchIndexError) as caught:
            settled(Path("shop"), old, engine, uri)
        assert expected in str(caught.value)
        return
    found = settled(Path("shop"), old, engine, uri)
    assert (found.engine, found.uri) == (expected.engine, expected.uri)
    assert found.collection.startswith(expected.collection)
    if uri and old is None:  # a name of its own
        assert settled(Path("shop"), old, engine, uri).collection != found.collection
    assert found.exact_below(5) == (5 if found.engine == "lance" else -1)


def test_what_the_record_says(tmp_path: Path) -> None:
    assert (lies(tmp_path), state(tmp_path)) == (Place(), None)
    RECORD.write(tmp_path)
    data = json.loads((tmp_path / "index.json").read_text())
    for name in ("engine", "uri", "collection"):  # as it was before there were engines
        del data[name]
    (tmp_path / "index.json").write_text(json.dumps(data))
    assert IndexRecord.read(tmp_path).engine == "lance"
    assert lies(tmp_path) == Place()
    (tmp_path / "index.json").write_text(json.dumps({**data, "engine": "qdrant"}))
    with pytest.raises(SearchIndexError, match="unknown engine 'qdrant'"):
        IndexRecord.read(tmp_path)


def test_nobody_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token is for the server: it is in no file and no message."""
    monkeypatch.setenv("LAPEL_MILVUS_TOKEN", "root:secret")
    replace(SERVED, uri="http://127.0.0.1:9").write(tmp_path)
    assert "secret" not in (tmp_path / "index.json").read_text()
    for call in (Index.open, open_store, state, mark):
        with pytest.raises(EngineUnavailable, match=r"at http://127.0.0.1:9 does not answer") as caught:
            call(tmp_path)
        assert "secret" not in str(caught.value)


def same(found: Any, expected: Any) -> None:
    """The same hits in the same order, and their scores to rounding."""
    assert [hit.id for hit in found] == [hit.id for hit in expected]
    for one, other in zip(found, expected, strict=True):
        assert replace(one, score=0, scores={}, image="") == replace(other, score=0, scores={}, image="")
        assert one.score == pytest.approx(other.score, abs=1e-6)
        assert one.scores == pytest.approx(other.scores, abs=1e-6)


@pytest.mark.milvus
def test_answers_do_not_depend_on_the_engine(world: Any, milvus: MilvusServer) -> None:
    """An index that changes, on both engines: the same reports and answers at every step."""
    embedder, ours, served = world.embedder(), world.index_path, world.root / "served"

    def index(**options: Any) -> list[dict[str, Any]]:
        from lapel.retrieval.indexing import index_catalogue

        catalogue, reports = world.catalogue(), []
        for path, more in ((ours, {}), (served, {"engine": "milvus", "uri": milvus.uri, **options})):
            reports.append(vars(index_catalogue(catalogue, embedder, path, quiet=True, commit_rows=50, **more)))
        assert reports[0] == reports[1]
        return reports

    def compare(*filters: str) -> Index:
        left, right = (Index.open(path, encoder=embedder.embed) for path in (ours, served))
        assert (len(left), left.columns, left.attributes) == (len(right), right.columns, right.attributes)
        rng = np.random.default_rng(0)
        for where in (None, *filters):
            assert left.count(where) == right.count(where)
            assert left.facets(where) == right.facets(where)
            asked = (
                ({"neckline": 1}, 5, True),
                ({"neckline": 1, "colour": -0.5}, 200, False),
                ({"pattern": 1e6}, 9, None),
            )
            for weights, k, group in asked:
                query = rng.normal(size=(3, 8))
                hits = left.search_vector(query, weights, k, where, group)
                same(right.search_vector(query, weights, k, where, group), hits)
        name = sorted(world.rows)[3]
        same(right.search_id(name, k=7), left.search_id(name, k=7))
        part = Part(left.vectors_of([name])[0])
        for offset in (0, 4):
            pages = [each.search_parts([part], k=4, offset=offset, without=frozenset([name])) for each in (left, right)]
            same(pages[1].hits, pages[0].hits)
        np.testing.assert_array_equal(right.vectors(name), left.vectors(name))
        assert replace(right.get(name), image="") == replace(left.get(name), image="")
        return right

    world.fill(120)
    for name, cells in world.rows.items():
        cells["size"] = name[2]
    assert index()[0]["added"] == 120
    shown = compare("colour = 'Red' AND price < 4", "name LIKE '%7' OR price IS NULL", "NOT colour LIKE '%e%'")
    assert not shown.exact
    assert not list(served.glob("*.lance")) + list(served.glob("snapshot*"))
    record = IndexRecord.read(served)
    assert (record.engine, record.uri, record.complete, record.count) == ("milvus", milvus.uri, True, 120)
    assert index(engine=None, uri=None)[0]["unchanged"] == 120
    assert not shown.stale
    version, lay = shown.version, place(served)
    for name in ("003.jpg", "004.jpg"):
        del world.rows[name]
    world.rows["005.jpg"]["colour"] = "Green"
    world.rows["006.jpg"]["season"] = "winter's"  # a column more
    (world.photos / "007.jpg").write_text("another picture")
    assert index()[0]["removed"] == 2
    assert shown.stale
    again = shown.refresh()
    assert (len(again), again.version != version, place(served)) == (118, True, lay)
    found = compare("season LIKE '%''%' OR colour = 'Green'").search_vector(np.eye(3, 8), k=9)
    same(again.search_vector(np.eye(3, 8), k=9), found)
    assert again.count("season = 'winter''s'") == 1
    for cells in world.rows.values():
        del cells["size"]  # a column less: the collection gives way to another
    index()
    compare()
    MilvusStore.open(milvus.uri, record.collection).drop()
    with pytest.raises(SearchIndexError, match="has no collection"):
        Index.open(served)
    assert mark(served) == ""


@pytest.mark.milvus
def test_images_written_one_by_one(tmp_path: Path, milvus: MilvusServer) -> None:
    world = PictureWorld(tmp_path).fill(12)
    world.index(engine="milvus", uri=milvus.uri)
    index, writer = world.open(), world.writer()
    assert writer.upsert([new("mine", labels={"colour": ["Red"]}, metadata={"late": 3})]) == ["added"]
    assert writer.upsert([new("mine", labels={"colour": ["Red"]}, metadata={"late": 3})]) == ["unchanged"]
    assert index.stale
    index = index.refresh()
    assert (len(index), index.count("late = 3 AND colour = 'Red'"), index.get("mine").metadata["late"]) == (13, 1, 3)
    assert index.search_id("mine", k=1)[0].id != "mine"
    world.index(engine="milvus", uri=milvus.uri)  # which leaves it alone
    assert len(world.open()) == 13
    assert (writer.delete(["mine", "unknown"]), len(index.refresh())) == (1, 12)
    writer.rest()
