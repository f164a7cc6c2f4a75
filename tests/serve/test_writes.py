"""The queue of changes: together in one go, bounded, each with its own outcome, finished when the server stops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from lapel.retrieval.locking import IndexBusy
from lapel.retrieval.new_images import EntryError
from lapel.retrieval.writing import Removal
from lapel.serve.errors import Busy, NotReady
from lapel.serve.writes import BATCH, WriteQueue


class Fake:
    """Answers with the number of ids; ``bad`` ones with an error; waits while it is held."""

    def __init__(self, held: bool = False, error: BaseException | None = None, due: int = 0) -> None:
        self.batches: list[list[str]] = []
        self.go, self.error, self.due, self.threads = threading.Event(), error, due, set[int]()
        self.rests = 0
        if not held:
            self.go.set()

    def write(self, changes: Sequence[Any]) -> list[Any]:
        self.threads.add(threading.get_ident())
        self.batches.append([change.ids[0] for change in changes])
        assert self.go.wait(20)
        if self.error is not None:
            raise self.error
        return [EntryError("it is bad") if "bad" in change.ids else len(change.ids) for change in changes]

    def rest(self) -> bool:
        self.threads.add(threading.get_ident())
        self.rests += 1
        self.due -= 1
        return self.due >= 0


class Shown:
    def __init__(self) -> None:
        self.times = 0

    async def __call__(self) -> None:
        self.times += 1


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 20))  # type: ignore[arg-type]


async def started(fake: Fake, count: int = 1) -> None:
    while len(fake.batches) < count:
        await asyncio.sleep(0.001)


def test_together_in_order_and_each_with_its_outcome() -> None:
    async def work() -> None:
        fake, shown = Fake(held=True), Shown()
        queue = WriteQueue(fake, shown)
        first = asyncio.create_task(queue(Removal(["a"])))
        await started(fake)
        others = [asyncio.create_task(queue(Removal(ids))) for ids in (["b", "c"], ["bad"], ["d"])]
        await asyncio.sleep(0)
        assert queue.waiting == 3
        fake.go.set()
        found = await asyncio.gather(first, *others, return_exceptions=True)
        assert [found[0], found[1], found[3]] == [1, 2, 1]
        assert isinstance(found[2], EntryError)
        assert fake.batches == [["a"], ["b", "bad", "d"]]
        assert shown.times == 2
        await queue.close()
        assert len(fake.threads) == 1
        assert threading.get_ident() not in fake.threads

    run(work)


def test_no_batch_is_too_large() -> None:
    async def work() -> None:
        fake = Fake(held=True)
        queue = WriteQueue(fake, Shown(), limit=200)
        tasks = [asyncio.create_task(queue(Removal([str(n)]))) for n in range(BATCH + 10)]
        await started(fake)
        fake.go.set()
        await asyncio.gather(*tasks)
        assert [len(batch) for batch in fake.batches] == [BATCH, 10]
        await queue.close()

    run(work)


def test_full() -> None:
    async def work() -> None:
        fake = Fake(held=True)
        queue = WriteQueue(fake, Shown(), limit=2)
        first = asyncio.create_task(queue(Removal(["a"])))
        await started(fake)
        others = [asyncio.create_task(queue(Removal([n]))) for n in "bc"]
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="2 changes wait to be written") as refused:
            await queue(Removal(["d"]))
        assert int(refused.value.headers["Retry-After"]) >= 1  # type: ignore[index]
        fake.go.set()
        assert await asyncio.gather(first, *others) == [1, 1, 1]
        assert await queue(Removal(["d"])) == 1
        await queue.close()

    run(work)


def test_who_leaves_before_it_is_taken_is_not_written() -> None:
    async def work() -> None:
        fake = Fake(held=True)
        queue = WriteQueue(fake, Shown())
        taken = asyncio.create_task(queue(Removal(["taken"])))
        await started(fake)
        left, stays = (asyncio.create_task(queue(Removal([n]))) for n in ("left", "stays"))
        await asyncio.sleep(0)
        left.cancel()
        taken.cancel()
        await asyncio.sleep(0)
        assert queue.waiting == 1
        fake.go.set()
        assert await stays == 1
        assert fake.batches == [["taken"], ["stays"]]
        await queue.close()

    run(work)


@pytest.mark.parametrize("error", [IndexBusy("another process"), RuntimeError("a bug")])
def test_what_fails_fails_for_all_and_the_next_is_tried(error: Exception) -> None:
    async def work() -> None:
        fake, shown = Fake(error=error), Shown()
        queue = WriteQueue(fake, shown)
        found = await asyncio.gather(queue(Removal(["a"])), queue(Removal(["b"])), return_exceptions=True)
        assert found == [error, error]
        assert shown.times == 0
        fake.error = None
        assert await queue(Removal(["c"])) == 1
        await queue.close()

    run(work)


def test_closed_after_what_was_taken() -> None:
    async def work() -> None:
        fake = Fake(held=True)
        queue = WriteQueue(fake, Shown())
        tasks = [asyncio.create_task(queue(Removal(["a"])))]
        await started(fake)
        tasks += [asyncio.create_task(queue(Removal([n]))) for n in "bc"]
        await asyncio.sleep(0)
        closing = asyncio.create_task(queue.close())
        await asyncio.sleep(0)
        with pytest.raises(NotReady, match="stopping"):
            await queue(Removal(["d"]))
        fake.go.set()
        await closing
        assert await asyncio.gather(*tasks) == [1, 1, 1]
        assert fake.rests == 0  # that can wait for the next start

    run(work)


def test_a_closing_that_is_given_up_hangs_nobody() -> None:
    async def work() -> None:
        fake = Fake(held=True)
        queue = WriteQueue(fake, Shown())
        taken = asyncio.create_task(queue(Removal(["a"])))
        await started(fake)
        waits = asyncio.create_task(queue(Removal(["b"])))
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(queue.close(), 0.01)
        with pytest.raises(NotReady):
            await waits
        fake.go.set()
        assert await taken == 1

    run(work)


def test_rests_when_nothing_waits() -> None:
    async def work() -> None:
        fake, shown = Fake(due=1), Shown()
        queue = WriteQueue(fake, shown)
        assert await queue(Removal(["a"])) == 1
        while fake.rests < 1 or shown.times < 2:  # tidied, and taken up
            await asyncio.sleep(0.001)
        assert await queue(Removal(["b"])) == 1
        await queue.close()

    run(work)


def test_a_rest_that_fails_fails_no_change() -> None:
    async def work() -> None:
        fake = Fake()
        queue = WriteQueue(fake, Shown())

        def fails() -> bool:
            fake.rests += 1
            raise OSError("a disk that fails") if fake.rests > 1 else IndexBusy("another process")

        fake.rest = fails  # type: ignore[method-assign]
        for number in range(3):
            assert await queue(Removal([str(number)])) == 1
            while fake.rests <= number:
                await asyncio.sleep(0.001)
        await queue.close()

    run(work)
