"""Several query images, thumbs, thresholds and pages: against a slow search, by every way an index is read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapel import Index
from lapel.errors import SearchIndexError
from lapel.retrieval import gallery
from lapel.retrieval.feedback import moved
from lapel.retrieval.filter_tree import Column, Compare
from lapel.retrieval.gallery import EngineGallery
from lapel.retrieval.layout import ITEM
from lapel.retrieval.parts import Part
from lapel.retrieval.query import unit
from lapel.retrieval.ranking import Question

from .two_runs import DIMS, NAMES, index, opened, stored, told
from .ways import ways as every_way


@pytest.fixture(scope="module")
def shared(lasting_world: Any) -> Any:
    """60 images of 27 items and four without; 40 and 41 have the same bytes, and item i2 has four images."""
    world = lasting_world.fill(60)
    world.add("041.jpg", "040.jpg", **world.rows["041.jpg"])
    for number in range(50, 54):
        world.rows[f"0{number}.jpg"]["item"] = None
    for number in (17, 33):
        world.rows[f"0{number}.jpg"]["item"] = "i2"
    index(world)
    return world


@pytest.fixture(scope="module")
def ways(shared: Any) -> dict[str, Index]:
    return every_way(lambda: opened(shared))


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that 60 rows are several windows of an engine, and scored in several chunks."""
    monkeypatch.setattr(gallery, "FIRST", 4)
    monkeypatch.setattr(gallery, "SPARE", 3)
    monkeypatch.setattr("lapel.retrieval.ranking.CHUNK", 7)


def slow_search(
    world: Any, parts: list[Part], grouped: bool, without: tuple[str, ...] = (), threshold: float | None = None
) -> list[tuple[str, float, tuple[str, ...]]]:
    """(id, score, others): the double sum over parts and attributes for every image, sorted, folded by a loop."""
    sums = [np.zeros(dim) for dim in DIMS]
    for part in parts:
        for number, name in enumerate(NAMES):
            query = np.asarray(part.vectors[number], float)
            sums[number] += (part.weights or {}).get(name, 0) * query / np.linalg.norm(query)
    size = sum(float(np.linalg.norm(each)) for each in sums)
    scores = {
        name: sum(float(a @ b) for a, b in zip(sums, vectors, strict=True))
        for name, vectors in stored(world).items()
        if name not in without
    }
    hits: list[tuple[str, float, list[str]]] = []
    for name in sorted(scores, key=lambda name: (-round(scores[name], 9), name)):
        item = world.rows[name]["item"]
        same = [hit for hit in hits if grouped and item is not None and world.rows[hit[0]]["item"] == item]
        if same:
            same[0][2].append(name)
        elif threshold is None or scores[name] / size >= threshold:
            hits.append((name, scores[name], []))
    return [(name, score, tuple(others)) for name, score, others in hits]


def query(seed: int) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.normal(size=dim) for dim in DIMS]


WEIGHTS = st.dictionaries(st.sampled_from(NAMES), st.floats(-3, 3).filter(lambda w: abs(w) > 0.05), min_size=1)


@settings(max_examples=10)
@given(
    seed=st.integers(0, 99),
    weights=st.lists(WEIGHTS, min_size=1, max_size=3),
    group=st.sampled_from([None, True, False]),
    cut=st.sampled_from([3, 7, 20, 100]),
    without=st.sampled_from([(), ("004.jpg", "017.jpg", "nobody.jpg")]),
    threshold=st.sampled_from([None, 0.1, -0.2]),
)
def test_every_page_of_every_way_equals_the_double_sum(
    shared: Any,
    ways: dict[str, Index],
    seed: int,
    weights: list[dict[str, float]],
    group: bool | None,
    cut: int,
    without: tuple[str, ...],
    threshold: float | None,
) -> None:
    parts = [Part(query(seed + number), each) for number, each in enumerate(weights)]
    grouped = any("item" in each for each in weights) if group is None else group
    expected = slow_search(shared, parts, grouped, without, threshold)
    for way, searched in ways.items():
        pages = []
        for offset in range(0, len(expected) + 1, cut):
            found = searched.search_parts(parts, cut, offset, None, group, frozenset(without), threshold)
            assert found.left == (offset + cut < len(expected)), way
            pages += found.hits
            size = sum(abs(weight) for weight in found.weights.values())
            for hit, similarity in zip(found.hits, found.similarities, strict=True):
                total = sum(weight * hit.scores[name] for name, weight in found.weights.items() if weight)
                assert hit.score == pytest.approx(total, abs=1e-9)
                assert similarity == pytest.approx(hit.score / size)
        assert told(pages) == [(name, others) for name, _, others in expected], way
        np.testing.assert_allclose([hit.score for hit in pages], [score for _, score, _ in expected], atol=1e-6)


