"""Comparisons of all images with all: one at a time beside the requests, each done once and kept for a while."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from lapel.serve.errors import Busy

T = TypeVar("T")

KEEP = 4  # results
WAITING = 4  # comparisons that wait for the one at work
WAIT_S = 60.0  # a request waits so long for its answer; then it is told to come back
FORGOTTEN_S = 120.0  # a comparison that nobody has asked for in this time is given up
RETRY_S = 5.0


class Forgotten(Exception):
    """Nobody waits for this comparison any more."""


@dataclass(eq=False)
class _Job(Generic[T]):
    future: Future[T] = field(default_factory=Future)
    callers: int = 0
    asked: float = field(default_factory=time.monotonic)
    done: float = 0.0  # share

    def go_on(self, share: float) -> None:
        """Take note of the progress.

        Raises:
            Forgotten: nobody waits.
        """
        self.done = share
        if not self.callers and time.monotonic() - self.asked > FORGOTTEN_S:
            raise Forgotten


class Comparisons(Generic[T]):
    """Runs comparisons in a thread of their own, one at a time; those that ask for the same share one.

    A comparison goes on for a while after its callers have left, so that one which takes minutes is finished for a
    client that was told to come back. To be used from one event loop.

    Args:
        keep: results.
        waiting: comparisons that may wait.
        wait_s: seconds that a caller waits.
    """

    def __init__(self, keep: int = KEEP, waiting: int = WAITING, wait_s: float = WAIT_S) -> None:
        self.keep, self.waiting, self.wait_s = keep, waiting, wait_s
        self._kept: OrderedDict[Hashable, T] = OrderedDict()
        self._jobs: dict[Hashable, _Job[T]] = {}
        self._turn = threading.Lock()

    async def __call__(self, key: Hashable, work: Callable[[Callable[[float], None]], T]) -> T:
        """Return the result of ``work``, which was done before for this ``key``, is being done, or is done now.

        Args:
            key: what is compared, and how.
            work: the comparison; it calls what it is given with the share that is done, from 0 to 1.

        Raises:
            Busy: it takes longer than a request may wait, or too many wait.
            Exception: whatever ``work`` raises.
        """
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        job = self._jobs.get(key)
        if job is not None:
            job.callers += 1
        elif len(self._jobs) > self.waiting:
            raise Busy(RETRY_S, f"{len(self._jobs)} comparisons are under way or wait")
        else:
            job = self._start(key, work)
        waited = asyncio.wrap_future(job.future)
        waited.add_done_callback(lambda future: future.cancelled() or future.exception())  # its caller may have left
        try:
            return await asyncio.wait_for(asyncio.shield(waited), self.wait_s)
        except Forgotten:  # in the moment that it was given up
            raise Busy(RETRY_S, "the comparison was given up") from None
        except TimeoutError:
            raise Busy(RETRY_S, f"all images are being compared with all, {job.done:.0%} done") from None
        finally:
            job.callers -= 1
            job.asked = time.monotonic()

    def _start(self, key: Hashable, work: Callable[[Callable[[float], None]], T]) -> _Job[T]:
        job = self._jobs[key] = _Job[T](callers=1)
        loop = asyncio.get_running_loop()

        def run() -> None:
            try:
                with self._turn:
                    job.go_on(0.0)
                    job.future.set_result(work(job.go_on))
            except BaseException as error:
                job.future.set_exception(error)
            with contextlib.suppress(RuntimeError):  # the server has stopped meanwhile
                loop.call_soon_threadsafe(self._ended, key, job)

        # A daemon: a server that stops does not wait for it.
        threading.Thread(target=run, name="lapel-compare", daemon=True).start()
        return job

    def _ended(self, key: Hashable, job: _Job[T]) -> None:
        del self._jobs[key]
        if job.future.exception() is None:
            self._kept[key] = job.future.result()
            while len(self._kept) > self.keep:
                self._kept.popitem(last=False)
