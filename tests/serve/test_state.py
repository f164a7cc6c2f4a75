"""Open indexes: swapped when theirs is written to or replaced, while requests go on with the one they began with."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from lapel.catalogue import Catalogue
from lapel.errors import LapelError, SearchIndexError
from lapel.retrieval.index import Index
from lapel.retrieval.lance_store import state as table_version
from lapel.retrieval.layout import IndexRecord
from lapel.retrieval.store import EngineUnavailable
from lapel.serve import state
from lapel.serve.errors import NotFound, NotReady
from lapel.serve.state import Opened, Served

from .shop import Seer, Shop, running

PIXELS = np.full((40, 40, 3), 90, np.uint8)


def part_of(shop: Shop, count: int) -> Catalogue:
    """The catalogue with its first pictures only."""
    return shop.catalogue.take(np.arange(count))


def opened(shop: Shop, **changes: Any) -> Served:
    served = Served(shop.settings(**changes), shop.read)
    served.open()
    return served


def retrained(shop: Shop) -> Shop:
    """The same shop with the vectors of other runs."""
    seers = [replace(seer, fingerprint=letter * 64, seed=9) for seer, letter in zip(shop.seers, "cd", strict=True)]
    for seer in seers:
        seer.write()
    return Shop(shop.root, shop.catalogue, seers)


def replace_folder(shop: Shop, new: Path) -> None:
    """As people do it by hand: there is a moment without an index."""
    shop.folder.rename(shop.folder.with_name("old"))
    new.rename(shop.folder)


def test_what_an_answer_says_of_its_index(shop: Shop) -> None:
    told = opened(shop).get().version
    assert (told.name, told.images) == ("shop", 48)
    assert [(run.name, run.fingerprint) for run in told.runs] == [("looks", "a" * 64), ("garments", "b" * 64)]
    assert told.version


def test_by_name(shop: Shop) -> None:
    served = opened(shop, indexes=(("a", shop.folder), ("b", shop.folder)))
    assert [served.get(name).name for name in (None, "a", "b")] == ["a", "a", "b"]
    assert served.readiness() == {"a": "ready", "b": "ready"}
    with pytest.raises(NotFound, match="unknown index 'c'"):
        served.get("c")


def test_not_open_yet(shop: Shop, tmp_path: Path) -> None:
    served = Served(shop.settings(), shop.read)
    with pytest.raises(NotReady, match="'shop' is not open: opening"):
        served.get()
    missing = Served(shop.settings(indexes=(("none", tmp_path / "none"),)))
    with pytest.raises(SearchIndexError, match="is not an index: there is no such folder"):
        missing.open()
    asyncio.run(missing.look("none"))
    assert "there is no such folder" in missing.readiness()["none"]


def test_a_write_is_taken_up(own_shop: Shop) -> None:
    served = opened(own_shop)
    before = served.get()
    asyncio.run(served.look("shop"))
    assert served.get() is before
    own_shop.reindex(part_of(own_shop, 40))
    asyncio.run(served.look("shop"))
    after = served.get()
    assert (len(before.index), len(after.index)) == (48, 40)
    assert after.version.version != before.version.version
    assert after.encoding is before.encoding  # the runs are the same: nothing is loaded again
    assert before.index.search_id(own_shop.images[44], k=3)  # a request that began before goes on


def test_vectors_of_another_projection_are_known_apart(own_shop: Shop) -> None:
    """A compressed index has its run's fingerprint, and must not be given query vectors of the full length."""
    shown = opened(own_shop).get()
    first, *rest = shown.sources
    record = replace(shown.index.record, sources=(replace(first, projection="a" * 64), *rest))
    compressed = Opened(shown.name, cast(Index, SimpleNamespace(record=record)), shown.encoding)
    assert compressed.fingerprints[0] != shown.fingerprints[0]
    assert compressed.fingerprints[1:] == shown.fingerprints[1:]


