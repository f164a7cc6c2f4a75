"""An opened index: its version, another one put in its place, many images at once, many threads at once."""

from __future__ import annotations

import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lapel import Index
from lapel.errors import ImageError, SearchIndexError
from lapel.retrieval import embedder as embedding
from lapel.retrieval import gallery
from lapel.retrieval import opened as opening
from lapel.retrieval.indexing import index_catalogue
from lapel.retrieval.parts import Part
from lapel.retrieval.versions import mark

from .two_runs import DIMS, NAMES, index, opened, runs, stored
from .ways import by_engine


@pytest.fixture(scope="module")
def shared(lasting_world: Any) -> Any:
    world = lasting_world.fill(40)
    index(world)
    return world


# Many images ------------------------------------------------------------------------------------------------


def test_each_run_embeds_all_images_in_one_pass(shared: Any) -> None:
    passes: list[tuple[str, int]] = []

    def noted(one: Any) -> Any:
        def embed(images: Any) -> np.ndarray:
            passes.append((one.run.name, len(images)))
            return np.asarray(one.embed(images))

        return embed

    found = opened(shared, encoder=[noted(one) for one in runs(shared)])
    names = ["003.jpg", "011.jpg", "003.jpg"]
    every = found.encode_many([shared.photos / name for name in names])
    assert passes == [("run", 3), ("items", 3)]
    for name, vectors in zip(names, every, strict=True):
        assert tuple(len(vector) for vector in vectors) == DIMS
        for ours, theirs in zip(vectors, found.encode(shared.photos / name), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    passes.clear()
    assert found.encode_many([]) == []
    assert passes == []


def test_each_image_has_its_own_box(shared: Any) -> None:
    def mean_of(images: Any) -> np.ndarray:
        colours = [np.asarray(image).reshape(-1, 3).mean(0) for image in images]
        return np.array([[np.resize(colour, 8)] * 3 for colour in colours])

    picture = np.zeros((20, 30, 3), np.uint8)
    picture[:, 15:, 0] = 200
    found = opened(shared, encoder=[mean_of, lambda images: np.ones((len(images), 1, 16))])
    left, right, whole = found.encode_many([picture] * 3, [(0, 0, 15, 20), (15, 0, 30, 20), None])
    assert (left[0][0], right[0][0], whole[0][0]) == (0, 200, 100)
    np.testing.assert_array_equal(found.encode(picture, (15, 0, 30, 20))[0], right[0])
    with pytest.raises(SearchIndexError, match="a box or None for each of 2 images, found 1"):
        found.encode_many([picture] * 2, [None])
    with pytest.raises(ImageError, match="box"):
        found.encode_many([picture], [(40, 0, 50, 20)])
    wrong = opened(shared, encoder=[mean_of, lambda _: np.ones((1, 1, 16))])
    with pytest.raises(SearchIndexError, match=r"gave shape \(1, 1, 16\), the index needs \(2, 1, 16\)"):
        wrong.encode_many([picture] * 2)


def test_vectors_of_many_in_the_order_asked(shared: Any) -> None:
    expected = stored(shared)
    names = ["031.jpg", "002.jpg", "031.jpg", "000.jpg"]
    engine = by_engine(opened(shared))
    for found in (opened(shared), engine):
        for name, vectors in zip(names, found.vectors_of(names), strict=True):
            for ours, theirs in zip(vectors, expected[name], strict=True):
                np.testing.assert_allclose(ours, theirs, atol=1e-6)
        assert found.vectors_of([]) == []
        with pytest.raises(SearchIndexError, match=r"no image 'x.jpg' in index"):
            found.vectors_of(["002.jpg", "x.jpg"])


def test_an_entry_has_its_box(world: Any) -> None:
    catalogue = world.fill(2).catalogue()
    boxes = pa.array([[1.0, 2.5, 30.0, 28.0], None], pa.list_(pa.float64()))
    place = catalogue.images.column_names.index("box")
    object.__setattr__(catalogue, "images", catalogue.images.set_column(place, "box", boxes))
    index_catalogue(catalogue, world.embedder(), world.index_path, quiet=True)
    found = world.open()
    assert [found.get(name).box for name in ("000.jpg", "001.jpg")] == [(1, 2.5, 30, 28), None]
    assert found.search_id("001.jpg")[0].box == (1, 2.5, 30, 28)


# Versions ---------------------------------------------------------------------------------------------------


def test_the_version_changes_with_each_write(world: Any) -> None:
    world.fill(6).index()
    found = world.open()
    assert found.version == world.open().version == mark(world.index_path)
    assert not found.stale
    assert found.refresh() is found
    world.index()
    assert (found.stale, found.refresh().version) == (False, found.version)  # nothing was written
    seen = {found.version}
    for start in (6, 8):
        world.fill(2, start=start).index()
        assert found.stale
        found = found.refresh()
        seen.add(found.version)
    assert len(seen) == 3
    assert len(found) == found.count() == 10
    assert mark(world.root / "nowhere") == ""


def test_another_index_in_its_place_is_seen(tmp_path: Path, world: Any) -> None:
    """With the same number of writes, so that the engine's own version numbers are the same."""
    world.fill(6).index()
    found = world.open()
    other = type(world)(tmp_path / "other")
    other.root.mkdir()
    other.fill(9).index(other.embedder(fingerprint="e" * 64))
    world.index_path.rename(tmp_path / "away")
    assert found.stale
    with pytest.raises(SearchIndexError, match="there is no such folder"):
        found.refresh()
    assert len(found.search_id("003.jpg")) == 5  # what is open can be searched on
    other.index_path.rename(world.index_path)
    again = found.refresh()
    assert (len(again), again.record.sources[0].fingerprint, again.stale) == (9, "e" * 64, False)
    assert again.version != found.version
    assert len(found.search_id("003.jpg")) == 5


def test_a_swap_between_record_and_rows_is_not_mixed(
    tmp_path: Path, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other runs of the same sizes: the record of the one and the vectors of the other would look whole."""
    world.fill(6).index()
    other = type(world)(tmp_path / "other")
    other.root.mkdir()
    other.fill(7).index(other.embedder(fingerprint="e" * 64))
    read = type(world.open().record).read

    def swapped(folder: Path) -> Any:
        record = read(folder)
        if other.index_path.exists():
            folder.rename(tmp_path / "away")
            other.index_path.rename(folder)
        return record

    monkeypatch.setattr("lapel.retrieval.opened.IndexRecord.read", swapped)
    found = world.open()
    assert (len(found), found.record.sources[0].fingerprint) == (7, "e" * 64)


def test_a_swap_to_rows_that_do_not_fit_the_record(tmp_path: Path, world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors of another size, in the place of an index without a snapshot, fit the record of the new index alone."""
    world.fill(6).index()
    (world.index_path / "snapshot.json").unlink()
    other = type(world)(tmp_path / "other")
    other.root.mkdir()
    other.fill(7).index(other.embedder(fingerprint="e" * 64, dim=16))
    (other.index_path / "snapshot.json").unlink()
    read = type(world.open().record).read

    def swapped(folder: Path) -> Any:
        record = read(folder)
        if other.index_path.exists():
            folder.rename(tmp_path / "away")
            other.index_path.rename(folder)
        return record

    monkeypatch.setattr("lapel.retrieval.opened.IndexRecord.read", swapped)
    found = world.open()
    assert (len(found), found.dims) == (7, (16, 16, 16))


def test_a_reader_waits_for_the_snapshot_of_a_commit_made_just_now(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the commit of the table and its snapshot: all rows are not read from the engine for that."""
    world.fill(6).index()
    pointer = world.index_path / "snapshot.json"
    shown = pointer.read_text()
    pointer.write_text(shown.replace('"state": "', '"state": "1'))
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            pointer.write_text(shown)

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(opening, "PATIENCE_S", 1000.0)
    found = world.open()
    assert (found._store, len(found), len(slept)) == (None, 6, 3)
    # Shown after the snapshot was looked for, and before it was asked whether it is behind.
    pointer.write_text(shown.replace('"state": "', '"state": "1'))
    monkeypatch.setattr(opening.snapshot, "is_behind", lambda _: pointer.write_text(shown) < 0)
    assert world.open()._store is None
    monkeypatch.undo()
    # A writer that was killed in between: it is not waited for.
    pointer.write_text(shown.replace('"state": "', '"state": "1'))
    monkeypatch.setattr(opening, "PATIENCE_S", -1.0)
    found = world.open()
    assert (found._store is not None, len(found)) == (True, 6)


def test_runs_that_are_none_of_the_new_index_are_forgotten(world: Any) -> None:
    index(world.fill(6) and world)
    moved = [one.run for one in runs(world)]
    found = Index.open(world.index_path, run=moved)
    shutil.rmtree(world.index_path)
    world.index(world.embedder(fingerprint="e" * 64))
    again = found.refresh()
    assert again.attributes == NAMES[:3]
    assert again._encoders.runs == (moved[0],)  # this folder holds the new run now; items is none of the new index


# Threads ----------------------------------------------------------------------------------------------------


def calls(world: Any, found: Index) -> list[Any]:
    """One search after the other: all that an index can be asked, as values to compare."""
    (vectors,) = found.vectors_of(["005.jpg"])
    answers: list[Any] = []
    for number in range(6):
        name = f"{number:03}.jpg"
        answers += [
            found.search_id(name, {"item": 1}, 7),
            found.search_parts([Part(vectors), Part(found.vectors_of([name])[0])], 5, number, "price > 1", True),
            found.search_parts([Part(vectors)], 5, more=[name], less=["030.jpg"]),
            found.likely(vectors, "colour", {name}),
            found.facets("price > 2"),
            found.facets(),
            found.get(name),
            found.search(world.photos / name, {"pattern": 1}, 3),
        ]
    return answers


@pytest.mark.parametrize("way", ["snapshot", "engine"])
def test_many_threads_get_what_one_gets(shared: Any, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "FIRST", 8)
    known = {one.run.name: one for one in runs(shared)}
    loaded: list[str] = []

    def load(run: Path) -> Any:
        loaded.append(run.name)
        time.sleep(0.05)
        return known[run.name]

    monkeypatch.setattr(embedding, "load", load)
    expected = calls(shared, opened(shared))
    assert loaded == []
    found = Index.open(shared.index_path)  # nothing in it is loaded yet
    if way == "engine":
        by_engine(found)
    together = threading.Barrier(6)

    def work(_: int) -> list[Any]:
        together.wait()
        return calls(shared, found)

    with ThreadPoolExecutor(6) as pool:
        for answers in pool.map(work, range(6)):
            assert answers == expected
    assert loaded == ["run"]  # once, and the run of items, which no search needed, not at all
