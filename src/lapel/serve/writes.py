"""Changes to an index, taken one by one and done together, by one thread behind a queue of bounded length."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from lapel.errors import LapelError
from lapel.retrieval.new_images import NewImage
from lapel.retrieval.plan import Change
from lapel.retrieval.writing import Outcome, Removal
from lapel.serve.errors import ApiError, Busy, NotReady

Asked: TypeAlias = NewImage | Removal
log = logging.getLogger("lapel.serve")

BATCH = 64  # changes in a commit at most
GUESS_S, LONGEST_WAIT_S = 0.2, 60.0  # seconds a commit takes, before any was measured; told to a client at most
REST_S = 60.0  # between looks at what can wait


class Writes(Protocol):
    """What writes to an index: a ``Writer``."""

    def write(self, changes: Sequence[Asked]) -> list[Outcome]:
        """Do changes in one commit."""

    def rest(self) -> bool:
        """Do what can wait."""


@dataclass(eq=False)
class _Waiter:
    change: Asked
    answer: asyncio.Future[Change | int]


class WriteQueue:
    """Gives each caller the outcome of its change once it is on disk and the next search finds it.

    What waits together is one commit. To be used from one event loop.

    Args:
        writer: does the changes, in a thread of its own.
        shown: has the server take up the newest version of the index.
        limit: changes that may wait; one more raises Busy.
    """

    def __init__(self, writer: Writes, shown: Callable[[], Awaitable[object]], limit: int = 64) -> None:
        self.limit = limit
        self._writer, self._shown = writer, shown
        self._waiting: deque[_Waiter] = deque()
        self._thread = ThreadPoolExecutor(1, "lapel-write")
        self._worker: asyncio.Task[None] | None = None
        self._resting: asyncio.Task[None] | None = None
        self._closed = False
        self._taken, self._commit_s = 0, GUESS_S

    @property
    def waiting(self) -> int:
        """Changes that no commit has taken yet."""
        return len(self._waiting)

    async def __call__(self, change: Asked) -> Change | int:
        """Do a change; a caller that is cancelled before it is taken leaves the queue.

        Raises:
            Busy: ``limit`` changes wait already.
            NotReady: the queue is closed.
            LapelError: whatever ``Writer.write`` raises, or returns for this change.
        """
        if self._closed:
            raise NotReady("the server is stopping")
        if len(self._waiting) >= self.limit:
            wait = self._commit_s * (2 + len(self._waiting) // BATCH)
            raise Busy(min(LONGEST_WAIT_S, wait), f"{self.limit} changes wait to be written")
        waiter = _Waiter(change, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        if self._resting is None:
            self._resting = asyncio.create_task(self._rest_again())
        try:
            return await waiter.answer
        finally:
            with contextlib.suppress(ValueError):  # taken long since, unless this caller was cancelled
                self._waiting.remove(waiter)

    async def close(self) -> None:
        """Take no more changes, and do those that were taken. Cancelling this refuses what still waits."""
        self._closed = True
        if self._resting is not None:
            self._resting.cancel()
        try:
            if self._worker is not None:
                await asyncio.shield(self._worker)
        finally:
            self._refuse(list(self._waiting), NotReady("the server is stopping"))
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            share = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            share = [waiter for waiter in share if not waiter.answer.done()]  # cancelled, about to leave the queue
            if not share:
                continue
            began = time.monotonic()
            try:
                changes = [waiter.change for waiter in share]
                outcomes = await loop.run_in_executor(self._thread, self._writer.write, changes)
                await self._shown()
            except Exception as error:
                if not isinstance(error, LapelError | ApiError):
                    log.exception("changes could not be written")
                self._refuse(share, error)
                continue
            except BaseException:
                self._refuse(share, NotReady("the server is stopping"))
                raise
            self._commit_s = time.monotonic() - began
            for waiter, outcome in zip(share, outcomes, strict=True):
                if isinstance(outcome, LapelError):
                    self._refuse([waiter], outcome)
                elif not waiter.answer.done():  # else cancelled meanwhile
                    waiter.answer.set_result(outcome)
            if not self._closed:
                await asyncio.sleep(0)  # those who were answered may have more
                if not self._waiting:
                    await self._rest()

    async def _rest_again(self) -> None:
        while True:
            await asyncio.sleep(REST_S)
            if self._worker is None or self._worker.done():
                await self._rest()

    async def _rest(self) -> None:
        """Do what can wait, now that nothing waits; another process that writes does it, too."""
        try:
            if await asyncio.get_running_loop().run_in_executor(self._thread, self._writer.rest):
                await self._shown()
        except LapelError as error:
            log.warning("an index was not tidied", extra={"reason": str(error)})
        except Exception:  # the next change must not fail because of it
            log.exception("an index could not be tidied")

    def _refuse(self, share: Sequence[_Waiter], error: Exception) -> None:
        for waiter in share:
            if not waiter.answer.done():
                waiter.answer.set_exception(error)
