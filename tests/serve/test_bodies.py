"""Request bodies are bounded in bytes, in time, and all together."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from lapel.serve import bodies
from lapel.serve.bodies import BodyLimits

from .asgi import LEAVE, MULTIPART, run
from .bare import JSON, Bare, lines


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "DRAIN_S", 0.05)


@pytest.mark.parametrize(
    ("headers", "size", "status"),
    [
        (JSON, 100, 200),
        (JSON, 101, 413),
        (JSON | {"content-length": "101"}, 0, 413),
        (JSON | {"content-length": "9" * 40}, 0, 413),
        (JSON | {"content-length": "5"}, 101, 413),  # a lie
        (JSON | {"content-length": "-5"}, 5, 422),
        (JSON | {"content-length": "²"}, 5, 422),
        (MULTIPART, 2000, 200),
        (MULTIPART, 2001, 413),
        ({"content-type": "MULTIPART/form-data"}, 2000, 200),
        ({}, 101, 413),
        ({"content-type": "text/plain"}, 101, 413),
    ],
)
@pytest.mark.parametrize("piece", [7, 5000])
def test_a_body_is_bounded(headers: dict[str, str], size: int, status: int, piece: int) -> None:
    server = Bare()
    chunks = [b"x" * min(piece, size - at) for at in range(0, size, piece)]
    answer = run(server("POST", "/size", headers, chunks))
    assert answer.status == status
    if status == 200:
        assert answer.json() == size
    else:
        assert answer.json()["error"]["code"] == {413: "too_large", 422: "invalid"}[status]
    assert server.bodies.held == 0


def test_a_body_of_json_that_is_too_large_is_413_and_not_400() -> None:
    answer = run(Bare()("POST", "/json", JSON, [json.dumps({"k": "x" * 200}).encode()]))
    assert (answer.status, answer.json()["error"]["code"]) == (413, "too_large")


def test_a_client_that_sends_nothing_or_too_slowly_is_told_so() -> None:
    async def work() -> list[Any]:
        impatient, brief = Bare(limits=BodyLimits(idle_s=0.05)), Bare(limits=BodyLimits(idle_s=20, total_s=0.05))
        found = await asyncio.gather(
            impatient("POST", "/size", JSON, [b"x", 30.0, b"x"]),
            brief("POST", "/size", JSON, [b"x", 0.01] * 100),
            Bare()("POST", "/size", JSON, [b"x", 0] * 4),
        )
        assert impatient.bodies.held == brief.bodies.held == 0
        return list(found)

    idle, slow, fine = run(work())
    assert (idle.status, idle.json()["error"]["code"]) == (408, "timeout")
    assert "no byte for 0.05 s" in idle.json()["error"]["message"]
    assert idle.headers["connection"] == "close"
    assert "longer than 0.05 s" in slow.json()["error"]["message"]
    assert (fine.status, fine.json()) == (200, 4)


def test_all_bodies_together_are_bounded_while_their_requests_last() -> None:
    async def work() -> None:
        server = Bare(limits=BodyLimits(upload=2000, other=100, together=5000, idle_s=20))
        tasks = [asyncio.create_task(server("POST", "/hold", MULTIPART, [b"x" * 1000] * 2)) for _ in range(2)]
        while server.bodies.held < 4000:
            await asyncio.sleep(0.001)
        refused = await server("POST", "/hold", MULTIPART, [b"x" * 1000] * 2)
        assert (refused.status, refused.json()["error"]["code"]) == (429, "busy")
        assert int(refused.headers["retry-after"]) >= 1
        assert server.bodies.held == 4000
        assert (await server(path="/hello/a")).status == 200
        server.go_on.set()
        assert [answer.json() for answer in await asyncio.gather(*tasks)] == [2000, 2000]
        assert server.bodies.held == 0
        assert (await server("POST", "/hold", MULTIPART, [b"x" * 1000] * 2)).json() == 2000

    run(work())


def test_two_hundred_slow_uploads_hold_little_and_keep_nobody_waiting() -> None:
    async def work() -> None:
        server = Bare(limits=BodyLimits(upload=10_000, together=60_000, idle_s=20))
        server.go_on.set()
        stopped = asyncio.Event()

        async def slow() -> Any:
            yield b"x" * 100
            await stopped.wait()
            for _ in range(20):
                yield b"x" * 100
                await asyncio.sleep(0)

        headers = MULTIPART | {"content-length": "10000"}  # a promise costs nothing
        tasks = [asyncio.create_task(server("POST", "/hold", headers, slow())) for _ in range(200)]
        while server.bodies.held < 20_000:
            await asyncio.sleep(0.001)
        assert (await server(path="/hello/a")).status == 200
        assert (await server("POST", "/json", JSON, [b'{"k": 5}'])).json() == 5
        stopped.set()
        found = [answer.status for answer in await asyncio.gather(*tasks)]
        assert set(found) == {200, 429}
        assert server.bodies.held == 0

    run(work())


def test_a_client_that_leaves_in_the_middle_is_not_answered(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "lapel.serve")
    server = Bare()

    async def work() -> list[Any]:
        return [
            await server("POST", path, MULTIPART if path == "/size" else JSON, [b'{"k":', LEAVE])
            for path in ("/size", "/json", "/hold")
        ]

    assert [answer.status for answer in run(work())] == [0, 0, 0]
    assert [line["status"] for line in lines(caplog)] == [499] * 3
    assert server.bodies.held == 0
    assert "Traceback" not in caplog.text


def test_what_a_refused_client_still_sends_is_read_for_a_moment() -> None:
    async def work() -> None:
        server = Bare()
        answer = await server("POST", "/nowhere", {"content-length": "500"}, [b"x" * 100] * 5)
        assert (answer.status, answer.asked) == (404, 6)
        answer = await server("POST", "/nowhere", {"content-length": "500", "expect": "100-continue"}, [b"x" * 500])
        assert (answer.status, answer.asked) == (404, 0)  # it waits for a word before it sends
        answer = await server("POST", "/size", JSON | {"content-length": "500", "expect": "100-continue"}, [b"x"])
        assert (answer.status, answer.asked) == (413, 0)
        answer = await server("GET", "/nowhere")
        assert (answer.status, answer.asked) == (404, 0)
        answer = await server("POST", "/nowhere", {"transfer-encoding": "chunked"}, [b"x", 60.0])
        assert answer.status == 404  # it is not waited for much longer

    run(work())
