"""An index with shorter vectors: ranks as projecting by hand does, takes new images, and is whole or not there."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lapel import Index
from lapel.errors import LapelError, SearchIndexError
from lapel.retrieval import compressing
from lapel.retrieval.compressing import compress
from lapel.retrieval.copies_rows import shared
from lapel.retrieval.engines import open_store
from lapel.retrieval.indexing import index_catalogue
from lapel.retrieval.lance_store import LanceStore
from lapel.retrieval.layout import IndexRecord
from lapel.retrieval.locking import IndexBusy, only_writer
from lapel.retrieval.milvus_store import MilvusStore
from lapel.retrieval.moving import move
from lapel.retrieval.projection import load
from lapel.retrieval.writing import Writer

from ..milvus_server import MilvusServer
from .picture_world import PictureWorld, new

DIM, SHORT = 32, 8
Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> PictureWorld:
    """An index of 40 photographs, 3 attributes of 32 numbers, and ``short`` beside it; not to be changed."""
    world = PictureWorld(tmp_path_factory.mktemp("shop")).fill(40)
    world.index(world.embedder(dim=DIM))
    compress(world.index_path, world.root / "short", SHORT, quiet=True)
    return world


def opened(world: PictureWorld, folder: Path) -> Index:
    return Index.open(folder, encoder=world.embedder(dim=DIM).embed)


def by_hand(folder: Path, whole: Array) -> Array:
    """(A, D) vectors of an image as an index with shorter ones should have them: (A, d)."""
    (projection,) = load(folder, IndexRecord.read(folder))
    assert projection is not None
    found = [matrix.T.astype(np.float64) @ vector for matrix, vector in zip(projection.matrices, whole, strict=True)]
    short = np.stack([vector / np.linalg.norm(vector) for vector in found]).astype(np.float16).astype(np.float64)
    return np.asarray(short / np.linalg.norm(short, axis=1, keepdims=True))


def test_the_rest_of_a_row_stays(shop: PictureWorld) -> None:
    whole, short = (open_store(folder) for folder in (shop.index_path, shop.root / "short"))
    names = [name for name in whole.schema.names if name != "vector"]
    assert short.schema.names == whole.schema.names
    assert short.read(names).sort_by("id").equals(whole.read(names).sort_by("id"))
    record, before = IndexRecord.read(shop.root / "short"), IndexRecord.read(shop.index_path)
    assert record.dims == (SHORT,) * 3
    sources = tuple(replace(source, dim=DIM, projection="") for source in record.sources)
    assert replace(record, sources=sources) == before
    assert Index.open(shop.root / "short").exact


def test_it_ranks_as_projecting_by_hand_does(shop: PictureWorld) -> None:
    folder, weights = shop.root / "short", {"neckline": 1.0, "pattern": -0.5, "colour": 2.0}
    stored = Index.open(shop.index_path)
    short = {name: by_hand(folder, stored.vectors(name)) for name in shop.rows}
    index = opened(shop, folder)
    for query in ("003.jpg", "017.jpg"):
        wanted = {
            name: sum(weight * float(q @ x) for weight, q, x in zip(weights.values(), short[query], rows, strict=True))
            for name, rows in short.items()
        }
        order = sorted((name for name in wanted if name != query), key=lambda name: -wanted[name])
        hits = index.search_id(query, weights, k=39)
        assert [hit.id for hit in hits] == order
        np.testing.assert_allclose([hit.score for hit in hits], [wanted[name] for name in order], atol=2e-3)


def test_a_photograph_goes_through_the_same_projection(shop: PictureWorld) -> None:
    index = opened(shop, shop.root / "short")
    hit = index.search(shop.photo("007.jpg"), k=1)[0]
    assert (hit.id, round(hit.score, 3)) == ("007.jpg", 3.0)
    only = index.search(shop.photo("007.jpg"), {"pattern": 1}, k=1)[0]
    assert (only.id, round(only.score, 3)) == ("007.jpg", 1.0)
    raw = shop.embedder(dim=DIM).embed([shop.photo("007.jpg")])[0]
    np.testing.assert_allclose(index.encode(shop.photo("007.jpg")), by_hand(shop.root / "short", raw), atol=2e-3)


def test_new_images_go_through_the_same_projection(shop: PictureWorld, tmp_path: Path) -> None:
    """By indexing the catalogue, of which the rest is left alone, and one by one."""
    world = PictureWorld(tmp_path, dict(shop.rows))
    shutil.copytree(shop.photos, world.photos)
    shutil.copytree(shop.root / "short", world.index_path)
    before = IndexRecord.read(world.index_path)
    world.fill(3, start=40)
    embedder = world.embedder(dim=DIM)
    report = index_catalogue(world.catalogue(), embedder, world.index_path, quiet=True)
    assert (report.added, report.unchanged, len(embedder.embedded)) == (3, 40, 3)
    assert [source.projection for source in IndexRecord.read(world.index_path).sources] == [
        source.projection for source in before.sources
    ]
    index = opened(world, world.index_path)
    writer = Writer(world.index_path, lambda: index)
    assert writer.upsert([new("mine")]) == ["added"]
    index = index.refresh()
    for name, photo in (("041.jpg", world.photo("041.jpg")), ("mine", new("mine").image)):
        np.testing.assert_allclose(
            index.vectors(name), by_hand(world.index_path, embedder.embed([photo])[0]), atol=1e-3, err_msg=name
        )
    again = index_catalogue(world.catalogue(), world.embedder(dim=DIM), world.index_path, quiet=True)
    assert again.unchanged == 43
    with pytest.raises(SearchIndexError, match="attributes of 32 numbers, the run gives 3 of 8"):
        index_catalogue(world.catalogue(), world.embedder(dim=SHORT), world.index_path, quiet=True)


def test_kept_images_and_the_query_encoder_come_along(tmp_path: Path) -> None:
    world = PictureWorld(tmp_path).fill(20)
    world.index(world.embedder(dim=DIM))
    world.writer(world.embedder(dim=DIM)).upsert([new("mine")])
    (world.index_path / "query.onnx").write_bytes(b"a model")
    compress(world.index_path, tmp_path / "short", SHORT, quiet=True)
    shutil.rmtree(world.index_path)
    assert Path(Index.open(tmp_path / "short").get("mine").image).read_bytes() == new("mine").image
    assert (tmp_path / "short" / "query.onnx").read_bytes() == b"a model"


def test_shorter_again(shop: PictureWorld, tmp_path: Path) -> None:
    """The second index is shortened from what the run gives, by one projection."""
    compress(shop.index_path, tmp_path / "first", 16, quiet=True)
    compress(tmp_path / "first", tmp_path / "second", SHORT, quiet=True)
    index = opened(shop, tmp_path / "second")
    hit = index.search(shop.photo("011.jpg"), k=1)[0]
    assert (hit.id, round(hit.score, 2)) == ("011.jpg", 3.0)
    assert index.dims == (SHORT,) * 3


def test_runs_of_several_sizes(world: Any) -> None:
    """A run whose vectors are short enough keeps them."""
    world.fill(20)
    runs = [
        world.embedder(dim=DIM),
        world.embedder("items", fingerprint="1" * 64, attributes=("item",), dim=16),
    ]
    world.index(runs)
    done = compress(world.index_path, world.root / "short", 16, quiet=True)
    assert [(each.attribute, each.dim_before, each.dim_after) for each in done.attributes] == [
        *((name, 32, 16) for name in ("neckline", "pattern", "colour")),
        ("item", 16, 16),
    ]
    item = done.attributes[-1].lost
    assert item is not None
    assert (item.queries, item.before, tuple(item.difference)) == (20, item.after, (0, 0, 0))
    assert sorted(path.name for path in (world.root / "short").glob("projection*")) == ["projection.safetensors"]
    compress(world.index_path, world.root / "shorter", SHORT, quiet=True)
    for folder in ("short", "shorter"):
        index = Index.open(world.root / folder, encoder=[one.embed for one in runs])
        hit = index.search(world.photos / "004.jpg", {"item": 1, "colour": 1}, k=1)[0]
        assert (hit.id, round(hit.score, 2)) == ("004.jpg", 2.0)
    np.testing.assert_array_equal(
        Index.open(world.root / "short").vectors("003.jpg")[3], Index.open(world.index_path).vectors("003.jpg")[3]
    )


def test_what_it_says(shop: PictureWorld) -> None:
    done = json.loads((shop.root / "short" / "compression.json").read_text())
    assert (done["rows"], done["sampled"], done["bytes_before"], done["bytes_after"]) == (40, 40, 192, 48)
    neckline, _, colour = done["attributes"]
    assert neckline["lost"] is None
    assert 0.3 < neckline["kept"] < 1
    cost = colour["lost"]
    assert (cost["queries"], cost["candidates"]) == (30, 29)
    mean, low, high = cost["difference"]
    assert mean == pytest.approx(cost["after"] - cost["before"])
    assert low <= mean <= high
    assert done["overall"]["before"] == pytest.approx(cost["before"])


def test_the_same_index_gives_the_same(shop: PictureWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where only some of the rows are looked at."""
    monkeypatch.setattr(compressing, "SAMPLE", 25)
    first, second = (compress(shop.index_path, tmp_path / name, SHORT, quiet=True) for name in ("a", "b"))
    assert first == second
    assert (first.rows, first.sampled) == (40, 25)
    assert IndexRecord.read(tmp_path / "a").sources == IndexRecord.read(tmp_path / "b").sources
    assert IndexRecord.read(tmp_path / "a").sources != IndexRecord.read(shop.root / "short").sources