def test_one_part_is_what_a_search_by_vectors_is(ways: dict[str, Index]) -> None:
    for searched in ways.values():
        for weights in ({"pattern": -1.5}, {"neckline": 1, "item": 0.5}, None):
            found = searched.search_parts([Part(query(7), weights)], 9, where="colour = 'Red'")
            assert found.hits == searched.search_vector(query(7), weights, 9, "colour = 'Red'")
            assert found.weights == {name: 1 if weights is None else weights.get(name, 0) for name in NAMES}


def test_a_filter_nothing_passes_and_a_page_past_the_end(ways: dict[str, Index]) -> None:
    part = Part(query(0))
    for searched in ways.values():
        for found in (searched.search_parts([part], where="price > 99"), searched.search_parts([part], 5, 60)):
            assert (found.hits, found.similarities, found.left) == ([], [], False)
        assert searched.search_parts([part], threshold=0.99).hits == []


def test_thumbs_move_the_query(shared: Any, ways: dict[str, Index]) -> None:
    more, less = ["010.jpg", "017.jpg"], ["021.jpg"]
    weights = {"pattern": 1.0, "colour": -0.5}
    plain = ways["snapshot"].search_parts([Part(query(3), weights)], 60, group=False)
    vectors = {name: stored(shared)[name] for name in (*more, *less)}
    asked = unit(query(3), DIMS, np.ones(len(DIMS)))
    signed = [None, asked[1], -np.asarray(asked[2]), None]
    target = moved(signed, [vectors[name] for name in more], [vectors[name] for name in less])
    assert target[1] is not None
    assert target[2] is not None
    parts = [Part([asked[0], target[1], -target[2], asked[3]], weights)]
    expected = slow_search(shared, parts, False, tuple(less))
    for way, searched in ways.items():
        found = searched.search_parts([Part(query(3), weights)], 60, group=False, more=more, less=less)
        assert told(found.hits) == [(name, others) for name, _, others in expected], way
        assert found.weights == plain.weights
        ranks = [[hit.id for hit in each.hits].index("010.jpg") for each in (plain, found)]
        assert ranks[1] < ranks[0]
        assert {"010.jpg", "017.jpg"} <= {hit.id for hit in found.hits}


