"""Indexing again does no work twice, loses nothing when stopped, and refuses what it should not touch."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lapel.errors import ImageError, LapelError, SearchIndexError
from lapel.retrieval import snapshot
from lapel.retrieval.indexing import index_catalogue
from lapel.retrieval.lance_store import LanceStore, state


def counts(report: Any) -> tuple[int, int, int, int, int, int]:
    parts = (report.added, report.changed, report.updated, report.removed, report.unchanged)
    return (*parts, len(report.skipped))


def holds(world: Any) -> None:
    """Check that the index is exactly the catalogue: ids, vectors, cells."""
    index, expected = world.open(), world.expected()
    assert len(index) == len(expected)
    for name, vectors in expected.items():
        np.testing.assert_allclose(index.vectors(name), vectors, atol=1e-6)
        entry, cells = index.get(name), world.rows[name]
        assert entry.item == cells.get("item")
        assert entry.labels.get("colour") == (tuple(cells["colour"].split("|")) if cells.get("colour") else None)
        assert {k: v for k, v in entry.metadata.items() if v is not None} == {
            k: v for k, v in cells.items() if k not in ("item", "colour") and v is not None
        }


def test_first_time_and_again(world: Any) -> None:
    world.fill(30)
    assert counts(world.index()) == (30, 0, 0, 0, 0, 0)
    holds(world)
    before = sorted((path.name, path.stat().st_mtime_ns) for path in world.index_path.rglob("*"))
    embedder = world.embedder()
    assert counts(world.index(embedder)) == (0, 0, 0, 0, 30, 0)
    assert embedder.embedded == []
    assert sorted((path.name, path.stat().st_mtime_ns) for path in world.index_path.rglob("*")) == before


def test_added_changed_updated_removed(world: Any) -> None:
    world.fill(20).index()
    world.add("new.jpg", item="n")
    world.add("003.jpg", "other bytes", **world.rows["003.jpg"])
    world.rows["004.jpg"]["colour"] = "Green|Red"
    world.rows["005.jpg"]["price"] = 99
    del world.rows["006.jpg"], world.rows["007.jpg"]
    embedder = world.embedder()
    assert counts(world.index(embedder)) == (1, 1, 2, 2, 15, 0)
    assert sorted(embedder.embedded) == ["003.jpg", "new.jpg"]
    holds(world)
    assert {hit.id for hit in world.open().search_id("new.jpg", where="colour = 'Green'")} == {"004.jpg"}


def test_columns_come_go_and_change_type(world: Any) -> None:
    world.fill(12).index()
    for number, cells in enumerate(world.rows.values()):
        cells["price"] = 0.5 + number
        del cells["name"]
    world.rows["002.jpg"]["season.eu"] = "winter"
    embedder = world.embedder()
    assert counts(world.index(embedder)) == (0, 0, 12, 0, 0, 0)
    assert embedder.embedded == []
    holds(world)
    columns = world.open().columns
    assert columns["price"] == "number"
    assert columns["season.eu"] == "text"
    assert "name" not in columns


def test_unreadable_images_are_listed_and_leave(world: Any) -> None:
    world.fill(40).index()
    world.add("003.jpg", "bad: it is HTML", **world.rows["003.jpg"])
    (world.photos / "005.jpg").unlink()
    report = world.index()
    assert counts(report) == (0, 0, 0, 2, 38, 2)
    assert [(f.path.name, f.reason) for f in report.skipped] == [
        ("003.jpg", "bad: it is HTML"),
        ("005.jpg", "bad: no such file"),
    ]
    with pytest.raises(SearchIndexError, match=r"no image '003.jpg'"):
        world.open().get("003.jpg")
    world.add("003.jpg", "mended", **world.rows["003.jpg"])
    assert counts(world.index()) == (1, 0, 0, 0, 38, 1)
    before = state(world.index_path)
    assert counts(world.index()) == (0, 0, 0, 0, 39, 1)
    assert state(world.index_path) == before
    assert world.open().record.complete


@pytest.mark.parametrize(
    ("bad", "max_failed", "stops"), [(3, 0.1, True), (2, 0.1, False), (1, 0.0, True), (1, 0.01, False)]
)
def test_more_than_a_share_unreadable_stops(world: Any, bad: int, max_failed: float, stops: bool) -> None:
    world.fill(20).index()
    for number in range(bad):
        world.add(f"{number:03}.jpg", f"bad: number {number}", **world.rows[f"{number:03}.jpg"])
    if not stops:
        assert world.index(max_failed=max_failed).removed == bad
        return
    with pytest.raises(ImageError, match=f"{bad} of 20 images cannot be read.*\n.*000.jpg: bad: number 0"):
        world.index(max_failed=max_failed)
    assert len(world.open()) == 20  # nothing was removed


def test_missing_files_stop_before_embedding(world: Any) -> None:
    world.fill(20)
    for number in range(8):
        (world.photos / f"{number:03}.jpg").unlink()
    embedder = world.embedder()
    with pytest.raises(ImageError, match="8 of 20 image files are missing"):
        world.index(embedder)
    assert embedder.embedded == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_interrupted_then_resumed(world: Any, error: type[BaseException]) -> None:
    world.fill(40)
    first = world.embedder(crash_after=5, error=error)  # 20 images seen, commits of 8
    with pytest.raises(error):
        world.index(first)
    kept = 20 if error is KeyboardInterrupt else 16
    assert len(world.open()) == kept  # usable meanwhile
    assert not world.open().record.complete
    second = world.embedder()
    assert counts(world.index(second)) == (40 - kept, 0, 0, 0, kept, 0)
    assert set(second.embedded).isdisjoint(first.embedded[:kept])
    holds(world)
    assert (world.open().record.complete, world.open().record.count) == (True, 40)
    world.add("000.jpg", "other bytes", **world.rows["000.jpg"])
    with pytest.raises(error):
        world.index(world.embedder(crash_after=0, error=error))
    assert not world.open().record.complete


def test_stopped_before_the_snapshot(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world.fill(10)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "_fill", full)
        with pytest.raises(LapelError, match="disk full"):
            world.index()
    assert not list(world.index_path.glob("snapshot*"))
    assert counts(world.index()) == (0, 0, 0, 0, 10, 0)
    assert world.open()._store is None  # answered from the snapshot


KILLED = """
import sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
from conftest import World
world = World(Path({root!r}))
world.fill(240)
embedder = world.embedder()
plain = embedder.embed_paths
def slow(*args, **options):
    for part in plain(*args, **options):
        time.sleep(0.005)
        yield part
