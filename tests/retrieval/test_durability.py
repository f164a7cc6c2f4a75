"""Killed at any point, on a full disk, with a second writer: what was acknowledged is there, and nothing is torn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lapel import Index
from lapel.errors import LapelError
from lapel.retrieval import snapshot
from lapel.retrieval.indexing import index_catalogue
from lapel.retrieval.lance_store import LanceStore
from lapel.retrieval.locking import IndexBusy

from .killing import ROOT, Nursery, notes, settle
from .picture_world import PictureWorld, expected, kept_files, new

KILLED = -9


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    started = Nursery.start()
    yield started
    started.stop()


@pytest.fixture
def world(tmp_path: Path) -> PictureWorld:
    world = PictureWorld(tmp_path).fill(8)
    world.index()
    return world


def check(world: PictureWorld) -> dict[str, Any]:
    """Check that the index opens, searches and holds all that was acknowledged; return what it holds.

    Of a change that was not finished all or nothing is there, and that is what the notes say from then on.
    """
    state, tried = notes(world.root)
    index = world.open()
    engine = snapshot.Snapshot.load(LanceStore.open(world.index_path), index.record)
    there = set(engine.rows["id"].to_pylist())
    assert len(there) == engine.rows.num_rows == len(index)
    half = {name for change in tried for name in change}
    for name, seed in state.items():
        if name not in half:
            assert (name in there) == (seed is not None), name
    for name in sorted(there):
        entry, vectors = index.get(name), index.vectors(name)
        if not name.startswith("w"):
            continue
        np.testing.assert_allclose(vectors, expected(entry.metadata["seed"]), atol=1e-6)
        assert Path(entry.image).is_file()
        assert entry.metadata["seed"] in (state.get(name), *(change.get(name) for change in tried))
    for change in tried:  # whole, or not at all
        done = {name: index.get(name).metadata["seed"] if name in there else None for name in change}
        assert done in (change, {name: state.get(name) for name in change})
        state |= done
    settle(world.root, state)
    if there:
        some = sorted(there)[0]
        assert index.search_vector(index.vectors(some), k=1)[0].score == pytest.approx(3, abs=1e-5)
    return dict.fromkeys(there)


def resumes(world: PictureWorld) -> None:
    """Check that writing and indexing go on, and leave the index answered from its snapshot again."""
    writer = world.writer()
    assert set(writer.upsert([new("x-more", "more", metadata={"seed": "more"})])) <= {"added", "unchanged"}
    index = world.open()
    assert index._store is None
    np.testing.assert_allclose(index.vectors("x-more"), expected("more"), atol=1e-6)
    assert {f"{n:03}.jpg" for n in range(8)} <= set(check(world))
    writer.delete(["x-more"])


STOPS = [
    ("kept.keep", "before", 1),
    ("kept.release", "after", 1),
    ("lance_store:LanceStore.upsert", "before", 2),
    ("lance_store:LanceStore.upsert", "after", 2),
    ("lance_store:LanceStore.delete", "after", 1),
    ("lance_store:LanceStore.reshape", "after", 1),
    ("changes.append", "after", 2),
    ("snapshot:_Pointer.write", "before", 2),
    ("snapshot._fill", "after", 1),
    ("snapshot.remove", "before", 1),
    ("lance_store:LanceStore.tidy", "after", 1),
]


@pytest.mark.parametrize(("stop", "when", "nth"), STOPS)
def test_killed_at_a_chosen_point(world: PictureWorld, nursery: Nursery, stop: str, when: str, nth: int) -> None:
    assert nursery.run(world.root, "write", seed=1, stop=stop, when=when, nth=nth) == KILLED
    check(world)
    resumes(world)


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment(world: PictureWorld, nursery: Nursery, seed: int) -> None:
    """Three times in a row, each after some changes and within a few hundredths of a second."""
    random = np.random.default_rng(seed)
    done = 0
    for turn in range(3):
        done += int(random.integers(1, 6))
        status = nursery.run(
            world.root, "write", seed=seed * 10 + turn, kill=done, wait=float(random.random() * 0.05), count=30
        )
        assert status == KILLED
        check(world)
        done = (world.root / "notes").read_text().count('"done"')
    resumes(world)


def test_not_killed(world: PictureWorld, nursery: Nursery) -> None:
    assert nursery.run(world.root, "write", seed=3, count=16) == 0
    state, tried = notes(world.root)
    assert (len(state) > 8, tried) == (True, [])
    written = {name for name, seed in state.items() if seed is not None}
    assert set(check(world)) == written | set(world.rows)
    resumes(world)


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"stop": "lance_store:LanceStore.upsert", "when": "after", "nth": 3}, KILLED),
        ({"stop": "lance_store:LanceStore.reshape", "when": "after", "nth": 1}, KILLED),
        ({"stop": "lance_store:LanceStore.tidy", "when": "after", "nth": 1}, KILLED),
        ({"stop": "snapshot._fill", "when": "after", "nth": 1}, KILLED),
        ({"stop": "layout:IndexRecord.write", "when": "after", "nth": 1}, KILLED),
        ({"kill": 0, "wait": 0.12}, KILLED),
    ],
)
def test_indexing_killed_among_written_rows(
    world: PictureWorld, nursery: Nursery, options: dict[str, Any], status: int
) -> None:
    """A catalogue of other pictures, and prices that are no whole numbers any more."""
    written = {f"w{number}": f"seed {number}" for number in range(3)}
    said = {"price": 40, "name": "n"}
    world.writer().upsert([new(n, seed, metadata={"seed": seed, **said}) for n, seed in written.items()])
    (world.root / "notes").write_text('["try", {}]\n["done", {}]\n')
    for name, seed in written.items():
        with (world.root / "notes").open("a") as stream:
            stream.write(f'["try", {{"{name}": "{seed}"}}]\n["done", {{"{name}": "{seed}"}}]\n')
    assert nursery.run(world.root, "index", files=20, seed=1, price=0.5, **options) in (status, 0)
    assert set(written) <= set(check(world))
    for number in range(20):
        world.add(f"{number:03}.jpg", f"1 {number}", item=f"i{number}", price=number * 0.5)
    report = index_catalogue(world.catalogue(), world.embedder(), world.index_path, quiet=True)
    assert (report.skipped, report.removed) == ([], 0)
    there = check(world)
    assert set(there) == set(world.rows) | set(written)
    index = world.open()
    assert index._store is None
    for name in written:
        assert {key: index.get(name).metadata[key] for key in said} == said
    for number, name in enumerate(world.rows):
        np.testing.assert_allclose(index.vectors(name), expected(f"1 {number}"), atol=1e-6)


def test_a_second_process_is_refused(world: PictureWorld) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom lapel.retrieval.locking import only_writer\n"
        f"with only_writer(Path({str(world.index_path)!r})):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, **pipes) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(IndexBusy, match="another process is indexing"):
                world.writer(patience=0.05).upsert([new("a")])
            with pytest.raises(IndexBusy, match="another process is indexing"):
                world.index()
        finally:
            holder.kill()  # and the lock goes with it
    assert world.writer().upsert([new("a")]) == ["added"]


def test_a_writer_that_waits_gets_its_turn(world: PictureWorld) -> None:
    """Threads with a writer each: none fails, nothing is lost."""
    trouble: list[BaseException] = []

    def work(number: int) -> None:
        try:
            writer = world.writer(patience=60)
            for step in range(4):
                seed = f"{number} {step}"
                writer.upsert([new(f"w{number}-{step}", seed, metadata={"seed": seed}), new("shared", seed)])
        except BaseException as error:
            trouble.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trouble == []
    settle(world.root, {f"w{number}-{step}": f"{number} {step}" for number in range(3) for step in range(4)})
    assert len(check(world)) == 8 + 12 + 1


@pytest.mark.parametrize("size", [0, 300, 1000, 4000])
def test_no_file_may_grow_past_a_size(world: PictureWorld, nursery: Nursery, size: int) -> None:
    """What a full disk does: writing fails half-way through one file or another."""
    assert nursery.run(world.root, "fill", size=size) == 0
    told = json.loads((world.root / "told").read_text())
    assert (told[0], told[4]) == ("added", "added")
    assert size > 300 or "added" not in told[1:4]
    with (world.root / "notes").open("w") as stream:
        for number, outcome in enumerate(told):
            for kind in ("try", "done") if outcome == "added" else ("try",):  # refused, but perhaps there
                stream.write(json.dumps([kind, {f"w{number}": str(number)}]) + "\n")
    check(world)
    resumes(world)


def test_reading_while_writing(world: PictureWorld) -> None:
    """A reader that opens the index again and again sees every change whole, and never fewer rows than before."""
    trouble: list[BaseException] = []
    done = threading.Event()

    def read() -> None:
        most = 0
        try:
            while not done.is_set():
                index = Index.open(world.index_path, encoder=world.embedder().embed)
                pairs = [row for row in index.gallery.snapshot.rows["id"].to_pylist() if row.startswith("w")]
                assert len(pairs) % 2 == 0
                assert len(index) >= most
                most = len(index)
        except BaseException as error:
            trouble.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        writer = world.writer()
        for step in range(20):
            writer.upsert([new(f"w{step}a"), new(f"w{step}b")])
            if step % 5 == 4:
                writer._commits, writer._tidied = 1000, -float("inf")
                assert writer.rest()
    finally:
        done.set()
        reader.join()
    assert trouble == []
    assert len(world.open()) == 48


def test_nothing_is_left_lying_about(world: PictureWorld, nursery: Nursery) -> None:
    """Files of killed writers go with the next tidying, an hour later."""
    for stop in ("kept.keep", "snapshot._fill"):
        assert nursery.run(world.root, "write", seed=1, stop=stop, when="after") == KILLED
    for path in (*kept_files(world), *world.index_path.glob("snapshot-*")):
        os.utime(path, (time.time() - 4000,) * 2)
    world.add("new.jpg")
    world.index()
    index = world.open()
    used = {Path(index.get(name).image) for name in check(world)}
    assert {path for path in kept_files(world) if path not in used} == set()
    assert len(list(world.index_path.glob("snapshot-*"))) == 2
    with pytest.raises(LapelError):
        index.get("nobody")
