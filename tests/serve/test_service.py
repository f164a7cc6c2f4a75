"""What the routes share: a photograph is embedded once however many ask, and dropped when nobody does any more."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lapel.errors import RunError
from lapel.serve import schema
from lapel.serve.app import create_app
from lapel.serve.errors import NotAnImage, NotFound, NotReady, QueryGone
from lapel.serve.explaining import Explainer
from lapel.serve.service import Service

from .asgi import exchange, run, scope
from .shop import Shop

JSON = {"content-type": "application/json"}


@asynccontextmanager
async def service_of(shop: Shop, **changes: Any) -> AsyncIterator[Service]:
    service: Service = shop.app(**changes).state.lapel
    service.served.open()
    for seer in shop.seers:
        seer.calls.clear()
    yield service
    await service.close()


def calls(shop: Shop) -> list[list[int]]:
    return [seer.calls for seer in shop.seers]


def test_embedded_once_however_many_ask(shop: Shop) -> None:
    async def scenario() -> None:
        async with service_of(shop) as service:
            opened = service.served.get()
            kept = await service.keep(shop.photo().read_bytes())
            part = schema.Part(query=kept.query)
            found = await asyncio.gather(*(service.vectors(opened, part) for _ in range(9)))
            assert all(each[0] is found[0][0] for each in found)
            assert calls(shop) == [[1], [1]]
            alone = opened.index.encode_many([shop.photo().read_bytes()])[0]
            assert all(np.array_equal(a, b) for a, b in zip(found[0], alone, strict=True))

    run(scenario())


def test_runs_are_loaded_ahead_when_nobody_asks_for_anything(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lapel.serve.service.IDLE_S", 0.01)
    loaded: list[str] = []

    async def scenario() -> None:
        async with service_of(shop, warm=True) as service:
            service.explainer = Explainer(load=lambda run: loaded.append(run.name))  # type: ignore[arg-type,func-returns-value]
            service._asked = time.monotonic() + 1000  # by somebody, long after now
            warming, done = service.start(service.warm()), threading.Event()
            await asyncio.sleep(0.05)
            assert loaded == []
            work = asyncio.create_task(service.workers(done.wait, 20))
            await asyncio.sleep(0)
            service._asked = 0.0
            await asyncio.sleep(0.05)
            assert loaded == []
            done.set()
            await work
            await warming
            assert loaded == ["looks", "garments"]

    run(scenario())


def test_a_run_that_cannot_be_loaded_ahead_stops_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lapel.serve.service.IDLE_S", 0)

    def broken(run: Path) -> Any:
        raise RunError(f"run {run} is damaged")

    async def scenario() -> None:
        async with service_of(shop, warm=True) as service:
            service.explainer = Explainer(load=broken)
            await service.warm()
            assert await service.keep(shop.photo().read_bytes())

    run(scenario())


def test_kept_by_box(shop: Shop) -> None:
    async def scenario() -> None:
        async with service_of(shop) as service:
            opened, kept = service.served.get(), await service.keep(shop.photo().read_bytes())
            boxes = [None, [0, 0, 50, 50], [0, 0, 60, 50]]
            for _ in range(2):
                for box in boxes:
                    for source in ({"query": kept.query}, {"id": shop.images[0]}):
                        await service.vectors(opened, schema.Part(box=box, **source))
            # Of a photograph each box, of an image of the index all but the whole, which the index has.
            assert sum(calls(shop)[0]) == 3 + 2

    run(scenario())


def test_what_is_not_kept(shop: Shop) -> None:
    async def scenario() -> None:
        async with service_of(shop) as service:
            opened = service.served.get()
            with pytest.raises(QueryGone):
                await service.vectors(opened, schema.Part(query="ab" * 16))
            with pytest.raises(NotFound, match="no image 'x' in index 'shop'"):
                await service.vectors(opened, schema.Part(id="x"))
            with pytest.raises(NotAnImage):
                await service.keep(b"\xff\xd8\xff\xd9")
            assert len(service.queries) == 0

    run(scenario())


def test_who_leaves_is_not_waited_for(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search waits for the model behind another pass; its client leaves; its photograph is never embedded."""
    app = shop.app()
    service: Service = app.state.lapel
    gate, seen = threading.Event(), []

    async def scenario() -> None:
        service.served.open()
        encoding = service.served.get().encoding

        def slow(images: list[Any]) -> Any:
            seen.append(len(images))
            gate.wait(20)
            return encoding.index.encode_many(images)

        monkeypatch.setattr(encoding.batcher, "_encode", slow)
        boxes = [[0, 0, 40 + n, 90] for n in range(3)]
        bodies = [json.dumps({"parts": [{"id": shop.images[0], "box": box}]}).encode() for box in boxes]
        gone, answers = asyncio.Event(), []

        async def leaving(body: bytes) -> None:
            """Send the whole body, and go before the answer."""
            messages = iter([{"type": "http.request", "body": body, "more_body": False}])

            async def receive() -> Any:
                for message in messages:
                    return message
                await gone.wait()
                return {"type": "http.disconnect"}

            async def send(message: Any) -> None:
                answers.append(message)

            await app(scope("POST", "/v1/search", JSON), receive, send)

        stays = asyncio.create_task(exchange(app, "POST", "/v1/search", JSON, [bodies[0]]))
        while not seen:
            await asyncio.sleep(0.005)
        leaves = asyncio.create_task(leaving(bodies[1]))
        waits = asyncio.create_task(exchange(app, "POST", "/v1/search", JSON, [bodies[2]]))
        while encoding.batcher.waiting < 2:
            await asyncio.sleep(0.005)
        gone.set()
        await leaves
        assert answers == []
        assert encoding.batcher.waiting == 1
        gate.set()
        assert (await stays).status == (await waits).status == 200
        assert seen == [1, 1]
        assert encoding.users == 0
        await service.close()

    run(scenario())


def test_too_many_photographs_wait(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(shop.settings(queue=1), reader=shop.read)
    service: Service = app.state.lapel
    gate = threading.Event()

    async def scenario() -> None:
        service.served.open()
        encoding = service.served.get().encoding
        monkeypatch.setattr(
            encoding.batcher, "_encode", lambda images: (gate.wait(20), encoding.index.encode_many(images))[1]
        )

        async def ask(side: int) -> Any:
            body = json.dumps({"parts": [{"id": shop.images[0], "box": [0, 0, side, 90]}]}).encode()
            return await exchange(app, "POST", "/v1/search", JSON, [body])

        first = asyncio.create_task(ask(40))
        while not encoding.batcher.taken:
            await asyncio.sleep(0.005)
        second = asyncio.create_task(ask(50))
        while not encoding.batcher.waiting:
            await asyncio.sleep(0.005)
        third = await ask(60)
        assert (third.status, third.json()["error"]["code"]) == (429, "busy")
        assert int(third.headers["retry-after"]) >= 1
        gate.set()
        assert (await first).status == (await second).status == 200
        await service.close()

    run(scenario())


def test_closed(shop: Shop) -> None:
    async def scenario() -> None:
        async with service_of(shop) as service:
            never = service.start(asyncio.sleep(60))  # type: ignore[arg-type]
            opened = service.served.get()
        assert never.cancelled()
        with pytest.raises(NotReady):
            await service.vectors(opened, schema.Part(id=shop.images[0]))

    run(scenario())