embedder.embed_paths = slow
print("start", flush=True)
world.index(embedder)
"""


def test_killed_then_resumed(world: Any) -> None:
    code = KILLED.format(tests=str(Path(__file__).parent), root=str(world.root))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        give_up = time.monotonic() + 60
        while (state(world.index_path) or "0") < "4" and time.monotonic() < give_up:
            time.sleep(0.01)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    kept = len(LanceStore.open(world.index_path))
    assert 0 < kept < 240
    assert kept % 8 == 0
    world.fill(240)
    embedder = world.embedder()
    assert counts(world.index(embedder)) == (240 - kept, 0, 0, 0, kept, 0)
    assert len(embedder.embedded) == 240 - kept
    holds(world)


def test_readers_see_whole_commits_only(world: Any) -> None:
    world.fill(64).index()
    for name, cells in world.rows.items():
        world.add(name, f"second {name}", **cells)
    old = {name: world.open().vectors(name) for name in world.rows}
    seen: list[int] = []
    trouble: list[BaseException] = []
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                index = world.open()
                changed = sum(not np.array_equal(index.vectors(name), old[name]) for name in old)
                seen.append(changed)
                assert len(index) == 64
        except BaseException as error:
            trouble.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert world.index().changed == 64
    finally:
        done.set()
        reader.join()
    assert trouble == []
    assert all(changed % 8 == 0 for changed in seen)
    assert seen == sorted(seen)


def test_one_image_with_several_boxes(world: Any) -> None:
    world.fill(2)
    table = world.catalogue().images
    boxes = pa.array([[0.0, 0.0, 5.0, 5.0], [1.0, 2.0, 9.0, 9.5]], pa.list_(pa.float64()))
    twice = pa.array(["000.jpg", "000.jpg"])
    images = table.set_column(0, "image", twice).set_column(table.column_names.index("box"), "box", boxes)
    catalogue = world.catalogue()
    object.__setattr__(catalogue, "images", images)
    assert index_catalogue(catalogue, world.embedder(), world.index_path, quiet=True).added == 2
    index = world.open()
    first, second = index.vectors("000.jpg#0,0,5,5"), index.vectors("000.jpg#1,2,9,9.5")
    assert not np.array_equal(first, second)
    assert index.get("000.jpg#0,0,5,5").image == str(world.photos / "000.jpg")


def test_same_image_twice_is_refused(world: Any) -> None:
    world.fill(3)
    catalogue = world.catalogue().take([0, 1, 0])
    with pytest.raises(SearchIndexError, match=r"lists image '000.jpg' 2 times \(images 1 and 3\)"):
        index_catalogue(catalogue, world.embedder(), world.index_path, quiet=True)


def test_refuses_another_run(world: Any) -> None:
    world.fill(4).index()
    before = state(world.index_path)
    with pytest.raises(SearchIndexError, match=r"built with run .*/run \(weights ffff.*has other weights \(0000"):
        world.index(world.embedder(fingerprint="0" * 64))
    assert state(world.index_path) == before


def test_refuses_another_catalogue(world: Any, tmp_path: Path) -> None:
    world.fill(4).index()
    other = type(world)(tmp_path / "elsewhere")
    other.root.mkdir()
    other.fill(3, start=100)
    with pytest.raises(SearchIndexError, match="shares no image with 'photos'"):
        index_catalogue(other.catalogue(), world.embedder(), world.index_path, quiet=True)
    assert len(world.open()) == 4


def test_photos_that_moved_are_not_embedded_again(world: Any, tmp_path: Path) -> None:
    world.fill(4).index()
    moved = type(world)(tmp_path / "elsewhere")
    moved.root.mkdir()
    moved.fill(4)
    report = index_catalogue(moved.catalogue(), world.embedder(), world.index_path, quiet=True)
    assert counts(report) == (0, 0, 0, 0, 4, 0)
    assert world.open().get("000.jpg").image == str(moved.photos / "000.jpg")


def test_refuses_a_folder_of_other_files(world: Any) -> None:
    world.fill(4)
    world.index_path.mkdir()
    (world.index_path / "thesis.doc").write_text("mine")
    with pytest.raises(SearchIndexError, match=r"is not an index and holds other files \(thesis.doc\)"):
        world.index()
    assert [path.name for path in world.index_path.iterdir()] == ["thesis.doc"]
    (world.root / "file").write_text("")
    with pytest.raises(SearchIndexError, match="is a file; expected a folder"):
        index_catalogue(world.catalogue(), world.embedder(), world.root / "file", quiet=True)


def test_one_writer_at_a_time(world: Any) -> None:
    world.fill(4).index()
    with (world.index_path / ".lock").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(SearchIndexError, match="another process is indexing"):
            world.index()
    assert world.index().unchanged == 4


def test_vectors_that_are_not_finite_are_refused(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world.fill(4)
    embedder = world.embedder()
    monkeypatch.setattr(
        embedder, "embed_paths", lambda *args, **options: iter([(np.arange(4), np.full((4, 3, 8), np.nan))])
    )
    with pytest.raises(SearchIndexError, match=r"NaN or infinity for 000.jpg"):
        world.index(embedder)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_max_failed_is_a_share(world: Any, share: float) -> None:
    with pytest.raises(SearchIndexError, match="share from 0 to 1"):
        world.fill(1).index(max_failed=share)