def test_more_rows_than_are_compared_one_by_one(world: Any) -> None:
    world.fill(40).index(world.embedder(dim=DIM), exact_below=20)
    compress(world.index_path, world.root / "short", SHORT, quiet=True)
    index = Index.open(world.root / "short", encoder=world.embedder(dim=DIM).embed)
    assert not index.exact
    assert index.search(world.photos / "009.jpg", k=1)[0].id == "009.jpg"


def test_a_copy_has_the_projection(shop: PictureWorld, tmp_path: Path) -> None:
    move(shop.root / "short", tmp_path / "copy", quiet=True)
    assert opened(shop, tmp_path / "copy").search(shop.photo("007.jpg"), k=1)[0].id == "007.jpg"


def test_vectors_of_other_projections_do_not_compare(shop: PictureWorld) -> None:
    whole, short = (IndexRecord.read(folder) for folder in (shop.index_path, shop.root / "short"))
    assert shared(short, short) == short.attributes
    with pytest.raises(SearchIndexError, match="vectors of the same run, but not shortened in the same way"):
        shared(whole, short)


@pytest.mark.parametrize(("data", "message"), [(None, "is missing: the vectors"), (b"x", "is not the projection that")])
def test_a_projection_that_is_not_the_index_s(
    shop: PictureWorld, tmp_path: Path, data: bytes | None, message: str
) -> None:
    folder = tmp_path / "middle"
    compress(shop.index_path, folder, 16, quiet=True)
    (folder / "projection.safetensors").unlink()
    if data is not None:
        (folder / "projection.safetensors").write_bytes(data)
    for call in (
        lambda: Index.open(folder),
        lambda: compress(folder, tmp_path / "other", SHORT, quiet=True),
        lambda: index_catalogue(shop.catalogue(), shop.embedder(dim=DIM), folder, quiet=True),
    ):
        with pytest.raises(SearchIndexError, match=message):
            call()


