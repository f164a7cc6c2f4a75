"""Threads for work that blocks, and work done once for several callers."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from lapel.serve.errors import Busy, NotReady
from lapel.serve.workers import Once, Workers


def test_off_the_loop_and_bounded() -> None:
    async def scenario() -> None:
        workers, gate = Workers(2, 1), threading.Event()
        assert await workers(lambda: threading.current_thread().name) != threading.main_thread().name
        assert await workers(divmod, 7, 3) == (2, 1)
        running = [asyncio.create_task(workers(gate.wait)) for _ in range(3)]
        await asyncio.sleep(0.01)
        assert workers.waiting == 1
        with pytest.raises(Busy) as caught:
            await workers(gate.wait)
        assert caught.value.headers == {"Retry-After": "1"}
        gate.set()
        assert await asyncio.gather(*running) == [True] * 3
        await asyncio.sleep(0)
        assert await workers(int, "3") == 3
        await workers.close()
        with pytest.raises(NotReady):
            await workers(int)

    asyncio.run(scenario())


def test_an_exception_is_the_callers() -> None:
    async def scenario() -> None:
        workers = Workers(1, 1)
        with pytest.raises(ZeroDivisionError):
            await workers(lambda: 1 / 0)
        assert await workers(int, "1") == 1
        await workers.close()

    asyncio.run(scenario())


def test_who_is_cancelled_before_the_turn_is_never_served() -> None:
    async def scenario() -> None:
        workers, gate, done = Workers(1, 5), threading.Event(), []
        first = asyncio.create_task(workers(gate.wait))
        waiting = asyncio.create_task(workers(done.append, "never"))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait([waiting])
        gate.set()
        await first
        assert await workers(int, "1") == 1
        assert done == []
        assert workers.taken <= 1
        await workers.close()

    asyncio.run(scenario())


class Work:
    """Counts how often it is begun and given up."""

    def __init__(self, result: Any = "found") -> None:
        self.begun = self.given_up = 0
        self.go, self.result = asyncio.Event(), result

    async def __call__(self) -> Any:
        self.begun += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def test_done_once_for_all() -> None:
    async def scenario() -> None:
        once, work = Once[Any](), Work()
        callers = [asyncio.create_task(once("key", work)) for _ in range(3)]
        other = asyncio.create_task(once("other", work))
        await asyncio.sleep(0)
        callers[0].cancel()  # the others still want it
        work.go.set()
        assert await asyncio.gather(*callers[1:], other) == ["found"] * 3
        assert (work.begun, work.given_up) == (2, 0)
        assert await once("key", work) == "found"  # nothing is kept
        assert work.begun == 3

    asyncio.run(scenario())


def test_given_up_when_nobody_waits() -> None:
    async def scenario() -> None:
        once, work = Once[Any](), Work()
        callers = [asyncio.create_task(once("key", work)) for _ in range(2)]
        await asyncio.sleep(0)
        for caller in callers:
            caller.cancel()
        await asyncio.wait(callers)
        late = asyncio.create_task(once("key", work))  # must not join what is being cancelled
        await asyncio.sleep(0)
        work.go.set()
        assert await late == "found"
        assert (work.begun, work.given_up) == (2, 1)

    asyncio.run(scenario())


def test_an_exception_is_everybodys() -> None:
    async def scenario() -> None:
        once, work = Once[Any](), Work(ValueError("bad"))
        callers = [asyncio.create_task(once("key", work)) for _ in range(2)]
        await asyncio.sleep(0)
        work.go.set()
        found = await asyncio.gather(*callers, return_exceptions=True)
        assert [str(each) for each in found] == ["bad", "bad"]

    asyncio.run(scenario())
