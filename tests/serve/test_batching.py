"""Requests that arrive together share a pass; the queue is bounded; one bad image harms nobody else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect, Request

from lapel.serve.batching import LONGEST_WAIT_S, Batcher, Pass, while_connected
from lapel.serve.errors import Busy, NotReady


class Encoder:
    """Doubles numbers, remembers its passes, fails for negative ones, and waits at a gate that a test opens."""

    def __init__(self, closed: bool = False) -> None:
        self.passes: list[list[int]] = []
        self.gate, self.entered = threading.Event(), threading.Event()
        if not closed:
            self.gate.set()

    def __call__(self, items: list[int]) -> list[int]:
        self.passes.append(items)
        self.entered.set()
        assert self.gate.wait(20)
        if min(items) < 0:
            raise ValueError(f"cannot encode {min(items)}")
        return [2 * item for item in items]


def run(work: Coroutine[Any, Any, Any]) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(30):
            return await work

    return asyncio.run(bounded())


async def settled(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_requests_that_arrive_together_share_a_pass() -> None:
    encoder = Encoder()

    async def work() -> list[int]:
        batcher = Batcher(encoder, limit=64, batch=16)
        found = await asyncio.gather(*(batcher(n) for n in range(10)))
        await batcher.close()
        return list(found)

    assert run(work()) == [2 * n for n in range(10)]
    assert encoder.passes == [list(range(10))]


def test_what_arrives_during_a_pass_waits_for_the_next_and_no_pass_is_larger_than_allowed() -> None:
    encoder = Encoder(closed=True)

    async def work() -> list[int]:
        batcher = Batcher(encoder, limit=64, batch=4)
        first = asyncio.create_task(batcher(100))
        await settled(encoder.entered.is_set)
        rest = [asyncio.create_task(batcher(n)) for n in range(9)]
        await settled(lambda: batcher.waiting == 9)
        assert batcher.taken == 1
        encoder.gate.set()
        found = await asyncio.gather(first, *rest)
        await batcher.close()
        assert batcher.waiting == batcher.taken == 0
        return list(found)

    assert run(work()) == [200, *(2 * n for n in range(9))]
    assert encoder.passes == [[100], [0, 1, 2, 3], [4, 5, 6, 7], [8]]


def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    encoder = Encoder(closed=True)

    async def work() -> None:
        batcher = Batcher(encoder, limit=3, batch=2)
        first = asyncio.create_task(batcher(0))
        await settled(encoder.entered.is_set)
        rest = [asyncio.create_task(batcher(n)) for n in (1, 2, 3)]
        await settled(lambda: batcher.waiting == 3)
        with pytest.raises(Busy) as caught:
            await batcher(4)
        assert caught.value.status == 429
        assert int(caught.value.headers["Retry-After"]) >= 1
        encoder.gate.set()
        assert await asyncio.gather(first, *rest) == [0, 2, 4, 6]
        assert await batcher(4) == 8  # there is room again
        await batcher.close()

    run(work())


def test_the_wait_is_told_from_the_passes_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    batcher: Batcher[int, int] = Batcher(Encoder())
    batcher._taken = 1
    assert batcher.retry_after() == pytest.approx(0.1)  # a guess, before any pass
    batcher._per_image, batcher._taken = 0.5, 8
    assert batcher.retry_after() == 4
    batcher._taken = 10_000
    assert batcher.retry_after() == LONGEST_WAIT_S


def test_an_image_that_fails_alone_fails_alone() -> None:
    encoder = Encoder()
    seen: list[Pass] = []

    async def work() -> list[Any]:
        batcher = Batcher(encoder, observe=seen.append)
        found = await asyncio.gather(*(batcher(n) for n in (1, -2, 3, -4)), return_exceptions=True)
        await batcher.close()
        return list(found)

    found = run(work())
    assert (found[0], found[2]) == (2, 6)
    assert [str(found[1]), str(found[3])] == ["cannot encode -2", "cannot encode -4"]
    assert encoder.passes == [[1, -2, 3, -4], [1], [-2], [3], [-4]]
    assert [(one.images, one.failed, len(one.waited_s)) for one in seen] == [(4, 2, 4)]
    assert seen[0].run_s > 0
    assert min(seen[0].waited_s) >= 0


@pytest.mark.parametrize("count", [0, 1, 5])
def test_an_encoder_that_gives_another_number_is_an_error_and_not_another_image_s_vector(count: int) -> None:
    async def work() -> list[Any]:
        batcher = Batcher(lambda items: [7] * count if len(items) > 1 else [7, 7], limit=8)
        found = await asyncio.gather(*(batcher(n) for n in range(3)), return_exceptions=True)
        await batcher.close()
        return list(found)

    assert [str(error) for error in run(work())] == ["the encoder gave 2 encodings for 1 images"] * 3


def test_a_cancelled_caller_leaves_the_queue_and_its_place() -> None:
    encoder = Encoder(closed=True)

    async def work() -> None:
        batcher = Batcher(encoder, limit=2, batch=8)
        taken = asyncio.create_task(batcher(0))
        await settled(encoder.entered.is_set)
        leaving, staying = asyncio.create_task(batcher(1)), asyncio.create_task(batcher(2))
        await settled(lambda: batcher.waiting == 2)
        leaving.cancel()
        await asyncio.wait((leaving,))
        assert batcher.waiting == 1
        late = asyncio.create_task(batcher(3))
        taken.cancel()  # its pass cannot be stopped, its result is dropped
        await asyncio.wait((taken,))
        encoder.gate.set()
        assert await asyncio.gather(staying, late) == [4, 6]
        assert encoder.passes == [[0], [2, 3]]
        await batcher.close()

    run(work())


def test_callers_cancelled_in_the_same_moment_are_not_encoded() -> None:
    encoder = Encoder()

    async def work() -> None:
        batcher = Batcher(encoder)
        tasks = [asyncio.create_task(batcher(n)) for n in range(4)]
        await asyncio.sleep(0)  # all wait, the worker has not begun
        for task in tasks[:3]:
            task.cancel()
        assert await tasks[3] == 6
        await batcher.close()

    run(work())
    assert encoder.passes == [[3]]


def test_closing_finishes_what_was_taken_and_refuses_what_comes() -> None:
    encoder = Encoder(closed=True)

    async def work() -> None:
        batcher = Batcher(encoder, batch=2)
        tasks = [asyncio.create_task(batcher(n)) for n in range(5)]
        await settled(encoder.entered.is_set)
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        with pytest.raises(NotReady, match="stopping"):
            await batcher(9)
        encoder.gate.set()
        await closing
        assert await asyncio.gather(*tasks) == [0, 2, 4, 6, 8]
        await batcher.close()  # once more does no harm

    run(work())


def test_closing_without_draining_refuses_what_waits() -> None:
    encoder = Encoder(closed=True)

    async def work() -> list[Any]:
        batcher = Batcher(encoder, batch=2)
        tasks = [asyncio.create_task(batcher(n)) for n in range(5)]
        await settled(encoder.entered.is_set)
        closing = asyncio.create_task(batcher.close(drain=False))
        await asyncio.sleep(0)
        encoder.gate.set()
        await closing
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    found = run(work())
    assert found[:2] == [0, 2]
    assert all(isinstance(error, NotReady) for error in found[2:])


def test_a_close_that_is_given_up_leaves_nobody_hanging() -> None:
    encoder = Encoder(closed=True)

    async def work() -> list[Any]:
        batcher = Batcher(encoder, batch=1)
        tasks = [asyncio.create_task(batcher(n)) for n in range(3)]
        await settled(encoder.entered.is_set)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await batcher.close()
        encoder.gate.set()
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    found = run(work())
    assert found[0] == 0
    assert all(isinstance(error, NotReady) for error in found[1:])


def test_an_observer_that_raises_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(_: Pass) -> None:
        raise RuntimeError("no figures today")

    async def work() -> list[int]:
        batcher = Batcher(Encoder(), batch=1, observe=refuse)
        found = await asyncio.gather(*(batcher(n) for n in range(3)))
        await batcher.close()
        return list(found)

    assert run(work()) == [0, 2, 4]
    assert "could not be counted" in caplog.text


@pytest.mark.parametrize(("limit", "batch"), [(0, 1), (1, 0), (-3, 8)])
def test_a_queue_without_room_is_a_mistake(limit: int, batch: int) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        Batcher(Encoder(), limit, batch)


@given(
    items=st.lists(st.integers(-3, 9), max_size=30),
    batch=st.integers(1, 7),
    pauses=st.lists(st.integers(0, 2), max_size=30),
    leaving=st.sets(st.integers(0, 29)),
)
def test_everybody_gets_his_own_answer(items: list[int], batch: int, pauses: Sequence[int], leaving: set[int]) -> None:
    async def work() -> list[Any]:
        encoder = Encoder()
        batcher = Batcher(encoder, limit=100, batch=batch)
        tasks = []
        for number, item in enumerate(items):
            tasks.append(asyncio.create_task(batcher(item)))
            for _ in range(pauses[number] if number < len(pauses) else 0):
                await asyncio.sleep(0)
            if number in leaving:
                tasks[-1].cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        await batcher.close()
        assert batcher.waiting == batcher.taken == 0
        assert max(map(len, encoder.passes), default=0) <= batch
        return list(found)

    for number, (item, answer) in enumerate(zip(items, run(work()), strict=True)):
        if isinstance(answer, asyncio.CancelledError):
            assert number in leaving
        elif item < 0:
            assert str(answer) == f"cannot encode {item}"
        else:
            assert answer == 2 * item


# ---------------------------------------------------------------- clients that leave


def request(messages: list[dict[str, Any]], then: asyncio.Event) -> Request:
    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        await then.wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http", "method": "POST", "headers": [], "path": "/"}, receive)


def test_work_is_dropped_when_the_client_leaves() -> None:
    async def work() -> None:
        encoder, left = Encoder(closed=True), asyncio.Event()
        batcher = Batcher(encoder)
        first = asyncio.create_task(batcher(0))
        await settled(encoder.entered.is_set)
        waiting = asyncio.create_task(while_connected(request([{"type": "http.request"}], left), batcher(1)))
        await settled(lambda: batcher.waiting == 1)
        left.set()
        with pytest.raises(ClientDisconnect):
            await waiting
        assert batcher.waiting == 0
        encoder.gate.set()
        assert await first == 0
        await batcher.close()

    run(work())


def test_a_client_that_stays_gets_the_answer_or_the_error() -> None:
    async def work() -> None:
        batcher = Batcher(Encoder())
        assert await while_connected(request([], asyncio.Event()), batcher(4)) == 8
        with pytest.raises(ValueError, match="cannot encode -1"):
            await while_connected(request([], asyncio.Event()), batcher(-1))
        outer = asyncio.create_task(while_connected(request([], asyncio.Event()), asyncio.sleep(60)))
        await asyncio.sleep(0)
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        await batcher.close()

    run(work())