def test_a_folder_replaced_by_one_of_other_runs(own_shop: Shop) -> None:
    async def scenario() -> None:
        served = opened(own_shop)
        other = retrained(own_shop)
        other.reindex(part_of(own_shop, 30), own_shop.root / "new")
        with served.using() as before:
            replace_folder(own_shop, own_shop.root / "new")
            served._reader = other.read
            await served.look("shop")
            after = served.get()
            assert after.fingerprints == ("c" * 64, "d" * 64)
            assert len(after.index) == 30
            assert after.encoding is not before.encoding
            # Whoever holds the old one still has its encoders and its rows.
            old, new = await before.encoding.batcher(PIXELS), await after.encoding.batcher(PIXELS)
            assert not np.allclose(old[0], new[0])
            assert len(before.index.search_id(own_shop.images[0], k=48, group=False)) == 47
            watching = asyncio.create_task(served.watch())
            await asyncio.sleep(0.2)
            assert await before.encoding.batcher(PIXELS)  # not closed while somebody holds it
        await asyncio.sleep(0.2)
        with pytest.raises(NotReady):
            await before.encoding.batcher(PIXELS)
        watching.cancel()
        await served.close()

    asyncio.run(scenario())


def test_a_folder_replaced_by_one_of_the_same_version(own_shop: Shop) -> None:
    """Its table has the same number of versions; only its place tells that it is another one."""
    served = opened(own_shop)
    before = served.get()
    own_shop.reindex(part_of(own_shop, 40), own_shop.root / "new")
    assert table_version(own_shop.root / "new") == table_version(own_shop.folder)
    replace_folder(own_shop, own_shop.root / "new")
    asyncio.run(served.look("shop"))
    assert len(served.get().index) == 40
    assert served.get().version.version != before.version.version
    assert served.get().encoding is before.encoding


def test_what_is_open_goes_on_while_the_folder_is_gone_or_damaged(own_shop: Shop) -> None:
    served = opened(own_shop)
    before = served.get()
    own_shop.folder.rename(own_shop.root / "away")
    asyncio.run(served.look("shop"))
    assert served.get() is before
    assert served.readiness() == {"shop": "ready"}
    own_shop.folder.mkdir()
    (own_shop.folder / "index.json").write_text("{")
    asyncio.run(served.look("shop"))
    assert served.get() is before
    assert before.index.search_id(own_shop.images[0], k=2)


