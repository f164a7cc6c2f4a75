"""Indexing with several runs, and records of the first version, which knew one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lapel.errors import SearchIndexError
from lapel.retrieval.layout import IndexRecord

from .two_runs import NAMES, index, opened, runs, stored


def test_again_embeds_only_what_is_new_in_whatever_order_runs_are_given(world: Any) -> None:
    world.fill(20)
    assert index(world).added == 20
    world.add("new.jpg", item="n")
    world.add("003.jpg", "other bytes", **world.rows["003.jpg"])
    both = runs(world)[::-1]
    report = index(world, both)
    assert (report.added, report.changed, report.unchanged) == (1, 1, 19)
    assert [sorted(one.embedded) for one in both] == [["003.jpg", "new.jpg"]] * 2
    assert opened(world).attributes == NAMES
    for name, expected in stored(world).items():
        for ours, theirs in zip(opened(world).vectors(name), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_interrupted_then_resumed(world: Any) -> None:
    world.fill(40)
    first = runs(world)
    first[1].crash_after = 5  # 20 images seen by both, commits of 8
    with pytest.raises(RuntimeError):
        index(world, first)
    assert len(opened(world)) == 16
    second = runs(world)
    assert index(world, second).added == 24
    assert [len(one.embedded) for one in second] == [24, 24]
    assert len(opened(world).search_id("000.jpg", {"item": 1}, 60, group=False)) == 39


def test_an_image_that_one_run_cannot_read_is_left_out(world: Any) -> None:
    world.fill(12)
    both = runs(world)
    both[0].refused = (b"002.jpg", b"006.jpg")
    both[1].refused = (b"006.jpg",)
    report = index(world, both, max_failed=0.2)
    assert (report.added, [failure.path.name for failure in report.skipped]) == (10, ["002.jpg", "006.jpg"])
    assert {hit.id for hit in opened(world).search_id("000.jpg", k=60, group=False)}.isdisjoint({"002.jpg", "006.jpg"})


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ([0], r"has vectors of run .*/items too, and a row has those of all its runs: give --run for each"),
        ([1], r"has vectors of run .*/run too"),
        ([0, 1, 2], r"built with runs .*/run \(weights f{12}\), .*/items \(weights 1{12}\), but run .*/other"),
        ([0, 0], r"all embed 'neckline', 'pattern', 'colour', and a search could not say which is meant"),
        ([], "at least one run"),
    ],
)
def test_other_runs_are_refused(world: Any, chosen: list[int], message: str) -> None:
    index(world.fill(4) and world)
    other = world.embedder("other", fingerprint="2" * 64, attributes=("brand",), dim=4)
    all_runs = [*runs(world), other]
    with pytest.raises(SearchIndexError, match=message):
        world.index([all_runs[number] for number in chosen])
    assert len(opened(world)) == 4


def test_vectors_without_length_are_refused(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world.fill(4)
    both = runs(world)
    plain = both[1].vectors
    monkeypatch.setattr(both[1], "vectors", lambda data: plain(data) * (data != b"002.jpg"))
    with pytest.raises(SearchIndexError, match=r"the model gives a vector of length 0 for 002.jpg"):
        index(world, both)


# Records -------------------------------------------------------------------------------------------------


def make_old(world: Any) -> dict[str, Any]:
    """Write the index of one run as the first version of the record and of the snapshot did."""
    world.index()
    folder = world.index_path
    record = json.loads((folder / "index.json").read_text())
    (source,) = record.pop("sources")
    old = {**record, **source, "version": 1}
    (folder / "index.json").write_text(json.dumps(old))
    path = next(folder.glob("snapshot-*.npy"))
    np.save(path, np.load(path).reshape(3, -1, 8))
    return old


def test_an_index_of_the_first_version_is_read_and_kept_up(world: Any) -> None:
    world.fill(9).index()
    expected = world.open().search_id("003.jpg")
    old = make_old(world)
    assert {"run", "run_relative", "fingerprint", "attributes", "dim"} <= old.keys()
    found = world.open()
    assert found._store is None  # its snapshot is used
    assert found.search_id("003.jpg") == expected
    assert found.record == IndexRecord.read(world.index_path)
    embedder = world.embedder()
    assert world.index(embedder).unchanged == 9
    assert embedder.embedded == []
    world.add("new.jpg", item="n")
    assert world.index().added == 1
    assert json.loads((world.index_path / "index.json").read_text())["version"] == 2
    assert len(world.open()) == 10


def test_a_record_written_by_hand(tmp_path: Path) -> None:
    old = {
        "format": "lapel-index",
        "version": 1,
        "run": "/gone/run",
        "fingerprint": "abc",
        "attributes": ["neckline", "colour"],
        "dim": 8,
        "catalogue": "shop",
        "root": "/gone/photos",
        "exact_below": 1000,
        "complete": True,
        "count": 7,
        "run_relative": "../run",
        "root_relative": "../photos",
    }
    folder = tmp_path / "index"
    folder.mkdir()
    (folder / "index.json").write_text(json.dumps(old))
    found = IndexRecord.read(folder)
    (source,) = found.sources
    assert (source.run, source.fingerprint, source.attributes, source.dim) == (
        "/gone/run",
        "abc",
        ("neckline", "colour"),
        8,
    )
    assert (found.root, found.exact_below, found.complete, found.count) == ("/gone/photos", 1000, True, 7)
    (tmp_path / "run").mkdir()
    assert IndexRecord.read(folder).sources[0].run == str(tmp_path / "run")
    found.write(folder)
    assert IndexRecord.read(folder).sources[0].attributes == ("neckline", "colour")
