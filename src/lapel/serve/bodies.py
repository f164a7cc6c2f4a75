"""Request bodies under bounds: their bytes, the time they take, and what all of them together hold in memory."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

from lapel.serve.errors import Busy, Invalid, TimedOut, TooLarge

MB = 1 << 20
RETRY_S = 5.0  # uploads under way are over, or given up, by then
DRAIN_S, DRAIN_BYTES = 2.0, 64 * MB  # what is read of a refused body so that its client sees the answer


@dataclass(frozen=True)
class BodyLimits:
    """Bounds of request bodies.

    Attributes:
        upload: bytes of a multipart body.
        other: bytes of any other body, JSON for one.
        together: bytes of all bodies that requests hold at the same time; one that would exceed it is answered 429.
        idle_s: seconds that a client may let pass without sending anything.
        total_s: seconds for the whole body.
    """

    upload: int = 21 * MB
    other: int = MB
    together: int = 256 * MB
    idle_s: float = 10.0
    total_s: float = 60.0


class Bodies:
    """Counts the bytes of the request bodies that are in memory, over all requests."""

    def __init__(self, limits: BodyLimits | None = None) -> None:
        self.limits = limits or BodyLimits()
        self.held = 0

    def of(self, scope: Scope, receive: Receive) -> Body:
        """Return the bounded body of one request; the caller releases it when the request is over."""
        return Body(self, scope, receive)


class Body:
    """The body of one request; its ``receive`` stands in the place of the server's.

    Attributes:
        read: bytes so far.
        complete: whether all of it was read.
        gone: whether the client left before.
    """

    def __init__(self, bodies: Bodies, scope: Scope, receive: Receive) -> None:
        self.read, self.complete, self.gone = 0, False, False
        self._bodies, self._receive = bodies, receive
        self._held = 0
        self._began: float | None = None
        headers = Headers(scope=scope)
        multipart = headers.get("content-type", "").lower().startswith("multipart/")
        self.limit = bodies.limits.upload if multipart else bodies.limits.other
        self._declared = headers.get("content-length")
        self._expected = "expect" in headers  # the client waits for a word before it sends
        self.empty = self._declared in (None, "0") and "transfer-encoding" not in headers

    async def receive(self) -> Message:
        """Return the next message of the server.

        Raises:
            TooLarge: the body is, or says it is, larger than it may be.
            TimedOut: the client is too slow.
            Busy: the bodies of all requests together would be too large.
            Invalid: the length it declares is no number.
        """
        if self.complete:
            return await self._receive()
        if self._began is None:
            self._check_declared()
            self._began = time.monotonic()
        limits = self._bodies.limits
        left = self._began + limits.total_s - time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, min(limits.idle_s, left))):
                message = await self._receive()
        except TimeoutError:
            why = f"no byte for {limits.idle_s:g} s" if limits.idle_s < left else f"longer than {limits.total_s:g} s"
            raise TimedOut(f"the request's body did not arrive in time ({why})") from None
        self._count(message)
        return message

    def _check_declared(self) -> None:
        if self._declared is None:
            return
        if not (self._declared.isascii() and self._declared.isdigit()):
            raise Invalid("Content-Length is no number")
        if int(self._declared[:20]) > self.limit:
            raise self._too_large()

    def _count(self, message: Message) -> None:
        if message["type"] != "http.request":
            self.complete = self.gone = True
            return
        self.complete = not message.get("more_body", False)
        size = len(message.get("body", b""))
        # Whoever is refused makes room at once, or all would fill it evenly and none would come through.
        if self.read + size > self.limit:
            self.release()
            raise self._too_large()
        if self._bodies.held + size > self._bodies.limits.together:
            self.release()
            raise Busy(RETRY_S, "too many uploads at the same time")
        self.read += size
        self._held += size
        self._bodies.held += size

    def _too_large(self) -> TooLarge:
        shown = f"{self.limit / MB:.3g} MB" if self.limit >= MB else f"{self.limit} bytes"
        return TooLarge(f"the request's body is larger than {shown}, the limit here")

    def release(self) -> None:
        """Give its bytes back: the request is over."""
        self._bodies.held -= self._held
        self._held = 0

    async def drain(self) -> None:
        """Read and forget what is still coming, for a moment.

        A connection closed while its client still sends is reset, and the client never sees the answer.
        """
        if self.complete or self.empty or (self._expected and self._began is None):
            return
        dropped = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while not self.complete and dropped < DRAIN_BYTES:
                    message = await self._receive()
                    dropped += len(message.get("body", b""))
                    self.complete = not message.get("more_body", False)