def test_a_thumb_down_leaves_out_the_item_where_items_are_results(shared: Any, ways: dict[str, Index]) -> None:
    gone = {name for name, cells in shared.rows.items() if cells["item"] == "i2"}
    assert len(gone) == 4
    for searched in ways.values():
        found = searched.search_parts([Part(query(1), {"item": 1})], 60, less=["017.jpg", "050.jpg"])
        shown = {name for hit in found.hits for name in (hit.id, *hit.others)}
        assert shown == shared.rows.keys() - gone - {"050.jpg"}  # which has no item
        alone = searched.search_parts([Part(query(1), {"item": 1})], 60, group=False, less=["017.jpg"])
        assert {hit.id for hit in alone.hits} == shared.rows.keys() - {"017.jpg"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "expected k as a whole number of at least 1, found 0"),
        ({"offset": -1}, "expected offset as a whole number of at least 0, found -1"),
        ({"offset": 1.0}, "expected offset as a whole number"),
        ({"threshold": 1.5}, "expected threshold as a number from -1 to 1, found 1.5"),
        ({"threshold": float("nan")}, "expected threshold as a number from -1 to 1, found nan"),
        ({"threshold": "0.5"}, "expected threshold as a number from -1 to 1, found '0.5'"),
        ({"where": "colour ="}, "expected a value"),
        ({"more": ["nobody.jpg"]}, "no image 'nobody.jpg' in index"),
        ({"less": ["003.jpg", "nobody.jpg"]}, "no image 'nobody.jpg' in index"),
        ({"more": ["003.jpg"], "less": ["004.jpg", "003.jpg"]}, "image '003.jpg' is wanted both more and less of"),
        ({"parts": []}, "a query needs at least one image"),
        ({"parts": [Part(query(0), {"itm": 1})]}, "unknown attribute 'itm'; did you mean 'item'"),
    ],
)
def test_mistakes(ways: dict[str, Index], options: dict[str, Any], message: str) -> None:
    for searched in ways.values():
        with pytest.raises(SearchIndexError, match=message):
            searched.search_parts(**{"parts": [Part(query(0))], **options})


# An engine that finds roughly ------------------------------------------------------------------------------


class Forgetful:
    """Ranks exactly, but loses a third of the rows, others for every number of rows that it is asked for."""

    def __init__(self, rows: pa.Table, vectors: np.ndarray) -> None:
        self.rows, self.flat = rows, vectors

    def nearest(self, vector: np.ndarray, limit: int, where: Compare | None = None) -> pa.Table:
        lost = np.random.default_rng(limit).random(len(self.flat)) < 1 / 3
        passing = np.ones(len(self.flat), bool) if where is None else np.array(self.rows["meta_n"]) < where.value
        order = np.argsort(-(self.flat @ vector), kind="stable")
        chosen = [place for place in order.tolist() if passing[place] and not lost[place]]
        return self.rows.take(pa.array(chosen[:limit], pa.int64()))

    def read(self, columns: Any, ids: Any = None, where: Any = None) -> pa.Table:
        wanted = (where.parts[-1] if hasattr(where, "parts") else where).values
        keep = [item in wanted for item in self.rows[ITEM].to_pylist()]
        return self.rows.filter(pa.array(keep)).select(columns)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("where", [None, Compare(Column("n", "meta_n", "integer"), "<", 300)])
def test_pages_of_a_rough_engine_fit_together(grouped: bool, where: Any) -> None:
    generator = np.random.default_rng(0)
    flat = generator.normal(size=(400, 6)).astype(np.float16).astype(np.float32)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    table = pa.table(
        {
            "id": [f"{n:03}" for n in range(400)],
            ITEM: [None if n % 5 == 0 else f"i{n // 3}" for n in range(400)],
            "meta_n": range(400),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), 6),
        }
    )
    rough: Any = Forgetful(table, flat)
    searched = EngineGallery(rough, (6,))
    asked = generator.normal(size=6)
    question = Question([asked / np.linalg.norm(asked)], np.array([1.0]), where, grouped, frozenset(["007", "011"]))

    def pages(cut: int, stop: int) -> list[Any]:
        found = [searched.page(question, start, start + cut) for start in range(0, stop, cut)]
        assert all(page.left for page in found)
        for page in found:
            scores = [result.score for result in page.results]
            assert scores == sorted(scores, reverse=True)
            assert page.rows["id"].to_pylist() == [result.id for result in page.results]
            np.testing.assert_allclose(page.vectors[0] @ asked / np.linalg.norm(asked), scores, atol=1e-6)
        return [result for page in found for result in page.results]

    keys = [result.key for result in pages(6, 120)]
    assert len(set(keys)) == len(keys) == 120
    for cut in (8, 24, 60):
        assert {result.key for result in pages(cut, 120)} == set(keys)
    assert not {"007", "011"} & {name for result in pages(24, 120) for name in (result.id, *result.others)}
    everything = searched.page(question, 0, 1000)
    assert not everything.left
    assert set(keys) <= {result.key for result in everything.results}