def test_an_open_index_follows_when_another_takes_its_place(shop: PictureWorld, tmp_path: Path) -> None:
    """Of the same run, shortened otherwise: photographs are then projected as the new one's were."""
    folder = tmp_path / "served"
    shutil.copytree(shop.index_path, folder)
    index = Index.open(folder)
    index._encoders._loaded[0] = shop.embedder(dim=DIM).embed
    assert index.search(shop.photo("007.jpg"), k=1)[0].id == "007.jpg"
    folder.rename(tmp_path / "old")
    shutil.copytree(shop.root / "short", folder)
    index = index.refresh()
    index._encoders._loaded[0] = shop.embedder(dim=DIM).embed
    assert round(index.search(shop.photo("007.jpg"), k=1)[0].score, 2) == 3.0
    assert index.dims == (SHORT,) * 3


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_stopped_in_the_middle(
    shop: PictureWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """Nothing is left; what a killed process left is no obstacle."""
    target, left = tmp_path / "out" / "short", tmp_path / "out" / ".short.compressing"
    with monkeypatch.context() as patch:

        def refuse(self: LanceStore, approximate: bool) -> None:
            assert left.is_dir()
            raise error

        patch.setattr(LanceStore, "tidy", refuse)
        with pytest.raises((KeyboardInterrupt, OSError)):
            compress(shop.index_path, target, SHORT, quiet=True)
    assert list((tmp_path / "out").iterdir()) == []
    left.mkdir()
    (left / "images.lance").mkdir()
    (left / "index.json").write_text("half of")
    target.mkdir()
    compress(shop.index_path, target, SHORT, quiet=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["short"]
    assert opened(shop, target).search(shop.photo("007.jpg"), k=1)[0].id == "007.jpg"


def test_disk_full(shop: PictureWorld, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("full_disk")
    with pytest.raises(LapelError, match="disk full while writing"):
        compress(shop.index_path, tmp_path / "short", SHORT, quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_compressed(shop: PictureWorld, tmp_path: Path) -> None:
    index = shop.index_path
    (tmp_path / "file").write_text("")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").write_text("")
    unfinished = tmp_path / "unfinished"
    shutil.copytree(index, unfinished)
    replace(IndexRecord.read(index), complete=False).write(unfinished)
    for source, target, dim, options, message in (
        (tmp_path / "nothing", "new", 8, {}, "is not an index"),
        (unfinished, "new", 8, {}, "is not finished: run lapel index again, then compress it"),
        (index, "file", 8, {}, "file is a file; expected a folder"),
        (index, "other", 8, {}, r"other holds something \(x\): give an empty or new folder"),
        (index, index, 8, {}, "is the index itself or inside it"),
        (index, index / "short", 8, {}, "is the index itself or inside it"),
        (index, "new", 0, {}, "expected a dim of 8, 16, 24 and so on, found 0"),
        (index, "new", -8, {}, "expected a dim of 8, 16, 24 and so on, found -8"),
        (index, "new", 12, {}, "expected a dim of 8, 16, 24 and so on, found 12"),
        (index, "new", 32, {}, "have 32 numbers: expected a dim below that, found 32"),
        (index, "new", 8, {"queries": 0}, "expected at least 1 query per attribute, found 0"),
    ):
        with pytest.raises(SearchIndexError, match=message):
            compress(source, tmp_path / target, dim, quiet=True, **options)
    with only_writer(index), pytest.raises(IndexBusy):
        compress(index, tmp_path / "new", 8, quiet=True)
    assert not (tmp_path / "new").exists()


@pytest.mark.milvus
def test_an_index_on_a_server(shop: PictureWorld, tmp_path: Path, milvus: MilvusServer) -> None:
    """Its rows come from there; the shorter ones are in the folder, and can go there."""
    move(shop.index_path, tmp_path / "there", uri=milvus.uri, quiet=True)
    compress(tmp_path / "there", tmp_path / "short", SHORT, quiet=True)
    record = move(tmp_path / "short", tmp_path / "back", uri=milvus.uri, quiet=True)
    assert IndexRecord.read(tmp_path / "short") == IndexRecord.read(shop.root / "short")
    for folder in (tmp_path / "short", tmp_path / "back"):
        hits = opened(shop, folder).search(shop.photo("007.jpg"), {"neckline": 1, "colour": -1}, k=5)
        wanted = opened(shop, shop.root / "short").search(shop.photo("007.jpg"), {"neckline": 1, "colour": -1}, k=5)
        assert [hit.id for hit in hits] == [hit.id for hit in wanted]
    for collection in (IndexRecord.read(tmp_path / "there").collection, record.collection):
        MilvusStore.open(milvus.uri, collection).drop()


def test_too_few_rows(world: Any) -> None:
    world.fill(7).index(world.embedder(dim=DIM))
    with pytest.raises(SearchIndexError, match="has 7 rows; 8 directions are found in 8 or more"):
        compress(world.index_path, world.root / "short", 8, quiet=True)


def test_a_row_of_which_nothing_is_left(world: Any) -> None:
    """One among many that is at right angles to all others."""
    world.fill(24)
    embedder = world.embedder(dim=DIM)
    embedder.vectors = lambda data: np.eye(DIM, dtype=np.float32)[[31 if data == b"023.jpg" else data[1] % 4] * 3]
    world.index(embedder)
    for n in range(4, 12):  # so that 8 directions have more in them than the lone row
        world.add(f"1{n:02}.jpg")
        world.add(f"2{n:02}.jpg")
    embedder.vectors = lambda data: np.eye(DIM, dtype=np.float32)[
        [31 if data == b"023.jpg" else int(data[1:3]) % 12] * 3
    ]
    world.index(embedder)
    with pytest.raises(SearchIndexError, match=r"of image '023.jpg' nothing is left in 8 numbers: give a larger dim"):
        compress(world.index_path, world.root / "short", 8, quiet=True)


def test_written_to_meanwhile(shop: PictureWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By another machine, which the lock does not hold."""
    shutil.copytree(shop.index_path, tmp_path / "index")
    measured = compressing._measured

    def meddling(*args: Any) -> Any:
        LanceStore.open(tmp_path / "index").delete(["003.jpg"])
        return measured(*args)

    monkeypatch.setattr(compressing, "_measured", meddling)
    with pytest.raises(SearchIndexError, match="was written to meanwhile: run the same command again"):
        compress(tmp_path / "index", tmp_path / "short", SHORT, quiet=True)
    assert not (tmp_path / "short").exists()
