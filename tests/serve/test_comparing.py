"""Comparisons: shared, kept, one at a time, bounded, and given up only when nobody comes back."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from lapel.serve import comparing
from lapel.serve.comparing import Comparisons, Forgotten
from lapel.serve.errors import Busy

Tell = Callable[[float], None]


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test in an event loop of its own, for 30 seconds at most."""

    @functools.wraps(test)
    def run(*args: Any, **options: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **options), 30))

    return run


class Slow:
    """Work that waits for a word."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.calls = 0
        self.ended: list[BaseException] = []

    def __call__(self, tell: Tell) -> int:
        self.calls += 1
        try:
            tell(0.25)
            self.begun.set()
            assert self.go.wait(20)
            tell(0.5)
        except BaseException as error:
            self.ended.append(error)
            raise
        return self.calls


async def begun(work: Slow) -> None:
    assert await asyncio.to_thread(work.begun.wait, 20)


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.005)


@in_a_loop
async def test_shared_and_kept() -> None:
    desk: Comparisons[int] = Comparisons()
    work = Slow()
    callers = [asyncio.create_task(desk("a", work)) for _ in range(5)]
    await begun(work)
    work.go.set()
    assert await asyncio.gather(*callers) == [1] * 5
    await until(lambda: not desk._jobs)
    assert await desk("a", work) == 1
    assert work.calls == 1


@in_a_loop
async def test_results_are_bounded() -> None:
    desk: Comparisons[int] = Comparisons(keep=2)
    made: list[str] = []

    def work(key: str) -> Callable[[Tell], int]:
        return lambda _: made.append(key) or len(made)  # type: ignore[func-returns-value]

    for key in "abcab":
        await desk(key, work(key))
        await until(lambda: not desk._jobs)
    assert "".join(made) == "abcab"
    await desk("a", work("a"))
    assert "".join(made) == "abcab"


@in_a_loop
async def test_one_at_a_time_and_no_endless_queue() -> None:
    desk: Comparisons[int] = Comparisons(waiting=1)
    first, second = Slow(), Slow()
    one = asyncio.create_task(desk("a", first))
    await begun(first)
    two = asyncio.create_task(desk("b", second))
    await asyncio.sleep(0)
    with pytest.raises(Busy, match="2 comparisons are under way or wait: try again in 5 s"):
        await desk("c", Slow())
    assert not second.begun.is_set()
    first.go.set()
    second.go.set()
    assert (await one, await two) == (1, 1)


@in_a_loop
async def test_a_caller_that_waits_too_long_comes_back_for_the_answer() -> None:
    desk: Comparisons[int] = Comparisons(wait_s=0.02)
    work = Slow()
    with pytest.raises(Busy, match=r"all images are being compared with all, (0|25)% done"):
        await desk("a", work)
    work.go.set()
    await until(lambda: not desk._jobs)
    assert await desk("a", work) == 1
    assert work.calls == 1


@in_a_loop
async def test_given_up_when_nobody_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    desk: Comparisons[int] = Comparisons()
    monkeypatch.setattr(comparing, "FORGOTTEN_S", 0.0)
    work = Slow()
    caller = asyncio.create_task(desk("a", work))
    await begun(work)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await asyncio.sleep(0.01)
    work.go.set()
    await until(lambda: not desk._jobs)
    assert [type(error) for error in work.ended] == [Forgotten]
    work.ended.clear()
    assert await desk("a", work) == 2  # asked again, it begins again


@in_a_loop
async def test_errors_are_told_and_not_kept() -> None:
    desk: Comparisons[int] = Comparisons()

    def fail(_: Tell) -> int:
        raise KeyError("a mistake")

    for _ in range(2):
        with pytest.raises(KeyError):
            await desk("a", fail)
        await until(lambda: not desk._jobs)
    assert await desk("a", lambda _: 3) == 3