def test_the_watch_survives_what_nobody_foresaw(own_shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        served = opened(own_shop)
        before = served.get()
        newer = served._newer

        def fails(*_: Any) -> None:
            raise ZeroDivisionError("ours")

        served._newer = fails  # type: ignore[method-assign,assignment]
        watching = asyncio.create_task(served.watch())
        await asyncio.sleep(0.15)
        assert served.get() is before
        assert [record.exc_info is not None for record in caplog.records] == [True]  # told once
        served._newer = newer  # type: ignore[method-assign]
        await asyncio.to_thread(own_shop.reindex, part_of(own_shop, 40))
        while served.get() is before:
            await asyncio.sleep(0.01)
        watching.cancel()
        await served.close()

    asyncio.run(scenario())


def test_an_indexing_under_way_is_waited_for(own_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    served = opened(own_shop)
    before = served.get()
    own_shop.reindex(part_of(own_shop, 40))
    whole = IndexRecord.read(own_shop.folder)
    replace(whole, complete=False).write(own_shop.folder)
    for _ in range(3):
        asyncio.run(served.look("shop", patient=True))
        assert served.get() is before
    monkeypatch.setattr(state, "SETTLE_S", 0.0)  # the writer died: what it left is taken up after a while
    asyncio.run(served.look("shop", patient=True))
    assert len(served.get().index) == 40
    own_shop.reindex(part_of(own_shop, 30))
    replace(whole, complete=False).write(own_shop.folder)
    asyncio.run(served.look("shop"))  # whoever wrote to it himself does not wait
    assert len(served.get().index) == 30


def test_what_fails_because_of_a_swap_is_done_again(own_shop: Shop) -> None:
    async def scenario() -> None:
        served, seen = opened(own_shop), []

        async def work(held: Opened) -> int:
            seen.append(held)
            if len(seen) == 1:
                await asyncio.to_thread(own_shop.reindex, part_of(own_shop, 40))
                raise SearchIndexError("its files are gone")
            return len(held.index)

        assert await served.answer(None, work) == 40
        assert len(seen) == 2

        async def wrong(held: Opened) -> None:
            seen.append(held)
            raise SearchIndexError("no such column")

        with pytest.raises(LapelError, match="no such column"):
            await served.answer("shop", wrong)
        assert len(seen) == 3  # nothing changed: once is enough
        assert served.get().encoding.users == 0

    asyncio.run(scenario())


def test_an_engine_that_is_down_is_no_mistake_of_the_client(shop: Shop) -> None:
    async def scenario() -> None:
        async def work(held: Opened) -> None:
            raise EngineUnavailable("Milvus at http://10.0.0.7:19530 does not answer")

        with pytest.raises(NotReady, match="the engine that holds index 'shop' does not answer") as caught:
            await opened(shop).answer(None, work)
        assert caught.value.headers

    asyncio.run(scenario())


def test_photographs_that_wait_together_share_a_pass(shop: Shop) -> None:
    async def scenario() -> None:
        passes: list[tuple[str, int]] = []
        served = Served(shop.settings(), shop.read, lambda name: lambda done: passes.append((name, done.images)))
        served.open()
        found = await asyncio.gather(*(served.get().encoding.batcher(PIXELS + n) for n in range(5)))
        assert passes in ([("shop", 5)], [("shop", 1), ("shop", 4)])
        alone = served.get().index.encode_many([PIXELS + 3])[0]
        assert all(np.array_equal(a, b) for a, b in zip(found[3], alone, strict=True))
        await served.close()

    asyncio.run(scenario())


def test_a_run_that_is_gone_leaves_searches_by_id(own_shop: Shop) -> None:
    shutil.rmtree(own_shop.root / "looks")
    served = Served(own_shop.settings())
    served.open()
    assert served.get().index.search_id(own_shop.images[0], k=2)


def test_runs_that_moved_are_given_to_their_index(own_shop: Shop, tmp_path: Path) -> None:
    (own_shop.root / "looks").rename(tmp_path / "looks")
    strange = Seer(tmp_path / "strange", fingerprint="e" * 64)
    strange.write()
    served = Served(own_shop.settings(runs=(tmp_path / "looks", strange.run, tmp_path / "none")))
    served.open()
    assert list(served.get().index._encoders.runs) == [tmp_path / "looks"]


def test_paths_that_no_message_may_show(shop: Shop) -> None:
    served = opened(shop)
    record = served.get().index.record
    shown = {str(shop.folder), record.root, *(source.run for source in record.sources)}
    assert shown <= set(served.hidden)


def test_no_request_fails_while_the_index_is_written_and_replaced(own_shop: Shop) -> None:
    """Clients search, look and send photographs all the while; each answer is of one version and of that alone."""
    import httpx

    new = own_shop.root / "new"
    seen: set[tuple[str, int]] = set()
    failed: list[str] = []
    done = threading.Event()
    common = own_shop.images[:20]  # in every version

    def client(number: int, address: str) -> None:
        rng = np.random.default_rng(number)
        with httpx.Client(base_url=address, timeout=30) as http:
            while not done.is_set():
                image_id = common[rng.integers(len(common))]
                photo = own_shop.catalogue.root / image_id
                answers = [
                    http.post("/v1/search", json={"parts": [{"id": image_id}], "k": 50, "group": False}),
                    http.post("/v1/search/image", files={"image": photo.read_bytes()}, data={"request": '{"k": 50}'}),
                    http.get(f"/v1/images/{image_id}"),
                    http.get(f"/v1/entries/{image_id}"),
                    http.get("/v1/facets"),
                    http.get("/v1/indexes"),
                ]
                failed.extend(answer.text for answer in answers if answer.status_code != 200)
                told = answers[0].json()
                if len(told.get("hits", ())) != told["index"]["images"] - 1:
                    failed.append(f"{len(told['hits'])} hits of {told['index']['images']} images")
                seen.add((told["index"]["runs"][0]["fingerprint"][:1], told["index"]["images"]))

    app = own_shop.app(threads=4)
    with running(app) as address:
        clients = [threading.Thread(target=client, args=(number, address)) for number in range(3)]
        for each in clients:
            each.start()
        shop = own_shop
        for count in (40, 30, 44):
            shop.reindex(part_of(shop, count))
            wait_for(lambda count=count: count in {images for _, images in seen})
        shop = retrained(own_shop)
        app.state.lapel.served._reader = shop.read
        shop.reindex(part_of(shop, 36), new)
        replace_folder(shop, new)
        shutil.rmtree(own_shop.root / "old")
        wait_for(lambda: ("c", 36) in seen)
        done.set()
        for each in clients:
            each.join(30)
    assert failed == []
    assert seen >= {("a", 40), ("a", 30), ("a", 44), ("c", 36)}


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
