"""Values and counts of an index's columns, by both ways of reading it, against counting by a loop."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pytest

from lapel import Index
from lapel.errors import SearchIndexError
from lapel.retrieval import facets as module
from lapel.retrieval import gallery
from lapel.retrieval.facets import Facet, Facets, facets
from lapel.retrieval.gallery import EngineGallery, MemoryGallery
from lapel.retrieval.layout import columns_of
from lapel.retrieval.snapshot import Snapshot

from .ways import by_engine, ways

FILTERS = [None, "price > 3", "colour = 'Red' OR price IS NULL", "NOT colour = 'Red'", "name = 'nobody'"]


@pytest.fixture(scope="module")
def shared(lasting_world: Any) -> Any:
    world = lasting_world.fill(60)
    for number, cells in enumerate(world.rows.values()):
        cells["weight"] = number / 4 if number % 3 else None
    world.index()
    return world


def slow(world: Any, index: Index, where: str | None) -> dict[str, Facet]:
    """Read every image that passes, count with a loop."""
    names = [hit.id for hit in index.search_id("000.jpg", k=100, where=where)]
    names += ["000.jpg"] * (index.count(where) - len(names))  # its own results leave it out
    found = {}
    for name, kind in index.columns.items():
        values: Counter[Any] = Counter()
        missing = 0
        for image_id in names:
            entry = index.get(image_id)
            fixed = {"item": entry.item, "split": None, "domain": None}
            cell = entry.labels.get(name) if kind == "labels" else {**fixed, **entry.metadata}.get(name)
            missing += cell is None
            values.update(() if cell is None else cell if kind == "labels" else [cell])
        numbers = kind in ("integer", "number")
        order = tuple(sorted(values.items(), key=lambda pair: (-pair[1], pair[0])))
        low, high = (min(values), max(values)) if numbers and values else (None, None)
        distinct = None if numbers else len(values)
        found[name] = Facet(name, kind, () if numbers else order, low, high, missing, distinct, 0)
    return found


@pytest.mark.parametrize("where", FILTERS)
def test_every_way_equals_counting(shared: Any, where: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "PORTION", 16)
    expected = slow(shared, shared.open(), where)
    kinds = {name: facet.kind for name, facet in expected.items()}
    assert (kinds["price"], kinds["weight"], kinds["colour"]) == ("integer", "number", "labels")
    for way, index in ways(shared.open).items():
        found = index.facets(where)
        assert found.count == index.count(where) == len(index.search_vector([[1] * 8] * 3, k=100, where=where)), way
        for facet in found.columns:
            if facet.name not in ("split", "domain"):
                assert facet == expected[facet.name], way
        assert [facet.name for facet in found.columns] == [name for name in index.columns if name != "image"]


def test_an_engine_is_read_in_portions(shared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = shared.open().facets("price > 1")
    index = by_engine(shared.open())
    assert isinstance(index.gallery, EngineGallery)
    store: Any = index.gallery.store
    sizes: list[int] = []

    def batches(columns: Any) -> Any:
        assert "vector" not in columns
        for batch in store.read(columns).to_batches(max_chunksize=7):
            sizes.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(store, "batches", batches)
    monkeypatch.setattr(gallery, "PORTION", 20)
    tables = [table.num_rows for table in index.gallery.tables(["id"])]
    assert (tables, max(sizes)) == ([21, 21, 18], 7)
    assert index.facets("price > 1") == whole


def test_many_values_are_cut(shared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MANY", 20)
    monkeypatch.setattr(module, "TOP", 5)
    for index in ways(shared.open).values():
        by_name = {facet.name: facet for facet in facets(index).columns}
        assert by_name["item"].values == tuple((f"i{n}", 2) for n in (0, 1, 10, 11, 12))
        assert (by_name["item"].distinct, by_name["item"].other) == (30, 50)
        assert (by_name["colour"].distinct, by_name["colour"].other) == (2, 0)
    monkeypatch.setattr(module, "COUNTED", 40)
    for index in ways(shared.open).values():
        by_name = {facet.name: facet for facet in facets(index).columns}
        assert by_name["name"] == Facet("name", "text", (), None, None, 0, None, 60)
        assert by_name["item"].distinct == 30


def test_lists_that_repeat_a_value_and_truth(shared: Any) -> None:
    """An image counts once for a value also where its list says it twice; a list without values is a missing one."""
    index = shared.open()
    cells = pa.array([["Red", "Red", "Blue"], [], None, ["Blue"], ["Red", "Red"]], pa.list_(pa.string()))
    rows = pa.table({"id": [*"abcde"], "label_colour": cells, "meta_new": [True, None, False, True, False]})
    index.gallery, index._columns = MemoryGallery(Snapshot(rows, ())), columns_of(rows.schema)
    assert index.facets().columns == (
        Facet("colour", "labels", (("Blue", 2), ("Red", 2)), None, None, 2, 2, 0),
        Facet("new", "truth", ((False, 2), (True, 2)), None, None, 1, 2, 0),
    )
    assert index.facets("new = TRUE AND colour = 'Red'").columns[1].values == ((True, 1),)


def test_the_whole_is_counted_once(shared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    index = shared.open()
    whole = index.facets()
    assert isinstance(whole, Facets)
    monkeypatch.setattr(index, "gallery", None)  # nothing more is read
    assert index.facets() is whole


@pytest.mark.parametrize("call", ["facets", "count"])
def test_bad_filters(shared: Any, call: str) -> None:
    with pytest.raises(SearchIndexError, match="unknown column 'colur'; did you mean 'colour'"):
        getattr(shared.open(), call)("colur = 'Red'")


def test_an_engine_without_rows(world: Any) -> None:
    """It still has columns: none of them has a value."""
    world.fill(2).index()
    index = by_engine(world.open())
    assert isinstance(index.gallery, EngineGallery)
    index.gallery.store.delete(["000.jpg", "001.jpg"])
    assert [table.num_rows for table in index.gallery.tables(["id", "item"])] == [0]
    found = index.facets()
    assert found.count == 0
    assert {facet.name: facet.distinct for facet in found.columns}["item"] == 0
