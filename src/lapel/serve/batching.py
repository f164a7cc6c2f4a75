"""One pass of a model for requests that arrive together, behind a queue of bounded length."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from starlette.requests import ClientDisconnect, Request

from lapel.serve.errors import Busy, NotReady

T = TypeVar("T")
R = TypeVar("R")
log = logging.getLogger("lapel.serve")

GUESS_S = 0.1  # seconds an image takes, before any was measured
LATEST = 0.2  # share of the latest pass in the running mean of seconds per image
LONGEST_WAIT_S = 60.0  # no client is told to wait longer


@dataclass(frozen=True)
class Pass:
    """What one pass cost: for the metrics.

    Attributes:
        images: that shared it.
        failed: of them.
        waited_s: seconds that each waited for the pass to begin.
        run_s: seconds of the pass, retries included.
    """

    images: int
    failed: int
    waited_s: tuple[float, ...]
    run_s: float


@dataclass(eq=False)
class _Waiter(Generic[T, R]):
    item: T
    answer: asyncio.Future[R]
    since: float


class Batcher(Generic[T, R]):
    """Gives each caller the encoding of its image, and runs the encoder once for all that wait.

    Nothing is delayed to fill a batch: a free encoder starts with whatever waits, and what arrives during a pass waits
    for the next. One pass runs at a time, in a thread of its own. Where a pass raises, its images are tried one by
    one, so that only those that fail alone get their exception. To be used from one event loop.

    Args:
        encode: images to encodings, as many and in the same order.
        limit: images that may wait; one more raises Busy.
        batch: images in a pass at most.
        observe: told about each pass.
    """

    def __init__(
        self,
        encode: Callable[[list[T]], Sequence[R]],
        limit: int = 64,
        batch: int = 16,
        observe: Callable[[Pass], object] | None = None,
    ) -> None:
        if limit < 1 or batch < 1:
            raise ValueError(f"expected a limit and a batch of 1 or more, found {limit} and {batch}")
        self.limit, self.batch = limit, batch
        self._encode, self._observe = encode, observe
        self._waiting: deque[_Waiter[T, R]] = deque()
        self._thread = ThreadPoolExecutor(1, "lapel-encode")
        self._worker: asyncio.Task[None] | None = None
        self._closed = False
        self._taken = 0
        self._per_image: float | None = None

    @property
    def waiting(self) -> int:
        """Images in the queue, without those in the pass that runs."""
        return len(self._waiting)

    @property
    def taken(self) -> int:
        """Images in the pass that runs."""
        return self._taken

    def retry_after(self) -> float:
        """Seconds until the queue as it is now will have been worked off, from the passes measured so far."""
        each = GUESS_S if self._per_image is None else self._per_image
        return min(LONGEST_WAIT_S, each * (len(self._waiting) + self._taken))

    async def __call__(self, item: T) -> R:
        """Return the encoding of one image; a caller that is cancelled leaves the queue.

        Raises:
            Busy: ``limit`` images wait already.
            NotReady: the batcher is closed.
            Exception: whatever the encoder raises for this image alone.
        """
        if self._closed:
            raise NotReady("the server is stopping")
        if len(self._waiting) >= self.limit:
            raise Busy(self.retry_after(), f"{self.limit} photographs wait to be embedded")
        loop = asyncio.get_running_loop()
        waiter: _Waiter[T, R] = _Waiter(item, loop.create_future(), time.perf_counter())
        self._waiting.append(waiter)
        if self._worker is None or self._worker.done():
            self._worker = loop.create_task(self._work())
        try:
            return await waiter.answer
        finally:
            with contextlib.suppress(ValueError):  # taken long since, unless this caller was cancelled
                self._waiting.remove(waiter)

    async def close(self, drain: bool = True) -> None:
        """Take no more images and wait for the pass that runs.

        Args:
            drain: also encode what waits; otherwise those callers get NotReady. Cancelling this call gives up the
                wait, and what still waits gets NotReady.
        """
        self._closed = True
        if not drain:
            self._refuse()
        try:
            if self._worker is not None:
                await asyncio.shield(self._worker)
        finally:
            self._refuse()
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _refuse(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.answer.done():
                waiter.answer.set_exception(NotReady("the server is stopping"))

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            share = [self._waiting.popleft() for _ in range(min(self.batch, len(self._waiting)))]
            share = [waiter for waiter in share if not waiter.answer.done()]  # cancelled, about to leave the queue
            if not share:
                continue
            begin = time.perf_counter()
            self._taken = len(share)
            try:
                found = await loop.run_in_executor(self._thread, self._encoded, [waiter.item for waiter in share])
            except BaseException as error:  # the executor is shut down, or this task is cancelled: nobody may hang
                for waiter in share:
                    if not waiter.answer.done():
                        waiter.answer.set_exception(NotReady("the server is stopping"))
                if not isinstance(error, Exception):
                    raise
                continue
            finally:
                self._taken = 0
            for waiter, outcome in zip(share, found, strict=True):
                if waiter.answer.done():  # cancelled meanwhile
                    continue
                if isinstance(outcome, _Failure):
                    waiter.answer.set_exception(outcome.error)
                else:
                    waiter.answer.set_result(outcome)
            self._measure(share, found, begin, time.perf_counter() - begin)

    def _measure(self, share: list[_Waiter[T, R]], found: list[R | _Failure], begin: float, run_s: float) -> None:
        each = run_s / len(share)
        self._per_image = each if self._per_image is None else self._per_image + LATEST * (each - self._per_image)
        if self._observe is not None:
            failed = sum(isinstance(outcome, _Failure) for outcome in found)
            try:
                self._observe(Pass(len(share), failed, tuple(begin - waiter.since for waiter in share), run_s))
            except Exception:  # the next images must not wait for ever because of a metric
                log.exception("a pass could not be counted")

    def _encoded(self, items: list[T]) -> list[R | _Failure]:
        """Run in the thread: an encoding or a failure for each item."""
        try:
            found = list(self._encode(items))
            if len(found) != len(items):
                raise RuntimeError(f"the encoder gave {len(found)} encodings for {len(items)} images")
        except Exception as error:
            if len(items) == 1:
                return [_Failure(error)]
            return [outcome for item in items for outcome in self._encoded([item])]
        return list(found)


@dataclass(frozen=True)
class _Failure:
    error: Exception


async def while_connected(request: Request, work: Coroutine[Any, Any, R]) -> R:
    """Return what ``work`` gives, but cancel it as soon as the client of ``request`` leaves.

    The body of the request must have been read. Not for writes: half of them would go on in a thread.

    Raises:
        ClientDisconnect: the client left; nobody reads the answer.
        ApiError: it sent a body that nobody asked for, and one that is too large or too slow.
    """
    task = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((task, leaving), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait((task,))
        leaving.result()
        raise ClientDisconnect
    finally:
        task.cancel()
        leaving.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
