"""Searching an index: what comes back, in which order, by whichever way it is read, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapel import Index
from lapel.errors import RunError, SearchIndexError
from lapel.retrieval import embedder as embedding
from lapel.retrieval.lance_store import LanceStore

from .ways import in_memory, ways

ATTRIBUTES = ("neckline", "pattern", "colour")


@pytest.fixture(scope="module")
def shared(lasting_world: Any) -> Any:
    """An index of 60 images; 40 and 41 have the same bytes, so the same vectors."""
    world = lasting_world.fill(60)
    world.add("041.jpg", "040.jpg", **world.rows["041.jpg"])
    world.index()
    return world


def brute_force(world: Any, query: np.ndarray, weights: dict[str, float], names: list[str]) -> list[tuple[str, float]]:
    """Score every image with a loop; best first, equal ones by id."""
    expected = world.expected()
    unit = query / np.linalg.norm(query, axis=1, keepdims=True)
    scores = {}
    for name in names:
        scores[name] = sum(weights.get(a, 0) * float(unit[n] @ expected[name][n]) for n, a in enumerate(ATTRIBUTES))
    return sorted(scores.items(), key=lambda pair: (-round(pair[1], 9), pair[0]))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 99),
    weights=st.dictionaries(st.sampled_from(ATTRIBUTES), st.floats(-3, 3).filter(lambda w: abs(w) > 0.01), min_size=1),
    k=st.sampled_from([1, 3, 10, 60, 500]),
    colour=st.sampled_from([None, "Red", "Blue"]),
)
def test_every_way_equals_brute_force(
    shared: Any, seed: int, weights: dict[str, float], k: int, colour: str | None
) -> None:
    query = np.random.default_rng(seed).normal(size=(3, 8))
    names = [n for n, cells in shared.rows.items() if colour is None or colour in (cells["colour"] or "").split("|")]
    expected = brute_force(shared, query, weights, names)[:k]
    where = None if colour is None else f"colour = '{colour}'"
    for way, index in ways(shared.open).items():
        hits = index.search_vector(query, weights, k, where)
        assert [hit.id for hit in hits] == [name for name, _ in expected], way
        np.testing.assert_allclose([hit.score for hit in hits], [score for _, score in expected], atol=1e-6)
        for hit in hits:
            total = sum(weights.get(name, 0) * cosine for name, cosine in hit.scores.items())
            assert hit.score == pytest.approx(total, abs=1e-9)
            assert tuple(hit.scores) == ATTRIBUTES


def test_a_hit(shared: Any) -> None:
    (hit,) = shared.open().search(shared.photos / "010.jpg", k=1)
    assert (hit.id, hit.image, hit.item) == ("010.jpg", str(shared.photos / "010.jpg"), "i5")
    assert hit.metadata == {"price": 3, "name": "name 10"}
    assert hit.labels == {"colour": ("Red", "Blue")}
    assert hit.score == pytest.approx(3, abs=1e-3)
    assert all(cosine <= 1 + 1e-6 for cosine in hit.scores.values())


def test_weights_live_in_the_query(shared: Any) -> None:
    index, image = shared.open(), shared.photos / "007.jpg"
    every = [hit.id for hit in index.search(image, k=60)]
    assert every == [hit.id for hit in index.search(image, dict.fromkeys(ATTRIBUTES, 1), 60)]
    assert every == [hit.id for hit in index.search(image, dict.fromkeys(ATTRIBUTES, 0.25), 60)]
    one = index.search(image, {"pattern": 1}, 60)
    assert [hit.id for hit in one] == [hit.id for hit in index.search(image, {"pattern": 1, "colour": 0}, 60)]
    assert [hit.score for hit in one] == [hit.scores["pattern"] for hit in one]
    less = [hit.score for hit in index.search(image, {"pattern": -1}, 60)]
    np.testing.assert_allclose(less, [-hit.score for hit in one][::-1])


def test_equal_scores_come_in_order_of_id(shared: Any) -> None:
    for index in ways(shared.open).values():
        hits = index.search(shared.photos / "040.jpg", {"neckline": 1}, 2)
        assert [hit.id for hit in hits] == ["040.jpg", "041.jpg"]
        assert hits[0].score == hits[1].score
        assert [hit.id for hit in index.search(shared.photos / "040.jpg", {"neckline": 1}, 1)] == ["040.jpg"]


def test_by_id_leaves_itself_out(shared: Any) -> None:
    for index in ways(shared.open).values():
        hits = index.search_id("040.jpg", k=3)
        assert hits[0].id == "041.jpg"
        assert "040.jpg" not in [hit.id for hit in hits]
        assert len(hits) == 3
        assert len(index.search_id("040.jpg", k=500)) == 59


def test_filter_before_ranking(shared: Any) -> None:
    index = shared.open()
    wanted = {name for name, cells in shared.rows.items() if cells["price"] == 6}
    assert {hit.id for hit in index.search_id("001.jpg", k=60, where="price = 6")} == wanted
    assert index.search_id("001.jpg", where="price > 1000") == []
    assert index.columns == {
        **dict.fromkeys(("image", "item", "split", "domain", "name"), "text"),
        "price": "integer",
        "colour": "labels",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": {"neklin": 1}}, "unknown attribute 'neklin'; did you mean 'neckline'"),
        ({"weights": {"neckline": 0}}, "every weight is zero"),
        ({"weights": {}}, "every weight is zero"),
        ({"weights": {"neckline": float("nan")}}, "expected the weight of 'neckline' as a number, found nan"),
        ({"weights": {"neckline": "1"}}, "expected the weight of 'neckline' as a number, found '1'"),
        ({"weights": {"neckline": True}}, "expected the weight of 'neckline' as a number"),
        ({"k": 0}, "whole number of at least 1, found 0"),
        ({"k": 2.5}, "whole number of at least 1, found 2.5"),
        ({"where": "colur = 'Red'"}, "unknown column 'colur'; did you mean 'colour'"),
        ({"where": "colour ="}, "expected a value"),
    ],
)
def test_mistakes_in_a_query(shared: Any, options: dict[str, Any], message: str) -> None:
    def never(_: Any) -> Any:
        raise AssertionError("a mistake must be found before the model is asked")

    index = shared.open(encoder=never)
    with pytest.raises(SearchIndexError, match=message):
        index.search("any.jpg", **options)
    with pytest.raises(SearchIndexError, match=message):
        index.search_id("001.jpg", **options)


def test_mistakes_in_vectors_and_ids(shared: Any) -> None:
    index = shared.open(encoder=lambda images: np.zeros((1, 2, 8)))
    with pytest.raises(SearchIndexError, match=r"gave shape \(1, 2, 8\), the index needs \(1, 3, 8\)"):
        index.search("any.jpg")
    with pytest.raises(SearchIndexError, match=r"query of shape \(3, 8\), found shape \(24,\)"):
        index.search_vector(np.ones(24))
    with pytest.raises(SearchIndexError, match="finite and not zero"):
        index.search_vector(np.zeros((3, 8)))
    for nonsense in ("abc", 5, [[1, [2]], [3], [4]], [{}, {}, {}]):
        with pytest.raises(SearchIndexError, match="expected a query of 3 vectors of numbers, found"):
            index.search_vector(nonsense)
    for way in ways(shared.open).values():
        with pytest.raises(SearchIndexError, match=r"no image '/abs/x.jpg' in index .*; ids are image paths under"):
            way.get("/abs/x.jpg")


def test_the_run_is_loaded_once_and_checked(shared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Path] = []

    def load(run: Path) -> Any:
        loaded.append(run)
        return shared.embedder()

    monkeypatch.setattr(embedding, "load", load)
    index = Index.open(shared.index_path)
    for name in ("001.jpg", "002.jpg"):
        assert index.search(shared.photos / name)[0].id == name
    assert loaded == [shared.root / "run"]


def test_a_run_that_is_not_the_index_s(world: Any) -> None:
    world.fill(3).index()
    world.embedder(fingerprint="0" * 64)  # trained again in the same folder
    with pytest.raises(SearchIndexError, match=r"/run \(weights f{12}\), but run .*/run has other weights \(0{12}\)"):
        Index.open(world.index_path).search(world.photos / "000.jpg")
    with pytest.raises(SearchIndexError, match="has other weights"):
        Index.open(world.index_path, run=world.root / "run")
    assert Index.open(world.index_path).search_id("000.jpg")  # no model needed
    (world.root / "run" / "model.safetensors").unlink()
    with pytest.raises(RunError, match=r"model\.safetensors"):
        Index.open(world.index_path, run=world.root / "run")
    (world.root / "run").rmdir()
    with pytest.raises(SearchIndexError, match=r"expected it at .*/run, which is not there.*run=FOLDER"):
        Index.open(world.index_path).search(world.photos / "000.jpg")


def test_folder_moved_with_its_run_and_photos(world: Any, tmp_path: Path) -> None:
    world.root = tmp_path / "old"
    world.root.mkdir()
    world.fill(3).index()
    (tmp_path / "old").rename(tmp_path / "new")
    index = Index.open(tmp_path / "new" / "index")
    assert index.record.sources[0].run == str(tmp_path / "new" / "run")
    assert index.get("000.jpg").image == str(tmp_path / "new" / "photos" / "000.jpg")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not an index: the folder has no index.json"),
        ("{", "cannot be read"),
        ("[]", "was not written by Lapel"),
        ('{"format": "other"}', "was not written by Lapel"),
        ('{"format": "lapel-index", "version": 9}', "has format version 9, this Lapel reads 1 to 2"),
        ('{"format": "lapel-index", "version": 1}', "altered or incomplete"),
    ],
)
def test_not_an_index(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "index.json").write_text(content)
    with pytest.raises(SearchIndexError, match=message):
        Index.open(tmp_path)


def test_no_folder_and_no_table(world: Any) -> None:
    with pytest.raises(SearchIndexError, match="there is no such folder"):
        Index.open(world.root / "nowhere")
    world.fill(3).index()
    (world.index_path / "images.lance").rename(world.root / "gone")
    with pytest.raises(SearchIndexError, match="has no rows yet"):
        Index.open(world.index_path)


def damage_pointer(folder: Path) -> None:
    (folder / "snapshot.json").write_text("{}")


def damage_vectors(folder: Path) -> None:
    next(folder.glob("*.npy")).write_bytes(b"\x93NUMPY")


def damage_rows(folder: Path) -> None:
    next(folder.glob("*.arrow")).write_bytes(b"")


def shorten_vectors(folder: Path) -> None:
    path = next(folder.glob("*.npy"))
    np.save(path, np.load(path)[:-1])


def older_snapshot(folder: Path) -> None:
    pointer = json.loads((folder / "snapshot.json").read_text())
    (folder / "snapshot.json").write_text(json.dumps({**pointer, "state": "1"}))


@pytest.mark.parametrize("damage", [damage_pointer, damage_vectors, damage_rows, shorten_vectors, older_snapshot])
def test_a_damaged_snapshot_is_not_used_and_is_mended(world: Any, damage: Any) -> None:
    world.fill(9).index()
    expected = world.open().search_id("003.jpg")
    damage(world.index_path)
    index = world.open()
    assert index._store is not None  # the engine answered
    assert index.search_id("003.jpg") == expected
    assert world.index().unchanged == 9
    assert world.open()._store is None


def test_refresh_shows_what_was_written_since(world: Any) -> None:
    world.fill(6).index()
    index = world.open()
    assert index.refresh() is index
    world.fill(2, start=6).index()
    assert index.stale
    assert len(index) == 6
    assert len(index.search_id("000.jpg", k=20)) == 5
    assert len(index.refresh()) == 8


def test_above_the_limit_the_engine_answers(world: Any) -> None:
    """An approximate index over 300 rows; with re-scoring, results equal exact search."""
    world.fill(300).index(exact_below=100, commit_rows=150)
    index = world.open()
    assert not index.exact
    assert not list(world.index_path.glob("snapshot*"))
    assert len(index) == 300
    assert {i.index_type for i in LanceStore.open(world.index_path).table.list_indices()} == {"IvfRq", "BTree"}
    exact = in_memory(world.open())
    rng = np.random.default_rng(0)
    for weights in ({"neckline": 1}, {"neckline": 1, "colour": -0.5}, None):
        query = rng.normal(size=(3, 8))
        for where in (None, "colour = 'Red' AND price < 4"):
            assert index.search_vector(query, weights, 5, where) == exact.search_vector(query, weights, 5, where)
    world.fill(10, start=300)
    assert world.index(exact_below=100).added == 10
    assert world.open().search(world.photos / "305.jpg", k=1)[0].id == "305.jpg"
    assert world.index(exact_below=1000).unchanged == 310  # and back
    assert world.open().exact
    assert LanceStore.open(world.index_path).table.list_indices() == []


def test_answering_needs_neither_engine_nor_deep_learning(shared: Any) -> None:
    code = (
        "import sys\nfrom lapel import Index\n"
        f"hits = Index.open({str(shared.index_path)!r}).search_id('003.jpg', where=\"colour = 'Red'\")\n"
        "assert len(hits) == 10\n"
        "print(sorted({'torch', 'lancedb', 'matplotlib'} & set(sys.modules)))"  # pandas: pyarrow loads it itself
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
