"""Work off the event loop: a bounded thread pool, and work that several requests want at the same time done once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from lapel.serve.errors import Busy, NotReady

T = TypeVar("T")


class Workers:
    """A thread pool that refuses what would wait too long.

    Args:
        threads: calls that run at once.
        waiting: calls that may wait beside them.
        name: of the threads.
    """

    def __init__(self, threads: int, waiting: int, name: str = "lapel-work") -> None:
        self.threads, self.limit, self.taken = threads, threads + waiting, 0
        self._pool = ThreadPoolExecutor(threads, name)
        self._closed = False

    @property
    def waiting(self) -> int:
        """Calls that have no thread yet."""
        return max(0, self.taken - self.threads)

    async def __call__(self, work: Callable[..., T], *args: Any) -> T:
        """Run ``work(*args)`` in a thread; a caller that is cancelled before its turn leaves the queue.

        Raises:
            Busy: too many wait already.
            NotReady: the pool is closed.
        """
        if self._closed:
            raise NotReady("the server is stopping")
        if self.taken >= self.limit:
            raise Busy(1, f"{self.limit} requests are at work or wait")
        loop = asyncio.get_running_loop()
        future = self._pool.submit(work, *args)
        self.taken += 1
        future.add_done_callback(lambda _: loop.is_closed() or loop.call_soon_threadsafe(self._leave))
        return await asyncio.wrap_future(future)

    def _leave(self) -> None:
        self.taken -= 1

    async def close(self) -> None:
        """Take no more calls, drop those that wait, and wait for those that run."""
        self._closed = True
        await asyncio.to_thread(self._pool.shutdown, wait=True, cancel_futures=True)


@dataclass(eq=False)
class _Running(Generic[T]):
    task: asyncio.Task[T]
    callers: int = 0


class Once(Generic[T]):
    """Does work once for all who want its result while it runs; given up when none of them waits any more."""

    def __init__(self) -> None:
        self._running: dict[Hashable, _Running[T]] = {}

    async def __call__(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what ``work`` gives, or what the work under way for this ``key`` will give."""
        running = self._running.get(key)
        if running is None:
            running = self._running[key] = _Running(asyncio.create_task(work()))
            running.task.add_done_callback(lambda task: self._ended(key, task))
        running.callers += 1
        try:
            return await asyncio.shield(running.task)
        finally:
            running.callers -= 1
            if not running.callers and not running.task.done():
                self._forget(key, running.task)  # before it ends: nobody may join what is being cancelled
                running.task.cancel()

    def _ended(self, key: Hashable, task: asyncio.Task[T]) -> None:
        self._forget(key, task)
        if not task.cancelled():
            task.exception()  # every caller may have left: no warning about that

    def _forget(self, key: Hashable, task: asyncio.Task[T]) -> None:
        running = self._running.get(key)
        if running is not None and running.task is task:
            del self._running[key]
