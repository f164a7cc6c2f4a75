"""One index of several runs: vectors of different sizes mixed in a search, images of one item as one hit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapel import Index
from lapel.errors import SearchIndexError
from lapel.retrieval.gallery import MemoryGallery
from lapel.retrieval.snapshot import Snapshot

from .two_runs import DIMS, NAMES, index, opened, runs, stored, told
from .ways import in_memory, ways


@pytest.fixture(scope="module")
def shared(lasting_world: Any) -> Any:
    """60 images of 30 items; 40 and 41 have the same bytes, 50 to 53 no item, and item i2 has four images."""
    world = lasting_world.fill(60)
    world.add("041.jpg", "040.jpg", **world.rows["041.jpg"])
    for number in range(50, 54):
        world.rows[f"0{number}.jpg"]["item"] = None
    for number in (17, 33):
        world.rows[f"0{number}.jpg"]["item"] = "i2"
    index(world)
    return world


def slow_search(
    world: Any,
    query: list[np.ndarray],
    weights: Mapping[str, float],
    k: int,
    colour: str | None,
    grouped: bool,
    without: str = "",
) -> list[tuple[str, float, tuple[str, ...]]]:
    """(id, score, others): every image scored by a loop, sorted, folded by a loop."""
    scores = {}
    for name, vectors in stored(world).items():
        cells = world.rows[name]
        if name == without or (colour is not None and colour not in (cells["colour"] or "").split("|")):
            continue
        score = 0.0
        for number, attribute in enumerate(NAMES):
            unit = query[number] / np.linalg.norm(query[number])
            score += weights.get(attribute, 0) * float(unit @ vectors[number])
        scores[name] = score
    order = sorted(scores, key=lambda name: (-round(scores[name], 9), name))
    hits: list[tuple[str, float, list[str]]] = []
    for name in order:
        item = world.rows[name]["item"]
        same = [hit for hit in hits if grouped and item is not None and world.rows[hit[0]]["item"] == item]
        if same:
            same[0][2].append(name)
        else:
            hits.append((name, scores[name], []))
    return [(name, score, tuple(others)) for name, score, others in hits[:k]]


WEIGHTS = st.dictionaries(
    st.sampled_from(NAMES), st.floats(-3, 3).filter(lambda weight: abs(weight) > 0.01), min_size=1
)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 99),
    weights=WEIGHTS,
    k=st.sampled_from([1, 3, 10, 60]),
    colour=st.sampled_from([None, "Red"]),
    group=st.sampled_from([None, True, False]),
)
def test_every_way_equals_a_slow_float64_search(
    shared: Any, seed: int, weights: dict[str, float], k: int, colour: str | None, group: bool | None
) -> None:
    generator = np.random.default_rng(seed)
    query = [generator.normal(size=dim) for dim in DIMS]
    grouped = "item" in weights if group is None else group
    expected = slow_search(shared, query, weights, k, colour, grouped)
    where = None if colour is None else f"colour = '{colour}'"
    for way, found in ways(lambda: opened(shared)).items():
        hits = found.search_vector(query, weights, k, where, group)
        assert told(hits) == [(name, others) for name, _, others in expected], way
        np.testing.assert_allclose([hit.score for hit in hits], [score for _, score, _ in expected], atol=1e-6)
        assert all(tuple(hit.scores) == NAMES for hit in hits)


@pytest.mark.parametrize("group", [None, False])
def test_an_image_of_the_index_is_left_out_of_its_own_results(shared: Any, group: bool | None) -> None:
    query = stored(shared)["004.jpg"]
    expected = slow_search(shared, query, {"item": 1}, 60, None, group is None, without="004.jpg")
    for way, found in ways(lambda: opened(shared)).items():
        hits = found.search_id("004.jpg", {"item": 1}, 60, group=group)
        assert told(hits) == [(name, others) for name, _, others in expected], way


def test_what_an_index_says_of_itself(shared: Any) -> None:
    found = opened(shared)
    assert (found.attributes, found.dims) == (NAMES, DIMS)
    assert [source.run for source in found.record.sources] == [str(shared.root / name) for name in ("run", "items")]
    assert found.record.width == sum(DIMS)
    for expected, vectors in (
        (stored(shared)["007.jpg"], way.vectors("007.jpg")) for way in ways(lambda: opened(shared)).values()
    ):
        assert [len(vector) for vector in vectors] == [*DIMS]
        for ours, theirs in zip(vectors, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert [len(vector) for vector in found.encode(shared.photos / "007.jpg")] == [*DIMS]


def test_only_runs_that_weigh_embed_the_picture(shared: Any) -> None:
    asked: list[str] = []

    def noted(one: Any) -> Any:
        def embed(images: Any) -> np.ndarray:
            asked.append(one.run.name)
            return np.asarray(one.embed(images))

        return embed

    found = opened(shared, encoder=[noted(one) for one in runs(shared)])
    picture = shared.photos / "012.jpg"
    (hit,) = found.search(picture, {"item": 1}, 1)
    assert (asked, tuple(hit.scores)) == (["items"], ("item",))
    (hit,) = found.search(picture, {"pattern": 1}, 1)
    assert (asked, tuple(hit.scores)) == (["items", "run"], NAMES[:3])
    (hit,) = found.search(picture, {"pattern": 1, "item": 0.5}, 1)
    assert asked == ["items", "run", "run", "items"]
    assert (hit.id, tuple(hit.scores)) == ("012.jpg", NAMES)
    assert hit.score == pytest.approx(1.5, abs=1e-3)


def test_only_blocks_that_weigh_are_compared(shared: Any) -> None:
    """Vectors of another attribute could be anything: what is asked for is found by its own block alone."""
    found = opened(shared)
    assert isinstance(found.gallery, MemoryGallery)
    expected = [hit.id for hit in found.search_id("003.jpg", {"item": 1}, 5, group=False)]
    whole = found.gallery.snapshot
    poisoned = tuple(
        block if name == "item" else np.full_like(block, np.nan)
        for name, block in zip(NAMES, whole.vectors, strict=True)
    )
    found.gallery = MemoryGallery(Snapshot(whole.rows, poisoned))
    query = [None, None, None, whole.vectors[3][3]]
    assert [hit.id for hit in found.search_vector(query, {"item": 1}, 6, group=False)][1:] == expected


def test_the_approximate_engine_groups_too(world: Any) -> None:
    world.fill(300)
    for number, cells in enumerate(world.rows.values()):
        cells["item"] = f"i{number % 5}"  # so that the first 32 rows are of few items
    index(world, exact_below=100, commit_rows=150)
    found, exact = opened(world), in_memory(opened(world))
    assert not found.exact
    generator = np.random.default_rng(0)
    for where in (None, "colour = 'Red'"):
        query = [generator.normal(size=dim) for dim in DIMS]
        hits = found.search_vector(query, {"item": 1, "colour": 0.5}, 5, where)
        assert hits == exact.search_vector(query, {"item": 1, "colour": 0.5}, 5, where)
        assert len(hits) == 5
        assert sum(1 + len(hit.others) for hit in hits) == (300 if where is None else 150)


# Where the runs are --------------------------------------------------------------------------------------


def test_runs_that_moved_are_known_by_their_weights(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from lapel.retrieval import embedder as embedding

    index(world.fill(6) and world)
    known = dict(zip(("run", "moved"), runs(world), strict=True))
    (world.root / "items").rename(world.root / "moved")
    loaded: list[str] = []

    def load(run: Path) -> Any:
        loaded.append(run.name)
        return known[run.name]

    monkeypatch.setattr(embedding, "load", load)
    picture = world.photos / "004.jpg"
    assert Index.open(world.index_path).search(picture, {"pattern": 1}, 1)[0].id == "004.jpg"
    with pytest.raises(SearchIndexError, match=r"built with run .*/items; expected it at .*/items, which is not there"):
        Index.open(world.index_path).search(picture, {"item": 1})
    found = Index.open(world.index_path, run=[world.root / "moved"])
    assert found.search(picture, {"item": 1, "pattern": 1}, 1)[0].id == "004.jpg"
    assert loaded == ["run", "run", "moved"]
    other = world.embedder("other", fingerprint="2" * 64)
    with pytest.raises(SearchIndexError, match=r"built with runs .*, but run .*/other has other weights"):
        Index.open(world.index_path, run=other.run)
    with pytest.raises(SearchIndexError, match="vectors of 2 runs, each with an encoder of its own; found 1"):
        Index.open(world.index_path, encoder=other.embed)


def test_refreshing_keeps_what_is_loaded(world: Any) -> None:
    index(world.fill(6) and world)
    found = opened(world)
    index(world.fill(2, start=6) and world)
    again = found.refresh()
    assert len(again) == 8
    assert again.search(world.photos / "007.jpg", {"item": 1}, 1)[0].id in ("006.jpg", "007.jpg")


def test_mistakes_in_a_query(shared: Any) -> None:
    found = opened(shared)
    with pytest.raises(SearchIndexError, match=r"query of 4 vectors of shapes .*\(16,\), found shape \(4, 8\)"):
        found.search_vector(np.ones((4, 8)))
    with pytest.raises(SearchIndexError, match="needs a vector for each attribute that weighs"):
        found.search_vector([None, *(np.ones(dim) for dim in DIMS[1:])], {"neckline": 1})
    with pytest.raises(SearchIndexError, match="finite and not zero"):
        found.search_vector([np.zeros(dim) for dim in DIMS])


def test_an_index_without_items_says_how_to_get_them(world: Any) -> None:
    world.fill(3).index()
    with pytest.raises(SearchIndexError, match=r"unknown attribute 'item'.*index with an item run too"):
        world.open().search_id("000.jpg", {"item": 1})
    hits = world.open().search_id("000.jpg", group=True)  # grouping needs no item run
    assert told(hits) == [("001.jpg", ()), ("002.jpg", ())] or told(hits) == [("002.jpg", ()), ("001.jpg", ())]
