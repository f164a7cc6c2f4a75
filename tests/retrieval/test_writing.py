"""Images written to an index one by one: the meaning of ``lapel index``, and both looking after the same rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lapel import Index
from lapel.errors import ImageError, LapelError
from lapel.retrieval.lance_store import LanceStore
from lapel.retrieval.new_images import EntryError, NewImage
from lapel.retrieval.versions import mark
from lapel.retrieval.writing import Removal, Writer

from .picture_world import PictureWorld, expected, kept_files, new, picture, whole

SAID: dict[str, Any] = {
    "item": "i0",
    "labels": {"colour": ["Red"]},
    "metadata": {"name": "mine", "price": 40},
    "split": "test",
    "domain": "shop",
}


@pytest.fixture
def world(tmp_path: Path) -> PictureWorld:
    world = PictureWorld(tmp_path).fill(12)
    world.index()
    return world


def test_what_is_written_is_found(world: PictureWorld) -> None:
    embedder = world.embedder()
    assert world.writer(embedder).upsert([new("mine", **SAID), new("other")]) == ["added", "added"]
    assert embedder.embedded == ["pixels"] * 2
    index = whole(world)
    assert len(index) == 14
    np.testing.assert_allclose(index.vectors("mine"), expected("mine"), atol=1e-6)
    entry = index.get("mine")
    assert (entry.item, entry.labels) == ("i0", {"colour": ("Red",)})
    assert entry.metadata == {"name": "mine", "price": 40}
    assert Path(kept_files(world)[0]).read_bytes() in (picture("mine"), picture("other"))
    assert index.search(world.photos / "003.jpg", k=1)[0].id == "003.jpg"
    hits = index.search_vector(expected("mine"), k=2, where="split = 'test' and price = 40")
    assert [hit.id for hit in hits] == ["mine"]


def test_each_kind_of_change(world: PictureWorld) -> None:
    embedder = world.embedder()
    writer = world.writer(embedder)
    writer.upsert([new("mine", **SAID)])
    before = mark(world.index_path)
    assert writer.upsert([new("mine", **SAID)]) == ["unchanged"]
    assert mark(world.index_path) == before  # nothing was written
    assert writer.upsert([new("mine", **{**SAID, "labels": {"colour": ["Blue"]}})]) == ["updated"]
    assert embedder.embedded == ["pixels"]
    index = whole(world)
    assert index.get("mine").labels == {"colour": ("Blue",)}
    np.testing.assert_allclose(index.vectors("mine"), expected("mine"), atol=1e-6)
    assert writer.upsert([new("mine", "another picture")]) == ["changed"]
    assert embedder.embedded == ["pixels"] * 2
    index = whole(world)
    np.testing.assert_allclose(index.vectors("mine"), expected("another picture"), atol=1e-6)
    assert (index.get("mine").item, index.get("mine").labels) == (None, {})  # what is not said any more is gone
    assert writer.upsert([new("mine", "another picture", box=(0, 0, 9, 9))]) == ["changed"]
    assert len(embedder.embedded) == 3
    assert writer.upsert([new("mine", "another picture", box=[0, 0, 9, 9])]) == ["unchanged"]
    assert writer.delete(["mine", "nobody", "mine"]) == 1
    assert writer.delete(["mine"]) == 0
    assert len(whole(world)) == 12


def test_boxes_are_kept_also_where_there_was_no_column_for_them(world: PictureWorld) -> None:
    store = LanceStore.open(world.index_path)
    store.reshape(pa.schema([field for field in store.schema if field.name != "box"]))
    assert world.writer().upsert([new("whole"), new("cut", "whole", box=(0, 0, 9.5, 9))]) == ["added"] * 2
    index = whole(world)
    assert (index.get("whole").box, index.get("cut").box, index.get("000.jpg").box) == (None, (0, 0, 9.5, 9), None)
    assert not np.array_equal(index.vectors("whole"), index.vectors("cut"))
    assert world.index().unchanged == 12


def test_a_row_of_the_catalogue(world: PictureWorld) -> None:
    """The same bytes and labels are unchanged, whoever wrote them first."""
    embedder = world.embedder()
    writer = world.writer(embedder)
    cells = world.rows["004.jpg"]
    same = NewImage(
        "004.jpg",
        world.photo("004.jpg"),
        item=cells["item"],
        labels={"colour": cells["colour"].split("|")},
        metadata={"price": cells["price"], "name": cells["name"]},
    )
    assert writer.upsert([same]) == ["unchanged"]
    assert writer.upsert([NewImage("004.jpg", world.photo("004.jpg"), labels={"colour": "Green"})]) == ["updated"]
    assert embedder.embedded == []
    assert kept_files(world) == []
    assert whole(world).get("004.jpg").image == str(world.photos / "004.jpg")
    assert world.index().updated == 1  # the catalogue's word is the last
    assert whole(world).get("004.jpg").labels == {"colour": tuple(cells["colour"].split("|"))}


def test_indexing_leaves_written_rows_alone(world: PictureWorld) -> None:
    writer = world.writer()
    writer.upsert([new("mine", **SAID), new("fit", metadata={"fit": "slim"}), new("002.jpg", "over the catalogue's")])
    writer.delete(["003.jpg"])
    del world.rows["005.jpg"]
    world.add("new.jpg")
    report = world.index()
    # 002 as the catalogue has it, 003 is back, 005 is gone
    assert (report.added, report.changed, report.updated, report.removed, report.unchanged) == (2, 1, 0, 1, 9)
    index = whole(world)
    assert {"mine", "fit", "new.jpg", "002.jpg", "003.jpg"} <= set(index.gallery.snapshot.rows["id"].to_pylist())
    assert index.get("mine").metadata == {"name": "mine", "price": 40, "fit": None}
    assert index.get("fit").metadata["fit"] == "slim"
    assert index.get("002.jpg").image == str(world.photos / "002.jpg")
    np.testing.assert_allclose(index.vectors("002.jpg"), expected("002.jpg"), atol=1e-6)
    before = mark(world.index_path)
    assert world.index().unchanged == 12
    assert mark(world.index_path) == before
    assert world.writer().upsert([new("mine", **SAID)]) == ["unchanged"]


def test_what_the_catalogue_lists_later_is_the_catalogues(world: PictureWorld) -> None:
    world.writer().upsert([new("020.jpg", item="written")])
    world.add("020.jpg", item="listed")
    embedder = world.embedder()
    assert world.index(embedder).updated == 1  # the same picture is not embedded again
    assert embedder.embedded == []
    assert whole(world).get("020.jpg").image == str(world.photos / "020.jpg")
    del world.rows["020.jpg"]
    assert world.index().removed == 1


def test_a_written_row_stays_where_the_catalogues_picture_cannot_be_read(world: PictureWorld) -> None:
    world.writer().upsert([new("020.jpg")])
    world.rows["020.jpg"] = {"item": "listed"}
    report = world.index(max_failed=0.2)
    assert (len(report.skipped), report.removed) == (1, 0)
    assert whole(world).get("020.jpg").item is None


def test_the_catalogue_moves_and_written_rows_stay(world: PictureWorld, tmp_path: Path) -> None:
    world.writer().upsert([new("mine")])
    moved = PictureWorld(tmp_path / "elsewhere").fill(12)
    moved.index_path.parent.mkdir(exist_ok=True)
    from lapel.retrieval.indexing import index_catalogue

    report = index_catalogue(moved.catalogue(), world.embedder(), world.index_path, quiet=True)
    assert (report.unchanged, report.removed) == (12, 0)
    assert len(whole(world)) == 13


def test_rows_of_several_runs(tmp_path: Path) -> None:
    world = PictureWorld(tmp_path).fill(6)
    runs = [world.embedder(), world.embedder("items", fingerprint="1" * 64, attributes=("item",), dim=16)]
    world.index(runs)
    index = Index.open(world.index_path, encoder=[run.embed for run in runs])
    assert Writer(world.index_path, lambda: index).upsert([new("mine"), new("again", "mine")]) == ["added"] * 2
    found = index.refresh().vectors("mine")
    np.testing.assert_allclose(np.stack(found[:3]), expected("mine"), atol=1e-6)
    np.testing.assert_allclose(found[3:], expected("mine", 1, 16), atol=1e-6)
    assert [run.embedded[-1:] for run in runs] == [["pixels"], ["pixels"]]  # the same picture once


BAD: list[tuple[Callable[[], NewImage], type[LapelError], str]] = [
    (lambda: new(""), EntryError, "expected an id"),
    (lambda: new("a", metadata={"price": "cheap"}), EntryError, "'price' holds whole numbers in this index"),
    (lambda: new("a", labels={"name": ["x"]}), EntryError, "'name' is in the metadata of this index"),
    (lambda: NewImage("a", b"<html>"), ImageError, "an HTML page saved as an image"),
    (lambda: NewImage("a", picture(1)[:-40]), ImageError, "truncated|damaged"),
    (lambda: NewImage("a", b""), ImageError, "expected the bytes of an image file, found bytes b''"),
    (lambda: NewImage("a", "path.jpg"), ImageError, "expected the bytes of an image file, found str"),  # type: ignore[arg-type]
    (lambda: new("a", box=(5, 5, 5, 9)), ImageError, "is empty: x2 must exceed x1"),
    (lambda: new("a", box=(50, 50, 90, 90)), ImageError, "nothing to see"),
]


@pytest.mark.parametrize(("bad", "kind", "message"), BAD)
def test_all_or_none(world: PictureWorld, bad: Callable[[], NewImage], kind: type[LapelError], message: str) -> None:
    before = mark(world.index_path)
    with pytest.raises(kind, match=message):
        world.writer().upsert([new("good"), bad()])
    assert mark(world.index_path) == before
    assert kept_files(world) == []


def test_each_for_itself(world: PictureWorld) -> None:
    """What is wrong with one change is told in its place, and the others are done, in their order."""
    found = world.writer().write(
        [
            new("a", metadata={"fit": "slim"}),
            NewImage("b", b"no image"),
            Removal(["a", "000.jpg", "nobody"]),
            new("a", "second", metadata={"fit": "wide"}),
            new("c", metadata={"fit": 7}),
            Removal(["d", ""]),
            new("d", "a"),
            new("001.jpg"),
            Removal(["d"]),
        ]
    )
    assert [outcome if not isinstance(outcome, LapelError) else type(outcome).__name__ for outcome in found] == [
        "added",
        "DecodeError",
        2,
        "added",
        "EntryError",
        "EntryError",
        "added",
        "updated",
        1,
    ]
    index = whole(world)
    assert set(index.gallery.snapshot.rows["id"].to_pylist()) == {"a", *(f"{n:03}.jpg" for n in range(1, 12))}
    assert index.get("a").metadata["fit"] == "wide"
    np.testing.assert_allclose(index.vectors("a"), expected("second"), atol=1e-6)
    assert len(kept_files(world)) == 1


def test_deleted_and_written_again_at_once(world: PictureWorld) -> None:
    embedder = world.embedder()
    assert world.writer(embedder).write([Removal(["000.jpg"]), new("000.jpg", item="again")]) == [1, "added"]
    assert whole(world).get("000.jpg").item == "again"
    assert embedder.embedded == []  # its vectors are still those


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_no_vector_of_a_model_gone_wrong(world: PictureWorld, value: float) -> None:
    index = Index.open(world.index_path, encoder=lambda images: np.full((len(images), 3, 8), value, np.float32))
    with pytest.raises(EntryError, match="NaN, infinity or length 0"):
        Writer(world.index_path, lambda: index).upsert([new("a")])
    assert len(whole(world)) == 12


def test_the_index_opened_by_the_writer_itself(world: PictureWorld) -> None:
    with pytest.raises(LapelError, match="run"):  # a fake run has no model
        Writer(world.index_path).upsert([new("a")])
    assert Writer(world.index_path).delete(["000.jpg"]) == 1
