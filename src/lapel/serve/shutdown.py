"""A server that stops as people expect, and that lets go of connections that never ask for anything."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.server import HANDLED_SIGNALS

log = logging.getLogger("lapel.serve")

KEEP_ALIVE_S = 15  # that a connection stays open after an answer
SILENT_S = KEEP_ALIVE_S + 2.0  # for the header of the next request to arrive as a whole
CONNECTIONS = 1000  # at the same time; one more is answered 503
SPARE_FILES = 200  # descriptors for indexes and images


class Server(uvicorn.Server):
    """uvicorn's server with another end.

    The first SIGTERM or SIGINT stops accepting, finishes what was taken within the deadline of the configuration, and
    lets :meth:`run` return; a second one ends the process at once.

    Args:
        config: of uvicorn, see :func:`configuration`.
        stopping: called once when the end begins, for the readiness to say so.
        connections: at the same time; by default as many as open files allow, at most ``CONNECTIONS``. What comes over
            one more is marked in its scope's state as ``crowded``, for ``Middleware`` to refuse: uvicorn's own limit
            would answer without the body that errors have here.
    """

    def __init__(
        self, config: uvicorn.Config, stopping: Callable[[], object] | None = None, connections: int | None = None
    ) -> None:
        super().__init__(config)
        self.limit = connections or _affordable()
        self._stopping = stopping
        app: Any = config.app

        async def marked(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and len(self.server_state.connections) > self.limit:
                scope["state"]["crowded"] = True
            await app(scope, receive, send)

        config.app = marked
        self._silent: dict[Any, tuple[Any, float]] = {}

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Listen to signals, as uvicorn does, but do not raise them once more in the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in HANDLED_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 (uvicorn's names)
        """Begin to stop."""
        for number in HANDLED_SIGNALS:  # the next one is the system's: it ends the process, whatever it does
            signal.signal(number, signal.SIG_DFL)
        self.stop()

    def stop(self) -> None:
        """Stop accepting and finish what was taken; safe to call from any thread."""
        if not self.should_exit:
            self.should_exit = True
            if self._stopping is not None:
                self._stopping()

    async def on_tick(self, counter: int) -> bool:
        """Look after the server ten times a second; return whether it is to stop."""
        if counter % 10 == 0:
            self._close_silent()
        return await super().on_tick(counter)

    def _close_silent(self) -> None:
        """End connections on which no whole request header has come for too long, or that do not come to their end.

        uvicorn's own timer stops with the first byte of a header, so a byte now and then would hold a connection for
        ever; and one that is closed stays until its client has read what was written.
        """
        now = time.monotonic()
        seen: dict[Any, tuple[Any, float]] = {}
        for connection in list(self.server_state.connections):
            cycle = getattr(connection, "cycle", None)  # of the request that came last
            if cycle is not None and not (cycle.response_complete or connection.transport.is_closing()):
                continue
            last, since = self._silent.get(connection, (None, now))
            seen[connection] = (cycle, since if last is cycle else now)
            if now - seen[connection][1] > SILENT_S:
                connection.transport.abort()
        self._silent = seen


def configuration(app: Any, host: str, port: int, shutdown_s: float = 20) -> uvicorn.Config:
    """Return uvicorn's configuration for an application of Lapel: no access log, no word about the software.

    Args:
        app: of FastAPI.
        host: address to listen on.
        port: to listen on; 0 takes a free one.
        shutdown_s: seconds that a stopping server gives to the requests it has taken.
    """
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here trusts a client's address
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(shutdown_s)),
        backlog=256,
    )


def _affordable() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return CONNECTIONS
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return CONNECTIONS
    return max(16, min(CONNECTIONS, soft - SPARE_FILES))


def serve(server: Server, sockets: Sequence[socket.socket] | None = None) -> int:
    """Run a server until it is told to stop, and return the exit status: 0, or 3 if it could not start."""
    try:
        server.run(sockets=list(sockets) if sockets is not None else None)
    except SystemExit as error:  # uvicorn's way to say that it could not start
        return error.code if isinstance(error.code, int) else 1
    return 0
